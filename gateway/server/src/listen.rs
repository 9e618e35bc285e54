//! Sockets and connections: accept, handshake, HTTP/1.1 and HTTP/2, limits, drain.
//!
//! Protocols are told apart here and not by hyper-util's `auto`, whose sniffing has no time limit.
//! INVARIANT: every wait for the peer ends: handshake, head, body, request and idleness each have a
//! deadline, and a stop has one for all of them.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Response;
use hub_auth::{Channel, Peer};
use hub_model::principal::PeerAddress;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::config::ServerConfig;
use crate::inbound::{EdgeError, Inbound};
use crate::metrics::Metrics;
use crate::reply::ReplyBody;
use crate::tasks::{Crew, Shards};
use crate::throttle::Source;
use crate::tls::{self, Shown, Tls};

mod answer;
mod bind;
mod wire;

use answer::Connection;
pub use bind::ListenError;
use bind::UnixPath;
use wire::{Life, Protocol, Verdict, Wire};

const HEAD_BYTES: usize = 16 * 1024;
const HEAD_FIELDS: usize = 64;
/// The most that is read or written at once. Buffers grow to this for long bodies only.
const BUFFER: usize = 256 * 1024;
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long streams that were cut off may take to say so.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long an HTTP/2 peer may take to understand GOAWAY after it was idle for too long.
const FAREWELL: Duration = Duration::from_secs(5);

/// The answer type of the edge.
pub type Reply = Response<ReplyBody>;

/// Who answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers a well-formed request. A panic in here is caught, a long wait is cut off.
    fn handle(&self, inbound: Inbound) -> impl Future<Output = Reply> + Send;

    /// Puts a refusal of the edge into words.
    fn refuse(&self, error: EdgeError, request_id: &str) -> Reply;

    /// How long this request may take, where that is longer than others may.
    fn patience(&self, _inbound: &Inbound) -> Option<Duration> {
        None
    }

    /// Notes that a client certificate was not believed, for a reason from a fixed table.
    fn certificate_refused(&self, _address: PeerAddress, _reason: &'static str) {}

    /// Resolves when what it has started beside its answers has ended.
    fn finished(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

impl<H: Handler> Handler for Arc<H> {
    fn handle(&self, inbound: Inbound) -> impl Future<Output = Reply> + Send {
        H::handle(self, inbound)
    }

    fn refuse(&self, error: EdgeError, request_id: &str) -> Reply {
        H::refuse(self, error, request_id)
    }

    fn patience(&self, inbound: &Inbound) -> Option<Duration> {
        H::patience(self, inbound)
    }

    fn certificate_refused(&self, address: PeerAddress, reason: &'static str) {
        H::certificate_refused(self, address, reason);
    }

    fn finished(&self) -> impl Future<Output = ()> + Send {
        H::finished(self)
    }
}

/// Bound sockets and what answers on them.
pub struct Server<H> {
    tcp: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    unix: Option<(UnixListener, UnixPath)>,
    shards: Arc<Shards>,
    shared: Arc<Shared<H>>,
}

/// What all connections have in common.
struct Shared<H> {
    handler: H,
    metrics: Arc<Metrics>,
    tls: Option<Tls>,
    times: Times,
    drain: Duration,
    http1: http1::Builder,
    http2: http2::Builder<Crew>,
    crew: Crew,
    room: Arc<Semaphore>,
    per_source: Mutex<HashMap<Source, u32>>,
    per_source_max: u32,
    stop: CancellationToken,
    kill: CancellationToken,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    head: Duration,
    body: Duration,
    handshake: Duration,
    request: Duration,
    idle: Duration,
}

impl<H> std::fmt::Debug for Server<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl<H: Handler> Server<H> {
    /// Binds every socket of `config`; nothing is accepted before [`Server::run`].
    ///
    /// # Errors
    /// [`ListenError`] names the socket.
    pub fn bind(
        config: &ServerConfig,
        tls: Option<&Tls>,
        handler: H,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ListenError> {
        let mut tcp = Vec::new();
        let mut addresses = Vec::new();
        for address in &config.listen {
            let failed = |source| ListenError::Tcp { address: *address, source };
            let listener = bind::tcp(*address).map_err(failed)?;
            addresses.push(listener.local_addr().map_err(failed)?);
            tcp.push(listener);
        }
        let open = |path| bind::unix(path, config.unix_socket_mode);
        let unix = config.unix_socket.as_deref().map(open).transpose()?;
        let shards = Arc::new(Shards::start().map_err(ListenError::Threads)?);
        let crew = Crew::new();
        let connections = usize::try_from(config.max_connections.get()).unwrap_or(usize::MAX);
        let shared = Shared {
            handler,
            metrics,
            tls: tls.cloned(),
            times: Times {
                head: config.read_head_timeout,
                body: config.read_body_timeout,
                handshake: config.tls_handshake_timeout,
                request: config.request_timeout,
                idle: config.idle_timeout,
            },
            drain: config.drain_timeout,
            http1: http1_builder(),
            http2: http2_builder(crew.clone()),
            crew,
            room: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))),
            per_source: Mutex::default(),
            per_source_max: config.max_connections_per_address.get(),
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
        };
        Ok(Self { tcp, addresses, unix, shards, shared: Arc::new(shared) })
    }

    /// The bound TCP addresses, with their real ports.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The Unix socket.
    #[must_use]
    pub fn unix_path(&self) -> Option<&Path> {
        self.unix.as_ref().map(|(_, path)| path.0.as_path())
    }

    /// Serves until `stop`, then drains: nothing new is accepted, requests in flight may finish
    /// until the deadline, and what is left then is dropped. Gives the number of those.
    pub async fn run(self, stop: CancellationToken) -> usize {
        let Self { tcp, unix, shards, shared, .. } = self;
        let accepting = Crew::new();
        for listener in tcp {
            let (shared, shards) = (Arc::clone(&shared), Arc::clone(&shards));
            accepting.spawn(async move { shared.accept_tcp(listener, &shards).await });
        }
        let mut socket_file = None;
        if let Some((listener, path)) = unix {
            socket_file = Some(path);
            let (shared, shards) = (Arc::clone(&shared), Arc::clone(&shards));
            accepting.spawn(async move { shared.accept_unix(listener, &shards).await });
        }
        stop.cancelled().await;
        shared.stop.cancel();
        accepting.finished().await;
        drop(socket_file);
        let drained = tokio::time::timeout(shared.drain, shared.crew.finished()).await;
        let left = if drained.is_ok() { 0 } else { shared.crew.len() };
        if left > 0 {
            tracing::warn!(target: "hub::listen", connections = left, "dropped after the drain");
            shared.kill.cancel();
        }
        // A stream that was cut off still says so in the log, from the thread it lives on.
        let _ = tokio::time::timeout(LAST_WORDS, shared.handler.finished()).await;
        // Whoever accepted has ended, so this is the last handle.
        if let Some(shards) = Arc::into_inner(shards) {
            shards.end().await;
        }
        left
    }
}

impl<H: Handler> Shared<H> {
    async fn accept_tcp(self: Arc<Self>, listener: TcpListener, shards: &Shards) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause(&error).await;
                    continue;
                }
            };
            let channel = Channel::anonymous(PeerAddress::Ip(peer.ip()), self.tls.is_some());
            // A refused connection is closed here, before it costs anything.
            let Some(slot) = self.admit(channel.address) else { continue };
            let _ = stream.set_nodelay(true);
            // Leaves the runtime it was accepted in, to join that of its thread.
            let Ok(stream) = stream.into_std() else { continue };
            let shared = Arc::clone(&self);
            shards.spawn(&self.crew, async move {
                let Ok(stream) = TcpStream::from_std(stream) else { return };
                match &shared.tls {
                    None => Box::pin(shared.clone().plain(stream, channel)).await,
                    Some(tls) => {
                        let tls = tls.clone();
                        Box::pin(shared.clone().encrypted(tls, stream, channel)).await;
                    }
                }
                drop(slot);
            });
        }
    }

    async fn accept_unix(self: Arc<Self>, listener: UnixListener, shards: &Shards) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let Some(slot) = self.admit(PeerAddress::Unix) else { continue };
                    let mut channel = Channel::anonymous(PeerAddress::Unix, false);
                    if let Ok(peer) = stream.peer_cred() {
                        channel.peer = Peer::Unix { uid: peer.uid(), gid: peer.gid() };
                    }
                    let Ok(stream) = stream.into_std() else { continue };
                    let shared = Arc::clone(&self);
                    shards.spawn(&self.crew, async move {
                        let Ok(stream) = UnixStream::from_std(stream) else { return };
                        shared.plain(stream, channel).await;
                        drop(slot);
                    });
                }
                Err(error) => pause(&error).await,
            }
        }
    }

    /// A place for one connection, or `None` when there is none. The Unix socket belongs to one
    /// user, so only the limit in all binds there.
    fn admit(self: &Arc<Self>, address: PeerAddress) -> Option<Slot<H>> {
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else {
            self.metrics.connection_refused(false);
            return None;
        };
        let source = match Source::from(address) {
            Source::Unix => None,
            source => {
                let mut counts = self.counts();
                let count = counts.entry(source).or_insert(0);
                if *count >= self.per_source_max {
                    drop(counts);
                    self.metrics.connection_refused(true);
                    return None;
                }
                *count += 1;
                Some(source)
            }
        };
        self.metrics.connections.inc();
        Some(Slot { shared: Arc::clone(self), source, _room: room })
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, HashMap<Source, u32>> {
        self.per_source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn encrypted<I>(self: Arc<Self>, tls: Tls, stream: I, mut channel: Channel)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let begun = tls.handshake();
        let accepted = begun.acceptor.accept(stream).into_fallible();
        let handshake = tokio::time::timeout(self.times.handshake, accepted);
        let stream = tokio::select! {
            () = self.stop.cancelled() => return,
            stream = handshake => match stream {
                Ok(Ok(stream)) => stream,
                Ok(Err((error, stream))) => {
                    tracing::debug!(target: "hub::listen", %error, "handshake failed");
                    if let Some(reason) = tls::refusal(&error) {
                        self.handler.certificate_refused(channel.address, reason);
                        let _ = tokio::time::timeout(LAST_WORDS, heard(stream)).await;
                    }
                    return;
                }
                Err(_) => return,
            },
        };
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            _ => Protocol::Http1,
        };
        let shown = match tls.shown(&begun, stream.get_ref().1) {
            Ok(shown) => shown,
            Err(reason) => {
                self.handler.certificate_refused(channel.address, reason);
                return;
            }
        };
        if let Some(shown) = &shown {
            channel.peer = Peer::Certificate(Arc::clone(&shown.certificate));
        }
        self.serve(Wire::new(stream), protocol, channel, shown).await;
    }

    /// Without ALPN, the first bytes tell: HTTP/2 starts with a fixed preface (RFC 9113 §3.4).
    async fn plain<I>(self: Arc<Self>, stream: I, channel: Channel)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut wire = Wire::new(stream);
        let sniffed = tokio::time::timeout(self.times.head, wire.sniff());
        let protocol = tokio::select! {
            () = self.stop.cancelled() => return,
            sniffed = sniffed => match sniffed {
                Ok(Ok(protocol)) => protocol,
                Ok(Err(_)) | Err(_) => return,
            },
        };
        self.serve(wire, protocol, channel, None).await;
    }

    async fn serve<I>(
        self: Arc<Self>,
        mut wire: Wire<I>,
        protocol: Protocol,
        channel: Channel,
        shown: Option<Shown>,
    ) where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let life = wire.watch(protocol, self.times.head, self.times.idle);
        let connection = Arc::new(Connection::new(Arc::clone(&self), Arc::clone(&life), channel));
        let service = service_fn(move |request| {
            let connection = Arc::clone(&connection);
            async move { Ok::<_, Infallible>(connection.answer(request).await) }
        });
        let io = TokioIo::new(wire);
        // Boxed, as what is awaited on the way here: a future is as large as the largest of its branches,
        // once for each hand it goes through, and an idle connection would hold all of that.
        match protocol {
            Protocol::Http1 => {
                let served = Box::pin(self.http1.serve_connection(io, service));
                self.supervise(served, &life, shown.as_ref(), |connection| {
                    connection.graceful_shutdown();
                })
                .await;
            }
            Protocol::Http2 => {
                let served = Box::pin(self.http2.serve_connection(io, service));
                self.supervise(served, &life, shown.as_ref(), |connection| {
                    connection.graceful_shutdown();
                })
                .await;
            }
        }
    }

    /// Drives a connection until it ends, is told to stop and has done so, or has kept us waiting.
    async fn supervise<C, E>(
        &self,
        mut connection: Pin<Box<C>>,
        life: &Life,
        shown: Option<&Shown>,
        finish: impl Fn(Pin<&mut C>),
    ) where
        C: Future<Output = Result<(), E>>,
        E: std::fmt::Display,
    {
        // Own tokens and timer: a shared one would be locked by every connection at every turn.
        let stop = self.stop.child_token();
        let mut stopping = false;
        let mut alarm = std::pin::pin!(tokio::time::sleep_until(life.next_look().into()));
        // Only polled with a client certificate.
        let age = shown.map_or(self.times.idle, |shown| shown.age);
        let mut aged = std::pin::pin!(tokio::time::sleep(age));
        loop {
            tokio::select! {
                biased;
                // What it was believed for is gone: nothing that is under way is finished.
                () = withdrawn(shown), if shown.is_some() => {
                    tracing::info!(target: "hub::listen", "cut: its certificate is not believed");
                    return;
                }
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(target: "hub::listen", %error, "connection ended");
                    }
                    return;
                }
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    finish(connection.as_mut());
                }
                () = self.kill.cancelled(), if stopping => return,
                () = aged.as_mut(), if shown.is_some() && !stopping => {
                    stopping = true;
                    finish(connection.as_mut());
                    alarm.as_mut().reset((Instant::now() + FAREWELL).into());
                }
                () = alarm.as_mut() => match life.verdict(Instant::now()) {
                    Verdict::LookAgain(at) => alarm.as_mut().reset(at.into()),
                    Verdict::Idle if !stopping => {
                        stopping = true;
                        finish(connection.as_mut());
                        alarm.as_mut().reset((Instant::now() + FAREWELL).into());
                    }
                    Verdict::Idle | Verdict::SlowHead => return,
                },
            }
        }
    }
}

/// Lets the alert arrive: with TLS 1.3 a client has sent its request by then, and closing over what
/// was not read would take the alert back.
async fn heard(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    const MOST: usize = 64;
    let mut buffer = [0; 1024];
    if stream.shutdown().await.is_err() {
        return;
    }
    for _ in 0..MOST {
        if !matches!(stream.read(&mut buffer).await, Ok(1..)) {
            return;
        }
    }
}

async fn withdrawn(shown: Option<&Shown>) {
    match shown {
        Some(shown) => shown.cut().cancelled().await,
        None => std::future::pending().await,
    }
}

/// A place among the connections, given back when dropped.
struct Slot<H: Handler> {
    shared: Arc<Shared<H>>,
    source: Option<Source>,
    _room: OwnedSemaphorePermit,
}

impl<H: Handler> Drop for Slot<H> {
    fn drop(&mut self) {
        self.shared.metrics.connections.dec();
        let Some(source) = self.source else { return };
        let mut counts = self.shared.counts();
        if let Some(count) = counts.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&source);
            }
        }
    }
}

fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // `Life` watches head and idle times; hyper has one timer for both, reset per request.
        .header_read_timeout(None)
        .max_headers(HEAD_FIELDS)
        .max_header_size(HEAD_BYTES)
        .max_buf_size(BUFFER)
        .keep_alive(true)
        .half_close(false);
    builder
}

fn http2_builder(crew: Crew) -> http2::Builder<Crew> {
    const WINDOW: u32 = 64 * 1024;
    let mut builder = http2::Builder::new(crew);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(20)
        .max_header_list_size(16 * 1024)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(64 * 1024)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// Out of file descriptors, mostly: waiting lets connections end instead of spinning.
async fn pause(error: &io::Error) {
    let peer_gone =
        matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset);
    if !peer_gone {
        tracing::warn!(target: "hub::listen", %error, "cannot accept");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
