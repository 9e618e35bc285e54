//! Both voices of the program: data on stdout, talk on stderr. Text that comes from a hub passes
//! [`clean`] or [`json_text`] on its way, so that no control character reaches a terminal.

use std::io::{self, IsTerminal, Write};

use comfy_table::{Table, presets};
use serde::Serialize;

use super::failure::Failure;
use super::{ClientEnvironment, Color, Format, Global};

/// One item of a list.
pub(crate) trait Row: Serialize {
    /// Column heads.
    const HEAD: &'static [&'static str];
    /// One cell a column.
    fn cells(&self) -> Vec<String>;
}

/// Where a command's words go.
pub(crate) struct Console {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    pub(crate) input: Input,
    pub(crate) out_terminal: bool,
    pub(crate) err_terminal: bool,
    format: Format,
    quiet: bool,
    verbose: bool,
    color: bool,
}

/// Where a command's data comes from.
#[derive(Clone)]
pub(crate) enum Input {
    /// Stdin.
    Process,
    /// These bytes: for tests.
    #[cfg(test)]
    Bytes(Vec<u8>),
}

impl Console {
    /// The process's own streams.
    pub(crate) fn process(global: &Global, environment: &ClientEnvironment) -> Self {
        let err_terminal = io::stderr().is_terminal();
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            input: Input::Process,
            out_terminal: io::stdout().is_terminal(),
            err_terminal,
            format: global.output,
            quiet: global.quiet,
            verbose: global.verbose > 0,
            color: match global.color {
                Color::Auto => err_terminal && !environment.no_color,
                Color::Always => true,
                Color::Never => false,
            },
        }
    }

    /// Streams of a test.
    #[cfg(test)]
    pub(crate) fn test(
        global: &Global,
        input: &[u8],
        out: Box<dyn Write + Send>,
        err: Box<dyn Write + Send>,
    ) -> Self {
        Self {
            out,
            err,
            input: Input::Bytes(input.to_vec()),
            out_terminal: false,
            err_terminal: false,
            format: global.output,
            quiet: global.quiet,
            verbose: global.verbose > 0,
            color: false,
        }
    }

    /// Data, as it is.
    pub(crate) fn data(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out
            .write_all(bytes)
            .and_then(|()| self.out.flush())
            .map_err(|error| Failure::output(&error))
    }

    /// A line of data that holds no text of others.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.data(format!("{text}\n").as_bytes())
    }

    /// Whether people read stdout, rather than programs.
    pub(crate) fn for_people(&self) -> bool {
        self.format == Format::Table
    }

    /// A list.
    pub(crate) fn list<T: Row>(&mut self, items: &[T]) -> Result<(), Failure> {
        match self.format {
            // Where there are no findings, the machine's forms are one form.
            Format::Json | Format::Sarif | Format::Github => self.line(&json_text(&items, true)?),
            Format::Ndjson => {
                for item in items {
                    self.line(&json_text(item, false)?)?;
                }
                Ok(())
            }
            Format::Table if items.is_empty() => {
                self.note("none");
                Ok(())
            }
            Format::Table => {
                let mut table = bare_table();
                table.set_header(T::HEAD.iter().map(|head| (*head).to_owned()));
                for item in items {
                    table.add_row(item.cells().iter().map(|cell| clean(cell)));
                }
                self.table(table)
            }
        }
    }

    /// A list of values, as one document.
    pub(crate) fn list_of<T: Serialize>(&mut self, items: &[T]) -> Result<(), Failure> {
        self.line(&json_text(&items, true)?)
    }

    /// One thing and its facts.
    pub(crate) fn item<T: Serialize>(
        &mut self,
        item: &T,
        facts: &[(&str, String)],
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json | Format::Sarif | Format::Github => self.line(&json_text(item, true)?),
            Format::Ndjson => self.line(&json_text(item, false)?),
            Format::Table => {
                let mut table = bare_table();
                for (name, value) in facts {
                    table.add_row([(*name).to_owned(), clean(value)]);
                }
                self.table(table)
            }
        }
    }

    fn table(&mut self, mut table: Table) -> Result<(), Failure> {
        for column in table.column_iter_mut() {
            column.set_padding((0, 1));
        }
        self.line(&table.trim_fmt())
    }

    /// Talk.
    pub(crate) fn note(&mut self, text: &str) {
        if !self.quiet {
            // Losing talk is not worth failing for.
            let _ = writeln!(self.err, "{}", clean(text));
        }
    }

    /// Talk for the curious.
    pub(crate) fn detail(&mut self, text: &str) {
        if self.verbose {
            self.note(text);
        }
    }

    /// A question, without an end of line.
    pub(crate) fn ask(&mut self, text: &str) {
        let _ = write!(self.err, "{}", clean(text)).and_then(|()| self.err.flush());
    }

    /// What went wrong, and what to try.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        if failure.message.is_empty() {
            return;
        }
        use anstyle::{AnsiColor, Style};

        let paint = |color: AnsiColor, text: &str| {
            if !self.color {
                return text.to_owned();
            }
            let style: Style = color.on_default().bold();
            format!("{style}{text}{style:#}")
        };
        let mut text = format!("{} {}\n", paint(AnsiColor::Red, "error:"), clean(&failure.message));
        for detail in &failure.details {
            text.push_str(&format!("  {}\n", clean(detail)));
        }
        if let Some(id) = &failure.request_id {
            text.push_str(&format!("request id: {}\n", clean(id)));
        }
        text.push_str(&format!("{} {}\n", paint(AnsiColor::Cyan, "hint:"), clean(&failure.hint)));
        let _ = self.err.write_all(text.as_bytes());
    }
}

fn bare_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

/// Text of others with control and direction characters spelt out.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Control characters (C1 too: some terminals obey them) and those that reorder text.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// JSON with the same characters escaped; they can only stand inside strings, where `\u` means
/// the same.
pub(crate) fn json_text<T: Serialize>(value: &T, pretty: bool) -> Result<String, Failure> {
    let text =
        if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    let text = text.map_err(|error| Failure::output(&io::Error::other(error)))?;
    Ok(escape_json(&text))
}

/// The same for JSON that is text already.
pub(crate) fn escape_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) && c != '\n' {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

/// Tags on one line.
pub(crate) fn tags(tags: &hub_model::Tags) -> String {
    let pairs: Vec<_> = tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(" ")
}

/// A time without its microseconds.
pub(crate) fn time(time: hub_model::Timestamp) -> String {
    let text = time.to_string();
    text.split_once('.').map_or_else(|| text.clone(), |(seconds, _)| format!("{seconds}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\u{9b}c\nd\u{202e}"), "a\\u{1b}[2Jb\\u{9b}c\\u{a}d\\u{202e}");
        let json = json_text(&"\u{1b}\u{9b}\u{7f}é", false).unwrap();
        assert_eq!(json, "\"\\u001b\\u009b\\u007fé\"");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), "\u{1b}\u{9b}\u{7f}é");
    }

    #[test]
    fn times_are_short() {
        let instant = hub_model::Timestamp::from_micros(1_000_001);
        assert_eq!(time(instant), "1970-01-01T00:00:01Z");
    }
}
