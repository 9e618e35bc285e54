//! Witnesses of the log, from the log's side (C2SP tlog-witness): checkpoints are submitted with a
//! proof that they go on from what the witness has seen, and its cosignatures are kept. At the
//! start, what witnesses have seen is held against the store (`start.rs`).

mod client;
mod kept;
mod start;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::{Method, StatusCode, Uri};
use hub_audit::Log;
use hub_audit::note::{Note, VerifierKey};
use hub_audit::witness::Submission;
use hub_audit::witness_proof::Folded;
use hub_model::api::checkpoint::WitnessView;
use hub_model::clock::SystemClock;
use hub_model::{Clock as _, Timestamp};
use hub_operations::Hub;
use prometheus::IntCounterVec;
use tokio_util::sync::CancellationToken;

use crate::chores::event;
use crate::config::{AuditConfig, WitnessConfig};
use crate::metrics::Metrics;
use kept::Kept;

/// Between two attempts after a failure, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// A cosignature of an idle log is made new after this time: its time says "still the newest".
const FRESH: Duration = Duration::from_secs(600);
/// How long the end of the process waits for witnesses.
const LAST: Duration = Duration::from_secs(5);
/// How often a witness may say that it has seen another size, in one attempt.
const TURNS: usize = 3;

/// Why there is no cosignature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// No answer, or none that can be used.
    #[error("{0}")]
    Unreachable(String),
    /// It took too long.
    #[error("no answer within {} ms", .0.as_millis())]
    Slow(Duration),
    /// It does not know this log, or not its key.
    #[error("it answers {0}: does it know this log and its verifier key?")]
    Unknown(u16),
    /// It answers with something that is not its cosignature.
    #[error("its answer is not its cosignature: {0}")]
    Lying(String),
    /// It has seen more than there is.
    #[error("it has seen {0} entries, more than the log has")]
    Ahead(u64),
    /// It has seen another history.
    #[error("it has seen another history in the first {0} entries")]
    Forked(u64),
    /// The log cannot be read.
    #[error("the log cannot be read for its proof: {0}")]
    Log(String),
}

impl Failure {
    const fn word(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Slow(_) => "timeout",
            Self::Unknown(_) => "unknown",
            Self::Lying(_) => "wrong_signature",
            Self::Ahead(_) => "ahead",
            Self::Forked(_) => "forked",
            Self::Log(_) => "log",
        }
    }
}

/// All witnesses of this hub.
#[derive(Debug)]
pub(crate) struct Witnesses {
    all: Vec<Witness>,
    interval: Duration,
}

/// One witness.
#[derive(Debug)]
struct Witness {
    name: String,
    submission: Uri,
    monitoring: Uri,
    key: VerifierKey,
    ca_file: Option<PathBuf>,
    timeout: Duration,
    required: bool,
    /// Where its newest cosigned note is kept.
    file: Option<PathBuf>,
    standing: Mutex<Standing>,
}

/// How it stands with a witness.
#[derive(Clone, Debug, Default)]
struct Standing {
    /// What it is known to have seen.
    seen: Folded,
    /// Size and time of its newest cosignature; seconds since 1970 by its clock.
    cosigned: Option<(u64, u64)>,
    /// When by ours.
    at: Option<Instant>,
    problem: Option<Failure>,
    failures: u32,
    not_before: Option<Instant>,
}

impl Witness {
    fn new(config: &WitnessConfig, dir: Option<&PathBuf>, origin: &str) -> Result<Self, String> {
        let key = config.key()?;
        let file = dir.map(|dir| dir.join(config.name.to_string()));
        let mut standing = Standing::default();
        if let Some(kept) = file.as_deref().and_then(|file| Kept::read(file, origin, &key)) {
            standing.cosigned = Some((kept.seen.size, kept.time));
            standing.seen = kept.seen;
        }
        Ok(Self {
            name: config.name.to_string(),
            submission: config.submission()?,
            monitoring: config.monitoring()?,
            key,
            ca_file: config.ca_file.clone(),
            timeout: config.timeout.0,
            required: config.required,
            file,
            standing: Mutex::new(standing),
        })
    }

    fn with<T>(&self, look: impl FnOnce(&mut Standing) -> T) -> T {
        look(&mut self.standing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn ask(
        &self,
        base: &Uri,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<client::Answer, Failure> {
        let asking = client::ask(base, self.ca_file.as_deref(), method, path, body);
        match tokio::time::timeout(self.timeout, asking).await {
            Ok(answer) => answer.map_err(Failure::Unreachable),
            Err(_) => Err(Failure::Slow(self.timeout)),
        }
    }

    /// Submits the newest checkpoint; gives the note's signature line of the witness.
    async fn submit(&self, log: &Log, note: &str, size: u64) -> Result<String, Failure> {
        let failed = |error: hub_audit::Error| Failure::Log(error.to_string());
        let mut seen = self.with(|standing| standing.seen.clone());
        if seen.size > size {
            // After an accepted rollback: what the witness says of it counts, not what was kept.
            seen = Folded::default();
        }
        for _ in 0..TURNS {
            let old = seen.size;
            let mut now = seen;
            let proof = now.prove_to(log, size).await.map_err(failed)?;
            let body = Submission { old, proof, note: note.to_owned() }.encode();
            let answer = self.ask(&self.submission, Method::POST, "/add-checkpoint", body).await?;
            match answer.status {
                StatusCode::OK => return self.take(log, note, now, &answer.text),
                StatusCode::CONFLICT => {
                    let held = answer.text.trim().parse::<u64>().map_err(|_| {
                        Failure::Lying("a conflict without the size it has seen".to_owned())
                    })?;
                    if held > size {
                        return Err(Failure::Ahead(held));
                    }
                    seen = self.folded(log, held).await.map_err(failed)?;
                }
                StatusCode::UNPROCESSABLE_ENTITY => return Err(Failure::Forked(old)),
                StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => {
                    return Err(Failure::Unknown(answer.status.as_u16()));
                }
                status => return Err(Failure::Unreachable(format!("it answers {status}"))),
            }
        }
        Err(Failure::Unreachable("it keeps saying that it has seen another size".to_owned()))
    }

    /// The log at this size: from what the witness was known to have seen, where that is less.
    async fn folded(&self, log: &Log, size: u64) -> Result<Folded, hub_audit::Error> {
        let known = self.with(|standing| standing.seen.clone());
        let mut folded = if known.size <= size { known } else { Folded::default() };
        folded.fold_to(log, size).await?;
        Ok(folded)
    }

    /// Checks the cosignature, and keeps it.
    fn take(&self, log: &Log, note: &str, seen: Folded, lines: &str) -> Result<String, Failure> {
        let lying = |error: hub_audit::Error| Failure::Lying(error.to_string());
        let whole = format!("{note}{lines}");
        let parsed = Note::parse(&whole).map_err(lying)?;
        if Note::parse(note).map_err(lying)?.text != parsed.text {
            return Err(Failure::Lying("it adds to the checkpoint".to_owned()));
        }
        let signature = self
            .key
            .find(&parsed)
            .map_err(lying)?
            .ok_or_else(|| Failure::Lying("there is none of its key".to_owned()))?;
        // What the note says is what was proven: both come from the log.
        let (line, time) = (format!("{}\n", signature.line), signature.time);
        if let Some(file) = &self.file {
            let kept = Kept { seen: seen.clone(), note: format!("{note}{line}"), time };
            if let Err(error) = kept.write(file) {
                tracing::warn!(witness = %self.name, %error, "a cosignature could not be kept");
            }
        }
        self.with(|standing| {
            standing.cosigned = Some((seen.size, time));
            standing.at = Some(Instant::now());
            standing.seen = seen;
        });
        tracing::debug!(witness = %self.name, origin = log.origin(), "cosigned");
        Ok(line)
    }

    /// Whether there is something to submit.
    fn is_due(&self, size: u64, now: Instant) -> bool {
        self.with(|standing| {
            let waits = standing.not_before.is_some_and(|until| now < until);
            let newest = standing.cosigned.is_some_and(|(seen, _)| seen == size);
            let fresh = standing.at.is_some_and(|at| now.duration_since(at) < FRESH);
            let done = newest && fresh && standing.problem.is_none();
            !waits && !done
        })
    }

    /// Notes how an attempt ended; whether that is other than the attempt before.
    fn ended(&self, outcome: Result<(), Failure>) -> bool {
        self.with(|standing| {
            let before = standing.problem.as_ref().map(Failure::word);
            match outcome {
                Ok(()) => {
                    (standing.problem, standing.failures, standing.not_before) = (None, 0, None)
                }
                Err(failure) => {
                    let wait = RETRY.0.saturating_mul(1 << standing.failures.min(16));
                    standing.not_before = Instant::now().checked_add(wait.min(RETRY.1));
                    standing.failures = standing.failures.saturating_add(1);
                    standing.problem = Some(failure);
                }
            }
            before != standing.problem.as_ref().map(Failure::word)
        })
    }

    fn view(&self) -> WitnessView {
        self.with(|standing| WitnessView {
            name: self.name.clone(),
            size: standing.cosigned.map_or(0, |(size, _)| size),
            time: standing.cosigned.map(|(_, time)| seconds(time)),
            problem: standing.problem.as_ref().map(Failure::to_string),
        })
    }
}

fn seconds(time: u64) -> Timestamp {
    Timestamp::from_micros(i64::try_from(time.saturating_mul(1_000_000)).unwrap_or(i64::MAX))
}

impl Witnesses {
    /// Those of the configuration, with what was kept of them in this folder.
    ///
    /// # Errors
    /// Says what cannot be meant.
    pub(crate) fn new(
        config: &AuditConfig,
        dir: Option<PathBuf>,
        origin: &str,
    ) -> Result<Self, String> {
        let all = config.witnesses.iter().map(|one| Witness::new(one, dir.as_ref(), origin));
        Ok(Self { all: all.collect::<Result<_, _>>()?, interval: config.witness_interval })
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How it stands with each.
    pub(crate) fn views(&self) -> Vec<WitnessView> {
        self.all.iter().map(Witness::view).collect()
    }

    /// Submits the newest checkpoint to those that have not signed it, all at once, and keeps the
    /// note with what came. Gives the witnesses whose standing has changed.
    async fn round(&self, log: &Log) -> Vec<(String, Result<(), Failure>)> {
        let Some(signed) = log.latest() else { return Vec::new() };
        let (note, size) = (&signed.note, signed.checkpoint.size);
        let now = Instant::now();
        let due = self.all.iter().filter(|witness| witness.is_due(size, now));
        let asked = join_all(
            due.map(|witness| async move { (witness, witness.submit(log, note, size).await) }),
        )
        .await;
        let mut lines = String::new();
        let mut changed = Vec::new();
        for (witness, outcome) in asked {
            let outcome = outcome.map(|line| lines.push_str(&line));
            if witness.ended(outcome.clone()) {
                changed.push((witness.name.clone(), outcome));
            }
        }
        if !lines.is_empty() {
            let (log, whole) = (log.clone(), format!("{note}{lines}"));
            let kept = tokio::task::spawn_blocking(move || log.keep_cosigned(&whole)).await;
            match kept {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a cosigned checkpoint was not kept"),
                Err(error) => tracing::error!(%error, "a cosigned checkpoint was not kept"),
            }
        }
        changed
    }

    /// Submits checkpoints for as long as the process runs.
    pub(crate) async fn keep(
        self: Arc<Self>,
        hub: Arc<Hub>,
        outcomes: Option<IntCounterVec>,
        token: CancellationToken,
    ) {
        loop {
            for (name, outcome) in self.round(hub.log()).await {
                let word = match &outcome {
                    Ok(()) => {
                        tracing::info!(witness = %name, "cosigns");
                        "cosigns"
                    }
                    Err(error @ (Failure::Ahead(_) | Failure::Forked(_) | Failure::Lying(_))) => {
                        tracing::error!(witness = %name, %error, "does not cosign");
                        error.word()
                    }
                    Err(error) => {
                        tracing::warn!(witness = %name, %error, "does not cosign");
                        error.word()
                    }
                };
                if let Some(outcomes) = &outcomes {
                    outcomes.with_label_values(&[name.as_str(), word]).inc();
                }
                event(&hub, "audit.witness", Some(format!("{name} {word}").into())).await;
            }
            tokio::select! {
                () = token.cancelled() => return,
                () = tokio::time::sleep(self.interval) => {}
            }
        }
    }

    /// Submits the last checkpoint of the process, in bounded time.
    pub(crate) async fn last(&self, log: &Log) {
        if !self.is_empty() && tokio::time::timeout(LAST, self.round(log)).await.is_err() {
            tracing::warn!("not every witness has signed the last checkpoint");
        }
    }

    /// Gauges of each witness.
    pub(crate) fn measure(
        self: &Arc<Self>,
        metrics: &Metrics,
    ) -> prometheus::Result<IntCounterVec> {
        for (at, witness) in self.all.iter().enumerate() {
            let label = ("witness", witness.name.as_str());
            let of = Arc::clone(self);
            metrics.sample_labelled(
                "cipher_hub_audit_cosignature_age_seconds",
                "Age of the newest cosignature of a witness, by the clocks of both",
                label,
                move || {
                    let (_, time) = of.all.get(at)?.with(|standing| standing.cosigned)?;
                    Some(SystemClock.now().since(seconds(time)).as_secs_f64())
                },
            )?;
            let of = Arc::clone(self);
            metrics.sample_labelled(
                "cipher_hub_audit_witness_well",
                "1 when the last submission to a witness was cosigned",
                label,
                move || {
                    let problem = of
                        .all
                        .get(at)?
                        .with(|standing| standing.problem.is_some() || standing.cosigned.is_none());
                    Some(f64::from(u8::from(!problem)))
                },
            )?;
        }
        metrics.counters(
            "cipher_hub_audit_witness_changes_total",
            "How often a witness began or ceased to cosign, and why",
            &["witness", "outcome"],
        )
    }
}
