//! What happens between authentication and the operation has its entry: a revocation, which is in
//! effect within a second also for requests that had begun before it, and a batch of nothing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::time::Duration;

use hub_auth::api_key::ApiKey;
use hub_auth::{Channel, Presented};
use hub_model::api::participant::IssueCredential;
use hub_model::principal::PeerAddress;
use hub_operations::{Meta, Ref, bootstrap, participant};
use hub_server::app::{App, Mode};
use hub_server::config::{Config, Overrides};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn app() -> App {
    let mut overrides = Overrides::new();
    overrides.set("store.engine", "memory");
    overrides.set("server.listen", "127.0.0.1:0");
    overrides.set("server.unix_socket", "");
    overrides.set("server.management_listen", "127.0.0.1:0");
    let config = Config::load(&[], [], &overrides).unwrap();
    App::build(config, Mode { dev: true, ..Mode::default() }).await.unwrap()
}

fn head(path: &str, authorization: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: hub\r\nauthorization: {authorization}\r\n\
         content-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    )
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a test starts its own server")]
async fn a_request_that_trickles_in_is_not_done_after_its_credential_was_revoked() {
    let app = app().await;
    let key = app.first_key.clone().unwrap();
    let header = format!("Bearer {}", key.expose_secret());
    let channel = Channel::anonymous(PeerAddress::Unix, false);
    let presented = Presented { authorization: &[header.as_bytes()], channel: &channel };
    let caller = app.authenticator().authenticate(presented).await.unwrap();
    let (hub, address) = (app.hub.clone(), app.addresses()[0]);
    let running = tokio::spawn(app.run(Box::new(|_| {})));

    let body = r#"{"name":"late"}"#;
    let (early, late) = body.split_at(5);
    let head = head("/v1/registrations", &header, body.len()) + early;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (registration, participant) = (
        Ref::Name("hub".parse().unwrap()),
        Ref::Name(bootstrap::FIRST_ADMINISTRATOR.parse().unwrap()),
    );
    // The last way in of the last administrator is not taken away: another is there first.
    let issue = participant::IssueCredential {
        registration: registration.clone(),
        participant: participant.clone(),
        body: IssueCredential::default(),
    };
    let revoke = participant::RevokeCredential {
        registration,
        participant,
        credential: ApiKey::parse(key.expose_secret()).unwrap().id(),
        forget: false,
    };
    let meta = Meta {
        request: "test".into(),
        trace: None,
        dry_run: false,
        if_match: None,
        idempotency: None,
    };
    hub.perform(&caller, &issue, &meta).await.unwrap();
    hub.perform(&caller, &revoke, &meta).await.unwrap();
    let before = hub.log().appender().position().audit.size;
    stream.write_all(late.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    // It has its entry, under the name it came with.
    let entry = hub.log().entry(before).await.unwrap().unwrap();
    let entry = String::from_utf8(entry).unwrap();
    assert!(entry.contains(r#""action":"registrations.create""#), "{entry}");
    assert!(entry.contains(r#""outcome":"unauthenticated""#), "{entry}");
    running.abort();
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a test starts its own server")]
async fn a_batch_of_nothing_is_refused_with_an_entry() {
    let app = app().await;
    let header = format!("Bearer {}", app.first_key.as_ref().unwrap().expose_secret());
    let (hub, address) = (app.hub.clone(), app.addresses()[0]);
    let running = tokio::spawn(app.run(Box::new(|_| {})));
    let before = hub.log().appender().position().audit.size;
    let body = r#"{"items":[]}"#;
    let request = head("/v1/registrations/hub/keys:batch", &header, body.len()) + body;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let entry = hub.log().entry(before).await.unwrap().unwrap();
    let entry = String::from_utf8(entry).unwrap();
    assert!(entry.contains(r#""action":"keys.batch""#), "{entry}");
    running.abort();
}
