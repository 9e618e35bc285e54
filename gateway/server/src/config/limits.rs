//! `limits` and `abuse`: token buckets, quotas, what may be in work, unusual behaviour.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use hub_model::quota::{ActionFilter, QuotaRule, QuotaScope, QuotaWindow};
use hub_model::{KeyId, ParticipantId};
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::{at_least_one, units};

/// `limits`: token buckets, and what may be in work at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Requests per second from one address.
    pub address_per_second: NonZeroU32,
    /// Requests at once from one address.
    pub address_burst: NonZeroU32,
    /// Requests per second by one participant.
    pub participant_per_second: NonZeroU32,
    /// Requests at once by one participant.
    pub participant_burst: NonZeroU32,
    /// Most bytes of one stream; 0 is any number.
    pub stream_max_bytes: u64,
    /// Requests in work at once.
    pub requests_in_work: NonZeroU32,
    /// Requests in work at once by the participants of one registration; 0 is a quarter of all.
    pub registration_in_work: u32,
    /// Requests of one registration's participants that have their turn at once.
    pub registration_at_once: NonZeroU32,
    /// The same while participants of other registrations ask for something, too.
    pub registration_beside: NonZeroU32,
    /// Requests that wait for a place at once.
    pub requests_waiting: u32,
    /// How long a request waits for a place.
    #[serde(with = "units::duration")]
    pub wait_timeout: Duration,
    /// Bytes of request bodies in memory at once.
    #[serde(with = "units::size")]
    pub body_bytes_in_work: usize,
    /// Quotas for all registrations.
    #[serde(deserialize_with = "quotas")]
    pub quotas: Vec<QuotaConfig>,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            address_per_second: at_least_one(20_000),
            address_burst: at_least_one(40_000),
            participant_per_second: at_least_one(10_000),
            participant_burst: at_least_one(20_000),
            stream_max_bytes: 0,
            requests_in_work: at_least_one(4096),
            registration_in_work: 0,
            registration_at_once: at_least_one(64),
            registration_beside: at_least_one(16),
            requests_waiting: 4096,
            wait_timeout: Duration::from_millis(250),
            body_bytes_in_work: 64 * 1024 * 1024,
            quotas: Vec::new(),
        }
    }
}

impl LimitsConfig {
    /// The quotas, as those of registrations are written.
    #[must_use]
    pub fn quota_rules(&self) -> Vec<QuotaRule> {
        self.quotas.iter().map(QuotaConfig::rule).collect()
    }

    /// Requests of one registration in work at once.
    #[must_use]
    pub fn share(&self) -> u32 {
        match self.registration_in_work {
            0 => self.requests_in_work.get().div_ceil(4),
            share => share,
        }
    }
}

/// One of `limits.quotas`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaConfig {
    /// Its name in headers, problems and the audit log.
    pub name: String,
    /// What has a bucket of its own: `key`, `participant`, `address` or `registration`.
    pub per: QuotaScope,
    /// Actions, classes such as `keys.*`, or `UseKey`; every action when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
    /// Uids of the participants it is for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub participants: Vec<ParticipantId>,
    /// Uids of the keys it is for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyId>,
    /// Its windows.
    pub limits: Vec<WindowConfig>,
}

/// One window of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowConfig {
    /// Requests in each window.
    pub requests: u32,
    /// The window: whole seconds.
    #[serde(with = "units::duration")]
    pub window: Duration,
    /// Requests at once; as many as in a window when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

impl QuotaConfig {
    fn rule(&self) -> QuotaRule {
        let limits = self.limits.iter().map(|window| QuotaWindow {
            requests: window.requests,
            // Zero, and so refused, when it is no whole number of seconds.
            window_seconds: u32::try_from(window.window.as_secs())
                .ok()
                .filter(|_| window.window.subsec_nanos() == 0)
                .unwrap_or(0),
            burst: window.burst,
        });
        QuotaRule {
            name: self.name.as_str().into(),
            per: self.per,
            actions: ActionFilter::from(self.actions.clone()),
            participants: self.participants.clone(),
            keys: self.keys.clone(),
            limits: limits.collect(),
        }
    }
}

/// A list of tables; in a variable or flag, the same as JSON.
fn quotas<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<QuotaConfig>, D::Error> {
    struct Rules;
    impl<'de> Visitor<'de> for Rules {
        type Value = Vec<QuotaConfig>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of quotas; in a variable, as JSON")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Vec<QuotaConfig>, E> {
            if text.is_empty() {
                return Ok(Vec::new());
            }
            serde_json::from_str(text).map_err(E::custom)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<QuotaConfig>, A::Error> {
            let mut all = Vec::new();
            while let Some(quota) = list.next_element()? {
                all.push(quota);
            }
            Ok(all)
        }
    }
    deserializer.deserialize_any(Rules)
}

/// `abuse`: what is unusual, and what follows. Counts are for one `window`; 0 is off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AbuseConfig {
    /// The window everything is counted in.
    #[serde(with = "units::duration")]
    pub window: Duration,
    /// Failures with one credential id from one address.
    pub guesses: u32,
    /// Failed authentications from one address.
    pub auth_failures: u32,
    /// Refusals of one participant at one address.
    pub refusals: u32,
    /// Distinct encryption contexts decrypted by one participant at one address.
    pub contexts: u32,
    /// Who is refused for a while then.
    pub block: AbuseBlock,
    /// For how long.
    #[serde(with = "units::duration")]
    pub block_duration: Duration,
}

impl Default for AbuseConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(60),
            guesses: 20,
            auth_failures: 300,
            refusals: 300,
            contexts: 5000,
            block: AbuseBlock::Off,
            block_duration: Duration::from_secs(600),
        }
    }
}

/// Who is refused for a while after unusual behaviour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum AbuseBlock {
    /// Nobody: it is told, no more.
    #[default]
    Off,
    /// The credential id or participant at the address it came from.
    Credentials,
    /// That, and whole addresses from which very many authentications fail.
    Addresses,
}

units::words! { AbuseBlock:
    Off = "off",
    Credentials = "credentials",
    Addresses = "addresses",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_read_from_tables_and_from_json() {
        #[derive(Deserialize)]
        struct File {
            limits: LimitsConfig,
        }
        let toml = "[[limits.quotas]]\nname = \"day\"\nper = \"key\"\nactions = [\"UseKey\"]\n\
                    limits = [{ requests = 5, window = \"1d\", burst = 2 }]\n";
        let file: File = toml::from_str(toml).unwrap();
        let rules = file.limits.quota_rules();
        assert_eq!(rules[0].check(), Ok(()));
        assert_eq!(rules[0].limits[0].window_seconds, 86_400);
        let json = serde_json::to_string(&file.limits.quotas).unwrap();
        let text = format!("{{\"quotas\":{}}}", serde_json::Value::from(json));
        let again: LimitsConfig = serde_json::from_str(&text).unwrap();
        assert_eq!(again.quotas, file.limits.quotas);
        let half = toml.replace("1d", "1500ms");
        let file: File = toml::from_str(&half).unwrap();
        assert!(file.limits.quota_rules()[0].check().is_err());
    }

    #[test]
    fn a_share_is_a_quarter_unless_said() {
        let mut limits = LimitsConfig { requests_in_work: at_least_one(2), ..Default::default() };
        assert_eq!(limits.share(), 1);
        limits.registration_in_work = 7;
        assert_eq!(limits.share(), 7);
    }
}
