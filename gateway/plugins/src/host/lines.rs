//! Lines that guests write into the log of the hub: counted, cut, and without characters that could
//! forge or hide others.

use super::limits::Limits;

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
}

impl Lines {
    /// `keep`: for whoever traces the call.
    pub(super) const fn new(limits: &Limits, keep: bool) -> Self {
        Self { left: limits.log_lines, width: limits.log_line, keep, kept: Vec::new(), dropped: 0 }
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

/// Control characters, line separators, and what turns the direction of text.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Writes a line into the log of the hub.
pub(super) fn write(plugin: &str, level: LogLevel, line: &str) {
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
    fn too_many_are_counted() {
        let limits = Limits { log_lines: 2, ..Limits::default() };
        let mut lines = Lines::new(&limits, true);
        assert!(lines.take(LogLevel::Info, "1").is_some());
        assert!(lines.take(LogLevel::Info, "2").is_some());
        assert!(lines.take(LogLevel::Info, "3").is_none());
        assert_eq!((lines.kept.len(), lines.dropped), (2, 1));
    }
}
