//! The public face: what sets are refused, and what callers are permitted.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests want their fixtures")]

use std::sync::Arc;

use hub_auth::Caller;
use hub_model::principal::PeerAddress;
use hub_model::{
    Action, Algorithm, AuthMethod, EncryptionContext, Environment, Grant, HubId, Key, KeyId,
    Participant, ParticipantId, ParticipantKind, Registration, RegistrationId, Role, RoleGrant,
    Tags, Timestamp,
};
use hub_policy::{
    Bundle, Denial, Effect, Error, Permit, Policies, Problem, RegistrationFacts, RequestFacts,
    Target,
};

const TIME: Timestamp = Timestamp::from_micros(1_767_571_200_000_000);

fn registration(id: RegistrationId, name: &str, frozen: bool) -> RegistrationFacts {
    let registration = Registration {
        id,
        name: name.parse().unwrap(),
        description: String::new(),
        environment: Environment::Production,
        frozen,
        tags: Tags::default(),
        frozen_by_hub: false,
        created: TIME,
        updated: TIME,
        generation: 1,
        rotation: None,
        quotas: None,
    };
    RegistrationFacts { registration: Arc::new(registration), revision: 1 }
}

fn key(registration: RegistrationId) -> Key {
    let name = "orders".parse().unwrap();
    Key::new(registration, KeyId::generate(), name, Algorithm::Aes256Gcm, None, TIME)
}

fn caller(home: RegistrationId, roles: &[(RegistrationId, Role)]) -> Caller {
    let grants = roles.iter().map(|&(registration, role)| RoleGrant { registration, role });
    let participant = Participant {
        id: ParticipantId::generate(),
        registration: home,
        name: "somebody".parse().unwrap(),
        kind: ParticipantKind::User,
        suspended: false,
        tags: Tags::default(),
        roles: grants.collect(),
        grants_in: Default::default(),
        created: TIME,
        updated: TIME,
        generation: 1,
    };
    let address = PeerAddress::Ip([10, 1, 2, 3].into());
    Caller::for_tests(participant, 1, AuthMethod::ApiKey, address, TIME, false)
}

struct Hub {
    policies: Policies,
    own: RegistrationId,
    acme: RegistrationFacts,
    other: RegistrationFacts,
}

fn hub_with(policy: &str) -> Hub {
    let own = RegistrationId::generate();
    let bundle = Bundle::parse([("local.cedar", policy)]).unwrap();
    Hub {
        policies: Policies::new(bundle, HubId::generate(), own).unwrap(),
        own,
        acme: registration(RegistrationId::generate(), "acme", false),
        other: registration(RegistrationId::generate(), "other", false),
    }
}

impl Hub {
    fn ask(&self, caller: &Caller, action: Action, target: &Target<'_>) -> Result<Permit, Denial> {
        self.policies.authorize(caller, action, target, &RequestFacts::default())
    }
}

fn refused(policy: &str) -> Vec<Problem> {
    match Bundle::parse([("team/local.cedar", policy)]) {
        Err(Error::Refused(problems)) => problems,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_permit_says_what_it_is_for() {
    let hub = hub_with("");
    let id = hub.acme.registration.id;
    let app = caller(id, &[(id, Role::Apps)]);
    let key = key(id);
    let target = Target::Key { key: &key, revision: 1, registration: &hub.acme };
    let permit = hub.ask(&app, Action::KeysEncrypt, &target).unwrap();
    assert!(permit.covers(Action::KeysEncrypt, Some(id), Some(key.id)));
    assert!(!permit.covers(Action::KeysDecrypt, Some(id), Some(key.id)));
    assert!(!permit.covers(Action::KeysEncrypt, Some(id), None));
    let other = hub.other.registration.id;
    assert!(!permit.covers(Action::KeysEncrypt, Some(other), Some(key.id)));
    assert_eq!(permit.principal(), app.principal());
    assert_eq!(*permit.trace().policies, [Arc::from("role.app")]);
    assert_eq!(permit.trace().revision, hub.policies.revision());

    let denial = hub.ask(&app, Action::KeysRotate, &target).unwrap_err();
    assert_eq!((denial.action(), denial.key()), (Action::KeysRotate, Some(key.id)));
    assert!(denial.trace().policies.is_empty() && denial.trace().errors.is_empty());
}

/// A grant of some actions to a caller.
fn grant(caller: &Caller, actions: &[Action], end: Option<i64>, pairs: &[(&str, &str)]) -> Grant {
    let pairs = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
    let context = EncryptionContext::new(pairs.collect()).unwrap();
    let end = end.map(|seconds| later(seconds).now());
    let actions = actions.to_vec();
    Grant::new(caller.participant(), actions, end, context, String::new(), TIME).unwrap()
}

/// Somebody, so many seconds later.
fn later(seconds: i64) -> Caller {
    let now = Timestamp::from_micros(TIME.as_micros() + seconds * 1_000_000);
    at(&caller(RegistrationId::generate(), &[]), now)
}

/// The same caller at another time.
fn at(who: &Caller, now: Timestamp) -> Caller {
    let address = PeerAddress::Ip([10, 1, 2, 3].into());
    Caller::for_tests(who.participant().clone(), 1, AuthMethod::ApiKey, address, now, false)
}

#[test]
fn a_grant_decides_under_its_own_id_until_its_end_and_not_a_moment_longer() {
    let hub = hub_with("");
    let id = hub.acme.registration.id;
    let (reader, other) = (caller(id, &[]), caller(id, &[]));
    let mut key = key(id);
    let given = grant(&reader, &[Action::KeysDecrypt], Some(60), &[]);
    let name = given.policy_id();
    key.grants.push(given);
    let target = Target::Key { key: &key, revision: 1, registration: &hub.acme };
    for _ in 0..3 {
        let permit = hub.ask(&reader, Action::KeysDecrypt, &target).unwrap();
        assert_eq!(*permit.trace().policies, [Arc::from(&*name)]);
        assert!(hub.ask(&reader, Action::KeysEncrypt, &target).is_err());
        assert!(hub.ask(&other, Action::KeysDecrypt, &target).is_err());
        // The same revision of everything, so a remembered decision would answer here.
        let end = later(60).now();
        let before = Timestamp::from_micros(end.as_micros() - 1);
        assert!(hub.ask(&at(&reader, before), Action::KeysDecrypt, &target).is_ok());
        assert!(hub.ask(&at(&reader, end), Action::KeysDecrypt, &target).is_err());
    }
}

#[test]
fn pairs_of_a_grant_are_looked_at_with_every_request() {
    let hub = hub_with("");
    let id = hub.acme.registration.id;
    let reader = caller(id, &[]);
    let mut key = key(id);
    key.grants.push(grant(&reader, &[Action::KeysDecrypt], None, &[("tenant", "eu")]));
    let target = Target::Key { key: &key, revision: 1, registration: &hub.acme };
    let may = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let context = EncryptionContext::new(pairs.collect()).unwrap();
        let facts = RequestFacts { encryption_context: Some(&context), payload_bytes: 1 };
        hub.policies.authorize(&reader, Action::KeysDecrypt, &target, &facts).is_ok()
    };
    for _ in 0..3 {
        assert!(may(&[("tenant", "eu")]) && may(&[("tenant", "eu"), ("a", "b")]));
        assert!(!may(&[("tenant", "us")]) && !may(&[]));
        assert!(hub.ask(&reader, Action::KeysDecrypt, &target).is_err());
    }
}

#[test]
fn a_forbid_of_the_author_beats_a_grant_and_errors_deny_it() {
    let stop = "@id(\"stop\") forbid(principal, action == CipherHub::Action::\"keys.decrypt\", \
                resource) when { resource.hasTag(\"stop\") };";
    let hub = hub_with(stop);
    let id = hub.acme.registration.id;
    let reader = caller(id, &[]);
    let mut key = key(id);
    key.grants.push(grant(&reader, &[Action::KeysDecrypt], None, &[]));
    let ask = |key: &Key, revision| {
        let target = Target::Key { key, revision, registration: &hub.acme };
        hub.ask(&reader, Action::KeysDecrypt, &target)
    };
    assert!(ask(&key, 1).is_ok());
    key.tags = Tags::new([("stop".to_owned(), String::new())].into()).unwrap();
    let denial = ask(&key, 2).unwrap_err();
    assert_eq!(*denial.trace().policies, [Arc::from("stop")]);
    // Authors cannot name a policy like a grant.
    let taken = refused("@id(\"grant.mine\") permit(principal, action, resource);");
    assert!(taken.iter().any(|problem| problem.message.contains("reserved")));
}

#[test]
fn who_holds_a_grant_somewhere_knows_of_that_registration() {
    let hub = hub_with("");
    let (acme, other) = (hub.acme.registration.id, hub.other.registration.id);
    let mut holder = caller(hub.own, &[]).participant().clone();
    holder.grants_in = [(acme, 1)].into();
    let address = PeerAddress::Ip([10, 1, 2, 3].into());
    let holder = Caller::for_tests(holder, 1, AuthMethod::ApiKey, address, TIME, false);
    assert!(hub.policies.may_see(&holder, &hub.acme));
    assert!(!hub.policies.may_see(&holder, &hub.other) && acme != other);
    assert!(!hub.policies.may_see(&caller(hub.own, &[]), &hub.acme));
}

#[test]
fn a_target_that_does_not_fit_is_denied() {
    let hub = hub_with("@id(\"all\") permit(principal, action, resource);");
    let somebody = caller(hub.own, &[]);
    let denial = hub.ask(&somebody, Action::KeysEncrypt, &Target::Hub).unwrap_err();
    assert_eq!(denial.trace().errors.len(), 1);
    // A key shown as if it were of another registration.
    let key = key(hub.other.registration.id);
    let target = Target::Key { key: &key, revision: 1, registration: &hub.acme };
    assert_eq!(hub.ask(&somebody, Action::KeysGet, &target).unwrap_err().trace().errors.len(), 1);
}

#[test]
fn roles_count_in_their_registration_only() {
    let hub = hub_with("");
    let (acme, other) = (hub.acme.registration.id, hub.other.registration.id);
    let key = key(acme);
    let target = Target::Key { key: &key, revision: 1, registration: &hub.acme };
    let stranger = caller(other, &[(other, Role::Apps), (other, Role::Owners)]);
    assert!(hub.ask(&stranger, Action::KeysEncrypt, &target).is_err());
    assert!(hub.ask(&stranger, Action::KeysGet, &target).is_err());
    // The words of the hub's roles, in a registration that is not the hub's.
    for role in [Role::Admins, Role::Auditors] {
        let pretender = caller(acme, &[(acme, role)]);
        assert!(hub.ask(&pretender, Action::RegistrationsCreate, &Target::Hub).is_err());
        assert!(hub.ask(&pretender, Action::AuditRead, &Target::Hub).is_err());
        assert!(!hub.policies.may_see(&pretender, &hub.other));
    }
    let admin = caller(hub.own, &[(hub.own, Role::Admins)]);
    assert!(hub.ask(&admin, Action::RegistrationsCreate, &Target::Hub).is_ok());
    assert!(hub.ask(&admin, Action::KeysDecrypt, &target).is_err());
    let own = registration(hub.own, "hub", false);
    let own = Target::Registration(&own);
    assert!(hub.ask(&admin, Action::RolesGrant, &own).is_ok());
    assert!(hub.ask(&admin, Action::RegistrationsDelete, &own).is_err());
    let owner = caller(hub.own, &[(hub.own, Role::Owners)]);
    assert!(hub.ask(&owner, Action::RolesGrant, &own).is_err());
}

#[test]
fn members_and_readers_see_a_registration_and_others_do_not() {
    let hub = hub_with("");
    let (acme, other) = (hub.acme.registration.id, hub.other.registration.id);
    assert!(hub.policies.may_see(&caller(acme, &[]), &hub.acme));
    assert!(hub.policies.may_see(&caller(hub.own, &[(acme, Role::Rotators)]), &hub.acme));
    assert!(hub.policies.may_see(&caller(hub.own, &[(hub.own, Role::Admins)]), &hub.acme));
    assert!(!hub.policies.may_see(&caller(other, &[(other, Role::Owners)]), &hub.acme));
}

#[test]
fn scopes_by_uid_and_role_reach_exactly_whom_they_name() {
    let own = RegistrationId::generate();
    let acme = registration(RegistrationId::generate(), "acme", false);
    let (id, key) = (acme.registration.id, key(acme.registration.id));
    let (named, unnamed) = (caller(own, &[]), caller(own, &[]));
    let auditor = caller(own, &[(own, Role::Auditors)]);
    let uid = named.participant().id;
    let policy = format!(
        "@id(\"local.one\") permit(principal == CipherHub::User::\"{uid}\",
           action in CipherHub::Action::\"UseKey\", resource == CipherHub::Key::\"{}\");
         @id(\"local.role\") permit(principal in CipherHub::Role::\"hub/auditors\",
           action == CipherHub::Action::\"keys.get\",
           resource in CipherHub::Registration::\"{id}\");",
        key.id
    );
    let bundle = Bundle::parse([("local.cedar", policy)]).unwrap();
    assert_eq!(bundle.warnings(), []);
    let policies = Policies::new(bundle, HubId::generate(), own).unwrap();
    let target = Target::Key { key: &key, revision: 1, registration: &acme };
    let ask = |caller: &Caller, action| {
        policies.authorize(caller, action, &target, &RequestFacts::default()).is_ok()
    };
    assert!(ask(&named, Action::KeysEncrypt) && !ask(&named, Action::KeysGet));
    assert!(!ask(&unnamed, Action::KeysEncrypt));
    assert!(ask(&auditor, Action::KeysGet) && !ask(&auditor, Action::KeysEncrypt));
}

#[test]
fn problems_come_with_place_and_advice() {
    let problems = refused("\n\npermit(principal, action, resource);");
    assert!(problems[0].message.contains("without `@id`"), "{}", problems[0]);
    assert_eq!((&*problems[0].file, problems[0].line), ("team/local.cedar", 3));

    let twice = "@id(\"a\") permit(principal, action, resource);\n".repeat(2);
    let problems = refused(&twice);
    assert!(problems[0].message.contains("already used in team/local.cedar:1"), "{}", problems[0]);
    assert_eq!(problems[0].line, 2);

    let problems = refused("@id(\"role.owner\") permit(principal, action, resource);");
    assert!(problems[0].message.contains("reserved"));
    let problems = refused("@id(\"Ｇuard.x\") permit(principal, action, resource);");
    assert!(problems[0].message.contains("cannot be a policy id"));
    let problems = refused("@id(\"a\") permit(principal == ?principal, action, resource);");
    assert!(problems[0].message.contains("template"));
    let problems = refused("@id(\"a\") permit(principal, action, resource) when {");
    assert!(problems[0].message.contains("unexpected"), "{}", problems[0]);
}

#[test]
fn validation_keeps_the_words_of_cedar() {
    let problems = refused(
        "@id(\"a\")\nforbid(principal, action, resource is CipherHub::Key)\n\
         when { resource.algoritm == \"x\" };",
    );
    let problem = &problems[0];
    assert!(problem.message.contains("attribute `algoritm`"), "{problem}");
    assert!(problem.help.as_ref().unwrap().contains("did you mean `algorithm`?"), "{problem}");
    assert_eq!(problem.line, 3);
    assert!(problem.rendered.contains("team/local.cedar:3"), "{}", problem.rendered);

    let wrong_action = refused(
        "@id(\"a\") forbid(principal, action == CipherHub::Action::\"keys.encrpt\", resource);",
    );
    assert!(wrong_action[0].to_string().contains("keys.encrypt"), "{}", wrong_action[0]);
    let wrong_word = refused(
        "@id(\"a\") forbid(principal, action, resource is CipherHub::Key)
         when { resource.state == CipherHub::KeyState::\"actve\" };",
    );
    assert!(wrong_word[0].to_string().contains("active"), "{}", wrong_word[0]);
    let optional = refused(
        "@id(\"a\") forbid(principal, action, resource)
         when { context.caller.sourceIp.isLoopback() };",
    );
    assert!(optional[0].to_string().contains("has"), "{}", optional[0]);
    let deep = refused(
        "@id(\"a\") forbid(principal, action == CipherHub::Action::\"keys.get\", resource)
         when { CipherHub::Hub::\"hub_x\".roles.admins == CipherHub::Role::\"hub/admins\" };",
    );
    assert!(!deep.is_empty());
}

#[test]
fn a_policy_too_large_to_take_apart_is_refused_before_it_is_parsed() {
    let work = || {
        let chain = vec!["1 == 1"; 48 * 1024].join("&&");
        let nested = format!("{}true{}", "(".repeat(20_000), ")".repeat(20_000));
        let minus = format!("1 == {}1", "- ".repeat(20_000));
        let ifs = "if true then true else ".repeat(5_000) + "true";
        let list = format!("[{}1].contains(1)", "1,".repeat(1_000));
        for (condition, good) in
            [(chain, false), (nested, false), (minus, false), (ifs, false), (list, true)]
        {
            let policy = format!(
                "@id(\"a\") forbid(principal, action == CipherHub::Action::\"keys.get\", resource)
                 when {{ {condition} }};"
            );
            assert!(policy.len() < 400 * 1024);
            match Bundle::parse([("local.cedar", policy)]) {
                Ok(_) => assert!(good),
                Err(Error::Refused(problems)) => {
                    assert!(!good, "{problems:?}");
                    assert_eq!(problems.len(), 1);
                    assert!(problems[0].message.contains("at most"), "{problems:?}");
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap().join().unwrap();
    // What looks like operators in texts and comments is none.
    let words = "a.b && c || (d) ".repeat(2_000);
    let policy = format!(
        "// {words}\n@id(\"a\") @title(\"{words}\") forbid(principal, action, resource) when {{ false }};"
    );
    assert!(Bundle::parse([("local.cedar", policy)]).is_ok());
}

#[test]
fn nobody_is_locked_out() {
    let locked = |policy: &str| {
        matches!(
            Bundle::parse([("local.cedar", policy)]),
            Err(Error::LockOut { action: "registrations.create", .. })
        )
    };
    assert!(locked("@id(\"a\") forbid(principal, action, resource);"));
    assert!(locked(
        "@id(\"a\") forbid(principal, action in CipherHub::Action::\"ManageHub\", resource);"
    ));
    // A certificate that identifies is mutual TLS.
    assert!(locked(
        "@id(\"a\") forbid(principal, action, resource is CipherHub::Hub)
         unless { context.caller.authMethod == CipherHub::AuthMethod::\"mtls\" &&
                  !context.caller.mutualTls };"
    ));
    // Conditions that somebody can meet do not lock out.
    assert!(!locked(
        "@id(\"a\") forbid(principal, action, resource is CipherHub::Hub)
         unless { context.caller.mutualTls };"
    ));
    assert!(!locked(
        "@id(\"a\") forbid(principal, action, resource is CipherHub::Hub)
         unless { context.caller.channel == CipherHub::Channel::\"unix\" };
         @id(\"b\") forbid(principal, action, resource is CipherHub::Hub)
         unless { context.caller.now.toTime() >= duration(\"9h\") };"
    ));
    assert!(!locked(
        "@id(\"a\") forbid(principal, action, resource is CipherHub::Hub) unless {
           context.caller has sourceIp &&
           context.caller.sourceIp.isInRange(ip(\"192.168.7.0/24\")) };"
    ));
    // What was permitted until a date that is over lets nobody in; a date to come does.
    let until = |date: &str| {
        format!(
            "@id(\"a\") forbid(principal, action, resource is CipherHub::Hub)
             unless {{ context.caller.now < datetime(\"{date}\") }};"
        )
    };
    assert!(locked(&until("2026-02-01")));
    assert!(!locked(&until("2999-01-01")));
    let admin = ParticipantId::generate();
    assert!(!locked(&format!(
        "@id(\"a\") forbid(principal, action, resource is CipherHub::Hub)
         unless {{ principal == CipherHub::User::\"{admin}\" }};"
    )));
}

#[test]
fn a_set_that_shuts_out_this_hub_does_not_replace_the_active_one() {
    let (own, hub) = (RegistrationId::generate(), HubId::generate());
    let policies = Policies::new(Bundle::baseline().unwrap(), hub, own).unwrap();
    let before = policies.revision();
    let policy =
        format!("@id(\"a\") forbid(principal, action, resource == CipherHub::Hub::\"{hub}\");");
    let bundle = Bundle::parse([("local.cedar", policy)]).unwrap();
    let error = policies.activate(bundle).unwrap_err();
    assert!(error.to_string().contains("`registrations.create`"), "{error}");
    assert!(error.to_string().contains("(see a)"), "{error}");
    assert_eq!(policies.revision(), before);
}

#[test]
fn a_revision_is_the_content() {
    let a = Bundle::parse([("x.cedar", "// a"), ("y.cedar", "// b")]).unwrap();
    let b = Bundle::parse([("y.cedar", "// b"), ("x.cedar", "// a")]).unwrap();
    let c = Bundle::parse([("x.cedar", "// b"), ("y.cedar", "// a")]).unwrap();
    assert_eq!(a.revision(), b.revision());
    assert_ne!(a.revision(), c.revision());
    assert_eq!(a.revision().len(), 64);
}

#[test]
fn policies_explain_themselves() {
    let hub = hub_with("");
    let guard = hub.policies.describe("guard.suspended").unwrap();
    assert_eq!(guard.effect, Effect::Forbid);
    assert_eq!((&*guard.file, guard.line), ("baseline/10-guardrails.cedar", 2));
    assert_eq!(guard.title.as_deref(), Some("A suspended participant can do nothing"));
    assert!(hub.policies.describe("guard").is_none());
    let ids: Vec<_> =
        hub.policies.candidates(Action::KeysRewrap).into_iter().map(|p| p.id).collect();
    assert_eq!(ids, [Arc::from("role.rotator"), Arc::from("role.app")]);
    assert_eq!(hub.policies.revision_short().len(), 12);
}

#[test]
fn a_scope_that_names_nothing_is_warned_about() {
    let policy = "@id(\"a\") permit(principal == CipherHub::User::\"bob\", action, resource);";
    let bundle = Bundle::parse([("local.cedar", policy)]).unwrap();
    assert!(bundle.warnings()[0].message.contains("can never apply"), "{:?}", bundle.warnings());
}
