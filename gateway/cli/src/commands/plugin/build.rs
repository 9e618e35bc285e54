//! `cipher-hub plugin build` and `plugin seal`: from sources to one file.

use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use clap::Args;
use hub_plugins::{Manifest, Package};
use serde_json::json;

use super::super::super::failure::{Code, Failure};
use super::super::super::files;
use super::super::super::output::clean;
use super::super::super::run::Session;

/// What a build script exits with when a tool is missing.
const MISSING: i32 = 3;
/// Most bytes of a component that is sealed.
const MAX_COMPONENT: u64 = 256 * 1024 * 1024;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub plugin build
  cipher-hub plugin build ./payday -o dist/payday.wasm

Runs the script `build` of the folder, which compiles the sources to a component and says what is
missing when it cannot, then embeds `plugin.toml`.")]
pub(crate) struct BuildArgs {
    /// The plugin's folder
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// The file to write; NAME.wasm in the folder when not said
    #[arg(short = 'o', long = "out", id = "out", value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub plugin seal target/component.wasm --manifest plugin.toml -o payday.wasm

For components that were built by other means: embeds the manifest, in place of one that is there.
Signatures are taken off, since they were of another file.")]
pub(crate) struct SealArgs {
    /// The component
    #[arg(value_name = "COMPONENT")]
    component: PathBuf,
    /// The manifest
    #[arg(long, value_name = "FILE", default_value = "plugin.toml")]
    manifest: PathBuf,
    /// The file to write
    #[arg(short = 'o', long = "out", id = "out", value_name = "FILE")]
    out: PathBuf,
}

pub(super) async fn build(args: BuildArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let path = args.dir.join("plugin.toml");
    let (text, manifest) = read_manifest(&path)?;
    let script = args.dir.join("build");
    if !script.is_file() {
        let message = format!("`{}` is not there", script.display());
        let hint = "begin with `cipher-hub plugin new`, or use `cipher-hub plugin seal` for a \
                    component of your own";
        return Err(Failure::new(Code::NotFound, message, hint));
    }
    if session.global.dry_run {
        return Ok(());
    }
    // Beside nothing of the project: a build that fails leaves no component of an earlier one.
    let place = scratch(&args.dir)?;
    let component = place.path.join("component.wasm");
    let (dir, quiet) = (args.dir.clone(), session.global.quiet);
    let target = component.clone();
    let (status, said) = files::blocking(move || script_run(&dir, &target, quiet))
        .await
        .map_err(|error| Failure::file(&script, &error))?;
    if !status.success() {
        return Err(failed(status, &said));
    }
    let out = args.out.unwrap_or_else(|| args.dir.join(format!("{}.wasm", manifest.name)));
    seal_into(&component, &path, &text, &out, session)
}

pub(super) fn seal(args: &SealArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let (text, _) = read_manifest(&args.manifest)?;
    seal_into(&args.component, &args.manifest, &text, &args.out, session)
}

/// The text of a manifest, and what it says.
fn read_manifest(path: &Path) -> Result<(String, Manifest), Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let hint = "every plugin has a `plugin.toml`: cipher-hub plugin new";
        Failure { hint: hint.to_owned(), ..Failure::file(path, &error) }
    })?;
    let manifest = Manifest::parse(&text).map_err(|error| {
        let message = format!("`{}`: {error}", path.display());
        Failure::new(Code::InvalidConfig, message, "docs/formats/plugin.md has every member")
    })?;
    Ok((text, manifest))
}

fn seal_into(
    component: &Path,
    manifest_path: &Path,
    manifest: &str,
    out: &Path,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let bytes = super::read_bytes(component, MAX_COMPONENT)?;
    let sealed = Package::seal(&bytes, manifest).map_err(|error| {
        let message = format!(
            "`{}` and `{}` make no plugin: {error}",
            component.display(),
            manifest_path.display()
        );
        Failure::new(Code::InvalidConfig, message, "the build has to end with a component")
    })?;
    let package = super::parse(sealed.clone(), out)?;
    if session.global.dry_run {
        return Ok(());
    }
    super::write_public(out, &sealed)?;
    let (name, version) =
        (package.manifest().name.to_string(), package.manifest().version.to_string());
    if session.console.for_people() {
        let size = super::size(sealed.len());
        let line =
            format!("{}  {name} {version}, {size}, sha256:{}", out.display(), package.digest());
        return session.console.line(&clean(&line));
    }
    let made = json!({
        "file": out.display().to_string(),
        "name": name,
        "version": version,
        "size": sealed.len(),
        "digest": package.digest(),
    });
    session.console.item(&made, &[])
}

/// A folder that goes away again.
struct Scratch {
    path: PathBuf,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn scratch(dir: &Path) -> Result<Scratch, Failure> {
    let dir = std::fs::canonicalize(dir).map_err(|error| Failure::file(dir, &error))?;
    let path = dir.join(format!(".build.{}", std::process::id()));
    std::fs::create_dir(&path).map_err(|error| Failure::file(&path, &error))?;
    Ok(Scratch { path })
}

/// Runs the script. What it says goes to stderr, or is kept to be shown when it fails.
fn script_run(dir: &Path, component: &Path, quiet: bool) -> io::Result<(ExitStatus, String)> {
    let mut command = Command::new("sh");
    command.arg("build").arg(component).current_dir(dir).stdin(Stdio::null());
    if quiet {
        let done = command.output()?;
        let mut said = String::from_utf8_lossy(&done.stdout).into_owned();
        said.push_str(&String::from_utf8_lossy(&done.stderr));
        return Ok((done.status, said));
    }
    // Stdout is for data: what compilers say is talk.
    let talk = io::stderr().as_fd().try_clone_to_owned()?;
    let status = command.stdout(talk).stderr(Stdio::inherit()).status()?;
    Ok((status, String::new()))
}

fn failed(status: ExitStatus, said: &str) -> Failure {
    let mut failure = match status.code() {
        Some(MISSING) => Failure::new(
            Code::Failed,
            "a tool that the build needs is missing",
            "install what the build names, then run it again",
        ),
        code => {
            let how = code.map_or("was killed".to_owned(), |code| format!("exited with {code}"));
            let hint = "the build says why; it runs alone, too: sh build";
            Failure::new(Code::Failed, format!("the build {how}"), hint)
        }
    };
    failure.details = said.lines().map(str::to_owned).collect();
    failure
}
