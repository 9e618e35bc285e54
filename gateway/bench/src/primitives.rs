//! Ciphers and signatures in process, as the hub uses them by default, beside `openssl speed`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use hub_crypto::aead::{Aead, KEY_LEN, NONCE_LEN, aes_256_gcm, aws_lc, chacha20_poly1305};
use hub_crypto::asymmetric::{self, Message};
use hub_model::algorithm::{Curve, Hash, Kind};
use serde::Serialize;

use super::openssl::{self, Speeds};
use super::{Plan, failed};
use hub_cli::Failure;

const SIZES: [usize; 3] = [1024, 16 * 1024, 64 * 1024];
const AAD: [u8; 13] = [3; 13];

/// Rows, and whether there was something to hold them against.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Primitives {
    pub(super) openssl: bool,
    pub(super) rows: Vec<Row>,
}

/// One primitive.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    pub(super) name: String,
    /// `MB/s`, of 10^6 bytes, or `op/s`.
    pub(super) unit: &'static str,
    pub(super) ours: f64,
    pub(super) openssl: Option<f64>,
}

impl Row {
    /// Ours ÷ OpenSSL's.
    pub(super) fn ratio(&self) -> Option<f64> {
        self.openssl.map(|theirs| self.ours / theirs.max(f64::EPSILON))
    }
}

/// Each primitive of ours right after OpenSSL's.
pub(super) async fn measure(plan: &Plan) -> Result<Primitives, Failure> {
    plan.say("primitives");
    let time = plan.turn.min(Duration::from_millis(500));
    let ciphers: [(&str, &str, &dyn Aead, &[usize]); 3] = [
        ("AES-256-GCM", "aes-256-gcm", aes_256_gcm(), &SIZES),
        ("AES-256-GCM of streams", "aes-256-gcm", &aws_lc::AES_256_GCM, &[65_536]),
        ("ChaCha20-Poly1305", "chacha20-poly1305", chacha20_poly1305(), &SIZES),
    ];
    let mut rows = Vec::new();
    for (name, theirs, cipher, sizes) in ciphers {
        for size in sizes {
            let openssl = openssl::cipher(theirs, *size).await?.map(|rate| rate / 1e6);
            let ours = megabytes_per_second(cipher, *size, time)?;
            let name = format!("{name} {} KiB", size / 1024);
            rows.push(Row { name, unit: "MB/s", ours, openssl });
        }
    }
    let speeds = openssl::speed(&["ecdsap256", "ed25519", "rsa2048"]).await?;
    for (kind, name, row) in [
        (Kind::Ecdsa(Curve::P256), "ECDSA P-256", "ecdsa256"),
        (Kind::Ed25519, "Ed25519", "eddsa253"),
        (Kind::RsaPss { bits: 2048, hash: Hash::Sha256 }, "RSA-2048", "rsa2048"),
    ] {
        rows.extend(signatures(kind, name, row, speeds.as_ref(), time)?);
    }
    if speeds.is_none() {
        plan.say("there is no `openssl` program: nothing to hold primitives against");
    }
    Ok(Primitives { openssl: speeds.is_some(), rows })
}

/// Encryption in place with the key loaded, as `openssl speed` does it.
pub(super) fn megabytes_per_second(
    cipher: &dyn Aead,
    size: usize,
    time: Duration,
) -> Result<f64, Failure> {
    let no_memory = || failed("no memory for a cipher");
    let loaded = cipher.load(&[1; KEY_LEN]).ok_or_else(no_memory)?;
    let mut buffer = vec![7; size];
    let per_second = rate(time, || {
        let sealed = loaded.seal(&[2; NONCE_LEN], &AAD, black_box(&mut buffer));
        black_box(sealed).map(|_| ()).ok_or_else(no_memory)
    })?;
    Ok(per_second * f64::from(u32::try_from(size).unwrap_or(u32::MAX)) / 1e6)
}

fn signatures(
    kind: Kind,
    name: &str,
    row: &str,
    speeds: Option<&Speeds>,
    time: Duration,
) -> Result<[Row; 2], Failure> {
    let crypto = |error: hub_crypto::Error| failed(&error.to_string());
    let secret = asymmetric::generate(kind).map_err(crypto)?;
    let key = asymmetric::private_key(kind, &secret).map_err(crypto)?;
    let public = key.public();
    let message = Message::Whole(b"a message of some thirty-two bytes");
    let signature = key.sign(message).map_err(crypto)?;
    let sign = rate(time, || key.sign(black_box(message)).map(drop).map_err(crypto))?;
    let verify = rate(time, || public.verify(message, black_box(&signature)).map_err(crypto))?;
    let theirs = speeds.and_then(|speeds| speeds.operations(row));
    let row =
        |what, ours, openssl| Row { name: format!("{name} {what}"), unit: "op/s", ours, openssl };
    Ok([
        row("sign", sign, theirs.map(|[private, _]| private)),
        row("verify", verify, theirs.map(|[_, public]| public)),
    ])
}

/// How often a second of processor time, which is what `openssl speed` counts too: what else the
/// machine does then matters little to either.
fn rate(time: Duration, mut step: impl FnMut() -> Result<(), Failure>) -> Result<f64, Failure> {
    /// How long no clock is looked at, which costs a system call.
    const BLIND: Duration = Duration::from_millis(10);
    step()?;
    let started = Stopwatch::start();
    let mut count = 0_u32;
    loop {
        let round = Instant::now();
        while round.elapsed() < BLIND {
            for _ in 0..4 {
                step()?;
            }
            count = count.saturating_add(4);
        }
        let spent = started.spent();
        if spent >= time {
            return Ok(f64::from(count) / spent.as_secs_f64());
        }
    }
}

/// The processor time of this thread, or the time of day where the kernel does not tell.
struct Stopwatch {
    processor: Option<Duration>,
    clock: Instant,
}

impl Stopwatch {
    fn start() -> Self {
        Self { processor: Self::processor(), clock: Instant::now() }
    }

    fn spent(&self) -> Duration {
        match (Self::processor(), self.processor) {
            (Some(now), Some(then)) => now.saturating_sub(then),
            _ => self.clock.elapsed(),
        }
    }

    /// `/proc/thread-self/schedstat`: nanoseconds on a processor come first.
    fn processor() -> Option<Duration> {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        text.split_ascii_whitespace().next()?.parse().ok().map(Duration::from_nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_primitive_is_measured() {
        let time = Duration::from_millis(10);
        assert!(megabytes_per_second(aes_256_gcm(), 1024, time).unwrap() > 1.0);
        let [sign, verify] = signatures(Kind::Ed25519, "Ed25519", "eddsa253", None, time).unwrap();
        assert!(sign.ours > 10.0 && verify.ours > 10.0 && verify.ratio().is_none());
        assert_eq!(sign.name, "Ed25519 sign");
    }
}
