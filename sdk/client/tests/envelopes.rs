//! Envelopes against a fake hub: how often it is asked, what it is asked, and what happens when it
//! is away.

mod fake;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cipher_hub_client::model::clock::ManualClock;
use cipher_hub_client::model::secret::{SecretText, encode_base64};
use cipher_hub_client::model::{Clock, Timestamp};
use cipher_hub_client::{
    Client, EncryptionContext, Envelope, EnvelopeBuilder, EnvelopeError, Error, RetryPolicy,
};
use fake::{Asked, Fake, Told, json, problem};

#[expect(clippy::unwrap_used, reason = "test code, outside a test function")]
fn context(json: &str) -> EncryptionContext {
    serde_json::from_str(json).unwrap()
}

fn none() -> EncryptionContext {
    EncryptionContext::default()
}

/// Gives data keys `n, n, n, …` with the ciphertext `ch1:1:<n>`, and decrypts those, under the
/// context of branches only.
fn keys(asked: &Asked, number: usize) -> Told {
    let body: serde_json::Value = serde_json::from_slice(asked.body()).unwrap_or_default();
    if body["context"]["cipher-hub/envelope"] != "1" {
        return problem(400, "decryption_failed", false);
    }
    if asked.uri().path().ends_with(":generateDataKey") {
        let key = encode_base64(&[u8::try_from(number).unwrap_or(0); 32]);
        return json(
            200,
            &format!(
                r#"{{"form":"random","plaintext":"{key}","ciphertext":"ch1:1:{number}","version":1}}"#
            ),
        );
    }
    match body["ciphertext"].as_str().and_then(|text| text.rsplit(':').next()?.parse().ok()) {
        Some(number) => {
            let key = encode_base64(&[number; 32]);
            json(200, &format!(r#"{{"plaintext":"{key}","version":1}}"#))
        }
        None => problem(400, "decryption_failed", false),
    }
}

#[expect(clippy::unwrap_used, reason = "test code, outside a test function")]
fn client(hub: &Fake) -> Client {
    Client::builder(&hub.address)
        .api_key(SecretText::new("chk_test".to_owned()))
        .retry(RetryPolicy { base: Duration::from_millis(1), ..RetryPolicy::default() })
        .build()
        .unwrap()
}

fn builder(hub: &Fake) -> EnvelopeBuilder {
    client(hub).envelope("shop", "orders")
}

fn paths(hub: &Fake) -> Vec<String> {
    let path = |asked: &Asked| asked.uri().path().rsplit(':').next().unwrap_or_default().to_owned();
    hub.seen().iter().map(path).collect()
}

#[tokio::test]
async fn one_call_serves_many_messages_and_another_reader() {
    let hub = Fake::http(keys).await;
    let envelope = builder(&hub).build().unwrap();
    let mut messages = Vec::new();
    for number in 0..50_u8 {
        let context = context(&format!(r#"{{"order":"{number}"}}"#));
        messages.push((envelope.encrypt(&[number; 100], &context).await.unwrap(), context, number));
    }
    assert_eq!(paths(&hub), ["generateDataKey"]);
    let reader = builder(&hub).build().unwrap();
    for (message, context, number) in &messages {
        let opened = reader.decrypt(message, context).await.unwrap();
        assert_eq!(opened.expose_secret(), [*number; 100]);
    }
    assert_eq!(paths(&hub), ["generateDataKey", "decrypt"]);
    let asked: serde_json::Value = serde_json::from_slice(hub.seen()[0].body()).unwrap();
    let wanted = serde_json::json!({"bytes": 32, "context": {"cipher-hub/envelope": "1"}});
    assert_eq!(asked, wanted);
    assert_eq!(
        hub.seen()[1].uri().path(),
        "/v1/registrations/shop/keys/orders:decrypt",
        "under this key, and no other of the registration"
    );
    // Equal messages look different.
    assert_ne!(
        envelope.encrypt(b"x", &none()).await.unwrap(),
        envelope.encrypt(b"x", &none()).await.unwrap()
    );
}

#[tokio::test]
async fn what_was_bound_has_to_be_given_again() {
    let hub = Fake::http(keys).await;
    let envelope = builder(&hub).build().unwrap();
    let eu = envelope.branch(&context(r#"{"tenant":"eu"}"#)).unwrap();
    let message = eu.encrypt(b"secret", &context(r#"{"order":"1"}"#)).await.unwrap();
    let wrong = eu.decrypt(&message, &none()).await;
    assert!(matches!(wrong, Err(EnvelopeError::Open)));
    let opened = eu.decrypt(&message, &context(r#"{"order":"1"}"#)).await.unwrap();
    assert_eq!(opened.expose_secret(), b"secret");
    let asked: serde_json::Value = serde_json::from_slice(hub.seen()[0].body()).unwrap();
    assert_eq!(asked["context"]["tenant"], "eu");
    // A branch of its own has keys of its own, though what is remembered is shared.
    let before = hub.seen().len();
    envelope.encrypt(b"secret", &none()).await.unwrap();
    assert_eq!(hub.seen().len(), before + 1);
    let reserved = envelope.branch(&context(r#"{"cipher-hub/envelope":"2"}"#));
    assert!(matches!(reserved, Err(EnvelopeError::Context)));
    // What the hub does not decrypt does not open: one answer for both.
    let forged = String::from_utf8_lossy(&message).into_owned();
    assert!(forged.contains("ch1:1:1"));
    let mut other = message.clone();
    let at = message.windows(7).position(|part| part == b"ch1:1:1").unwrap();
    other[at + 6] = b'x';
    let refused = eu.decrypt(&other, &context(r#"{"order":"1"}"#)).await;
    assert!(matches!(refused, Err(EnvelopeError::Open)));
    let nothing = eu.decrypt(b"something else", &none()).await;
    assert!(matches!(nothing, Err(EnvelopeError::NotAMessage(_))));
}

#[tokio::test]
async fn a_branch_key_is_replaced_at_its_bounds() {
    let hub = Fake::http(keys).await;
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(0)));
    let build = |builder: EnvelopeBuilder| {
        builder.clock(Arc::clone(&clock) as Arc<dyn Clock>).build().unwrap()
    };
    let by_age = build(builder(&hub).max_age(Duration::from_secs(60)));
    for (seconds, calls) in [(0, 1), (44, 1), (0, 1), (1, 2), (0, 2), (59, 3)] {
        clock.advance(Duration::from_secs(seconds));
        by_age.encrypt(b"x", &none()).await.unwrap();
        assert_eq!(hub.seen().len(), calls);
    }
    let by_messages = build(builder(&hub).max_messages(1));
    for calls in 4..7 {
        by_messages.encrypt(b"x", &none()).await.unwrap();
        assert_eq!(hub.seen().len(), calls);
    }
    let before = hub.seen().len();
    let by_bytes = build(builder(&hub).max_bytes(1000));
    for _ in 0..3 {
        by_bytes.encrypt(&[0; 600], &none()).await.unwrap();
    }
    assert_eq!(hub.seen().len(), before + 3);
    by_bytes.encrypt(&[0; 5000], &none()).await.unwrap();
    by_bytes.forget();
    by_bytes.encrypt(&[0; 1], &none()).await.unwrap();
    assert_eq!(hub.seen().len(), before + 5);
}

#[tokio::test]
async fn many_at_once_are_one_call() {
    let hub = Fake::http(keys).await;
    let envelope = builder(&hub).build().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let envelope = envelope.clone();
        tasks.spawn(async move { envelope.encrypt(b"x", &none()).await.unwrap() });
    }
    let messages = tasks.join_all().await;
    assert_eq!(paths(&hub), ["generateDataKey"]);
    let reader: Envelope = builder(&hub).build().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for message in messages {
        let reader = reader.clone();
        tasks.spawn(async move { reader.decrypt(&message, &none()).await.unwrap() });
    }
    tasks.join_all().await;
    assert_eq!(paths(&hub), ["generateDataKey", "decrypt"]);
}

#[tokio::test]
async fn without_the_hub_it_goes_on_until_the_bound_and_then_says_so() {
    let away = Arc::new(AtomicBool::new(false));
    let is_away = Arc::clone(&away);
    let hub = Fake::http(move |asked, number| {
        if is_away.load(Ordering::SeqCst) {
            problem(503, "unavailable", true)
        } else {
            keys(asked, number)
        }
    })
    .await;
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(0)));
    let policy = RetryPolicy {
        attempts: 2,
        base: Duration::from_millis(1),
        budget: 1000,
        ..RetryPolicy::default()
    };
    let client = Client::builder(&hub.address)
        .api_key(SecretText::new("chk_test".to_owned()))
        .retry(policy)
        .build()
        .unwrap();
    let envelope = client
        .envelope("shop", "orders")
        .max_age(Duration::from_secs(100))
        .clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .build()
        .unwrap();
    let message = envelope.encrypt(b"x", &none()).await.unwrap();
    envelope.decrypt(&message, &none()).await.unwrap();
    away.store(true, Ordering::SeqCst);
    clock.advance(Duration::from_secs(80));
    let before = hub.seen().len();
    for _ in 0..5 {
        envelope.encrypt(b"x", &none()).await.unwrap();
        envelope.decrypt(&message, &none()).await.unwrap();
    }
    // Fetching ahead is tried once for each, with its one retry, and not again at once.
    assert_eq!(hub.seen().len(), before + 4);
    clock.advance(Duration::from_secs(20));
    let failure = envelope.encrypt(b"x", &none()).await.unwrap_err();
    assert!(failure.is_retryable());
    assert_eq!(failure.hub().and_then(Error::code), Some("unavailable"));
    assert!(failure.to_string().starts_with("the hub gives no branch key"), "{failure}");
    assert!(envelope.decrypt(&message, &none()).await.is_err());
    // Those who wait together fail together: the hub is asked once, not once for each.
    let before = hub.seen().len();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let envelope = envelope.clone();
        tasks.spawn(async move { envelope.encrypt(b"x", &none()).await.is_err() });
    }
    assert!(tasks.join_all().await.into_iter().all(|failed| failed));
    assert_eq!(hub.seen().len(), before + 2);
    away.store(false, Ordering::SeqCst);
    envelope.encrypt(b"x", &none()).await.unwrap();
    envelope.decrypt(&message, &none()).await.unwrap();
}

#[tokio::test]
async fn what_is_no_branch_key_is_not_used_and_refusals_are_told() {
    let answers = [
        (r#"{"form":"random","ciphertext":"ch1:1:1","version":1}"#, "without its plaintext"),
        (r#"{"form":"random","plaintext":"AAAA","ciphertext":"ch1:1:1","version":1}"#, "length"),
        (
            r#"{"form":"pkcs8","plaintext":"AAAA","ciphertext":"ch1:1:1","version":1}"#,
            "something else",
        ),
        (
            r#"{"form":"random","plaintext":"AAAA","ciphertext":"a b","version":1}"#,
            "something else",
        ),
    ];
    for (answer, part) in answers {
        let hub = Fake::http(move |_, _| json(200, answer)).await;
        let failure = builder(&hub).build().unwrap().encrypt(b"x", &none()).await.unwrap_err();
        assert!(failure.to_string().contains(part), "{failure}");
    }
    let hub = Fake::http(|_, _| problem(403, "denied", false)).await;
    let failure = builder(&hub).build().unwrap().encrypt(b"x", &none()).await.unwrap_err();
    assert!(!failure.is_retryable());
    assert_eq!(failure.hub().and_then(Error::decision_id), Some("dec_1"));
}
