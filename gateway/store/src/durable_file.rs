//! Small files that are there whole or not at all, and folders for the owner alone, for what lies
//! outside the engine: the checkpoint above all.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Error;

/// A folder that cannot be made, or that others may write to.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}`: {source}", path.display())]
pub struct FolderError {
    /// What was attempted.
    pub action: &'static str,
    /// Which folder.
    pub path: PathBuf,
    /// Why.
    pub source: std::io::Error,
}

/// Replaces the file at `path`, or makes it: temporary file, fsync, rename, fsync of the
/// directory. After it returned, `path` holds `bytes` through any crash; before, what it held.
///
/// # Errors
/// [`Error::Io`]; the old file is then still there, unless only the last step failed.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let dir = directory(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unique = COUNTER.fetch_add(1, Ordering::Relaxed);
    let temporary = dir.join(format!(".{name}.tmp-{}-{unique}", std::process::id()));
    let written = write_new(&temporary, bytes, mode)
        .and_then(|()| fs::rename(&temporary, path).map_err(Error::io("replace", path)));
    if written.is_err() {
        drop(fs::remove_file(&temporary));
    }
    written?;
    sync_directory(&dir)
}

/// Reads a file that only its owner may access; `None` if there is none.
///
/// # Errors
/// [`Error::Exposed`] when group or others have any right to it, [`Error::Io`].
pub fn read_private(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("open", path)(e)),
    };
    let mode = file.metadata().map_err(Error::io("look at", path))?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::Exposed { path: path.to_path_buf(), mode });
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(Some(bytes))
}

/// Makes a folder for the owner alone, whatever the umask. One that exists is left as it is, and
/// refused when everybody may write to it.
///
/// # Errors
/// [`FolderError`] says what was attempted.
pub fn make_private(path: &Path) -> Result<(), FolderError> {
    let failed = |action| {
        let path = path.to_owned();
        move |source| FolderError { action, path, source }
    };
    if let Ok(facts) = std::fs::metadata(path)
        && facts.is_dir()
    {
        // In a sticky folder such as /tmp others cannot touch what is not theirs.
        let open = facts.mode() & 0o002 != 0 && facts.mode() & 0o1000 == 0;
        let refused = || std::io::Error::other("others may write to it; chmod o-w");
        return if open { Err(failed("use")(refused())) } else { Ok(()) };
    }
    let mut missing = Vec::new();
    let mut at = path;
    while !at.as_os_str().is_empty() && !at.exists() {
        missing.push(at);
        at = at.parent().unwrap_or(Path::new(""));
    }
    for folder in missing.into_iter().rev() {
        match std::fs::DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
            outcome => outcome.map_err(failed("create"))?,
        }
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(folder, private).map_err(failed("protect"))?;
    }
    Ok(())
}

/// Makes names in a directory durable.
///
/// # Errors
/// [`Error::Io`].
pub fn sync_directory(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|file| file.sync_all()).map_err(Error::io("sync", dir))
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    // Left by a process of the same number that was killed.
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io("remove", path)(e)),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(Error::io("create", path))?;
    file.write_all(bytes).map_err(Error::io("write", path))?;
    // Whatever the umask says.
    file.set_permissions(Permissions::from_mode(mode)).map_err(Error::io("restrict", path))?;
    file.sync_all().map_err(Error::io("sync", path))
}

fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_whole_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        assert_eq!(read_private(&path).unwrap(), None);
        write_atomic(&path, b"one", 0o600).unwrap();
        write_atomic(&path, b"two", 0o600).unwrap();
        assert_eq!(read_private(&path).unwrap().unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read_private(&path), Err(Error::Exposed { mode: 0o640, .. })));
    }

    #[test]
    fn a_failed_replacement_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::create_dir_all(path.join("inside")).unwrap();
        assert!(write_atomic(&path, b"x", 0o600).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
