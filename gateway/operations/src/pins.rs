//! Which keys derive by a plugin's code: what keeps it installed.

use hub_model::extend::PluginDigest;
use hub_model::{Key, KeyId, KeyState, RegistrationId};
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
                if record.is_some_and(|record| record.value.state != KeyState::Destroyed) {
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
