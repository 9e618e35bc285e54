//! Key inventory and rotation.

use super::page::{Cell, Page, cell, lines, marked, named, number};
use super::svg::{self, Bar};
use super::{begin, yes};
use crate::Kind;
use crate::cryptoperiod::Source;
use crate::document::{InventoryKey, Report, RotationKey};

/// Most keys of the plot of ages.
const BARS: usize = 40;

pub(super) fn inventory(page: &mut Page, report: &Report) {
    if !begin(page, report, Kind::Inventory) {
        return;
    }
    let Some(inventory) = &report.inventory else { return };
    page.figures(&[
        ("keys", u64::try_from(inventory.keys.len()).unwrap_or(u64::MAX)),
        ("past their cryptoperiod", inventory.exceeded),
        ("that a quantum computer would break", inventory.quantum_vulnerable),
    ]);
    let states: Vec<_> = inventory.by_state.iter().map(Bar::of).collect();
    page.raw(&svg::bars("states", "Keys by state", &states, None));
    let algorithms: Vec<_> = inventory.by_algorithm.iter().take(BARS).map(Bar::of).collect();
    page.raw(&svg::bars("algorithms", "Keys by algorithm", &algorithms, None));
    page.raw(&ages(&inventory.keys));
    page.table(
        "Keys",
        &[
            "Key",
            "Algorithm",
            "Strength",
            "State",
            "Origin",
            "Exportable",
            "Versions",
            "Activated",
            "Cryptoperiod",
            "Left",
            "Protected",
            "Processed",
            "Last use",
            "Owners",
        ],
        inventory.keys.iter().map(key),
        0,
    );
    page.part("Cryptoperiods");
    page.say(&format!(
        "Where neither the rotation policy of a key nor whoever asked for this report says \
         otherwise, periods are those of {}. Where that names a range, its upper end counts. Keys \
         of RSA encryption and of key encapsulation count as key-transport keys.",
        inventory.table_source
    ));
    page.table(
        "Suggested cryptoperiods",
        &["Key type", "In the standard", "It suggests", "Days to protect", "Days to process after"],
        inventory.table.iter().map(|row| {
            vec![
                cell(row.key_type.name()),
                cell(row.name),
                cell(row.says),
                number(row.originator_days),
                row.recipient_days.map_or_else(|| cell("not said"), number),
            ]
        }),
        0,
    );
}

/// Ages of the primary versions in percent of their cryptoperiods, the oldest first.
fn ages(keys: &[InventoryKey]) -> String {
    let percent = |key: &InventoryKey| {
        u64::from(key.cryptoperiod.used_days) * 100 / u64::from(key.cryptoperiod.days.max(1))
    };
    let mut active: Vec<_> = keys.iter().filter(|key| key.state == "active").collect();
    active.sort_by(|a, b| percent(b).cmp(&percent(a)).then_with(|| a.uid.cmp(&b.uid)));
    let bars: Vec<_> = active
        .iter()
        .take(BARS)
        .map(|key| Bar {
            name: format!("{}/{}", key.registration, key.name),
            value: percent(key),
            label: format!(
                "{} % ({} of {} days)",
                percent(key),
                key.cryptoperiod.used_days,
                key.cryptoperiod.days
            ),
            over: key.cryptoperiod.exceeded,
        })
        .collect();
    let title = "Age of active keys in percent of their cryptoperiod, the oldest first";
    svg::bars("ages", title, &bars, Some(100))
}

fn key(key: &InventoryKey) -> Vec<Cell> {
    let period = &key.cryptoperiod;
    let source = match period.source {
        Source::RotationPolicy => "by its rotation policy",
        Source::Asked => "as asked for",
        Source::Table => "suggested",
    };
    let mut said = vec![format!("{} days, {source}", period.days)];
    if period.longer_than_table {
        said.push("longer than the standard suggests".to_owned());
    }
    let mut versions = vec![format!("{} of {}", key.primary_version, key.versions)];
    if !key.past_recipient_period.is_empty() {
        let past: Vec<_> = key.past_recipient_period.iter().map(ToString::to_string).collect();
        versions.push(format!("past their recipient period: {}", past.join(", ")));
    }
    let left = match (period.exceeded, period.left_days) {
        (true, left) => marked("bad", &format!("exceeded by {} days", left.unsigned_abs())),
        // Of what protects nothing no period runs.
        (false, _) if key.state != "active" => cell("does not run"),
        (false, left) => number(left),
    };
    vec![
        named(&format!("{}/{}", key.registration, key.name), &key.uid),
        lines(&[key.algorithm.as_str(), if key.approved { "NIST approved" } else { "other" }]),
        cell(format!("{} bits", key.strength_bits)),
        cell(&key.state),
        cell(&key.origin),
        if key.exportable { marked("warn", "yes") } else { cell("no") },
        lines(&versions),
        cell(key.activated.unwrap_or(key.created).to_string().get(..10).unwrap_or_default()),
        lines(&said),
        left,
        number(key.protected),
        number(key.processed),
        cell(key.last_use.map_or_else(|| "never".to_owned(), |time| time.to_string())),
        lines(&key.owners),
    ]
}

pub(super) fn rotation(page: &mut Page, report: &Report) {
    if !begin(page, report, Kind::Rotation) {
        return;
    }
    let Some(rotation) = &report.rotation else { return };
    page.figures(&[
        ("keys that protect", rotation.protecting),
        ("overdue", rotation.overdue),
        ("that nothing rotates by date", rotation.without_date),
        (
            "rotations in the window",
            rotation
                .done
                .as_ref()
                .map_or(0, |done| done.omitted + u64::try_from(done.items.len()).unwrap_or(0)),
        ),
    ]);
    if let Some(activity) = &report.activity {
        let months = svg::every_month(&activity.rotations_by_month);
        page.raw(&svg::columns("months", "Rotations by month", &months));
    }
    page.table(
        "Overdue keys",
        &["Key", "State", "Why", "Due by its policy", "Last rotation"],
        rotation.keys.iter().filter(|key| key.overdue).map(|key| {
            vec![
                named(&format!("{}/{}", key.registration, key.name), &key.uid),
                cell(&key.state),
                marked("bad", &key.reasons.join(" and ")),
                time(key.due),
                time(key.last),
            ]
        }),
        0,
    );
    page.table(
        "Rotation of each key",
        &[
            "Key",
            "State",
            "Policy",
            "Due",
            "Last rotation",
            "In the window: by people",
            "by the hub",
            "Replaced late",
            "Old versions that still process",
        ],
        rotation.keys.iter().map(row),
        0,
    );
    if let Some(done) = &rotation.done {
        super::trail::happenings(page, "Rotations in the window", done);
    }
}

fn time(time: Option<hub_model::Timestamp>) -> Cell {
    cell(time.map_or_else(|| "none".to_owned(), |time| time.to_string()))
}

fn row(key: &RotationKey) -> Vec<Cell> {
    let policy =
        key.policy.as_ref().map(|policy| serde_json::to_string(policy).unwrap_or_default());
    let late: Vec<_> = key
        .replaced_late
        .iter()
        .map(|late| format!("version {} after {} days", late.version, late.days))
        .collect();
    let old: Vec<_> = key
        .still_processing
        .iter()
        .map(|old| {
            let last = old.last_process.map_or_else(|| "never".to_owned(), |time| time.to_string());
            let rewrap = yes(old.needs_rewrap);
            format!("version {} ({}), last {last}, needs rewrap: {rewrap}", old.version, old.state)
        })
        .collect();
    vec![
        named(&format!("{}/{}", key.registration, key.name), &key.uid),
        cell(&key.state),
        cell(policy.unwrap_or_else(|| "none".to_owned())),
        time(key.due),
        time(key.last),
        number(key.by_people),
        number(key.by_schedule),
        lines(&late),
        lines(&old),
    ]
}
