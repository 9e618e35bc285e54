//! What operations reach: the store through its caches, the hub's keys, policy, the log, the clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use arc_swap::ArcSwap;
use hub_audit::Log;
use hub_auth::{LastUses, Rules};
use hub_crypto::{Binding, Kek, Keyring, Origin, RootKey, SystemKeys, WrapPurpose};
use hub_model::algorithm::Profile;
use hub_model::extend::{NoPlugins, Plugins};
use hub_model::registration::HUB_REGISTRATION;
use hub_model::{
    Clock, HubId, Key, KeyId, KeyState, Name, Participant, ParticipantId, Registration,
    RegistrationId, Timestamp,
};
use hub_policy::{Policies, RegistrationFacts};
use hub_store::{Cache, Path, Store, Versioned, layout};

use crate::archiving::Archiving;
use crate::guard::Guard;
use crate::heavy::{self, Heavy, OpenFailures};
use crate::jobs::Jobs;
use crate::key::Planning;
use crate::policy::{PolicySource, Revisions};
use crate::usage::{Meter, Usage, lock};
use crate::{Error, Ref};

/// Versions of one key whose material is in memory at most.
const MOST_LOADED: usize = 256;

/// How much is remembered.
#[derive(Clone, Copy, Debug)]
pub struct CacheSizes {
    /// Keys with their keyrings.
    pub keys: u64,
    /// Registrations, and names of registrations.
    pub registrations: u64,
}

impl Default for CacheSizes {
    fn default() -> Self {
        Self { keys: 10_000, registrations: 10_000 }
    }
}

/// Everything a hub is made of, once.
#[derive(Debug)]
pub struct Parts {
    /// Its id.
    pub id: HubId,
    /// Its store.
    pub store: Store,
    /// Its own keys.
    pub keys: Arc<SystemKeys>,
    /// Its root key.
    pub root: Arc<RootKey>,
    /// Its audit log.
    pub log: Log,
    /// The active policies.
    pub policies: Arc<Policies>,
    /// The registration that stands for the hub.
    pub registration: RegistrationId,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// How much is remembered.
    pub caches: CacheSizes,
    /// Which algorithms new keys may have.
    pub profile: Profile,
    /// What the configuration says of identities from outside.
    pub rules: Arc<Rules>,
    /// When credentials were last used.
    pub uses: Arc<LastUses>,
}

/// The hub, as operations see it.
#[derive(Debug)]
pub struct Hub {
    parts: Parts,
    registrations: Cache<Box<str>, RegistrationFacts>,
    keks: Cache<RegistrationId, Kek>,
    keys: Cache<Box<[u8]>, HotKey>,
    heavy: Heavy,
    failures: Arc<OpenFailures>,
    usage: Usage,
    jobs: Jobs,
    revisions: Revisions,
    archiving: Archiving,
    guard: OnceLock<Box<dyn Guard>>,
    index: OnceLock<hub_audit::index::Index>,
    plugins: ArcSwap<Arc<dyn Plugins>>,
    planning: Planning,
    pub(crate) catalogue: crate::plugin::Shelf,
    /// When destroyed material was last purged, in steady time.
    purged: Mutex<Option<std::time::Duration>>,
    /// Date and steady time when it began: what dates are checked against before destruction.
    began: (Timestamp, std::time::Duration),
}

/// A key's facts and its open keyring.
pub struct HotKey {
    /// The facts.
    pub key: Key,
    /// The store revision they were read at.
    pub revision: u64,
    /// Its registration, as when it was loaded.
    registration: RegistrationId,
    /// The material of versions as they are asked for, [`MOST_LOADED`] at most.
    keyring: RwLock<Keyring>,
    /// The counts of the versions that are being used.
    meters: Mutex<BTreeMap<u32, Arc<Meter>>>,
}

impl std::fmt::Debug for HotKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HotKey").field("key", &self.key.id).finish_non_exhaustive()
    }
}

impl HotKey {
    pub(crate) const fn meters(&self) -> &Mutex<BTreeMap<u32, Arc<Meter>>> {
        &self.meters
    }

    /// Uses the keyring. No lock is held across an await: `use_it` is synchronous.
    pub(crate) fn with_keyring<T>(&self, use_it: impl FnOnce(&Keyring) -> T) -> T {
        match self.keyring.read() {
            Ok(keyring) => use_it(&keyring),
            // Nothing panics while holding the lock for writing except an allocation failure; the
            // map inside is whole either way.
            Err(poisoned) => use_it(&poisoned.into_inner()),
        }
    }
}

impl Hub {
    /// A hub of these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let sizes = parts.caches;
        Self {
            registrations: Cache::new("registrations", sizes.registrations),
            keks: Cache::new("keks", sizes.registrations),
            keys: Cache::new("keys", sizes.keys),
            heavy: Heavy::new(),
            failures: Arc::default(),
            usage: Usage::default(),
            jobs: Jobs::default(),
            revisions: Revisions::default(),
            archiving: Archiving::default(),
            guard: OnceLock::new(),
            index: OnceLock::new(),
            planning: Planning::default(),
            plugins: ArcSwap::from_pointee(Arc::new(NoPlugins) as Arc<dyn Plugins>),
            catalogue: crate::plugin::Shelf::default(),
            purged: Mutex::default(),
            began: (parts.clock.now(), parts.clock.steady()),
            parts,
        }
    }

    /// The same hub, with its policies from here.
    #[must_use]
    pub fn with_policies_from(mut self, source: PolicySource) -> Self {
        self.revisions.source = source;
        self
    }

    /// Archives of the audit log.
    pub(crate) const fn archiving(&self) -> &Archiving {
        &self.archiving
    }

    pub(crate) const fn archiving_mut(&mut self) -> &mut Archiving {
        &mut self.archiving
    }

    /// Revisions of the policies.
    pub(crate) const fn revisions(&self) -> &Revisions {
        &self.revisions
    }

    /// The active policies, to be taken along.
    pub(crate) fn shared_policies(&self) -> Arc<Policies> {
        Arc::clone(&self.parts.policies)
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> HubId {
        self.parts.id
    }

    /// Its store.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.parts.store
    }

    /// Its audit log.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.parts.log
    }

    /// The active policies.
    #[must_use]
    pub fn policies(&self) -> &Policies {
        &self.parts.policies
    }

    /// The same, for questions that are answered on other threads.
    pub(crate) fn policies_shared(&self) -> Arc<Policies> {
        Arc::clone(&self.parts.policies)
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.parts.clock
    }

    /// The registration that stands for the hub.
    #[must_use]
    pub const fn registration(&self) -> RegistrationId {
        self.parts.registration
    }

    /// Puts a guard before every operation, once for all; false when there is one already.
    pub fn guard_with(&self, guard: Box<dyn Guard>) -> bool {
        self.guard.set(guard).is_ok()
    }

    pub(crate) fn guard(&self) -> Option<&dyn Guard> {
        self.guard.get().map(|guard| &**guard)
    }

    /// Asks these plugins from now on, instead of those before. A hub begins without any.
    pub fn set_plugins(&self, plugins: Arc<dyn Plugins>) {
        self.plugins.store(Arc::new(plugins));
    }

    /// The plugins in service. Nothing that works without a plugin asks for them.
    #[must_use]
    pub fn plugins(&self) -> Arc<dyn Plugins> {
        Arc::clone(&self.plugins.load())
    }

    /// The keys whose rotation plugin is to be asked.
    pub(crate) const fn planning(&self) -> &Planning {
        &self.planning
    }

    /// Looks into the audit log with this index, once for all; false when there is one already.
    pub fn index_audit_with(&self, index: hub_audit::index::Index) -> bool {
        self.index.set(index).is_ok()
    }

    /// The index of the audit log. Without one of the process it is in memory, and knows nothing
    /// before somebody runs it.
    pub fn audit_index(&self) -> &hub_audit::index::Index {
        self.index.get_or_init(|| hub_audit::index::Index::new(self.log().clone(), None))
    }

    /// Which algorithms new keys may have.
    #[must_use]
    pub const fn profile(&self) -> Profile {
        self.parts.profile
    }

    /// What the configuration says of identities from outside.
    pub(crate) fn rules(&self) -> &Rules {
        &self.parts.rules
    }

    /// When credentials were last used.
    pub(crate) fn uses(&self) -> &LastUses {
        &self.parts.uses
    }

    /// How many keys are remembered.
    #[must_use]
    pub fn hot_keys(&self) -> u64 {
        self.keys.len()
    }

    /// Lets go of what was made from records that have changed or are gone, and was not asked for
    /// since: an erased key stays in memory no longer.
    pub(crate) fn forget_stale(&self) {
        self.keys.sweep();
        self.keks.sweep();
        self.registrations.sweep();
    }

    /// Gets what was deleted out of the engine's files, where blocking is allowed.
    pub(crate) async fn purge(&self) -> Result<(), Error> {
        let backend = Arc::clone(self.store().backend());
        let purged = tokio::task::spawn_blocking(move || hub_store::block_on(backend.purge()));
        let stopping = |_| Error::Integrity("the purge was broken off".into());
        Ok(purged.await.map_err(stopping)??)
    }

    /// Whether the last purge of destroyed material is long enough ago, and if so, notes this one.
    pub(crate) fn may_purge(&self) -> bool {
        const PAUSE: std::time::Duration = std::time::Duration::from_secs(300);
        let (now, mut last) = (self.clock().steady(), lock(&self.purged));
        let may = last.is_none_or(|last| now.saturating_sub(last) >= PAUSE);
        if may {
            *last = Some(now);
        }
        may
    }

    /// Forgets every keyring: on stop and on seal.
    pub fn forget(&self) {
        self.keys.invalidate_all();
        self.keks.invalidate_all();
        self.registrations.invalidate_all();
    }

    pub(crate) const fn began(&self) -> (Timestamp, std::time::Duration) {
        self.began
    }

    pub(crate) fn system_keys(&self) -> &SystemKeys {
        &self.parts.keys
    }

    /// Where slow work is done.
    pub(crate) const fn heavy(&self) -> &Heavy {
        &self.heavy
    }

    /// Failed openings of RSA keys.
    pub(crate) const fn failures(&self) -> &Arc<OpenFailures> {
        &self.failures
    }

    /// Long operations.
    pub(crate) const fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// The counts of use.
    pub(crate) const fn usage(&self) -> &Usage {
        &self.usage
    }

    pub(crate) fn root(&self) -> &RootKey {
        &self.parts.root
    }

    /// Finds a registration.
    pub(crate) async fn find_registration(
        &self,
        reference: &Ref<RegistrationId>,
    ) -> Result<Arc<RegistrationFacts>, Error> {
        let mut buffer;
        let text = match reference {
            Ref::Name(name) => name.as_str(),
            Ref::Id(id) => {
                buffer = id.to_string();
                buffer.as_mut_str()
            }
        };
        if let Some(facts) = self.registrations.get(text) {
            return Ok(facts);
        }
        let missing = || Error::not_found("registration", text);
        let mut stamp = self.store().stamp();
        let id = match reference {
            Ref::Id(id) => *id,
            Ref::Name(name) => {
                let path = layout::registration_name(self.system_keys().privacy(), name.as_str());
                stamp.watch(&path);
                self.store().read::<RegistrationId>(&path).await?.ok_or_else(missing)?.value
            }
        };
        let path = layout::registration(id);
        stamp.watch(&path);
        let found = self.store().read::<Registration>(&path).await?.ok_or_else(missing)?;
        let facts = Arc::new(RegistrationFacts {
            registration: Arc::new(found.value),
            revision: found.revision.0,
        });
        self.registrations.insert(text.into(), Arc::clone(&facts), stamp);
        Ok(facts)
    }

    /// The KEK of a registration.
    pub(crate) async fn kek(&self, registration: RegistrationId) -> Result<Arc<Kek>, Error> {
        if let Some(kek) = self.keks.get(&registration) {
            return Ok(kek);
        }
        let path = layout::kek(registration, 1);
        let mut stamp = self.store().stamp();
        stamp.watch(&path);
        let wrapped = self
            .store()
            .read_bytes(&path)
            .await?
            .ok_or_else(|| Error::not_found("registration", registration))?;
        let binding = Binding::kek(self.id(), path.as_bytes(), registration, 1);
        let kek = Arc::new(self.root().kek().unwrap_kek(&binding, &wrapped.value)?);
        self.keks.insert(registration, Arc::clone(&kek), stamp);
        Ok(kek)
    }

    /// Finds a key of a registration: its facts, and what of its material was loaded before.
    ///
    /// INVARIANT: every path read holds the registration's id, so a key of another registration is
    /// never found.
    pub(crate) async fn find_key(
        &self,
        registration: RegistrationId,
        reference: &Ref<KeyId>,
    ) -> Result<Arc<HotKey>, Error> {
        let mut buffer = [0u8; 16 + 64];
        let slot = slot(&mut buffer, registration, reference);
        if let Some(hot) = self.keys.get(slot) {
            return Ok(hot);
        }
        let missing = || Error::not_found("key", reference);
        let mut stamp = self.store().stamp();
        let id = match reference {
            Ref::Id(id) => *id,
            Ref::Name(name) => {
                let privacy = self.system_keys().privacy();
                let path = layout::key_name(privacy, registration, name.as_str());
                stamp.watch(&path);
                self.store().read::<KeyId>(&path).await?.ok_or_else(missing)?.value
            }
        };
        let path = layout::key(registration, id);
        stamp.watch(&path);
        let Versioned { value: key, revision } =
            self.store().read::<Key>(&path).await?.ok_or_else(missing)?;
        if key.registration != registration || key.id != id {
            return Err(Error::Integrity("a key record names another key".into()));
        }
        // Its material is unwrapped when a use was permitted, and not before.
        let keyring = Keyring::new(key.id, registration, key.algorithm, key.primary);
        stamp.watch(&layout::kek(registration, 1));
        let hot = Arc::new(HotKey {
            key,
            revision: revision.0,
            registration,
            keyring: RwLock::new(keyring),
            meters: Mutex::default(),
        });
        self.keys.insert(slot.into(), Arc::clone(&hot), stamp);
        Ok(hot)
    }

    /// Makes sure that the keyring holds this version. A number the key does not have is no error:
    /// opening will fail like any other failed opening.
    async fn load_version(&self, hot: &HotKey, number: u32) -> Result<(), Error> {
        let loaded = hot.with_keyring(|keyring| keyring.material(number).is_some());
        if loaded || !has_material(&hot.key, number) {
            return Ok(());
        }
        let material = self.material(&hot.key, number).await?;
        let mut keyring = match hot.keyring.write() {
            Ok(keyring) => keyring,
            Err(poisoned) => poisoned.into_inner(),
        };
        keyring.insert(number, material);
        keyring.limit(MOST_LOADED, number);
        Ok(())
    }

    /// Uses a version with its material in the keyring; `None` for one that has none. Should
    /// others push it out between loading and use, it is loaded again.
    pub(crate) async fn using<T>(
        &self,
        hot: &HotKey,
        number: u32,
        use_it: impl Fn(&Keyring) -> T,
    ) -> Result<Option<T>, Error> {
        loop {
            let used = hot.with_keyring(|k| k.material(number).is_some().then(|| use_it(k)));
            if used.is_some() || !has_material(&hot.key, number) {
                return Ok(used);
            }
            Box::pin(self.load_version(hot, number)).await?;
        }
    }

    /// The material of a version; `None` for one that has none.
    pub(crate) async fn material_of(
        &self,
        hot: &HotKey,
        number: u32,
    ) -> Result<Option<Arc<hub_crypto::Material>>, Error> {
        let found = self.using(hot, number, |keyring| keyring.material(number).cloned()).await?;
        Ok(found.flatten())
    }

    async fn material(&self, key: &Key, number: u32) -> Result<hub_crypto::Material, Error> {
        let path = layout::version(key.id, number);
        let wrapped = self
            .store()
            .read_bytes(&path)
            .await?
            .ok_or_else(|| Error::Integrity("a version's material is missing".into()))?;
        let kek = self.kek(key.registration).await?;
        let binding = self.binding(&path, key, number);
        let algorithm = key.algorithm;
        if !heavy::is_rsa(algorithm.row().kind) {
            return Ok(kek.unwrap_material(&binding, algorithm, &wrapped.value)?);
        }
        // Reading an RSA key checks it, which takes as long as signing with it.
        let Binding { purpose, hub, registration, key: id, version, origin, exportable, .. } =
            binding;
        let owned: Box<[u8]> = path.as_bytes().into();
        let read = move || {
            let binding = Binding {
                purpose,
                hub,
                path: &owned,
                registration,
                key: id,
                version,
                algorithm: Some(algorithm),
                origin,
                exportable,
            };
            kek.unwrap_material(&binding, algorithm, &wrapped.value)
        };
        Ok(self.heavy.run(key.registration, read).await??)
    }

    /// What a version's material is bound to.
    pub(crate) fn binding<'a>(&self, path: &'a Path, key: &Key, number: u32) -> Binding<'a> {
        Binding {
            purpose: WrapPurpose::Material,
            hub: self.id(),
            path: path.as_bytes(),
            registration: Some(key.registration),
            key: Some(key.id),
            version: number,
            algorithm: Some(key.algorithm),
            origin: match key.version(number).map(|version| version.origin) {
                Some(hub_model::Origin::Imported) => Origin::Imported,
                Some(hub_model::Origin::Derived) => Origin::Derived,
                _ => Origin::Generated,
            },
            exportable: key.exportable,
        }
    }

    /// Finds a participant of a registration.
    pub(crate) async fn find_participant(
        &self,
        registration: RegistrationId,
        reference: &Ref<ParticipantId>,
    ) -> Result<Versioned<Participant>, Error> {
        let missing = || Error::not_found("participant", reference);
        let id = match reference {
            Ref::Id(id) => *id,
            Ref::Name(name) => {
                self.participant_id(registration, name).await?.ok_or_else(missing)?
            }
        };
        let path = layout::participant(registration, id);
        self.store().read::<Participant>(&path).await?.ok_or_else(missing)
    }

    pub(crate) async fn participant_id(
        &self,
        registration: RegistrationId,
        name: &Name,
    ) -> Result<Option<ParticipantId>, Error> {
        let privacy = self.system_keys().privacy();
        let path = layout::participant_name(privacy, registration, name.as_str());
        Ok(self.store().read::<ParticipantId>(&path).await?.map(|found| found.value))
    }

    /// The name of the registration a participant belongs to, for showing.
    pub(crate) async fn registration_name(&self, id: RegistrationId) -> Result<Name, Error> {
        let facts = self.find_registration(&Ref::Id(id)).await?;
        Ok(facts.registration.name.clone())
    }
}

impl HotKey {
    /// The registration it belongs to.
    #[must_use]
    pub const fn registration(&self) -> RegistrationId {
        self.registration
    }
}

/// Whether a version is there and its material is not destroyed.
fn has_material(key: &Key, number: u32) -> bool {
    key.effective_state(number).is_some_and(|state| state != KeyState::Destroyed)
}

/// Whether a registration stands for the hub itself.
pub(crate) fn is_hub(registration: &Registration) -> bool {
    registration.name.as_str() == HUB_REGISTRATION
}

/// The cache key of a key: registration ‖ name, or registration ‖ `_` ‖ id. Names hold no `_`.
fn slot<'b>(
    buffer: &'b mut [u8; 80],
    registration: RegistrationId,
    reference: &Ref<KeyId>,
) -> &'b [u8] {
    let (head, tail) = buffer.split_at_mut(16);
    head.copy_from_slice(registration.as_bytes());
    let used = match reference {
        Ref::Name(name) => {
            let bytes = name.as_str().as_bytes();
            for (to, from) in tail.iter_mut().zip(bytes) {
                *to = *from;
            }
            bytes.len().min(64)
        }
        Ref::Id(id) => {
            for (to, from) in tail.iter_mut().zip(std::iter::once(&b'_').chain(id.as_bytes())) {
                *to = *from;
            }
            17
        }
    };
    buffer.get(..16 + used).unwrap_or_default()
}
