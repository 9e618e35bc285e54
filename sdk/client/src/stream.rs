//! Bodies of any size: what goes out is read as it is sent, what comes in is read by the caller.

use std::fmt;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http::HeaderValue;
use http_body_util::Full;
use hub_model::secret::encode_base64;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};
use zeroize::Zeroizing;

use crate::{EncryptionContext, Error};

/// The media type of streams.
pub(crate) const BYTES: &str = "application/octet-stream";
/// The media type of lines of JSON.
pub(crate) const LINES: &str = "application/x-ndjson";
/// Bytes of a body that are sent before the hub has agreed: what it takes in when it refuses.
pub(crate) const AHEAD: usize = 60 * 1024;
/// The same for lines, of which it reads one before it answers.
pub(crate) const AHEAD_LINE: usize = 128 * 1024;
/// Bytes read at once: a chunk of a stream.
const STEP: usize = 64 * 1024;

/// `Cipher-Hub-Context`.
pub(crate) fn context_header(context: &EncryptionContext) -> Result<HeaderValue, Error> {
    let json = serde_json::to_vec(context).map_err(|_| Error::Request)?;
    HeaderValue::from_str(&encode_base64(&json)).map_err(|_| Error::Header("Cipher-Hub-Context"))
}

/// The body of a request.
pub(crate) enum Outgoing {
    /// There already.
    Full(Full<Bytes>),
    /// Read while it is sent.
    Reader(Outbound),
}

/// A body that is read while it is sent. Its beginning goes at once, the rest when the hub has
/// agreed: a refusal that came across a large body would be lost with the connection.
pub(crate) struct Outbound {
    reader: Pin<Box<dyn AsyncRead + Send>>,
    /// Bytes that may still go before the hub has agreed.
    ahead: usize,
    agreed: Option<oneshot::Receiver<()>>,
    /// How many bytes it has, where that is known.
    length: Option<u64>,
}

impl From<Bytes> for Outgoing {
    fn from(bytes: Bytes) -> Self {
        Self::Full(Full::new(bytes))
    }
}

impl Outgoing {
    /// A body of which `ahead` bytes go before the hub has agreed, and what tells that it has.
    pub(crate) fn reader(
        reader: impl AsyncRead + Send + 'static,
        ahead: usize,
    ) -> (oneshot::Sender<()>, Self) {
        let (agree, agreed) = oneshot::channel();
        let agreed = Some(agreed);
        let outbound = Outbound { reader: Box::pin(reader), ahead, agreed, length: None };
        (agree, Self::Reader(outbound))
    }
}

impl Outgoing {
    /// A body of this many bytes that is sent without waiting for anything.
    pub(crate) fn sized(reader: impl AsyncRead + Send + 'static, length: u64) -> Self {
        let (ahead, length) = (usize::MAX, Some(length));
        Self::Reader(Outbound { reader: Box::pin(reader), ahead, agreed: None, length })
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Full(full) => Pin::new(full).poll_frame(cx).map_err(|never| match never {}),
            Self::Reader(outbound) => {
                if outbound.ahead == 0
                    && let Some(agreed) = &mut outbound.agreed
                {
                    // Refused: nothing more is sent, and the connection ends with the answer.
                    let Ok(()) = ready!(Pin::new(agreed).poll(cx)) else { return Poll::Pending };
                    outbound.agreed = None;
                }
                let most = if outbound.agreed.is_some() { outbound.ahead.min(STEP) } else { STEP };
                let mut bytes = Zeroizing::new(vec![0; most]);
                let mut buffer = ReadBuf::new(&mut bytes);
                ready!(outbound.reader.as_mut().poll_read(cx, &mut buffer))?;
                let len = buffer.filled().len();
                outbound.ahead = outbound.ahead.saturating_sub(len);
                if len == 0 {
                    return Poll::Ready(None);
                }
                bytes.truncate(len);
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(bytes)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(full) => full.is_end_stream(),
            Self::Reader(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(full) => full.size_hint(),
            Self::Reader(outbound) => {
                outbound.length.map_or_else(SizeHint::default, SizeHint::with_exact)
            }
        }
    }
}

/// The answer to a stream, to be read to its end. An error on the way, whichever, means that the
/// hub cut the stream off: what was read is a part of it, and not to be used.
pub struct ByteStream {
    body: Incoming,
    piece: Bytes,
    stall: Pin<Box<Sleep>>,
    after: Duration,
    /// The hub is waited for since the last piece.
    waiting: bool,
}

impl ByteStream {
    pub(crate) fn new(body: Incoming, after: Duration) -> Self {
        let stall = Box::pin(tokio::time::sleep(after));
        Self { body, piece: Bytes::new(), stall, after, waiting: false }
    }
}

impl AsyncRead for ByteStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.piece.is_empty() {
            let frame = match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, error)));
                }
                Poll::Pending => {
                    if !std::mem::replace(&mut this.waiting, true) {
                        this.stall.as_mut().reset(Instant::now() + this.after);
                    }
                    ready!(this.stall.as_mut().poll(cx));
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            };
            this.waiting = false;
            if let Ok(data) = frame.into_data() {
                this.piece = data;
            }
        }
        let piece = this.piece.split_to(this.piece.remaining().min(buffer.remaining()));
        buffer.put_slice(&piece);
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByteStream([secret])")
    }
}
