//! What is in service follows the records.

use hub_model::{Name, RegistrationId};
use hub_store::{Revision, View, layout};

use super::{Followed, MAX_PLUGINS, PluginRecord};
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
        let records: Vec<_> = found.records.into_iter().map(|(_, record)| record).collect();
        // Not by generation: a plugin that is removed and installed begins with 1 again.
        let now = records.iter().map(|one| (one.value.name.clone(), one.revision)).collect();
        let named = match records.is_empty() {
            true => Vec::new(),
            false => self.named_registrations(catalogue.registrations()).await?,
        };
        let now: Followed = (now, named);
        if !again && followed.as_ref() == Some(&now) {
            return Ok(());
        }
        let pinned = self.pinned_plugins().await?;
        catalogue.follow(&records, &now.1, &pinned).await;
        // What keys were told by other code or settings is asked anew; not at the start, which
        // changes nothing.
        if let Some((before, _)) = followed.as_ref() {
            for (name, _) in differing(before, &now.0) {
                self.plugin_changed(name);
            }
        }
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
            let page = self.store().scan_bytes(PINS, after.as_ref(), 1, View::Now).await?;
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

/// What is in one and not, or not so, in the other.
fn differing<'a>(
    before: &'a [(Name, Revision)],
    now: &'a [(Name, Revision)],
) -> impl Iterator<Item = &'a (Name, Revision)> {
    let gone = before.iter().filter(|(name, _)| now.iter().all(|(other, _)| other != name));
    now.iter().filter(|one| !before.contains(one)).chain(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_that_came_went_or_changed_differ() {
        let all = |pairs: &[(&str, u64)]| -> Vec<(Name, Revision)> {
            pairs.iter().map(|(name, number)| (name.parse().unwrap(), Revision(*number))).collect()
        };
        let (before, now) = (
            all(&[("same", 1), ("gone", 2), ("other", 3)]),
            all(&[("same", 1), ("other", 4), ("new", 1)]),
        );
        let names: Vec<&str> = differing(&before, &now).map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["other", "new", "gone"]);
        assert_eq!(differing(&now, &now).count(), 0);
    }
}
