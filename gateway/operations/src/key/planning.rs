//! Which keys wait for their plugin to be asked when they are rotated, and what came of asking.
//!
//! The agenda is what lasts; this queue is filled from it by each sweep and may be lost. Plugins are
//! asked apart from the sweep, each in a queue of its own, so that a plugin that is slow or does not
//! answer delays neither what else is due nor the dates of other plugins.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use hub_model::extend::{FailureKind, RotationAnswer};
use hub_model::{KeyId, Name, RegistrationId, Timestamp};
use tokio::sync::Notify;

use crate::usage::lock;

/// Keys that wait for one plugin at most; more are found by a later sweep.
const MOST_WAITING: usize = 10_000;
/// And of one registration, so that none with very many keys keeps others out.
const MOST_OF_ONE: usize = 1000;

/// Every kind of failure, as metrics name them.
pub const FAILURES: [FailureKind; 11] = [
    FailureKind::Refused,
    FailureKind::Internal,
    FailureKind::Trap,
    FailureKind::Deadline,
    FailureKind::Fuel,
    FailureKind::Memory,
    FailureKind::Tables,
    FailureKind::HostCalls,
    FailureKind::Nonsense,
    FailureKind::Busy,
    FailureKind::Unavailable,
];

/// What plugins answered, as metrics name it.
pub const ANSWERS: [&str; 3] = ["rotate-at", "rotate-now", "ask-again"];

/// A key whose plugin is to be asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) registration: RegistrationId,
    pub(crate) key: KeyId,
    /// The date its entry in the agenda lies under; none for one that its use brought here.
    pub(crate) at: Option<Timestamp>,
}

/// The keys whose plugins are to be asked.
#[derive(Debug, Default)]
pub(crate) struct Planning {
    queue: Mutex<Queue>,
    wake: Notify,
    failures: [AtomicU64; FAILURES.len()],
    answers: [AtomicU64; ANSWERS.len()],
}

#[derive(Debug, Default)]
struct Queue {
    waiting: BTreeMap<Name, Line>,
    /// Which registration is first next time.
    turn: usize,
    /// Those that wait or are being asked about: none is asked about twice at once.
    known: HashSet<KeyId>,
    /// Whether one was left out because too many waited.
    left_out: bool,
    /// Plugins that are to be asked anew about all their keys.
    changed: BTreeSet<Name>,
}

impl Planning {
    /// Notes a key, once.
    pub(crate) fn offer(&self, plugin: &Name, waiting: Waiting) {
        let mut queue = lock(&self.queue);
        if queue.known.contains(&waiting.key) {
            return;
        }
        if queue.waiting.get(plugin).is_some_and(|line| line.is_full_for(waiting.registration)) {
            queue.left_out = true;
            return;
        }
        queue.known.insert(waiting.key);
        if !queue.waiting.contains_key(plugin) {
            queue.waiting.insert(plugin.clone(), Line::default());
        }
        if let Some(line) = queue.waiting.get_mut(plugin) {
            line.of(waiting.registration).push_back(waiting);
            line.count += 1;
        }
        self.wake.notify_one();
    }

    /// Everything that waits. They stay known until they are [`Self::forget`]-ten.
    pub(super) fn take(&self) -> Vec<(Name, Vec<Waiting>)> {
        let mut queue = lock(&self.queue);
        let (waiting, turn) = (std::mem::take(&mut queue.waiting), queue.turn);
        queue.turn = turn.wrapping_add(1);
        drop(queue);
        waiting.into_iter().map(|(plugin, line)| (plugin, line.in_turn(turn))).collect()
    }

    /// One was asked about.
    pub(super) fn forget(&self, key: KeyId) {
        lock(&self.queue).known.remove(&key);
    }

    /// One was not asked about for want of time: before all that came meanwhile.
    pub(super) fn put_back(&self, plugin: &Name, waiting: Waiting) {
        let mut queue = lock(&self.queue);
        let line = queue.waiting.entry(plugin.clone()).or_default();
        line.of(waiting.registration).push_front(waiting);
        line.count += 1;
        drop(queue);
        self.wake.notify_one();
    }

    /// Plugins that have changed, once.
    pub(super) fn changed(&self) -> BTreeSet<Name> {
        std::mem::take(&mut lock(&self.queue).changed)
    }

    /// A plugin whose keys could not all be asked about anew: at the next run, which is not
    /// hastened for it.
    pub(super) fn changed_still(&self, plugin: Name) {
        lock(&self.queue).changed.insert(plugin);
    }

    /// Whether keys were left out since this was asked last: the agenda has more.
    pub(super) fn left_out(&self) -> bool {
        std::mem::take(&mut lock(&self.queue).left_out)
    }

    /// Resolves when there is somebody to ask.
    pub(super) async fn wanted(&self) {
        self.wake.notified().await;
    }

    pub(super) fn answered(&self, answer: &RotationAnswer) {
        let at = match answer {
            RotationAnswer::At(_) => 0,
            RotationAnswer::Now(_) => 1,
            RotationAnswer::AskAgain(_) => 2,
        };
        count(&self.answers, at);
    }

    pub(super) fn failed(&self, kind: FailureKind) {
        if let Some(at) = FAILURES.iter().position(|of| *of == kind) {
            count(&self.failures, at);
        }
    }
}

/// The keys that wait for one plugin, by registration: each has its turn, however many keys another
/// has.
#[derive(Debug, Default)]
struct Line {
    by: BTreeMap<RegistrationId, VecDeque<Waiting>>,
    count: usize,
}

impl Line {
    fn of(&mut self, registration: RegistrationId) -> &mut VecDeque<Waiting> {
        self.by.entry(registration).or_default()
    }

    fn is_full_for(&self, registration: RegistrationId) -> bool {
        self.count >= MOST_WAITING
            || self.by.get(&registration).is_some_and(|some| some.len() >= MOST_OF_ONE)
    }

    /// The first of each registration, then the second of each, and so on. One run may not come to
    /// the end of it: the next begins with another registration.
    fn in_turn(self, turn: usize) -> Vec<Waiting> {
        let mut lines: VecDeque<_> = self.by.into_values().collect();
        lines.rotate_left(turn.checked_rem(lines.len()).unwrap_or(0));
        let mut order = Vec::new();
        while let Some(mut line) = lines.pop_front() {
            order.extend(line.pop_front());
            if !line.is_empty() {
                lines.push_back(line);
            }
        }
        order
    }
}

fn count(counts: &[AtomicU64], at: usize) {
    if let Some(count) = counts.get(at) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl crate::Hub {
    /// Has a plugin asked anew about its keys, soon: it, its settings or its assignment have changed.
    pub fn plugin_changed(&self, plugin: &Name) {
        lock(&self.planning().queue).changed.insert(plugin.clone());
        self.planning().wake.notify_one();
    }

    /// How often rotation plugins failed in this way, since the start.
    #[must_use]
    pub fn rotation_failures(&self, kind: FailureKind) -> u64 {
        let at = FAILURES.iter().position(|of| *of == kind);
        at.and_then(|at| self.planning().failures.get(at)).map_or(0, load)
    }

    /// How often rotation plugins gave this of the [`ANSWERS`], since the start.
    #[must_use]
    pub fn rotation_answers(&self, answer: &str) -> u64 {
        let at = ANSWERS.iter().position(|of| *of == answer);
        at.and_then(|at| self.planning().answers.get(at)).map_or(0, load)
    }

    /// How many keys wait for their rotation plugin to be asked, or are being asked about.
    #[must_use]
    pub fn rotations_waiting(&self) -> usize {
        lock(&self.planning().queue).known.len()
    }
}

fn load(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registrations_have_their_turns() {
        let planning = Planning::default();
        let name: Name = "calendar".parse().unwrap();
        let of = [1, 2, 3].map(|n| RegistrationId::from_bytes([n; 16]));
        let offer = |registration, times: usize| {
            for _ in 0..times {
                planning.offer(&name, Waiting { registration, key: KeyId::generate(), at: None });
            }
        };
        offer(of[0], MOST_OF_ONE + 1);
        assert!(planning.left_out());
        offer(of[1], 1);
        offer(of[2], 2);
        assert!(!planning.left_out(), "the others have room");
        let first = |count| -> Vec<RegistrationId> {
            let (_, waiting) = planning.take().remove(0);
            let first = waiting.iter().take(count).map(|one| one.registration).collect();
            for one in waiting {
                planning.put_back(&name, one);
            }
            first
        };
        assert_eq!(first(6), [of[0], of[1], of[2], of[0], of[2], of[0]]);
        assert_eq!(first(2), [of[1], of[2]]);
    }
}
