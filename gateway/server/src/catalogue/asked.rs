//! What operations ask of the catalogue.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use hub_model::api::plugin::PluginView;
use hub_model::extend::{KdfProfiles as _, PluginDigest};
use hub_model::{Name, RegistrationId, Thumbprint, Timestamp};
use hub_operations::plugin::{self, Examined, PluginRecord, Refused};
use hub_store::Versioned;

use super::Catalogue;
use super::load::Running;

/// The catalogue, as operations ask it.
#[derive(Clone, Debug)]
pub(crate) struct Asked(pub(crate) Arc<Catalogue>);

impl plugin::Catalogue for Asked {
    fn max_size(&self) -> u64 {
        self.0.config.max_size
    }

    fn registrations(&self) -> Vec<Name> {
        let named = self.0.config.settings.iter().filter_map(|said| said.registrations.as_ref());
        named.flatten().cloned().collect()
    }

    fn examine(&self, file: Arc<[u8]>, now: Timestamp) -> BoxFuture<'_, Result<Examined, Refused>> {
        self.0.examine_file(file, now)
    }

    fn check<'a>(
        &'a self,
        record: &'a PluginRecord,
        digest: PluginDigest,
    ) -> BoxFuture<'a, Result<Option<Thumbprint>, Refused>> {
        Box::pin(async move {
            let loaded = self.0.load(record, digest).await?;
            match self.0.try_out(record, &loaded, true).await? {
                Running::Kdf(plugin) => Ok(plugin.settings()),
                Running::Rotation(_) | Running::Sink => Ok(None),
            }
        })
    }

    fn keep<'a>(&'a self, examined: &'a Examined) -> BoxFuture<'a, Result<(), Refused>> {
        let (own, file, digest) =
            (Arc::clone(&self.0), Arc::clone(&examined.file), examined.digest);
        Box::pin(async move {
            let keeping = move || own.files.keep(digest, &own.with_signatures(digest, file));
            let kept = tokio::task::spawn_blocking(keeping).await;
            match kept {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => {
                    tracing::error!(%digest, %error, "the file of a plugin cannot be written");
                    Err(Refused::new("unavailable", "the file cannot be written"))
                }
                Err(_) => Err(Refused::new("internal", "writing was broken off")),
            }
        })
    }

    fn follow<'a>(
        &'a self,
        records: &'a [Versioned<PluginRecord>],
        named: &'a [(Name, RegistrationId)],
        pinned: &'a [PluginDigest],
    ) -> BoxFuture<'a, ()> {
        Box::pin(self.0.follow_all(records, named, pinned))
    }

    fn show(&self, record: &PluginRecord) -> PluginView {
        self.0.view(record)
    }
}
