//! Telemetry of a whole process: what reaches a collector and what reaches the log.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::Duration;

use hub_server::config::{LogConfig, LogFormat, otel_requested};
use hub_server::telemetry;

/// Not a test of its own: what the child process of the tests below does.
#[test]
#[ignore = "run by the other tests with their environment"]
fn child() {
    let config = LogConfig { filter: "info".into(), format: LogFormat::Json };
    let mut guard = telemetry::init(&config, otel_requested()).unwrap();
    let span = tracing::debug_span!(target: telemetry::STAGE, "request", otel.name = "POST /stage");
    println!("stage enabled: {}, exports: {}", !span.is_disabled(), guard.exports());
    span.in_scope(|| tracing::info!("a line"));
    drop(span);
    let _ = std::thread::spawn(|| panic!("secret payload")).join();
    guard.shutdown();
}

fn run(variables: &[(&str, &str)]) -> std::io::Result<(String, Output)> {
    let output = Command::new(std::env::current_exe()?)
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .envs(variables.iter().copied())
        .output()?;
    assert!(output.status.success(), "{output:?}");
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), output))
}

#[test]
fn spans_reach_the_collector_whatever_the_log_filter() {
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let receive = std::thread::spawn(move || {
        let (mut stream, _) = collector.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        String::from_utf8_lossy(&all).into_owned()
    });
    let (out, _) = run(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).unwrap();
    assert!(out.contains("stage enabled: true, exports: true"), "{out}");
    let sent = receive.join().unwrap();
    assert!(sent.starts_with("POST /v1/traces "), "{sent}");
    assert!(sent.contains("POST /stage") && sent.contains("cipher-hub"), "{sent}");
}

#[test]
fn without_a_collector_stage_spans_cost_nothing_and_panics_keep_their_secrets() {
    let (out, output) = run(&[]).unwrap();
    assert!(out.contains("stage enabled: false, exports: false"), "{out}");
    assert!(out.contains("\"message\":\"a line\""), "{out}");
    assert!(out.contains("\"message\":\"panicked\"") && out.contains("telemetry.rs"), "{out}");
    assert!(!format!("{output:?}").contains("secret payload"), "{output:?}");
}
