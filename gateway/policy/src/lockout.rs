//! No set becomes active under which nobody could run the hub.
//!
//! A made-up member of `hub/admins` asks for what an administrator needs, in every way a request
//! can arrive: over the network and the Unix socket, with each method, at every hour of a week, as
//! each participant and from each address that a policy names. One permit is enough.

use std::net::{IpAddr, Ipv4Addr};

use hub_model::principal::PeerAddress;
use hub_model::{
    Action, AuthMethod, HubId, Name, Participant, ParticipantId, ParticipantKind, RegistrationId,
    Role, RoleGrant, Tags, Timestamp,
};

use crate::Error;
use crate::bundle::Bundle;
use crate::decide::{Asker, Engine, RequestFacts, Target};
use crate::memo::Outcome;

/// What an administrator must be able to do.
const NEEDED: [Action; 2] = [Action::RegistrationsCreate, Action::PoliciesExplain];
/// Methods a request can come with.
const METHODS: [AuthMethod; 5] = AuthMethod::ALL;
/// Whether a request can come over mutual TLS.
const MUTUAL_TLS: [bool; 2] = [false, true];
/// Most principals and addresses taken from the policies.
const MOST: usize = 16;
/// 2026-01-05T00:00:00Z, a Monday.
const MONDAY: i64 = 1_767_571_200_000_000;
const HOUR: i64 = 3_600_000_000;
const HOURS: i64 = 7 * 24;

/// Checks a set for the hub of `engine`; without one, for some hub.
pub(crate) fn check(bundle: &Bundle, engine: Option<&Engine>) -> Result<(), Error> {
    let made_up;
    let engine = match engine {
        Some(engine) => engine,
        None => {
            made_up = Engine::new(HubId::generate(), RegistrationId::generate())?;
            &made_up
        }
    };
    let admins = admins(bundle, engine);
    for action in NEEDED {
        let mut denied: Option<Outcome> = None;
        if !attempts(bundle, &admins).any(|asker| {
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
fn admins(bundle: &Bundle, engine: &Engine) -> Vec<Participant> {
    let Ok(name) = "admin".parse::<Name>() else { return Vec::new() };
    let new = [ParticipantKind::User, ParticipantKind::Service, ParticipantKind::Device]
        .map(|kind| (kind, ParticipantId::generate()));
    let named = bundle.policies.iter().flat_map(|p| p.policy.entity_literals()).filter_map(|uid| {
        let kind = new.iter().map(|(kind, _)| *kind);
        let kind = kind.into_iter().find(|k| engine.words.participant(*k) == uid.type_name())?;
        Some((kind, uid.id().unescaped().parse().ok()?))
    });
    let time = Timestamp::from_micros(MONDAY);
    let all = new.iter().copied().chain(named.take(MOST));
    all.map(|(kind, id)| Participant {
        id,
        registration: engine.hub.registration,
        name: name.clone(),
        kind,
        suspended: false,
        tags: Tags::default(),
        roles: vec![RoleGrant { registration: engine.hub.registration, role: Role::Admins }],
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
) -> impl Iterator<Item = Asker<'a>> + use<'a> {
    let usual = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))];
    let named = bundle.policies.iter().flat_map(|p| addresses(&p.info.text)).take(MOST);
    let mut places = vec![PeerAddress::Unix];
    places.extend(usual.into_iter().chain(named).map(PeerAddress::Ip));
    // What no policy names makes no difference, and need not be tried in every way.
    let named = |word: &str| bundle.policies.iter().any(|p| p.info.text.contains(word));
    let hours = if named("now") { HOURS } else { 1 };
    let methods = METHODS.into_iter().take(if named("authMethod") { METHODS.len() } else { 1 });
    let mutual = MUTUAL_TLS.into_iter().take(if named("mutualTls") { 2 } else { 1 });
    let methods: Vec<AuthMethod> = methods.collect();
    let mutual: Vec<bool> = mutual.collect();
    (0..hours).flat_map(move |hour| {
        let now = Timestamp::from_micros(MONDAY.saturating_add(hour.saturating_mul(HOUR)));
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
                    })
                })
            })
        })
    })
}

/// The addresses in `ip("…")` literals of a policy; of a range, its first.
fn addresses(text: &str) -> impl Iterator<Item = IpAddr> {
    text.split("ip(\"").skip(1).filter_map(|rest| {
        let literal = rest.split('"').next()?;
        literal.split('/').next()?.parse().ok()
    })
}
