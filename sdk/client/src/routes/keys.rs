//! Keys and their versions.

use http::Method;
use hub_model::api::key::{CreateKey, KeyView, PatchKey, VersionView};
use hub_model::api::page::Page;

use super::PageRequest;
use crate::call::{Call, Path};
use crate::{Client, Error, Tagged};

fn keys(registration: &str) -> Result<Path, Error> {
    Ok(Path::registration(registration)?.then("keys"))
}

/// Keys. A key is given by name or uid.
impl Client {
    /// Creates a key with one version.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn create_key(
        &self,
        registration: &str,
        body: &CreateKey,
    ) -> Result<Tagged<KeyView>, Error> {
        self.fetch_tagged(Call::create(keys(registration)?).json(body)?).await
    }

    /// Lists keys.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn keys(
        &self,
        registration: &str,
        page: &PageRequest,
    ) -> Result<Page<KeyView>, Error> {
        self.fetch(Call::read(page.on(keys(registration)?))).await
    }

    /// Lists keys with data under a version that the primary version should protect. A page is what
    /// is left of one, and may be empty although more follow.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn keys_that_need_rewrap(
        &self,
        registration: &str,
        page: &PageRequest,
    ) -> Result<Page<KeyView>, Error> {
        let path = keys(registration)?.query("needsRewrap", "true");
        self.fetch(Call::read(page.on(path))).await
    }

    /// Reads a key's facts.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn key(&self, registration: &str, key: &str) -> Result<Tagged<KeyView>, Error> {
        self.fetch_tagged(Call::read(keys(registration)?.item(key)?)).await
    }

    /// Changes the key that has this ETag.
    ///
    /// # Errors
    /// Those of any call: see [`Error`]; `412` when it changed meanwhile.
    pub async fn update_key(
        &self,
        registration: &str,
        key: &str,
        etag: &str,
        patch: &PatchKey,
    ) -> Result<Tagged<KeyView>, Error> {
        let path = keys(registration)?.item(key)?;
        self.fetch_tagged(Call::change(Method::PATCH, path, etag)?.json(patch)?).await
    }

    /// Adds a version and makes it primary.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn rotate_key(&self, registration: &str, key: &str) -> Result<KeyView, Error> {
        self.fetch(Call::create(keys(registration)?.item(key)?.verb("rotate"))).await
    }

    /// Lists a key's versions.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn key_versions(
        &self,
        registration: &str,
        key: &str,
        page: &PageRequest,
    ) -> Result<Page<VersionView>, Error> {
        let path = keys(registration)?.item(key)?.then("versions");
        self.fetch(Call::read(page.on(path))).await
    }

    /// Reads one version of a key.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn key_version(
        &self,
        registration: &str,
        key: &str,
        version: u32,
    ) -> Result<VersionView, Error> {
        let path = keys(registration)?.item(key)?.then("versions").item(&version.to_string())?;
        self.fetch(Call::read(path)).await
    }
}
