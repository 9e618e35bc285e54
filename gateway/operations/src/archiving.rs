//! Archives of the audit log, as the hub keeps them: what is due, who asked, what went wrong last.

use std::sync::Mutex;
use std::time::Duration;

use hub_audit::archive::{Archiver, Goal};
use hub_model::Timestamp;
use hub_model::entry::{AuditEntry, Outcome};
use hub_model::principal::PeerAddress;
use tokio::sync::Notify;

use crate::hub::Hub;
use crate::perform::event;
use crate::usage::lock;

/// How much longer than its retention an entry stays in the store at most, to fill an archive.
const PATIENCE: Duration = Duration::from_secs(30 * 86_400);

/// What the configuration says of archives.
#[derive(Clone, Copy, Debug)]
pub struct ArchiveSettings {
    /// How long entries stay in the store; `None`: until somebody asks for archives.
    pub retention: Option<Duration>,
    /// Entries of one archive.
    pub entries: u64,
}

impl Default for ArchiveSettings {
    fn default() -> Self {
        Self { retention: None, entries: 100_000 }
    }
}

/// The state of archiving. In memory only: what is due is due again after a restart, and what was
/// asked for is asked for again.
#[derive(Debug, Default)]
pub(crate) struct Archiving {
    pub(crate) settings: ArchiveSettings,
    asked: Mutex<Option<Timestamp>>,
    trouble: Mutex<Option<String>>,
    wake: Notify,
}

impl Hub {
    /// The same hub, with archives as the configuration wants them.
    #[must_use]
    pub fn with_archives(mut self, settings: ArchiveSettings) -> Self {
        self.archiving_mut().settings = settings;
        self
    }

    /// What makes archives; `None` where the log is kept in memory.
    #[must_use]
    pub fn archiver(&self) -> Option<Archiver> {
        Archiver::new(self.log(), self.id(), self.archiving().settings.entries)
    }

    /// How long entries stay in the store.
    #[must_use]
    pub const fn retention(&self) -> Option<Duration> {
        self.archiving().settings.retention
    }

    /// What is to be archived now.
    #[must_use]
    pub fn archive_goal(&self) -> Option<Goal> {
        let asked = self.archive_asked();
        let due = self.retention().map(|retention| {
            let now = self.clock().now();
            let before = earlier(now, retention);
            Goal { before, partial_before: earlier(before, PATIENCE.min(retention / 4)) }
        });
        match (due, asked) {
            (Some(due), Some(asked)) if asked < due.before => {
                Some(Goal { partial_before: asked.max(due.partial_before), ..due })
            }
            (_, Some(asked)) => Some(Goal { before: asked, partial_before: asked }),
            (due, None) => due,
        }
    }

    /// What somebody asked for and is not done yet.
    #[must_use]
    pub fn archive_asked(&self) -> Option<Timestamp> {
        *lock(&self.archiving().asked)
    }

    /// Asks for archives of entries from before this moment.
    pub fn ask_archives(&self, before: Timestamp) {
        {
            let mut asked = lock(&self.archiving().asked);
            *asked = (*asked).max(Some(before));
        }
        *lock(&self.archiving().trouble) = None;
        self.archiving().wake.notify_one();
    }

    /// What was asked for is done, unless more was asked for meanwhile.
    pub fn archives_done(&self, goal: Goal) {
        let mut asked = lock(&self.archiving().asked);
        if asked.is_some_and(|asked| asked <= goal.before && asked <= goal.partial_before) {
            *asked = None;
        }
    }

    /// Why archiving did not go on when it was tried last.
    #[must_use]
    pub fn archive_trouble(&self) -> Option<String> {
        lock(&self.archiving().trouble).clone()
    }

    /// Says how the last try ended.
    pub fn set_archive_trouble(&self, trouble: Option<String>) {
        *lock(&self.archiving().trouble) = trouble;
    }

    /// Resolves when archives were asked for.
    pub async fn archives_due(&self) {
        self.archiving().wake.notified().await;
    }

    /// The entry of a step of the archiver.
    #[must_use]
    pub fn archive_entry(&self, action: &'static str, detail: String) -> AuditEntry {
        let now = self.clock().now();
        event(now, action, PeerAddress::Unix, Some(detail.into()), Outcome::OK, 1)
    }
}

fn earlier(time: Timestamp, by: Duration) -> Timestamp {
    let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(time.as_micros().saturating_sub(micros))
}
