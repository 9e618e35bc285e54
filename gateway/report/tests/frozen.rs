//! The document and the page of fixed inputs: `tests/formats/report.json` and
//! `docs/audit/report-example.html` are what they were, and hostile text stays text.
//!
//! `cargo test -p hub-report --test frozen -- --ignored write` writes both anew.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hub_model::Timestamp;
use hub_report::cryptoperiod::Cryptoperiods;
use hub_report::document::Log;
use hub_report::{Facts, Kind, Options, Report, Trail, build, html};
use serde_json::{Value, json};

const DAY: i64 = 86_400;
/// 2026-07-01T00:00:00Z.
const START: i64 = 1_782_864_000;

fn at(day: i64, second: i64) -> Timestamp {
    Timestamp::from_micros((START + day * DAY + second) * 1_000_000)
}

fn uid(kind: &str, number: u32) -> String {
    format!("{kind}_01jd8r0000000000000000{number:04}")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn version(number: u32, primary: u32, born: i64, uses: u64) -> Value {
    json!({
        "version": number, "state": "active", "primary": number == primary, "origin": "generated",
        "createTime": at(born, 0), "activateTime": at(born, 0),
        "usage": {
            "protect": {"operations": uses, "bytes": uses * 64},
            "process": {"operations": uses / 2, "bytes": uses * 32},
            "lastUse": at(88, 7), "lastProcess": at(88, 5),
        },
        "needsRewrap": number != primary,
    })
}

struct Key(u32, &'static str, &'static str, &'static str, &'static str, Vec<i64>);

fn key(key: &Key, rotation: Option<Value>) -> Value {
    let Key(number, name, purpose, algorithm, state, births) = key;
    let primary = u32::try_from(births.len()).unwrap();
    let mut view = json!({
        "uid": uid("key", *number), "name": name, "purpose": purpose, "algorithm": algorithm,
        "state": state, "primaryVersion": primary, "versions": primary, "minDecryptVersion": 1,
        "origin": if *name == "partner" { "imported" } else { "generated" },
        "exportable": *name == "partner", "tags": {},
        "createTime": at(births[0], 0), "updateTime": at(0, 0),
    });
    if let Some(rotation) = rotation {
        view["rotation"] = rotation;
        view["nextRotationTime"] = json!(at(*births.last().unwrap() + 30, 0));
    }
    let versions: Vec<_> = (1..=primary)
        .zip(births)
        .map(|(one, born)| version(one, primary, *born, u64::from(*number) * 1000))
        .collect();
    json!({"view": view, "versions": versions, "grants": []})
}

fn member(number: u32, registration: &str, name: &str, kind: &str) -> Value {
    json!({"uid": uid("ptc", number), "name": name, "registration": registration, "kind": kind})
}

fn access(keys: &[(u32, &str)], actions: &[&str], policy: &str) -> Value {
    keys.iter()
        .map(|(number, name)| {
            let actions: Vec<_> = actions
                .iter()
                .map(|action| json!({"action": action, "decision": "always", "policies": [policy]}))
                .collect();
            json!({"key": uid("key", *number), "name": name, "actions": actions})
        })
        .collect()
}

fn credential(number: u32, holder: u32, label: &str, used: Option<i64>) -> Value {
    let mut one = json!({
        "uid": uid("crd", number), "participant": uid("ptc", holder), "method": "apiKey",
        "label": label, "createTime": at(-200, 0), "expireTime": at(200, 0),
    });
    if let Some(day) = used {
        one["lastUseTime"] = json!(at(day, 0));
    }
    one
}

/// A shop: six keys, four people.
fn facts(label: &str, note: &str) -> Facts {
    let monthly = json!({"schedule": {"period": "P30D"}});
    let mut orders = key(
        &Key(1, "orders", "encrypt", "AES_256_GCM", "active", vec![-30, 0, 30, 60]),
        Some(monthly.clone()),
    );
    orders["grants"] = json!([{
        "uid": uid("gnt", 1), "key": uid("key", 1), "participant": member(9, "hub", "support", "user"),
        "actions": ["keys.decrypt"], "expired": false, "note": note, "createTime": at(10, 0),
    }]);
    let keys = json!([
        orders,
        key(&Key(2, "sessions", "mac", "HMAC_SHA256", "active", vec![20]), Some(monthly)),
        key(&Key(3, "invoices", "sign", "RSA_PSS_3072_SHA256", "active", vec![-1200]), None),
        key(&Key(4, "partner", "encrypt", "AES_256_GCM", "active", vec![-400]), None),
        key(&Key(5, "future", "encapsulate", "ML_KEM_768", "pending", vec![80]), None),
        key(&Key(6, "old", "encrypt", "AES_256_GCM", "destroyed", vec![-600]), None),
    ]);
    let names = [(1, "orders"), (2, "sessions"), (3, "invoices"), (4, "partner")];
    let uses = ["keys.decrypt", "keys.encrypt", "keys.mac", "keys.sign"];
    let people = json!([
        {
            "member": member(1, "shop", "boss", "user"), "suspended": false, "roles": ["owners"],
            "credentials": [credential(1, 1, label, Some(80))],
            "here": [{"action": "keys.create", "decision": "always", "policies": ["role.owner-registration"]}],
            "keys": access(&names, &["keys.get", "keys.rotate"], "role.owner"),
        },
        {
            "member": member(2, "shop", "checkout", "service"), "suspended": false, "roles": ["apps"],
            "credentials": [credential(2, 2, "blue", Some(89)), credential(3, 2, "green", None)],
            "here": [], "keys": access(&names, &uses, "role.app"),
        },
        {
            "member": member(3, "shop", "night", "user"), "suspended": true, "roles": ["operators"],
            "credentials": [], "here": [], "keys": [],
        },
        {
            "member": member(9, "hub", "support", "user"), "suspended": false, "roles": [],
            "here": [], "keys": access(&names[..1], &["keys.decrypt"], "grant.gnt_1"),
        },
    ]);
    let registration = json!({
        "uid": uid("reg", 1), "name": "shop", "description": "", "environment": "production",
        "frozen": false, "frozenByHub": false, "tags": {}, "createTime": at(-700, 0), "updateTime": at(0, 0),
    });
    serde_json::from_value(json!({
        "hub": "hub_example", "program": "cipher-hub 0.1.0", "by": "hub/looker (apikey)",
        "generated": at(90, 0), "policyRevision": "9f2c", "wholeHub": true,
        "registrations": [{
            "uid": uid("reg", 1), "name": "shop", "view": registration, "keys": keys, "people": people,
        }],
        "missing": [{"what": "the credentials of participants of `hub`", "why": "denied: not for you"}],
    }))
    .unwrap()
}

/// Entries as the log has them, but for what reports do not look at.
fn entries(detail: &str) -> Vec<Value> {
    let (reg, app, boss) = (uid("reg", 1), uid("ptc", 2), uid("ptc", 1));
    let mut all: Vec<(Timestamp, Value)> = Vec::new();
    let mut say = |time: Timestamp, who: Option<&str>, action: &str, more: Value| {
        let mut entry = json!({
            "action": action, "decision": "allow", "outcome": "ok", "registration": reg,
            "time": time, "v": 1, "writer": "main",
        });
        if let Some(who) = who {
            entry["caller"] = json!(format!("apikey:{who}"));
            entry["address"] = json!("192.0.2.7");
        }
        for (name, value) in more.as_object().unwrap() {
            entry[name] = value.clone();
        }
        all.push((time, entry));
    };
    for day in 0..90 {
        for one in 0..(day * 7 % 11) {
            let action = if one % 3 == 0 { "keys.decrypt" } else { "keys.encrypt" };
            say(at(day, one), Some(&app), action, json!({"key": uid("key", 1), "version": 1}));
        }
        if day % 13 == 5 {
            let more = json!({"key": uid("key", 1), "decision": "deny", "outcome": "denied"});
            say(at(day, 500), Some(&boss), "keys.decrypt", more);
        }
        if day % 30 == 0 {
            let more = json!({"key": uid("key", 1), "version": day / 30 + 2, "detail": "schedule"});
            say(at(day, 600), None, "keys.rotate", more);
        }
    }
    say(at(3, 700), Some(&boss), "keys.create", json!({"key": uid("key", 2), "version": 1}));
    let wait = json!({"key": uid("key", 6), "detail": "active to destroyScheduled"});
    say(at(-20, 0), Some(&boss), "keys.scheduleDestroy", wait);
    say(at(10, 700), None, "keys.destroy", json!({"key": uid("key", 6)}));
    let wait = json!({"key": uid("key", 3), "version": 1, "detail": detail});
    say(at(85, 700), Some(&boss), "keys.scheduleDestroy", wait.clone());
    say(at(86, 700), Some(&boss), "keys.cancelDestroy", wait);
    say(
        at(12, 700),
        Some(&boss),
        "keys.export",
        json!({"key": uid("key", 4), "version": 1, "detail": detail}),
    );
    let role = json!({"participant": boss, "detail": "apps"});
    say(at(14, 700), Some(&boss), "roles.grant", role);
    say(at(20, 1), Some(&boss), "policies.propose", json!({"detail": "9f2c"}));
    say(at(21, 1), Some(&uid("ptc", 8)), "policies.activate", json!({"detail": "11aa -> 9f2c"}));
    say(at(30, 1), Some(&boss), "policies.propose", json!({"detail": "77bb"}));
    say(at(30, 2), Some(&boss), "policies.activate", json!({"detail": "9f2c -> 77bb"}));
    let gone = json!({"key": uid("key", 1), "detail": detail});
    say(at(40, 1), Some(&uid("ptc", 7)), "keys.decrypt", gone);
    let guess = json!({"decision": "none", "outcome": "unauthenticated", "count": 17});
    say(at(41, 1), None, "authenticate", guess);
    all.sort_by_key(|(time, _)| *time);
    all.into_iter()
        .enumerate()
        .map(|(seq, (_, mut entry))| {
            entry["seq"] = json!(seq);
            entry
        })
        .collect()
}

fn report(facts: &Facts, entries: &[Value]) -> Report {
    let mut cryptoperiods = Cryptoperiods::default();
    cryptoperiods.take("symmetric=365d").unwrap();
    let options = Options {
        kinds: Kind::ALL.iter().copied().collect(),
        since: at(0, 0),
        until: at(90, 0),
        cryptoperiods,
    };
    let mut trail = Trail::new(options.since, options.until, None);
    for entry in entries {
        // Sorted, as the log has them, whatever order other crates make `serde_json` keep.
        let sorted: BTreeMap<_, _> = entry.as_object().unwrap().iter().collect();
        trail.push(&serde_json::to_string(&sorted).unwrap());
    }
    let log = Log {
        size: u64::try_from(entries.len()).unwrap(),
        root: "ab".repeat(32),
        checkpoint: Some(
            "hub_example.audit\n1\nq6s=\n\n\u{2014} hub_example.audit AAAA\n".to_owned(),
        ),
        verifier_key: "hub_example.audit+00000000+AQ==".to_owned(),
        key_given: true,
        first: None,
        last: None,
        considered: 0,
        unreadable: 0,
        newer: 3,
    };
    build(facts, Some((&trail, log)), &options)
}

fn example() -> Report {
    report(&facts("first key", "tickets, until the new tool is there"), &entries("a note"))
}

fn files() -> (PathBuf, PathBuf) {
    (root().join("tests/formats/report.json"), root().join("docs/audit/report-example.html"))
}

fn written(report: &Report) -> (String, String) {
    (serde_json::to_string_pretty(report).unwrap() + "\n", html::page(report))
}

#[test]
#[ignore = "writes the samples"]
fn write() {
    let (json, page) = written(&example());
    let (json_file, page_file) = files();
    std::fs::write(json_file, json).unwrap();
    std::fs::write(page_file, page).unwrap();
}

#[test]
fn samples_are_what_they_were() {
    let (json, page) = written(&example());
    let (json_file, page_file) = files();
    // Not by assert_eq: nobody reads two pages of JSON in a message.
    let same = |file: &Path, text: &str| std::fs::read_to_string(file).unwrap() == text;
    assert!(same(&json_file, &json), "{} is another", json_file.display());
    assert!(same(&page_file, &page), "{} is another", page_file.display());
    assert!(page.len() < 100_000, "{}", page.len());
}

#[test]
fn numbers_are_those_of_the_entries() {
    let entries = entries("x");
    let report = serde_json::to_value(report(&facts("x", "y"), &entries)).unwrap();
    let start = at(0, 0).to_string();
    let count = |which: &dyn Fn(&Value) -> bool| {
        let inside = |entry: &&Value| entry["time"].as_str().unwrap() >= start.as_str();
        u64::try_from(entries.iter().filter(inside).filter(|entry| which(entry)).count()).unwrap()
    };
    let crypt =
        |e: &Value| matches!(e["action"].as_str().unwrap(), "keys.encrypt" | "keys.decrypt");
    assert_eq!(report["activity"]["uses"], count(&|e| crypt(e) && e["outcome"] == "ok"));
    assert_eq!(report["denials"]["all"], count(&|e| e["decision"] == "deny"));
    assert_eq!(report["denials"]["unauthenticated"], 17);
    assert_eq!(report["log"]["considered"], count(&|_| true));
    let rotations = report["rotation"]["done"]["items"].as_array().unwrap();
    assert_eq!(u64::try_from(rotations.len()).unwrap(), count(&|e| e["action"] == "keys.rotate"));
    // Overdue: one by its policy, one past what table or asker say, one by both.
    let overdue: Vec<_> = report["rotation"]["keys"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|key| key["overdue"] == true)
        .map(|key| (key["name"].as_str().unwrap(), key["reasons"].as_array().unwrap().len()))
        .collect();
    assert_eq!(overdue, [("sessions", 2), ("invoices", 1), ("partner", 1)]);
    assert_eq!(report["inventory"]["exceeded"], 3);
    assert_eq!(report["inventory"]["quantumVulnerable"], 1);
    // A destruction that was asked for before the window and done within it.
    assert_eq!(report["destruction"]["destroyed"], 1);
    let gone = report["destruction"]["certificates"].as_array().unwrap();
    let gone = gone.iter().find(|one| one["state"] == "destroyed").unwrap();
    assert_eq!(
        (gone["waitedDays"].as_u64(), gone["key"].as_str()),
        (Some(30), Some(uid("key", 6).as_str()))
    );
    let two: Vec<_> = report["control"]["revisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["twoPeople"])
        .collect();
    assert_eq!(two, [&json!(false), &json!(true)]);
    assert_eq!(report["control"]["selfGrants"]["items"].as_array().unwrap().len(), 1);
    // Somebody who is gone is in the review all the same, and idle credentials are named.
    let people = report["access"][0]["people"].as_array().unwrap();
    let gone: Vec<_> = people.iter().filter(|one| one["logOnly"] == true).collect();
    assert_eq!((gone.len(), gone[0]["uid"].as_str()), (1, Some(uid("ptc", 7).as_str())));
    let idle = |one: &&Value| one["idle"] == true;
    let idle: Vec<_> = people
        .iter()
        .filter_map(|one| one["credentials"].as_array())
        .flatten()
        .filter(idle)
        .map(|one| one["label"].as_str().unwrap())
        .collect();
    assert_eq!(idle, ["green"]);
}

#[test]
fn without_a_log_the_report_says_so() {
    let options = Options {
        kinds: BTreeSet::from([Kind::Inventory, Kind::Denials]),
        since: at(0, 0),
        until: at(90, 0),
        cryptoperiods: Cryptoperiods::default(),
    };
    let report = build(&facts("x", "y"), None, &options);
    assert!(report.denials.is_none() && report.inventory.is_some());
    assert!(report.missing.iter().any(|one| one.what.contains("denials")));
    let page = html::page(&report);
    assert!(page.contains("The audit log was not read"));
    assert!(!page.contains("id=\"control\""), "what was not asked for is not there");
}

#[test]
fn hostile_text_stays_text() {
    let hostile = "<script>alert('x')</script><img src=x onerror=y>\u{202e}gnp\" onload=\"z";
    let formula = "=HYPERLINK(\"http://evil.invalid\")";
    let mut facts = facts(hostile, formula);
    facts.missing[0].why = hostile.to_owned();
    facts.by = hostile.to_owned();
    facts.registrations[0].name = hostile.to_owned();
    let mut entries = entries(hostile);
    for (member, value) in [("outcome", hostile), ("detail", formula), ("key", hostile)] {
        let mut entry = entries[5].clone();
        entry["action"] = json!(format!("keys.{hostile}"));
        entry[member] = json!(value);
        entry["caller"] = json!(format!("jwt:https://idp.invalid:{hostile}"));
        entry["policies"] = json!([hostile]);
        entry["decision"] = json!(if member == "key" { "deny" } else { "allow" });
        entries.push(entry);
    }
    let page = html::page(&report(&facts, &entries));
    let lower = page.to_lowercase();
    for bad in ["<script", "<img", "onerror=y>", "\u{202e}", "\" onload=\"z", "javascript:"] {
        assert!(!lower.contains(bad), "{bad:?}");
    }
    assert!(page.contains("&lt;script&gt;") && page.contains("\\u{202e}"));
    assert!(!page.contains(">=HYPERLINK"), "a formula at the start of a cell");
    // The only addresses of others are text: nothing is loaded or linked. Outside of quotes there
    // is no attribute that could.
    let bare: String = page.split('"').step_by(2).collect();
    for attribute in [" src=", " onload=", " style=", " action=", "<link", "<iframe", "<object"] {
        let tags = bare.split('<').filter_map(|tag| tag.split('>').next());
        assert!(!tags.into_iter().any(|tag| format!("<{tag}").contains(attribute)), "{attribute}");
    }
    assert_eq!(page.matches("href=\"").count(), page.matches("href=\"#").count());
    assert!(!html::page(&example()).contains("http://"));
}
