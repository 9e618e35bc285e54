//! Callers with client certificates, at instants the test chooses.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{World, named};
use hub_auth::{Caller, Channel, ClientCertificate, Error, Peer, Presented, Refusal};
use hub_model::api::participant::IssueCredential;
use hub_model::principal::PeerAddress;
use hub_model::secret::SecretText;
use hub_model::{AuthMethod, Role, Thumbprint};
use hub_operations::participant;

const HOUR: Duration = Duration::from_secs(3_600);

/// A connection with a certificate that is good for an hour from now.
fn shown(world: &World, identity: Option<&str>, thumbprint: u8) -> Channel {
    let now = world.clock_now();
    let certificate = ClientCertificate {
        thumbprint: [thumbprint; 32],
        identity: identity.map(|text| Arc::new(text.parse().unwrap())),
        not_before: now,
        not_after: now.plus(HOUR),
    };
    let address = PeerAddress::Ip([10, 0, 0, 1].into());
    Channel { address, tls: true, peer: Peer::Certificate(Arc::new(certificate)) }
}

async fn asked(
    world: &World,
    channel: &Channel,
    key: Option<&SecretText>,
) -> Result<Caller, Refusal> {
    let header = key.map(|key| format!("Bearer {}", key.expose_secret())).unwrap_or_default();
    let headers = [header.as_bytes()];
    let authorization = if key.is_some() { &headers[..] } else { &[] };
    let presented = Presented { authorization, channel };
    match world.authenticator.authenticate(presented).await {
        Ok(caller) => Ok(caller),
        Err(Error::Refused(why)) => Err(why),
        Err(Error::Store(error)) => panic!("{error}"),
    }
}

const WORKER: &str = "spiffe://test.example/shop/worker";

async fn world() -> (World, SecretText) {
    let world = World::new().await;
    world.registration("shop").await;
    let key = world.participant("shop", "worker", &[Role::Apps]).await;
    (world, key)
}

#[tokio::test]
async fn dates_are_looked_at_with_each_request() {
    let (world, key) = world().await;
    let channel = shown(&world, Some(WORKER), 1);
    let caller = asked(&world, &channel, None).await.unwrap();
    assert_eq!(caller.method(), AuthMethod::Mtls);
    assert_eq!(caller.expires(), Some(world.clock_now().plus(HOUR)));
    assert!(caller.mutual_tls() && caller.spiffe_id() == Some(WORKER));
    assert!(caller.principal().to_string().starts_with("spiffe:ptc_"));
    world.clock.advance(HOUR - Duration::from_secs(1));
    asked(&world, &channel, None).await.unwrap();
    asked(&world, &channel, Some(&key)).await.unwrap();
    world.clock.advance(Duration::from_secs(2));
    assert_eq!(asked(&world, &channel, None).await.unwrap_err(), Refusal::Expired);
    // A key is no way around: policies would see mutual TLS that is no more.
    assert_eq!(asked(&world, &channel, Some(&key)).await.unwrap_err(), Refusal::Expired);
    // And before it begins, when the clock was wrong.
    world.clock.jump(-i64::try_from((2 * HOUR).as_micros()).unwrap());
    assert_eq!(asked(&world, &channel, None).await.unwrap_err(), Refusal::Expired);
}

#[tokio::test]
async fn a_certificate_of_somebody_else_beside_a_key_is_ambiguous() {
    let (world, key) = world().await;
    let same = shown(&world, Some(WORKER), 1);
    assert_eq!(asked(&world, &same, Some(&key)).await.unwrap().method(), AuthMethod::ApiKey);
    // Nobody yet: a fact of the channel. Remembered until somebody is.
    let other = shown(&world, Some("spiffe://test.example/shop/other"), 2);
    for _ in 0..2 {
        let caller = asked(&world, &other, Some(&key)).await.unwrap();
        assert!(caller.mutual_tls());
        assert_eq!(asked(&world, &other, None).await.unwrap_err(), Refusal::Unmapped);
    }
    let _ = world.participant("shop", "other", &[]).await;
    assert_eq!(asked(&world, &other, Some(&key)).await.unwrap_err(), Refusal::Ambiguous);
    asked(&world, &other, None).await.unwrap();
    // One that names nobody never stands for another.
    let nameless = shown(&world, None, 3);
    asked(&world, &nameless, Some(&key)).await.unwrap();
    assert_eq!(asked(&world, &nameless, None).await.unwrap_err(), Refusal::Unmapped);
}

#[tokio::test]
async fn a_bound_key_is_good_with_its_certificate_alone() {
    let (world, _) = world().await;
    let body = IssueCredential { certificate: Some(Thumbprint([7; 32])), ..Default::default() };
    let (registration, participant) = (named("shop"), named("worker"));
    let issue = participant::IssueCredential { registration, participant, body };
    let key = world.ok(&world.admin, &issue).await.api_key.unwrap();
    asked(&world, &shown(&world, None, 7), Some(&key)).await.unwrap();
    let wrong = shown(&world, Some(WORKER), 8);
    assert_eq!(asked(&world, &wrong, Some(&key)).await.unwrap_err(), Refusal::Certificate);
    let bare = Channel::anonymous(PeerAddress::Unix, false);
    assert_eq!(asked(&world, &bare, Some(&key)).await.unwrap_err(), Refusal::Certificate);
}
