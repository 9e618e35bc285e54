//! The decision cases of `policies/tests`, in the upstream `run-tests` format, read by a loader of
//! our own and decided by Cedar over the whole set: what the policies say, slices and memo aside.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot read its cases fails")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cedar_policy::{
    Authorizer, Context, Decision, Entities, EntityUid, PolicyId, PolicySet, Request, Schema,
    ValidationMode, Validator,
};
use hub_policy::Bundle;

fn policies() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies")
}

fn schema() -> Schema {
    Schema::from_cedarschema_str(hub_policy::schema::TEXT).unwrap().0
}

/// Every policy of these folders under its `@id`.
fn set(folders: &[&str]) -> PolicySet {
    let mut out = PolicySet::new();
    for folder in folders {
        for entry in std::fs::read_dir(policies().join(folder)).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            for policy in text.parse::<PolicySet>().unwrap().policies() {
                let id = PolicyId::new(policy.annotation("id").unwrap());
                out.add(policy.new_id(id)).unwrap();
            }
        }
    }
    out
}

/// Runs one file of cases and gives their number.
fn run(file: &str, folders: &[&str]) -> usize {
    let (schema, set) = (schema(), set(folders));
    let text = std::fs::read_to_string(policies().join("tests").join(file)).unwrap();
    let cases: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let mut failures = Vec::new();
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let request = &case["request"];
        let entity =
            |field: &str| -> EntityUid { request[field].as_str().unwrap().parse().unwrap() };
        let action = entity("action");
        let context =
            Context::from_json_value(request["context"].clone(), Some((&schema, &action)))
                .unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let request =
            Request::new(entity("principal"), action, entity("resource"), context, Some(&schema))
                .unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let entities = policies().join("tests").join(case["entities"].as_str().unwrap());
        let entities =
            Entities::from_json_file(std::fs::File::open(entities).unwrap(), Some(&schema))
                .unwrap_or_else(|e| panic!("{e:?}"));
        let response = Authorizer::new().is_authorized(&request, &set, &entities);
        let decision = match response.decision() {
            Decision::Allow => "allow",
            Decision::Deny => "deny",
        };
        let reason: BTreeSet<String> =
            response.diagnostics().reason().map(ToString::to_string).collect();
        let expected: BTreeSet<String> = serde_json::from_value(case["reason"].clone()).unwrap();
        let errors = response.diagnostics().errors().count();
        if decision != case["decision"].as_str().unwrap()
            || reason != expected
            || Some(errors as u64) != case["num_errors"].as_u64()
        {
            failures.push(format!("{name}: {decision} by {reason:?}, {errors} errors"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    println!("{file}: {} cases", cases.len());
    cases.len()
}

#[test]
fn roles() {
    assert!(run("roles.test.json", &["baseline"]) >= 50);
}

#[test]
fn limits() {
    assert!(run("limits.test.json", &["baseline"]) >= 20);
}

#[test]
fn receipts() {
    assert!(run("receipts.test.json", &["baseline"]) >= 15);
}

#[test]
fn reports() {
    assert!(run("reports.test.json", &["baseline"]) >= 60);
}

#[test]
fn guardrails() {
    assert!(run("guardrails.test.json", &["baseline"]) >= 25);
}

#[test]
fn grants() {
    assert!(run("grants.test.json", &["baseline"]) >= 50);
}

#[test]
fn examples() {
    assert!(run("examples.test.json", &["baseline", "examples"]) >= 20);
}

#[test]
fn every_file_of_cases_is_run() {
    let mut files: Vec<_> = std::fs::read_dir(policies().join("tests"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".test.json"))
        .collect();
    files.sort();
    assert_eq!(
        files,
        [
            "examples.test.json",
            "grants.test.json",
            "guardrails.test.json",
            "limits.test.json",
            "receipts.test.json",
            "reports.test.json",
            "roles.test.json",
        ]
    );
}

#[test]
fn every_policy_determines_some_case() {
    let mut reasons = BTreeSet::new();
    for file in [
        "roles.test.json",
        "guardrails.test.json",
        "limits.test.json",
        "receipts.test.json",
        "reports.test.json",
        "examples.test.json",
        "grants.test.json",
    ] {
        let text = std::fs::read_to_string(policies().join("tests").join(file)).unwrap();
        let cases: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        for case in cases {
            let reason: Vec<String> = serde_json::from_value(case["reason"].clone()).unwrap();
            reasons.extend(reason);
        }
    }
    let all: BTreeSet<String> =
        set(&["baseline", "examples"]).policies().map(|p| p.id().to_string()).collect();
    assert_eq!(all.difference(&reasons).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn shipped_files_validate_without_warnings_and_examples_load() {
    let validator = Validator::new(schema());
    let all = set(&["baseline", "examples"]);
    let result = validator.validate_with_level(&all, ValidationMode::Strict, 2);
    assert!(result.validation_passed_without_warnings(), "{result}");

    let bundle = Bundle::read(&policies().join("examples")).unwrap();
    assert_eq!(bundle.policies().len(), all.policies().count());
    assert_eq!(bundle.warnings(), []);
    let rotator = bundle.describe("example.ci-rotator").unwrap();
    assert_eq!((&*rotator.file, rotator.line), ("05-ci-rotator.cedar", 3));
    assert!(rotator.text.starts_with("@id(\"example.ci-rotator\")"));
    assert!(rotator.text.ends_with("};"));
}
