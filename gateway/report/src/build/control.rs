//! Destruction, dual control, custody.

use std::collections::BTreeSet;

use hub_model::{Origin, Timestamp};

use super::Names;
use super::inventory::days;
use crate::document::{
    Certificate, Control, Custody, Destruction, Happening, Happenings, RevisionControl,
};
use crate::facts::Facts;
use crate::trail::{End, Revision, Trail};

/// What verifying a log does not prove.
pub(super) const LIMITS: &[&str] = &[
    "whoever holds the signing key can, from some moment on, sign another log: hold this \
     checkpoint against those of witnesses, of earlier reports and of exports",
    "names are those of the time of the report; entries hold uids, and a name may have stood for \
     another uid before",
    "keys, participants, rights and counters are the hub's answers at the time of the report, not \
     entries of the log",
];

/// What the hub does not enforce.
pub(super) const NOT_ENFORCED: &[&str] = &[
    "no operation waits for the approval of a second person: there is no quorum in this version",
    "whoever may propose a policy revision may also activate it; a policy of your own can part \
     the two",
    "a destruction is asked for by one person; its waiting period of 7 days at least is what \
     allows others to cancel it",
    "an export of key material is asked for by one person, of keys that were made exportable",
    "owners may give roles and grants to themselves; each is an entry of the log",
];

pub(super) fn destruction(trail: &Trail, names: &Names) -> Destruction {
    let certificates: Vec<_> = trail
        .ends
        .iter()
        .filter(|(_, end)| told(trail, end))
        .map(|((key, version), end)| certificate(key, *version, end, names))
        .collect();
    let many = |state: &str| {
        let which = certificates.iter().filter(|one| one.state == state);
        u64::try_from(which.count()).unwrap_or(u64::MAX)
    };
    Destruction { destroyed: many("destroyed"), waiting: many("scheduled"), certificates }
}

/// Whether something of it happened in the window, or it waits.
fn told(trail: &Trail, end: &End) -> bool {
    let within = |what: &Option<Happening>| what.as_ref().is_some_and(|it| trail.within(&it.time));
    let waits = end.destroyed.is_none() && end.cancelled.is_none() && end.scheduled.is_some();
    waits || within(&end.destroyed) || within(&end.cancelled)
}

fn certificate(key: &str, version: Option<u32>, end: &End, names: &Names) -> Certificate {
    let time = |what: &Option<Happening>| {
        what.as_ref().and_then(|what| what.time.parse::<Timestamp>().ok())
    };
    let waited = match (time(&end.scheduled), time(&end.destroyed)) {
        (Some(scheduled), Some(destroyed)) => Some(days(destroyed.since(scheduled))),
        _ => None,
    };
    let on = |what: &Option<Happening>| what.as_ref().map(|what| names.on(what));
    Certificate {
        key: key.to_owned(),
        key_name: names.get(key),
        version,
        state: match (&end.destroyed, &end.cancelled) {
            (Some(_), _) => "destroyed",
            (None, Some(_)) => "cancelled",
            (None, None) => "scheduled",
        },
        scheduled: on(&end.scheduled),
        cancelled: on(&end.cancelled),
        destroyed: on(&end.destroyed),
        waited_days: waited,
    }
}

pub(super) fn control(trail: &Trail, destruction: &Destruction, names: &Names) -> Control {
    let revisions = trail
        .revisions
        .iter()
        .filter(|(_, revision)| {
            let mut all = revision.proposed.iter().chain(&revision.activated);
            all.any(|one| trail.within(&one.time))
        })
        .map(|(name, revision)| of_revision(name, revision, names))
        .collect();
    let destroyed = || destruction.certificates.iter().filter(|one| one.state == "destroyed");
    let many = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let exports = trail.transfers.iter().filter(|one| one.action == "keys.export").count();
    Control {
        revisions,
        destructions_waited: many(destroyed().filter(|one| one.scheduled.is_some()).count()),
        destructions_unexplained: many(destroyed().filter(|one| one.scheduled.is_none()).count()),
        exports: many(exports),
        self_grants: names.list(&trail.self_grants),
        not_enforced: NOT_ENFORCED,
    }
}

fn of_revision(name: &str, revision: &Revision, names: &Names) -> RevisionControl {
    let proposer = revision.proposed.as_ref().and_then(|one| one.by.as_deref());
    let two_people = proposer.filter(|_| !revision.activated.is_empty()).and_then(|proposer| {
        let who: Option<BTreeSet<_>> =
            revision.activated.iter().map(|one| one.by.as_deref()).collect();
        who.map(|who| !who.contains(proposer))
    });
    RevisionControl {
        revision: name.to_owned(),
        proposed: revision.proposed.as_ref().map(|one| names.on(one)),
        activated: revision.activated.iter().map(|one| names.on(one)).collect(),
        two_people,
    }
}

pub(super) fn custody(facts: &Facts, trail: &Trail, names: &Names) -> Custody {
    let (mut exportable, mut imported) = (Vec::new(), Vec::new());
    for registration in &facts.registrations {
        for key in &registration.keys {
            let name = format!("{}/{}", registration.name, key.view.name);
            if key.view.exportable {
                exportable.push(name.clone());
            }
            let from_outside = key.view.origin == Origin::Imported
                || key.versions.iter().any(|version| version.origin == Origin::Imported);
            if from_outside {
                imported.push(name);
            }
        }
    }
    let transfers = names.list(&trail.transfers);
    let system: Happenings = names.list(&trail.system);
    Custody { exportable, imported, transfers, system }
}
