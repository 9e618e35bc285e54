//! `cipher-hub audit archive` and `audit archives`: having old entries archived, and verifying
//! archives without the hub.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use hub_audit::archive::{Archive, Examined, Key, continues, examine};
use hub_audit::checkpoint::Checkpoint;
use hub_audit::encode::hex;
use hub_audit::merkle;
use hub_model::Timestamp;
use hub_model::api::archive::ArchiveView;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::super::super::failure::{Code, Failure};
use super::super::super::output::{Row, clean, time};
use super::super::super::run::Session;
use super::offline;

/// Between two looks at how far archiving is.
const PAUSE: Duration = Duration::from_millis(250);
/// Between two lines of progress where there is no terminal.
const WORD: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  cipher-hub audit archive --before 2026-01-01 --dry-run
  cipher-hub audit archive --before 2026-01-01
  cipher-hub audit archive verify /mnt/archive --verifier-key \"$(cat hub.vkey)\"

Entries go into archives in the hub's folder `audit.archive_dir` and are read from there as before;
none is ever deleted otherwise (docs/audit/retention.md)."
)]
pub(crate) struct ArchiveArgs {
    #[command(subcommand)]
    command: Option<ArchiveCommand>,
    /// Archive entries from before this moment: a date, or a time in RFC 3339
    #[arg(long, value_name = "DATE", value_parser = moment, required = true)]
    before: Option<Timestamp>,
    /// Do not wait for the end
    #[arg(long)]
    no_wait: bool,
}

/// What is done with archives.
#[derive(Debug, Subcommand)]
enum ArchiveCommand {
    /// Verify archives without the hub: signatures, hashes, and that they follow one another
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub audit archive verify /mnt/archive --verifier-key \"$(cat hub.vkey)\"
  cipher-hub audit archive verify main-*.audit --verifier-key \"$(cat hub.vkey)\" \\
    --checkpoint checkpoint.2026-01-01

Nothing is opened: an archive is sealed, and what is verified is its public part. Without
--verifier-key the hub is asked which key signs. Exits with 10 when something is wrong.")]
struct VerifyArgs {
    /// Archives, or folders of them
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Key that signs checkpoints and archives (C2SP vkey; public), or a file of them; several
    /// after a rotation
    #[arg(long, value_name = "VKEY")]
    verifier_key: Vec<String>,
    /// A checkpoint kept earlier, to be met on the way
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub audit archives
  cipher-hub audit archives --output json")]
pub(crate) struct ArchivesArgs {}

/// `2026-01-01`, or a time in RFC 3339.
fn moment(text: &str) -> Result<Timestamp, String> {
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    whole.parse().map_err(|_| "expected a date such as 2026-01-01, or an RFC 3339 time".to_owned())
}

pub(crate) async fn run(args: ArchiveArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    match (args.command, args.before) {
        (Some(ArchiveCommand::Verify(args)), _) => verify(args, session).await,
        (None, Some(before)) => archive(before, args.no_wait, session).await,
        (None, None) => Err(Failure::usage("--before is needed", "see --help")),
    }
}

async fn archive(
    before: Timestamp,
    no_wait: bool,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let client = session.connect()?;
    let plan = client.archive_audit(before).await?;
    if session.global.dry_run || no_wait || plan.entries == 0 {
        let facts = [
            ("before", time(plan.before)),
            ("first entry", plan.first.to_string()),
            ("entries", format!("about {}", plan.entries)),
            ("bytes", format!("about {}", plan.approximate_bytes)),
            ("archives", plan.archives.to_string()),
        ];
        return session.console.item(&plan, &facts);
    }
    let mut progress = Progress::new(session, plan.entries, "entries");
    loop {
        let list = client.audit_archives().await?;
        progress.at(session, list.end.saturating_sub(plan.first).min(plan.entries));
        if let Some(problem) = list.problem {
            progress.end();
            return Err(Failure::new(
                Code::Failed,
                format!("archiving does not go on: {problem}"),
                "nothing is lost; the hub tries again by itself, and goes on where it stopped",
            ));
        }
        if list.working.is_none_or(|working| working < before) {
            progress.end();
            let made: Vec<_> =
                list.items.into_iter().filter(|made| made.first >= plan.first).collect();
            return session.console.list(&made);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

pub(crate) async fn list(_: ArchivesArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let list = session.connect()?.audit_archives().await?;
    if !session.console.for_people() {
        return session.console.item(&list, &[]);
    }
    session.console.list(&list.items)?;
    let kept = match list.retention_seconds {
        None => "entries stay in the store until archives are asked for".to_owned(),
        Some(seconds) => format!("entries stay in the store for {} days", seconds / 86_400),
    };
    session.console.note(&format!("in {}; {kept}", list.folder));
    if let Some(problem) = &list.problem {
        session.console.note(&format!("archiving does not go on: {problem}"));
    }
    let mut wrong = list.items.iter().filter(|one| one.state != "present" && one.state != "sound");
    wrong.next().map_or(Ok(()), |one| {
        let why = one.problem.clone().unwrap_or_else(|| one.state.clone());
        Err(not_verified(format!(
            "entries {} to {} cannot be read from `{}`: {why}",
            one.first, one.last, one.file
        )))
    })
}

impl Row for ArchiveView {
    const HEAD: &'static [&'static str] =
        &["FILE", "FIRST", "LAST", "BYTES", "OLDEST", "NEWEST", "STATE"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.file.clone(),
            self.first.to_string(),
            self.last.to_string(),
            self.bytes.to_string(),
            time(self.from),
            time(self.until),
            self.state.clone(),
        ]
    }
}

/// What was verified, for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Proven {
    archives: usize,
    first: u64,
    last: u64,
    checkpoints: u64,
    root: String,
}

async fn verify(args: VerifyArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let mut texts = offline::vkeys(&args.verifier_key)?;
    if texts.is_empty() {
        let client = session.connect()?;
        // Who may not list the keys is told the newest.
        let newest = client.audit_events(0, Some(1)).await.ok().map(|page| page.verifier_key);
        texts = offline::by_word(&client, newest, session).await?;
    }
    let words = texts.iter().flat_map(|text| text.split_ascii_whitespace());
    // Those of manifests are the same keys under another name.
    let own = words.filter(|word| !word.contains(".audit-export+"));
    let keys = own.map(Key::parse).collect::<Result<Vec<_>, _>>();
    let keys = keys.map_err(|error| {
        Failure::usage(error.to_string(), "a verifier key reads NAME+ID+BASE64")
    })?;
    // Without a key signatures are not asked for.
    if keys.is_empty() {
        let hint = "a verifier key of the hub's log reads HUB.audit+ID+BASE64";
        return Err(Failure::usage("there is no verifier key", hint));
    }
    let checkpoints = args.checkpoint.iter().map(|path| read_checkpoint(path, &keys));
    let checkpoints = checkpoints.collect::<Result<Vec<_>, _>>()?;
    let files = expand(&args.files)?;
    let sizes = files.iter().map(|file| std::fs::metadata(file).map_or(0, |facts| facts.len()));
    let mut progress = Progress::new(session, sizes.sum(), "bytes");
    let (mut good, mut wrong, mut done) = (Vec::<Examined>::new(), Vec::new(), 0);
    for file in &files {
        let found = Archive::open(file).and_then(|archive| {
            examine(&archive, &keys, &checkpoints, &mut |bytes| progress.show(done + bytes))
        });
        match found {
            Ok(examined) => {
                done += examined.bytes;
                good.push(examined);
            }
            Err(damage) => wrong.push(damage.to_string()),
        }
        progress.at(session, done);
    }
    progress.end();
    good.sort_by_key(|examined| examined.first);
    for pair in good.windows(2) {
        if let [one, next] = pair
            && let Err(finding) = continues(one, next)
        {
            wrong.push(finding);
        }
    }
    let (Some(first), Some(last), true) = (good.first(), good.last(), wrong.is_empty()) else {
        let mut failure = not_verified(wrong.join("; "));
        if wrong.len() > 1 {
            failure = not_verified(format!("{} findings", wrong.len()));
            failure.details = wrong;
        }
        return Err(failure);
    };
    let met: u64 = good.iter().map(|examined| examined.checkpoints).sum();
    let beyond = checkpoints.iter().filter(|seen| seen.size > last.end).count();
    if first.first > 0 {
        let note = format!("entries before {} are not in these archives", first.first);
        session.console.note(&note);
    }
    if beyond > 0 {
        session.console.note(&format!("{beyond} checkpoints lie behind these archives"));
    }
    let proven = Proven {
        archives: good.len(),
        first: first.first,
        last: last.end.saturating_sub(1),
        checkpoints: met,
        root: hex(&merkle::root(&last.frontier)),
    };
    if !session.console.for_people() {
        return session.console.item(&proven, &[]);
    }
    session.console.line(&clean(&format!(
        "ok  {} archives, entries {} to {}, signed, whole, each going on where the one before \
         ends; {met} checkpoints met; root {}",
        proven.archives, proven.first, proven.last, proven.root
    )))
}

fn read_checkpoint(path: &Path, keys: &[Key]) -> Result<Checkpoint, Failure> {
    let note = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    let opened = keys.iter().find_map(|key| key.open_checkpoint(&note).ok());
    opened.ok_or_else(|| {
        not_verified(format!("`{}` is no checkpoint signed by a key given", path.display()))
    })
}

/// Files as they are, and the archives in folders.
fn expand(given: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in given {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let found = std::fs::read_dir(path).map_err(|error| unreadable(path, &error))?;
        let paths = found.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        files.extend(paths.filter(|path| path.extension().is_some_and(|end| end == "audit")));
    }
    files.sort();
    files.dedup();
    if files.is_empty() {
        let hint = "archives are named `<writer>-<first entry>.audit`";
        return Err(Failure::new(Code::NotFound, "there are no archives there", hint));
    }
    Ok(files)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("cannot read `{}`: {error}", path.display());
    Failure::new(Code::Failed, message, "check the path and its rights")
}

fn not_verified(message: String) -> Failure {
    Failure::new(
        Code::NotVerified,
        message,
        "keep the files as they are, and put a good copy of the archive back in place",
    )
}

/// A bar on a terminal, else a line now and then.
struct Progress {
    bar: ProgressBar,
    size: u64,
    what: &'static str,
    said: Instant,
}

impl Progress {
    fn new(session: &Session<'_>, size: u64, what: &'static str) -> Self {
        let visible = session.console.err_terminal && !session.global.quiet;
        let target =
            if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(size), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}  {eta}") {
            bar.set_style(style);
        }
        bar.set_message(what);
        Self { bar, size, what, said: Instant::now() }
    }

    fn show(&self, done: u64) {
        self.bar.set_position(done);
    }

    fn at(&mut self, session: &mut Session<'_>, done: u64) {
        self.bar.set_position(done);
        if !session.console.err_terminal && self.said.elapsed() >= WORD {
            session.console.note(&format!("{done} of {} {}", self.size, self.what));
            self.said = Instant::now();
        }
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}
