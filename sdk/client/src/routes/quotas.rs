//! Quotas of registrations, and blocks after unusual behaviour.

use http::Method;
use hub_model::api::quota::{QuotasView, SetQuotas, Unblock, Unblocked};

use crate::call::{Call, Path};
use crate::{Client, Error, Tagged};

/// Whose quotas: those owners set, or those the hub sets.
fn path(registration: &str, bounds: bool) -> Result<Path, Error> {
    let path = Path::registration(registration)?.then("quotas");
    Ok(if bounds { path.then("bounds") } else { path })
}

/// Quotas. A registration is given by name or uid; the ETag is the registration's.
impl Client {
    /// Reads the quotas of a registration.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn quotas(&self, registration: &str) -> Result<Tagged<QuotasView>, Error> {
        self.fetch_tagged(Call::read(path(registration, false)?)).await
    }

    /// Sets all quotas of the registration that has this ETag: those of its owners or, with
    /// `bounds`, those of the hub.
    ///
    /// # Errors
    /// Those of any call: see [`Error`]; `412` when the registration changed meanwhile.
    pub async fn set_quotas(
        &self,
        registration: &str,
        bounds: bool,
        etag: &str,
        body: &SetQuotas,
    ) -> Result<Tagged<QuotasView>, Error> {
        let path = path(registration, bounds)?;
        self.fetch_tagged(Call::change(Method::PUT, path, etag)?.json(body)?).await
    }

    /// Removes the quotas of the registration that has this ETag: those of its owners or, with
    /// `bounds`, those of the hub.
    ///
    /// # Errors
    /// Those of any call: see [`Error`]; `412` when the registration changed meanwhile.
    pub async fn clear_quotas(
        &self,
        registration: &str,
        bounds: bool,
        etag: &str,
    ) -> Result<(), Error> {
        self.fetch_nothing(Call::change(Method::DELETE, path(registration, bounds)?, etag)?).await
    }

    /// Lifts a block by the name the status gives it; all of them without one.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn unblock(&self, block: Option<&str>) -> Result<Unblocked, Error> {
        let body = Unblock { block: block.map(str::to_owned) };
        self.fetch(Call::act(Path::new("/v1/system:unblock")).json(&body)?).await
    }
}
