//! The edge over real sockets: form, limits, protocols, drain.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking, their helpers too"
)]

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hub_server::body;
use hub_server::config::{ServerConfig, TlsConfig, TlsVersion};
use hub_server::inbound::{EdgeError, Inbound};
use hub_server::listen::{Handler, Reply, Server};
use hub_server::metrics::Metrics;
use hub_server::tls::Tls;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const LIMIT: usize = 1000;

struct Echo;

impl Handler for Echo {
    async fn handle(&self, mut inbound: Inbound) -> Reply {
        match inbound.path() {
            "/panic" => panic!("secret payload"),
            "/slow" => tokio::time::sleep(Duration::from_millis(150)).await,
            "/forever" => std::future::pending().await,
            _ => {}
        }
        let body = match body::read(&mut inbound, LIMIT).await {
            Ok(body) => body,
            Err(error) => return self.refuse(error, inbound.request_id()),
        };
        let line = format!(
            "{} {} {:?} tls={} {}",
            inbound.method(),
            inbound.path(),
            inbound.version(),
            inbound.channel().tls,
            String::from_utf8_lossy(&body)
        );
        Reply::new(Bytes::from(line).into())
    }

    fn refuse(&self, error: EdgeError, request_id: &str) -> Reply {
        let facts = error.facts();
        let mut reply =
            Reply::new(Bytes::from(format!("{} {error} {request_id}", facts.code)).into());
        *reply.status_mut() = facts.status;
        reply
    }
}

struct Edge {
    address: SocketAddr,
    stop: CancellationToken,
    metrics: Arc<Metrics>,
    running: JoinHandle<usize>,
}

fn config() -> ServerConfig {
    ServerConfig { listen: vec![([127, 0, 0, 1], 0).into()], ..ServerConfig::default() }
}

#[expect(clippy::disallowed_methods, reason = "a test starts its own server")]
fn start(config: &ServerConfig, tls: Option<&Tls>) -> Edge {
    let metrics = Arc::new(Metrics::new().unwrap());
    let server = Server::bind(config, tls, Echo, Arc::clone(&metrics)).unwrap();
    let address = server.addresses()[0];
    let stop = CancellationToken::new();
    let running = tokio::spawn(server.run(stop.clone()));
    Edge { address, stop, metrics, running }
}

impl Edge {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends these bytes and reads until the server closes or a second has passed.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // The server may close before it has everything.
        let _ = stream.write_all(bytes).await;
        read_all(&mut stream).await
    }

    async fn get(&self, path: &str) -> String {
        self.raw(&get(path)).await
    }
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n").into_bytes()
}

async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    let read = stream.read_to_end(&mut all);
    let _ = tokio::time::timeout(Duration::from_secs(5), read).await.expect("no answer in time");
    String::from_utf8_lossy(&all).into_owned()
}

/// The status of an answer; 0 when there is none.
fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn header<'a>(answer: &'a str, name: &str) -> &'a str {
    let line = answer.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_once(": ").map_or("", |(_, value)| value)
}

#[tokio::test]
async fn exactly_one_host_is_needed() {
    let edge = start(&config(), None);
    let send = async |hosts: &str| {
        let head = format!("GET /a HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n");
        edge.raw(head.as_bytes()).await
    };
    assert_eq!(status(&send("Host: hub:1\r\n").await), 200);
    for bad in ["", "Host: hub\r\nHost: hub\r\n", "Host: \r\n", "Host: a/b\r\n", "Host: a@b\r\n"] {
        let answer = send(bad).await;
        assert_eq!(status(&answer), 400, "{bad:?}");
        assert!(answer.contains("bad_request "), "{answer}");
        assert!(header(&answer, "x-request-id").starts_with("req_"), "{answer}");
    }
}

#[tokio::test]
async fn heads_are_bounded() {
    let edge = start(&config(), None);
    let fields = |count: usize| {
        let more: String = (0..count).map(|n| format!("x-{n}: 1\r\n")).collect();
        format!("GET /a HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n{more}\r\n")
    };
    assert_eq!(status(&edge.raw(fields(62).as_bytes()).await), 200, "64 fields");
    assert_eq!(status(&edge.raw(fields(63).as_bytes()).await), 431, "65 fields");
    let sized = |size: usize| {
        let value = "v".repeat(size);
        format!("GET /a HTTP/1.1\r\nHost: hub\r\nConnection: close\r\nx: {value}\r\n\r\n")
    };
    assert_eq!(status(&edge.raw(sized(16_000).as_bytes()).await), 200);
    assert_eq!(status(&edge.raw(sized(17_000).as_bytes()).await), 431);
}

#[tokio::test]
async fn slow_heads_and_idle_connections_are_closed() {
    let config = ServerConfig {
        read_head_timeout: Duration::from_millis(80),
        idle_timeout: Duration::from_millis(240),
        ..config()
    };
    let edge = start(&config, None);
    // Not a byte, half of the HTTP/2 preface, half a head: each is closed after the head time.
    for start in [&b""[..], b"PRI * HT", b"GET /a HTTP/1.1\r\nHost: h"] {
        let began = Instant::now();
        let answer = edge.raw(start).await;
        let took = began.elapsed();
        assert_eq!(answer, "");
        assert!(took >= Duration::from_millis(75) && took < Duration::from_secs(2), "{took:?}");
    }
    // A connection that has served may idle for longer than a head may take, but not for ever.
    let mut stream = edge.connect().await;
    let began = Instant::now();
    stream.write_all(b"GET /a HTTP/1.1\r\nHost: hub\r\n\r\n").await.unwrap();
    assert_eq!(status(&read_all(&mut stream).await), 200);
    assert!(began.elapsed() >= Duration::from_millis(230), "{:?}", began.elapsed());
    // The second head on a connection has its deadline too.
    let mut stream = edge.connect().await;
    stream.write_all(b"GET /a HTTP/1.1\r\nHost: hub\r\n\r\n").await.unwrap();
    let mut answer = [0; 16];
    stream.read_exact(&mut answer).await.unwrap();
    let began = Instant::now();
    stream.write_all(b"GET /b HTTP/1.1\r\n").await.unwrap();
    read_all(&mut stream).await;
    assert!(began.elapsed() < Duration::from_millis(230), "{:?}", began.elapsed());
}

#[tokio::test]
async fn bodies_are_bounded_in_size() {
    let edge = start(&config(), None);
    let head = "POST /a HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n";
    let lengthy = |size: usize| format!("{head}Content-Length: {size}\r\n\r\n{}", "b".repeat(size));
    let answer = edge.raw(lengthy(LIMIT).as_bytes()).await;
    assert!(status(&answer) == 200 && answer.ends_with(&"b".repeat(LIMIT)), "{answer}");
    let answer = edge.raw(lengthy(LIMIT + 1).as_bytes()).await;
    assert!(status(&answer) == 413 && answer.contains("body_too_large "), "{answer}");
    // Announced only: refused before it is sent.
    let announced = format!("{head}Content-Length: 9999999\r\n\r\n");
    assert_eq!(status(&edge.raw(announced.as_bytes()).await), 413);

    let chunk = format!("{:x}\r\n{}\r\n", 400, "c".repeat(400));
    let chunked = |count: usize| {
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(count))
    };
    let answer = edge.raw(chunked(2).as_bytes()).await;
    assert!(status(&answer) == 200 && answer.ends_with(&"c".repeat(800)), "{answer}");
    assert_eq!(status(&edge.raw(chunked(3).as_bytes()).await), 413);
}

#[tokio::test]
async fn bodies_are_bounded_in_time_and_not_encoded() {
    let config = ServerConfig { read_body_timeout: Duration::from_millis(60), ..config() };
    let edge = start(&config, None);
    let head = "POST /a HTTP/1.1\r\nHost: hub\r\nConnection: close\r\nContent-Length: 9\r\n";
    let answer = edge.raw(format!("{head}\r\nslow").as_bytes()).await;
    assert!(status(&answer) == 408 && answer.contains("body_timeout "), "{answer}");
    let gzip = format!("{head}Content-Encoding: gzip\r\n\r\n123456789");
    assert_eq!(status(&edge.raw(gzip.as_bytes()).await), 415);
    let identity = format!("{head}Content-Encoding: identity\r\n\r\n123456789");
    assert_eq!(status(&edge.raw(identity.as_bytes()).await), 200);
}

#[tokio::test]
async fn both_length_fields_are_refused_in_either_order() {
    let edge = start(&config(), None);
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
    ] {
        let request = format!("POST /a HTTP/1.1\r\nHost: hub\r\n{fields}\r\n0\r\n\r\n");
        let answer = edge.raw(request.as_bytes()).await;
        assert_eq!(status(&answer), 400, "{answer}");
        assert_eq!(header(&answer, "connection"), "close", "{answer}");
    }
    let twice = "Content-Length: 5\r\nContent-Length: 6\r\n";
    let request = format!("POST /a HTTP/1.1\r\nHost: hub\r\n{twice}\r\nhello");
    assert_eq!(status(&edge.raw(request.as_bytes()).await), 400);
}

#[tokio::test]
async fn ambiguous_paths_are_refused() {
    let edge = start(&config(), None);
    for path in
        ["/a/../b", "/./a", "/a//b", "/a%2Fb", "/a%2fb", "/a%00b", "/a%5Cb", "/a\\b", "/%2e%2e/a"]
    {
        assert_eq!(status(&edge.get(path).await), 400, "{path}");
    }
    let answer = edge.get("/v1/keys/k%3Aencrypt?x=1").await;
    assert!(answer.contains("GET /v1/keys/k:encrypt HTTP/1.1 tls=false"), "{answer}");
    let answer = edge.get("http://hub/v1/keys").await;
    assert!(answer.contains("GET /v1/keys HTTP/1.1"), "{answer}");
    for head in ["OPTIONS * HTTP/1.1\r\n", "CONNECT hub:1 HTTP/1.1\r\n"] {
        let request = format!("{head}Host: hub\r\nConnection: close\r\n\r\n");
        assert_eq!(status(&edge.raw(request.as_bytes()).await), 400, "{head}");
    }
}

#[tokio::test]
async fn request_ids_are_echoed_or_replaced() {
    let edge = start(&config(), None);
    let send = async |id: &str| {
        let request = format!(
            "GET /a HTTP/1.1\r\nHost: h\r\nX-Request-Id: {id}\r\nConnection: close\r\n\r\n"
        );
        let answer = edge.raw(request.as_bytes()).await;
        assert_eq!(header(&answer, "cache-control"), "no-store");
        assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
        header(&answer, "x-request-id").to_owned()
    };
    assert_eq!(send("my-id.1_2").await, "my-id.1_2");
    for bad in ["", "a b", "a\"b", "\u{9b}2J", &"x".repeat(129)] {
        let id = send(bad).await;
        assert!(id.parse::<hub_model::RequestId>().is_ok(), "{bad:?} {id}");
    }
    let mut stream = edge.connect().await;
    let twice = "GET /a HTTP/1.1\r\nHost: hub\r\n\r\n".to_owned()
        + std::str::from_utf8(&get("/b")).unwrap();
    stream.write_all(twice.as_bytes()).await.unwrap();
    let answer = read_all(&mut stream).await;
    let ids: Vec<_> = answer.lines().filter(|line| line.starts_with("x-request-id")).collect();
    assert!(ids.len() == 2 && ids[0] < ids[1], "{ids:?}");
}

#[tokio::test]
async fn a_panic_is_an_answer_and_the_server_lives() {
    let edge = start(&config(), None);
    let answer = edge.get("/panic").await;
    assert!(status(&answer) == 500 && answer.contains("internal "), "{answer}");
    assert!(!answer.contains("secret payload"));
    assert_eq!(status(&edge.get("/a").await), 200);
    assert_eq!(edge.metrics.active_requests.get(), 0);
}

#[tokio::test]
async fn requests_are_bounded_in_time() {
    let config = ServerConfig { request_timeout: Duration::from_millis(60), ..config() };
    let edge = start(&config, None);
    let answer = edge.get("/forever").await;
    assert!(status(&answer) == 503 && answer.contains("request_timeout "), "{answer}");
}

#[tokio::test]
async fn connections_are_bounded_per_address_and_in_all() {
    let two = std::num::NonZeroU32::new(2).unwrap();
    for config in [
        ServerConfig { max_connections_per_address: two, ..config() },
        ServerConfig { max_connections: two, ..config() },
    ] {
        let edge = start(&config, None);
        let mut open = Vec::new();
        for _ in 0..2 {
            let mut stream = edge.connect().await;
            stream.write_all(b"GET /a HTTP/1.1\r\nHost: hub\r\n\r\n").await.unwrap();
            stream.read_exact(&mut [0; 16]).await.unwrap();
            open.push(stream);
        }
        assert_eq!(edge.metrics.connections.get(), 2);
        assert_eq!(edge.get("/a").await, "", "closed at once");
        assert!(edge.metrics.render().unwrap().contains("refused_total{scope=\""));
        drop(open.pop());
        eventually(|| edge.metrics.connections.get() == 1).await;
        assert_eq!(status(&edge.get("/a").await), 200);
    }
}

async fn eventually(done: impl Fn() -> bool) {
    for _ in 0..500 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("did not happen");
}

#[tokio::test]
async fn a_stop_lets_requests_in_flight_finish() {
    let edge = start(&config(), None);
    let mut idle = edge.connect().await;
    idle.write_all(b"GET /a HTTP/1.1\r\nHost: hub\r\n\r\n").await.unwrap();
    idle.read_exact(&mut [0; 16]).await.unwrap();
    let mut busy = edge.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: hub\r\n\r\n").await.unwrap();
    eventually(|| edge.metrics.active_requests.get() == 1).await;
    edge.stop.cancel();
    let answer = read_all(&mut busy).await;
    assert!(status(&answer) == 200 && header(&answer, "connection") == "close", "{answer}");
    read_all(&mut idle).await;
    assert_eq!(edge.running.await.unwrap(), 0);
    assert!(TcpStream::connect(edge.address).await.is_err());
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline() {
    let config = ServerConfig { drain_timeout: Duration::from_millis(50), ..config() };
    let edge = start(&config, None);
    let mut stuck = edge.connect().await;
    stuck.write_all(b"GET /forever HTTP/1.1\r\nHost: hub\r\n\r\n").await.unwrap();
    eventually(|| edge.metrics.active_requests.get() == 1).await;
    edge.stop.cancel();
    assert_eq!(edge.running.await.unwrap(), 1);
    assert_eq!(read_all(&mut stuck).await, "");
}

#[tokio::test]
async fn the_unix_socket_serves() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run/hub.sock");
    let config = ServerConfig { unix_socket: Some(path.clone()), ..config() };
    let edge = start(&config, None);
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(&get("/a")).await.unwrap();
    assert_eq!(status(&read_all(&mut stream).await), 200);
    edge.stop.cancel();
    edge.running.await.unwrap();
    assert!(!path.exists());
}

/// One request over HTTP/2, after a connection has been made.
#[expect(clippy::disallowed_methods, reason = "the client's connection needs a task")]
async fn over_http2<I>(io: I, request: hyper::Request<Full<Bytes>>) -> (u16, String)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io))
            .await
            .unwrap();
    tokio::spawn(connection);
    let reply = sender.send_request(request).await.unwrap();
    let status = reply.status().as_u16();
    assert_eq!(reply.headers()["cache-control"], "no-store");
    let body = reply.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

fn request(uri: &str) -> hyper::Request<Full<Bytes>> {
    hyper::Request::post(uri).body(Full::new(Bytes::from_static(b"hello"))).unwrap()
}

#[tokio::test]
async fn http2_is_spoken_with_prior_knowledge() {
    let edge = start(&config(), None);
    let (status, text) = over_http2(edge.connect().await, request("http://hub/a")).await;
    assert_eq!((status, text.as_str()), (200, "POST /a HTTP/2.0 tls=false hello"));
    let (status, _) = over_http2(edge.connect().await, request("http://hub/a/../b")).await;
    assert_eq!(status, 400);
    let mut other = request("http://hub/a");
    other.headers_mut().insert("host", "elsewhere".parse().unwrap());
    assert_eq!(over_http2(edge.connect().await, other).await.0, 400);
    assert_eq!(over_http2(edge.connect().await, request("http://hub/panic")).await.0, 500);
    let mut large = request("http://hub/a");
    *large.body_mut() = Full::new(Bytes::from(vec![b'x'; LIMIT + 1]));
    assert_eq!(over_http2(edge.connect().await, large).await.0, 413);
    edge.stop.cancel();
    edge.running.await.unwrap();
}

#[tokio::test]
async fn idle_http2_connections_are_told_to_go() {
    let config = ServerConfig { idle_timeout: Duration::from_millis(60), ..config() };
    let edge = start(&config, None);
    let (status, _) = over_http2(edge.connect().await, request("http://hub/a")).await;
    assert_eq!(status, 200);
    eventually(|| edge.metrics.connections.get() == 0).await;
}

struct Certificate {
    _dir: tempfile::TempDir,
    cert: PathBuf,
    key: PathBuf,
}

fn certificate() -> Certificate {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    Certificate { _dir: dir, cert, key }
}

fn server_tls(certificate: &Certificate, min_version: TlsVersion) -> Tls {
    let config = TlsConfig {
        cert_file: Some(certificate.cert.clone()),
        key_file: Some(certificate.key.clone()),
        min_version,
        ..TlsConfig::default()
    };
    Tls::load(&config).unwrap().unwrap()
}

async fn handshake(
    edge: &Edge,
    cert: &Path,
    alpn: &[&str],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, edge.connect().await).await
}

#[tokio::test]
async fn tls_carries_both_protocols() {
    let certificate = certificate();
    let edge = start(&config(), Some(&server_tls(&certificate, TlsVersion::V1_3)));
    let v13 = &[&rustls::version::TLS13];
    let stream = handshake(&edge, &certificate.cert, &["h2", "http/1.1"], v13).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (status_, text) = over_http2(stream, request("https://localhost/a")).await;
    assert_eq!((status_, text.as_str()), (200, "POST /a HTTP/2.0 tls=true hello"));

    let mut stream = handshake(&edge, &certificate.cert, &["http/1.1"], v13).await.unwrap();
    stream.write_all(&get("/a")).await.unwrap();
    let answer = read_all(&mut stream).await;
    assert!(status(&answer) == 200 && answer.contains("HTTP/1.1 tls=true"), "{answer}");
}

#[tokio::test]
async fn tls_1_2_is_spoken_only_when_asked_for() {
    let certificate = certificate();
    let v12 = &[&rustls::version::TLS12];
    let edge = start(&config(), Some(&server_tls(&certificate, TlsVersion::V1_3)));
    assert!(handshake(&edge, &certificate.cert, &["http/1.1"], v12).await.is_err());
    let edge = start(&config(), Some(&server_tls(&certificate, TlsVersion::V1_2)));
    handshake(&edge, &certificate.cert, &["http/1.1"], v12).await.unwrap();
}

#[tokio::test]
async fn a_silent_handshake_and_plain_text_are_closed() {
    let certificate = certificate();
    let config = ServerConfig { tls_handshake_timeout: Duration::from_millis(60), ..config() };
    let edge = start(&config, Some(&server_tls(&certificate, TlsVersion::V1_3)));
    assert_eq!(edge.raw(b"").await, "");
    assert!(!edge.get("/a").await.contains("HTTP/1.1 200"));
}

/// A bare hyper server against ours, for `docs/reliability.md`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: run with --release --ignored --nocapture"]
#[expect(clippy::disallowed_methods, reason = "a test starts its own server")]
async fn overhead_over_bare_hyper() {
    async fn ask(address: SocketAddr, rounds: u32) -> Duration {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut stream = stream;
        let mut buffer = [0; 4096];
        let began = Instant::now();
        for _ in 0..rounds {
            stream.write_all(b"GET /a HTTP/1.1\r\nHost: hub\r\n\r\n").await.unwrap();
            assert!(stream.read(&mut buffer).await.unwrap() > 0);
        }
        began.elapsed() / rounds
    }
    struct Trivial;
    impl Handler for Trivial {
        fn handle(&self, _: Inbound) -> impl Future<Output = Reply> + Send {
            std::future::ready(Reply::new(Bytes::from_static(b"ok").into()))
        }
        fn refuse(&self, _: EdgeError, _: &str) -> Reply {
            Reply::new(Bytes::new().into())
        }
    }
    let server = Server::bind(&config(), None, Trivial, Arc::new(Metrics::new().unwrap())).unwrap();
    let ours = server.addresses()[0];
    tokio::spawn(server.run(CancellationToken::new()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bare = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let service = hyper::service::service_fn(|_| async {
                Ok::<_, std::convert::Infallible>(Reply::new(Bytes::from_static(b"ok").into()))
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .timer(hyper_util::rt::TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    // Short turns in alternation, and the best of each: other load only ever adds.
    let mut best = [Duration::MAX; 2];
    for _ in 0..60 {
        for (best, address) in best.iter_mut().zip([bare, ours]) {
            *best = ask(address, 500).await.min(*best);
        }
    }
    println!("per request: bare hyper {:?}, ours {:?}", best[0], best[1]);
}
