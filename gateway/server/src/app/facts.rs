//! What `GET /v1/system/status` says of this process.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hub_model::Timestamp;
use hub_operations::Hub;
use hub_operations::system::StatusFacts;

use super::Mode;
use crate::catalogue::Catalogue;
use crate::config::{Config, StoreEngine};
use crate::tls::Tls;

/// What the status says that the hub alone does not know.
pub(super) fn status(
    config: &Config,
    mode: &Mode,
    hub: &Arc<Hub>,
    integrity: &Arc<ArcSwap<String>>,
    start_time: Timestamp,
    seal_kind: &'static str,
    notices: &[String],
    (tls, witnesses): (Option<Tls>, Arc<crate::witnesses::Witnesses>),
) -> impl Fn() -> StatusFacts + Send + Sync + 'static {
    let store = match config.store.engine {
        StoreEngine::Fjall => "fjall",
        StoreEngine::Memory => "memory",
    };
    let (dev, hub) = (mode.dev, Arc::clone(hub));
    let (integrity, notices) = (Arc::clone(integrity), notices.to_vec());
    move || {
        let arena = hub_crypto::arena_status();
        StatusFacts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            dev,
            start_time,
            seal_kind: seal_kind.to_owned(),
            store: store.to_owned(),
            store_bytes: hub.store().backend().size_on_disk().unwrap_or(0),
            arena: format!("{:?}", arena.kind),
            arena_secrets: u64::try_from(arena.secrets).unwrap_or(u64::MAX),
            crypto_provider: hub_crypto::provider::current().name().to_owned(),
            integrity: integrity.load().to_string(),
            notices: notices
                .iter()
                .cloned()
                .chain(tls.iter().flat_map(Tls::notices))
                .chain(crate::archiving::notices(&hub))
                .collect(),
            blocks: Vec::new(),
            sinks: Vec::new(),
            plugins: Vec::new(),
            witnesses: witnesses.views(),
        }
    }
}

/// Adds how plugins fare.
pub(super) fn with_plugins(
    catalogue: Option<Arc<Catalogue>>,
    facts: impl Fn() -> StatusFacts + Send + Sync + 'static,
) -> impl Fn() -> StatusFacts + Send + Sync + 'static {
    move || {
        let plugins = catalogue.as_ref().map_or_else(Vec::new, |catalogue| catalogue.health());
        StatusFacts { plugins, ..facts() }
    }
}

/// Adds how the sinks fare.
pub(super) fn with_sinks(
    sinks: &crate::sinks::Sinks,
    facts: impl Fn() -> StatusFacts + Send + Sync + 'static,
) -> impl Fn() -> StatusFacts + Send + Sync + 'static {
    let shown = sinks.shown();
    move || StatusFacts { sinks: shown.views(), ..facts() }
}
