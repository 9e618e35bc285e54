//! A set in the shadow: it decides nothing, and nothing it finds is lost without being counted.

#![expect(clippy::unwrap_used, reason = "tests want their fixtures")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use hub_auth::Caller;
use hub_model::principal::PeerAddress;
use hub_model::{
    Action, AuthMethod, HubId, Participant, RegistrationId, Role, RoleGrant, Timestamp,
};
use hub_policy::{Bundle, Circumstances, Policies, RequestFacts, Target};

const TIME: Timestamp = Timestamp::from_micros(1_767_571_200_000_000);
const NO_LISTS: &str = "@id(\"no.lists\") forbid (principal, \
     action == CipherHub::Action::\"registrations.list\", resource) \
     when { context.caller.authMethod == CipherHub::AuthMethod::\"apiKey\" };";

fn admin(hub: RegistrationId) -> Participant {
    let json = serde_json::json!({
        "id": hub_model::ParticipantId::generate(), "registration": hub, "name": "admin",
        "kind": "user", "suspended": false, "tags": {}, "created": TIME, "updated": TIME,
        "roles": [RoleGrant { registration: hub, role: Role::Admins }], "generation": 1,
    });
    serde_json::from_value(json).unwrap()
}

fn setup() -> (Policies, Caller) {
    let own = RegistrationId::generate();
    let policies = Policies::new(Bundle::baseline().unwrap(), HubId::generate(), own).unwrap();
    let address = PeerAddress::Ip([10, 1, 2, 3].into());
    let caller = Caller::for_tests(admin(own), 1, AuthMethod::ApiKey, address, TIME, false);
    (policies, caller)
}

fn bundle(text: &str) -> Arc<Bundle> {
    Arc::new(Bundle::parse([("a.cedar", text)]).unwrap())
}

fn until(what: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !what() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
}

#[test]
fn every_decision_is_compared_or_counted_as_dropped() {
    const FLOOD: u64 = 5000;
    let (policies, caller) = setup();
    let facts = RequestFacts::default();
    let ask = |action| policies.authorize(&caller, action, &Target::Hub, &facts).is_ok();
    assert!(ask(Action::RegistrationsList), "nothing is in the shadow yet");
    policies.set_shadow(Some(bundle(NO_LISTS)), TIME).unwrap();
    for _ in 0..FLOOD {
        assert!(ask(Action::RegistrationsList), "the shadow decides nothing");
    }
    assert!(ask(Action::RegistrationsCreate));
    let total = || {
        let report = policies.shadow_report().unwrap();
        report.decisions + report.dropped
    };
    until(|| total() == FLOOD + 1);
    let report = policies.shadow_report().unwrap();
    assert!(report.decisions >= 1024, "what fits in the queue is compared");
    assert_eq!(report.deny_to_allow, 0);
    assert!(report.allow_to_deny + 1 >= report.decisions);
    assert_eq!(report.differences.len(), 1);
    let fresh = policies.fresh_differences().unwrap();
    assert_eq!(fresh.groups.iter().map(|(_, count)| count).sum::<u64>(), report.allow_to_deny);
    assert!(policies.fresh_differences().is_none(), "told once");
    policies.set_shadow(None, TIME).unwrap();
    assert!(policies.shadow_report().is_none() && policies.shadow_revision().is_none());
}

#[test]
fn groups_are_bound() {
    let (policies, caller) = setup();
    let deny_all = "@id(\"nobody\") forbid (principal, action in CipherHub::Action::\"ReadKey\", \
                    resource is CipherHub::Registration);";
    policies.set_shadow(Some(bundle(deny_all)), TIME).unwrap();
    let registration = |n: u8| {
        let json = serde_json::json!({
            "id": RegistrationId::from_bytes([n; 16]), "name": format!("shop-{n}"),
            "description": "", "environment": "dev", "frozen": false, "tags": {},
            "created": TIME, "updated": TIME, "generation": 1,
        });
        let registration = Arc::new(serde_json::from_value(json).unwrap());
        hub_policy::RegistrationFacts { registration, revision: 1 }
    };
    let facts = RequestFacts::default();
    for n in 0..200 {
        let target = registration(n);
        let target = Target::Registration(&target);
        assert!(policies.authorize(&caller, Action::RegistrationsGet, &target, &facts).is_ok());
    }
    until(|| policies.shadow_report().is_some_and(|report| report.allow_to_deny == 200));
    let report = policies.shadow_report().unwrap();
    assert_eq!(report.differences.len(), hub_policy::shadow::MOST_GROUPS);
    let fresh = policies.fresh_differences().unwrap();
    assert_eq!((fresh.groups.len(), fresh.other), (64, 136));
}

#[test]
fn a_supposed_request_falls_as_a_real_one() {
    let (policies, caller) = setup();
    let circumstances = |method| Circumstances {
        address: caller.address(),
        now: caller.now(),
        method,
        tls: caller.tls(),
        mutual_tls: false,
        spiffe_id: None,
    };
    let (facts, candidate) = (RequestFacts::default(), bundle(NO_LISTS));
    for action in [Action::RegistrationsList, Action::RegistrationsCreate, Action::AuditRead] {
        let real = policies.authorize(&caller, action, &Target::Hub, &facts);
        let (set, by) = (policies.active_bundle(), circumstances(AuthMethod::ApiKey));
        let who = caller.participant();
        let supposed = policies.suppose(&set, who, &by, action, &Target::Hub, &facts);
        assert_eq!(real.is_ok(), supposed.permitted, "{action}");
        assert_eq!(supposed.trace.revision, policies.revision());
    }
    for (method, permitted) in [(AuthMethod::ApiKey, false), (AuthMethod::Bootstrap, true)] {
        let (by, action) = (circumstances(method), Action::RegistrationsList);
        let who = caller.participant();
        let supposed = policies.suppose(&candidate, who, &by, action, &Target::Hub, &facts);
        assert_eq!(supposed.permitted, permitted, "{method:?}");
    }
}
