//! Random worlds: whatever the roles, states and policies, the sliced and memoized decision is the
//! one Cedar gives over the whole set and all entities, with the rule that an error denies.

use std::sync::Arc;

use cedar_policy::{Authorizer, Entities, PolicySet};
use hub_model::action::ResourceKind;
use hub_model::principal::PeerAddress;
use hub_model::{
    Action, Algorithm, AuthMethod, EncryptionContext, Environment, HubId, Key, KeyId, KeyState,
    Participant, ParticipantId, ParticipantKind, Registration, RegistrationId, Role, RoleGrant,
    Tags, Timestamp,
};
use proptest::prelude::*;

use crate::bundle::{Bundle, Checks};
use crate::decide::{Asker, Policies, RegistrationFacts, RequestFacts, Target, Votes};
use crate::entities::{self, context};
use crate::memo::Outcome;

const TIME: Timestamp = Timestamp::from_micros(1_767_571_200_000_000);
const KINDS: [ParticipantKind; 3] =
    [ParticipantKind::User, ParticipantKind::Service, ParticipantKind::Device];
const STATES: [KeyState; 7] = KeyState::ALL;

fn bytes(n: u8) -> [u8; 16] {
    let mut bytes = [0x11; 16];
    bytes[15] = n;
    bytes
}

fn hub() -> HubId {
    HubId::from_bytes(bytes(0))
}

/// Registration 0 is that of the hub.
fn registration_id(n: u8) -> RegistrationId {
    RegistrationId::from_bytes(bytes(n))
}

fn tags(pairs: &[(&str, &str)]) -> Tags {
    Tags::new(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()).unwrap()
}

fn registration(n: u8, environment: Environment, frozen: bool) -> RegistrationFacts {
    let name = if n == 0 { "hub".to_owned() } else { format!("reg-{n}") };
    let registration = Registration {
        id: registration_id(n),
        name: name.parse().unwrap(),
        description: String::new(),
        environment,
        frozen,
        tags: Tags::default(),
        created: TIME,
        updated: TIME,
        generation: 1,
        rotation: None,
        quotas: None,
    };
    RegistrationFacts { registration: Arc::new(registration), revision: 1 }
}

fn key(n: u8, registration: u8, state: KeyState, tags: Tags) -> Key {
    let (registration, id) = (registration_id(registration), KeyId::from_bytes(bytes(n)));
    let name = format!("key-{n}").parse().unwrap();
    Key { state, tags, ..Key::new(registration, id, name, Algorithm::Aes256Gcm, None, TIME) }
}

fn participant(
    n: u8,
    kind: ParticipantKind,
    roles: Vec<RoleGrant>,
    suspended: bool,
) -> Participant {
    Participant {
        id: ParticipantId::from_bytes(bytes(n)),
        registration: registration_id(1),
        name: format!("ptc-{n}").parse().unwrap(),
        kind,
        suspended,
        tags: Tags::default(),
        roles,
        created: TIME,
        updated: TIME,
        generation: 1,
    }
}

#[derive(Clone, Debug)]
struct World {
    /// Store revisions of the participants and of the keys; registrations have their own.
    revisions: (u64, u64),
    registrations: Vec<RegistrationFacts>,
    participants: Vec<Participant>,
    keys: Vec<Key>,
}

#[derive(Clone, Copy, Debug)]
struct Ask {
    participant: u8,
    action: Action,
    registration: u8,
    key: u8,
    address: u8,
    hour: u8,
    payload: u64,
    tenant: bool,
}

fn world() -> impl Strategy<Value = World> {
    let grant = (0u8..3, 0usize..6).prop_map(|(registration, role)| RoleGrant {
        registration: registration_id(registration),
        role: Role::ALL[role],
    });
    let one = (0usize..3, proptest::collection::vec(grant, 0..4), proptest::bool::weighted(0.2));
    let participants = proptest::collection::vec(one, 3).prop_map(|list| {
        let made = list.into_iter().enumerate();
        made.map(|(n, (kind, roles, suspended))| {
            participant(u8::try_from(n).unwrap(), KINDS[kind], roles, suspended)
        })
        .collect::<Vec<_>>()
    });
    let environment = prop_oneof![
        Just(Environment::Dev),
        Just(Environment::Staging),
        Just(Environment::Production)
    ];
    let registrations = proptest::collection::vec((environment, any::<bool>()), 3).prop_map(|l| {
        let made = l.into_iter().enumerate();
        made.map(|(n, (e, frozen))| registration(u8::try_from(n).unwrap(), e, frozen && n > 0))
            .collect::<Vec<_>>()
    });
    let key_of = (0u8..3, 0..STATES.len(), any::<bool>());
    let keys = proptest::collection::vec(key_of, 3).prop_map(|list| {
        let made = list.into_iter().enumerate();
        made.map(|(n, (registration, state, tagged))| {
            let pairs: &[(&str, &str)] = if tagged { &[("rotation", "ci")] } else { &[] };
            key(u8::try_from(n).unwrap(), registration, STATES[state], tags(pairs))
        })
        .collect::<Vec<_>>()
    });
    (registrations, participants, keys).prop_map(|(registrations, participants, keys)| World {
        revisions: (1, 1),
        registrations,
        participants,
        keys,
    })
}

fn ask() -> impl Strategy<Value = Ask> {
    (0u8..3, 0..Action::ALL.len(), 0u8..3, 0u8..3, 0u8..3, 0u8..24, 0u64..100_000, any::<bool>())
        .prop_map(|(participant, action, registration, key, address, hour, payload, tenant)| {
            let action = Action::ALL[action];
            Ask { participant, action, registration, key, address, hour, payload, tenant }
        })
}

fn principal_scope() -> impl Strategy<Value = String> {
    let id = |n: u8| ParticipantId::from_bytes(bytes(n));
    let role = (0u8..3, 0usize..6, any::<bool>()).prop_map(|(registration, role, is)| {
        let prefix = match registration {
            0 => "hub".to_owned(),
            n => registration_id(n).to_string(),
        };
        let is = if is { " is CipherHub::User" } else { "" };
        format!("principal{is} in CipherHub::Role::\"{prefix}/{}\"", Role::ALL[role])
    });
    prop_oneof![
        3 => Just("principal".to_owned()),
        1 => Just("principal is CipherHub::Service".to_owned()),
        2 => (0usize..3, 0u8..3).prop_map(move |(kind, n)| {
            let kind = ["User", "Service", "Device"][kind];
            format!("principal == CipherHub::{kind}::\"{}\"", id(n))
        }),
        1 => (0u8..3).prop_map(move |n| format!("principal in CipherHub::User::\"{}\"", id(n))),
        2 => role,
        1 => Just("principal == CipherHub::User::\"root\"".to_owned()),
    ]
}

fn action_scope() -> impl Strategy<Value = String> {
    let groups = ["UseKey", "ReadKey", "ManageKey", "ManageMembers", "ManageHub"];
    prop_oneof![
        1 => Just("action".to_owned()),
        2 => (0usize..groups.len())
            .prop_map(move |n| format!("action in CipherHub::Action::\"{}\"", groups[n])),
        2 => (0..Action::ALL.len())
            .prop_map(|n| format!("action == CipherHub::Action::\"{}\"", Action::ALL[n])),
    ]
}

fn resource_scope() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just("resource".to_owned()),
        1 => Just("resource is CipherHub::Key".to_owned()),
        2 => (0u8..3).prop_map(|n| {
            format!("resource == CipherHub::Key::\"{}\"", KeyId::from_bytes(bytes(n)))
        }),
        2 => (0u8..3).prop_map(|n| {
            format!("resource in CipherHub::Registration::\"{}\"", registration_id(n))
        }),
        1 => (0u8..3).prop_map(|n| {
            let id = registration_id(n);
            format!("resource is CipherHub::Key in CipherHub::Registration::\"{id}\"")
        }),
        1 => Just(format!("resource in CipherHub::Hub::\"{}\"", hub())),
        1 => Just(format!("resource == CipherHub::Hub::\"{}\"", HubId::from_bytes(bytes(9)))),
    ]
}

/// Conditions, some of which read the context and some of which err on some or all requests. They
/// are not validated, so anything may be missing.
fn condition() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "",
        "when { principal.name == \"ptc-1\" }",
        "when { principal.suspended }",
        "when { resource.hasTag(\"rotation\") }",
        "when { resource.frozen }",
        "when { resource.registration.frozen }",
        "when { resource.registration.environment == CipherHub::Environment::\"production\" }",
        "unless { resource.state == CipherHub::KeyState::\"active\" }",
        "when { principal in resource.registration.roles.apps }",
        "when { principal.nothing == \"at all\" }",
        "when { context.caller.now.toTime() < duration(\"12h\") }",
        "when { context.caller.sourceIp.isInRange(ip(\"10.0.0.0/8\")) }",
        "when { context.caller.channel == CipherHub::Channel::\"unix\" }",
        "unless { context.payloadBytes < 50000 }",
        "when { context.payloadBytes * 999999999999999 > 0 }",
        "when { context.encryptionContext.getTag(\"tenant\") == \"eu\" }",
        "when { context.encryptionContext.hasTag(\"tenant\") } unless { principal.suspended }",
    ])
}

fn extra() -> impl Strategy<Value = Vec<String>> {
    let one = (any::<bool>(), principal_scope(), action_scope(), resource_scope(), condition())
        .prop_map(|(permit, principal, action, resource, condition)| {
            let effect = if permit { "permit" } else { "forbid" };
            format!("{effect} ({principal}, {action}, {resource}) {condition};")
        });
    proptest::collection::vec(one, 0..8)
}

fn text(policies: &[String]) -> String {
    let numbered = policies.iter().enumerate();
    numbered.map(|(n, policy)| format!("@id(\"local.{n}\")\n{policy}\n")).collect()
}

impl World {
    fn target(&self, ask: Ask) -> Target<'_> {
        match ask.action.resource_kind() {
            ResourceKind::Hub => Target::Hub,
            ResourceKind::Registration => {
                Target::Registration(&self.registrations[usize::from(ask.registration)])
            }
            ResourceKind::Key => {
                let key = &self.keys[usize::from(ask.key)];
                let at = usize::from(key.registration.as_bytes()[15]);
                Target::Key {
                    key,
                    revision: self.revisions.1,
                    registration: &self.registrations[at],
                }
            }
        }
    }

    fn asker(&self, ask: Ask) -> Asker<'_> {
        Asker {
            participant: &self.participants[usize::from(ask.participant)],
            revision: self.revisions.0,
            address: match ask.address {
                0 => PeerAddress::Unix,
                1 => PeerAddress::Ip([10, 1, 2, 3].into()),
                _ => PeerAddress::Ip([192, 168, 1, 1].into()),
            },
            now: Timestamp::from_micros(TIME.as_micros() + i64::from(ask.hour) * 3_600_000_000),
            method: AuthMethod::ApiKey,
            tls: ask.address == 1,
            mutual_tls: false,
            spiffe_id: None,
        }
    }

    /// Every entity there is, and one evaluation of every policy there is.
    fn whole(
        &self,
        policies: &Policies,
        bundle: &Bundle,
        ask: Ask,
        facts: &RequestFacts<'_>,
    ) -> Outcome {
        let engine = policies.engine();
        let (words, hub) = (engine.words, &engine.hub);
        let (asker, target) = (self.asker(ask), self.target(ask));
        let (said, extra) = context(words, &asker, ask.action, facts).unwrap();
        let mut list: Vec<_> = extra.into_iter().collect();
        list.extend(self.participants.iter().map(|p| hub.participant(words, p).unwrap()));
        let registrations = self.registrations.iter().map(|f| &f.registration);
        list.extend(registrations.map(|r| hub.registration(words, r).unwrap()));
        list.extend(self.keys.iter().map(|k| entities::key(words, k).unwrap()));
        list.push(hub.entity().clone());
        let all = Entities::from_entities(list, Some(&words.schema)).unwrap();
        let request = hub.request(words, asker.participant, ask.action, &target, said).unwrap();
        let set =
            PolicySet::from_policies(bundle.policies.iter().map(|p| p.policy.clone())).unwrap();
        let mut votes = Votes::default();
        votes.add(&Authorizer::new().is_authorized(&request, &set, &all));
        votes.outcome(&bundle.revision)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn slices_and_memo_change_nothing(
        before in world(),
        other in world(),
        changed in 0u8..3,
        extra in extra(),
        asks in proptest::collection::vec(ask(), 1..12),
    ) {
        let files = [("local.cedar", text(&extra))];
        let compile = || Bundle::compile(files.clone(), Checks::NamesOnly).unwrap();
        let bundle = compile();
        let policies = Policies::unchecked(compile(), hub(), registration_id(0)).unwrap();
        let pairs = [("tenant".to_owned(), "eu".to_owned())];
        let tenant = EncryptionContext::new(pairs.into()).unwrap();
        // The same ids with other facts of one kind, under another revision of that kind alone,
        // must not meet old decisions.
        let mut after = before.clone();
        match changed {
            0 => (after.participants, after.revisions.0) = (other.participants, 2),
            1 => (after.keys, after.revisions.1) = (other.keys, 2),
            _ => {
                after.registrations = other.registrations;
                after.registrations.iter_mut().for_each(|facts| facts.revision = 2);
            }
        }
        // Each twice, so that the second round meets what the first one left in the memo.
        for world in [&before, &before, &after, &after] {
            for ask in &asks {
                let facts = RequestFacts {
                    encryption_context: ask.tenant.then_some(&tenant),
                    payload_bytes: ask.payload,
                };
                let (asker, target) = (world.asker(*ask), world.target(*ask));
                let sliced = policies.outcome(&asker, ask.action, &target, &facts);
                let whole = world.whole(&policies, &bundle, *ask, &facts);
                prop_assert_eq!(sliced, whole, "{:?}", ask);
            }
        }
    }
}

/// What the active set decides in a small fixed world, with one more policy that is not validated.
fn with_unvalidated(policy: &str, suspended: bool) -> Outcome {
    let bundle = Bundle::compile([("local.cedar", policy)], Checks::NamesOnly).unwrap();
    let policies = Policies::unchecked(bundle, hub(), registration_id(0)).unwrap();
    let facts = registration(1, Environment::Dev, false);
    let key = key(1, 1, KeyState::Active, Tags::default());
    let apps = RoleGrant { registration: registration_id(1), role: Role::Apps };
    let app = participant(1, ParticipantKind::Service, vec![apps], suspended);
    let target = Target::Key { key: &key, revision: 1, registration: &facts };
    let asker = Asker {
        participant: &app,
        revision: 1,
        address: PeerAddress::Unix,
        now: TIME,
        method: AuthMethod::ApiKey,
        tls: false,
        mutual_tls: false,
        spiffe_id: None,
    };
    policies.outcome(&asker, Action::KeysEncrypt, &target, &RequestFacts::default())
}

#[test]
fn an_error_denies_and_is_named_without_values() {
    let fine =
        with_unvalidated("@id(\"a\") forbid(principal, action, resource) when { false };", false);
    assert!(fine.permitted);
    assert_eq!(*fine.trace.policies, [Arc::from("role.app")]);

    // Cedar alone would skip this forbid and permit.
    for effect in ["forbid", "permit"] {
        let policy = format!(
            "@id(\"a\") {effect}(principal, action, resource) when {{ principal.tier == 1 }};"
        );
        let outcome = with_unvalidated(&policy, false);
        assert!(!outcome.permitted);
        assert!(outcome.trace.policies.is_empty());
        let expected = "policy `a`: it reads an attribute or tag that is not there";
        assert_eq!(outcome.trace.errors, [Arc::from(expected)]);
    }
    // An optional attribute that is absent here: no source address on the Unix socket.
    let policy = "@id(\"a\") forbid(principal, action, resource) \
                  when { context.caller.sourceIp.isLoopback() };";
    assert!(!with_unvalidated(policy, false).permitted);
}

#[test]
fn a_local_permit_cannot_override_a_guard() {
    let outcome = with_unvalidated("@id(\"a\") permit(principal, action, resource);", true);
    assert!(!outcome.permitted);
    assert_eq!(*outcome.trace.policies, [Arc::from("guard.suspended")]);
}

#[test]
fn the_memo_answers_with_the_same_trace() {
    let policies = Policies::new(Bundle::baseline().unwrap(), hub(), registration_id(0)).unwrap();
    let world = World {
        revisions: (1, 1),
        registrations: (0..2).map(|n| registration(n, Environment::Dev, false)).collect(),
        participants: vec![participant(1, ParticipantKind::User, Vec::new(), false)],
        keys: Vec::new(),
    };
    let ask = Ask {
        participant: 0,
        action: Action::SystemWhoami,
        registration: 1,
        key: 0,
        address: 1,
        hour: 0,
        payload: 0,
        tenant: false,
    };
    let (asker, facts) = (world.asker(ask), RequestFacts::default());
    let first = policies.outcome(&asker, ask.action, &Target::Hub, &facts);
    let second = policies.outcome(&asker, ask.action, &Target::Hub, &facts);
    assert!(first.permitted && Arc::ptr_eq(&first.trace, &second.trace));
    policies.activate(Bundle::baseline().unwrap()).unwrap();
    let third = policies.outcome(&asker, ask.action, &Target::Hub, &facts);
    assert!(third.permitted && !Arc::ptr_eq(&first.trace, &third.trace));
}
