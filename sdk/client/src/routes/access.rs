//! Grants on keys, and who may do what.

use http::Method;
use hub_model::api::access::{ParticipantAccess, WhoCan};
use hub_model::api::grant::{CreateGrant, GrantView};
use hub_model::api::page::Page;
use hub_model::{Action, GrantId};

use super::PageRequest;
use crate::call::{Call, Path};
use crate::{Client, Error};

fn key_path(registration: &str, key: &str) -> Result<Path, Error> {
    Path::registration(registration)?.then("keys").item(key)
}

fn grants(registration: &str, key: &str) -> Result<Path, Error> {
    Ok(key_path(registration, key)?.then("grants"))
}

/// Grants: one participant, one key, some actions. And the questions who may do what.
impl Client {
    /// Grants a participant some actions on a key.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn create_grant(
        &self,
        registration: &str,
        key: &str,
        body: &CreateGrant,
    ) -> Result<GrantView, Error> {
        self.fetch(Call::create(grants(registration, key)?).json(body)?).await
    }

    /// Lists the grants on a key, oldest first.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn grants(
        &self,
        registration: &str,
        key: &str,
        page: &PageRequest,
    ) -> Result<Page<GrantView>, Error> {
        self.fetch(Call::read(page.on(grants(registration, key)?))).await
    }

    /// Reads a grant.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn grant(
        &self,
        registration: &str,
        key: &str,
        grant: GrantId,
    ) -> Result<GrantView, Error> {
        self.fetch(Call::read(grants(registration, key)?.item(&grant.to_string())?)).await
    }

    /// Takes a grant away. In effect before this returns.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn delete_grant(
        &self,
        registration: &str,
        key: &str,
        grant: GrantId,
    ) -> Result<(), Error> {
        let path = grants(registration, key)?.item(&grant.to_string())?;
        self.fetch_nothing(Call::settle(Method::DELETE, path)).await
    }

    /// Asks who may do an action with a key, page by page (50 participants, 200 at most).
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn who_can(
        &self,
        registration: &str,
        key: &str,
        action: Action,
        page: &PageRequest,
    ) -> Result<WhoCan, Error> {
        let path = key_path(registration, key)?.verb("whoCan").query("action", action.name());
        self.fetch(Call::read(page.on(path))).await
    }

    /// Asks what a participant may do in a registration and with its keys, page by page (20 keys,
    /// 100 at most).
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn participant_access(
        &self,
        registration: &str,
        participant: &str,
        page: &PageRequest,
    ) -> Result<ParticipantAccess, Error> {
        let path = Path::registration(registration)?.then("participants").item(participant)?;
        self.fetch(Call::read(page.on(path.verb("access")))).await
    }
}
