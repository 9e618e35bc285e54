//! What time alone asks for: activation, destruction, rotation, the end of grace periods. Safe to
//! stop and start again anywhere: each change is one transaction checked against the key's record,
//! and what is still to be erased is noted until no file holds it.

use hub_model::entry::{AuditEntry, Outcome};
use hub_model::principal::PeerAddress;
use hub_model::{
    Key, KeyId, KeyState, KeyVersion, Period, RegistrationId, RotationPolicy, Step, Timestamp,
    UsageCounters, rotation,
};
use hub_policy::RegistrationFacts;
use hub_store::{Changes, Path, Revision, Versioned, View, layout};
use serde::{Deserialize, Serialize};

use super::agenda::{Entry, next_date, put_key};
use super::create::put_material;
use super::plan;
use super::planning::Waiting;
use super::rotate::{MAX_VERSIONS, WORN_VERSIONS};
use crate::hub::Hub;
use crate::perform::event;
use crate::{Error, Ref};

/// Material records removed, or keys entered in the agenda, in one transaction.
const CHUNK: usize = 20;
/// Changes of one key in one sweep: it goes on at the next one.
const MOST_CHANGES: usize = 100;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Steps taken and rotations made.
    pub changes: usize,
    /// Material records removed.
    pub erased: usize,
    /// Destructions whose date has come by the date of the machine but not by time passed.
    pub held: usize,
    /// Keys and registrations that were passed over because of an error, to be tried again.
    pub failed: usize,
    /// The next date in the agenda.
    pub next: Option<Timestamp>,
}

/// That material of a key was given up and may still be in files.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Shredding {
    registration: RegistrationId,
    key: KeyId,
}

/// What is due for a key.
enum Due {
    Activate,
    DestroyKey,
    DestroyVersion(u32),
    Rotate(rotation::Reason),
    Deactivate(Vec<u32>),
}

impl Hub {
    /// The date by which something may be destroyed: never later than the date at the start of the
    /// process and the time passed since, with a minute for corrections. A clock that was set
    /// forward meanwhile brings no destruction nearer; at the start, the machine is believed.
    pub(crate) fn trusted_now(&self) -> Timestamp {
        const MARGIN: std::time::Duration = std::time::Duration::from_secs(60);
        let (date, steady) = self.began();
        let passed = self.clock().steady().saturating_sub(steady);
        self.clock().now().min(date.plus(passed).plus(MARGIN))
    }

    /// Does everything that is due.
    ///
    /// # Errors
    /// When the store or the log fails.
    pub async fn sweep_keys(&self) -> Result<Swept, Error> {
        let now = self.clock().now();
        let mut swept = Swept::default();
        for (registration, key) in self.take_worn() {
            if let Err(error) = self.sweep_key(registration, key, None, &mut swept).await {
                tracing::error!(%error, %registration, "a key that is worn was passed over");
                swept.failed += 1;
            }
        }
        let mut after: Option<Path> = None;
        'pages: loop {
            let page = self.store().scan::<Entry>(layout::AGENDA, after.as_ref(), 100).await?;
            for (path, found) in &page.records {
                if found.value.at > now {
                    swept.next = Some(found.value.at);
                    break 'pages;
                }
                let due = match found.value.key {
                    Some(key) => self.sweep_entry(key, path, &found.value, &mut swept).await,
                    None => self.replan(found.value.registration, path, found.revision).await,
                };
                // What fails for one key must not keep all others from their dates. It stays in
                // the agenda and is tried again by the next sweep.
                if let Err(error) = due {
                    let registration = found.value.registration;
                    tracing::error!(%error, %registration, "a key due by date was passed over");
                    swept.failed += 1;
                }
            }
            match page.records.last() {
                Some((last, _)) if page.more => after = Some(last.clone()),
                _ => break,
            }
        }
        swept.erased = self.shred().await?;
        Ok(swept)
    }

    /// Enters keys in the agenda that are not there as they should be: records from before there
    /// was one, and those whose plugin has changed while the hub was not running. To be called once
    /// at the start, before the sweeps.
    ///
    /// # Errors
    /// When the store or the log fails.
    pub async fn enter_agenda(&self) -> Result<(), Error> {
        let mut after: Option<Path> = None;
        loop {
            let page = self
                .store()
                .scan::<hub_model::Registration>(layout::REGISTRATIONS, after.as_ref(), 100)
                .await?;
            for (_, registration) in &page.records {
                self.enter_all(registration.value.id).await?;
            }
            match page.records.last() {
                Some((last, _)) if page.more => after = Some(last.clone()),
                _ => return Ok(()),
            }
        }
    }

    /// Enters some keys in one transaction; `false` when one of them was changed meanwhile.
    async fn enter(
        &self,
        registration: RegistrationId,
        default: Option<&RotationPolicy>,
        now: Timestamp,
        some: &[&(Path, Versioned<Key>)],
    ) -> Result<bool, Error> {
        let mut changes = Changes::new();
        for (path, found) in some {
            let mut key = found.value.clone();
            changes.check_revision(path, found.revision);
            if self.is_of_other_plugin(&key, default, now)
                && let Some(planned) = &mut key.planned
            {
                planned.ask_at = Some(now);
            }
            put_key(&mut changes, &mut key, default, now)?;
        }
        let mut entry = by_hub("system.planKeys", now, registration, None);
        entry.count = u64::try_from(some.len()).unwrap_or(1);
        self.commit(&entry, changes).await
    }

    async fn replan(
        &self,
        registration: RegistrationId,
        note: &Path,
        revision: Revision,
    ) -> Result<(), Error> {
        self.enter_all(registration).await?;
        // A newer note is for the next sweep.
        let mut changes = Changes::new();
        changes.check_revision(note, revision).delete(note);
        let entry = by_hub("system.planKeys", self.clock().now(), registration, None);
        self.commit(&entry, changes).await?;
        Ok(())
    }

    async fn enter_all(&self, registration: RegistrationId) -> Result<(), Error> {
        let facts = match self.find_registration(&Ref::Id(registration)).await {
            Ok(facts) => facts,
            Err(Error::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let default = facts.registration.rotation.as_ref();
        let prefix = layout::keys(registration);
        let mut after: Option<Path> = None;
        loop {
            let now = self.clock().now();
            let page = self.store().scan::<Key>(&prefix, after.as_ref(), 500).await?;
            let astray: Vec<_> = page
                .records
                .iter()
                .filter(|(_, key)| {
                    let (key, frozen) = (&key.value, facts.registration.frozen);
                    next_date(key, default, now) != key.agenda
                        || (!frozen && self.is_of_other_plugin(key, default, now))
                })
                .collect();
            for chunk in astray.chunks(CHUNK) {
                match self.enter(registration, default, now, chunk).await {
                    Ok(true) => {}
                    // Too much at once, or one of them was changed meanwhile: one by one. Whoever
                    // changed a key has entered it.
                    Ok(false) | Err(Error::TooMany(_)) => {
                        for one in chunk {
                            let one = std::slice::from_ref(one);
                            let _entered = self.enter(registration, default, now, one).await?;
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
            match page.records.last() {
                Some((last, _)) if page.more => after = Some(last.clone()),
                _ => return Ok(()),
            }
            tokio::task::yield_now().await;
        }
    }

    /// Does what is due for a key with an entry in the agenda. Where that is to ask a plugin and
    /// nothing else, it is left to [`Hub::plan_rotations`], and the key not even read.
    async fn sweep_entry(
        &self,
        key: KeyId,
        path: &Path,
        entry: &Entry,
        swept: &mut Swept,
    ) -> Result<(), Error> {
        let (registration, now) = (entry.registration, self.clock().now());
        let asks = entry.ask.as_ref().filter(|ask| ask.then.is_none_or(|then| then > now));
        let Some(ask) = asks else {
            return self.sweep_key(registration, key, Some(path), swept).await;
        };
        match self.find_registration(&Ref::Id(registration)).await {
            Ok(facts) if facts.registration.frozen => {}
            Ok(_) => {
                let waiting = Waiting { registration, key, at: Some(entry.at) };
                self.planning().offer(&ask.plugin, waiting);
            }
            Err(Error::NotFound { .. }) => {
                return self.leave_agenda(registration, Some(path)).await;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Does whatever is due for one key now; see [`Self::sweep_key`].
    pub(super) async fn look_at(
        &self,
        registration: RegistrationId,
        key: KeyId,
        at: Option<&Path>,
    ) -> Result<(), Error> {
        self.sweep_key(registration, key, at, &mut Swept::default()).await
    }

    /// Does what is due for a key: for the one with an entry `at` its date, for another whatever
    /// its use asks for.
    async fn sweep_key(
        &self,
        registration: RegistrationId,
        id: KeyId,
        at: Option<&Path>,
        swept: &mut Swept,
    ) -> Result<(), Error> {
        let path = layout::key(registration, id);
        for _ in 0..MOST_CHANGES {
            let facts = match self.find_registration(&Ref::Id(registration)).await {
                Ok(facts) => facts,
                Err(Error::NotFound { .. }) => return self.leave_agenda(registration, at).await,
                Err(error) => return Err(error),
            };
            // A frozen registration does not change; its entries wait where they are.
            if facts.registration.frozen {
                return Ok(());
            }
            let Some(found) = self.store().read::<Key>(&path).await? else {
                return self.leave_agenda(registration, at).await;
            };
            let later = found.value.agenda.is_none_or(|date| date > self.clock().now());
            if at.is_some() && later {
                // Done, or put off, by somebody else.
                return Ok(());
            }
            match self.advance(&facts, found, swept).await? {
                true => swept.changes += 1,
                false => return Ok(()),
            }
        }
        Ok(())
    }

    /// Makes one change that is due; `false` when there is none.
    async fn advance(
        &self,
        facts: &RegistrationFacts,
        found: Versioned<Key>,
        swept: &mut Swept,
    ) -> Result<bool, Error> {
        let (now, trusted) = (self.clock().now(), self.trusted_now());
        let default = facts.registration.rotation.as_ref();
        let Versioned { value: mut key, revision } = found;
        let mut changes = Changes::new();
        changes
            .check_revision(&layout::key(key.registration, key.id), revision)
            .check_revision(&layout::registration(key.registration), Revision(facts.revision));
        let mut entry = by_hub("system.planKeys", now, key.registration, Some(key.id));
        let usage = self.usage_of(key.id, key.primary).await?;
        match due(&key, default, &usage, now, trusted, swept) {
            None if next_date(&key, default, now) == key.agenda => {
                self.offer(&key, default, &usage, now);
                return Ok(false);
            }
            None => {}
            Some(Due::Activate) => {
                entry.action = "keys.activate";
                key.step(Step::Activate, now).map_err(contradicts)?;
            }
            Some(Due::DestroyKey) => {
                entry.action = "keys.destroy";
                for version in &mut key.versions {
                    destroy(version, now)?;
                }
                key.step(Step::Destroy, now).map_err(contradicts)?;
                note(&mut changes, &key)?;
            }
            Some(Due::DestroyVersion(number)) => {
                entry.action = "keys.destroy";
                entry.subject.version = Some(number);
                if let Some(version) = key.version_mut(number) {
                    destroy(version, now)?;
                }
                note(&mut changes, &key)?;
            }
            Some(Due::Rotate(reason)) => {
                entry.action = "keys.rotate";
                let number = key.versions.last().map_or(1, |last| last.number.saturating_add(1));
                entry.subject.version = Some(number);
                entry.subject.detail = Some(plan::why(&key, reason.name()).into());
                if reason == rotation::Reason::Plugin {
                    warn_of_wear(&key);
                }
                key.versions.push(KeyVersion::new(number, now));
                key.primary = number;
                key.primary_since = None;
                put_material(self, &mut changes, &key, number).await?;
            }
            Some(Due::Deactivate(past)) => {
                entry.action = "keys.deactivate";
                entry.subject.version = past.first().copied();
                entry.subject.detail = Some(numbers(&past).into());
                for number in past {
                    if let Some(version) = key.version_mut(number) {
                        version.step(Step::Deactivate, now).map_err(contradicts)?;
                    }
                }
            }
        }
        if entry.action != "system.planKeys" {
            key.updated = now;
            key.generation += 1;
        }
        put_key(&mut changes, &mut key, default, now)?;
        // Somebody else was faster: looked at again, from what there is now.
        self.commit(&entry, changes).await?;
        Ok(true)
    }

    /// Notes a key whose plugin is to be asked, by its date or its use.
    fn offer(
        &self,
        key: &Key,
        default: Option<&RotationPolicy>,
        usage: &UsageCounters,
        now: Timestamp,
    ) {
        let Some((schedule, planned, _)) = key.by_plugin(default) else { return };
        let date = key.ask_at(default).is_some_and(|date| date <= now);
        if date || planned.is_some_and(|planned| planned.outgrown(usage, now)) {
            let (registration, at) = (key.registration, key.agenda);
            self.planning().offer(&schedule.plugin, Waiting { registration, key: key.id, at });
        }
    }

    /// Removes given-up material from records, memory and files.
    async fn shred(&self) -> Result<usize, Error> {
        let (mut erased, mut notes) = (0usize, Vec::new());
        let mut after: Option<Path> = None;
        loop {
            let page =
                self.store().scan::<Shredding>(layout::SHREDDINGS, after.as_ref(), 100).await?;
            for (path, found) in &page.records {
                erased += self.shred_key(&found.value).await?;
                notes.push((found.value.registration, path.clone(), found.revision));
            }
            match page.records.last() {
                Some((last, _)) if page.more => after = Some(last.clone()),
                _ => break,
            }
        }
        if notes.is_empty() {
            return Ok(0);
        }
        // Purging turns the whole store: those that are too soon after another wait for the next.
        self.forget_stale();
        if !self.may_purge() {
            return Ok(erased);
        }
        self.purge().await?;
        for (registration, path, revision) in notes {
            let mut changes = Changes::new();
            changes.check_revision(&path, revision).delete(&path);
            let entry = by_hub("system.shredKey", self.clock().now(), registration, None);
            // Noted anew meanwhile: that one is for the next sweep.
            self.commit(&entry, changes).await?;
        }
        Ok(erased)
    }

    async fn shred_key(&self, shredding: &Shredding) -> Result<usize, Error> {
        let path = layout::key(shredding.registration, shredding.key);
        let key = self.store().read::<Key>(&path).await?.map(|found| found.value);
        let destroyed: Vec<u32> = key
            .iter()
            .flat_map(|key| &key.versions)
            .filter(|version| version.state == KeyState::Destroyed)
            .map(|version| version.number)
            .collect();
        let mut gone = Vec::new();
        let prefix = layout::versions(shredding.key);
        let mut after: Option<Path> = None;
        loop {
            let page = self.store().scan_bytes(&prefix, after.as_ref(), 500, View::Now).await?;
            gone.extend(page.records.iter().map(|(path, _)| path.clone()).filter(|path| {
                let number = u32::from_str_radix(path.last_segment(), 16).ok();
                // A key that is not there any more leaves no material that is wanted.
                key.is_none() || number.is_some_and(|number| destroyed.contains(&number))
            }));
            match page.records.last() {
                Some((last, _)) if page.more => after = Some(last.clone()),
                _ => break,
            }
        }
        for chunk in gone.chunks(CHUNK) {
            let mut changes = Changes::new();
            for path in chunk {
                changes.delete(path);
            }
            let now = self.clock().now();
            let entry = by_hub("system.shredKey", now, shredding.registration, Some(shredding.key));
            self.commit(&entry, changes).await?;
        }
        Ok(gone.len())
    }

    async fn leave_agenda(
        &self,
        registration: RegistrationId,
        at: Option<&Path>,
    ) -> Result<(), Error> {
        let Some(at) = at else { return Ok(()) };
        let mut changes = Changes::new();
        changes.delete(at);
        let entry = by_hub("system.planKeys", self.clock().now(), registration, None);
        self.commit(&entry, changes).await?;
        Ok(())
    }

    /// Commits; `false` when somebody else changed the same record.
    pub(super) async fn commit(&self, entry: &AuditEntry, changes: Changes) -> Result<bool, Error> {
        match self.log().appender().append(entry, changes).await {
            Ok(_receipt) => Ok(true),
            Err(hub_audit::Error::Conflict) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn due(
    key: &Key,
    default: Option<&RotationPolicy>,
    usage: &UsageCounters,
    now: Timestamp,
    trusted: Timestamp,
    swept: &mut Swept,
) -> Option<Due> {
    match key.due_step(now) {
        Some(Step::Activate) => return Some(Due::Activate),
        Some(Step::Destroy) if key.due_step(trusted).is_some() => return Some(Due::DestroyKey),
        Some(Step::Destroy) => {
            swept.held += 1;
            return None;
        }
        _ => {}
    }
    for version in key.versions.iter().filter(|_| key.state != KeyState::Destroyed) {
        if version.due_step(trusted).is_some() {
            return Some(Due::DestroyVersion(version.number));
        }
        swept.held += usize::from(version.due_step(now).is_some());
    }
    if key.state != KeyState::Active {
        return None;
    }
    let policy = key.rotation.as_ref().or(default);
    let facts = key.rotation_facts()?;
    let (room, by_use) = (key.versions.len() < MAX_VERSIONS, may_wear_out(key, &facts, now));
    let worn = key.algorithm.message_limit();
    let worn = worn.is_some_and(|limit| usage.protect.operations >= limit.rotate_at);
    let unused = UsageCounters::default();
    let usage = if by_use { usage } else { &unused };
    let reason = policy.and_then(|policy| rotation::due(policy, &facts, usage, now));
    let reason = reason.or((worn && by_use).then_some(rotation::Reason::Operations));
    if let Some(reason) = reason.filter(|_| room) {
        return Some(Due::Rotate(reason));
    }
    let policy = policy?;
    let past = rotation::past_retention(policy, key, now);
    (!past.is_empty()).then_some(Due::Deactivate(past))
}

/// Whether use may rotate a key: not right after it was rotated, and not for the second half of the
/// versions it may have, which are for those who rotate it.
fn may_wear_out(key: &Key, facts: &rotation::RotationFacts, now: Timestamp) -> bool {
    const PAUSE: std::time::Duration = std::time::Duration::from_secs(10);
    let fresh = key.versions.len() > 1 && now.since(facts.last_rotation) < PAUSE;
    key.versions.len() < WORN_VERSIONS && !fresh
}

/// Tells of a plugin that rotates a key until it may no more.
fn warn_of_wear(key: &Key) {
    let left = WORN_VERSIONS.saturating_sub(key.versions.len()).saturating_sub(1);
    if left < WORN_VERSIONS / 10
        && let Some(planned) = &key.planned
    {
        let (registration, key, plugin) = (key.registration, key.id, &planned.plugin);
        tracing::warn!(
            %registration, %key, %plugin, left,
            "a rotation plugin uses up the versions of a key; with none left, maxInterval rotates it"
        );
    }
}

/// Destroys a version, whatever it was: its own date, or that of its key, has come.
fn destroy(version: &mut KeyVersion, now: Timestamp) -> Result<(), Error> {
    if version.state == KeyState::Destroyed {
        return Ok(());
    }
    if version.state != KeyState::DestroyScheduled {
        version.schedule_destroy(Period::days(0), now).map_err(contradicts)?;
    }
    version.destroy_at = Some(now);
    version.step(Step::Destroy, now).map_err(contradicts)
}

/// Notes that material is to be erased. The same transaction says so in the key's record, after
/// which nothing opens that material again.
fn note(changes: &mut Changes, key: &Key) -> Result<(), Error> {
    let shredding = Shredding { registration: key.registration, key: key.id };
    changes.put(&layout::shredding(key.id), &shredding)?;
    Ok(())
}

fn contradicts(error: hub_model::Error) -> Error {
    Error::Integrity(Box::new(error))
}

fn numbers(versions: &[u32]) -> String {
    let mut text = String::from("versions");
    for number in versions.iter().take(16) {
        text.push(' ');
        text.push_str(&number.to_string());
    }
    if versions.len() > 16 {
        text.push_str(" and more");
    }
    text
}

pub(crate) fn by_hub(
    action: &'static str,
    now: Timestamp,
    registration: RegistrationId,
    key: Option<KeyId>,
) -> AuditEntry {
    let mut entry = event(now, action, PeerAddress::Unix, None, Outcome::OK, 1);
    entry.subject.registration = Some(registration);
    entry.subject.key = key;
    entry
}
