//! The access review.

use super::begin;
use super::page::{Cell, Page, cell, lines, marked, named, number};
use crate::Kind;
use crate::document::{AccessReview, KeyUse, Person, Report};

pub(super) fn access(page: &mut Page, report: &Report) {
    if !begin(page, report, Kind::Access) {
        return;
    }
    page.say(
        "Who could use which key by the policies, roles and grants of the time of the report, and \
         who did within the window by the log. `conditional` depends on the request: its time, \
         address, encryption context or size.",
    );
    for review in report.access.iter().flatten() {
        of_registration(page, review, report.log.is_some());
    }
}

fn of_registration(page: &mut Page, review: &AccessReview, with_log: bool) {
    page.part(&format!("Registration {}", review.name));
    if !review.open_to_others.is_empty() {
        page.warn("Policies open keys of this registration to participants of others:");
        page.table(
            "Keys open to participants of other registrations",
            &["Key", "By"],
            review.open_to_others.iter().map(|open| vec![cell(&open.key), lines(&open.policies)]),
            0,
        );
    }
    page.table(
        &format!("People and programs of {}", review.name),
        &["Participant", "Kind", "State", "Roles", "Credentials", "Grants"],
        review.people.iter().map(person),
        0,
    );
    let uses = review
        .people
        .iter()
        .flat_map(|person| person.keys.iter().map(move |key| use_of(person, key, with_log)));
    page.table(
        &format!("Keys of {}: who could, who did", review.name),
        &["Participant", "Key", "Could", "Did in the window", "Could and did not"],
        uses,
        0,
    );
}

fn person(person: &Person) -> Vec<Cell> {
    let state = match (person.log_only, person.suspended) {
        (true, _) => marked("warn", "in the log only: removed, or of another registration"),
        (false, true) => marked("warn", "suspended"),
        (false, false) => cell("active"),
    };
    let credentials = match &person.credentials {
        None => cell("not read"),
        Some(all) => lines(
            &all.iter()
                .map(|one| {
                    let idle = if one.idle { ", IDLE for over 90 days" } else { "" };
                    let used = one.last_use.map_or_else(|| "never".to_owned(), |t| t.to_string());
                    let label = if one.label.is_empty() {
                        String::new()
                    } else {
                        format!(" ({})", one.label)
                    };
                    format!(
                        "{} {}{label}: {}, ends {}, last used {used}{idle}",
                        one.method, one.uid, one.state, one.expires
                    )
                })
                .collect::<Vec<_>>(),
        ),
    };
    let grants: Vec<_> = person
        .grants
        .iter()
        .map(|one| {
            let expired = if one.expired { ", EXPIRED" } else { "" };
            let note = if one.note.is_empty() { String::new() } else { format!(" ({})", one.note) };
            format!("{}: {}{note}{expired}", one.key, one.actions.join(" "))
        })
        .collect();
    vec![
        named(person.name.as_deref().unwrap_or("unknown"), &person.uid),
        cell(person.kind.as_deref().unwrap_or("unknown")),
        state,
        lines(&person.roles),
        credentials,
        lines(&grants),
    ]
}

fn use_of(person: &Person, key: &KeyUse, with_log: bool) -> Vec<Cell> {
    let could: Vec<_> = key
        .could
        .iter()
        .map(|could| format!("{}: {} by {}", could.action, could.decision, could.by.join(" ")))
        .collect();
    let did: Vec<_> = key
        .did
        .iter()
        .map(|did| {
            let mut said = format!("{}: {}", did.action, did.done);
            if did.denied > 0 {
                said.push_str(&format!(", {} denied", did.denied));
            }
            if did.failed > 0 {
                said.push_str(&format!(", {} failed", did.failed));
            }
            format!("{said}, last {}", did.last)
        })
        .collect();
    vec![
        cell(person.name.as_deref().unwrap_or(&person.uid)),
        named(key.name.as_deref().unwrap_or("unknown"), &key.key),
        if could.is_empty() && !person.rights_known { cell("not read") } else { lines(&could) },
        if with_log { lines(&did) } else { cell("not read") },
        if with_log { lines(&key.unused) } else { cell("not read") },
    ]
}

/// Counts by name.
pub(super) fn counts(
    page: &mut Page,
    caption: &str,
    heads: [&str; 2],
    all: &[crate::document::Count],
) {
    let rows = all.iter().map(|count| vec![cell(&count.name), number(count.count)]);
    page.table(caption, &heads, rows, 0);
}
