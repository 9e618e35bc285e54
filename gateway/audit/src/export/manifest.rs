//! The manifest of an export: what it holds, under which checkpoint, and the hash of every file,
//! as a C2SP signed note. The key is that of checkpoints, but the name is another one, so that
//! neither can ever be taken for the other (`docs/formats/audit-export.md`).

use std::fmt::Write as _;

use hub_crypto::hash::sha256_parts;
use hub_crypto::sign::{SigningKey, VerifyingKey};
use hub_model::secret::{decode_base64, encode_base64};
use hub_model::{RegistrationId, Timestamp};

use crate::encode::hex;
use crate::merkle::Hash;
use crate::verify::scan;

use super::Format;

/// The first line after the name: what this is, and its version.
const KIND: &str = "cipher-hub-audit-export 1";
/// Ed25519 in signed notes.
const SIGNATURE_TYPE: u8 = 0x01;
/// The longest manifest that is read.
pub const MAX_MANIFEST: usize = 64 * 1024;

/// The name manifests of a log are signed under.
#[must_use]
pub fn manifest_name(origin: &str) -> String {
    format!("{origin}-export")
}

/// A file of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Its name.
    pub name: String,
    /// How many bytes.
    pub bytes: u64,
    /// SHA-256 of them.
    pub sha256: Hash,
}

/// What a manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The origin of the log's checkpoints: `<hub id>.audit`.
    pub origin: String,
    /// Whose log.
    pub writer: String,
    /// The form of the entries.
    pub format: Format,
    /// Positions from the first to before the second were looked at.
    pub range: (u64, u64),
    /// Only entries of this registration.
    pub registration: Option<RegistrationId>,
    /// The times that the range was chosen by.
    pub times: (Option<Timestamp>, Option<Timestamp>),
    /// How many entries there are.
    pub entries: u64,
    /// The positions of the first and the last one.
    pub ends: Option<(u64, u64)>,
    /// Size and root of the checkpoint the export stands under.
    pub tree: (u64, Hash),
    /// Every other file.
    pub files: Vec<FileFacts>,
    /// When it was made.
    pub time: Timestamp,
}

impl Manifest {
    fn body(&self) -> String {
        let mut text = format!(
            "{}\n{KIND}\nwriter {}\nformat {}\nrange {} {}\n",
            manifest_name(&self.origin),
            self.writer,
            self.format.name(),
            self.range.0,
            self.range.1
        );
        if let Some(registration) = self.registration {
            let _ = writeln!(text, "registration {registration}");
        }
        for (name, time) in [("from", self.times.0), ("to", self.times.1)] {
            if let Some(time) = time {
                let _ = writeln!(text, "{name} {time}");
            }
        }
        let _ = match self.ends {
            Some((first, last)) => writeln!(text, "entries {} {first} {last}", self.entries),
            None => writeln!(text, "entries {}", self.entries),
        };
        let (size, root) = &self.tree;
        let _ = writeln!(text, "checkpoint {size} {}", encode_base64(root));
        for FileFacts { name, bytes, sha256 } in &self.files {
            let _ = writeln!(text, "file {name} {bytes} {}", hex(sha256));
        }
        let _ = writeln!(text, "time {}", self.time);
        text
    }

    /// The signed note.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> String {
        let body = self.body();
        let name = manifest_name(&self.origin);
        let mut blob = key_id(&name, &key.public()).to_vec();
        blob.extend_from_slice(&key.sign(body.as_bytes()));
        format!("{body}\n\u{2014} {name} {}\n", encode_base64(&blob))
    }

    /// Reads a signed manifest. It has one signature, and every byte of it one spelling: what is
    /// not exactly as it is written is refused.
    ///
    /// # Errors
    /// What is wrong.
    pub fn open(note: &str, keys: &[(String, VerifyingKey)]) -> Result<Self, &'static str> {
        const UNSIGNED: &str = "no valid signature of a key given";
        let (body, signature) = note.rsplit_once("\n\n").ok_or("it has no signature")?;
        let body = format!("{body}\n");
        let signed_name = body.lines().next().unwrap_or_default();
        let line = signature
            .strip_suffix('\n')
            .and_then(|line| line.strip_prefix("\u{2014} "))
            .ok_or("it has not exactly one signature")?;
        let (name, encoded) = line.split_once(' ').ok_or("its signature line is malformed")?;
        let blob = decode_base64(encoded).map_err(|_| "its signature line is malformed")?;
        let (id, signature) = blob.split_first_chunk::<4>().ok_or(UNSIGNED)?;
        let good = keys.iter().any(|(origin, key)| {
            let expected = manifest_name(origin);
            expected == signed_name
                && name == expected
                && *id == key_id(&expected, key)
                && key.verify(body.as_bytes(), signature).is_ok()
        });
        if !good || encode_base64(&blob) != encoded {
            return Err(UNSIGNED);
        }
        let manifest = Self::parse(&body).ok_or("its lines are malformed")?;
        if manifest.body() == body { Ok(manifest) } else { Err("its lines are malformed") }
    }

    fn parse(body: &str) -> Option<Self> {
        let mut lines = body.lines().peekable();
        let origin = lines.next()?.strip_suffix("-export")?.to_owned();
        if lines.next()? != KIND {
            return None;
        }
        let writer = lines.next()?.strip_prefix("writer ")?.to_owned();
        let format = Format::parse(lines.next()?.strip_prefix("format ")?)?;
        let (from, to) = lines.next()?.strip_prefix("range ")?.split_once(' ')?;
        let range = (from.parse().ok()?, to.parse().ok()?);
        let mut optional = |name: &str| {
            let line = lines.next_if(|line| line.starts_with(name))?;
            Some(line.get(name.len()..).unwrap_or_default().to_owned())
        };
        let registration = match optional("registration ") {
            Some(text) => Some(text.parse().ok()?),
            None => None,
        };
        let mut time = |name| match optional(name) {
            Some(text) => text.parse().map(Some).ok(),
            None => Some(None),
        };
        let times = (time("from ")?, time("to ")?);
        let mut counted = lines.next()?.strip_prefix("entries ")?.split(' ');
        let entries = counted.next()?.parse().ok()?;
        let ends = match (counted.next(), counted.next(), counted.next()) {
            (Some(first), Some(last), None) => Some((first.parse().ok()?, last.parse().ok()?)),
            (None, ..) => None,
            _ => return None,
        };
        let (size, root) = lines.next()?.strip_prefix("checkpoint ")?.split_once(' ')?;
        let tree = (size.parse().ok()?, decode_base64(root).ok()?.try_into().ok()?);
        let mut files = Vec::new();
        while let Some(line) = lines.next_if(|line| line.starts_with("file ")) {
            let mut words = line.split(' ').skip(1);
            let (name, bytes, sha256) = (words.next()?, words.next()?, words.next()?);
            let sha256 = scan::hash(sha256)?;
            files.push(FileFacts { name: name.to_owned(), bytes: bytes.parse().ok()?, sha256 });
        }
        let time = lines.next()?.strip_prefix("time ")?.parse().ok()?;
        let manifest = Self {
            origin,
            writer,
            format,
            range,
            registration,
            times,
            entries,
            ends,
            tree,
            files,
            time,
        };
        lines.next().is_none().then_some(manifest)
    }

    /// The file of this name.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&FileFacts> {
        self.files.iter().find(|file| file.name == name)
    }
}

fn key_id(name: &str, key: &VerifyingKey) -> [u8; 4] {
    let hash =
        sha256_parts(&[name.as_bytes(), b"\n", &[SIGNATURE_TYPE], key.to_bytes().as_slice()]);
    let [a, b, c, d, ..] = hash;
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;

    fn sample() -> Manifest {
        Manifest {
            origin: "hub_x.audit".to_owned(),
            writer: "main".to_owned(),
            format: Format::Jsonl,
            range: (3, 9),
            registration: Some(RegistrationId::from_bytes([1; 16])),
            times: (Some(Timestamp::from_micros(1_795_000_000_000_000)), None),
            entries: 2,
            ends: Some((4, 8)),
            tree: (12, [5; 32]),
            files: vec![FileFacts { name: "entries.jsonl".to_owned(), bytes: 5, sha256: [7; 32] }],
            time: Timestamp::from_micros(1_795_000_000_000_000),
        }
    }

    #[test]
    fn manifests_round_trip_and_every_changed_byte_is_refused() {
        let key = SigningKey::generate().unwrap();
        let keys = vec![("hub_x.audit".to_owned(), key.public())];
        let none = Manifest {
            registration: None,
            times: (None, None),
            entries: 0,
            ends: None,
            files: Vec::new(),
            ..sample()
        };
        for manifest in [sample(), none] {
            let note = manifest.sign(&key);
            assert_eq!(Manifest::open(&note, &keys).unwrap(), manifest);
            for at in 0..note.len() {
                for bit in 0..8 {
                    let mut bytes = note.clone().into_bytes();
                    bytes[at] ^= 1 << bit;
                    if let Ok(changed) = String::from_utf8(bytes) {
                        assert!(Manifest::open(&changed, &keys).is_err(), "byte {at}\n{changed}");
                    }
                }
            }
            for more in ["\n", " ", &note[note.rfind('\u{2014}').unwrap()..]] {
                assert!(Manifest::open(&format!("{note}{more}"), &keys).is_err());
            }
            let other = vec![("hub_x.audit".to_owned(), SigningKey::generate().unwrap().public())];
            assert!(Manifest::open(&note, &other).is_err());
            let elsewhere = vec![("hub_y.audit".to_owned(), key.public())];
            assert!(Manifest::open(&note, &elsewhere).is_err());
        }
    }

    #[test]
    fn a_manifest_is_no_checkpoint_and_the_other_way_round() {
        let key = SigningKey::generate().unwrap();
        let keys = vec![("hub_x.audit".to_owned(), key.public())];
        let checkpoint = Checkpoint {
            origin: "hub_x.audit".to_owned(),
            size: 1,
            root: [1; 32],
            chain: [2; 32],
            commits: 1,
            digest: [3; 32],
            time: Timestamp::from_micros(0),
        };
        assert!(Manifest::open(&checkpoint.sign(&key), &keys).is_err());
        let note = sample().sign(&key);
        for name in ["hub_x.audit", "hub_x.audit-export"] {
            assert!(Checkpoint::open(&note, name, &key.public()).is_err());
        }
    }
}
