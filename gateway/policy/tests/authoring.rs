//! The author's loop without a hub: checks, test files, and the two engines side by side.

#![expect(clippy::unwrap_used, reason = "tests want their fixtures")]

use std::path::{Path, PathBuf};

use hub_policy::Problem;
use hub_policy::authoring::{Case, Level, Library, Report, check, format, run};
use hub_policy::folder;

fn policies() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies")
}

fn cases(file: &str) -> Vec<Case> {
    let path = policies().join("tests").join(file);
    let (cases, problems) = Library::new().read(&path, file).unwrap();
    assert_eq!(problems, []);
    cases
}

fn failures(report: &Report) -> Vec<String> {
    let failed = report.cases.iter().filter(|case| !case.passed);
    failed.map(|case| format!("{}: {:?}", case.name, case.failures)).collect()
}

/// Every case of ours, by Cedar over the whole set (what `cedar run-tests` does) and by the hub's
/// own engine, whose disagreement would be a failure.
#[test]
fn cedar_and_the_hub_agree_on_every_case() {
    for (file, examples) in
        [("roles.test.json", false), ("guardrails.test.json", false), ("examples.test.json", true)]
    {
        let files =
            if examples { folder::files(&policies().join("examples")).unwrap() } else { vec![] };
        let report = run(&files, &cases(file)).unwrap();
        assert_eq!(failures(&report), Vec::<String>::new(), "{file}");
        let alone: Vec<_> =
            report.cases.iter().filter_map(|case| case.cedar_alone.as_ref()).collect();
        // What no hub can say yet is told, and is the exception.
        assert!(alone.len() * 10 < report.cases.len(), "{file}: {alone:?}");
        if examples {
            assert_eq!(report.coverage.policies_never, Vec::<String>::new());
            assert!(report.coverage.policies > 5 && report.coverage.actions > 10);
        }
    }
}

const CASE: &str = r#"{
    "name": "app encrypts",
    "request": {
      "principal": "CipherHub::Service::\"ptc_checkout\"",
      "action": "CipherHub::Action::\"keys.encrypt\"",
      "resource": "CipherHub::Key::\"key_orders\"",
      "context": {
        "caller": {
          "channel": {"type": "CipherHub::Channel", "id": "tcp"},
          "sourceIp": "10.1.2.3",
          "now": "2026-11-24T10:00:00.000Z",
          "authMethod": {"type": "CipherHub::AuthMethod", "id": "apiKey"},
          "tls": true,
          "mutualTls": false
        },
        "encryptionContext": {"type": "CipherHub::EncryptionContext", "id": "eu"},
        "payloadBytes": 1024
      }
    },
    "entities": "entities.json",
    "decision": "allow",
    "reason": ["role.app"],
    "num_errors": 0
  }"#;

fn parse(text: &str) -> (Vec<Case>, Vec<Problem>) {
    Library::new().parse(text, "t.test.json", &policies().join("tests"))
}

fn ran(policy: &str, case: &str) -> Report {
    let (cases, problems) = parse(&format!("[{case}]"));
    assert_eq!(problems, []);
    run(&[("local/a.cedar".to_owned(), policy.to_owned())], &cases).unwrap()
}

/// What one case says of an id is not what the next one says, memo or not.
#[test]
fn cases_do_not_meet_each_others_facts() {
    let entities = std::fs::read_to_string(policies().join("tests/entities.json")).unwrap();
    let frozen = entities.replace("\"frozen\": false", "\"frozen\": true");
    let second = CASE
        .replace("\"entities.json\"", &frozen)
        .replace("\"allow\"", "\"deny\"")
        .replace("role.app", "guard.frozen-key");
    let other = CASE.replace("Service::", "Device::").replace(
        "\"entities.json\"",
        &entities.replace("\"CipherHub::Service\"", "\"CipherHub::Device\""),
    );
    let report = ran("", &format!("{CASE}, {second}, {other}, {CASE}"));
    assert_eq!(failures(&report), Vec::<String>::new());
}

#[test]
fn a_case_that_is_not_so_says_all_that_is_not() {
    assert!(ran("", CASE).cases[0].passed);
    let wrong = CASE
        .replace("\"allow\"", "\"deny\"")
        .replace("role.app", "role.owner\", \"nobody")
        .replace("\"num_errors\": 0", "\"num_errors\": 1");
    let report = ran("", &wrong);
    assert!(!report.cases[0].passed);
    assert_eq!(
        report.cases[0].failures,
        [
            "it is to be deny, and is allow",
            "`role.owner` does not determine it",
            "`nobody` is no policy",
            "1 error(s) are to occur, and 0 do",
        ]
    );
    assert_eq!(report.cases[0].actual.policies, ["role.app"]);
}

#[test]
fn an_error_that_cedar_skips_fails_where_a_hub_would_deny() {
    let errs = "@id(\"much\") forbid(principal, action in CipherHub::Action::\"UseKey\", \
        resource is CipherHub::Key) when { context.payloadBytes * 9223372036854775807 > 0 };";
    let expected = CASE.replace("\"num_errors\": 0", "\"num_errors\": 1");
    let report = ran(errs, &expected);
    assert!(!report.cases[0].passed);
    let said = report.cases[0].failures.join("\n");
    assert!(said.contains("a policy that errs denies"), "{said}");
    assert!(said.contains("overflow"), "{said}");
    // A denial that is expected with its error is one on a hub as well.
    let denied = expected.replace("\"allow\"", "\"deny\"").replace("[\"role.app\"]", "[]");
    let errs = format!(
        "{errs} @id(\"no\") forbid(principal, action == CipherHub::Action::\"keys.encrypt\", \
         resource);"
    );
    let report = ran(&errs, &denied);
    // Where an error denies, a hub names no forbid beside it; Cedar does.
    assert!(report.cases[0].passed, "{:?}", report.cases[0]);
}

#[test]
fn names_that_no_hub_gives_do_not_pass_for_ids() {
    let policy = "@id(\"stop\") forbid(principal == CipherHub::Service::\"ptc_checkout\", \
        action == CipherHub::Action::\"keys.encrypt\", resource);";
    let expected = CASE.replace("\"allow\"", "\"deny\"").replace("role.app", "stop");
    let report = ran(policy, &expected);
    let said = report.cases[0].failures.join("\n");
    assert!(said.contains("on a hub it is allow by role.app"), "{said}");
    assert!(!said.contains("fault of Cipher Hub"), "{said}");
}

#[test]
fn coverage_names_what_no_case_determines() {
    let policies =
        "@id(\"used\") forbid(principal, action == CipherHub::Action::\"keys.encrypt\", \
          resource) when { context.payloadBytes == 1024 };
        @id(\"idle\") forbid(principal, action in [CipherHub::Action::\"keys.encrypt\", \
          CipherHub::Action::\"keys.rotate\"], resource) when { resource.name == \"x\" };";
    let case = CASE.replace("\"allow\"", "\"deny\"").replace("role.app", "used");
    let coverage = ran(policies, &case).coverage;
    assert_eq!((coverage.policies, coverage.policies_never), (2, vec!["idle".to_owned()]));
    assert_eq!((coverage.actions, coverage.actions_never), (2, vec!["keys.rotate"]));
    assert!(coverage.baseline_never.contains(&"guard.suspended".to_owned()));
    assert!(!coverage.actions_unasked.contains(&"keys.encrypt"));
}

#[test]
fn bad_test_files_say_where() {
    let place = |text: &str| {
        let (cases, problems) = parse(text);
        assert!(cases.is_empty());
        assert_eq!(problems.len(), 1, "{problems:?}");
        (problems[0].line, problems[0].message.clone(), problems[0].rendered.clone())
    };
    let (line, message, rendered) = place("[\n  {\n    \"name\": oops\n  }\n]");
    assert_eq!((line, &*message), (3, "expected value"));
    assert!(rendered.contains("t.test.json:3"), "{rendered}");
    let (line, message, _) = place(&format!("[\n{}\n]", CASE.replace("\"reason\"", "\"reasons\"")));
    assert_eq!((line, &*message), (2, "missing field `reason`"));
    let wrong = CASE.replace("\"num_errors\": 0", "\"num_errors\": \"none\"");
    let (line, message, _) = place(&format!("[{wrong}]"));
    assert!(line == 23 && message.contains("expected usize"), "{line} {message}");
    let (line, message, _) = place(&format!("[{}]", CASE.replace("Service::", "Servce::")));
    assert!(message.contains("Servce"), "{line} {message}");
    let (line, message, _) = place(&format!("[{}]", CASE.replace("keys.encrypt", "keys.encrpt")));
    assert!(message.contains("keys.encrpt"), "{line} {message}");
    let (line, message, _) = place(&format!("[{}]", CASE.replace("\"sourceIp\"", "\"sourceIP\"")));
    assert!(line == 7 && message.contains("sourceIP"), "{line} {message}");
    let (line, message, _) = place(&format!("[{}]", CASE.replace("entities.json", "none.json")));
    assert!(line == 20 && message.contains("none.json"), "{line} {message}");
    let (line, message, _) =
        place(&format!("[{}]", CASE.replace("entities.json", "../hub.cedarschema")));
    assert!(line == 20 && message.contains("outside the folder"), "{line} {message}");
    // One bad case does not hide the others.
    let (cases, problems) = parse(&format!("[{CASE}, {{}}, {CASE}]"));
    assert_eq!((cases.len(), problems.len()), (2, 1));
    assert_eq!(cases[1].line, 24);
}

fn rules(policy: &str) -> Vec<(Level, &'static str, u32)> {
    let files = [("local/a.cedar".to_owned(), format::formatted(policy).unwrap_or(policy.into()))];
    let found = check(&files).unwrap().findings;
    found.iter().map(|f| (f.level, f.problem.rule, f.problem.line)).collect()
}

#[test]
fn a_check_tells_everything_at_once() {
    assert_eq!(
        rules("@id(\"a\") permit(principal, action, resource) when {"),
        [(Level::Error, "syntax", 1)]
    );
    assert_eq!(rules("permit(principal, action, resource);"), [(Level::Error, "id", 1)]);
    let misspelt = "@id(\"a\") forbid(principal, action, resource is CipherHub::Key) \
        when { resource.nam == \"x\" };";
    assert_eq!(rules(misspelt), [(Level::Error, "validation", 7)]);
    let locked = rules("@id(\"a\") forbid(principal, action, resource is CipherHub::Hub);");
    assert_eq!(locked, [(Level::Error, "lock-out", 1)]);
    let nobody = "@id(\"a\") permit(principal == CipherHub::User::\"bob\", action, resource);";
    assert_eq!(rules(nobody), [(Level::Warning, "unreachable", 1)]);
    let files = [("a.cedar".to_owned(), format!("\n\n{nobody}"))];
    let findings = check(&files).unwrap().findings;
    assert!(findings.iter().any(|f| f.problem.rule == "format"));
    assert_eq!(rules(""), []);
}

#[test]
fn policies_that_change_nothing_are_told_of() {
    let idle = |policies: &str| -> Vec<u32> {
        let found = rules(policies).into_iter().filter(|(_, rule, _)| *rule == "unused");
        found.map(|(_, _, line)| line).collect()
    };
    let encrypt = "action == CipherHub::Action::\"keys.encrypt\"";
    let narrow =
        format!("@id(\"a\")\npermit (principal is CipherHub::User, {encrypt}, resource);\n");
    let wide = format!("@id(\"b\")\npermit (principal, {encrypt}, resource);\n");
    let conditional = format!(
        "@id(\"c\")\npermit (principal, {encrypt}, resource)\nwhen {{ principal.suspended }};\n"
    );
    let forbid = format!("@id(\"d\")\nforbid (principal, {encrypt}, resource);\n");
    assert_eq!(idle(&format!("{narrow}{wide}")).len(), 1);
    assert_eq!(idle(&format!("{conditional}{narrow}")), Vec::<u32>::new());
    assert_eq!(idle(&format!("{conditional}{wide}")).len(), 1);
    assert_eq!(idle(&format!("{wide}{forbid}")).len(), 1);
    // A permit never outdoes a forbid.
    let narrow_forbid = narrow.replace("permit", "forbid");
    assert_eq!(idle(&format!("{narrow_forbid}{wide}")), Vec::<u32>::new());
    // Of two that are the same, one.
    let twin = conditional.replace("\"c\"", "\"e\"");
    assert_eq!(idle(&format!("{conditional}{twin}")).len(), 1);
}

#[test]
fn shipped_files_are_formatted_and_without_findings() {
    let files = folder::files(&policies().join("examples")).unwrap();
    let found: Vec<_> =
        check(&files).unwrap().findings.iter().map(|f| f.problem.to_string()).collect();
    assert_eq!(found, Vec::<String>::new());
    for (name, text) in hub_policy::schema::BASELINE {
        assert_eq!(
            format::first_difference(text, &format::formatted(text).unwrap()),
            None,
            "{name}"
        );
    }
}
