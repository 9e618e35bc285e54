//! Request bodies: bounded in size and in time, and read once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Version;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use crate::inbound::{EdgeError, Inbound};
use crate::load::Lease;

/// What is read of a body nobody asked for, to keep its connection.
const LEFT_BYTES: usize = 64 * 1024;
/// How long that may take.
const LEFT_TIME: Duration = Duration::from_millis(200);

/// A body nobody has read yet.
#[derive(Debug)]
pub struct RequestBody {
    source: Source,
    timeout: Duration,
    /// Reading ended before the body did.
    broken_off: bool,
}

#[derive(Debug)]
enum Source {
    Connection(Incoming),
    #[cfg(test)]
    Ready(Bytes),
    Taken,
    /// Read piece by piece elsewhere; whether the connection may go on is known there.
    Lent(Arc<AtomicBool>),
}

impl RequestBody {
    pub(crate) const fn new(body: Incoming, timeout: Duration) -> Self {
        Self { source: Source::Connection(body), timeout, broken_off: false }
    }

    /// Whether nothing of it is still to come.
    pub(crate) fn is_whole(&self) -> bool {
        match &self.source {
            Source::Connection(body) => body.is_end_stream(),
            _ => true,
        }
    }

    #[cfg(test)]
    pub(crate) const fn ready(body: Bytes) -> Self {
        Self { source: Source::Ready(body), timeout: Duration::from_secs(1), broken_off: false }
    }
}

/// Reads the whole body, `limit` bytes at most. A second call gives an empty body.
///
/// # Errors
/// [`EdgeError::BodyTooLarge`] as soon as it is known, before the rest is read;
/// [`EdgeError::BodyTimeout`]; [`EdgeError::BodyBroken`].
pub async fn read(inbound: &mut Inbound, limit: usize) -> Result<Bytes, EdgeError> {
    read_counted(inbound, limit, None).await
}

/// As [`read`], with the bytes counted as they arrive.
///
/// # Errors
/// As [`read`]; [`EdgeError::Overloaded`].
pub(crate) async fn read_counted(
    inbound: &mut Inbound,
    limit: usize,
    lease: Option<&mut Lease>,
) -> Result<Bytes, EdgeError> {
    let body = &mut inbound.body;
    let mut incoming = match std::mem::replace(&mut body.source, Source::Taken) {
        Source::Connection(incoming) => incoming,
        #[cfg(test)]
        Source::Ready(bytes) if bytes.len() > limit => {
            return Err(EdgeError::BodyTooLarge { limit });
        }
        #[cfg(test)]
        Source::Ready(bytes) => return Ok(bytes),
        Source::Taken | Source::Lent(_) => return Ok(Bytes::new()),
    };
    if incoming.is_end_stream() {
        return Ok(Bytes::new());
    }
    body.broken_off = true;
    let announced = incoming.size_hint().lower();
    if announced > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(EdgeError::BodyTooLarge { limit });
    }
    match tokio::time::timeout(body.timeout, collect(&mut incoming, limit, lease)).await {
        Ok(result) => {
            body.broken_off = result.is_err();
            result
        }
        Err(_) => Err(EdgeError::BodyTimeout { limit: body.timeout }),
    }
}

/// Takes in what is left of a body that was not asked for. When this gives `false`, the connection
/// ends with the answer, and the answer must say so: else a client reuses it and fails.
pub async fn finish(inbound: &mut Inbound) -> bool {
    let body = &mut inbound.body;
    if let Source::Lent(whole) = &body.source {
        return whole.load(Ordering::Relaxed);
    }
    body.timeout = body.timeout.min(LEFT_TIME);
    let _ = read(inbound, LEFT_BYTES).await;
    !inbound.body.broken_off
}

/// Hands the body out, to be read piece by piece.
pub(crate) fn lend(inbound: &mut Inbound) -> Reader {
    let whole = Arc::new(AtomicBool::new(false));
    let version = inbound.version();
    let body = &mut inbound.body;
    let source = std::mem::replace(&mut body.source, Source::Lent(Arc::clone(&whole)));
    let (incoming, ready) = match source {
        Source::Connection(incoming) => (Some(incoming), None),
        #[cfg(test)]
        Source::Ready(bytes) => (None, Some(bytes)),
        Source::Taken | Source::Lent(_) => (None, None),
    };
    let announced = match (&incoming, &ready) {
        (Some(incoming), _) => incoming.size_hint().exact(),
        (None, ready) => {
            Some(u64::try_from(ready.as_ref().map_or(0, Bytes::len)).unwrap_or(u64::MAX))
        }
    };
    Reader { incoming, ready, whole, version, announced, received: 0, patience: body.timeout }
}

/// A body that is read piece by piece: as long as there is progress, it may take any time.
#[derive(Debug)]
pub(crate) struct Reader {
    incoming: Option<Incoming>,
    ready: Option<Bytes>,
    whole: Arc<AtomicBool>,
    version: Version,
    announced: Option<u64>,
    received: u64,
    patience: Duration,
}

impl Reader {
    /// The HTTP version it comes by.
    pub(crate) const fn version(&self) -> Version {
        self.version
    }

    /// Its length in bytes, when the head said so.
    pub(crate) const fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// How many bytes have been read.
    pub(crate) const fn received(&self) -> u64 {
        self.received
    }

    /// How long there may be no progress.
    pub(crate) const fn patience(&self) -> Duration {
        self.patience
    }

    /// The next piece; `None` at the end of a whole body.
    ///
    /// # Errors
    /// [`EdgeError::BodyTimeout`] when nothing comes; [`EdgeError::BodyBroken`].
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, EdgeError> {
        let data = match (self.ready.take(), &mut self.incoming) {
            (Some(ready), _) => Some(ready),
            (None, Some(incoming)) => {
                match tokio::time::timeout(self.patience, data(incoming)).await {
                    Ok(data) => data?,
                    Err(_) => return Err(EdgeError::BodyTimeout { limit: self.patience }),
                }
            }
            (None, None) => None,
        };
        let Some(data) = data else {
            // A connection that goes away may look like an end.
            if self.announced.is_some_and(|announced| announced != self.received) {
                return Err(EdgeError::BodyBroken);
            }
            self.incoming = None;
            self.whole.store(true, Ordering::Relaxed);
            return Ok(None);
        };
        self.received = self.received.saturating_add(u64::try_from(data.len()).unwrap_or(0));
        Ok(Some(data))
    }

    /// The rest is read while the answer is sent: the connection goes on when both are done, and
    /// when they are not it is cut off.
    pub(crate) fn reads_on(&self) {
        self.whole.store(true, Ordering::Relaxed);
    }

    /// Takes in what is left of a body that was not asked for, as [`finish`] does.
    pub(crate) async fn settle(mut self) {
        self.patience = LEFT_TIME;
        let start = self.received;
        let most = u64::try_from(LEFT_BYTES).unwrap_or(u64::MAX);
        let rest = async {
            while self.received.saturating_sub(start) <= most {
                if !matches!(self.next().await, Ok(Some(_))) {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(LEFT_TIME, rest).await;
    }
}

/// The next bytes of a body.
async fn data(body: &mut Incoming) -> Result<Option<Bytes>, EdgeError> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|_| EdgeError::BodyBroken)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// The common body is one frame, and is not copied.
async fn collect(
    body: &mut Incoming,
    limit: usize,
    mut lease: Option<&mut Lease>,
) -> Result<Bytes, EdgeError> {
    let mut first = Bytes::new();
    let mut all: Option<BytesMut> = None;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| EdgeError::BodyBroken)?.into_data() else { continue };
        let so_far = all.as_ref().map_or(first.len(), BytesMut::len);
        if data.len() > limit.saturating_sub(so_far) {
            return Err(EdgeError::BodyTooLarge { limit });
        }
        if let Some(lease) = &mut lease {
            lease.grow(data.len())?;
        }
        match &mut all {
            Some(all) => all.extend_from_slice(&data),
            None if first.is_empty() => first = data,
            None => {
                let expected = usize::try_from(body.size_hint().lower()).unwrap_or(0);
                let capacity = (so_far + data.len()).saturating_add(expected).min(limit);
                let mut joined = BytesMut::with_capacity(capacity);
                joined.extend_from_slice(&first);
                joined.extend_from_slice(&data);
                all = Some(joined);
            }
        }
    }
    Ok(all.map_or(first, BytesMut::freeze))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_read_once_and_within_its_limit() {
        let request = || http::Request::new(Bytes::from_static(b"hello"));
        let address = hub_model::principal::PeerAddress::Unix;
        let channel = hub_auth::Channel::anonymous(address, false);
        let mut inbound = Inbound::for_tests(request(), channel.clone());
        assert_eq!(read(&mut inbound, 5).await.unwrap(), "hello");
        assert_eq!(read(&mut inbound, 5).await.unwrap(), "");
        let mut inbound = Inbound::for_tests(request(), channel);
        assert_eq!(read(&mut inbound, 4).await, Err(EdgeError::BodyTooLarge { limit: 4 }));
    }
}
