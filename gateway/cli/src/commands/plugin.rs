//! `cipher-hub plugin`: what an author of plugins does on a machine of his own, and what an operator
//! does with a hub.

mod answer;
mod ask;
mod bench;
mod build;
mod case;
mod cases;
mod check;
mod finding;
mod inspect;
mod new;
mod plan;
mod question;
mod remote;
mod remote_view;
mod script;
mod sign;
mod sink;
mod templates;
mod test;
mod values;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use clap::Subcommand;
use hub_plugins::{Package, SizeLimits};

use super::super::failure::{Code, Failure};
use super::super::run::Session;

/// Plugins.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  cipher-hub plugin new payday --world rotation-schedule --language rust
  cipher-hub plugin build && cipher-hub plugin test payday.wasm
  cipher-hub plugin sign payday.wasm --key plugins.pem
  cipher-hub plugin install payday.wasm
docs/plugins.md goes through all of it.")]
pub(crate) enum PluginCommand {
    /// Begin a plugin: a project that builds and passes its tests
    New(new::NewArgs),
    /// Compile a project into one file
    Build(build::BuildArgs),
    /// Put a manifest into a component
    Seal(build::SealArgs),
    /// Say whether a hub would take a plugin, and what would mend it
    Check(check::CheckArgs),
    /// Run cases against a plugin, in the real host
    Test(test::TestArgs),
    /// Measure the calls of cases, instance included
    Bench(bench::BenchArgs),
    /// Show the steps by which a KDF profile derives
    Plan(plan::PlanArgs),
    /// Show what a plugin says of itself and what is in it
    Inspect(inspect::InspectArgs),
    /// Make a key to sign with
    Keygen(sign::KeygenArgs),
    /// Sign a plugin
    Sign(sign::SignArgs),
    /// Say whether a plugin is signed by someone you trust
    Verify(sign::VerifyArgs),
    /// Install a plugin in a hub, and put it into service
    Install(remote::InstallArgs),
    /// List the plugins of a hub
    #[command(
        after_help = "Examples:\n  cipher-hub plugin list\n  cipher-hub plugin list --output json"
    )]
    List,
    /// Show a plugin of a hub: versions, settings, calls and failures
    #[command(after_help = "Examples:\n  cipher-hub plugin get payday")]
    Get(remote::One),
    /// Let a plugin answer again
    #[command(after_help = "Examples:\n  cipher-hub plugin enable payday")]
    Enable(remote::One),
    /// Take a plugin out of service; it stays installed
    #[command(after_help = "Examples:\n  cipher-hub plugin disable payday")]
    Disable(remote::One),
    /// Go back to the version that was active before
    Rollback(remote::RollbackArgs),
    /// Remove a plugin with all its versions
    #[command(
        visible_alias = "uninstall",
        after_help = "Examples:\n  cipher-hub plugin remove payday --yes"
    )]
    Remove(remote::RemoveArgs),
    /// Show or change settings, limits and registrations of a plugin
    Settings(remote::SettingsArgs),
}

pub(crate) async fn run(command: PluginCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    match command {
        PluginCommand::New(args) => new::run(&args, session),
        PluginCommand::Build(args) => build::build(args, session).await,
        PluginCommand::Seal(args) => build::seal(&args, session),
        PluginCommand::Check(args) => Box::pin(check::run(args, session)).await,
        PluginCommand::Test(args) => Box::pin(test::run(args, session)).await,
        PluginCommand::Bench(args) => Box::pin(bench::run(args, session)).await,
        PluginCommand::Plan(args) => Box::pin(plan::run(args, session)).await,
        PluginCommand::Inspect(args) => inspect::run(&args, session),
        PluginCommand::Keygen(args) => sign::keygen(args, session).await,
        PluginCommand::Sign(args) => sign::sign(args, session).await,
        PluginCommand::Verify(args) => sign::verify(&args, session),
        PluginCommand::Install(args) => Box::pin(remote::install(args, session)).await,
        PluginCommand::List => remote::list(session).await,
        PluginCommand::Get(one) => remote::get(one, session).await,
        PluginCommand::Enable(one) => remote::enable(one, true, session).await,
        PluginCommand::Disable(one) => remote::enable(one, false, session).await,
        PluginCommand::Rollback(args) => remote::rollback(args, session).await,
        PluginCommand::Remove(args) => remote::remove(args, session).await,
        PluginCommand::Settings(args) => remote::settings(args, session).await,
    }
}

/// Reads a plugin's file.
fn package(path: &Path) -> Result<Package, Failure> {
    let most = u64::try_from(SizeLimits::default().file).unwrap_or(u64::MAX);
    parse(read_bytes(path, most)?, path)
}

/// Reads a plugin from these bytes of a file.
fn parse(bytes: Vec<u8>, path: &Path) -> Result<Package, Failure> {
    Package::parse(bytes, &SizeLimits::default()).map_err(|error| {
        let message = format!("`{}` is no plugin: {error}", path.display());
        Failure::new(Code::InvalidConfig, message, "make one of it: cipher-hub plugin build")
    })
}

/// Reads a file up to `most` bytes.
fn read_bytes(path: &Path, most: u64) -> Result<Vec<u8>, Failure> {
    let failed = |error: std::io::Error| Failure::file(path, &error);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > most {
        let message = format!("`{}` has more than {most} bytes", path.display());
        return Err(Failure::new(Code::InvalidConfig, message, "is it the right file?"));
    }
    Ok(bytes)
}

/// Writes a file that others may read: all of it or nothing.
fn write_public(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::file(path, &error);
    if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return std::fs::write(path, bytes).map_err(failed);
    }
    let name = path.file_name().ok_or_else(|| failed(std::io::ErrorKind::InvalidInput.into()))?;
    let mut name = name.to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let beside = path.with_file_name(name);
    let written = File::create_new(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written.map_err(failed)
}

/// A size for people.
fn size(bytes: usize) -> String {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=9_999_999 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / (1024 * 1024)),
    }
}
