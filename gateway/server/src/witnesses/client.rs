//! One request to a witness (C2SP tlog-witness), as little of HTTP as that takes: no redirects, no
//! proxies, a bounded answer.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const AGENT: &str = concat!("cipher-hub/", env!("CARGO_PKG_VERSION"));
/// Most bytes of an answer: sixteen signature lines, the largest post-quantum ones.
const MOST: usize = 128 * 1024;

/// What a witness answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) text: String,
}

/// Asks `base` + `path`; the caller bounds the time.
pub(super) async fn ask(
    base: &Uri,
    ca_file: Option<&Path>,
    method: Method,
    path: &str,
    body: String,
) -> Result<Answer, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let authority = base.authority().ok_or("its URL has no host")?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let encrypted = base.scheme_str() == Some("https");
    let port = authority.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
    let prefix = base.path().trim_end_matches('/');
    let request = Request::builder()
        .method(method)
        .uri(format!("{prefix}{path}"))
        .header(HOST, authority.as_str())
        .header(CONTENT_TYPE, "text/plain; charset=utf-8")
        .header(USER_AGENT, AGENT)
        .header(CONNECTION, "close")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| text(&error))?;
    let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(|error| text(&error))?;
    if !encrypted {
        return exchange(tcp, request).await;
    }
    let config = crate::jwks::fetch::config(ca_file).await.map_err(|error| text(&error))?;
    let name = ServerName::try_from(host).map_err(|error| text(&error))?;
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
    exchange(tls.map_err(|error| text(&error))?, request).await
}

async fn exchange<I>(io: I, request: Request<Full<Bytes>>) -> Result<Answer, String>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(64 * 1024);
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(io)).await.map_err(|error| text(&error))?;
    // Ends with this function, also when that is given up.
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(async move {
        let _ = connection.await;
    });
    let response = sender.send_request(request).await.map_err(|error| text(&error))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MOST).collect().await;
    let body = body.map_err(|error| text(&error))?.to_bytes();
    let text = String::from_utf8(body.to_vec()).map_err(|_| "its answer is no text".to_owned())?;
    Ok(Answer { status, text })
}
