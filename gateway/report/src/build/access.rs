//! Access review: who could use which key by policy, and who did by the log.

use std::collections::{BTreeMap, BTreeSet};

use hub_model::api::access::{ActionAccess, Prospect};
use hub_model::api::participant::CredentialView;
use hub_model::{Action, Timestamp};

use super::inventory::days;
use super::{Names, word};
use crate::document::{
    AccessReview, Could, CredentialLine, DidLine, GrantLine, KeyUse, Open, Person,
};
use crate::facts::{Facts, PersonFacts, RegistrationFacts};
use crate::trail::Trail;

/// A credential nobody used for so long is idle.
const IDLE_DAYS: u32 = 90;

/// What one did with keys, by key.
type Done = BTreeMap<String, Vec<DidLine>>;

pub(super) fn reviews(facts: &Facts, trail: Option<&Trail>, names: &Names) -> Vec<AccessReview> {
    facts
        .registrations
        .iter()
        .map(|registration| review(registration, facts.generated, trail, names))
        .collect()
}

fn review(
    registration: &RegistrationFacts,
    now: Timestamp,
    trail: Option<&Trail>,
    names: &Names,
) -> AccessReview {
    let mut did = done_in(registration, trail);
    let mut people: Vec<_> = registration
        .people
        .iter()
        .map(|person| {
            let done = did.remove(&person.member.uid.to_string()).unwrap_or_default();
            known(registration, person, done, now, trail.is_some(), names)
        })
        .collect();
    // Whoever is left acted here and is no participant of ours now.
    people.extend(did.into_iter().map(|(uid, done)| {
        Person {
            name: names.get(&uid),
            uid,
            kind: None,
            suspended: false,
            log_only: true,
            roles: Vec::new(),
            credentials: None,
            grants: Vec::new(),
            rights_known: false,
            here: Vec::new(),
            keys: done
                .into_iter()
                .map(|(key, did)| KeyUse {
                    name: names.get(&key),
                    key,
                    could: Vec::new(),
                    did,
                    unused: Vec::new(),
                })
                .collect(),
        }
    }));
    AccessReview {
        registration: registration.uid.clone(),
        name: registration.name.clone(),
        people,
        open_to_others: registration.keys.iter().filter_map(open).collect(),
    }
}

fn open(key: &crate::facts::KeyFacts) -> Option<Open> {
    let mut policies = key.others.as_ref().map(by).unwrap_or_default();
    policies.extend(key.elsewhere.iter().cloned());
    (!policies.is_empty()).then(|| Open { key: key.view.name.to_string(), policies })
}

fn done_in(registration: &RegistrationFacts, trail: Option<&Trail>) -> BTreeMap<String, Done> {
    let mut people: BTreeMap<String, Done> = BTreeMap::new();
    for ((at, who, key, action), did) in trail.iter().flat_map(|trail| trail.did.iter()) {
        if *at != registration.uid {
            continue;
        }
        people.entry(who.clone()).or_default().entry(key.clone()).or_default().push(DidLine {
            action: action.clone(),
            done: did.done,
            denied: did.denied,
            failed: did.failed,
            first: did.first.clone(),
            last: did.last.clone(),
        });
    }
    people
}

fn known(
    registration: &RegistrationFacts,
    person: &PersonFacts,
    mut done: Done,
    now: Timestamp,
    with_log: bool,
    names: &Names,
) -> Person {
    let uid = person.member.uid.to_string();
    let mut keys = Vec::new();
    for access in person.keys.iter().flatten() {
        let key = access.key.to_string();
        let did = done.remove(&key).unwrap_or_default();
        let used: BTreeSet<_> =
            did.iter().filter(|line| line.done > 0).map(|line| line.action.as_str()).collect();
        let could: Vec<_> = access.actions.iter().map(could).collect();
        let unused = could
            .iter()
            .filter(|could| with_log && uses(&could.action))
            .filter(|could| !used.contains(could.action.as_str()))
            .map(|could| could.action.clone())
            .collect();
        if could.is_empty() && did.is_empty() {
            continue;
        }
        keys.push(KeyUse { key, name: Some(access.name.to_string()), could, did, unused });
    }
    // Keys that were used and are out of reach now, or whose rights could not be read.
    keys.extend(done.into_iter().map(|(key, did)| KeyUse {
        name: names.get(&key),
        key,
        could: Vec::new(),
        did,
        unused: Vec::new(),
    }));
    Person {
        name: Some(format!("{}/{}", person.member.registration, person.member.name)),
        kind: Some(word(&person.member.kind)),
        suspended: person.suspended,
        log_only: false,
        roles: person.roles.clone(),
        credentials: person
            .credentials
            .as_ref()
            .map(|all| all.iter().map(|one| credential(one, now)).collect()),
        grants: grants(registration, &uid),
        rights_known: person.keys.is_some(),
        here: person.here.iter().flatten().map(could).collect(),
        keys,
        uid,
    }
}

fn uses(action: &str) -> bool {
    action.parse::<Action>().is_ok_and(Action::uses_key)
}

fn could(access: &ActionAccess) -> Could {
    Could {
        action: access.action.clone(),
        decision: access.prospect.decision.name(),
        by: by(&access.prospect),
    }
}

fn by(prospect: &Prospect) -> Vec<String> {
    prospect.policies.iter().chain(&prospect.conditions).cloned().collect()
}

fn credential(one: &CredentialView, now: Timestamp) -> CredentialLine {
    let state = match one.revoke_time {
        Some(_) => "revoked",
        None if one.expire_time <= now => "expired",
        None => "good",
    };
    let used = one.last_use_time.unwrap_or(one.create_time);
    CredentialLine {
        uid: one.uid.to_string(),
        method: word(&one.method),
        label: one.label.clone(),
        created: one.create_time,
        expires: one.expire_time,
        state,
        last_use: one.last_use_time,
        idle: state == "good" && days(now.since(used)) > IDLE_DAYS,
    }
}

fn grants(registration: &RegistrationFacts, uid: &str) -> Vec<GrantLine> {
    let mut all = Vec::new();
    for key in &registration.keys {
        for grant in key.grants.iter().filter(|grant| grant.participant.uid.to_string() == uid) {
            all.push(GrantLine {
                uid: grant.uid.to_string(),
                key: key.view.name.to_string(),
                actions: grant.actions.iter().map(|action| action.name().to_owned()).collect(),
                note: grant.note.clone(),
                created: grant.create_time,
                expires: grant.expire_time,
                expired: grant.expired,
            });
        }
    }
    all
}
