//! Bodies of import and export: keys that come from elsewhere and keys that leave.

use serde::{Deserialize, Serialize};

use crate::{Algorithm, ImportJobId, Name, SecretBytes, Tags, Timestamp};

/// How key bytes are wrapped on their way (`docs/formats/transport.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub enum Transport {
    /// RSA-OAEP with SHA-256, then AES key wrap with padding.
    #[serde(rename = "RSA_OAEP_AES_KWP")]
    RsaOaepAesKwp,
    /// X25519 and ML-KEM-768 together (X-Wing), then AES key wrap with padding: post-quantum.
    #[serde(rename = "X25519_ML_KEM_768_AES_KWP")]
    X25519MlKem768AesKwp,
}

impl Transport {
    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RsaOaepAesKwp => "RSA_OAEP_AES_KWP",
            Self::X25519MlKem768AesKwp => "X25519_ML_KEM_768_AES_KWP",
        }
    }
}

/// The form of key bytes outside the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum KeyForm {
    /// The bytes of a symmetric key.
    Raw,
    /// `OneAsymmetricKey` (RFC 5958) in DER, for keys with a public half.
    Pkcs8,
    /// JSON Web Key (RFC 7517).
    Jwk,
}

impl KeyForm {
    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Pkcs8 => "pkcs8",
            Self::Jwk => "jwk",
        }
    }
}

/// Asks for a key to wrap one key with, for its import.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateImportJob {
    /// How the key will be wrapped.
    pub transport: Transport,
    /// For RSA: 3072 (when absent) or 4096.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rsa_bits: Option<u16>,
}

/// A key to wrap one key with, for 24 hours or until it was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImportJobView {
    /// Its id.
    pub uid: ImportJobId,
    /// How the key is wrapped.
    pub transport: Transport,
    /// The algorithm of the public key.
    pub algorithm: Algorithm,
    /// The public key: `SubjectPublicKeyInfo` as PEM.
    pub public_key: String,
    /// When it was made.
    pub create_time: Timestamp,
    /// When it ends.
    pub expire_time: Timestamp,
}

/// Imports a key.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImportKey {
    /// Its name, unique in the registration.
    pub name: Name,
    /// Its algorithm. Never changes.
    pub algorithm: Algorithm,
    /// The import job whose key it is wrapped with.
    pub job: ImportJobId,
    /// The form of the bytes inside.
    pub format: KeyForm,
    /// The wrapped key, in base64.
    pub wrapped: SecretBytes,
    /// Whether its material may leave the hub; `false` when absent. Never changes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exportable: bool,
    /// Labels.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// Imports a version of an imported key, which becomes its primary version.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImportVersion {
    /// The import job whose key it is wrapped with.
    pub job: ImportJobId,
    /// The form of the bytes inside.
    pub format: KeyForm,
    /// The wrapped key, in base64.
    pub wrapped: SecretBytes,
}

/// Exports a version of an exportable key, wrapped for a recipient.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExportKey {
    /// The version; the primary when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub version: Option<u32>,
    /// How it is wrapped.
    pub transport: Transport,
    /// The recipient's public key: PEM (`PUBLIC KEY`), or base64 of `SubjectPublicKeyInfo`. RSA
    /// keys have 3,072 or 4,096 bits.
    pub recipient_key: String,
    /// The form of the bytes inside.
    pub format: KeyForm,
}

/// A key on its way to its recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExportedKey {
    /// The wrapped key, in base64.
    pub wrapped: SecretBytes,
    /// How it is wrapped.
    pub transport: Transport,
    /// The form of the bytes inside.
    pub format: KeyForm,
    /// The key's algorithm.
    pub algorithm: Algorithm,
    /// The version.
    pub version: u32,
    /// The JWK thumbprint of the recipient's key (RFC 7638), as in the audit entry.
    pub recipient: String,
}
