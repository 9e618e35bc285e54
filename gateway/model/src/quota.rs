//! Quotas: how many requests of a kind may be made in a window of time, counted by whom or what.
//!
//! A window is a token bucket: it holds `burst` requests when full and fills evenly, `requests` in
//! each `windowSeconds`. So at most `burst` pass at once, and at most `burst + requests` in any
//! stretch of one window.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Action, KeyId, ParticipantId};

/// Rules of one kind that a registration, or the configuration, has at most.
pub const MAX_RULES: usize = 16;
/// Windows of one rule at most.
pub const MAX_WINDOWS: usize = 4;
/// Participants, or keys, one rule is for at most.
pub const MAX_ONLY: usize = 64;
/// The longest window in seconds: 31 days.
pub const MAX_WINDOW: u32 = 31 * 86_400;
/// The most requests of a window, or at once.
pub const MAX_REQUESTS: u32 = 1_000_000_000;
/// Words of policies that the hub itself answers with.
const RESERVED: [&str; 2] = ["participant", "address"];

/// What has a bucket of its own.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum QuotaScope {
    /// Each key; other targets are not counted.
    Key,
    /// Each participant who asks.
    Participant,
    /// Each source: an IPv4 address, an IPv6 /64, or the Unix socket.
    Address,
    /// Each registration that something is done in.
    Registration,
}

impl QuotaScope {
    /// Every scope, the narrowest first: the order in which rules are asked, so that what a narrow
    /// rule refuses takes nothing from a wide one.
    pub const ALL: [Self; 4] = [Self::Key, Self::Participant, Self::Address, Self::Registration];

    /// The word on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Participant => "participant",
            Self::Address => "address",
            Self::Registration => "registration",
        }
    }
}

/// One window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QuotaWindow {
    /// How many requests in each window.
    pub requests: u32,
    /// The window in seconds: 1 to 2,678,400 (31 days).
    pub window_seconds: u32,
    /// How many requests at once; as many as in a window when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

impl QuotaWindow {
    /// How many requests at once.
    #[must_use]
    pub const fn burst(&self) -> u32 {
        match self.burst {
            Some(burst) => burst,
            None => self.requests,
        }
    }

    /// Nanoseconds after which one more request may pass.
    #[must_use]
    pub fn interval(&self) -> u64 {
        let window = u64::from(self.window_seconds) * 1_000_000_000;
        window.div_ceil(u64::from(self.requests.max(1)))
    }

    /// Seconds in which an empty bucket becomes full, rounded up.
    #[must_use]
    pub fn fill_seconds(&self) -> u64 {
        u64::from(self.window_seconds)
            .saturating_mul(u64::from(self.burst()))
            .div_ceil(u64::from(self.requests.max(1)))
    }

    fn check(&self) -> Result<(), String> {
        if !(1..=MAX_REQUESTS).contains(&self.requests) {
            return Err(format!("`requests` must be between 1 and {MAX_REQUESTS}"));
        }
        if !(1..=MAX_WINDOW).contains(&self.window_seconds) {
            return Err(format!("a window has 1 to {MAX_WINDOW} seconds"));
        }
        if !(1..=MAX_REQUESTS).contains(&self.burst()) {
            return Err(format!("`burst` must be between 1 and {MAX_REQUESTS}"));
        }
        if self.fill_seconds() > 366 * 86_400 {
            return Err("a bucket of this `burst` would take over a year to fill".to_owned());
        }
        Ok(())
    }
}

/// Which actions a rule counts: ids such as `keys.decrypt`, classes such as `keys.*`, and `UseKey`
/// for every use of a key. None is every action.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub struct ActionFilter {
    words: Vec<String>,
    /// One bit an action, so that asking costs no search.
    bits: [u64; 4],
}

// INVARIANT: every action has its bit.
const _: () = assert!(Action::ALL.len() <= 256, "there are more actions than bits");

impl ActionFilter {
    /// Whether it counts this action.
    #[must_use]
    pub fn matches(&self, action: Action) -> bool {
        let (word, bit) = place(action);
        self.words.is_empty() || self.bits.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// Its words.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.words
    }

    fn unknown(&self) -> Option<&str> {
        let known = |word: &str| Action::ALL.iter().any(|action| stands_for(word, *action));
        self.words.iter().map(String::as_str).find(|word| !known(word))
    }
}

fn place(action: Action) -> (usize, u64) {
    let at = action as usize;
    (at / 64, 1 << (at % 64))
}

fn stands_for(word: &str, action: Action) -> bool {
    match word.strip_suffix(".*") {
        Some(class) => action.name().split_once('.').is_some_and(|(first, _)| first == class),
        None if word == "UseKey" => action.uses_key(),
        None => action.name() == word,
    }
}

impl From<Vec<String>> for ActionFilter {
    /// A word that is no action counts nothing; [`QuotaRule::check`] refuses it where rules are
    /// made. Records of an older program stay readable so.
    fn from(words: Vec<String>) -> Self {
        let mut bits = [0; 4];
        for action in Action::ALL {
            if words.iter().any(|word| stands_for(word, *action)) {
                let (word, bit) = place(*action);
                if let Some(slot) = bits.get_mut(word) {
                    *slot |= bit;
                }
            }
        }
        Self { words, bits }
    }
}

impl From<ActionFilter> for Vec<String> {
    fn from(filter: ActionFilter) -> Self {
        filter.words
    }
}

/// A quota: what is counted together, and how much of it may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QuotaRule {
    /// Its name, `[a-z][a-z0-9-]{0,62}`: it stands in `RateLimit` headers, problems and the audit
    /// log.
    #[schema(value_type = String, example = "decrypts")]
    pub name: Arc<str>,
    /// What has a bucket of its own.
    pub per: QuotaScope,
    /// Which actions count: ids (`keys.decrypt`), classes (`keys.*`), `UseKey`. Every one when
    /// absent.
    #[serde(default, skip_serializing_if = "no_words")]
    #[schema(value_type = Vec<String>)]
    pub actions: ActionFilter,
    /// The participants it is for, by uid; every one when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub participants: Vec<ParticipantId>,
    /// The keys it is for, by uid; every target when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyId>,
    /// One to four windows, all of which must have room.
    pub limits: Vec<QuotaWindow>,
}

fn no_words(filter: &ActionFilter) -> bool {
    filter.words.is_empty()
}

impl QuotaRule {
    /// Whether it counts this request.
    #[must_use]
    pub fn matches(&self, action: Action, who: &ParticipantId, key: Option<&KeyId>) -> bool {
        self.actions.matches(action)
            && (self.participants.is_empty() || self.participants.contains(who))
            && (self.keys.is_empty() || key.is_some_and(|key| self.keys.contains(key)))
    }

    /// Checks everything.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let name = &*self.name;
        let tail = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        if !first || name.len() > 63 || !name.bytes().all(tail) {
            return Err("the name of a quota is `[a-z][a-z0-9-]{0,62}`".to_owned());
        }
        if RESERVED.contains(&name) {
            return Err(format!("`{name}` is the name of a limit of the hub itself"));
        }
        if self.actions.words.len() > 64 {
            return Err("a quota names at most 64 actions".to_owned());
        }
        if self.actions.unknown().is_some() {
            return Err(
                "an action is neither an id (`keys.decrypt`), nor a class (`keys.*`), nor \
                        `UseKey`"
                    .to_owned(),
            );
        }
        if self.participants.len() > MAX_ONLY || self.keys.len() > MAX_ONLY {
            return Err(format!("a quota names at most {MAX_ONLY} participants and keys each"));
        }
        if !(1..=MAX_WINDOWS).contains(&self.limits.len()) {
            return Err(format!("a quota has 1 to {MAX_WINDOWS} windows in `limits`"));
        }
        self.limits.iter().try_for_each(QuotaWindow::check)
    }

    /// Checks rules that stand together.
    ///
    /// # Errors
    /// The index of the rule at fault, and what is wrong.
    pub fn check_all(rules: &[Self]) -> Result<(), (usize, String)> {
        if rules.len() > MAX_RULES {
            return Err((MAX_RULES, format!("there are at most {MAX_RULES} quotas")));
        }
        for (at, rule) in rules.iter().enumerate() {
            rule.check().map_err(|why| (at, why))?;
            if rules.iter().take(at).any(|other| other.name == rule.name) {
                return Err((at, format!("two quotas are named `{}`", rule.name)));
            }
        }
        Ok(())
    }
}

/// A rule as kept with its registration. The number stays as long as the rule does, and so do its
/// buckets; another rule of the same name has buckets of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptQuota {
    /// Drawn when the rule was set.
    pub number: u64,
    /// The rule.
    pub rule: QuotaRule,
}

/// The quotas of a registration. Every rule that matches must have room, so neither list can make
/// the other looser.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationQuotas {
    /// Set by administrators of the hub.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bounds: Vec<KeptQuota>,
    /// Set by owners.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<KeptQuota>,
}

impl RegistrationQuotas {
    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bounds.is_empty() && self.rules.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(json: &str) -> QuotaRule {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn filters_know_ids_classes_and_uses() {
        let filter = |words: &[&str]| {
            ActionFilter::from(words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
        };
        assert!(filter(&[]).matches(Action::SystemWhoami));
        let one = filter(&["keys.decrypt"]);
        assert!(one.matches(Action::KeysDecrypt) && !one.matches(Action::KeysEncrypt));
        let class = filter(&["participants.*"]);
        assert!(class.matches(Action::ParticipantsList) && !class.matches(Action::KeysList));
        let uses = filter(&["UseKey"]);
        for action in Action::ALL {
            assert_eq!(uses.matches(*action), action.uses_key(), "{action}");
        }
        assert_eq!(filter(&["keys.*", "key.*"]).unknown(), Some("key.*"));
        assert!(!filter(&["keys.decryptt"]).matches(Action::KeysDecrypt), "matches nothing");
    }

    #[test]
    fn rules_are_checked() {
        let good = r#"{"name":"day","per":"key","actions":["UseKey"],
            "limits":[{"requests":1000,"windowSeconds":1,"burst":5},
                      {"requests":50000,"windowSeconds":86400}]}"#;
        let good = rule(good);
        assert_eq!(good.check(), Ok(()));
        assert_eq!((good.limits[0].burst(), good.limits[1].burst()), (5, 50_000));
        assert_eq!(good.limits[1].interval(), 1_728_000_000);
        assert_eq!(serde_json::from_value(serde_json::to_value(&good).unwrap()).ok(), Some(good));
        let twice = |json: &str| QuotaRule::check_all(&[rule(json), rule(json)]).unwrap_err();
        let limits = r#""limits":[{"requests":1,"windowSeconds":1}]"#;
        assert_eq!(twice(&format!(r#"{{"name":"a","per":"key",{limits}}}"#)).0, 1);
        for bad in [
            r#"{"name":"A","per":"key","limits":[{"requests":1,"windowSeconds":1}]}"#,
            r#"{"name":"participant","per":"key","limits":[{"requests":1,"windowSeconds":1}]}"#,
            r#"{"name":"a","per":"key","limits":[]}"#,
            r#"{"name":"a","per":"key","limits":[{"requests":0,"windowSeconds":1}]}"#,
            r#"{"name":"a","per":"key","limits":[{"requests":1,"windowSeconds":0}]}"#,
            r#"{"name":"a","per":"key","limits":[{"requests":1,"windowSeconds":2678401}]}"#,
            r#"{"name":"a","per":"key","limits":[{"requests":1,"windowSeconds":1,"burst":0}]}"#,
            r#"{"name":"a","per":"key",
                "limits":[{"requests":1,"windowSeconds":86400,"burst":400}]}"#,
            r#"{"name":"a","per":"key","actions":["keys.fly"],
                "limits":[{"requests":1,"windowSeconds":1}]}"#,
        ] {
            assert!(rule(bad).check().is_err(), "{bad}");
        }
    }
}
