//! `cipher-hub audit report`: reads what a report needs over the API, verifies the log while reading
//! it, and writes the report. What it says is made by `hub-report`.

mod collect;
mod log;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use hub_model::Timestamp;
use hub_model::clock::{Clock as _, SystemClock};
use hub_report::cryptoperiod::Cryptoperiods;
use hub_report::facts::Missing;
use hub_report::{Kind, Options, Trail};

use super::super::super::failure::Failure;
use super::super::super::files;
use super::super::super::output::json_text;
use super::super::super::run::Session;
use super::super::super::values;

/// Reports for auditors.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub audit report --out report.html
  cipher-hub audit report inventory rotation --registration shop --out shop.html
  cipher-hub audit report all --since 365d --format json --out 2026.json
  cipher-hub audit report rotation --cryptoperiod symmetric=365d --format json

Kinds: inventory, rotation, destruction, access, changes, denials, control, custody, integrity,
pci; all of them when none is named. For auditors of the hub; owners and auditors of a registration
get what they may read of it, and the report says what is missing. Its own reading is in the log.
Exits with 10 when the log is not what its checkpoint says.")]
pub(crate) struct ReportArgs {
    /// Which reports
    #[arg(value_name = "KIND", value_parser = kind)]
    kinds: Vec<Wanted>,
    /// Only this registration; can be given several times
    #[arg(long, value_name = "REG")]
    registration: Vec<String>,
    /// Events from then on: a time (RFC 3339), or how long ago
    #[arg(long, value_name = "WHEN", default_value = "90d")]
    since: String,
    /// Events before then; now when absent
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Form of the report
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    format: Form,
    /// Write to this file, which only you may read, instead of stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How long keys of a type may protect, as `symmetric=365d`; SP 800-57 when absent
    #[arg(long, value_name = "TYPE=DAYS")]
    cryptoperiod: Vec<String>,
    /// Key that signs checkpoints, from a place you trust (C2SP vkey; public)
    #[arg(long, value_name = "VKEY")]
    verifier_key: Option<String>,
}

/// Form of a report.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// One file for people, with plots.
    #[default]
    Html,
    /// One document for programs.
    Json,
}

/// `all`, or one kind.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    All,
    One(Kind),
}

fn kind(text: &str) -> Result<Wanted, String> {
    if text == "all" { Ok(Wanted::All) } else { text.parse().map(Wanted::One) }
}

/// A time, or how long before `now`.
fn moment(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    if let Ok(ago) = values::duration(text) {
        let micros = i64::try_from(ago.as_micros()).unwrap_or(i64::MAX);
        return Ok(Timestamp::from_micros(now.as_micros().saturating_sub(micros).max(0)));
    }
    // A day is its first moment.
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    whole.parse().map_err(|_| {
        Failure::usage(
            format!("`{text}` is neither a time nor how long ago"),
            "for example 2026-01-01, 2026-01-01T12:00:00Z or 90d",
        )
    })
}

fn options(args: &ReportArgs, now: Timestamp) -> Result<Options, Failure> {
    let mut kinds: BTreeSet<Kind> = BTreeSet::new();
    for wanted in &args.kinds {
        match wanted {
            Wanted::All => kinds.extend(Kind::ALL),
            Wanted::One(kind) => drop(kinds.insert(*kind)),
        }
    }
    if kinds.is_empty() {
        kinds.extend(Kind::ALL);
    }
    let since = moment(&args.since, now)?;
    let until = args.until.as_deref().map_or(Ok(now), |text| moment(text, now))?;
    if since >= until {
        return Err(Failure::usage(
            format!("nothing lies between {since} and {until}"),
            "--since is before --until",
        ));
    }
    let mut cryptoperiods = Cryptoperiods::default();
    for text in &args.cryptoperiod {
        cryptoperiods
            .take(text)
            .map_err(|problem| Failure::usage(problem, "for example: --cryptoperiod mac=180d"))?;
    }
    Ok(Options { kinds, since, until, cryptoperiods })
}

pub(super) async fn run(args: ReportArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let began = SystemClock.now();
    // Before anything is asked: mistakes in arguments cost nobody a wait.
    let mut options = options(&args, began)?;
    log::trusted(args.verifier_key.as_deref())?;
    if args.out.is_none() && args.format == Form::Html && session.console.out_terminal {
        return Err(Failure::usage(
            "HTML is not for a terminal",
            "--out report.html, or --format json",
        ));
    }
    let client = session.connect()?;
    let mut facts = collect::facts(session, &client, &args.registration, &options.kinds).await?;
    let only = (!args.registration.is_empty())
        .then(|| facts.registrations.iter().map(|one| one.uid.clone()).collect());
    facts.generated = SystemClock.now().max(began);
    if args.until.is_none() {
        options.until = facts.generated;
    }
    // Without an end of its own the report takes all that the checkpoint covers, whatever this
    // machine's clock says beside the hub's.
    let end = if args.until.is_some() { options.until } else { Timestamp::MAX };
    let mut trail = Trail::new(options.since, end, only);
    let log = if options.kinds.iter().any(|kind| kind.needs_log()) {
        match log::read(session, &client, args.verifier_key.as_deref(), &mut trail).await? {
            log::Reading::Read(log) => Some(*log),
            log::Reading::Refused(why) => {
                facts.missing.push(Missing { what: "the audit log of the hub".to_owned(), why });
                None
            }
        }
    } else {
        None
    };
    if let Some(origin) = log.as_ref().and_then(|log| log.checkpoint.as_deref()) {
        let name = origin.lines().next().and_then(|line| line.strip_suffix(".audit"));
        facts.hub = name.map(str::to_owned);
    }
    if let (None, Some(last)) = (&args.until, trail.last()) {
        options.until = options.until.max(last.plus(Duration::from_micros(1)));
    }
    let report = hub_report::build(&facts, log.map(|log| (&trail, log)), &options);
    let bytes = match args.format {
        Form::Html => hub_report::html::page(&report),
        Form::Json => json_text(&report, true)? + "\n",
    };
    match &args.out {
        None => session.console.data(bytes.as_bytes())?,
        Some(path) => {
            files::write_private(path, bytes.as_bytes())
                .map_err(|error| Failure::file(path, &error))?;
            let size = report.log.as_ref().map_or(0, |log| log.size);
            session.console.note(&format!("{}: {size} entries of the log", path.display()));
        }
    }
    if !report.missing.is_empty() {
        let many = report.missing.len();
        session.console.note(&format!("the report is not complete: it names {many} gaps"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_times_days_or_how_long_ago() {
        let now = Timestamp::from_micros(100 * 86_400_000_000);
        let ago = |days: i64| Timestamp::from_micros((100 - days) * 86_400_000_000);
        assert_eq!(moment("90d", now).unwrap(), ago(90));
        assert_eq!(moment("1970-01-11", now).unwrap(), ago(90));
        assert_eq!(moment("1970-01-11T00:00:00Z", now).unwrap(), ago(90));
        assert_eq!(moment("9999d", now).unwrap(), ago(100));
        for bad in ["", "90", "yesterday", "1970-13-01"] {
            assert!(moment(bad, now).is_err(), "{bad}");
        }
    }
}
