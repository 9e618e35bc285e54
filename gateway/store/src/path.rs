//! Where a record lies: short ASCII paths such as `k/reg_01…/key_01…`. Paths are visible to whoever
//! reads the engine's files, so they hold ids, never names.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::Error;

/// The most bytes a path may have.
pub const MAX_PATH: usize = 255;

/// The prefix of everything a writer keeps about itself: heads and audit batches. Records under it
/// are no part of the state digest, because the audit chain and the head cover them.
pub const WRITER_PREFIX: &str = "w/";

/// The prefix of a writer's audit batches.
#[must_use]
pub fn batches(writer: &str) -> String {
    format!("{WRITER_PREFIX}{writer}/b/")
}

/// A place in the store. Cheap to clone; ordered as bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Arc<str>);

impl Path {
    /// Takes 1 to 255 characters of `a-z 0-9 _ / . -`, without empty segments.
    ///
    /// # Errors
    /// [`Error::Path`] when the text has another form.
    pub fn new(text: &str) -> Result<Self, Error> {
        let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'/' | b'.' | b'-');
        let well_formed = !text.is_empty()
            && text.len() <= MAX_PATH
            && text.bytes().all(allowed)
            && text.split('/').all(|segment| !segment.is_empty());
        if well_formed { Ok(Self(text.into())) } else { Err(Error::Path(clip(text))) }
    }

    /// Joins segments with `/`; see also [`path!`](crate::path!).
    ///
    /// # Errors
    /// [`Error::Path`] when a segment is empty or holds a slash, or the whole has another form.
    pub fn from_parts(parts: &[&dyn fmt::Display]) -> Result<Self, Error> {
        use fmt::Write as _;
        let mut text = String::with_capacity(64);
        for part in parts {
            if !text.is_empty() {
                text.push('/');
            }
            let start = text.len();
            // Writing to a string does not fail; a `Display` that does is a malformed part.
            write!(text, "{part}").map_err(|_| Error::Path(clip(&text)))?;
            let segment = text.get(start..).unwrap_or_default();
            if segment.is_empty() || segment.contains('/') {
                return Err(Error::Path(clip(&text)));
            }
        }
        Self::new(&text)
    }

    /// A place where nothing is ever read from.
    pub(crate) fn invalid() -> Self {
        Self("invalid".into())
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path as bytes, as bound into seals.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Whether the record belongs to a writer (head, audit batches) and not to the state.
    #[must_use]
    pub fn is_writers(&self) -> bool {
        self.0.starts_with(WRITER_PREFIX)
    }

    /// The last segment.
    #[must_use]
    pub fn last_segment(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}

/// Builds a [`Path`] from its segments: `path!("k", registration, key)?`.
#[macro_export]
macro_rules! path {
    ($($part:expr),+ $(,)?) => {
        $crate::Path::from_parts(&[$(&$part as &dyn ::core::fmt::Display),+])
    };
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

// Sound: order, equality and hash of a path are those of its text.
impl Borrow<str> for Path {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Path {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Path {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::new(text)
    }
}

/// At most 64 characters of a refused text, for messages.
fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_ids_and_refuses_everything_else() {
        for good in ["a", "k/reg_01/key_02", "w/node-1/e/00000000000000000001", "m/hub.v1"] {
            assert_eq!(Path::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "/", "/a", "a/", "a//b", "A", "a b", "ä", "a\0", "a%2fb"] {
            assert!(matches!(Path::new(bad), Err(Error::Path(_))), "{bad:?}");
        }
        assert!(Path::new(&"a".repeat(MAX_PATH)).is_ok());
        assert!(Path::new(&"a".repeat(MAX_PATH + 1)).is_err());
    }

    #[test]
    fn parts_cannot_smuggle_segments() {
        assert_eq!(path!("v", "key_1", 3).unwrap().as_str(), "v/key_1/3");
        assert!(path!("v", "a/b").is_err());
        assert!(path!("v", "", "b").is_err());
        assert!(path!("", "b").is_err());
        assert_eq!(path!("v", "key_1").unwrap().last_segment(), "key_1");
    }
}
