//! Commands against a fake hub: what they send, what they say where, and with which code they end.

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use clap::{CommandFactory as _, Parser as _};
use hub_model::secret::SecretText;

use super::output::Console;
use super::*;

const KEY: &str = r#"{"uid":"key_01jd8r0000000000000000000a","name":"orders",
    "purpose":"encrypt","algorithm":"AES_256_GCM","state":"active","primaryVersion":2,
    "versions":2,"tags":{},"createTime":"2026-11-23T00:00:00Z",
    "updateTime":"2026-11-23T00:00:00Z"}"#;

/// A fake hub: answers every request by a function of its first line and body.
struct Fake {
    address: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn new(answer: impl Fn(&str, &str) -> (u16, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let remember = seen.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    if reader.read_line(&mut head).unwrap() == 0 {
                        break;
                    }
                }
                let lower = head.to_ascii_lowercase();
                let length = lower.lines().find_map(|l| l.strip_prefix("content-length: "));
                let mut body = vec![0; length.map_or(0, |l| l.parse().unwrap())];
                reader.read_exact(&mut body).unwrap();
                let body = String::from_utf8(body).unwrap();
                let first = head.lines().next().unwrap_or_default().replace(" HTTP/1.1", "");
                let (status, text) = answer(&first, &body);
                remember.lock().unwrap().push(format!("{first} {body}"));
                write!(
                    stream,
                    "HTTP/1.1 {status} X\r\ncontent-length: {}\r\netag: \"7\"\r\n\
                     x-request-id: req_hub\r\nconnection: close\r\n\r\n{text}",
                    text.len()
                )
                .unwrap();
            }
        });
        Self { address, seen }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Finds fault with entries that say so.
struct Suspicious;

impl Hooks for Suspicious {
    fn verifier(&self, claim: LogClaim) -> Box<dyn LogVerifier> {
        Box::new(Counting { claim, seen: 0 })
    }
}

struct Counting {
    claim: LogClaim,
    seen: u64,
}

impl LogVerifier for Counting {
    fn push(&mut self, record: &AuditRecord) -> Result<(), String> {
        self.seen += 1;
        if record.bytes.contains("altered") {
            return Err(format!("entry {} was altered", record.seq));
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Verified, String> {
        Ok(Verified { entries: self.seen, checkpointed: None, root: self.claim.head })
    }
}

struct Ran {
    code: u8,
    out: String,
    err: String,
}

fn run_in(folder: Option<&Path>, address: Option<&str>, line: &str, input: &str) -> Ran {
    let mut cli = Cli::try_parse_from(line.split(' ')).unwrap().checked().unwrap();
    let command = cli.command.take().unwrap();
    let environment = ClientEnvironment {
        address: address.map(str::to_owned),
        api_key: folder.is_none().then(|| SecretText::new("chk_test".to_owned())),
        config_dir: folder.map(Path::to_owned),
        ..ClientEnvironment::default()
    };
    let (out, err) = (Sink::default(), Sink::default());
    let console =
        Console::test(&cli.global, input.as_bytes(), Box::new(out.clone()), Box::new(err.clone()));
    let outcome = run::run_on(console, &cli.global, command, &environment, &Suspicious);
    let code = outcome.map_or_else(|code: Code| code as u8, |()| 0);
    Ran { code, out: out.text(), err: err.text() }
}

fn run(hub: &Fake, line: &str, input: &str) -> Ran {
    run_in(None, Some(&hub.address), line, input)
}

fn problem(status: u16, code: &str, more: &str) -> (u16, String) {
    let text = format!(
        r#"{{"type":"t","title":"t","status":{status},"detail":"it \u001b[31mhappened",
            "code":"{code}","retryable":false{more}}}"#
    );
    (status, text)
}

#[test]
fn the_definition_is_sound_and_every_command_has_examples() {
    fn walk(command: &clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains("Examples:"), "{path} has no examples");
        for inner in command.get_subcommands().filter(|c| c.get_name() != "help") {
            walk(inner, &path);
        }
    }
    Cli::command().debug_assert();
    walk(&Cli::command(), "");
}

#[test]
fn serve_is_the_default_and_its_flags_go_with_nothing_else() {
    let parse = |line: &str| Cli::try_parse_from(line.split(' ')).unwrap().checked();
    let mut cli = parse("cipher-hub --data-dir x").unwrap();
    assert!(matches!(cli.take_task(), Task::Serve(args) if args.data_dir.is_some()));
    let mut cli = parse("cipher-hub --as dev serve --listen 127.0.0.1:1").unwrap();
    assert!(matches!(cli.take_task(), Task::Serve(args) if args.listen.is_some()));
    assert!(parse("cipher-hub --data-dir x whoami").is_err());
}

#[test]
fn mistyped_commands_get_a_suggestion() {
    let error = Cli::try_parse_from(["cipher-hub", "decript"]).unwrap_err();
    assert!(error.to_string().contains("decrypt"));
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn encrypt_and_decrypt_are_filters() {
    let hub = Fake::new(|first, body| {
        if first.ends_with(":encrypt") {
            assert_eq!(body, r#"{"plaintext":"aGVsbG8K","context":{"order":"1"}}"#);
            (200, r#"{"ciphertext":"ch1:2:AAAA","version":2}"#.to_owned())
        } else {
            assert_eq!(body, r#"{"ciphertext":"ch1:2:AAAA"}"#);
            (200, r#"{"plaintext":"aGVsbG8K","version":2}"#.to_owned())
        }
    });
    let ran = run(&hub, "cipher-hub encrypt shop/orders --context order=1", "hello\n");
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "ch1:2:AAAA\n", ""));
    let ran = run(&hub, "cipher-hub decrypt --registration shop", "ch1:2:AAAA\n");
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "hello\n", ""));
    let ran = run(&hub, "cipher-hub decrypt", "ch1:2:AAAA\n");
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("hint: give REG/KEY or --registration"));
}

#[test]
fn up_to_64_kib_are_one_message_and_more_is_a_stream() {
    let answer = (200, r#"{"ciphertext":"ch1:1:AA==","version":1}"#.to_owned());
    let hub = Fake::new(move |_, _| answer.clone());
    assert_eq!(run(&hub, "cipher-hub encrypt shop/orders", &"x".repeat(64 * 1024)).code, 0);
    assert!(hub.seen().iter().all(|request| request.contains(":encrypt {")));
    // A hub that does not answer with a stream is no success.
    let ran = run(&hub, "cipher-hub encrypt shop/orders", &"x".repeat(64 * 1024 + 1));
    assert!(ran.code != 0 && ran.out.is_empty(), "{} {}", ran.code, ran.out);
}

#[test]
fn rewrap_says_the_versions_on_stderr() {
    let answer = r#"{"ciphertext":"ch1:2:BBBB","fromVersion":1,"version":2}"#;
    let hub = Fake::new(move |_, _| (200, answer.to_owned()));
    let ran = run(&hub, "cipher-hub rewrap shop/orders", "ch1:1:AAAA");
    let expected = (0, "ch1:2:BBBB\n", "version 1 -> 2\n");
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), expected);
}

#[test]
fn a_denial_says_whom_to_ask() {
    let hub = Fake::new(|_, _| problem(403, "denied", r#","decisionId":"dec_1""#));
    let ran = run(&hub, "cipher-hub key rotate shop/orders", "");
    assert_eq!((ran.code, ran.out.as_str()), (5, ""));
    assert_eq!(
        ran.err,
        "error: denied: it \\u{1b}[31mhappened\nrequest id: req_hub\n\
         hint: an administrator can run: cipher-hub policy explain dec_1\n"
    );
}

#[test]
fn exit_codes_tell_failures_apart() {
    for (status, code) in
        [(401, 4), (404, 6), (409, 7), (412, 7), (428, 7), (429, 8), (503, 8), (400, 1), (500, 1)]
    {
        let hub = Fake::new(move |_, _| problem(status, "x", ""));
        let ran = run(&hub, "cipher-hub whoami", "");
        assert_eq!(ran.code, code, "{status}");
        assert!(ran.err.contains("\nhint: "), "{status}");
    }
    let ran = run_in(None, Some("http://127.0.0.1:1"), "cipher-hub whoami", "");
    assert_eq!(ran.code, 8);
    let ran = run_in(None, Some("http://192.0.2.1:1"), "cipher-hub whoami", "");
    assert_eq!(ran.code, 2);
    // Neither an address nor a key: there is nobody to ask.
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(run_in(Some(empty.path()), None, "cipher-hub whoami", "").code, 4);
    let nobody = "cipher-hub healthcheck --quiet --management-address http://127.0.0.1:1";
    let ran = run_in(None, None, nobody, "");
    assert_eq!(ran.code, 1);
}

#[test]
fn lists_are_columns_or_json() {
    let page = format!(r#"{{"items":[{KEY}]}}"#);
    let hub = Fake::new(move |_, _| (200, page.clone()));
    let ran = run(&hub, "cipher-hub key list shop", "");
    let lines: Vec<_> = ran.out.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ran.out);
    assert!(lines[0].trim_start().starts_with("NAME") && lines[1].contains("AES_256_GCM"));
    let ran = run(&hub, "cipher-hub key list shop --output json", "");
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value[0]["name"], "orders");
    let ran = run(&hub, "cipher-hub key list shop --output ndjson", "");
    assert_eq!(ran.out.lines().count(), 1);
}

#[test]
fn changes_read_the_etag_first_unless_it_is_given() {
    let hub = Fake::new(|_, _| (200, KEY.to_owned()));
    assert_eq!(run(&hub, "cipher-hub key update shop/orders --tag a=1", "").code, 0);
    let ran = run(&hub, "cipher-hub key update shop/orders --remove-tag a --if-match 7", "");
    assert_eq!(ran.code, 0);
    let path = "/v1/registrations/shop/keys/orders";
    assert_eq!(
        hub.seen(),
        [
            format!("GET {path} "),
            format!(r#"PATCH {path} {{"tags":{{"a":"1"}}}}"#),
            format!(r#"PATCH {path} {{"tags":{{"a":null}}}}"#),
        ]
    );
}

#[test]
fn destruction_wants_the_name() {
    let hub = Fake::new(|first, _| {
        if first.starts_with("GET") {
            let view = r#"{"uid":"reg_01jd8r0000000000000000000a","name":"shop","description":"",
                "environment":"dev","frozen":true,"tags":{},"createTime":"2026-11-23T00:00:00Z",
                "updateTime":"2026-11-23T00:00:00Z"}"#;
            (200, view.to_owned())
        } else {
            (204, String::new())
        }
    });
    let ran = run(&hub, "cipher-hub registration delete shop", "yes\n");
    assert_eq!(ran.code, 2);
    assert!(hub.seen().is_empty());
    assert_eq!(run(&hub, "cipher-hub registration delete shop", "shop\n").code, 0);
    assert_eq!(run(&hub, "cipher-hub registration delete shop --yes", "").code, 0);
    let ran = run(&hub, "cipher-hub registration delete shop --dry-run", "");
    assert_eq!((ran.code, ran.err.contains("nothing was done")), (0, true));
    assert_eq!(hub.seen().last().unwrap(), "DELETE /v1/registrations/shop?dryRun=true ");
}

#[test]
fn an_issued_key_is_all_there_is_on_stdout() {
    let hub = Fake::new(|_, _| {
        let text = r#"{"credential":{"uid":"crd_01jd8r0000000000000000000a",
            "participant":"ptc_01jd8r0000000000000000000a","method":"apiKey","label":"x",
            "createTime":"2026-11-23T00:00:00Z","expireTime":"2027-11-23T00:00:00Z"},
            "apiKey":"chk_fresh"}"#;
        (201, text.to_owned())
    });
    let line = "cipher-hub credential issue shop/checkout --expires 30d --label x";
    let ran = run(&hub, line, "");
    assert_eq!((ran.code, ran.out.as_str()), (0, "chk_fresh\n"));
    assert!(ran.err.contains("expires 2027-11-23"));
    let ran = run(&hub, &format!("{line} --output json"), "");
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value["apiKey"], "chk_fresh");
}

/// A log of `size` entries, whose size grows by one with every look at it.
fn log(size: u64, altered: Option<u64>) -> Fake {
    let looks = std::sync::atomic::AtomicU64::new(0);
    Fake::new(move |first, _| {
        let now = size + looks.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let number = |name: &str| -> u64 {
            let (_, rest) = first.split_once(name).unwrap();
            rest.split('&').next().unwrap().parse().unwrap()
        };
        let (after, count) = (number("after="), number("pageSize="));
        let items: Vec<_> = (after..now.min(after + count))
            .map(|seq| {
                let word = if altered == Some(seq) { "altered" } else { "ok" };
                let bytes = format!(r#"{{\"action\":\"keys.encrypt\",\"outcome\":\"{word}\"}}"#);
                format!(r#"{{"seq":{seq},"hash":"00","bytes":"{bytes}"}}"#)
            })
            .collect();
        let text = format!(
            r#"{{"items":[{}],"size":{now},"head":"5f0c","verifierKey":"hub+1+A"}}"#,
            items.join(",")
        );
        (200, text)
    })
}

#[test]
fn verification_covers_what_was_there_at_its_beginning() {
    let ran = run(&log(2500, None), "cipher-hub audit verify", "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let said = "ok  2500 entries, each chained to the one before; no checkpoint yet; root 5f0c";
    assert!(ran.out.starts_with(said), "{}", ran.out);
    let ran = run(&log(2500, Some(1700)), "cipher-hub audit verify", "");
    assert_eq!((ran.code, ran.out.as_str()), (10, ""));
    assert!(ran.err.contains("entry 1700 was altered"));
}

#[test]
fn tail_shows_the_newest() {
    let ran = run(&log(50, None), "cipher-hub audit tail -n 3", "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let numbers: Vec<_> =
        ran.out.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(numbers, ["47", "48", "49"]);
    let ran = run(&log(2, None), "cipher-hub audit tail --json", "");
    assert_eq!(ran.out.lines().count(), 2);
}

#[test]
fn login_checks_the_key_and_remembers_it() {
    let hub = Fake::new(|_, _| {
        let text = r#"{"principal":"apikey:ptc_01jd8r0000000000000000000a","participant":{
            "uid":"ptc_01jd8r0000000000000000000a","registration":"demo","name":"admin",
            "kind":"user","suspended":false,"tags":{},"roles":[],
            "createTime":"2026-11-23T00:00:00Z","updateTime":"2026-11-23T00:00:00Z"},"roles":[],
            "method":"apiKey","credential":"crd_01jd8r0000000000000000000a",
            "expireTime":"2027-11-23T00:00:00Z","policyRevision":"1"}"#;
        (200, text.to_owned())
    });
    let folder = tempfile::tempdir().unwrap();
    let folder = Some(folder.path());
    let login = format!("cipher-hub login --address {} --registration demo", hub.address);
    let ran = run_in(folder, None, &login, "chk_typed\n");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("logged in as demo/admin") && !ran.err.contains("chk_typed"));
    assert_eq!(run_in(folder, None, "cipher-hub whoami", "").code, 0);
    let ran = run_in(folder, None, "cipher-hub context show --output json", "");
    assert!(ran.out.contains("\"hasApiKey\": true") && !ran.out.contains("chk_typed"));
    assert_eq!(run_in(folder, None, "cipher-hub --as nobody whoami", "").code, 6);
    assert_eq!(run_in(folder, None, "cipher-hub context remove default --yes", "").code, 0);
    assert_eq!(run_in(folder, None, "cipher-hub whoami", "").code, 4);
}

#[test]
fn manual_and_completion_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let line = format!("cipher-hub man {}", folder.path().display());
    assert_eq!(run_in(None, None, &line, "").code, 0);
    assert!(folder.path().join("cipher-hub-key-rotate.1").exists());
    let ran = run_in(None, None, "cipher-hub completion bash", "");
    assert!(ran.out.contains("rewrap"));
}

#[test]
fn plugins_of_a_hub_are_shown_and_changed() {
    const PLUGIN: &str = r#"{"name":"payday","world":"rotation-schedule","state":"inService",
        "enabled":true,"active":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "version":"1.2.0","description":"a\u001b[2J","capabilities":["log"],
        "config":{"region":"de"},"configSchema":{"region":{"takes":"text","required":false}},
        "parametersSchema":{},"failure":"fall-back","limits":{"timeMicros":10000},
        "versions":[{"digest":
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","version":"1.2.0",
        "signer":"us","bytes":5000,"installTime":"2026-11-26T09:00:00Z"}],
        "stats":{"calls":7,"failures":{"trap":1},"fuel":1,"timeMicros":1,"memoryPeakBytes":1,
        "logLinesDropped":0}}"#;
    let hub = Fake::new(|first, _| match first {
        "GET /v1/plugins?pageSize=1000" => (200, format!(r#"{{"items":[{PLUGIN}]}}"#)),
        first if first.starts_with("DELETE") => (204, String::new()),
        _ => (200, PLUGIN.to_owned()),
    });
    let ran = run(&hub, "cipher-hub plugin list", "");
    assert!(ran.code == 0 && ran.out.contains("in service"), "{} {}", ran.out, ran.err);
    assert!(ran.out.contains("7, trap 1") && ran.out.contains("a\\u{1b}[2J"), "{}", ran.out);
    let ran = run(&hub, "cipher-hub plugin get payday", "");
    assert!(ran.out.contains("* 1.2.0  9f86d0") && ran.out.contains("signed by us"), "{}", ran.out);
    for verb in ["enable", "disable", "rollback"] {
        assert_eq!(run(&hub, &format!("cipher-hub plugin {verb} payday"), "").code, 0);
        assert_eq!(hub.seen().last().unwrap().trim(), format!("POST /v1/plugins/payday:{verb}"));
    }
    let ran = run(&hub, "cipher-hub plugin settings payday", "");
    assert!(ran.out.contains("region") && hub.seen().last().unwrap().starts_with("GET"));
    let line = "cipher-hub plugin settings payday --set region=fr --unset zone --time 5ms \
                --registration shop --on-failure manifest";
    assert_eq!(run(&hub, line, "").code, 0);
    assert_eq!(
        hub.seen().last().unwrap(),
        r#"PATCH /v1/plugins/payday {"config":{"region":"fr","zone":null},"failure":null,"limits":{"timeMicros":5000},"registrations":["shop"]}"#
    );
    let ran = run(&hub, "cipher-hub plugin remove payday", "no\n");
    assert!(ran.code == 2 && !hub.seen().iter().any(|request| request.starts_with("DELETE")));
    assert_eq!(run(&hub, "cipher-hub plugin remove payday --yes", "").code, 0);
}
