//! Strict validation, policy by policy: what Cedar says of one does not depend on the others. So
//! the shipped ones are looked at once, by as many threads as there are processors.
//!
//! Checking the level types every policy a second time, half of what a start would take. Whether
//! the shipped ones keep to theirs is for a test to say: they do not change after it.

use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock};

use cedar_policy::{PolicyId, PolicySet, ValidationMode, Validator};

use crate::Error;
use crate::problem::Problem;
use crate::schema::{BASELINE, Words};
use crate::source::{Parsed, parse};

/// How many hops through attributes a policy may take: key, registration, role.
const LEVEL: u32 = 2;
/// What the deepest policy that is taken needs ([`crate::source`]), many times over. Where the stack
/// ends Cedar gives up on a policy and says nothing, which would pass for its being sound.
const STACK: usize = 64 * 1024 * 1024;
/// Policies from which on a thread is worth its while.
const PART: usize = 8;

/// What validation found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    /// What is wrong.
    pub(crate) problems: Vec<Problem>,
    /// What is odd but not wrong.
    pub(crate) warnings: Vec<Problem>,
}

impl Verdict {
    fn add(&mut self, other: Self) {
        self.problems.extend(other.problems);
        self.warnings.extend(other.warnings);
    }
}

/// A file: its name, its text, and whether it is shipped.
pub(crate) type File = (Arc<str>, String, bool);

/// Validates a set: its shipped policies by what is known of them, the others now.
pub(crate) fn validate(
    words: &Words,
    files: &[File],
    parsed: &[Arc<Parsed>],
) -> Result<Verdict, Error> {
    let own: Vec<&Parsed> = parsed.iter().map(|p| &**p).filter(|p| !p.baseline).collect();
    let mut verdict = shipped()?.clone();
    verdict.add(look(words, files, &own, Some(LEVEL), 1)?);
    Ok(verdict)
}

/// What there is to say of the shipped policies, found at first use.
pub(crate) fn shipped() -> Result<&'static Verdict, Error> {
    static SHIPPED: LazyLock<Result<Verdict, String>> = LazyLock::new(|| {
        let words = Words::load().map_err(|error| error.to_string())?;
        let files = BASELINE.map(|(name, text)| (Arc::from(name), text.to_owned(), true));
        let mut syntax = Vec::new();
        let parsed: Vec<Parsed> =
            files.iter().flat_map(|(name, text, _)| parse(name, text, true, &mut syntax)).collect();
        // What does not parse is a problem of every set, where it is found again.
        let parsed: Vec<&Parsed> = parsed.iter().collect();
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        look(words, &files, &parsed, None, threads).map_err(|error| error.to_string())
    });
    SHIPPED.as_ref().map_err(|why| Error::Schema(why.clone()))
}

fn look(
    words: &Words,
    files: &[File],
    parsed: &[&Parsed],
    level: Option<u32>,
    threads: usize,
) -> Result<Verdict, Error> {
    let validator = Validator::new(words.schema.clone());
    let parts = parsed.chunks(parsed.len().div_ceil(threads).max(PART));
    let verdicts: Result<Vec<Verdict>, Error> = std::thread::scope(|scope| {
        let validator = &validator;
        let mut begun = Vec::new();
        for part in parts {
            let thread = std::thread::Builder::new().name("policies".to_owned()).stack_size(STACK);
            let work = move || look_at(validator, files, part, level);
            let thread = thread.spawn_scoped(scope, work);
            begun.push(thread.map_err(|error| Error::Schema(format!("no thread: {error}")))?);
        }
        let verdict = |joined: std::thread::Result<_>| {
            joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        begun.into_iter().map(|thread| verdict(thread.join())).collect()
    });
    let mut all = Verdict::default();
    for verdict in verdicts? {
        all.add(verdict);
    }
    Ok(all)
}

fn look_at(
    validator: &Validator,
    files: &[File],
    part: &[&Parsed],
    level: Option<u32>,
) -> Result<Verdict, Error> {
    let set = PolicySet::from_policies(part.iter().map(|p| p.policy.clone()))
        .map_err(|error| Error::Schema(error.to_string()))?;
    let result = match level {
        Some(level) => validator.validate_with_level(&set, ValidationMode::Strict, level),
        None => validator.validate(&set, ValidationMode::Strict),
    };
    let problem = |id, diagnostic| at(files, part, id, diagnostic);
    Ok(Verdict {
        problems: result.validation_errors().map(|e| problem(e.policy_id(), e)).collect(),
        warnings: result.validation_warnings().map(|w| problem(w.policy_id(), w)).collect(),
    })
}

/// Where it is, in the author's words.
fn at(
    files: &[File],
    part: &[&Parsed],
    id: &PolicyId,
    diagnostic: &dyn miette::Diagnostic,
) -> Problem {
    let id: &str = id.as_ref();
    let policy = part.iter().find(|policy| *policy.info.id == *id);
    let file = policy.and_then(|p| files.iter().find(|(name, ..)| *name == p.info.file));
    match file {
        Some((name, text, _)) => Problem::of(name, text, diagnostic),
        None => Problem::of(&Arc::from(id), "", diagnostic),
    }
    .about("validation")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In several parts and in one: the same verdict.
    #[test]
    fn parts_say_what_the_whole_says() {
        let words = Words::load().unwrap();
        let mut text = String::new();
        for number in 0..50 {
            let condition = match number % 5 {
                0 => "resource.nothing == 1",
                1 => "principal.name < 3",
                2 => "false",
                _ => "context.mtls",
            };
            let action = "CipherHub::Action::\"keys.encrypt\"";
            text.push_str(&format!(
                "@id(\"p{number}\") permit(principal, action == {action}, resource) when {{ {condition} }};\n"
            ));
        }
        let files = [(Arc::from("local.cedar"), text, false)];
        let mut problems = Vec::new();
        let parsed = parse(&files[0].0, &files[0].1, false, &mut problems);
        assert_eq!((parsed.len(), problems.len()), (50, 0));
        let parsed: Vec<&Parsed> = parsed.iter().collect();
        let validator = Validator::new(words.schema.clone());
        let key = |p: &Problem| (p.line, p.message.clone());
        let whole = look_at(&validator, &files, &parsed, Some(LEVEL)).unwrap();
        let parts = look(words, &files, &parsed, Some(LEVEL), 4).unwrap();
        let sorted = |found: &[Problem]| {
            let mut found: Vec<_> = found.iter().map(key).collect();
            found.sort();
            found
        };
        assert!(whole.problems.len() >= 20 && !whole.warnings.is_empty());
        assert_eq!(sorted(&whole.problems), sorted(&parts.problems));
        assert_eq!(sorted(&whole.warnings), sorted(&parts.warnings));
    }

    /// However deep it is, and whatever stands beside it.
    #[test]
    fn a_deep_policy_does_not_escape() {
        let deep = " && 1 == 1".repeat(990);
        let action = "CipherHub::Action::\"keys.encrypt\"";
        let policy = |id: &str, condition: &str| {
            format!(
                "@id(\"{id}\") forbid(principal, action == {action}, resource) when {{ {condition} }};\n"
            )
        };
        for wrong in ["resource.nothing == 1", "resource.registration.nothing == 1"] {
            for beside in [0, 20] {
                let mut text = policy("deep", &format!("{wrong}{deep}"));
                (0..beside).for_each(|n| text.push_str(&policy(&format!("p{n}"), "context.mtls")));
                let refused = crate::Bundle::parse([("local.cedar", text)]);
                let Err(Error::Refused(problems)) = refused else { panic!("{refused:?}") };
                assert!(problems.iter().any(|p| p.message.contains("nothing")), "{problems:?}");
            }
        }
    }

    /// Well typed, and a hop more than the entities of a request answer.
    #[test]
    fn an_author_keeps_the_level() {
        let action = "CipherHub::Action::\"keys.encrypt\"";
        let bundle = |condition: &str| {
            let text = format!(
                "@id(\"far\") forbid(principal, action == {action}, resource) when {{ {condition} }};"
            );
            crate::Bundle::parse([("local.cedar", text)])
        };
        assert!(bundle("principal in resource.registration.roles.apps").is_ok());
        let roles = "resource.registration.roles";
        let refused = bundle(&format!("{roles}.apps in {roles}.owners"));
        let Err(Error::Refused(problems)) = refused else { panic!("{refused:?}") };
        assert_eq!(problems.len(), 1);
        assert!(problems[0].message.contains("level"), "{problems:?}");
    }

    #[test]
    fn the_shipped_ones_are_sound_keep_their_level_and_are_counted_once() {
        assert!(shipped().unwrap().problems.is_empty());
        let words = Words::load().unwrap();
        let files = BASELINE.map(|(name, text)| (Arc::from(name), text.to_owned(), true));
        let mut syntax = Vec::new();
        let parsed: Vec<Parsed> =
            files.iter().flat_map(|(name, text, _)| parse(name, text, true, &mut syntax)).collect();
        let parsed: Vec<&Parsed> = parsed.iter().collect();
        let with_level = look(words, &files, &parsed, Some(LEVEL), 4).unwrap();
        assert!(parsed.len() > 40 && syntax.is_empty() && with_level.problems.is_empty());
        let none = validate(words, &[], &[]).unwrap();
        assert_eq!(none.warnings, shipped().unwrap().warnings);
    }
}
