//! What the process does beside answering: reload, checkpoints, sampled failures, disk space, full
//! scans, sweeping.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hub_model::Clock;
use hub_model::entry::Outcome;
use hub_model::principal::PeerAddress;
use hub_operations::Hub;
use tokio_util::sync::CancellationToken;

use crate::abuse::Abuse;
use crate::admin::Health;
use crate::config::Config;
use crate::failures::Failures;
use crate::quotas::Quotas;
use crate::tls::Tls;

const SECOND: Duration = Duration::from_secs(1);
/// How often the number of entries since the last checkpoint is looked at.
const LOOK: Duration = Duration::from_millis(200);
const DAY: Duration = Duration::from_secs(86_400);

pub(crate) async fn event(hub: &Hub, action: &'static str, detail: Option<Box<str>>) {
    let outcome = hub.record_event(action, PeerAddress::Unix, detail, Outcome::OK, 1).await;
    if let Err(error) = outcome {
        tracing::error!(%error, action, "an event could not be recorded");
    }
}

/// SIGHUP: certificates and policies are read again; what does not load leaves the old in place.
pub(crate) fn reload(
    policies: Arc<tokio::sync::Notify>,
    tls: Option<Tls>,
) -> impl Fn() + Send + 'static {
    move || {
        if let Some(tls) = &tls {
            tls.reload_and_tell();
        }
        // `policy_files.rs` reads them, off this task.
        policies.notify_one();
    }
}

pub(crate) async fn checkpoints(
    hub: Arc<Hub>,
    clock: Arc<dyn Clock>,
    (interval, entries): (Duration, u64),
    token: CancellationToken,
) {
    let look = if entries == 0 { interval } else { interval.min(LOOK) };
    let mut waited = Duration::ZERO;
    while until(&token, look).await {
        // The appender's position tells how much there is: nobody is woken by requests.
        let seen = hub.log().latest().map_or(0, |signed| signed.checkpoint.size);
        let size = hub.log().appender().position().audit.size;
        waited += look;
        if waited < interval && (entries == 0 || size.saturating_sub(seen) < entries) {
            continue;
        }
        waited = Duration::ZERO;
        let (hub, now) = (Arc::clone(&hub), clock.now());
        let written = tokio::task::spawn_blocking(move || hub.log().checkpoint(now)).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "no checkpoint could be written"),
            Err(error) => tracing::error!(%error, "the checkpoint task failed"),
        }
    }
}

/// Erases the signing key before, when its overlap is over, and follows a rotation that nobody
/// waited for the end of.
pub(crate) async fn signing_keys(hub: Arc<Hub>, token: CancellationToken) {
    while until(&token, SECOND).await {
        match hub.follow_signing_keys().await {
            Ok(false) => {}
            Ok(true) => tracing::info!("signs with the key of a rotation that was given up"),
            Err(error) => tracing::error!(%error, "the signing keys could not be followed"),
        }
        match hub.retire_signing_key().await {
            Ok(false) => {}
            Ok(true) => tracing::info!("the signing key before the last rotation was erased"),
            Err(error) => tracing::error!(%error, "a signing key could not be erased"),
        }
    }
}

pub(crate) async fn flush(hub: Arc<Hub>, failures: Arc<Failures>, token: CancellationToken) {
    while until(&token, SECOND).await {
        if let Err(error) = failures.flush(&hub).await {
            tracing::error!(%error, "failed authentications could not be recorded");
        }
    }
}

/// Tells unusual behaviour, and forgets what is over.
pub(crate) async fn watch(
    hub: Arc<Hub>,
    abuse: Arc<Abuse>,
    quotas: Arc<Quotas>,
    token: CancellationToken,
) {
    while until(&token, SECOND).await {
        quotas.shed();
        if let Err(error) = abuse.flush(&hub).await {
            tracing::error!(%error, "unusual behaviour could not be recorded");
        }
    }
}

/// Refuses work before the disk is full, so that nothing is done that cannot be recorded.
pub(crate) async fn space(
    hub: Arc<Hub>,
    config: Config,
    token: CancellationToken,
    health: Arc<Health>,
) {
    let mark = config.audit.low_space_mark;
    loop {
        let appender = hub.log().appender();
        if let Ok(facts) = rustix::fs::statvfs(&config.store.path) {
            let low = facts.f_bavail.saturating_mul(facts.f_frsize) < mark;
            if low != appender.low_space() {
                tracing::warn!(low, "free disk space crossed `audit.low_space_mark`");
                appender.set_low_space(low);
            }
            if low {
                health.audit.fail("the disk is nearly full");
            } else if !appender.failed() {
                health.audit.pass();
            }
        }
        if appender.failed() {
            health.audit.fail("the audit log cannot be written");
        }
        if !until(&token, SECOND).await {
            return;
        }
    }
}

/// Recomputes the state digest: after an unclean stop at once, else once a day.
pub(crate) async fn integrity(
    hub: Arc<Hub>,
    shown: Arc<ArcSwap<String>>,
    health: Arc<Health>,
    stopped_cleanly: bool,
    token: CancellationToken,
) {
    if stopped_cleanly {
        shown.store(Arc::new("stopped cleanly; the next full scan is due in a day".to_owned()));
        if !until(&token, DAY).await {
            return;
        }
    }
    loop {
        let scanned = {
            let hub = Arc::clone(&hub);
            tokio::task::spawn_blocking(move || {
                let writer = hub.log().appender().writer().to_owned();
                hub_store::block_on(hub.store().verify_digest(&writer, &mut |_| {}))
            })
            .await
        };
        match scanned {
            Ok(Ok(report)) if report.is_sound() => {
                let text =
                    format!("sound: {} records at commit {}", report.records, report.head.commits);
                shown.store(Arc::new(text));
            }
            // Overtaken by others' scans or a purge, which says nothing about the store.
            Ok(Err(error @ hub_store::Error::RevisionGone(_))) => {
                tracing::warn!(%error, "the integrity scan was overtaken; it begins again");
                if !until(&token, 10 * SECOND).await {
                    return;
                }
                continue;
            }
            Ok(outcome) => {
                let why = match outcome {
                    Ok(report) => format!("digest mismatch over {} records", report.records),
                    Err(error) => error.to_string(),
                };
                tracing::error!(%why, "the store failed its integrity check; refusing all work");
                shown.store(Arc::new(format!("FAILED: {why}")));
                health.store.fail("the store failed its integrity check");
                hub.log().appender().set_tampered();
            }
            Err(error) => tracing::error!(%error, "the integrity scan failed"),
        }
        if !until(&token, DAY).await {
            return;
        }
    }
}

pub(crate) async fn sweep(
    hub: Arc<Hub>,
    swept: Arc<tokio::sync::Notify>,
    token: CancellationToken,
) {
    const HOUR: Duration = Duration::from_secs(3600);
    loop {
        match hub.sweep_erased().await {
            Ok(0) => {}
            Ok(records) => {
                tracing::info!(records, "swept what deleted registrations left behind");
            }
            Err(error) => tracing::error!(%error, "sweeping failed; it goes on later"),
        }
        if let Err(error) = hub.sweep_answers().await {
            tracing::error!(%error, "kept answers could not be swept");
        }
        if let Err(error) = hub.sweep_token_revocations().await {
            tracing::error!(%error, "revocations of tokens could not be swept");
        }
        if let Err(error) = hub.sweep_import_jobs().await {
            tracing::error!(%error, "import jobs could not be swept");
        }
        tokio::select! {
            () = token.cancelled() => return,
            () = swept.notified() => {}
            () = tokio::time::sleep(HOUR) => {}
        }
    }
}

/// Works on long operations: at the start, what a stop or a crash has left, then when asked to.
pub(crate) async fn jobs(hub: Arc<Hub>, token: CancellationToken) {
    const MINUTE: Duration = Duration::from_secs(60);
    loop {
        let stop = token.clone();
        let wait = match hub.run_jobs(&move || stop.is_cancelled()).await {
            Ok(_) => MINUTE,
            Err(error) => {
                tracing::error!(%error, "a long operation was stopped; it goes on later");
                10 * SECOND
            }
        };
        tokio::select! {
            () = token.cancelled() => return,
            () = hub.jobs_due() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Does with keys what time alone asks for: at the start, at the next date, and each minute.
pub(crate) async fn lifecycle(hub: Arc<Hub>, token: CancellationToken) {
    const MINUTE: Duration = Duration::from_secs(60);
    let (mut entered, mut held, mut settled) = (false, 0, Instant::now());
    loop {
        if !entered {
            match hub.enter_agenda().await {
                Ok(()) => entered = true,
                Err(error) => tracing::error!(%error, "keys could not be entered in the agenda"),
            }
        }
        let mut wait = MINUTE;
        match hub.sweep_keys().await {
            Ok(swept) => {
                if swept.changes + swept.erased > 0 {
                    let (changes, erased) = (swept.changes, swept.erased);
                    tracing::info!(changes, erased, "did what was due for keys");
                }
                if swept.held > held {
                    tracing::error!(
                        held = swept.held,
                        "the clock was set forward: destructions wait until as much time has \
                         passed, or for a restart with a clock that is right"
                    );
                }
                held = swept.held;
                let next = swept.next.map(|next| next.since(hub.clock().now()));
                wait = next.unwrap_or(MINUTE).clamp(SECOND, MINUTE);
            }
            Err(error) => tracing::error!(%error, "sweeping keys failed; it goes on later"),
        }
        let crowded = hub.usage_crowded() && settled.elapsed() >= 5 * SECOND;
        if settled.elapsed() >= MINUTE || crowded {
            settled = Instant::now();
            if let Err(error) = hub.settle_usage(false).await {
                tracing::error!(%error, "counts of use could not be written; they are later");
            }
            if let Err(error) = hub.settle_last_uses(false).await {
                tracing::error!(%error, "last uses of credentials could not be written yet");
            }
        }
        tokio::select! {
            () = token.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
            () = hub.usage_due() => {}
        }
    }
}

/// Asks plugins when keys are rotated, apart from the sweep that found them: nothing else waits for
/// a plugin.
pub(crate) async fn plans(hub: Arc<Hub>, token: CancellationToken) {
    const MINUTE: Duration = Duration::from_secs(60);
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            () = hub.plans_wanted() => {}
            // For what an error has left undone.
            () = tokio::time::sleep(MINUTE) => {}
        }
        let plans = hub.plan_rotations().await;
        if plans.answered + plans.failed > 0 {
            let (answered, failed, left) = (plans.answered, plans.failed, plans.left);
            tracing::info!(answered, failed, left, "asked plugins when keys are rotated");
        }
    }
}

/// Waits; `false` when the process stops meanwhile.
async fn until(token: &CancellationToken, wait: Duration) -> bool {
    tokio::select! {
        () = token.cancelled() => false,
        () = tokio::time::sleep(wait) => true,
    }
}
