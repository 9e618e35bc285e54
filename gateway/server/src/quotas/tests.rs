//! Which rule counts what.

use std::time::Duration;

use hub_model::clock::ManualClock;
use hub_model::principal::PeerAddress;
use hub_model::quota::RegistrationQuotas;
use hub_model::{
    AuthMethod, Environment, Participant, ParticipantId, ParticipantKind, RegistrationId, Tags,
    Timestamp,
};

use super::*;

const TIME: Timestamp = Timestamp::from_micros(1_767_571_200_000_000);

fn rules(json: &str) -> Vec<QuotaRule> {
    serde_json::from_str(json).unwrap()
}

fn caller(address: &str) -> Caller {
    let participant = Participant {
        id: ParticipantId::generate(),
        registration: RegistrationId::generate(),
        name: "somebody".parse().unwrap(),
        kind: ParticipantKind::Service,
        suspended: false,
        tags: Tags::default(),
        roles: Vec::new(),
        grants_in: std::collections::BTreeMap::new(),
        created: TIME,
        updated: TIME,
        generation: 1,
    };
    let address = PeerAddress::Ip(address.parse().unwrap());
    Caller::for_tests(participant, 1, AuthMethod::ApiKey, address, TIME, false)
}

fn registration(bounds: &str, rules_: &str) -> Registration {
    let kept = |json: &str, from: u64| {
        let numbered = (from..).zip(rules(json));
        numbered.map(|(number, rule)| KeptQuota { number, rule }).collect()
    };
    let quotas = RegistrationQuotas { bounds: kept(bounds, 1 << 63), rules: kept(rules_, 9 << 60) };
    Registration {
        id: RegistrationId::generate(),
        name: "shop".parse().unwrap(),
        description: String::new(),
        environment: Environment::Dev,
        frozen: false,
        frozen_by_hub: false,
        tags: Tags::default(),
        created: TIME,
        updated: TIME,
        generation: 1,
        rotation: None,
        quotas: (!quotas.is_empty()).then(|| Box::new(quotas)),
    }
}

fn quotas(json: &str) -> (Quotas, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(TIME));
    (Quotas::new(&rules(json), Arc::clone(&clock) as Arc<dyn Clock>), clock)
}

fn policy(refused: Result<Option<Left>, Error>) -> (String, u64) {
    match refused {
        Err(Error::OverQuota { left, retry_after }) => {
            (left.unwrap().policy.to_string(), retry_after)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn rules_of_the_configuration_count_by_participant_and_address_before_a_target_is_known() {
    let (quotas, clock) = quotas(
        r#"[{"name":"each","per":"participant","actions":["UseKey"],
             "limits":[{"requests":2,"windowSeconds":10}]},
            {"name":"place","per":"address","limits":[{"requests":3,"windowSeconds":60}]}]"#,
    );
    let (one, two) = (caller("10.0.0.1"), caller("10.0.0.1"));
    for _ in 0..2 {
        assert!(quotas.admit(&one, Action::KeysEncrypt).is_ok());
    }
    assert_eq!(policy(quotas.admit(&one, Action::KeysEncrypt)), ("each".to_owned(), 5));
    // The refusal took nothing from the wider rule.
    let left = quotas.admit(&two, Action::KeysEncrypt).unwrap().unwrap();
    assert_eq!((&*left.policy, left.remaining), ("place", 0));
    assert_eq!(policy(quotas.admit(&one, Action::SystemWhoami)).0, "place");
    assert!(quotas.admit(&caller("10.0.0.2"), Action::SystemWhoami).is_ok());
    clock.advance(Duration::from_secs(20));
    assert!(quotas.admit(&one, Action::KeysEncrypt).is_ok());
    quotas.shed();
    assert!(quotas.tracked() > 0);
    clock.advance(Duration::from_secs(3600));
    quotas.shed();
    assert_eq!(quotas.tracked(), 0);
}

#[test]
fn rules_of_a_registration_count_by_key_and_by_registration() {
    let (quotas, _) = quotas("[]");
    let shop = registration(
        r#"[{"name":"all","per":"registration","limits":[{"requests":5,"windowSeconds":60}]}]"#,
        r#"[{"name":"one-key","per":"key","actions":["keys.decrypt"],
             "limits":[{"requests":2,"windowSeconds":60}]}]"#,
    );
    let (orders, bills) = (KeyId::generate(), KeyId::generate());
    let ask = |action, key| quotas.admit_at(&caller("10.0.0.1"), action, &shop, key);
    assert!(ask(Action::KeysDecrypt, Some(orders)).is_ok());
    assert!(ask(Action::KeysDecrypt, Some(orders)).is_ok());
    for _ in 0..10 {
        assert_eq!(policy(ask(Action::KeysDecrypt, Some(orders))).0, "one-key");
    }
    assert!(ask(Action::KeysDecrypt, Some(bills)).is_ok(), "another key");
    assert!(ask(Action::KeysEncrypt, Some(orders)).is_ok(), "another action");
    assert!(ask(Action::KeysList, None).is_ok(), "no key at all");
    assert_eq!(policy(ask(Action::KeysList, None)).0, "all");
    assert!(ask(Action::QuotasSet, None).is_ok(), "a way out stays open");
    let other = registration("[]", "[]");
    assert_eq!(quotas.admit_at(&caller("10.0.0.1"), Action::KeysList, &other, None).unwrap(), None);
}

#[test]
fn no_quota_of_the_target_counts_what_takes_rights_away() {
    let (quotas, _) = quotas(
        r#"[{"name":"wide","per":"registration","limits":[{"requests":1,"windowSeconds":86400}]}]"#,
    );
    let tight = r#"[{"name":"tight","per":"registration",
                     "limits":[{"requests":1,"windowSeconds":86400}]}]"#;
    let shop = registration(tight, tight);
    let key = Some(KeyId::generate());
    let ask = |action| quotas.admit_at(&caller("10.0.0.1"), action, &shop, key);
    assert!(ask(Action::KeysEncrypt).is_ok());
    assert_eq!(policy(ask(Action::KeysEncrypt)).1, 86_400);
    for action in [
        Action::RegistrationsFreeze,
        Action::RegistrationsUnfreeze,
        Action::RegistrationsDelete,
        Action::ParticipantsSuspend,
        Action::ParticipantsRemove,
        Action::CredentialsRevoke,
        Action::TokensRevoke,
        Action::RolesRevoke,
        Action::GrantsDelete,
        Action::KeysSuspend,
        Action::KeysMarkCompromised,
        Action::QuotasGet,
        Action::QuotasSet,
        Action::QuotasBound,
    ] {
        assert_eq!(ask(action).unwrap(), None, "{action}");
    }
    for action in [Action::ParticipantsResume, Action::RolesGrant, Action::KeysResume] {
        assert!(ask(action).is_err(), "{action}");
    }
}

#[test]
fn rules_may_be_for_some_participants_and_keys_only() {
    let (quotas, _) = quotas("[]");
    let (noisy, calm) = (caller("10.0.0.1"), caller("10.0.0.1"));
    let noisy_id = noisy.principal().participant;
    let shop = registration(
        "[]",
        &format!(
            r#"[{{"name":"noisy","per":"participant","participants":["{noisy_id}"],
                 "limits":[{{"requests":1,"windowSeconds":60}}]}}]"#
        ),
    );
    let ask = |who: &Caller| quotas.admit_at(who, Action::KeysEncrypt, &shop, None);
    assert!(ask(&noisy).is_ok());
    assert_eq!(policy(ask(&noisy)), ("noisy".to_owned(), 60));
    for _ in 0..5 {
        assert_eq!(ask(&calm).unwrap(), None);
    }
}

#[test]
fn headers_name_the_window_where_there_are_several() {
    let (quotas, _) = quotas("[]");
    let shop = registration(
        "[]",
        r#"[{"name":"both","per":"registration",
             "limits":[{"requests":1000,"windowSeconds":1},{"requests":10,"windowSeconds":86400}]}]"#,
    );
    let left = quotas.admit_at(&caller("10.0.0.1"), Action::KeysEncrypt, &shop, None).unwrap();
    let mut headers = HeaderMap::new();
    write_headers(&left.unwrap(), &mut headers);
    assert_eq!(headers["ratelimit"], "\"both/86400\";r=9;t=8640");
    assert_eq!(headers["ratelimit-policy"], "\"both/86400\";q=10;w=86400");
    let first = HeaderValue::from_static("\"participant\";r=1;t=1");
    put_first(&mut headers, RATE_LIMIT, &first);
    assert_eq!(headers["ratelimit"], "\"participant\";r=1;t=1, \"both/86400\";r=9;t=8640");
}
