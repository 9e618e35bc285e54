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
    for row in ALGORITHMS {
        let world = World::new(row.algorithm);
        for len in [0, 1, 15, 16, 17, 1024, MAX_PLAINTEXT] {
            let plaintext = vec![0x5a; len];
            let text = world.seal(&plaintext);
            let envelope = Envelope::parse(&text).unwrap();
            assert_eq!(envelope.header().suite, row.suite);
            assert_eq!(world.open(&envelope).unwrap(), plaintext);
            assert_eq!(body_of(&text).len(), 80 + len + 16);
        }
        let (key, registration) = (world.key, world.registration);
        let long = vec![0; MAX_PLAINTEXT + 1];
        let refused = envelope::seal(&world.material, key, 1, registration, b"", &long);
        assert!(matches!(refused, Err(Error::PlaintextTooLong(_))));
    }
}

#[test]
fn every_bit_counts() {
    for row in ALGORITHMS {
        let world = World::new(row.algorithm);
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
    for row in ALGORITHMS {
        let world = World::new(row.algorithm);
        let envelope = Envelope::parse(&world.seal(b"plaintext")).unwrap();
        let (key, registration, material) = (world.key, world.registration, &world.material);
        let open = |material, key, version, registration, context| {
            envelope::open(material, &envelope, key, version, registration, context)
        };
        assert!(open(material, key, 7, registration, CONTEXT).is_ok());
        let other = Material::generate(row.algorithm).unwrap();
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
/// the suite number rewritten.
#[test]
fn a_suite_cannot_be_exchanged() {
    let secret = || Secret::copy_from(&[9; 32]).unwrap();
    let mut world = World::new(Algorithm::Aes256Gcm);
    world.material = Material::from_secret(Algorithm::Aes256Gcm, secret()).unwrap();
    let mut body = body_of(&world.seal(b"plaintext"));
    world.material = Material::from_secret(Algorithm::ChaCha20Poly1305, secret()).unwrap();
    assert_refused(&world, &text_of(&body));
    body[1] = 2;
    let relabelled = Envelope::parse(&text_of(&body)).unwrap();
    assert!(matches!(world.open(&relabelled), Err(Error::Open)));
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
        mut body in proptest::collection::vec(any::<u8>(), 90..110),
        fixed in any::<bool>(),
        suite in 0u8..4,
    ) {
        if fixed {
            body[..4].copy_from_slice(&[1, suite, 0, 80]);
            body[20..24].copy_from_slice(&version.to_be_bytes());
        }
        let text = format!("ch1:{version}:{}", STANDARD.encode(&body));
        if let Ok(envelope) = Envelope::parse(&text) {
            prop_assert!(fixed && (1..=2).contains(&suite) && version > 0 && body.len() >= 96);
            prop_assert_eq!(envelope.header().version, version);
            let key = KeyId::from_bytes(body[4..20].try_into().unwrap());
            prop_assert_eq!(envelope.header().key, key);
            prop_assert_eq!(text_of(&body), text);
        } else {
            let good = fixed && (1..=2).contains(&suite) && version > 0 && body.len() >= 96;
            prop_assert!(!good);
        }
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
