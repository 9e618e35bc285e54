//! What a witness decides after C2SP tlog-witness: whether a checkpoint goes on from what it has
//! seen of a log. It holds one checkpoint a log, and never signs two that do not lie in one line.

use hub_crypto::sign::SigningKey;
use hub_model::secret::{decode_base64, encode_base64};

use crate::merkle::{self, Hash};
use crate::note::{Kind, Note, VerifierKey};
use crate::witness_proof::{MAX_PROOF, is_consistent};
use crate::{Error, cosignature};

/// The first three lines of any C2SP tlog-checkpoint; what follows is the log's own affair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeHead {
    /// Whose log.
    pub origin: String,
    /// How many entries.
    pub size: u64,
    /// The Merkle root over them.
    pub root: Hash,
}

impl TreeHead {
    /// Reads the text of a note.
    ///
    /// # Errors
    /// [`Error::Checkpoint`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let malformed = Error::Checkpoint("its first lines are malformed");
        let mut lines = text.lines();
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(malformed);
        };
        let root = decode_base64(root).ok().and_then(|root| root.try_into().ok());
        match (decimal(size), root) {
            (Some(size), Some(root)) if !origin.is_empty() => {
                Ok(Self { origin: origin.to_owned(), size, root })
            }
            _ => Err(malformed),
        }
    }
}

/// A number in decimal without leading zeros.
fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = text == "0" || !text.starts_with('0');
    if digits && plain { text.parse().ok() } else { None }
}

/// The body of `add-checkpoint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// How many entries the witness is thought to have seen.
    pub old: u64,
    /// The consistency proof from there.
    pub proof: Vec<Hash>,
    /// The log's signed note.
    pub note: String,
}

impl Submission {
    /// As it is sent.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut body = format!("old {}\n", self.old);
        for hash in &self.proof {
            body.push_str(&encode_base64(hash));
            body.push('\n');
        }
        body.push('\n');
        body.push_str(&self.note);
        body
    }

    /// Reads what was sent, strictly.
    #[must_use]
    pub fn parse(body: &str) -> Option<Self> {
        let (head, note) = body.split_once("\n\n")?;
        let mut lines = head.split('\n');
        let old = decimal(lines.next()?.strip_prefix("old ")?)?;
        let mut proof = Vec::new();
        for line in lines {
            if proof.len() == MAX_PROOF {
                return None;
            }
            let hash: Hash = decode_base64(line).ok()?.try_into().ok()?;
            // One spelling only.
            if encode_base64(&hash) != line {
                return None;
            }
            proof.push(hash);
        }
        Some(Self { old, proof, note: note.to_owned() })
    }
}

/// What a witness has seen of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The tree.
    pub head: TreeHead,
    /// The note, with the signatures of the log and of the witness.
    pub note: String,
}

/// Why a witness does not sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The body is malformed, or the old size above the checkpoint's.
    Malformed,
    /// Nobody knows this log here.
    UnknownLog,
    /// No good signature of a key of this log.
    Signature,
    /// The witness has seen another size: this one.
    Size(u64),
    /// The checkpoint does not go on from what the witness has seen.
    Inconsistent,
}

impl Refused {
    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Signature => 403,
            Self::UnknownLog => 404,
            Self::Size(_) => 409,
            Self::Inconsistent => 422,
        }
    }
}

/// Decides on a submission, without having changed anything: the caller keeps what comes out
/// durably before it answers with the line. Nobody else may decide on that log meanwhile.
///
/// # Errors
/// [`Refused`].
pub fn decide(
    body: &str,
    keys: impl FnOnce(&str) -> Option<Vec<VerifierKey>>,
    seen: impl FnOnce(&str) -> Option<Seen>,
    signer: (&str, &SigningKey),
    now: u64,
) -> Result<(Seen, String), Refused> {
    let submission = Submission::parse(body).ok_or(Refused::Malformed)?;
    let note = Note::parse(&submission.note).map_err(|_| Refused::Malformed)?;
    let head = TreeHead::parse(note.text).map_err(|_| Refused::Malformed)?;
    let keys = keys(&head.origin).ok_or(Refused::UnknownLog)?;
    let mut signatures = String::new();
    for key in keys.iter().filter(|key| key.kind == Kind::Ed25519) {
        if let Some(signature) = key.find(&note).map_err(|_| Refused::Signature)? {
            signatures.push_str(signature.line);
            signatures.push('\n');
        }
    }
    if signatures.is_empty() {
        return Err(Refused::Signature);
    }
    if submission.old > head.size {
        return Err(Refused::Malformed);
    }
    let held = seen(&head.origin);
    let (size, root) = held
        .as_ref()
        .map_or_else(|| (0, merkle::empty_root()), |seen| (seen.head.size, seen.head.root));
    if submission.old != size {
        return Err(Refused::Size(size));
    }
    let empty_is_empty = head.size > 0 || head.root == merkle::empty_root();
    let consistent = is_consistent((size, &root), (head.size, &head.root), &submission.proof);
    if !empty_is_empty || !consistent {
        return Err(Refused::Inconsistent);
    }
    let line = cosignature::cosign(note.text, signer.0, signer.1, now);
    let note = format!("{}\n{signatures}{line}", note.text);
    Ok((Seen { head, note }, line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::witness_proof::Folded;

    struct World {
        log: SigningKey,
        witness: SigningKey,
        seen: Option<Seen>,
    }

    impl World {
        fn keys(&self) -> Vec<VerifierKey> {
            let name = "log.example".to_owned();
            vec![VerifierKey { name, kind: Kind::Ed25519, key: self.log.public() }]
        }

        fn note(&self, size: u64, root: &Hash) -> String {
            let text = format!("log.example\n{size}\n{}\nmore of it\n", encode_base64(root));
            let signature = self.log.sign(text.as_bytes());
            format!("{text}\n{}", self.keys()[0].line(&signature))
        }

        fn ask(&mut self, old: u64, proof: &[Hash], note: &str) -> Result<String, Refused> {
            let submission = Submission { old, proof: proof.to_vec(), note: note.to_owned() };
            self.raw(&submission.encode())
        }

        fn raw(&mut self, body: &str) -> Result<String, Refused> {
            let known = |origin: &str| (origin == "log.example").then(|| self.keys());
            let signer = ("w.example", &self.witness);
            let (seen, line) = decide(body, known, |_| self.seen.clone(), signer, 7)?;
            self.seen = Some(seen);
            Ok(line)
        }
    }

    fn world() -> World {
        let key = || SigningKey::generate().unwrap();
        World { log: key(), witness: key(), seen: None }
    }

    fn tree(leaves: &[u8]) -> Folded {
        let mut tree = Folded::default();
        leaves.iter().for_each(|leaf| tree.push(merkle::leaf_hash(&[*leaf])));
        tree
    }

    #[test]
    fn a_log_that_goes_on_is_signed_and_a_fork_never() {
        let mut world = world();
        let (one, two, other) = (tree(&[1]), tree(&[1, 2]), tree(&[1, 3]));
        let first = world.note(1, &one.root());
        assert_eq!(world.ask(1, &[], &first), Err(Refused::Size(0)));
        let line = world.ask(0, &[], &first).unwrap();
        let signed = format!("{}\n{line}", first.split_once("\n\n").unwrap().0.to_owned() + "\n");
        let witness = VerifierKey {
            name: "w.example".to_owned(),
            kind: Kind::Cosignature,
            key: world.witness.public(),
        };
        assert_eq!(witness.find(&Note::parse(&signed).unwrap()).unwrap().unwrap().time, 7);
        // The same again, and the next.
        world.ask(1, &[], &first).unwrap();
        let leaf = |n: u8| merkle::leaf_hash(&[n]);
        let second = world.note(2, &two.root());
        assert_eq!(world.ask(0, &[], &second), Err(Refused::Size(1)));
        assert_eq!(world.ask(1, &[leaf(3)], &second), Err(Refused::Inconsistent));
        assert_eq!(world.ask(1, &[], &second), Err(Refused::Inconsistent));
        world.ask(1, &[leaf(2)], &second).unwrap();
        let kept = world.seen.clone();
        // A fork at the same size, a fork from below, an older one.
        let fork = world.note(2, &other.root());
        assert_eq!(world.ask(2, &[], &fork), Err(Refused::Inconsistent));
        assert_eq!(world.ask(1, &[leaf(3)], &fork), Err(Refused::Size(2)));
        assert_eq!(world.ask(1, &[], &first), Err(Refused::Size(2)));
        assert_eq!(world.ask(2, &[], &first), Err(Refused::Malformed));
        assert_eq!(world.seen, kept);
        let kept = kept.unwrap().note;
        let note = Note::parse(&kept).unwrap();
        assert_eq!(note.signers().collect::<Vec<_>>(), ["log.example", "w.example"]);
    }

    #[test]
    fn only_known_logs_with_their_own_signature() {
        let mut world = world();
        let one = tree(&[1]).root();
        let good = world.note(1, &one);
        let stranger = good.replace("log.example", "lug.example");
        assert_eq!(world.ask(0, &[], &stranger), Err(Refused::UnknownLog));
        assert_eq!(world.ask(0, &[], &good.replace("more", "less")), Err(Refused::Signature));
        let mine = std::mem::replace(&mut world.log, SigningKey::generate().unwrap());
        assert_eq!(world.ask(0, &[], &good), Err(Refused::Signature));
        world.log = mine;
        // An empty tree has the root of the empty tree.
        let empty = world.note(0, &one);
        assert_eq!(world.ask(0, &[], &empty), Err(Refused::Inconsistent));
        let empty = world.note(0, &merkle::empty_root());
        world.ask(0, &[], &empty).unwrap();
        world.ask(0, &[], &good).unwrap();
    }

    #[test]
    fn malformed_bodies_are_refused() {
        let mut world = world();
        let good = world.note(1, &tree(&[1]).root());
        let hash = encode_base64(&[1; 32]);
        let many = format!("old 0\n{}\n{good}", format!("{hash}\n").repeat(MAX_PROOF + 1));
        for bad in [
            "",
            "old 0\n",
            &good,
            &format!("old 00\n\n{good}"),
            &format!("old +0\n\n{good}"),
            &format!("old -1\n\n{good}"),
            &format!("old 18446744073709551616\n\n{good}"),
            &format!("Old 0\n\n{good}"),
            &format!("old 0\r\n\n{good}"),
            &format!("old 0\r\n{hash}\n\n{good}"),
            &format!("old 0\nAAAA\n\n{good}"),
            &format!("old 0\n\n{}", good.trim_end()),
            &format!("old 0\n\n{}", good.replace("\n1\n", "\n01\n")),
            &many,
        ] {
            assert_eq!(world.raw(bad), Err(Refused::Malformed), "{bad:?}");
        }
        assert_eq!(world.seen, None);
    }
}
