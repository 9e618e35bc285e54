use std::sync::OnceLock;

use ::rsa::BoxedUint;
use pkcs1::EncodeRsaPrivateKey as _;

use super::*;

const PROVIDERS: [Provider; 2] = [Provider::RustCrypto, Provider::AwsLc];
const HASHES: [Hash; 3] = [Hash::Sha256, Hash::Sha384, Hash::Sha512];

/// One key of 2048 bits for all tests: making one takes a while.
fn pkcs8_2048() -> Secret {
    static KEY: OnceLock<Vec<u8>> = OnceLock::new();
    let der = KEY.get_or_init(|| {
        let scheme = Scheme::of(Kind::RsaPss { bits: 2048, hash: Hash::Sha256 }).unwrap();
        generate(Provider::AwsLc, scheme).unwrap().expose_secret().to_vec()
    });
    Secret::copy_from(der).unwrap()
}

fn scheme(kind: Kind) -> Scheme {
    Scheme::of(kind).unwrap()
}

#[test]
fn what_one_provider_signs_the_other_verifies() {
    let secret = pkcs8_2048();
    for hash in HASHES {
        for kind in [Kind::RsaPss { bits: 2048, hash }, Kind::RsaPkcs1 { bits: 2048, hash }] {
            let message = Message::Whole(b"message");
            let digest = prehash::digest(hash, message).unwrap();
            for signs in PROVIDERS {
                let key = private(signs, scheme(kind), &secret).unwrap();
                let signatures =
                    [key.sign(message).unwrap(), key.sign(Message::Digest(&digest)).unwrap()];
                assert!(matches!(key.sign(Message::Digest(b"short")), Err(Error::Digest)));
                assert!(matches!(key.decrypt(&[0; 256], b""), Err(Error::WrongUse)));
                for verifies in PROVIDERS {
                    let public = public(verifies, scheme(kind), &key.public().raw()).unwrap();
                    for signature in &signatures {
                        public.verify(message, signature).unwrap();
                        public.verify(Message::Digest(&digest), signature).unwrap();
                        let longer = [&[0], &signature[..]].concat();
                        let mut other = signature.clone();
                        other[100] ^= 1;
                        for bad in [&signature[1..], &longer, &other, &[0; 256], &[0xff; 256], &[]]
                        {
                            let outcome = public.verify(message, bad);
                            assert!(matches!(outcome, Err(Error::Signature)));
                        }
                        let outcome = public.verify(Message::Whole(b"other"), signature);
                        assert!(matches!(outcome, Err(Error::Signature)));
                    }
                    assert!(matches!(public.encrypt(b"", b""), Err(Error::WrongUse)));
                }
            }
        }
    }
}

#[test]
fn a_signature_of_one_padding_or_hash_is_none_of_another() {
    let secret = pkcs8_2048();
    let bits = 2048;
    let all: Vec<Kind> = HASHES
        .into_iter()
        .flat_map(|hash| [Kind::RsaPss { bits, hash }, Kind::RsaPkcs1 { bits, hash }])
        .collect();
    for provider in PROVIDERS {
        for signs in &all {
            let signature = private(Provider::AwsLc, scheme(*signs), &secret)
                .unwrap()
                .sign(Message::Whole(b"message"))
                .unwrap();
            for verifies in &all {
                let key = private(provider, scheme(*verifies), &secret).unwrap().public();
                let accepted = key.verify(Message::Whole(b"message"), &signature).is_ok();
                assert_eq!(accepted, signs == verifies, "{provider:?} {signs:?} {verifies:?}");
            }
        }
    }
}

#[test]
fn what_one_provider_encrypts_the_other_decrypts() {
    let secret = pkcs8_2048();
    for hash in HASHES {
        let scheme = scheme(Kind::RsaOaep { bits: 2048, hash });
        let longest = 256 - 2 * hash.len() - 2;
        for encrypts in PROVIDERS {
            for decrypts in PROVIDERS {
                let key = private(decrypts, scheme, &secret).unwrap();
                let public = public(encrypts, scheme, &key.public().raw()).unwrap();
                for (len, label) in [(0, &b""[..]), (1, b"label"), (longest, &[0; 100])] {
                    let plaintext = vec![7; len];
                    let ciphertext = public.encrypt(&plaintext, label).unwrap();
                    let opened = key.decrypt(&ciphertext, label).unwrap();
                    assert_eq!(opened.expose_secret(), plaintext);

                    let mut other = ciphertext.clone();
                    other[255] ^= 1;
                    let outcomes = [
                        key.decrypt(&ciphertext, b"another label"),
                        key.decrypt(&other, label),
                        key.decrypt(&ciphertext[1..], label),
                        key.decrypt(&[&[0], &ciphertext[..]].concat(), label),
                        key.decrypt(&[0; 256], label),
                        key.decrypt(&[0xff; 256], label),
                        key.decrypt(b"", label),
                    ];
                    for outcome in outcomes {
                        assert!(matches!(outcome, Err(Error::Open)));
                    }
                }
                let outcome = public.encrypt(&vec![7; longest + 1], b"");
                assert!(matches!(outcome, Err(Error::TooLongFor(max)) if max == longest));
                assert!(matches!(key.sign(Message::Whole(b"")), Err(Error::WrongUse)));
                assert!(matches!(public.verify(Message::Whole(b""), b""), Err(Error::WrongUse)));
            }
        }
    }
}

#[test]
fn both_providers_generate_what_both_read() {
    for provider in PROVIDERS {
        let kind = Kind::RsaPss { bits: 2048, hash: Hash::Sha256 };
        let secret = generate(provider, scheme(kind)).unwrap();
        let forms = PROVIDERS.map(|reads| {
            let key = private(reads, scheme(kind), &secret).unwrap();
            // Export gives what was stored: there is one DER of a key.
            assert_eq!(key.pkcs8().unwrap().expose_secret(), secret.expose_secret());
            (key.public().raw(), key.public().spki(), key.public().jwk())
        });
        assert_eq!(forms[0], forms[1]);
        let oaep = scheme(Kind::RsaOaep { bits: 2048, hash: Hash::Sha256 });
        for reads in PROVIDERS {
            let key = private(reads, oaep, &secret).unwrap();
            assert_eq!(key.pkcs8().unwrap().expose_secret(), secret.expose_secret());
        }
        let imported = encode::private_from_pkcs8(kind, secret.expose_secret()).unwrap();
        assert_eq!(imported.expose_secret(), secret.expose_secret());
    }
}

#[test]
fn other_sizes_and_exponents_are_refused() {
    let secret = pkcs8_2048();
    let good =
        private(Provider::AwsLc, scheme(Kind::RsaPss { bits: 2048, hash: Hash::Sha256 }), &secret)
            .unwrap()
            .public()
            .raw();
    let modulus = RsaPublicKeyRef::from_der(&good).unwrap().modulus.as_bytes();
    let mut half = modulus.to_vec();
    half[0] = 0x7f;
    let mut even = modulus.to_vec();
    even[255] &= 0xfe;
    for provider in PROVIDERS {
        for bits in [3072, 4096] {
            let scheme = scheme(Kind::RsaOaep { bits, hash: Hash::Sha256 });
            assert!(matches!(private(provider, scheme, &secret), Err(Error::PrivateKey)));
            assert!(matches!(public(provider, scheme, &good), Err(Error::PublicKey)));
        }
        let scheme = scheme(Kind::RsaOaep { bits: 2048, hash: Hash::Sha256 });
        for bad in [
            public_of(modulus, &[3]).unwrap(),
            public_of(modulus, &[1, 0, 0]).unwrap(),
            public_of(modulus, &[1]).unwrap(),
            public_of(modulus, &[1, 0, 0, 0, 1]).unwrap(),
            public_of(&half, &EXPONENT).unwrap(),
            public_of(&even, &EXPONENT).unwrap(),
            public_of(&modulus[1..], &EXPONENT).unwrap(),
            [&good[..], &[0]].concat(),
            good[..good.len() - 1].to_vec(),
            vec![],
        ] {
            assert!(matches!(public(provider, scheme, &bad), Err(Error::PublicKey)));
        }
    }
}

#[test]
fn private_keys_whose_parts_do_not_belong_together_are_refused() {
    let secret = pkcs8_2048();
    let kind = Kind::RsaPss { bits: 2048, hash: Hash::Sha256 };
    let inner = encode::pkcs8_inner(kind, secret.expose_secret()).unwrap().key;
    let key = RsaPrivateKeyRef::from_der(inner).unwrap();
    let good = [
        key.modulus,
        key.public_exponent,
        key.private_exponent,
        key.prime1,
        key.prime2,
        key.exponent1,
        key.exponent2,
        key.coefficient,
    ]
    .map(|number| number.as_bytes().to_vec());
    let import = |numbers: &[Vec<u8>; 8]| {
        import_numbers(scheme(kind), numbers.each_ref().map(Vec::as_slice))
    };
    assert_eq!(import(&good).unwrap().expose_secret(), secret.expose_secret());
    for at in 0..8 {
        let mut changed = good.clone();
        *changed[at].last_mut().unwrap() ^= 2;
        assert!(matches!(import(&changed), Err(Error::PrivateKey)), "number {at}");
        changed[at] = vec![1];
        assert!(matches!(import(&changed), Err(Error::PrivateKey)), "number {at}");
        changed[at] = vec![];
        assert!(matches!(import(&changed), Err(Error::PrivateKey)), "number {at}");
    }
}

/// Some programs put the smaller prime first; aws-lc and OpenSSL never do.
#[test]
fn the_order_of_the_primes_does_not_matter() {
    let secret = pkcs8_2048();
    let kind = Kind::RsaPss { bits: 2048, hash: Hash::Sha256 };
    let inner = encode::pkcs8_inner(kind, secret.expose_secret()).unwrap().key;
    let key = RsaPrivateKeyRef::from_der(inner).unwrap();
    let number = |number: UintRef<'_>| BoxedUint::from_be_slice(number.as_bytes(), 2048).unwrap();
    let primes = vec![number(key.prime2), number(key.prime1)];
    let (n, e, d) =
        (number(key.modulus), number(key.public_exponent), number(key.private_exponent));
    let swapped = ::rsa::PrivateKey::from_components(n, e, d, primes).unwrap();
    let swapped = import(scheme(kind), swapped.to_pkcs1_der().unwrap().as_bytes()).unwrap();
    assert_ne!(swapped.expose_secret(), secret.expose_secret());
    for provider in PROVIDERS {
        let key = private(provider, scheme(kind), &swapped).unwrap();
        let signature = key.sign(Message::Whole(b"message")).unwrap();
        let own = private(provider, scheme(kind), &secret).unwrap().public();
        own.verify(Message::Whole(b"message"), &signature).unwrap();
    }
}
