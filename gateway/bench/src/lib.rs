//! `cipher-hub bench`: the gateway beside a bare hyper server, in one run on one machine.
//!
//! The yardstick reads a JSON body and sends it back; the gateway authenticates, decides, encrypts
//! and makes an audit entry durable. Both are processes of their own and are loaded by the same
//! generator in turns, so that what else the machine does hits both alike. The ratio of a pair of
//! neighbouring turns is the figure to look at; absolute figures are those of one machine.

mod bare;
mod children;
mod decisions;
mod keys;
mod load;
mod measure;
mod openssl;
mod overload;
mod plugins;
mod pour;
mod primitives;
mod report;
mod setup;
mod stream;
mod trail;

use std::path::PathBuf;
use std::time::Duration;

use hub_cli::{BenchArgs, BenchPart, Code, Failure, Format};
use tokio::signal::unix::{SignalKind, signal};

/// What to do, and how long.
#[derive(Debug, Clone)]
struct Plan {
    connections: usize,
    rounds: u32,
    turn: Duration,
    warm_up: Duration,
    keys: u32,
    starts: u32,
    batch_items: u32,
    stream_bytes: u64,
    /// Turns of the stream for either side.
    streams: u32,
    only: Option<BenchPart>,
    dir: PathBuf,
    quiet: bool,
}

impl Plan {
    fn new(args: &BenchArgs, quiet: bool) -> Self {
        let seconds = |value: u32| Duration::from_secs(u64::from(value));
        let connections = usize::try_from(args.connections).unwrap_or(usize::MAX);
        let dir = args.dir.clone().unwrap_or_else(std::env::temp_dir);
        let few = !matches!(args.only, None | Some(BenchPart::Keys));
        if args.quick {
            return Self {
                connections,
                rounds: 1,
                turn: Duration::from_millis(150),
                warm_up: Duration::from_millis(50),
                keys: args.keys.min(100),
                starts: 1,
                batch_items: 20,
                stream_bytes: 16 << 20,
                streams: 1,
                only: args.only.clone(),
                dir,
                quiet,
            };
        }
        Self {
            connections,
            rounds: args.rounds,
            turn: seconds(args.seconds),
            warm_up: seconds(args.seconds).min(Duration::from_secs(1)),
            keys: if few { args.keys.min(100) } else { args.keys },
            starts: if few { 1 } else { 7 },
            batch_items: 100,
            stream_bytes: 1 << 30,
            streams: 5,
            only: args.only.clone(),
            dir,
            quiet,
        }
    }

    /// Whether this part is measured.
    fn wants(&self, part: &BenchPart) -> bool {
        self.only.as_ref().is_none_or(|only| only == part)
    }

    /// Progress, for whoever waits.
    fn say(&self, text: &str) {
        if !self.quiet {
            use std::io::Write as _;
            // Losing talk is not worth failing for.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }
}

/// Runs the benchmark and prints its report.
///
/// # Errors
/// A [`Failure`] when a server does not start, a request fails, or it is interrupted.
pub fn run(args: &BenchArgs, format: Format, quiet: bool) -> Result<(), Failure> {
    if args.bare_server {
        return runtime(None)?.block_on(bare::serve()).map_err(|error| failed(&error.to_string()));
    }
    let plan = Plan::new(args, quiet);
    // Half of the processors for the generator leaves the other half to who is measured.
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    let report = runtime(Some((processors / 2).max(1)))?.block_on(async {
        let stop = |kind| signal(kind).map_err(|error| failed(&error.to_string()));
        let (mut interrupt, mut terminate) =
            (stop(SignalKind::interrupt())?, stop(SignalKind::terminate())?);
        // Dropping the work ends the children and removes their folder.
        tokio::select! {
            report = Box::pin(measure::everything(&plan)) => report,
            _ = interrupt.recv() => Err(interrupted()),
            _ = terminate.recv() => Err(interrupted()),
        }
    })?;
    report.print(format)
}

fn runtime(workers: Option<usize>) -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = workers {
        builder.worker_threads(workers);
    }
    builder.enable_all().build().map_err(|error| failed(&error.to_string()))
}

fn failed(message: &str) -> Failure {
    Failure::new(Code::Failed, message, "nothing was left behind; `cipher-hub bench --help`")
}

fn interrupted() -> Failure {
    Failure::new(Code::Interrupted, "interrupted", "nothing was left behind")
}
