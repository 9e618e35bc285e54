//! Bodies of the cryptographic operations and of their batch.

use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::problem::Problem;
use crate::{EncryptionContext, Name, SecretBytes};

/// Encrypts up to 64 KiB under the key's primary version.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Encrypt {
    /// The data, in base64.
    pub plaintext: SecretBytes,
    /// Non-secret pairs bound to the ciphertext; the same must be given to decrypt.
    #[serde(default, skip_serializing_if = "EncryptionContext::is_empty")]
    pub context: EncryptionContext,
}

/// The ciphertext.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Encrypted {
    /// `ch1:<version>:<base64>`; names its key and version itself.
    pub ciphertext: String,
    /// The version that encrypted.
    pub version: u32,
}

/// Decrypts.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decrypt {
    /// What `:encrypt` gave.
    pub ciphertext: String,
    /// The pairs given to `:encrypt`.
    #[serde(default, skip_serializing_if = "EncryptionContext::is_empty")]
    pub context: EncryptionContext,
}

/// The data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decrypted {
    /// The data, in base64.
    pub plaintext: SecretBytes,
    /// The version that had encrypted.
    pub version: u32,
}

/// Encrypts again under the primary version, without showing the plaintext.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rewrap {
    /// What `:encrypt` gave.
    pub ciphertext: String,
    /// The pairs given to `:encrypt`; carried over.
    #[serde(default, skip_serializing_if = "EncryptionContext::is_empty")]
    pub context: EncryptionContext,
}

/// The new ciphertext.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rewrapped {
    /// Under the primary version.
    pub ciphertext: String,
    /// The version of the ciphertext given.
    pub from_version: u32,
    /// The version that encrypted now.
    pub version: u32,
}

/// One line of a stream to be rewrapped.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RewrapLine {
    /// Echoed in the answer (at most 128 bytes).
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// What `:encrypt` gave; it names its key.
    pub ciphertext: String,
    /// The pairs given to `:encrypt`; carried over.
    #[serde(default, skip_serializing_if = "EncryptionContext::is_empty")]
    pub context: EncryptionContext,
}

/// The answer to one line: the members of `Rewrapped`, or a problem.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RewrapLineAnswer {
    /// The `ref` of the line.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The new ciphertext.
    #[serde(flatten)]
    pub rewrapped: Option<Rewrapped>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// Most items in one batch.
pub const MAX_BATCH_ITEMS: usize = 1000;

/// Up to 1,000 operations on keys of one registration, each authorized and audited by itself.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Batch {
    /// The operations, answered in this order.
    #[serde(deserialize_with = "bounded_items")]
    pub items: Vec<BatchItem>,
}

/// Refuses item 1,001 before it is read.
fn bounded_items<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<BatchItem>, D::Error> {
    struct Items;
    impl<'de> Visitor<'de> for Items {
        type Value = Vec<BatchItem>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "an array of at most {MAX_BATCH_ITEMS} items")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<BatchItem>, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = seq.next_element()? {
                if items.len() >= MAX_BATCH_ITEMS {
                    return Err(A::Error::invalid_length(MAX_BATCH_ITEMS + 1, &self));
                }
                items.push(item);
            }
            Ok(items)
        }
    }
    deserializer.deserialize_seq(Items)
}

/// One operation of a batch.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BatchItem {
    /// Echoed in the answer (at most 128 bytes).
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The key. For `decrypt` and `rewrap` it may be left out: the ciphertext names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Name>,
    /// What to do.
    pub op: BatchOp,
    /// For `encrypt`: the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plaintext: Option<SecretBytes>,
    /// For `decrypt` and `rewrap`: the ciphertext.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ciphertext: Option<String>,
    /// The encryption context.
    #[serde(default, skip_serializing_if = "EncryptionContext::is_empty")]
    pub context: EncryptionContext,
}

/// The verbs a batch takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum BatchOp {
    /// As `:encrypt`.
    Encrypt,
    /// As `:decrypt`.
    Decrypt,
    /// As `:rewrap`.
    Rewrap,
}

/// The answers of a batch, in order.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchAnswer {
    /// One answer an item.
    pub items: Vec<BatchAnswerItem>,
}

/// The answer to one item: `result` when `status` is 200, else `problem`.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchAnswerItem {
    /// The item's `ref`.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The HTTP status the operation alone would have had.
    pub status: u16,
    /// What the operation alone would have answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<BatchResult>,
    /// What was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// What one item gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum BatchResult {
    /// Of `rewrap`.
    Rewrapped(Rewrapped),
    /// Of `encrypt`.
    Encrypted(Encrypted),
    /// Of `decrypt`.
    Decrypted(Decrypted),
}
