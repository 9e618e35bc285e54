//! Plans of KDF plugins, which anybody may have written.

use std::sync::Arc;

use hub_crypto::Secret;
use hub_crypto::kdf::plan::CheckedPlan;
use hub_model::api::profile::PlanStep;
use hub_model::extend::{KdfPlan, KdfStep};

/// The first byte says how long the root key is, the next two how many bytes are wanted, and the
/// rest is a plan as JSON. What is accepted gives as many bytes as were wanted, and none of the root
/// key's as they are.
pub(super) fn kdf_plan(data: &[u8]) {
    let Some((&[root, high, low], text)) = data.split_first_chunk() else { return };
    let Ok(steps) = serde_json::from_slice::<Vec<PlanStep>>(text) else { return };
    let plan = Arc::new(KdfPlan { steps: steps.iter().map(KdfStep::from).collect() });
    let wanted = usize::from(u16::from_be_bytes([high, low]));
    let Ok(checked) = CheckedPlan::check(plan, usize::from(root), wanted) else { return };
    if checked.is_slow() {
        return;
    }
    let bytes: Vec<u8> = (0..root).map(|at| at.wrapping_mul(167).wrapping_add(13)).collect();
    let root = Secret::copy_from(&bytes).expect("a root key fits");
    let out = checked.run(&root).expect("a checked plan is carried out");
    assert_eq!(out.len(), wanted);
    let bare = out.expose_secret().windows(8).any(|part| bytes.windows(8).any(|own| own == part));
    assert!(!bare, "the root key comes out");
}
