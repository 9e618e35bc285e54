//! `operations.events`: a long operation as it moves, as server-sent events (WHATWG HTML §9.2).
//!
//! The first event says how it stands; one follows whenever that has changed, at most five a
//! second; the stream ends with the operation, or when the caller may not watch any longer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use hub_auth::Caller;
use hub_model::ParticipantId;
use hub_model::api::job::OperationView;
use hub_operations::jobs::GetOperation;
use hub_operations::{Hub, Meta};
use tokio::sync::mpsc;

use crate::endpoint::{Endpoint, Of};
use crate::inbound::EdgeError;
use crate::listen::Reply;
use crate::pipeline::Gateway;
use crate::problem::{AUDIT_SEQ, Refusal};
use crate::reply::{Piece, ReplyBody, StreamBody};
use crate::request::Parts;
use crate::routes::Route;
use crate::streaming::{Credential, deliver};
use crate::throttle::Limited;

/// Between two events at least, and between two looks at who is watching at most.
const PACE: Duration = Duration::from_millis(200);
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How many events one participant watches at once, and all together: each looks again and again.
const EACH: u32 = 8;
const ALL: usize = 256;
/// How long one stream of events lasts at most. Whoever wants more connects again.
const LIFE: Duration = Duration::from_secs(900);
/// How often something is sent, so that whoever stands in between keeps the connection.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Reads the request.
///
/// # Errors
/// 400 for a malformed name or id.
pub(crate) fn operation(parts: &Parts<'_>) -> Result<GetOperation, Refusal> {
    let (registration, operation) = (parts.param("registration")?, parts.param("operation")?);
    Ok(GetOperation { registration, operation })
}

/// `operations.events`.
#[derive(Debug)]
pub(crate) struct EventsEndpoint;

impl Endpoint for EventsEndpoint {
    fn call<'a>(
        &'a self,
        gateway: &'a Gateway,
        row: &'a Route,
        caller: &'a Caller,
        parts: Parts<'a>,
        meta: Meta,
    ) -> BoxFuture<'a, Result<Reply, Refusal>> {
        Box::pin(async move {
            let Some(place) = gateway.watchers.admit(caller.principal().participant) else {
                let limited = Limited { retry_after: LIFE / 60, policy: "participant" };
                gateway.metrics.rate_limited(&limited);
                let refusal = Refusal::from(&EdgeError::from(limited));
                return Err(gateway.fallen(row, caller, &meta, refusal).await);
            };
            let watched = operation(&parts);
            let credential = Credential::of(gateway, &parts);
            // Authorized and recorded like any reading of it.
            let plain = Of::<GetOperation, _>::new(operation);
            let answer = plain.call(gateway, row, caller, parts, meta).await?;
            let Ok(operation) = watched else { return Ok(answer) };
            if answer.status() != StatusCode::OK {
                return Ok(answer);
            }
            let (sender, body) = StreamBody::new();
            let mut reply = Response::new(ReplyBody::Stream(body));
            reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            if let Some(seq) = answer.headers().get(AUDIT_SEQ) {
                reply.headers_mut().insert(AUDIT_SEQ, seq.clone());
            }
            let watcher = Watcher { hub: Arc::clone(&gateway.hub), credential, operation, sender };
            gateway.streams.spawn(async move {
                // Whoever went away needs no end.
                let _ = watcher.run().await;
                drop(place);
            });
            Ok(reply)
        })
    }
}

/// Who watches, and how often.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watchers(Arc<Mutex<HashMap<ParticipantId, u32>>>);

impl Watchers {
    /// A place for one more, or `None` when there is none.
    fn admit(&self, participant: ParticipantId) -> Option<Watching> {
        let mut all = self.counts();
        let total: usize = all.values().map(|count| usize::try_from(*count).unwrap_or(ALL)).sum();
        let count = all.entry(participant).or_insert(0);
        if *count >= EACH || total >= ALL {
            return None;
        }
        *count += 1;
        Some(Watching { watchers: self.clone(), participant })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<ParticipantId, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the watchers, given back when dropped.
struct Watching {
    watchers: Watchers,
    participant: ParticipantId,
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut all = self.watchers.counts();
        if let Some(count) = all.get_mut(&self.participant) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                all.remove(&self.participant);
            }
        }
    }
}

struct Watcher {
    hub: Arc<Hub>,
    credential: Credential,
    operation: GetOperation,
    sender: mpsc::Sender<Piece>,
}

impl Watcher {
    async fn run(self) -> Result<(), &'static str> {
        let mut moved = self.hub.watch_jobs();
        let mut shown: Option<OperationView> = None;
        let (mut quiet, begun) = (Duration::ZERO, Instant::now());
        loop {
            moved.mark_unchanged();
            let caller = self.credential.authenticate().await?;
            let view = self.operation.watch(&self.hub, &caller).await.map_err(|e| e.code())?;
            let over = view.state.is_final();
            if shown.as_ref() != Some(&view) {
                let json = serde_json::to_string(&view).map_err(|_| "internal")?;
                self.send(format!("event: operation\ndata: {json}\n\n")).await?;
                (shown, quiet) = (Some(view), Duration::ZERO);
            } else if quiet >= HEARTBEAT {
                self.send(": waiting\n\n".to_owned()).await?;
                quiet = Duration::ZERO;
            }
            if over || self.hub.is_ending() || begun.elapsed() >= LIFE {
                return deliver(&self.sender, Piece::End, HEARTBEAT).await;
            }
            tokio::select! {
                () = self.sender.closed() => return Ok(()),
                () = tokio::time::sleep(PACE) => {}
            }
            tokio::select! {
                () = self.sender.closed() => return Ok(()),
                _ = moved.changed() => {}
                () = tokio::time::sleep(ASK_AGAIN) => {}
            }
            quiet += PACE + ASK_AGAIN;
        }
    }

    async fn send(&self, text: String) -> Result<(), &'static str> {
        deliver(&self.sender, Piece::Data(Bytes::from(text)), HEARTBEAT).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_participant_has_few_places_and_gives_them_back() {
        let (watchers, one) = (Watchers::default(), ParticipantId::generate());
        let mut places: Vec<_> = (0..EACH).map(|_| watchers.admit(one).unwrap()).collect();
        assert!(watchers.admit(one).is_none());
        assert!(watchers.admit(ParticipantId::generate()).is_some());
        places.pop();
        places.push(watchers.admit(one).unwrap());
        drop(places);
        let many = (0..ALL).map(|_| watchers.admit(ParticipantId::generate()));
        let many: Vec<_> = many.collect();
        assert!(many.iter().all(Option::is_some) && watchers.admit(one).is_none());
        drop(many);
        assert!(watchers.counts().values().all(|count| *count == 0));
    }
}
