//! Trust that follows the signing key (`docs/formats/audit.md`, Signing keys): who trusts a key, and
//! has verified the log under it up to the entry of a rotation, trusts the key that the entry names.

use memchr::memmem;
use serde::Deserialize;

use super::{Finding, Kept, Keyring, Verifier};
use crate::checkpoint::Checkpoint;
use crate::encode::MAX_ENTRY;
use crate::note::Note;

/// The action of a rotation; entries have one spelling, so it is looked for before they are parsed.
const ROTATION: &str = "audit.rotateSigningKey";

/// The most checkpoints that are looked at.
pub const MAX_NOTES: usize = 10_000;
/// The longest checkpoint that is looked at, in bytes.
pub const MAX_NOTE: usize = 16 * 1024;
/// The most keys that are followed, or wait for it.
const MAX_NAMED: usize = 1_000;

/// A key that is trusted by the word of a log that a trusted key has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// The entry that names it.
    pub entry: u64,
    /// The key (C2SP vkey).
    pub verifier_key: String,
    /// The checkpoint over that entry, by a key trusted before. Whoever verifies on with the new
    /// key must hold the log against it: else another log could be shown then.
    pub checkpoint: Checkpoint,
}

/// Takes entries one by one, from the first, and follows each rotation over which there is a
/// checkpoint by a key that is trusted by then.
#[derive(Debug)]
pub struct Follower {
    verifier: Verifier,
    keys: Keyring,
    /// Signed notes that no trusted key has opened yet.
    notes: Vec<String>,
    /// Those that one has, by size.
    opened: Vec<Checkpoint>,
    named: Vec<(u64, String)>,
    /// The checkpoint that the verifier is to meet.
    awaited: Option<Checkpoint>,
    followed: Vec<Followed>,
}

impl Follower {
    /// Starts with keys from places the verifier trusts, and with checkpoints from anywhere: those
    /// that no trusted key has signed are passed over.
    #[must_use]
    pub fn new(keys: Keyring, notes: impl IntoIterator<Item = String>) -> Self {
        let sound = |note: &String| note.len() <= MAX_NOTE && Note::parse(note).is_ok();
        let notes = notes.into_iter().filter(sound).take(MAX_NOTES).collect();
        let mut follower = Self {
            verifier: Verifier::new(),
            keys: Keyring::default(),
            notes,
            opened: Vec::new(),
            named: Vec::new(),
            awaited: None,
            followed: Vec::new(),
        };
        follower.extend(keys);
        follower
    }

    /// Takes the next entry's stored bytes.
    ///
    /// # Errors
    /// The first [`Finding`]: [`Finding::Root`] also where a checkpoint of a trusted key was made
    /// over another log.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Finding> {
        self.verifier.push(bytes)?;
        let size = self.verifier.size;
        let named = self.rotation(bytes);
        let names = named.is_some();
        match named {
            // What came before it are its predecessors: trust goes forward alone.
            Some(Named::Known) => self.named.clear(),
            Some(Named::New(key)) if self.named.len() + self.followed.len() < MAX_NAMED => {
                self.named.push((size - 1, key));
            }
            _ => {}
        }
        if self.awaited.as_ref().is_some_and(|awaited| awaited.size == size) {
            self.trust();
        } else if names && self.awaited.is_none() {
            // Once: farther on there are fewer checkpoints, by the same keys.
            self.look_out()?;
        }
        Ok(())
    }

    /// The keys trusted by now.
    #[must_use]
    pub const fn keys(&self) -> &Keyring {
        &self.keys
    }

    /// What was followed, in order.
    #[must_use]
    pub fn followed(&self) -> &[Followed] {
        &self.followed
    }

    /// The checkpoints by which keys were followed, to hold a log against that is verified under
    /// [`Follower::keys`].
    #[must_use]
    pub fn anchors(&self) -> Vec<Kept> {
        let kept = |one: &Followed| Kept {
            file: format!("the checkpoint over the rotation at entry {}", one.entry),
            checkpoint: one.checkpoint.clone(),
        };
        let mut anchors: Vec<Kept> = self.followed.iter().map(kept).collect();
        anchors.dedup_by_key(|anchor| anchor.checkpoint.size);
        anchors
    }

    /// The first entry that names a key which is not trusted.
    #[must_use]
    pub fn pending(&self) -> Option<u64> {
        self.named.first().map(|(entry, _)| *entry)
    }

    /// How many entries the checkpoint covers that a trusted key has signed, and that is not met
    /// yet.
    #[must_use]
    pub fn awaits(&self) -> Option<u64> {
        self.awaited.as_ref().map(|awaited| awaited.size)
    }

    /// How many entries have been taken.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.verifier.size
    }

    /// Trusts more keys, and opens what they have signed.
    fn extend(&mut self, keys: Keyring) {
        let opened = self.notes.extract_if(.., |note| keys.checkpoint(note).is_ok());
        self.opened.extend(opened.filter_map(|note| keys.checkpoint(&note).ok()));
        self.opened.sort_by_key(|checkpoint| checkpoint.size);
        self.keys.extend(keys);
    }

    /// Expects the first checkpoint from here on that a trusted key has signed.
    fn look_out(&mut self) -> Result<(), Finding> {
        let size = self.verifier.size;
        let from = self.opened.partition_point(|checkpoint| checkpoint.size < size);
        let Some(checkpoint) = self.opened.get(from).cloned() else { return Ok(()) };
        self.verifier.expect(checkpoint.clone())?;
        let met = checkpoint.size == size;
        self.awaited = Some(checkpoint);
        if met {
            self.trust();
        }
        Ok(())
    }

    /// A checkpoint by a trusted key over all the entries that name keys was met.
    fn trust(&mut self) {
        let Some(checkpoint) = self.awaited.take() else { return };
        for (entry, verifier_key) in std::mem::take(&mut self.named) {
            // A log names keys of its own alone.
            let own =
                |keys: &Keyring| keys.keys().iter().all(|(name, _)| *name == checkpoint.origin);
            let Some(key) = Keyring::parse(&verifier_key).ok().filter(own) else { continue };
            // Named twice: it is trusted by the first.
            if key.keys().iter().all(|key| self.keys.keys().contains(key)) {
                continue;
            }
            self.extend(key);
            let checkpoint = checkpoint.clone();
            self.followed.push(Followed { entry, verifier_key, checkpoint });
        }
    }

    /// The key that an entry gives the log, if it is one of a rotation that was done.
    fn rotation(&self, bytes: &[u8]) -> Option<Named> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Rotation {
            action: String,
            outcome: String,
            #[serde(default)]
            dry_run: bool,
            detail: String,
        }
        if bytes.len() > MAX_ENTRY || memmem::find(bytes, ROTATION.as_bytes()).is_none() {
            return None;
        }
        let entry: Rotation = serde_json::from_slice(bytes).ok()?;
        if entry.action != ROTATION || entry.outcome != "ok" || entry.dry_run {
            return None;
        }
        let named = Keyring::parse(&entry.detail).ok()?;
        let [(name, key)] = named.keys() else { return None };
        let trusted = self.keys.keys();
        let known = |(other, there): &(String, _)| other == name && *there == *key;
        if trusted.iter().any(known) {
            return Some(Named::Known);
        }
        trusted.iter().any(|(other, _)| other == name).then_some(Named::New(entry.detail))
    }
}

/// The key that an entry names.
enum Named {
    /// It is trusted already.
    Known,
    New(String),
}

#[cfg(test)]
mod tests {
    use hub_crypto::SigningKey;
    use hub_model::Timestamp;

    use super::*;
    use crate::checkpoint::verifier_key;
    use crate::encode::hex;
    use crate::merkle;

    const ORIGIN: &str = "hub_x.audit";

    /// A log that is made entry by entry.
    #[derive(Default)]
    struct Log {
        entries: Vec<String>,
        leaves: Vec<merkle::Hash>,
    }

    impl Log {
        fn add(&mut self, rest: &str) {
            let prev = hex(&self.leaves.last().copied().unwrap_or([0; 32]));
            let seq = self.entries.len();
            let text =
                format!("{{{rest},\"prev\":\"{prev}\",\"seq\":{seq},\"v\":1,\"writer\":\"main\"}}");
            self.leaves.push(merkle::leaf_hash(text.as_bytes()));
            self.entries.push(text);
        }

        fn use_key(&mut self) {
            self.add("\"action\":\"keys.encrypt\"");
        }

        fn rotate_to(&mut self, key: &str) {
            self.add(&format!("\"action\":\"{ROTATION}\",\"detail\":\"{key}\",\"outcome\":\"ok\""));
        }

        fn note(&self, keys: &[&SigningKey]) -> String {
            let (size, root) = (self.leaves.len() as u64, merkle::root(&self.tree()));
            let chain = *self.leaves.last().unwrap();
            let (time, origin) = (Timestamp::from_micros(0), ORIGIN.to_owned());
            Checkpoint { origin, size, root, chain, commits: 1, digest: [3; 32], time }
                .sign_by(keys.iter().copied())
        }

        fn tree(&self) -> Vec<merkle::Hash> {
            let mut frontier = Vec::new();
            for (size, leaf) in (0..).zip(&self.leaves) {
                merkle::push(&mut frontier, size, *leaf);
            }
            frontier
        }

        fn follow(&self, trusted: &str, notes: &[String]) -> Result<Follower, Finding> {
            let mut follower = Follower::new(Keyring::parse(trusted).unwrap(), notes.to_vec());
            for entry in &self.entries {
                follower.push(entry.as_bytes())?;
            }
            Ok(follower)
        }
    }

    fn keys() -> ([SigningKey; 3], [String; 3]) {
        let keys: [SigningKey; 3] = std::array::from_fn(|_| SigningKey::generate().unwrap());
        let texts = std::array::from_fn(|n| verifier_key(ORIGIN, &keys[n].public()));
        (keys, texts)
    }

    fn reached(follower: &Follower) -> Vec<(u64, u64)> {
        follower.followed().iter().map(|one| (one.entry, one.checkpoint.size)).collect()
    }

    #[test]
    fn two_rotations_are_followed_one_after_the_other() {
        let ([one, two, three], [a, b, c]) = keys();
        let (mut log, mut notes) = (Log::default(), Vec::new());
        log.use_key();
        notes.push(log.note(&[&one]));
        log.rotate_to(&b);
        log.use_key();
        notes.push(log.note(&[&two, &one]));
        log.use_key();
        log.rotate_to(&c);
        notes.push(log.note(&[&three, &two]));
        log.use_key();
        notes.push(log.note(&[&three]));
        let newest = notes[3].clone();
        notes.reverse();
        let follower = log.follow(&a, &notes).unwrap();
        assert_eq!(reached(&follower), [(1, 3), (4, 5)]);
        assert_eq!((follower.pending(), follower.size()), (None, 6));
        assert!(follower.keys().checkpoint(&newest).is_ok());
        // From the middle one, and the last one has nothing to follow: trust does not go back.
        let follower = log.follow(&b, &notes).unwrap();
        assert_eq!((reached(&follower), follower.pending()), (vec![(4, 5)], None));
        assert!(follower.keys().checkpoint(&notes[3]).is_err(), "the first key is not trusted");
        let follower = log.follow(&c, &notes).unwrap();
        assert_eq!((reached(&follower), follower.pending()), (vec![], None));
        assert_eq!(follower.keys().keys().len(), 1);
        // Without the note that the first key signed, nothing is trusted.
        notes.retain(|note| !note.starts_with(ORIGIN) || !note.contains("\n3\n"));
        let follower = log.follow(&a, &notes).unwrap();
        assert_eq!((reached(&follower), follower.pending()), (vec![], Some(1)));
        assert!(follower.keys().checkpoint(&newest).is_err());
    }

    #[test]
    fn one_note_can_cover_two_rotations() {
        let ([one, two, three], [a, b, c]) = keys();
        let mut log = Log::default();
        log.rotate_to(&b);
        log.rotate_to(&c);
        log.use_key();
        let follower = log.follow(&a, &[log.note(&[&three, &two, &one])]).unwrap();
        assert_eq!(reached(&follower), [(0, 3), (1, 3)]);
    }

    /// A checkpoint from before the rotation says nothing about it, nor does one of another key.
    #[test]
    fn nothing_else_is_followed() {
        let ([one, two, three], [a, b, c]) = keys();
        let mut log = Log::default();
        log.use_key();
        let early = log.note(&[&one]);
        log.rotate_to(&b);
        let (foreign, torn) = (log.note(&[&two, &three]), log.note(&[&one]).replace("— ", "- "));
        let notes = [early, foreign, torn, String::new(), "x\ny\n".to_owned()];
        let follower = log.follow(&a, &notes).unwrap();
        assert_eq!((reached(&follower), follower.pending()), (vec![], Some(1)));
        // Entries that rotate nothing.
        let of_another = verifier_key("hub_y.audit", &three.public());
        for rest in [
            format!("\"action\":\"{ROTATION}\",\"detail\":\"{b}\",\"outcome\":\"denied\""),
            format!(
                "\"action\":\"{ROTATION}\",\"detail\":\"{b}\",\"dryRun\":true,\"outcome\":\"ok\""
            ),
            format!("\"action\":\"keys.encrypt {ROTATION}\",\"detail\":\"{b}\",\"outcome\":\"ok\""),
            format!(
                "\"action\":\"{ROTATION}\",\"detail\":\"idempotent replay\",\"outcome\":\"ok\""
            ),
            format!("\"action\":\"{ROTATION}\",\"detail\":\"{b} {c}\",\"outcome\":\"ok\""),
            format!("\"action\":\"{ROTATION}\",\"detail\":\"{of_another}\",\"outcome\":\"ok\""),
            format!("\"action\":\"{ROTATION}\",\"outcome\":\"ok\""),
        ] {
            let mut log = Log::default();
            log.add(&rest);
            let follower = log.follow(&a, &[log.note(&[&one])]).unwrap();
            assert_eq!((reached(&follower), follower.pending()), (vec![], None), "{rest}");
        }
    }

    /// The second look is held against what the first one met.
    #[test]
    fn another_log_does_not_pass_once_a_key_was_followed() {
        let ([one, two, _], [a, b, _]) = keys();
        let (mut log, mut other) = (Log::default(), Log::default());
        log.use_key();
        other.add("\"action\":\"keys.destroy\"");
        for log in [&mut log, &mut other] {
            log.rotate_to(&b);
            log.use_key();
        }
        let follower = log.follow(&a, &[log.note(&[&two, &one])]).unwrap();
        let forged = follower.keys().checkpoint(&other.note(&[&two])).unwrap();
        let mut verifier = Verifier::new();
        verifier.expect(forged).unwrap();
        for anchor in follower.anchors() {
            verifier.expect(anchor.checkpoint).unwrap();
        }
        let found = other.entries.iter().try_for_each(|entry| verifier.push(entry.as_bytes()));
        assert_eq!(found.unwrap_err(), Finding::Root(3));
    }

    /// Who trusts two logs does not take keys of one from the other.
    #[test]
    fn a_log_names_keys_of_its_own_alone() {
        let ([one, two, three], [a, ..]) = keys();
        let trusted = format!("{a}\n{}", verifier_key("hub_y.audit", &two.public()));
        let mut log = Log::default();
        log.rotate_to(&verifier_key("hub_y.audit", &three.public()));
        let follower = log.follow(&trusted, &[log.note(&[&one])]).unwrap();
        assert_eq!((reached(&follower), follower.keys().keys().len()), (vec![], 2));
    }

    /// However many notes and names somebody puts there, each is looked at a few times.
    #[test]
    fn a_flood_of_notes_and_names_costs_little() {
        let ([one, two, _], [a, b, _]) = keys();
        let mut log = Log::default();
        (0..3_000).for_each(|_| log.rotate_to(&b));
        let note = log.note(&[&two]);
        let notes: Vec<String> = (0..MAX_NOTES + 9)
            .map(|n| note.replace("3000\n", &format!("{}\n", 3000 + n)))
            .collect();
        let follower = log.follow(&a, &notes).unwrap();
        assert_eq!((follower.named.len(), follower.notes.len()), (MAX_NAMED, MAX_NOTES));
        // As long as it may be, and one that is longer.
        let (fits, long) = (log.note(&[&one]), log.note(&[&one]).repeat(MAX_NOTE / 100));
        let follower = log.follow(&a, &[long, fits]).unwrap();
        assert_eq!((follower.followed().len(), follower.keys().keys().len()), (1, 2));
    }

    /// A trusted key has signed another log than this.
    #[test]
    fn a_log_that_was_changed_before_the_rotation_is_found() {
        let ([one, ..], [a, b, c]) = keys();
        let (mut log, mut other) = (Log::default(), Log::default());
        for (log, key) in [(&mut log, &b), (&mut other, &c)] {
            log.use_key();
            log.rotate_to(key);
            log.use_key();
        }
        let found = other.follow(&a, &[log.note(&[&one])]);
        assert_eq!(found.unwrap_err(), Finding::Root(3));
        log.entries[0] = log.entries[0].replace("encrypt", "decrypt");
        assert_eq!(log.follow(&a, &[]).unwrap_err(), Finding::Chain(1));
    }
}
