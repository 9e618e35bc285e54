//! Gauges that are looked at when metrics are asked for.
#![expect(clippy::cast_precision_loss, reason = "gauges are floating point by format")]

use std::sync::Arc;

use hub_model::Clock;
use hub_operations::Hub;

use crate::abuse::Abuse;
use crate::load::Load;
use crate::metrics::Metrics;
use crate::quotas::Quotas;

/// Gauges of the bounds of work, of quotas and of blocks.
pub(super) fn limits(
    metrics: &Metrics,
    load: &Arc<Load>,
    quotas: &Arc<Quotas>,
    abuse: &Arc<Abuse>,
) -> prometheus::Result<()> {
    let of = Arc::clone(load);
    metrics.sample("cipher_hub_requests_in_work", "Requests in work", move || {
        Some(of.in_work() as f64)
    })?;
    let of = Arc::clone(load);
    metrics.sample("cipher_hub_requests_waiting", "Requests that wait for a place", move || {
        Some(f64::from(of.waiting()))
    })?;
    let of = Arc::clone(load);
    metrics.sample("cipher_hub_body_bytes_in_work", "Bytes of bodies in work", move || {
        Some(of.body_bytes() as f64)
    })?;
    let of = Arc::clone(load);
    let help = "Requests refused because too much was in work, since the start";
    metrics.sample("cipher_hub_shed_requests", help, move || Some(of.shed() as f64))?;
    let of = Arc::clone(quotas);
    metrics.sample(
        "cipher_hub_quota_buckets",
        "Buckets of quotas that are not full",
        move || Some(of.tracked() as f64),
    )?;
    let of = Arc::clone(abuse);
    metrics.sample("cipher_hub_abuse_blocks", "Blocks after unusual behaviour", move || {
        Some(of.block_count() as f64)
    })
}

/// Gauges of the log, of what is cached, of policies and of the store.
pub(super) fn hub(
    metrics: &Metrics,
    hub: &Arc<Hub>,
    clock: &Arc<dyn Clock>,
) -> prometheus::Result<()> {
    let log = hub.log().clone();
    let now = Arc::clone(clock);
    metrics.sample(
        "cipher_hub_audit_checkpoint_age_seconds",
        "Age of the newest signed checkpoint",
        move || Some(now.now().since(log.latest()?.checkpoint.time).as_secs_f64()),
    )?;
    let log = hub.log().clone();
    metrics.sample("cipher_hub_audit_entries", "Entries in the audit log", move || {
        Some(log.appender().position().audit.size as f64)
    })?;
    let tree = Arc::clone(hub.log().tree());
    let help = "Entries whose tree hashes are kept; far behind the entries, proofs have to wait";
    metrics.sample("cipher_hub_audit_tree_entries", help, move || {
        Some((tree.len() * hub_audit::tree::WIDTH) as f64)
    })?;
    let tree = Arc::clone(hub.log().tree());
    let help = "How often the kept tree hashes were wrong and made again, since the start";
    metrics.sample("cipher_hub_audit_tree_rebuilds", help, move || Some(tree.rebuilds() as f64))?;
    let cached = Arc::clone(hub);
    metrics.sample("cipher_hub_cache_keys", "Keyrings held in the cache", move || {
        Some(cached.hot_keys() as f64)
    })?;
    metrics.sample("cipher_hub_arena_secrets", "Secrets held in locked memory", || {
        Some(hub_crypto::arena_status().secrets as f64)
    })?;
    let shadowed = |hub: &Arc<Hub>, what: fn(&hub_policy::shadow::Report) -> u64| {
        let hub = Arc::clone(hub);
        move || Some(hub.policies().shadow_report().map_or(0, |report| what(&report)) as f64)
    };
    metrics.sample(
        "cipher_hub_policy_shadow_decisions",
        "Decisions compared with those of the revision in the shadow, since it is there",
        shadowed(hub, |report| report.decisions),
    )?;
    metrics.sample(
        "cipher_hub_policy_shadow_dropped",
        "Decisions not compared with those of the revision in the shadow: too many at once",
        shadowed(hub, |report| report.dropped),
    )?;
    let differences = "cipher_hub_policy_shadow_differences";
    let help = "Decisions that fall otherwise under the revision in the shadow";
    let denied = shadowed(hub, |report| report.allow_to_deny);
    metrics.sample_labelled(differences, help, ("change", "allow_to_deny"), denied)?;
    let permitted = shadowed(hub, |report| report.deny_to_allow);
    metrics.sample_labelled(differences, help, ("change", "deny_to_allow"), permitted)?;
    let store = hub.store().clone();
    metrics.sample("cipher_hub_store_bytes", "Bytes the store takes on disk", move || {
        store.backend().size_on_disk().ok().map(|bytes| bytes as f64)
    })?;
    metrics.sample("cipher_hub_seal_state", "1 when unsealed", || Some(1.0))
}
