//! Bodies of what keys are used for beside encryption: signatures, codes, data keys, wrapped keys,
//! derivation, agreement, encapsulation, public halves; and of random bytes and hashes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::profile::{ChosenProfile, UsedProfile};
use crate::{Algorithm, EncryptionContext, Name, SecretBytes, Tags};

/// Most bytes of a message that is signed, authenticated or hashed.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// Most bytes that are drawn or derived at once.
pub const MAX_OUTPUT: u32 = 1024;
/// Fewest bytes of a data key.
pub const MIN_DATA_KEY: u32 = 16;

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum SignatureFormat {
    /// As the algorithm's standard has it; ECDSA as r ‖ s (IEEE P1363). Base64.
    Raw,
    /// ECDSA as `ECDSA-Sig-Value` in DER (RFC 3279). Base64.
    Der,
    /// Raw in base64url, as JWS wants it (RFC 7515).
    Jws,
}

/// Signs a message, or its digest, under the key's primary version.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sign {
    /// The message, in base64: up to 64 KiB. Either this or `digest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<SecretBytes>,
    /// Its digest by the hash of the algorithm, in base64. Not for Ed25519 and ML-DSA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<SecretBytes>,
    /// How the signature is written: `der` for ECDSA when absent, else `raw`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<SignatureFormat>,
}

/// The signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Signed {
    /// The signature, in base64, or in base64url for `jws`.
    pub signature: String,
    /// The version that signed; to be kept with the signature.
    pub version: u32,
    /// For `jws`: the `alg` of the header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// For `jws`: the `kid` under which the registration's key set has the public half.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
}

/// Verifies a signature.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Verify {
    /// The message, in base64: up to 64 KiB. Either this or `digest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<SecretBytes>,
    /// Its digest by the hash of the algorithm, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<SecretBytes>,
    /// The signature, in base64 or base64url.
    pub signature: SecretBytes,
    /// How it is written: as for `:sign`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<SignatureFormat>,
    /// The version that signed; the primary one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub version: Option<u32>,
}

/// Whether a signature or a code is right. A wrong one is an answer, not an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// Whether it is.
    pub valid: bool,
    /// The version it was held against.
    pub version: u32,
}

/// Computes a message authentication code under the key's primary version.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mac {
    /// The message, in base64: up to 64 KiB.
    pub message: SecretBytes,
}

/// The code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MacTag {
    /// The code, in base64.
    pub mac: SecretBytes,
    /// The version that made it; to be kept with it.
    pub version: u32,
}

/// Verifies a message authentication code.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VerifyMac {
    /// The message, in base64: up to 64 KiB.
    pub message: SecretBytes,
    /// The code, in base64, whole.
    pub mac: SecretBytes,
    /// The version that made it; the primary one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub version: Option<u32>,
}

/// The public half of one version of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublicKeyView {
    /// The key's algorithm.
    pub algorithm: Algorithm,
    /// The version.
    pub version: u32,
    /// Its `kid`: `<key uid>.<version>`.
    pub kid: String,
    /// `SubjectPublicKeyInfo` in PEM.
    pub pem: String,
    /// The same in DER, in base64.
    pub der: String,
    /// The same as JSON Web Key; empty where no standard gives that form.
    pub jwk: BTreeMap<String, String>,
}

/// The public halves of a registration's signing keys (RFC 7517 §5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Jwks {
    /// One JSON Web Key for every version whose signatures verify.
    pub keys: Vec<BTreeMap<String, String>>,
}

/// Draws a data key, or a key pair, and encrypts it under the key's primary version.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenerateDataKey {
    /// How many random bytes: 16 to 1,024; 32 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 16, maximum = 1024)]
    pub bytes: Option<u32>,
    /// A key pair of this algorithm instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_pair: Option<Algorithm>,
    /// Whether the answer holds the data key itself; `true` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plaintext: Option<bool>,
    /// Non-secret pairs bound to the ciphertext; the same must be given to `:decrypt`.
    #[serde(default, skip_serializing_if = "EncryptionContext::is_empty")]
    pub context: EncryptionContext,
}

/// What a data key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum DataKeyForm {
    /// Random bytes.
    Random,
    /// A private key as PKCS #8 in DER.
    Pkcs8,
}

/// A data key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataKey {
    /// What it is.
    pub form: DataKeyForm,
    /// The data key, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plaintext: Option<SecretBytes>,
    /// The data key encrypted; `:decrypt` opens it.
    pub ciphertext: String,
    /// The version that encrypted.
    pub version: u32,
    /// Of a key pair: `SubjectPublicKeyInfo` in DER, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
}

/// Wraps key bytes with AES key wrap with padding (RFC 5649) under the key's primary version.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wrap {
    /// The key bytes, in base64: 1 to 8,192.
    pub plaintext: SecretBytes,
}

/// The wrapped key bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Wrapped {
    /// In base64.
    pub wrapped_key: String,
    /// The version that wrapped; to be kept with it.
    pub version: u32,
}

/// Unwraps key bytes.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Unwrap {
    /// What `:wrap` gave, in base64.
    pub wrapped_key: SecretBytes,
    /// The version that wrapped; the primary one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub version: Option<u32>,
}

/// Derives a secret: from an HKDF key by itself, from a PBKDF2 or Argon2id key with a password.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Derive {
    /// How many bytes: 1 to 1,024 (Argon2id: 4 or more); 32 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1024)]
    pub bytes: Option<u32>,
    /// The salt, in base64: for passwords 16 bytes or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<SecretBytes>,
    /// For HKDF: what the secret is for, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<SecretBytes>,
    /// For PBKDF2 and Argon2id: the password, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretBytes>,
    /// For PBKDF2: 600,000 (the default) to 10,000,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iterations: Option<u32>,
    /// For Argon2id: memory in KiB, 19,456 to 1,048,576; 65,536 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_kib: Option<u32>,
    /// For Argon2id: passes, 2 to 10; 3 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passes: Option<u32>,
    /// For Argon2id: lanes, 1 (the default) to 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lanes: Option<u32>,
    /// For HKDF: non-secret pairs bound into the derived secret, before `info`.
    #[serde(default, skip_serializing_if = "EncryptionContext::is_empty")]
    pub context: EncryptionContext,
    /// For HKDF keys: derive as this profile of a plugin says. `salt`, `info` and `context` are
    /// handed to it; the derived bytes depend on the context whatever it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Box<ChosenProfile>>,
    /// The version to derive from; the primary one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub version: Option<u32>,
}

/// A derived secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Derived {
    /// The secret, in base64. Absent in a dry run.
    #[serde(default, skip_serializing_if = "SecretBytes::is_empty")]
    pub derived: SecretBytes,
    /// The version it comes from; another one gives another secret.
    pub version: u32,
    /// The profile it was derived by, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Box<UsedProfile>>,
}

/// Derives a new key from the primary version of an HKDF key, and stores it. Its bytes are never
/// shown. The same key, name, algorithm, salt, context and `info` give the same bytes again; any
/// other, others.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeriveKey {
    /// The new key's name, unique in the registration; bound into its bytes.
    pub name: Name,
    /// The new key's algorithm: one of AES, ChaCha20, HMAC or HKDF; bound into its bytes, which are
    /// as many as it takes.
    pub algorithm: Algorithm,
    /// Labels of the new key.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// Whether the new key's material may leave the hub; `false` when absent. Never changes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exportable: bool,
    /// The salt, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<SecretBytes>,
    /// What the key is for, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<SecretBytes>,
    /// Non-secret pairs bound into the new key's bytes, before `info`.
    #[serde(default, skip_serializing_if = "EncryptionContext::is_empty")]
    pub context: EncryptionContext,
    /// Derive as this profile of a plugin says. `salt`, `info` and `context` are handed to it; name,
    /// algorithm and context are bound into the new key's bytes whatever it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Box<ChosenProfile>>,
}

impl DeriveKey {
    /// A key of this name and algorithm with every default.
    #[must_use]
    pub fn new(name: Name, algorithm: Algorithm) -> Self {
        Self {
            name,
            algorithm,
            tags: Tags::default(),
            exportable: false,
            salt: None,
            info: None,
            context: EncryptionContext::default(),
            profile: None,
        }
    }
}

/// A peer's public key, in one of these forms.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PeerKey {
    /// 32 bytes for X25519, a SEC 1 point for P-256; in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<SecretBytes>,
    /// `SubjectPublicKeyInfo` in DER, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub der: Option<SecretBytes>,
    /// `PUBLIC KEY` in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pem: Option<String>,
    /// A JSON Web Key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwk: Option<BTreeMap<String, String>>,
}

/// Agrees on a secret with a peer, and derives from it with HKDF-SHA-256. The shared secret itself
/// is never shown.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Agree {
    /// The peer's public key.
    pub peer: PeerKey,
    /// How many bytes: 1 to 1,024; 32 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1024)]
    pub bytes: Option<u32>,
    /// The salt of HKDF, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<SecretBytes>,
    /// What the secret is for, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<SecretBytes>,
    /// Non-secret pairs bound into the derived secret, before `info`.
    #[serde(default, skip_serializing_if = "EncryptionContext::is_empty")]
    pub context: EncryptionContext,
    /// The version to agree with; the primary one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub version: Option<u32>,
}

/// Makes a secret for the holder of the key's private half: the hub.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Encapsulate {}

/// A secret and what carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Encapsulated {
    /// What `:decapsulate` takes, in base64.
    pub ciphertext: String,
    /// The secret, in base64: 32 bytes.
    pub shared_secret: SecretBytes,
    /// The version whose public half was used.
    pub version: u32,
}

/// Reads the secret that a ciphertext carries.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decapsulate {
    /// What encapsulation with the public half gave, in base64. A wrong one of the right length
    /// gives another secret.
    pub ciphertext: SecretBytes,
    /// The version whose public half was used; the primary one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub version: Option<u32>,
}

/// The secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decapsulated {
    /// In base64: 32 bytes.
    pub shared_secret: SecretBytes,
    /// The version that read it.
    pub version: u32,
}

/// Draws random bytes from the system's generator.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Random {
    /// How many: 1 to 1,024; 32 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1024)]
    pub bytes: Option<u32>,
}

/// Random bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RandomBytes {
    /// In base64.
    pub random: SecretBytes,
}

/// A hash function.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum HashName {
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// Hashes a message.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hash {
    /// The message, in base64: up to 64 KiB.
    pub message: SecretBytes,
    /// The hash function; SHA-256 when absent.
    #[serde(default)]
    pub algorithm: HashName,
}

/// The digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hashed {
    /// In base64.
    pub digest: String,
    /// The hash function.
    pub algorithm: HashName,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_refuse_what_they_do_not_know() {
        assert!(serde_json::from_str::<Sign>(r#"{"message":"AA==","mesage":"AA=="}"#).is_err());
        assert!(serde_json::from_str::<Sign>(r#"{"message":"A"}"#).is_err());
        assert!(serde_json::from_str::<Sign>(r#"{"format":"pem"}"#).is_err());
        assert!(serde_json::from_str::<Verify>(r#"{"message":"AA=="}"#).is_err());
        assert!(serde_json::from_str::<Agree>(r#"{"peer":{"raw":"AA==","x":1}}"#).is_err());
        let sign: Sign = serde_json::from_str(r#"{"digest":"AA==","format":"jws"}"#).unwrap();
        assert_eq!((sign.message, sign.format), (None, Some(SignatureFormat::Jws)));
    }

    #[test]
    fn answers_show_what_there_is_only() {
        let signed =
            Signed { signature: "AA==".to_owned(), version: 3, algorithm: None, kid: None };
        let json = serde_json::to_string(&signed).unwrap();
        assert_eq!(json, r#"{"signature":"AA==","version":3}"#);
        let tag = MacTag { mac: SecretBytes::new(vec![0]), version: 1 };
        assert_eq!(format!("{tag:?}"), "MacTag { mac: [secret], version: 1 }");
    }
}
