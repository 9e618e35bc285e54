//! A checked policy set: the schema, the baseline and the author's files, ready to decide.
//!
//! Every way to make one goes through the same checks: each policy has an `@id` of its own,
//! validation is strict and at level 2, and an administrator can run the hub under it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use hub_model::Action;
use sha2::{Digest, Sha256};

use crate::index::Index;
use crate::problem::Problem;
use crate::schema::{BASELINE, TEMPLATES, TEXT, Words};
use crate::source::{Effect, Parsed, PolicyInfo, parse};
use crate::validation::File;
use crate::{Error, lockout, validation};

/// What the digest of a set starts with.
const REVISION_LABEL: &[u8] = b"cipher-hub policy bundle v1\0";

/// A checked policy set.
#[derive(Debug)]
pub struct Bundle {
    pub(crate) revision: Arc<str>,
    pub(crate) index: Index,
    pub(crate) policies: Vec<Arc<Parsed>>,
    by_id: HashMap<Arc<str>, usize>,
    warnings: Vec<Problem>,
    files: Vec<(Arc<str>, Arc<str>)>,
}

impl Bundle {
    /// The baseline alone.
    ///
    /// # Errors
    /// None in a build that passed its tests.
    pub fn baseline() -> Result<Self, Error> {
        Self::parse(Vec::<(String, String)>::new())
    }

    /// The baseline and these files, each a name (for diagnostics) and a text in Cedar.
    ///
    /// # Errors
    /// [`Error::Refused`] with every problem found, and [`Error::LockOut`].
    pub fn parse<N, T>(files: impl IntoIterator<Item = (N, T)>) -> Result<Self, Error>
    where
        N: Into<String>,
        T: Into<String>,
    {
        let bundle = Self::compile(files, Checks::All)?;
        lockout::check(&bundle, None)?;
        Ok(bundle)
    }

    /// The baseline and the policies of a folder ([`crate::folder::files`]).
    ///
    /// # Errors
    /// [`Error::Folder`], and as [`Bundle::parse`].
    pub fn read(folder: &Path) -> Result<Self, Error> {
        Self::parse(crate::folder::files(folder)?)
    }

    pub(crate) fn compile<N, T>(
        files: impl IntoIterator<Item = (N, T)>,
        checks: Checks,
    ) -> Result<Self, Error>
    where
        N: Into<String>,
        T: Into<String>,
    {
        let words = Words::load()?;
        let shipped = BASELINE.map(|(name, text)| (Arc::from(name), text.to_owned(), true));
        let given = files.into_iter().map(|(n, t)| (Arc::from(n.into()), t.into(), false));
        let mut files: Vec<File> = shipped.into_iter().chain(given).collect();
        files.sort();

        let mut problems = Vec::new();
        for pair in files.windows(2) {
            if let [(first, ..), (second, text, _)] = pair
                && first == second
            {
                let message = format!("two files are named `{second}`");
                problems.push(Problem::own(second, text, 0, message, "rename one").about("file"));
            }
        }
        let mut parsed: Vec<Arc<Parsed>> = Vec::new();
        let mut by_id: HashMap<Arc<str>, usize> = HashMap::new();
        for (file, text, baseline) in &files {
            for policy in parse(file, text, *baseline, &mut problems) {
                if let Some(first) = by_id.get(&policy.info.id).and_then(|&at| parsed.get(at)) {
                    let (id, at) = (&policy.info.id, &first.info);
                    let message =
                        format!("policy id `{id}` is already used in {}:{}", at.file, at.line);
                    let help = "every policy needs an `@id` of its own";
                    problems
                        .push(Problem::own(file, text, policy.offset, message, help).about("id"));
                } else {
                    by_id.insert(Arc::clone(&policy.info.id), parsed.len());
                    parsed.push(Arc::new(policy));
                }
            }
        }
        let mut warnings = Vec::new();
        // Validation needs a whole set: one with holes would report what is not there.
        if problems.is_empty() && checks == Checks::All {
            let verdict = validation::validate(words, &files, &parsed)?;
            problems.extend(verdict.problems);
            warnings.extend(verdict.warnings);
        }
        if !problems.is_empty() {
            return Err(Error::Refused(problems));
        }
        let index = Index::build(words, &parsed);
        for (policy, scope) in parsed.iter().zip(&index.scopes) {
            if scope.unreachable() {
                let text = files.iter().find(|(name, ..)| *name == policy.info.file);
                let message = format!("policy `{}` can never apply", policy.info.id);
                let help = "its scope names an id that this hub does not give; \
                            use uids such as `Key::\"key_…\"` and `Role::\"reg_…/apps\"`";
                let text = text.map_or("", |(_, text, _)| text);
                let file = &policy.info.file;
                let problem = Problem::own(file, text, policy.offset, message, help);
                warnings.push(problem.about("unreachable"));
            }
        }
        let revision = revision(&files);
        let own = files.into_iter().filter(|(.., baseline)| !baseline);
        let files = own.map(|(name, text, _)| (name, text.into())).collect();
        Ok(Self { revision, index, policies: parsed, by_id, warnings, files })
    }

    /// The files beside the baseline, each a name and a text.
    #[must_use]
    pub fn files(&self) -> &[(Arc<str>, Arc<str>)] {
        &self.files
    }

    /// The digest of the schema and all files: SHA-256, hex.
    #[must_use]
    pub const fn revision(&self) -> &Arc<str> {
        &self.revision
    }

    /// What is odd but not wrong.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Every policy, the baseline included, in order of file and place.
    pub fn policies(&self) -> impl ExactSizeIterator<Item = &PolicyInfo> {
        self.policies.iter().map(|policy| &policy.info)
    }

    /// One policy by its id.
    #[must_use]
    pub fn describe(&self, id: &str) -> Option<&PolicyInfo> {
        self.by_id.get(id).and_then(|&at| self.policies.get(at)).map(|policy| &policy.info)
    }

    /// The permits whose scope can match an action.
    pub fn candidates(&self, action: Action) -> impl Iterator<Item = &PolicyInfo> {
        self.policies().zip(&self.index.scopes).filter_map(move |(info, scope)| {
            (info.effect == Effect::Permit && scope.actions.contains(&action)).then_some(info)
        })
    }
}

/// Which checks a set passes; tests of what happens without them leave some out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checks {
    /// All.
    All,
    /// Names only, no validation.
    #[cfg(test)]
    NamesOnly,
}

fn revision(files: &[File]) -> Arc<str> {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(bytes);
    };
    part(REVISION_LABEL);
    part(TEXT.as_bytes());
    part(TEMPLATES.as_bytes());
    for (name, text, _) in files {
        part(name.as_bytes());
        part(text.as_bytes());
    }
    let digest = hash.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}
