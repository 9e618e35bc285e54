//! A connection's bytes, seen on their way: which protocol they speak, whether a head arrives in
//! time, whether anything happens at all, and whether a head says twice how long its body is.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Which HTTP a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// A stream that can be sniffed and watched.
#[derive(Debug)]
pub(super) struct Wire<I> {
    io: I,
    /// Bytes read while sniffing, to be read again.
    sniffed: [u8; 24],
    sniffed_len: usize,
    replayed: usize,
    life: Option<Arc<Life>>,
    lines: HeadLines,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Wire<I> {
    pub(super) fn new(io: I) -> Self {
        Self {
            io,
            sniffed: [0; 24],
            sniffed_len: 0,
            replayed: 0,
            life: None,
            lines: HeadLines::default(),
        }
    }

    /// Reads until the bytes can no longer be, or are, the preface of HTTP/2. Most connections tell
    /// with the first read.
    pub(super) async fn sniff(&mut self) -> io::Result<Protocol> {
        loop {
            let (seen, free) = self
                .sniffed
                .split_at_mut_checked(self.sniffed_len)
                .ok_or(io::ErrorKind::InvalidData)?;
            if !PREFACE.starts_with(seen) {
                return Ok(Protocol::Http1);
            }
            if free.is_empty() {
                return Ok(Protocol::Http2);
            }
            let read = self.io.read(free).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.sniffed_len += read;
        }
    }

    /// Starts the watch. The first head has its time from now on.
    pub(super) fn watch(
        &mut self,
        protocol: Protocol,
        head: Duration,
        idle: Duration,
    ) -> Arc<Life> {
        let life = Arc::new(Life {
            epoch: Instant::now(),
            heads: protocol == Protocol::Http1,
            head,
            idle,
            in_flight: AtomicU32::new(0),
            head_since: AtomicU64::new(if protocol == Protocol::Http1 { 1 } else { NEVER }),
            idle_since: AtomicU64::new(1),
            two_lengths: AtomicBool::new(false),
            head_wanted: AtomicBool::new(true),
        });
        self.life = Some(Arc::clone(&life));
        life
    }

    fn note_read(&mut self, bytes: &[u8]) {
        let Some(life) = &self.life else { return };
        if !life.heads || bytes.is_empty() || life.in_flight.load(Ordering::Relaxed) > 0 {
            return;
        }
        if life.head_since.load(Ordering::Relaxed) == NEVER {
            life.head_since.store(life.stamp(Instant::now()), Ordering::Relaxed);
        }
        if life.head_wanted.swap(false, Ordering::Relaxed) {
            self.lines = HeadLines::default();
        }
        if self.lines.take(bytes) {
            life.two_lengths.store(true, Ordering::Relaxed);
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let start = buffer.filled().len();
        if this.replayed < this.sniffed_len {
            let rest = this.sniffed.get(this.replayed..this.sniffed_len).unwrap_or_default();
            let rest = rest.get(..rest.len().min(buffer.remaining())).unwrap_or_default();
            buffer.put_slice(rest);
            this.replayed += rest.len();
        } else {
            ready!(Pin::new(&mut this.io).poll_read(cx, buffer))?;
        }
        this.note_read(buffer.filled().get(start..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

const NEVER: u64 = 0;

/// What a connection is doing, in microseconds since its start plus one.
#[derive(Debug)]
pub(super) struct Life {
    epoch: Instant,
    /// Whether bytes between requests are the start of a head. HTTP/2 has control frames there, so
    /// only its idleness is bounded.
    heads: bool,
    head: Duration,
    idle: Duration,
    in_flight: AtomicU32,
    head_since: AtomicU64,
    idle_since: AtomicU64,
    two_lengths: AtomicBool,
    head_wanted: AtomicBool,
}

/// What to do about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    LookAgain(Instant),
    Idle,
    SlowHead,
}

impl Life {
    /// A request begins. Tells whether its head had both length fields.
    pub(super) fn begin(&self, _now: Instant) -> bool {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.head_since.store(NEVER, Ordering::Relaxed);
        self.head_wanted.store(true, Ordering::Relaxed);
        self.two_lengths.swap(false, Ordering::Relaxed)
    }

    /// The answer to a request will take longer than its head.
    pub(super) fn hold(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// A request is answered.
    pub(super) fn end(&self, now: Instant) {
        self.idle_since.store(self.stamp(now), Ordering::Relaxed);
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// When to ask for a verdict first. Never further away than the shortest deadline that may
    /// come up meanwhile, so that none is missed.
    pub(super) fn next_look(&self) -> Instant {
        self.epoch + self.head.min(self.idle)
    }

    pub(super) fn verdict(&self, now: Instant) -> Verdict {
        let step = now + self.head.min(self.idle);
        if self.in_flight.load(Ordering::Relaxed) > 0 {
            return Verdict::LookAgain(step);
        }
        let head_since = self.head_since.load(Ordering::Relaxed);
        let (since, limit, late) = if head_since == NEVER {
            (self.idle_since.load(Ordering::Relaxed), self.idle, Verdict::Idle)
        } else {
            (head_since, self.head, Verdict::SlowHead)
        };
        let deadline = self.epoch + Duration::from_micros(since.saturating_sub(1)) + limit;
        if deadline <= now { late } else { Verdict::LookAgain(deadline.min(step)) }
    }

    fn stamp(&self, now: Instant) -> u64 {
        let micros = now.saturating_duration_since(self.epoch).as_micros();
        u64::try_from(micros).unwrap_or(u64::MAX - 1) + 1
    }
}

/// Finds `Content-Length` and `Transfer-Encoding` in one head (RFC 9112 §6.1). hyper drops the
/// former when both are there, so nobody behind it could refuse.
#[derive(Debug, Default)]
struct HeadLines {
    /// The start of the current line, in lower case, as far as a field name of interest reaches.
    line: [u8; 18],
    len: usize,
    content_length: bool,
    transfer_encoding: bool,
    done: bool,
}

impl HeadLines {
    /// Looks at more bytes; true when both fields have been seen.
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        while !self.done && !bytes.is_empty() {
            let end = memchr::memchr(b'\n', bytes);
            let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            if let Some(free) = self.line.get_mut(self.len..) {
                for (slot, byte) in free.iter_mut().zip(piece) {
                    *slot = byte.to_ascii_lowercase();
                    self.len += 1;
                }
            }
            if end.is_none() {
                break;
            }
            let line = self.line.get(..self.len).unwrap_or_default();
            self.content_length |= line.starts_with(b"content-length:");
            self.transfer_encoding |= line.starts_with(b"transfer-encoding:");
            self.done = matches!(line, b"" | b"\r");
            self.len = 0;
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.content_length && self.transfer_encoding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_length_fields_are_seen_however_the_head_is_cut() {
        let head = b"POST / HTTP/1.1\r\nTRANSFER-encoding: chunked\r\nContent-Length: 3\r\n\r\n";
        for cut in 0..head.len() {
            let mut lines = HeadLines::default();
            let early = lines.take(&head[..cut]);
            assert!(lines.take(&head[cut..]) || early, "{cut}");
        }
        let mut lines = HeadLines::default();
        assert!(
            !lines.take(b"POST / HTTP/1.1\r\nContent-Length: 60\r\n\r\nTransfer-Encoding: a\r\n")
        );
    }

    #[test]
    fn verdicts_follow_head_and_idle_time() {
        let (client, _server) = tokio::io::duplex(64);
        let mut wire = Wire::new(client);
        let second = Duration::from_secs(1);
        let life = wire.watch(Protocol::Http1, second, 6 * second);
        let start = life.epoch;
        assert_eq!(life.next_look(), start + second);
        assert_eq!(life.verdict(start + second), Verdict::SlowHead, "the first head");
        life.begin(start);
        let later = start + 100 * second;
        assert_eq!(life.verdict(later), Verdict::LookAgain(later + second));
        life.end(later);
        assert_eq!(life.verdict(later + 5 * second), Verdict::LookAgain(later + 6 * second));
        assert_eq!(life.verdict(later + 6 * second), Verdict::Idle);
        wire.note_read(b"GET");
        assert_ne!(life.head_since.load(Ordering::Relaxed), NEVER);
    }

    #[tokio::test]
    async fn the_preface_is_told_from_a_request_byte_by_byte() {
        use tokio::io::AsyncWriteExt as _;
        for (text, protocol) in
            [(&PREFACE[..], Protocol::Http2), (b"POST / HTTP/1.1\r\n\r\n", Protocol::Http1)]
        {
            let (mut client, server) = tokio::io::duplex(1);
            let mut wire = Wire::new(server);
            let sent = text.to_vec();
            let send = async move {
                client.write_all(&sent).await.unwrap();
                client.shutdown().await.unwrap();
            };
            let receive = async {
                assert_eq!(wire.sniff().await.unwrap(), protocol);
                let mut all = Vec::new();
                wire.read_to_end(&mut all).await.unwrap();
                assert_eq!(all, text);
            };
            tokio::join!(send, receive);
        }
    }
}
