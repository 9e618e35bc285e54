//! Audit sinks: batches of entries go out, a cursor comes back.

use std::time::Duration;

use hub_model::Timestamp;
use hub_model::extend::{PluginDigest, PluginFailure};
use serde::{Deserialize, Serialize};

use super::super::bindings::sink::exports::cipher_hub::plugin::sink as wire;
use super::super::call::{Called, Caller};
use super::super::errors::{nonsense, reported};
use super::super::lines::clean;
use super::super::load::Loaded;
use super::super::places::For;
use super::super::stats::Stats;
use super::{json, millis};

/// The longest pause that a plugin may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(3_600);
/// Characters of a reason.
const MAX_REASON: usize = 512;

/// Entries for a sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SinkBatch {
    /// Everything before this was acknowledged.
    pub cursor: u64,
    /// The cursor after this batch.
    pub next: u64,
    /// 1 for the first time.
    #[serde(default = "first")]
    pub attempt: u32,
    /// Ascending by sequence.
    pub entries: Vec<SinkEntry>,
}

const fn first() -> u32 {
    1
}

/// What an entry says of its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SinkOutcome {
    /// It was done.
    Success,
    /// It was not allowed.
    Denied,
    /// It failed.
    Failure,
}

/// An entry of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SinkEntry {
    /// Its number.
    pub sequence: u64,
    /// When.
    #[serde(with = "json::time")]
    pub at: Timestamp,
    /// `keys.encrypt`
    pub action: String,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// `reg_…`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<String>,
    /// How it ended.
    pub outcome: SinkOutcome,
    /// As the log has it.
    pub json: String,
    /// RFC 6962 leaf hash.
    #[serde(default)]
    pub leaf_hash: Vec<u8>,
}

/// What a sink says of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Delivery {
    /// Everything before this cursor is durable downstream; it lies within the batch.
    Acknowledged(u64),
    /// Nothing was stored; again, not before this long.
    RetryAfter(Option<Duration>),
    /// Something in it is never acceptable downstream, and why.
    Rejected(Box<str>),
}

/// A plugin of the world `audit-sink` under an operator's settings, with its endpoints.
#[derive(Debug)]
pub struct SinkPlugin(Caller);

impl SinkPlugin {
    pub(in super::super) const fn new(caller: Caller) -> Self {
        Self(caller)
    }

    /// Which code answers.
    #[must_use]
    pub fn digest(&self) -> PluginDigest {
        self.0.loaded.digest()
    }

    /// What it has cost.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.loaded.stats()
    }

    /// The plugin.
    #[must_use]
    pub fn loaded(&self) -> &Loaded {
        &self.0.loaded
    }

    /// Are the settings usable? Asks `lifecycle.check` in a fresh instance.
    ///
    /// # Errors
    /// [`Refused`](hub_model::extend::FailureKind::Refused) with the plugin's own words, or what
    /// else went wrong.
    pub async fn check_settings(&self) -> Result<(), PluginFailure> {
        let called = self.0.call(
            For::Sink,
            false,
            move |store, code| {
                Box::pin(async move {
                    let plugin = code.sink()?.instantiate_async(&mut *store).await?;
                    plugin.cipher_hub_plugin_lifecycle().call_check(store).await
                })
            },
            |answer| answer.map_err(reported),
        );
        called.await.value
    }

    /// Hands a batch over.
    ///
    /// # Errors
    /// Where it gives no answer, or one that makes no sense.
    pub async fn deliver(&self, batch: SinkBatch) -> Result<Delivery, PluginFailure> {
        self.hand_over(batch, false).await.value
    }

    /// Hands a batch over, and says what it cost and what was logged.
    pub async fn deliver_traced(&self, batch: SinkBatch) -> Called<Delivery> {
        self.hand_over(batch, true).await
    }

    /// Reaches the destination without sending an entry.
    ///
    /// # Errors
    /// What the plugin says, or what else went wrong.
    pub async fn probe(&self) -> Result<(), PluginFailure> {
        self.reach(false).await.value
    }

    /// As [`Self::probe`], and says what it cost and what was logged.
    pub async fn probe_traced(&self) -> Called<()> {
        self.reach(true).await
    }

    async fn reach(&self, trace: bool) -> Called<()> {
        let called = self.0.call(
            For::Sink,
            trace,
            move |store, code| {
                Box::pin(async move {
                    let plugin = code.sink()?.instantiate_async(&mut *store).await?;
                    plugin.cipher_hub_plugin_sink().call_probe(store).await
                })
            },
            |answer| answer.map_err(reported),
        );
        called.await
    }

    async fn hand_over(&self, batch: SinkBatch, trace: bool) -> Called<Delivery> {
        let (cursor, next) = (batch.cursor, batch.next);
        let batch = wire_batch(batch);
        let called = self.0.call(
            For::Sink,
            trace,
            move |store, code| {
                Box::pin(async move {
                    let plugin = code.sink()?.instantiate_async(&mut *store).await?;
                    plugin.cipher_hub_plugin_sink().call_deliver(store, &batch).await
                })
            },
            |answer| judge(answer.map_err(reported)?, cursor, next),
        );
        called.await
    }
}

fn judge(delivery: wire::Delivery, cursor: u64, next: u64) -> Result<Delivery, PluginFailure> {
    match delivery {
        wire::Delivery::Acknowledged(to) if (cursor..=next).contains(&to) => {
            Ok(Delivery::Acknowledged(to))
        }
        wire::Delivery::Acknowledged(to) => Err(nonsense(format!(
            "it acknowledges cursor {to}; the batch goes from {cursor} to {next}"
        ))),
        wire::Delivery::RetryAfter(pause) => {
            let pause = pause.map(|millis| Duration::from_millis(millis).min(MAX_PAUSE));
            Ok(Delivery::RetryAfter(pause))
        }
        wire::Delivery::Rejected(why) => {
            let why: String = why.chars().take(MAX_REASON).collect();
            Ok(Delivery::Rejected(clean(&why, 4 * MAX_REASON).into()))
        }
    }
}

fn wire_batch(batch: SinkBatch) -> wire::Batch {
    let entry = |entry: SinkEntry| wire::Entry {
        sequence: entry.sequence,
        at: millis(entry.at),
        action: entry.action,
        actor: entry.actor,
        registration: entry.registration,
        outcome: match entry.outcome {
            SinkOutcome::Success => wire::Outcome::Success,
            SinkOutcome::Denied => wire::Outcome::Denied,
            SinkOutcome::Failure => wire::Outcome::Failure,
        },
        json: entry.json,
        leaf_hash: entry.leaf_hash,
    };
    wire::Batch {
        cursor: batch.cursor,
        next: batch.next,
        attempt: batch.attempt,
        entries: batch.entries.into_iter().map(entry).collect(),
    }
}
