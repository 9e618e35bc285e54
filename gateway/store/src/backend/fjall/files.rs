//! The directory of an embedded store: made in one step, readable by its owner only, synced where
//! fjall does not (`SECURITY-MODEL.md` §3).

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;

use crate::Error;
use crate::durable_file::{sync_directory, write_atomic};

const VERSION_FILE: &str = "version";
const CLEAN_FILE: &str = "clean";

/// Keeps group and others out of every file this process makes from now on; fjall has no setting
/// for it. Only ever removes permissions.
pub(super) fn tighten_umask() {
    let before = rustix::process::umask(Mode::from_raw_mode(0o077));
    rustix::process::umask(before | Mode::from_raw_mode(0o077));
}

/// Whether there is a store, and not only a directory.
pub(super) fn is_store(dir: &Path) -> Result<bool, Error> {
    match dir.join(VERSION_FILE).try_exists().map_err(Error::io("look at", dir))? {
        true => Ok(true),
        // fjall would begin a new store among the files of the old one.
        false if is_occupied(dir)? => Err(Error::Damaged {
            path: dir.to_path_buf(),
            reason: format!("there are files, but none named `{VERSION_FILE}`"),
        }),
        false => Ok(false),
    }
}

/// Whether anything but an empty directory is there.
pub(super) fn is_occupied(dir: &Path) -> Result<bool, Error> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("look into", dir)(e)),
    }
}

/// A store being made, under a name nothing opens; removed again unless finished.
pub(super) struct Building(PathBuf);

impl Building {
    /// Begins beside `dir`, whose parents are made as needed, and clears what a crash left.
    pub(super) fn beside(dir: &Path) -> Result<Self, Error> {
        tighten_umask();
        let parent = parent(dir);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&parent)
            .map_err(Error::io("create", &parent))?;
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let prefix = format!(".{name}.new-");
        for entry in fs::read_dir(&parent).map_err(Error::io("look into", &parent))? {
            let entry = entry.map_err(Error::io("look into", &parent))?;
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                let left = entry.path();
                fs::remove_dir_all(&left).map_err(Error::io("remove", &left))?;
            }
        }
        let path = parent.join(format!("{prefix}{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&path).map_err(Error::io("create", &path))?;
        restrict(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn mark_clean(&self) -> Result<(), Error> {
        mark_clean(&self.0)
    }

    /// Syncs everything inside, gives it its name and syncs that.
    pub(super) fn finish(self, dir: &Path) -> Result<(), Error> {
        restrict_tree(&self.0)?;
        walk(&self.0, &mut |path, _| {
            File::open(path).and_then(|file| file.sync_all()).map_err(Error::io("sync", path))
        })?;
        fs::rename(&self.0, dir).map_err(|e| match e.kind() {
            ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists => {
                Error::Exists(dir.to_path_buf())
            }
            _ => Error::io("rename the new store to", dir)(e),
        })?;
        sync_directory(&parent(dir))
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        // Gone already if it was finished.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Syncs the directory of the store and that of its keyspaces, which the engine does not after it
/// has made a keyspace.
pub(super) fn sync_directories(dir: &Path) -> Result<(), Error> {
    sync_directory(&dir.join("keyspaces"))?;
    sync_directory(dir)
}

/// Leaves a note that everything was closed properly.
pub(super) fn mark_clean(dir: &Path) -> Result<(), Error> {
    write_atomic(&dir.join(CLEAN_FILE), b"closed\n", 0o600)
}

/// Whether the note was there; it is not any more.
pub(super) fn take_clean_mark(dir: &Path) -> Result<bool, Error> {
    let path = dir.join(CLEAN_FILE);
    match fs::remove_file(&path) {
        Ok(()) => sync_directory(dir).map(|()| true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("remove", &path)(e)),
    }
}

/// Takes the directory from group and others.
pub(super) fn restrict(dir: &Path) -> Result<(), Error> {
    fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(Error::io("restrict", dir))
}

/// Takes everything inside from group and others, too.
pub(super) fn restrict_tree(dir: &Path) -> Result<(), Error> {
    walk(dir, &mut |path, meta| {
        let mode = if meta.is_dir() { 0o700 } else { 0o600 };
        if meta.mode() & 0o7777 == mode {
            return Ok(());
        }
        match fs::set_permissions(path, Permissions::from_mode(mode)) {
            // The engine removes files when it likes.
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            outcome => outcome.map_err(Error::io("restrict", path)),
        }
    })
}

/// Bytes really taken: the journal is longer than it is full.
pub(super) fn size_on_disk(dir: &Path) -> Result<u64, Error> {
    let mut total = 0u64;
    walk(dir, &mut |_, meta| {
        total = total.saturating_add(meta.blocks().saturating_mul(512));
        Ok(())
    })?;
    Ok(total)
}

/// Bytes really taken by the largest journal file.
pub(super) fn largest_journal(dir: &Path) -> Result<u64, Error> {
    let mut largest = 0;
    walk(dir, &mut |path, meta| {
        if path.extension().is_some_and(|extension| extension == "jnl") {
            largest = largest.max(meta.blocks().saturating_mul(512));
        }
        Ok(())
    })?;
    Ok(largest)
}

/// Visits the directory and everything in it, insides first; what vanishes meanwhile is skipped.
fn walk(
    dir: &Path,
    visit: &mut dyn FnMut(&Path, &fs::Metadata) -> Result<(), Error>,
) -> Result<(), Error> {
    let meta = match fs::symlink_metadata(dir) {
        Ok(meta) => meta,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("look at", dir)(e)),
    };
    if meta.is_dir() {
        for entry in fs::read_dir(dir).map_err(Error::io("look into", dir))? {
            let entry = entry.map_err(Error::io("look into", dir))?;
            walk(&entry.path(), visit)?;
        }
    }
    if meta.is_symlink() { Ok(()) } else { visit(dir, &meta) }
}

fn parent(dir: &Path) -> PathBuf {
    match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_path_buf(),
        None => PathBuf::from("/"),
    }
}
