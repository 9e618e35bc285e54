//! One problem of a policy set, with its place and Cedar's own words.

use std::fmt;
use std::sync::Arc;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource};

/// A problem (or a warning) at a place in a policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file's name as given.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Cedar's message, unchanged.
    pub message: String,
    /// Cedar's advice, unchanged (`did you mean …`).
    pub help: Option<String>,
    /// The whole report with the source lines, without colour.
    pub rendered: String,
    /// Where it ends: line and column, from 1, of what comes after it.
    pub end: (u32, u32),
    /// What kind of problem it is, in one word for programs.
    pub rule: &'static str,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

/// One problem per line.
pub(crate) fn list(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl Problem {
    /// A diagnostic of Cedar about `text`.
    pub(crate) fn of(file: &Arc<str>, text: &str, diagnostic: &dyn Diagnostic) -> Self {
        let (offset, length) = diagnostic
            .labels()
            .and_then(|mut labels| labels.next())
            .map_or((0, 0), |label| (label.offset(), label.len()));
        let (line, column) = place(text, offset);
        Self {
            file: Arc::clone(file),
            line,
            column,
            message: diagnostic.to_string(),
            help: diagnostic.help().map(|help| help.to_string()),
            rendered: render(file, text, diagnostic),
            end: place(text, offset.saturating_add(length).min(text.len())),
            rule: "cedar",
        }
    }

    /// The same problem, said to be of this kind.
    pub(crate) fn about(self, rule: &'static str) -> Self {
        Self { rule, ..self }
    }

    /// A finding of this crate at byte `offset` of `text`.
    pub(crate) fn own(
        file: &Arc<str>,
        text: &str,
        offset: usize,
        message: String,
        help: &str,
    ) -> Self {
        let finding = Finding { message, help: help.to_owned(), offset };
        Self::of(file, text, &finding)
    }
}

/// Line and column, from 1, of a byte offset.
pub(crate) fn place(text: &str, offset: usize) -> (u32, u32) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

fn render(file: &str, text: &str, diagnostic: &dyn Diagnostic) -> String {
    let named = Named { inner: diagnostic, source: NamedSource::new(file, text.to_owned()) };
    let mut out = String::new();
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor());
    match handler.with_width(100).render_report(&mut out, &named) {
        Ok(()) => out,
        Err(_) => diagnostic.to_string(),
    }
}

/// A finding of this crate in the shape of Cedar's.
#[derive(Debug)]
struct Finding {
    message: String,
    help: String,
    offset: usize,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Finding {}

impl Diagnostic for Finding {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.help))
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(LabeledSpan::underline((self.offset, 1)))))
    }
}

/// The same diagnostic with the file's name on its source. Cedar's sources have no name.
struct Named<'a> {
    inner: &'a dyn Diagnostic,
    source: NamedSource<String>,
}

impl fmt::Debug for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.inner, f)
    }
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.inner, f)
    }
}

impl std::error::Error for Named<'_> {}

impl Diagnostic for Named<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        self.inner.severity()
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.inner.help()
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.inner.labels()
    }
}
