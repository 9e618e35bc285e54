//! What an instance has of the host for the length of one call, and the functions it may call.

use std::sync::Arc;
use std::time::Duration;

use hub_model::extend::Parameters;
use tokio::time::timeout;
use wasmtime::Result;

use super::bindings::outbound as wire;
use super::bindings::{config, log, types};
use super::errors::Stop;
use super::lane::Lane;
use super::limits::{Budget, Limits};
use super::lines::{Lines, LogLevel};
use super::load::Settings;
use super::outbound::{Outbound, OutboundRequest, SendError};
use super::places::OfPlugin;

/// Bytes of an answer from outside that a guest gets to see.
const MAX_BODY: usize = 64 * 1024;
/// Headers of an answer from outside.
const MAX_HEADERS: usize = 64;

/// The state of one call.
pub(super) struct Guest {
    pub(super) budget: Budget,
    pub(super) lines: Lines,
    pub(super) lane: Arc<Lane>,
    plugin: Arc<OfPlugin>,
    pub(super) host_calls: u32,
    bytes: u64,
    log_calls: u32,
    waited: Duration,
    limits: Limits,
    settings: Arc<Settings>,
    outbound: Arc<dyn Outbound>,
}

impl Guest {
    pub(super) fn new(
        settings: Arc<Settings>,
        limits: &Limits,
        (lane, plugin): (Arc<Lane>, Arc<OfPlugin>),
        outbound: Arc<dyn Outbound>,
        keep_lines: bool,
    ) -> Self {
        Self {
            budget: Budget::new(limits),
            lines: Lines::new(limits, keep_lines),
            lane,
            plugin,
            host_calls: 0,
            bytes: 0,
            log_calls: 0,
            waited: Duration::ZERO,
            limits: limits.clone(),
            settings,
            outbound,
        }
    }

    /// Counts a host call.
    fn count(&mut self) -> Result<()> {
        self.host_calls = self.host_calls.saturating_add(1);
        if self.host_calls > self.limits.host_calls {
            return Err(Stop::HostCalls("it called the host too often").into());
        }
        Ok(())
    }

    /// Counts bytes that cross.
    fn carry(&mut self, bytes: usize) -> Result<()> {
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        if self.bytes > self.limits.host_bytes {
            return Err(Stop::HostCalls("it exchanged too many bytes with the host").into());
        }
        Ok(())
    }

    fn config(&self) -> &Parameters {
        &self.settings.config
    }
}

impl types::Host for Guest {}

impl log::Host for Guest {
    fn write(&mut self, level: log::Level, message: String) -> Result<()> {
        self.carry(message.len())?;
        // Lines that are too many are dropped; who goes on all the same is stopped.
        self.log_calls = self.log_calls.saturating_add(1);
        if self.log_calls > self.limits.log_lines.saturating_mul(16).saturating_add(1_024) {
            return Err(Stop::HostCalls("it floods the log").into());
        }
        let level = match level {
            log::Level::Trace => LogLevel::Trace,
            log::Level::Debug => LogLevel::Debug,
            log::Level::Info => LogLevel::Info,
            log::Level::Warn => LogLevel::Warn,
            log::Level::Error => LogLevel::Error,
        };
        if let Some(line) = self.lines.take(level, &message) {
            self.lines.write(self.settings.name.as_str(), level, &line, &self.plugin.lines);
        }
        Ok(())
    }
}

impl config::Host for Guest {
    fn get(&mut self, key: String) -> Result<Option<String>> {
        self.count()?;
        let value = self.config().get(key.as_str()).map(ToString::to_string);
        self.carry(key.len() + value.as_ref().map_or(0, String::len))?;
        Ok(value)
    }

    fn all(&mut self) -> Result<Vec<(String, String)>> {
        self.count()?;
        let pairs = self.config().iter();
        let pairs: Vec<_> =
            pairs.map(|(key, value)| (key.to_string(), value.to_string())).collect();
        self.carry(pairs.iter().map(|(key, value)| key.len() + value.len()).sum())?;
        Ok(pairs)
    }
}

impl wire::Host for Guest {
    async fn send(
        &mut self,
        endpoint: String,
        request: wire::Request,
    ) -> Result<Result<wire::Response, wire::SendError>> {
        self.count()?;
        let headers: usize = request.headers.iter().map(|h| h.name.len() + h.value.len()).sum();
        self.carry(endpoint.len() + request.path.len() + headers + request.body.len())?;
        let left = self.limits.wait.saturating_sub(self.waited);
        let wait = Duration::from_millis(request.timeout).min(left);
        if wait.is_zero() {
            return Ok(Err(wire::SendError::Timeout));
        }
        let request = OutboundRequest {
            method: request.method,
            path: request.path,
            headers: request.headers.into_iter().map(|h| (h.name, h.value)).collect(),
            body: request.body,
        };
        let asked = timeout(wait, self.outbound.send(&endpoint, request, wait));
        let (answer, waited) = self.lane.while_outside(asked).await;
        self.waited = self.waited.saturating_add(waited);
        let mut response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Ok(Err(sent(error))),
            Err(_) => return Ok(Err(wire::SendError::Timeout)),
        };
        response.body.truncate(MAX_BODY);
        response.headers.truncate(MAX_HEADERS);
        self.carry(response.body.len())?;
        let headers = response.headers.into_iter();
        Ok(Ok(wire::Response {
            status: response.status,
            headers: headers.map(|(name, value)| types::Field { name, value }).collect(),
            body: response.body,
        }))
    }
}

fn sent(error: SendError) -> wire::SendError {
    match error {
        SendError::UnknownEndpoint => wire::SendError::UnknownEndpoint,
        SendError::Denied(why) => wire::SendError::Denied(why),
        SendError::Timeout => wire::SendError::Timeout,
        SendError::Connection(what) => wire::SendError::Connection(what),
        SendError::TooLarge => wire::SendError::TooLarge,
    }
}
