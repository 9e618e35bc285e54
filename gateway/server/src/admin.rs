//! The management listener: health and metrics over plain HTTP on its own address. It shows no
//! secret, key, name or address.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::tasks::Crew;

const CONNECTIONS: usize = 64;
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// One thing that must be well for the hub to be ready.
#[derive(Clone, Debug)]
pub struct Check(Arc<CheckState>);

#[derive(Debug)]
struct CheckState {
    name: &'static str,
    well: AtomicBool,
    reason: ArcSwap<String>,
}

impl Check {
    fn new(name: &'static str, reason: &str) -> Self {
        Self(Arc::new(CheckState {
            name,
            well: AtomicBool::new(false),
            reason: ArcSwap::from_pointee(reason.to_owned()),
        }))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// All is well.
    pub fn pass(&self) {
        self.0.well.store(true, Ordering::Release);
    }

    /// It is not, and why: a sentence without secrets, keys or names.
    pub fn fail(&self, reason: impl Into<String>) {
        self.0.reason.store(Arc::new(reason.into()));
        self.0.well.store(false, Ordering::Release);
    }

    /// Whether all is well: one atomic read.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.0.well.load(Ordering::Acquire)
    }

    /// Why it is not.
    #[must_use]
    pub fn reason(&self) -> Arc<String> {
        self.0.reason.load_full()
    }
}

/// The health of the process. A sealed hub is live and started but not ready, so an orchestrator
/// waits for the unseal instead of restarting it.
#[derive(Debug)]
pub struct Health {
    /// Configuration, store and policies are loaded.
    pub started: Check,
    /// The root key is open.
    pub unsealed: Check,
    /// The store takes writes.
    pub store: Check,
    /// The audit log takes entries: nothing is done unlogged.
    pub audit: Check,
    /// Requests are taken: fails once a stop was asked for.
    pub accepting: Check,
    more: Mutex<Vec<Check>>,
}

impl Default for Health {
    fn default() -> Self {
        let accepting = Check::new("accepting", "stopping");
        accepting.pass();
        Self {
            started: Check::new("started", "starting"),
            unsealed: Check::new("unsealed", "sealed"),
            store: Check::new("store", "not opened yet"),
            audit: Check::new("audit", "not opened yet"),
            accepting,
            more: Mutex::default(),
        }
    }
}

impl Health {
    /// Nothing started yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check that readiness depends on; it fails until it passes.
    #[must_use]
    pub fn add(&self, name: &'static str) -> Check {
        let check = Check::new(name, "not known yet");
        self.more.lock().unwrap_or_else(PoisonError::into_inner).push(check.clone());
        check
    }

    /// Whether requests can be served.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.checks().iter().all(Check::is_well)
    }

    /// Every check.
    #[must_use]
    pub fn checks(&self) -> Vec<Check> {
        let own = [&self.started, &self.unsealed, &self.store, &self.audit, &self.accepting];
        let more = self.more.lock().unwrap_or_else(PoisonError::into_inner);
        own.into_iter().chain(more.iter()).cloned().collect()
    }
}

/// The management listener, bound.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    pages: Arc<Pages>,
}

#[derive(Debug)]
struct Pages {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

impl Admin {
    /// Binds `address` (`server.management_listen`).
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn bind(
        address: SocketAddr,
        health: Arc<Health>,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, pages: Arc::new(Pages { health, metrics }) })
    }

    /// The bound address, with its real port.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`. Let it run during the drain, so that probes see "not ready".
    pub async fn run(self, stop: CancellationToken) {
        let crew = Crew::new();
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_headers(64)
            .max_header_size(16 * 1024);
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let Ok(slot) = Arc::clone(&room).try_acquire_owned() else { continue };
            let pages = Arc::clone(&self.pages);
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let reply = pages.answer(request.method(), request.uri());
                async move { Ok::<_, Infallible>(reply) }
            });
            let connection = http1.serve_connection(TokioIo::new(stream), service);
            let stop = stop.clone();
            crew.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    _ = connection => {}
                }
                drop(slot);
            });
        }
    }
}

impl Pages {
    fn answer(&self, method: &Method, uri: &http::Uri) -> Response<Full<Bytes>> {
        let verbose =
            uri.query().is_some_and(|q| q.split('&').any(|p| p == "verbose" || p == "verbose=1"));
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".into());
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return reply;
        }
        match uri.path() {
            "/livez" => text(StatusCode::OK, "ok\n".into()),
            "/startupz" => health(std::slice::from_ref(&self.health.started), verbose),
            "/readyz" | "/healthz" => health(&self.health.checks(), verbose),
            "/metrics" => match self.metrics.render() {
                Ok(page) => {
                    let mut reply = text(StatusCode::OK, page);
                    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                    reply.headers_mut().insert(CONTENT_TYPE, kind);
                    reply
                }
                Err(error) => {
                    tracing::error!(target: "hub::admin", %error, "metrics cannot be written");
                    text(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written\n".into())
                }
            },
            _ => text(
                StatusCode::NOT_FOUND,
                "there are /livez, /startupz, /readyz and /metrics\n".into(),
            ),
        }
    }
}

fn health(checks: &[Check], verbose: bool) -> Response<Full<Bytes>> {
    let well = checks.iter().all(Check::is_well);
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut page = String::new();
    if verbose {
        for check in checks {
            let _ = if check.is_well() {
                writeln!(page, "[+] {} ok", check.name())
            } else {
                writeln!(page, "[-] {} failed: {}", check.name(), check.reason())
            };
        }
    }
    page.push_str(if well { "ok\n" } else { "not ready\n" });
    text(status, page)
}

fn text(status: StatusCode, page: String) -> Response<Full<Bytes>> {
    let mut reply = Response::new(Full::new(Bytes::from(page)));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages() -> Pages {
        Pages { health: Arc::new(Health::new()), metrics: Arc::new(Metrics::new().unwrap()) }
    }

    fn status(pages: &Pages, path: &'static str) -> u16 {
        pages.answer(&Method::GET, &http::Uri::from_static(path)).status().as_u16()
    }

    #[test]
    fn a_sealed_hub_is_live_and_started_but_not_ready() {
        let pages = pages();
        assert_eq!((status(&pages, "/livez"), status(&pages, "/startupz")), (200, 503));
        let health = &pages.health;
        for check in [&health.started, &health.store, &health.audit] {
            check.pass();
        }
        assert_eq!((status(&pages, "/startupz"), status(&pages, "/readyz?verbose")), (200, 503));
        health.unsealed.pass();
        assert_eq!((status(&pages, "/readyz"), status(&pages, "/healthz")), (200, 200));
        let more = health.add("policies");
        assert!(!health.is_ready());
        more.pass();
        health.accepting.fail("stopping");
        assert_eq!((status(&pages, "/readyz"), status(&pages, "/livez")), (503, 200));
        assert_eq!((status(&pages, "/"), status(&pages, "/metrics")), (404, 200));
        let post = pages.answer(&Method::POST, &http::Uri::from_static("/livez"));
        assert_eq!(post.status(), 405);
    }
}
