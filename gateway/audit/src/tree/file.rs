//! The file `<data_dir>/audit/tree`: the kept hashes of 256 entries each, so that a start does not
//! read the whole log. 32 bytes of header, then 32 bytes a hash, in order, appended
//! (`docs/formats/audit-proofs.md`). Not synced and not sealed: what it says is held against the
//! log's frontier, and made again where it does not hold.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::merkle::Hash;

/// What the file begins with: a name and version, padded with zeros.
const HEADER: &[u8; 32] = b"cipher-hub.audit.tree.v1\0\0\0\0\0\0\0\0";

/// The open file, positioned at its end.
#[derive(Debug)]
pub(crate) struct TreeFile(File);

impl TreeFile {
    /// Opens the file, or makes it, and reads what it holds. A torn last hash is cut off; a file
    /// that is something else begins anew.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, Vec<Hash>)> {
        if let Some(folder) = path.parent().filter(|folder| !folder.is_dir()) {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut opened = Self(file);
        let Some(body) = bytes.strip_prefix(HEADER) else {
            if !bytes.is_empty() {
                tracing::warn!(path = %path.display(), "this is no tree file; it is made again");
            }
            opened.clear()?;
            return Ok((opened, Vec::new()));
        };
        let (hashes, torn) = body.as_chunks::<32>();
        if !torn.is_empty() {
            opened.0.set_len((HEADER.len() + hashes.as_flattened().len()) as u64)?;
        }
        opened.0.seek(SeekFrom::End(0))?;
        Ok((opened, hashes.to_vec()))
    }

    /// Appends hashes.
    pub(crate) fn append(&mut self, hashes: &[Hash]) -> io::Result<()> {
        self.0.write_all(hashes.as_flattened())
    }

    /// Begins anew.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.seek(SeekFrom::Start(0))?;
        self.0.write_all(HEADER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_appended_is_there_and_what_is_torn_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit/tree");
        let (mut file, hashes) = TreeFile::open(&path).unwrap();
        assert!(hashes.is_empty());
        file.append(&[[1; 32], [2; 32]]).unwrap();
        file.append(&[[3; 32]]).unwrap();
        drop(file);
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(whole.len(), 4 * 32);
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (mut file, hashes) = TreeFile::open(&path).unwrap();
            let kept = (cut / 32).saturating_sub(1);
            assert_eq!(hashes, [[1; 32], [2; 32], [3; 32]][..kept], "{cut}");
            file.append(&[[9; 32]]).unwrap();
            drop(file);
            let (_, hashes) = TreeFile::open(&path).unwrap();
            assert_eq!((hashes.len(), hashes.last()), (kept + 1, Some(&[9; 32])), "{cut}");
        }
        std::fs::write(&path, b"something else that is long enough to be taken for it").unwrap();
        assert!(TreeFile::open(&path).unwrap().1.is_empty());
    }
}
