//! Signed checkpoints after C2SP tlog-checkpoint and signed-note: what an outsider keeps to prove
//! later that nothing before it was altered, removed or cut off.
//!
//! ```text
//! <hub id>.audit
//! <entries>
//! <Merkle root, base64>
//! chain <leaf hash of the last entry, hex>
//! state <commits> <state digest, hex>
//! time <RFC 3339>
//!
//! — <hub id>.audit <base64 of 4-byte key id ‖ Ed25519 signature>
//! ```

use std::path::{Path as FilePath, PathBuf};

use hub_crypto::hash::sha256_parts;
use hub_crypto::sign::{SigningKey, VerifyingKey};
use hub_model::secret::{decode_base64, encode_base64};
use hub_model::{HubId, Timestamp};

use crate::encode::{hex, parse_hex32};
use crate::{Error, merkle};

/// Ed25519 in signed notes.
const SIGNATURE_TYPE: u8 = 0x01;

/// What a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose log: `<hub id>.audit`.
    pub origin: String,
    /// How many entries.
    pub size: u64,
    /// The Merkle root over them.
    pub root: merkle::Hash,
    /// The leaf hash of the last one; zeros when there is none.
    pub chain: merkle::Hash,
    /// How many commits the store had seen.
    pub commits: u64,
    /// The keyed state digest after them.
    pub digest: [u8; 32],
    /// When.
    pub time: Timestamp,
}

/// The origin line of a hub's log.
#[must_use]
pub fn origin(hub: HubId) -> String {
    format!("{hub}.audit")
}

fn key_id(name: &str, public: &[u8; 32]) -> [u8; 4] {
    let hash = sha256_parts(&[name.as_bytes(), b"\n", &[SIGNATURE_TYPE], public]);
    let [a, b, c, d, ..] = hash;
    [a, b, c, d]
}

/// The verifier key in C2SP's text form: `<name>+<key id, hex>+<base64 of 0x01 ‖ public key>`.
#[must_use]
pub fn verifier_key(name: &str, key: &VerifyingKey) -> String {
    let public = key.to_bytes();
    let mut encoded = vec![SIGNATURE_TYPE];
    encoded.extend_from_slice(&public);
    format!("{name}+{}+{}", hex(&key_id(name, &public)), encode_base64(&encoded))
}

/// Reads a verifier key.
///
/// # Errors
/// [`Error::Checkpoint`] when it is malformed or of another type.
pub fn parse_verifier_key(text: &str) -> Result<(String, VerifyingKey), Error> {
    let bad = Error::Checkpoint("the verifier key is malformed");
    let mut parts = text.trim().splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(bad);
    };
    let bytes =
        decode_base64(key).map_err(|_| Error::Checkpoint("the verifier key is malformed"))?;
    let Some((&SIGNATURE_TYPE, public)) = bytes.split_first() else { return Err(bad) };
    let Ok(public) = <[u8; 32]>::try_from(public) else { return Err(bad) };
    if hex(&key_id(name, &public)) != id {
        return Err(Error::Checkpoint("the verifier key's id does not match its bytes"));
    }
    let key = VerifyingKey::from_bytes(&public)
        .map_err(|_| Error::Checkpoint("the verifier key is no point of the curve"))?;
    Ok((name.to_owned(), key))
}

impl Checkpoint {
    fn body(&self) -> String {
        format!(
            "{}\n{}\n{}\nchain {}\nstate {} {}\ntime {}\n",
            self.origin,
            self.size,
            encode_base64(&self.root),
            hex(&self.chain),
            self.commits,
            hex(&self.digest),
            self.time
        )
    }

    /// The signed note.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> String {
        self.sign_by([key])
    }

    /// The note, signed by each of these: after a rotation the key before signs too for a while.
    #[must_use]
    pub fn sign_by<'a>(&self, keys: impl IntoIterator<Item = &'a SigningKey>) -> String {
        let body = self.body();
        let mut note = format!("{body}\n");
        for key in keys {
            let mut blob = key_id(&self.origin, &key.public().to_bytes()).to_vec();
            blob.extend_from_slice(&key.sign(body.as_bytes()));
            note.push_str(&format!("\u{2014} {} {}\n", self.origin, encode_base64(&blob)));
        }
        note
    }

    /// As [`Checkpoint::open`], with the signature of any of these keys.
    ///
    /// # Errors
    /// [`Error::Checkpoint`].
    pub fn open_any(
        note: &str,
        name: &str,
        keys: impl IntoIterator<Item = VerifyingKey>,
    ) -> Result<Self, Error> {
        let mut outcome = Err(Error::Checkpoint("no key is known"));
        for key in keys {
            outcome = Self::open(note, name, &key);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// Reads a signed note and checks the signature of this key. Signatures of others (witnesses)
    /// are passed over, as signed-note demands.
    ///
    /// # Errors
    /// [`Error::Checkpoint`].
    pub fn open(note: &str, name: &str, key: &VerifyingKey) -> Result<Self, Error> {
        let (body, signatures) =
            note.rsplit_once("\n\n").ok_or(Error::Checkpoint("it has no signature"))?;
        let body = format!("{body}\n");
        let id = key_id(name, &key.to_bytes());
        let signed = signatures.lines().any(|line| {
            let Some((signer, blob)) =
                line.strip_prefix("\u{2014} ").and_then(|rest| rest.split_once(' '))
            else {
                return false;
            };
            signer == name
                && decode_base64(blob).is_ok_and(|blob| {
                    blob.split_first_chunk::<4>().is_some_and(|(kid, sig)| {
                        *kid == id && key.verify(body.as_bytes(), sig).is_ok()
                    })
                })
        });
        if !signed {
            return Err(Error::Checkpoint("no valid signature of the hub's key"));
        }
        Self::parse(&body).ok_or(Error::Checkpoint("its lines are malformed"))
    }

    /// What the text of a note says; no signature is checked.
    ///
    /// # Errors
    /// [`Error::Checkpoint`].
    pub fn read(text: &str) -> Result<Self, Error> {
        Self::parse(text).ok_or(Error::Checkpoint("its lines are malformed"))
    }

    fn parse(body: &str) -> Option<Self> {
        let mut lines = body.lines();
        let origin = lines.next()?.to_owned();
        let size = lines.next()?.parse().ok()?;
        let root = decode_base64(lines.next()?).ok()?.try_into().ok()?;
        let chain = parse_hex32(lines.next()?.strip_prefix("chain ")?)?;
        let (commits, digest) = lines.next()?.strip_prefix("state ")?.split_once(' ')?;
        let time = lines.next()?.strip_prefix("time ")?.parse().ok()?;
        let (commits, digest) = (commits.parse().ok()?, parse_hex32(digest)?);
        Some(Self { origin, size, root, chain, commits, digest, time })
    }
}

/// Puts a note in place of the file, durably: a reader finds the old one or the new one.
///
/// # Errors
/// [`Error::Store`] with the file and the reason.
pub fn write_file(path: &FilePath, note: &str) -> Result<(), Error> {
    Ok(hub_store::durable_file::write_atomic(path, note.as_bytes(), 0o600)?)
}

/// The note in the file, or `None` when there is no file.
///
/// # Errors
/// [`Error::CheckpointFile`].
pub fn read_file(path: &FilePath) -> Result<Option<String>, Error> {
    match std::fs::read_to_string(path) {
        Ok(note) => Ok(Some(note)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::CheckpointFile { path: path.display().to_string(), source }),
    }
}

/// Gives the file another name that nothing reads, and that no other has: evidence of a history that
/// is no more. The new name; `None` when there is no file.
///
/// # Errors
/// [`Error::CheckpointFile`].
pub fn put_aside(path: &FilePath) -> Result<Option<PathBuf>, Error> {
    let failed = |source| Error::CheckpointFile { path: path.display().to_string(), source };
    let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else {
        return Ok(None);
    };
    let mut aside = path.with_file_name(format!("{name}.aside"));
    let mut more = 1_u32;
    while aside.exists() {
        more = more.saturating_add(1);
        aside = path.with_file_name(format!("{name}.aside-{more}"));
    }
    match std::fs::rename(path, &aside) {
        Ok(()) => Ok(Some(aside)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Checkpoint {
        Checkpoint {
            origin: origin(HubId::from_bytes([7; 16])),
            size: 3,
            root: [1; 32],
            chain: [2; 32],
            commits: 9,
            digest: [3; 32],
            time: Timestamp::from_micros(1_795_000_000_000_000),
        }
    }

    #[test]
    fn notes_round_trip_and_every_changed_byte_is_refused() {
        let key = SigningKey::generate().unwrap();
        let note = sample().sign(&key);
        let name = sample().origin;
        assert_eq!(Checkpoint::open(&note, &name, &key.public()).unwrap(), sample());
        let other = SigningKey::generate().unwrap();
        assert!(Checkpoint::open(&note, &name, &other.public()).is_err());
        for index in 0..note.len() {
            let mut bytes = note.clone().into_bytes();
            bytes[index] ^= 1;
            if let Ok(changed) = String::from_utf8(bytes) {
                let outcome = Checkpoint::open(&changed, &name, &key.public());
                assert!(outcome.is_err(), "byte {index}");
            }
        }
    }

    #[test]
    fn either_key_of_an_overlap_opens() {
        let (new, old) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let name = sample().origin;
        let note = sample().sign_by([&new, &old]);
        for key in [&new, &old] {
            assert_eq!(Checkpoint::open(&note, &name, &key.public()).unwrap(), sample());
        }
        let keys = || [SigningKey::generate().unwrap().public(), old.public()];
        assert!(Checkpoint::open_any(&note, &name, keys()).is_ok());
        assert!(Checkpoint::open_any(&sample().sign(&new), &name, keys()).is_err());
        assert!(Checkpoint::open_any(&note, &name, []).is_err());
    }

    #[test]
    fn verifier_keys_round_trip() {
        let key = SigningKey::generate().unwrap().public();
        let text = verifier_key("hub.example", &key);
        let (name, parsed) = parse_verifier_key(&text).unwrap();
        assert_eq!((name.as_str(), parsed.to_bytes()), ("hub.example", key.to_bytes()));
        assert!(parse_verifier_key(&text.replace("hub.", "hob.")).is_err());
    }
}
