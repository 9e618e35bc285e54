//! Keys that come from elsewhere and keys that leave.

use hub_model::api::key::KeyView;
use hub_model::api::transfer::{
    CreateImportJob, ExportKey, ExportedKey, ImportJobView, ImportKey, ImportVersion,
};

use crate::call::{Call, Path};
use crate::{Client, Error, Tagged};

fn keys(registration: &str) -> Result<Path, Error> {
    Ok(Path::registration(registration)?.then("keys"))
}

/// Import and export. Key bytes travel wrapped only.
impl Client {
    /// Makes a key to wrap one key with, for its import within 24 hours.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn create_import_job(
        &self,
        registration: &str,
        body: &CreateImportJob,
    ) -> Result<ImportJobView, Error> {
        self.fetch(Call::create(keys(registration)?.verb("importJob")).json(body)?).await
    }

    /// Imports a key.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn import_key(
        &self,
        registration: &str,
        body: &ImportKey,
    ) -> Result<Tagged<KeyView>, Error> {
        self.fetch_tagged(Call::create(keys(registration)?.verb("import")).json(body)?).await
    }

    /// Imports a version of an imported key and makes it primary.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn import_version(
        &self,
        registration: &str,
        key: &str,
        body: &ImportVersion,
    ) -> Result<KeyView, Error> {
        let path = keys(registration)?.item(key)?.verb("importVersion");
        self.fetch(Call::create(path).json(body)?).await
    }

    /// Exports a version of an exportable key, wrapped for a recipient.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn export_key(
        &self,
        registration: &str,
        key: &str,
        body: &ExportKey,
    ) -> Result<ExportedKey, Error> {
        let path = keys(registration)?.item(key)?.verb("export");
        self.fetch(Call::compute(path, true).json(body)?).await
    }
}
