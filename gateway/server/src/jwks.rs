//! Getting the public keys of token issuers: from files as they change, from https URLs in the
//! background. Nothing waits for a source at the start, and no failure takes keys away that are not
//! too old.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use hub_auth::jwt::{Issuer, Issuers, KeySetError, MAX_SET};
use hub_model::{Clock, Timestamp};
use prometheus::IntCounterVec;
use tokio::io::AsyncReadExt as _;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::config::{AuthConfig, ConfigError, KeySource};
use crate::metrics::Metrics;

pub(crate) mod fetch;

/// How often a file is looked at.
const GLANCE: Duration = Duration::from_secs(1);
/// How long fetching may take in all.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there are no newer keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The file, which cannot be read or is not protected, or the connection.
    #[error("{0}")]
    Unreachable(String),
    /// Another status than 200: a redirect, say.
    #[error("the answer has status {0}, not 200; redirects are not followed")]
    Status(u16),
    /// It takes too long.
    #[error("no answer within {} seconds", PATIENCE.as_secs())]
    Slow,
    /// What came is no key set.
    #[error("what came cannot be taken: {0}")]
    Form(#[from] KeySetError),
}

impl Failure {
    const fn word(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Status(_) => "status",
            Self::Slow => "timeout",
            Self::Form(_) => "unusable",
        }
    }
}

/// Keeps the keys of one issuer new.
#[derive(Debug)]
pub(crate) struct Keeper {
    issuer: Arc<Issuer>,
    source: KeySource,
    refresh: Duration,
    retry: Duration,
    max_stale: Duration,
    clock: Arc<dyn Clock>,
    /// When keys were last had, in microseconds; 0 is never.
    had: Arc<AtomicI64>,
    outcomes: IntCounterVec,
    again: Arc<Notify>,
}

/// What makes keepers look again at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nudge(Vec<Arc<Notify>>);

impl Nudge {
    pub(crate) fn all(&self) {
        self.0.iter().for_each(|again| again.notify_one());
    }
}

/// The issuers of the configuration, and who keeps their keys. Those in files are read at once.
pub(crate) fn set_up(
    config: &AuthConfig,
    metrics: &Metrics,
    clock: &Arc<dyn Clock>,
) -> Result<(Arc<Issuers>, Vec<Keeper>), SetUpError> {
    let (mut issuers, mut keepers) = (Vec::new(), Vec::new());
    if config.jwt.is_empty() {
        return Ok((Arc::new(Issuers::new(issuers)), keepers));
    }
    let outcomes = metrics.counters(
        "cipher_hub_jwks_fetches_total",
        "Attempts to get the keys of a token issuer.",
        &["issuer", "outcome"],
    )?;
    let invalid = |message| ConfigError::Invalid { key: "auth.jwt", message };
    for jwt in &config.jwt {
        let settings = jwt.settings().map_err(invalid)?;
        let name = settings.name.clone();
        let issuer = Arc::new(Issuer::new(settings));
        issuers.push(Arc::clone(&issuer));
        let had = Arc::new(AtomicI64::new(0));
        let keeper = Keeper {
            issuer: Arc::clone(&issuer),
            source: jwt.source().map_err(invalid)?,
            refresh: jwt.jwks_refresh.0,
            retry: jwt.jwks_refresh.0.min(jwt.jwks_cooldown.0),
            max_stale: jwt.jwks_max_stale.0,
            clock: Arc::clone(clock),
            had: Arc::clone(&had),
            outcomes: outcomes.clone(),
            again: Arc::default(),
        };
        if let KeySource::File(path) = &keeper.source {
            let read = read_at_start(path).and_then(|bytes| keeper.take(&bytes));
            let _had = keeper.note(read);
        }
        keepers.push(keeper);
        let label = ("issuer", name.as_str());
        let now = Arc::clone(clock);
        metrics.sample_labelled(
            "cipher_hub_jwks_age_seconds",
            "Age of the keys of a token issuer; -1 when there were none yet.",
            label,
            move || match had.load(Ordering::Relaxed) {
                0 => Some(-1.0),
                at => Some(now.now().since(Timestamp::from_micros(at)).as_secs_f64()),
            },
        )?;
        metrics.sample_labelled(
            "cipher_hub_jwks_keys",
            "Keys of a token issuer that can verify tokens.",
            label,
            move || u32::try_from(issuer.keys()).ok().map(f64::from),
        )?;
    }
    Ok((Arc::new(Issuers::new(issuers)), keepers))
}

/// Why issuers cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A metric has a name that is taken.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

/// What makes these keepers look again.
pub(crate) fn nudge(keepers: &[Keeper]) -> Nudge {
    Nudge(keepers.iter().map(|keeper| Arc::clone(&keeper.again)).collect())
}

impl Keeper {
    /// Keeps the keys new until the process stops.
    pub(crate) async fn keep(self, token: CancellationToken) {
        match &self.source {
            KeySource::File(path) => self.keep_file(path, &token).await,
            KeySource::Url { url, ca_file } => {
                self.keep_url(url, ca_file.as_deref(), &token).await;
            }
        }
    }

    async fn keep_url(&self, url: &http::Uri, ca_file: Option<&Path>, token: &CancellationToken) {
        let mut last_good: Option<Instant> = None;
        loop {
            self.issuer.asking();
            let fetched = tokio::time::timeout(PATIENCE, fetch::get(url, ca_file)).await;
            let fetched = fetched.unwrap_or(Err(Failure::Slow));
            let good = self.note(fetched.and_then(|bytes| self.take(&bytes)));
            self.issuer.answered();
            if good {
                last_good = Some(Instant::now());
            }
            let left = self.stale(&mut last_good);
            let wait = if good { self.refresh } else { self.retry };
            tokio::select! {
                () = token.cancelled() => return,
                () = tokio::time::sleep(wait.min(left)) => {}
                () = self.issuer.wanted() => {}
                () = self.again.notified() => {}
            }
        }
    }

    async fn keep_file(&self, path: &Path, token: &CancellationToken) {
        // What was read at the start is read once more: it may have changed since.
        let (mut seen, mut forced, mut good) = (None, true, false);
        let mut last_good = (self.issuer.keys() > 0).then(Instant::now);
        loop {
            let facts = tokio::fs::metadata(path).await.ok();
            let facts = facts.map(|f| (f.ino(), f.size(), f.mtime(), f.mtime_nsec()));
            let looked_at = !forced && facts == seen;
            if looked_at && good {
                self.had.store(self.clock.now().as_micros(), Ordering::Relaxed);
            } else {
                let read = read_file(path).await.and_then(|bytes| self.take(&bytes));
                good = read.is_ok();
                // What stays away or stays wrong is counted and logged once, not every second.
                if !looked_at || good {
                    let _good = self.note(read);
                }
                seen = facts;
            }
            if good {
                last_good = Some(Instant::now());
            }
            let left = self.stale(&mut last_good);
            tokio::select! {
                () = token.cancelled() => return,
                () = tokio::time::sleep(GLANCE.min(left)) => forced = false,
                () = self.again.notified() => forced = true,
            }
        }
    }

    /// Gives up keys that are too old, and says how long the others may still be used.
    fn stale(&self, last_good: &mut Option<Instant>) -> Duration {
        let Some(at) = last_good else { return Duration::MAX };
        let left = self.max_stale.saturating_sub(at.elapsed());
        if left.is_zero() {
            let issuer = self.issuer.settings().name.as_str();
            tracing::error!(issuer, "the keys of a token issuer are too old: they are given up");
            self.issuer.withdraw();
            *last_good = None;
            return Duration::MAX;
        }
        left
    }

    fn take(&self, bytes: &[u8]) -> Result<hub_auth::jwt::Loaded, Failure> {
        Ok(self.issuer.load(bytes)?)
    }

    /// Counts and logs what came of an attempt; whether there are new keys.
    fn note(&self, outcome: Result<hub_auth::jwt::Loaded, Failure>) -> bool {
        let issuer = self.issuer.settings().name.as_str();
        let (word, good) = match &outcome {
            Ok(loaded) => {
                self.had.store(self.clock.now().as_micros(), Ordering::Relaxed);
                let (keys, passed_over) = (loaded.keys, loaded.passed_over);
                if keys == 0 {
                    tracing::warn!(issuer, passed_over, "a token issuer has no usable key");
                } else if loaded.changed {
                    tracing::info!(issuer, keys, passed_over, "keys of a token issuer taken");
                }
                (if loaded.changed { "changed" } else { "unchanged" }, true)
            }
            Err(failure) => {
                tracing::warn!(
                    issuer, %failure, keys = self.issuer.keys(),
                    "no newer keys of a token issuer could be had; those there are stay for now"
                );
                (failure.word(), false)
            }
        };
        self.outcomes.with_label_values(&[issuer, word]).inc();
        good
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Unreachable(format!("`{}`: {error}", path.display()))
}

/// Whoever may write the keys may be anybody.
fn protected(path: &Path, facts: &std::fs::Metadata) -> Result<(), Failure> {
    if facts.mode() & 0o002 == 0 {
        return Ok(());
    }
    let path = path.display();
    Err(Failure::Unreachable(format!("`{path}`: others may write to it; chmod o-w")))
}

fn read_at_start(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    protected(path, &file.metadata().map_err(|error| unreadable(path, &error))?)?;
    let read = file.take(MAX_SET as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| unreadable(path, &error))?;
    Ok(bytes)
}

async fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let file = tokio::fs::File::open(path).await.map_err(|error| unreadable(path, &error))?;
    protected(path, &file.metadata().await.map_err(|error| unreadable(path, &error))?)?;
    let read = file.take(MAX_SET as u64 + 1).read_to_end(&mut bytes).await;
    read.map_err(|error| unreadable(path, &error))?;
    Ok(bytes)
}
