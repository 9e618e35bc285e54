//! Which code said how keys are derived: kept with the keys, so that the same input gives the same
//! bytes for ever.

use serde::{Deserialize, Serialize};

use crate::extend::PluginDigest;
use crate::{Name, Thumbprint};

/// The most profiles that one root key can be pinned to.
pub const MAX_PINS: usize = 32;

/// A profile of a plugin as it was when a key was derived by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProfilePin {
    /// The plugin.
    #[schema(value_type = Name)]
    pub plugin: Name,
    /// Its profile.
    #[schema(value_type = Name)]
    pub profile: Name,
    /// SHA-256 of the plugin's file without its signatures: 64 hexadecimal digits.
    #[schema(value_type = String)]
    pub digest: PluginDigest,
    /// SHA-256 over the plugin's settings then; absent where it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub settings: Option<Thumbprint>,
}

impl ProfilePin {
    /// Whether it is for this profile of this plugin, whatever its digest.
    #[must_use]
    pub fn is_for(&self, plugin: &Name, profile: &Name) -> bool {
        self.plugin == *plugin && self.profile == *profile
    }
}
