//! Files that are plugins, files that are not, and whose signatures count.

use ed25519_dalek::SigningKey;
use hub_model::Timestamp;
use proptest::prelude::*;

use super::*;

const MANIFEST_TEXT: &str = r#"
name = "calendar"
version = "1.0.0"
world = "rotation-schedule"
contract = "0.1"
description = "Rotates on business days."
"#;

/// A component with a core module in it.
fn component() -> Vec<u8> {
    wat::parse_str("(component (core module (memory 1) (func)))").unwrap()
}

fn sealed() -> Vec<u8> {
    Package::seal(&component(), MANIFEST_TEXT).unwrap()
}

fn parse(bytes: &[u8]) -> Result<Package, PackageError> {
    Package::parse(bytes, &SizeLimits::default())
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn signer(name: &str, seed: u8) -> Signer {
    let key = key(seed).verifying_key();
    Signer { name: name.parse().unwrap(), key, not_before: None, not_after: None }
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

#[test]
fn a_sealed_component_is_a_package() {
    let file = sealed();
    let package = parse(&file).unwrap();
    assert_eq!(package.manifest().name.as_str(), "calendar");
    assert_eq!(package.manifest_text(), MANIFEST_TEXT);
    assert_eq!(package.component_bytes(), file);
    assert_eq!(package.digest().0, <[u8; 32]>::from(Sha256::digest(&file)));
    assert!(package.signatures().is_empty());
    assert!(matches!(parse(&component()), Err(PackageError::NoManifest)));
    let module = wat::parse_str("(module)").unwrap();
    assert_eq!(Package::seal(&module, MANIFEST_TEXT).unwrap_err(), PackageError::CoreModule);
    assert!(matches!(Package::seal(&file, "name = 1"), Err(PackageError::Manifest(_))));
}

#[test]
fn sealing_again_replaces_the_manifest_and_takes_signatures_off() {
    let signed = parse(&sealed()).unwrap().with_signature(&key(1));
    assert_eq!(Package::seal(&signed, MANIFEST_TEXT).unwrap(), sealed());
    let newer = MANIFEST_TEXT.replace("1.0.0", "2.0.0");
    let package = parse(&Package::seal(&signed, &newer).unwrap()).unwrap();
    assert_eq!(package.manifest().version.to_string(), "2.0.0");
}

#[test]
fn signatures_do_not_change_the_digest_and_are_one_a_key() {
    let plain = parse(&sealed()).unwrap();
    let once = parse(&plain.with_signature(&key(1))).unwrap();
    let twice = parse(&once.with_signature(&key(2))).unwrap();
    let again = parse(&twice.with_signature(&key(1))).unwrap();
    assert_eq!((plain.digest(), once.digest()), (twice.digest(), again.digest()));
    assert_eq!((once.signatures().len(), twice.signatures().len()), (1, 2));
    assert_eq!(again.signatures().len(), 2);
    assert_eq!(again.component_bytes(), plain.component_bytes());
    let mut many = plain;
    for seed in 0..17 {
        let file = many.with_signature(&key(seed));
        let read = parse(&file);
        if seed == 16 {
            assert_eq!(read.unwrap_err(), PackageError::TooManySignatures(16));
            break;
        }
        many = read.unwrap();
    }
}

#[test]
fn trust_is_in_signers_within_their_period() {
    let package = parse(&parse(&sealed()).unwrap().with_signature(&key(1))).unwrap();
    let trust = |signers: Vec<Signer>| Trust { signers };
    let verify = |trust: &Trust, now| trust.verify(&package, at(now)).map(|s| s.name.to_string());

    let us = trust(vec![signer("them", 2), signer("us", 1)]);
    assert_eq!(verify(&us, 5).unwrap(), "us");
    assert_eq!(us.verify(&parse(&sealed()).unwrap(), at(5)).unwrap_err(), PackageError::Unsigned);
    assert_eq!(verify(&trust(vec![signer("them", 2)]), 5).unwrap_err(), PackageError::Untrusted);
    assert_eq!(verify(&Trust::default(), 5).unwrap_err(), PackageError::Untrusted);

    let period = Signer { not_before: Some(at(3)), not_after: Some(at(7)), ..signer("us", 1) };
    let limited = trust(vec![period.clone()]);
    let over = PackageError::OutOfPeriod("us".parse().unwrap());
    for (now, good) in [(2, false), (3, true), (7, true), (8, false)] {
        let said = verify(&limited, now);
        assert_eq!(said.is_ok(), good, "{now}");
        assert!(good || said.unwrap_err() == over);
    }
    let later = Signer { not_before: Some(at(8)), ..signer("us-later", 1) };
    assert_eq!(verify(&trust(vec![period, later]), 9).unwrap(), "us-later");
}

#[test]
fn a_signature_of_another_file_is_none() {
    let other = MANIFEST_TEXT.replace("1.0.0", "1.0.1");
    let other = parse(&Package::seal(&component(), &other).unwrap()).unwrap();
    let signed = other.with_signature(&key(1));
    let moved = [&sealed()[..], &signed[other.component_bytes().len()..]].concat();
    let trust = Trust { signers: vec![signer("us", 1)] };
    let bad = PackageError::BadSignature("us".parse().unwrap());
    assert_eq!(trust.verify(&parse(&moved).unwrap(), at(0)).unwrap_err(), bad);
}

#[test]
fn nothing_follows_signatures_and_manifests_do_not_repeat() {
    let signed = parse(&sealed()).unwrap().with_signature(&key(1));
    let mut after = signed.clone();
    section::append(&mut after, "name", b"");
    assert_eq!(parse(&after).unwrap_err(), PackageError::Signature(sealed().len()));
    let mut twice = sealed();
    section::append(&mut twice, MANIFEST, MANIFEST_TEXT.as_bytes());
    assert_eq!(parse(&twice).unwrap_err(), PackageError::TwoManifests);
    let mut late = signed;
    section::append(&mut late, MANIFEST, MANIFEST_TEXT.as_bytes());
    assert!(matches!(parse(&late), Err(PackageError::Signature(_))));
    for text in ["", "ed25519", "ed25519 0 AA==", "rsa 0000000000000000 AA==", "ed25519  "] {
        let mut file = sealed();
        section::append(&mut file, SIGNATURE, text.as_bytes());
        assert!(matches!(parse(&file), Err(PackageError::Signature(_))), "{text}");
    }
}

#[test]
fn sizes_are_bounded() {
    let file = sealed();
    let limits = SizeLimits { file: file.len() - 1, ..SizeLimits::default() };
    let too_large = PackageError::TooLarge(file.len() - 1);
    assert_eq!(Package::parse(file.as_slice(), &limits).unwrap_err(), too_large);
    let long = format!("{MANIFEST_TEXT}# {}", "x".repeat(64 << 10));
    let said = Package::seal(&component(), &long).unwrap_err().to_string();
    assert_eq!(said, "manifest: it has more than 65536 bytes");
    let mut file = component();
    section::append(&mut file, MANIFEST, b"\xff");
    assert_eq!(parse(&file).unwrap_err().to_string(), "manifest: it is not UTF-8");
}

#[test]
fn no_cut_and_no_changed_byte_passes_for_the_same_file() {
    let signed = parse(&sealed()).unwrap().with_signature(&key(1));
    let digest = parse(&signed).unwrap().digest();
    let trust = Trust { signers: vec![signer("us", 1)] };
    let trusted = |bytes: &[u8]| match parse(bytes) {
        Ok(package) => trust.verify(&package, at(0)).is_ok().then(|| package.digest()),
        Err(_) => None,
    };
    assert_eq!(trusted(&signed), Some(digest));
    for end in 0..signed.len() {
        assert_eq!(trusted(&signed[..end]), None, "cut at {end}");
    }
    for place in 0..signed.len() {
        for bit in [1, 0x10, 0x80] {
            let mut changed = signed.clone();
            changed[place] ^= bit;
            assert_eq!(trusted(&changed), None, "byte {place}");
        }
    }
}

proptest! {
    #[test]
    fn bytes_from_anywhere_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes);
        let framed = [&[0, b'a', b's', b'm', 0x0d, 0, 1, 0][..], &bytes].concat();
        let _ = parse(&framed);
        let _ = Package::seal(&framed, MANIFEST_TEXT);
    }

    #[test]
    fn mutations_never_panic(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<proptest::sample::Index>(),
        doubled in any::<proptest::sample::Index>(),
    ) {
        let mut file = parse(&sealed()).unwrap().with_signature(&key(1));
        for (place, byte) in changes {
            let place = place.index(file.len());
            file[place] = byte;
        }
        let _ = parse(&file);
        let from = doubled.index(file.len());
        let tail = file[from..].to_vec();
        file.extend(tail);
        let _ = parse(&file);
        file.truncate(cut.index(file.len()));
        let _ = parse(&file);
    }

    #[test]
    fn manifests_from_anywhere_never_panic(text in "\\PC{0,200}", name in "[a-z_.\\[\\]]{0,12}") {
        let _ = Manifest::parse(&text);
        let _ = Manifest::parse(&format!("{MANIFEST_TEXT}\n{name} = {text}"));
        let _ = Manifest::parse(&format!("{MANIFEST_TEXT}\n[config.a]\n{name} = {text:?}"));
    }
}

#[test]
fn keys_have_a_text_form() {
    let public = key(1).verifying_key();
    let text = show_public_key(&public);
    assert_eq!(parse_public_key(&text).unwrap(), public);
    assert_eq!(key_id(&public).len(), 16);
    let weak = format!("ed25519:{}", base64_simd::STANDARD.encode_to_string([0_u8; 32]));
    assert_eq!(parse_public_key(&weak).unwrap_err(), KeyError::Weak);
    for wrong in ["", "ed25519:", "ed25519:AAAA", "rsa:AAAA", &text[8..], &format!("{text}=")] {
        assert_eq!(parse_public_key(wrong).unwrap_err(), KeyError::Public, "{wrong}");
    }
    let pem = write_signing_key(&key(1)).unwrap();
    assert_eq!(read_signing_key(&pem).unwrap().to_bytes(), key(1).to_bytes());
    assert_eq!(read_signing_key("nothing").unwrap_err(), KeyError::Private);
}

#[test]
fn openssl_makes_keys_and_signatures_and_checks_ours() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let openssl = |arguments: &[&str]| {
        let output = std::process::Command::new("openssl")
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .expect("openssl is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", "key.pem"]);
    let made = read_signing_key(&std::fs::read_to_string(path("key.pem")).unwrap()).unwrap();
    openssl(&["pkey", "-in", "key.pem", "-pubout", "-outform", "DER", "-out", "pub.der"]);
    let der = std::fs::read(path("pub.der")).unwrap();
    assert_eq!(der[der.len() - 32..], *made.verifying_key().as_bytes());

    let package = parse(&sealed()).unwrap();
    let message = [b"cipher-hub/v1/plugin\0", &package.digest().0[..]].concat();
    std::fs::write(path("message"), message).unwrap();
    openssl(&["pkeyutl", "-sign", "-rawin", "-inkey", "key.pem", "-in", "message", "-out", "sig"]);
    let theirs = std::fs::read(path("sig")).unwrap();
    let mut file = sealed();
    let base64 = base64_simd::STANDARD.encode_to_string(&theirs);
    let line = format!("ed25519 {} {base64}", key_id(&made.verifying_key()));
    section::append(&mut file, SIGNATURE, line.as_bytes());
    assert_eq!(file, package.with_signature(&made));
    let us = Signer { key: made.verifying_key(), ..signer("us", 0) };
    Trust { signers: vec![us] }.verify(&parse(&file).unwrap(), at(0)).unwrap();

    std::fs::write(path("ours.pem"), write_signing_key(&key(9)).unwrap()).unwrap();
    openssl(&["pkeyutl", "-sign", "-rawin", "-inkey", "ours.pem", "-in", "message", "-out", "s2"]);
    let expected = parse(&package.with_signature(&key(9))).unwrap();
    let base64 = base64_simd::STANDARD.encode_to_string(std::fs::read(path("s2")).unwrap());
    assert!(expected.signatures()[0].to_string().ends_with(&base64));
}
