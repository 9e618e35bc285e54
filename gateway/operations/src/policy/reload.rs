//! Policies that come from files, and what the shadow has found: both have entries of the hub's own.

use std::sync::Arc;

use hub_model::entry::Outcome;
use hub_model::principal::PeerAddress;
use hub_policy::Bundle;
use hub_store::Changes;

use super::read::resource;
use super::refused;
use crate::Error;
use crate::hub::Hub;

impl Hub {
    /// Decides by a set read from files from now on. `false` when it is the active one already.
    /// The entry comes first: what cannot be recorded is not done.
    ///
    /// # Errors
    /// When nobody could run this hub under the set, or the log cannot be written.
    pub async fn reload_policies(&self, bundle: Bundle) -> Result<bool, Error> {
        let _alone = self.revisions().following.lock().await;
        let old = self.policies().revision();
        if *bundle.revision() == old {
            return Ok(false);
        }
        self.policies().check(&bundle).map_err(|error| refused(error, &[]))?;
        let detail = format!("{old} -> {}", bundle.revision());
        self.record_change("policies.reload", &detail, Changes::new()).await?;
        self.policies().activate(Arc::new(bundle)).map_err(|error| refused(error, &[]))?;
        Ok(true)
    }

    /// Records that files were not taken.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub async fn record_failed_reload(&self, code: &'static str) -> Result<(), Error> {
        let detail = Some(self.policies().revision().to_string().into_boxed_str());
        let address = PeerAddress::Unix;
        let _receipt =
            self.record_event("policies.reload", address, detail, Outcome(code), 1).await?;
        Ok(())
    }

    /// Records what was decided otherwise in the shadow since the last call: at most 65 entries.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub async fn record_shadow(&self) -> Result<(), Error> {
        let Some(fresh) = self.policies().fresh_differences() else { return Ok(()) };
        let (action, address) = ("policies.shadow", PeerAddress::Unix);
        for (about, count) in fresh.groups {
            let change = if about.permitted { "allow -> deny" } else { "deny -> allow" };
            let detail = format!(
                "{} {change} {} {} {}",
                fresh.revision,
                about.action,
                about.participant,
                resource(&about)
            );
            let detail = Some(detail.into_boxed_str());
            let _receipt =
                self.record_event(action, address, detail, Outcome("shadow"), count).await?;
        }
        if fresh.other > 0 {
            let detail = Some(format!("{} others", fresh.revision).into_boxed_str());
            let outcome = Outcome("shadow");
            let _receipt = self.record_event(action, address, detail, outcome, fresh.other).await?;
        }
        Ok(())
    }
}
