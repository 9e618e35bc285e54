//! What is kept of a witness: the newest note it cosigned, and the tree it had then seen, so that
//! the next proof needs the entries since alone. Never trusted: the signature counts, and the
//! frontier must have the root that was signed.

use std::path::Path;

use hub_audit::encode::{hex, parse_hex32};
use hub_audit::note::{Note, VerifierKey};
use hub_audit::witness::TreeHead;
use hub_audit::witness_proof::Folded;
use serde::{Deserialize, Serialize};

/// A witness as last seen.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) seen: Folded,
    pub(super) note: String,
    /// When it signed, in seconds since 1970.
    pub(super) time: u64,
}

#[derive(Serialize, Deserialize)]
struct File {
    frontier: Vec<String>,
    note: String,
}

impl Kept {
    pub(super) fn read(path: &Path, origin: &str, key: &VerifierKey) -> Option<Self> {
        let bytes = std::fs::read(path).ok()?;
        let file: File = serde_json::from_slice(&bytes).ok()?;
        let parsed = Note::parse(&file.note).ok()?;
        let time = key.find(&parsed).ok()??.time;
        let head = TreeHead::parse(parsed.text).ok()?;
        let frontier = file.frontier.iter().map(|hash| parse_hex32(hash)).collect::<Option<_>>()?;
        let seen = Folded { size: head.size, frontier };
        let whole = head.origin == origin && seen.is_whole() && seen.root() == head.root;
        whole.then_some(Self { seen, note: file.note, time })
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), String> {
        let frontier = self.seen.frontier.iter().map(|hash| hex(hash)).collect();
        let file = File { frontier, note: self.note.clone() };
        let bytes = serde_json::to_vec(&file).map_err(|error| error.to_string())?;
        hub_store::durable_file::write_atomic(path, &bytes, 0o600)
            .map_err(|error| error.to_string())
    }
}
