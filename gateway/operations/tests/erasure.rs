//! What must be gone and what must not show: deleted registrations, ids of credentials.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking, their helpers too"
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{World, meta, named};
use hub_auth::api_key::ApiKey;
use hub_auth::{Channel, Presented};
use hub_model::CredentialId;
use hub_model::api::key::CreateKey as KeyBody;
use hub_model::principal::PeerAddress;
use hub_model::secret::SecretText;
use hub_operations::{Meta, key, registration};
use hub_policy::Bundle;
use hub_store::backend::{Boxed, Commit, Page, Txn, Watch};
use hub_store::{Backend, Entry, Error, MemoryBackend, Path, Revision, View};

/// Memory that counts readings, and fails to purge when told.
#[derive(Debug)]
struct Spy {
    inner: MemoryBackend,
    gets: AtomicU64,
    purges: AtomicU64,
    stuck: AtomicBool,
}

impl Spy {
    fn new() -> Arc<Self> {
        let (gets, purges) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { inner: MemoryBackend::new(), gets, purges, stuck: AtomicBool::new(false) })
    }
}

impl Backend for Spy {
    fn get<'a>(&'a self, path: &'a Path) -> Boxed<'a, Result<Option<Entry>, Error>> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        self.inner.get(path)
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Path>,
        limit: usize,
        view: View,
    ) -> Boxed<'a, Result<Page, Error>> {
        self.inner.scan(prefix, after, limit, view)
    }

    fn commit(&self, txn: Txn) -> Boxed<'_, Result<Commit, Error>> {
        self.inner.commit(txn)
    }

    fn watch(&self, prefix: &str) -> Watch {
        self.inner.watch(prefix)
    }

    fn head(&self) -> Boxed<'_, Result<Revision, Error>> {
        self.inner.head()
    }

    fn identity(&self) -> [u8; 16] {
        self.inner.identity()
    }

    fn durability(&self) -> &'static str {
        self.inner.durability()
    }

    fn is_exclusive(&self) -> bool {
        self.inner.is_exclusive()
    }

    fn stopped_cleanly(&self) -> bool {
        self.inner.stopped_cleanly()
    }

    fn size_on_disk(&self) -> Result<u64, Error> {
        self.inner.size_on_disk()
    }

    fn purge(&self) -> Boxed<'_, Result<(), Error>> {
        if self.stuck.load(Ordering::SeqCst) {
            return Box::pin(async { Err(Error::Engine("stuck".to_owned())) });
        }
        self.purges.fetch_add(1, Ordering::SeqCst);
        self.inner.purge()
    }

    fn close(&self) -> Boxed<'_, Result<(), Error>> {
        self.inner.close()
    }
}

#[tokio::test]
async fn a_deleted_registration_is_purged_from_files_and_memory_before_it_is_forgotten() {
    let spy = Spy::new();
    let world = World::over(Arc::clone(&spy) as _, Bundle::baseline().unwrap()).await;
    world.registration("shop").await;
    let body = KeyBody::new("orders".parse().unwrap());
    world.ok(&world.admin, &key::CreateKey { registration: named("shop"), body }).await;
    world
        .ok(&world.admin, &key::GetKey { registration: named("shop"), key: named("orders") })
        .await;
    assert_eq!(world.hub.hot_keys(), 1);
    world.ok(&world.admin, &registration::Freeze::<true> { registration: named("shop") }).await;
    let seen = Meta { if_match: Some(2), ..meta() };
    let delete = registration::DeleteRegistration { registration: named("shop") };
    world.attempt(&world.admin, &delete, &seen).await.unwrap();

    spy.stuck.store(true, Ordering::SeqCst);
    assert!(world.hub.sweep_erased().await.is_err());
    assert_eq!(world.hub.hot_keys(), 0);
    // What could not be purged is tried again, though no record is left to remove.
    spy.stuck.store(false, Ordering::SeqCst);
    world.hub.sweep_erased().await.unwrap();
    assert_eq!(spy.purges.load(Ordering::SeqCst), 1);
    world.hub.sweep_erased().await.unwrap();
    assert_eq!(spy.purges.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_wrong_secret_is_as_much_work_as_an_unknown_id() {
    let spy = Spy::new();
    let world = World::over(Arc::clone(&spy) as _, Bundle::baseline().unwrap()).await;
    world.caller(&world.admin).await;
    let known = ApiKey::parse(world.admin.expose_secret()).unwrap().id();
    let work = async |id: CredentialId| {
        let (_, text): (_, SecretText) = ApiKey::generate(id);
        let header = format!("Bearer {}", text.expose_secret());
        let before = spy.gets.load(Ordering::SeqCst);
        let channel = Channel::anonymous(PeerAddress::Unix, false);
        let presented = Presented { authorization: &[header.as_bytes()], channel: &channel };
        assert!(world.authenticator.authenticate(presented).await.is_err());
        spy.gets.load(Ordering::SeqCst) - before
    };
    assert_eq!(work(known).await, work(CredentialId::generate()).await);
}
