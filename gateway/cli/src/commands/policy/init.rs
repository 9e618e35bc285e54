//! `cipher-hub policy init` and `policy schema`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::super::super::failure::{Code, Failure};
use super::super::super::run::Session;

/// Names and texts of a new folder; the schema comes from the program's own.
const FILES: [(&str, &str); 7] = [
    ("policy.toml", include_str!("../../../../../policies/init/policy.toml")),
    ("README.md", include_str!("../../../../../policies/init/README.md")),
    (
        "local/tls-for-production.cedar",
        include_str!("../../../../../policies/init/local/tls-for-production.cedar"),
    ),
    ("tests/tls.test.json", include_str!("../../../../../policies/init/tests/tls.test.json")),
    ("tests/entities.json", include_str!("../../../../../policies/init/tests/entities.json")),
    (".vscode/settings.json", include_str!("../../../../../policies/init/vscode/settings.json")),
    (".vscode/tasks.json", include_str!("../../../../../policies/init/vscode/tasks.json")),
];
/// The copy of the schema in a folder.
pub(super) const SCHEMA: &str = "hub.cedarschema";

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub policy init
  cipher-hub policy init /etc/cipher-hub/policies")]
pub(crate) struct InitArgs {
    /// The folder to make; it may be there, but none of the files to write
    #[arg(value_name = "DIR", default_value = "policies")]
    dir: PathBuf,
}

pub(super) fn run(args: &InitArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let files = FILES.into_iter().chain([(SCHEMA, hub_policy::schema::TEXT)]);
    let there: Vec<String> = files
        .clone()
        .map(|(name, _)| args.dir.join(name))
        .filter(|path| path.symlink_metadata().is_ok())
        .map(|path| path.display().to_string())
        .collect();
    if !there.is_empty() {
        let message = format!("`{}` has files that would be overwritten", args.dir.display());
        let mut failure = Failure::new(Code::Conflict, message, "name another folder");
        failure.details = there;
        return Err(failure);
    }
    if session.global.dry_run {
        return Ok(());
    }
    for (name, text) in files {
        write_new(&args.dir.join(name), text)?;
    }
    session.console.note(&format!("made `{}`; what to do next:", args.dir.display()));
    let dir = if args.dir == Path::new("policies") {
        String::new()
    } else {
        format!(" {}", args.dir.display())
    };
    for command in ["check", "test --coverage"] {
        session.console.note(&format!("  cipher-hub policy {command}{dir}"));
    }
    Ok(())
}

/// Writes a file that is not there, with the folders it is in.
fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::file(path, &error);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut file = std::fs::File::create_new(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

/// Prints the schema this program decides by.
pub(super) fn schema(session: &mut Session<'_>) -> Result<(), Failure> {
    session.console.data(hub_policy::schema::TEXT.as_bytes())
}
