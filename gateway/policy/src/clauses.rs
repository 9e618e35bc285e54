//! The conditions of a policy's text, taken apart where they join: `a && b`, `a || b`, `!(…)`.
//!
//! Cedar gives no parts of a condition with their own text, and people want to read what they
//! wrote. This reads the text only as far as brackets, strings, comments and the two operators go.
//!
//! INVARIANT: every part is evaluated by Cedar itself, and the whole as well, so what is split
//! wrongly shows as a part that does not parse and is then left whole.

use std::ops::Range;

/// `when` or `unless`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    When,
    Unless,
}

/// How the parts of an expression are joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    /// There is one part.
    One,
    /// All by `&&`.
    And(Vec<Range<usize>>),
    /// All by `||`.
    Or(Vec<Range<usize>>),
    /// `!(…)`: what is inside.
    Not(Range<usize>),
}

/// A word, a bracket or an operator at a place; what lies between is of no interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Open(u8),
    Close,
    And,
    Or,
    Bang,
    At,
    Other,
}

/// Tokens of a text with their ranges; strings and comments are skipped or opaque.
fn tokens(text: &str) -> Vec<(Range<usize>, Token<'_>)> {
    let bytes = text.as_bytes();
    let at = |i: usize| bytes.get(i).copied().unwrap_or(0);
    let mut out = Vec::new();
    let mut i = 0;
    while i < bytes.len() {
        let start = i;
        let byte = at(i);
        i += 1;
        let token = match byte {
            b'"' => {
                while i < bytes.len() && at(i) != b'"' {
                    i += if at(i) == b'\\' { 2 } else { 1 };
                }
                i += 1;
                Token::Other
            }
            b'/' if at(i) == b'/' => {
                while i < bytes.len() && at(i) != b'\n' {
                    i += 1;
                }
                continue;
            }
            b'(' | b'[' | b'{' => Token::Open(byte),
            b')' | b']' | b'}' => Token::Close,
            b'&' if at(i) == b'&' => {
                i += 1;
                Token::And
            }
            b'|' if at(i) == b'|' => {
                i += 1;
                Token::Or
            }
            b'!' if at(i) != b'=' => Token::Bang,
            b'!' => {
                i += 1;
                Token::Other
            }
            b'@' => Token::At,
            _ if byte.is_ascii_whitespace() => continue,
            _ if byte.is_ascii_alphanumeric() || byte == b'_' => {
                while at(i).is_ascii_alphanumeric() || at(i) == b'_' {
                    i += 1;
                }
                Token::Word(text.get(start..i).unwrap_or(""))
            }
            _ => Token::Other,
        };
        out.push((start..i.min(bytes.len()), token));
    }
    out
}

/// The bodies of the conditions of one policy, in order.
pub(crate) fn conditions(policy: &str) -> Vec<(Kind, Range<usize>)> {
    let mut found = Vec::new();
    let (mut depth, mut open): (usize, Option<(Kind, usize)>) = (0, None);
    let (mut head, mut annotated) = (None, false);
    for (range, token) in tokens(policy) {
        match token {
            Token::Open(bracket) => {
                if depth == 0
                    && bracket == b'{'
                    && let Some(kind) = head
                {
                    open = Some((kind, range.end));
                }
                depth += 1;
            }
            Token::Close => {
                depth = depth.saturating_sub(1);
                if depth == 0
                    && let Some((kind, start)) = open.take()
                {
                    found.push((kind, start..range.start));
                }
            }
            _ => {}
        }
        head = match token {
            Token::Word("when") if depth == 0 && !annotated => Some(Kind::When),
            Token::Word("unless") if depth == 0 && !annotated => Some(Kind::Unless),
            _ => None,
        };
        annotated = token == Token::At;
    }
    found
}

/// `range` of `text` without brackets that enclose all of it, blanks and comments at its ends.
pub(crate) fn stripped(text: &str, range: Range<usize>) -> Range<usize> {
    let inside = text.get(range.clone()).unwrap_or("");
    let tokens = tokens(inside);
    let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else { return range };
    let trimmed = range.start + first.0.start..range.start + last.0.end;
    if first.1 == Token::Open(b'(') && last.1 == Token::Close {
        let mut depth = 0_usize;
        for (place, token) in &tokens {
            match token {
                Token::Open(_) => depth += 1,
                Token::Close => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && place.end < last.0.end {
                return trimmed;
            }
        }
        return stripped(text, trimmed.start + 1..trimmed.end - 1);
    }
    trimmed
}

/// How an expression is joined at its outermost level.
pub(crate) fn join(text: &str, range: Range<usize>) -> Join {
    let base = range.start;
    let inside = text.get(range.clone()).unwrap_or("");
    let tokens = tokens(inside);
    if let Some((_, Token::Word("if"))) = tokens.first() {
        return Join::One;
    }
    let mut depth = 0_usize;
    let (mut ands, mut ors) = (Vec::new(), Vec::new());
    for (place, token) in &tokens {
        match token {
            Token::Open(_) => depth += 1,
            Token::Close => depth = depth.saturating_sub(1),
            Token::And if depth == 0 => ands.push(place.clone()),
            Token::Or if depth == 0 => ors.push(place.clone()),
            _ => {}
        }
    }
    let split = |at: Vec<Range<usize>>| {
        let mut parts = Vec::with_capacity(at.len() + 1);
        let mut start = base;
        for operator in at {
            parts.push(stripped(text, start..base + operator.start));
            start = base + operator.end;
        }
        parts.push(stripped(text, start..range.end));
        parts
    };
    // `||` binds weaker than `&&`, so it joins the whole wherever it stands.
    if !ors.is_empty() {
        return Join::Or(split(ors));
    }
    if !ands.is_empty() {
        return Join::And(split(ands));
    }
    if let [(bang, Token::Bang), (open, Token::Open(b'(')), .., (last, Token::Close)] =
        tokens.as_slice()
    {
        let inner = base + open.start..base + last.end;
        let whole = stripped(text, inner.clone());
        // Only where the brackets are one pair: `!(a).b` is something else.
        if bang.end <= open.start && whole.start > inner.start {
            return Join::Not(whole);
        }
    }
    Join::One
}

/// The paths an expression reads from the request: `context.caller.tls`, `resource.name`,
/// `principal`; a path that goes on as a call is given up to it, with `getTag("…")` included.
pub(crate) fn paths(expression: &str) -> Vec<&str> {
    let tokens = tokens(expression);
    let dot = |place: &Range<usize>| expression.get(place.clone()) == Some(".");
    let mut found: Vec<&str> = Vec::new();
    let mut i = 0;
    while let Some((place, token)) = tokens.get(i) {
        let after_dot = i.checked_sub(1).and_then(|p| tokens.get(p)).is_some_and(|(p, _)| dot(p));
        i += 1;
        if after_dot || !matches!(token, Token::Word("principal" | "resource" | "context")) {
            continue;
        }
        let mut end = place.end;
        while let (Some((d, Token::Other)), Some((name, Token::Word(word)))) =
            (tokens.get(i), tokens.get(i + 1))
        {
            if !dot(d) {
                break;
            }
            if let Some((_, Token::Open(b'('))) = tokens.get(i + 2) {
                if *word == "getTag"
                    && let Some((close, Token::Close)) = tokens.get(i + 4)
                {
                    end = close.end;
                    i += 5;
                }
                break;
            }
            end = name.end;
            i += 2;
        }
        if let Some(path) = expression.get(place.start..end)
            && !found.contains(&path)
        {
            found.push(path);
        }
    }
    found
}

/// An expression on one line, without its comments.
pub(crate) fn one_line(expression: &str) -> String {
    let mut out = String::with_capacity(expression.len());
    let mut end = None;
    for (place, _) in tokens(expression) {
        if end.is_some_and(|end| end < place.start) {
            out.push(' ');
        }
        out.push_str(expression.get(place.clone()).unwrap_or(""));
        end = Some(place.end);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(text: &str) -> (char, Vec<&str>) {
        let (sign, ranges) = match join(text, stripped(text, 0..text.len())) {
            Join::One => ('1', vec![]),
            Join::And(parts) => ('&', parts),
            Join::Or(parts) => ('|', parts),
            Join::Not(inner) => ('!', vec![inner]),
        };
        (sign, ranges.into_iter().map(|range| &text[range]).collect())
    }

    #[test]
    fn conditions_are_found_past_strings_comments_and_annotations() {
        let policy = "@when(\"{\")\n@id(\"a\") // when { no }\npermit(principal, action, resource)\n\
                      when { context.a == \"}\" && {b: 1}.b == 1 } // unless { no }\n\
                      unless /* */ { true };";
        let found: Vec<_> =
            conditions(policy).into_iter().map(|(kind, range)| (kind, &policy[range])).collect();
        // Cedar has no block comments; what stands between is then no condition.
        assert_eq!(found, [(Kind::When, " context.a == \"}\" && {b: 1}.b == 1 ")]);
        let two = "permit(principal,action,resource) when{a}unless{ b };";
        assert_eq!(conditions(two).len(), 2);
        assert_eq!(conditions(two)[1].0, Kind::Unless);
        assert_eq!(conditions("permit(principal, action, resource);"), []);
    }

    #[test]
    fn operators_join_by_their_strength_and_brackets_hide_them() {
        assert_eq!(joined("a && b && c"), ('&', vec!["a", "b", "c"]));
        assert_eq!(joined("a && b || c"), ('|', vec!["a && b", "c"]));
        assert_eq!(joined("(a || b) && f(c && d)"), ('&', vec!["a || b", "f(c && d)"]));
        assert_eq!(joined("((a && b))"), ('&', vec!["a", "b"]));
        assert_eq!(joined("(a) == (b)"), ('1', vec![]));
        assert_eq!(joined("if a && b then c else d || e"), ('1', vec![]));
        assert_eq!(joined("!(a || b)"), ('!', vec!["a || b"]));
        assert_eq!(joined("!a.b(c)"), ('1', vec![]));
        assert_eq!(joined("a == \"x && y\" // && c\n && d"), ('&', vec!["a == \"x && y\"", "d"]));
        assert_eq!(joined("a != b"), ('1', vec![]));
    }

    #[test]
    fn paths_stop_at_calls() {
        let paths = |text| super::paths(text);
        assert_eq!(
            paths("context.caller.sourceIp.isInRange(ip(\"10.0.0.0/8\"))"),
            ["context.caller.sourceIp"]
        );
        assert_eq!(
            paths("resource.getTag(\"team\") == principal.name"),
            ["resource.getTag(\"team\")", "principal.name"]
        );
        assert_eq!(
            paths("principal in resource.registration.roles.apps"),
            ["principal", "resource.registration.roles.apps"]
        );
        assert_eq!(paths("\"principal.x\" == {principal: 1}.principal"), ["principal"]);
        assert_eq!(one_line("a\n  && // why\n  b.c"), "a && b.c");
    }
}
