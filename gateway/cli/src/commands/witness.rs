//! `cipher-hub witness`: its flags.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// Arguments of `witness`.
///
/// Runs a witness after C2SP tlog-witness: it signs that a log goes on from what it has seen, and
/// never signs two histories. Run it elsewhere than the hub, in other hands. Its verifier key is
/// printed at the start; the hub's `audit.witnesses` names it.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  cipher-hub witness --name witness.example/w1 --log 'hub_….audit+1a2b3c4d+AX…'
  cipher-hub witness --config witness.toml
  cipher-hub witness --name w.example --listen 0.0.0.0:8450 --tls-cert cert.pem --tls-key key.pem \\
    --data-dir /var/lib/witness --log \"$(cat hub.vkey)\"

A file says the same: name, listen, data_dir, tls_cert_file, tls_key_file, and for each log
  [[logs]]
  verifier_keys = [\"hub_….audit+1a2b3c4d+AX…\"]
The folder must never be put back from a backup: a witness that forgets signs what it must not.")]
pub struct WitnessArgs {
    /// A file with settings; flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Its name in signatures: a URL without scheme that is yours
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Where to listen [default: 127.0.0.1:8450]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Where its key and what it has seen lie [default: ./cipher-hub-witness]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// PEM certificate chain, for TLS
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Its PEM private key
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// The verifier key of a log to sign for (C2SP vkey; public); may be given several times
    #[arg(long, value_name = "VKEY")]
    pub log: Vec<String>,
}
