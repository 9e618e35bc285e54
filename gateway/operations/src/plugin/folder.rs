//! Plugins found in the folder of the configuration: installed by the hub itself, and recorded.

use std::sync::{Arc, OnceLock};

use hub_model::entry::Outcome;
use hub_model::extend::PluginDigest;
use hub_model::principal::PeerAddress;
use hub_store::{Changes, Versioned, layout};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::hub::Hub;
use crate::perform::event;

/// What became of a file of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is in service now.
    Active(PluginDigest),
    /// It was there already, and stays as it is: active, or taken out of service by somebody.
    Known(PluginDigest),
    /// It was there and is removed; a start does not bring it back.
    Removed(PluginDigest),
}

/// The most removed versions that are remembered: twice as many as the folder may have files.
const MAX_REMOVED: usize = 512;
/// How entries name what nobody has sent.
const FROM: &str = "from the folder";

/// Versions that were removed, the last ones last.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Removed {
    digests: Vec<PluginDigest>,
}

impl Hub {
    /// Installs a file of the folder and puts it into service. At the start (`anew` is false) one
    /// that is or was installed is left alone: whoever took it out of service or removed it meant
    /// it.
    ///
    /// # Errors
    /// What is wrong with it, with an entry that says so.
    pub async fn take_plugin_file(&self, file: Arc<[u8]>, anew: bool) -> Result<Taken, Error> {
        let said = OnceLock::new();
        let taken = self.try_take(file, anew, &said).await;
        if let Err(error) = &taken {
            let about = match error {
                Error::Plugin(refused) => refused.about.as_deref(),
                _ => None,
            };
            let about = said.get().map(String::as_str).or(about);
            let from = about.map_or_else(|| FROM.to_owned(), |about| format!("{about} {FROM}"));
            let (action, outcome) = ("plugins.install", Outcome(error.code()));
            let detail: Option<Box<str>> = Some(from.into());
            let _receipt = self.record_event(action, PeerAddress::Unix, detail, outcome, 1).await?;
        }
        self.follow_plugins().await;
        taken
    }

    async fn try_take(
        &self,
        file: Arc<[u8]>,
        anew: bool,
        said: &OnceLock<String>,
    ) -> Result<Taken, Error> {
        let catalogue = self.plugin_catalogue()?;
        let now = self.clock().now();
        let examined = {
            let _turn = self.catalogue.turn.lock().await;
            catalogue.examine(file, now).await?
        };
        let _ = said.set(examined.said());
        let digest = examined.digest;
        // Somebody else may change the same plugin at the same time.
        for _ in 0..3 {
            let found = self.plugin_record(&examined.name).await?;
            let known = found.is_some_and(|found| found.value.installed(digest).is_some());
            if !anew && !known {
                let removed = self.removed().await?;
                if removed.is_some_and(|all| all.value.digests.contains(&digest)) {
                    return Ok(Taken::Removed(digest));
                }
            }
            // What is known is only looked at for other signatures, then.
            let activate = anew || !known;
            let planned = self.plan_install(&**catalogue, &examined, activate, (None, now)).await?;
            catalogue.keep(&examined).await?;
            if planned.changes.is_empty() {
                return Ok(Taken::Known(digest));
            }
            let detail = format!("{} {FROM}", planned.detail);
            let address = PeerAddress::Unix;
            let entry = event(now, "plugins.install", address, Some(detail.into()), Outcome::OK, 1);
            let appended = self.log().appender().append_begun(&entry, planned.changes).await;
            drop(planned.held);
            match appended {
                Ok(_receipt) if activate => return Ok(Taken::Active(digest)),
                Ok(_receipt) => return Ok(Taken::Known(digest)),
                Err(hub_audit::Error::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Conflict)
    }

    /// Records that a file of the folder was not even read.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub async fn refuse_plugin_file(&self, code: &'static str) -> Result<(), Error> {
        let (action, outcome) = ("plugins.install", Outcome(code));
        let detail: Option<Box<str>> = Some(FROM.into());
        let _receipt = self.record_event(action, PeerAddress::Unix, detail, outcome, 1).await?;
        Ok(())
    }

    /// Adds that these versions are removed: the folder does not bring them back at the next start.
    pub(super) async fn note_removed(
        &self,
        changes: &mut Changes,
        gone: &[PluginDigest],
    ) -> Result<(), Error> {
        let path = layout::removed_plugins();
        let found = self.removed().await?;
        match &found {
            Some(found) => changes.check_revision(&path, found.revision),
            None => changes.check_absent(&path),
        };
        let mut all = found.map(|found| found.value).unwrap_or_default();
        all.digests.retain(|digest| !gone.contains(digest));
        all.digests.extend_from_slice(gone);
        let over = all.digests.len().saturating_sub(MAX_REMOVED);
        all.digests.drain(..over);
        changes.put(&path, &all)?;
        Ok(())
    }

    async fn removed(&self) -> Result<Option<Versioned<Removed>>, Error> {
        Ok(self.store().read::<Removed>(&layout::removed_plugins()).await?)
    }
}
