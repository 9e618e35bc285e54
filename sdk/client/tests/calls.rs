//! The client against a fake hub: what is sent, what is repeated, what errors say.

mod fake;

use std::sync::Arc;
use std::time::Duration;

use cipher_hub_client::model::api::key::{CreateKey, PatchKey};
use cipher_hub_client::model::secret::SecretText;
use cipher_hub_client::{
    Client, ClientBuilder, EncryptionContext, Error, PageRequest, RetryPolicy, SecretBytes,
};
use fake::{Fake, json, problem};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

const KEY: &str = r#"{"uid":"key_01jd8r0000000000000000000a","name":"orders",
    "purpose":"encrypt","algorithm":"AES_256_GCM","state":"active","primaryVersion":1,
    "versions":1,"tags":{},"createTime":"2026-11-23T00:00:00Z",
    "updateTime":"2026-11-23T00:00:00Z","futureField":1}"#;

fn builder(hub: &Fake) -> ClientBuilder {
    Client::builder(&hub.address).api_key(SecretText::new("chk_test".to_owned()))
}

#[expect(clippy::unwrap_used, reason = "test code, outside a test function")]
fn create() -> CreateKey {
    CreateKey::new("orders".parse().unwrap())
}

#[tokio::test]
async fn encrypt_sends_what_the_api_wants() {
    let hub = Fake::http(|_, _| json(200, r#"{"ciphertext":"ch1:1:AA==","version":1}"#)).await;
    let client = builder(&hub).build().unwrap();
    let context: EncryptionContext = serde_json::from_str(r#"{"tenant":"eu"}"#).unwrap();
    let plaintext = SecretBytes::new(b"hello".to_vec());
    let answer = client.encrypt("shop", "orders", plaintext, &context).await.unwrap();
    assert_eq!(answer.ciphertext, "ch1:1:AA==");

    let seen = hub.seen();
    assert_eq!(seen[0].method(), "POST");
    assert_eq!(seen[0].uri().path(), "/v1/registrations/shop/keys/orders:encrypt");
    assert_eq!(seen[0].headers()["authorization"], "Bearer chk_test");
    assert!(seen[0].headers()["x-request-id"].to_str().unwrap().starts_with("req_"));
    assert!(!seen[0].headers().contains_key("idempotency-key"));
    assert_eq!(&seen[0].body()[..], br#"{"plaintext":"aGVsbG8=","context":{"tenant":"eu"}}"#);
}

#[tokio::test]
async fn creating_repeats_under_one_idempotency_key() {
    let hub = Fake::http(|_, number| match number {
        1 => problem(503, "unavailable", true),
        2 => problem(429, "rate_limited", true),
        _ => json(201, KEY),
    })
    .await;
    let key = builder(&hub).build().unwrap().create_key("shop", &create()).await.unwrap();
    assert_eq!((key.value.name.as_str(), key.etag.as_str()), ("orders", "\"7\""));
    let seen = hub.seen();
    assert_eq!(seen.len(), 3);
    let sent: Vec<_> = seen.iter().map(|asked| &asked.headers()["idempotency-key"]).collect();
    assert!(sent.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn changes_are_sent_once_and_with_their_etag() {
    let hub = Fake::http(|_, _| problem(503, "unavailable", true)).await;
    let client = builder(&hub).build().unwrap();
    let error =
        client.update_key("shop", "orders", "\"7\"", &PatchKey::default()).await.unwrap_err();
    assert_eq!(error.code(), Some("unavailable"));
    assert_eq!(hub.seen().len(), 1);
    assert_eq!(hub.seen()[0].headers()["if-match"], "\"7\"");
}

#[tokio::test]
async fn what_will_not_get_better_is_not_repeated() {
    let hub = Fake::http(|_, _| problem(503, "sealed", false)).await;
    assert!(builder(&hub).build().unwrap().whoami().await.is_err());
    assert_eq!(hub.seen().len(), 1);
}

#[tokio::test]
async fn retries_end_with_the_attempts_and_with_the_budget() {
    let hub = Fake::http(|_, _| problem(503, "unavailable", true)).await;
    let policy =
        RetryPolicy { budget: 4, base: Duration::from_millis(1), ..RetryPolicy::default() };
    let client = builder(&hub).retry(policy).build().unwrap();
    assert!(client.whoami().await.is_err());
    assert_eq!(hub.seen().len(), 4);
    assert!(client.whoami().await.is_err());
    assert_eq!(hub.seen().len(), 6);
}

#[tokio::test]
async fn a_denial_names_request_and_decision() {
    let hub = Fake::http(|_, _| problem(403, "denied", false)).await;
    let client = builder(&hub).build().unwrap();
    let error = client.keys("shop", &PageRequest::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "what happened");
    assert_eq!(error.status(), Some(403));
    assert_eq!(error.decision_id(), Some("dec_1"));
    assert_eq!(error.request_id(), Some("req-of-hub"));
}

#[tokio::test]
async fn an_answer_of_something_else_is_not_quoted() {
    let hub = Fake::http(|_, _| json(200, r#"{"plaintext":"canary!","version":1}"#)).await;
    let client = builder(&hub).build().unwrap();
    let error =
        client.decrypt("shop", "ch1:1:AA==", &EncryptionContext::default()).await.unwrap_err();
    assert!(matches!(error, Error::Answer { status: 200, .. }));
    assert!(!format!("{error} {error:?}").contains("canary"));
}

#[tokio::test]
async fn pages_and_dry_runs_are_query_parameters() {
    let hub = Fake::http(|_, _| json(200, KEY)).await;
    let client = builder(&hub).build().unwrap();
    let page = PageRequest { size: Some(5), token: Some("a+b".to_owned()) };
    let _ = client.keys("shop", &page).await;
    let dry = client.clone().with_dry_run(true);
    dry.rotate_key("shop", "orders").await.unwrap();
    dry.key("shop", "orders").await.unwrap();
    let seen = hub.seen();
    assert_eq!(seen[0].uri().query(), Some("pageSize=5&pageToken=a%2Bb"));
    assert_eq!(seen[1].uri().query(), Some("dryRun=true"));
    assert!(!seen[1].headers().contains_key("idempotency-key"));
    assert_eq!(seen[2].uri().query(), None);
}

#[tokio::test]
async fn a_call_ends_at_its_deadline() {
    // A listener that never accepts: the kernel completes the connection, nobody answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let timeout = Duration::from_millis(100);
    let client = Client::builder(address).timeout(timeout).build().unwrap();
    let error = client.whoami().await.unwrap_err();
    assert!(matches!(&error, Error::Deadline { after, .. } if *after == timeout));
    assert!(error.request_id().is_some());
}

#[tokio::test]
async fn refused_connections_are_told_apart() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = Client::builder(address).retry(RetryPolicy::never()).build().unwrap();
    let error = client.whoami().await.unwrap_err();
    assert!(matches!(&error, Error::Connect { reason, .. } if reason.contains("refused")));
}

#[tokio::test]
async fn a_broken_connection_repeats_reads_but_not_changes() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = count.clone();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 4096]).await;
            counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    });
    let seen = || count.swap(0, std::sync::atomic::Ordering::SeqCst);
    let client = Client::builder(address).build().unwrap();
    assert!(matches!(client.freeze_registration("shop").await, Err(Error::Broken { .. })));
    assert_eq!(seen(), 1);
    assert!(matches!(client.whoami().await, Err(Error::Broken { .. })));
    assert_eq!(seen(), 4);
}

#[tokio::test]
async fn a_unix_socket_does_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Fake::unix(&folder.path().join("hub.sock"), |_, _| json(200, KEY));
    let client = builder(&hub).build().unwrap();
    assert!(client.key("shop", "orders").await.is_ok());
    assert!(client.key("shop", "orders").await.is_ok());
    assert_eq!(hub.seen().len(), 2);
}

#[tokio::test]
async fn tls_trusts_the_ca_file_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (ca, wrong) = (folder.path().join("ca.pem"), folder.path().join("wrong.pem"));
    std::fs::write(&ca, made.cert.pem()).unwrap();
    std::fs::write(&wrong, other.cert.pem()).unwrap();

    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let hub = Fake::https(acceptor, |_, _| json(200, KEY)).await;

    let client = builder(&hub).ca_file(&ca).build().unwrap();
    client.key("shop", "orders").await.unwrap();
    assert_eq!(hub.seen()[0].version(), http::Version::HTTP_2);

    let wary = builder(&hub).ca_file(&wrong).retry(RetryPolicy::never()).build().unwrap();
    assert!(matches!(wary.key("shop", "orders").await, Err(Error::Connect { .. })));
    assert_eq!(hub.seen().len(), 1);
}

#[tokio::test]
async fn streams_are_sent_as_they_are_read_and_once() {
    use tokio::io::AsyncReadExt as _;

    let hub = Fake::http(|asked, number| {
        if number > 1 {
            return problem(503, "unavailable", true);
        }
        let mut told = http::Response::new(http_body_util::Full::new(asked.body().clone()));
        let bytes = http::HeaderValue::from_static("application/octet-stream");
        told.headers_mut().insert("content-type", bytes);
        told
    })
    .await;
    let client = builder(&hub).build().unwrap();
    let context: EncryptionContext = serde_json::from_str(r#"{"tenant":"eu"}"#).unwrap();
    let data: Vec<u8> = (0..=255).cycle().take(60_000).collect();
    let body = std::io::Cursor::new(data.clone());
    let mut answer = client.encrypt_stream("shop", "orders", body, &context).await.unwrap();
    let mut back = Vec::new();
    answer.read_to_end(&mut back).await.unwrap();
    assert_eq!(back, data);
    let seen = hub.seen();
    assert_eq!(seen[0].uri().path(), "/v1/registrations/shop/keys/orders:encryptStream");
    assert_eq!(seen[0].headers()["content-type"], "application/octet-stream");
    assert_eq!(seen[0].headers()["cipher-hub-context"], "eyJ0ZW5hbnQiOiJldSJ9");
    assert!(!seen[0].headers().contains_key("content-length"));
    let empty = tokio::io::empty();
    let error = client.decrypt_stream("shop", "orders", empty, &context).await.unwrap_err();
    assert_eq!((error.code(), hub.seen().len()), (Some("unavailable"), 2));
}
