//! From the parts of a routed request to an operation: path parameters, query, headers, body.
//! Unknown members and parameters are refused; nothing of a malformed body is echoed.

use std::str::FromStr;

use http::header::{CONTENT_TYPE, HeaderName, IF_MATCH};
use http::{HeaderMap, Method};
use hub_crypto::hash::sha256_parts;
use hub_operations::{Idempotency, PageRequest};
use serde::de::DeserializeOwned;

use crate::problem::Refusal;

pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The parameters of a path, by name. No path has more than four.
#[derive(Debug, Default)]
pub(crate) struct Params<'a> {
    pairs: [(&'static str, &'a str); 4],
    len: usize,
}

impl<'a> FromIterator<(&'static str, &'a str)> for Params<'a> {
    fn from_iter<I: IntoIterator<Item = (&'static str, &'a str)>>(pairs: I) -> Self {
        let mut params = Self::default();
        for (slot, pair) in params.pairs.iter_mut().zip(pairs) {
            *slot = pair;
            params.len += 1;
        }
        params
    }
}

impl<'a> std::ops::Deref for Params<'a> {
    type Target = [(&'static str, &'a str)];

    fn deref(&self) -> &Self::Target {
        self.pairs.get(..self.len).unwrap_or_default()
    }
}

/// A routed request, body read.
#[derive(Debug)]
pub struct Parts<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) params: Params<'a>,
    pub(crate) query: Query<'a>,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
    /// How the request came.
    pub(crate) channel: &'a hub_auth::Channel,
    /// The body, on routes that read it piece by piece.
    pub(crate) stream: Option<crate::body::Reader>,
    /// Its place among what is in work.
    pub(crate) work: &'a crate::load::Work,
}

impl Parts<'_> {
    /// A path parameter as a name or id.
    ///
    /// # Errors
    /// 400 `invalid_name`.
    pub fn param<T>(&self, name: &str) -> Result<T, Refusal>
    where
        T: FromStr<Err = hub_model::Error>,
    {
        let text = self.raw(name);
        text.parse().map_err(|_| {
            Refusal::new("invalid_name", format!("`{name}` in the path is not a name or id"))
        })
    }

    /// A path parameter as a number from 1.
    ///
    /// # Errors
    /// 400 `invalid_name`.
    pub fn number(&self, name: &str) -> Result<u32, Refusal> {
        let text = self.raw(name);
        let canonical = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
        text.parse().ok().filter(|_| canonical).ok_or_else(|| {
            Refusal::new("invalid_name", format!("`{name}` in the path is not a number from 1"))
        })
    }

    /// A path parameter as it was given.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.raw(name)
    }

    fn raw(&self, name: &str) -> &str {
        self.params.iter().find(|(known, _)| *known == name).map_or("", |(_, text)| text)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// 415 for another media type, 400 `invalid_json`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        check_media_type(self.headers, self.method)?;
        if self.body.is_empty() {
            return Err(Refusal::new("invalid_json", "a JSON body is needed"));
        }
        serde_json::from_slice(self.body).map_err(|error| json_refusal(&error))
    }

    /// The body as JSON, or the default when there is none.
    ///
    /// # Errors
    /// As [`Parts::json`].
    pub fn json_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, Refusal> {
        if self.body.is_empty() { Ok(T::default()) } else { self.json() }
    }

    /// Which page of a list.
    ///
    /// # Errors
    /// 400 `invalid_query`.
    pub fn page(&self) -> Result<PageRequest, Refusal> {
        Ok(PageRequest {
            size: self.query.number("pageSize")?.and_then(|n| usize::try_from(n).ok()),
            token: self.query.value("pageToken").map(str::to_owned),
        })
    }
}

/// The query: a few known parameters, each at most once.
#[derive(Debug, Default)]
pub struct Query<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Query<'a> {
    /// Reads a query string. None of the known parameters needs escapes, so none are understood.
    ///
    /// # Errors
    /// 400 `invalid_query`.
    pub fn parse(text: Option<&'a str>, known: &[&str]) -> Result<Self, Refusal> {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(Self::default()) };
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for pair in text.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !known.contains(&name) {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let detail = format!("an unknown query parameter (this route knows: {known})");
                return Err(Refusal::new("invalid_query", detail));
            }
            if pairs.iter().any(|(seen, _)| *seen == name) {
                let detail = format!("the query parameter `{name}` is given twice");
                return Err(Refusal::new("invalid_query", detail));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    pub(crate) fn value(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// A number.
    ///
    /// # Errors
    /// 400 `invalid_query`.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.value(name) else { return Ok(None) };
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        number.map(Some).ok_or_else(|| {
            Refusal::new("invalid_query", format!("the query parameter `{name}` is not a number"))
        })
    }

    /// A flag: `true` or `false`.
    ///
    /// # Errors
    /// 400 `invalid_query`.
    pub fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.value(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Refusal::new(
                "invalid_query",
                format!("the query parameter `{name}` is neither `true` nor `false`"),
            )),
        }
    }
}

/// The generation in `If-Match`. `*` is no version one has seen, so it is refused.
pub(crate) fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let mut values = headers.get_all(IF_MATCH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let bad =
        || Refusal::new("invalid_header", "`If-Match` takes one strong ETag, such as `\"3\"`");
    if values.next().is_some() {
        return Err(bad());
    }
    let text = value.to_str().map_err(|_| bad())?;
    let digits = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).ok_or_else(bad)?;
    digits.parse().map(Some).map_err(|_| bad())
}

/// The idempotency key, bound to route and body.
pub(crate) fn idempotency(parts: &Parts<'_>) -> Result<Option<Idempotency>, Refusal> {
    let mut values = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let legal = (1..=128).contains(&text.len()) && text.bytes().all(|b| (0x21..0x7f).contains(&b));
    if !legal || values.next().is_some() {
        return Err(Refusal::new(
            "invalid_header",
            "`Idempotency-Key` takes one value of 1 to 128 visible ASCII characters",
        ));
    }
    let method = parts.method.as_str().as_bytes();
    let request_hash = sha256_parts(&[method, b" ", parts.path.as_bytes(), b"\n", parts.body]);
    Ok(Some(Idempotency { key: text.to_owned(), request_hash }))
}

fn check_media_type(headers: &HeaderMap, method: &Method) -> Result<(), Refusal> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let text = value.to_str().unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim();
    let json = essence.eq_ignore_ascii_case("application/json");
    let patch =
        method == Method::PATCH && essence.eq_ignore_ascii_case("application/merge-patch+json");
    if json || patch {
        return Ok(());
    }
    Err(Refusal::new(
        "unsupported_media_type",
        "the body must be `application/json` (with curl: -H 'Content-Type: application/json')",
    ))
}

/// Says what is wrong with a body and where, without repeating any of its values.
pub(crate) fn json_refusal(error: &serde_json::Error) -> Refusal {
    use serde_json::error::Category;
    let place = format!("line {} column {}", error.line(), error.column());
    let what = match error.classify() {
        Category::Syntax => "the body is not JSON".to_owned(),
        Category::Eof => "the JSON of the body ends too early".to_owned(),
        Category::Io => "the body cannot be read".to_owned(),
        Category::Data => without_values(&error.to_string()),
    };
    Refusal::new("invalid_json", format!("{what}, at {place}"))
}

/// serde's messages, less the values they quote.
fn without_values(message: &str) -> String {
    let message = message.rsplit_once(" at line ").map_or(message, |(text, _)| text);
    let identifier = |name: &str| {
        name.len() <= 40 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    if message.starts_with("missing field") || message.starts_with("duplicate field") {
        return message.to_owned();
    }
    if let Some(rest) = message.strip_prefix("unknown field `") {
        return match rest.split_once('`') {
            Some((name, tail)) if identifier(name) => format!("unknown field `{name}`{tail}"),
            _ => "an unknown field".to_owned(),
        };
    }
    // A quoted value may itself look like what follows it, so each form is told by how it begins,
    // and only what stands after the last separator is kept.
    let serdes = ["invalid type: ", "invalid value: ", "invalid length ", "unknown variant `"];
    if serdes.iter().any(|start| message.starts_with(start)) {
        return match message.rsplit_once(", expected ") {
            Some((_, expected)) => format!("a value of the wrong kind: expected {expected}"),
            None => "a value of the wrong kind".to_owned(),
        };
    }
    // Our own types say what the value is not, after quoting it.
    match message.strip_prefix('`').and_then(|rest| rest.rsplit_once("` is not ")) {
        Some((_, rest)) => format!("a value is not {rest}"),
        None if message.contains(['`', '"']) => "a value is not valid".to_owned(),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hub_model::api::key::CreateKey;

    fn refused(json: &str) -> String {
        json_refusal(&serde_json::from_str::<CreateKey>(json).unwrap_err())
            .document(None, None)
            .detail
    }

    #[test]
    fn refusals_name_the_place_and_never_the_value() {
        for json in [
            r#"{"name":"Canary Name"}"#,
            r#"{"name":["canary"]}"#,
            r#"{"name":"x, expected canary"}"#,
            r#"{"name":"x` is not canary"}"#,
            r#"{"name":"ab","algorithm":"x, expected canary"}"#,
            r#"{"name":"ab","tags":{"x, expected canary":"y"}}"#,
            r#"{"name":"ab","algorithm":"canary"}"#,
            r#"{"name":"ab","canary value":1}"#,
            r#"{"name":"ab","tags":{"Canary":"x"}}"#,
            r#"{"name":"ab","tags":"canary"}"#,
            r#"canary"#,
            r#"{"name":"canary"#,
        ] {
            let detail = refused(json);
            assert!(!detail.to_lowercase().contains("canary"), "{detail}");
            assert!(detail.contains("line 1"), "{detail}");
        }
        assert!(refused(r#"{"name":"ab","nmae":1}"#).contains("unknown field `nmae`"));
        assert!(refused("{}").contains("missing field `name`"));
    }

    #[test]
    fn queries_know_their_parameters() {
        let query = Query::parse(Some("pageSize=5&dryRun=true"), &["pageSize", "dryRun"]).unwrap();
        assert_eq!(query.number("pageSize").unwrap(), Some(5));
        assert!(query.flag("dryRun").unwrap());
        for bad in ["x=1", "pageSize=5&pageSize=6", "pageSize"] {
            let parsed = Query::parse(Some(bad), &["pageSize"]);
            assert!(parsed.and_then(|q| q.number("pageSize").map(drop)).is_err(), "{bad}");
        }
    }

    #[test]
    fn if_match_takes_one_strong_tag() {
        let header = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_MATCH, http::HeaderValue::from_static(text));
            if_match(&headers)
        };
        assert_eq!(header("\"7\"").unwrap(), Some(7));
        for bad in ["7", "W/\"7\"", "*", "\"x\"", "\"7\", \"8\""] {
            assert!(header(bad).is_err(), "{bad}");
        }
    }
}
