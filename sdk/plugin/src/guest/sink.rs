use std::marker::PhantomData;
use std::time::Duration;

use super::{common, enter};
use crate::bindings::sink::cipher_hub::plugin::outbound;
use crate::bindings::sink::exports::cipher_hub::plugin::{lifecycle, sink as bound};
use crate::http::{Outbound, Request, Response, SendError};
use crate::sink::{AuditSink, Batch, Delivery, Entry, Outcome};
use crate::time::Timestamp;

common!(sink);

#[derive(Debug)]
pub struct Sink<T>(PhantomData<T>);

/// What the operator lets through.
struct Hub;

impl<T: AuditSink + 'static> lifecycle::Guest for Sink<T> {
    fn check() -> Result<(), PluginError> {
        T::new(&enter()).map(drop).map_err(error)
    }
}

impl<T: AuditSink + 'static> bound::Guest for Sink<T> {
    fn deliver(batch: bound::Batch) -> Result<bound::Delivery, PluginError> {
        let batch = Batch {
            cursor: batch.cursor,
            next: batch.next,
            attempt: batch.attempt,
            entries: batch.entries.into_iter().map(entry).collect(),
        };
        let answer = T::new(&enter()).and_then(|plugin| plugin.deliver(&batch, &mut Hub));
        Ok(match answer.map_err(error)? {
            Delivery::Acknowledged(cursor) => bound::Delivery::Acknowledged(cursor),
            Delivery::RetryAfter(wait) => bound::Delivery::RetryAfter(wait.map(millis)),
            Delivery::Rejected(why) => bound::Delivery::Rejected(why),
        })
    }

    fn probe() -> Result<(), PluginError> {
        T::new(&enter()).and_then(|plugin| plugin.probe(&mut Hub)).map_err(error)
    }
}

impl Outbound for Hub {
    fn send(&mut self, endpoint: &str, request: &Request) -> Result<Response, SendError> {
        let header =
            |(name, value): &(String, String)| Field { name: name.clone(), value: value.clone() };
        let request = outbound::Request {
            method: request.method.to_owned(),
            path: request.path.clone(),
            headers: request.headers.iter().map(header).collect(),
            body: request.body.clone(),
            timeout: millis(request.timeout),
        };
        let sent = outbound::send(endpoint, &request).map_err(|e| match e {
            outbound::SendError::UnknownEndpoint => SendError::UnknownEndpoint,
            outbound::SendError::Denied(why) => SendError::Denied(why),
            outbound::SendError::Timeout => SendError::Timeout,
            outbound::SendError::Connection(why) => SendError::Connection(why),
            outbound::SendError::TooLarge => SendError::TooLarge,
        })?;
        let headers = sent.headers.into_iter().map(|h| (h.name, h.value)).collect();
        Ok(Response { status: sent.status, headers, body: sent.body })
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

fn entry(entry: bound::Entry) -> Entry {
    Entry {
        sequence: entry.sequence,
        at: Timestamp::from_millis(entry.at),
        action: entry.action,
        actor: entry.actor,
        registration: entry.registration,
        outcome: match entry.outcome {
            bound::Outcome::Success => Outcome::Success,
            bound::Outcome::Denied => Outcome::Denied,
            bound::Outcome::Failure => Outcome::Failure,
        },
        json: entry.json,
        leaf_hash: entry.leaf_hash,
    }
}
