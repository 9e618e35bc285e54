//! The key-file seal: 32 random bytes in a file of their own, kept apart from the data
//! (`docs/formats/seal.md`). One text line, with a check value that tells a damaged file from a
//! wrong one.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hub_arena::Secret;
use hub_model::HubId;
use zeroize::Zeroizing;

use super::{Seal, io, unwrap_root, wrap_root};
use crate::{Error, Kek, Result, RootKey, mac, random};

/// The first word of the line.
const FORMAT: &str = "cipher-hub-seal-key-1";
/// The word, a space, 44 characters of base64, a space, 16 of hex, a line feed.
const LINE_LEN: usize = FORMAT.len() + 1 + 44 + 1 + 16 + 1;
const CHECK_LABEL: &[u8] = b"cipher-hub/v1/seal-key-check";

/// A seal whose key lies in a file.
pub struct KeyFileSeal {
    path: PathBuf,
    kek: Kek,
    check: String,
}

impl KeyFileSeal {
    /// Draws a key and writes it to a new file with mode 0600, synced with its directory.
    ///
    /// # Errors
    /// [`Error::File`], also when something of that name exists: a key is never overwritten.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let key = random::secret(32)?;
        let check = check_of(&key);
        let mut line = Zeroizing::new([0u8; LINE_LEN]);
        let mut rest = line.as_mut_slice();
        for part in [FORMAT.as_bytes(), b" "] {
            rest = put(rest, part);
        }
        let (base64, rest) = rest.split_at_mut(44);
        // INVARIANT: 32 bytes make 44 characters.
        let _ = STANDARD.encode_slice(key.expose_secret(), base64);
        put(put(put(rest, b" "), check.as_bytes()), b"\n");
        io::create_new(path, line.as_slice())?;
        Self::with_key(path, key)
    }

    /// Reads the key from the file.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read; [`Error::Unfit`] when it is a symbolic link,
    /// somebody else's, readable by others, of another format, or damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let unfit = |problem| Error::Unfit { path: path.to_owned(), problem };
        let line = io::read(path, LINE_LEN, true)?;
        let damaged = || unfit("is damaged: restore it from a copy");
        let rest = line
            .strip_prefix(FORMAT.as_bytes())
            .and_then(|rest| rest.strip_prefix(b" "))
            .ok_or_else(|| unfit("is not a cipher hub seal key"))?;
        if line.len() != LINE_LEN {
            return Err(damaged());
        }
        let (base64, rest) = rest.split_at_checked(44).ok_or_else(damaged)?;
        let mut outcome = Ok(0);
        let key = Secret::fill(32, |slot| outcome = STANDARD.decode_slice(base64, slot))?;
        if !matches!(outcome, Ok(32)) {
            return Err(damaged());
        }
        let check = rest.strip_prefix(b" ").and_then(|rest| rest.strip_suffix(b"\n"));
        if check != Some(check_of(&key).as_bytes()) {
            return Err(damaged());
        }
        Self::with_key(path, key)
    }

    /// Where the key lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn with_key(path: &Path, key: Secret) -> Result<Self> {
        let check = check_of(&key);
        Ok(Self { path: path.to_owned(), kek: Kek::from_secret(key, 1)?, check })
    }
}

impl Seal for KeyFileSeal {
    fn kind(&self) -> &'static str {
        "key-file"
    }

    fn check(&self) -> String {
        self.check.clone()
    }

    fn wrap(&self, root: &RootKey, hub: HubId) -> Result<Vec<u8>> {
        Ok(wrap_root(&self.kek, root, hub))
    }

    fn unwrap(&self, wrapped: &[u8], hub: HubId) -> Result<RootKey> {
        unwrap_root(&self.kek, wrapped, hub)
    }
}

impl fmt::Debug for KeyFileSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyFileSeal({}, [secret])", self.path.display())
    }
}

/// A public name of the key: the first 8 bytes of HMAC(key, label) in hex. Says nothing about the
/// key, which has 256 bits of its own.
fn check_of(key: &Secret) -> String {
    let tag = mac::hmac(key.expose_secret(), &[CHECK_LABEL]);
    tag.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Writes the part at the start, and gives what follows.
fn put<'a>(target: &'a mut [u8], part: &[u8]) -> &'a mut [u8] {
    let (start, rest) = target.split_at_mut(part.len());
    start.copy_from_slice(part);
    rest
}
