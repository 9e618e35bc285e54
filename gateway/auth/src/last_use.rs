//! When each credential was last used: kept in memory as it happens, and written to its record
//! rarely, since a log entry an hour says as much as one a request.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hub_model::{CredentialId, Timestamp};
use hub_store::Revision;

/// How old what is written may be while a credential is in use.
const RESOLUTION: Duration = Duration::from_secs(3600);

/// The last uses of credentials in this process.
#[derive(Debug, Default)]
pub struct LastUses {
    known: Mutex<HashMap<CredentialId, Entry>>,
}

#[derive(Debug)]
struct Entry {
    at: Arc<AtomicI64>,
    /// What the record says, in microseconds.
    written: i64,
    /// The credential as it was when it was loaded: one that has changed or gone is not written.
    revision: Revision,
}

/// A last use to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// The credential.
    pub credential: CredentialId,
    /// The revision of its record when it was used.
    pub revision: Revision,
    /// When it was last used.
    pub at: Timestamp,
}

impl LastUses {
    /// Where uses of a credential are noted. `written` is what its record says.
    pub(crate) fn watch(
        &self,
        credential: CredentialId,
        revision: Revision,
        written: Option<Timestamp>,
    ) -> Arc<AtomicI64> {
        let written = written.map_or(0, Timestamp::as_micros);
        let mut known = self.known();
        let entry = known.entry(credential).or_insert_with(|| Entry {
            at: Arc::new(AtomicI64::new(written)),
            written,
            revision,
        });
        entry.revision = revision;
        Arc::clone(&entry.at)
    }

    /// When a credential was last used, if that is known here.
    #[must_use]
    pub fn of(&self, credential: CredentialId) -> Option<Timestamp> {
        let micros = self.known().get(&credential)?.at.load(Ordering::Relaxed);
        (micros > 0).then(|| Timestamp::from_micros(micros))
    }

    /// What should be written now: what is an hour ahead of its record, or at the `end` everything
    /// that is ahead. What nobody holds any more and is written is forgotten.
    #[must_use]
    pub fn due(&self, end: bool) -> Vec<Used> {
        let resolution = i64::try_from(RESOLUTION.as_micros()).unwrap_or(i64::MAX);
        let mut due = Vec::new();
        self.known().retain(|credential, entry| {
            let at = entry.at.load(Ordering::Relaxed);
            // Nobody holds it: its use is over for now, and goes to the record before it is
            // forgotten.
            let idle = Arc::strong_count(&entry.at) == 1;
            let ahead = at.saturating_sub(entry.written);
            if ahead > 0 && (end || idle || ahead >= resolution) {
                let at = Timestamp::from_micros(at);
                due.push(Used { credential: *credential, revision: entry.revision, at });
            }
            !idle || ahead > 0
        });
        due
    }

    /// Notes what the record says now, or that it need not be written.
    pub fn written(&self, used: &Used) {
        if let Some(entry) = self.known().get_mut(&used.credential) {
            entry.written = entry.written.max(used.at.as_micros());
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<CredentialId, Entry>> {
        // Whole after every statement.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    #[test]
    fn uses_are_written_by_the_hour_at_the_end_and_when_nobody_holds_them() {
        let uses = LastUses::default();
        let id = CredentialId::generate();
        let written = Timestamp::from_micros(HOUR);
        let at = uses.watch(id, Revision(1), Some(written));
        assert_eq!(uses.of(id), Some(written));
        assert_eq!(uses.due(true), []);
        at.store(HOUR + 5, Ordering::Relaxed);
        assert_eq!(uses.due(false), []);
        let used =
            Used { credential: id, revision: Revision(1), at: Timestamp::from_micros(HOUR + 5) };
        assert_eq!(uses.due(true), [used]);
        at.store(2 * HOUR, Ordering::Relaxed);
        let [used] = uses.due(false)[..] else { panic!() };
        uses.written(&used);
        assert_eq!(uses.due(true), []);
        at.store(2 * HOUR + 5, Ordering::Relaxed);
        drop(at);
        let [used] = uses.due(false)[..] else { panic!() };
        assert_eq!(uses.of(id), Some(used.at), "kept until it is written");
        uses.written(&used);
        assert_eq!(uses.due(false), []);
        assert_eq!(uses.of(id), None, "forgotten");
    }

    #[test]
    fn a_credential_loaded_again_goes_on() {
        let uses = LastUses::default();
        let id = CredentialId::generate();
        let first = uses.watch(id, Revision(1), None);
        first.store(7, Ordering::Relaxed);
        let second = uses.watch(id, Revision(2), None);
        assert_eq!(second.load(Ordering::Relaxed), 7);
        assert_eq!(uses.due(true)[0].revision, Revision(2));
    }
}
