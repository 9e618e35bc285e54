//! A folder of policies on this machine: which files count, what its settings say.

use std::path::{Path, PathBuf};

use hub_policy::{Error, Problem, folder};
use serde::Deserialize;

use super::super::super::failure::{Code, Failure};

/// Where an author's folder is looked for when none is said.
const USUAL: &str = "policies";

/// `policy.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Files and folders of tests.
    #[serde(default = "tests")]
    tests: Vec<PathBuf>,
}

fn tests() -> Vec<PathBuf> {
    vec![PathBuf::from("tests")]
}

/// A folder, read.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) root: PathBuf,
    /// Names relative to `root`, and texts.
    pub(super) files: Vec<(String, String)>,
    tests: Vec<PathBuf>,
}

impl Folder {
    /// The folder said, else this one or `policies` in it, whichever is marked as one.
    pub(super) fn place(said: Option<&Path>) -> PathBuf {
        match said {
            Some(said) => said.to_owned(),
            None if !folder::is_marked(Path::new(".")) && folder::is_marked(Path::new(USUAL)) => {
                PathBuf::from(USUAL)
            }
            None => PathBuf::from("."),
        }
    }

    pub(super) fn open(said: Option<&Path>) -> Result<Self, Failure> {
        let root = Self::place(said);
        let files = folder::files(&root).map_err(|error| failure(&error))?;
        let marked = folder::is_marked(&root);
        if files.is_empty() && !marked {
            let message = format!("no `*.cedar` file in `{}`", root.display());
            let hint = "name the folder, or make one: cipher-hub policy init";
            return Err(Failure::new(Code::Failed, message, hint));
        }
        let settings = if marked { settings(&root)? } else { Settings { tests: tests() } };
        Ok(Self { root, files, tests: settings.tests })
    }

    /// A file of the folder as people here would name it.
    pub(super) fn shown(&self, name: &str) -> String {
        shown(&self.root, name)
    }

    /// The test files: those said, else those of `policy.toml`.
    pub(super) fn test_files(&self, said: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
        let mut found = Vec::new();
        if said.is_empty() {
            for path in &self.tests {
                collect(&self.root.join(path), &mut found)?;
            }
        }
        for path in said {
            collect(path, &mut found)?;
        }
        found.sort();
        found.dedup();
        Ok(found)
    }
}

pub(super) fn shown(root: &Path, name: &str) -> String {
    if root == Path::new(".") || root.as_os_str().is_empty() {
        return name.to_owned();
    }
    root.join(name).display().to_string()
}

fn settings(root: &Path) -> Result<Settings, Failure> {
    let path = root.join(folder::MARKER);
    let text = std::fs::read_to_string(&path).map_err(|error| Failure::file(&path, &error))?;
    toml::from_str(&text).map_err(|error| {
        let mut failure = Failure::new(
            Code::InvalidConfig,
            format!("`{}` cannot be read", path.display()),
            "docs/policies.md says what it can hold",
        );
        failure.details = error.to_string().lines().map(str::to_owned).collect();
        failure
    })
}

/// `*.test.json` under a folder; a file whatever its name is.
fn collect(path: &Path, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::file(path, &error);
    if !path.is_dir() {
        std::fs::metadata(path).map_err(failed)?;
        found.push(path.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        if entry.file_type().map_err(failed)?.is_dir() {
            collect(&entry.path(), found)?;
        } else if name.ends_with(".test.json") {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// What is wrong with a set, as a failed command.
pub(super) fn failure(error: &Error) -> Failure {
    match error {
        Error::Folder { path, source } => Failure::file(path, source),
        Error::Refused(problems) => {
            let message = format!("the policy set has {} problem(s)", problems.len());
            let hint = "see them where they are: cipher-hub policy check";
            let mut failure = Failure::new(Code::InvalidConfig, message, hint);
            failure.details = problems.iter().map(Problem::to_string).collect();
            failure
        }
        other => Failure::new(Code::InvalidConfig, other.to_string(), "docs/policies.md"),
    }
}
