//! `cipher-hub audit query`, `audit show` and `audit tail --registration`: finding entries, and what
//! belongs together.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cipher_hub_client::{AuditQuery, Client, PageRequest};
use clap::Args;
use hub_model::Timestamp;
use hub_model::api::audit::{AuditPage, AuditRecord};
use hub_model::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use super::super::super::Format;
use super::super::super::failure::{Code, Failure};
use super::super::super::output::{clean, escape_json};
use super::super::super::run::Session;
use super::super::super::values;

/// Entries of one page at most.
const PAGE: u64 = 1000;
/// Entries shown beside one, of each kind of link.
const LINKED: u64 = 50;
/// Between two looks for new entries.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub audit query --since 2d --key shop/orders
  cipher-hub audit query --participant shop/web --action keys.decrypt --decision deny
  cipher-hub audit query --registration shop --since 2026-11-01 --until 2026-12-01 --all --output ndjson
  cipher-hub audit query --request req_01jd8r0000000000000000000a
  cipher-hub audit query --operation op_01jd8r0000000000000000000a --oldest-first

Newest first. An entry is shown when it fits everything that is given. Keys and participants that are
gone are found by their uid. With --registration owners and auditors of a registration read its
entries, and auditors of the hub too; without, auditors of the hub read those of all.")]
pub(crate) struct QueryArgs {
    /// Since a time, or so long ago: `2d`, `90m`, `2026-11-26`, `2026-11-26T05:00:00Z`
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Timestamp>,
    /// Before a time, or so long ago
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<Timestamp>,
    /// The key acted on
    #[arg(long, value_name = "REG/KEY|UID")]
    key: Option<String>,
    /// The participant that called or was acted on
    #[arg(long, value_name = "REG/NAME|UID")]
    participant: Option<String>,
    /// The participant that called
    #[arg(long, value_name = "REG/NAME|UID")]
    caller: Option<String>,
    /// The action, or a group of them: `keys.decrypt`, `keys.*`
    #[arg(long)]
    action: Option<String>,
    /// `ok`, or the code of a refusal
    #[arg(long, value_name = "CODE")]
    outcome: Option<String>,
    /// `allow`, `deny`, or `none` where policy was not asked
    #[arg(long)]
    decision: Option<String>,
    /// The request
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// The W3C trace
    #[arg(long, value_name = "ID")]
    trace: Option<String>,
    /// The long operation or job
    #[arg(long, value_name = "ID")]
    operation: Option<String>,
    /// The credential used
    #[arg(long, value_name = "UID")]
    credential: Option<String>,
    /// Only entries about this registration
    #[arg(long, value_name = "REG")]
    registration: Option<String>,
    /// Only entries of callers of this registration
    #[arg(long, value_name = "REG")]
    caller_registration: Option<String>,
    /// How many entries at most
    #[arg(short = 'n', long, default_value_t = 100, value_name = "N", conflicts_with = "all")]
    lines: u64,
    /// Every entry that fits
    #[arg(long)]
    all: bool,
    /// Oldest first
    #[arg(long)]
    oldest_first: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub audit show 4711
  cipher-hub audit show 4711 --registration shop --output json

Shown are the entry and the entries of the same request, of the same operation and of the same
trace. The number of an entry is in the header Cipher-Hub-Audit-Seq of the answer it is about.")]
pub(crate) struct ShowArgs {
    /// The entry's number
    seq: u64,
    /// Look among the entries of this registration
    #[arg(long, value_name = "REG")]
    registration: Option<String>,
}

/// A time: of a clock, or so long ago.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    if let Ok(time) = format!("{text}T00:00:00Z").parse() {
        return Ok(time);
    }
    let bad = |_| "expected a time such as 2026-11-26T05:00:00Z, a date, or a length such as 2d";
    let ago = values::duration(text).map_err(bad)?;
    let micros = i64::try_from(ago.as_micros()).unwrap_or(i64::MAX);
    Ok(Timestamp::from_micros(SystemClock.now().as_micros().saturating_sub(micros)))
}

/// Who is asked.
struct Trail {
    client: Client,
    registration: Option<String>,
    /// Whether the hub's trail is asked for it, since its own may not be or is gone.
    wide: AtomicBool,
}

impl Trail {
    async fn page(&self, query: &AuditQuery, page: &PageRequest) -> Result<AuditPage, Failure> {
        let Some(registration) = &self.registration else {
            return Ok(self.client.query_audit(query, page).await?);
        };
        let everywhere =
            || AuditQuery { registration: Some(registration.clone()), ..query.clone() };
        if self.wide.load(Ordering::Relaxed) {
            return Ok(self.client.query_audit(&everywhere(), page).await?);
        }
        let found = self.client.query_registration_audit(registration, query, page).await;
        match found.map_err(Failure::from) {
            // Auditors of the hub ask the trail of the hub, which has those that are gone, too.
            Err(failure) if matches!(failure.code, Code::NotFound | Code::Denied) => {
                let found = self.client.query_audit(&everywhere(), page).await;
                let found = found.map_err(|_| failure)?;
                // Not refused again for each page.
                self.wide.store(true, Ordering::Relaxed);
                Ok(found)
            }
            found => found,
        }
    }

    /// At most `limit` entries, each handed to `take` as it comes; gives the log's size when the
    /// first page was made.
    async fn each(
        &self,
        query: &AuditQuery,
        limit: u64,
        mut take: impl FnMut(AuditRecord) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        let (mut left, mut size) = (limit, None);
        let mut request = PageRequest::default();
        loop {
            request.size = Some(u32::try_from(left.clamp(1, PAGE)).unwrap_or(1));
            let page = self.page(query, &request).await?;
            let size = *size.get_or_insert(page.size);
            for record in page.items {
                if left == 0 {
                    return Ok(size);
                }
                take(record)?;
                left -= 1;
            }
            // A token that leads back to itself would never end.
            if left == 0 || page.next_page_token.is_none() || page.next_page_token == request.token
            {
                return Ok(size);
            }
            request.token = page.next_page_token;
        }
    }

    async fn some(&self, query: &AuditQuery, limit: u64) -> Result<Vec<AuditRecord>, Failure> {
        let mut found = Vec::new();
        self.each(query, limit, |record| {
            found.push(record);
            Ok(())
        })
        .await?;
        Ok(found)
    }
}

pub(crate) async fn query(args: QueryArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let trail = Trail {
        client: session.connect()?,
        registration: args.registration,
        wide: AtomicBool::new(false),
    };
    let query = AuditQuery {
        from: args.since,
        to: args.until,
        participant: args.participant,
        caller: args.caller,
        key: args.key,
        registration: None,
        caller_registration: args.caller_registration,
        action: args.action,
        outcome: args.outcome,
        decision: args.decision,
        request: args.request,
        trace: args.trace,
        operation: args.operation,
        credential: args.credential,
        after: None,
        oldest_first: args.oldest_first,
    };
    let limit = if args.all { u64::MAX } else { args.lines };
    let (mut count, mut whole) = (0u64, Vec::new());
    let form = session.global.output;
    let console = &mut *session.console;
    trail
        .each(&query, limit, |record| {
            count += 1;
            match form {
                Format::Json => {
                    whole.push(entry(&record));
                    Ok(())
                }
                Format::Table => console.line(&clean(&line(&record))),
                _ => console.line(&stored(&record)),
            }
        })
        .await?;
    if form == Format::Json {
        return session.console.list_of(&whole);
    }
    if count == 0 {
        session.console.note("none");
    } else if count == limit {
        session.console.note(&format!("the first {count}; more: -n N or --all"));
    }
    Ok(())
}

pub(crate) async fn show(args: ShowArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let trail = Trail {
        client: session.connect()?,
        registration: args.registration,
        wide: AtomicBool::new(false),
    };
    let at = AuditQuery { after: Some(args.seq), oldest_first: true, ..AuditQuery::default() };
    let found = trail.some(&at, 1).await?;
    let Some(record) = found.into_iter().find(|record| record.seq == args.seq) else {
        let message = format!("there is no entry {} here", args.seq);
        let hint = "with --registration only entries about that registration are shown";
        return Err(Failure::new(Code::NotFound, message, hint));
    };
    let shown = entry(&record);
    let word = |name: &str| {
        let text = shown.get(name).and_then(Value::as_str);
        text.filter(|text| *text != "-").map(str::to_owned)
    };
    let ask = |request, operation, trace| AuditQuery {
        request,
        operation,
        trace,
        oldest_first: true,
        ..AuditQuery::default()
    };
    let (request, operation, trace) = (word("request"), word("operation"), word("trace"));
    let links = [
        ("request", request.map(|id| ask(Some(id), None, None))),
        ("operation", operation.map(|id| ask(None, Some(id), None))),
        ("trace", trace.map(|id| ask(None, None, Some(id)))),
    ];
    let mut linked = Vec::new();
    for (name, query) in links {
        let Some(query) = query else { continue };
        let mut found = trail.some(&query, LINKED).await?;
        found.retain(|other| other.seq != record.seq);
        if !found.is_empty() {
            linked.push((name, found));
        }
    }
    if session.global.output != Format::Table {
        let others = linked.iter().map(|(name, found)| {
            ((*name).to_owned(), Value::Array(found.iter().map(entry).collect()))
        });
        let others: serde_json::Map<String, Value> = others.collect();
        let whole = json!({ "entry": shown, "hash": record.hash, "linked": others });
        return session.console.item(&whole, &[]);
    }
    let members = shown.as_object().into_iter().flatten();
    let facts: Vec<(&str, String)> = members
        .map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (name.as_str(), text)
        })
        .chain([("leaf hash", record.hash.clone())])
        .collect();
    session.console.item(&shown, &facts)?;
    for (name, found) in linked {
        session.console.line(&format!("\nof the same {name}"))?;
        for other in &found {
            session.console.line(&clean(&line(other)))?;
        }
    }
    Ok(())
}

/// The newest entries of one registration, and those that come.
pub(super) async fn tail(
    registration: String,
    lines: u64,
    follow: bool,
    json: bool,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let trail = Trail {
        client: session.connect()?,
        registration: Some(registration),
        wide: AtomicBool::new(false),
    };
    let stored_form = json || session.global.output != Format::Table;
    let console = &mut *session.console;
    let mut show = |record: AuditRecord| {
        if stored_form {
            console.line(&stored(&record))
        } else {
            console.line(&clean(&line(&record)))
        }
    };
    let mut newest = Vec::new();
    let keep = |record| {
        newest.push(record);
        Ok(())
    };
    let mut next = trail.each(&AuditQuery::default(), lines, keep).await?;
    newest.reverse();
    newest.into_iter().try_for_each(&mut show)?;
    if !follow {
        return Ok(());
    }
    loop {
        tokio::time::sleep(PAUSE).await;
        let newer = AuditQuery { after: Some(next), oldest_first: true, ..AuditQuery::default() };
        next = trail.each(&newer, u64::MAX, &mut show).await?;
    }
}

fn entry(record: &AuditRecord) -> Value {
    serde_json::from_str(&record.bytes).unwrap_or_default()
}

/// An entry as it is stored, on one line.
fn stored(record: &AuditRecord) -> String {
    escape_json(&record.bytes.replace('\n', " "))
}

/// An entry for people.
fn line(record: &AuditRecord) -> String {
    let entry = entry(record);
    let word = |name: &str| match entry.get(name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    let column = |name: &str| word(name).unwrap_or_else(|| "-".to_owned());
    let time = column("time");
    let time = time.split_once('.').map_or(time.as_str(), |(seconds, _)| seconds);
    let mut text = format!(
        "{:>8}  {time}  {:<24}  {:<5}  {:<14}  {}",
        record.seq,
        column("action"),
        column("decision"),
        column("outcome"),
        column("caller"),
    );
    let more =
        ["registration", "key", "version", "participant", "operation", "detail", "dryRun", "count"];
    for name in more {
        if let Some(value) = word(name) {
            text.push_str(&format!("  {name}={value}"));
        }
    }
    if let Some(request) = word("request").filter(|request| request != "-") {
        text.push_str(&format!("  request={request}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_times_dates_and_lengths() {
        let at = moment("2026-11-26T05:00:00Z").unwrap();
        assert_eq!(at.as_micros(), 1_795_669_200_000_000);
        assert_eq!(moment("2026-11-26").unwrap().as_micros(), 1_795_651_200_000_000);
        let (before, days) = (SystemClock.now(), Duration::from_secs(2 * 86_400));
        let ago = moment("2d").unwrap().plus(days);
        assert!(ago >= before && ago <= SystemClock.now());
        for bad in ["", "yesterday", "2026-13-01", "2w"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
