//! Answers kept for idempotency keys, for 24 hours, by participant, registration, route and body. An
//! answer with a secret in it is never kept: only that it was given.

use std::time::Duration;

use hub_auth::Caller;
use hub_model::{RegistrationId, Timestamp};
use hub_store::{Changes, Path, Revision, layout};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::hub::Hub;
use crate::operation::{Keeps, Meta, Operation, Place as _};

/// How long an answer is kept.
pub(crate) const LIFE: Duration = Duration::from_secs(86_400);

#[derive(Serialize, Deserialize)]
pub(crate) struct Record {
    request_hash: [u8; 32],
    /// Where it was done; the route may hold a name, which can come to stand for another.
    #[serde(default)]
    registration: Option<RegistrationId>,
    /// The reply as JSON; `None` when it held a secret.
    reply: Option<String>,
    generation: Option<u64>,
    pub(crate) expires: Timestamp,
}

/// An answer given before.
pub(crate) struct Answer<R> {
    pub(crate) reply: R,
    pub(crate) generation: Option<u64>,
}

/// What is known of an idempotency key.
pub(crate) enum Kept<R> {
    /// No key was given, or the operation takes none.
    NotAsked,
    /// The key is new; where its record goes, and the expired one there.
    Nothing { path: Path, replaces: Option<Revision>, registration: Option<RegistrationId> },
    /// The request was done before.
    Answer(Answer<R>),
}

/// Looks the caller's key up.
pub(crate) async fn look_up<O: Operation>(
    hub: &Hub,
    caller: &Caller,
    place: &O::Place,
    meta: &Meta,
) -> Result<Kept<O::Reply>, Error> {
    let Some(given) = meta.idempotency.as_ref().filter(|_| !meta.dry_run) else {
        return Ok(Kept::NotAsked);
    };
    if O::KEEPS == Keeps::Nothing {
        return Ok(Kept::NotAsked);
    }
    let registration = place.registration().map(|facts| facts.registration.id);
    let privacy = hub.system_keys().privacy();
    let path = layout::idempotency(privacy, caller.principal().participant, &given.key);
    let Some(found) = hub.store().read::<Record>(&path).await? else {
        return Ok(Kept::Nothing { path, replaces: None, registration });
    };
    let record = found.value;
    if record.expires <= hub.clock().now() {
        return Ok(Kept::Nothing { path, replaces: Some(found.revision), registration });
    }
    if record.request_hash != given.request_hash {
        return Err(Error::IdempotencyMismatch);
    }
    // The same request for a name that stands for another registration now: the one it was done in
    // is gone, and a new one inherits nothing of it.
    if record.registration != registration {
        return Ok(Kept::Nothing { path, replaces: Some(found.revision), registration });
    }
    let reply = record.reply.ok_or(Error::ResultWithheld)?;
    let reply = decode(&reply)?;
    Ok(Kept::Answer(Answer { reply, generation: record.generation }))
}

fn decode<R: DeserializeOwned>(text: &str) -> Result<R, Error> {
    serde_json::from_str(text).map_err(|error| Error::Integrity(Box::new(error)))
}

/// Adds the record of this answer to the changes it belongs to.
pub(crate) fn keep<O: Operation>(
    meta: &Meta,
    kept: Kept<O::Reply>,
    (reply, generation): (&O::Reply, Option<u64>),
    changes: &mut Changes,
    now: Timestamp,
) -> Result<(), Error> {
    let (Some(given), Kept::Nothing { path, replaces, registration }) = (&meta.idempotency, kept)
    else {
        return Ok(());
    };
    let reply = match O::KEEPS {
        Keeps::Nothing => return Ok(()),
        Keeps::Fact => None,
        Keeps::Answer => {
            let text = serde_json::to_string(reply);
            Some(text.map_err(|error| Error::Integrity(Box::new(error)))?)
        }
    };
    let (request_hash, expires) = (given.request_hash, now.plus(LIFE));
    let record = Record { request_hash, registration, reply, generation, expires };
    match replaces {
        Some(revision) => changes.check_revision(&path, revision),
        None => changes.check_absent(&path),
    };
    changes.put(&path, &record)?;
    Ok(())
}
