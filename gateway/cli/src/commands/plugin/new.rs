//! `cipher-hub plugin new`: a project to begin with.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use hub_model::Name;

use super::super::super::failure::{Code, Failure};
use super::super::super::run::Session;
use super::templates::{self, Language, Purpose};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub plugin new payday --world rotation-schedule --language rust
  cipher-hub plugin new payday --world rotation-schedule --language javascript
  cipher-hub plugin new labels --world kdf-profile --language python ./plugins/labels

Worlds: rotation-schedule (when is a key rotated), kdf-profile (how is a key derived), audit-sink
(how do audit entries reach a receiver). Languages: rust, javascript, python, c.")]
pub(crate) struct NewArgs {
    /// The plugin's name: a-z, 0-9 and -
    #[arg(value_parser = name)]
    name: Name,
    /// What it is for: rotation-schedule, kdf-profile or audit-sink
    #[arg(long, value_enum, hide_possible_values = true)]
    world: Purpose,
    /// What it is written in: rust, javascript, python or c
    #[arg(long, value_enum, hide_possible_values = true)]
    language: Language,
    /// The folder to make; one of the plugin's name in this folder when not said
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn name(text: &str) -> Result<Name, String> {
    text.parse().map_err(|error: hub_model::Error| error.to_string())
}

pub(super) fn run(args: &NewArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from(args.name.as_str()));
    let Some(files) = project(&args.name, args.language, args.world) else {
        let message = "there is no template for this world in this language";
        return Err(Failure::usage(message, "Rust has all of them: --language rust"));
    };
    let there: Vec<String> = files
        .iter()
        .map(|(name, _)| dir.join(name))
        .filter(|path| path.symlink_metadata().is_ok())
        .map(|path| path.display().to_string())
        .collect();
    if !there.is_empty() {
        let message = format!("`{}` has files that would be overwritten", dir.display());
        let mut failure = Failure::new(Code::Conflict, message, "name another folder");
        failure.details = there;
        return Err(failure);
    }
    if session.global.dry_run {
        return Ok(());
    }
    for (name, text) in files {
        write_new(&dir.join(name), &text)?;
    }
    session.console.note(&format!("made `{}`; what to do next:", dir.display()));
    for line in next(&args.name, &dir, args.language) {
        session.console.note(&format!("  {line}"));
    }
    Ok(())
}

/// The commands that lead from the template to a plugin that works.
fn next(name: &Name, dir: &Path, language: Language) -> Vec<String> {
    let tools = match language {
        Language::Javascript => Some("npm ci"),
        Language::Python => {
            Some("python3 -m venv .venv && .venv/bin/pip install -r requirements.txt")
        }
        Language::Rust | Language::C => None,
    };
    let mut lines = vec![format!("cd {}", dir.display())];
    lines.extend(tools.map(str::to_owned));
    lines.push("cipher-hub plugin build".to_owned());
    lines.push(format!("cipher-hub plugin test {name}.wasm"));
    lines
}

/// Names and texts of all files of a project.
pub(super) fn project(
    name: &Name,
    language: Language,
    purpose: Purpose,
) -> Option<Vec<(String, String)>> {
    let template = templates::TEMPLATES
        .iter()
        .find(|template| template.language == language && template.purpose == purpose)?;
    let mut files: Vec<(String, String)> = Vec::new();
    for (file, text) in template.files {
        let file = if *file == "gitignore" { ".gitignore" } else { file };
        let text = text
            .replace("{{name}}", name.as_str())
            .replace("{{crate}}", &name.as_str().replace('-', "_"));
        files.push((file.to_owned(), text));
    }
    let mut add = |folder: &str, more: &[templates::File]| {
        files.extend(more.iter().map(|(file, text)| (format!("{folder}/{file}"), (*text).into())));
    };
    add("wit", templates::WIT);
    if language == Language::Rust {
        add("sdk", templates::SDK);
    }
    Some(files)
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
