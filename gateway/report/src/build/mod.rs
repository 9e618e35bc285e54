//! From facts and trail to the document.

mod access;
mod control;
mod inventory;
mod pci;

use std::collections::{BTreeMap, BTreeSet};

use hub_model::Timestamp;

use crate::Kind;
use crate::cryptoperiod::Cryptoperiods;
use crate::document::{
    Activity, Changes, Denials, FORMAT, Happening, Happenings, Integrity, Log, RegistrationLine,
    Report, VERSION, in_order, most_first,
};
use crate::facts::{Facts, Missing};
use crate::trail::{Newest, Trail};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which reports.
    pub kinds: BTreeSet<Kind>,
    /// From when on events count.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// How long keys may protect.
    pub cryptoperiods: Cryptoperiods,
}

/// Names of uids, as they are now.
pub(crate) struct Names(BTreeMap<String, String>);

impl Names {
    fn of(facts: &Facts) -> Self {
        let mut names = BTreeMap::new();
        for registration in &facts.registrations {
            names.insert(registration.uid.clone(), registration.name.clone());
            for key in &registration.keys {
                let name = format!("{}/{}", registration.name, key.view.name);
                names.insert(key.view.uid.to_string(), name);
            }
            for person in &registration.people {
                let member = &person.member;
                let name = format!("{}/{}", member.registration, member.name);
                names.insert(member.uid.to_string(), name);
            }
        }
        Self(names)
    }

    pub(crate) fn get(&self, uid: &str) -> Option<String> {
        self.0.get(uid).cloned()
    }

    /// The name, else the uid.
    pub(crate) fn or_uid(&self, uid: &str) -> String {
        self.get(uid).unwrap_or_else(|| uid.to_owned())
    }

    pub(crate) fn on(&self, happening: &Happening) -> Happening {
        let name = |uid: &Option<String>| uid.as_deref().and_then(|uid| self.get(uid));
        Happening {
            by_name: name(&happening.by),
            registration_name: name(&happening.registration),
            key_name: name(&happening.key),
            participant_name: name(&happening.participant),
            ..happening.clone()
        }
    }

    fn list(&self, newest: &Newest) -> Happenings {
        let items: Vec<_> = newest.iter().map(|one| self.on(one)).collect();
        let shown = u64::try_from(items.len()).unwrap_or(u64::MAX);
        Happenings { items, omitted: newest.all.saturating_sub(shown) }
    }
}

/// Makes the document. `log` is where the trail comes from; without both, the reports that need
/// the log say so.
#[must_use]
pub fn build(facts: &Facts, trail: Option<(&Trail, Log)>, options: &Options) -> Report {
    let names = Names::of(facts);
    let wants = |kind| options.kinds.contains(&kind);
    let mut missing = facts.missing.clone();
    let (trail, log) = match trail {
        Some((trail, log)) => (Some(trail), Some(log)),
        None => (None, None),
    };
    if trail.is_none() {
        let without: Vec<_> =
            options.kinds.iter().filter(|kind| kind.needs_log()).map(|kind| kind.name()).collect();
        if !without.is_empty() {
            missing.push(Missing {
                what: format!("everything the audit log says, in {}", without.join(", ")),
                why: "the audit log was not read".to_owned(),
            });
        }
    }
    if trail.is_some_and(Trail::is_scoped) && (wants(Kind::Control) || wants(Kind::Custody)) {
        missing.push(Missing {
            what: "policy revisions, and starts and recoveries of the hub".to_owned(),
            why: "they belong to no registration: a report on the whole hub has them".to_owned(),
        });
    }
    let log = log.map(|log| with_trail(log, trail));
    let keys = || inventory::keys(facts, options);
    let destruction = trail.map(|trail| control::destruction(trail, &names));
    Report {
        format: FORMAT,
        v: VERSION,
        program: facts.program.clone(),
        generated: facts.generated,
        by: facts.by.clone(),
        hub: facts.hub.clone(),
        policy_revision: facts.policy_revision.clone(),
        since: options.since,
        until: options.until,
        whole_hub: facts.whole_hub,
        registrations: lines(facts),
        missing,
        kinds: options.kinds.iter().map(|kind| kind.name()).collect(),
        activity: trail.map(activity),
        inventory: wants(Kind::Inventory).then(|| inventory::inventory(keys())),
        rotation: wants(Kind::Rotation).then(|| inventory::rotation(facts, trail, options, &names)),
        access: wants(Kind::Access).then(|| access::reviews(facts, trail, &names)),
        changes: trail.filter(|_| wants(Kind::Changes)).map(|trail| Changes {
            all: trail.changes.all,
            by_action: most_first(&trail.changes_by_action),
            list: names.list(&trail.changes),
        }),
        denials: trail.filter(|_| wants(Kind::Denials)).map(|trail| denials(trail, &names)),
        control: match (trail, &destruction) {
            (Some(trail), Some(destruction)) if wants(Kind::Control) => {
                Some(control::control(trail, destruction, &names))
            }
            _ => None,
        },
        destruction: destruction.filter(|_| wants(Kind::Destruction)),
        custody: trail
            .filter(|_| wants(Kind::Custody))
            .map(|trail| control::custody(facts, trail, &names)),
        integrity: log
            .as_ref()
            .filter(|_| wants(Kind::Integrity))
            .map(|log| Integrity { verified: verified(log), limits: control::LIMITS }),
        pci: wants(Kind::Pci).then(|| pci::table(facts, trail, options)),
        log,
    }
}

fn with_trail(mut log: Log, trail: Option<&Trail>) -> Log {
    if let Some(trail) = trail {
        log.first.clone_from(&trail.first);
        log.last.clone_from(&trail.last);
        log.considered = trail.considered;
        log.unreadable = trail.unreadable;
    }
    log
}

fn lines(facts: &Facts) -> Vec<RegistrationLine> {
    facts
        .registrations
        .iter()
        .map(|one| RegistrationLine {
            uid: one.uid.clone(),
            name: one.name.clone(),
            environment: one.view.as_ref().map(|view| word(&view.environment)),
            frozen: one.view.as_ref().map(|view| view.frozen),
            keys: one.keys.len(),
            participants: one.people.len(),
        })
        .collect()
}

/// The word of a closed vocabulary, as on the wire.
pub(crate) fn word<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}

fn activity(trail: &Trail) -> Activity {
    let mut months = BTreeMap::new();
    for rotation in trail.rotations.iter() {
        let month = rotation.time.get(..7).unwrap_or_default().to_owned();
        *months.entry(month).or_default() += 1;
    }
    Activity {
        uses: trail.uses,
        uses_by_day: in_order(&trail.uses_by_day),
        denials_by_day: in_order(&trail.denials_by_day),
        rotations_by_month: in_order(&months),
    }
}

fn denials(trail: &Trail, names: &Names) -> Denials {
    let mut by_caller = most_first(&trail.denied_by_caller);
    for count in &mut by_caller {
        count.name = names.or_uid(&count.name);
    }
    Denials {
        all: trail.denied,
        by_action: most_first(&trail.denied_by_action),
        by_caller,
        by_policy: most_first(&trail.denied_by_policy),
        unauthenticated: trail.unauthenticated,
        throttled: trail.throttled,
        list: names.list(&trail.denials),
    }
}

fn verified(log: &Log) -> Vec<String> {
    let mut said = vec![format!(
        "entries 0 to {} were read from the hub in order; each names the hash of the one before, \
         and none is missing",
        log.size.saturating_sub(1)
    )];
    match &log.checkpoint {
        Some(_) => {
            said.push(format!("their Merkle root is {}, as the signed checkpoint says", log.root))
        }
        None => said.push(format!("their Merkle root is {}; no checkpoint covers it", log.root)),
    }
    said.push(if log.key_given {
        "the signature was checked with a key that whoever asked for this report gave".to_owned()
    } else {
        "the signature was checked with the key the hub itself names: hold it against one from a \
         place you trust"
            .to_owned()
    });
    if log.newer > 0 {
        said.push(format!("{} newer entries were not taken into this report", log.newer));
    }
    said
}
