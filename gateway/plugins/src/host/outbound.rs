//! Requests that guests send: to endpoints by name. Whoever implements [`Outbound`] adds address,
//! TLS and credentials, and refuses what is not to be sent; the guest never sees them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// A request on its way.
pub type Sending<'a> =
    Pin<Box<dyn Future<Output = Result<OutboundResponse, SendError>> + Send + 'a>>;

/// Sends requests of a guest to the endpoints that an operator configured.
pub trait Outbound: fmt::Debug + Send + Sync {
    /// Sends one. The host drops the future when the time is over.
    fn send<'a>(
        &'a self,
        endpoint: &'a str,
        request: OutboundRequest,
        timeout: Duration,
    ) -> Sending<'a>;
}

/// A request of a guest. Nothing in it has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundRequest {
    /// `POST`, `PUT`, `GET`, `PATCH` or `DELETE`.
    pub method: String,
    /// Appended to the endpoint's base path.
    pub path: String,
    /// Name and value.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundResponse {
    /// HTTP's status.
    pub status: u16,
    /// Name and value.
    pub headers: Vec<(String, String)>,
    /// The body; the host cuts it off at 64 KiB.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendError {
    /// No endpoint has this name.
    UnknownEndpoint,
    /// A request that is not sent, and why.
    Denied(String),
    /// No answer in time.
    Timeout,
    /// No connection, or one that broke. The text names no address and no credential.
    Connection(String),
    /// Request or answer is too large.
    TooLarge,
}

/// For plugins that send nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nowhere;

impl Outbound for Nowhere {
    fn send<'a>(&'a self, _: &'a str, _: OutboundRequest, _: Duration) -> Sending<'a> {
        Box::pin(async { Err(SendError::UnknownEndpoint) })
    }
}
