//! Derivation by the profile of a plugin: what is asked for, and the plan it comes to.

use serde::{Deserialize, Serialize};

use crate::algorithm::Hash;
use crate::extend::{KdfPlan, KdfStep, Parameters, PluginDigest};
use crate::pin::ProfilePin;
use crate::{Name, SecretBytes};

/// Derives as a plugin says instead of by HKDF alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChosenProfile {
    /// The plugin.
    pub plugin: Name,
    /// Which of its profiles.
    pub profile: Name,
    /// What the profile wants to know besides; logged nowhere, and not secret.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub parameters: Parameters,
    /// Which code, where it matters: SHA-256 of the plugin's file without its signatures. When
    /// absent, the one the key is pinned to, or the one in service when it is pinned to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub digest: Option<PluginDigest>,
}

/// The profile that was used, or that would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsedProfile {
    /// The plugin.
    #[schema(value_type = Name)]
    pub plugin: Name,
    /// Its profile.
    #[schema(value_type = Name)]
    pub profile: Name,
    /// SHA-256 of the plugin's file without its signatures: 64 hexadecimal digits.
    #[schema(value_type = String)]
    pub digest: PluginDigest,
    /// In a dry run: the plan, whose last step gives the derived bytes. Slot 0 is made from the key
    /// as `docs/formats/derivation.md` says, slot n is what the n-th step gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Vec<PlanStep>>,
}

impl From<&ProfilePin> for UsedProfile {
    fn from(pin: &ProfilePin) -> Self {
        let ProfilePin { plugin, profile, digest, .. } = pin.clone();
        Self { plugin, profile, digest, plan: None }
    }
}

/// A hash function in a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PlanHash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// A step of a plan; names are those of `wit/kdf-profile.wit`. Bytes are base64, and not secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum PlanStep {
    /// HKDF-Extract (RFC 5869 §2.2).
    HkdfExtract {
        /// The hash.
        hash: PlanHash,
        /// The salt.
        salt: SecretBytes,
        /// Slot of the input key.
        ikm: u32,
    },
    /// HKDF-Expand (RFC 5869 §2.3).
    HkdfExpand {
        /// The hash.
        hash: PlanHash,
        /// Slot of the pseudorandom key.
        prk: u32,
        /// The info.
        info: SecretBytes,
        /// Bytes it gives.
        length: u32,
    },
    /// HMAC (RFC 2104).
    Hmac {
        /// The hash.
        hash: PlanHash,
        /// Slot of the key.
        key: u32,
        /// The message.
        message: SecretBytes,
    },
    /// HMAC of a slot and these bytes after it.
    HmacSlot {
        /// The hash.
        hash: PlanHash,
        /// Slot of the key.
        key: u32,
        /// Slot of the message.
        message: u32,
        /// What follows it.
        suffix: SecretBytes,
    },
    /// PBKDF2-HMAC (RFC 8018 §5.2).
    Pbkdf2 {
        /// The hash.
        hash: PlanHash,
        /// Slot of the password.
        password: u32,
        /// The salt.
        salt: SecretBytes,
        /// The iterations.
        iterations: u32,
        /// Bytes it gives.
        length: u32,
    },
    /// Slots joined in order.
    Concat(Vec<u32>),
    /// The first bytes of a slot.
    Truncate {
        /// The slot.
        input: u32,
        /// How many.
        length: u32,
    },
}

impl From<Hash> for PlanHash {
    fn from(hash: Hash) -> Self {
        match hash {
            Hash::Sha256 => Self::Sha256,
            Hash::Sha384 => Self::Sha384,
            Hash::Sha512 => Self::Sha512,
        }
    }
}

impl From<PlanHash> for Hash {
    fn from(hash: PlanHash) -> Self {
        match hash {
            PlanHash::Sha256 => Self::Sha256,
            PlanHash::Sha384 => Self::Sha384,
            PlanHash::Sha512 => Self::Sha512,
        }
    }
}

impl From<&KdfStep> for PlanStep {
    fn from(step: &KdfStep) -> Self {
        let bytes = |bytes: &Vec<u8>| SecretBytes::new(bytes.clone());
        match step {
            KdfStep::Extract { hash, salt, ikm } => {
                Self::HkdfExtract { hash: (*hash).into(), salt: bytes(salt), ikm: *ikm }
            }
            KdfStep::Expand { hash, prk, info, length } => {
                let (hash, info) = ((*hash).into(), bytes(info));
                Self::HkdfExpand { hash, prk: *prk, info, length: *length }
            }
            KdfStep::Hmac { hash, key, message } => {
                Self::Hmac { hash: (*hash).into(), key: *key, message: bytes(message) }
            }
            KdfStep::HmacSlot { hash, key, message, suffix } => {
                let (hash, suffix) = ((*hash).into(), bytes(suffix));
                Self::HmacSlot { hash, key: *key, message: *message, suffix }
            }
            KdfStep::Pbkdf2 { hash, password, salt, iterations, length } => Self::Pbkdf2 {
                hash: (*hash).into(),
                password: *password,
                salt: bytes(salt),
                iterations: *iterations,
                length: *length,
            },
            KdfStep::Concat { parts } => Self::Concat(parts.clone()),
            KdfStep::Truncate { input, length } => {
                Self::Truncate { input: *input, length: *length }
            }
        }
    }
}

impl From<&PlanStep> for KdfStep {
    fn from(step: &PlanStep) -> Self {
        let bytes = |bytes: &SecretBytes| bytes.expose_secret().to_vec();
        match step {
            PlanStep::HkdfExtract { hash, salt, ikm } => {
                Self::Extract { hash: (*hash).into(), salt: bytes(salt), ikm: *ikm }
            }
            PlanStep::HkdfExpand { hash, prk, info, length } => {
                let (hash, info) = ((*hash).into(), bytes(info));
                Self::Expand { hash, prk: *prk, info, length: *length }
            }
            PlanStep::Hmac { hash, key, message } => {
                Self::Hmac { hash: (*hash).into(), key: *key, message: bytes(message) }
            }
            PlanStep::HmacSlot { hash, key, message, suffix } => {
                let (hash, suffix) = ((*hash).into(), bytes(suffix));
                Self::HmacSlot { hash, key: *key, message: *message, suffix }
            }
            PlanStep::Pbkdf2 { hash, password, salt, iterations, length } => Self::Pbkdf2 {
                hash: (*hash).into(),
                password: *password,
                salt: bytes(salt),
                iterations: *iterations,
                length: *length,
            },
            PlanStep::Concat(parts) => Self::Concat { parts: parts.clone() },
            PlanStep::Truncate { input, length } => {
                Self::Truncate { input: *input, length: *length }
            }
        }
    }
}

/// The steps of a plan, as shown.
#[must_use]
pub fn shown(plan: &KdfPlan) -> Vec<PlanStep> {
    plan.steps.iter().map(PlanStep::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_written_as_the_wit_names_it_and_read_again() {
        let text = r#"[
            {"hkdfExtract":{"hash":"sha256","salt":"c2FsdA==","ikm":0}},
            {"hkdfExpand":{"hash":"sha384","prk":1,"info":"","length":32}},
            {"hmac":{"hash":"sha512","key":2,"message":"AA=="}},
            {"hmacSlot":{"hash":"sha256","key":2,"message":3,"suffix":"AA=="}},
            {"pbkdf2":{"hash":"sha256","password":2,"salt":"AA==","iterations":1000,"length":32}},
            {"concat":[3,4]},
            {"truncate":{"input":6,"length":32}}
        ]"#;
        let steps: Vec<PlanStep> = serde_json::from_str(text).unwrap();
        let plan = KdfPlan { steps: steps.iter().map(KdfStep::from).collect() };
        assert_eq!(shown(&plan), steps);
        let (again, given) = (serde_json::to_value(&steps), serde_json::from_str(text));
        let given: serde_json::Value = given.unwrap();
        assert_eq!(again.unwrap(), given);
        assert!(serde_json::from_str::<PlanStep>(r#"{"hash":{"input":0}}"#).is_err());
    }
}
