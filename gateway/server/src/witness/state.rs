//! What a witness holds: its key, and of each log the newest checkpoint it signed. A file each,
//! replaced as a whole and synced before the answer: after any crash the witness holds at least
//! what it has said. A file that is not its own work stops the start: forgetting is forking.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use hub_audit::encode::hex;
use hub_audit::note::{Kind, Note, VerifierKey};
use hub_audit::witness::{Refused, Seen, Submission, TreeHead, decide};
use hub_crypto::hash::sha256_parts;
use hub_crypto::{Secret, SigningKey, random};
use hub_model::Clock as _;
use hub_model::clock::SystemClock;
use hub_store::durable_file::{read_private, write_atomic};

use super::{Settings, WitnessError};

/// The open state.
#[derive(Debug)]
pub(super) struct State {
    name: String,
    key: SigningKey,
    logs: BTreeMap<String, Vec<VerifierKey>>,
    dir: PathBuf,
    /// By origin. Held while deciding and writing: one submission at a time.
    seen: Mutex<BTreeMap<String, Seen>>,
}

fn file_name(origin: &str) -> String {
    hex(&sha256_parts(&[origin.as_bytes()]))
}

impl State {
    pub(super) fn open(settings: &Settings) -> Result<Self, WitnessError> {
        let dir = settings.data_dir.join("logs");
        for folder in [&settings.data_dir, &dir] {
            hub_store::durable_file::make_private(folder).map_err(|error| WitnessError::State {
                path: folder.clone(),
                reason: error.to_string(),
            })?;
        }
        let key = key(&settings.data_dir.join("witness.key"))?;
        let state = Self {
            name: settings.name.clone(),
            key,
            logs: settings.keys()?.into_iter().collect(),
            dir,
            seen: Mutex::default(),
        };
        let seen = state.read_all()?;
        *state.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        Ok(state)
    }

    /// The checkpoints of every log it ever signed for, whether it is told of it now or not.
    fn read_all(&self) -> Result<BTreeMap<String, Seen>, WitnessError> {
        let mut all = BTreeMap::new();
        let failed = |path: &Path, reason: String| {
            let path = path.to_owned();
            WitnessError::State { path, reason }
        };
        let files = std::fs::read_dir(&self.dir);
        for file in files.map_err(|error| failed(&self.dir, error.to_string()))? {
            let path = file.map_err(|error| failed(&self.dir, error.to_string()))?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            // What a crash left of a replacement.
            let Some(name) = name.filter(|name| !name.starts_with('.')) else { continue };
            let seen = std::fs::read_to_string(&path)
                .map_err(|error| error.to_string())
                .and_then(|note| self.own(note).map_err(|error| error.to_string()))
                .map_err(|reason| failed(&path, reason))?;
            if file_name(&seen.head.origin) != name {
                return Err(failed(&path, "it is of another log than its name says".to_owned()));
            }
            all.insert(seen.head.origin.clone(), seen);
        }
        Ok(all)
    }

    /// A note that this witness has signed.
    fn own(&self, note: String) -> Result<Seen, hub_audit::Error> {
        let parsed = Note::parse(&note)?;
        let unsigned = hub_audit::Error::Checkpoint(
            "it is not signed by this witness: was its key or name changed?",
        );
        self.verifier_key().find(&parsed)?.ok_or(unsigned)?;
        Ok(Seen { head: TreeHead::parse(parsed.text)?, note })
    }

    pub(super) fn verifier_key(&self) -> VerifierKey {
        VerifierKey { name: self.name.clone(), kind: Kind::Cosignature, key: self.key.public() }
    }

    /// Decides on a submission, and keeps what was decided before saying so. Blocks on the disk.
    pub(super) fn add(&self, body: &str) -> Result<Result<String, Refused>, hub_store::Error> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // A time of 0 says none, which a witness must.
        let now = u64::try_from(SystemClock.now().as_micros() / 1_000_000).unwrap_or(1).max(1);
        let decided = decide(
            body,
            |origin| self.logs.get(origin).cloned(),
            |origin| seen.get(origin).cloned(),
            (&self.name, &self.key),
            now,
        );
        let (next, line) = match decided {
            Ok(decided) => decided,
            Err(refused) => {
                if refused == Refused::Inconsistent {
                    tell(body, &seen);
                }
                return Ok(Err(refused));
            }
        };
        let path = self.dir.join(file_name(&next.head.origin));
        write_atomic(&path, next.note.as_bytes(), 0o600)?;
        seen.insert(next.head.origin.clone(), next);
        Ok(Ok(line))
    }

    /// The newest note of the log with this hash of its origin.
    pub(super) fn note(&self, hash: &str) -> Option<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.values().find(|seen| file_name(&seen.head.origin) == hash).map(|s| s.note.clone())
    }
}

/// Says what was refused: as a fork, which whoever runs the witness must look at, only what is one
/// without doubt. A wrong proof is none. The log has signed either.
fn tell(body: &str, seen: &BTreeMap<String, Seen>) {
    let Some((head, forked)) = inconsistent(body, seen) else { return };
    let (origin, size, root) = (head.origin.escape_debug(), head.size, hex(&head.root));
    if forked {
        tracing::error!(%origin, size, root, "a fork: another checkpoint of that size was signed");
    } else {
        tracing::warn!(%origin, size, root, "a checkpoint without a proof that it goes on");
    }
}

/// What a refused submission was of, and whether it forks from what this witness has signed.
fn inconsistent(body: &str, seen: &BTreeMap<String, Seen>) -> Option<(TreeHead, bool)> {
    let submission = Submission::parse(body)?;
    let head = TreeHead::parse(Note::parse(&submission.note).ok()?.text).ok()?;
    let held = seen.get(&head.origin).map(|seen| &seen.head);
    let forked = held.is_some_and(|held| held.size == head.size && held.root != head.root);
    Some((head, forked))
}

/// The key of this file; made when there is none.
fn key(path: &Path) -> Result<SigningKey, WitnessError> {
    let failed = |error: &dyn std::fmt::Display| WitnessError::State {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let secret = match read_private(path).map_err(|error| failed(&error))? {
        Some(bytes) => {
            let bytes = zeroize::Zeroizing::new(bytes);
            Secret::copy_from(&bytes).map_err(|error| failed(&error))?
        }
        None => {
            let secret = random::secret(32).map_err(|error| failed(&error))?;
            write_atomic(path, secret.expose_secret(), 0o600).map_err(|error| failed(&error))?;
            secret
        }
    };
    SigningKey::from_secret(secret).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use hub_audit::merkle;
    use hub_model::secret::encode_base64;

    use super::*;
    use crate::witness::LogSettings;

    fn log() -> (SigningKey, VerifierKey) {
        let key = SigningKey::generate().unwrap();
        let public = key.public();
        (key, VerifierKey { name: "log.example".to_owned(), kind: Kind::Ed25519, key: public })
    }

    fn submission(
        log: &(SigningKey, VerifierKey),
        old: u64,
        proof: &[merkle::Hash],
        root: &merkle::Hash,
        size: u64,
    ) -> String {
        let text = format!("log.example\n{size}\n{}\n", encode_base64(root));
        let note = format!("{text}\n{}", log.1.line(&log.0.sign(text.as_bytes())));
        Submission { old, proof: proof.to_vec(), note }.encode()
    }

    #[test]
    fn what_was_said_is_held_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let log = log();
        let settings = Settings {
            name: "w.example".to_owned(),
            data_dir: dir.path().join("state"),
            logs: vec![LogSettings { origin: None, verifier_keys: vec![log.1.to_string()] }],
            ..Settings::default()
        };
        let state = State::open(&settings).unwrap();
        let vkey = state.verifier_key().to_string();
        let one = merkle::leaf_hash(b"1");
        state.add(&submission(&log, 0, &[], &one, 1)).unwrap().unwrap();
        drop(state);
        let state = State::open(&settings).unwrap();
        assert_eq!(state.verifier_key().to_string(), vkey);
        let two = merkle::leaf_hash(b"2");
        assert_eq!(state.add(&submission(&log, 0, &[], &two, 1)).unwrap(), Err(Refused::Size(1)));
        let fork = state.add(&submission(&log, 1, &[], &two, 1)).unwrap();
        assert_eq!(fork, Err(Refused::Inconsistent));
        // A fork is what has the same size; a wrong proof may be a fault.
        let told = |body: &str| {
            let (head, forked) = inconsistent(body, &state.seen.lock().unwrap()).unwrap();
            (head.size, forked)
        };
        assert_eq!(told(&submission(&log, 1, &[], &two, 1)), (1, true));
        assert_eq!(told(&submission(&log, 1, &[one], &two, 1)), (1, true));
        assert_eq!(told(&submission(&log, 1, &[], &two, 2)), (2, false));
        assert_eq!(told(&submission(&log, 1, &[one], &one, 1)), (1, false));
        let next = merkle::node_hash(&one, &two);
        state.add(&submission(&log, 1, &[two], &next, 2)).unwrap().unwrap();
        let hash = file_name("log.example");
        assert!(state.note(&hash).unwrap().starts_with("log.example\n2\n"));
        assert_eq!(state.note("00"), None);
        let file = settings.data_dir.join("logs").join(&hash);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(&settings.data_dir)), (0o600, 0o700));
        // Another name, a changed file: not its own work.
        let other = Settings { name: "x.example".to_owned(), ..settings.clone() };
        assert!(State::open(&other).is_err());
        let note = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, note.replace("\n2\n", "\n1\n")).unwrap();
        assert!(State::open(&settings).is_err());
    }

    #[test]
    fn nothing_is_said_that_was_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let log = log();
        let settings = Settings {
            name: "w.example".to_owned(),
            data_dir: dir.path().join("state"),
            logs: vec![LogSettings { origin: None, verifier_keys: vec![log.1.to_string()] }],
            ..Settings::default()
        };
        let state = State::open(&settings).unwrap();
        // A folder in the way of the file: even root cannot replace it.
        let blocked = settings.data_dir.join("logs").join(file_name("log.example"));
        std::fs::create_dir_all(blocked.join("x")).unwrap();
        let one = merkle::leaf_hash(b"1");
        assert!(state.add(&submission(&log, 0, &[], &one, 1)).is_err());
        std::fs::remove_dir_all(&blocked).unwrap();
        state.add(&submission(&log, 0, &[], &one, 1)).unwrap().unwrap();
    }
}
