//! The yardstick: hyper as it comes, which reads a body whole and sends it back; a stream it sends
//! back as it comes in.

use std::convert::Infallible;
use std::io::{self, Write as _};

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::setup::STREAM;

/// Serves on a free port of loopback, named on stdout, until stdin ends: it must not outlive the
/// benchmark, however that ends.
pub(super) async fn serve() -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let mut out = io::stdout();
    writeln!(out, "{}", listener.local_addr()?)?;
    out.flush()?;
    let mut connections = JoinSet::new();
    let mut parent = tokio::io::stdin();
    let mut byte = [0_u8; 1];
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                connections.spawn(async move {
                    let service = service_fn(echo);
                    let io = TokioIo::new(stream);
                    let _ = http1::Builder::new().serve_connection(io, service).await;
                });
            }
            Some(_) = connections.join_next() => {}
            _ = parent.read(&mut byte) => return Ok(()),
        }
    }
}

type Echo = Either<Full<Bytes>, Incoming>;

async fn echo(request: Request<Incoming>) -> Result<Response<Echo>, Infallible> {
    if request.uri().path().ends_with(STREAM) {
        return Ok(Response::new(Either::Right(request.into_body())));
    }
    // A body that breaks off answers with nothing, which the generator counts as a failure.
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
    let mut reply = Response::new(Either::Left(Full::new(body.unwrap_or_default())));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(reply)
}
