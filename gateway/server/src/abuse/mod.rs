//! Unusual behaviour: many failed authentications, guessing at one credential, many refusals of
//! one caller, decryption of very many distinct contexts. Each is told once a window, by an audit
//! entry and a metric, and can lead to a block.
//!
//! What is counted is by source (IPv4 address, IPv6 /64): alone, with the credential id that was
//! claimed, or with the participant who did it. Memory is bounded: whom there is no room to tell
//! apart is counted together, which tells and never blocks.

mod blocks;
mod sketch;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, Hasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hub_audit::keyed::Field;
use hub_auth::Caller;
use hub_model::api::quota::BlockView;
use hub_model::entry::Outcome;
use hub_model::principal::PeerAddress;
use hub_model::{Action, Clock, EncryptionContext, ParticipantId};
use hub_operations::{Error, Hub};

use self::blocks::{Blocks, Who};
use self::sketch::Sketch;
use crate::config::{AbuseBlock, AbuseConfig};
use crate::metrics::Metrics;
use crate::throttle::Source;

/// Counters of each kind at once; a counter takes some hundred bytes.
const MOST_COUNTERS: usize = 8192;
/// Credential ids of one source that are told apart. Else one source could fill the counters with
/// ids it made up; its failures are counted in any case.
const MOST_IDS: u32 = 64;
/// Time between two searches of crowded counters for those that have ended.
const PAUSE: Duration = Duration::from_secs(1);
/// Sketches at once in each of the shards; a sketch takes some 300 bytes.
const MOST_SKETCHES: usize = 256;
const SHARDS: usize = 16;
/// Alarms that wait to be written at most; what is beyond is told by its number.
const MOST_ALARMS: usize = 64;

/// A kind of unusual behaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Many failures with one credential id from one source.
    Guessing,
    /// Many failed authentications from one source.
    AuthFailures,
    /// Many refusals of one participant at one source: denials, what it may not see, ciphertexts
    /// that do not open.
    Refusals,
    /// Decryption of very many distinct encryption contexts by one participant at one source.
    Contexts,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Guessing, Self::AuthFailures, Self::Refusals, Self::Contexts];

    /// The word in metrics and the status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Guessing => "guessing",
            Self::AuthFailures => "authFailures",
            Self::Refusals => "refusals",
            Self::Contexts => "contexts",
        }
    }

    const fn action(self) -> &'static str {
        match self {
            Self::Guessing => "abuse.guessing",
            Self::AuthFailures => "abuse.authFailures",
            Self::Refusals => "abuse.refusals",
            Self::Contexts => "abuse.contexts",
        }
    }
}

/// Whose behaviour is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Counted {
    Guess(Source, u64),
    Failures(Source),
    Refusals(Source, ParticipantId),
    /// Those there was no room for.
    Together,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    since: Duration,
    count: u64,
    /// Those of them that may lead to a block.
    grave: u64,
}

/// The counters of one kind.
#[derive(Debug, Default)]
struct Counters {
    counts: HashMap<Counted, Count>,
    /// How many credential ids there are of a source.
    ids: HashMap<Source, u32>,
    searched: Duration,
}

impl Counters {
    /// Counts one; `None` when it is not counted here. Also says whether it is told apart.
    fn count(
        &mut self,
        key: Counted,
        grave: bool,
        now: Duration,
        window: Duration,
    ) -> Option<(Count, bool)> {
        let fresh = Count { since: now, count: 0, grave: 0 };
        let mut key = key;
        if !self.counts.contains_key(&key) {
            let full = |all: &Self| all.counts.len() >= MOST_COUNTERS;
            let many = |all: &Self| match key {
                Counted::Guess(source, _) => {
                    all.ids.get(&source).is_some_and(|ids| *ids >= MOST_IDS)
                }
                _ => false,
            };
            if (full(self) || many(self)) && now.saturating_sub(self.searched) >= PAUSE {
                self.forget_ended(now, window);
            }
            if many(self) {
                return None;
            }
            if full(self) {
                key = Counted::Together;
            } else if let Counted::Guess(source, _) = key {
                *self.ids.entry(source).or_default() += 1;
            }
        }
        let entry = self.counts.entry(key).or_insert(fresh);
        if now.saturating_sub(entry.since) >= window {
            *entry = fresh;
        }
        entry.count += 1;
        entry.grave += u64::from(grave);
        Some((*entry, key != Counted::Together))
    }

    fn forget_ended(&mut self, now: Duration, window: Duration) {
        self.searched = now;
        let before = self.counts.len();
        self.counts.retain(|_, count| now.saturating_sub(count.since) < window);
        if self.counts.len() == before {
            return;
        }
        self.ids.clear();
        for counted in self.counts.keys() {
            if let Counted::Guess(source, _) = counted {
                *self.ids.entry(*source).or_default() += 1;
            }
        }
    }
}

#[derive(Debug)]
struct Seen {
    since: Duration,
    sketch: Sketch,
    told: bool,
}

/// Something to be told.
#[derive(Debug)]
struct Alarm {
    kind: Kind,
    address: PeerAddress,
    /// What is unusual, but not from where.
    detail: String,
    /// ` by` whom, where that is known.
    participant: String,
    blocked: bool,
    count: u64,
}

impl Alarm {
    /// For the entry. Where addresses are keyed, the source would be the address in the clear.
    fn describe(&self, keyed: bool) -> String {
        let Self { address, detail, participant, .. } = self;
        if keyed && *address != PeerAddress::Unix {
            return format!("{detail}{participant}");
        }
        let source = blocks::describe(Source::from(*address));
        format!("{detail} from {source}{participant}")
    }
}

#[derive(Debug, Default)]
struct Alarms {
    waiting: Vec<Alarm>,
    dropped: u64,
}

/// Counts, tells and blocks.
#[derive(Debug)]
pub struct Abuse {
    config: AbuseConfig,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    hasher: RandomState,
    guesses: Mutex<Counters>,
    failures: Mutex<Counters>,
    refusals: Mutex<Counters>,
    sketches: [Mutex<HashMap<(Source, ParticipantId), Seen>>; SHARDS],
    alarms: Mutex<Alarms>,
    blocks: Blocks,
}

impl Abuse {
    /// Nothing counted, nobody blocked.
    #[must_use]
    pub fn new(config: &AbuseConfig, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            config: config.clone(),
            clock,
            metrics,
            hasher: RandomState::new(),
            guesses: Mutex::default(),
            failures: Mutex::default(),
            refusals: Mutex::default(),
            sketches: std::array::from_fn(|_| Mutex::default()),
            alarms: Mutex::default(),
            blocks: Blocks::default(),
        })
    }

    /// How long requests from here with this credential are still refused, whoever sends them and
    /// whether the credential is right.
    #[must_use]
    pub fn blocked(&self, address: PeerAddress, authorization: Option<&[u8]>) -> Option<Duration> {
        if self.blocks.is_empty() {
            return None;
        }
        let (source, now) = (Source::from(address), self.clock.steady());
        self.blocks.left(&Who::Source(source), now).or_else(|| {
            let claimed = self.claimed(authorization?)?;
            self.blocks.left(&Who::Credential(source, claimed), now)
        })
    }

    /// How long this participant is still refused here.
    #[must_use]
    pub fn blocked_caller(&self, caller: &Caller) -> Option<Duration> {
        if self.blocks.is_empty() {
            return None;
        }
        let source = Source::from(caller.address());
        let who = Who::Participant(source, caller.principal().participant);
        self.blocks.left(&who, self.clock.steady())
    }

    /// An authentication failed. `authorization` is the header as sent.
    pub fn failed(&self, address: PeerAddress, authorization: Option<&[u8]>) {
        let source = Source::from(address);
        if let Some(claimed) = authorization.and_then(|header| self.claimed(header)) {
            let counted = Counted::Guess(source, claimed);
            self.count(Kind::Guessing, counted, address, self.config.guesses, true, || {
                Some(Who::Credential(source, claimed))
            });
        }
        let counted = Counted::Failures(source);
        self.count(Kind::AuthFailures, counted, address, self.config.auth_failures, true, || {
            (self.config.block == AbuseBlock::Addresses).then_some(Who::Source(source))
        });
    }

    /// An operation has ended.
    pub fn ended(
        &self,
        caller: &Caller,
        action: Action,
        context: Option<&EncryptionContext>,
        error: Option<&Error>,
    ) {
        match error {
            None if action == Action::KeysDecrypt => self.decrypted(caller, context),
            Some(
                error @ (Error::Denied { .. } | Error::NoRegistration | Error::DecryptionFailed),
            ) => {
                // Whose ciphertexts an application opens is often others' choice: that may be told,
                // but must not block the application.
                let grave = !matches!(error, Error::DecryptionFailed);
                let source = Source::from(caller.address());
                let participant = caller.principal().participant;
                let counted = Counted::Refusals(source, participant);
                let most = self.config.refusals;
                self.count(Kind::Refusals, counted, caller.address(), most, grave, || {
                    Some(Who::Participant(source, participant))
                });
            }
            _ => {}
        }
    }

    fn decrypted(&self, caller: &Caller, context: Option<&EncryptionContext>) {
        let most = self.config.contexts;
        let Some(context) = context.filter(|context| most > 0 && !context.is_empty()) else {
            return;
        };
        let participant = caller.principal().participant;
        let source = Source::from(caller.address());
        let last = usize::from(participant.as_bytes().last().copied().unwrap_or(0));
        let Some(shard) = self.sketches.get(last % SHARDS) else { return };
        let (now, hash) = (self.clock.steady(), self.hasher.hash_one(context));
        let passed = |since: Duration| now.saturating_sub(since) >= self.config.window;
        let estimate = {
            let mut seen = lock(shard);
            let key = (source, participant);
            if seen.len() >= MOST_SKETCHES && !seen.contains_key(&key) {
                seen.retain(|_, seen| !passed(seen.since));
                if seen.len() >= MOST_SKETCHES {
                    return;
                }
            }
            let fresh = || Seen { since: now, sketch: Sketch::new(), told: false };
            let entry = seen.entry(key).or_insert_with(fresh);
            if passed(entry.since) {
                *entry = fresh();
            }
            if !entry.sketch.add(hash) || entry.told {
                return;
            }
            let estimate = entry.sketch.estimate();
            entry.told = estimate >= u64::from(most);
            if !entry.told {
                return;
            }
            estimate
        };
        let who = Some(Who::Participant(source, participant));
        self.tell(Kind::Contexts, caller.address(), who, true, estimate);
    }

    /// Counts one, and tells when it is the last that is usual; again when the last of those that
    /// may lead to a block comes later.
    fn count(
        &self,
        kind: Kind,
        counted: Counted,
        address: PeerAddress,
        most: u32,
        grave: bool,
        who: impl FnOnce() -> Option<Who>,
    ) {
        if most == 0 {
            return;
        }
        let counters = match kind {
            Kind::Guessing => &self.guesses,
            Kind::AuthFailures => &self.failures,
            Kind::Refusals | Kind::Contexts => &self.refusals,
        };
        let (now, most) = (self.clock.steady(), u64::from(most));
        let counted = lock(counters).count(counted, grave, now, self.config.window);
        let Some((Count { count, grave: graves, .. }, apart)) = counted else { return };
        let blocks = self.config.block != AbuseBlock::Off;
        let block = apart && grave && graves == most;
        if count == most || (block && blocks) {
            self.tell(kind, address, apart.then(who).flatten(), block, count);
        }
    }

    fn tell(&self, kind: Kind, address: PeerAddress, who: Option<Who>, block: bool, count: u64) {
        self.metrics.abuse_alarm(kind.name());
        let now = (self.clock.steady(), self.clock.now());
        let wanted = who.filter(|_| block && self.config.block != AbuseBlock::Off);
        let blocked = wanted
            .is_some_and(|who| self.blocks.add(who, kind.name(), now, self.config.block_duration));
        let participant = match who {
            Some(Who::Participant(_, participant)) => format!(" by {participant}"),
            _ => String::new(),
        };
        let window = self.config.window.as_secs();
        let detail = format!("{} in {window} s", kind.name());
        tracing::warn!(target: "hub::abuse", kind = kind.name(), blocked, "unusual behaviour");
        let mut alarms = lock(&self.alarms);
        if alarms.waiting.len() < MOST_ALARMS {
            alarms.waiting.push(Alarm { kind, address, detail, participant, blocked, count });
        } else {
            alarms.dropped += 1;
        }
    }

    /// The credential id a header claims, folded so that case and spacing make no other of it, and
    /// hashed. `None` where no id is claimed.
    fn claimed(&self, authorization: &[u8]) -> Option<u64> {
        let rest = authorization.get(..7).filter(|s| s.eq_ignore_ascii_case(b"bearer "));
        let rest = rest.and_then(|_| authorization.get(7..))?;
        let mut token = rest.iter().filter(|byte| !byte.is_ascii_whitespace());
        let prefix: [Option<&u8>; 4] = std::array::from_fn(|_| token.next());
        let is_key = prefix
            .iter()
            .zip(b"chk_")
            .all(|(byte, wanted)| byte.is_some_and(|byte| byte.eq_ignore_ascii_case(wanted)));
        if !is_key {
            return None;
        }
        let mut hasher = self.hasher.build_hasher();
        for byte in token.take(22).take_while(|byte| byte.is_ascii_alphanumeric()) {
            byte.to_ascii_lowercase().hash(&mut hasher);
        }
        Some(hasher.finish())
    }

    /// Blocks in effect.
    #[must_use]
    pub fn blocks(&self) -> Vec<BlockView> {
        self.blocks.view(self.clock.steady())
    }

    /// How many blocks there are of this name; of any name when there is none.
    #[must_use]
    pub fn named(&self, block: Option<&str>) -> u64 {
        self.blocks.named(block, self.clock.steady())
    }

    /// Lifts blocks, and begins to count anew.
    pub fn lift(&self, block: Option<&str>) {
        self.blocks.lift(block);
        for counters in [&self.guesses, &self.failures, &self.refusals] {
            *lock(counters) = Counters::default();
        }
        for shard in &self.sketches {
            lock(shard).clear();
        }
    }

    /// How many blocks there are.
    #[must_use]
    pub fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// Writes what is to be told, and forgets what has passed.
    ///
    /// # Errors
    /// When the log cannot be written: it is told later.
    pub async fn flush(&self, hub: &Hub) -> Result<(), hub_operations::Error> {
        let now = self.clock.steady();
        self.blocks.expire(now);
        for counters in [&self.guesses, &self.failures, &self.refusals] {
            lock(counters).forget_ended(now, self.config.window);
        }
        for shard in &self.sketches {
            lock(shard).retain(|_, seen| now.saturating_sub(seen.since) < self.config.window);
        }
        let Alarms { waiting, dropped } = std::mem::take(&mut *lock(&self.alarms));
        let mut waiting = waiting.into_iter();
        let keyed = hub.log().appender().keyed();
        let keyed = keyed.is_some_and(|keyed| keyed.has(Field::Address));
        while let Some(alarm) = waiting.next() {
            let outcome = Outcome(if alarm.blocked { "blocked" } else { "alarm" });
            let detail: Box<str> = alarm.describe(keyed).into();
            let (action, count) = (alarm.kind.action(), alarm.count);
            let written = hub.record_event(action, alarm.address, detail, outcome, count).await;
            if let Err(error) = written {
                let mut alarms = lock(&self.alarms);
                alarms.dropped += dropped;
                alarms.waiting.splice(0..0, std::iter::once(alarm).chain(waiting));
                alarms.waiting.truncate(2 * MOST_ALARMS);
                return Err(error);
            }
        }
        if dropped > 0 {
            let detail: Box<str> = "more of it than can be told apart".into();
            let (action, outcome) = ("abuse.more", Outcome("alarm"));
            let _ = hub.record_event(action, PeerAddress::Unix, detail, outcome, dropped).await?;
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
