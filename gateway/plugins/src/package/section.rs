//! The sections of a WebAssembly component, as far as a package needs them: where each begins and
//! ends, and what custom sections are called. Only the outermost level is looked at; what is inside
//! of a section is for the validator.
//!
//! Every number comes from the file and none is believed: a length is in its shortest form, and
//! ends within the file, or the file is refused.

use std::ops::Range;

use super::PackageError;

/// `\0asm`, and the version and layer of a component.
const COMPONENT: [u8; 8] = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];
/// The same of a core module.
const MODULE: [u8; 8] = [0, b'a', b's', b'm', 1, 0, 0, 0];

/// One section.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Section<'a> {
    /// Where it is in the file, with its header.
    pub(super) range: Range<usize>,
    /// Name and content, of custom sections.
    pub(super) custom: Option<(&'a str, &'a [u8])>,
}

/// The sections in order.
#[derive(Debug)]
pub(super) struct Sections<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Sections<'a> {
    /// Looks at the first bytes.
    pub(super) fn of(bytes: &'a [u8]) -> Result<Self, PackageError> {
        match bytes.first_chunk::<8>() {
            Some(&COMPONENT) => Ok(Self { bytes, at: COMPONENT.len() }),
            Some(&MODULE) => Err(PackageError::CoreModule),
            _ => Err(PackageError::NotAComponent),
        }
    }

    fn read(&self) -> Option<Section<'a>> {
        let start = self.at;
        let (id, rest) = self.bytes.get(start..)?.split_first()?;
        let (length, rest) = number(rest)?;
        let (content, rest) = rest.split_at_checked(length)?;
        let custom = if *id == 0 {
            let (length, content) = number(content)?;
            let (name, payload) = content.split_at_checked(length)?;
            Some((std::str::from_utf8(name).ok()?, payload))
        } else {
            None
        };
        Some(Section { range: start..self.bytes.len() - rest.len(), custom })
    }
}

impl<'a> Iterator for Sections<'a> {
    type Item = Result<Section<'a>, PackageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let Some(section) = self.read() else {
            let at = std::mem::replace(&mut self.at, self.bytes.len());
            return Some(Err(PackageError::Section(at)));
        };
        self.at = section.range.end;
        Some(Ok(section))
    }
}

/// An unsigned LEB128 number of 32 bits in its shortest form, and what follows it.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_u32;
    for (place, byte) in bytes.iter().take(5).enumerate() {
        let digit = u32::from(byte & 0x7f);
        if place == 4 && digit > 0x0f {
            return None;
        }
        value |= digit << (7 * place);
        if byte & 0x80 == 0 {
            let shortest = *byte != 0 || place == 0;
            let rest = bytes.get(place + 1..)?;
            return shortest.then_some((usize::try_from(value).ok()?, rest));
        }
    }
    None
}

/// Appends a custom section.
pub(super) fn append(out: &mut Vec<u8>, name: &str, payload: &[u8]) {
    let mut content = Vec::with_capacity(payload.len() + name.len() + 5);
    append_number(&mut content, name.len());
    content.extend_from_slice(name.as_bytes());
    content.extend_from_slice(payload);
    out.push(0);
    append_number(out, content.len());
    out.extend_from_slice(&content);
}

fn append_number(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let digit = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            out.push(digit);
            return;
        }
        out.push(digit | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_spelling() {
        for value in [0, 1, 127, 128, 300, 16_383, 16_384, 2_097_152, u32::MAX as usize] {
            let mut bytes = Vec::new();
            append_number(&mut bytes, value);
            bytes.push(9);
            assert_eq!(number(&bytes), Some((value, &[9_u8][..])));
        }
        for wrong in [
            &[][..],
            &[0x80],
            &[0x80, 0],
            &[0xff, 0x80, 0],
            &[0xff, 0xff, 0xff, 0xff, 0x1f],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 1],
        ] {
            assert_eq!(number(wrong), None, "{wrong:x?}");
        }
    }

    #[test]
    fn a_section_ends_within_the_file() {
        let mut file = COMPONENT.to_vec();
        append(&mut file, "a", b"xyz");
        file.extend([7, 2, 1, 1]);
        let all: Vec<_> = Sections::of(&file).unwrap().map(Result::unwrap).collect();
        assert_eq!(all[0], Section { range: 8..15, custom: Some(("a", b"xyz")) });
        assert_eq!(all[1], Section { range: 15..19, custom: None });
        for cut in 9..file.len() {
            let whole = cut == 15;
            let read: Result<Vec<_>, _> = Sections::of(&file[..cut]).unwrap().collect();
            assert_eq!(read.is_ok(), whole, "{cut}");
        }
    }

    #[test]
    fn a_core_module_is_told_apart() {
        assert!(matches!(Sections::of(&MODULE), Err(PackageError::CoreModule)));
        assert!(matches!(Sections::of(b"\0asm"), Err(PackageError::NotAComponent)));
        assert!(matches!(Sections::of(b""), Err(PackageError::NotAComponent)));
    }
}
