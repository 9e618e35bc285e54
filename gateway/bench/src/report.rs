//! What came out, for people and for programs.

use std::io::Write as _;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::decisions::Decisions;
use super::keys::StoreFigures;
use super::overload::OverloadFigures;
use super::plugins::PluginFigures;
use super::primitives::Primitives;
use super::stream::StreamFigures;
use super::trail::TrailFigures;
use hub_cli::{Failure, Format};

/// Everything of one run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) version: &'static str,
    pub(super) processors: usize,
    pub(super) primitives: Option<Primitives>,
    pub(super) decisions: Option<Decisions>,
    #[serde(flatten)]
    pub(super) served: Option<Served>,
}

/// What a gateway was measured for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Served {
    pub(super) connections: usize,
    pub(super) rounds: u32,
    pub(super) seconds: f64,
    pub(super) comparisons: Vec<Comparison>,
    pub(super) stream: Option<StreamFigures>,
    pub(super) store: Option<StoreFigures>,
    pub(super) overload: Option<OverloadFigures>,
    pub(super) trail: Option<TrailFigures>,
    /// A plugin that never ends, beside honest work.
    pub(super) plugins: Option<PluginFigures>,
    pub(super) batch_items: u32,
    pub(super) batch_item_bytes: usize,
    pub(super) batch_items_per_second: Option<f64>,
    pub(super) keys: u32,
    pub(super) key_creations_per_second: f64,
    pub(super) key_creation_p50_us: f64,
    pub(super) key_creation_p99_us: f64,
    pub(super) cold_start_ms: f64,
    pub(super) cold_start_with_keys_ms: f64,
    pub(super) resident_idle_bytes: Option<u64>,
    pub(super) resident_with_keys_bytes: Option<u64>,
    pub(super) fsync_p50_us: f64,
    pub(super) fsync_p99_us: f64,
}

/// One operation on both.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Comparison {
    pub(super) operation: &'static str,
    pub(super) bytes: usize,
    /// Gateway ÷ bare, the median of neighbouring turns.
    pub(super) ratio: f64,
    pub(super) bare: Side,
    pub(super) gateway: Side,
}

/// One of the two.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Side {
    /// The median of its turns.
    pub(super) requests_per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// Processor time of its process.
    pub(super) processor_us_per_request: f64,
    /// Processor time of the load generator meanwhile.
    pub(super) generator_us_per_request: f64,
    pub(super) requests: u32,
}

impl Comparison {
    /// In one line, as progress.
    pub(super) fn line(&self) -> String {
        format!(
            "{} {}: {:.0}/s of {:.0}/s, {:.0} %",
            self.operation,
            size(self.bytes),
            self.gateway.requests_per_second,
            self.bare.requests_per_second,
            self.ratio * 100.0
        )
    }
}

impl Report {
    pub(super) fn print(&self, format: Format) -> Result<(), Failure> {
        let json = |text: serde_json::Result<String>| {
            text.map_err(|error| Failure::output(&std::io::Error::other(error)))
        };
        let text = match format {
            Format::Table => self.table(),
            Format::Json | Format::Sarif | Format::Github => {
                json(serde_json::to_string_pretty(self))?
            }
            Format::Ndjson => json(serde_json::to_string(self))?,
        };
        let mut out = std::io::stdout();
        writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
    }

    fn table(&self) -> String {
        let mut parts =
            vec![format!("Cipher Hub {}, {} processors", self.version, self.processors)];
        parts.extend(self.primitives.as_ref().map(Primitives::table));
        parts.extend(self.decisions.as_ref().map(Decisions::table));
        if let Some(served) = &self.served {
            if !served.comparisons.is_empty() {
                parts.push(served.table());
            }
            parts.push(facts(served.facts()));
        }
        parts.join("\n\n")
    }
}

impl Primitives {
    fn table(&self) -> String {
        let mut table = plain();
        table.set_header(["", "", "OURS", "OPENSSL", "RATIO"]);
        for row in &self.rows {
            table.add_row([
                row.name.clone(),
                row.unit.to_owned(),
                format!("{:.0}", row.ours),
                row.openssl.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}")),
                row.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
            ]);
        }
        right(&mut table, 2);
        let without = "\n\nthere is no `openssl` program to hold them against";
        format!("{}{}", table.trim_fmt(), if self.openssl { "" } else { without })
    }
}

impl Decisions {
    fn table(&self) -> String {
        let mut table = plain();
        table.set_header(["", "US"]);
        for row in &self.rows {
            table.add_row([row.name.clone(), format!("{:.2}", row.us)]);
        }
        right(&mut table, 1);
        table.trim_fmt()
    }
}

impl Served {
    fn table(&self) -> String {
        let mut table = plain();
        table.set_header([
            "",
            "BARE/S",
            "GATEWAY/S",
            "RATIO",
            "BARE P50",
            "P99",
            "GATEWAY P50",
            "P99",
            "BARE CPU",
            "GATEWAY CPU",
        ]);
        for row in &self.comparisons {
            let (bare, gateway) = (&row.bare, &row.gateway);
            table.add_row([
                format!("{} {}", row.operation, size(row.bytes)),
                format!("{:.0}", bare.requests_per_second),
                format!("{:.0}", gateway.requests_per_second),
                format!("{:.0} %", row.ratio * 100.0),
                time(bare.p50_us),
                time(bare.p99_us),
                time(gateway.p50_us),
                time(gateway.p99_us),
                time(bare.processor_us_per_request),
                time(gateway.processor_us_per_request),
            ]);
        }
        right(&mut table, 1);
        format!(
            "{} connections, {} rounds of {} s\n\n{}",
            self.connections,
            self.rounds,
            self.seconds,
            table.trim_fmt()
        )
    }

    fn facts(&self) -> Vec<(String, String)> {
        let mut facts = Vec::new();
        facts.extend(self.batch_items_per_second.map(|rate| {
            let item = size(self.batch_item_bytes);
            let name = format!("encrypted in batches of {} × {item}", self.batch_items);
            (name, format!("{rate:.0} items/s"))
        }));
        facts.extend(self.stream.iter().flat_map(StreamFigures::facts));
        facts.extend([
            fact(
                "durable key creations",
                format!(
                    "{:.0}/s, {}",
                    self.key_creations_per_second,
                    latency(self.key_creation_p50_us, self.key_creation_p99_us)
                ),
            ),
            fact("cold start to ready", format!("{:.0} ms", self.cold_start_ms)),
            (
                format!("cold start with {} keys", self.keys),
                format!("{:.0} ms", self.cold_start_with_keys_ms),
            ),
            fact("resident memory idle", mebibytes(self.resident_idle_bytes)),
            (
                format!("resident memory after {} keys were made and used", self.keys),
                mebibytes(self.resident_with_keys_bytes),
            ),
        ]);
        facts.extend(self.store.iter().flat_map(StoreFigures::facts));
        facts.extend(self.overload.iter().flat_map(OverloadFigures::facts));
        facts.extend(self.trail.iter().flat_map(TrailFigures::facts));
        facts.extend(self.plugins.iter().flat_map(PluginFigures::facts));
        facts.push(fact("fdatasync of the disk", latency(self.fsync_p50_us, self.fsync_p99_us)));
        facts
    }
}

impl StreamFigures {
    fn facts(&self) -> Vec<(String, String)> {
        let name = |what: &str| format!("stream of {} MiB, {what}", self.bytes / 1_048_576);
        let cpu = |time: f64| time * 1e3;
        let whose =
            if self.openssl_mb_per_second.is_some() { "OpenSSL" } else { "the cipher alone" };
        let openssl = self.openssl_mb_per_second.map(|rate| format!(", OpenSSL {rate:.0} MB/s"));
        vec![
            (
                name("encrypted"),
                format!(
                    "{:.0} MB/s, {:.0} % of {whose}, {:.0} % of bare hyper",
                    self.gateway_mb_per_second,
                    self.of_cipher * 100.0,
                    self.of_bare * 100.0
                ),
            ),
            (name("sent back by bare hyper"), format!("{:.0} MB/s", self.bare_mb_per_second)),
            (
                name("processor time of gateway and bare"),
                format!(
                    "{} and {} per GB",
                    time(cpu(self.gateway_processor_ms_per_gb)),
                    time(cpu(self.bare_processor_ms_per_gb))
                ),
            ),
            (name("growth of resident memory"), mebibytes(self.resident_growth_bytes)),
            fact(
                "AES-256-GCM by 64 KiB on one core",
                format!("{:.0} MB/s{}", self.cipher_mb_per_second, openssl.unwrap_or_default()),
            ),
        ]
    }
}

impl StoreFigures {
    fn facts(&self) -> Vec<(String, String)> {
        let [first, middle, last] = self.page_us.map(time);
        vec![
            (
                format!("{} keys used cold, one by one", self.cold_uses),
                latency(self.cold_use_p50_us, self.cold_use_p99_us),
            ),
            fact("keys used again", latency(self.warm_use_p50_us, self.warm_use_p99_us)),
            (
                format!("pages of {} keys, first, middle, last of {}", self.page_items, self.pages),
                format!("{first}, {middle}, {last}"),
            ),
            fact(
                "resident memory started, keys used, pages read",
                [self.resident_started_bytes, self.resident_used_bytes, self.resident_listed_bytes]
                    .map(mebibytes)
                    .join(", "),
            ),
        ]
    }
}

impl TrailFigures {
    fn facts(&self) -> Vec<(String, String)> {
        let [durable, memory] = self.alone_p50_us;
        vec![
            (
                format!("durable audit over {} connections", self.connections),
                format!(
                    "{:.0}/s, {:.0} % of {:.0}/s with the log in memory",
                    self.durable_per_second,
                    self.ratio * 100.0,
                    self.memory_per_second
                ),
            ),
            fact(
                "durable audit over one connection",
                format!("p50 {}, with the log in memory {}", time(durable), time(memory)),
            ),
        ]
    }
}

fn fact(name: &str, value: String) -> (String, String) {
    (name.to_owned(), value)
}

fn latency(p50: f64, p99: f64) -> String {
    format!("p50 {}, p99 {}", time(p50), time(p99))
}

fn facts(facts: Vec<(String, String)>) -> String {
    let mut table = plain();
    for (name, value) in facts {
        table.add_row([name, value]);
    }
    table.trim_fmt()
}

fn right(table: &mut Table, from: usize) {
    for column in table.column_iter_mut().skip(from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

fn size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        _ => format!("{} KiB", bytes / 1024),
    }
}

fn time(micros: f64) -> String {
    if micros < 1000.0 { format!("{micros:.1} µs") } else { format!("{:.2} ms", micros / 1e3) }
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn mebibytes(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "unknown".to_owned(), |b| format!("{:.1} MiB", b as f64 / 1_048_576.0))
}

/// The middle one; of an even number, the mean of the two in the middle.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
    if values.len() % 2 == 1 {
        at(middle)
    } else {
        f64::midpoint(at(middle.saturating_sub(1)), at(middle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(Vec::new()).abs() < 1e-9);
    }

    #[test]
    fn figures_read_well() {
        assert_eq!(
            (size(32), size(1024), size(65_536)),
            ("32 B".into(), "1 KiB".into(), "64 KiB".into())
        );
        assert_eq!((time(12.34), time(1500.0)), ("12.3 µs".into(), "1.50 ms".into()));
        assert_eq!(mebibytes(Some(1_572_864)), "1.5 MiB");
    }
}
