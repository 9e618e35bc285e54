//! `cipher-hub policy fmt`: Cedar's own formatter over files and folders.

use std::path::{Path, PathBuf};

use clap::Args;
use hub_policy::authoring::format::{first_difference, formatted};

use super::super::super::failure::{Code, Failure};
use super::super::super::output::clean;
use super::super::super::run::Session;
use super::folder::{self, Folder};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub policy fmt
  cipher-hub policy fmt --check
  cipher-hub policy fmt policies/local/network.cedar")]
pub(crate) struct FmtArgs {
    /// Files and folders; the folder of policies here when not said
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Change nothing; name the files that would change, and exit with 1 if there are any
    #[arg(long)]
    check: bool,
}

pub(super) fn run(args: &FmtArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let mut files = Vec::new();
    if args.paths.is_empty() {
        files.extend(of_folder(&Folder::place(None))?);
    }
    for path in &args.paths {
        if path.is_dir() {
            files.extend(of_folder(path)?);
        } else {
            let text =
                std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
            files.push((path.clone(), text));
        }
    }
    let mut changed = 0_usize;
    for (path, text) in &files {
        let new = formatted(text).map_err(|why| {
            let message = format!("`{}` cannot be read: {why}", path.display());
            Failure::new(Code::InvalidConfig, message, "see where: cipher-hub policy check")
        })?;
        let Some(line) = first_difference(text, &new) else { continue };
        changed += 1;
        let name = clean(&path.display().to_string());
        if args.check || session.global.dry_run {
            session.console.line(&format!("{name}:{line}"))?;
            continue;
        }
        replace(path, &new)?;
        session.console.line(&name)?;
    }
    let all = files.len();
    if args.check && changed > 0 {
        let message = format!("{changed} of {all} files are not formatted");
        return Err(Failure::new(Code::Failed, message, "format them: cipher-hub policy fmt"));
    }
    let verb = if session.global.dry_run { "would be" } else { "were" };
    session.console.note(&format!("{changed} of {all} files {verb} formatted"));
    Ok(())
}

fn of_folder(root: &Path) -> Result<Vec<(PathBuf, String)>, Failure> {
    let files = hub_policy::folder::files(root).map_err(|error| folder::failure(&error))?;
    Ok(files.into_iter().map(|(name, text)| (root.join(name), text)).collect())
}

/// Writes beside the file and renames, so that it is there whole at every moment.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::file(path, &error);
    // What a link points at is meant, not the link.
    let path = std::fs::canonicalize(path).map_err(failed)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let beside = path.with_file_name(name);
    let written = std::fs::write(&beside, text)
        .and_then(|()| std::fs::metadata(&path))
        .and_then(|there| std::fs::set_permissions(&beside, there.permissions()))
        .and_then(|()| std::fs::rename(&beside, &path));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written.map_err(failed)
}
