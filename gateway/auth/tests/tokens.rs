//! Tokens at the authenticator: what is remembered of one, and what is asked again each time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail loudly"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hub_auth::jwt::{Claim, Issuer, Issuers, LONGEST_LIFE, Settings, TokenRevocation, Which};
use hub_auth::rules::MapRule;
use hub_auth::{
    Authenticator, Caller, Channel, ClientCertificate, Error, LastUses, Parts, Peer, Presented,
    Refusal, Rules,
};
use hub_crypto::jws::JwsAlgorithm;
use hub_crypto::{SigningKey, SystemKeys};
use hub_model::clock::ManualClock;
use hub_model::principal::PeerAddress;
use hub_model::{
    Name, Participant, ParticipantId, ParticipantKind, RegistrationId, Role, Tags, Timestamp,
};
use hub_store::{AuditHead, Changes, MemoryBackend, Store, Writer, layout};
use serde_json::{Value, json};

const NOW: i64 = 1_800_000_000;

struct World {
    authenticator: Authenticator,
    issuer: Arc<Issuer>,
    key: SigningKey,
    clock: Arc<ManualClock>,
    keys: Arc<SystemKeys>,
    writer: Writer,
    channel: Channel,
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn key_set(key: &SigningKey, kid: &str) -> Vec<u8> {
    let x = URL_SAFE_NO_PAD.encode(key.public().to_bytes());
    json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x}]}).to_string().into_bytes()
}

impl World {
    async fn new() -> Self {
        let keys = Arc::new(SystemKeys::generate().unwrap());
        let store = Store::new(Arc::new(MemoryBackend::new()), Arc::clone(&keys));
        let writer = Writer::open(store.clone(), "main").await.unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(NOW * 1_000_000)));
        let map =
            MapRule { identity: "jwt:corp:*".parse().unwrap(), participant: "shop/$1".to_owned() };
        let issuer = Arc::new(Issuer::new(Settings {
            name: name("corp"),
            issuer: "https://login.example".to_owned(),
            audiences: vec!["hub".to_owned()],
            algorithms: JwsAlgorithm::ALL.to_vec(),
            leeway: Duration::from_secs(30),
            max_life: LONGEST_LIFE,
            max_age: None,
            subject: Claim::new("sub"),
            groups: Some(Claim::new("groups")),
            roles: BTreeMap::from([("ops".to_owned(), vec![(name("shop"), Role::Operators)])]),
            require: Vec::new(),
            cooldown: None,
        }));
        let key = SigningKey::generate().unwrap();
        issuer.load(&key_set(&key, "a")).unwrap();
        let authenticator = Authenticator::new(Parts {
            store,
            keys: Arc::clone(&keys),
            clock: clock.clone(),
            rules: Arc::new(Rules::new(vec![map], Vec::new()).unwrap()),
            uses: Arc::new(LastUses::default()),
            capacity: 100,
        })
        .with_tokens(Arc::new(Issuers::new(vec![Arc::clone(&issuer)])));
        let channel = Channel::anonymous(PeerAddress::Unix, false);
        let mut world = Self { authenticator, issuer, key, clock, keys, writer, channel };
        let registration = RegistrationId::generate();
        let participant = Participant {
            id: ParticipantId::generate(),
            registration,
            name: name("alice"),
            kind: ParticipantKind::User,
            suspended: false,
            tags: Tags::default(),
            roles: Vec::new(),
            grants_in: std::collections::BTreeMap::new(),
            created: Timestamp::from_micros(0),
            updated: Timestamp::from_micros(0),
            generation: 1,
        };
        let privacy = Arc::clone(&world.keys);
        let privacy = privacy.privacy();
        world
            .change(|changes| {
                changes
                    .put(&layout::registration(registration), &1)
                    .unwrap()
                    .put(&layout::registration_name(privacy, "shop"), &registration)
                    .unwrap()
                    .put(&layout::participant_name(privacy, registration, "alice"), &participant.id)
                    .unwrap()
                    .put(&layout::participant(registration, participant.id), &participant)
                    .unwrap();
            })
            .await;
        world
    }

    async fn change(&mut self, change: impl FnOnce(&mut Changes)) {
        let mut changes = Changes::new();
        change(&mut changes);
        let mut group = self.writer.begin();
        let _ = group.stage(&changes).await.unwrap();
        group.commit(None, AuditHead::default()).await.unwrap();
    }

    fn token(&self, kid: &str, more: &Value) -> String {
        let mut claims = json!({
            "iss": "https://login.example", "aud": "hub", "sub": "alice", "iat": NOW,
            "exp": NOW + 600,
        });
        let (members, more) = (claims.as_object_mut().unwrap(), more.as_object().unwrap());
        members.extend(more.clone());
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"alg": "EdDSA", "kid": kid})), part(&claims));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes())))
    }

    async fn ask(&self, token: &str) -> Result<Caller, Refusal> {
        let header = format!("Bearer {token}");
        let presented = Presented { authorization: &[header.as_bytes()], channel: &self.channel };
        match self.authenticator.authenticate(presented).await {
            Ok(caller) => Ok(caller),
            Err(Error::Refused(why)) => Err(why),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_remembered_token_ends_and_falls_with_its_key() {
    let world = World::new().await;
    let token = world.token("a", &json!({}));
    let caller = world.ask(&token).await.unwrap();
    assert_eq!(caller.expires(), Some(Timestamp::from_micros((NOW + 630) * 1_000_000)));
    assert!(!caller.has_extra_roles());
    // The same key under another id: the old token names a key that is gone.
    world.issuer.load(&key_set(&world.key, "b")).unwrap();
    assert_eq!(world.ask(&token).await.unwrap_err(), Refusal::TokenKey);
    assert!(world.ask(&world.token("b", &json!({}))).await.is_ok());
    world.issuer.load(&key_set(&world.key, "a")).unwrap();
    assert!(world.ask(&token).await.is_ok());
    world.clock.advance(Duration::from_secs(629));
    assert!(world.ask(&token).await.is_ok());
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.ask(&token).await.unwrap_err(), Refusal::Expired);
    world.clock.jump(-1_000_000_000);
    assert_eq!(world.ask(&token).await.unwrap_err(), Refusal::TokenTime, "a clock set back");
}

#[tokio::test]
async fn a_remembered_token_is_revoked_and_restored_at_once() {
    let mut world = World::new().await;
    let token = world.token("a", &json!({"jti": "t-1"}));
    let other = world.token("a", &json!({"jti": "t-2"}));
    assert!(world.ask(&token).await.is_ok());
    let which = Which::Token { jti: "t-1".to_owned() };
    let id = which.id(world.keys.privacy(), &name("corp"));
    let at = Timestamp::from_micros(NOW * 1_000_000);
    let revocation = TokenRevocation {
        id,
        issuer: name("corp"),
        which,
        reason: String::new(),
        created: at,
        expires: at.plus(LONGEST_LIFE),
    };
    let path = layout::token_revocation(id);
    world
        .change(|changes| {
            let _ = changes.put(&path, &revocation).unwrap();
        })
        .await;
    assert_eq!(world.ask(&token).await.unwrap_err(), Refusal::Revoked);
    assert!(world.ask(&other).await.is_ok());
    world
        .change(|changes| {
            let _ = changes.delete(&path);
        })
        .await;
    assert!(world.ask(&token).await.is_ok());
    // All of the subject.
    let which = Which::Subject { subject: "alice".to_owned(), before: at };
    let id = which.id(world.keys.privacy(), &name("corp"));
    let revocation = TokenRevocation { id, which, ..revocation };
    let path = layout::token_revocation(id);
    world
        .change(|changes| {
            let _ = changes.put(&path, &revocation).unwrap();
        })
        .await;
    for token in [&token, &other] {
        assert_eq!(world.ask(token).await.unwrap_err(), Refusal::Revoked);
    }
    assert!(world.ask(&world.token("a", &json!({"iat": NOW + 1}))).await.is_ok());
}

#[tokio::test]
async fn a_bound_token_needs_its_certificate_each_time() {
    let mut world = World::new().await;
    let token = world.token("a", &json!({"cnf": {"x5t#S256": URL_SAFE_NO_PAD.encode([7; 32])}}));
    let shown = |thumbprint: [u8; 32], until: i64| {
        Peer::Certificate(Arc::new(ClientCertificate {
            thumbprint,
            identity: None,
            not_before: Timestamp::from_micros(0),
            not_after: Timestamp::from_micros(until * 1_000_000),
        }))
    };
    for (peer, refused) in [
        (Peer::Anonymous, Some(Refusal::Certificate)),
        (shown([7; 32], NOW + 1), None),
        (shown([8; 32], NOW + 1), Some(Refusal::Certificate)),
        (shown([7; 32], NOW - 1), Some(Refusal::Expired)),
        (Peer::Unix { uid: 0, gid: 0 }, Some(Refusal::Certificate)),
        (shown([7; 32], NOW + 1), None),
    ] {
        world.channel.peer = peer;
        assert_eq!(world.ask(&token).await.err(), refused);
    }
}

#[tokio::test]
async fn groups_extend_the_participant_as_it_is_now() {
    let mut world = World::new().await;
    let token = world.token("a", &json!({"groups": ["ops"]}));
    let plain = world.token("a", &json!({}));
    let caller = world.ask(&token).await.unwrap();
    assert!(caller.has_extra_roles());
    assert_eq!(caller.participant().roles.len(), 1);
    assert_eq!(world.ask(&plain).await.unwrap().participant().roles, []);
    // Facts that change reach the extended participant too.
    let mut changed = caller.participant().clone();
    changed.roles.clear();
    changed.suspended = true;
    let path = layout::participant(changed.registration, changed.id);
    world
        .change(|changes| {
            let _ = changes.put(&path, &changed).unwrap();
        })
        .await;
    let caller = world.ask(&token).await.unwrap();
    assert!(caller.participant().suspended);
    assert_eq!(caller.participant().roles.len(), 1);
    // A registration that is gone takes everything along.
    let path = layout::registration(changed.registration);
    world
        .change(|changes| {
            let _ = changes.delete(&path);
        })
        .await;
    assert_eq!(world.ask(&token).await.unwrap_err(), Refusal::Unmapped);
}
