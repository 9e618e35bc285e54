//! Quotas: rules of the configuration, and those a registration carries.
//!
//! Rules by participant and address that need to know no more are asked before anything is looked
//! for; the others when the target was found and policy has permitted the request. So names and
//! uids meet in one bucket, what does not exist has none, and nobody uses up what is not theirs.
//! Narrow rules are asked before wide ones.

mod buckets;

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use hub_auth::Caller;
use hub_model::quota::{KeptQuota, QuotaRule, QuotaScope, QuotaWindow};
use hub_model::{Action, Clock, KeyId, Registration};
use hub_operations::{Error, Left};

use self::buckets::{BucketKey, Buckets, OwnBuckets, Subject};
use crate::line::Line;
use crate::throttle::Source;

pub(crate) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(crate) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const SECOND: u64 = 1_000_000_000;

/// Every quota of this process, with what has been counted since its start.
#[derive(Debug)]
pub struct Quotas {
    /// Rules of the configuration; their number is their place.
    rules: Box<[KeptQuota]>,
    buckets: Buckets,
    /// Of the rules that registrations carry.
    own: OwnBuckets,
    clock: Arc<dyn Clock>,
}

impl Quotas {
    /// Quotas with these rules of the configuration; every bucket is full.
    #[must_use]
    pub fn new(rules: &[QuotaRule], clock: Arc<dyn Clock>) -> Self {
        let numbered = (0..).zip(rules);
        let rules = numbered.map(|(number, rule)| KeptQuota { number, rule: rule.clone() });
        Self { rules: rules.collect(), buckets: Buckets::new(), own: OwnBuckets::new(), clock }
    }

    /// Before anything is looked for.
    ///
    /// # Errors
    /// [`Error::OverQuota`].
    pub fn admit(&self, caller: &Caller, action: Action) -> Result<Option<Left>, Error> {
        let mut left = None;
        if self.rules.is_empty() {
            return Ok(left);
        }
        for scope in [QuotaScope::Participant, QuotaScope::Address] {
            for kept in self.rules.iter().filter(|kept| is_early(&kept.rule)) {
                self.ask(kept, None, scope, &Asked { caller, action, place: None }, &mut left)?;
            }
        }
        Ok(left)
    }

    /// When the target was found and the request permitted.
    ///
    /// # Errors
    /// [`Error::OverQuota`].
    pub fn admit_at(
        &self,
        caller: &Caller,
        action: Action,
        registration: &Registration,
        key: Option<KeyId>,
    ) -> Result<Option<Left>, Error> {
        let own = registration.quotas.as_deref();
        let mut left = None;
        if own.is_none() {
            self.own.forget(registration);
        }
        if is_way_out(action) || (own.is_none() && self.rules.is_empty()) {
            return Ok(left);
        }
        let asked = Asked { caller, action, place: Some((registration, key)) };
        for scope in QuotaScope::ALL {
            for kept in self.rules.iter().filter(|kept| !is_early(&kept.rule)) {
                self.ask(kept, None, scope, &asked, &mut left)?;
            }
            for kept in own.into_iter().flat_map(|own| own.rules.iter().chain(&own.bounds)) {
                self.ask(kept, Some(registration), scope, &asked, &mut left)?;
            }
        }
        Ok(left)
    }

    /// Asks one rule: of the configuration, or of the registration `own`.
    fn ask(
        &self,
        kept: &KeptQuota,
        own: Option<&Registration>,
        scope: QuotaScope,
        asked: &Asked<'_>,
        left: &mut Option<Left>,
    ) -> Result<(), Error> {
        let KeptQuota { number, rule } = kept;
        let who = &asked.caller.principal().participant;
        let key = asked.place.and_then(|(_, key)| key);
        if rule.per != scope || !rule.matches(asked.action, who, key.as_ref()) {
            return Ok(());
        }
        let subject = match (rule.per, asked.place) {
            (QuotaScope::Participant, _) => Subject::Id(*who.as_bytes()),
            (QuotaScope::Address, _) => Subject::Source(Source::from(asked.caller.address())),
            (QuotaScope::Registration, Some((registration, _))) => {
                Subject::Id(*registration.id.as_bytes())
            }
            (QuotaScope::Key, Some((_, Some(key)))) => Subject::Id(*key.as_bytes()),
            (QuotaScope::Key | QuotaScope::Registration, _) => return Ok(()),
        };
        let now = u64::try_from(self.clock.steady().as_nanos()).unwrap_or(u64::MAX);
        let bucket = BucketKey { rule: *number, subject };
        let taken = match own {
            Some(registration) => self.own.take(registration, bucket, &rule.limits, now),
            None => self.buckets.take(bucket, &rule.limits, now),
        };
        match taken {
            Ok(taken) => {
                let now = describe(rule, taken.window, taken.remaining, taken.reset);
                *left = Left::tighter(left.take(), now);
                Ok(())
            }
            Err(empty) => {
                let retry_after = empty.wait.div_ceil(SECOND).max(1);
                let over = describe(rule, empty.window, 0, empty.reset);
                Err(Error::OverQuota { left: over.map(Box::new), retry_after })
            }
        }
    }

    /// Buckets being counted at the moment.
    #[must_use]
    pub fn tracked(&self) -> usize {
        self.buckets.len() + self.own.len()
    }

    /// Forgets buckets that are full again.
    pub fn shed(&self) {
        let now = u64::try_from(self.clock.steady().as_nanos()).unwrap_or(u64::MAX);
        self.buckets.shed(now);
        self.own.shed(now);
    }
}

/// What a request is, as far as rules ask.
struct Asked<'a> {
    caller: &'a Caller,
    action: Action,
    place: Option<(&'a Registration, Option<KeyId>)>,
}

/// What takes rights away, or gets one out of a registration's own quotas. No quota of the target
/// counts it: else too tight a rule locks the hub out, and a noisy program delays a revocation.
const fn is_way_out(action: Action) -> bool {
    matches!(
        action,
        Action::RegistrationsFreeze
            | Action::RegistrationsUnfreeze
            | Action::RegistrationsDelete
            | Action::ParticipantsSuspend
            | Action::ParticipantsRemove
            | Action::CredentialsRevoke
            | Action::TokensRevoke
            | Action::RolesRevoke
            | Action::GrantsDelete
            | Action::KeysSuspend
            | Action::KeysMarkCompromised
            | Action::QuotasGet
            | Action::QuotasSet
            | Action::QuotasBound
    )
}

/// Whether a rule of the configuration needs no target.
fn is_early(rule: &QuotaRule) -> bool {
    matches!(rule.per, QuotaScope::Participant | QuotaScope::Address) && rule.keys.is_empty()
}

fn describe(rule: &QuotaRule, window: usize, remaining: u32, reset: u64) -> Option<Left> {
    let several = rule.limits.len() > 1;
    let window: &QuotaWindow = rule.limits.get(window)?;
    Some(Left {
        policy: Arc::clone(&rule.name),
        window: several.then_some(window.window_seconds),
        burst: window.burst(),
        fill_seconds: window.fill_seconds(),
        remaining,
        reset: reset.div_ceil(SECOND),
    })
}

/// Writes `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10). What the
/// gate of participants adds later goes before it.
pub(crate) fn write_headers(left: &Left, headers: &mut HeaderMap) {
    let mut policy = named(left);
    policy.text(b";q=").number(left.burst.into()).text(b";w=").number(left.fill_seconds);
    let mut value = named(left);
    value.text(b";r=").number(left.remaining.into()).text(b";t=").number(left.reset);
    if let (Some(policy), Some(value)) = (policy.finish(), value.finish()) {
        headers.insert(RATE_LIMIT_POLICY, policy);
        headers.insert(RATE_LIMIT, value);
    }
}

fn named(left: &Left) -> Line {
    let mut line = Line::new();
    line.text(b"\"").text(left.policy.as_bytes());
    if let Some(window) = left.window {
        line.text(b"/").number(window.into());
    }
    line.text(b"\"");
    line
}

/// Puts a member of a list before those that are there.
pub(crate) fn put_first(headers: &mut HeaderMap, name: HeaderName, first: &HeaderValue) {
    let joined = headers
        .get(&name)
        .map(|rest| Line::new().text(first.as_bytes()).text(b", ").text(rest.as_bytes()).finish());
    headers.insert(name, joined.flatten().unwrap_or_else(|| first.clone()));
}

#[cfg(test)]
mod tests;
