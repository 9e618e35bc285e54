//! Metrics in the Prometheus text format.
//!
//! The `prometheus` crate is used directly, not OpenTelemetry's metrics: its handles are single
//! atomics that can be made once per route and kept, while the SDK looks the attribute set up on
//! every call. Labels are words from fixed tables; they never hold a key, participant or address.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use hub_model::algorithm::ALGORITHMS;
use hub_model::{Action, Algorithm};
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts,
    Registry, TextEncoder,
};

/// Buckets of request durations in seconds: crypto requests take some 100 µs.
const SECONDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// The statuses the hub answers with; others share the slot of the last, `other`.
const STATUSES: [u16; 22] = [
    200, 201, 202, 204, 304, 400, 401, 403, 404, 405, 406, 408, 409, 412, 413, 415, 422, 428, 429,
    500, 503, 0,
];

/// How a crypto operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Ok,
    /// It was refused.
    Denied,
    /// It failed.
    Failed,
}

const OUTCOMES: [(Outcome, &str); 3] =
    [(Outcome::Ok, "ok"), (Outcome::Denied, "denied"), (Outcome::Failed, "failed")];

type Sample = Box<dyn Fn() -> Option<f64> + Send + Sync>;

/// Every instrument of the process.
pub struct Metrics {
    registry: Registry,
    requests: HistogramVec,
    crypto: IntCounterVec,
    crypto_handles: Vec<OnceLock<IntCounter>>,
    allow: IntCounter,
    deny: IntCounter,
    decision_errors: IntCounter,
    auth_failures: IntCounterVec,
    limited_address: IntCounter,
    limited_participant: IntCounter,
    limited_quota: IntCounter,
    limited_block: IntCounter,
    abuse: IntCounterVec,
    refused_total: IntCounter,
    refused_address: IntCounter,
    /// Requests being answered.
    pub active_requests: IntGauge,
    /// Open connections.
    pub connections: IntGauge,
    /// 1 while the policy files on disk are not good and an older set decides.
    pub policy_reload_failed: IntGauge,
    /// Audit entries committed.
    pub audit_events: IntCounter,
    /// Requests the edge refused before any route was known, panics included.
    pub edge_refusals: IntCounter,
    sampled: Mutex<Vec<(Gauge, Sample)>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// All instruments at zero, and the resident memory of the process.
    ///
    /// # Errors
    /// When a name is taken twice, which a test rules out.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let requests = HistogramVec::new(
            HistogramOpts::new(
                "http_server_request_duration_seconds",
                "Duration of HTTP requests, from the complete head to the response.",
            )
            .buckets(SECONDS.to_vec()),
            &["http_request_method", "http_route", "http_response_status_code"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let family = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(family.clone()))?;
            prometheus::Result::Ok(family)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            prometheus::Result::Ok(gauge)
        };
        let decisions =
            counters("cipher_hub_policy_decisions_total", "Policy decisions.", &["decision"])?;
        let limited = counters(
            "cipher_hub_ratelimit_rejections_total",
            "Requests refused by a rate gate.",
            &["scope"],
        )?;
        let refused = counters(
            "cipher_hub_connections_refused_total",
            "Connections closed at once because of a limit.",
            &["scope"],
        )?;
        let crypto = counters(
            "cipher_hub_crypto_operations_total",
            "Operations with key material.",
            &["action", "algorithm", "outcome"],
        )?;
        let slots = Action::ALL.len() * ALGORITHMS.len() * OUTCOMES.len();
        let metrics = Self {
            crypto,
            crypto_handles: (0..slots).map(|_| OnceLock::new()).collect(),
            allow: decisions.with_label_values(&["allow"]),
            deny: decisions.with_label_values(&["deny"]),
            decision_errors: decisions.with_label_values(&["error"]),
            auth_failures: counters(
                "cipher_hub_auth_failures_total",
                "Requests whose authentication failed.",
                &["reason"],
            )?,
            limited_address: limited.with_label_values(&["address"]),
            limited_participant: limited.with_label_values(&["participant"]),
            limited_quota: limited.with_label_values(&["quota"]),
            limited_block: limited.with_label_values(&["block"]),
            abuse: counters(
                "cipher_hub_abuse_alarms_total",
                "Unusual behaviour that was told in the audit log.",
                &["kind"],
            )?,
            refused_total: refused.with_label_values(&["total"]),
            refused_address: refused.with_label_values(&["address"]),
            active_requests: gauge("http_server_active_requests", "Requests being answered.")?,
            connections: gauge("cipher_hub_connections", "Open connections.")?,
            policy_reload_failed: gauge(
                "cipher_hub_policy_reload_failed",
                "1 while policy files are not good and the last good ones decide.",
            )?,
            audit_events: counter("cipher_hub_audit_events_total", "Audit entries committed.")?,
            edge_refusals: counter(
                "cipher_hub_edge_refusals_total",
                "Requests refused for their form, timed out, or lost in a panic.",
            )?,
            sampled: Mutex::default(),
            requests,
            registry,
        };
        metrics.sample(
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            || {
                #[expect(clippy::cast_precision_loss, reason = "exact below 8 PiB")]
                crate::process::resident_bytes().map(|bytes| bytes as f64)
            },
        )?;
        Ok(metrics)
    }

    /// The handles of one row of the route table; make it once.
    #[must_use]
    pub fn route(&self, method: &Method, route: &'static str) -> RouteMetrics {
        RouteMetrics {
            requests: self.requests.clone(),
            method: method_word(method),
            route,
            handles: Arc::new([const { OnceLock::new() }; STATUSES.len()]),
        }
    }

    /// Counts an operation with key material.
    pub fn crypto_operation(&self, action: Action, algorithm: Algorithm, outcome: Outcome) {
        let Some(action_at) = Action::ALL.iter().position(|known| *known == action) else { return };
        let rows = &mut ALGORITHMS.iter();
        let Some(algorithm_at) = rows.position(|row| row.algorithm == algorithm) else { return };
        let (outcome_at, word) = OUTCOMES
            .iter()
            .enumerate()
            .find(|(_, (known, _))| *known == outcome)
            .map_or((0, "ok"), |(at, (_, word))| (at, *word));
        let slot = (action_at * ALGORITHMS.len() + algorithm_at) * OUTCOMES.len() + outcome_at;
        let Some(slot) = self.crypto_handles.get(slot) else { return };
        slot.get_or_init(|| {
            self.crypto.with_label_values(&[action.name(), algorithm.name(), word])
        })
        .inc();
    }

    /// Counts a policy decision; `None` is an evaluation that failed and therefore denied.
    pub fn policy_decision(&self, allowed: Option<bool>) {
        match allowed {
            Some(true) => self.allow.inc(),
            Some(false) => self.deny.inc(),
            None => self.decision_errors.inc(),
        }
    }

    /// Counts a failed authentication. `reason` is a word from a table, never from a request.
    pub fn auth_failure(&self, reason: &'static str) {
        self.auth_failures.with_label_values(&[reason]).inc();
    }

    /// Counts a refusal by a rate gate.
    pub fn rate_limited(&self, limited: &crate::throttle::Limited) {
        match limited.policy {
            "address" => self.limited_address.inc(),
            _ => self.limited_participant.inc(),
        }
    }

    /// Counts a refusal by a quota.
    pub fn over_quota(&self) {
        self.limited_quota.inc();
    }

    /// Counts a refusal by a block.
    pub fn blocked(&self) {
        self.limited_block.inc();
    }

    /// Counts unusual behaviour. `kind` is a word from a table.
    pub fn abuse_alarm(&self, kind: &'static str) {
        self.abuse.with_label_values(&[kind]).inc();
    }

    pub(crate) fn connection_refused(&self, per_address: bool) {
        if per_address { &self.refused_address } else { &self.refused_total }.inc();
    }

    /// Adds a gauge that is asked for its value at each scrape; `None` keeps the last value.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn sample(
        &self,
        name: &str,
        help: &str,
        value: impl Fn() -> Option<f64> + Send + Sync + 'static,
    ) -> prometheus::Result<()> {
        self.sample_with(Opts::new(name, help), value)
    }

    /// As [`Metrics::sample`], with one fixed label, such as the name of a cache.
    ///
    /// # Errors
    /// When name and label are taken.
    pub fn sample_labelled(
        &self,
        name: &str,
        help: &str,
        (label, word): (&'static str, &str),
        value: impl Fn() -> Option<f64> + Send + Sync + 'static,
    ) -> prometheus::Result<()> {
        self.sample_with(Opts::new(name, help).const_label(label, word), value)
    }

    /// A family of counters of a part of its own.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        let family = IntCounterVec::new(Opts::new(name, help), labels)?;
        self.registry.register(Box::new(family.clone()))?;
        Ok(family)
    }

    /// Families that a part of its own fills in when they are read.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn collect_from(
        &self,
        collector: Box<dyn prometheus::core::Collector>,
    ) -> prometheus::Result<()> {
        self.registry.register(collector)
    }

    fn sample_with(
        &self,
        opts: Opts,
        value: impl Fn() -> Option<f64> + Send + Sync + 'static,
    ) -> prometheus::Result<()> {
        let gauge = Gauge::with_opts(opts)?;
        self.registry.register(Box::new(gauge.clone()))?;
        let mut sampled = self.sampled.lock().unwrap_or_else(PoisonError::into_inner);
        sampled.push((gauge, Box::new(value)));
        Ok(())
    }

    /// The page of `/metrics`.
    ///
    /// # Errors
    /// When the encoder refuses a metric.
    pub fn render(&self) -> prometheus::Result<String> {
        for (gauge, value) in &*self.sampled.lock().unwrap_or_else(PoisonError::into_inner) {
            if let Some(value) = value() {
                gauge.set(value);
            }
        }
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// The handles of one route: recording is a table lookup and two atomics.
#[derive(Clone)]
pub struct RouteMetrics {
    requests: HistogramVec,
    method: &'static str,
    route: &'static str,
    handles: Arc<[OnceLock<Histogram>; STATUSES.len()]>,
}

impl fmt::Debug for RouteMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RouteMetrics({} {})", self.method, self.route)
    }
}

impl RouteMetrics {
    /// Records one answered request.
    pub fn record(&self, status: StatusCode, took: Duration) {
        let code = status.as_u16();
        let at = STATUSES.iter().position(|known| *known == code).unwrap_or(STATUSES.len() - 1);
        let Some(handle) = self.handles.get(at) else { return };
        handle
            .get_or_init(|| {
                let known = at + 1 < STATUSES.len();
                let word = if known { status.as_str() } else { "other" };
                self.requests.with_label_values(&[self.method, self.route, word])
            })
            .observe(took.as_secs_f64());
    }
}

/// Methods as semantic conventions write them: unknown ones are `_OTHER`.
fn method_word(method: &Method) -> &'static str {
    const KNOWN: [(Method, &str); 7] = [
        (Method::GET, "GET"),
        (Method::POST, "POST"),
        (Method::PUT, "PUT"),
        (Method::PATCH, "PATCH"),
        (Method::DELETE, "DELETE"),
        (Method::HEAD, "HEAD"),
        (Method::OPTIONS, "OPTIONS"),
    ];
    KNOWN.iter().find(|(known, _)| known == method).map_or("_OTHER", |(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_on_the_page() {
        let metrics = Metrics::new().unwrap();
        metrics.sample("cipher_hub_seal_state", "1 is unsealed.", || Some(1.0)).unwrap();
        let cache = |name| ("cache", name);
        let entries = "cipher_hub_cache_entries";
        metrics.sample_labelled(entries, "Entries.", cache("keys"), || Some(3.0)).unwrap();
        metrics.sample_labelled(entries, "Entries.", cache("decisions"), || None).unwrap();
        assert!(metrics.sample("cipher_hub_seal_state", "again", || None).is_err());
        metrics.crypto_operation(Action::KeysEncrypt, Algorithm::Aes256Gcm, Outcome::Ok);
        metrics.crypto_operation(Action::KeysDecrypt, Algorithm::ChaCha20Poly1305, Outcome::Failed);
        metrics.policy_decision(Some(true));
        metrics.auth_failure("unknown");
        let route = metrics.route(&Method::POST, "/v1/keys/{key}:encrypt");
        route.record(StatusCode::OK, Duration::from_micros(300));
        route.record(StatusCode::IM_A_TEAPOT, Duration::from_micros(300));
        let page = metrics.render().unwrap();
        for line in [
            "cipher_hub_crypto_operations_total{action=\"keys.encrypt\",algorithm=\"",
            "outcome=\"failed\"} 1",
            "cipher_hub_policy_decisions_total{decision=\"allow\"} 1",
            "cipher_hub_auth_failures_total{reason=\"unknown\"} 1",
            "cipher_hub_ratelimit_rejections_total{scope=\"address\"} 0",
            "cipher_hub_cache_entries{cache=\"keys\"} 3",
            "cipher_hub_seal_state 1",
            "cipher_hub_connections 0",
            "cipher_hub_audit_events_total 0",
            "cipher_hub_policy_reload_failed 0",
            "http_server_active_requests 0",
            "process_resident_memory_bytes ",
            "http_server_request_duration_seconds_bucket{http_request_method=\"POST\",\
             http_response_status_code=\"200\",http_route=\"/v1/keys/{key}:encrypt\",\
             le=\"0.0005\"} 1",
            "http_response_status_code=\"other\"",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
    }

    #[test]
    #[ignore = "a measurement: run with --release --ignored --nocapture"]
    fn recording_is_cheap() {
        let metrics = Metrics::new().unwrap();
        let route = metrics.route(&Method::POST, "/v1/x");
        let rounds = 1_000_000_u32;
        let start = std::time::Instant::now();
        for n in 0..rounds {
            route.record(StatusCode::OK, Duration::from_nanos(u64::from(n)));
        }
        println!("route: {:?}", start.elapsed() / rounds);
        let start = std::time::Instant::now();
        for _ in 0..rounds {
            metrics.crypto_operation(Action::KeysRotate, Algorithm::Aes256Gcm, Outcome::Ok);
        }
        println!("crypto: {:?}", start.elapsed() / rounds);
    }
}
