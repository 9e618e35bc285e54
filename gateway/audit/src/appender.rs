//! Appends entries together with the changes they describe: one thread, one transaction a group,
//! durable before any reply. Whoever arrives while a group is being synced joins the next one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use hub_model::entry::AuditEntry;
use hub_store::{AuditHead, Changes, CommitError, StageError, Staged, Writer};

use crate::Keyed;
use crate::encode::{self, Gaps};
use crate::follow::{Committed, Recent};
use crate::inbox::{self, Inbox, Outcome, Reply, Submission, Taken};
use crate::{Error, batch, merkle};

/// Most entries in one group.
const MAX_GROUP: u32 = 512;
/// Most bytes of entries in one group.
const MAX_GROUP_BYTES: usize = 384 * 1024;

/// Proof that an outcome is in the log, durably. Only [`Appender::append`] makes one:
///
/// ```compile_fail
/// let receipt = hub_audit::Receipt { seq: 1, leaf: [0; 32], revision: 1 };
/// ```
#[derive(Debug)]
#[must_use]
pub struct Receipt {
    seq: u64,
    leaf: [u8; 32],
    revision: u64,
}

impl Receipt {
    /// Position in the writer's log.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// The leaf hash.
    #[must_use]
    pub const fn leaf(&self) -> &[u8; 32] {
        &self.leaf
    }

    /// The store revision of the commit.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }
}

/// What the log holds, as of the last durable group.
#[derive(Clone, Debug)]
pub struct Position {
    /// Entries, last leaf hash and Merkle frontier.
    pub audit: AuditHead,
    /// Commits the store has seen.
    pub commits: u64,
    /// The keyed state digest.
    pub digest: [u8; 32],
}

/// The way into the log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Appender {
    shared: Arc<Shared>,
}

struct Shared {
    writer: String,
    inbox: Inbox,
    position: ArcSwap<Position>,
    recent: Recent,
    /// Which fields of entries are hashed; set once, before work begins.
    keyed: OnceLock<Keyed>,
    /// A commit failed: nothing is acknowledged any more until a restart.
    failed: AtomicBool,
    /// The disk is nearly full: work is refused before the engine meets the end.
    low_space: AtomicBool,
    /// A full scan found records that are not those committed.
    tampered: AtomicBool,
    /// A required sink is too far behind: new work is refused until it has caught up.
    sinks_behind: AtomicBool,
    ended: AtomicBool,
    stopped: tokio::sync::Notify,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("writer", &self.writer).finish_non_exhaustive()
    }
}

impl Appender {
    /// Starts the appending thread over this writer.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(writer: Writer, name: &str) -> Result<Self, Error> {
        let head = writer.head();
        let position =
            Position { audit: head.audit.clone(), commits: head.commits, digest: head.digest };
        let shared = Arc::new(Shared {
            writer: name.to_owned(),
            inbox: Inbox::new(),
            position: ArcSwap::from_pointee(position),
            recent: Recent::default(),
            keyed: OnceLock::new(),
            failed: AtomicBool::new(false),
            low_space: AtomicBool::new(false),
            tampered: AtomicBool::new(false),
            sinks_behind: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            stopped: tokio::sync::Notify::new(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| Error::Unavailable(error.to_string()))?;
        let thread_shared = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || {
                // INVARIANT: however the loop ends, a panic included, nobody waits for ever.
                let guard = StopGuard(Arc::clone(&thread_shared));
                runtime.block_on(Run { writer, shared: thread_shared }.run());
                drop(guard);
            })
            .map_err(|error| Error::Unavailable(error.to_string()))?;
        Ok(Self { shared })
    }

    /// Appends one entry with the change it describes; returns once both are durable.
    ///
    /// # Errors
    /// [`Error::Conflict`] when a check of the change did not hold: nothing was done, plan again.
    /// [`Error::Unavailable`] when the log cannot be written: nothing may be acknowledged.
    pub async fn append(&self, entry: &AuditEntry, changes: Changes) -> Result<Receipt, Error> {
        if self.shared.sinks_behind.load(Ordering::Relaxed) {
            return Err(Error::Unavailable("a required sink is too far behind".to_owned()));
        }
        self.append_begun(entry, changes).await
    }

    /// As [`Appender::append`], also while a required sink is behind: for the hub's own steps, such
    /// as telling so, and for the end of what had begun before.
    ///
    /// # Errors
    /// As [`Appender::append`].
    pub async fn append_begun(
        &self,
        entry: &AuditEntry,
        changes: Changes,
    ) -> Result<Receipt, Error> {
        if self.shared.failed.load(Ordering::Acquire) {
            return Err(Error::Unavailable("an earlier write failed; restart the hub".to_owned()));
        }
        if self.shared.low_space.load(Ordering::Relaxed) {
            return Err(Error::Unavailable("the disk is nearly full".to_owned()));
        }
        if self.shared.tampered.load(Ordering::Relaxed) {
            return Err(Error::Unavailable("the store failed its integrity check".to_owned()));
        }
        let writer = &self.shared.writer;
        let keyed = self.shared.keyed.get();
        let write = |text: &mut String| encode::encode(text, entry, writer, keyed);
        let answer = self.shared.inbox.leave(write, changes).await?;
        answer
            .await
            .map_err(|_| Error::Unavailable("the outcome of the write is not known".to_owned()))?
    }

    /// What the log holds now.
    #[must_use]
    pub fn position(&self) -> Arc<Position> {
        self.shared.position.load_full()
    }

    /// Hashes these fields of entries from now on. Has an effect once.
    pub fn set_keyed(&self, keyed: Keyed) {
        let _ = self.shared.keyed.set(keyed);
    }

    /// What is hashed, where something is. For details that are made elsewhere.
    #[must_use]
    pub fn keyed(&self) -> Option<&Keyed> {
        self.shared.keyed.get()
    }

    /// The newest entries.
    pub(crate) fn recent(&self) -> &Recent {
        &self.shared.recent
    }

    /// The writer's name.
    #[must_use]
    pub fn writer(&self) -> &str {
        &self.shared.writer
    }

    /// Whether a commit has failed: the process should stop, and be started again.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.shared.failed.load(Ordering::Acquire)
    }

    /// Refuses new work while the disk is nearly full.
    pub fn set_low_space(&self, low: bool) {
        self.shared.low_space.store(low, Ordering::Relaxed);
    }

    /// Refuses new work while a required sink is too far behind.
    pub fn set_sinks_behind(&self, behind: bool) {
        self.shared.sinks_behind.store(behind, Ordering::Relaxed);
    }

    /// Whether new work is refused because of a required sink.
    #[must_use]
    pub fn sinks_behind(&self) -> bool {
        self.shared.sinks_behind.load(Ordering::Relaxed)
    }

    /// Refuses all work from now on: the store holds other records than were committed.
    pub fn set_tampered(&self) {
        self.shared.tampered.store(true, Ordering::Relaxed);
    }

    /// Whether all work is refused because of what a scan found.
    #[must_use]
    pub fn tampered(&self) -> bool {
        self.shared.tampered.load(Ordering::Relaxed)
    }

    /// Whether new work is refused because the disk is nearly full.
    #[must_use]
    pub fn low_space(&self) -> bool {
        self.shared.low_space.load(Ordering::Relaxed)
    }

    /// Resolves when the appending thread has ended, for whatever reason. For any number of
    /// waiters, also those who come later.
    pub async fn stopped(&self) {
        // Made before the flag is looked at, so that no end falls in between.
        let notified = self.shared.stopped.notified();
        if !self.shared.ended.load(Ordering::Acquire) {
            notified.await;
        }
    }

    /// Writes what is queued and ends the thread.
    pub async fn close(&self) {
        self.shared.inbox.close();
        self.stopped().await;
    }
}

struct StopGuard(Arc<Shared>);

impl Drop for StopGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.failed.store(true, Ordering::Release);
        }
        self.0.inbox.abandon();
        self.0.ended.store(true, Ordering::Release);
        self.0.stopped.notify_waiters();
    }
}

struct Run {
    writer: Writer,
    shared: Arc<Shared>,
}

/// A group member that waits for the commit.
struct Member {
    reply: Reply,
    seq: u64,
    leaf: [u8; 32],
}

impl Run {
    async fn run(mut self) {
        let mut taken = Taken::new();
        while let Some(first) = taken.wait(&self.shared.inbox).await {
            if let Err(error) = self.group(first, &mut taken).await {
                tracing::error!(%error, "the audit log cannot be written; stopping");
                self.shared.failed.store(true, Ordering::Release);
                let refusal = || Err(Error::Unavailable("an earlier write failed".to_owned()));
                inbox::send_all(taken.into_items().map(|left| (left.reply, refusal())));
                return;
            }
        }
    }

    /// Commits one group, starting with `first`.
    async fn group(&mut self, first: Submission, taken: &mut Taken) -> Result<(), Error> {
        let position = self.shared.position.load();
        let mut audit = position.audit.clone();
        drop(position);
        let mut builder = batch::Builder::new(audit.size);
        let first_seq = audit.size;
        let mut entries = Vec::with_capacity(64);
        let mut members: Vec<Member> = Vec::with_capacity(64);
        let mut group = self.writer.begin();
        let mut next = Some(first);
        while let Some(submission) = next.take() {
            let text = taken.text(&submission);
            let too_long = builder.count() >= MAX_GROUP
                || builder.len() + Gaps::size_bound(text.len()) > MAX_GROUP_BYTES;
            if too_long && builder.count() > 0 {
                taken.put_back(submission);
                break;
            }
            match group.stage(&submission.changes).await {
                Ok(Staged::Done(digest)) => {
                    let seq = audit.size;
                    let gaps = submission.gaps;
                    let bytes = builder
                        .push(|out| gaps.fill(text, out, &audit.chain, seq, digest.as_ref()));
                    let leaf = merkle::leaf_hash(bytes);
                    merkle::push(&mut audit.frontier, seq, leaf);
                    audit.chain = leaf;
                    audit.size += 1;
                    entries.push((builder.last_range(), leaf));
                    members.push(Member { reply: submission.reply, seq, leaf });
                }
                Ok(Staged::Full) if members.is_empty() => {
                    submission.reply.send(Err(Error::ChangeTooLarge));
                }
                Ok(Staged::Full) => {
                    taken.put_back(submission);
                    break;
                }
                Ok(Staged::Conflict(_)) => submission.reply.send(Err(Error::Conflict)),
                // A plan that names a path twice is that plan's own fault, and nobody else's.
                Err(StageError::Store(hub_store::Error::Duplicate(_))) => {
                    tracing::error!("a change names one record twice; it was refused");
                    submission.reply.send(Err(Error::ChangeTooLarge));
                }
                Err(StageError::Store(error)) => {
                    let text = error.to_string();
                    submission.reply.send(Err(Error::Unavailable(text.clone())));
                    answer(members, |_, _| Err(Error::Unavailable(text.clone())));
                    return Err(error.into());
                }
                Err(StageError::TooLarge | StageError::Reserved(_)) => {
                    submission.reply.send(Err(Error::ChangeTooLarge));
                }
            }
            next = taken.next(&self.shared.inbox);
        }
        if members.is_empty() {
            return Ok(());
        }
        let path = batch::path(&self.shared.writer, builder.last())?;
        let bytes = builder.finish();
        match group.commit(Some((path, &bytes)), audit).await {
            Ok(revision) => {
                let head = self.writer.head();
                self.shared.position.store(Arc::new(Position {
                    audit: head.audit.clone(),
                    commits: head.commits,
                    digest: head.digest,
                }));
                answer(members, |seq, leaf| Ok(Receipt { seq, leaf, revision: revision.0 }));
                self.shared.recent.push(Committed::new(first_seq, bytes, entries));
                Ok(())
            }
            Err(CommitError::Conflict { .. }) => {
                // Nothing happened; whoever is in the group plans again on what is there now.
                answer(members, |_, _| Err(Error::Conflict));
                Ok(())
            }
            Err(error) => {
                let text = error.to_string();
                answer(members, |_, _| Err(Error::Unavailable(text.clone())));
                Err(Error::Unavailable(text))
            }
        }
    }
}

/// Tells every member of a group.
fn answer(members: Vec<Member>, outcome: impl Fn(u64, [u8; 32]) -> Outcome) {
    inbox::send_all(members.into_iter().map(|m| (m.reply, outcome(m.seq, m.leaf))));
}
