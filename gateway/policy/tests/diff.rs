//! What a comparison of two sets finds: differences that hang on one word of a policy.

#![expect(clippy::unwrap_used, reason = "tests want their fixtures")]

use hub_policy::authoring::diff::{Basis, Comparison, Relation, Row, diff};

type Files = Vec<(String, String)>;

fn files(policies: &str) -> Files {
    vec![("local.cedar".to_owned(), policies.to_owned())]
}

fn compare(a: &str, b: &str) -> Comparison {
    diff(&files(a), &files(b), &[], 150).unwrap()
}

fn row<'a>(comparison: &'a Comparison, principal: &str, action: &str) -> &'a Row {
    comparison.rows.iter().find(|r| r.principal == principal && r.action == action).unwrap()
}

const ENCRYPT: &str = "action == CipherHub::Action::\"keys.encrypt\"";

#[test]
fn the_same_policies_are_the_same_without_a_request() {
    let a = format!(
        "@id(\"a\") forbid(principal, {ENCRYPT}, resource) when {{ principal.suspended }};"
    );
    // Other ids, titles and order are no difference.
    let b = format!("// new\n@id(\"b\") @title(\"x\") {}", a.replace("@id(\"a\") ", ""));
    let comparison = compare(&a, &b);
    assert!(comparison.rows.iter().all(|row| row.basis == Basis::SamePolicies));
    assert!(comparison.rows.iter().all(|row| row.relation == Relation::Same));
    assert_eq!(comparison.generated, 0);
    assert_eq!(comparison.rows.len(), hub_model::Action::ALL.len() * 3);
}

/// Each condition is met or missed by one word; the comparison knows the word from the policy.
#[test]
fn a_difference_that_hangs_on_one_word_is_found() {
    let conditions = [
        "context.caller has sourceIp && context.caller.sourceIp.isInRange(ip(\"192.168.7.0/28\"))",
        "context.caller.now.toTime() == duration(\"3h17m\")",
        "context.caller.now < datetime(\"2001-01-01\")",
        "context.payloadBytes == 4711",
        "resource.hasTag(\"team\") && resource.getTag(\"team\") == \"pay\"",
        "resource.algorithm == \"AES_256_GCM_SIV\"",
        "principal.name == \"batch-one\"",
        "context.encryptionContext.hasTag(\"tenant\")",
        "principal == CipherHub::Service::\"ptc_01jd8r6x5w0m3v9k2c7b4n1hqz\"",
        "resource.registration.environment == CipherHub::Environment::\"staging\"",
        "context.caller.authMethod == CipherHub::AuthMethod::\"bootstrap\"",
    ];
    for condition in conditions {
        let forbid = format!(
            "@id(\"a\") forbid(principal is CipherHub::Service, {ENCRYPT}, \
             resource is CipherHub::Key) when {{ {condition} }};"
        );
        let comparison = diff(&files(""), &files(&forbid), &[], 1_000).unwrap();
        let row = row(&comparison, "Service", "keys.encrypt");
        assert_eq!(row.relation, Relation::Narrower, "{condition}");
        let example = row.narrower.as_ref().unwrap();
        assert_eq!((example.a.decision, example.b.decision), ("allow", "deny"), "{condition}");
        assert_eq!(example.b.policies, ["a"], "{condition}");
    }
}

#[test]
fn scopes_of_one_caller_and_one_key_are_met() {
    let grant = format!(
        "@id(\"a\") permit(principal == CipherHub::Device::\"ptc_01jd8r6x5w0m3v9k2c7b4n1hqz\", \
         {ENCRYPT}, resource == CipherHub::Key::\"key_01jd8r6x5w0m3v9k2c7b4n1hqz\");"
    );
    let comparison = compare("", &grant);
    let device = row(&comparison, "Device", "keys.encrypt");
    assert_eq!((device.relation, device.basis), (Relation::Wider, Basis::Requests));
    assert_eq!(device.wider.as_ref().unwrap().b.policies, ["a"]);
    // Made as plain as it can be: nothing but what the difference needs.
    let example = device.wider.as_ref().unwrap();
    let principal = example
        .entities
        .as_array()
        .unwrap()
        .iter()
        .find(|entity| entity["uid"]["type"] == "CipherHub::Device");
    assert_eq!(principal.unwrap()["parents"], serde_json::json!([]));
    assert_eq!(row(&comparison, "User", "keys.decrypt").basis, Basis::SamePolicies);
    let back = compare(&grant, "");
    assert_eq!(row(&back, "Device", "keys.encrypt").relation, Relation::Narrower);
}

#[test]
fn more_here_and_less_there_is_incomparable_and_the_answer_is_always_the_same() {
    let a =
        format!("@id(\"a\") forbid(principal, {ENCRYPT}, resource) when {{ context.caller.tls }};");
    let b = a.replace("when", "unless");
    let one = compare(&a, &b);
    let row = row(&one, "User", "keys.encrypt");
    assert_eq!(row.relation, Relation::Incomparable);
    assert!(row.wider.is_some() && row.narrower.is_some());
    let two = compare(&a, &b);
    assert_eq!(serde_json::to_value(&one).unwrap(), serde_json::to_value(&two).unwrap());
}

#[test]
fn what_is_written_otherwise_and_means_the_same_is_not_told_apart() {
    let a = format!(
        "@id(\"a\") forbid(principal, {ENCRYPT}, resource) unless {{ context.caller.tls }};"
    );
    let b = format!(
        "@id(\"a\") forbid(principal, {ENCRYPT}, resource) when {{ !context.caller.tls }};"
    );
    let comparison = compare(&a, &b);
    let row = row(&comparison, "User", "keys.encrypt");
    assert_eq!((row.relation, row.basis), (Relation::Same, Basis::Requests));
    assert_eq!(comparison.generated, 3 * 150);
}

#[cfg(feature = "prove")]
mod proof {
    use std::path::Path;

    use hub_policy::authoring::prove::{ProveError, prove};

    use super::*;

    fn proven(a: &str, b: &str) -> Option<Comparison> {
        if std::process::Command::new("cvc5").arg("--version").output().is_err() {
            println!("skipped: there is no program `cvc5`");
            return None;
        }
        let mut comparison = diff(&files(a), &files(b), &[], 0).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (a, b) = (files(a), files(b));
        runtime.block_on(prove(&mut comparison, &a, &b, Path::new("cvc5"))).unwrap();
        Some(comparison)
    }

    #[test]
    fn a_proof_tells_same_wider_narrower_and_incomparable() {
        let tls = format!(
            "@id(\"a\") forbid(principal, {ENCRYPT}, resource) unless {{ context.caller.tls }};"
        );
        let not = format!(
            "@id(\"a\") forbid(principal, {ENCRYPT}, resource) when {{ !context.caller.tls }};"
        );
        let Some(same) = proven(&tls, &not) else { return };
        let row = |comparison: &Comparison| super::row(comparison, "User", "keys.encrypt").clone();
        assert_eq!((row(&same).relation, row(&same).basis), (Relation::Same, Basis::Proof));
        let narrower = row(&proven("", &tls).unwrap());
        assert_eq!(narrower.relation, Relation::Narrower);
        let example = narrower.narrower.unwrap();
        assert_eq!((example.a.decision, example.b.decision), ("allow", "deny"));
        assert_eq!(example.source, "proof");
        assert_eq!(row(&proven(&tls, "").unwrap()).relation, Relation::Wider);
        let other = tls.replace("unless", "when");
        assert_eq!(row(&proven(&tls, &other).unwrap()).relation, Relation::Incomparable);
    }

    #[test]
    fn what_may_err_is_not_said_to_be_proven() {
        let counts = format!(
            "@id(\"much\") forbid(principal, {ENCRYPT}, resource) \
             when {{ context.payloadBytes * 2 == 7 }};"
        );
        let Some(comparison) = proven("", &counts) else { return };
        let row = super::row(&comparison, "User", "keys.encrypt");
        assert_eq!(row.relation, Relation::Same);
        assert_eq!(row.except, ["requests on which `much` errs, which are denied"]);
    }

    #[test]
    fn a_solver_that_is_not_there_is_named() {
        let forbid = format!("@id(\"a\") forbid(principal, {ENCRYPT}, resource);");
        let mut comparison = diff(&files(""), &files(&forbid), &[], 0).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (a, b) = (files(""), files(&forbid));
        let error = runtime.block_on(prove(&mut comparison, &a, &b, Path::new("/no/cvc5")));
        assert!(matches!(error, Err(ProveError::Solver(why)) if why.contains("/no/cvc5")));
    }
}
