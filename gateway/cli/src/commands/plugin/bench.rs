//! `cipher-hub plugin bench`: what calls cost, warm, instance included.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use hub_plugins::{CacheConfig, EngineConfig, Package};
use serde::Serialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::super::super::failure::{Code, Failure};
use super::super::super::output::Row;
use super::super::super::run::Session;
use super::ask::{self, Host};
use super::case::Case;
use super::cases;
use super::test::beside;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub plugin bench payday.wasm
  cipher-hub plugin bench payday.wasm --calls 100000 --output json

Each call is what a hub does: a new instance, the call, the check of the answer. Sinks are answered
from the case's responses, over and over. `load` is the time to take the plugin from the cache of
compiled plugins, `compile` the time before it is there.")]
pub(crate) struct BenchArgs {
    /// The plugin
    file: PathBuf,
    /// A case, or a folder of them; `cases` beside the plugin when not said
    #[arg(long, value_name = "PATH")]
    cases: Option<PathBuf>,
    /// Calls of each case, after a few to warm up; the time is bounded by --seconds, too
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    calls: u32,
    /// The longest time for a case
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
}

/// What calls of a case cost.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Measured {
    case: String,
    calls: usize,
    p50_micros: f64,
    p99_micros: f64,
    fuel: u64,
    memory_bytes: u64,
    host_calls: u32,
    /// How the calls ended, where it was no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

impl Row for Measured {
    const HEAD: &'static [&'static str] =
        &["CASE", "CALLS", "P50 µs", "P99 µs", "FUEL", "MEMORY", "HOST CALLS", "ENDED"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.case.clone(),
            self.calls.to_string(),
            format!("{:.1}", self.p50_micros),
            format!("{:.1}", self.p99_micros),
            self.fuel.to_string(),
            super::size(usize::try_from(self.memory_bytes).unwrap_or(usize::MAX)),
            self.host_calls.to_string(),
            self.failure.clone().unwrap_or_else(|| "answered".to_owned()),
        ]
    }
}

pub(super) async fn run(args: BenchArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let package = super::package(&args.file)?;
    let folder = args.cases.clone().unwrap_or_else(|| beside(&args.file));
    if !folder.exists() {
        let message = format!("`{}` is not there", folder.display());
        return Err(Failure::new(Code::NotFound, message, "--cases names a folder of cases"));
    }
    let (cases, problems) = cases::folder(&folder, package.manifest().world.name())?;
    for problem in &problems {
        session.console.note(&format!("not measured: {problem}"));
    }
    let (host, compile, load) = load(&package)?;
    let mut rows = Vec::new();
    for case in &cases {
        match measure(&host, case, &args).await {
            Ok(measured) => rows.push(measured),
            Err(why) => session.console.note(&format!("not measured: {}: {why}", case.file())),
        }
    }
    if rows.is_empty() {
        let message = format!("`{}` has no case to measure", folder.display());
        return Err(Failure::new(Code::Failed, message, "docs/plugins/cases.md describes cases"));
    }
    let millis = |time: Duration| time.as_secs_f64() * 1_000.0;
    if !session.console.for_people() {
        let value = json!({
            "compileMillis": millis(compile), "loadMillis": millis(load), "cases": rows,
        });
        return session.console.item(&value, &[]);
    }
    session.console.list(&rows)?;
    let line = format!("compile {:.1} ms, load {:.2} ms", millis(compile), millis(load));
    session.console.line(&line)
}

/// The plugin loaded from compiled code, with the time of both ways.
fn load(package: &Package) -> Result<(Host, Duration, Duration), Failure> {
    let folder = Folder::make()?;
    let mut key = Zeroizing::new([0_u8; 32]);
    hub_crypto::random::fill(&mut *key);
    let cache = || Some(CacheConfig { folder: folder.path.clone(), key: key.clone() });
    let config = || EngineConfig { cache: cache(), concurrency: 4, ..EngineConfig::default() };
    let first = ask::engine_of(config())?;
    let begun = Instant::now();
    Host::load_into(&first, package)?;
    let compile = begun.elapsed();
    drop(first);
    // An engine of its own: nothing is remembered but the file.
    let second = ask::engine_of(config())?;
    let begun = Instant::now();
    let host = Host::load_into(&second, package)?;
    Ok((host, compile, begun.elapsed()))
}

/// A folder for compiled code that goes away again.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn make() -> Result<Self, Failure> {
        use std::os::unix::fs::DirBuilderExt as _;
        let mut number = [0_u8; 8];
        hub_crypto::random::fill(&mut number);
        let name = format!("cipher-hub-bench-{:016x}", u64::from_be_bytes(number));
        let path = std::env::temp_dir().join(name);
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| Failure::file(&path, &error))?;
        Ok(Self { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

async fn measure(host: &Host, case: &Case, args: &BenchArgs) -> Result<Measured, String> {
    let prepared = host.prepare(case, true).await?.map_err(|failure| failure.to_string())?;
    for _ in 0..args.calls.div_ceil(20).min(50) {
        prepared.ask().await;
    }
    let calls = usize::try_from(args.calls).unwrap_or(usize::MAX);
    let mut nanos = Vec::with_capacity(calls.min(1 << 20));
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let (mut fuel, mut memory, mut host_calls, mut failure) = (0, 0, 0, None);
    while nanos.len() < calls && (nanos.is_empty() || Instant::now() < end) {
        let begun = Instant::now();
        let asked = prepared.ask().await;
        nanos.push(begun.elapsed().as_nanos());
        (fuel, host_calls) = (asked.fuel, asked.host_calls);
        memory = asked.memory.max(memory);
        failure = asked.outcome.err().map(|failure| failure.kind.name().to_owned());
    }
    nanos.sort_unstable();
    let micros = |rank: usize| {
        let nanos = nanos.get(rank.min(nanos.len().saturating_sub(1))).copied().unwrap_or(0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).as_secs_f64() * 1e6
    };
    Ok(Measured {
        case: case.file(),
        calls: nanos.len(),
        p50_micros: micros(nanos.len() / 2),
        p99_micros: micros(nanos.len().saturating_mul(99) / 100),
        fuel,
        memory_bytes: memory,
        host_calls,
        failure,
    })
}
