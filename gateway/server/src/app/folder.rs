//! What is done with a data folder while nothing is served from it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use hub_audit::log::OnRollback;
use hub_model::Clock;
use hub_model::clock::SystemClock;
use hub_model::secret::SecretText;
use hub_operations::Hub;

use super::AppError;
use crate::config::Config;
use crate::open::{self, Intent, OpenError};

/// Opens a stopped hub and makes another key for its first administrator.
///
/// # Errors
/// [`AppError`].
pub fn recover(config: &Config) -> BoxFuture<'_, Result<SecretText, AppError>> {
    Box::pin(recover_key(config))
}

async fn recover_key(config: &Config) -> Result<SecretText, AppError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let opened = open::open(config, Arc::clone(&clock), OnRollback::Refuse, Intent::Open).await?;
    let hub = opened.hub;
    let key = hub.recover_administrator().await.map_err(OpenError::from)?;
    close(&hub, &*clock).await;
    Ok(key)
}

/// Prepares a data folder without serving.
///
/// # Errors
/// [`AppError`].
pub fn prepare(config: &Config) -> BoxFuture<'_, Result<Option<SecretText>, AppError>> {
    Box::pin(prepare_folder(config))
}

async fn prepare_folder(config: &Config) -> Result<Option<SecretText>, AppError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let intent = Intent::OpenOrMake;
    let opened = open::open(config, Arc::clone(&clock), OnRollback::Refuse, intent).await?;
    close(&opened.hub, &*clock).await;
    Ok(opened.first_key)
}

async fn close(hub: &Hub, clock: &dyn Clock) {
    hub.log().appender().close().await;
    if let Err(error) = hub.log().checkpoint(clock.now()) {
        tracing::error!(%error, "the last checkpoint could not be written");
    }
    hub.forget();
    let _ = hub.store().backend().close().await;
}
