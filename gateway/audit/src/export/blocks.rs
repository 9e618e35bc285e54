//! Several files in one stream: blocks of a line `<name> <bytes>` and so many bytes. The bytes of
//! a file are those of its blocks, in order; `end 0` is the last block, and nothing follows it.

use super::{CHECKPOINT, Format, MANIFEST, PROOF, README, VERIFIER_KEYS};

/// The last block.
const END: &str = "end";
/// The longest block.
const MAX_BLOCK: u64 = 1 << 24;

/// Appends a block.
pub(super) fn write(out: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    out.extend_from_slice(format!("{name} {}\n", bytes.len()).as_bytes());
    out.extend_from_slice(bytes);
}

/// Appends the block of the end.
pub(super) fn write_end(out: &mut Vec<u8>) {
    write(out, END, b"");
}

/// The file of this name, if an export may have it: whoever unpacks makes no other files.
fn known(name: &str) -> Option<&'static str> {
    let entries = Format::ALL.into_iter().map(Format::file);
    let others = [PROOF, CHECKPOINT, VERIFIER_KEYS, README, MANIFEST, END];
    entries.chain(others).find(|known| *known == name)
}

/// A piece of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpacked<'a> {
    /// Which.
    pub file: &'static str,
    /// The next bytes of it.
    pub bytes: &'a [u8],
}

/// Takes a stream apart, however it is cut.
#[derive(Debug, Default)]
pub struct Unpacker {
    head: Vec<u8>,
    file: Option<&'static str>,
    left: u64,
    ended: bool,
}

impl Unpacker {
    /// Takes the next bytes of the stream, and hands out what they are.
    ///
    /// # Errors
    /// What is wrong with the stream, or the error of `sink`.
    pub fn push<E: From<&'static str>>(
        &mut self,
        mut bytes: &[u8],
        mut sink: impl FnMut(Unpacked<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some((first, rest)) = bytes.split_first() {
            if self.ended {
                return Err("something follows the end of the export".into());
            }
            if let (Some(file), true) = (self.file, self.left > 0) {
                let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                let (piece, more) = bytes.split_at_checked(length).unwrap_or((bytes, b""));
                self.left -= piece.len() as u64;
                sink(Unpacked { file, bytes: piece })?;
                bytes = more;
                continue;
            }
            bytes = rest;
            if *first != b'\n' {
                self.head.push(*first);
                if self.head.len() > 64 {
                    return Err("a block has no head".into());
                }
                continue;
            }
            let head = std::mem::take(&mut self.head);
            let head = std::str::from_utf8(&head).unwrap_or_default();
            let (name, length) = head.split_once(' ').ok_or("a block has no head")?;
            let file = known(name).ok_or("a block of an unknown file")?;
            let length: u64 = length.parse().map_err(|_| "a block has no length")?;
            if length > MAX_BLOCK {
                return Err("a block is too long".into());
            }
            self.ended = file == END && length == 0;
            (self.file, self.left) = (Some(file), length);
            sink(Unpacked { file, bytes: b"" })?;
        }
        Ok(())
    }

    /// Whether the end has come.
    #[must_use]
    pub const fn ended(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn unpack(stream: &[u8], step: usize) -> Result<BTreeMap<&'static str, Vec<u8>>, &'static str> {
        let (mut unpacker, mut files) = (Unpacker::default(), BTreeMap::new());
        for piece in stream.chunks(step) {
            unpacker.push::<&'static str>(piece, |piece| {
                files.entry(piece.file).or_insert_with(Vec::new).extend_from_slice(piece.bytes);
                Ok(())
            })?;
        }
        if unpacker.ended() { Ok(files) } else { Err("cut") }
    }

    #[test]
    fn streams_come_apart_however_they_are_cut() {
        let mut stream = Vec::new();
        write(&mut stream, "entries.jsonl", b"a 1\nend 0\n");
        write(&mut stream, "proof.jsonl", b"");
        write(&mut stream, "entries.jsonl", b"b\n");
        write_end(&mut stream);
        for step in 1..stream.len() {
            let files = unpack(&stream, step).unwrap();
            assert_eq!(files["entries.jsonl"], b"a 1\nend 0\nb\n");
            assert_eq!(files["proof.jsonl"], b"");
        }
        for cut in 0..stream.len() {
            assert!(unpack(&stream[..cut], 7).is_err());
        }
        let longer = [&stream[..], b"x"].concat();
        assert!(unpack(&longer, 7).is_err());
        for bad in ["../x 1\na", "manifest\n", "manifest -1\n", "manifest 99999999999\n", "\n"] {
            assert!(unpack(bad.as_bytes(), 7).is_err(), "{bad}");
        }
    }
}
