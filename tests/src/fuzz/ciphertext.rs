//! What callers hand in to be decrypted.

use std::sync::LazyLock;

use hub_crypto::stream::{HEADER_LEN, SecretBuffer, StreamOpener};
use hub_crypto::{Envelope, Keyring, Material, Secret};
use hub_model::{Algorithm, EncryptionContext, KeyId, RegistrationId};

/// The key and the registration of every seed.
pub(super) const KEY: KeyId = KeyId::from_bytes([2; 16]);
pub(super) const REGISTRATION: RegistrationId = RegistrationId::from_bytes([1; 16]);
/// Every byte of every secret of seeds.
pub(super) const FILL: u8 = 0x5a;

const SEALING: [Algorithm; 6] = [
    Algorithm::Aes256Gcm,
    Algorithm::ChaCha20Poly1305,
    Algorithm::XChaCha20Poly1305,
    Algorithm::Aes256GcmSiv,
    Algorithm::Aes256Siv,
    Algorithm::Aes256GcmRaw,
];

/// The material of seeds of this symmetric algorithm.
pub(super) fn material(algorithm: Algorithm) -> Material {
    let len = algorithm.row().secret_len.expect("symmetric");
    let secret = Secret::fill(len, |slot| slot.fill(FILL)).expect("room in the arena");
    Material::from_secret(algorithm, secret).expect("of the length of the algorithm")
}

static KEYRINGS: LazyLock<Vec<Keyring>> = LazyLock::new(|| {
    let keyring = |algorithm| {
        let mut keyring = Keyring::new(KEY, REGISTRATION, algorithm, 1);
        keyring.insert(1, material(algorithm));
        keyring
    };
    SEALING.into_iter().map(keyring).collect()
});

pub(super) fn envelope(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(envelope) = Envelope::parse(text) else { return };
    let header = *envelope.header();
    // One spelling: what is read is written in one way only.
    assert!(text.starts_with(&format!("ch1:{}:", header.version)));
    assert!(Envelope::parse(&format!("{text}=")).is_err() && header.version > 0);
    let context = EncryptionContext::default().canonical();
    for keyring in &*KEYRINGS {
        if let Ok(plaintext) = keyring.open(&envelope, &context) {
            assert_eq!((header.key, header.version), (KEY, 1), "of another key or version");
            assert_eq!(keyring.algorithm().suite(), Some(header.suite), "of another suite");
            assert!(plaintext.len() < text.len());
        }
    }
}

static STREAMING: LazyLock<[Material; 2]> =
    LazyLock::new(|| [Algorithm::Aes256Gcm, Algorithm::ChaCha20Poly1305].map(material));

/// The first byte is the length of the pieces.
pub(super) fn stream(data: &[u8]) {
    let Some((piece, data)) = data.split_first() else { return };
    let Some((header, body)) = data.split_at_checked(HEADER_LEN) else { return };
    let context = EncryptionContext::default().canonical();
    for material in &*STREAMING {
        let opened = StreamOpener::new(material, header, KEY, REGISTRATION, &context);
        let Ok(mut opener) = opened else { continue };
        let mut plaintext = SecretBuffer::with_capacity(0);
        let mut pieces = body.chunks(usize::from(*piece).max(1) * 16);
        if pieces.all(|piece| opener.push(piece, &mut plaintext).is_ok())
            && opener.finish(&mut plaintext).is_ok()
        {
            assert!(plaintext.len() < body.len(), "more came out than went in");
        }
    }
}

pub(super) fn keywrap(data: &[u8]) {
    let kek = [FILL; 32];
    if let Ok(secret) = hub_crypto::keywrap::unwrap(&kek, data) {
        let again = hub_crypto::keywrap::wrap(&kek, secret.expose_secret());
        assert_eq!(again.expect("it was wrapped"), data, "key wrap has one output an input");
    }
}
