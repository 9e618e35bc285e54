use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hub_model::clock::SystemClock;

use super::*;

const EC: &str = r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;

fn issuer(cooldown: Option<Duration>) -> Issuer {
    Issuer::new(Settings {
        name: "corp".parse().unwrap(),
        issuer: "https://login.example".to_owned(),
        audiences: vec!["hub".to_owned()],
        algorithms: JwsAlgorithm::ALL.to_vec(),
        leeway: Duration::from_secs(30),
        max_life: LONGEST_LIFE,
        max_age: None,
        subject: Claim::new("sub"),
        groups: None,
        roles: BTreeMap::new(),
        require: Vec::new(),
        cooldown,
    })
}

fn set(kid: &str) -> Vec<u8> {
    format!(r#"{{"keys":[{{{EC},"kid":"{kid}"}}]}}"#).into_bytes()
}

#[test]
fn a_set_that_cannot_be_read_leaves_the_old_one() {
    let issuer = issuer(None);
    assert!(issuer.load(&set("a")).unwrap().changed);
    assert!(!issuer.load(&set("a")).unwrap().changed);
    let keys = issuer.current();
    assert!(issuer.load(b"<html>").is_err());
    assert!(issuer.has(&keys));
    assert!(issuer.load(&set("b")).unwrap().changed);
    assert!(!issuer.has(&keys), "what was verified with the old keys is verified again");
    issuer.withdraw();
    assert_eq!(issuer.keys(), 0);
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a test supervises its own tasks")]
async fn unknown_keys_ask_once_in_the_cooldown_and_all_get_the_answer() {
    let issuer = Arc::new(issuer(Some(Duration::from_secs(3600))));
    issuer.load(&set("a")).unwrap();
    issuer.answered();
    let asked = Arc::new(AtomicU32::new(0));
    let source = {
        let (issuer, asked) = (Arc::clone(&issuer), Arc::clone(&asked));
        tokio::spawn(async move {
            loop {
                issuer.wanted().await;
                asked.fetch_add(1, Ordering::SeqCst);
                issuer.load(&set("b")).unwrap();
                issuer.answered();
            }
        })
    };
    let es256 = JwsAlgorithm::Es256;
    let ask = |kid: &'static str| {
        let issuer = Arc::clone(&issuer);
        tokio::spawn(async move { issuer.knowing(Some(kid), es256, &SystemClock).await.is_some() })
    };
    // The rotation: everybody who comes with the new key is served.
    for task in (0..100).map(|_| ask("b")).collect::<Vec<_>>() {
        assert!(task.await.unwrap());
    }
    // The flood: nobody waits, nobody is asked.
    let flood = (0..1000).map(|_| ask("evil")).collect::<Vec<_>>();
    for task in flood {
        assert!(!tokio::time::timeout(Duration::from_secs(2), task).await.unwrap().unwrap());
    }
    assert!(!ask("a").await.unwrap(), "withdrawn");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    source.abort();
}

#[tokio::test]
async fn keys_in_files_are_not_asked_for() {
    let issuer = issuer(None);
    let found = issuer.knowing(Some("a"), JwsAlgorithm::Es256, &SystemClock);
    let found = tokio::time::timeout(Duration::from_millis(500), found).await;
    assert!(found.unwrap().is_none());
}

#[tokio::test]
async fn a_token_of_nobody_is_refused_by_what_is_wrong_with_it() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let corp = Arc::new(issuer(None));
    corp.load(&set("a")).unwrap();
    let issuers = Issuers::new(vec![corp]);
    assert!(issuers.decoy.is_some());
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    for (header, claims, refusal) in [
        (r#"{"alg":"none"}"#, r#"{"iss":"https://login.example"}"#, Refusal::TokenMalformed),
        (r#"{"alg":"ES256","kid":"a"}"#, "{}", Refusal::TokenIssuer),
        (
            r#"{"alg":"ES256","kid":"a"}"#,
            r#"{"iss":"https://login.example/"}"#,
            Refusal::TokenIssuer,
        ),
        (r#"{"alg":"ES256","kid":"b"}"#, r#"{"iss":"https://login.example"}"#, Refusal::TokenKey),
        (r#"{"alg":"RS256","kid":"a"}"#, r#"{"iss":"https://login.example"}"#, Refusal::TokenKey),
        (
            r#"{"alg":"ES256","kid":"a"}"#,
            r#"{"iss":"https://login.example"}"#,
            Refusal::TokenSignature,
        ),
    ] {
        let text = format!("{}.{}.{}", part(header), part(claims), part("signature"));
        assert_eq!(issuers.verify(&text, &SystemClock).await.unwrap_err(), refusal, "{header}");
    }
}

#[test]
fn a_revocation_is_of_one_issuer_and_of_what_was_issued_before() {
    let (corp, other): (Name, Name) = ("corp".parse().unwrap(), "other".parse().unwrap());
    let at = Timestamp::from_micros;
    let revocation = |which| TokenRevocation {
        id: hub_model::TokenRevocationId::generate(),
        issuer: corp.clone(),
        which,
        reason: String::new(),
        created: at(0),
        expires: at(100),
    };
    let token = revocation(Which::Token { jti: "t".to_owned() });
    assert!(token.revokes(&corp, Some("t"), "alice", at(50)));
    assert!(!token.revokes(&other, Some("t"), "alice", at(50)));
    assert!(!token.revokes(&corp, Some("u"), "alice", at(50)));
    assert!(!token.revokes(&corp, None, "t", at(50)));
    let subject = revocation(Which::Subject { subject: "alice".to_owned(), before: at(50) });
    assert!(subject.revokes(&corp, None, "alice", at(50)));
    assert!(!subject.revokes(&corp, None, "alice", at(51)));
    assert!(!subject.revokes(&corp, Some("alice"), "bob", at(1)));
    assert!(!subject.revokes(&other, None, "alice", at(1)));
}
