//! `cipher-hub audit`: following the trail, and proving it whole.

mod archive;
pub(crate) mod checkpoints;
mod export;
mod offline;
mod prove;
mod report;
mod rotations;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use hub_model::api::audit::AuditRecord;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::super::failure::{Code, Failure};
use super::super::output::{clean, escape_json};
use super::super::run::Session;
use super::super::{Format, LogClaim};

mod query;

pub(crate) use query::{QueryArgs, ShowArgs};

/// Entries of one page.
const PAGE: u32 = 1000;
/// Between two looks for new entries.
const PAUSE: Duration = Duration::from_secs(1);
/// Looks for a first checkpoint.
const SIGNS: u32 = 5;
/// Between two lines of progress where there is no terminal.
const WORD: Duration = Duration::from_secs(10);

/// The audit trail.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  cipher-hub audit tail -n 20 --follow
  cipher-hub audit query --since 2d --key shop/orders
  cipher-hub audit show 4711
  cipher-hub audit verify
  cipher-hub audit export 2026-11
  cipher-hub audit verify 2026-11 --verifier-key hub.vkey
  cipher-hub audit report --out report.html")]
pub(crate) enum AuditCommand {
    /// Show the newest entries
    Tail(TailArgs),
    /// Find entries by time, participant, key, action, outcome and decision
    Query(Box<QueryArgs>),
    /// Show one entry, and the entries of the same request, operation and trace
    Show(ShowArgs),
    /// Prove that no entry was altered, removed or added: in the hub, or in an export
    Verify(VerifyArgs),
    /// Prove that one entry is in the log, or check such a proof without a hub
    Prove(prove::ProveArgs),
    /// Prove that the log only grew since a checkpoint you kept
    Consistency(prove::ConsistencyArgs),
    /// Write entries to a folder that can be verified without the hub
    Export(export::ExportArgs),
    /// Write a report: keys, rotation, access, changes, denials, control
    Report(report::ReportArgs),
    /// Have old entries archived, or verify archives
    Archive(archive::ArchiveArgs),
    /// List the archives of old entries, and whether they are whole
    Archives(archive::ArchivesArgs),
    /// Print the newest checkpoint, to be kept outside
    Checkpoint(checkpoints::CheckpointArgs),
    /// List the checkpoints that are kept
    #[command(after_help = "Examples:\n  cipher-hub audit checkpoints --output json")]
    Checkpoints,
    /// List the keys that sign or signed checkpoints
    #[command(after_help = "Examples:\n  cipher-hub audit keys")]
    Keys,
    /// Sign checkpoints with another key from now on
    #[command(after_help = "\
Examples:
  cipher-hub audit rotate-key
  cipher-hub audit rotate-key --dry-run

For `audit.key_overlap` the key before signs beside the new one: give the new verifier key to
whoever verifies meanwhile, and to witnesses.")]
    RotateKey,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub audit tail -n 20
  cipher-hub audit tail --registration shop
  cipher-hub audit tail --follow --json | jq .action")]
pub(crate) struct TailArgs {
    /// How many entries
    #[arg(short = 'n', long, default_value_t = 10, value_name = "N")]
    lines: u64,
    /// Go on with new entries until interrupted
    #[arg(short, long)]
    follow: bool,
    /// Entries as they are stored, one a line
    #[arg(long)]
    json: bool,
    /// Only entries about this registration: for its owners and auditors, too
    #[arg(long, value_name = "REG")]
    registration: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub audit verify
  cipher-hub audit verify --verifier-key hub.vkey --checkpoint last-month.checkpoint
  cipher-hub audit verify 2026-11 --verifier-key hub.vkey
  cipher-hub audit verify entries.jsonl --verifier-key hub.vkey --checkpoint kept.checkpoint
  cipher-hub audit verify everything --verifier-key of-last-year.vkey --follow-rotations
  cipher-hub audit verify --verifier-key of-last-year.vkey --follow-rotations --keys-out now.vkey

With a folder that `audit export` has made, or a file of bare entries from the first on, no network
is used. Bare entries are proven as far as the largest --checkpoint covers them. Without a path
every entry is fetched from the hub; then, without --verifier-key the hub itself says which key
signs its checkpoints: that proves the log consistent, but not that it is the log you saw before.
After a rotation give the key before and the new one, or follow it with --follow-rotations. Exits
with 10 when something is wrong.")]
pub(crate) struct VerifyArgs {
    /// Folder of an export, or file of entries
    path: Option<PathBuf>,
    /// Key that signs checkpoints, from a place you trust (C2SP vkey; public), or a file of them
    #[arg(long, value_name = "VKEY")]
    verifier_key: Vec<String>,
    /// Checkpoint kept from earlier, which the log must agree with
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// Trust the keys that entries of rotations name, where a checkpoint over them is signed by a key
    /// that is trusted by then; from the first entry on
    #[arg(long, requires = "verifier_key")]
    follow_rotations: bool,
    /// After that, write the keys trusted by then to this new file, one a line, for --verifier-key of
    /// other commands; keep a checkpoint beside it
    #[arg(long, value_name = "FILE", requires = "follow_rotations")]
    keys_out: Option<PathBuf>,
    /// Of bare entries, let those pass that lie behind the largest checkpoint, unproven
    #[arg(long, requires = "path")]
    allow_uncovered: bool,
}

pub(crate) async fn run(command: AuditCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    match command {
        AuditCommand::Tail(args) => tail(args, session).await,
        AuditCommand::Query(args) => query::query(*args, session).await,
        AuditCommand::Show(args) => query::show(args, session).await,
        AuditCommand::Prove(args) => prove::prove(args, session).await,
        AuditCommand::Consistency(args) => prove::consistency(args, session).await,
        AuditCommand::Verify(args) if args.path.is_some() => offline::run(args, session).await,
        AuditCommand::Verify(args) => verify(args, session).await,
        AuditCommand::Export(args) => export::run(args, session).await,
        AuditCommand::Report(args) => report::run(args, session).await,
        AuditCommand::Archive(args) => archive::run(args, session).await,
        AuditCommand::Archives(args) => archive::list(args, session).await,
        AuditCommand::Checkpoint(args) => checkpoints::checkpoint(args, session).await,
        AuditCommand::Checkpoints => checkpoints::list(session).await,
        AuditCommand::Keys => checkpoints::keys(session).await,
        AuditCommand::RotateKey => checkpoints::rotate(session).await,
    }
}

async fn tail(args: TailArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    if let Some(registration) = args.registration {
        return query::tail(registration, args.lines, args.follow, args.json, session).await;
    }
    let client = session.connect()?;
    let size = client.audit_events(0, Some(1)).await?.size;
    let mut next = size.saturating_sub(args.lines);
    // What the looking itself adds to the log is shown by --follow only.
    let mut end = Some(size);
    loop {
        let wanted = match end {
            Some(end) => page_size(end.saturating_sub(next)),
            None => PAGE,
        };
        let page =
            if wanted == 0 { None } else { Some(client.audit_events(next, Some(wanted)).await?) };
        let items = page.map(|page| page.items).unwrap_or_default();
        for record in &items {
            show(session, record, args.json)?;
            next = record.seq.saturating_add(1);
        }
        match end {
            Some(size) if next < size && !items.is_empty() => {}
            _ if !args.follow => return Ok(()),
            _ => {
                end = None;
                if items.is_empty() || wanted < PAGE {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

fn page_size(entries: u64) -> u32 {
    u32::try_from(entries).unwrap_or(PAGE).min(PAGE)
}

fn show(session: &mut Session<'_>, record: &AuditRecord, json: bool) -> Result<(), Failure> {
    if json || session.global.output != Format::Table {
        // An entry is one line; what would break it is escaped.
        return session.console.line(&escape_json(&record.bytes.replace('\n', " ")));
    }
    session.console.line(&clean(&line(record)))
}

/// An entry for people.
fn line(record: &AuditRecord) -> String {
    let entry: Value = serde_json::from_str(&record.bytes).unwrap_or_default();
    let word = |name: &str| match entry.get(name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    let time = word("time").unwrap_or_else(|| "-".to_owned());
    let time = time.split_once('.').map_or(time.as_str(), |(seconds, _)| seconds);
    let mut text = format!(
        "{:>6}  {time}  {:<22}  {:<14}  {}",
        record.seq,
        word("action").unwrap_or_else(|| "-".to_owned()),
        word("outcome").unwrap_or_else(|| "-".to_owned()),
        word("caller").unwrap_or_else(|| "-".to_owned()),
    );
    for name in ["registration", "key", "version", "participant", "detail", "dryRun", "count"] {
        if let Some(value) = word(name) {
            text.push_str(&format!("  {name}={value}"));
        }
    }
    text
}

async fn verify(args: VerifyArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    rotations::KeysOut::check(args.keys_out.as_ref())?;
    let trusted = match args.verifier_key.as_slice() {
        [] if !args.checkpoint.is_empty() => {
            return Err(Failure::usage(
                "a kept checkpoint is checked under a key from a place you trust: --verifier-key",
                "a verifier key reads NAME+ID+BASE64, as `audit verify` shows it",
            ));
        }
        [] => None,
        given => Some(offline::keyring(given)?),
    };
    let client = session.connect()?;
    let (mut trusted, mut anchors) = (trusted, Vec::new());
    let mut followed = None;
    if let Some(keys) = trusted.take_if(|_| args.follow_rotations) {
        let follower = rotations::follow(&client, keys, &args.checkpoint, session).await?;
        anchors.extend(follower.anchors());
        followed = args.keys_out.map(|file| rotations::KeysOut::new(file, &follower));
        trusted = Some(follower.keys().clone());
    }
    let mut kept = match &trusted {
        Some(keys) => offline::kept(&args.checkpoint, keys)?,
        None => Vec::new(),
    };
    // What is read a second time must be the log that led to the keys.
    kept.extend(anchors);
    let mut page = client.audit_events(0, Some(PAGE)).await?;
    if trusted.is_some() {
        // A hub that has just started signs its first checkpoint within a second.
        for _ in 0..SIGNS {
            if page.checkpoint.is_some() || page.size == 0 {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            page = client.audit_events(0, Some(PAGE)).await?;
        }
    } else {
        session.console.note(&format!("verifier key, by the hub's word: {}", page.verifier_key));
    }
    // The log grows while it is read, by our own reading too: this much is verified.
    let size = page.size;
    let mut verifier = session.hooks.verifier(LogClaim {
        size,
        head: page.head.clone(),
        checkpoint: page.checkpoint.clone(),
        trusted,
        verifier_key: page.verifier_key.clone(),
        kept,
    });
    let mut progress = Progress::new(session, size);
    let mut next = 0;
    while next < size {
        if page.items.is_empty() {
            let message = format!("the log claims {size} entries but ends before entry {next}");
            return Err(tampered(message));
        }
        for record in &page.items {
            if next == size {
                break;
            }
            if record.seq != next {
                return Err(tampered(format!("expected entry {next}, got {}", record.seq)));
            }
            verifier.push(record).map_err(tampered)?;
            next += 1;
        }
        progress.at(session, next);
        if next < size {
            page = client.audit_events(next, Some(page_size(size - next))).await?;
        }
    }
    progress.end();
    let proven = verifier.finish().map_err(tampered)?;
    let covered = match proven.checkpointed {
        Some(covered) if covered < proven.entries => {
            let newer = proven.entries - covered;
            format!("a signed checkpoint covers the first {covered}, {newer} newer await the next")
        }
        Some(_) => "a signed checkpoint covers them all".to_owned(),
        None => "no checkpoint yet".to_owned(),
    };
    session.console.line(&clean(&format!(
        "ok  {} entries, each chained to the one before; {covered}; root {}",
        proven.entries, proven.root,
    )))?;
    match followed {
        Some(keys) => keys.keep(session).await,
        None => Ok(()),
    }
}

fn tampered(message: String) -> Failure {
    Failure::new(
        Code::NotVerified,
        format!("the audit log is not what it claims to be: {message}"),
        "keep a copy of the data folder as it is, and compare it with a backup",
    )
}

/// A bar on a terminal, else a line now and then.
struct Progress {
    bar: ProgressBar,
    size: u64,
    said: Instant,
}

impl Progress {
    fn new(session: &Session<'_>, size: u64) -> Self {
        let visible = session.console.err_terminal && !session.global.quiet;
        let target =
            if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(size), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} entries  {eta}") {
            bar.set_style(style);
        }
        Self { bar, size, said: Instant::now() }
    }

    fn at(&mut self, session: &mut Session<'_>, done: u64) {
        self.bar.set_position(done);
        if !session.console.err_terminal && self.said.elapsed() >= WORD {
            session.console.note(&format!("{done} of {} entries", self.size));
            self.said = Instant::now();
        }
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}
