//! Rows of the route table: the audit trail, of the hub and of one registration.

use http::Method;
use hub_audit::index::{Filter, Order};
use hub_model::api::audit::AuditPage;
use hub_model::{CredentialId, Timestamp};
use hub_operations::system::{AuditQuestion, ReadAudit, ReadRegistrationAudit};

use super::Route;
use crate::problem::Refusal;
use crate::request::Parts;

/// What filters entries of one registration.
const WITHIN: &[&str] = &[
    "after",
    "pageSize",
    "pageToken",
    "order",
    "from",
    "to",
    "participant",
    "caller",
    "callerRegistration",
    "key",
    "action",
    "outcome",
    "decision",
    "request",
    "trace",
    "operation",
    "credential",
];
/// What filters entries of the whole hub.
const EVERYWHERE: &[&str] = &[
    "after",
    "pageSize",
    "pageToken",
    "order",
    "from",
    "to",
    "participant",
    "caller",
    "callerRegistration",
    "key",
    "registration",
    "action",
    "outcome",
    "decision",
    "request",
    "trace",
    "operation",
    "credential",
];

/// The rows.
pub(super) fn rows() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v1/audit/events", |p| {
            let after = p.query.number("after")?.unwrap_or(0);
            // Without a question it is the log itself, whole and in order: to be verified.
            let questions = EVERYWHERE.iter().skip(2);
            let asks = questions.into_iter().any(|name| p.query.value(name).is_some());
            let asked = if asks { Some(question(p, after)?) } else { None };
            Ok(ReadAudit { after, page: p.page()?, asked })
        })
        .asks(EVERYWHERE)
        .gives::<AuditPage>(),
        Route::new(Method::GET, "/v1/registrations/{registration}/audit/events", |p| {
            let after = p.query.number("after")?.unwrap_or(0);
            let (registration, asked) = (p.param("registration")?, question(p, after)?);
            // The hub's own steps have none, and are not indexed by it: each entry would be read.
            if asked.filter.request.as_deref() == Some("-") {
                return Err(refusal("request", "the id of a request"));
            }
            Ok(ReadRegistrationAudit { registration, asked, page: p.page()? })
        })
        .asks(WITHIN)
        .gives::<AuditPage>(),
    ]
}

/// What is asked for.
fn question(parts: &Parts<'_>, after: u64) -> Result<AuditQuestion, Refusal> {
    let from = parsed::<Timestamp>(parts, "from", "a time such as `2026-11-26T05:00:00Z`")?;
    let to = parsed::<Timestamp>(parts, "to", "a time such as `2026-11-26T05:00:00Z`")?;
    if from.zip(to).is_some_and(|(from, to)| from >= to) {
        return Err(Refusal::new("invalid_query", "`from` must be earlier than `to`"));
    }
    let order = match parts.query.value("order") {
        None | Some("desc") => Order::Descending,
        Some("asc") => Order::Ascending,
        Some(_) => return Err(refusal("order", "`asc` or `desc`")),
    };
    let decision = word(parts, "decision")?;
    if decision.as_deref().is_some_and(|word| !matches!(word, "allow" | "deny" | "none")) {
        return Err(refusal("decision", "`allow`, `deny` or `none`"));
    }
    let credential = parsed::<CredentialId>(parts, "credential", "the uid of a credential")?;
    let participant = "the uid of a participant, or REGISTRATION/NAME";
    let registration = "the name or uid of a registration";
    Ok(AuditQuestion {
        filter: Filter {
            from,
            to,
            action: action(parts)?,
            outcome: word(parts, "outcome")?,
            decision,
            request: word(parts, "request")?,
            trace: word(parts, "trace")?,
            operation: word(parts, "operation")?,
            credential: credential.map(|id| id.to_string().into()),
            ..Filter::default()
        },
        participant: parsed(parts, "participant", participant)?,
        caller: parsed(parts, "caller", participant)?,
        key: parsed(parts, "key", "the uid of a key, or REGISTRATION/NAME")?,
        registration: parsed(parts, "registration", registration)?,
        caller_registration: parsed(parts, "callerRegistration", registration)?,
        after,
        order,
    })
}

fn refusal(name: &str, wanted: &str) -> Refusal {
    Refusal::new("invalid_query", format!("the query parameter `{name}` is not {wanted}"))
}

/// A parameter, its escapes resolved: times and names have characters that clients escape.
fn text(parts: &Parts<'_>, name: &str) -> Result<Option<String>, Refusal> {
    let Some(value) = parts.query.value(name) else { return Ok(None) };
    let bad = || refusal(name, "written in percent-encoding (RFC 3986 §2.1)");
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let (high, low) = (digit().ok_or_else(bad)?, digit().ok_or_else(bad)?);
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| bad())?);
    }
    String::from_utf8(bytes).map(Some).map_err(|_| bad())
}

fn parsed<T: std::str::FromStr>(
    parts: &Parts<'_>,
    name: &str,
    wanted: &str,
) -> Result<Option<T>, Refusal> {
    let Some(text) = text(parts, name)? else { return Ok(None) };
    text.parse().map(Some).map_err(|_| refusal(name, wanted))
}

/// A word as entries hold them.
fn word(parts: &Parts<'_>, name: &str) -> Result<Option<Box<str>>, Refusal> {
    let Some(text) = text(parts, name)? else { return Ok(None) };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=128).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(Some(text.into()));
    }
    Err(refusal(name, "1 to 128 letters, digits, `.`, `_` and `-`"))
}

/// An action, or all of a group.
fn action(parts: &Parts<'_>) -> Result<Option<Box<str>>, Refusal> {
    let Some(text) = text(parts, "action")? else { return Ok(None) };
    let name = text.strip_suffix(".*").unwrap_or(&text);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.';
    let group = text.ends_with(".*");
    let dotted = group && name.contains('.');
    if (1..=64).contains(&name.len()) && name.bytes().all(fits) && !dotted {
        return Ok(Some(text.into()));
    }
    Err(refusal("action", "an action such as `keys.decrypt`, or a group such as `keys.*`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_a_registration_no_other_can_be_asked_for() {
        assert!(!WITHIN.contains(&"registration"));
        let more: Vec<_> = EVERYWHERE.iter().filter(|name| !WITHIN.contains(name)).collect();
        assert_eq!(more, [&"registration"]);
        assert_eq!(EVERYWHERE.get(..2), Some(&["after", "pageSize"][..]));
    }
}
