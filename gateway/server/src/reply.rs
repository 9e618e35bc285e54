//! The body of an answer: there already, or still being made.
//!
//! INVARIANT: a body that is still being made ends cleanly only after [`Piece::End`]; whatever else
//! ends it cuts the connection off, so that nobody takes a part of it for the whole.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// Pieces that wait for the connection. Few: memory is bounded by them.
const WAITING: usize = 2;

/// The body of an answer.
#[derive(Debug)]
pub enum ReplyBody {
    /// There already.
    Full(Full<Bytes>),
    /// Still being made.
    Stream(StreamBody),
}

/// Part of a body that is still being made.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Some bytes.
    Data(Bytes),
    /// The body is whole.
    End,
}

/// A body that is still being made.
pub struct StreamBody {
    pieces: mpsc::Receiver<Piece>,
    ended: bool,
    held: Option<Box<dyn Send + Sync>>,
}

/// The making of a body ended before the body was whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer was cut off")]
pub struct CutOff;

impl From<Bytes> for ReplyBody {
    fn from(bytes: Bytes) -> Self {
        Self::Full(Full::new(bytes))
    }
}

impl StreamBody {
    /// A body, and where its pieces go.
    pub(crate) fn new() -> (mpsc::Sender<Piece>, Self) {
        let (sender, pieces) = mpsc::channel(WAITING);
        (sender, Self { pieces, ended: false, held: None })
    }

    /// Keeps something as long as the body.
    pub(crate) fn hold(&mut self, held: impl Send + Sync + 'static) {
        self.held = Some(Box::new(held));
    }
}

impl fmt::Debug for StreamBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamBody").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        match self.get_mut() {
            Self::Full(full) => {
                Pin::new(full).poll_frame(cx).map_err(|never: Infallible| match never {})
            }
            Self::Stream(stream) => {
                if stream.ended {
                    return Poll::Ready(None);
                }
                match ready!(stream.pieces.poll_recv(cx)) {
                    Some(Piece::Data(bytes)) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                    Some(Piece::End) => {
                        stream.ended = true;
                        Poll::Ready(None)
                    }
                    None => Poll::Ready(Some(Err(CutOff))),
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(full) => full.is_end_stream(),
            Self::Stream(stream) => stream.ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(full) => full.size_hint(),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    #[tokio::test]
    async fn only_an_end_is_an_end() {
        let (sender, body) = StreamBody::new();
        sender.send(Piece::Data(Bytes::from_static(b"ab"))).await.unwrap();
        sender.send(Piece::End).await.unwrap();
        drop(sender);
        assert_eq!(ReplyBody::Stream(body).collect().await.unwrap().to_bytes(), "ab");
        let (sender, body) = StreamBody::new();
        sender.send(Piece::Data(Bytes::from_static(b"ab"))).await.unwrap();
        drop(sender);
        assert_eq!(ReplyBody::Stream(body).collect().await.unwrap_err(), CutOff);
    }
}
