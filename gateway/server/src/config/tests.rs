//! Layers, checks and the table of settings together.

use std::path::Path;
use std::time::Duration;

use super::environment::otel_requested_by;
use super::*;

fn load(toml: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hub.toml");
    std::fs::write(&file, toml).unwrap();
    let mut overrides = Overrides::new();
    for (key, value) in flags {
        overrides.set(*key, *value);
    }
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::load(&[file], env, &overrides)
}

fn error(toml: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
    load(toml, env, flags).unwrap_err().to_string()
}

#[test]
fn defaults_are_complete_and_local() {
    let config = Config::load(&[], [], &Overrides::new()).unwrap();
    assert_eq!(config.server.listen, ["127.0.0.1:8420".parse().unwrap()]);
    assert_eq!(config.store.path, Path::new("./cipher-hub-data/store"));
    assert_eq!(config.audit.checkpoint_file, Path::new("./cipher-hub-data/checkpoint/checkpoint"));
    assert_eq!(
        config.server.unix_socket.as_deref(),
        Some(Path::new("./cipher-hub-data/run/hub.sock"))
    );
    assert!(config.notices().is_empty());
}

#[test]
fn every_layer_overrides_the_one_below() {
    let toml = "[server]\nmax_body_bytes = 1000\nread_head_timeout = \"3s\"\n";
    let env = [("CIPHER_HUB_SERVER__MAX_BODY_BYTES", "2KiB")];
    assert_eq!(load(toml, &[], &[]).unwrap().server.max_body_bytes, 1000);
    let config = load(toml, &env, &[]).unwrap();
    assert_eq!(config.server.max_body_bytes, 2048, "the variable must win over the file");
    assert_eq!(config.server.read_head_timeout, Duration::from_secs(3));
    assert_eq!(
        config.origin("server.max_body_bytes"),
        "environment variable CIPHER_HUB_SERVER__MAX_BODY_BYTES"
    );
    assert!(config.origin("server.read_head_timeout").starts_with("file "));
    let config = load(toml, &env, &[("server.max_body_bytes", "4096")]).unwrap();
    assert_eq!(config.server.max_body_bytes, 4096);
    assert_eq!(config.origin("server.max_body_bytes"), "flag");
}

#[test]
fn the_environment_sets_every_kind_of_value() {
    let config = load(
        "",
        &[
            ("CIPHER_HUB__DATA_DIR", "/data"),
            ("CIPHER_HUB_SERVER__LISTEN", "127.0.0.1:1, [::1]:2"),
            ("CIPHER_HUB_SERVER__UNIX_SOCKET", ""),
            ("CIPHER_HUB_SERVER__MANAGEMENT_LISTEN", ""),
            ("CIPHER_HUB_SERVER__DANGER_LISTEN_WITHOUT_TLS", "true"),
            ("CIPHER_HUB_SERVER__TLS__MIN_VERSION", "1.2"),
            ("CIPHER_HUB_SERVER__MAX_CONNECTIONS", "5"),
            ("CIPHER_HUB_CACHE__KEYS", "7"),
            ("CIPHER_HUB_STORE__ENGINE", "memory"),
            ("CIPHER_HUB_CRYPTO__PROVIDER", "aws-lc"),
            ("CIPHER_HUB_CRYPTO__PROFILE", "fips-algorithms"),
            ("CIPHER_HUB_AUDIT__CHECKPOINT_INTERVAL", "250ms"),
            ("RUST_LOG", "debug"),
        ],
        &[],
    )
    .unwrap();
    assert_eq!(config.server.listen.len(), 2);
    assert_eq!(config.server.unix_socket, None);
    assert_eq!(config.server.management_listen, None);
    assert!(config.server.danger_listen_without_tls);
    assert_eq!(config.server.tls.min_version, TlsVersion::V1_2);
    assert_eq!(config.server.max_connections.get(), 5);
    assert_eq!(config.cache.keys, 7);
    assert_eq!(config.store.engine, StoreEngine::Memory);
    assert_eq!(config.crypto.provider, CryptoProvider::AwsLc);
    assert_eq!(config.crypto.profile, CryptoProfile::FipsAlgorithms);
    assert_eq!(config.audit.checkpoint_interval, Duration::from_millis(250));
    assert_eq!(config.log.filter, "debug");
    assert_eq!(config.seal.file, Path::new("/data/seal/seal.json"));
}

#[test]
fn rust_log_yields_to_our_own_name() {
    let env = [("RUST_LOG", "debug"), ("CIPHER_HUB_LOG__FILTER", "warn")];
    assert_eq!(load("", &env, &[]).unwrap().log.filter, "warn");
}

#[test]
fn errors_in_a_file_show_line_column_and_caret() {
    let text = error("[server]\nmax_connections = \"many\"\n", &[], &[]);
    assert!(text.contains("line 2, column 19") && text.contains("^^^"), "{text}");
    let text = error("[server]\nlisten_on = 1\n", &[], &[]);
    assert!(text.contains("line 2, column 1") && text.contains("did you mean `listen`"), "{text}");
    let text = error("[server]\nidle_timeout = \"ten\"\n", &[], &[]);
    assert!(text.contains("line 2") && text.contains("10s"), "{text}");
}

#[test]
fn unknown_variables_are_errors_but_service_links_are_not() {
    let text = error("", &[("CIPHER_HUB_SERVER__LISTN", "x")], &[]);
    assert!(text.contains("did you mean `CIPHER_HUB_SERVER__LISTEN`"), "{text}");
    load("", &[("CIPHER_HUB_PORT", "tcp://10.0.0.1:80"), ("CIPHER_HUB_ADDR", "x")], &[]).unwrap();
    assert!(error("", &[], &[("server.listn", "x")]).contains("did you mean `server.listen`"));
}

#[test]
fn a_bad_value_names_its_variable_or_flag() {
    let text = error("", &[("CIPHER_HUB_SERVER__MAX_BODY_BYTES", "big")], &[]);
    assert!(text.contains("`CIPHER_HUB_SERVER__MAX_BODY_BYTES`: "), "{text}");
    let text = error("", &[("CIPHER_HUB_SERVER__MAX_CONNECTIONS", "0")], &[]);
    assert!(text.contains("`CIPHER_HUB_SERVER__MAX_CONNECTIONS`"), "{text}");
    let text = error("", &[], &[("log.format", "xml")]);
    assert!(text.contains("`log.format`") && text.contains("json"), "{text}");
    let text = error("", &[("CIPHER_HUB_CRYPTO__PROVIDER", "openssl")], &[]);
    assert!(text.contains("`CIPHER_HUB_CRYPTO__PROVIDER`") && text.contains("aws-lc"), "{text}");
    let text = error("[crypto]\nprofile = \"fips\"\n", &[], &[]);
    assert!(text.contains("line 2") && text.contains("fips-algorithms"), "{text}");
}

#[test]
fn beyond_loopback_needs_tls_or_a_word_that_says_danger() {
    let text = error("server.listen = \"0.0.0.0:8420\"", &[], &[]);
    assert!(text.contains("server.tls.cert_file"), "{text}");
    assert!(text.contains("server.danger_listen_without_tls"), "{text}");
    let toml = "[server]\nlisten = \"[::]:1\"\ndanger_listen_without_tls = true";
    assert_eq!(load(toml, &[], &[]).unwrap().notices().len(), 1);
    let toml = "[server]\nlisten = \"0.0.0.0:1\"\ntls = { cert_file = \"c\", key_file = \"k\" }";
    load(toml, &[], &[]).unwrap();
    let text = error("server.tls.cert_file = \"c\"", &[], &[]);
    assert!(text.starts_with("server.tls.key_file"), "{text}");
}

#[test]
fn an_overlap_of_signing_keys_has_room_for_checkpoints() {
    let overlap = |interval: &str, overlap: &str| {
        let toml =
            format!("[audit]\ncheckpoint_interval = \"{interval}\"\nkey_overlap = \"{overlap}\"\n");
        load(&toml, &[], &[]).map(drop)
    };
    overlap("1s", "10s").unwrap();
    overlap("10ms", "1s").unwrap();
    overlap("1h", "7d").unwrap();
    for (interval, short) in [("1s", "9s"), ("10ms", "999ms"), ("1s", "1ms"), ("1d", "7d")] {
        let text = overlap(interval, short).unwrap_err().to_string();
        assert!(text.contains("audit.key_overlap"), "{text}");
    }
}

#[test]
fn a_socket_path_that_does_not_fit_is_off_with_a_notice() {
    let long = format!("/{}", "x".repeat(120));
    let config = load("", &[("CIPHER_HUB_SERVER__UNIX_SOCKET", &long)], &[]).unwrap();
    assert_eq!(config.server.unix_socket, None);
    assert!(config.notices()[0].contains("107"));
}

#[test]
fn the_key_table_is_the_structure() {
    let config = Config::load(&[], [], &Overrides::new()).unwrap();
    let tree = serde_json::to_value(&config).unwrap();
    let mut found = Vec::new();
    fn walk(at: &str, value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(map) => map.iter().for_each(|(name, value)| {
                let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                walk(&at, value, found);
            }),
            _ => found.push(at.to_owned()),
        }
    }
    walk("", &tree, &mut found);
    let mut known: Vec<_> = KEYS.iter().map(|key| key.name.to_owned()).collect();
    known.sort();
    found.sort();
    assert_eq!(known, found);
    assert_eq!(config.show().len(), KEYS.len());
}

#[test]
fn the_example_file_says_the_defaults() {
    let committed = include_str!("../../config.example.toml");
    assert_eq!(committed, example(), "write it again with `cipher-hub config example`");
    let set: String = committed
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.split_once(" = ").is_some_and(|(k, _)| !k.contains(' ')) => rest,
            _ => line,
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let mut config = load(&set, &[], &[]).unwrap();
    config.origins.clear();
    let plain = Config::load(&[], [], &Overrides::new()).unwrap();
    assert_eq!(config, plain);
    let docs = include_str!("../../../../docs/configuration.md");
    for key in KEYS {
        assert!(docs.contains(&format!("`{}`", key.name)), "docs miss {}", key.name);
    }
}

#[test]
fn standard_variables_switch_spans_on_and_off() {
    let ask = |set: &'static [(&str, &str)]| {
        otel_requested_by(move |name| {
            set.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
        })
    };
    assert!(!ask(&[]));
    assert!(ask(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318")]));
    assert!(ask(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:4318")]));
    assert!(!ask(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "x"), ("OTEL_SDK_DISABLED", "TRUE")]));
    assert!(!ask(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "x"), ("OTEL_TRACES_EXPORTER", "none")]));
}
