//! Commands about the program itself: health, completion, manual, version.

use std::path::PathBuf;
use std::time::Duration;

use cipher_hub_client::{Client, RetryPolicy};
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::super::Cli;
use super::super::failure::{Code, Failure};
use super::super::run::Session;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub healthcheck
  cipher-hub healthcheck --management-address http://127.0.0.1:9464 --timeout 2s")]
pub(crate) struct HealthcheckArgs {
    /// Address of the management listener; that of `serve` in this environment when not given
    #[arg(long, value_name = "ADDRESS")]
    management_address: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub completion bash > /etc/bash_completion.d/cipher-hub
  cipher-hub completion zsh > ~/.zfunc/_cipher-hub
  cipher-hub completion fish > ~/.config/fish/completions/cipher-hub.fish")]
pub(crate) struct CompletionArgs {
    /// The shell
    shell: Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  cipher-hub man /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Folder to write them to
    dir: PathBuf,
}

/// Exits with 0 or 1 and nothing else, as container engines want it.
pub(crate) async fn healthcheck(
    args: HealthcheckArgs,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let timeout = session.global.timeout.unwrap_or(Duration::from_secs(3));
    let configured = session.environment.management.clone();
    let address = args
        .management_address
        .or(configured)
        .unwrap_or_else(|| "http://127.0.0.1:9464".to_owned());
    let hint = format!("what is missing: curl {address}/readyz?verbose");
    let asked = async {
        Client::builder(address).retry(RetryPolicy::never()).timeout(timeout).build()?.ready().await
    };
    match asked.await {
        Ok(()) => session.console.line("ready"),
        Err(error) => Err(Failure::new(Code::Failed, format!("not ready: {error}"), hint)),
    }
}

pub(crate) fn completion(args: CompletionArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "cipher-hub", &mut script);
    session.console.data(&script)
}

pub(crate) fn man(args: &ManArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::file(&args.dir, &error);
    std::fs::create_dir_all(&args.dir).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), &args.dir).map_err(failed)?;
    session.console.note(&format!("manual pages written to {}", args.dir.display()));
    Ok(())
}

pub(crate) fn version(session: &mut Session<'_>) -> Result<(), Failure> {
    session.console.line(concat!("cipher-hub ", env!("CARGO_PKG_VERSION")))
}
