//! The plaintext of a record: one byte of format version and JSON. Layout: `docs/formats/store.md`.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::{Error, Path};

const FORMAT: u8 = 1;

/// Writes a value as record bytes.
///
/// # Errors
/// [`Error::Encode`] when the value has no JSON form.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Zeroizing<Vec<u8>>, Error> {
    let fail = |e: serde_json::Error| Error::Encode(describe(&e));
    // Measured first: a vector that grows leaves copies behind that nobody erases.
    let mut length = Counter(1);
    serde_json::to_writer(&mut length, value).map_err(fail)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.0));
    bytes.push(FORMAT);
    serde_json::to_writer(&mut *bytes, value).map_err(fail)?;
    Ok(bytes)
}

/// Reads a value from record bytes; `path` is for the message only.
///
/// # Errors
/// [`Error::Malformed`].
pub fn decode<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, Error> {
    let malformed = |reason| Error::Malformed { path: path.clone(), reason };
    let Some((format, json)) = bytes.split_first() else {
        return Err(malformed("it is empty".to_owned()));
    };
    if *format != FORMAT {
        return Err(malformed(format!("unknown format {format}")));
    }
    serde_json::from_slice(json).map_err(|e| malformed(describe(&e)))
}

/// What is wrong and where, without the text that serde_json would quote.
fn describe(error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        serde_json::error::Category::Io => "not writable",
        serde_json::error::Category::Syntax => "not json",
        serde_json::error::Category::Data => "not the value expected",
        serde_json::error::Category::Eof => "cut short",
    };
    format!("{kind} at byte {}", error.column())
}

/// Counts what would be written.
struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn round_trip_and_strictness() {
        let path = Path::new("k/a").unwrap();
        let value: BTreeMap<String, u64> = [("a".to_owned(), 1), ("b".to_owned(), 2)].into();
        let bytes = encode(&value).unwrap();
        assert_eq!(bytes[0], 1);
        assert_eq!(bytes.len(), bytes.capacity());
        assert_eq!(decode::<BTreeMap<String, u64>>(&path, &bytes).unwrap(), value);
        let mut newer = bytes.clone();
        newer[0] = 2;
        for bad in [&newer[..], &bytes[..bytes.len() - 1], &[], &[1]] {
            let error = decode::<BTreeMap<String, u64>>(&path, bad).unwrap_err();
            assert!(matches!(error, Error::Malformed { .. }));
        }
    }

    #[test]
    fn messages_do_not_quote_the_record() {
        let path = Path::new("k/a").unwrap();
        let bytes = encode("canary").unwrap();
        let error = decode::<u64>(&path, &bytes).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
}
