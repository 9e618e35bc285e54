//! What plugins supply, in the words of the domain alone: nothing here knows WebAssembly, and no
//! type here can hold a key byte. `hub-plugins` implements the traits; `hub-operations` asks them.
//!
//! Every answer is advice: the hub checks it and does the work (`docs/plugins.md`).

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::algorithm::Hash;
use crate::{
    Algorithm, EncryptionContext, Key, Name, RegistrationId, Thumbprint, Timestamp, UsageCounters,
};

/// SHA-256 of a plugin's file without its signatures: which code, with which manifest.
pub type PluginDigest = Thumbprint;

/// Values for a plugin by name: an operator's settings, or the parameters of a policy or request.
pub type Parameters = BTreeMap<Box<str>, Box<str>>;

/// An answer that is waited for.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = Result<T, PluginFailure>> + Send + 'a>>;

/// What is done when a plugin gives no answer.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum FailurePolicy {
    /// What needed the answer is refused, or stays as it is.
    #[default]
    FailClosed,
    /// What the hub would do without the plugin: `maxAge` or `maxInterval` for a rotation. Not for
    /// KDF profiles: another key is no answer.
    FallBack,
    /// Asked again a few times, then as [`Self::FailClosed`].
    Retry,
}

impl FailurePolicy {
    /// The word on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FailClosed => "fail-closed",
            Self::FallBack => "fall-back",
            Self::Retry => "retry",
        }
    }
}

/// Why a plugin gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginFailure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// More, for the log of the hub; for [`FailureKind::Refused`] also for the caller. At most 512
    /// characters, without hidden ones.
    pub text: Box<str>,
}

/// Kinds of failure. Each limit has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The plugin says that settings or parameters are unusable, or that it does not serve this.
    /// Its text may be shown to whoever gave them.
    Refused,
    /// The plugin reports an error of its own.
    Internal,
    /// It trapped: unreachable, out of bounds, stack overflow, division by zero.
    Trap,
    /// Its time was over.
    Deadline,
    /// Its fuel was used up.
    Fuel,
    /// It wanted more memory than it may have.
    Memory,
    /// It wanted more table elements, instances or handles than it may have.
    Tables,
    /// It called the host too often, or with too many bytes.
    HostCalls,
    /// Its answer is out of bounds or makes no sense.
    Nonsense,
    /// Too many calls at once; it was not called.
    Busy,
    /// It is disabled, not installed, or not assigned to this registration.
    Unavailable,
}

impl FailureKind {
    /// The word in metrics and in the audit log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Internal => "internal",
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Fuel => "fuel",
            Self::Memory => "memory",
            Self::Tables => "tables",
            Self::HostCalls => "host-calls",
            Self::Nonsense => "nonsense",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Characters that plugins could forge or hide lines with, wherever their words are shown: control
/// characters, separators of lines, and what turns the direction of text or has no width.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl PluginFailure {
    /// A failure; the text is cut and cleaned.
    #[must_use]
    pub fn new(kind: FailureKind, text: &str) -> Self {
        let clean = |c: char| if is_hidden(c) { ' ' } else { c };
        Self { kind, text: text.chars().take(512).map(clean).collect() }
    }
}

impl fmt::Display for PluginFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.is_empty() {
            return f.write_str(self.kind.name());
        }
        write!(f, "{}: {}", self.kind.name(), self.text)
    }
}

impl std::error::Error for PluginFailure {}

/// The plugins in service, by name.
pub trait Plugins: fmt::Debug + Send + Sync {
    /// The rotation schedule of this name, if it is assigned to the registration.
    ///
    /// # Errors
    /// [`FailureKind::Unavailable`], with the reason for whoever named it.
    fn rotation(
        &self,
        registration: RegistrationId,
        plugin: &Name,
    ) -> Result<Arc<dyn RotationSchedule>, PluginFailure>;

    /// The KDF profiles of a version of this plugin. None at all where it is disabled.
    ///
    /// # Errors
    /// [`FailureKind::Unavailable`], with the reason for whoever named it.
    fn kdf(
        &self,
        registration: RegistrationId,
        plugin: &Name,
        version: KdfVersion,
    ) -> Result<KdfInService, PluginFailure>;
}

/// Which version of a plugin is asked how to derive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KdfVersion {
    /// The active one.
    Active,
    /// One that the key derived by before: for as long as it is installed.
    Pinned(PluginDigest),
    /// One that a caller names for a key that has not derived by it. Only what an operator has put
    /// into service at some time: what was merely installed was never tried, and is run for nobody.
    Named(PluginDigest),
}

impl KdfVersion {
    /// Of which version; none where it is whichever is active.
    #[must_use]
    pub const fn digest(self) -> Option<PluginDigest> {
        match self {
            Self::Active => None,
            Self::Pinned(digest) | Self::Named(digest) => Some(digest),
        }
    }
}

/// A version of a plugin that can be asked how to derive.
#[derive(Clone, Debug)]
pub struct KdfInService {
    /// Its profiles.
    pub profiles: Arc<dyn KdfProfiles>,
    /// The revision of the catalogue's record whose settings it has; none without a catalogue.
    pub revision: Option<u64>,
}

/// Says when keys are rotated.
pub trait RotationSchedule: fmt::Debug + Send + Sync {
    /// Which code answers.
    fn digest(&self) -> PluginDigest;

    /// Tells one set of the operator's settings from another: what was answered under others is
    /// asked anew. Kept with keys, and no secret.
    fn settings(&self) -> u64 {
        0
    }

    /// What is done when it gives no answer.
    fn on_failure(&self) -> FailurePolicy;

    /// When is the key rotated next? Never later than its deadline.
    fn decide<'a>(&'a self, question: &'a RotationQuestion<'a>) -> Asked<'a, RotationAnswer>;

    /// Checks parameters against the manifest and asks the plugin, on behalf of this registration.
    fn check<'a>(
        &'a self,
        registration: RegistrationId,
        policy: &'a RotationBounds,
    ) -> Asked<'a, ()>;
}

/// The bounds and parameters of a rotation policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotationBounds {
    /// The least time between two rotations.
    pub min_interval: Duration,
    /// The most time between two rotations.
    pub max_interval: Duration,
    /// For the plugin.
    pub parameters: Parameters,
}

/// What a rotation schedule is asked about.
#[derive(Clone, Debug)]
pub struct RotationQuestion<'a> {
    /// The key's facts.
    pub key: &'a Key,
    /// Use by version number; versions without an entry were not used.
    pub usage: &'a BTreeMap<u32, UsageCounters>,
    /// Bounds and parameters.
    pub policy: &'a RotationBounds,
    /// When the primary version became primary.
    pub last_rotation: Timestamp,
    /// The time of the hub.
    pub now: Timestamp,
}

/// What a rotation schedule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RotationAnswer {
    /// Rotate at this time.
    At(Timestamp),
    /// Rotate now, and why: at most 128 characters, without control characters.
    Now(Box<str>),
    /// Ask again at this time.
    AskAgain(Timestamp),
}

/// Turns contexts into plans for deriving keys.
pub trait KdfProfiles: fmt::Debug + Send + Sync {
    /// Which code answers. Pinned to every key that is derived with it.
    fn digest(&self) -> PluginDigest;

    /// SHA-256 over the operator's settings, which plans may depend on: pinned with the digest. None
    /// where there are no settings.
    fn settings(&self) -> Option<Thumbprint> {
        None
    }

    /// What it offers.
    fn profiles(&self) -> Arc<[KdfProfile]>;

    /// The plan for a context. The same digest, settings and question give the same plan for ever.
    fn plan<'a>(&'a self, question: &'a KdfQuestion<'a>) -> Asked<'a, Arc<KdfPlan>>;
}

/// A profile on offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KdfProfile {
    /// Its name within the plugin.
    #[schema(value_type = Name)]
    pub id: Name,
    /// What it is, in a sentence.
    #[schema(value_type = String)]
    pub description: Box<str>,
    /// The most bytes it gives.
    pub max_length: u32,
}

/// What a KDF profile is asked about. Nothing in it is secret.
#[derive(Clone, Copy, Debug)]
pub struct KdfQuestion<'a> {
    /// Which profile.
    pub profile: &'a Name,
    /// The root key.
    pub key: &'a Key,
    /// Its version.
    pub version: u32,
    /// What the result is for: a stored key of this algorithm and name, or bytes.
    pub into: Option<(Algorithm, &'a Name)>,
    /// Given by the caller.
    pub salt: &'a [u8],
    /// Given by the caller.
    pub info: &'a [u8],
    /// Given by the caller.
    pub context: &'a EncryptionContext,
    /// Bytes wanted.
    pub length: u32,
    /// For the plugin.
    pub parameters: &'a Parameters,
}

/// A plan: what the hub does with the root key. Data, to be shown, checked and kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KdfPlan {
    /// In order. The output of the last is the derived key.
    pub steps: Vec<KdfStep>,
}

/// A step of a plan. Slot 0 is the root key, slot n the output of the n-th step, from 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "members are those of wit/kdf-profile.wit")]
pub enum KdfStep {
    /// HKDF-Extract (RFC 5869 §2.2).
    Extract { hash: Hash, salt: Vec<u8>, ikm: u32 },
    /// HKDF-Expand (RFC 5869 §2.3).
    Expand { hash: Hash, prk: u32, info: Vec<u8>, length: u32 },
    /// HMAC (RFC 2104).
    Hmac { hash: Hash, key: u32, message: Vec<u8> },
    /// HMAC of an earlier output and these bytes after it.
    HmacSlot { hash: Hash, key: u32, message: u32, suffix: Vec<u8> },
    /// PBKDF2-HMAC (RFC 8018 §5.2).
    Pbkdf2 { hash: Hash, password: u32, salt: Vec<u8>, iterations: u32, length: u32 },
    /// Outputs joined in order.
    Concat { parts: Vec<u32> },
    /// The first bytes.
    Truncate { input: u32, length: u32 },
}

/// A hub without plugins.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPlugins;

impl NoPlugins {
    fn none<T>(plugin: &Name) -> Result<T, PluginFailure> {
        let text = format!("there is no plugin `{plugin}`");
        Err(PluginFailure::new(FailureKind::Unavailable, &text))
    }
}

impl Plugins for NoPlugins {
    fn rotation(
        &self,
        _: RegistrationId,
        plugin: &Name,
    ) -> Result<Arc<dyn RotationSchedule>, PluginFailure> {
        Self::none(plugin)
    }

    fn kdf(
        &self,
        _: RegistrationId,
        plugin: &Name,
        _: KdfVersion,
    ) -> Result<KdfInService, PluginFailure> {
        Self::none(plugin)
    }
}
