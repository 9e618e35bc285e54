//! Logs on standard output and, when the standard `OTEL_*` variables ask for it, spans over OTLP.
//!
//! INVARIANT: without OTLP, spans of the targets [`STAGE`] are disabled where they are created, so
//! a request pays nothing for them; log lines carry what they need themselves. Whatever users sent
//! is escaped before it reaches a terminal. A panic is logged with its place, never its message,
//! because messages may quote data.

use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry::{Context, Key};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::{EnvFilter, FilterFn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use crate::config::{LogConfig, LogFormat};
use crate::inbound::Inbound;

/// The target of request and stage spans.
pub const STAGE: &str = "hub::stage";

const SERVICE: &str = "cipher-hub";
const FLUSH: Duration = Duration::from_secs(3);

/// Why there is no telemetry.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not understood.
    #[error("log.filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The OTLP exporter cannot be built.
    #[error("spans over OTLP, asked for by OTEL_EXPORTER_OTLP_*: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// Telemetry was started before.
    #[error("telemetry is running already: {0}")]
    Twice(#[from] TryInitError),
}

/// Keeps spans flowing; flushes them at the end.
#[derive(Debug)]
#[must_use = "dropping the guard ends the export of spans"]
pub struct Guard(Option<SdkTracerProvider>);

impl Guard {
    /// Whether spans are exported.
    #[must_use]
    pub const fn exports(&self) -> bool {
        self.0.is_some()
    }

    /// Sends what is left, three seconds at most.
    pub fn shutdown(&mut self) {
        if let Some(provider) = self.0.take()
            && let Err(error) = provider.shutdown_with_timeout(FLUSH)
        {
            tracing::warn!(target: "hub::telemetry", %error, "spans were lost");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// Starts logs, and spans if `otel` ([`crate::config::otel_requested`]). Replaces the panic hook.
///
/// # Errors
/// [`TelemetryError`].
pub fn init(config: &LogConfig, otel: bool) -> Result<Guard, TelemetryError> {
    let provider = otel.then(provider).transpose()?;
    let spans = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(SERVICE))
            .with_location(false)
            .with_threads(false)
            .with_filter(FilterFn::new(|meta| meta.is_span() && meta.target() == STAGE))
    });
    let json = match config.format {
        LogFormat::Auto => !io::stdout().is_terminal(),
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(Escaped(io::stdout));
    let lines = if json {
        lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
    } else {
        lines.with_ansi(false).boxed()
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(log_filter(&config.filter)?))
        .with(spans)
        .try_init()?;
    quiet_panics();
    Ok(Guard(provider))
}

/// The span of a request: a child of the caller's span, when it sent one. The route names it
/// ([`name_span`]); record `http.route` and `http.response.status_code` when they are known.
#[must_use]
pub fn span_for(inbound: &Inbound) -> Span {
    let span = tracing::debug_span!(
        target: STAGE,
        "request",
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        http.request.method = inbound.method().as_str(),
        http.route = tracing::field::Empty,
        http.response.status_code = tracing::field::Empty,
        cipher_hub.audit.seq = tracing::field::Empty,
        url.scheme = if inbound.channel().tls { "https" } else { "http" },
        request_id = &**inbound.request_id(),
    );
    if !span.is_disabled()
        && let Some(trace) = inbound.trace()
    {
        let flags = if trace.sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
        let remote = SpanContext::new(
            TraceId::from_bytes(trace.trace_id),
            SpanId::from_bytes(trace.parent_id),
            flags,
            true,
            TraceState::default(),
        );
        // Without an exporter there is no layer to tell, which is no error.
        let _ = span.set_parent(Context::new().with_remote_span_context(remote));
    }
    span
}

/// Names the span of a request. Recording `otel.name` is too late once the span has begun.
pub fn name_span(span: &Span, name: impl FnOnce() -> String) {
    if !span.is_disabled() {
        span.context().span().update_name(name());
    }
}

fn provider() -> Result<SdkTracerProvider, TelemetryError> {
    let exporter =
        SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).build()?;
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource()).build())
}

/// `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` win over our own name.
fn resource() -> Resource {
    let detected = Resource::builder().build();
    let named = detected
        .get(&Key::from_static_str("service.name"))
        .is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    if named { detected } else { Resource::builder().with_service_name(SERVICE).build() }
}

/// Stage spans stay out of the logs unless the filter names them.
fn log_filter(directives: &str) -> Result<EnvFilter, TelemetryError> {
    let filter = EnvFilter::builder().parse(directives)?;
    if directives.contains(STAGE) {
        return Ok(filter);
    }
    match "hub::stage=off".parse() {
        Ok(directive) => Ok(filter.add_directive(directive)),
        Err(_) => Ok(filter),
    }
}

fn quiet_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|at| (at.file(), at.line())).unwrap_or(("?", 0));
        tracing::error!(target: "hub::panic", file = place.0, line = place.1, "panicked");
    }));
}

/// Writes whole log lines with every control character but the last line feed escaped: C0, DEL
/// and C1 (U+0080 to U+009F, which some terminals obey).
#[derive(Clone, Copy, Debug)]
struct Escaped<F>(F);

impl<'a, W: Write, F: Fn() -> W> MakeWriter<'a> for Escaped<F> {
    type Writer = EscapedWriter<W>;

    fn make_writer(&'a self) -> EscapedWriter<W> {
        EscapedWriter((self.0)())
    }
}

#[derive(Debug)]
struct EscapedWriter<W>(W);

impl<W: Write> Write for EscapedWriter<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_all(line)?;
        Ok(line.len())
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let (text, end) = match line.split_last() {
            Some((b'\n', text)) => (text, true),
            _ => (line, false),
        };
        // 0xC2 starts every C1 character in UTF-8; most lines have nothing to escape.
        if !text.iter().any(|byte| *byte < 0x20 || *byte == 0x7f || *byte == 0xc2) {
            return self.0.write_all(line);
        }
        let mut out = String::with_capacity(text.len() + 16);
        for character in String::from_utf8_lossy(text).chars() {
            if character.is_control() {
                let _ = std::fmt::Write::write_fmt(
                    &mut out,
                    format_args!("\\u{:04x}", u32::from(character)),
                );
            } else {
                out.push(character);
            }
        }
        if end {
            out.push('\n');
        }
        self.0.write_all(out.as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        let sink = Sink::default();
        let writer = sink.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(Escaped(move || writer.clone()));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let evil = "a\u{1b}[2Jb\u{9b}31mc\nforged line\r\u{7f}é";
            tracing::info!(name = %evil, "{evil}");
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.chars().filter(|c| c.is_control()).collect::<String>(), "\n", "{text:?}");
        assert!(text.contains('é'), "{text}");
    }

    #[test]
    fn json_lines_stay_json() {
        let sink = Sink::default();
        let writer = sink.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(Escaped(move || writer.clone()))
            .json()
            .flatten_event(true);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(name = "a\u{9b}\u{7f}\n", "hello");
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["name"], "a\u{9b}\u{7f}\n");
    }

    #[test]
    fn stage_spans_are_off_in_logs_unless_named() {
        let enabled = |filter: &str| {
            let layer = tracing_subscriber::fmt::layer().with_writer(io::sink);
            let filter = log_filter(filter).unwrap();
            let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter));
            tracing::subscriber::with_default(subscriber, || {
                !tracing::debug_span!(target: STAGE, "x").is_disabled()
            })
        };
        assert!(!enabled("debug"));
        assert!(!enabled("trace,hub=trace"));
        assert!(enabled("info,hub::stage=debug"));
    }
}
