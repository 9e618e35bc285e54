//! What is in service follows the records.

use hub_model::{Name, RegistrationId};
use hub_store::layout;

use super::{MAX_PLUGINS, PluginRecord};
use crate::hub::Hub;
use crate::{Error, Ref};

impl Hub {
    /// Puts into service what the records say: after every change of one, at the start, and now and
    /// then. One scan where nothing has changed, and nothing at all without a catalogue. `false`
    /// when it failed.
    pub async fn follow_plugins(&self) -> bool {
        match self.try_follow_plugins(false).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "plugins in service do not follow the catalogue");
                false
            }
        }
    }

    /// As [`Self::follow_plugins`], also where no record has changed: what failed is tried again.
    pub async fn follow_plugins_again(&self) -> bool {
        match self.try_follow_plugins(true).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "plugins in service do not follow the catalogue");
                false
            }
        }
    }

    async fn try_follow_plugins(&self, again: bool) -> Result<(), Error> {
        let Ok(catalogue) = self.plugin_catalogue() else { return Ok(()) };
        let mut followed = self.catalogue.following.lock().await;
        let found = self.store().scan::<PluginRecord>(layout::PLUGINS, None, MAX_PLUGINS).await?;
        let records: Vec<PluginRecord> =
            found.records.into_iter().map(|(_, record)| record.value).collect();
        let now: Vec<_> = records.iter().map(|one| (one.name.clone(), one.generation)).collect();
        let named = match records.is_empty() {
            true => Vec::new(),
            false => self.named_registrations(catalogue.registrations()).await?,
        };
        let now = (now, named);
        if !again && followed.as_ref() == Some(&now) {
            return Ok(());
        }
        let pinned = self.pinned_plugins().await?;
        catalogue.follow(&records, &now.1, &pinned).await;
        *followed = Some(now);
        Ok(())
    }

    /// What names of registrations stand for, where there are such registrations.
    async fn named_registrations(
        &self,
        names: Vec<Name>,
    ) -> Result<Vec<(Name, RegistrationId)>, Error> {
        let mut named = Vec::new();
        for name in names {
            match self.find_registration(&Ref::Name(name.clone())).await {
                Ok(facts) => named.push((name, facts.registration.id)),
                Err(Error::NotFound { .. } | Error::NoRegistration) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(named)
    }

    /// Code that keys derive by.
    async fn pinned_plugins(&self) -> Result<Vec<hub_model::extend::PluginDigest>, Error> {
        const PINS: &str = "plugins/pins/";
        let mut pinned = Vec::new();
        let mut after = None;
        loop {
            let page = self.store().scan_bytes(PINS, after.as_ref(), 1, None).await?;
            let Some((path, _)) = page.records.into_iter().next() else { return Ok(pinned) };
            let digest = path.as_str().strip_prefix(PINS).and_then(|rest| rest.split('/').next());
            let Some(digest) = digest.and_then(|text| text.parse().ok()) else { return Ok(pinned) };
            pinned.push(digest);
            // Past all keys of this one: `~` would be, and is no character of paths; `z` is past
            // the ids of keys.
            let past = format!("{}zzzz", layout::plugin_pins(digest));
            after = hub_store::Path::new(&past).ok();
        }
    }
}
