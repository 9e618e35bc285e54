//! Test files in the format of Cedar's own `run-tests`: an array of cases, each a request, its
//! entities (a file beside the test file, or written out), and what is to be decided.
//!
//! Whatever is wrong with a file is told with its place, and the other cases are read on.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cedar_policy::Entities;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::analysis::Question;
use crate::problem::{Problem, place};
use crate::schema::Words;

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name, or its number in the file.
    pub name: String,
    /// The file it is in, as named when it was read.
    pub file: Arc<str>,
    /// The line it starts at, from 1.
    pub line: u32,
    /// What is asked.
    pub question: Question,
    /// Whether it is to be allowed.
    pub allow: bool,
    /// Policies that must be among those that determine it.
    pub reason: Vec<String>,
    /// How many policies are to err.
    pub errors: usize,
}

#[derive(Deserialize)]
struct RawCase<'a> {
    #[serde(default)]
    name: Option<String>,
    #[serde(borrow)]
    request: &'a RawValue,
    #[serde(borrow)]
    entities: &'a RawValue,
    #[serde(borrow)]
    decision: &'a RawValue,
    reason: Vec<String>,
    num_errors: usize,
}

#[derive(Deserialize)]
struct RawRequest<'a> {
    #[serde(borrow)]
    principal: &'a RawValue,
    #[serde(borrow)]
    action: &'a RawValue,
    #[serde(borrow)]
    resource: &'a RawValue,
    #[serde(borrow)]
    context: &'a RawValue,
}

/// Reads test files, and every file of entities once.
#[derive(Debug, Default)]
pub struct Library {
    entities: HashMap<PathBuf, Result<Entities, String>>,
}

/// A piece of a text with where it starts.
#[derive(Clone, Copy)]
struct Piece<'a> {
    file: &'a Arc<str>,
    text: &'a str,
    own: &'a str,
    start: usize,
}

impl<'a> Piece<'a> {
    /// A part of this text, as the parser of JSON hands it out.
    fn part(self, raw: &'a RawValue) -> Self {
        let own = raw.get();
        let start = (own.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        Self { own, start, ..self }
    }

    fn read<T: Deserialize<'a>>(self) -> Result<T, Problem> {
        serde_json::from_str(self.own).map_err(|error| {
            let line = error.line().saturating_sub(1);
            let lines = self.own.split_inclusive('\n').take(line).map(str::len).sum::<usize>();
            let offset = self.start + lines + error.column().saturating_sub(1);
            let message = error.to_string();
            // The place is said by the problem itself.
            let message = message.split(" at line ").next().unwrap_or(&message);
            // What is missing is nowhere; the parser names the end of what lacks it.
            let offset = if message.starts_with("missing") { self.start } else { offset };
            self.problem(offset, message.to_owned())
        })
    }

    fn wrong(self, message: String) -> Problem {
        self.problem(self.start, message)
    }

    fn problem(self, offset: usize, message: String) -> Problem {
        let help = "docs/policies.md shows the form of a test file";
        Problem::own(self.file, self.text, offset.min(self.text.len()), message, help)
            .about("test-file")
    }
}

impl Library {
    /// Nothing read yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The cases of the file at `path`, called `name`, and what is wrong with others.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(
        &mut self,
        path: &Path,
        name: &str,
    ) -> Result<(Vec<Case>, Vec<Problem>), std::io::Error> {
        let text = std::fs::read_to_string(path)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Ok(self.parse(&text, name, folder))
    }

    /// The same for a text whose files of entities are in `folder`.
    pub fn parse(&mut self, text: &str, name: &str, folder: &Path) -> (Vec<Case>, Vec<Problem>) {
        let file = Arc::from(name);
        let whole = Piece { file: &file, text, own: text, start: 0 };
        let (mut cases, mut problems) = (Vec::new(), Vec::new());
        let raw: Vec<&RawValue> = match whole.read() {
            Ok(raw) => raw,
            Err(problem) => return (cases, vec![problem]),
        };
        for (at, raw) in raw.into_iter().enumerate() {
            match self.case(whole.part(raw), at, folder) {
                Ok(case) => cases.push(case),
                Err(problem) => problems.push(problem),
            }
        }
        (cases, problems)
    }

    fn case(&mut self, piece: Piece<'_>, at: usize, folder: &Path) -> Result<Case, Problem> {
        let raw: RawCase<'_> = piece.read()?;
        let asked = piece.part(raw.request);
        let request: RawRequest<'_> = asked.read()?;
        let decision = piece.part(raw.decision);
        let allow = match &*decision.read::<String>()? {
            "allow" => true,
            "deny" => false,
            _ => return Err(decision.wrong("a decision is `allow` or `deny`".to_owned())),
        };
        let entities = self.entities(piece.part(raw.entities), folder)?;
        let context = asked.part(request.context);
        let text = |part: &'_ RawValue| asked.part(part).read::<String>();
        let (principal, action) = (text(request.principal)?, text(request.action)?);
        let resource = text(request.resource)?;
        let question = Question::over(&principal, &action, &resource, context.read()?, entities)
            .map_err(|error| {
                let wrong = match error.part {
                    "principal" => asked.part(request.principal),
                    "action" => asked.part(request.action),
                    "resource" => asked.part(request.resource),
                    "context" => context,
                    _ => asked,
                };
                wrong.wrong(error.to_string())
            })?;
        Ok(Case {
            name: raw.name.unwrap_or_else(|| format!("case {}", at + 1)),
            file: Arc::clone(piece.file),
            line: place(piece.text, piece.start).0,
            question,
            allow,
            reason: raw.reason,
            errors: raw.num_errors,
        })
    }

    fn entities(&mut self, piece: Piece<'_>, folder: &Path) -> Result<Entities, Problem> {
        let value: serde_json::Value = piece.read()?;
        let Some(name) = value.as_str() else {
            return read_entities(&value.to_string()).map_err(|why| piece.wrong(why));
        };
        let path = inside(folder, name).map_err(|why| piece.wrong(why))?;
        let read = self.entities.entry(path).or_insert_with_key(|path| {
            let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
            read_entities(&text)
        });
        read.clone().map_err(|why| piece.wrong(format!("`{name}`: {why}")))
    }
}

/// The file `name` in `folder`; as upstream has it, it does not lead out.
fn inside(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let real = |path: &Path| path.canonicalize().map_err(|error| format!("`{name}`: {error}"));
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let (path, folder) = (real(&folder.join(name))?, real(folder)?);
    if path.starts_with(&folder) {
        return Ok(path);
    }
    Err(format!("`{name}` is outside the folder of the test file"))
}

/// Entities from JSON, checked against the schema.
fn read_entities(text: &str) -> Result<Entities, String> {
    let words = Words::load().map_err(|error| error.to_string())?;
    Entities::from_json_str(text, Some(&words.schema)).map_err(|error| {
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            message.push_str(": ");
            message.push_str(&inner.to_string());
            cause = inner.source();
        }
        message
    })
}
