//! Negative tests 1 and 2 of the security model (§12), and the decoder against arbitrary text.
//! The two-key ciphertext of test 2 is in `src/envelope/tests.rs`, where the key schedule is.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail loudly"
)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hub_crypto::{Envelope, Error, Keyring, MAX_PLAINTEXT, Material, Secret, envelope};
use hub_model::algorithm::ALGORITHMS;
use hub_model::{Algorithm, KeyId, RegistrationId};
use proptest::prelude::*;

const CONTEXT: &[u8] = b"\0\x01\0\x01a\0\0\0\x01b";

/// The algorithms that make such ciphertexts, with their suite numbers and header lengths.
const SUITES: [(Algorithm, u8, usize); 6] = [
    (Algorithm::Aes256Gcm, 1, 80),
    (Algorithm::ChaCha20Poly1305, 2, 80),
    (Algorithm::XChaCha20Poly1305, 3, 48),
    (Algorithm::Aes256GcmSiv, 4, 36),
    (Algorithm::Aes256Siv, 5, 24),
    (Algorithm::Aes256GcmRaw, 6, 36),
];

/// All that goes into one message.
struct World {
    key: KeyId,
    registration: RegistrationId,
    material: Material,
}

impl World {
    fn new(algorithm: Algorithm) -> Self {
        Self {
            key: KeyId::generate(),
            registration: RegistrationId::generate(),
            material: Material::generate(algorithm).unwrap(),
        }
    }

    fn seal(&self, plaintext: &[u8]) -> String {
        envelope::seal(&self.material, self.key, 7, self.registration, CONTEXT, plaintext).unwrap()
    }

    fn open(&self, envelope: &Envelope) -> Result<Vec<u8>, Error> {
        let (material, key, registration) = (&self.material, self.key, self.registration);
        envelope::open(material, envelope, key, 7, registration, CONTEXT)
            .map(|plaintext| plaintext.expose_secret().to_vec())
    }
}

/// The text of a body, with the version that body names, so that only the body is at fault.
fn text_of(body: &[u8]) -> String {
    let version = u32::from_be_bytes(body[20..24].try_into().unwrap());
    format!("ch1:{version}:{}", STANDARD.encode(body))
}

fn body_of(text: &str) -> Vec<u8> {
    STANDARD.decode(text.rsplit(':').next().unwrap()).unwrap()
}

fn assert_refused(world: &World, text: &str) {
    match Envelope::parse(text) {
        Err(Error::Malformed(_)) => (),
        Err(other) => panic!("{other}"),
        Ok(envelope) => assert!(matches!(world.open(&envelope), Err(Error::Open))),
    }
}

#[test]
fn round_trips_at_every_edge() {
    for (algorithm, suite, header_len) in SUITES {
        let world = World::new(algorithm);
        for len in [0, 1, 15, 16, 17, 1024, MAX_PLAINTEXT] {
            let plaintext = vec![0x5a; len];
            let text = world.seal(&plaintext);
            let envelope = Envelope::parse(&text).unwrap();
            assert_eq!(envelope.header().suite, suite);
            assert_eq!(world.open(&envelope).unwrap(), plaintext);
            assert_eq!(body_of(&text).len(), header_len + len + 16);
            assert_eq!(usize::from(body_of(&text)[3]), header_len);
        }
        let (key, registration) = (world.key, world.registration);
        let long = vec![0; MAX_PLAINTEXT + 1];
        let refused = envelope::seal(&world.material, key, 1, registration, b"", &long);
        assert!(matches!(refused, Err(Error::PlaintextTooLong(_))));
    }
}

#[test]
fn every_bit_counts() {
    for (algorithm, ..) in SUITES {
        let world = World::new(algorithm);
        let body = body_of(&world.seal(b"plaintext"));
        for at in 0..body.len() {
            for bit in 0..8 {
                let mut changed = body.clone();
                changed[at] ^= 1 << bit;
                assert_refused(&world, &text_of(&changed));
            }
        }
        for len in 0..body.len() {
            let text = format!("ch1:7:{}", STANDARD.encode(&body[..len]));
            assert_refused(&world, &text);
        }
        assert_refused(&world, &text_of(&[body.as_slice(), &[0]].concat()));
    }
}

#[test]
fn everything_around_the_message_counts() {
    for (algorithm, ..) in SUITES {
        let world = World::new(algorithm);
        let envelope = Envelope::parse(&world.seal(b"plaintext")).unwrap();
        let (key, registration, material) = (world.key, world.registration, &world.material);
        let open = |material, key, version, registration, context| {
            envelope::open(material, &envelope, key, version, registration, context)
        };
        assert!(open(material, key, 7, registration, CONTEXT).is_ok());
        let other = Material::generate(algorithm).unwrap();
        let context = [CONTEXT, b"\0"].concat();
        for refused in [
            open(&other, key, 7, registration, CONTEXT),
            open(material, KeyId::generate(), 7, registration, CONTEXT),
            open(material, key, 8, registration, CONTEXT),
            open(material, key, 7, RegistrationId::generate(), CONTEXT),
            open(material, key, 7, registration, b""),
            open(material, key, 7, registration, &context),
        ] {
            assert!(matches!(refused, Err(Error::Open)));
        }
    }
}

/// The same bytes as material of two algorithms: a message of one is none of the other, also with
/// suite number and header length rewritten.
#[test]
fn a_suite_cannot_be_exchanged() {
    for (algorithm, ..) in SUITES {
        for (other, suite, header_len) in
            SUITES.into_iter().filter(|(other, ..)| *other != algorithm)
        {
            let len = |algorithm: Algorithm| algorithm.row().secret_len.unwrap();
            let secret = |algorithm| Secret::copy_from(&[9; 64][..len(algorithm)]).unwrap();
            let mut world = World::new(algorithm);
            world.material = Material::from_secret(algorithm, secret(algorithm)).unwrap();
            let mut body = body_of(&world.seal(&[7; 64]));
            world.material = Material::from_secret(other, secret(other)).unwrap();
            assert_refused(&world, &text_of(&body));
            body[1] = suite;
            assert_refused(&world, &text_of(&body));
            body[3] = header_len.try_into().unwrap();
            let relabelled = Envelope::parse(&text_of(&body)).unwrap();
            assert!(matches!(world.open(&relabelled), Err(Error::Open)));
        }
    }
}

/// Suites of messages that do not exist, those of streams among them, and header lengths of others.
#[test]
fn unknown_suites_and_foreign_header_lengths_are_refused() {
    for (algorithm, known, header_len) in SUITES {
        let body = body_of(&World::new(algorithm).seal(&[7; 64]));
        for suite in 0..=u8::MAX {
            let mut changed = body.clone();
            changed[1] = suite;
            let other = SUITES.iter().find(|(_, number, _)| *number == suite);
            let fits = other.is_some_and(|(.., len)| *len == header_len);
            assert_eq!(Envelope::parse(&text_of(&changed)).is_ok(), fits, "{known} as {suite}");
        }
        for length in (0..=u8::MAX).filter(|length| usize::from(*length) != header_len) {
            let mut changed = body.clone();
            changed[3] = length;
            assert!(Envelope::parse(&text_of(&changed)).is_err());
        }
    }
}

#[test]
fn keys_for_other_things_seal_nothing() {
    for row in ALGORITHMS.iter().filter(|row| row.algorithm.suite().is_none()) {
        if row.algorithm.is_asymmetric() {
            continue;
        }
        let world = World::new(row.algorithm);
        let (key, registration) = (world.key, world.registration);
        let refused = envelope::seal(&world.material, key, 1, registration, b"", b"x");
        assert!(matches!(refused, Err(Error::WrongUse)), "{}", row.name);
    }
}

/// Suite 5 is deterministic within one key, version, registration and context, and only there; all
/// others never give one ciphertext twice.
#[test]
fn equal_plaintexts_show_under_the_deterministic_suite_only() {
    for (algorithm, ..) in SUITES {
        let world = World::new(algorithm);
        let equal = world.seal(b"plaintext") == world.seal(b"plaintext");
        assert_eq!(equal, algorithm == Algorithm::Aes256Siv);
    }
    // Negative test 2: one plaintext under two contexts gives unrelated outputs.
    let world = World::new(Algorithm::Aes256Siv);
    let (material, key, registration) = (&world.material, world.key, world.registration);
    let body = |version, registration, context: &[u8]| {
        let text = envelope::seal(material, key, version, registration, context, &[0; 32]).unwrap();
        body_of(&text)[24..].to_vec()
    };
    let bodies = [
        body(7, registration, CONTEXT),
        body(7, registration, b""),
        body(8, registration, CONTEXT),
        body(7, RegistrationId::generate(), CONTEXT),
    ];
    for (at, one) in bodies.iter().enumerate() {
        for other in &bodies[..at] {
            let equal = one.iter().zip(other).filter(|(a, b)| a == b).count();
            assert!(equal < 8, "{equal} of 48 bytes are equal");
        }
    }
}

#[test]
fn a_message_moved_to_another_version_does_not_open() {
    let world = World::new(Algorithm::Aes256Gcm);
    let mut body = body_of(&world.seal(b"plaintext"));
    body[23] = 8;
    let mut ring = Keyring::new(world.key, world.registration, Algorithm::Aes256Gcm, 7);
    let moved = Envelope::parse(&text_of(&body)).unwrap();
    assert!(matches!(ring.open(&moved, CONTEXT), Err(Error::Open)));
    ring.insert(8, world.material);
    assert!(matches!(ring.open(&moved, CONTEXT), Err(Error::Open)));
}

#[test]
fn one_spelling_only() {
    let world = World::new(Algorithm::Aes256Gcm);
    // 97 bytes: the last base64 digit has stray bits to play with.
    let text = world.seal(b"x");
    assert!(text.ends_with("=="), "{text}");
    let base64 = text.strip_prefix("ch1:7:").unwrap();
    let stray = base64.len() - 3;
    let digit = base64.as_bytes()[stray];
    for other in (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(*b"+/") {
        if other != digit {
            let mut bytes = base64.as_bytes().to_vec();
            bytes[stray] = other;
            let text = format!("ch1:7:{}", String::from_utf8(bytes).unwrap());
            assert_refused(&world, &text);
        }
    }
    let unpadded = base64.trim_end_matches('=');
    let url_safe = base64.replace('+', "-").replace('/', "_");
    for text in [
        format!("ch1:07:{base64}"),
        format!("ch1:+7:{base64}"),
        format!("ch1:8:{base64}"),
        format!("ch1:0:{base64}"),
        format!("ch1::{base64}"),
        format!("ch1:4294967303:{base64}"),
        format!("ch2:7:{base64}"),
        format!("CH1:7:{base64}"),
        format!(" ch1:7:{base64}"),
        format!("ch1:7:{base64}\n"),
        format!("ch1:7: {base64}"),
        format!("ch1:7:{unpadded}"),
        format!("ch1:7:{unpadded}="),
        format!("ch1:7:{base64}=="),
        format!("ch1:7:{}\n{}", &base64[..76], &base64[76..]),
        "ch1:7:".to_owned(),
        String::new(),
    ] {
        assert!(matches!(Envelope::parse(&text), Err(Error::Malformed(_))), "{text}");
    }
    if url_safe != base64 {
        assert!(Envelope::parse(&format!("ch1:7:{url_safe}")).is_err());
    }
}

#[test]
fn version_zero_is_no_version() {
    let world = World::new(Algorithm::Aes256Gcm);
    let (material, key, registration) = (&world.material, world.key, world.registration);
    let refused = envelope::seal(material, key, 0, registration, CONTEXT, b"x");
    assert!(matches!(refused, Err(Error::NoVersion(0))));
    let mut body = body_of(&world.seal(b"x"));
    body[20..24].fill(0);
    assert!(matches!(Envelope::parse(&text_of(&body)), Err(Error::Malformed(_))));
}

#[test]
fn errors_and_debug_forms_show_no_secret() {
    let secret = Secret::copy_from(b"canary-canary-canary-canary-cana").unwrap();
    let material = Material::from_secret(Algorithm::Aes256Gcm, secret).unwrap();
    let mut world = World::new(Algorithm::Aes256Gcm);
    world.material = material;
    let text = world.seal(b"canary-plaintext");
    let mut body = body_of(&text);
    body[90] ^= 1;
    let refused = world.open(&Envelope::parse(&text_of(&body)).unwrap()).unwrap_err();
    let opened = envelope::open(
        &world.material,
        &Envelope::parse(&text).unwrap(),
        world.key,
        7,
        world.registration,
        CONTEXT,
    );
    let shown = format!("{refused} {refused:?} {opened:?} {:?}", world.material);
    assert!(!shown.contains("canary"), "{shown}");
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in ".{0,200}") {
        prop_assert!(Envelope::parse(&text).is_err());
    }

    #[test]
    fn almost_envelopes_never_panic_and_are_canonical(
        version in 0u32..3,
        mut body in proptest::collection::vec(any::<u8>(), 35..110),
        fixed in any::<bool>(),
        suite in 0u8..8,
        length in proptest::sample::select(&[24u8, 36, 48, 80][..]),
    ) {
        if fixed {
            body[..4].copy_from_slice(&[1, suite, 0, length]);
            body[20..24].copy_from_slice(&version.to_be_bytes());
        }
        let known = SUITES.iter().any(|(_, number, header_len)| {
            *number == suite && *header_len == usize::from(length) && body.len() >= header_len + 16
        });
        let good = fixed && known && version > 0;
        let text = format!("ch1:{version}:{}", STANDARD.encode(&body));
        if let Ok(envelope) = Envelope::parse(&text) {
            prop_assert!(good);
            prop_assert_eq!(envelope.header().version, version);
            let key = KeyId::from_bytes(body[4..20].try_into().unwrap());
            prop_assert_eq!(envelope.header().key, key);
            prop_assert_eq!(text_of(&body), text);
        } else {
            prop_assert!(!good);
        }
    }

    #[test]
    fn every_suite_opens_what_it_sealed_and_nothing_changed(
        (algorithm, ..) in proptest::sample::select(&SUITES[..]),
        plaintext in proptest::collection::vec(any::<u8>(), 0..300),
        at in any::<proptest::sample::Index>(),
        with in 1..=u8::MAX,
    ) {
        let world = World::new(algorithm);
        let text = world.seal(&plaintext);
        prop_assert_eq!(world.open(&Envelope::parse(&text).unwrap()).unwrap(), plaintext);
        let mut body = body_of(&text);
        let at = at.index(body.len());
        body[at] ^= with;
        assert_refused(&world, &text_of(&body));
        body[at] ^= with;
        body.truncate(at.max(24));
        assert_refused(&world, &text_of(&body));
    }

    #[test]
    fn text_edits_are_refused(at in 0usize..150, with in any::<char>()) {
        let world = World::new(Algorithm::Aes256Gcm);
        let text = world.seal(b"plaintext");
        let edited: String =
            text.chars().enumerate().map(|(i, c)| if i == at { with } else { c }).collect();
        if edited != text {
            assert_refused(&world, &edited);
        }
    }
}
