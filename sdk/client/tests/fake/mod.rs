//! A tiny hub: answers from a closure, remembers what it was asked.

#![expect(clippy::unwrap_used, reason = "test code, outside a test function")]

use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub(crate) type Asked = Request<Bytes>;
pub(crate) type Told = Response<Full<Bytes>>;
type Handler = dyn Fn(&Asked, usize) -> Told + Send + Sync;

/// The requests seen, in order. Dropping it ends the hub.
pub(crate) struct Fake {
    pub(crate) address: String,
    seen: Arc<Mutex<Vec<Asked>>>,
    _tasks: JoinSet<()>,
}

impl Fake {
    pub(crate) async fn http(
        handler: impl Fn(&Asked, usize) -> Told + Send + Sync + 'static,
    ) -> Self {
        Self::tcp(None, handler).await
    }

    pub(crate) async fn https(
        acceptor: TlsAcceptor,
        handler: impl Fn(&Asked, usize) -> Told + Send + Sync + 'static,
    ) -> Self {
        Self::tcp(Some(acceptor), handler).await
    }

    async fn tcp(
        acceptor: Option<TlsAcceptor>,
        handler: impl Fn(&Asked, usize) -> Told + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let address = format!("{scheme}://{}", listener.local_addr().unwrap());
        let seen = Arc::<Mutex<Vec<Asked>>>::default();
        let (remember, handler) = (seen.clone(), Arc::new(handler));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (remember, handler) = (remember.clone(), handler.clone());
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    match acceptor {
                        None => serve(stream, remember, handler).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, remember, handler).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, seen, _tasks: tasks }
    }

    pub(crate) fn unix(
        path: &Path,
        handler: impl Fn(&Asked, usize) -> Told + Send + Sync + 'static,
    ) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let seen = Arc::<Mutex<Vec<Asked>>>::default();
        let (remember, handler) = (seen.clone(), Arc::new(handler));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, remember.clone(), handler.clone()));
            }
        });
        Self { address: format!("unix:{}", path.display()), seen, _tasks: tasks }
    }

    pub(crate) fn seen(&self) -> Vec<Asked> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    seen: Arc<Mutex<Vec<Asked>>>,
    handler: Arc<Handler>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (seen, handler) = (seen.clone(), handler.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let asked = Request::from_parts(head, body);
            let number = {
                let mut seen = seen.lock().unwrap();
                seen.push(asked.clone());
                seen.len()
            };
            Ok::<_, Infallible>(handler(&asked, number))
        }
    });
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

pub(crate) fn json(status: u16, body: &str) -> Told {
    let mut told = Response::new(Full::new(Bytes::from(body.to_owned())));
    *told.status_mut() = StatusCode::from_u16(status).unwrap();
    told.headers_mut().insert("etag", "\"7\"".parse().unwrap());
    told
}

pub(crate) fn problem(status: u16, code: &str, retryable: bool) -> Told {
    let body = format!(
        r#"{{"type":"https://example.invalid/{code}","title":"t","status":{status},
            "detail":"what happened","code":"{code}","retryable":{retryable},
            "decisionId":"dec_1"}}"#
    );
    let mut told = json(status, &body);
    told.headers_mut().insert("x-request-id", "req-of-hub".parse().unwrap());
    told.headers_mut().insert("retry-after", "0".parse().unwrap());
    told
}
