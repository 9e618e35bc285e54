//! `openssl speed`, the yardstick of primitives, if the program is there.

use std::io;
use std::process::{Command, Stdio};

use super::failed;
use hub_cli::Failure;

/// What its machine-readable lines say.
#[derive(Debug, Default)]
pub(super) struct Speeds {
    /// Bytes per second by cipher.
    bytes: Vec<(String, f64)>,
    /// Operations per second by family and bits: private (or signing), public (or verifying).
    operations: Vec<(String, [f64; 2])>,
}

impl Speeds {
    /// Bytes per second of the cipher in this run.
    pub(super) fn bytes(&self, cipher: &str) -> Option<f64> {
        let found = self.bytes.iter().find(|(name, _)| name.eq_ignore_ascii_case(cipher));
        found.map(|(_, rate)| *rate)
    }

    /// Operations per second of a row such as `rsa2048`: private, public.
    pub(super) fn operations(&self, row: &str) -> Option<[f64; 2]> {
        self.operations.iter().find(|(name, _)| name == row).map(|(_, rates)| *rates)
    }

    fn parse(text: &str) -> Self {
        let mut speeds = Self::default();
        for line in text.lines() {
            let fields: Vec<_> = line.split(':').collect();
            let (family, bits, rates) = match fields.as_slice() {
                ["+F", _, name, rate, ..] => {
                    speeds.bytes.extend(rate.parse().ok().map(|rate| ((*name).to_owned(), rate)));
                    continue;
                }
                ["+F2", _, bits, sign, verify, ..] => ("rsa", bits, [sign, verify]),
                ["+F4", _, bits, sign, verify, ..] => ("ecdsa", bits, [sign, verify]),
                ["+F6", _, bits, _, sign, verify, ..] => ("eddsa", bits, [sign, verify]),
                _ => continue,
            };
            if let [Ok(private), Ok(public)] = rates.map(|rate| rate.parse::<f64>()) {
                speeds.operations.push((format!("{family}{bits}"), [private, public]));
            }
        }
        speeds
    }
}

/// Runs `openssl speed` for a second each. `None` when there is no such program.
pub(super) async fn speed(arguments: &[&str]) -> Result<Option<Speeds>, Failure> {
    let mut command = Command::new("openssl");
    command.args(["speed", "-mr", "-seconds", "1"]).args(arguments);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let ended = tokio::task::spawn_blocking(move || command.output()).await;
    match ended.map_err(|error| failed(&format!("openssl speed: {error}")))? {
        Ok(output) => Ok(Some(Speeds::parse(&String::from_utf8_lossy(&output.stdout)))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(&format!("openssl speed: {error}"))),
    }
}

/// A cipher by this many bytes, in bytes per second.
pub(super) async fn cipher(name: &str, bytes: usize) -> Result<Option<f64>, Failure> {
    let speeds = speed(&["-evp", name, "-aead", "-bytes", &bytes.to_string()]).await?;
    Ok(speeds.and_then(|speeds| speeds.bytes(name)))
}

/// Raw AES-256-GCM on one core, in MB/s.
pub(super) async fn aes_256_gcm_by_64_kib() -> Result<Option<f64>, Failure> {
    Ok(cipher("aes-256-gcm", 65_536).await?.map(|rate| rate / 1e6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_machines_are_read() {
        let speeds = Speeds::parse(
            "+H:65536\n+F:22:AES-256-GCM:4400000000.00\n+F2:2:2048:1800.5:60000.25\n\
             +F4:3:256:40000.00:13000.00\n+F6:0:253:Ed25519:20000.0:7000.0\nnonsense\n",
        );
        assert!((speeds.bytes("aes-256-gcm").unwrap() - 4.4e9).abs() < 1.0);
        assert_eq!(speeds.operations("rsa2048"), Some([1800.5, 60_000.25]));
        assert_eq!(speeds.operations("ecdsa256"), Some([40_000.0, 13_000.0]));
        assert_eq!(speeds.operations("eddsa253"), Some([20_000.0, 7_000.0]));
        assert!(speeds.bytes("des").is_none() && speeds.operations("dsa").is_none());
    }
}
