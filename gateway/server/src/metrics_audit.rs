//! Figures of what is derived from the audit log.

use hub_audit::index::{Index, Status};

use crate::metrics::Metrics;

/// How far the index is.
#[expect(clippy::cast_precision_loss, reason = "gauges are floating point by format")]
pub(crate) fn sample_index(metrics: &Metrics, index: &Index) -> prometheus::Result<()> {
    let of = |what: fn(&Status) -> u64| {
        let index = index.clone();
        move || Some(what(&index.status()) as f64)
    };
    metrics.sample(
        "cipher_hub_audit_index_position",
        "Audit entries the index has seen",
        of(|status| status.position),
    )?;
    metrics.sample(
        "cipher_hub_audit_index_lag",
        "Durable audit entries the index has not seen yet",
        of(|status| status.lag),
    )?;
    metrics.sample(
        "cipher_hub_audit_index_blocks_pending",
        "Blocks of the audit log whose index is not read yet or is to be made",
        of(|status| status.pending),
    )?;
    metrics.sample(
        "cipher_hub_audit_index_damaged",
        "Index files found damaged, missing or of another history, since the start",
        of(|status| status.damaged),
    )
}
