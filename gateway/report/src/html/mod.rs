//! The document as one HTML file: no script, nothing from outside, light and dark, for print.

mod escape;
mod keys;
mod page;
mod people;
mod svg;
mod trail;

use std::fmt::Write as _;

use crate::document::Report;
use crate::{Kind, html::escape::text};
use page::{Page, cell, lines, named, number};

const STYLE: &str = include_str!("page.css");

/// Nothing is loaded, run, framed or sent: only the style inside the file counts.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// Writes the page.
#[must_use]
pub fn page(report: &Report) -> String {
    let mut page = Page::new();
    let title = match (report.whole_hub, report.registrations.as_slice()) {
        (false, [one]) => format!("Audit report: registration {}", one.name),
        _ => "Audit report".to_owned(),
    };
    page.raw(&format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"referrer\" content=\"no-referrer\">\
         <title>{0}</title><style>{STYLE}</style></head><body><header><h1>{0}</h1>",
        text(&title)
    ));
    head(&mut page, report);
    page.raw("</header>");
    contents(&mut page, report);
    page.raw("<main>");
    missing(&mut page, report);
    registrations(&mut page, report);
    keys::inventory(&mut page, report);
    keys::rotation(&mut page, report);
    trail::destruction(&mut page, report);
    people::access(&mut page, report);
    trail::changes(&mut page, report);
    trail::denials(&mut page, report);
    trail::control(&mut page, report);
    trail::custody(&mut page, report);
    integrity(&mut page, report);
    pci(&mut page, report);
    page.raw("</main><footer>");
    page.say(&format!(
        "Made by {} on {}. Numbers of events count entries of the audit log from {} to {}, both \
         in UTC, the second excluded.",
        report.program, report.generated, report.since, report.until
    ));
    page.raw("</footer></body></html>\n");
    page.into_html()
}

fn head(page: &mut Page, report: &Report) {
    let mut facts = vec![
        ("Made", report.generated.to_string()),
        ("Asked for by", report.by.clone()),
        ("Events from", report.since.to_string()),
        ("Events until", report.until.to_string()),
        (
            "About",
            if report.whole_hub {
                "every registration of the hub".to_owned()
            } else {
                report
                    .registrations
                    .iter()
                    .map(|one| one.name.as_str())
                    .collect::<Vec<_>>()
                    .join(", ")
            },
        ),
    ];
    if let Some(hub) = &report.hub {
        facts.push(("Hub", hub.clone()));
    }
    if let Some(revision) = &report.policy_revision {
        facts.push(("Policy revision", revision.clone()));
    }
    match &report.log {
        Some(log) => {
            facts.push(("Log: entries verified", log.size.to_string()));
            facts.push(("Log: Merkle root", log.root.clone()));
        }
        None => facts.push(("Log", "not read: see what is missing".to_owned())),
    }
    page.table(
        "What this report is",
        &["Fact", "Value"],
        facts.into_iter().map(|(name, value)| vec![cell(name), cell(value)]),
        0,
    );
}

fn contents(page: &mut Page, report: &Report) {
    let mut html = String::from("<nav aria-label=\"Contents\"><ul>");
    html.push_str("<li><a href=\"#missing\">What is missing</a></li>");
    for kind in Kind::ALL.iter().filter(|kind| report.kinds.contains(&kind.name())) {
        let _ = write!(html, "<li><a href=\"#{}\">{}</a></li>", kind.name(), text(kind.title()));
    }
    page.raw(&(html + "</ul></nav>"));
}

fn missing(page: &mut Page, report: &Report) {
    page.section("missing", "What is missing");
    if report.missing.is_empty() {
        page.say("Nothing that was asked for could not be read.");
        return;
    }
    page.warn("This report is not complete. What could not be read is not in its numbers.");
    page.table(
        "Missing",
        &["What", "Why"],
        report.missing.iter().map(|one| vec![cell(&one.what), cell(&one.why)]),
        0,
    );
}

fn registrations(page: &mut Page, report: &Report) {
    page.part("Registrations");
    page.table(
        "Registrations in this report",
        &["Registration", "Environment", "Frozen", "Keys read", "Participants read"],
        report.registrations.iter().map(|one| {
            vec![
                named(&one.name, &one.uid),
                cell(one.environment.as_deref().unwrap_or("not read")),
                cell(one.frozen.map_or("not read", yes)),
                number(one.keys),
                number(one.participants),
            ]
        }),
        0,
    );
}

/// A word for a truth.
fn yes(it: bool) -> &'static str {
    if it { "yes" } else { "no" }
}

/// The heading of a kind, and a word where it needs a log that was not read. Whether to go on.
fn begin(page: &mut Page, report: &Report, kind: Kind) -> bool {
    if !report.kinds.contains(&kind.name()) {
        return false;
    }
    page.section(kind.name(), kind.title());
    if kind.needs_log() && report.log.is_none() {
        page.warn("The audit log was not read: what it would say here is missing.");
    }
    true
}

fn integrity(page: &mut Page, report: &Report) {
    if !begin(page, report, Kind::Integrity) {
        return;
    }
    let (Some(integrity), Some(log)) = (&report.integrity, &report.log) else { return };
    page.list(&integrity.verified);
    page.table(
        "The log",
        &["Fact", "Value"],
        [
            ("Entries", log.size.to_string()),
            ("First entry", log.first.clone().unwrap_or_default()),
            ("Last entry", log.last.clone().unwrap_or_default()),
            ("Entries of this window and these registrations", log.considered.to_string()),
            ("Entries this program does not understand", log.unreadable.to_string()),
            ("Verifier key", log.verifier_key.clone()),
        ]
        .into_iter()
        .map(|(name, value)| vec![cell(name), cell(value)]),
        0,
    );
    if let Some(note) = &log.checkpoint {
        page.part("The signed checkpoint");
        page.say(
            "Keep it. `cipher-hub audit verify` over an export proves that the entries of this \
             report are those the checkpoint covers.",
        );
        // A note's lines are its form: they stay lines.
        let shown: Vec<_> = note.lines().map(text).collect();
        page.raw(&format!("<pre>{}</pre>", shown.join("\n")));
    }
    page.part("What this does not prove");
    page.list(integrity.limits);
}

fn pci(page: &mut Page, report: &Report) {
    if !begin(page, report, Kind::Pci) {
        return;
    }
    let Some(pci) = &report.pci else { return };
    page.warn(pci.note);
    page.table(
        &format!("{}: where to find evidence", pci.edition),
        &["Requirement", "About", "Evidence here", "Reports", "What the hub cannot know"],
        pci.rows.iter().map(|row| {
            vec![
                cell(row.requirement),
                cell(row.about),
                cell(&row.evidence),
                lines(row.reports),
                cell(row.outside),
            ]
        }),
        0,
    );
}
