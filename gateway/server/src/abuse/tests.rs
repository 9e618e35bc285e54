//! When behaviour is told, whom a block hits, and that it ends.

use hub_model::clock::ManualClock;
use hub_model::{AuthMethod, Participant, ParticipantKind, RegistrationId, Tags, Timestamp};

use super::*;

const TIME: Timestamp = Timestamp::from_micros(1_767_571_200_000_000);
const MINUTE: Duration = Duration::from_secs(60);

fn abuse(block: AbuseBlock) -> (Arc<Abuse>, Arc<ManualClock>, Arc<Metrics>) {
    let config = AbuseConfig {
        window: MINUTE,
        guesses: 5,
        auth_failures: 20,
        refusals: 5,
        contexts: 100,
        block,
        block_duration: 10 * MINUTE,
    };
    let clock = Arc::new(ManualClock::new(TIME));
    let metrics = Arc::new(Metrics::new().unwrap());
    let abuse = Abuse::new(&config, Arc::clone(&clock) as Arc<dyn Clock>, Arc::clone(&metrics));
    (abuse, clock, metrics)
}

fn ip(text: &str) -> PeerAddress {
    PeerAddress::Ip(text.parse().unwrap())
}

fn told(abuse: &Abuse) -> Vec<(Kind, bool)> {
    let alarms = std::mem::take(&mut *lock(&abuse.alarms));
    alarms.waiting.iter().map(|alarm| (alarm.kind, alarm.blocked)).collect()
}

fn caller(address: PeerAddress) -> Caller {
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
    Caller::for_tests(participant, 1, AuthMethod::ApiKey, address, TIME, false)
}

const KEY: &[u8] = b"Bearer chk_0123456789ABCDEFGHIJkl_secretsecret";

#[test]
fn case_and_spacing_of_the_id_do_not_reset_the_count() {
    let (abuse, ..) = abuse(AbuseBlock::Credentials);
    for spelling in [
        KEY,
        b"bearer chk_0123456789abcdefghijkl_other",
        b"BEARER  chk_0123456789ABCDEFGHIJKL_x",
        b"Bearer \tCHK_0123456789aBcDeFgHiJkL_y",
        b"Bearer chk_ 0123456789abcdef ghijkl_z",
    ] {
        assert_eq!(abuse.blocked(ip("10.0.0.1"), Some(KEY)), None);
        abuse.failed(ip("10.0.0.1"), Some(spelling));
    }
    assert_eq!(told(&abuse), [(Kind::Guessing, true)]);
    assert_eq!(abuse.blocked(ip("10.0.0.1"), Some(KEY)), Some(10 * MINUTE));
}

#[test]
fn a_block_hits_nobody_elsewhere_and_ends() {
    let (abuse, clock, _) = abuse(AbuseBlock::Credentials);
    let (here, there) = (ip("2001:db8::1"), ip("2001:db8:0:1::1"));
    for _ in 0..50 {
        abuse.failed(here, Some(KEY));
    }
    assert_eq!(told(&abuse), [(Kind::Guessing, true), (Kind::AuthFailures, false)]);
    assert!(abuse.blocked(ip("2001:db8::ffff"), Some(KEY)).is_some(), "the same /64");
    assert_eq!(abuse.blocked(there, Some(KEY)), None, "the owner of the key, elsewhere");
    assert_eq!(abuse.blocked(here, Some(b"Bearer chk_other_x")), None, "another key");
    assert_eq!(abuse.blocked(here, None), None);
    let view = abuse.blocks();
    assert_eq!((&*view[0].source, &*view[0].who), ("2001:db8::/64", "credential"));
    assert_eq!((&*view[0].reason, view[0].until), ("guessing", TIME.plus(10 * MINUTE)));
    clock.advance(10 * MINUTE);
    assert_eq!(abuse.blocked(here, Some(KEY)), None);
    assert_eq!(abuse.blocks(), []);
}

#[test]
fn whole_addresses_are_blocked_only_when_asked_for() {
    for (block, all) in [(AbuseBlock::Off, false), (AbuseBlock::Addresses, true)] {
        let (abuse, ..) = abuse(block);
        for n in 0..30 {
            abuse.failed(ip("10.0.0.1"), Some(format!("Bearer chk_{n}_x").as_bytes()));
        }
        assert_eq!(told(&abuse), [(Kind::AuthFailures, all)]);
        assert_eq!(abuse.blocked(ip("10.0.0.1"), None).is_some(), all);
        assert_eq!(abuse.blocked(ip("10.0.0.2"), None), None);
    }
}

#[test]
fn refusals_of_a_participant_are_told_once_a_window() {
    let (abuse, clock, metrics) = abuse(AbuseBlock::Credentials);
    let caller = caller(ip("10.0.0.1"));
    let refuse = || {
        let error = Error::Denied { action: "keys.decrypt" };
        abuse.ended(&caller, Action::KeysDecrypt, None, Some(&error));
    };
    (0..4).for_each(|_| refuse());
    clock.advance(MINUTE);
    (0..4).for_each(|_| refuse());
    assert_eq!(told(&abuse), [], "never five in one window");
    assert_eq!(abuse.blocked_caller(&caller), None);
    (0..20).for_each(|_| refuse());
    assert_eq!(told(&abuse), [(Kind::Refusals, true)]);
    assert!(abuse.blocked_caller(&caller).is_some());
    let id = abuse.blocks()[0].block.clone();
    assert_eq!((abuse.named(Some("blk_0")), abuse.named(Some(&id))), (0, 1));
    abuse.lift(Some("blk_0"));
    assert_eq!(abuse.named(None), 1);
    abuse.lift(Some(&id));
    assert_eq!((abuse.named(None), abuse.blocked_caller(&caller)), (0, None));
    let page = metrics.render().unwrap();
    assert!(page.contains("cipher_hub_abuse_alarms_total{kind=\"refusals\"} 1"), "{page}");
}

#[test]
fn a_surge_of_distinct_contexts_is_told_and_the_same_one_never() {
    let (abuse, ..) = abuse(AbuseBlock::Off);
    let caller = caller(ip("10.0.0.1"));
    let context = |n: u32| {
        let pairs = [("order".to_owned(), n.to_string())].into_iter().collect();
        EncryptionContext::new(pairs).unwrap()
    };
    let decrypt = |n| abuse.ended(&caller, Action::KeysDecrypt, Some(&context(n)), None);
    (0..10_000).for_each(|_| decrypt(1));
    (0..50).for_each(decrypt);
    (0..1000).for_each(|n| abuse.ended(&caller, Action::KeysEncrypt, Some(&context(n)), None));
    assert_eq!(told(&abuse), []);
    (0..300).for_each(decrypt);
    assert_eq!(told(&abuse), [(Kind::Contexts, false)]);
    (300..600).for_each(decrypt);
    assert_eq!(told(&abuse), [], "once a window");
}

#[test]
fn memory_is_bounded_and_what_does_not_fit_is_told_without_a_block() {
    let (abuse, clock, _) = abuse(AbuseBlock::Addresses);
    for n in 0..20_000_u32 {
        abuse.failed(PeerAddress::Ip(std::net::IpAddr::V4(n.into())), Some(KEY));
    }
    for counters in [&abuse.guesses, &abuse.failures] {
        assert_eq!(lock(counters).counts.len(), MOST_COUNTERS + 1);
    }
    let told = told(&abuse);
    assert!(told.contains(&(Kind::Guessing, false)), "{told:?}");
    assert!(told.iter().all(|(_, blocked)| !blocked));
    assert!(abuse.blocks().is_empty());
    clock.advance(MINUTE);
    abuse.failed(ip("10.9.9.9"), Some(KEY));
    for counters in [&abuse.guesses, &abuse.failures] {
        assert_eq!(lock(counters).counts.len(), 1);
    }
    assert_eq!(lock(&abuse.guesses).ids.len(), 1);
}

#[test]
fn made_up_ids_of_one_source_take_no_room_from_other_sources_and_kinds() {
    let (abuse, clock, _) = abuse(AbuseBlock::Credentials);
    for n in 0..20_000_u32 {
        abuse.failed(ip("10.0.0.1"), Some(format!("Bearer chk_{n}_x").as_bytes()));
    }
    assert_eq!(told(&abuse), [(Kind::AuthFailures, false)], "its failures are counted");
    assert_eq!(lock(&abuse.guesses).counts.len(), 64);
    for _ in 0..5 {
        abuse.failed(ip("10.0.0.2"), Some(KEY));
    }
    assert!(abuse.blocked(ip("10.0.0.2"), Some(KEY)).is_some());
    let caller = caller(ip("10.0.0.1"));
    for _ in 0..5 {
        let error = Error::NoRegistration;
        abuse.ended(&caller, Action::KeysGet, None, Some(&error));
    }
    assert!(abuse.blocked_caller(&caller).is_some());
    assert_eq!(told(&abuse), [(Kind::Guessing, true), (Kind::Refusals, true)]);
    // When the window of those ids is over, others are told apart.
    clock.advance(MINUTE);
    for _ in 0..5 {
        abuse.failed(ip("10.0.0.1"), Some(KEY));
    }
    assert!(abuse.blocked(ip("10.0.0.1"), Some(KEY)).is_some());
    assert_eq!(lock(&abuse.guesses).ids[&Source::from(ip("10.0.0.1"))], 1);
}

#[test]
fn crowded_counters_are_searched_once_a_second() {
    let (window, mut counters) = (MINUTE, Counters::default());
    let mut count = |n: u32, now| {
        counters.count(Counted::Failures(Source::V4(n)), true, now, window);
        counters.searched
    };
    let start = Duration::from_secs(10);
    for n in 0..u32::try_from(MOST_COUNTERS).unwrap() {
        assert_eq!(count(n, start), Duration::ZERO);
    }
    let (first, soon) = (start, start + PAUSE / 2);
    for n in 10_000..10_100 {
        assert_eq!(count(n, start), first);
        assert_eq!(count(n, soon), first);
    }
    assert_eq!(count(10_000, start + PAUSE), start + PAUSE);
}

#[test]
fn ciphertexts_that_do_not_open_are_told_and_block_nobody() {
    let (abuse, ..) = abuse(AbuseBlock::Addresses);
    let caller = caller(ip("10.0.0.1"));
    let end = |error| abuse.ended(&caller, Action::KeysDecrypt, None, Some(&error));
    (0..100).for_each(|_| end(Error::DecryptionFailed));
    assert_eq!(told(&abuse), [(Kind::Refusals, false)]);
    assert_eq!(abuse.blocked_caller(&caller), None);
    // Denials count towards a block by themselves.
    (0..4).for_each(|_| end(Error::Denied { action: "keys.decrypt" }));
    assert_eq!(abuse.blocked_caller(&caller), None);
    end(Error::Denied { action: "keys.decrypt" });
    assert_eq!(told(&abuse), [(Kind::Refusals, true)]);
    assert!(abuse.blocked_caller(&caller).is_some());
}

#[test]
fn no_id_is_claimed_by_what_is_no_api_key() {
    let (abuse, ..) = abuse(AbuseBlock::Off);
    for header in [&b""[..], b"Bearer", b"Basic chk_a", b"Bearer eyJhbGciOi", b"Bearer ch"] {
        assert_eq!(abuse.claimed(header), None);
    }
    assert_ne!(abuse.claimed(b"Bearer chk_a_x"), abuse.claimed(b"Bearer chk_b_x"));
}
