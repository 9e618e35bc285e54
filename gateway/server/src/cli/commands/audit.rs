//! `cipher-hub audit`: following the trail, and proving it whole.

pub(crate) mod checkpoints;

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use hub_model::api::audit::AuditRecord;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::super::failure::{Code, Failure};
use super::super::output::{clean, escape_json};
use super::super::run::Session;
use super::super::{Format, LogClaim};

/// Entries of one page.
const PAGE: u32 = 1000;
/// Between two looks for new entries.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two lines of progress where there is no terminal.
const WORD: Duration = Duration::from_secs(10);

/// The audit trail.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  cipher-hub audit tail -n 20 --follow
  cipher-hub audit verify")]
pub(crate) enum AuditCommand {
    /// Show the newest entries
    Tail(TailArgs),
    /// Fetch every entry and prove that none was altered, removed or added
    Verify(VerifyArgs),
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
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub audit verify
  cipher-hub audit verify --verifier-key \"$(cat hub.vkey)\"

Without --verifier-key the hub itself says which key signs its checkpoints: that proves the log
consistent, but not that it is the log you saw before. Exits with 10 when something is wrong.")]
pub(crate) struct VerifyArgs {
    /// Key that signs checkpoints, from a place you trust (C2SP vkey; public)
    #[arg(long, value_name = "VKEY")]
    verifier_key: Option<String>,
}

pub(crate) async fn run(command: AuditCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    match command {
        AuditCommand::Tail(args) => tail(args, session).await,
        AuditCommand::Verify(args) => verify(args, session).await,
        AuditCommand::Checkpoint(args) => checkpoints::checkpoint(args, session).await,
        AuditCommand::Checkpoints => checkpoints::list(session).await,
        AuditCommand::Keys => checkpoints::keys(session).await,
        AuditCommand::RotateKey => checkpoints::rotate(session).await,
    }
}

async fn tail(args: TailArgs, session: &mut Session<'_>) -> Result<(), Failure> {
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
    if let Some(key) = &args.verifier_key {
        session.hooks.check_verifier_key(key).map_err(|problem| {
            Failure::usage(
                problem,
                "a verifier key reads NAME+ID+BASE64, as `audit verify` shows it",
            )
        })?;
    }
    let client = session.connect()?;
    let mut page = client.audit_events(0, Some(PAGE)).await?;
    if args.verifier_key.is_none() {
        session.console.note(&format!("verifier key, by the hub's word: {}", page.verifier_key));
    }
    // The log grows while it is read, by our own reading too: this much is verified.
    let size = page.size;
    let mut verifier = session.hooks.verifier(LogClaim {
        size,
        head: page.head.clone(),
        checkpoint: page.checkpoint.clone(),
        verifier_key: args.verifier_key.unwrap_or_else(|| page.verifier_key.clone()),
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
    )))
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
