//! Plugins found in the folder of the configuration: installed by the hub itself, and recorded.

use std::sync::Arc;

use hub_model::entry::Outcome;
use hub_model::extend::PluginDigest;
use hub_model::principal::PeerAddress;

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
}

impl Hub {
    /// Installs a file of the folder and puts it into service. One that is installed already is
    /// left alone at the start (`anew` is false): whoever took it out of service meant it.
    ///
    /// # Errors
    /// What is wrong with it, with an entry that says so.
    pub async fn take_plugin_file(&self, file: Arc<[u8]>, anew: bool) -> Result<Taken, Error> {
        let taken = self.try_take(file, anew).await;
        if let Err(error) = &taken {
            let (action, outcome) = ("plugins.install", Outcome(error.code()));
            let detail: Option<Box<str>> = Some("from the folder".into());
            let _receipt = self.record_event(action, PeerAddress::Unix, detail, outcome, 1).await?;
        }
        self.follow_plugins().await;
        taken
    }

    async fn try_take(&self, file: Arc<[u8]>, anew: bool) -> Result<Taken, Error> {
        let catalogue = self.plugin_catalogue()?;
        let now = self.clock().now();
        let examined = {
            let _turn = self.catalogue.turn.lock().await;
            catalogue.examine(file, now).await?
        };
        let digest = examined.digest;
        // Somebody else may change the same plugin at the same time.
        for _ in 0..3 {
            let found = self.plugin_record(&examined.name).await?;
            let known = found.is_some_and(|found| found.value.installed(digest).is_some());
            if known && !anew {
                catalogue.keep(&examined).await?;
                return Ok(Taken::Known(digest));
            }
            let planned = self.plan_install(&**catalogue, &examined, true, (None, now)).await?;
            if planned.changes.is_empty() {
                return Ok(Taken::Known(digest));
            }
            catalogue.keep(&examined).await?;
            let detail = format!("{} from the folder", planned.detail);
            let address = PeerAddress::Unix;
            let entry = event(now, "plugins.install", address, Some(detail.into()), Outcome::OK, 1);
            match self.log().appender().append_begun(&entry, planned.changes).await {
                Ok(_receipt) => return Ok(Taken::Active(digest)),
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
        let detail: Option<Box<str>> = Some("from the folder".into());
        let _receipt = self.record_event(action, PeerAddress::Unix, detail, outcome, 1).await?;
        Ok(())
    }
}
