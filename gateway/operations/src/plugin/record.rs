//! What is kept about a plugin.

use hub_model::api::plugin::{PluginLimits, PluginVersion};
use hub_model::extend::{FailurePolicy, Parameters, PluginDigest};
use hub_model::{Name, ParticipantId, RegistrationId, Timestamp};
use serde::{Deserialize, Serialize};

/// A plugin of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginRecord {
    /// What it is called.
    pub name: Name,
    /// What it is for. Never changes.
    pub world: Box<str>,
    /// Changes with every change of this record: its ETag.
    pub generation: u64,
    /// Whether anybody is answered by it.
    pub enabled: bool,
    /// The version that answers.
    pub active: Option<PluginDigest>,
    /// The version that answered before.
    pub previous: Option<PluginDigest>,
    /// All versions that are kept, oldest first.
    pub versions: Vec<Installed>,
    /// Settings; those of the configuration come first.
    pub config: Parameters,
    /// What is done when it gives no answer, where somebody said so.
    pub failure: Option<FailurePolicy>,
    /// Limits that somebody set.
    pub limits: Option<PluginLimits>,
    /// Whom it serves; all where nobody said anything.
    pub registrations: Option<Vec<RegistrationId>>,
}

/// A version that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Installed {
    /// Which file.
    pub digest: PluginDigest,
    /// As its manifest says.
    pub version: Box<str>,
    /// Who signed it.
    pub signer: Option<Name>,
    /// Bytes of the file.
    pub bytes: u64,
    /// When it was installed: the moment that signatures are held against.
    pub installed: Timestamp,
    /// Who installed it; nobody where it was found in the folder.
    pub by: Option<ParticipantId>,
    /// Whether it was the active one at some time. Absent in older records: see
    /// [`PluginRecord::was_active`].
    #[serde(default)]
    pub activated: bool,
}

impl PluginRecord {
    /// A plugin without versions.
    pub(super) fn new(name: Name, world: &str) -> Self {
        Self {
            name,
            world: world.into(),
            generation: 0,
            enabled: true,
            active: None,
            previous: None,
            versions: Vec::new(),
            config: Parameters::new(),
            failure: None,
            limits: None,
            registrations: None,
        }
    }

    /// A version that is kept.
    #[must_use]
    pub fn installed(&self, digest: PluginDigest) -> Option<&Installed> {
        self.versions.iter().find(|version| version.digest == digest)
    }

    /// The version that settings are for: the active one, or the newest where none is.
    #[must_use]
    pub fn subject(&self) -> Option<&Installed> {
        match self.active {
            Some(active) => self.installed(active),
            None => self.versions.last(),
        }
    }

    /// Whether this version is kept, and an operator has put it into service at some time.
    #[must_use]
    pub fn was_active(&self, digest: PluginDigest) -> bool {
        let once = [self.active, self.previous].contains(&Some(digest));
        self.installed(digest).is_some_and(|version| version.activated || once)
    }

    /// Makes a version that is kept the active one.
    pub(super) fn activate(&mut self, digest: PluginDigest) {
        for version in &mut self.versions {
            version.activated |= version.digest == digest || self.active == Some(version.digest);
        }
        if self.active != Some(digest) {
            self.previous = self.active.replace(digest);
        }
    }
}

impl Installed {
    /// As shown.
    #[must_use]
    pub fn view(&self) -> PluginVersion {
        PluginVersion {
            digest: self.digest,
            version: self.version.to_string(),
            signer: self.signer.clone(),
            bytes: self.bytes,
            install_time: self.installed,
            installed_by: self.by,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_active_is_what_a_rollback_goes_back_to() {
        let (one, two) = (hub_model::Thumbprint([1; 32]), hub_model::Thumbprint([2; 32]));
        let mut record = PluginRecord::new("calendar".parse().unwrap(), "rotation-schedule");
        record.activate(one);
        assert_eq!((record.active, record.previous), (Some(one), None));
        record.activate(two);
        record.activate(two);
        assert_eq!((record.active, record.previous), (Some(two), Some(one)));
    }
}
