//! The few steps on files that both the key file and the seal file need, done so that neither a
//! power loss nor another user of the machine can get in between.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::{Error, Result, random};

/// Makes a new file with mode 0600 under any umask, and syncs it and its directory. It gets its
/// name when it is whole, so that a process that dies in between leaves no half of it; nothing is
/// ever overwritten.
pub(super) fn create_new(path: &Path, content: &[u8]) -> Result<()> {
    let temporary = temporary_beside(path);
    write_new(&temporary, content).map_err(|source| failed("create", &temporary, source))?;
    let linked = std::fs::hard_link(&temporary, path);
    let _ = std::fs::remove_file(&temporary);
    linked.map_err(|source| failed("create", path, source))?;
    sync_directory(path)
}

/// Puts the content in the file's place in one step: whoever looks sees the old or the new.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let temporary = temporary_beside(path);
    write_new(&temporary, content).map_err(|source| failed("create", &temporary, source))?;
    if let Err(source) = std::fs::rename(&temporary, path) {
        let _ = std::fs::remove_file(&temporary);
        return Err(failed("replace", path, source));
    }
    sync_directory(path)
}

/// A name in the same directory that nobody else has.
fn temporary_beside(path: &Path) -> PathBuf {
    let mut nonce = [0; 8];
    random::fill(&mut nonce);
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{:016x}.tmp", u64::from_be_bytes(nonce)));
    path.with_file_name(name)
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let outcome = (|| {
        // The umask may have taken bits from the mode given above.
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(content)?;
        file.sync_all()
    })();
    if outcome.is_err() {
        let _ = std::fs::remove_file(path);
    }
    outcome
}

fn sync_directory(path: &Path) -> Result<()> {
    let directory = directory_of(path);
    File::open(&directory)
        .and_then(|handle| handle.sync_all())
        .map_err(|source| failed("sync the directory", &directory, source))
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Reads a file that is a plain file of ours, no symbolic link, at most `limit` bytes long, and,
/// if `private`, nobody else's to read. Looks at the open file, not at the name, so that it
/// cannot be exchanged in between.
pub(super) fn read(path: &Path, limit: usize, private: bool) -> Result<Zeroizing<Vec<u8>>> {
    let unfit = |problem| Error::Unfit { path: path.to_owned(), problem };
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(unfit("is a symbolic link; give the path of the file itself"));
        }
        Err(source) => return Err(failed("open", path, source)),
    };
    let facts = file.metadata().map_err(|source| failed("read", path, source))?;
    if !facts.is_file() {
        return Err(unfit("is not a regular file"));
    }
    let owner = facts.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(unfit("belongs to another user"));
    }
    if private && facts.mode() & 0o077 != 0 {
        return Err(unfit("is open to other users; give it mode 0600"));
    }
    if !private && facts.mode() & 0o022 != 0 {
        return Err(unfit("can be written by other users; give it mode 0600"));
    }
    // INVARIANT: allocated once for the limit, so that reading never leaves a copy behind.
    let mut content = Zeroizing::new(Vec::with_capacity(limit + 1));
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    read_bounded(&file, bound, &mut content).map_err(|source| failed("read", path, source))?;
    if content.len() > limit {
        return Err(unfit("is too long to be what it should be"));
    }
    Ok(content)
}

/// `read_to_end` may grow the vector before it sees the end; this never does.
fn read_bounded(mut file: &File, bound: u64, content: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = Zeroizing::new([0; 512]);
    let mut left = usize::try_from(bound).unwrap_or(usize::MAX);
    while left > 0 {
        let room = left.min(buffer.len());
        let part = buffer.get_mut(..room).unwrap_or_default();
        let count = match file.read(part) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        content.extend_from_slice(part.get(..count).unwrap_or_default());
        left -= count;
    }
    Ok(())
}

pub(super) fn failed(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { action, path: path.to_owned(), source }
}
