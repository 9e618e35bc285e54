//! The table of algorithms: one row says an algorithm's name on the wire, what it is for, how long
//! its keys are and which suite number ciphertexts carry.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, Purpose};

/// A hash function of the SHA-2 family (FIPS 180-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// Bytes of a digest.
    #[must_use]
    pub const fn len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Never: digests have bytes.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        false
    }
}

/// An elliptic curve in short Weierstrass form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Curve {
    /// NIST P-256, secp256r1.
    P256,
    /// NIST P-384, secp384r1.
    P384,
    /// NIST P-521, secp521r1.
    P521,
    /// The curve of SEC 2 with a Koblitz endomorphism.
    Secp256k1,
}

/// What kind of algorithm it is, with its parameters. One arm is one family in `hub-crypto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Authenticated encryption; the number is the suite of the ciphertext header
    /// (`docs/formats/ciphertext.md`).
    Aead(u8),
    /// RSAES-OAEP, MGF1 with the same hash.
    RsaOaep {
        /// Bits of the modulus.
        bits: u16,
        /// The hash.
        hash: Hash,
    },
    /// RSASSA-PSS, salt as long as the digest, MGF1 with the same hash.
    RsaPss {
        /// Bits of the modulus.
        bits: u16,
        /// The hash.
        hash: Hash,
    },
    /// RSASSA-PKCS1-v1_5: signatures only, there is no such decryption here.
    RsaPkcs1 {
        /// Bits of the modulus.
        bits: u16,
        /// The hash.
        hash: Hash,
    },
    /// ECDSA with the hash that belongs to the curve.
    Ecdsa(Curve),
    /// Ed25519, pure.
    Ed25519,
    /// ML-DSA with this parameter set; the secret is the seed.
    MlDsa(u8),
    /// X25519.
    X25519,
    /// Elliptic-curve Diffie-Hellman with cofactor 1.
    Ecdh(Curve),
    /// ML-KEM with this parameter set; the secret is the seed d ‖ z.
    MlKem(u16),
    /// X25519 and ML-KEM-768 together as X-Wing; the secret is the seed of both.
    Hybrid,
    /// HMAC.
    Hmac(Hash),
    /// HKDF.
    Hkdf(Hash),
    /// PBKDF2 of a password.
    Pbkdf2(Hash),
    /// Argon2id of a password.
    Argon2id,
    /// AES key wrap with padding.
    AesKwp,
}

/// What is fixed about an algorithm.
#[derive(Clone, Copy, Debug)]
pub struct AlgorithmRow {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Its name on the wire and in policies.
    pub name: &'static str,
    /// Its family and parameters.
    pub kind: Kind,
    /// The one purpose keys of it have.
    pub purpose: Purpose,
    /// Length of its secret, in bytes; `None` where it varies (RSA keys, which are PKCS #8).
    pub secret_len: Option<usize>,
    /// Whether a FIPS or NIST recommendation approves it: FIPS 186-5, 198-1, 203, 204, SP 800-38D,
    /// 38F, 56A, 56B, 56C, 132. Says nothing of the module that computes it.
    pub approved: bool,
    /// One line for people.
    pub summary: &'static str,
}

macro_rules! algorithms {
    ($($variant:ident = $name:literal, $kind:expr, $purpose:ident, $len:expr, $approved:ident, $summary:literal;)*) => {
        /// An algorithm a key can be created with. Chosen at creation, never changed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Algorithm {
            $(#[doc = $summary] $variant,)*
        }

        /// Every algorithm, in the order shown to people.
        pub const ALGORITHMS: &[AlgorithmRow] = &[$(AlgorithmRow {
            algorithm: Algorithm::$variant,
            name: $name,
            kind: $kind,
            purpose: Purpose::$purpose,
            secret_len: $len,
            approved: approved::$approved,
            summary: $summary,
        },)*];

        impl Algorithm {
            /// The algorithm's row of the table.
            #[must_use]
            #[expect(
                clippy::indexing_slicing,
                reason = "INVARIANT: one list makes variants and rows, so each has its place"
            )]
            pub const fn row(self) -> &'static AlgorithmRow {
                &ALGORITHMS[self as usize]
            }
        }
    };
}

/// The words of the column.
mod approved {
    #![expect(non_upper_case_globals, reason = "words of a table")]
    pub(super) const Approved: bool = true;
    pub(super) const Other: bool = false;
}

algorithms! {
    Aes256Gcm = "AES_256_GCM", Kind::Aead(1), Encrypt, Some(32), Approved, "AES-256-GCM, per-message key, committing (default)";
    ChaCha20Poly1305 = "CHACHA20_POLY1305", Kind::Aead(2), Encrypt, Some(32), Other, "ChaCha20-Poly1305, per-message key, committing (CPUs without AES)";
    XChaCha20Poly1305 = "XCHACHA20_POLY1305", Kind::Aead(3), Encrypt, Some(32), Other, "XChaCha20-Poly1305, 192-bit random nonce (interoperation)";
    Aes256GcmSiv = "AES_256_GCM_SIV", Kind::Aead(4), Encrypt, Some(32), Other, "AES-256-GCM-SIV (RFC 8452), resists a repeated nonce";
    Aes256Siv = "AES_256_SIV", Kind::Aead(5), Encrypt, Some(64), Other, "AES-256-SIV (RFC 5297), deterministic: equal plaintexts give equal ciphertexts";
    Aes256GcmRaw = "AES_256_GCM_RAW", Kind::Aead(6), Encrypt, Some(32), Approved, "AES-256-GCM under the key itself, limited to 2^32 messages a version";
    RsaOaep2048Sha256 = "RSA_OAEP_2048_SHA256", Kind::RsaOaep { bits: 2048, hash: Hash::Sha256 }, Encrypt, None, Approved, "RSA-2048 OAEP with SHA-256 (RFC 8017 §7.1)";
    RsaOaep2048Sha384 = "RSA_OAEP_2048_SHA384", Kind::RsaOaep { bits: 2048, hash: Hash::Sha384 }, Encrypt, None, Approved, "RSA-2048 OAEP with SHA-384 (RFC 8017 §7.1)";
    RsaOaep2048Sha512 = "RSA_OAEP_2048_SHA512", Kind::RsaOaep { bits: 2048, hash: Hash::Sha512 }, Encrypt, None, Approved, "RSA-2048 OAEP with SHA-512 (RFC 8017 §7.1)";
    RsaOaep3072Sha256 = "RSA_OAEP_3072_SHA256", Kind::RsaOaep { bits: 3072, hash: Hash::Sha256 }, Encrypt, None, Approved, "RSA-3072 OAEP with SHA-256 (RFC 8017 §7.1)";
    RsaOaep3072Sha384 = "RSA_OAEP_3072_SHA384", Kind::RsaOaep { bits: 3072, hash: Hash::Sha384 }, Encrypt, None, Approved, "RSA-3072 OAEP with SHA-384 (RFC 8017 §7.1)";
    RsaOaep3072Sha512 = "RSA_OAEP_3072_SHA512", Kind::RsaOaep { bits: 3072, hash: Hash::Sha512 }, Encrypt, None, Approved, "RSA-3072 OAEP with SHA-512 (RFC 8017 §7.1)";
    RsaOaep4096Sha256 = "RSA_OAEP_4096_SHA256", Kind::RsaOaep { bits: 4096, hash: Hash::Sha256 }, Encrypt, None, Approved, "RSA-4096 OAEP with SHA-256 (RFC 8017 §7.1)";
    RsaOaep4096Sha384 = "RSA_OAEP_4096_SHA384", Kind::RsaOaep { bits: 4096, hash: Hash::Sha384 }, Encrypt, None, Approved, "RSA-4096 OAEP with SHA-384 (RFC 8017 §7.1)";
    RsaOaep4096Sha512 = "RSA_OAEP_4096_SHA512", Kind::RsaOaep { bits: 4096, hash: Hash::Sha512 }, Encrypt, None, Approved, "RSA-4096 OAEP with SHA-512 (RFC 8017 §7.1)";
    RsaPss2048Sha256 = "RSA_PSS_2048_SHA256", Kind::RsaPss { bits: 2048, hash: Hash::Sha256 }, Sign, None, Approved, "RSA-2048 PSS with SHA-256 (RFC 8017 §8.1)";
    RsaPss2048Sha384 = "RSA_PSS_2048_SHA384", Kind::RsaPss { bits: 2048, hash: Hash::Sha384 }, Sign, None, Approved, "RSA-2048 PSS with SHA-384 (RFC 8017 §8.1)";
    RsaPss2048Sha512 = "RSA_PSS_2048_SHA512", Kind::RsaPss { bits: 2048, hash: Hash::Sha512 }, Sign, None, Approved, "RSA-2048 PSS with SHA-512 (RFC 8017 §8.1)";
    RsaPss3072Sha256 = "RSA_PSS_3072_SHA256", Kind::RsaPss { bits: 3072, hash: Hash::Sha256 }, Sign, None, Approved, "RSA-3072 PSS with SHA-256 (RFC 8017 §8.1)";
    RsaPss3072Sha384 = "RSA_PSS_3072_SHA384", Kind::RsaPss { bits: 3072, hash: Hash::Sha384 }, Sign, None, Approved, "RSA-3072 PSS with SHA-384 (RFC 8017 §8.1)";
    RsaPss3072Sha512 = "RSA_PSS_3072_SHA512", Kind::RsaPss { bits: 3072, hash: Hash::Sha512 }, Sign, None, Approved, "RSA-3072 PSS with SHA-512 (RFC 8017 §8.1)";
    RsaPss4096Sha256 = "RSA_PSS_4096_SHA256", Kind::RsaPss { bits: 4096, hash: Hash::Sha256 }, Sign, None, Approved, "RSA-4096 PSS with SHA-256 (RFC 8017 §8.1)";
    RsaPss4096Sha384 = "RSA_PSS_4096_SHA384", Kind::RsaPss { bits: 4096, hash: Hash::Sha384 }, Sign, None, Approved, "RSA-4096 PSS with SHA-384 (RFC 8017 §8.1)";
    RsaPss4096Sha512 = "RSA_PSS_4096_SHA512", Kind::RsaPss { bits: 4096, hash: Hash::Sha512 }, Sign, None, Approved, "RSA-4096 PSS with SHA-512 (RFC 8017 §8.1)";
    RsaPkcs12048Sha256 = "RSA_PKCS1_2048_SHA256", Kind::RsaPkcs1 { bits: 2048, hash: Hash::Sha256 }, Sign, None, Approved, "RSA-2048 PKCS #1 v1.5 signatures with SHA-256 (RFC 8017 §8.2)";
    RsaPkcs12048Sha384 = "RSA_PKCS1_2048_SHA384", Kind::RsaPkcs1 { bits: 2048, hash: Hash::Sha384 }, Sign, None, Approved, "RSA-2048 PKCS #1 v1.5 signatures with SHA-384 (RFC 8017 §8.2)";
    RsaPkcs12048Sha512 = "RSA_PKCS1_2048_SHA512", Kind::RsaPkcs1 { bits: 2048, hash: Hash::Sha512 }, Sign, None, Approved, "RSA-2048 PKCS #1 v1.5 signatures with SHA-512 (RFC 8017 §8.2)";
    RsaPkcs13072Sha256 = "RSA_PKCS1_3072_SHA256", Kind::RsaPkcs1 { bits: 3072, hash: Hash::Sha256 }, Sign, None, Approved, "RSA-3072 PKCS #1 v1.5 signatures with SHA-256 (RFC 8017 §8.2)";
    RsaPkcs13072Sha384 = "RSA_PKCS1_3072_SHA384", Kind::RsaPkcs1 { bits: 3072, hash: Hash::Sha384 }, Sign, None, Approved, "RSA-3072 PKCS #1 v1.5 signatures with SHA-384 (RFC 8017 §8.2)";
    RsaPkcs13072Sha512 = "RSA_PKCS1_3072_SHA512", Kind::RsaPkcs1 { bits: 3072, hash: Hash::Sha512 }, Sign, None, Approved, "RSA-3072 PKCS #1 v1.5 signatures with SHA-512 (RFC 8017 §8.2)";
    RsaPkcs14096Sha256 = "RSA_PKCS1_4096_SHA256", Kind::RsaPkcs1 { bits: 4096, hash: Hash::Sha256 }, Sign, None, Approved, "RSA-4096 PKCS #1 v1.5 signatures with SHA-256 (RFC 8017 §8.2)";
    RsaPkcs14096Sha384 = "RSA_PKCS1_4096_SHA384", Kind::RsaPkcs1 { bits: 4096, hash: Hash::Sha384 }, Sign, None, Approved, "RSA-4096 PKCS #1 v1.5 signatures with SHA-384 (RFC 8017 §8.2)";
    RsaPkcs14096Sha512 = "RSA_PKCS1_4096_SHA512", Kind::RsaPkcs1 { bits: 4096, hash: Hash::Sha512 }, Sign, None, Approved, "RSA-4096 PKCS #1 v1.5 signatures with SHA-512 (RFC 8017 §8.2)";
    EcdsaP256 = "ECDSA_P256_SHA256", Kind::Ecdsa(Curve::P256), Sign, Some(32), Approved, "ECDSA on P-256 with SHA-256 (FIPS 186-5)";
    EcdsaP384 = "ECDSA_P384_SHA384", Kind::Ecdsa(Curve::P384), Sign, Some(48), Approved, "ECDSA on P-384 with SHA-384 (FIPS 186-5)";
    EcdsaP521 = "ECDSA_P521_SHA512", Kind::Ecdsa(Curve::P521), Sign, Some(66), Approved, "ECDSA on P-521 with SHA-512 (FIPS 186-5)";
    EcdsaSecp256k1 = "ECDSA_SECP256K1_SHA256", Kind::Ecdsa(Curve::Secp256k1), Sign, Some(32), Other, "ECDSA on secp256k1 with SHA-256 (SEC 2)";
    Ed25519 = "ED25519", Kind::Ed25519, Sign, Some(32), Approved, "Ed25519 (RFC 8032)";
    MlDsa44 = "ML_DSA_44", Kind::MlDsa(44), Sign, Some(32), Approved, "ML-DSA-44 (FIPS 204), post-quantum";
    MlDsa65 = "ML_DSA_65", Kind::MlDsa(65), Sign, Some(32), Approved, "ML-DSA-65 (FIPS 204), post-quantum";
    MlDsa87 = "ML_DSA_87", Kind::MlDsa(87), Sign, Some(32), Approved, "ML-DSA-87 (FIPS 204), post-quantum";
    X25519 = "X25519", Kind::X25519, Agree, Some(32), Other, "X25519 key agreement (RFC 7748)";
    EcdhP256 = "ECDH_P256", Kind::Ecdh(Curve::P256), Agree, Some(32), Approved, "ECDH on P-256 (SP 800-56A)";
    MlKem512 = "ML_KEM_512", Kind::MlKem(512), Encapsulate, Some(64), Approved, "ML-KEM-512 (FIPS 203), post-quantum";
    MlKem768 = "ML_KEM_768", Kind::MlKem(768), Encapsulate, Some(64), Approved, "ML-KEM-768 (FIPS 203), post-quantum";
    MlKem1024 = "ML_KEM_1024", Kind::MlKem(1024), Encapsulate, Some(64), Approved, "ML-KEM-1024 (FIPS 203), post-quantum";
    X25519MlKem768 = "X25519_ML_KEM_768", Kind::Hybrid, Encapsulate, Some(32), Other, "X25519 and ML-KEM-768 together (X-Wing), hybrid post-quantum";
    HmacSha256 = "HMAC_SHA256", Kind::Hmac(Hash::Sha256), Mac, Some(32), Approved, "HMAC with SHA-256 (FIPS 198-1)";
    HmacSha384 = "HMAC_SHA384", Kind::Hmac(Hash::Sha384), Mac, Some(48), Approved, "HMAC with SHA-384 (FIPS 198-1)";
    HmacSha512 = "HMAC_SHA512", Kind::Hmac(Hash::Sha512), Mac, Some(64), Approved, "HMAC with SHA-512 (FIPS 198-1)";
    HkdfSha256 = "HKDF_SHA256", Kind::Hkdf(Hash::Sha256), Derive, Some(32), Approved, "HKDF with SHA-256 (RFC 5869)";
    HkdfSha384 = "HKDF_SHA384", Kind::Hkdf(Hash::Sha384), Derive, Some(48), Approved, "HKDF with SHA-384 (RFC 5869)";
    HkdfSha512 = "HKDF_SHA512", Kind::Hkdf(Hash::Sha512), Derive, Some(64), Approved, "HKDF with SHA-512 (RFC 5869)";
    Pbkdf2Sha256 = "PBKDF2_SHA256", Kind::Pbkdf2(Hash::Sha256), Derive, Some(32), Approved, "PBKDF2 with HMAC-SHA-256 (RFC 8018) of a password, peppered by the key";
    Pbkdf2Sha512 = "PBKDF2_SHA512", Kind::Pbkdf2(Hash::Sha512), Derive, Some(64), Approved, "PBKDF2 with HMAC-SHA-512 (RFC 8018) of a password, peppered by the key";
    Argon2id = "ARGON2ID", Kind::Argon2id, Derive, Some(32), Other, "Argon2id (RFC 9106) of a password, with the key as its secret";
    Aes256Kwp = "AES_256_KWP", Kind::AesKwp, Wrap, Some(32), Approved, "AES-256 key wrap with padding (RFC 5649)";
}

/// Which algorithms new keys may have (`crypto.profile` of the configuration).
///
/// It selects algorithms. It makes no validated module of the program: what computes them is not
/// validated under FIPS 140-3 in either setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Every algorithm.
    #[default]
    Any,
    /// Only those of [`AlgorithmRow::approved`].
    FipsAlgorithms,
}

impl Profile {
    /// The word in the configuration and in the status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::FipsAlgorithms => "fips-algorithms",
        }
    }

    /// Whether a new key may have this algorithm.
    #[must_use]
    pub const fn admits(self, algorithm: Algorithm) -> bool {
        match self {
            Self::Any => true,
            Self::FipsAlgorithms => algorithm.row().approved,
        }
    }
}

/// How many messages one version of a key may encrypt (security model §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageLimit {
    /// From this many on the key should get a new version.
    pub rotate_at: u64,
    /// This many and no more: the next one is refused. `u64::MAX`: never.
    pub refuse_at: u64,
}

impl Algorithm {
    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The algorithm whose ciphertexts carry this suite number.
    #[must_use]
    pub fn from_suite(suite: u8) -> Option<Self> {
        ALGORITHMS.iter().find(|row| row.kind == Kind::Aead(suite)).map(|row| row.algorithm)
    }

    /// The suite number its ciphertexts carry, if it makes such ciphertexts.
    #[must_use]
    pub const fn suite(self) -> Option<u8> {
        match self.row().kind {
            Kind::Aead(suite) => Some(suite),
            _ => None,
        }
    }

    /// How many messages a version may encrypt. `None` where nobody need count: each message has a
    /// key of its own (suites 1 and 2), or the algorithm does not encrypt under the key itself.
    ///
    /// Random nonces of 96 bits meet with probability 2^-37 after 2^30 messages, and 2^-33 after
    /// 2^32 (SP 800-38D §8.3); those of 192 bits never in practice. AES-SIV has no nonce.
    #[must_use]
    pub const fn message_limit(self) -> Option<MessageLimit> {
        match self.suite() {
            Some(3) => Some(MessageLimit { rotate_at: 1 << 62, refuse_at: 1 << 63 }),
            Some(4 | 6) => Some(MessageLimit { rotate_at: 1 << 30, refuse_at: 1 << 32 }),
            Some(5) => Some(MessageLimit { rotate_at: 1 << 32, refuse_at: u64::MAX }),
            _ => None,
        }
    }

    /// Whether a key of it has a public half.
    #[must_use]
    pub const fn is_asymmetric(self) -> bool {
        !matches!(
            self.row().kind,
            Kind::Aead(_)
                | Kind::Hmac(_)
                | Kind::Hkdf(_)
                | Kind::Pbkdf2(_)
                | Kind::Argon2id
                | Kind::AesKwp
        )
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        ALGORITHMS.iter().find(|row| row.name == text).map(|row| row.algorithm).ok_or_else(|| {
            let known: Vec<_> = ALGORITHMS.iter().map(|row| row.name).collect();
            Error::Word {
                kind: "algorithm",
                text: text.chars().take(64).collect(),
                known: known.join(", "),
            }
        })
    }
}

impl Serialize for Algorithm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Algorithm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for Algorithm {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .enum_values(Some(ALGORITHMS.iter().map(|row| row.name)))
            .into()
    }
}

impl utoipa::ToSchema for Algorithm {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_limited_where_the_key_itself_encrypts() {
        for row in ALGORITHMS {
            let limit = row.algorithm.message_limit();
            assert_eq!(limit.is_some(), matches!(row.algorithm.suite(), Some(3..)));
            assert!(limit.is_none_or(|limit| limit.rotate_at < limit.refuse_at));
        }
        let limit = Algorithm::Aes256GcmRaw.message_limit().unwrap();
        assert_eq!((limit.rotate_at, limit.refuse_at), (1_073_741_824, 4_294_967_296));
    }

    #[test]
    fn the_fips_profile_admits_what_is_approved_and_nothing_else() {
        let refused: Vec<_> = ALGORITHMS
            .iter()
            .filter(|row| !Profile::FipsAlgorithms.admits(row.algorithm))
            .map(|row| row.name)
            .collect();
        let expected = [
            "CHACHA20_POLY1305",
            "XCHACHA20_POLY1305",
            "AES_256_GCM_SIV",
            "AES_256_SIV",
            "ECDSA_SECP256K1_SHA256",
            "X25519",
            "X25519_ML_KEM_768",
            "ARGON2ID",
        ];
        assert_eq!(refused, expected);
        assert!(ALGORITHMS.iter().all(|row| Profile::Any.admits(row.algorithm)));
    }

    #[test]
    fn every_row_is_found_by_its_algorithm_name_and_suite() {
        for row in ALGORITHMS {
            assert_eq!(row.algorithm.row().name, row.name);
            assert!(row.summary.len() < 100);
            assert_eq!(row.name.parse::<Algorithm>().unwrap(), row.algorithm);
            if let Some(suite) = row.algorithm.suite() {
                assert_eq!(Algorithm::from_suite(suite), Some(row.algorithm));
            }
        }
    }
}
