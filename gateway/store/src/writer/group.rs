//! A group of members on its way into one transaction.

use std::collections::HashSet;
use std::sync::Arc;

use super::Writer;
use super::changes::{Changes, Plain};
use crate::backend::{Check, Commit, Entry, MAX_BYTES, MAX_PARTS, Revision, Txn, Write};
use crate::barrier::OVERHEAD;
use crate::digest::StateDigest;
use crate::generations::Generations;
use crate::head::{AuditHead, Head, MAX_HEAD};
use crate::path::MAX_PATH;
use crate::{Error, Path};

/// The most plaintext an audit batch may have.
pub const MAX_BATCH: usize = 512 * 1024;

// What commit adds by itself: the check on the head, the head and the audit batch.
const OWN_PARTS: usize = 3;
const OWN_BYTES: usize = MAX_BATCH + MAX_HEAD + 2 * OVERHEAD + 3 * MAX_PATH;
const GROUP_PARTS: usize = MAX_PARTS - OWN_PARTS;
const GROUP_BYTES: usize = MAX_BYTES - OWN_BYTES;

/// How staging a member ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Staged {
    /// It is in the group. If it changes records: the state digest up to and with it.
    Done(Option<[u8; 32]>),
    /// It has no place in this group, but has in the next: commit this one first.
    Full,
    /// The check at this index of the changes does not hold.
    Conflict(usize),
}

/// Why a member cannot be staged, in this group or another. The group is as it was.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// More than one transaction can hold.
    #[error("the changes do not fit into one transaction")]
    TooLarge,
    /// Heads and audit batches are the writer's own.
    #[error("{0:?} is written by the writer itself")]
    Reserved(Path),
    /// The store could not be read, or takes no more writes.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Why a group was not committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing happened, because a check of this member (in order of staging, from 0, members
    /// without changes included) no longer holds. The others may be staged again.
    #[error("a check of member {member} no longer holds")]
    Conflict {
        /// Which member.
        member: usize,
    },
    /// It may or may not have happened. The writer commits nothing more: the process must end, and
    /// find out when it starts again.
    #[error("the outcome of a commit is unknown: {0}")]
    Unknown(String),
    /// Nothing happened.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Members staged so far.
#[derive(Debug)]
pub struct Group<'a> {
    writer: &'a mut Writer,
    members: usize,
    // With the member each belongs to. Empty on an exclusive engine, where what was true at
    // staging stays true.
    checks: Vec<(Check, usize)>,
    checked: HashSet<Path>,
    writes: Vec<Write>,
    written: HashSet<Path>,
    bytes: usize,
    digest: StateDigest,
}

impl<'a> Group<'a> {
    pub(super) fn new(writer: &'a mut Writer) -> Self {
        let digest = writer.head.state();
        Self {
            writer,
            members: 0,
            checks: Vec::new(),
            checked: HashSet::new(),
            writes: Vec::new(),
            written: HashSet::new(),
            bytes: 0,
            digest,
        }
    }

    /// The head as it was before the group.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.writer.head
    }

    /// How many members there are, those without changes included.
    #[must_use]
    pub const fn members(&self) -> usize {
        self.members
    }

    /// Adds a member: verifies its checks, seals its records and keeps the digest.
    ///
    /// # Errors
    /// [`StageError`]; the group is as it was.
    pub async fn stage(&mut self, changes: &Changes) -> Result<Staged, StageError> {
        if let Some(reason) = &self.writer.failed {
            return Err(Error::Poisoned(reason.clone()).into());
        }
        if changes.is_empty() {
            self.members = self.members.saturating_add(1);
            return Ok(Staged::Done(None));
        }
        self.refuse_malformed(changes)?;
        // A member sees what was committed, not what is staged.
        if changes.paths().any(|path| self.written.contains(path)) {
            return Ok(Staged::Full);
        }
        let exclusive = self.writer.store.backend().is_exclusive();
        let (parts, bytes) = self.size(changes, exclusive);
        if parts > GROUP_PARTS || bytes > GROUP_BYTES {
            return Err(StageError::TooLarge);
        }
        if self.parts().saturating_add(parts) > GROUP_PARTS
            || self.bytes.saturating_add(bytes) > GROUP_BYTES
        {
            return Ok(Staged::Full);
        }

        let mut known: Vec<(&Path, Option<Entry>)> = Vec::new();
        for (index, check) in changes.checks.iter().enumerate() {
            let found = self.writer.store.backend().get(check.path()).await?;
            if !check.holds(found.as_ref().map(|entry| entry.revision)) {
                return Ok(Staged::Conflict(index));
            }
            known.push((check.path(), found));
        }
        let Prepared { writes, found, digest } = self.prepare(changes, known).await?;

        // Nothing below fails: the member is in.
        let member = self.members;
        self.members = self.members.saturating_add(1);
        if !exclusive {
            for check in changes.checks.iter().cloned().chain(found) {
                if self.checked.insert(check.path().clone()) {
                    self.checks.push((check, member));
                }
            }
        }
        self.written.extend(writes.iter().map(|write| write.path().clone()));
        self.bytes = self.bytes.saturating_add(bytes);
        let changed = !writes.is_empty();
        self.writes.extend(writes);
        self.digest = digest;
        Ok(Staged::Done(changed.then(|| digest.to_bytes())))
    }

    /// Writes members, audit batch and head in one transaction, and returns once it is durable and
    /// cached values are stale. `batch` has at most [`MAX_BATCH`] bytes, which are sealed here, and
    /// lies under the writer's own prefix.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn commit(
        self,
        batch: Option<(Path, &[u8])>,
        audit: AuditHead,
    ) -> Result<Revision, CommitError> {
        let Self { writer, checks, writes, written, digest, .. } = self;
        if let Some(reason) = &writer.failed {
            return Err(Error::Poisoned(reason.clone()).into());
        }
        let head = Head {
            commits: writer.head.commits.saturating_add(1),
            digest: digest.to_bytes(),
            audit,
        };
        let barrier = writer.store.barrier();
        let mut txn = Txn::new();
        txn.check(match writer.head_revision {
            Some(revision) => Check::Revision(writer.head_path.clone(), revision),
            None => Check::Absent(writer.head_path.clone()),
        })?;
        let members: Vec<usize> = checks.iter().map(|(_, member)| *member).collect();
        for (check, _) in checks {
            txn.check(check)?;
        }
        for write in writes {
            txn.write(write)?;
        }
        if let Some((path, plaintext)) = batch {
            if !path.is_writers() {
                return Err(Error::Path(path.to_string()).into());
            }
            if plaintext.len() > MAX_BATCH {
                return Err(Error::TooLarge.into());
            }
            let sealed = barrier.seal(&path, plaintext);
            txn.put(path, sealed)?;
        }
        let sealed = barrier.seal(&writer.head_path, &head.encode()?);
        txn.put(writer.head_path.clone(), sealed)?;

        // However the commit ends, even if nobody waits for its end: cached values are stale, and
        // unless the end was seen, the writer does not know where it stands.
        let stale = Stale { generations: Arc::clone(writer.store.generations()), paths: written };
        writer.failed = Some("a commit was abandoned".to_owned());
        let outcome = writer.store.backend().commit(txn).await;
        drop(stale);
        match outcome {
            Ok(Commit::Committed(revision)) => {
                writer.head = head;
                writer.head_revision = Some(revision);
                writer.failed = None;
                Ok(revision)
            }
            Ok(Commit::Conflict(index)) => {
                match index.checked_sub(1).and_then(|i| members.get(i)) {
                    Some(member) => {
                        writer.failed = None;
                        Err(CommitError::Conflict { member: *member })
                    }
                    None => {
                        writer.failed = Some("the head was changed by another process".to_owned());
                        Err(Error::Superseded(writer.name.clone()).into())
                    }
                }
            }
            Ok(Commit::Unknown(reason)) => {
                writer.failed = Some(reason.clone());
                Err(CommitError::Unknown(reason))
            }
            Err(error) => {
                writer.failed = match &error {
                    Error::Poisoned(reason) => Some(reason.clone()),
                    _ => None,
                };
                Err(error.into())
            }
        }
    }

    /// The writes of a member, what they replace, and the digest after them.
    async fn prepare(
        &self,
        changes: &Changes,
        known: Vec<(&Path, Option<Entry>)>,
    ) -> Result<Prepared, StageError> {
        let store = &self.writer.store;
        let mut digest = self.digest;
        let mut found = Vec::new();
        let mut writes =
            Vec::with_capacity(changes.puts.len().saturating_add(changes.deletes.len()));
        let puts = changes.puts.iter().map(|(path, plain)| (path, Some(plain)));
        let deletes = changes.deletes.iter().map(|path| (path, None));
        for (path, plain) in puts.chain(deletes) {
            let covered = !path.is_writers();
            let before = match known.iter().find(|(seen, _)| *seen == path) {
                Some((_, entry)) => entry.clone(),
                None => store.backend().get(path).await?,
            };
            // The digest is right only if what was found is what is replaced.
            found.push(match &before {
                Some(entry) => Check::Revision(path.clone(), entry.revision),
                None => Check::Absent(path.clone()),
            });
            let nothing_there = before.is_none();
            if let Some(entry) = before.filter(|_| covered) {
                digest = digest.minus(store.barrier().term(path, &entry.value));
            }
            let value = match plain {
                Some(Plain::Record(plaintext)) => store.barrier().seal(path, plaintext),
                Some(Plain::Wrapped(bytes)) => bytes.clone(),
                None => {
                    if !nothing_there {
                        writes.push(Write::Delete(path.clone()));
                    }
                    continue;
                }
            };
            if covered {
                digest = digest.plus(store.barrier().term(path, &value));
            }
            writes.push(Write::Put(path.clone(), value));
        }
        // No part of the digest, and never written again: nothing to look for.
        writes.extend(changes.archived.iter().cloned().map(Write::Delete));
        Ok(Prepared { writes, found, digest })
    }

    fn refuse_malformed(&self, changes: &Changes) -> Result<(), StageError> {
        let mut checked = HashSet::new();
        if let Some(twice) = changes.checks.iter().find(|check| !checked.insert(check.path())) {
            return Err(Error::Duplicate(twice.path().clone()).into());
        }
        let mut written = HashSet::new();
        if let Some(twice) = changes.written().find(|path| !written.insert(*path)) {
            return Err(Error::Duplicate(twice.clone()).into());
        }
        if let Some(path) = changes.written().find(|path| **path == self.writer.head_path) {
            return Err(StageError::Reserved(path.clone()));
        }
        // What a writer keeps is put by the writer, and its batches go only into archives.
        let mut records = changes.puts.iter().map(|(path, _)| path).chain(&changes.deletes);
        if let Some(path) = records.find(|path| path.is_writers()) {
            return Err(StageError::Reserved(path.clone()));
        }
        // For most changes there is nothing to look at, and nothing to allocate.
        if changes.archived.is_empty() {
            return Ok(());
        }
        let batches = crate::path::batches(&self.writer.name);
        match changes.archived.iter().find(|path| !path.as_str().starts_with(&batches)) {
            Some(path) => Err(StageError::Reserved(path.clone())),
            None => Ok(()),
        }
    }

    /// The parts and bytes a member needs, at most.
    fn size(&self, changes: &Changes, exclusive: bool) -> (usize, usize) {
        let mut parts = changes.written().count();
        let mut bytes = 0usize;
        for (path, plain) in &changes.puts {
            bytes = bytes.saturating_add(path.as_bytes().len()).saturating_add(plain.len());
            bytes = bytes.saturating_add(OVERHEAD);
        }
        for path in changes.deletes.iter().chain(&changes.archived) {
            bytes = bytes.saturating_add(path.as_bytes().len());
        }
        if !exclusive {
            // Every path checked, and every path replaced.
            let looked_at = changes.paths().filter(|path| !changes.archived.contains(*path));
            for path in looked_at.filter(|path| !self.checked.contains(*path)) {
                parts = parts.saturating_add(1);
                bytes = bytes.saturating_add(path.as_bytes().len());
            }
        }
        (parts, bytes)
    }

    fn parts(&self) -> usize {
        self.checks.len().saturating_add(self.writes.len())
    }
}

struct Prepared {
    writes: Vec<Write>,
    found: Vec<Check>,
    digest: StateDigest,
}

/// Raises the generations of changed paths when dropped.
struct Stale {
    generations: Arc<Generations>,
    paths: HashSet<Path>,
}

impl Drop for Stale {
    fn drop(&mut self) {
        for path in &self.paths {
            self.generations.bump(path);
        }
    }
}
