//! Which keys derive by a plugin's code: what keeps it installed.

use hub_model::extend::PluginDigest;
use hub_model::{Key, KeyId, KeyState, ProfilePin, RegistrationId, Thumbprint};
use hub_store::layout;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::hub::Hub;

/// The note that a key is pinned to a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pinned {
    /// Its registration.
    pub registration: RegistrationId,
    /// The key.
    pub key: KeyId,
}

impl Hub {
    /// The keys that are pinned to this code and can still derive, `most` at most. Keys that are
    /// destroyed or erased need it no longer, whatever notes are left of them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn pinned_to(&self, digest: PluginDigest, most: usize) -> Result<Vec<Pinned>, Error> {
        self.pinned_so(digest, most, |_| true).await
    }

    /// Whether keys that can still derive were pinned to this code under these settings: they need
    /// both.
    pub(crate) async fn pinned_under(
        &self,
        digest: PluginDigest,
        settings: Option<Thumbprint>,
    ) -> Result<bool, Error> {
        let so = |pin: &ProfilePin| pin.digest == digest && pin.settings == settings;
        let found = self.pinned_so(digest, 1, |key| key.profile_pins.iter().any(so)).await?;
        Ok(!found.is_empty())
    }

    async fn pinned_so(
        &self,
        digest: PluginDigest,
        most: usize,
        so: impl Fn(&Key) -> bool,
    ) -> Result<Vec<Pinned>, Error> {
        let prefix = layout::plugin_pins(digest);
        let (mut after, mut found) = (None, Vec::new());
        loop {
            let page = self.store().scan::<Pinned>(&prefix, after.as_ref(), 500).await?;
            for (_, note) in &page.records {
                if found.len() >= most {
                    return Ok(found);
                }
                let Pinned { registration, key } = note.value;
                let record = self.store().read::<Key>(&layout::key(registration, key)).await?;
                let counts = |key: &Key| key.state != KeyState::Destroyed && so(key);
                if record.is_some_and(|record| counts(&record.value)) {
                    found.push(note.value);
                }
            }
            match page.records.last() {
                Some((last, _)) if page.more => after = Some(last.clone()),
                _ => return Ok(found),
            }
        }
    }
}
