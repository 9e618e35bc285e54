//! PCI DSS v4.0.1, requirements 3.6 and 3.7: what in a report speaks to which requirement. The
//! requirements are told in our own words; the standard's text counts. Evidence, never compliance.

use super::{Options, inventory};
use crate::document::{Pci, PciRow};
use crate::facts::Facts;
use crate::trail::Trail;

const NOTE: &str = "This table says where in this report evidence for a requirement can be found. \
    It does not say that a requirement is met: that is for an assessor, who also looks at \
    procedures, people and systems that the hub does not see. Whether a key protects account data \
    is not known to the hub. Requirements are paraphrased; the text of the standard counts.";

struct Fixed {
    requirement: &'static str,
    about: &'static str,
    reports: &'static [&'static str],
    outside: &'static str,
}

const ROWS: &[Fixed] = &[
    Fixed {
        requirement: "3.6.1",
        about: "procedures protect keys against disclosure and misuse: fewest custodians, \
                key-encrypting keys as strong as what they protect and kept apart",
        reports: &["inventory", "access", "custody"],
        outside: "written procedures; what protects the seal of the hub; keys held elsewhere",
    },
    Fixed {
        requirement: "3.6.1.1",
        about: "service providers: a documented description of the cryptographic architecture, \
                with an inventory of keys and of key management systems",
        reports: &["inventory", "integrity"],
        outside: "the description itself, and which data each key protects",
    },
    Fixed {
        requirement: "3.6.1.2",
        about: "secret and private keys are stored encrypted, in a secure device, or as shares",
        reports: &["custody"],
        outside: "the kind of seal of this installation, and copies of material that was exported",
    },
    Fixed {
        requirement: "3.6.1.3",
        about: "access to cleartext key components is restricted to the fewest custodians",
        reports: &["access", "custody"],
        outside: "who holds shares of the seal, or can read the memory of the machine",
    },
    Fixed {
        requirement: "3.6.1.4",
        about: "keys are stored in the fewest possible places",
        reports: &["custody"],
        outside: "backups of the store, and copies of material that was exported or imported",
    },
    Fixed {
        requirement: "3.7.1",
        about: "policies and procedures: generation of strong keys",
        reports: &["inventory"],
        outside: "the policy itself; strength of material that was imported",
    },
    Fixed {
        requirement: "3.7.2",
        about: "policies and procedures: secure distribution of keys",
        reports: &["custody"],
        outside: "what recipients of exports do; the policy itself",
    },
    Fixed {
        requirement: "3.7.3",
        about: "policies and procedures: secure storage of keys",
        reports: &["custody", "integrity"],
        outside: "the machine, its disks and backups; the policy itself",
    },
    Fixed {
        requirement: "3.7.4",
        about: "key changes at the end of a defined cryptoperiod for each key type in use",
        reports: &["inventory", "rotation"],
        outside: "whether the periods were chosen after an analysis of the risks",
    },
    Fixed {
        requirement: "3.7.5",
        about: "retirement, replacement or destruction of keys at the end of their cryptoperiod, \
                when weakened, or when known or suspected to be compromised",
        reports: &["rotation", "destruction", "changes"],
        outside: "suspicions nobody told the hub; backups made before a destruction",
    },
    Fixed {
        requirement: "3.7.6",
        about: "manual operations on cleartext keys: split knowledge and dual control",
        reports: &["control", "custody"],
        outside: "operations outside the hub. The hub gives no cleartext key to people, and \
                  enforces no second person",
    },
    Fixed {
        requirement: "3.7.7",
        about: "prevention of unauthorised substitution of keys",
        reports: &["custody", "denials", "integrity"],
        outside: "whether each import and change of the primary version was authorised",
    },
    Fixed {
        requirement: "3.7.8",
        about: "custodians formally acknowledge their responsibilities",
        reports: &["access"],
        outside: "the acknowledgements: the hub records who may act, not what they signed",
    },
    Fixed {
        requirement: "3.7.9",
        about: "service providers that share keys with customers: guidance for the customers",
        reports: &["custody"],
        outside: "the guidance, and whether it was handed over",
    },
];

pub(super) fn table(facts: &Facts, trail: Option<&Trail>, options: &Options) -> Pci {
    let keys = inventory::keys(facts, options);
    let exceeded = keys.iter().filter(|key| key.cryptoperiod.exceeded).count();
    let weak = keys.iter().filter(|key| key.strength_bits < 112).count();
    let exportable = keys.iter().filter(|key| key.exportable).count();
    let imported = keys.iter().filter(|key| key.origin == "imported").count();
    let people: usize = facts.registrations.iter().map(|one| one.people.len()).sum();
    let log = |said: &dyn Fn(&Trail) -> String| {
        trail.map_or_else(|| "the log was not read".to_owned(), said)
    };
    let transfers = |action: &str| {
        log(&|trail: &Trail| {
            let many = trail.transfers.iter().filter(|one| one.action == action).count();
            format!("{many} of `{action}` in the window")
        })
    };
    let evidence = |requirement: &str| match requirement {
        "3.6.1" | "3.6.1.3" | "3.7.8" => {
            format!("{people} participants with their rights, grants and uses, key by key")
        }
        "3.6.1.1" => {
            format!("{} keys with algorithm, strength, state and cryptoperiod", keys.len())
        }
        "3.6.1.2" | "3.7.3" => "the hub stores material only wrapped under its seal (by design: \
                                docs/threat-model.md); starts and recoveries are listed"
            .to_owned(),
        "3.6.1.4" | "3.7.2" | "3.7.9" => {
            format!("{exportable} keys are exportable; {}", transfers("keys.export"))
        }
        "3.7.1" => {
            format!("{} keys, {weak} below 112 bits, {imported} with imported material", keys.len())
        }
        "3.7.4" => format!(
            "a period for each of {} keys; {exceeded} past it; {}",
            keys.len(),
            log(&|trail| format!("{} rotations in the window", trail.rotations.all))
        ),
        "3.7.5" => log(&|trail| {
            let gone = trail.ends.values().filter(|end| end.destroyed.is_some()).count();
            format!("{gone} destructions in the log, each with its entry and leaf hash")
        }),
        "3.7.6" => log(&|trail| {
            format!(
                "{} policy revisions with who proposed and who activated; {} roles or grants \
                 people gave themselves",
                trail.revisions.len(),
                trail.self_grants.all
            )
        }),
        "3.7.7" => format!(
            "{}; {}; {}",
            transfers("keys.import"),
            transfers("keys.importVersion"),
            transfers("keys.setPrimary")
        ),
        _ => String::new(),
    };
    Pci {
        edition: "PCI DSS v4.0.1",
        note: NOTE,
        rows: ROWS
            .iter()
            .map(|row| PciRow {
                requirement: row.requirement,
                about: row.about,
                evidence: evidence(row.requirement),
                reports: row.reports,
                outside: row.outside,
            })
            .collect(),
    }
}
