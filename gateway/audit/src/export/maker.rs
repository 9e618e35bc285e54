//! Makes an export: takes the entries of the log one by one and gives the stream of blocks. What
//! the hub signs at the end is what it has itself read and hashed on the way.

use std::sync::Arc;

use hub_crypto::hash::RunningSha256;
use hub_crypto::sign::{SigningKey, VerifyingKey};
use hub_model::{RegistrationId, Timestamp};

use crate::encode::hex;
use crate::log::Signed;
use crate::merkle::{self, Hash};
use crate::verify::scan;
use crate::{Error, checkpoint};

use super::manifest::{FileFacts, Manifest, manifest_name};
use super::render::Renderer;
use super::sparse::{Gap, Tree};
use super::{CHECKPOINT, Format, MANIFEST, PROOF, README, VERIFIER_KEYS, blocks};

/// Bytes that make a block worth sending.
const BLOCK: usize = 64 * 1024;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The form.
    pub format: Format,
    /// Positions from the first to before the second.
    pub range: (u64, u64),
    /// Only entries of this registration.
    pub registration: Option<RegistrationId>,
    /// The times that the range was chosen by.
    pub times: (Option<Timestamp>, Option<Timestamp>),
}

/// An export that is being made.
#[derive(Debug)]
pub struct Exporter {
    spec: Spec,
    wanted: Option<String>,
    signed: Arc<Signed>,
    keys: Vec<String>,
    /// The key that is to sign the manifest.
    signer: Option<VerifyingKey>,
    writer: String,
    renderer: Renderer,
    body: Part,
    proof: Part,
    tree: Tree,
    gap: Option<Gap>,
    /// The leaf hash of the last entry shown.
    last: Option<Hash>,
    next: u64,
    entries: u64,
    ends: Option<(u64, u64)>,
}

/// A file that is being made.
#[derive(Debug)]
struct Part {
    name: &'static str,
    pending: Vec<u8>,
    digest: RunningSha256,
    bytes: u64,
}

impl Part {
    fn new(name: &'static str) -> Self {
        Self { name, pending: Vec::new(), digest: RunningSha256::default(), bytes: 0 }
    }

    fn take(&mut self, out: &mut Vec<u8>) {
        self.digest.update(&self.pending);
        self.bytes += self.pending.len() as u64;
        blocks::write(out, self.name, &self.pending);
        self.pending.clear();
    }

    fn facts(self) -> FileFacts {
        FileFacts { name: self.name.to_owned(), bytes: self.bytes, sha256: self.digest.finish() }
    }
}

impl Exporter {
    /// Begins an export of the log of this writer under a checkpoint, which covers it. `keys` are
    /// the verifier keys of the log's checkpoints.
    #[must_use]
    pub fn new(mut spec: Spec, signed: Arc<Signed>, keys: Vec<String>, writer: &str) -> Self {
        let size = signed.checkpoint.size;
        spec.range.1 = spec.range.1.min(size);
        spec.range.0 = spec.range.0.min(spec.range.1);
        let next = if spec.format.proves() { 0 } else { spec.range.0 };
        let mut body = Part::new(spec.format.file());
        let renderer = Renderer::new(spec.format, &signed.checkpoint.origin);
        renderer.head(&mut body.pending);
        Self {
            wanted: spec.registration.map(|registration| registration.to_string()),
            spec,
            signed,
            keys,
            signer: None,
            writer: writer.to_owned(),
            renderer,
            body,
            proof: Part::new(PROOF),
            tree: Tree::default(),
            gap: None,
            last: None,
            next,
            entries: 0,
            ends: None,
        }
    }

    /// The same, whose manifest this key is to sign.
    pub(super) fn signed_by(self, key: VerifyingKey) -> Self {
        Self { signer: Some(key), ..self }
    }

    pub(super) const fn signer(&self) -> Option<&VerifyingKey> {
        self.signer.as_ref()
    }

    /// The entry that must come next; `None` when all have come.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        let end =
            if self.spec.format.proves() { self.signed.checkpoint.size } else { self.spec.range.1 };
        (self.next < end).then_some(self.next)
    }

    /// How many entries are shown until now.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// Takes the stored bytes of the next entry.
    ///
    /// # Errors
    /// [`Error::Missing`] when this is another entry, or none.
    pub fn push(&mut self, seq: u64, entry: &[u8]) -> Result<(), Error> {
        let links = scan::scan(entry).map_err(|_| Error::Missing(seq))?;
        if seq != self.next || links.seq != seq {
            return Err(Error::Missing(self.next));
        }
        self.next += 1;
        let shown = (self.spec.range.0..self.spec.range.1).contains(&seq)
            && self.wanted.as_deref().is_none_or(|wanted| links.registration == Some(wanted));
        if self.spec.format.proves() {
            let leaf = merkle::leaf_hash(entry);
            self.tree.push(leaf);
            if shown {
                self.close_gap();
                self.last = Some(leaf);
            } else {
                self.gap.get_or_insert_with(|| Gap::new(seq)).push(leaf);
            }
        }
        if shown {
            self.entries += 1;
            self.ends = Some((self.ends.map_or(seq, |(first, _)| first), seq));
            self.renderer.entry(entry, &mut self.body.pending)?;
        }
        Ok(())
    }

    /// A line of the proof: keys in byte order, no white space.
    fn close_gap(&mut self) {
        let Some(gap) = self.gap.take() else { return };
        let mut line = String::from("{");
        if let Some(last) = &self.last {
            line.push_str(&format!("\"after\":\"{}\",", hex(last)));
        }
        line.push_str(&format!("\"from\":{},\"hashes\":[", gap.from()));
        for (index, hash) in gap.hashes().enumerate() {
            line.push_str(if index == 0 { "\"" } else { ",\"" });
            line.push_str(&hex(hash));
            line.push('"');
        }
        line.push_str(&format!("],\"to\":{}}}\n", gap.end()));
        self.proof.pending.extend_from_slice(line.as_bytes());
    }

    /// What is ready to be sent, when that is worth it.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        for part in [&mut self.body, &mut self.proof] {
            if part.pending.len() >= BLOCK {
                part.take(&mut out);
            }
        }
        (!out.is_empty()).then_some(out)
    }

    /// Something that means nothing, for a connection that waits: an empty block.
    #[must_use]
    pub fn sign_of_life(&self) -> Vec<u8> {
        let mut out = Vec::new();
        blocks::write(&mut out, self.body.name, b"");
        out
    }

    /// The rest of the stream, with the manifest, and the SHA-256 of the manifest. Nothing is
    /// signed when the entries are not those of the checkpoint.
    ///
    /// # Errors
    /// [`Error::Missing`] when entries are missing, [`Error::StoreForked`] when they are others.
    pub fn finish(mut self, key: &SigningKey, now: Timestamp) -> Result<(Vec<u8>, Hash), Error> {
        if let Some(missing) = self.next() {
            return Err(Error::Missing(missing));
        }
        let proves = self.spec.format.proves();
        let checkpoint = &self.signed.checkpoint;
        let (origin, tree) = (checkpoint.origin.clone(), (checkpoint.size, checkpoint.root));
        if proves && self.tree.root() != tree.1 {
            return Err(Error::StoreForked(tree.0));
        }
        self.close_gap();
        let mut out = Vec::new();
        self.body.take(&mut out);
        let mut files = vec![self.body.facts()];
        if proves {
            self.proof.take(&mut out);
            files.push(self.proof.facts());
        }
        let mut vkeys = String::new();
        for vkey in &self.keys {
            if let Ok((name, public)) = checkpoint::parse_verifier_key(vkey) {
                let of_manifests = checkpoint::verifier_key(&manifest_name(&name), &public);
                vkeys.push_str(&format!("{vkey}\n{of_manifests}\n"));
            }
        }
        let readme = README_TEXT.replace("{entries}", self.spec.format.file());
        for (name, text) in [
            (CHECKPOINT, self.signed.note.as_str()),
            (VERIFIER_KEYS, vkeys.as_str()),
            (README, readme.as_str()),
        ] {
            let mut part = Part::new(name);
            part.pending.extend_from_slice(text.as_bytes());
            part.take(&mut out);
            files.push(part.facts());
        }
        let manifest = Manifest {
            origin,
            writer: self.writer,
            format: self.spec.format,
            range: self.spec.range,
            registration: self.spec.registration,
            times: self.spec.times,
            entries: self.entries,
            ends: self.ends,
            tree,
            files,
            time: now,
        };
        let note = manifest.sign(key);
        blocks::write(&mut out, MANIFEST, note.as_bytes());
        blocks::write_end(&mut out);
        Ok((out, hub_crypto::hash::sha256(note.as_bytes())))
    }
}

/// How to verify, for whoever finds the folder.
const README_TEXT: &str = "\
Entries of the audit log of a Cipher Hub, in {entries}.

manifest        what this is, and the SHA-256 of every other file: a C2SP signed note
checkpoint      the state of the whole log that this stands under: a C2SP signed note
proof.jsonl     (JSON Lines alone) hashes of what is not shown, up to the root of the checkpoint
verifier-keys   the public keys of both notes, by the word of the hub

Take the public key from a place you trust and not from this folder, then:

    cipher-hub audit verify THIS_FOLDER --verifier-key VKEY

It needs no network. Exit code 10 means that something is not as it was signed, and the message says
what and where. Without our program: docs/audit.md has a Python script of a page, and
docs/formats/audit-export.md the formats.
";
