//! Which files of a folder are policies.
//!
//! A folder made by `cipher-hub policy init` has a [`MARKER`] in it, and its policies are those
//! under [`LOCAL`]; tests, examples and other files beside it count for nothing. In a folder
//! without the marker every `*.cedar` file is a policy, wherever it is.

use std::path::{Path, PathBuf};

use crate::Error;

/// The file that says a folder is one to author policies in.
pub const MARKER: &str = "policy.toml";
/// Where the policies of such a folder are.
pub const LOCAL: &str = "local";

/// Whether a folder is one to author policies in.
#[must_use]
pub fn is_marked(folder: &Path) -> bool {
    folder.join(MARKER).is_file()
}

/// The policy files of a folder, in order of their paths: names relative to it, and texts.
///
/// # Errors
/// [`Error::Folder`] for what cannot be read; a marked folder without [`LOCAL`] is such a case.
pub fn files(folder: &Path) -> Result<Vec<(String, String)>, Error> {
    let root = if is_marked(folder) { folder.join(LOCAL) } else { folder.to_owned() };
    let mut paths = Vec::new();
    collect(&root, &mut paths)?;
    paths.sort();
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let text = std::fs::read_to_string(&path)
            .map_err(|source| Error::Folder { path: path.clone(), source })?;
        files.push((path.strip_prefix(folder).unwrap_or(&path).display().to_string(), text));
    }
    Ok(files)
}

/// Every `*.cedar` file under `folder`.
fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<(), Error> {
    let failed = |source| Error::Folder { path: folder.to_owned(), source };
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // Hidden entries are other things: editors' files, the folders behind a ConfigMap.
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let path = entry.path();
        // A link to a folder is not followed: it could lead around in a circle.
        if entry.file_type().map_err(failed)?.is_dir() {
            collect(&path, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "cedar") {
            paths.push(path);
        }
    }
    Ok(())
}
