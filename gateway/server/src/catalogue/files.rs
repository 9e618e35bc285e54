//! The files of plugins, by digest: beside the store, or in memory where the store is. What is read
//! is hashed again by who loads it: a file is what its name says, or is not used.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use hub_model::extend::PluginDigest;
use hub_store::durable_file::make_private;
use hub_store::durable_file::write_atomic;
use rustix::fs::OFlags;

use super::lock;

#[derive(Debug)]
pub(super) struct Files {
    /// None: in memory.
    folder: Option<PathBuf>,
    memory: Mutex<HashMap<PluginDigest, Arc<[u8]>>>,
    /// Kept by this process, maybe for a change that is not committed yet: never removed by it.
    fresh: Mutex<HashSet<PluginDigest>>,
}

fn name(digest: &PluginDigest) -> String {
    format!("{digest}.wasm")
}

impl Files {
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, memory: Mutex::default(), fresh: Mutex::default() }
    }

    /// Keeps a file; durable when this returns. Blocks.
    pub(super) fn keep(&self, digest: PluginDigest, bytes: &Arc<[u8]>) -> io::Result<()> {
        lock(&self.fresh).insert(digest);
        let Some(folder) = &self.folder else {
            lock(&self.memory).insert(digest, Arc::clone(bytes));
            return Ok(());
        };
        make_private(folder).map_err(io::Error::other)?;
        let path = folder.join(name(&digest));
        // Signatures are no part of the digest: what is installed again may have others.
        let most = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if read_own(&path, most).is_ok_and(|there| *there == **bytes) {
            return Ok(());
        }
        write_atomic(&path, bytes, 0o600).map_err(io::Error::other)
    }

    /// Reads a file of at most so many bytes. Blocks.
    pub(super) fn read(&self, digest: &PluginDigest, most: u64) -> io::Result<Arc<[u8]>> {
        let Some(folder) = &self.folder else {
            let found = lock(&self.memory).get(digest).cloned();
            return found.ok_or_else(|| io::ErrorKind::NotFound.into());
        };
        read_own(&folder.join(name(digest)), most)
    }

    /// Removes what is not needed: files of changes that were never committed, of plugins that were
    /// removed, and what a crash left behind. Gives what was removed. Blocks.
    pub(super) fn retain(&self, needed: &HashSet<PluginDigest>) -> Vec<PluginDigest> {
        let mut removed = Vec::new();
        let fresh = lock(&self.fresh).clone();
        let keeps = |digest: &PluginDigest| needed.contains(digest) || fresh.contains(digest);
        lock(&self.memory).retain(|digest, _| {
            let kept = keeps(digest);
            if !kept {
                removed.push(*digest);
            }
            kept
        });
        let entries = self.folder.as_ref().and_then(|folder| std::fs::read_dir(folder).ok());
        for entry in entries.into_iter().flatten().flatten() {
            let file = entry.file_name();
            let Some(file) = file.to_str() else { continue };
            let digest = file.strip_suffix(".wasm").and_then(|text| text.parse().ok());
            let half = file.starts_with('.')
                && file.contains(".wasm.tmp-")
                && !file.contains(&format!(".tmp-{}-", std::process::id()));
            let gone = digest.is_some_and(|digest: PluginDigest| !keeps(&digest));
            if (gone || half) && std::fs::remove_file(entry.path()).is_ok() {
                removed.extend(digest);
            }
        }
        removed
    }

    /// What was kept is in the records, or given up: it may be removed from now on.
    pub(super) fn settled(&self, digest: &PluginDigest) {
        lock(&self.fresh).remove(digest);
    }
}

/// Reads a file that the hub wrote. There are no links among them.
fn read_own(path: &Path, most: u64) -> io::Result<Arc<[u8]>> {
    read_with(path, most, OFlags::NONBLOCK | OFlags::NOFOLLOW)
}

/// Reads a file of at most so many bytes, whatever it says of its length. Where it is a pipe, nobody
/// waits for who writes to it.
pub(super) fn read_bounded(path: &Path, most: u64) -> io::Result<Arc<[u8]>> {
    read_with(path, most, OFlags::NONBLOCK)
}

fn read_with(path: &Path, most: u64, flags: OFlags) -> io::Result<Arc<[u8]>> {
    use std::io::Read as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut bytes = Vec::new();
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = std::fs::File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > most {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nothing_needs_is_removed_and_what_comes_in_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let digest = |n: u8| hub_model::Thumbprint([n; 32]);
        for files in [Files::new(Some(folder.path().join("plugins"))), Files::new(None)] {
            for n in 1..=3 {
                files.keep(digest(n), &Arc::from([n; 4])).unwrap();
            }
            files.settled(&digest(1));
            files.settled(&digest(2));
            assert_eq!(files.retain(&HashSet::from([digest(1)])), [digest(2)]);
            assert_eq!(*files.read(&digest(1), 4).unwrap(), [1; 4]);
            assert_eq!(*files.read(&digest(3), 4).unwrap(), [3; 4]);
            assert!(files.read(&digest(2), 4).is_err());
        }
        let files = Files::new(Some(folder.path().join("plugins")));
        assert!(files.read(&digest(1), 3).is_err(), "too large");
        let pipe = folder.path().join("plugins").join(name(&digest(9)));
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        assert!(files.read(&digest(9), 3).is_err(), "and does not wait");
        assert!(read_bounded(&pipe, 3).is_err());
        std::fs::remove_file(&pipe).unwrap();
        let half = folder.path().join("plugins/.aa.wasm.tmp-1-0");
        std::fs::write(&half, "x").unwrap();
        std::fs::write(folder.path().join("plugins/notes.txt"), "x").unwrap();
        files.retain(&HashSet::new());
        assert!(!half.exists() && folder.path().join("plugins/notes.txt").exists());
    }
}
