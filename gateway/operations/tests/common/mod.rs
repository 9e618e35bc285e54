//! A hub in memory, opened as the server opens one, with a clock the test owns.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "helpers of tests")]
#![allow(dead_code, reason = "each binary uses a part")]

use std::sync::Arc;

use hub_audit::Log;
use hub_audit::log::OnRollback;
use hub_auth::rules::MapRule;
use hub_auth::{Authenticator, Caller, Channel, LastUses, Presented, Rules};
use hub_crypto::{RootKey, SystemKeys};
use hub_model::algorithm::Profile;
use hub_model::api::participant::{CreateParticipant as ParticipantBody, IssueCredential};
use hub_model::api::registration::CreateRegistration as RegistrationBody;
use hub_model::clock::ManualClock;
use hub_model::principal::PeerAddress;
use hub_model::secret::SecretText;
use hub_model::{Clock, Environment, HubId, ParticipantKind, Role, Tags, Timestamp};
use hub_operations::{
    CacheSizes, Done, Failure, Hub, Idempotency, Meta, Operation, Parts, Ref, bootstrap,
    participant, registration,
};
use hub_policy::{Bundle, Policies};
use hub_store::{Backend, MemoryBackend, Store, Writer};

pub(crate) struct World {
    pub(crate) hub: Hub,
    pub(crate) authenticator: Authenticator,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) admin: SecretText,
    pub(crate) seeds: Seeds,
}

/// What a hub needs to be opened again.
#[derive(Clone)]
pub(crate) struct Seeds {
    id: HubId,
    keys: Arc<SystemKeys>,
    root: Arc<RootKey>,
    registration: hub_model::RegistrationId,
}

pub(crate) fn meta() -> Meta {
    Meta { request: "test".into(), trace: None, dry_run: false, if_match: None, idempotency: None }
}

pub(crate) fn once(key: &str) -> Meta {
    let idempotency = Some(Idempotency { key: key.to_owned(), request_hash: [1; 32] });
    Meta { idempotency, ..meta() }
}

pub(crate) fn named<I>(text: &str) -> Ref<I> {
    Ref::Name(text.parse().unwrap())
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::over(Arc::new(MemoryBackend::new()), Bundle::baseline().unwrap()).await
    }

    pub(crate) async fn over(backend: Arc<dyn Backend>, bundle: Bundle) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_795_000_000_000_000)));
        let (root, id) = (Arc::new(RootKey::generate(1).unwrap()), HubId::generate());
        let keys = Arc::new(SystemKeys::generate().unwrap());
        let store = Store::new(backend, Arc::clone(&keys));
        let writer = Writer::open(store.clone(), "main").await.unwrap();
        let refuse = OnRollback::Refuse;
        let log = Log::open(store.clone(), writer, "main", Arc::clone(&keys), id, None, refuse)
            .await
            .unwrap();
        let first = bootstrap::first_start(id, &keys, &root, clock.now()).unwrap();
        let entry = bootstrap::first_entry(clock.now());
        let _receipt = log.appender().append(&entry, first.changes).await.unwrap();
        let registration = first.record.registration;
        let seeds = Seeds { id, keys, root, registration };
        Self::of(store, log, seeds, bundle, clock, first.api_key)
    }

    /// The same hub on another start, over what is in its store now.
    pub(crate) async fn again(self, backend: Arc<dyn Backend>) -> Self {
        let Self { seeds, clock, admin, .. } = self;
        let store = Store::new(backend, Arc::clone(&seeds.keys));
        let writer = Writer::open(store.clone(), "main").await.unwrap();
        let (keys, refuse) = (Arc::clone(&seeds.keys), OnRollback::Refuse);
        let log =
            Log::open(store.clone(), writer, "main", keys, seeds.id, None, refuse).await.unwrap();
        Self::of(store, log, seeds, Bundle::baseline().unwrap(), clock, admin)
    }

    fn of(
        store: Store,
        log: Log,
        seeds: Seeds,
        bundle: Bundle,
        clock: Arc<ManualClock>,
        admin: SecretText,
    ) -> Self {
        let Seeds { id, keys, root, registration } = seeds.clone();
        let policies = Arc::new(Policies::new(bundle, id, registration).unwrap());
        let shared: Arc<dyn Clock> = Arc::clone(&clock) as _;
        // What tests of certificates are known by; nobody else shows one.
        let map = MapRule {
            identity: "spiffe://test.example/*/*".parse().unwrap(),
            participant: "$1/$2".to_owned(),
        };
        let rules = Arc::new(Rules::new(vec![map], vec![]).unwrap());
        let uses = Arc::new(LastUses::default());
        let authenticator = Authenticator::new(hub_auth::Parts {
            store: store.clone(),
            keys: Arc::clone(&keys),
            clock: Arc::clone(&shared),
            rules: Arc::clone(&rules),
            uses: Arc::clone(&uses),
            capacity: 1000,
        });
        let hub = Hub::new(Parts {
            id,
            store,
            keys,
            root,
            log,
            policies,
            registration,
            clock: shared,
            caches: CacheSizes::default(),
            profile: Profile::Any,
            rules,
            uses,
        });
        Self { hub, authenticator, clock, admin, seeds }
    }

    pub(crate) fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) async fn caller(&self, key: &SecretText) -> Caller {
        let header = format!("Bearer {}", key.expose_secret());
        let channel = Channel::anonymous(PeerAddress::Unix, false);
        let presented = Presented { authorization: &[header.as_bytes()], channel: &channel };
        self.authenticator.authenticate(presented).await.unwrap()
    }

    pub(crate) async fn attempt<O: Operation>(
        &self,
        key: &SecretText,
        operation: &O,
        meta: &Meta,
    ) -> Result<Done<O::Reply>, Failure> {
        let caller = self.caller(key).await;
        self.hub.perform(&caller, operation, meta).await
    }

    pub(crate) async fn ok<O: Operation>(&self, key: &SecretText, operation: &O) -> O::Reply {
        self.attempt(key, operation, &meta()).await.unwrap().reply.unwrap()
    }

    /// A registration owned by the administrator.
    pub(crate) async fn registration(&self, name: &str) {
        let body = RegistrationBody {
            name: name.parse().unwrap(),
            description: String::new(),
            environment: Environment::Dev,
            tags: Tags::default(),
            owners: Vec::new(),
            rotation: None,
        };
        self.ok(&self.admin, &registration::CreateRegistration { body }).await;
    }

    /// A participant with these roles in its registration, and its key.
    pub(crate) async fn participant(
        &self,
        registration: &str,
        name: &str,
        roles: &[Role],
    ) -> SecretText {
        let body = ParticipantBody {
            name: name.parse().unwrap(),
            kind: ParticipantKind::Service,
            tags: Tags::default(),
            roles: roles.to_vec(),
        };
        let create = participant::CreateParticipant { registration: named(registration), body };
        self.ok(&self.admin, &create).await;
        let body = IssueCredential::default();
        let (registration, participant) = (named(registration), named(name));
        self.ok(&self.admin, &participant::IssueCredential { registration, participant, body })
            .await
            .api_key
            .unwrap()
    }

    /// The entry at a position.
    pub(crate) async fn entry(&self, seq: u64) -> serde_json::Value {
        serde_json::from_slice(&self.hub.log().entry(seq).await.unwrap().unwrap()).unwrap()
    }
}
