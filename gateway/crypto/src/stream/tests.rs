//! Any way of pushing gives the same stream; nothing but the whole of it, in order, opens.

use proptest::prelude::*;

use super::*;
use crate::Secret;

const CONTEXT: &[u8] = b"\0\x01\0\x01a\0\0\0\x01b";

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

    /// Header and body, with a fixed salt, from pieces of these sizes in turn.
    fn seal(&self, plaintext: &[u8], sizes: &[usize]) -> Vec<u8> {
        let (material, salt) = (&self.material, &[5; SALT_LEN]);
        let (header, mut sealer) =
            StreamSealer::with_salt(material, self.key, 7, self.registration, CONTEXT, salt)
                .unwrap();
        let mut out = header.to_vec();
        each(plaintext, sizes, |piece| sealer.push(piece, &mut out)).unwrap();
        sealer.finish(&mut out).unwrap();
        out
    }

    fn opener(&self, header: &[u8]) -> Result<StreamOpener> {
        StreamOpener::new(&self.material, header, self.key, self.registration, CONTEXT)
    }

    /// What comes out, and how it ends.
    fn open(&self, stream: &[u8], sizes: &[usize]) -> (Vec<u8>, Result<()>) {
        let mut out = SecretBuffer::new();
        let outcome = stream
            .split_at_checked(HEADER_LEN)
            .ok_or(Error::Open)
            .and_then(|(header, body)| Ok((self.opener(header)?, body)))
            .and_then(|(mut opener, body)| {
                each(body, sizes, |piece| opener.push(piece, &mut out))?;
                opener.finish(&mut out)
            });
        (out.expose_secret().to_vec(), outcome)
    }

    fn refuses(&self, stream: &[u8], plaintext: &[u8]) {
        let (out, outcome) = self.open(stream, &[usize::MAX]);
        assert!(matches!(outcome, Err(Error::Open)));
        // What came out before is a beginning of the truth, in whole chunks.
        assert!(plaintext.starts_with(&out) && out.len().is_multiple_of(CHUNK_LEN));
    }
}

fn each(
    mut bytes: &[u8],
    sizes: &[usize],
    mut step: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    for size in sizes.iter().cycle() {
        let (piece, rest) = bytes.split_at((*size).min(bytes.len()));
        step(piece)?;
        bytes = rest;
        if bytes.is_empty() {
            break;
        }
    }
    Ok(())
}

fn plaintext(len: usize) -> Vec<u8> {
    (0..len).map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect()
}

const ALGORITHMS: [Algorithm; 2] = [Algorithm::Aes256Gcm, Algorithm::ChaCha20Poly1305];

#[test]
fn every_length_around_the_chunk_comes_back_however_it_is_cut() {
    for algorithm in ALGORITHMS {
        let world = World::new(algorithm);
        for len in [0, 1, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, 2 * CHUNK_LEN, 200_000] {
            let plain = plaintext(len);
            let stream = world.seal(&plain, &[usize::MAX]);
            let chunks = len.div_ceil(CHUNK_LEN).max(1);
            assert_eq!(stream.len(), HEADER_LEN + len + chunks * TAG_LEN);
            for sizes in [
                &[CHUNK_LEN][..],
                &[SEALED_CHUNK_LEN],
                &[4096],
                &[1, CHUNK_LEN, 65_535],
                &[CHUNK_LEN + 1],
                &[999],
            ] {
                assert_eq!(world.seal(&plain, sizes), stream);
                let (opened, outcome) = world.open(&stream, sizes);
                outcome.unwrap();
                assert_eq!(opened, plain);
            }
        }
    }
}

#[test]
fn every_provider_makes_and_opens_the_same_stream() {
    for algorithm in [Algorithm::Aes256Gcm, Algorithm::ChaCha20Poly1305] {
        let (world, plaintext) = (World::new(algorithm), plaintext(2 * CHUNK_LEN + 7));
        // Other tests may choose meanwhile: they cannot change what is compared here.
        let sealed = [Provider::RustCrypto, Provider::AwsLc, Provider::Auto].map(|chosen| {
            provider::set(chosen);
            world.seal(&plaintext, &[usize::MAX])
        });
        assert!(sealed.iter().all(|stream| *stream == sealed[0]));
        for chosen in [Provider::RustCrypto, Provider::AwsLc, Provider::Auto] {
            provider::set(chosen);
            let (out, outcome) = world.open(&sealed[0], &[usize::MAX]);
            assert!(outcome.is_ok() && out == plaintext);
        }
    }
}

#[test]
fn the_header_says_what_it_is_and_every_bit_of_it_counts() {
    for (algorithm, suite) in ALGORITHMS.into_iter().zip([16, 17]) {
        let world = World::new(algorithm);
        let stream = world.seal(b"plaintext", &[usize::MAX]);
        let header = &stream[..HEADER_LEN];
        let expected = StreamHeader { suite, key: world.key, version: 7 };
        assert_eq!(StreamHeader::parse(header).unwrap(), expected);
        for at in 0..HEADER_LEN {
            for bit in 0..8 {
                let mut changed = header.to_vec();
                changed[at] ^= 1 << bit;
                assert!(matches!(world.opener(&changed), Err(Error::Open)), "{at}");
            }
            assert!(StreamHeader::parse(&header[..at]).is_err());
            assert!(matches!(world.opener(&header[..at]), Err(Error::Open)));
        }
        assert!(StreamHeader::parse(&stream[..=HEADER_LEN]).is_err());
    }
}

#[test]
fn everything_around_the_stream_counts() {
    let world = World::new(Algorithm::Aes256Gcm);
    let stream = world.seal(b"plaintext", &[usize::MAX]);
    let header = &stream[..HEADER_LEN];
    let (key, registration, material) = (world.key, world.registration, &world.material);
    let same = |algorithm| {
        let secret = Secret::copy_from(material.secret().expose_secret()).unwrap();
        Material::from_secret(algorithm, secret).unwrap()
    };
    let open = |material: &Material, key, registration, context: &[u8]| {
        StreamOpener::new(material, header, key, registration, context)
    };
    assert!(open(material, key, registration, CONTEXT).is_ok());
    assert!(open(&same(Algorithm::Aes256Gcm), key, registration, CONTEXT).is_ok());
    let other = Material::generate(Algorithm::Aes256Gcm).unwrap();
    for refused in [
        open(&other, key, registration, CONTEXT),
        open(&same(Algorithm::ChaCha20Poly1305), key, registration, CONTEXT),
        open(&same(Algorithm::Aes256GcmRaw), key, registration, CONTEXT),
        open(material, KeyId::generate(), registration, CONTEXT),
        open(material, key, RegistrationId::generate(), CONTEXT),
        open(material, key, registration, b""),
    ] {
        assert!(matches!(refused, Err(Error::Open)));
    }
    let chacha = StreamSealer::new(&same(Algorithm::ChaCha20Poly1305), key, 7, registration, b"");
    assert_eq!(StreamHeader::parse(&chacha.unwrap().0).unwrap().suite, 17);
    for algorithm in [Algorithm::XChaCha20Poly1305, Algorithm::Aes256GcmRaw, Algorithm::HmacSha256]
    {
        let material = Material::generate(algorithm).unwrap();
        let refused = StreamSealer::new(&material, key, 7, registration, CONTEXT);
        assert!(matches!(refused, Err(Error::WrongUse)));
    }
    let refused = StreamSealer::new(material, key, 0, registration, CONTEXT);
    assert!(matches!(refused, Err(Error::NoVersion(0))));
}

/// The same material, header fields, salt and context give a message another key and commitment.
#[test]
fn a_stream_is_no_message_and_a_message_no_stream() {
    let world = World::new(Algorithm::Aes256Gcm);
    let (material, salt) = (&world.material, &[5; SALT_LEN]);
    let stream = world.seal(b"plaintext", &[usize::MAX]);
    let text = envelope::seal_with_salt(
        material,
        world.key,
        7,
        world.registration,
        CONTEXT,
        b"plaintext",
        salt,
    )
    .unwrap();
    let base64 = base64_simd::STANDARD;
    let mut message = base64.decode_to_vec(text.strip_prefix("ch1:7:").unwrap()).unwrap();
    assert_eq!(message[2..48], stream[2..48]);
    assert_ne!(message[48..], stream[48..]);
    assert!(
        crate::Envelope::parse(&format!("ch1:7:{}", base64.encode_to_string(&stream))).is_err()
    );
    world.refuses(&message, b"");
    message[1] = 16;
    world.refuses(&message, b"");
    let mut relabelled = stream;
    relabelled[1] = 1;
    let text = format!("ch1:7:{}", base64.encode_to_string(&relabelled));
    let parsed = crate::Envelope::parse(&text).unwrap();
    let opened = envelope::open(material, &parsed, world.key, 7, world.registration, CONTEXT);
    assert!(matches!(opened, Err(Error::Open)));
}

#[test]
fn chunks_cannot_be_cut_off_moved_doubled_or_added() {
    for algorithm in ALGORITHMS {
        let world = World::new(algorithm);
        let plain = plaintext(3 * CHUNK_LEN + 100);
        let stream = world.seal(&plain, &[usize::MAX]);
        let (header, body) = stream.split_at(HEADER_LEN);
        let chunks: Vec<&[u8]> = body.chunks(SEALED_CHUNK_LEN).collect();
        let join = |order: &[usize]| {
            let body = order.iter().map(|at| chunks[*at]).collect::<Vec<_>>().concat();
            [header, &body].concat()
        };
        assert_eq!(join(&[0, 1, 2, 3]), stream);
        for order in [
            &[][..],
            &[0],
            &[3],
            &[0, 1, 2],
            &[0, 1, 3],
            &[1, 2, 3],
            &[1, 0, 2, 3],
            &[0, 2, 1, 3],
            &[0, 1, 3, 2],
            &[0, 0, 1, 2, 3],
            &[0, 1, 1, 2, 3],
            &[0, 1, 2, 3, 3],
        ] {
            world.refuses(&join(order), &plain);
        }
        for more in [1, 15, 16, 17, SEALED_CHUNK_LEN] {
            world.refuses(&[&stream[..], &vec![0; more]].concat(), &plain);
        }
        // Of another stream under the same key.
        let (mut other, sealed) = (Vec::new(), {
            let (material, salt) = (&world.material, &[6; SALT_LEN]);
            StreamSealer::with_salt(material, world.key, 7, world.registration, CONTEXT, salt)
        });
        let (_, mut sealer) = sealed.unwrap();
        sealer.push(&plain, &mut other).unwrap();
        sealer.finish(&mut other).unwrap();
        let mixed = [header, chunks[0], &other[SEALED_CHUNK_LEN..]].concat();
        world.refuses(&mixed, &plain);
    }
}

/// A last chunk that is empty though others came before it is refused, even with a right tag.
#[test]
fn one_spelling_of_a_stream_that_ends_with_a_whole_chunk() {
    let world = World::new(Algorithm::Aes256Gcm);
    let (material, salt) = (&world.material, &[5; SALT_LEN]);
    let (header, mut sealer) =
        StreamSealer::with_salt(material, world.key, 7, world.registration, CONTEXT, salt).unwrap();
    let mut out = header.to_vec();
    let plain = plaintext(CHUNK_LEN);
    // One byte more makes the first chunk go out; then that byte is taken back.
    sealer.push(&[&plain[..], &[0]].concat(), &mut out).unwrap();
    sealer.buffer.clear();
    sealer.finish(&mut out).unwrap();
    assert_eq!(out.len(), HEADER_LEN + SEALED_CHUNK_LEN + TAG_LEN);
    world.refuses(&out, &plain);
}

#[test]
fn nothing_follows_a_failure() {
    let world = World::new(Algorithm::Aes256Gcm);
    let stream = world.seal(&plaintext(2 * CHUNK_LEN + 1), &[usize::MAX]);
    let (header, body) = stream.split_at(HEADER_LEN);
    let mut opener = world.opener(header).unwrap();
    let mut damaged = body.to_vec();
    damaged[SEALED_CHUNK_LEN + 5] ^= 1;
    let mut out = SecretBuffer::new();
    assert!(matches!(opener.push(&damaged, &mut out), Err(Error::Open)));
    assert_eq!(out.len(), CHUNK_LEN);
    out.clear();
    for _ in 0..2 {
        assert!(matches!(opener.push(&body[SEALED_CHUNK_LEN..], &mut out), Err(Error::Open)));
    }
    assert!(matches!(opener.push(&[], &mut out), Err(Error::Open)));
    assert!(matches!(opener.finish(&mut out), Err(Error::Open)));
    assert!(out.is_empty());
}

#[test]
fn the_number_of_chunks_is_bounded_and_nonces_never_repeat() {
    let world = World::new(Algorithm::Aes256Gcm);
    let stream = world.seal(b"", &[usize::MAX]);
    let mut chunks = world.opener(&stream[..HEADER_LEN]).unwrap().chunks;
    assert_eq!(chunks.nonce(false), Some([0; 12]));
    assert_eq!(chunks.nonce(true), Some([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]));
    chunks.next = MAX_CHUNKS - 1;
    assert_eq!(chunks.nonce(false), Some([0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 0]));
    assert_eq!((chunks.nonce(false), chunks.nonce(true)), (None, None));

    let (_, mut sealer) =
        StreamSealer::new(&world.material, world.key, 7, world.registration, CONTEXT).unwrap();
    sealer.chunks.next = MAX_CHUNKS - 1;
    let mut out = Vec::new();
    sealer.push(&[0; CHUNK_LEN + 1], &mut out).unwrap();
    assert_eq!(out.len(), SEALED_CHUNK_LEN);
    assert!(matches!(sealer.push(&[0; 2 * CHUNK_LEN], &mut out), Err(Error::TooLongFor(_))));
    assert!(matches!(sealer.push(&[0; 2 * CHUNK_LEN], &mut out), Err(Error::TooLongFor(_))));
    assert!(matches!(sealer.finish(&mut out), Err(Error::TooLongFor(_))));
    assert_eq!(out.len(), SEALED_CHUNK_LEN);
}

#[test]
fn debug_forms_show_nothing() {
    let world = World::new(Algorithm::Aes256Gcm);
    let (header, sealer) =
        StreamSealer::new(&world.material, world.key, 7, world.registration, CONTEXT).unwrap();
    let shown = format!("{sealer:?} {:?}", world.opener(&header).unwrap());
    assert_eq!(shown, "StreamSealer(chunk 0, [secret]) StreamOpener(chunk 0, [secret])");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_of_pushes_gives_the_same(
        len in 0..4 * CHUNK_LEN,
        seal in proptest::collection::vec(1..2 * CHUNK_LEN, 1..5),
        open in proptest::collection::vec(1..2 * CHUNK_LEN, 1..5),
        algorithm in proptest::sample::select(&ALGORITHMS[..]),
    ) {
        let (world, plain) = (World::new(algorithm), plaintext(len));
        let stream = world.seal(&plain, &seal);
        prop_assert!(stream == world.seal(&plain, &[usize::MAX]));
        let (opened, outcome) = world.open(&stream, &open);
        prop_assert!(outcome.is_ok() && opened == plain);
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_fails(
        len in 0..3 * CHUNK_LEN,
        at in any::<proptest::sample::Index>(),
        bit in 0u8..8,
        algorithm in proptest::sample::select(&ALGORITHMS[..]),
    ) {
        let (world, plain) = (World::new(algorithm), plaintext(len));
        let stream = world.seal(&plain, &[usize::MAX]);
        let at = at.index(stream.len());
        world.refuses(&stream[..at], &plain);
        let mut flipped = stream;
        flipped[at] ^= 1 << bit;
        world.refuses(&flipped, &plain);
    }
}
