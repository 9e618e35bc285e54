//! Bodies of the cryptographic operations and of their batch.

use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::key::KeyView;
use super::problem::Problem;
use super::{transfer, uses};
use crate::{EncryptionContext, Name, SecretBytes, secret};

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

impl Encrypted {
    /// As `serde_json` writes it. Ciphertexts hold nothing to escape, and are not searched for it;
    /// the text is framed where it lies, so an allocation is spared too.
    #[must_use]
    pub fn into_json(self) -> Vec<u8> {
        let mut json = self.ciphertext.into_bytes();
        json.extend_from_slice(b"\",\"version\":");
        json.extend_from_slice(self.version.to_string().as_bytes());
        json.push(b'}');
        json.splice(0..0, HEAD.iter().copied());
        json
    }
}

const HEAD: &[u8] = b"{\"ciphertext\":\"";

/// `{"<name>":"<what write gives>","<number's name>":<number>…}` in a buffer that never grows.
fn by_hand(
    name: &str,
    length: usize,
    numbers: &[(&str, u32)],
    write: impl FnOnce(&mut Vec<u8>),
) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + length + 16 + numbers.len() * 32);
    out.extend_from_slice(b"{\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":\"");
    write(&mut out);
    out.push(b'"');
    for (name, number) in numbers {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(number.to_string().as_bytes());
    }
    out.push(b'}');
    out
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

impl Decrypted {
    /// As `serde_json` writes it, in a buffer that never grew and so left no copy behind: to be
    /// erased by whoever takes it.
    #[must_use]
    pub fn into_json(self) -> Vec<u8> {
        let length = secret::base64_len(self.plaintext.len());
        by_hand("plaintext", length, &[("version", self.version)], |out| {
            secret::append_base64(self.plaintext.expose_secret(), out);
        })
    }
}

/// Encrypts again under the primary version, without showing the plaintext.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rewrap {
    /// What `:encrypt` gave.
    pub ciphertext: String,
    /// The pairs given to `:encrypt`; carried over unless `newContext` is given.
    #[serde(default, skip_serializing_if = "EncryptionContext::is_empty")]
    pub context: EncryptionContext,
    /// Other pairs to bind from now on, or none with `{}`; for who may `keys.rebind` with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_context: Option<EncryptionContext>,
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

impl Rewrapped {
    /// As `serde_json` writes it; see [`Encrypted::into_json`].
    #[must_use]
    pub fn into_json(self) -> Vec<u8> {
        let numbers = [("fromVersion", self.from_version), ("version", self.version)];
        by_hand("ciphertext", self.ciphertext.len(), &numbers, |out| {
            out.extend_from_slice(self.ciphertext.as_bytes());
        })
    }
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
    /// The pairs given to `:encrypt`; carried over unless `newContext` is given.
    #[serde(default, skip_serializing_if = "EncryptionContext::is_empty")]
    pub context: EncryptionContext,
    /// As for `:rewrap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_context: Option<EncryptionContext>,
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
    /// For `encrypt`, `decrypt` and `rewrap`: the encryption context.
    #[serde(default, skip_serializing_if = "EncryptionContext::is_empty")]
    pub context: EncryptionContext,
    /// For `rewrap`: as there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_context: Option<EncryptionContext>,
    /// For `sign`: what `:sign` takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign: Option<uses::Sign>,
    /// For `verify`: what `:verify` takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<uses::Verify>,
    /// For `mac`: what `:mac` takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<uses::Mac>,
    /// For `verifyMac`: what `:verifyMac` takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_mac: Option<uses::VerifyMac>,
    /// For `generateDataKey`: what `:generateDataKey` takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate_data_key: Option<uses::GenerateDataKey>,
    /// For `wrap`: what `:wrap` takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrap: Option<uses::Wrap>,
    /// For `unwrap`: what `:unwrap` takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwrap: Option<uses::Unwrap>,
    /// For `derive`: what `:derive` takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derive: Option<uses::Derive>,
    /// For `agree`: what `:agree` takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agree: Option<uses::Agree>,
    /// For `encapsulate`: what `:encapsulate` takes (may be left out).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encapsulate: Option<uses::Encapsulate>,
    /// For `decapsulate`: what `:decapsulate` takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decapsulate: Option<uses::Decapsulate>,
    /// For `deriveKey`: what `:deriveKey` takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derive_key: Option<uses::DeriveKey>,
    /// For `export`: what `:export` takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<transfer::ExportKey>,
    /// For `import`, which takes no `key`: what `keys:import` takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<transfer::ImportKey>,
    /// For `random`, which takes no `key`: what `:random` takes (may be left out).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random: Option<uses::Random>,
    /// For `hash`, which takes no `key`: what `:hash` takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<uses::Hash>,
}

impl BatchItem {
    /// An item without anything for its verb.
    #[must_use]
    pub fn new(key: Option<Name>, op: BatchOp) -> Self {
        Self {
            reference: None,
            key,
            op,
            plaintext: None,
            ciphertext: None,
            context: EncryptionContext::default(),
            new_context: None,
            sign: None,
            verify: None,
            mac: None,
            verify_mac: None,
            generate_data_key: None,
            wrap: None,
            unwrap: None,
            derive: None,
            agree: None,
            encapsulate: None,
            decapsulate: None,
            derive_key: None,
            export: None,
            import: None,
            random: None,
            hash: None,
        }
    }
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
    /// As `:sign`.
    Sign,
    /// As `:verify`.
    Verify,
    /// As `:mac`.
    Mac,
    /// As `:verifyMac`.
    VerifyMac,
    /// As `:generateDataKey`.
    GenerateDataKey,
    /// As `:wrap`.
    Wrap,
    /// As `:unwrap`.
    Unwrap,
    /// As `:derive`.
    Derive,
    /// As `:agree`.
    Agree,
    /// As `:encapsulate`.
    Encapsulate,
    /// As `:decapsulate`.
    Decapsulate,
    /// As `:deriveKey`.
    DeriveKey,
    /// As `:export`.
    Export,
    /// As `keys:import`.
    Import,
    /// As `:random`.
    Random,
    /// As `:hash`.
    Hash,
}

/// The answers of a batch, in order.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchAnswer {
    /// One answer an item.
    pub items: Vec<BatchAnswerItem>,
}

/// The answer to one item: `result` when `status` is 200 or 201, else `problem`.
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
    // In an order in which none is taken for another when read.
    /// Of `deriveKey` and `import`.
    Key(Box<KeyView>),
    /// Of `export`.
    Exported(transfer::ExportedKey),
    /// Of `random`.
    RandomBytes(uses::RandomBytes),
    /// Of `hash`.
    Hashed(uses::Hashed),
    /// Of `rewrap`.
    Rewrapped(Rewrapped),
    /// Of `generateDataKey`.
    DataKey(uses::DataKey),
    /// Of `encapsulate`.
    Encapsulated(uses::Encapsulated),
    /// Of `encrypt`.
    Encrypted(Encrypted),
    /// Of `decrypt` and `unwrap`.
    Decrypted(Decrypted),
    /// Of `sign`.
    Signed(uses::Signed),
    /// Of `verify` and `verifyMac`.
    Verified(uses::Verified),
    /// Of `mac`.
    MacTag(uses::MacTag),
    /// Of `wrap`.
    Wrapped(uses::Wrapped),
    /// Of `derive` and `agree`.
    Derived(uses::Derived),
    /// Of `decapsulate`.
    Decapsulated(uses::Decapsulated),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_by_hand_is_what_serde_writes() {
        for length in [0, 1, 2, 3, 1000] {
            let ciphertext = format!("ch1:7:{}", "A".repeat(length));
            let encrypted = Encrypted { ciphertext: ciphertext.clone(), version: 7 };
            assert_eq!(encrypted.clone().into_json(), serde_json::to_vec(&encrypted).unwrap());
            let plaintext = SecretBytes::new(vec![0xfb; length]);
            let decrypted = Decrypted { plaintext, version: u32::MAX };
            let json = serde_json::to_vec(&decrypted).unwrap();
            assert_eq!(decrypted.into_json(), json);
            let rewrapped = Rewrapped { ciphertext, from_version: 1, version: 12 };
            assert_eq!(rewrapped.clone().into_json(), serde_json::to_vec(&rewrapped).unwrap());
        }
    }
}
