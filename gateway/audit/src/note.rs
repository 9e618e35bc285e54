//! Signed notes after C2SP signed-note: a text, an empty line, signature lines.

use hub_crypto::hash::sha256_parts;
use hub_crypto::sign::VerifyingKey;
use hub_model::secret::{decode_base64, encode_base64};

use crate::Error;
use crate::encode::hex;

/// Most signature lines that are read; signed-note asks for 16 at least.
const MAX_SIGNATURES: usize = 64;
/// What begins a signature line.
const DASH: &str = "\u{2014} ";

/// What kind of signature a key makes: the type byte of signed-note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Ed25519 over the text: logs.
    Ed25519 = 0x01,
    /// Ed25519 over text and time: witnesses (C2SP tlog-cosignature).
    Cosignature = 0x04,
}

/// A key that is known: its name, kind and bytes. In text form a C2SP vkey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    /// The signer's name.
    pub name: String,
    /// What it signs.
    pub kind: Kind,
    /// The public key.
    pub key: VerifyingKey,
}

impl VerifierKey {
    /// The key id: the first four bytes of SHA-256(name ‖ 0x0A ‖ type ‖ public key).
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        let kind = self.kind as u8;
        let parts: [&[u8]; 4] = [self.name.as_bytes(), b"\n", &[kind], &self.key.to_bytes()];
        let [a, b, c, d, ..] = sha256_parts(&parts);
        [a, b, c, d]
    }

    /// Reads `<name>+<key id, hex>+<base64 of type ‖ public key>`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is malformed or of a kind nobody here checks.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bad = || Error::Checkpoint("the verifier key is malformed");
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad());
        };
        if !good_name(name) {
            return Err(bad());
        }
        let bytes = decode_base64(key).map_err(|_| bad())?;
        let (kind, public) = match bytes.split_first() {
            Some((0x01, public)) => (Kind::Ed25519, public),
            Some((0x04, public)) => (Kind::Cosignature, public),
            Some(_) => return Err(Error::Checkpoint("the verifier key is of an unknown type")),
            None => return Err(bad()),
        };
        let public = <[u8; 32]>::try_from(public).map_err(|_| bad())?;
        let key = VerifyingKey::from_bytes(&public)
            .map_err(|_| Error::Checkpoint("the verifier key is no point of the curve"))?;
        let found = Self { name: name.to_owned(), kind, key };
        if hex(&found.id()) != id {
            return Err(Error::Checkpoint("the verifier key's id does not match its bytes"));
        }
        Ok(found)
    }

    /// A signature line of this key.
    #[must_use]
    pub fn line(&self, signature: &[u8]) -> String {
        let mut blob = self.id().to_vec();
        blob.extend_from_slice(signature);
        format!("{DASH}{} {}\n", self.name, encode_base64(&blob))
    }

    /// The signature of this key among those of a note: `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when there is one and it is wrong: the note is malformed.
    pub fn find<'a>(&self, note: &Note<'a>) -> Result<Option<Signature<'a>>, Error> {
        let mut good = None;
        let id = self.id();
        for line in note.signatures() {
            if line.name != self.name || line.id != id {
                continue;
            }
            let verified = match self.kind {
                Kind::Ed25519 => {
                    self.key.verify(note.text.as_bytes(), &line.signature).ok().map(|()| 0)
                }
                Kind::Cosignature => {
                    crate::cosignature::verify(&self.key, note.text, &line.signature)
                }
            };
            let time = verified.ok_or(Error::Checkpoint("a signature of a known key is wrong"))?;
            good = Some(Signature { line: line.text, time });
        }
        Ok(good)
    }
}

impl std::fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = vec![self.kind as u8];
        bytes.extend_from_slice(&self.key.to_bytes());
        write!(f, "{}+{}+{}", self.name, hex(&self.id()), encode_base64(&bytes))
    }
}

/// A signature that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature<'a> {
    /// Its line, without the line end.
    pub line: &'a str,
    /// When it was made, in seconds since 1970; 0 for kinds that do not say.
    pub time: u64,
}

/// Whether this can be a signer's name: not empty, no white space, no plus.
#[must_use]
pub fn good_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c == '+' || c.is_control())
}

/// A note taken apart; no signature is checked yet.
#[derive(Clone, Copy, Debug)]
pub struct Note<'a> {
    /// The text that is signed, with its last line end.
    pub text: &'a str,
    lines: &'a str,
}

/// A signature line.
#[derive(Debug)]
struct Line<'a> {
    text: &'a str,
    name: &'a str,
    id: [u8; 4],
    signature: Vec<u8>,
}

impl<'a> Note<'a> {
    /// Takes a note apart, strictly.
    ///
    /// # Errors
    /// [`Error::Checkpoint`].
    pub fn parse(note: &'a str) -> Result<Self, Error> {
        let malformed = || Error::Checkpoint("it is no signed note");
        let split = note.rfind("\n\n").ok_or(Error::Checkpoint("it has no signature"))?;
        let (text, rest) = note.split_at_checked(split + 1).ok_or_else(malformed)?;
        let lines = rest.get(1..).unwrap_or_default();
        let control = note.chars().any(|c| c.is_ascii_control() && c != '\n');
        let count = lines.lines().count();
        if control || !lines.ends_with('\n') || count == 0 || count > MAX_SIGNATURES {
            return Err(malformed());
        }
        let found = Self { text, lines };
        if found.signatures().count() != count {
            return Err(Error::Checkpoint("a signature line is malformed"));
        }
        Ok(found)
    }

    fn signatures(&self) -> impl Iterator<Item = Line<'a>> {
        self.lines.lines().filter_map(|text| {
            let (name, blob) = text.strip_prefix(DASH)?.split_once(' ')?;
            let blob = decode_base64(blob).ok()?;
            let (id, signature) = blob.split_first_chunk::<4>()?;
            let (id, signature) = (*id, signature.to_vec());
            good_name(name).then_some(Line { text, name, id, signature })
        })
    }

    /// Who signed, by their own word.
    pub fn signers(&self) -> impl Iterator<Item = &'a str> {
        self.signatures().map(|line| line.name)
    }

    /// The ids of keys of this name that signed, by their own word.
    pub fn key_ids(&self, name: &str) -> impl Iterator<Item = [u8; 4]> {
        self.signatures().filter(move |line| line.name == name).map(|line| line.id)
    }

    /// This note with what another one of the same text has besides: of each signer and key id one
    /// line, this note's first. `None` when the other is over another text. Checks no signature.
    #[must_use]
    pub fn merged(&self, other: &Self) -> Option<String> {
        if self.text != other.text {
            return None;
        }
        let mut whole = format!("{}\n{}", self.text, self.lines);
        let mut known: Vec<_> = self.signatures().map(|line| (line.name, line.id)).collect();
        for line in other.signatures() {
            if known.len() < MAX_SIGNATURES && !known.contains(&(line.name, line.id)) {
                known.push((line.name, line.id));
                whole.push_str(line.text);
                whole.push('\n');
            }
        }
        Some(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of signed-note, word for word.
    const KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo \
        Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

    #[test]
    fn the_example_of_the_specification_verifies() {
        let key = VerifierKey::parse(KEY).unwrap();
        assert_eq!(key.to_string(), KEY);
        let note = Note::parse(NOTE).unwrap();
        assert_eq!(note.text, "This is an example message.\n");
        assert!(key.find(&note).unwrap().is_some());
        let changed = NOTE.replace("example message", "exemple message");
        assert!(key.find(&Note::parse(&changed).unwrap()).is_err());
        let other = NOTE.replace("example.com/foo", "example.com/bar");
        assert_eq!(key.find(&Note::parse(&other).unwrap()).unwrap(), None);
    }

    #[test]
    fn what_is_no_note_is_refused() {
        for bad in [
            "",
            "text\n",
            "text\n\n",
            &NOTE[..NOTE.len() - 1],
            &NOTE.replace("This", "This\r"),
            &NOTE.replace(" Uw2Q", " ?w2Q"),
            &NOTE.replace("\u{2014} ", "- "),
        ] {
            assert!(Note::parse(bad).is_err(), "{bad:?}");
        }
        for bad in [
            "",
            "a+b",
            "a b+530d903a+AekyeRrm",
            "x+00000000+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        ] {
            assert!(VerifierKey::parse(bad).is_err(), "{bad:?}");
        }
    }
}
