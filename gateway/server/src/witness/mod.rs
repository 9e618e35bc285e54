//! `cipher-hub witness`: a small witness after C2SP tlog-witness, for people without a witness
//! network. It runs elsewhere than the hub, in other hands, and signs what goes on from what it has
//! seen: whoever then alters or puts back the log cannot show that witness's signature.

mod settings;
mod state;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hub_audit::witness::Refused;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::tasks::Crew;
pub use settings::{LogSettings, Settings};
use state::State;

/// Most bytes of a submission: 63 hashes and a note with 64 signatures, some of them post-quantum.
const MAX_BODY: usize = 128 * 1024;
const CONNECTIONS: usize = 256;
/// Of one address: a log needs one, and nobody can keep it from that with all of them.
const CONNECTIONS_EACH: usize = 8;
/// For a handshake, a head, a body. There is one request a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a witness does not start.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// Its settings cannot be meant.
    #[error("{0}")]
    Settings(String),
    /// Its folder.
    #[error("the folder of the witness, `{}`: {reason}", path.display())]
    State {
        /// Which file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The address.
    #[error("cannot listen on `{address}`: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A signal handler.
    #[error("the process cannot be set up: {0}")]
    Process(#[from] std::io::Error),
}

/// A witness, bound and ready.
#[derive(Debug)]
pub struct Witness {
    state: Arc<State>,
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Witness {
    /// Opens or makes the witness's folder and binds its address.
    ///
    /// # Errors
    /// [`WitnessError`].
    pub fn open(settings: &Settings) -> BoxFuture<'_, Result<Self, WitnessError>> {
        Box::pin(Self::open_folder(settings))
    }

    async fn open_folder(settings: &Settings) -> Result<Self, WitnessError> {
        settings.check()?;
        let tls = settings.tls()?;
        let state = Arc::new(State::open(settings)?);
        let address = settings.listen;
        let failed = |source| WitnessError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { state, listener, address, tls })
    }

    /// The key it cosigns with, as C2SP vkey.
    #[must_use]
    pub fn verifier_key(&self) -> String {
        self.state.verifier_key().to_string()
    }

    /// The bound address, with its real port.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it speaks TLS.
    #[must_use]
    pub const fn encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Answers until the process is told to stop.
    ///
    /// # Errors
    /// When signals cannot be waited for.
    pub fn run(self) -> BoxFuture<'static, Result<(), WitnessError>> {
        Box::pin(self.answer_all())
    }

    async fn answer_all(self) -> Result<(), WitnessError> {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut term, mut int) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let crew = Crew::new();
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let seats = Seats::default();
        let acceptor = self.tls.map(TlsAcceptor::from);
        loop {
            let accepted = tokio::select! {
                _ = term.recv() => return Ok(()),
                _ = int.recv() => return Ok(()),
                accepted = self.listener.accept() => accepted,
            };
            let Ok((stream, from)) = accepted else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let Ok(slot) = Arc::clone(&room).try_acquire_owned() else { continue };
            let Some(seat) = Seat::take(&seats, from.ip()) else { continue };
            let (state, acceptor) = (Arc::clone(&self.state), acceptor.clone());
            crew.spawn(async move {
                match acceptor {
                    None => serve(stream, state).await,
                    Some(acceptor) => {
                        let shaken = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await;
                        if let Ok(Ok(stream)) = shaken {
                            serve(stream, state).await;
                        }
                    }
                }
                drop((slot, seat));
            });
        }
    }
}

/// How many connections each address has.
type Seats = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// One of them.
struct Seat {
    seats: Seats,
    of: IpAddr,
}

impl Seat {
    fn take(seats: &Seats, of: IpAddr) -> Option<Self> {
        let of = of.to_canonical();
        let mut taken = seats.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(of).or_default();
        if *count >= CONNECTIONS_EACH {
            return None;
        }
        *count += 1;
        Some(Self { seats: Arc::clone(seats), of })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = taken.entry(self.of) {
            *count.get_mut() = count.get().saturating_sub(1);
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

async fn serve<I>(stream: I, state: Arc<State>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut http1 = http1::Builder::new();
    http1
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .keep_alive(false)
        .max_headers(64)
        .max_buf_size(16 * 1024);
    let service = service_fn(move |request: Request<Incoming>| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(answer(&state, request).await) }
    });
    let _ = http1.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(state: &Arc<State>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str()) {
        (&Method::POST, "/add-checkpoint") => {
            let body = Limited::new(request.into_body(), MAX_BODY).collect();
            let body = match tokio::time::timeout(PATIENCE, body).await {
                Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the body is too slow\n"),
                Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                    return text(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long\n");
                }
                Ok(Err(_)) => return text(StatusCode::BAD_REQUEST, "the body cannot be read\n"),
                Ok(Ok(body)) => body.to_bytes(),
            };
            let Ok(body) = String::from_utf8(body.to_vec()) else {
                return text(StatusCode::BAD_REQUEST, "the body is no text\n");
            };
            add(state, body).await
        }
        (&Method::GET | &Method::HEAD, path) => {
            let hash = path.strip_prefix('/').and_then(|rest| rest.strip_suffix("/checkpoint"));
            match hash.and_then(|hash| state.note(hash)) {
                Some(note) => text(StatusCode::OK, note),
                None => text(StatusCode::NOT_FOUND, "no checkpoint here\n"),
            }
        }
        (_, "/add-checkpoint") => text(StatusCode::METHOD_NOT_ALLOWED, "only POST\n"),
        _ => text(StatusCode::NOT_FOUND, "there are /add-checkpoint and /<hash>/checkpoint\n"),
    }
}

async fn add(state: &Arc<State>, body: String) -> Response<Full<Bytes>> {
    // On a thread that may block, and not broken off when the caller goes away: what was decided
    // is written.
    let deciding = Arc::clone(state);
    let outcome = tokio::task::spawn_blocking(move || deciding.add(&body)).await;
    match outcome {
        Ok(Ok(Ok(line))) => text(StatusCode::OK, line),
        Ok(Ok(Err(refused))) => {
            let status = StatusCode::from_u16(refused.status());
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            if let Refused::Size(size) = refused {
                let mut reply = text(status, format!("{size}\n"));
                let kind = HeaderValue::from_static("text/x.tlog.size");
                reply.headers_mut().insert(CONTENT_TYPE, kind);
                return reply;
            }
            text(
                status,
                match refused {
                    Refused::Malformed | Refused::Size(_) => "the submission is malformed\n",
                    Refused::UnknownLog => "this witness does not know that log\n",
                    Refused::Signature => "no good signature of a known key of that log\n",
                    Refused::Inconsistent => "the checkpoint does not go on from what was seen\n",
                },
            )
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "nothing was signed: the state could not be written");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the state could not be written\n")
        }
        Err(error) => {
            tracing::error!(%error, "a submission failed");
            text(StatusCode::INTERNAL_SERVER_ERROR, "that failed\n")
        }
    }
}

fn text(status: StatusCode, page: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut reply = Response::new(Full::new(page.into()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_request_a_connection() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            name: "w.example".to_owned(),
            data_dir: dir.path().join("state"),
            ..Settings::default()
        };
        let state = Arc::new(State::open(&settings).unwrap());
        let (mut ours, theirs) = tokio::io::duplex(4096);
        let asking = async {
            ours.write_all(b"GET /00/checkpoint HTTP/1.1\r\nhost: w\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            ours.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let ((), answer) = tokio::join!(serve(theirs, state), asking);
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    }

    #[test]
    fn an_address_has_eight_seats() {
        let seats = Seats::default();
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let mut taken: Vec<_> =
            (0..CONNECTIONS_EACH).map(|_| Seat::take(&seats, one).unwrap()).collect();
        assert!(Seat::take(&seats, one).is_none());
        // The same one by its other name, and another one.
        assert!(Seat::take(&seats, "::ffff:192.0.2.1".parse().unwrap()).is_none());
        assert!(Seat::take(&seats, "192.0.2.2".parse().unwrap()).is_some());
        taken.pop();
        assert!(Seat::take(&seats, one).is_some());
        drop(taken);
        assert!(seats.lock().unwrap().is_empty());
    }
}
