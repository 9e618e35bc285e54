//! What keys derive by is kept as it is.

use super::{Catalogue, PluginRecord, Refused};
use crate::Error;
use crate::hub::Hub;

/// The world whose plugins keys are pinned to.
pub(super) const KDF: &str = "kdf-profile";

impl Hub {
    /// What keys derive by must go on: settings of KDF profiles are part of what the bytes depend
    /// on, and limits may be too narrow for an older version. Called while no key can be pinned.
    pub(super) async fn may_change_settings(
        &self,
        catalogue: &dyn Catalogue,
        before: &PluginRecord,
        record: &PluginRecord,
    ) -> Result<(), Error> {
        if &*record.world != KDF {
            return Ok(());
        }
        for version in &record.versions {
            let digest = version.digest;
            if !self.plugin_is_pinned(digest).await? {
                continue;
            }
            let _turn = self.catalogue.turn.lock().await;
            // Where it does not work as it is, no change makes that worse.
            let Ok(now) = catalogue.check(before, digest).await else { continue };
            let then = catalogue.check(record, digest).await.map_err(|refused| {
                let older = format!(
                    "keys derive by version {} ({digest}), which cannot work like this: {}",
                    version.version, refused.detail
                );
                Refused { detail: older, ..refused }
            })?;
            // Keys that were pinned under other settings derive nothing now: a change back to
            // those is what they wait for, unless it takes away what others have.
            if then != now && self.pinned_under(digest, now).await? {
                let detail = format!(
                    "keys derive by version {} of `{}`, and would become others with other \
                     settings",
                    version.version, record.name
                );
                return Err(Refused::new("plugin_in_use", detail).at("/config").into());
            }
        }
        Ok(())
    }
}
