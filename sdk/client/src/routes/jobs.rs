//! Wrapped data keys that the hub keeps, and long operations.

use http::Method;
use hub_model::OperationId;
use hub_model::api::job::{KeptDataKey, OperationView, PutDataKey};
use hub_model::api::page::Page;

use super::PageRequest;
use crate::call::{Call, Path};
use crate::{Client, Error};

fn key_path(registration: &str, key: &str) -> Result<Path, Error> {
    Path::registration(registration)?.then("keys").item(key)
}

fn operations(registration: &str) -> Result<Path, Error> {
    Ok(Path::registration(registration)?.then("operations"))
}

/// Wrapped data keys that the hub keeps, and their migration.
impl Client {
    /// Keeps a wrapped data key with the hub.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn put_data_key(
        &self,
        registration: &str,
        key: &str,
        body: &PutDataKey,
    ) -> Result<KeptDataKey, Error> {
        let path = key_path(registration, key)?.then("dataKeys");
        self.fetch(Call::create(path).json(body)?).await
    }

    /// Reads a wrapped data key.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn data_key(
        &self,
        registration: &str,
        key: &str,
        name: &str,
    ) -> Result<KeptDataKey, Error> {
        self.fetch(Call::read(key_path(registration, key)?.then("dataKeys").item(name)?)).await
    }

    /// Lists the wrapped data keys under a key.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn data_keys(
        &self,
        registration: &str,
        key: &str,
        page: &PageRequest,
    ) -> Result<Page<KeptDataKey>, Error> {
        let path = key_path(registration, key)?.then("dataKeys");
        self.fetch(Call::read(page.on(path))).await
    }

    /// Deletes a wrapped data key. What it encrypted is lost, unless somebody else has it too.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn delete_data_key(
        &self,
        registration: &str,
        key: &str,
        name: &str,
    ) -> Result<(), Error> {
        let path = key_path(registration, key)?.then("dataKeys").item(name)?;
        self.fetch_nothing(Call::settle(Method::DELETE, path)).await
    }

    /// Begins to wrap the data keys kept under a key anew, under its primary version.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn migrate_key(&self, registration: &str, key: &str) -> Result<OperationView, Error> {
        self.fetch(Call::create(key_path(registration, key)?.verb("migrate"))).await
    }

    /// Reads a long operation.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn operation(
        &self,
        registration: &str,
        id: OperationId,
    ) -> Result<OperationView, Error> {
        self.fetch(Call::read(operations(registration)?.item(&id.to_string())?)).await
    }

    /// Lists long operations, oldest first.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn operations(
        &self,
        registration: &str,
        page: &PageRequest,
    ) -> Result<Page<OperationView>, Error> {
        self.fetch(Call::read(page.on(operations(registration)?))).await
    }

    /// Cancels a long operation. What it has done stays done.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn cancel_operation(
        &self,
        registration: &str,
        id: OperationId,
    ) -> Result<OperationView, Error> {
        let path = operations(registration)?.item(&id.to_string())?.verb("cancel");
        self.fetch(Call::act(path)).await
    }

    /// Goes on with a long operation that failed or was cancelled.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn resume_operation(
        &self,
        registration: &str,
        id: OperationId,
    ) -> Result<OperationView, Error> {
        let path = operations(registration)?.item(&id.to_string())?.verb("resume");
        self.fetch(Call::act(path)).await
    }
}
