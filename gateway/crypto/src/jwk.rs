//! JSON Web Keys (RFC 7517) that hold secrets: read into values that are erased, written straight
//! into the arena.
//!
//! What must stay true: no text with a secret in it is left on the heap, and base64url has one
//! spelling (RFC 7515 §2: no padding, and stray bits are refused here).

use base64_simd::{AsOut as _, URL_SAFE_NO_PAD};
use hub_arena::Secret;
use serde_json::Value;
use zeroize::{Zeroize as _, Zeroizing};

use crate::{Error, Result};

/// A parsed JWK. Its texts are erased on drop.
pub(crate) struct Jwk(Value);

impl Jwk {
    /// Parses one JSON object. Of a member given twice the last one counts (RFC 7517 §4).
    pub(crate) fn parse(text: &[u8]) -> Result<Self> {
        match serde_json::from_slice(text) {
            Ok(value @ Value::Object(_)) => Ok(Self(value)),
            Ok(other) => {
                drop(Self(other));
                Err(Error::Parameter("a JWK is a JSON object"))
            }
            Err(_) => Err(Error::Parameter("a JWK is a JSON object")),
        }
    }

    pub(crate) const fn value(&self) -> &Value {
        &self.0
    }
}

impl Drop for Jwk {
    fn drop(&mut self) {
        erase(&mut self.0);
    }
}

fn erase(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(erase),
        Value::Object(members) => members.values_mut().for_each(erase),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A member that is a text.
pub(crate) fn text<'a>(jwk: &'a Value, member: &str) -> Option<&'a str> {
    jwk.get(member)?.as_str()
}

/// A member that is base64url, decoded into the arena.
pub(crate) fn bytes(jwk: &Value, member: &str) -> Option<Secret> {
    let encoded = text(jwk, member)?.as_bytes();
    let len = URL_SAFE_NO_PAD.decoded_length(encoded).ok()?;
    let mut outcome = Ok(());
    let decode = |slot: &mut [u8]| {
        outcome = URL_SAFE_NO_PAD.decode(encoded, slot.as_out()).map(|_| ());
    };
    let decoded = Secret::fill(len, decode).ok()?;
    outcome.ok()?;
    Some(decoded)
}

/// What a member of a JWK holds.
pub(crate) enum Member<'a> {
    /// A name of the standards: ASCII letters, digits, `-` and `_`.
    Word(&'a str),
    /// Written as base64url.
    Bytes(&'a [u8]),
}

/// The object of these members, in this order, as compact JSON.
pub(crate) fn write(members: &[(&str, Member<'_>)]) -> Result<Secret> {
    let len: usize = members
        .iter()
        .map(|(name, member)| {
            6 + name.len()
                + match member {
                    Member::Word(word) => word.len(),
                    Member::Bytes(bytes) => URL_SAFE_NO_PAD.encoded_length(bytes.len()),
                }
        })
        .sum();
    // INVARIANT: long enough from the start, so that no reallocation leaves a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(len + 2));
    for (i, (name, member)) in members.iter().enumerate() {
        text.push_str(if i == 0 { "{\"" } else { ",\"" });
        text.push_str(name);
        text.push_str("\":\"");
        match member {
            Member::Word(word) => text.push_str(word),
            Member::Bytes(bytes) => {
                text.push_str(&Zeroizing::new(URL_SAFE_NO_PAD.encode_to_string(bytes)));
            }
        }
        text.push('"');
    }
    text.push('}');
    Ok(Secret::copy_from(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for len in [0, 1, 2, 3, 32, 64, 2000] {
            let key: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let members = [("kty", Member::Word("oct")), ("k", Member::Bytes(&key))];
            let written = write(&members).unwrap();
            let jwk = Jwk::parse(written.expose_secret()).unwrap();
            assert_eq!(text(jwk.value(), "kty"), Some("oct"));
            assert_eq!(bytes(jwk.value(), "k").unwrap().expose_secret(), key);
        }
    }

    #[test]
    fn base64url_has_one_spelling() {
        for bad in ["AA==", "AB", "A", "+_8", "AA\n", " AA", "a?"] {
            let jwk = serde_json::json!({ "k": bad });
            assert!(bytes(&jwk, "k").is_none(), "{bad:?}");
        }
        assert!(bytes(&serde_json::json!({ "k": 1 }), "k").is_none());
        assert!(bytes(&serde_json::json!({}), "k").is_none());
        for bad in ["", "[]", "1", "{", "{} {}", "\"k\""] {
            assert!(Jwk::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn erasing_reaches_every_text() {
        let mut value = serde_json::json!({ "a": "canary", "b": ["canary", { "c": "canary" }] });
        erase(&mut value);
        assert!(!value.to_string().contains("canary"));
    }
}
