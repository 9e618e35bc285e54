//! No set becomes active under which nobody could run the hub.
//!
//! A made-up member of `hub/admins` asks for what an administrator needs, in every way a request
//! can arrive: over the network and the Unix socket, with each method, now and at every hour of the
//! week to come, as each participant and from each address that a policy names. One permit is
//! enough: it shows that some administrator could get in, not that one of yours can.

use std::net::{IpAddr, Ipv4Addr};

use hub_model::clock::SystemClock;
use hub_model::principal::PeerAddress;
use hub_model::{
    Action, AuthMethod, Clock as _, HubId, Name, Participant, ParticipantId, ParticipantKind,
    RegistrationId, Role, RoleGrant, Tags, Timestamp,
};

use crate::Error;
use crate::bundle::Bundle;
use crate::decide::{Asker, Engine, RequestFacts, Target};
use crate::memo::Outcome;

/// What an administrator must be able to do.
const NEEDED: [Action; 4] = [
    Action::RegistrationsCreate,
    Action::PoliciesExplain,
    // Without these no set could ever replace this one, but by a restart with other settings.
    Action::PoliciesPropose,
    Action::PoliciesActivate,
];
/// Methods a request can come with.
const METHODS: [AuthMethod; 5] = AuthMethod::ALL;
/// Whether a request can come over mutual TLS.
const MUTUAL_TLS: [bool; 2] = [false, true];
/// Most principals and addresses taken from the policies.
const MOST: usize = 16;
const HOUR: i64 = 3_600_000_000;
const HOURS: i64 = 7 * 24;

/// Checks a set for the hub of `engine`; without one, for some hub.
pub(crate) fn check(bundle: &Bundle, engine: Option<&Engine>) -> Result<(), Error> {
    // What a set permitted once, or will only some day, lets nobody in.
    check_at(bundle, engine, SystemClock.now())
}

fn check_at(bundle: &Bundle, engine: Option<&Engine>, now: Timestamp) -> Result<(), Error> {
    let made_up;
    let engine = match engine {
        Some(engine) => engine,
        None => {
            made_up = Engine::new(HubId::generate(), RegistrationId::generate())?;
            &made_up
        }
    };
    let admins = admins(bundle, engine, now);
    for action in NEEDED {
        let mut denied: Option<Outcome> = None;
        if !attempts(bundle, &admins, now).any(|asker| {
            let facts = RequestFacts::default();
            let outcome = engine.decide(bundle, &asker, action, &Target::Hub, &facts, None).0;
            let permitted = outcome.permitted;
            denied.get_or_insert(outcome);
            permitted
        }) {
            let trace = denied.map(|outcome| outcome.trace);
            let by = trace.iter().flat_map(|t| t.policies.iter().chain(&t.errors));
            let by = by.map(ToString::to_string).collect();
            return Err(Error::LockOut { action: action.name(), by });
        }
    }
    Ok(())
}

/// The end of the message: what to look at.
pub(crate) fn blame(by: &[String]) -> String {
    if by.is_empty() { String::new() } else { format!(" (see {})", by.join(", ")) }
}

/// Members of `hub/admins`: new ones, and those that policies name.
fn admins(bundle: &Bundle, engine: &Engine, time: Timestamp) -> Vec<Participant> {
    let Ok(name) = "admin".parse::<Name>() else { return Vec::new() };
    let new = [ParticipantKind::User, ParticipantKind::Service, ParticipantKind::Device]
        .map(|kind| (kind, ParticipantId::generate()));
    let named = bundle.policies.iter().flat_map(|p| p.policy.entity_literals()).filter_map(|uid| {
        let kind = new.iter().map(|(kind, _)| *kind);
        let kind = kind.into_iter().find(|k| engine.words.participant(*k) == uid.type_name())?;
        Some((kind, uid.id().unescaped().parse().ok()?))
    });
    let all = new.iter().copied().chain(named.take(MOST));
    all.map(|(kind, id)| Participant {
        id,
        registration: engine.hub.registration,
        name: name.clone(),
        kind,
        suspended: false,
        tags: Tags::default(),
        roles: vec![RoleGrant { registration: engine.hub.registration, role: Role::Admins }],
        grants_in: Default::default(),
        created: time,
        updated: time,
        generation: 1,
    })
    .collect()
}

/// Every way a request can arrive, the likeliest first.
fn attempts<'a>(
    bundle: &Bundle,
    admins: &'a [Participant],
    begin: Timestamp,
) -> impl Iterator<Item = Asker<'a>> + use<'a> {
    let usual = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))];
    let named = bundle.policies.iter().flat_map(|p| addresses(&p.info.text)).take(MOST);
    let mut places = vec![PeerAddress::Unix];
    places.extend(usual.into_iter().chain(named).map(PeerAddress::Ip));
    // What no policy names makes no difference, and need not be tried in every way.
    let named = |word: &str| bundle.policies.iter().any(|p| p.info.text.contains(word));
    let hours = if named("now") { 1 + HOURS } else { 1 };
    let methods = METHODS.into_iter().take(if named("authMethod") { METHODS.len() } else { 1 });
    let mutual = MUTUAL_TLS.into_iter().take(if named("mutualTls") { 2 } else { 1 });
    let methods: Vec<AuthMethod> = methods.collect();
    let mutual: Vec<bool> = mutual.collect();
    (0..hours).flat_map(move |hour| {
        let now = if hour == 0 { begin } else { full_hour(begin, hour) };
        let (places, methods, mutual) = (places.clone(), methods.clone(), mutual.clone());
        places.into_iter().flat_map(move |address| {
            let mutual = mutual.clone();
            methods.clone().into_iter().flat_map(move |method| {
                mutual.clone().into_iter().flat_map(move |mutual_tls| {
                    // Mutual TLS needs TLS, and a certificate that identifies is one.
                    let unix = address == PeerAddress::Unix;
                    let by_certificate = method == AuthMethod::Mtls;
                    let possible = !(mutual_tls && unix) && (mutual_tls || !by_certificate);
                    let admins = if possible { admins } else { &[] };
                    admins.iter().map(move |participant| Asker {
                        participant,
                        revision: 0,
                        address,
                        now,
                        method,
                        tls: address != PeerAddress::Unix,
                        mutual_tls,
                        spiffe_id: None,
                        extra_roles: false,
                    })
                })
            })
        })
    })
}

/// The beginning of an hour; 1 is the next one.
fn full_hour(begin: Timestamp, hour: i64) -> Timestamp {
    let micros = begin.as_micros();
    let past = micros.rem_euclid(HOUR);
    Timestamp::from_micros(micros.saturating_sub(past).saturating_add(hour.saturating_mul(HOUR)))
}

/// The addresses in `ip("…")` literals of a policy; of a range, its first.
fn addresses(text: &str) -> impl Iterator<Item = IpAddr> {
    text.split("ip(\"").skip(1).filter_map(|rest| {
        let literal = rest.split('"').next()?;
        literal.split('/').next()?.parse().ok()
    })
}
