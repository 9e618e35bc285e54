//! Random worlds: whatever the roles, states and policies, the sliced and memoized decision is the
//! one Cedar gives over the whole set and all entities, with the rule that an error denies. Grants
//! are in the whole set as policies written out, with their end and pairs as conditions, which is
//! what they mean; and what is said of decisions without their context holds in every context.

use std::sync::Arc;

use cedar_policy::{Authorizer, Entities, Policy, PolicyId, PolicySet};
use hub_model::action::ResourceKind;
use hub_model::principal::PeerAddress;
use hub_model::{
    Action, Algorithm, AuthMethod, EncryptionContext, Environment, Grant, GrantId, HubId, Key,
    KeyId, KeyState, Participant, ParticipantId, ParticipantKind, Registration, RegistrationId,
    Role, RoleGrant, Tags, Timestamp,
};
use proptest::prelude::*;

use crate::access::{Certainty, Prospect, Survey};
use crate::bundle::{Bundle, Checks};
use crate::context::context;
use crate::decide::{Asker, Engine, Policies, RegistrationFacts, RequestFacts, Target, Votes};
use crate::entities::joined;
use crate::memo::Outcome;
use crate::plain;
use crate::rule::{Judge, Rule};

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
        tags: if frozen == (n == 1) { tags(&[("pci", "yes")]) } else { Tags::default() },
        frozen_by_hub: frozen && environment == Environment::Staging,
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
        tags: if suspended == (n == 1) { tags(&[("team", "blue")]) } else { Tags::default() },
        roles,
        grants_in: Default::default(),
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
    /// The same at the same revision, with roles that a credential of the request gives.
    extended: Vec<Participant>,
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
    extra: bool,
}

fn world() -> impl Strategy<Value = World> {
    let grant = (0u8..3, 0usize..6).prop_map(|(registration, role)| RoleGrant {
        registration: registration_id(registration),
        role: Role::ALL[role],
    });
    let more = proptest::collection::vec(grant.clone(), 3);
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
    let given = proptest::collection::vec(given(), 3);
    (registrations, participants, more, keys, given).prop_map(
        |(registrations, participants, more, keys, given)| {
            let keys = keys
                .into_iter()
                .zip(given)
                .zip(0u8..)
                .map(|((key, given), n)| Key { grants: grants(&participants, n, &given), ..key });
            let keys = keys.collect();
            let extend = |(mut participant, grant): (Participant, RoleGrant)| {
                participant.roles.push(grant);
                participant
            };
            let extended = participants.clone().into_iter().zip(more).map(extend).collect();
            World { revisions: (1, 1), registrations, participants, extended, keys }
        },
    )
}

/// Who, which actions (by number among those that can be granted), the hour it ends, its pairs.
type Given = (u8, Vec<usize>, Option<u8>, bool);

fn given() -> impl Strategy<Value = Vec<Given>> {
    let actions = proptest::collection::vec(0usize..100, 1..4);
    let end = proptest::option::weighted(0.4, 1u8..24);
    proptest::collection::vec((0u8..3, actions, end, proptest::bool::weighted(0.4)), 0..4)
}

fn hours(hour: u8) -> Timestamp {
    Timestamp::from_micros(TIME.as_micros() + i64::from(hour) * 3_600_000_000)
}

fn grants(participants: &[Participant], key: u8, given: &[Given]) -> Vec<Grant> {
    let all: Vec<_> = Action::ALL.iter().copied().filter(|action| action.grantable()).collect();
    let made = given.iter().enumerate().map(|(n, (who, actions, end, tenant))| {
        let actions = actions.iter().map(|n| all[n % all.len()]);
        let actions = actions.filter(|action| !tenant || action.uses_key()).collect::<Vec<_>>();
        let actions = if actions.is_empty() { vec![Action::KeysDecrypt] } else { actions };
        let pairs =
            if *tenant { [("tenant".to_owned(), "eu".to_owned())].into() } else { [].into() };
        let context = EncryptionContext::new(pairs).unwrap();
        let (end, note) = (end.map(hours), String::new());
        let before = Timestamp::from_micros(TIME.as_micros() - 1);
        let who = &participants[usize::from(*who)];
        let grant = Grant::new(who, actions, end, context, note, before).unwrap();
        let mut id = bytes(key);
        id[14] = u8::try_from(n).unwrap();
        Grant { id: GrantId::from_bytes(id), ..grant }
    });
    made.collect()
}

/// A grant written out as policies: one for each action, since a policy has one scope.
fn written(world: &World, key: &Key) -> Vec<(String, String)> {
    let mut policies = Vec::new();
    for grant in &key.grants {
        let who = world.participants.iter().find(|p| p.id == grant.participant).unwrap();
        let kind = match who.kind {
            ParticipantKind::User => "User",
            ParticipantKind::Service => "Service",
            ParticipantKind::Device => "Device",
        };
        for action in &grant.actions {
            let mut text = format!(
                "permit(principal == CipherHub::{kind}::\"{}\", \
                 action == CipherHub::Action::\"{action}\", resource == CipherHub::Key::\"{}\")",
                who.id, key.id
            );
            if let Some(end) = grant.expires {
                let end = end.to_string().replace("000Z", "Z");
                text += &format!(" when {{ context.caller.now < datetime(\"{end}\") }}");
            }
            for (name, value) in grant.context.iter() {
                let pairs = "context.encryptionContext";
                text += &format!(
                    " when {{ {pairs}.hasTag(\"{name}\") && {pairs}.getTag(\"{name}\") == \"{value}\" }}"
                );
            }
            policies.push((format!("grant.{}", grant.id), text + ";"));
        }
    }
    policies
}

fn ask() -> impl Strategy<Value = Ask> {
    let facts = (0u8..3, 0u8..24, 0u64..100_000, any::<bool>());
    (0u8..3, 0..Action::ALL.len(), 0u8..3, 0u8..3, facts, proptest::bool::weighted(0.3)).prop_map(
        |(participant, action, registration, key, facts, extra)| {
            let (address, hour, payload, tenant) = facts;
            let action = Action::ALL[action];
            Ask { participant, action, registration, key, address, hour, payload, tenant, extra }
        },
    )
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
    let member = prop_oneof![
        (0usize..groups.len()).prop_map(move |n| groups[n].to_owned()),
        (0..Action::ALL.len()).prop_map(|n| Action::ALL[n].to_string()),
    ];
    prop_oneof![
        1 => proptest::collection::vec(member, 0..4).prop_map(|members| {
            let list = members.iter().map(|m| format!("CipherHub::Action::\"{m}\""));
            format!("action in [{}]", list.collect::<Vec<_>>().join(", "))
        }),
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
        1 => Just("resource is CipherHub::Registration".to_owned()),
        1 => Just(format!("resource is CipherHub::Key in CipherHub::Hub::\"{}\"", hub())),
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
        "when { principal.hasTag(\"team\") }",
        "when { principal.hasTag(\"pci\") }",
        "when { resource.hasTag(\"pci\") }",
        "when { resource.registration.hasTag(\"pci\") }",
        "unless { resource.registration.hasTag(\"team\") }",
        "when { resource.registration.frozenByHub }",
        "unless { resource.registration.hub }",
        "when { resource.exportable || resource.algorithm == \"AES_256_GCM\" }",
        "when { action in [CipherHub::Action::\"UseKey\"] }",
        "when { context.caller.mutualTls }",
        "unless { context.caller.tls }",
        "when { context.caller has spiffeId && context.caller.spiffeId like \"spiffe://hub/*\" }",
        "when { context.caller.authMethod == CipherHub::AuthMethod::\"mtls\" }",
        "when { context.caller.sourceIp.isIpv6() }",
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
            participant: if ask.extra {
                &self.extended[usize::from(ask.participant)]
            } else {
                &self.participants[usize::from(ask.participant)]
            },
            revision: self.revisions.0,
            address: match ask.address {
                0 => PeerAddress::Unix,
                1 => PeerAddress::Ip([10, 1, 2, 3].into()),
                // An address of IPv4 in the form of IPv6 is the former.
                _ if ask.hour.is_multiple_of(3) => {
                    PeerAddress::Ip("::ffff:10.9.8.7".parse().unwrap())
                }
                _ if ask.hour.is_multiple_of(2) => PeerAddress::Ip("2001:db8::1".parse().unwrap()),
                _ => PeerAddress::Ip([192, 168, 1, 1].into()),
            },
            now: hours(ask.hour),
            method: if ask.tenant { AuthMethod::Mtls } else { AuthMethod::ApiKey },
            tls: ask.address == 1,
            mutual_tls: ask.address == 1 && ask.tenant,
            spiffe_id: (ask.address == 1).then_some("spiffe://hub/app"),
            extra_roles: ask.extra,
        }
    }

    /// The question, what a grant on the same key answers, and both with another context: what was
    /// remembered of one must not answer the other.
    fn about(&self, ask: Ask) -> Vec<Ask> {
        let grants = &self.keys[usize::from(ask.key)].grants;
        let granted = grants.get(usize::from(ask.hour) % grants.len().max(1)).map(|grant| {
            let who = self.participants.iter().position(|p| p.id == grant.participant).unwrap();
            let action = grant.actions[usize::from(ask.address) % grant.actions.len()];
            Ask { participant: u8::try_from(who).unwrap(), action, ..ask }
        });
        let all = std::iter::once(ask).chain(granted);
        all.flat_map(|one| [one, Ask { hour: 23 - one.hour, tenant: !one.tenant, ..one }]).collect()
    }

    /// Every policy there is, the grants among them, with the ids these have in entries.
    fn policies(&self, bundle: &Bundle) -> (PolicySet, Vec<(String, String)>, Arc<str>) {
        let mut set =
            PolicySet::from_policies(bundle.policies.iter().map(|p| p.policy.clone())).unwrap();
        // One id for all actions of a grant: of two policies of it, one at most is for this action.
        let mut numbered = Vec::new();
        for (n, (id, text)) in self.keys.iter().flat_map(|key| written(self, key)).enumerate() {
            let unique = format!("written.{n}");
            set.add(Policy::parse(Some(PolicyId::new(&unique)), &text).unwrap()).unwrap();
            numbered.push((unique, id));
        }
        (set, numbered, Arc::clone(&bundle.revision))
    }

    /// Every entity there is, and one evaluation of every policy there is.
    fn whole(
        &self,
        policies: &Policies,
        (set, numbered, revision): &(PolicySet, Vec<(String, String)>, Arc<str>),
        ask: Ask,
        facts: &RequestFacts<'_>,
    ) -> Outcome {
        let engine = policies.engine();
        let (words, hub) = (engine.words, &engine.hub);
        let (asker, target) = (self.asker(ask), self.target(ask));
        let (said, extra) = plain::context(words, &asker, ask.action, facts).unwrap();
        let mut list: Vec<_> = extra.into_iter().collect();
        let others = self.participants.iter().filter(|p| p.id != asker.participant.id);
        let everybody = others.chain(std::iter::once(asker.participant));
        list.extend(everybody.map(|p| plain::participant(hub, words, p).unwrap()));
        let registrations = self.registrations.iter().map(|f| &f.registration);
        list.extend(registrations.map(|r| plain::registration(hub, words, r).unwrap()));
        list.extend(self.keys.iter().map(|k| plain::key(words, k).unwrap()));
        list.push(plain::hub_entity(words, hub).unwrap());
        let all = Entities::from_entities(list, Some(&words.schema)).unwrap();
        let request = plain::request(hub, words, asker.participant, ask.action, &target, said);
        let request = request.unwrap();
        let mut votes = Votes::default();
        votes.add(&Authorizer::new().is_authorized(&request, set, &all));
        for permit in &mut votes.permits {
            if let Some((_, id)) = numbered.iter().find(|(unique, _)| **unique == **permit) {
                *permit = id.as_str().into();
            }
        }
        votes.outcome(revision)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn slices_and_memo_change_nothing(
        before in world(),
        other in world(),
        changed in 0u8..3,
        extra in extra(),
        asks in proptest::collection::vec(ask(), 1..6),
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
            0 => {
                (after.participants, after.extended) = (other.participants, other.extended);
                after.revisions.0 = 2;
                // What was granted stays granted: the ids are the same, the kinds of participants
                // are not, and a participant's kind never changes.
                let all = after.participants.iter_mut().zip(&mut after.extended);
                for ((now, too), then) in all.zip(&before.participants) {
                    (now.kind, too.kind) = (then.kind, then.kind);
                }
            }
            1 => (after.keys, after.revisions.1) = (other.keys, 2),
            _ => {
                after.registrations = other.registrations;
                after.registrations.iter_mut().for_each(|facts| facts.revision = 2);
            }
        }
        // Each twice, so that the second round meets what the first one left in the memo.
        let (first, then) = (before.policies(&bundle), after.policies(&bundle));
        for (world, set) in [(&before, &first), (&before, &first), (&after, &then), (&after, &then)] {
            // Each also with roles of the other kind, which must not meet what was remembered.
            let other = |ask: &Ask| Ask { extra: !ask.extra, ..*ask };
            let asks = asks.iter().flat_map(|ask| [*ask, other(ask)]);
            for ask in &asks.flat_map(|ask| world.about(ask)).collect::<Vec<_>>() {
                let facts = RequestFacts {
                    encryption_context: ask.tenant.then_some(&tenant),
                    payload_bytes: ask.payload,
                };
                let (asker, target) = (world.asker(*ask), world.target(*ask));
                let sliced = policies.outcome(&asker, ask.action, &target, &facts);
                let whole = world.whole(&policies, set, *ask, &facts);
                prop_assert_eq!(sliced, whole, "{:?}", ask);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn what_is_sure_without_the_context_is_so_in_every_context(
        world in world(),
        extra in extra(),
        asks in proptest::collection::vec(ask(), 1..4),
        others in proptest::collection::vec(ask(), 6),
    ) {
        let files = [("local.cedar", text(&extra))];
        let bundle = Bundle::compile(files, Checks::NamesOnly).unwrap();
        let policies = Policies::unchecked(bundle, hub(), registration_id(0)).unwrap();
        let policies = Arc::new(policies);
        let mut survey = Survey::new(Arc::clone(&policies));
        let pairs = [("tenant".to_owned(), "eu".to_owned())];
        let tenant = EncryptionContext::new(pairs.into()).unwrap();
        for ask in &asks.iter().flat_map(|ask| world.about(*ask)).collect::<Vec<_>>() {
            let target = world.target(*ask);
            let prospect = survey.prospect_of(&world.asker(*ask), ask.action, &target).unwrap();
            let reads = !extra.is_empty()
                || world.keys.iter().any(|key| key.grants.iter().any(Grant::is_conditional));
            prop_assert!(reads || prospect.certainty != Certainty::Conditional);
            prop_assert_eq!(
                prospect.conditions.is_empty(),
                prospect.certainty != Certainty::Conditional
            );
            for context in &others {
                // The same question, asked from elsewhere, with other data.
                let (participant, action) = (ask.participant, ask.action);
                let (registration, key) = (ask.registration, ask.key);
                let extra = ask.extra;
                let there = Ask { participant, action, registration, key, extra, ..*context };
                // A grant that has ended is no prospect any more; later is what can still come.
                let there = Ask { hour: there.hour.max(ask.hour), ..there };
                let facts = RequestFacts {
                    encryption_context: there.tenant.then_some(&tenant),
                    payload_bytes: there.payload,
                };
                let outcome = policies.outcome(&world.asker(there), action, &target, &facts);
                match prospect.certainty {
                    Certainty::Always => prop_assert!(outcome.permitted, "{:?}", there),
                    Certainty::Never => prop_assert!(!outcome.permitted, "{:?}", there),
                    Certainty::Conditional => {}
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Each policy alone, by Cedar's authorizer over entities made by its public constructors, and
    /// by its evaluator over ours: whether it holds, and which error it is.
    #[test]
    fn the_evaluator_says_what_the_authorizer_says(
        world in world(),
        extra in extra(),
        asks in proptest::collection::vec(ask(), 1..6),
    ) {
        let files = [("local.cedar", text(&extra))];
        let bundle = Bundle::compile(files, Checks::NamesOnly).unwrap();
        let engine = Engine::new(hub(), registration_id(0)).unwrap();
        let (words, hub) = (engine.words, &engine.hub);
        let pairs = [("tenant".to_owned(), "eu".to_owned())];
        let tenant = EncryptionContext::new(pairs.into()).unwrap();
        for ask in asks.iter().flat_map(|ask| world.about(*ask)) {
            let facts = RequestFacts {
                encryption_context: ask.tenant.then_some(&tenant),
                payload_bytes: ask.payload,
            };
            let (asker, target) = (world.asker(ask), world.target(ask));
            let participant = asker.participant;
            let (plainly, pairs) = plain::context(words, &asker, ask.action, &facts).unwrap();
            let theirs = plain::entities(hub, words, participant, ask.action, &target).unwrap();
            let theirs = Entities::from_entities(theirs.into_iter().chain(pairs), None).unwrap();
            let request =
                plain::request(hub, words, participant, ask.action, &target, plainly.clone());
            let request = request.unwrap();

            let (said, pairs) = context(words, &asker, ask.action, &facts).unwrap();
            prop_assert_eq!(&plainly, &cedar_policy::Context::from(said.clone()));
            let ours = hub.entities(words, participant, ask.action, &target, None).unwrap();
            let entities = joined(ours.entities.clone(), pairs.map(Arc::new)).unwrap();
            prop_assert!(Entities::from(entities.clone()).deep_eq(&theirs));
            let judge = Judge::new(ours.request(said), &entities);

            for (parsed, scope) in bundle.policies.iter().zip(&bundle.index.scopes) {
                let set = PolicySet::from_policies([parsed.policy.clone()]).unwrap();
                let mut upstream = Votes::default();
                upstream.add(&Authorizer::new().is_authorized(&request, &set, &theirs));
                let mut whole = Votes::default();
                judge.ask([&Rule::whole(&parsed.policy)], &mut whole);
                prop_assert_eq!(&upstream, &whole, "{} {:?}", &parsed.policy, ask);
                // Without the action, where the index files the policy under it.
                if scope.actions.contains(&ask.action) {
                    let mut filed = Votes::default();
                    judge.ask([&Rule::for_its_actions(&parsed.policy)], &mut filed);
                    prop_assert_eq!(&upstream, &filed, "{} {:?}", &parsed.policy, ask);
                } else {
                    prop_assert_eq!(&upstream, &Votes::default());
                }
            }
        }
    }
}

#[test]
fn the_baseline_reads_no_context() {
    let bundle = Bundle::baseline().unwrap();
    assert!((0..bundle.policies.len()).all(|at| !bundle.index.reads_context(at)));
}

fn prospect(policy: &str, environment: Environment, roles: &[Role]) -> Prospect {
    let bundle = Bundle::parse([("local.cedar", policy)]).unwrap();
    let policies = Arc::new(Policies::new(bundle, hub(), registration_id(0)).unwrap());
    let facts = registration(1, environment, false);
    let key = key(1, 1, KeyState::Active, Tags::default());
    let roles =
        roles.iter().map(|role| RoleGrant { registration: registration_id(1), role: *role });
    let somebody = participant(1, ParticipantKind::Service, roles.collect(), false);
    let target = Target::Key { key: &key, revision: 1, registration: &facts };
    let asker = Asker {
        participant: &somebody,
        revision: 1,
        address: PeerAddress::Unix,
        now: TIME,
        method: AuthMethod::ApiKey,
        tls: false,
        mutual_tls: false,
        spiffe_id: None,
        extra_roles: false,
    };
    Survey::new(policies).prospect_of(&asker, Action::KeysEncrypt, &target).unwrap()
}

#[test]
fn a_policy_that_begins_with_what_does_not_hold_makes_nothing_conditional() {
    let guard = "@id(\"net\") forbid(principal, action in CipherHub::Action::\"UseKey\", \
                 resource is CipherHub::Key) \
                 when { resource.registration.environment == CipherHub::Environment::\"production\" \
                 && context.caller.tls == false };";
    let said = |environment, roles: &[Role]| {
        let found = prospect(guard, environment, roles);
        let list =
            |ids: &[Arc<str>]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        (found.certainty, list(&found.policies), list(&found.conditions), found.from_here)
    };
    let (app, none) = ("role.app".to_owned(), String::new());
    assert_eq!(
        said(Environment::Dev, &[Role::Apps]),
        (Certainty::Always, app.clone(), none.clone(), true)
    );
    assert_eq!(
        said(Environment::Production, &[Role::Apps]),
        (Certainty::Conditional, app, "net".to_owned(), false)
    );
    assert_eq!(said(Environment::Production, &[]), (Certainty::Never, none.clone(), none, false));
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
        extra_roles: false,
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
        extended: Vec::new(),
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
        extra: false,
    };
    let (asker, facts) = (world.asker(ask), RequestFacts::default());
    let first = policies.outcome(&asker, ask.action, &Target::Hub, &facts);
    let second = policies.outcome(&asker, ask.action, &Target::Hub, &facts);
    assert!(first.permitted && Arc::ptr_eq(&first.trace, &second.trace));
    policies.activate(Bundle::baseline().unwrap()).unwrap();
    let third = policies.outcome(&asker, ask.action, &Target::Hub, &facts);
    assert!(third.permitted && !Arc::ptr_eq(&first.trace, &third.trace));
}
