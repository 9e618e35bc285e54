//! Keeps TLS up to date while the process runs: files that change are read again, trust that ends
//! by time alone is looked at again, and ends that are near are said aloud.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hub_model::Timestamp;
use tokio_util::sync::CancellationToken;

use super::expiry::Kind;
use super::files::Look;
use super::{Shared, Tls};
use crate::metrics::Metrics;

const DAY: Duration = Duration::from_secs(86_400);

impl Tls {
    /// Reads the files again, and says in the log how that went.
    pub fn reload_and_tell(&self) {
        match self.reload() {
            Ok(0) => tracing::info!("certificates reloaded"),
            Ok(cut) => tracing::warn!(
                connections = cut,
                "certificates reloaded; connections were cut whose client certificate is not \
                 believed any more"
            ),
            Err(error) => {
                tracing::error!(%error, "certificates not reloaded; the old ones stay");
            }
        }
    }

    /// Adds what there is to measure.
    ///
    /// # Errors
    /// When a name is taken.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floating point by format")]
    pub fn measure(&self, metrics: &Metrics) -> prometheus::Result<()> {
        for kind in Kind::ALL {
            let tls = self.clone();
            metrics.sample_labelled(
                "cipher_hub_tls_cert_expiry_timestamp_seconds",
                "When the first certificate or revocation list of a kind ends, in Unix time.",
                ("kind", kind.name()),
                move || Some(tls.earliest(kind)?.as_millis() as f64 / 1000.0),
            )?;
        }
        let tls = self.clone();
        metrics.sample(
            "cipher_hub_tls_reload_failed",
            "1 while the files of server.tls cannot be used and older ones are in use.",
            move || Some(if tls.stale() { 1.0 } else { 0.0 }),
        )
    }
}

/// Runs until `token`.
pub(crate) async fn keep(tls: Tls, token: CancellationToken) {
    let interval = tls.0.config.reload_interval;
    let mut last: Option<Look> = None;
    let mut said: Option<(Instant, Vec<String>)> = None;
    loop {
        tell(&tls, &mut said);
        tokio::select! {
            () = token.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
        let keeper = tls.clone();
        let before = last.take();
        // Files may lie on a network: nobody else waits for them.
        let looked = tokio::task::spawn_blocking(move || turn(&keeper, before.as_ref())).await;
        last = looked.ok().flatten();
    }
}

/// One look. A change is taken when it has been there for two looks, so that certificate and key,
/// written one after the other, are taken together.
fn turn(tls: &Tls, before: Option<&Look>) -> Option<Look> {
    let shared: &Arc<Shared> = &tls.0;
    let look = Look::at(&shared.config);
    let changed = {
        let seen = shared.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *seen != look
    };
    if changed && before == Some(&look) {
        tls.reload_and_tell();
        return None;
    }
    let due = Timestamp::from_micros(shared.next_change.load(Ordering::Relaxed));
    if shared.clock.now() > due {
        let cut = tls.look_again();
        tracing::warn!(connections = cut, "a client authority or revocation list has ended");
    }
    changed.then_some(look)
}

/// Says what is near its end when that becomes so, and once a day.
fn tell(tls: &Tls, said: &mut Option<(Instant, Vec<String>)>) {
    let shared = &tls.0;
    let now = shared.clock.now();
    let near: Vec<_> =
        shared.current.load().dated.iter().filter(|d| d.notice(now).is_some()).cloned().collect();
    let names: Vec<String> = near
        .iter()
        .map(|dated| format!("{:?}", (dated.kind, &dated.name, dated.not_after)))
        .collect();
    let again = said.as_ref().is_none_or(|(at, before)| at.elapsed() > DAY || *before != names);
    if again {
        for notice in near.iter().filter_map(|dated| dated.notice(now)) {
            tracing::warn!("{notice}");
        }
        *said = Some((Instant::now(), names));
    }
}
