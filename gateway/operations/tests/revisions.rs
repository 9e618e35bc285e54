//! Policy revisions as operations: what is kept, what decides, what a release with another baseline
//! finds, and that callers made from stored facts get nothing but answers.

#![expect(clippy::unwrap_used, reason = "tests want their fixtures")]

mod common;

use std::sync::Arc;

use common::{World, meta, named};
use hub_model::api::audit::Explain as ExplainBody;
use hub_model::api::policy::{PolicyFile, ProposeRevision as Body, ReplayPolicies as ReplayBody};
use hub_model::entry::{AuditEntry, Decision, Outcome, Subject};
use hub_model::principal::PeerAddress;
use hub_model::{Clock as _, Role};
use hub_operations::policy::{
    Activate, DeleteRevision, EndShadow, GetRevision, ListRevisions, ProposeRevision,
    ReplayPolicies, Rollback, Shadow, stored_bundle,
};
use hub_operations::{Error, Meta, PageRequest, registration, system};
use hub_policy::Bundle;
use hub_store::{Changes, layout};

const READERS: &str = "@id(\"readers\") permit (principal, \
     action == CipherHub::Action::\"registrations.freeze\", resource is CipherHub::Registration) \
     when { principal in resource.roles.auditors };";
const FROZEN_NAMES: &str = "@id(\"no.shop\") forbid (principal, \
     action == CipherHub::Action::\"registrations.get\", resource is CipherHub::Registration) \
     when { resource.name == \"shop\" };";

fn files(text: &str) -> Vec<PolicyFile> {
    vec![PolicyFile { name: "local/a.cedar".to_owned(), text: text.to_owned() }]
}

async fn propose(world: &World, text: &str) -> String {
    let body = Body { files: files(text), note: None };
    world.ok(&world.admin, &ProposeRevision { body }).await.revision
}

/// Commits changes that no operation makes, with an entry as every change has.
async fn commit(world: &World, changes: Changes) {
    let entry = AuditEntry {
        time: world.clock.now(),
        principal: None,
        address: PeerAddress::Unix,
        action: "test",
        subject: Subject::default(),
        decision: Decision::None,
        decided: None,
        policies: Default::default(),
        revision: "".into(),
        outcome: Outcome::OK,
        latency: None,
        operation: None,
        context: None,
        request: "-".into(),
        trace: None,
        dry_run: false,
        count: 1,
    };
    let _receipt = world.hub.log().appender().append(&entry, changes).await.unwrap();
}

fn by(generation: u64) -> Meta {
    Meta { if_match: Some(generation), ..meta() }
}

fn digest(text: &str) -> hub_model::api::policy::RevisionRef {
    text.parse().unwrap()
}

#[tokio::test]
async fn what_is_active_follows_the_record() {
    let world = World::new().await;
    let baseline = world.hub.policies().revision();
    let one = propose(&world, READERS).await;
    assert_eq!(world.hub.policies().revision(), baseline, "a proposal decides nothing");
    let activate = Activate { revision: digest(&one) };
    let refused = world.attempt(&world.admin, &activate, &meta()).await.unwrap_err();
    assert!(matches!(refused.error, Error::PreconditionRequired));
    let done = world.attempt(&world.admin, &activate, &by(0)).await.unwrap();
    assert_eq!(done.generation, Some(1));
    assert_eq!(*world.hub.policies().revision(), *one);
    assert_eq!(**stored_bundle(world.hub.store()).await.unwrap().revision(), *one);
    let stale = world.attempt(&world.admin, &activate, &by(0)).await.unwrap_err();
    assert!(matches!(stale.error, Error::Stale { current: 1 }));
    // Again: said, not done; so a rollback leads to what was before, not to itself.
    let again = world.attempt(&world.admin, &activate, &by(1)).await.unwrap();
    assert_eq!(again.generation, Some(1));
    let back = world.attempt(&world.admin, &Rollback, &by(1)).await.unwrap();
    assert_eq!(back.reply.unwrap().revision, *baseline);
    assert_eq!(world.hub.policies().revision(), baseline);
    let none = world.attempt(&world.admin, &Rollback, &by(2)).await.unwrap_err();
    assert!(matches!(none.error, Error::NoPreviousRevision));
}

#[tokio::test]
async fn what_a_given_up_request_has_activated_is_followed() {
    let world = World::new().await;
    let baseline = world.hub.policies().revision();
    assert!(world.hub.follow_policies().await);
    let one = propose(&world, READERS).await;
    // The commit of a request whose caller has gone before the hub followed it.
    let in_use = serde_json::json!({
        "generation": 1, "active": one, "before": [null], "shadow": null,
    });
    let mut changes = Changes::new();
    changes.put(&layout::active_policies(), &in_use).unwrap();
    commit(&world, changes).await;
    assert_eq!(world.hub.policies().revision(), baseline);
    assert!(world.hub.follow_policies().await);
    assert_eq!(*world.hub.policies().revision(), *one);
}

#[tokio::test]
async fn a_rollback_skips_what_is_active_already() {
    let world = World::new().await;
    let (one, two) = (propose(&world, READERS).await, propose(&world, FROZEN_NAMES).await);
    for (generation, id) in [&one, &two, &one].into_iter().enumerate() {
        let generation = u64::try_from(generation).unwrap();
        let activate = Activate { revision: digest(id) };
        world.attempt(&world.admin, &activate, &by(generation)).await.unwrap();
    }
    // The set between two of the same is gone: what was before the first is next.
    let delete = DeleteRevision { revision: digest(&two) };
    world.attempt(&world.admin, &delete, &by(3)).await.unwrap();
    let back = world.attempt(&world.admin, &Rollback, &by(4)).await.unwrap().reply.unwrap();
    let baseline = Bundle::baseline().unwrap();
    assert_eq!((&*back.previous, &*back.revision), (&*one, &**baseline.revision()));
    assert_eq!(world.hub.policies().revision(), *baseline.revision());
}

#[tokio::test]
async fn a_dry_run_tells_and_changes_nothing() {
    let world = World::new().await;
    let baseline = world.hub.policies().revision();
    let one = propose(&world, READERS).await;
    let activate = Activate { revision: digest(&one) };
    let dry = Meta { dry_run: true, ..by(0) };
    let would = world.attempt(&world.admin, &activate, &dry).await.unwrap().reply.unwrap();
    assert_eq!((would.revision, &*would.previous), (one, &*baseline));
    assert_eq!(world.hub.policies().revision(), baseline);
    assert!(world.hub.store().read_bytes(&layout::active_policies()).await.unwrap().is_none());
}

#[tokio::test]
async fn the_shadow_is_a_place_in_the_record() {
    let world = World::new().await;
    let one = propose(&world, FROZEN_NAMES).await;
    world.registration("shop").await;
    world.ok(&world.admin, &Shadow { revision: digest(&one) }).await;
    assert_eq!(world.hub.policies().shadow_revision().as_deref(), Some(&*one));
    let get = registration::GetRegistration { registration: named("shop") };
    for _ in 0..3 {
        world.ok(&world.admin, &get).await;
    }
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let report = world.hub.policies().shadow_report().unwrap();
        if report.allow_to_deny == 3 {
            let first = report.differences.first().unwrap();
            assert!(first.about.permitted && first.count == 3);
            assert_eq!(first.policies.iter().map(|p| &**p).collect::<Vec<_>>(), ["no.shop"]);
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{report:?}");
        tokio::task::yield_now().await;
    }
    world.hub.record_shadow().await.unwrap();
    let last = world.hub.log().appender().position().audit.size - 1;
    let entry = world.entry(last).await;
    assert_eq!((&entry["action"], &entry["count"]), (&"policies.shadow".into(), &3.into()));
    let in_use = DeleteRevision { revision: digest(&one) };
    let refused = world.attempt(&world.admin, &in_use, &by(1)).await.unwrap_err();
    assert!(matches!(refused.error, Error::RevisionInUse(_, "in the shadow")));
    world.ok(&world.admin, &EndShadow).await;
    assert!(world.hub.policies().shadow_report().is_none());
    world.attempt(&world.admin, &in_use, &by(2)).await.unwrap();
    let list = ListRevisions { page: PageRequest::default() };
    assert!(world.ok(&world.admin, &list).await.items.is_empty());
}

#[tokio::test]
async fn another_release_keeps_the_files_under_their_new_name() {
    let world = World::new().await;
    // As a release with another baseline would have left it: the digest is not one of this.
    let old = "0".repeat(64);
    let proposer = world.caller(&world.admin).await.participant().id;
    let record = serde_json::json!({
        "note": "kept", "proposer": proposer, "created": world.clock_now(), "policies": 1, "bytes": 1,
    });
    let in_use = serde_json::json!({ "generation": 4, "active": old, "before": [null] });
    let mut changes = Changes::new();
    changes
        .put(&layout::policy_revision(&old), &record)
        .unwrap()
        .put(&layout::policy_files(&old), &files(READERS))
        .unwrap()
        .put(&layout::active_policies(), &in_use)
        .unwrap();
    commit(&world, changes).await;

    let bundle = stored_bundle(world.hub.store()).await.unwrap();
    let new = bundle.revision().to_string();
    assert_ne!(new, old);
    world.hub.policies().activate(bundle).unwrap();
    world.hub.resume_policies().await.unwrap();
    let active = world.ok(&world.admin, &GetRevision { revision: digest("active") }).await;
    assert_eq!((active.revision, active.note.as_deref()), (new.clone(), Some("kept")));
    assert_eq!(active.files.unwrap(), files(READERS));
    // Once: the next start finds everything in step.
    let size = world.hub.log().appender().position().audit.size;
    world.hub.resume_policies().await.unwrap();
    assert_eq!(world.hub.log().appender().position().audit.size, size);
    assert_eq!(*world.hub.policies().revision(), *new);
}

#[tokio::test]
async fn replay_compares_what_was_recorded_and_says_what_changed() {
    let world = World::new().await;
    world.registration("shop").await;
    let reader = world.participant("shop", "reader", &[Role::Auditors]).await;
    let get = registration::GetRegistration { registration: named("shop") };
    let freeze = registration::Freeze::<true> { registration: named("shop") };
    let denied = world.attempt(&reader, &freeze, &meta()).await.unwrap_err();
    assert!(matches!(denied.error, Error::Denied { .. }));
    world.ok(&world.admin, &get).await;
    let replay = |text: &str| ReplayPolicies {
        body: ReplayBody { files: Some(files(text)), ..ReplayBody::default() },
    };
    let report = world.ok(&world.admin, &replay(READERS)).await;
    let [flip] = report.flips.as_slice() else { panic!("{:?}", report.flips) };
    assert_eq!((&*flip.from, &*flip.to, &*flip.facts), ("deny", "allow", "recorded"));
    assert_eq!((&*flip.caller_name, &*flip.resource_name), ("shop/reader", "shop"));
    assert_eq!(flip.decision_ids, [world.hub.decision_id(denied.seq.unwrap())]);

    // The registration changes: what it was is gone, and what it is now is compared.
    world.ok(&world.admin, &freeze).await;
    let report = world.ok(&world.admin, &replay(READERS)).await;
    let [flip] = report.flips.as_slice() else { panic!("{:?}", report.flips) };
    assert_eq!((&*flip.facts, flip.count), ("present", 1));
    // A replay is no request of anybody else: nothing but its own entry was added.
    let report = world.ok(&world.admin, &replay(FROZEN_NAMES)).await;
    assert!(report.flips.iter().all(|flip| flip.from == "allow"));
    assert_eq!(report.undecidable, []);
}

#[tokio::test]
async fn explaining_a_request_makes_none() {
    let world = World::new().await;
    world.registration("shop").await;
    world.participant("shop", "reader", &[Role::Auditors]).await;
    let size = || world.hub.log().appender().position().audit.size;
    let before = size();
    let body = ExplainBody {
        participant: Some("shop/reader".to_owned()),
        action: Some("registrations.freeze".to_owned()),
        ..ExplainBody::default()
    };
    let found = world.ok(&world.admin, &system::Explain { body: body.clone() }).await;
    assert_eq!((&*found.decision, found.entry.is_none()), ("deny", true));
    assert!(!found.changes.is_empty(), "what would have to change is told");
    assert_eq!(size(), before + 1, "the one entry is that of the explanation");
    let revision = Some(propose(&world, READERS).await);
    let found =
        world.ok(&world.admin, &system::Explain { body: ExplainBody { revision, ..body } }).await;
    assert_eq!((&*found.decision, found.revision_active), ("allow", false));
    assert_eq!(found.determining.first().map(|policy| &*policy.id), Some("readers"));
}

#[tokio::test]
async fn files_replace_each_other_with_an_entry() {
    let world = World::new().await;
    let old = world.hub.policies().revision();
    let bundle = || Bundle::parse([("a.cedar", READERS)]).unwrap();
    assert!(world.hub.reload_policies(bundle()).await.unwrap());
    assert!(!world.hub.reload_policies(bundle()).await.unwrap(), "as it was");
    let last = world.hub.log().appender().position().audit.size - 1;
    let entry = world.entry(last).await;
    assert_eq!(entry["action"], "policies.reload");
    let detail = format!("{old} -> {}", world.hub.policies().revision());
    assert_eq!(entry["detail"], detail);
    let shared = Arc::new(bundle());
    assert_eq!(world.hub.policies().active_bundle().revision(), shared.revision());
}
