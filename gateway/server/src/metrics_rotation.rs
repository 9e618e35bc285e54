//! Figures of what plugins said about rotations.

use std::sync::Arc;

use hub_operations::Hub;
use hub_operations::key::{ANSWERS, FAILURES};

use crate::metrics::Metrics;

/// Answers, failures by kind, and how many keys wait.
#[expect(clippy::cast_precision_loss, reason = "gauges are floating point by format")]
pub(crate) fn sample(metrics: &Metrics, hub: &Arc<Hub>) -> prometheus::Result<()> {
    for answer in ANSWERS {
        let of = Arc::clone(hub);
        metrics.sample_labelled(
            "cipher_hub_rotation_plugin_answers",
            "Answers of plugins about when to rotate a key, since the start",
            ("answer", answer),
            move || Some(of.rotation_answers(answer) as f64),
        )?;
    }
    for kind in FAILURES {
        let of = Arc::clone(hub);
        metrics.sample_labelled(
            "cipher_hub_rotation_plugin_failures",
            "Times a plugin gave no answer about when to rotate a key, since the start",
            ("kind", kind.name()),
            move || Some(of.rotation_failures(kind) as f64),
        )?;
    }
    let of = Arc::clone(hub);
    metrics.sample(
        "cipher_hub_rotation_plans_waiting",
        "Keys whose plugin is about to be asked when they are rotated",
        move || Some(of.rotations_waiting() as f64),
    )
}
