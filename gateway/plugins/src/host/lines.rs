//! Lines that guests write into the log of the hub: counted, cut, and without characters that could
//! forge or hide others.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hub_model::extend::is_hidden;
use tokio::time::Instant;

use super::limits::Limits;

/// Lines that a plugin may write at once, over all its calls.
const BURST: u32 = 256;
/// How long it takes until it may write one more.
const EACH: Duration = Duration::from_millis(125);

/// How serious a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Finer than debugging.
    Trace,
    /// For whoever writes the plugin.
    Debug,
    /// Worth knowing.
    Info,
    /// Worth a look.
    Warn,
    /// Something failed.
    Error,
}

/// The lines of one call.
#[derive(Debug)]
pub(super) struct Lines {
    left: u32,
    width: usize,
    keep: bool,
    pub(super) kept: Vec<(LogLevel, String)>,
    pub(super) dropped: u64,
    /// Lines that the log of the hub did not take, since the plugin wrote too many lately.
    pub(super) left_out: u64,
}

impl Lines {
    /// `keep`: for whoever traces the call.
    pub(super) const fn new(limits: &Limits, keep: bool) -> Self {
        let (left, width) = (limits.log_lines, limits.log_line);
        Self { left, width, keep, kept: Vec::new(), dropped: 0, left_out: 0 }
    }

    /// Takes a line. `None` where it is one too many.
    pub(super) fn take(&mut self, level: LogLevel, text: &str) -> Option<String> {
        let Some(left) = self.left.checked_sub(1) else {
            self.dropped = self.dropped.saturating_add(1);
            return None;
        };
        self.left = left;
        let line = clean(text, self.width);
        if self.keep {
            self.kept.push((level, line.clone()));
        }
        Some(line)
    }

    /// Writes a line into the log of the hub, where that wants it and the plugin may.
    pub(super) fn write(&mut self, plugin: &str, level: LogLevel, line: &str, may: &Allowance) {
        if !level.is_wanted() {
            return;
        }
        match may.take(Instant::now()) {
            None => self.left_out = self.left_out.saturating_add(1),
            Some(before) => {
                if before > 0 {
                    tracing::warn!(target: "plugin", plugin, "{before} lines were left out");
                }
                write(plugin, level, line);
            }
        }
    }
}

/// How many lines a plugin may write over time: whoever can have it called could fill the log
/// otherwise.
#[derive(Debug, Default)]
pub(super) struct Allowance(Mutex<Spent>);

#[derive(Debug, Default)]
struct Spent {
    /// When all of it is there again.
    whole: Option<Instant>,
    left_out: u64,
}

impl Allowance {
    /// Takes one. Gives how many were left out since the last.
    fn take(&self, now: Instant) -> Option<u64> {
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = spent.whole.map_or(now, |whole| whole.max(now)) + EACH;
        if whole.duration_since(now) > EACH * BURST {
            spent.left_out = spent.left_out.saturating_add(1);
            return None;
        }
        spent.whole = Some(whole);
        Some(std::mem::take(&mut spent.left_out))
    }
}

impl LogLevel {
    fn is_wanted(self) -> bool {
        use tracing::{Level, enabled};
        match self {
            Self::Trace => enabled!(target: "plugin", Level::TRACE),
            Self::Debug => enabled!(target: "plugin", Level::DEBUG),
            Self::Info => enabled!(target: "plugin", Level::INFO),
            Self::Warn => enabled!(target: "plugin", Level::WARN),
            Self::Error => enabled!(target: "plugin", Level::ERROR),
        }
    }
}

/// Cuts and cleans.
pub(super) fn clean(text: &str, width: usize) -> String {
    let mut out = String::with_capacity(text.len().min(width));
    for c in text.chars() {
        let c = if is_hidden(c) { '\u{fffd}' } else { c };
        if out.len() + c.len_utf8() > width {
            out.push('…');
            break;
        }
        out.push(c);
    }
    out
}

fn write(plugin: &str, level: LogLevel, line: &str) {
    match level {
        LogLevel::Trace => tracing::trace!(target: "plugin", plugin, "{line}"),
        LogLevel::Debug => tracing::debug!(target: "plugin", plugin, "{line}"),
        LogLevel::Info => tracing::info!(target: "plugin", plugin, "{line}"),
        LogLevel::Warn => tracing::warn!(target: "plugin", plugin, "{line}"),
        LogLevel::Error => tracing::error!(target: "plugin", plugin, "{line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_cannot_forge_others() {
        assert_eq!(
            clean("a\nb\r\u{1b}[2Jc\u{202e}d", 100),
            "a\u{fffd}b\u{fffd}\u{fffd}[2Jc\u{fffd}d"
        );
        assert_eq!(clean("für immer", 4), "für…");
        assert_eq!(clean("ü", 1), "…");
    }

    #[test]
    fn a_plugin_writes_so_much_over_time_and_what_is_left_out_is_counted() {
        let (may, start) = (Allowance::default(), Instant::now());
        for _ in 0..BURST {
            assert_eq!(may.take(start), Some(0));
        }
        assert_eq!((may.take(start), may.take(start)), (None, None));
        assert_eq!(may.take(start + EACH), Some(2));
        assert_eq!(may.take(start + EACH), None);
        let later = start + EACH * (BURST + 8);
        assert_eq!(may.take(later), Some(1));
        for _ in 1..BURST {
            assert_eq!(may.take(later), Some(0));
        }
        assert_eq!(may.take(later), None);
    }

    #[test]
    fn too_many_are_counted() {
        let limits = Limits { log_lines: 2, ..Limits::default() };
        let mut lines = Lines::new(&limits, true);
        assert!(lines.take(LogLevel::Info, "1").is_some());
        assert!(lines.take(LogLevel::Info, "2").is_some());
        assert!(lines.take(LogLevel::Info, "3").is_none());
        assert_eq!((lines.kept.len(), lines.dropped), (2, 1));
    }
}
