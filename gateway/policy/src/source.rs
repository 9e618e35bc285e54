//! One policy file: its policies by `@id`, with the place and text of each.

use std::sync::Arc;

use cedar_policy::{Policy, PolicyId, PolicySet};

use crate::Problem;
use crate::problem::place;

/// The longest `@id`.
const MAX_ID: usize = 100;
/// What only ids of the baseline start with.
const RESERVED: [&str; 3] = ["guard.", "role.", "grant."];

/// Most operators in one policy: what follows them is nested as deep, and taken apart by recursion.
const MAX_OPERATORS: usize = 2_000;
/// Most brackets open at once.
const MAX_BRACKETS: usize = 100;

/// What a satisfied policy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It permits, unless some policy forbids.
    Permit,
    /// It forbids, whatever permits.
    Forbid,
}

impl Effect {
    /// The word in Cedar.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Forbid => "forbid",
        }
    }
}

/// What is known about a policy of the active set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyInfo {
    /// Its `@id`.
    pub id: Arc<str>,
    /// Its `@title`.
    pub title: Option<Arc<str>>,
    /// The file it is in, as named when the set was read.
    pub file: Arc<str>,
    /// The line it starts at, from 1.
    pub line: u32,
    /// Permit or forbid.
    pub effect: Effect,
    /// Its text as written.
    pub text: Arc<str>,
}

/// A parsed policy under its `@id`.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    pub(crate) info: PolicyInfo,
    pub(crate) policy: Policy,
    /// Where it starts in its file, in bytes.
    pub(crate) offset: usize,
    /// Whether it is part of every set.
    pub(crate) baseline: bool,
}

/// Parses one file; problems go to `problems`, and the policies without any come back.
pub(crate) fn parse(
    file: &Arc<str>,
    text: &str,
    baseline: bool,
    problems: &mut Vec<Problem>,
) -> Vec<Parsed> {
    if let Some((offset, message)) = too_large(text) {
        let help = "split it into several policies, or name what it lists in a set";
        problems.push(Problem::own(file, text, offset, message, help).about("size"));
        return Vec::new();
    }
    let set: PolicySet = match text.parse() {
        Ok(set) => set,
        Err(errors) => {
            let found = errors.iter().map(|error| Problem::of(file, text, error).about("syntax"));
            problems.extend(found);
            return Vec::new();
        }
    };
    for template in set.templates() {
        let offset = text.find(&template.to_string()).unwrap_or(0);
        let message = "a template is not a policy: it has a slot".to_owned();
        let help = "write the entity in its place";
        problems.push(Problem::own(file, text, offset, message, help).about("template"));
    }
    // Cedar numbers the policies of a text in order of appearance: policy0, policy1, …
    let mut policies: Vec<&Policy> = set.policies().collect();
    policies.sort_by_key(|policy| ordinal(policy.id()));
    let mut parsed = Vec::with_capacity(policies.len());
    let mut cursor = 0;
    for policy in policies {
        let source = policy.to_string();
        let rest = text.get(cursor..).unwrap_or("");
        let offset = cursor + rest.find(&source).unwrap_or(0);
        cursor = offset.saturating_add(source.len()).min(text.len());
        match checked_id(policy, baseline) {
            Ok(id) => parsed.push(Parsed {
                info: PolicyInfo {
                    id: id.into(),
                    title: policy.annotation("title").map(Arc::from),
                    file: Arc::clone(file),
                    line: place(text, offset).0,
                    effect: match policy.effect() {
                        cedar_policy::Effect::Permit => Effect::Permit,
                        cedar_policy::Effect::Forbid => Effect::Forbid,
                    },
                    text: source.into(),
                },
                policy: policy.new_id(PolicyId::new(id)),
                offset,
                baseline,
            }),
            Err((message, help)) => {
                problems.push(Problem::own(file, text, offset, message, help).about("id"));
            }
        }
    }
    parsed
}

/// Where a policy is nested deeper than a thread's stack could take apart, and why. Looks at words
/// and signs alone, and so comes before parsing.
fn too_large(text: &str) -> Option<(usize, String)> {
    let (mut operators, mut brackets) = (0, 0_usize);
    let mut signs = text.bytes().enumerate().peekable();
    while let Some((at, sign)) = signs.next() {
        let next = signs.peek().map(|(_, next)| *next);
        match sign {
            // Texts and comments hold no operators.
            b'"' => {
                while let Some((_, inner)) = signs.next() {
                    match inner {
                        b'\\' => drop(signs.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            b'/' if next == Some(b'/') => while signs.next_if(|(_, c)| *c != b'\n').is_some() {},
            // The end of a policy.
            b';' => (operators, brackets) = (0, 0),
            b'(' | b'[' | b'{' => brackets += 1,
            b')' | b']' | b'}' => brackets = brackets.saturating_sub(1),
            b'&' | b'|' if next == Some(sign) => {
                let _second = signs.next();
                operators += 1;
            }
            b'.' | b'+' | b'-' | b'*' | b'!' => operators += 1,
            _ if sign.is_ascii_alphanumeric() || sign == b'_' => {
                let mut end = at + 1;
                while let Some((inner, _)) =
                    signs.next_if(|(_, c)| c.is_ascii_alphanumeric() || *c == b'_')
                {
                    end = inner + 1;
                }
                let word = text.get(at..end).unwrap_or("");
                operators += usize::from(matches!(word, "if" | "when" | "unless"));
            }
            _ => {}
        }
        if operators > MAX_OPERATORS {
            let message = format!("a policy has at most {MAX_OPERATORS} operators");
            return Some((at, message));
        }
        if brackets > MAX_BRACKETS {
            let message = format!("brackets are nested at most {MAX_BRACKETS} deep");
            return Some((at, message));
        }
    }
    None
}

/// The `@id` of a policy, if it is one that reads the same everywhere it is shown.
fn checked_id(policy: &Policy, baseline: bool) -> Result<&str, (String, &'static str)> {
    let Some(id) = policy.annotation("id") else {
        return Err(("policy without `@id`".to_owned(), "write `@id(\"team.purpose\")` above it"));
    };
    let well_formed = id.len() <= MAX_ID
        && id.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if !well_formed {
        let shown: String = id.chars().take(MAX_ID).collect();
        let help = "use at most 100 letters, digits, `.`, `_` and `-`";
        return Err((format!("`{}` cannot be a policy id", shown.escape_debug()), help));
    }
    if !baseline && RESERVED.iter().any(|prefix| id.starts_with(prefix)) {
        let help = "ids that start with `guard.`, `role.` and `grant.` are those of the baseline";
        return Err((format!("policy id `{id}` is reserved"), help));
    }
    Ok(id)
}

fn ordinal(id: &PolicyId) -> usize {
    let text: &str = id.as_ref();
    text.strip_prefix("policy").and_then(|n| n.parse().ok()).unwrap_or(usize::MAX)
}
