//! A policy set evaluated beside the active one, for what it would change.
//!
//! Requests leave a copy of their question in a bounded queue and go on; a thread of its own decides
//! it again and counts where the two differ. What does not fit in the queue is dropped and counted.
//! Without a set in the shadow a decision pays for one relaxed load.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use hub_auth::Caller;
use hub_model::{Action, EncryptionContext, Key, KeyId, ParticipantId, RegistrationId, Timestamp};

use crate::bundle::Bundle;
use crate::decide::{Active, Asker, Engine, Policies, RegistrationFacts, RequestFacts, Target};

/// Questions that wait at most.
const QUEUE: usize = 1024;
/// Differences told apart; what comes on top is counted only.
pub const MOST_GROUPS: usize = 100;
/// Differences told apart between two looks of [`Policies::fresh_differences`].
const MOST_FRESH: usize = 64;

/// What a difference is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct About {
    /// Whether the active set permitted it. The set in the shadow decided otherwise.
    pub permitted: bool,
    /// Who asked.
    pub participant: ParticipantId,
    /// For what.
    pub action: Action,
    /// Where; none is the hub.
    pub registration: Option<RegistrationId>,
    /// The key.
    pub key: Option<KeyId>,
}

/// Decisions of one kind that fall otherwise in the shadow.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Of what.
    pub about: About,
    /// How many.
    pub count: u64,
    /// The last time.
    pub time: Timestamp,
    /// The policies that decided in the shadow, the last time.
    pub policies: Arc<[Arc<str>]>,
}

/// What was found since a set was put in the shadow.
#[derive(Clone, Debug)]
pub struct Report {
    /// The set.
    pub revision: Arc<str>,
    /// Since when.
    pub since: Timestamp,
    /// Decisions compared.
    pub decisions: u64,
    /// Permitted by the active set, refused in the shadow.
    pub allow_to_deny: u64,
    /// Refused by the active set, permitted in the shadow.
    pub deny_to_allow: u64,
    /// Questions that did not fit in the queue.
    pub dropped: u64,
    /// Allow to deny first, then the most frequent.
    pub differences: Vec<Difference>,
}

/// Differences since the last look.
#[derive(Clone, Debug, Default)]
pub struct Fresh {
    /// The set, in the first digits of its digest.
    pub revision: String,
    /// By what they are about.
    pub groups: Vec<(About, u64)>,
    /// Those beyond the groups told apart.
    pub other: u64,
}

/// The place of a set in the shadow.
#[derive(Debug, Default)]
pub(crate) struct Shadow {
    on: AtomicBool,
    running: ArcSwapOption<Running>,
}

#[derive(Debug)]
struct Running {
    bundle: Arc<Bundle>,
    since: Timestamp,
    questions: SyncSender<Box<Question>>,
    /// Places of the queue that are taken.
    taken: Arc<AtomicUsize>,
    dropped: AtomicU64,
    found: Arc<Mutex<Found>>,
}

#[derive(Debug, Default)]
struct Found {
    decisions: u64,
    allow_to_deny: u64,
    deny_to_allow: u64,
    groups: HashMap<About, Difference>,
    fresh: HashMap<About, u64>,
    fresh_other: u64,
}

/// A request that was decided, as far as the decision needs it.
#[derive(Debug)]
struct Question {
    caller: Caller,
    action: Action,
    place: Where,
    context: Option<EncryptionContext>,
    payload_bytes: u64,
    permitted: bool,
}

#[derive(Debug)]
enum Where {
    Hub,
    Registration(RegistrationFacts),
    Key { key: Box<Key>, revision: u64, registration: RegistrationFacts },
}

impl Shadow {
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Leaves a question, if there is room.
    pub(crate) fn offer(
        &self,
        caller: &Caller,
        action: Action,
        target: &Target<'_>,
        facts: &RequestFacts<'_>,
        permitted: bool,
    ) {
        let running = self.running.load();
        let Some(running) = running.as_ref() else { return };
        // A place first: where there is none, nothing is copied.
        if running.taken.fetch_add(1, Ordering::Relaxed) >= QUEUE {
            running.taken.fetch_sub(1, Ordering::Relaxed);
            running.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let place = match target {
            Target::Hub => Where::Hub,
            Target::Registration(facts) => Where::Registration((*facts).clone()),
            Target::Key { key, revision, registration } => Where::Key {
                key: Box::new((*key).clone()),
                revision: *revision,
                registration: (*registration).clone(),
            },
        };
        let question = Question {
            caller: caller.clone(),
            action,
            place,
            context: facts.encryption_context.cloned(),
            payload_bytes: facts.payload_bytes,
            permitted,
        };
        if running.questions.try_send(Box::new(question)).is_err() {
            running.taken.fetch_sub(1, Ordering::Relaxed);
            running.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Policies {
    /// Evaluates a set in the shadow from now on, in place of any other; `None` ends that. What was
    /// found until then is forgotten.
    ///
    /// # Errors
    /// When no thread can be started; then nothing is in the shadow.
    pub fn set_shadow(&self, bundle: Option<Arc<Bundle>>, now: Timestamp) -> std::io::Result<()> {
        self.shadow.on.store(false, Ordering::Relaxed);
        self.shadow.running.store(None);
        let Some(bundle) = bundle else { return Ok(()) };
        let (questions, inbox) = sync_channel(QUEUE);
        let taken = Arc::new(AtomicUsize::new(0));
        let found = Arc::new(Mutex::new(Found::default()));
        let work = Work {
            engine: Arc::clone(&self.engine),
            set: Active::new(Arc::clone(&bundle)),
            inbox,
            taken: Arc::clone(&taken),
            found: Arc::clone(&found),
        };
        // Ends when the last sender is gone.
        let _thread =
            std::thread::Builder::new().name("shadow".to_owned()).spawn(move || work.run())?;
        let dropped = AtomicU64::new(0);
        let running = Running { bundle, since: now, questions, taken, dropped, found };
        self.shadow.running.store(Some(Arc::new(running)));
        self.shadow.on.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// What is in the shadow, and what was found.
    #[must_use]
    pub fn shadow_report(&self) -> Option<Report> {
        let running = self.shadow.running.load_full()?;
        let found = lock(&running.found);
        let mut differences: Vec<Difference> = found.groups.values().cloned().collect();
        differences.sort_by_key(|one| (!one.about.permitted, std::cmp::Reverse(one.count)));
        Some(Report {
            revision: Arc::clone(running.bundle.revision()),
            since: running.since,
            decisions: found.decisions,
            allow_to_deny: found.allow_to_deny,
            deny_to_allow: found.deny_to_allow,
            dropped: running.dropped.load(Ordering::Relaxed),
            differences,
        })
    }

    /// The digest of what is in the shadow.
    #[must_use]
    pub fn shadow_revision(&self) -> Option<Arc<str>> {
        let running = self.shadow.running.load();
        running.as_ref().map(|running| Arc::clone(running.bundle.revision()))
    }

    /// Differences since the last call, for the audit trail.
    #[must_use]
    pub fn fresh_differences(&self) -> Option<Fresh> {
        if !self.shadow.is_on() {
            return None;
        }
        let running = self.shadow.running.load_full()?;
        let mut found = lock(&running.found);
        let groups: Vec<_> = std::mem::take(&mut found.fresh).into_iter().collect();
        let other = std::mem::take(&mut found.fresh_other);
        drop(found);
        let revision = running.bundle.revision().chars().take(12).collect();
        (!groups.is_empty() || other > 0).then_some(Fresh { revision, groups, other })
    }
}

struct Work {
    engine: Arc<Engine>,
    set: Active,
    inbox: Receiver<Box<Question>>,
    taken: Arc<AtomicUsize>,
    found: Arc<Mutex<Found>>,
}

impl Work {
    fn run(self) {
        while let Ok(question) = self.inbox.recv() {
            self.taken.fetch_sub(1, Ordering::Relaxed);
            self.compare(&question);
        }
    }

    fn compare(&self, question: &Question) {
        let (target, registration, key) = match &question.place {
            Where::Hub => (Target::Hub, None, None),
            Where::Registration(facts) => {
                (Target::Registration(facts), Some(facts.registration.id), None)
            }
            Where::Key { key, revision, registration } => {
                let target = Target::Key { key, revision: *revision, registration };
                (target, Some(registration.registration.id), Some(key.id))
            }
        };
        let facts = RequestFacts {
            encryption_context: question.context.as_ref(),
            payload_bytes: question.payload_bytes,
        };
        let asker = Asker::of(&question.caller);
        let asked = (question.action, &target);
        let outcome = self.set.outcome(&self.engine, None, &asker, asked, &facts);
        let mut found = lock(&self.found);
        found.decisions += 1;
        if outcome.permitted == question.permitted {
            return;
        }
        if question.permitted {
            found.allow_to_deny += 1;
        } else {
            found.deny_to_allow += 1;
        }
        let about = About {
            permitted: question.permitted,
            participant: question.caller.participant().id,
            action: question.action,
            registration,
            key,
        };
        found.note(about, question.caller.now(), &outcome.trace.policies);
    }
}

impl Found {
    fn note(&mut self, about: About, time: Timestamp, policies: &Arc<[Arc<str>]>) {
        if self.groups.len() < MOST_GROUPS || self.groups.contains_key(&about) {
            let policies = Arc::clone(policies);
            let new = Difference { about, count: 0, time, policies: Arc::clone(&policies) };
            let group = self.groups.entry(about).or_insert(new);
            group.count += 1;
            (group.time, group.policies) = (time, policies);
        }
        if self.fresh.len() < MOST_FRESH || self.fresh.contains_key(&about) {
            *self.fresh.entry(about).or_insert(0) += 1;
        } else {
            self.fresh_other += 1;
        }
    }
}

/// Nothing panics while the lock is held except an allocation failure; counts are whole either way.
fn lock(found: &Mutex<Found>) -> MutexGuard<'_, Found> {
    found.lock().unwrap_or_else(PoisonError::into_inner)
}
