//! What a client shows the hub to prove who it is: an API key for good, or a token from a file that
//! others write again before it ends (a projected service account token, say).

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use http::HeaderValue;
use zeroize::Zeroizing;

use crate::Error;

/// Most bytes a token file may hold.
const MAX_TOKEN_FILE: u64 = 16 * 1024;

/// A credential, ready to be sent.
pub(crate) enum Credential {
    None,
    Fixed(HeaderValue),
    File(TokenFile),
}

impl Credential {
    /// The value of `Authorization`.
    pub(crate) fn header(&self) -> Result<Option<HeaderValue>, Error> {
        match self {
            Self::None => Ok(None),
            Self::Fixed(value) => Ok(Some(value.clone())),
            Self::File(file) => file.header().map(Some),
        }
    }
}

/// A file with a token.
pub(crate) struct TokenFile {
    path: PathBuf,
    last: Mutex<Option<(Stand, HeaderValue)>>,
}

/// By which a file that was written again is told: Kubernetes swaps a link, others write in place.
#[derive(PartialEq, Eq)]
struct Stand {
    device: u64,
    inode: u64,
    size: u64,
    written: (i64, i64),
}

impl From<Metadata> for Stand {
    fn from(facts: Metadata) -> Self {
        Self {
            device: facts.dev(),
            inode: facts.ino(),
            size: facts.size(),
            written: (facts.mtime(), facts.mtime_nsec()),
        }
    }
}

impl TokenFile {
    /// A token file, which must be readable now.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let file = Self { path: path.to_owned(), last: Mutex::default() };
        file.header()?;
        Ok(file)
    }

    fn header(&self) -> Result<HeaderValue, Error> {
        let unreadable = |source| Error::File { path: self.path.clone(), source };
        let facts = std::fs::metadata(&self.path).map_err(unreadable)?;
        let stand = Stand::from(facts);
        // Whole after every statement.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, value)) = &*last
            && *seen == stand
        {
            return Ok(value.clone());
        }
        let value = read(&self.path)?;
        *last = Some((stand, value.clone()));
        Ok(value)
    }
}

fn read(path: &Path) -> Result<HeaderValue, Error> {
    use std::io::Read as _;

    let unreadable = |source| Error::File { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    // INVARIANT: the capacity exceeds what is read, so the vector never moves.
    let mut bytes = Zeroizing::new(Vec::with_capacity(32 * 1024));
    file.take(MAX_TOKEN_FILE).read_to_end(&mut bytes).map_err(unreadable)?;
    let bad = || Error::Token(path.to_owned());
    let token = std::str::from_utf8(&bytes).map_err(|_| bad())?.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(bad());
    }
    let text = Zeroizing::new(format!("Bearer {token}"));
    let mut value = HeaderValue::from_str(&text).map_err(|_| bad())?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_file_is_read_again_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("token"), folder.path().join("other"));
        assert!(matches!(TokenFile::open(&path), Err(Error::File { .. })));
        std::fs::write(&path, " \n").unwrap();
        assert!(matches!(TokenFile::open(&path), Err(Error::Token(_))));
        std::fs::write(&path, "a.b.c\n").unwrap();
        let file = TokenFile::open(&path).unwrap();
        assert_eq!(file.header().unwrap(), "Bearer a.b.c");
        assert!(file.header().unwrap().is_sensitive());
        // As Kubernetes does: another file in its place.
        std::fs::write(&other, "d.e.f").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(file.header().unwrap(), "Bearer d.e.f");
        std::fs::remove_file(&path).unwrap();
        assert!(file.header().is_err(), "what is gone is not used further");
    }
}
