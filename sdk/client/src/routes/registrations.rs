//! Registrations.

use http::Method;
use hub_model::api::page::Page;
use hub_model::api::registration::{CreateRegistration, PatchRegistration, RegistrationView};

use super::PageRequest;
use crate::call::{Call, Path};
use crate::{Client, Error, Tagged};

/// Registrations. A registration is given by name or uid.
impl Client {
    /// Creates a registration.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn create_registration(
        &self,
        body: &CreateRegistration,
    ) -> Result<Tagged<RegistrationView>, Error> {
        self.fetch_tagged(Call::create(Path::new("/v1/registrations")).json(body)?).await
    }

    /// Lists registrations.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn registrations(&self, page: &PageRequest) -> Result<Page<RegistrationView>, Error> {
        self.fetch(Call::read(page.on(Path::new("/v1/registrations")))).await
    }

    /// Reads a registration.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn registration(
        &self,
        registration: &str,
    ) -> Result<Tagged<RegistrationView>, Error> {
        self.fetch_tagged(Call::read(Path::registration(registration)?)).await
    }

    /// Changes the registration that has this ETag.
    ///
    /// # Errors
    /// Those of any call: see [`Error`]; `412` when it changed meanwhile.
    pub async fn update_registration(
        &self,
        registration: &str,
        etag: &str,
        patch: &PatchRegistration,
    ) -> Result<Tagged<RegistrationView>, Error> {
        let path = Path::registration(registration)?;
        self.fetch_tagged(Call::change(Method::PATCH, path, etag)?.json(patch)?).await
    }

    /// Erases the frozen registration that has this ETag, and everything in it.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn delete_registration(&self, registration: &str, etag: &str) -> Result<(), Error> {
        let path = Path::registration(registration)?;
        self.fetch_nothing(Call::change(Method::DELETE, path, etag)?).await
    }

    /// Makes a registration read-only.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn freeze_registration(&self, registration: &str) -> Result<RegistrationView, Error> {
        self.fetch(Call::act(Path::registration(registration)?.verb("freeze"))).await
    }

    /// Makes a frozen registration usable again.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn unfreeze_registration(
        &self,
        registration: &str,
    ) -> Result<RegistrationView, Error> {
        self.fetch(Call::act(Path::registration(registration)?.verb("unfreeze"))).await
    }
}
