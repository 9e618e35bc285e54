//! Steps of the lifecycle of keys and of their versions.

use hub_model::api::key::{KeyView, ScheduleDestroy, VersionView};

use crate::call::{Call, Path};
use crate::{Client, Error};

fn key(registration: &str, key: &str) -> Result<Path, Error> {
    Path::registration(registration)?.then("keys").item(key)
}

fn version(registration: &str, of: &str, number: u32) -> Result<Path, Error> {
    key(registration, of)?.then("versions").item(&number.to_string())
}

/// What can be done to the state of a key or a version.
#[derive(Debug, Clone)]
pub enum KeyStep {
    /// Makes a pending key usable before its date. Keys only.
    Activate,
    /// Takes it out of use for a while.
    Suspend,
    /// Puts it back into use.
    Resume,
    /// Ends new protection for ever.
    Deactivate,
    /// Notes that others know it. Cannot be taken back.
    MarkCompromised,
    /// Starts the waiting period before destruction.
    ScheduleDestroy(ScheduleDestroy),
    /// Ends the waiting period without destruction.
    CancelDestroy,
}

impl KeyStep {
    const fn of_key(&self) -> &'static str {
        match self {
            Self::Activate => "activate",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Deactivate => "deactivate",
            Self::MarkCompromised => "markCompromised",
            Self::ScheduleDestroy(_) => "scheduleDestroy",
            Self::CancelDestroy => "cancelDestroy",
        }
    }

    const fn of_version(&self) -> &'static str {
        match self {
            Self::Suspend => "disable",
            Self::Resume => "enable",
            _ => self.of_key(),
        }
    }

    fn on(&self, path: Path) -> Result<Call, Error> {
        match self {
            Self::ScheduleDestroy(body) => Call::create(path).json(body),
            _ => Ok(Call::create(path)),
        }
    }
}

/// The lifecycle. A key is given by name or uid.
impl Client {
    /// Takes a step with a key.
    ///
    /// # Errors
    /// Those of any call: see [`Error`]; `key_state` when its state does not allow the step.
    pub async fn step_key(
        &self,
        registration: &str,
        name: &str,
        step: &KeyStep,
    ) -> Result<KeyView, Error> {
        self.fetch(step.on(key(registration, name)?.verb(step.of_key()))?).await
    }

    /// Takes a step with one version of a key.
    ///
    /// # Errors
    /// Those of any call: see [`Error`]; `key_state` when its state does not allow the step.
    pub async fn step_key_version(
        &self,
        registration: &str,
        name: &str,
        number: u32,
        step: &KeyStep,
    ) -> Result<VersionView, Error> {
        let path = version(registration, name, number)?.verb(step.of_version());
        self.fetch(step.on(path)?).await
    }

    /// Makes an existing version primary.
    ///
    /// # Errors
    /// Those of any call: see [`Error`]; `key_state` when that version is not active.
    pub async fn set_primary(
        &self,
        registration: &str,
        name: &str,
        number: u32,
    ) -> Result<KeyView, Error> {
        self.fetch(Call::create(version(registration, name, number)?.verb("setPrimary"))).await
    }
}
