//! Wrapped secrets, records, system keys and signatures: they open where they belong and nowhere
//! else, and none shows its bytes.

use std::sync::Arc;
use std::time::Duration;

use hub_crypto::{
    Binding, Error, Kek, Material, Origin, RecordKey, RootKey, Secret, SigningKey, SystemKeys,
    VerifyingKey, WrapPurpose,
};
use hub_model::{Algorithm, HubId, KeyId, RegistrationId, Timestamp};

fn is_open<T>(outcome: Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Open))
}

fn binding(hub: HubId) -> Binding<'static> {
    Binding {
        purpose: WrapPurpose::Material,
        hub,
        path: b"r/k/1",
        registration: Some(RegistrationId::from_bytes([1; 16])),
        key: Some(KeyId::from_bytes([2; 16])),
        version: 1,
        algorithm: Some(Algorithm::Aes256Gcm),
        origin: Origin::Generated,
        exportable: false,
    }
}

#[test]
fn a_wrapped_secret_is_bound_to_everything() {
    let (kek, good) = (Kek::generate(1).unwrap(), binding(HubId::generate()));
    let secret = Secret::copy_from(&[7; 32]).unwrap();
    let wrapped = kek.wrap(&good, &secret);
    assert_eq!(kek.unwrap(&good, &wrapped).unwrap().expose_secret(), [7; 32]);
    for other in [
        Binding { purpose: WrapPurpose::Kek, ..good },
        Binding { hub: HubId::generate(), ..good },
        Binding { path: b"r/k/2", ..good },
        Binding { path: b"", ..good },
        Binding { registration: None, ..good },
        Binding { registration: Some(RegistrationId::from_bytes([3; 16])), ..good },
        // Lengths are bound too: the one uid does not pass for the other.
        Binding { registration: None, key: good.registration.map(|r| uid(*r.as_bytes())), ..good },
        Binding { key: None, ..good },
        Binding { version: 2, ..good },
        Binding { algorithm: None, ..good },
        Binding { algorithm: Some(Algorithm::ChaCha20Poly1305), ..good },
        Binding { origin: Origin::Imported, ..good },
        Binding { exportable: true, ..good },
    ] {
        assert!(is_open(kek.unwrap(&other, &wrapped)), "{other:?}");
    }
    assert!(is_open(Kek::generate(1).unwrap().unwrap(&good, &wrapped)));
    for at in 0..wrapped.len() {
        let mut changed = wrapped.clone();
        changed[at] ^= 1;
        assert!(is_open(kek.unwrap(&good, &changed)));
        assert!(is_open(kek.unwrap(&good, &wrapped[..at])));
    }
    assert!(is_open(kek.unwrap(&good, &[wrapped.as_slice(), &[0]].concat())));
}

fn uid(bytes: [u8; 16]) -> KeyId {
    KeyId::from_bytes(bytes)
}

#[test]
fn keks_and_material_travel_wrapped() {
    let (hub, owner) = (HubId::generate(), RegistrationId::generate());
    let (root, kek) = (RootKey::generate(1).unwrap(), Kek::generate(4).unwrap());
    let place = Binding::kek(hub, b"r/kek", owner, 4);
    let wrapped = root.kek().wrap_kek(&place, &kek);
    assert_eq!(Kek::epoch_of(&wrapped).unwrap(), 1);
    let again = root.kek().unwrap_kek(&place, &wrapped).unwrap();
    assert_eq!(again.epoch(), 4);

    let (material, slot) = (Material::generate(Algorithm::Aes256Gcm).unwrap(), binding(hub));
    let wrapped = kek.wrap_material(&slot, &material);
    let back = again.unwrap_material(&slot, Algorithm::Aes256Gcm, &wrapped).unwrap();
    let key = KeyId::generate();
    let text = hub_crypto::envelope::seal(&material, key, 1, owner, b"", b"x").unwrap();
    let envelope = hub_crypto::Envelope::parse(&text).unwrap();
    assert!(hub_crypto::envelope::open(&back, &envelope, key, 1, owner, b"").is_ok());
    assert!(is_open(again.unwrap_material(&slot, Algorithm::ChaCha20Poly1305, &wrapped)));
    // The same bytes under another epoch are another key.
    let other = Kek::from_secret(Secret::copy_from(&[5; 32]).unwrap(), 1).unwrap();
    let later = Kek::from_secret(Secret::copy_from(&[5; 32]).unwrap(), 2).unwrap();
    assert!(is_open(later.unwrap_material(
        &slot,
        Algorithm::Aes256Gcm,
        &other.wrap_material(&slot, &material)
    )));
}

#[test]
fn a_record_opens_under_its_path_only() {
    let key = RecordKey::generate().unwrap();
    let sealed = key.seal(b"registration/a", b"{}");
    assert_eq!(sealed.len(), 2 + hub_crypto::record::OVERHEAD);
    assert_eq!(**key.open(b"registration/a", &sealed).unwrap(), *b"{}");
    assert_ne!(sealed, key.seal(b"registration/a", b"{}"));
    for path in [&b"registration/b"[..], b"registration/", b"", b"registration/a\0"] {
        assert!(is_open(key.open(path, &sealed)));
    }
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 0x80;
        assert!(is_open(key.open(b"registration/a", &changed)));
        assert!(is_open(key.open(b"registration/a", &sealed[..at])));
    }
}

#[test]
fn system_keys_come_back_the_same() {
    let (root, hub) = (RootKey::generate(1).unwrap(), HubId::generate());
    let keys = SystemKeys::generate().unwrap();
    let wrapped = keys.wrap(&root, hub);
    let again = SystemKeys::unwrap(&root, hub, &wrapped).unwrap();
    let sealed = keys.record().seal(b"path", b"record");
    assert_eq!(**again.record().open(b"path", &sealed).unwrap(), *b"record");
    let macs = |keys: &SystemKeys| {
        [keys.token(), keys.privacy(), keys.digest(), keys.page_token()].map(|key| key.tag(&[b"x"]))
    };
    assert_eq!(macs(&keys), macs(&again));
    let tags = macs(&keys);
    assert!((1..4).all(|i| tags[..i].iter().all(|tag| *tag != tags[i])));
    assert_eq!(signers(&keys), signers(&again));
    assert_eq!(signers(&keys).len(), 1);

    assert!(is_open(SystemKeys::unwrap(&root, HubId::generate(), &wrapped)));
    assert!(is_open(SystemKeys::unwrap(&RootKey::generate(1).unwrap(), hub, &wrapped)));
    assert!(is_open(SystemKeys::unwrap(&root, hub, b"")));
}

fn signers(keys: &SystemKeys) -> Vec<VerifyingKey> {
    keys.checkpoint_keys().signing().map(SigningKey::public).collect()
}

#[test]
fn the_signing_key_before_comes_back_until_it_is_dropped() {
    let (root, hub) = (RootKey::generate(1).unwrap(), HubId::generate());
    let keys = SystemKeys::generate().unwrap();
    let alone = keys.wrap(&root, hub);
    let now = Timestamp::from_micros(1_795_000_000_000_000);
    let rotated = keys.checkpoint_keys().rotated(now, Duration::from_secs(60)).unwrap();
    assert!(!rotated.is_over(now.plus(Duration::from_secs(59))));
    assert!(rotated.is_over(now.plus(Duration::from_secs(60))));
    // What is wrapped for a commit does not sign before that.
    let wrapped = keys.wrap_with(&root, hub, &rotated);
    assert_eq!(signers(&keys).len(), 1);
    keys.follow_checkpoint_keys(Arc::new(rotated));
    let again = SystemKeys::unwrap(&root, hub, &wrapped).unwrap();
    assert_eq!(signers(&keys), signers(&again));
    assert_eq!(signers(&keys).len(), 2);
    assert_eq!(again.checkpoint_keys().epoch(), 2);
    let until = again.checkpoint_keys().previous().map(|previous| previous.until);
    assert_eq!(until, Some(now.plus(Duration::from_secs(60))));
    let over = again.checkpoint_keys().with_previous(None);
    let after = SystemKeys::unwrap(&root, hub, &again.wrap_with(&root, hub, &over)).unwrap();
    assert_eq!(signers(&after), signers(&again)[..1]);
    let before = SystemKeys::unwrap(&root, hub, &alone).unwrap();
    assert_eq!(signers(&before), signers(&again)[1..]);
}

#[test]
fn signatures() {
    let key = SigningKey::generate().unwrap();
    let signature = key.sign(b"checkpoint");
    let public = VerifyingKey::from_bytes(&key.public().to_bytes()).unwrap();
    assert!(public.verify(b"checkpoint", &signature).is_ok());
    assert!(matches!(public.verify(b"checkpoinu", &signature), Err(Error::Signature)));
    assert!(matches!(public.verify(b"checkpoint", &signature[..63]), Err(Error::Signature)));
    // The small-order key under which any message verifies by the lax rule.
    let weak = VerifyingKey::from_bytes(&{
        let mut bytes = [0; 32];
        bytes[0] = 1;
        bytes
    });
    let mut forged = [0; 64];
    forged[0] = 1;
    assert!(weak.is_err() || weak.unwrap().verify(b"anything", &forged).is_err());
    assert!(SigningKey::from_secret(Secret::copy_from(&[1; 33]).unwrap()).is_err());
}

#[test]
fn nothing_shows_its_bytes() {
    let canary = || Secret::copy_from(b"canary-canary-canary-canary-cana").unwrap();
    let shown = format!(
        "{:?} {:?} {:?} {:?} {:?} {:?}",
        canary(),
        Kek::from_secret(canary(), 1).unwrap(),
        RootKey::from_secret(canary(), 1).unwrap(),
        RecordKey::from_secret(canary(), 1).unwrap(),
        SigningKey::from_secret(canary()).unwrap(),
        SystemKeys::generate().unwrap(),
    );
    // As text, as hex, and as a list of numbers.
    for form in ["canary", "63616e617279", "99, 97, 110"] {
        assert!(!shown.contains(form), "{shown}");
    }
    assert!(shown.contains("[secret]"));
}
