//! Why a request is decided as it is: clauses, what is missing, and what the request says there.

#![expect(clippy::unwrap_used, reason = "tests want their fixtures")]

use hub_policy::Bundle;
use hub_policy::analysis::{Analysis, Need, Question, Value};
use serde_json::{Value as Json, json};

fn entities() -> Json {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/tests/entities.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn context(address: &str) -> Json {
    json!({
        "caller": {
            "channel": {"type": "CipherHub::Channel", "id": "tcp"},
            "sourceIp": address,
            "now": "2026-11-24T10:00:00.000Z",
            "authMethod": {"type": "CipherHub::AuthMethod", "id": "apiKey"},
            "tls": true,
            "mutualTls": false
        },
        "encryptionContext": {"type": "CipherHub::EncryptionContext", "id": "eu"},
        "payloadBytes": 1024
    })
}

fn ask(policies: &str, principal: &str, action: &str, resource: &str) -> Analysis {
    let bundle = Bundle::parse([("local.cedar", policies)]).unwrap();
    let mut said = context("192.168.7.7");
    if action == "keys.rotate" {
        said.as_object_mut().unwrap().retain(|name, _| name == "caller");
    }
    let question = Question::from_json(
        &format!("CipherHub::{principal}"),
        &format!("CipherHub::Action::\"{action}\""),
        &format!("CipherHub::{resource}"),
        said,
        entities(),
    );
    bundle.analyze(&question.unwrap()).unwrap()
}

const NETWORK: &str = "@id(\"net\")\nforbid(principal, action in CipherHub::Action::\"UseKey\", \
    resource is CipherHub::Key)\nwhen { resource.registration.environment == \
    CipherHub::Environment::\"production\" }\nunless {\n  context.caller.tls &&\n  \
    context.caller has sourceIp &&\n  // the cluster\n  \
    context.caller.sourceIp.isInRange(ip(\"10.0.0.0/8\"))\n};";

#[test]
fn a_denial_by_a_forbid_says_what_would_lift_it() {
    let analysis = ask(NETWORK, "Service::\"ptc_checkout\"", "keys.encrypt", "Key::\"key_orders\"");
    assert!(!analysis.permitted && analysis.errors.is_empty());
    let [forbid] = analysis.determining.as_slice() else { panic!("{analysis:?}") };
    assert_eq!((&*forbid.id, &*forbid.file, forbid.line), ("net", "local.cedar", 1));
    assert!(forbid.applies);
    let [when, unless] = forbid.conditions.as_slice() else { panic!("{forbid:?}") };
    assert_eq!((when.wanted, &when.value, when.line), (true, &Value::True, 3));
    assert_eq!(
        (unless.wanted, &unless.value, unless.need),
        (false, &Value::False, Some(Need::Any))
    );
    let values: Vec<_> = unless.parts.iter().map(|part| part.value.clone()).collect();
    assert_eq!(values, [Value::True, Value::True, Value::False]);
    assert_eq!(unless.parts[2].line, 8);
    assert_eq!(
        unless.parts[2].facts,
        [("context.caller.sourceIp".to_owned(), "ip(\"192.168.7.7\")".to_owned())]
    );
    // The app's role does permit it, so lifting the forbid is all there is to do.
    assert_eq!((&*analysis.candidates[0].id, analysis.candidates[0].applies), ("role.app", true));
    assert_eq!(analysis.changes.len(), 1, "{:?}", analysis.changes);
    let change = &analysis.changes[0];
    assert!(change.starts_with("`net` must not apply: not `resource.registration.environment"));
    assert!(
        change.contains(
            ", or `context.caller.sourceIp.isInRange(ip(\"10.0.0.0/8\"))` \
             (context.caller.sourceIp is ip(\"192.168.7.7\"))"
        ),
        "{change}"
    );
}

#[test]
fn a_denial_for_want_of_a_permit_names_the_nearest() {
    let local = "@id(\"rotate\") permit(principal is CipherHub::Service, \
        action == CipherHub::Action::\"keys.rotate\", resource) \
        when { resource.hasTag(\"team\") && resource.getTag(\"team\") == \"pay\" };";
    let analysis = ask(local, "Service::\"ptc_checkout\"", "keys.rotate", "Key::\"key_orders\"");
    assert!(!analysis.permitted && analysis.determining.is_empty());
    let rotate = analysis.candidates.iter().find(|c| &*c.id == "rotate").unwrap();
    assert!(!rotate.applies);
    let [tagged] = rotate.conditions.as_slice() else { panic!("{rotate:?}") };
    let values: Vec<_> = tagged.parts.iter().map(|part| part.value.clone()).collect();
    assert_eq!(values, [Value::False, Value::NotReached]);
    let missing = rotate.missing();
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert!(missing[0].starts_with("`resource.hasTag(\"team\")`"), "{missing:?}");
    let last = analysis.changes.last().unwrap();
    assert!(last.starts_with("a permit must apply; nearest is `"), "{last}");
}

#[test]
fn a_scope_that_does_not_fit_says_which_part() {
    let local = "@id(\"one\") permit(principal == CipherHub::User::\"ptc_01jd8r6x5w0m3v9k2c7b4n1hqz\", \
        action == CipherHub::Action::\"keys.rotate\", resource is CipherHub::Key);";
    let analysis = ask(local, "Service::\"ptc_checkout\"", "keys.rotate", "Key::\"key_orders\"");
    let one = analysis.candidates.iter().find(|c| &*c.id == "one").unwrap();
    let held: Vec<_> = one.scope.iter().map(|part| part.holds()).collect();
    assert_eq!(held, [false, true, true]);
    assert_eq!(
        one.missing(),
        ["`principal == CipherHub::User::\"ptc_01jd8r6x5w0m3v9k2c7b4n1hqz\"` \
         (principal is CipherHub::Service::\"ptc_checkout\")"]
    );
}

#[test]
fn what_is_permitted_names_its_permits_and_nothing_to_change() {
    let analysis = ask("", "Service::\"ptc_checkout\"", "keys.encrypt", "Key::\"key_orders\"");
    assert!(analysis.permitted && analysis.changes.is_empty() && analysis.candidates.is_empty());
    let ids: Vec<_> = analysis.determining.iter().map(|policy| &*policy.id).collect();
    assert_eq!(ids, ["role.app"]);
}

#[test]
fn what_errs_is_said_without_values_and_denies() {
    let local = "@id(\"much\") forbid(principal, action in CipherHub::Action::\"UseKey\", \
        resource is CipherHub::Key) when { context.payloadBytes * 9223372036854775807 > 0 };";
    let analysis = ask(local, "Service::\"ptc_checkout\"", "keys.encrypt", "Key::\"key_orders\"");
    assert!(!analysis.permitted);
    assert_eq!(analysis.changes[0], "mend what errs: policy `much`: a number overflows");
}

#[test]
fn questions_that_are_none_say_which_part_is_wrong() {
    let ask = |principal: &str, action: &str, context: Json| {
        Question::from_json(principal, action, "CipherHub::Key::\"k\"", context, entities())
            .unwrap_err()
    };
    let encrypt = "CipherHub::Action::\"keys.encrypt\"";
    let service = "CipherHub::Service::\"a\"";
    assert_eq!(ask("checkout", encrypt, context("::1")).part, "principal");
    let error = ask(service, "CipherHub::Action::\"keys.encrpt\"", context("::1"));
    assert!(error.to_string().contains("keys.encrpt"), "{error}");
    let error = ask(service, encrypt, json!({"caller": {}}));
    assert_eq!(error.part, "context");
    let error = Question::from_json(service, encrypt, "x", context("::1"), json!([])).unwrap_err();
    assert_eq!(error.part, "resource");
}
