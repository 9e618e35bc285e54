//! The audit entry: one typed value per outcome. Every field here is public by design; what is not
//! (payloads, keys, credentials) has no field to be put into. User-given values are names, ids and
//! the encryption context, whose values the caller was told are logged.

use std::sync::Arc;
use std::time::Duration;

use crate::principal::PeerAddress;
use crate::{EncryptionContext, KeyId, ParticipantId, Principal, RegistrationId, Timestamp};

/// How policy decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Permitted.
    Allow,
    /// Refused.
    Deny,
    /// Never asked: the request fell before.
    None,
}

impl Decision {
    /// The word in entries.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::None => "none",
        }
    }
}

/// How a request ended: `ok`, or the stable code of its problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome(pub &'static str);

impl Outcome {
    /// It was done.
    pub const OK: Self = Self("ok");
}

/// How long a request took from its authentication to its entry, as an upper bound. A class and no
/// duration: entries are no stopwatch for what happens inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatencyClass(&'static str);

impl LatencyClass {
    /// The class of a duration.
    #[must_use]
    pub const fn of(taken: Duration) -> Self {
        Self(match taken.as_micros() {
            0..1_000 => "1ms",
            1_000..10_000 => "10ms",
            10_000..100_000 => "100ms",
            100_000..1_000_000 => "1s",
            1_000_000..10_000_000 => "10s",
            _ => "over",
        })
    }

    /// The word in entries: `1ms`, `10ms`, `100ms`, `1s`, `10s` or `over`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0
    }
}

/// What was acted on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The registration.
    pub registration: Option<RegistrationId>,
    /// The key.
    pub key: Option<KeyId>,
    /// The key's version.
    pub version: Option<u32>,
    /// The participant acted on.
    pub participant: Option<ParticipantId>,
    /// What else names the resource: a role, a credential id, a name asked for.
    pub detail: Option<Box<str>>,
}

/// What a decision was about beside what the entry names: with these it can be made again later.
/// No payload, only its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Store revisions of the participant, of the target and of its registration; 0 for the hub.
    pub revisions: [u64; 3],
    /// Whether the channel was encrypted.
    pub tls: bool,
    /// Whether the caller proved its identity by a client certificate.
    pub mutual_tls: bool,
    /// Bytes of plaintext, ciphertext or message.
    pub payload_bytes: u64,
    /// The verb asked for beside the action itself.
    pub beside: Option<&'static str>,
}

/// One outcome of one request, ready to be appended.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    /// When the request was authenticated.
    pub time: Timestamp,
    /// Who, when known.
    pub principal: Option<Principal>,
    /// From where.
    pub address: PeerAddress,
    /// What was asked: an [`Action`](crate::Action)'s id, or a local step such as `system.start`.
    pub action: &'static str,
    /// Of what.
    pub subject: Subject,
    /// How policy decided.
    pub decision: Decision,
    /// What that was about, where this entry is the one of the decision.
    pub decided: Option<Decided>,
    /// The deciding policies.
    pub policies: Arc<[Arc<str>]>,
    /// The policy revision.
    pub revision: Arc<str>,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took until here; none for the hub's own steps.
    pub latency: Option<LatencyClass>,
    /// The long operation or import job this is a step of: one id in all its entries.
    pub operation: Option<Box<str>>,
    /// The encryption context.
    pub context: Option<EncryptionContext>,
    /// The request id.
    pub request: Arc<str>,
    /// The W3C trace id, in hex.
    pub trace: Option<[u8; 16]>,
    /// Whether the caller asked for a dry run.
    pub dry_run: bool,
    /// How many like it this entry stands for (sampled authentication failures); 1 otherwise.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_below_the_bound_its_class_names() {
        let class = |micros| LatencyClass::of(Duration::from_micros(micros)).name();
        assert_eq!(
            [class(0), class(999), class(1_000), class(9_999)],
            ["1ms", "1ms", "10ms", "10ms"]
        );
        assert_eq!([class(99_999), class(999_999), class(9_999_999)], ["100ms", "1s", "10s"]);
        assert_eq!(class(10_000_000), "over");
    }
}
