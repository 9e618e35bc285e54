//! `plugins.install`: the file is the body, and is read when the caller was found to be permitted.
//! It runs in a task of its own that the connection only waits for: whoever leaves in the middle
//! leaves an entry all the same.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use hub_auth::Caller;
use hub_model::api::plugin::PluginView;
use hub_operations::plugin::{InstallPlugin, Refused, Upload};
use hub_operations::{Done, Failure, Meta};
use tokio::sync::Mutex;
use tracing::Instrument as _;

use crate::body::Reader;
use crate::endpoint::{Endpoint, answer};
use crate::inbound::EdgeError;
use crate::listen::Reply;
use crate::pipeline::Gateway;
use crate::problem::Refusal;
use crate::request::Parts;
use crate::routes::Route;

/// How long an installation may take: others are compiled first, and some for half a minute.
pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(300);

/// The media type of a plugin.
pub(crate) const WASM: &str = "application/wasm";

/// `plugins.install`.
#[derive(Debug)]
pub(crate) struct InstallEndpoint;

impl Endpoint for InstallEndpoint {
    fn call<'a>(
        &'a self,
        gateway: &'a Gateway,
        row: &'a Route,
        caller: &'a Caller,
        mut parts: Parts<'a>,
        meta: Meta,
    ) -> BoxFuture<'a, Result<Reply, Refusal>> {
        Box::pin(async move {
            let Some(reader) = parts.stream.take() else {
                return Err(Refusal::new("internal", "the body is gone"));
            };
            let reader = Arc::new(Mutex::new(Some(reader)));
            let decoded = media_type(&parts).and_then(|()| parts.query.flag("activate"));
            let answered = match decoded {
                Ok(activate) => {
                    let upload = Box::new(Body(Arc::clone(&reader)));
                    let operation = InstallPlugin::new(upload, activate);
                    let outcome = apart(gateway, caller.clone(), operation, meta.clone()).await;
                    let gone = || Refusal::new("internal", "the installation was broken off");
                    outcome.map_or_else(
                        || Err(gone()),
                        |outcome| answer::<InstallPlugin>(gateway, row, &meta, outcome, |_| {}),
                    )
                }
                Err(refusal) => Err(gateway.fallen(row, caller, &meta, refusal).await),
            };
            let left = reader.lock().await.take();
            if let Some(reader) = left {
                reader.settle().await;
            }
            answered
        })
    }
}

/// Installs in a task of its own; none where that ended without an outcome. The listener waits for
/// it when the process stops.
async fn apart(
    gateway: &Gateway,
    caller: Caller,
    operation: InstallPlugin,
    meta: Meta,
) -> Option<Result<Done<PluginView>, Failure>> {
    let (outcome, awaited) = tokio::sync::oneshot::channel();
    let hub = Arc::clone(&gateway.hub);
    let task = async move {
        // Nobody may be there to hear it.
        let _ = outcome.send(hub.perform(&caller, &operation, &meta).await);
    };
    gateway.streams.spawn(task.in_current_span());
    awaited.await.ok()
}

fn media_type(parts: &Parts<'_>) -> Result<(), Refusal> {
    let named = parts.headers.get(CONTENT_TYPE).map(HeaderValue::to_str);
    let essence = |text: &str| text.split(';').next().is_some_and(|e| e.trim() == WASM);
    if named.is_some_and(|text| text.is_ok_and(essence)) {
        return Ok(());
    }
    let detail = "the body must be `application/wasm`: the file of a plugin";
    Err(Refusal::new("unsupported_media_type", detail))
}

struct Body(Arc<Mutex<Option<Reader>>>);

impl Upload for Body {
    fn read(&self, most: u64) -> BoxFuture<'_, Result<Arc<[u8]>, Refused>> {
        Box::pin(async move {
            let too_large = || {
                let detail = format!("a plugin may have {most} bytes (plugins.max_size)");
                Refused::new("body_too_large", detail)
            };
            let mut held = self.0.lock().await;
            let gone = || Refused::new("internal", "the body is gone");
            let reader = held.as_mut().ok_or_else(gone)?;
            if reader.announced().is_some_and(|announced| announced > most) {
                return Err(too_large());
            }
            let announced = reader.announced().and_then(|bytes| usize::try_from(bytes).ok());
            let mut bytes = Vec::with_capacity(announced.unwrap_or(0));
            while let Some(piece) = reader.next().await.map_err(|error| broken(&error))? {
                if reader.received() > most {
                    return Err(too_large());
                }
                bytes.extend_from_slice(&piece);
            }
            if bytes.is_empty() {
                return Err(Refused::new("invalid_plugin", "the body is empty"));
            }
            Ok(bytes.into())
        })
    }
}

fn broken(error: &EdgeError) -> Refused {
    Refused::new(error.facts().code, error.to_string())
}
