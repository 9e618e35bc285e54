//! One call, before it is sent: path, query, body, and whether it may be repeated.

use std::io::Write;

use bytes::Bytes;
use http::{HeaderValue, Method};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::Error;

/// A call to one route.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Path and query, percent-encoded.
    pub(crate) target: String,
    pub(crate) body: Option<Bytes>,
    pub(crate) if_match: Option<HeaderValue>,
    pub(crate) idempotency_key: Option<HeaderValue>,
    /// Whether doing it twice equals doing it once.
    pub(crate) repeatable: bool,
    /// Whether `?dryRun=true` means something.
    pub(crate) can_be_dry: bool,
}

impl Call {
    fn new(method: Method, path: Path, repeatable: bool, can_be_dry: bool) -> Self {
        Self {
            method,
            target: path.0,
            body: None,
            if_match: None,
            idempotency_key: None,
            repeatable,
            can_be_dry,
        }
    }

    /// Reads.
    pub(crate) fn read(path: Path) -> Self {
        Self::new(Method::GET, path, true, false)
    }

    /// Computes or asks by POST; changes nothing that lasts.
    pub(crate) fn compute(path: Path, can_be_dry: bool) -> Self {
        Self::new(Method::POST, path, true, can_be_dry)
    }

    /// Creates or rotates: carries an `Idempotency-Key` of its own, so it may be repeated.
    pub(crate) fn create(path: Path) -> Self {
        let key = uuid::Uuid::now_v7().to_string();
        let mut call = Self::new(Method::POST, path, true, true);
        call.idempotency_key = HeaderValue::from_str(&key).ok();
        call.repeatable = call.idempotency_key.is_some();
        call
    }

    /// Changes by POST, once.
    pub(crate) fn act(path: Path) -> Self {
        Self::new(Method::POST, path, false, true)
    }

    /// Puts or deletes what is then simply there or gone.
    pub(crate) fn settle(method: Method, path: Path) -> Self {
        let repeatable = method == Method::PUT;
        Self::new(method, path, repeatable, true)
    }

    /// Changes or deletes the version of a resource that has this ETag, once.
    pub(crate) fn change(method: Method, path: Path, etag: &str) -> Result<Self, Error> {
        let mut call = Self::new(method, path, false, true);
        call.if_match = Some(HeaderValue::from_str(etag).map_err(|_| Error::Header("If-Match"))?);
        Ok(call)
    }

    /// Adds a JSON body, which is erased after use.
    pub(crate) fn json(mut self, body: &impl Serialize) -> Result<Self, Error> {
        // The length is counted first, so that no reallocation leaves a copy of a secret behind.
        let mut count = Count(0);
        serde_json::to_writer(&mut count, body).map_err(|_| Error::Request)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(count.0));
        serde_json::to_writer(&mut *bytes, body).map_err(|_| Error::Request)?;
        self.body = Some(Bytes::from_owner(bytes));
        Ok(self)
    }
}

struct Count(usize);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A path under construction. Only names and ids get in, so nothing needs escaping.
#[derive(Debug, Clone)]
pub(crate) struct Path(String);

impl Path {
    /// A fixed beginning.
    pub(crate) fn new(fixed: &str) -> Self {
        Self(fixed.to_owned())
    }

    /// `/v1/registrations/{registration}`.
    pub(crate) fn registration(registration: &str) -> Result<Self, Error> {
        Self::new("/v1/registrations").item(registration)
    }

    /// A fixed segment.
    pub(crate) fn then(mut self, fixed: &str) -> Self {
        self.0.push('/');
        self.0.push_str(fixed);
        self
    }

    /// A name or an id.
    pub(crate) fn item(mut self, text: &str) -> Result<Self, Error> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if text.is_empty() || text.len() > 128 || !text.bytes().all(allowed) {
            return Err(Error::Segment(text.chars().take(128).collect()));
        }
        self.0.push('/');
        self.0.push_str(text);
        Ok(self)
    }

    /// A custom verb (AIP-136).
    pub(crate) fn verb(mut self, verb: &str) -> Self {
        self.0.push(':');
        self.0.push_str(verb);
        self
    }

    /// A query parameter.
    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        push_query(&mut self.0, name, value);
        self
    }
}

/// Appends a query parameter, percent-encoded (RFC 3986 §2.1).
pub(crate) fn push_query(target: &mut String, name: &str, value: &str) {
    target.push(if target.contains('?') { '&' } else { '?' });
    target.push_str(name);
    target.push('=');
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            target.push(char::from(byte));
        } else {
            target.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_names_and_ids_gets_into_a_path() {
        let path = Path::registration("shop").unwrap().then("keys").item("orders").unwrap();
        assert_eq!(path.verb("encrypt").0, "/v1/registrations/shop/keys/orders:encrypt");
        for bad in ["", ".", "..", "a/b", "a:b", "a%2fb", "a?b", "a b", "é"] {
            assert!(matches!(Path::registration(bad), Err(Error::Segment(_))), "{bad:?}");
        }
    }

    #[test]
    fn query_values_are_escaped() {
        let path = Path::new("/v1/x").query("a", "1&b=2").query("pageToken", "+/=é");
        assert_eq!(path.0, "/v1/x?a=1%26b%3D2&pageToken=%2B%2F%3D%C3%A9");
    }
}
