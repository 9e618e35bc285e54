//! What the operator's configuration says about identities from outside: whom they are
//! ([`MapRule`]), and which registrations may claim them over the API ([`BindRule`]).
//!
//! A pattern is an identity's text in which `*` stands for one or more characters other than `:`
//! and `/`, and `**` for one or more of any. Everything else stands for itself.

use std::collections::HashSet;
use std::str::FromStr;

use std::time::Duration;

use hub_model::identity::Via;
use hub_model::registration::HUB_REGISTRATION;
use hub_model::{Identity, Name};
use serde::{Deserialize, Serialize};

use crate::credential::Credential;

/// The most rules of each kind.
pub const MAX_RULES: usize = 1000;
/// The most stars of a pattern.
const MAX_STARS: usize = 4;

/// Some identities, by pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// `*`
    Segment,
    /// `**`
    Rest,
}

impl Pattern {
    /// What the stars stand for in `text`, in order, if it matches as a whole. The first star takes
    /// as much as it can.
    #[must_use]
    pub fn captures<'t>(&self, text: &'t str) -> Option<Vec<&'t str>> {
        let (mut found, mut dead) = (Vec::new(), HashSet::new());
        matched(&self.parts, text, &mut found, &mut dead).then(|| {
            found.reverse();
            found
        })
    }

    /// Whether it matches.
    #[must_use]
    pub fn matches(&self, identity: &Identity) -> bool {
        self.captures(identity.as_str()).is_some()
    }

    fn stars(&self) -> usize {
        self.parts.iter().filter(|part| !matches!(part, Part::Text(_))).count()
    }
}

/// Whether `parts` match all of `text`. What has been tried in vain, so many parts against so many
/// bytes, is not tried again: without that a text could be made that takes hours.
fn matched<'t>(
    parts: &[Part],
    text: &'t str,
    found: &mut Vec<&'t str>,
    dead: &mut HashSet<(usize, usize)>,
) -> bool {
    let Some((first, rest)) = parts.split_first() else { return text.is_empty() };
    let here = (parts.len(), text.len());
    if dead.contains(&here) {
        return false;
    }
    let matches = match first {
        Part::Text(literal) => {
            let left = text.strip_prefix(literal.as_str());
            left.is_some_and(|left| matched(rest, left, found, dead))
        }
        Part::Segment | Part::Rest => {
            let end = match first {
                Part::Segment => text.find([':', '/']).unwrap_or(text.len()),
                _ => text.len(),
            };
            let mut lengths = (1..=end).rev().filter(|length| text.is_char_boundary(*length));
            lengths.any(|length| {
                let (taken, left) = text.split_at(length);
                let matches = matched(rest, left, found, dead);
                if matches {
                    found.push(taken);
                }
                matches
            })
        }
    };
    if !matches {
        dead.insert(here);
    }
    matches
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('*') {
            let (literal, stars) = rest.split_at(at);
            if !literal.is_empty() {
                parts.push(Part::Text(literal.to_owned()));
            } else if parts.last().is_some_and(|part| !matches!(part, Part::Text(_))) {
                return Err(format!("`{text}`: two stars need something between them"));
            }
            let (part, length) =
                if stars.starts_with("**") { (Part::Rest, 2) } else { (Part::Segment, 1) };
            parts.push(part);
            rest = stars.get(length..).unwrap_or_default();
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        // The method is always said: a pattern that begins with a star would mix methods.
        let methods = ["jwt:", "spiffe://", "mtls:", "unix:"];
        if !methods.iter().any(|method| text.starts_with(method)) {
            return Err(format!(
                "`{text}` must start with a method: {}",
                methods.map(|method| format!("`{method}`")).join(", ")
            ));
        }
        let pattern = Self { text: text.to_owned(), parts };
        if pattern.stars() > MAX_STARS {
            return Err(format!("`{text}` has more than {MAX_STARS} stars"));
        }
        if pattern.stars() == 0 {
            text.parse::<Identity>().map_err(|error| error.to_string())?;
        }
        Ok(pattern)
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.text
    }
}

/// Identities that are participants because the configuration says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapRule {
    /// Which identities.
    pub identity: Pattern,
    /// `registration/participant`; `$1` is what the first star stands for, and so on.
    pub participant: String,
}

impl MapRule {
    /// The registration and participant an identity stands for; `None` when the rule is about
    /// others, or what its stars stand for cannot be part of a name.
    #[must_use]
    pub fn apply(&self, identity: &Identity) -> Option<(Name, Name)> {
        let captures = self.identity.captures(identity.as_str())?;
        let (registration, participant) = self.participant.split_once('/')?;
        let home = fill(registration, &captures)?;
        // Whoever runs the hub is named in so many words: a template that others fill in, by the
        // name of a namespace for instance, never gives its registration.
        if registration.contains('$') && home.as_str() == HUB_REGISTRATION {
            return None;
        }
        Some((home, fill(participant, &captures)?))
    }

    fn check(&self) -> Result<(), String> {
        let target = &self.participant;
        let samples = vec!["aa"; self.identity.stars()];
        let good = target.split_once('/').is_some_and(|(registration, participant)| {
            fill(registration, &samples).is_some() && fill(participant, &samples).is_some()
        });
        if good {
            return Ok(());
        }
        Err(format!(
            "`{target}` must be `registration/participant`, with `$1` to `${}` for the stars of `{}`",
            self.identity.stars().max(1),
            self.identity.text
        ))
    }
}

/// The name a template gives. In one pass: what a star stands for is not looked through for `$1`.
fn fill(template: &str, captures: &[&str]) -> Option<Name> {
    let mut pieces = template.split('$');
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (number, rest) = piece.split_at_checked(1)?;
        let number: usize = number.parse().ok()?;
        text.push_str(captures.get(number.checked_sub(1)?)?);
        text.push_str(rest);
    }
    text.parse().ok()
}

/// Identities that the owners of some registrations may bind to their participants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindRule {
    /// Which identities.
    pub identity: Pattern,
    /// The registrations, by name; `*` is every one.
    pub registrations: Vec<String>,
}

impl BindRule {
    fn check(&self) -> Result<(), String> {
        if self.registrations.is_empty() {
            return Err("`registrations` names none; `*` is every one".to_owned());
        }
        let wrong = |name: &&String| *name != "*" && name.parse::<Name>().is_err();
        match self.registrations.iter().find(wrong) {
            Some(name) => Err(format!("`{name}` is no name of a registration, nor `*`")),
            None => Ok(()),
        }
    }
}

/// All rules, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    map: Vec<MapRule>,
    bind: Vec<BindRule>,
    issuers: Vec<(Name, Duration)>,
}

impl Rules {
    /// Rules that have been checked.
    ///
    /// # Errors
    /// Says which rule cannot be meant, and why.
    pub fn new(map: Vec<MapRule>, bind: Vec<BindRule>) -> Result<Self, String> {
        if map.len() > MAX_RULES || bind.len() > MAX_RULES {
            return Err(format!("there may be at most {MAX_RULES} rules"));
        }
        map.iter().try_for_each(MapRule::check)?;
        bind.iter().try_for_each(BindRule::check)?;
        Ok(Self { map, bind, issuers: Vec::new() })
    }

    /// With these issuers of tokens.
    #[must_use]
    pub fn with_issuers(mut self, issuers: Vec<(Name, Duration)>) -> Self {
        self.issuers = issuers;
        self
    }

    /// Whether tokens of an issuer of this name are taken.
    #[must_use]
    pub fn knows_issuer(&self, name: &Name) -> bool {
        self.issuers.iter().any(|(known, _)| known == name)
    }

    /// By how much the clock of an issuer may be ahead; zero for one that is not known.
    #[must_use]
    pub fn leeway(&self, name: &Name) -> Duration {
        let found = self.issuers.iter().find(|(known, _)| known == name);
        found.map_or(Duration::ZERO, |(_, leeway)| *leeway)
    }

    /// Whether a credential can be what a request comes with: an API key, or an identity that the
    /// configuration neither maps itself nor takes from nobody.
    #[must_use]
    pub fn can_arrive(&self, credential: &Credential) -> bool {
        let Some(identity) = &credential.identity else { return true };
        let known = match identity.via() {
            Via::Jwt(issuer) => self.knows_issuer(issuer),
            _ => true,
        };
        known && self.mapped(identity).is_none()
    }

    /// The participant an identity stands for by configuration: the first rule that matches.
    #[must_use]
    pub fn mapped(&self, identity: &Identity) -> Option<(Name, Name)> {
        self.map.iter().find_map(|rule| rule.apply(identity))
    }

    /// Whether owners of a registration may bind an identity. What the configuration maps is not
    /// for anybody to claim.
    #[must_use]
    pub fn may_bind(&self, identity: &Identity, registration: &Name) -> bool {
        let named = |rule: &BindRule| {
            rule.registrations.iter().any(|name| name == "*" || name == registration.as_str())
        };
        self.mapped(identity).is_none()
            && self.bind.iter().any(|rule| named(rule) && rule.identity.matches(identity))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(identity: &str, participant: &str) -> MapRule {
        MapRule { identity: identity.parse().unwrap(), participant: participant.to_owned() }
    }

    fn names(rule: &MapRule, identity: &str) -> Option<String> {
        rule.apply(&identity.parse().unwrap()).map(|(r, p)| format!("{r}/{p}"))
    }

    #[test]
    fn stars_stay_in_their_segment() {
        let rule = map("jwt:cluster:system:serviceaccount:*:*", "$1/$2");
        let account = "jwt:cluster:system:serviceaccount:shop:worker";
        assert_eq!(names(&rule, account).as_deref(), Some("shop/worker"));
        assert_eq!(names(&rule, "jwt:cluster:system:serviceaccount:shop:a:b"), None);
        assert_eq!(names(&rule, "jwt:cluster:system:serviceaccount:Shop:worker"), None, "no name");
        let rule = map("spiffe://prod.example/**", "shop/any");
        assert_eq!(names(&rule, "spiffe://prod.example/ns/a/sa/b").as_deref(), Some("shop/any"));
        assert_eq!(names(&rule, "spiffe://prod.example.evil/ns/a"), None);
        let rule = map("jwt:corp:*@example.org", "shop/$1");
        assert_eq!(names(&rule, "jwt:corp:alice@example.org").as_deref(), Some("shop/alice"));
        assert_eq!(names(&rule, "jwt:corp:@example.org"), None, "a star stands for something");
        assert_eq!(names(&rule, "jwt:corp:alice@example.org.evil"), None);
    }

    #[test]
    fn a_hostile_subject_cannot_write_a_name_of_its_own() {
        let rule = map("jwt:corp:*", "shop/$1");
        for subject in ["a/b", "$2", "../x", "a b", "A", "ключ", "a:b"] {
            assert_eq!(names(&rule, &format!("jwt:corp:{subject}")), None, "{subject}");
        }
        // What a star stands for is not looked through again for `$1`.
        let rule = map("jwt:corp:*:*", "shop/$1-$2");
        assert_eq!(names(&rule, "jwt:corp:$2:x"), None);
    }

    #[test]
    fn nobody_becomes_an_administrator_by_the_name_of_a_namespace() {
        let rule = map("jwt:cluster:system:serviceaccount:*:*", "$1/$2");
        assert_eq!(names(&rule, "jwt:cluster:system:serviceaccount:hub:admin"), None);
        // Said in so many words it is the operator's own word.
        let rule = map("jwt:corp:*", "hub/$1");
        assert_eq!(names(&rule, "jwt:corp:admin").as_deref(), Some("hub/admin"));
    }

    #[test]
    fn no_text_takes_long() {
        let rule = map("jwt:corp:**-**-**-**@x", "shop/any");
        let text = format!("jwt:corp:{}", "-".repeat(500));
        let start = std::time::Instant::now();
        assert_eq!(names(&rule, &text), None);
        assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    }

    #[test]
    fn rules_that_cannot_be_meant_are_refused() {
        for text in ["*", "**", "jwt", "apikey:x", "unix:uid:007", "jwt:corp:***", "jwt:*:*:*:*:*"]
        {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
        for target in ["shop", "Shop/a", "shop/$2", "shop/a/b", "/a"] {
            assert!(Rules::new(vec![map("jwt:corp:*", target)], vec![]).is_err(), "{target}");
        }
        let bind = |names: &[&str]| BindRule {
            identity: "jwt:corp:*".parse().unwrap(),
            registrations: names.iter().map(|&name| name.to_owned()).collect(),
        };
        assert!(Rules::new(vec![], vec![bind(&[])]).is_err());
        assert!(Rules::new(vec![], vec![bind(&["Shop"])]).is_err());
    }

    #[test]
    fn what_is_mapped_cannot_be_bound() {
        let bind = BindRule {
            identity: "unix:uid:*".parse().unwrap(),
            registrations: vec!["shop".to_owned()],
        };
        let rules = Rules::new(vec![map("unix:uid:0", "ops/root")], vec![bind]).unwrap();
        let (root, user) = (Identity::unix_user(0), Identity::unix_user(1000));
        let (shop, ops) = ("shop".parse().unwrap(), "ops".parse().unwrap());
        assert!(rules.may_bind(&user, &shop));
        assert!(!rules.may_bind(&user, &ops), "not named");
        assert!(!rules.may_bind(&root, &shop), "mapped");
        assert_eq!(rules.mapped(&root), Some((ops, "root".parse().unwrap())));
        assert_eq!(rules.mapped(&user), None);
    }
}
