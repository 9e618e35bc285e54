//! Every classic algorithm against the `openssl` program, in both directions: keys, signatures,
//! ciphertexts and shared secrets. Skipped, with a line that says so, where the program is absent.

#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail loudly")]

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Command, Output};

use hub_crypto::asymmetric::encode::{
    PRIVATE_LABEL, PUBLIC_LABEL, pem, private_from_pem, private_from_pkcs8, public_from_pem,
};
use hub_crypto::asymmetric::{Message, generate, private_key_by, signature};
use hub_crypto::provider::Provider;
use hub_crypto::{Error, Secret};
use hub_model::algorithm::{ALGORITHMS, Curve, Hash, Kind};
use tempfile::TempDir;

const PROVIDERS: [Provider; 2] = [Provider::RustCrypto, Provider::AwsLc];
const MESSAGE: &[u8] = b"a message that both sides sign";

/// The program, in a directory for its files.
struct OpenSsl(TempDir);

impl OpenSsl {
    /// `None`, and a line, if there is no such program.
    fn new() -> Option<Self> {
        match Command::new("openssl").arg("version").output() {
            Ok(output) => assert!(output.status.success()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                println!("skipped: there is no `openssl` program");
                return None;
            }
            Err(error) => panic!("{error}"),
        }
        Some(Self(TempDir::new().unwrap()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    fn try_run(&self, arguments: &str, options: &[String]) -> Output {
        Command::new("openssl")
            .args(arguments.split_whitespace())
            .args(options)
            .current_dir(self.0.path())
            .output()
            .unwrap()
    }

    fn run(&self, arguments: &str, options: &[String]) {
        let output = self.try_run(arguments, options);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments} {options:?}: {errors}");
    }

    /// Makes a key of the kind: `key.pem`, and its public half: `pub.pem`. Gives the stored
    /// secret, after all forms were found to be ours to the byte.
    fn generate(&self, kind: Kind) -> Secret {
        let arguments = match kind {
            Kind::RsaOaep { bits, .. }
            | Kind::RsaPss { bits, .. }
            | Kind::RsaPkcs1 { bits, .. } => {
                format!("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:{bits}")
            }
            Kind::Ecdsa(curve) | Kind::Ecdh(curve) => {
                format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:{}", name(curve))
            }
            Kind::Ed25519 => "genpkey -algorithm ED25519".to_owned(),
            Kind::X25519 => "genpkey -algorithm X25519".to_owned(),
            other => panic!("{other:?}"),
        };
        self.run(&format!("{arguments} -out key.pem"), &[]);
        self.run("pkey -in key.pem -pubout -out pub.pem", &[]);
        self.run("pkcs8 -topk8 -nocrypt -in key.pem -outform DER -out key.der", &[]);
        let text = String::from_utf8(self.read("key.pem")).unwrap();
        let secret = private_from_pem(kind, &text).unwrap();
        let from_der = private_from_pkcs8(kind, &self.read("key.der")).unwrap();
        assert_eq!(from_der.expose_secret(), secret.expose_secret());
        for provider in PROVIDERS {
            let key = private_key_by(provider, kind, &secret).unwrap();
            let own = key.pkcs8().unwrap();
            assert_eq!(own.expose_secret(), self.read("key.der"), "{kind:?}");
            assert_eq!(pem(PRIVATE_LABEL, own.expose_secret()), text, "{kind:?}");
            let public = String::from_utf8(self.read("pub.pem")).unwrap();
            assert_eq!(pem(PUBLIC_LABEL, &key.public().spki()), public, "{kind:?}");
            assert_eq!(public_from_pem(kind, &public).unwrap().raw(), key.public().raw());
        }
        secret
    }

    /// Writes a key of ours for the program to use.
    fn export(&self, kind: Kind, secret: &Secret, name: &str) {
        let key = private_key_by(Provider::Auto, kind, secret).unwrap();
        self.write(
            &format!("{name}.pem"),
            pem(PRIVATE_LABEL, key.pkcs8().unwrap().expose_secret()),
        );
        self.write(&format!("{name}-pub.pem"), pem(PUBLIC_LABEL, &key.public().spki()));
        self.run(&format!("pkey -in {name}.pem -check -noout"), &[]);
        self.run(&format!("pkey -pubin -in {name}-pub.pem -pubcheck -noout"), &[]);
    }
}

fn name(curve: Curve) -> &'static str {
    match curve {
        Curve::P256 => "P-256",
        Curve::P384 => "P-384",
        Curve::P521 => "P-521",
        Curve::Secp256k1 => "secp256k1",
    }
}

fn digest(hash: Hash) -> &'static str {
    match hash {
        Hash::Sha256 => "sha256",
        Hash::Sha384 => "sha384",
        Hash::Sha512 => "sha512",
    }
}

/// The options of `dgst` for the kind; `None` where `dgst` does not sign.
fn dgst(kind: Kind) -> Option<String> {
    match kind {
        Kind::RsaPss { hash, .. } => Some(format!(
            "-{} -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:{}",
            digest(hash),
            hash.len()
        )),
        Kind::RsaPkcs1 { hash, .. } => {
            Some(format!("-{} -sigopt rsa_padding_mode:pkcs1", digest(hash)))
        }
        Kind::Ecdsa(Curve::P256 | Curve::Secp256k1) => Some("-sha256".to_owned()),
        Kind::Ecdsa(Curve::P384) => Some("-sha384".to_owned()),
        Kind::Ecdsa(Curve::P521) => Some("-sha512".to_owned()),
        _ => None,
    }
}

fn der(kind: Kind, raw: Vec<u8>) -> Vec<u8> {
    match kind {
        Kind::Ecdsa(curve) => signature::to_der(curve, &raw).unwrap(),
        _ => raw,
    }
}

fn raw(kind: Kind, der: Vec<u8>) -> Vec<u8> {
    match kind {
        Kind::Ecdsa(curve) => signature::from_der(curve, &der).unwrap(),
        _ => der,
    }
}

fn signs(openssl: &OpenSsl, kind: Kind, secret: &Secret) {
    openssl.write("message", MESSAGE);
    openssl.export(kind, secret, "ours");
    let (sign, verify) = match dgst(kind) {
        Some(options) => (
            format!("dgst {options} -sign ours.pem -out theirs message"),
            format!("dgst {options} -verify ours-pub.pem -signature signature message"),
        ),
        None => (
            "pkeyutl -sign -inkey ours.pem -rawin -in message -out theirs".to_owned(),
            "pkeyutl -verify -pubin -inkey ours-pub.pem -rawin -in message -sigfile signature"
                .to_owned(),
        ),
    };
    openssl.run(&sign, &[]);
    let theirs = raw(kind, openssl.read("theirs"));
    for provider in PROVIDERS {
        let key = private_key_by(provider, kind, secret).unwrap();
        key.public().verify(Message::Whole(MESSAGE), &theirs).unwrap();
        let outcome = key.public().verify(Message::Whole(b"another"), &theirs);
        assert!(matches!(outcome, Err(Error::Signature)));

        let ours = key.sign(Message::Whole(MESSAGE)).unwrap();
        openssl.write("signature", der(kind, ours));
        openssl.run(&verify, &[]);
        let other = key.sign(Message::Whole(b"another")).unwrap();
        openssl.write("signature", der(kind, other));
        assert!(!openssl.try_run(&verify, &[]).status.success(), "{kind:?}: {verify}");
    }
}

fn encrypts(openssl: &OpenSsl, kind: Kind, hash: Hash, secret: &Secret) {
    openssl.export(kind, secret, "ours");
    openssl.write("plain", MESSAGE);
    for label in [&b""[..], b"a label"] {
        let hash = digest(hash);
        let mut options = vec![
            "-pkeyopt".to_owned(),
            "rsa_padding_mode:oaep".to_owned(),
            "-pkeyopt".to_owned(),
            format!("rsa_oaep_md:{hash}"),
            "-pkeyopt".to_owned(),
            format!("rsa_mgf1_md:{hash}"),
        ];
        if !label.is_empty() {
            let hex: String = label.iter().map(|byte| format!("{byte:02x}")).collect();
            options.extend(["-pkeyopt".to_owned(), format!("rsa_oaep_label:{hex}")]);
        }
        let encrypt = "pkeyutl -encrypt -pubin -inkey ours-pub.pem -in plain -out theirs";
        openssl.run(encrypt, &options);
        for provider in PROVIDERS {
            let key = private_key_by(provider, kind, secret).unwrap();
            let opened = key.decrypt(&openssl.read("theirs"), label).unwrap();
            assert_eq!(opened.expose_secret(), MESSAGE);
            assert!(key.decrypt(&openssl.read("theirs"), b"another").is_err());

            openssl.write("cipher", key.public().encrypt(MESSAGE, label).unwrap());
            openssl.run("pkeyutl -decrypt -inkey ours.pem -in cipher -out opened", &options);
            assert_eq!(openssl.read("opened"), MESSAGE);
        }
    }
}

fn agrees(openssl: &OpenSsl, kind: Kind) {
    let (own, peer) = (generate(kind).unwrap(), generate(kind).unwrap());
    openssl.export(kind, &own, "own");
    openssl.export(kind, &peer, "peer");
    openssl.run("pkeyutl -derive -inkey own.pem -peerkey peer-pub.pem -out shared", &[]);
    for provider in PROVIDERS {
        let own = private_key_by(provider, kind, &own).unwrap();
        let peer = private_key_by(provider, kind, &peer).unwrap();
        let shared = own.agree(&peer.public().raw()).unwrap();
        assert_eq!(shared.expose_secret(), openssl.read("shared"));
    }
}

#[test]
fn every_algorithm_with_its_own_keys() {
    let Some(openssl) = OpenSsl::new() else { return };
    let mut seen = 0;
    for row in ALGORITHMS {
        let kind = row.kind;
        match kind {
            Kind::Ecdsa(_) | Kind::Ed25519 => {
                let theirs = openssl.generate(kind);
                signs(&openssl, kind, &theirs);
                signs(&openssl, kind, &generate(kind).unwrap());
            }
            Kind::Ecdh(_) | Kind::X25519 => {
                openssl.generate(kind);
                agrees(&openssl, kind);
            }
            _ => continue,
        }
        seen += 1;
    }
    assert_eq!(seen, 7);
}

/// One key of each size, made by the program, serves every padding and hash.
#[test]
fn every_algorithm_of_rsa() {
    let Some(openssl) = OpenSsl::new() else { return };
    let mut seen = 0;
    for size in [2048, 3072, 4096] {
        let secret = openssl.generate(Kind::RsaPss { bits: size, hash: Hash::Sha256 });
        for row in ALGORITHMS {
            match row.kind {
                Kind::RsaOaep { bits, hash } if bits == size => {
                    encrypts(&openssl, row.kind, hash, &secret);
                }
                Kind::RsaPss { bits, .. } | Kind::RsaPkcs1 { bits, .. } if bits == size => {
                    signs(&openssl, row.kind, &secret);
                }
                _ => continue,
            }
            seen += 1;
        }
    }
    assert_eq!(seen, 27);
}

/// What `openssl` makes and the hub refuses: another size, another exponent, RSA-PSS identifiers,
/// explicit curve parameters, encrypted keys.
#[test]
fn keys_of_other_shapes_are_refused() {
    let Some(openssl) = OpenSsl::new() else { return };
    let rsa = Kind::RsaPss { bits: 2048, hash: Hash::Sha256 };
    let p256 = Kind::Ecdsa(Curve::P256);
    for (kind, arguments) in [
        (rsa, "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2056"),
        (rsa, "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024"),
        (rsa, "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3"),
        (rsa, "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_primes:3"),
        (rsa, "genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048"),
        (
            p256,
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit",
        ),
        (p256, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384"),
        (p256, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -pass pass:word"),
        (Kind::Ed25519, "genpkey -algorithm X25519"),
        (Kind::Ed25519, "genpkey -algorithm ED448"),
    ] {
        openssl.run(&format!("{arguments} -out key.pem"), &[]);
        let text = String::from_utf8(openssl.read("key.pem")).unwrap();
        let outcome = private_from_pem(kind, &text);
        assert!(matches!(outcome, Err(Error::PrivateKey)), "{arguments}");
        openssl.run("pkey -in key.pem -passin pass:word -pubout -out pub.pem", &[]);
        let text = String::from_utf8(openssl.read("pub.pem")).unwrap();
        let outcome = public_from_pem(kind, &text);
        // What is encrypted or has three primes has an ordinary public half.
        if arguments.contains("-aes256") || arguments.contains("primes") {
            assert!(outcome.is_ok(), "{arguments}");
        } else {
            assert!(matches!(outcome, Err(Error::PublicKey)), "{arguments}");
        }
    }
}
