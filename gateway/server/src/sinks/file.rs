//! A file of lines. It is the owner's alone, rotated by size, synced with each batch, and made again
//! when somebody has moved or removed it.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use hub_audit::relay::Batch;

use super::lines::Lines;
use super::off_thread::Blocking;

/// How far back the end of a line is looked for: an entry has 16 KiB at most, and a few times that
/// in another format.
const TAIL: u64 = 128 * 1024;
/// How every entry begins, in each format: the format may have been another before.
const BEGINS: [&[u8]; 3] =
    [b"{\"action\":\"", b"CEF:0|Cipher Hub|cipher-hub|", b"{\"activity_id\":"];

/// A file of lines.
#[derive(Debug)]
pub(super) struct LineFile {
    path: PathBuf,
    max_size: u64,
    keep: u32,
    lines: Lines,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    size: u64,
    /// Device and inode.
    identity: (u64, u64),
}

impl LineFile {
    pub(super) const fn new(path: PathBuf, max_size: u64, keep: u32, lines: Lines) -> Self {
        Self { path, max_size, keep, lines, open: None }
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    fn folder(&self) -> &Path {
        self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
    }

    fn sync_folder(&self) -> std::io::Result<()> {
        File::open(self.folder())?.sync_all()
    }

    /// The file at the path, which is another one than before when somebody has moved or removed it.
    fn current(&mut self) -> std::io::Result<&mut Open> {
        if let Some(open) = &self.open
            && !self.is_there(open.identity)?
        {
            let path = self.path.display();
            tracing::info!(%path, "the file of a sink was moved or removed; it is made again");
            self.open = None;
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => self.open_file()?,
        };
        Ok(self.open.insert(open))
    }

    fn is_there(&self, identity: (u64, u64)) -> std::io::Result<bool> {
        match fs::metadata(&self.path) {
            Ok(facts) => Ok((facts.dev(), facts.ino()) == identity),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn open_file(&self) -> std::io::Result<Open> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let mut file = options.open(&self.path)?;
        let facts = file.metadata()?;
        if !facts.is_file() {
            return Err(std::io::Error::other("it is no regular file"));
        }
        let mut size = facts.len();
        let whole = whole_lines(&mut file, size)?;
        if let Some(whole) = whole {
            // The beginning of an entry whose writing was cut off; it is delivered again.
            file.set_len(whole)?;
            size = whole;
        } else if size > 0 && last_byte(&mut file)? != b'\n' {
            file.write_all(b"\n")?;
            size += 1;
        }
        self.sync_folder()?;
        Ok(Open { file, size, identity: (facts.dev(), facts.ino()) })
    }

    /// Numbers the full file, and forgets the oldest.
    fn rotate(&mut self) -> std::io::Result<()> {
        self.open = None;
        for number in (1..self.keep).rev() {
            let from = self.numbered(number);
            match fs::rename(&from, self.numbered(number + 1)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, self.numbered(1))?;
        self.sync_folder()
    }
}

impl Blocking for LineFile {
    fn accept(&mut self, batch: &Batch) -> std::io::Result<u64> {
        let failed = |error: std::io::Error, path: &Path| {
            std::io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
        };
        let path = self.path.clone();
        self.write(batch).map_err(|error| failed(error, &path))
    }
}

impl LineFile {
    fn write(&mut self, batch: &Batch) -> std::io::Result<u64> {
        let max_size = self.max_size;
        let (mut lines, mut next) = (Vec::new(), batch.from());
        let already = self.current()?.size;
        for entry in batch.entries() {
            let before = lines.len();
            self.lines.push(entry.bytes, &mut lines);
            if already + before as u64 > 0 && already + lines.len() as u64 > max_size {
                lines.truncate(before);
                break;
            }
            next = entry.seq + 1;
        }
        if lines.is_empty() {
            self.rotate()?;
            return self.write(batch);
        }
        let Some(open) = &mut self.open else { return Err(ErrorKind::NotFound.into()) };
        let done = open.file.write_all(&lines).and_then(|()| open.file.sync_data());
        if let Err(error) = done {
            // What was written of it goes again, so that no line is half there. A file that could
            // not be synced is not trusted either: it is opened anew.
            let _ = open.file.set_len(open.size);
            self.open = None;
            return Err(error);
        }
        open.size += lines.len() as u64;
        let (identity, removed) = (open.identity, open.file.metadata()?.nlink() == 0);
        if removed || !self.is_there(identity)? {
            self.open = None;
            if removed {
                // Written into a file that nobody will ever read.
                return Err(std::io::Error::other("the file was removed while it was written to"));
            }
        }
        // The rest goes into the next file.
        Ok(if batch.entries().any(|entry| entry.seq >= next) { next } else { batch.end() })
    }
}

/// Where the last line ends, when what follows is the beginning of an entry.
fn whole_lines(file: &mut File, size: u64) -> std::io::Result<Option<u64>> {
    let from = size.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail)?;
    let start = match tail.iter().rposition(|byte| *byte == b'\n') {
        Some(end) => end + 1,
        None if from == 0 => 0,
        None => return Ok(None),
    };
    let rest = tail.get(start..).unwrap_or_default();
    let is = |begin: &[u8]| rest.iter().zip(begin).all(|(byte, begin)| byte == begin);
    let begun = !rest.is_empty() && BEGINS.into_iter().any(is);
    Ok(begun.then_some(from + start as u64))
}

fn last_byte(file: &mut File) -> std::io::Result<u8> {
    let mut byte = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut byte)?;
    let [byte] = byte;
    Ok(byte)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::SinkFormat;

    fn entry(seq: u64, size: usize) -> Vec<u8> {
        let filler = "x".repeat(size);
        format!("{{\"action\":\"a\",\"detail\":\"{filler}\",\"seq\":{seq}}}").into_bytes()
    }

    fn file(path: &Path, max_size: u64, keep: u32) -> LineFile {
        LineFile::new(path.to_owned(), max_size, keep, Lines::new(SinkFormat::Json, "hub_1"))
    }

    /// Delivers everything, as a relay does.
    fn deliver(sink: &mut LineFile, from: u64, count: u64, size: usize) -> u64 {
        let entries: Vec<Vec<u8>> = (from..from + count).map(|seq| entry(seq, size)).collect();
        let mut next = from;
        while next < from + count {
            let skip = usize::try_from(next - from).unwrap();
            let rest: Vec<&[u8]> = entries.iter().skip(skip).map(Vec::as_slice).collect();
            next = sink.accept(&Batch::of(next, &rest)).unwrap();
        }
        next
    }

    fn seqs(path: &Path) -> Vec<u64> {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        let seq =
            |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64();
        text.lines().map(|line| seq(line).unwrap()).collect()
    }

    #[test]
    fn files_are_rotated_by_size_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let mut sink = file(&path, 1000, 2);
        deliver(&mut sink, 0, 40, 60);
        let names = ["audit.log.2", "audit.log.1", "audit.log"].map(|name| dir.path().join(name));
        let kept: Vec<u64> = names.iter().flat_map(|path| seqs(path)).collect();
        let first = kept[0];
        assert!(first > 0, "the oldest are gone");
        assert_eq!(kept, (first..40).collect::<Vec<_>>(), "the others follow one another");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
        for name in &names {
            let facts = fs::metadata(name).unwrap();
            assert!(facts.len() <= 1000);
            assert_eq!(facts.permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn an_entry_above_the_size_has_a_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let mut sink = file(&path, 1000, 9);
        deliver(&mut sink, 0, 3, 2000);
        assert_eq!(seqs(&path), [2]);
        assert_eq!(seqs(&dir.path().join("audit.log.2")), [0]);
    }

    #[test]
    fn a_file_that_was_moved_or_removed_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let (path, aside) = (dir.path().join("audit.log"), dir.path().join("aside"));
        let mut sink = file(&path, 100_000, 9);
        deliver(&mut sink, 0, 3, 10);
        fs::rename(&path, &aside).unwrap();
        deliver(&mut sink, 3, 3, 10);
        assert_eq!((seqs(&aside), seqs(&path)), (vec![0, 1, 2], vec![3, 4, 5]));
        fs::remove_file(&path).unwrap();
        deliver(&mut sink, 6, 1, 10);
        assert_eq!(seqs(&path), [6]);
    }

    #[test]
    fn a_line_that_was_cut_off_goes_and_what_is_not_ours_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        for (before, after) in [
            ("{\"action\":\"a\",\"seq\":0}\n{\"act", "{\"action\":\"a\",\"seq\":0}\n"),
            ("{\"action\":\"a\",\"detail\"", ""),
            ("somebody's", "somebody's\n"),
            ("one\ntwo", "one\ntwo\n"),
            ("one\n", "one\n"),
            ("one\nCEF:0|Ciph", "one\n"),
            ("one\nCEF:0|Cipher Hub|cipher-hub|0.1|keys.enc", "one\n"),
            ("one\n{\"activity_id\":99,\"ac", "one\n"),
            ("one\nCEF:0|other", "one\nCEF:0|other\n"),
        ] {
            fs::write(&path, before).unwrap();
            deliver(&mut file(&path, 100_000, 9), 1, 1, 1);
            let text = fs::read_to_string(&path).unwrap();
            let line = "{\"action\":\"a\",\"detail\":\"x\",\"seq\":1}\n";
            assert_eq!(text, format!("{after}{line}"), "{before}");
        }
    }

    #[test]
    fn what_cannot_be_a_file_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = file(&dir.path().join("missing/audit.log"), 100_000, 9);
        let error = sink.accept(&Batch::of(0, &[b"{}"])).unwrap_err();
        assert!(error.to_string().contains("missing/audit.log"), "{error}");
    }
}
