//! What the log says: destruction, changes, denials, dual control, custody.

use super::begin;
use super::page::{Cell, Page, cell, lines, marked, named, number};
use super::people::counts;
use super::svg;
use crate::Kind;
use crate::document::{Certificate, Happening, Happenings, Report, RevisionControl};

/// A list of entries, the newest first.
pub(super) fn happenings(page: &mut Page, caption: &str, list: &Happenings) {
    page.table(
        caption,
        &["Entry", "Time", "Action", "By", "On", "Detail", "Outcome"],
        list.items.iter().rev().map(row),
        list.omitted,
    );
}

fn row(one: &Happening) -> Vec<Cell> {
    let mut on = Vec::new();
    if let Some(key) = &one.key {
        let version = one.version.map(|it| format!(" version {it}")).unwrap_or_default();
        on.push(format!("key {}{version}", one.key_name.as_ref().unwrap_or(key)));
    }
    if let Some(participant) = &one.participant {
        let name = one.participant_name.as_ref().unwrap_or(participant);
        on.push(format!("participant {name}"));
    }
    if let Some(registration) = one.registration.as_ref().filter(|_| one.key.is_none()) {
        let name = one.registration_name.as_ref().unwrap_or(registration);
        on.push(format!("registration {name}"));
    }
    let times = one.count.map(|count| format!("{count} times ")).unwrap_or_default();
    vec![
        number(one.seq),
        cell(&one.time),
        cell(&one.action),
        by(one),
        lines(&on),
        cell(one.detail.as_deref().unwrap_or_default()),
        cell(format!("{times}{}", one.outcome)),
    ]
}

fn by(one: &Happening) -> Cell {
    match &one.by {
        Some(uid) => named(one.by_name.as_deref().unwrap_or(uid), uid),
        None if one.action == "authenticate" => cell("nobody known"),
        None => cell("the hub"),
    }
}

/// Who did it, when, and in which entry.
fn words(one: Option<&Happening>) -> Cell {
    let Some(one) = one else { return cell("not in the log") };
    let who = match (&one.by_name, &one.by) {
        (Some(name), _) => name.as_str(),
        (None, Some(uid)) => uid.as_str(),
        (None, None) => "the hub",
    };
    lines(&[who.to_owned(), one.time.clone(), format!("entry {}", one.seq)])
}

pub(super) fn destruction(page: &mut Page, report: &Report) {
    if !begin(page, report, Kind::Destruction) {
        return;
    }
    let Some(destruction) = &report.destruction else { return };
    page.figures(&[
        ("destroyed in the window", destruction.destroyed),
        ("waiting", destruction.waiting),
    ]);
    page.say(
        "Each destruction is an entry of the log; its number and leaf hash, with the checkpoint \
         of this report, are what a proof of inclusion starts from. Backups made before hold what \
         they hold.",
    );
    page.table(
        "Destruction certificates",
        &[
            "Key",
            "Version",
            "State",
            "Asked for",
            "Cancelled",
            "Destroyed",
            "Days waited",
            "Leaf hash",
        ],
        destruction.certificates.iter().map(certificate),
        0,
    );
}

fn certificate(one: &Certificate) -> Vec<Cell> {
    let none = || cell("");
    vec![
        named(one.key_name.as_deref().unwrap_or(&one.key), &one.key),
        one.version.map_or_else(|| cell("all"), number),
        cell(one.state),
        words(one.scheduled.as_ref()),
        one.cancelled.as_ref().map_or_else(none, |it| words(Some(it))),
        one.destroyed.as_ref().map_or_else(none, |it| words(Some(it))),
        one.waited_days.map_or_else(none, number),
        one.destroyed.as_ref().map_or_else(none, |it| cell(&it.hash)),
    ]
}

pub(super) fn changes(page: &mut Page, report: &Report) {
    if !begin(page, report, Kind::Changes) {
        return;
    }
    let Some(changes) = &report.changes else { return };
    page.figures(&[("changes in the window", changes.all)]);
    counts(page, "Changes by action", ["Action", "Changes"], &changes.by_action);
    happenings(page, "Changes, the newest first", &changes.list);
}

pub(super) fn denials(page: &mut Page, report: &Report) {
    if !begin(page, report, Kind::Denials) {
        return;
    }
    let (Some(denials), Some(activity)) = (&report.denials, &report.activity) else { return };
    page.figures(&[
        ("uses of keys", activity.uses),
        ("denials", denials.all),
        ("failed authentications", denials.unauthenticated),
        ("refused by limits", denials.throttled),
    ]);
    let uses = svg::every_day(&activity.uses_by_day);
    page.raw(&svg::columns("uses", "Uses of keys by day", &uses));
    let denied = svg::every_day(&activity.denials_by_day);
    page.raw(&svg::columns("denied", "Denials by day", &denied));
    counts(page, "Denials by action", ["Action", "Denials"], &denials.by_action);
    counts(page, "Denials by participant", ["Participant", "Denials"], &denials.by_caller);
    counts(page, "Denials by policy that forbade", ["Policy", "Denials"], &denials.by_policy);
    happenings(page, "Denials, the newest first", &denials.list);
}

pub(super) fn control(page: &mut Page, report: &Report) {
    if !begin(page, report, Kind::Control) {
        return;
    }
    page.warn("What follows is evidence of who did what. Dual control is not enforced by the hub.");
    let Some(control) = &report.control else { return };
    page.part("What is not enforced");
    page.list(control.not_enforced);
    page.figures(&[
        ("destructions after their waiting period", control.destructions_waited),
        ("destructions without their schedule in the log", control.destructions_unexplained),
        ("exports of key material", control.exports),
    ]);
    page.table(
        "Policy revisions: who proposed, who activated",
        &["Revision", "Proposed", "Activated", "By two people"],
        control.revisions.iter().map(revision),
        0,
    );
    happenings(page, "Roles and grants people gave to themselves", &control.self_grants);
}

fn revision(one: &RevisionControl) -> Vec<Cell> {
    let activated: Vec<_> = one
        .activated
        .iter()
        .map(|it| {
            let who = it.by_name.as_deref().or(it.by.as_deref()).unwrap_or("the hub");
            format!("{who}, {}, entry {}", it.time, it.seq)
        })
        .collect();
    vec![
        cell(&one.revision),
        words(one.proposed.as_ref()),
        lines(&activated),
        match one.two_people {
            Some(true) => marked("good", "yes"),
            Some(false) => marked("warn", "no"),
            None => cell("not known"),
        },
    ]
}

pub(super) fn custody(page: &mut Page, report: &Report) {
    if !begin(page, report, Kind::Custody) {
        return;
    }
    let Some(custody) = &report.custody else { return };
    let list = |page: &mut Page, caption: &str, names: &[String]| {
        page.table(caption, &["Key"], names.iter().map(|name| vec![cell(name)]), 0);
    };
    list(page, "Keys whose material may leave the hub", &custody.exportable);
    list(page, "Keys with material that came from elsewhere", &custody.imported);
    happenings(page, "Exports, imports and changes of the primary version", &custody.transfers);
    happenings(page, "Starts, stops and recoveries of the hub", &custody.system);
}
