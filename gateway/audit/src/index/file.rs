//! Index files. Each section is sealed with the record key, bound to its block, its bucket and the
//! history it was made from: whatever opens is what was written for these entries.
//!
//! Layout: `CHIDX001`, `u32` length of the sealed header, sealed header, sealed sections by bucket
//! (`docs/formats/audit-index.md`).

use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hub_crypto::SystemKeys;
use hub_crypto::record::OVERHEAD;

use super::block::{HEADER, Header};
use crate::encode::hex;

const MAGIC: &[u8; 8] = b"CHIDX001";
/// Magic and length.
const HEAD: u64 = 12;
/// More than any header has.
const MAX_HEADER: u32 = 16 * 1024;

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Damage {
    /// There is none.
    #[error("it is not there")]
    Missing,
    /// It was written for other entries.
    #[error("it belongs to another history")]
    Foreign,
    /// It does not open.
    #[error("it is damaged")]
    Damaged,
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] std::io::Error),
}

impl From<super::postings::Malformed> for Damage {
    fn from(_: super::postings::Malformed) -> Self {
        Self::Damaged
    }
}

/// Where index files lie and what seals them.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    pub(crate) keys: Arc<SystemKeys>,
    pub(crate) writer: String,
}

impl Folder {
    pub(crate) fn file(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:016x}.idx"))
    }

    fn header_name(&self, number: u64) -> String {
        format!("w/{}/x/{number:016x}/header", self.writer)
    }

    fn section_name(&self, header: &Header, bucket: usize) -> String {
        let (number, leaf) = (header.number, hex(&header.leaf));
        format!("w/{}/x/{number:016x}/{leaf}/{bucket:02x}", self.writer)
    }

    /// Writes the file of a block: whole, durable, for the owner alone.
    pub(crate) fn write(
        &self,
        header: &Header,
        sections: &[Vec<u8>],
    ) -> Result<(), hub_store::Error> {
        let seal = |name: &str, bytes: &[u8]| self.keys.record().seal(name.as_bytes(), bytes);
        let head = seal(&self.header_name(header.number), &header.encode());
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&u32::try_from(head.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(&head);
        for (bucket, section) in sections.iter().enumerate() {
            if !section.is_empty() {
                bytes.extend_from_slice(&seal(&self.section_name(header, bucket), section));
            }
        }
        // Somebody may have deleted the folder. What that cannot mend, writing will say.
        let _ = DirBuilder::new().recursive(true).mode(0o700).create(&self.path);
        hub_store::durable_file::write_atomic(&self.file(header.number), &bytes, 0o600)
    }

    /// Reads the header of a block's file.
    pub(crate) fn header(&self, number: u64) -> Result<Header, Damage> {
        let file = open(&self.file(number))?;
        let mut head = [0; 12];
        exact(&file, &mut head, 0)?;
        let (magic, length) = head.split_first_chunk::<8>().ok_or(Damage::Damaged)?;
        let length = u32::from_be_bytes(length.try_into().map_err(|_| Damage::Damaged)?);
        if magic != MAGIC || length > MAX_HEADER {
            return Err(Damage::Damaged);
        }
        let sealed = read(&file, HEAD, length)?;
        let opened = self.keys.record().open(self.header_name(number).as_bytes(), &sealed);
        let header = Header::decode(&opened.map_err(|_| Damage::Damaged)?)?;
        if header.number == number { Ok(header) } else { Err(Damage::Foreign) }
    }

    /// Opens the file of a block to read sections.
    pub(crate) fn sections<'a>(&'a self, header: &'a Header) -> Result<Sections<'a>, Damage> {
        Ok(Sections { folder: self, header, file: open(&self.file(header.number))? })
    }
}

/// The sections of one file.
#[derive(Debug)]
pub(crate) struct Sections<'a> {
    folder: &'a Folder,
    header: &'a Header,
    file: File,
}

impl Sections<'_> {
    /// The postings of a bucket.
    pub(crate) fn read(&self, bucket: usize) -> Result<Vec<u8>, Damage> {
        let lengths = &self.header.lengths;
        let length = lengths.get(bucket).copied().ok_or(Damage::Damaged)?;
        if length == 0 {
            return Ok(Vec::new());
        }
        let overhead = u64::try_from(OVERHEAD).unwrap_or(u64::MAX);
        let before = lengths.iter().take(bucket).filter(|length| **length > 0);
        let before: u64 = before.map(|length| u64::from(*length) + overhead).sum();
        let header = u64::try_from(HEADER).unwrap_or(u64::MAX) + overhead;
        let length = length.saturating_add(u32::try_from(OVERHEAD).unwrap_or(u32::MAX));
        let sealed = read(&self.file, HEAD + header + before, length)?;
        let name = self.folder.section_name(self.header, bucket);
        let opened = self.folder.keys.record().open(name.as_bytes(), &sealed);
        Ok(opened.map_err(|_| Damage::Damaged)?.to_vec())
    }
}

fn open(path: &Path) -> Result<File, Damage> {
    File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Damage::Missing,
        _ => Damage::Io(error),
    })
}

fn exact(file: &File, bytes: &mut [u8], at: u64) -> Result<(), Damage> {
    file.read_exact_at(bytes, at).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => Damage::Damaged,
        _ => Damage::Io(error),
    })
}

fn read(file: &File, at: u64, length: u32) -> Result<Vec<u8>, Damage> {
    // A length that the file does not have is not allocated.
    let end = at.saturating_add(u64::from(length));
    if file.metadata()?.len() < end {
        return Err(Damage::Damaged);
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| Damage::Damaged)?];
    exact(file, &mut bytes, at)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::block::{Builder, place};
    use super::super::postings::{self, Offsets};
    use super::super::term::{Kind, term};
    use super::*;

    fn folder(path: &Path) -> Folder {
        let keys = Arc::new(SystemKeys::generate().unwrap());
        Folder { path: path.to_owned(), keys, writer: "main".to_owned() }
    }

    fn block(leaf: u8) -> (Header, Vec<Vec<u8>>) {
        let mut builder = Builder::new(0);
        for n in 0..400 {
            let entry = format!(r#"{{"key":"key_{}","request":"r-{n}"}}"#, n % 2);
            builder.push(entry.as_bytes(), &[leaf; 32]);
        }
        builder.finish()
    }

    fn offsets(folder: &Folder, header: &Header, wanted: u64) -> Result<Vec<u64>, Damage> {
        let (bucket, low) = place(wanted);
        let mut found = Offsets::none();
        postings::find(&folder.sections(header)?.read(bucket)?, low, &mut found)?;
        Ok(found.iter().collect())
    }

    #[test]
    fn files_are_read_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path());
        assert!(matches!(folder.header(0), Err(Damage::Missing)));
        let (header, sections) = block(1);
        folder.write(&header, &sections).unwrap();
        assert_eq!(folder.header(0).unwrap(), header);
        for (bucket, section) in sections.iter().enumerate() {
            assert_eq!(&folder.sections(&header).unwrap().read(bucket).unwrap(), section);
        }
        assert_eq!(offsets(&folder, &header, term(Kind::Request, "r-7")).unwrap(), [7]);
        assert_eq!(offsets(&folder, &header, term(Kind::Key, "key_1")).unwrap().len(), 200);
        // No value of an entry can be read from the file.
        let bytes = std::fs::read(folder.file(0)).unwrap();
        let name = u32::try_from(term(Kind::Key, "key_1") & 0xffff_ffff).unwrap().to_be_bytes();
        assert!(!bytes.windows(4).any(|window| window == name));
    }

    #[test]
    fn every_flip_and_every_cut_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path());
        let (header, sections) = block(1);
        folder.write(&header, &sections).unwrap();
        let path = folder.file(0);
        let bytes = std::fs::read(&path).unwrap();
        let whole = |folder: &Folder| -> Result<(), Damage> {
            let header = folder.header(0)?;
            let reader = folder.sections(&header)?;
            (0..256).try_for_each(|bucket| reader.read(bucket).map(drop))
        };
        whole(&folder).unwrap();
        for at in (0..bytes.len()).step_by(61) {
            let mut other = bytes.clone();
            other[at] ^= 0x10;
            std::fs::write(&path, &other).unwrap();
            assert!(matches!(whole(&folder), Err(Damage::Damaged)), "flip at {at}");
            std::fs::write(&path, &bytes[..at]).unwrap();
            assert!(matches!(whole(&folder), Err(Damage::Damaged)), "cut at {at}");
        }
    }

    #[test]
    fn files_of_other_blocks_histories_and_hubs_do_not_open() {
        let dir = tempfile::tempdir().unwrap();
        let one = folder(dir.path());
        let (header, sections) = block(1);
        one.write(&header, &sections).unwrap();
        std::fs::copy(one.file(0), one.file(1)).unwrap();
        assert!(matches!(one.header(1), Err(Damage::Damaged)));
        let other = folder(dir.path());
        assert!(matches!(other.header(0), Err(Damage::Damaged)));
        // Another history under this header: the sections are of the other one.
        let (newer, sections) = block(2);
        one.write(&newer, &sections).unwrap();
        let wanted = term(Kind::Key, "key_1");
        assert!(matches!(offsets(&one, &header, wanted), Err(Damage::Damaged)));
        assert_eq!(offsets(&one, &newer, wanted).unwrap().len(), 200);
    }
}
