//! One long stream: how fast it is encrypted over loopback, beside the cipher alone and beside a
//! bare hyper server that sends the stream back as it is.

use std::time::Duration;

use hub_crypto::aead::aws_lc;
use hub_crypto::stream::{CHUNK_LEN, HEADER_LEN};
use serde::Serialize;

use super::children::{Bare, Gateway, Vitals};
use super::pour::{Poured, pour};
use super::report::median;
use super::setup::{self, Callers};
use super::{Plan, failed, openssl, primitives};
use hub_cli::Failure;

const TAG_LEN: u64 = 16;
/// How long the cipher alone is measured each time.
const ALONE: Duration = Duration::from_millis(200);

/// What one stream came to. Megabytes are of 10^6 bytes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StreamFigures {
    pub(super) bytes: u64,
    /// Medians of turns.
    pub(super) gateway_mb_per_second: f64,
    pub(super) bare_mb_per_second: f64,
    /// AES-256-GCM by 64 KiB on one core: what the gateway uses, and OpenSSL if it is there.
    pub(super) cipher_mb_per_second: f64,
    pub(super) openssl_mb_per_second: Option<f64>,
    /// Gateway ÷ OpenSSL, or ÷ the cipher alone without it.
    pub(super) of_cipher: f64,
    /// Gateway ÷ bare, the median of neighbouring turns.
    pub(super) of_bare: f64,
    /// Processor time of the server, per gigabyte.
    pub(super) gateway_processor_ms_per_gb: f64,
    pub(super) bare_processor_ms_per_gb: f64,
    /// Highest resident memory less that before the first stream.
    pub(super) resident_growth_bytes: Option<u64>,
}

/// Sends streams in turns to both.
pub(super) async fn measure(
    plan: &Plan,
    bare: &Bare,
    gateway: &Gateway,
    callers: &Callers,
) -> Result<StreamFigures, Failure> {
    let bytes = plan.stream_bytes;
    plan.say(&format!("streams of {} MiB", bytes / 1_048_576));
    let head = setup::stream_head(&callers.app, bytes);
    let whole = sealed_len(bytes);
    let mut sides = [
        Side::new(bare.address, bare.vitals(), bytes),
        Side::new(gateway.address, gateway.vitals(), whole),
    ];
    let before = gateway.vitals().resident();
    gateway.vitals().forget_peak();
    for side in &mut sides {
        side.stream(&head, bytes).await?;
        side.forget();
    }
    let mut cipher = Vec::new();
    for round in 0..plan.streams {
        let [bare, gateway] = &mut sides;
        let order = if round % 2 == 0 { [bare, gateway] } else { [gateway, bare] };
        for side in order {
            side.stream(&head, bytes).await?;
        }
        cipher.push(primitives::megabytes_per_second(&aws_lc::AES_256_GCM, CHUNK_LEN, ALONE)?);
    }
    let peak = gateway.vitals().peak();
    let resident_growth_bytes = peak.zip(before).map(|(peak, before)| peak.saturating_sub(before));
    let openssl = openssl::aes_256_gcm_by_64_kib().await?;
    let cipher = median(cipher);
    let [bare, gateway] = sides;
    let pairs = gateway.rates.iter().zip(&bare.rates);
    let of_bare = median(pairs.map(|(gateway, bare)| gateway / bare).collect());
    let (bare_cpu, gateway_cpu) = (bare.processor_per_gb(), gateway.processor_per_gb());
    let rate = median(gateway.rates);
    let figures = StreamFigures {
        bytes,
        gateway_mb_per_second: rate,
        bare_mb_per_second: median(bare.rates),
        cipher_mb_per_second: cipher,
        openssl_mb_per_second: openssl,
        of_cipher: rate / openssl.unwrap_or(cipher),
        of_bare,
        gateway_processor_ms_per_gb: gateway_cpu,
        bare_processor_ms_per_gb: bare_cpu,
        resident_growth_bytes,
    };
    plan.say(&figures.line());
    Ok(figures)
}

impl StreamFigures {
    /// In one line, as progress.
    fn line(&self) -> String {
        format!(
            "stream: {:.0} MB/s, {:.0} % of the cipher, {:.0} % of bare",
            self.gateway_mb_per_second,
            self.of_cipher * 100.0,
            self.of_bare * 100.0
        )
    }
}

/// Length of the encrypted stream of this many bytes.
fn sealed_len(bytes: u64) -> u64 {
    let (header, chunk) = (u64::try_from(HEADER_LEN), u64::try_from(CHUNK_LEN));
    let chunks = bytes.div_ceil(chunk.unwrap_or(1)).max(1);
    bytes + header.unwrap_or(0) + chunks * TAG_LEN
}

/// One of two, and its turns.
struct Side {
    address: std::net::SocketAddr,
    vitals: Vitals,
    /// Bytes the answer must have.
    expected: u64,
    rates: Vec<f64>,
    processor: Duration,
    megabytes: f64,
}

impl Side {
    const fn new(address: std::net::SocketAddr, vitals: Vitals, expected: u64) -> Self {
        let (processor, megabytes) = (Duration::ZERO, 0.0);
        Self { address, vitals, expected, rates: Vec::new(), processor, megabytes }
    }

    /// Forgets the warm-up.
    fn forget(&mut self) {
        self.rates.clear();
        self.processor = Duration::ZERO;
        self.megabytes = 0.0;
    }

    async fn stream(&mut self, head: &[u8], bytes: u64) -> Result<(), Failure> {
        let before = self.vitals.processor_time();
        let Poured { received, elapsed } = pour(self.address, head, bytes)
            .await
            .map_err(|error| failed(&format!("the stream failed: {error}")))?;
        if received != self.expected {
            return Err(failed(&format!("the stream gave {received} bytes")));
        }
        let spent = self.vitals.processor_time().saturating_sub(before);
        self.processor = self.processor.saturating_add(spent);
        let megabytes = megabytes(bytes);
        self.megabytes += megabytes;
        self.rates.push(megabytes / elapsed.as_secs_f64().max(f64::EPSILON));
        Ok(())
    }

    fn processor_per_gb(&self) -> f64 {
        self.processor.as_secs_f64() * 1e6 / self.megabytes.max(f64::EPSILON)
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown without digits")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_streams() {
        assert_eq!(sealed_len(0), 80 + 16);
        assert_eq!(sealed_len(65_536), 80 + 65_536 + 16);
        assert_eq!(sealed_len(65_537), 80 + 65_537 + 32);
    }
}
