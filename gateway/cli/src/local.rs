//! Arguments of the commands that are not sent to a hub but run one: the program takes them from
//! here and does the rest.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Arguments of `serve`.
#[derive(Debug, Default, Clone, PartialEq, Eq, Args)]
#[command(after_help = "\
Examples:
  cipher-hub serve --data-dir /var/lib/cipher-hub
  cipher-hub serve --config /etc/cipher-hub/hub.toml --listen 127.0.0.1:8443
  cipher-hub serve --data-dir ./data --unix-socket ./hub.sock")]
pub struct ServeArgs {
    /// Configuration file; a later one wins over an earlier one
    #[arg(long, value_name = "FILE")]
    pub config: Vec<PathBuf>,
    /// Folder of keys, records and audit log
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address and port of the API
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Unix socket of the API
    #[arg(long, value_name = "PATH")]
    pub unix_socket: Option<PathBuf>,
    /// Address and port of health checks and metrics
    #[arg(long, value_name = "HOST:PORT")]
    pub management_listen: Option<String>,
    /// Go on with a store that is older than its checkpoint: what came after is lost
    #[arg(long)]
    pub accept_rollback: bool,
}

/// Arguments of `dev`.
#[derive(Debug, Default, Clone, Args)]
#[command(after_help = "\
Examples:
  cipher-hub dev
  cipher-hub dev --listen 127.0.0.1:9443 --no-store-token")]
pub struct DevArgs {
    /// Loopback address and port of the API
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Do not remember the API key in the context `dev`
    #[arg(long)]
    pub no_store_token: bool,
}

/// Arguments of `init`.
#[derive(Debug, Default, Clone, Args)]
#[command(after_help = "\
Examples:
  cipher-hub init --data-dir /var/lib/cipher-hub
  cipher-hub init --data-dir /var/lib/cipher-hub --recover-admin")]
pub struct InitArgs {
    /// Configuration file; a later one wins over an earlier one
    #[arg(long, value_name = "FILE")]
    pub config: Vec<PathBuf>,
    /// Folder to prepare
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Make another administrator's API key in a folder that has been prepared (hub stopped)
    #[arg(long)]
    pub recover_admin: bool,
}

/// Arguments of `bench`.
///
/// Starts a bare hyper server and the gateway on a temporary store, loads both the same way in
/// turns, and compares them; measures ciphers and signatures beside OpenSSL, a long stream, and a
/// store with keys. Takes about three minutes and up to 2 GiB of disk, given back at the end.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  cipher-hub bench
  cipher-hub bench --quick
  cipher-hub bench --only primitives
  cipher-hub bench --only decisions
  cipher-hub bench --only keys --keys 1000000
  cipher-hub bench --dir /var/lib/cipher-hub --connections 256
  cipher-hub bench --seconds 10 --output json > bench.json")]
pub struct BenchArgs {
    /// Length of a turn, of which each round has one for either server
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
    /// How many rounds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Connections that work at the same time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: u32,
    /// How many keys to make, for creations per second, cold use, pages and memory
    #[arg(
        long,
        default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..=10_000_000)
    )]
    pub keys: u32,
    /// Where the temporary store lies: a folder on the disk to measure [default: the system's]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Measure only this, after a short preparation: `primitives`, `decisions`, `stream`, `keys`,
    /// `overload`, `audit`, `plugins`, or one comparison such as `encrypt:1024`
    #[arg(long, value_name = "PART", value_parser = only)]
    pub only: Option<BenchPart>,
    /// Everything once and briefly: whether it works, not how fast
    #[arg(long)]
    pub quick: bool,
    /// Be the bare server
    #[arg(long, hide = true)]
    pub bare_server: bool,
}

/// Part of the benchmark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BenchPart {
    /// Ciphers and signatures in process beside OpenSSL.
    Primitives,
    /// Authentication and decisions in process.
    Decisions,
    /// One long stream.
    Stream,
    /// A store with many keys.
    Keys,
    /// More than may be in work, and neighbours.
    Overload,
    /// Durable audit beside audit in memory.
    Audit,
    /// A plugin that never ends beside honest work.
    Plugins,
    /// Requests of this operation with this many bytes.
    Comparison(String, usize),
}

fn only(text: &str) -> Result<BenchPart, String> {
    let form = || {
        "give it as `primitives`, `decisions`, `stream`, `keys`, `overload`, `audit`, \
         `plugins`, `encrypt:1024` or `decrypt:32`"
            .to_owned()
    };
    match text {
        "primitives" => return Ok(BenchPart::Primitives),
        "decisions" => return Ok(BenchPart::Decisions),
        "stream" => return Ok(BenchPart::Stream),
        "keys" => return Ok(BenchPart::Keys),
        "overload" => return Ok(BenchPart::Overload),
        "audit" => return Ok(BenchPart::Audit),
        "plugins" => return Ok(BenchPart::Plugins),
        _ => {}
    }
    let (operation, bytes) = text.split_once(':').ok_or_else(form)?;
    let bytes = bytes.parse().map_err(|_| form())?;
    let known = matches!(operation, "encrypt" | "decrypt") && bytes <= 64 * 1024;
    known.then(|| BenchPart::Comparison(operation.to_owned(), bytes)).ok_or_else(form)
}

/// Configuration of `serve`.
#[derive(Debug, Clone, Subcommand)]
#[command(after_help = "\
Examples:
  cipher-hub config check --config hub.toml
  cipher-hub config show
  cipher-hub config example > hub.toml")]
pub enum ConfigCommand {
    /// Say whether files and environment make a configuration; exits with 3 when not
    #[command(after_help = "Examples:\n  cipher-hub config check --config hub.toml")]
    Check(ConfigArgs),
    /// Print every setting with its effective value and where it comes from
    #[command(after_help = "Examples:\n  cipher-hub config show --config hub.toml")]
    Show(ConfigArgs),
    /// Print a file with every setting and its default, commented out
    #[command(after_help = "Examples:\n  cipher-hub config example > hub.toml")]
    Example,
}

/// Arguments of `config check` and `config show`.
#[derive(Debug, Default, Clone, Args)]
pub struct ConfigArgs {
    /// Configuration file; a later one wins over an earlier one
    #[arg(long, value_name = "FILE")]
    pub config: Vec<PathBuf>,
}
