//! What a guard before operations is asked, and what it is not.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use std::sync::{Arc, Mutex};

use common::{World, meta, named};
use hub_auth::Caller;
use hub_model::api::key::CreateKey;
use hub_model::{Action, EncryptionContext, KeyId, Registration, RegistrationId, Role};
use hub_operations::{Error, Guard, Left, Ref, key, registration};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Admit(Action),
    At(Action, RegistrationId, Option<KeyId>),
    Ended(Action, Option<&'static str>),
}

/// Notes what it is asked, and refuses one action at its target.
#[derive(Clone, Debug, Default)]
struct Noting {
    told: Arc<Mutex<Vec<Told>>>,
    refuses: Option<Action>,
}

impl Noting {
    fn note(&self, told: Told) {
        self.told.lock().unwrap().push(told);
    }

    fn take(&self) -> Vec<Told> {
        std::mem::take(&mut *self.told.lock().unwrap())
    }
}

impl Guard for Noting {
    fn admit(&self, _: &Caller, action: Action) -> Result<Option<Left>, Error> {
        self.note(Told::Admit(action));
        Ok(None)
    }

    fn admit_at(
        &self,
        _: &Caller,
        action: Action,
        registration: &Registration,
        key: Option<KeyId>,
    ) -> Result<Option<Left>, Error> {
        self.note(Told::At(action, registration.id, key));
        if self.refuses == Some(action) {
            return Err(Error::OverQuota { left: None, retry_after: 7 });
        }
        Ok(None)
    }

    fn ended(
        &self,
        _: &Caller,
        action: Action,
        _: Option<&EncryptionContext>,
        error: Option<&Error>,
    ) {
        self.note(Told::Ended(action, error.map(Error::code)));
    }
}

#[tokio::test]
async fn a_guard_is_asked_about_what_was_found_and_permitted_only() {
    let world = World::new().await;
    world.registration("shop").await;
    let app = world.participant("shop", "app", &[Role::Apps]).await;
    let stranger = world.participant("hub", "stranger", &[]).await;
    let body: CreateKey = serde_json::from_str(r#"{"name":"orders"}"#).unwrap();
    let create = key::CreateKey { registration: named("shop"), body };
    let made = world.ok(&world.admin, &create).await;
    let shop = registration::GetRegistration { registration: named("shop") };
    let id = world.ok(&world.admin, &shop).await.uid;

    let refuses = Some(Action::KeysListVersions);
    let guard = Noting { refuses, ..Noting::default() };
    assert!(world.hub.guard_with(Box::new(guard.clone())));
    assert!(!world.hub.guard_with(Box::new(guard.clone())), "once for all");

    // By names and by uids it is the same key.
    let get = |registration, key| key::GetKey { registration, key };
    let at = Told::At(Action::KeysGet, id, Some(made.uid));
    for operation in [get(named("shop"), named("orders")), get(Ref::Id(id), Ref::Id(made.uid))] {
        world.ok(&app, &operation).await;
        let ended = Told::Ended(Action::KeysGet, None);
        assert_eq!(guard.take(), [Told::Admit(Action::KeysGet), at.clone(), ended]);
    }
    // What is missing, and what may not be seen, has no account.
    for (key, who) in [("missing", &app), ("orders", &stranger)] {
        world.attempt(who, &get(named("shop"), named(key)), &meta()).await.unwrap_err();
        let ended = Told::Ended(Action::KeysGet, Some("not_found"));
        assert_eq!(guard.take(), [Told::Admit(Action::KeysGet), ended]);
    }
    // What the guard refuses has no entry and is not told to it again.
    let size = world.hub.log().appender().position().audit.size;
    let versions = key::ListVersions {
        registration: named("shop"),
        key: named("orders"),
        page: Default::default(),
    };
    let failure = world.attempt(&app, &versions, &meta()).await.unwrap_err();
    assert!(matches!(failure.error, Error::OverQuota { retry_after: 7, .. }));
    assert_eq!((failure.error.code(), failure.seq), ("rate_limited", None));
    let action = Action::KeysListVersions;
    assert_eq!(guard.take(), [Told::Admit(action), Told::At(action, id, Some(made.uid))]);
    assert_eq!(world.hub.log().appender().position().audit.size, size);
}
