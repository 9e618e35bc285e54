//! Asks plugins when keys are rotated next, and keeps what they say with the key: one transaction
//! and one entry (`keys.planRotation`) for each answer and each failure.
//!
//! INVARIANT: a plugin only advises. What it says is moved to the bounds of the policy before it is
//! kept and again whenever it is looked at, and counts for one primary version and one policy only
//! ([`hub_model::rotation::Planned`]). Rotations are the sweep's. A stop between answer and rotation
//! finds the answer in the record; one before the answer was kept finds the key in the agenda.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, future, stream};
use hub_model::entry::Outcome;
use hub_model::extend::{
    Asked, FailureKind, FailurePolicy, PluginDigest, PluginFailure, RotationAnswer,
    RotationQuestion,
};
use hub_model::rotation::{Asking, Planned, PluginSchedule, RotationPolicy};
use hub_model::{Key, KeyId, Name, Registration, RegistrationId, Timestamp};
use hub_store::{Changes, Path, Revision, Versioned, layout};

use super::agenda::put_key;
use super::planning::Waiting;
use super::sweep::by_hub;
use crate::hub::Hub;
use crate::{Error, Ref};

/// How long one answer is waited for. The host of the plugins has a deadline of its own, far below.
const PATIENCE: Duration = Duration::from_secs(1);
/// Keys one plugin is asked about at once.
const AT_ONCE: usize = 8;
/// How long one plugin is asked in one run, before keys that came for others meanwhile are seen.
const BUDGET: Duration = Duration::from_secs(2);
/// How often an answer is asked for again because somebody else changed the key meanwhile.
const ATTEMPTS: usize = 3;
/// How often a call is tried again that found no place.
const PLACES: u32 = 3;

/// What came of asking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plans {
    /// Answers kept.
    pub answered: usize,
    /// Failures noted.
    pub failed: usize,
    /// Keys that were passed over because of an error of the hub, to be tried again.
    pub errors: usize,
    /// Keys that wait for the next run.
    pub left: usize,
}

/// An answer with whose it is.
struct Heard {
    digest: Option<PluginDigest>,
    settings: u64,
    on_failure: Option<FailurePolicy>,
    answer: Result<RotationAnswer, PluginFailure>,
}

impl Hub {
    /// Resolves when a rotation plugin is to be asked about some key.
    pub async fn plans_wanted(&self) {
        self.planning().wanted().await;
    }

    /// Asks the rotation plugins about every key that the sweep has found to wait for that.
    pub async fn plan_rotations(&self) -> Plans {
        let mut unfinished = 0;
        for plugin in self.planning().changed() {
            if let Err(error) = self.ask_rotations_anew(&plugin).await {
                tracing::error!(%error, %plugin, "not every key is asked about anew; again later");
                self.planning().changed_still(plugin);
                unfinished += 1;
            }
        }
        let work = self.planning().take().into_iter();
        let runs = future::join_all(work.map(|(plugin, keys)| self.plan_some(plugin, keys))).await;
        let none = Plans { errors: unfinished, ..Plans::default() };
        let plans = runs.into_iter().fold(none, |all, one| Plans {
            answered: all.answered + one.answered,
            failed: all.failed + one.failed,
            errors: all.errors + one.errors,
            left: all.left + one.left,
        });
        // What was planned may be due, and the agenda may hold more than could wait here.
        if plans.answered + plans.failed > 0 || self.planning().left_out() {
            self.wake_sweep();
        }
        plans
    }

    /// Asks one plugin about some keys, a few at once.
    async fn plan_some(&self, plugin: Name, keys: Vec<Waiting>) -> Plans {
        let begun = Instant::now();
        let plugin = &plugin;
        let each = stream::iter(keys).map(|waiting| async move {
            if begun.elapsed() >= BUDGET {
                self.planning().put_back(plugin, waiting);
                return Plans { left: 1, ..Plans::default() };
            }
            let planned = self.plan_key(waiting).await;
            self.planning().forget(waiting.key);
            match planned {
                Ok(plans) => plans,
                Err(error) => {
                    let registration = waiting.registration;
                    tracing::error!(%error, %registration, %plugin, "a key was not planned");
                    Plans { errors: 1, ..Plans::default() }
                }
            }
        });
        let mut each = each.buffer_unordered(AT_ONCE);
        let mut all = Plans::default();
        while let Some(one) = each.next().await {
            all.answered += one.answered;
            all.failed += one.failed;
            all.errors += one.errors;
            all.left += one.left;
        }
        all
    }

    /// Asks about one key and keeps the answer.
    async fn plan_key(&self, waiting: Waiting) -> Result<Plans, Error> {
        let Waiting { registration, key: id, .. } = waiting;
        let path = layout::key(registration, id);
        for _ in 0..ATTEMPTS {
            let facts = match self.find_registration(&Ref::Id(registration)).await {
                Ok(facts) => facts,
                Err(Error::NotFound { .. }) => return self.not_to_be_asked(waiting).await,
                Err(error) => return Err(error),
            };
            if facts.registration.frozen {
                return Ok(Plans::default());
            }
            let Some(Versioned { value: mut key, revision }) =
                self.store().read::<Key>(&path).await?
            else {
                return self.not_to_be_asked(waiting).await;
            };
            let default = facts.registration.rotation.as_ref();
            let now = self.clock().now();
            let usages = self.usages_of(id).await?;
            let usage = usages.get(&key.primary).copied().unwrap_or_default();
            let Some((schedule, before, rotation)) = key.by_plugin(default) else {
                return self.not_to_be_asked(waiting).await;
            };
            let date = key.ask_at(default).is_some_and(|date| date <= now);
            if !date && !before.is_some_and(|before| before.outgrown(&usage, now)) {
                return self.not_to_be_asked(waiting).await;
            }
            let bounds = schedule.bounds(rotation.last_rotation);
            let question = RotationQuestion {
                key: &key,
                usage: &usages,
                policy: &bounds,
                last_rotation: rotation.last_rotation,
                now,
            };
            let heard = self.hear(registration, &schedule.plugin, &question).await;
            let asking = Asking {
                schedule,
                version: key.primary,
                facts: &rotation,
                usage: &usage,
                before,
                digest: heard.digest,
                settings: heard.settings,
                on_failure: heard.on_failure.or_else(|| key.last_failure_policy(schedule)),
                now,
            };
            let planned = match &heard.answer {
                Ok(answer) => asking.answered(answer),
                Err(failure) => asking.failed(failure),
            };
            let mut entry = by_hub("keys.planRotation", now, registration, Some(id));
            entry.subject.version = Some(key.primary);
            entry.subject.detail = Some(told(&planned, &heard.answer).into());
            if heard.answer.is_err() {
                entry.outcome = Outcome("plugin_failed");
            }
            key.planned = Some(planned);
            let mut changes = Changes::new();
            changes
                .check_revision(&path, revision)
                .check_revision(&layout::registration(registration), Revision(facts.revision));
            put_key(&mut changes, &mut key, default, now)?;
            if self.commit(&entry, changes).await? {
                return Ok(self.plan_kept(&key, &heard));
            }
        }
        // Somebody changes it all the time; it stays in the agenda.
        Ok(Plans::default())
    }

    /// Counts and logs what is in the record now.
    fn plan_kept(&self, key: &Key, heard: &Heard) -> Plans {
        let Some(planned) = &key.planned else { return Plans::default() };
        let (registration, key, plugin) = (key.registration, key.id, &planned.plugin);
        match &heard.answer {
            Ok(answer) => {
                self.planning().answered(answer);
                let (date, again) = (planned.rotate_at, planned.ask_at);
                tracing::debug!(%registration, %key, %plugin, ?date, ?again, "rotation planned");
                Plans { answered: 1, ..Plans::default() }
            }
            Err(failure) => {
                self.planning().failed(failure.kind);
                let (policy, times) = (planned.on_failure.name(), planned.failures);
                tracing::warn!(
                    %registration, %key, %plugin, %failure, times, policy,
                    "a rotation plugin gave no answer"
                );
                Plans { failed: 1, ..Plans::default() }
            }
        }
    }

    /// The entry in the agenda was of another time: whatever else is due is done.
    async fn not_to_be_asked(&self, waiting: Waiting) -> Result<Plans, Error> {
        let Waiting { registration, key, at } = waiting;
        let at = at.map(|at| layout::agenda(at, registration, key));
        self.look_at(registration, key, at.as_ref()).await?;
        Ok(Plans::default())
    }

    async fn hear(
        &self,
        registration: RegistrationId,
        plugin: &Name,
        question: &RotationQuestion<'_>,
    ) -> Heard {
        let plugin = match self.plugins().rotation(registration, plugin) {
            Ok(plugin) => plugin,
            Err(failure) => {
                return Heard { digest: None, settings: 0, on_failure: None, answer: Err(failure) };
            }
        };
        let answer = in_time(|| plugin.decide(question)).await;
        let (digest, on_failure) = (Some(plugin.digest()), Some(plugin.on_failure()));
        Heard { digest, settings: plugin.settings(), on_failure, answer }
    }

    /// Has a plugin asked anew about every key whose policy names it: it, its settings or its
    /// assignment have changed. Dates that it gave stand until it has answered. Gives the number of
    /// keys.
    ///
    /// # Errors
    /// When the store or the log fails.
    pub async fn ask_rotations_anew(&self, plugin: &Name) -> Result<usize, Error> {
        let (mut asked, mut after) = (0, None::<Path>);
        loop {
            let page = self
                .store()
                .scan::<Registration>(layout::REGISTRATIONS, after.as_ref(), 100)
                .await?;
            for (_, registration) in &page.records {
                asked += self.ask_anew_in(&registration.value, plugin).await?;
            }
            match page.records.last() {
                Some((last, _)) if page.more => after = Some(last.clone()),
                _ => break,
            }
        }
        if asked > 0 {
            self.wake_sweep();
        }
        Ok(asked)
    }

    async fn ask_anew_in(&self, of: &Registration, plugin: &Name) -> Result<usize, Error> {
        let (default, prefix) = (of.rotation.as_ref(), layout::keys(of.id));
        let (mut asked, mut after) = (0, None::<Path>);
        loop {
            let page = self.store().scan::<Key>(&prefix, after.as_ref(), 500).await?;
            for (_, found) in &page.records {
                let (key, now) = (&found.value, self.clock().now());
                if is_planned_by(key, default, plugin, now) {
                    asked += usize::from(self.ask_anew(of.id, key.id, plugin).await?);
                }
            }
            match page.records.last() {
                Some((last, _)) if page.more => after = Some(last.clone()),
                _ => return Ok(asked),
            }
            tokio::task::yield_now().await;
        }
    }

    /// The same for one key, looked at again where somebody changes it meanwhile. `false` where
    /// there is nothing to ask anew.
    async fn ask_anew(&self, of: RegistrationId, id: KeyId, plugin: &Name) -> Result<bool, Error> {
        let path = layout::key(of, id);
        for _ in 0..ATTEMPTS {
            let facts = match self.find_registration(&Ref::Id(of)).await {
                Ok(facts) => facts,
                Err(Error::NotFound { .. }) => return Ok(false),
                Err(error) => return Err(error),
            };
            // Nothing of it changes. The next start of the hub finds what was asked of others.
            if facts.registration.frozen {
                return Ok(false);
            }
            let Some(found) = self.store().read::<Key>(&path).await? else { return Ok(false) };
            let Versioned { value: mut key, revision } = found;
            let (default, now) = (facts.registration.rotation.as_ref(), self.clock().now());
            if !is_planned_by(&key, default, plugin, now) {
                return Ok(false);
            }
            if let Some(planned) = &mut key.planned {
                planned.ask_at = Some(now);
            }
            let mut changes = Changes::new();
            changes
                .check_revision(&path, revision)
                .check_revision(&layout::registration(of), Revision(facts.revision));
            put_key(&mut changes, &mut key, default, now)?;
            let entry = by_hub("system.planKeys", now, of, Some(id));
            if self.commit(&entry, changes).await? {
                return Ok(true);
            }
        }
        // Somebody changes it all the time; the next start of the hub looks at it again.
        tracing::warn!(registration = %of, key = %id, %plugin, "a key is not asked about anew");
        Ok(false)
    }

    /// Whether what a key was told about its rotation comes of other code than now in service, or
    /// of other settings. Where nobody can be asked, what was said stands.
    pub(super) fn is_of_other_plugin(
        &self,
        key: &Key,
        default: Option<&RotationPolicy>,
        now: Timestamp,
    ) -> bool {
        let Some((schedule, Some(planned), _)) = key.by_plugin(default) else { return false };
        planned.ask_at.is_none_or(|date| date > now)
            && self
                .plugins()
                .rotation(key.registration, &schedule.plugin)
                .is_ok_and(|plugin| planned.is_of_other(plugin.digest(), plugin.settings()))
    }
}

/// Whether a plugin has said something about a key's rotation, and is not to be asked now anyhow.
fn is_planned_by(
    key: &Key,
    default: Option<&RotationPolicy>,
    plugin: &Name,
    now: Timestamp,
) -> bool {
    let named = |(schedule, planned, _): (&PluginSchedule, Option<&Planned>, _)| {
        schedule.plugin == *plugin && planned.is_some()
    };
    key.by_plugin(default).is_some_and(named) && key.ask_at(default).is_none_or(|date| date > now)
}

/// An answer, waited for so long and no longer; a call that found no place is made again.
pub(super) async fn in_time<'a, T>(ask: impl Fn() -> Asked<'a, T>) -> Result<T, PluginFailure> {
    let asking = async {
        let mut wait = Duration::from_millis(20);
        for _ in 0..PLACES {
            match ask().await {
                Err(failure) if failure.kind == FailureKind::Busy => {
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                }
                other => return other,
            }
        }
        ask().await
    };
    let late = |_| Err(PluginFailure::new(FailureKind::Deadline, "no answer within a second"));
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(late)
}

/// For the entry: who was asked, and what was said. Nothing in it is secret.
fn told(planned: &Planned, answer: &Result<RotationAnswer, PluginFailure>) -> String {
    let mut text = by(planned);
    let moved =
        |given| if planned.rotate_at == Some(given) { "" } else { " (moved into the bounds)" };
    let shown =
        |date: Option<hub_model::Timestamp>| date.map(|d| d.to_string()).unwrap_or_default();
    text.push_str(": ");
    text.push_str(&match answer {
        Ok(RotationAnswer::At(given)) => {
            format!("rotate at {}{}", shown(planned.rotate_at), moved(*given))
        }
        Ok(RotationAnswer::Now(_)) => {
            let reason = planned.reason.as_deref().unwrap_or_default();
            format!("rotate now{}: {reason}", moved(planned.asked))
        }
        Ok(RotationAnswer::AskAgain(_)) => format!("ask again at {}", shown(planned.ask_at)),
        Err(failure) => format!(
            "{}, {} in a row, {}; asked again at {}",
            failure.kind.name(),
            planned.failures,
            planned.on_failure.name(),
            shown(planned.ask_at)
        ),
    });
    text
}

/// Who was asked: the plugin and the beginning of its digest.
pub(super) fn by(planned: &Planned) -> String {
    let digest = planned.digest.map(|digest| digest.to_string()).unwrap_or_default();
    let digest = digest.get(..12).unwrap_or_default();
    format!("plugin {} {digest}", planned.plugin).trim_end().to_owned()
}

/// For the entry of a rotation whose date a plugin gave.
pub(super) fn why(key: &Key, reason: &'static str) -> String {
    match &key.planned {
        Some(planned) if reason == "plugin" => {
            let said = planned.reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default();
            format!("{}{said}", by(planned))
        }
        _ => reason.to_owned(),
    }
}
