//! What the log says, entry by entry: counted and kept while entries stream by, after whoever calls
//! has verified their chain. Memory grows with participants, keys and actions, and with lists that
//! have an upper bound; not with the log.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hub_model::{Action, Timestamp};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::document::Happening;

/// Most items a list keeps: the newest ones. Counts go on.
pub const MOST: usize = 10_000;

/// An entry, as far as reports look at it (`docs/formats/audit.md`).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    pub(crate) time: String,
    pub(crate) action: String,
    pub(crate) address: Option<String>,
    pub(crate) caller: Option<String>,
    pub(crate) count: Option<u64>,
    pub(crate) decision: String,
    pub(crate) detail: Option<String>,
    pub(crate) dry_run: bool,
    pub(crate) key: Option<String>,
    pub(crate) outcome: String,
    pub(crate) participant: Option<String>,
    pub(crate) policies: Vec<String>,
    pub(crate) registration: Option<String>,
    pub(crate) version: Option<u32>,
}

impl Entry {
    /// The uid of whoever asked: the last part of `<method>:<participant>`.
    pub(crate) fn asker(&self) -> Option<&str> {
        self.caller.as_deref().and_then(|caller| caller.rsplit(':').next())
    }

    fn times(&self) -> u64 {
        self.count.unwrap_or(1)
    }

    fn done(&self) -> bool {
        self.outcome == "ok" && !self.dry_run
    }
}

/// A list that keeps the newest, and counts what it let go.
#[derive(Debug, Clone, Default)]
pub(crate) struct Newest {
    items: VecDeque<Happening>,
    pub(crate) all: u64,
}

impl Newest {
    fn push(&mut self, happening: Happening) {
        self.all += 1;
        if self.items.len() == MOST {
            self.items.pop_front();
        }
        self.items.push_back(happening);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Happening> {
        self.items.iter()
    }
}

/// How often one did one thing with one key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Did {
    pub(crate) done: u64,
    pub(crate) denied: u64,
    pub(crate) failed: u64,
    pub(crate) first: String,
    pub(crate) last: String,
}

/// The end of a key or a version, as far as the log tells.
#[derive(Debug, Clone, Default)]
pub(crate) struct End {
    pub(crate) scheduled: Option<Happening>,
    pub(crate) cancelled: Option<Happening>,
    pub(crate) destroyed: Option<Happening>,
}

/// Who proposed and activated a policy revision.
#[derive(Debug, Clone, Default)]
pub(crate) struct Revision {
    pub(crate) proposed: Option<Happening>,
    pub(crate) activated: Vec<Happening>,
}

/// The registration, participant, key and action of a [`Did`].
pub(crate) type DidKey = (String, String, String, String);

/// What the log says within a window and of some registrations.
#[derive(Debug, Clone, Default)]
pub struct Trail {
    since: String,
    until: String,
    only: Option<BTreeSet<String>>,
    pub(crate) first: Option<String>,
    pub(crate) last: Option<String>,
    pub(crate) read: u64,
    pub(crate) unreadable: u64,
    pub(crate) considered: u64,
    pub(crate) uses_by_day: BTreeMap<String, u64>,
    pub(crate) denials_by_day: BTreeMap<String, u64>,
    pub(crate) uses: u64,
    pub(crate) did: BTreeMap<DidKey, Did>,
    pub(crate) rotations: Newest,
    pub(crate) changes: Newest,
    pub(crate) changes_by_action: BTreeMap<String, u64>,
    pub(crate) denials: Newest,
    pub(crate) denied: u64,
    pub(crate) denied_by_action: BTreeMap<String, u64>,
    pub(crate) denied_by_caller: BTreeMap<String, u64>,
    pub(crate) denied_by_policy: BTreeMap<String, u64>,
    pub(crate) unauthenticated: u64,
    pub(crate) throttled: u64,
    pub(crate) ends: BTreeMap<(String, Option<u32>), End>,
    pub(crate) revisions: BTreeMap<String, Revision>,
    pub(crate) transfers: Newest,
    pub(crate) self_grants: Newest,
    pub(crate) system: Newest,
}

impl Trail {
    /// A window, `until` excluded, and the registrations (uids) that count; all without any.
    #[must_use]
    pub fn new(since: Timestamp, until: Timestamp, only: Option<BTreeSet<String>>) -> Self {
        Self { since: since.to_string(), until: until.to_string(), only, ..Self::default() }
    }

    /// Whether times in RFC 3339 of the log's own form lie in the window: they sort as text.
    pub(crate) fn within(&self, time: &str) -> bool {
        time >= self.since.as_str() && time < self.until.as_str()
    }

    /// Whether only some registrations count.
    pub(crate) fn is_scoped(&self) -> bool {
        self.only.is_some()
    }

    /// When the last entry was written.
    #[must_use]
    pub fn last(&self) -> Option<Timestamp> {
        self.last.as_deref().and_then(|time| time.parse().ok())
    }

    /// The next entry: its bytes, whose chain the caller has verified.
    pub fn push(&mut self, bytes: &str) {
        self.read += 1;
        let Ok(entry) = serde_json::from_str::<Entry>(bytes) else {
            self.unreadable += 1;
            return;
        };
        self.first.get_or_insert_with(|| entry.time.clone());
        self.last = Some(entry.time.clone());
        let ours = match (&self.only, &entry.registration) {
            (None, _) => true,
            (Some(only), Some(registration)) => only.contains(registration),
            (Some(_), None) => false,
        };
        if !ours {
            return;
        }
        // What belongs together may lie on both sides of the window's edge.
        self.ends(&entry, bytes);
        self.revisions(&entry, bytes);
        if !self.within(&entry.time) {
            return;
        }
        self.considered += 1;
        let day = entry.time.get(..10).unwrap_or_default();
        if entry.decision == "deny" {
            self.denied += entry.times();
            *self.denials_by_day.entry(day.to_owned()).or_default() += entry.times();
            *self.denied_by_action.entry(entry.action.clone()).or_default() += entry.times();
            let who = entry.asker().unwrap_or("-").to_owned();
            *self.denied_by_caller.entry(who).or_default() += entry.times();
            for policy in &entry.policies {
                *self.denied_by_policy.entry(policy.clone()).or_default() += entry.times();
            }
            self.denials.push(happening(&entry, bytes));
        }
        if entry.action == "authenticate" && entry.outcome != "ok" {
            self.unauthenticated += entry.times();
        }
        if entry.action.starts_with("throttle.") {
            self.throttled += entry.times();
        }
        if uses_key(&entry.action) {
            if entry.done() {
                self.uses += entry.times();
                *self.uses_by_day.entry(day.to_owned()).or_default() += entry.times();
            }
            self.note_use(&entry);
        } else if entry.done() && is_change(&entry.action) {
            *self.changes_by_action.entry(entry.action.clone()).or_default() += 1;
            self.changes.push(happening(&entry, bytes));
        }
        self.keep(&entry, bytes);
    }

    fn note_use(&mut self, entry: &Entry) {
        let (Some(registration), Some(who), Some(key)) =
            (&entry.registration, entry.asker(), &entry.key)
        else {
            return;
        };
        if entry.dry_run {
            return;
        }
        let at = (registration.clone(), who.to_owned(), key.clone(), entry.action.clone());
        let did = self.did.entry(at).or_default();
        if entry.decision == "deny" {
            did.denied += entry.times();
        } else if entry.outcome == "ok" {
            did.done += entry.times();
        } else {
            did.failed += entry.times();
        }
        if did.first.is_empty() {
            did.first.clone_from(&entry.time);
        }
        did.last.clone_from(&entry.time);
    }

    fn keep(&mut self, entry: &Entry, bytes: &str) {
        let name = entry.action.as_str();
        if name.starts_with("system.") && entry.caller.is_none() {
            self.system.push(happening(entry, bytes));
        }
        if !entry.done() {
            return;
        }
        if matches!(name, "keys.rotate" | "keys.importVersion") {
            self.rotations.push(happening(entry, bytes));
        }
        if matches!(
            name,
            "keys.export"
                | "keys.importJob"
                | "keys.import"
                | "keys.importVersion"
                | "keys.setPrimary"
        ) {
            self.transfers.push(happening(entry, bytes));
        }
        let to_self = entry.participant.is_some() && entry.participant.as_deref() == entry.asker();
        if to_self && matches!(name, "roles.grant" | "grants.create") {
            self.self_grants.push(happening(entry, bytes));
        }
    }

    fn ends(&mut self, entry: &Entry, bytes: &str) {
        let destroys = matches!(
            entry.action.as_str(),
            "keys.scheduleDestroy" | "keys.cancelDestroy" | "keys.destroy"
        );
        let (true, true, Some(key)) = (destroys, entry.done(), &entry.key) else { return };
        let end = self.ends.entry((key.clone(), entry.version)).or_default();
        let what = Some(happening(entry, bytes));
        match entry.action.as_str() {
            "keys.scheduleDestroy" => (end.scheduled, end.cancelled) = (what, None),
            "keys.cancelDestroy" => end.cancelled = what,
            _ => end.destroyed = what,
        }
    }

    fn revisions(&mut self, entry: &Entry, bytes: &str) {
        if !entry.done() {
            return;
        }
        let detail = entry.detail.as_deref().unwrap_or_default();
        match entry.action.as_str() {
            "policies.propose" => {
                // A revision may be proposed again; the first to do so made it.
                let revision = detail.split(' ').next().unwrap_or_default().to_owned();
                let known = self.revisions.entry(revision).or_default();
                known.proposed.get_or_insert_with(|| happening(entry, bytes));
            }
            "policies.activate" | "policies.rollback" | "policies.reload" => {
                let Some((_, revision)) = detail.split_once(" -> ") else { return };
                let revision = revision.split(' ').next().unwrap_or_default().to_owned();
                self.revisions.entry(revision).or_default().activated.push(happening(entry, bytes));
            }
            _ => {}
        }
    }
}

/// One entry as lists show it.
fn happening(entry: &Entry, bytes: &str) -> Happening {
    Happening {
        seq: entry.seq,
        hash: leaf_hash(bytes),
        time: entry.time.clone(),
        action: entry.action.clone(),
        outcome: entry.outcome.clone(),
        by: entry.asker().map(str::to_owned),
        method: entry
            .caller
            .as_deref()
            .and_then(|caller| caller.rsplit_once(':'))
            .map(|(method, _)| method.to_owned()),
        by_name: None,
        address: entry.address.clone(),
        registration: entry.registration.clone(),
        registration_name: None,
        key: entry.key.clone(),
        key_name: None,
        version: entry.version,
        participant: entry.participant.clone(),
        participant_name: None,
        detail: entry.detail.clone(),
        count: entry.count,
        policies: entry.policies.clone(),
    }
}

/// RFC 6962 §2.1: SHA-256(00 ‖ bytes), in hex. Reckoned here, so that nobody's word is taken.
fn leaf_hash(bytes: &str) -> String {
    let digest = Sha256::new().chain_update([0]).chain_update(bytes).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn uses_key(action: &str) -> bool {
    action.parse::<Action>().is_ok_and(Action::uses_key)
}

/// Whether an action that is no use of a key changes something. What is not known to read counts as
/// a change: better seen once too often.
fn is_change(action: &str) -> bool {
    let Some((noun, verb)) = action.split_once('.') else { return false };
    let reads = verb.starts_with("get")
        || verb.starts_with("list")
        || verb.starts_with("read")
        || matches!(
            verb,
            "whoCan"
                | "ofParticipant"
                | "jwks"
                | "random"
                | "hash"
                | "explain"
                | "validate"
                | "replay"
                | "status"
                | "whoami"
                | "start"
                | "stop"
                | "useCompromised"
        );
    !reads && !matches!(noun, "throttle" | "abuse" | "audit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_from_reads_and_uses() {
        for change in ["keys.create", "roles.grant", "policies.activate", "system.unblock"] {
            assert!(is_change(change), "{change}");
        }
        for read in ["keys.get", "keys.listVersions", "access.whoCan", "audit.read", "authenticate"]
        {
            assert!(!is_change(read), "{read}");
        }
        assert!(uses_key("keys.decrypt") && !uses_key("keys.get") && !uses_key("x"));
    }

    #[test]
    fn the_window_and_the_registrations_bound_what_counts() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let mut trail = Trail::new(at(10), at(20), Some(["reg_a".to_owned()].into()));
        let entry = |seconds: i64, registration: &str| {
            format!(
                r#"{{"action":"keys.encrypt","caller":"apikey:ptc_1","decision":"allow","key":"key_1",
                "outcome":"ok","registration":"{registration}","seq":1,"time":"{}"}}"#,
                at(seconds)
            )
        };
        for (seconds, registration) in [(9, "reg_a"), (10, "reg_a"), (19, "reg_a"), (20, "reg_a")] {
            trail.push(&entry(seconds, registration));
        }
        trail.push(&entry(15, "reg_b"));
        trail.push("no entry");
        assert_eq!((trail.read, trail.unreadable, trail.considered, trail.uses), (6, 1, 2, 2));
    }

    #[test]
    fn lists_keep_the_newest() {
        let mut list = Newest::default();
        for seq in 0..=u64::try_from(MOST).unwrap() {
            list.push(Happening { seq, ..Happening::default() });
        }
        assert_eq!((list.all, list.iter().count()), (10_001, MOST));
        assert_eq!(list.iter().next().unwrap().seq, 1);
    }
}
