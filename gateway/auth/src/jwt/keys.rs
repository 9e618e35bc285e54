//! The public keys of an issuer (RFC 7517 §5): those that can verify a token, and which of them a
//! token means.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hub_crypto::hash::sha256;
use hub_crypto::jws::{JwsAlgorithm, JwsCurve, JwsKey};
use serde_json::{Map, Value};

use super::json;

/// The most bytes of a key set.
pub const MAX_SET: usize = 256 * 1024;
/// The most keys of one.
const MAX_KEYS: usize = 200;
/// The most bytes of a key's id.
pub(super) const MAX_KID: usize = 256;

/// A key set that cannot be taken. Nothing of what it holds is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Too long.
    #[error("it has more than {MAX_SET} bytes")]
    TooLong,
    /// Not a key set.
    #[error("it is no JSON Web Key Set: an object with a list `keys`, no member named twice")]
    Form,
    /// Too many keys.
    #[error("it has more than {MAX_KEYS} keys")]
    TooMany,
    /// A private or symmetric key.
    #[error("it holds a private or symmetric key, which everybody can read now: replace that key")]
    Secret,
}

/// The keys of one issuer at one time.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Entry>,
    /// How many keys of the set verify no tokens here.
    passed_over: usize,
    digest: [u8; 32],
}

#[derive(Debug)]
struct Entry {
    kid: Option<Box<str>>,
    algorithm: Option<JwsAlgorithm>,
    key: JwsKey,
}

impl KeySet {
    /// No keys: every token is refused.
    pub(super) const fn empty() -> Self {
        Self { keys: Vec::new(), passed_over: 0, digest: [0; 32] }
    }

    /// Reads a key set. Keys that cannot verify tokens here (another use, curve or kind, an RSA
    /// modulus below 2048 bits) are passed over, so that an issuer may publish them.
    ///
    /// # Errors
    /// [`KeySetError`].
    pub fn read(bytes: &[u8]) -> Result<Self, KeySetError> {
        if bytes.len() > MAX_SET {
            return Err(KeySetError::TooLong);
        }
        let set = json::object(bytes).ok_or(KeySetError::Form)?;
        let list = set.get("keys").and_then(Value::as_array).ok_or(KeySetError::Form)?;
        if list.len() > MAX_KEYS {
            return Err(KeySetError::TooMany);
        }
        let mut keys = Vec::with_capacity(list.len());
        for item in list {
            let members = item.as_object().ok_or(KeySetError::Form)?;
            if members.contains_key("d") || members.contains_key("k") {
                return Err(KeySetError::Secret);
            }
            keys.extend(entry(members));
        }
        Ok(Self { passed_over: list.len() - keys.len(), keys, digest: sha256(bytes) })
    }

    /// How many keys can verify tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none can.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys of the set verify no tokens here.
    #[must_use]
    pub const fn passed_over(&self) -> usize {
        self.passed_over
    }

    pub(super) const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The one key a token means: by its id, or the only one that fits where the token names none.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: JwsAlgorithm) -> Option<&JwsKey> {
        let mut found = self.keys.iter().filter(|entry| {
            entry.key.fits(algorithm)
                && entry.algorithm.is_none_or(|only| only == algorithm)
                && kid.is_none_or(|kid| entry.kid.as_deref() == Some(kid))
        });
        let first = found.next()?;
        // Two that fit: the token does not say which, and trying is not for us.
        found.next().is_none().then_some(&first.key)
    }
}

fn entry(members: &Map<String, Value>) -> Option<Entry> {
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    // A member of another type than it must have is as good as a key for something else.
    let optional = |name: &str| match members.get(name) {
        None => Some(None),
        Some(value) => value.as_str().map(Some),
    };
    if optional("use")?.is_some_and(|word| word != "sig") {
        return None;
    }
    if let Some(operations) = members.get("key_ops") {
        let verify = |operation: &Value| operation.as_str() == Some("verify");
        if !operations.as_array()?.iter().any(verify) {
            return None;
        }
    }
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
    let key = match (text("kty")?, optional("crv")?) {
        ("RSA", _) => JwsKey::rsa(&bytes("n")?, &bytes("e")?),
        ("EC", Some("P-256")) => JwsKey::ec(JwsCurve::P256, &bytes("x")?, &bytes("y")?),
        ("EC", Some("P-384")) => JwsKey::ec(JwsCurve::P384, &bytes("x")?, &bytes("y")?),
        ("OKP", Some("Ed25519")) => JwsKey::ed25519(&bytes("x")?),
        _ => return None,
    };
    let key = key.ok()?;
    let algorithm = match optional("alg")? {
        None => None,
        Some(name) => Some(JwsAlgorithm::of_name(name).filter(|only| key.fits(*only))?),
    };
    let kid = optional("kid")?;
    if kid.is_some_and(|kid| kid.len() > MAX_KID) {
        return None;
    }
    Some(Entry { kid: kid.map(Into::into), algorithm, key })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EC: &str = r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;
    const ED: &str =
        r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;

    fn set(keys: &[&str]) -> KeySet {
        let list: Vec<_> = keys.iter().map(|key| format!("{{{key}}}")).collect();
        KeySet::read(format!(r#"{{"keys":[{}]}}"#, list.join(",")).as_bytes()).unwrap()
    }

    #[test]
    fn a_key_is_found_by_its_id_or_when_it_is_the_only_one() {
        let (es, ed) = (JwsAlgorithm::Es256, JwsAlgorithm::EdDsa);
        let one = set(&[EC]);
        assert!(one.find(None, es).is_some());
        assert!(one.find(None, ed).is_none(), "another kind");
        assert!(one.find(Some("a"), es).is_none(), "it has no id");
        let two = set(&[&format!(r#"{EC},"kid":"a""#), &format!(r#"{EC},"kid":"b""#), ED]);
        assert!(two.find(None, es).is_none(), "which one?");
        assert!(two.find(None, ed).is_some());
        assert!(two.find(Some("a"), es).is_some());
        assert!(two.find(Some("a"), ed).is_none());
        assert!(two.find(Some("A"), es).is_none());
        let twice = set(&[&format!(r#"{EC},"kid":"a""#), &format!(r#"{EC},"kid":"a""#)]);
        assert!(twice.find(Some("a"), es).is_none(), "which one?");
    }

    #[test]
    fn keys_for_something_else_are_passed_over() {
        for other in [
            r#""use":"enc""#,
            r#""use":1"#,
            r#""key_ops":["sign"]"#,
            r#""key_ops":"verify""#,
            r#""alg":"ES384""#,
            r#""alg":"none""#,
            r#""alg":"HS256""#,
            r#""kid":7"#,
        ] {
            let found = set(&[&format!("{EC},{other}"), ED]);
            assert_eq!((found.len(), found.passed_over()), (1, 1), "{other}");
        }
        for good in [r#""use":"sig""#, r#""key_ops":["verify"]"#, r#""alg":"ES256""#, r#""x5c":[]"#]
        {
            assert_eq!(set(&[&format!("{EC},{good}")]).len(), 1, "{good}");
        }
        for broken in [r#""kty":"EC","crv":"P-256","x":"AA","y":"AA""#, r#""kty":"oct""#, ""] {
            assert_eq!(set(&[broken]).len(), 0, "{broken}");
        }
        let short = URL_SAFE_NO_PAD.encode([0xff; 128]);
        assert!(set(&[&format!(r#""kty":"RSA","n":"{short}","e":"AQAB""#)]).is_empty());
    }

    #[test]
    fn what_is_no_key_set_is_refused() {
        let read = |text: &str| KeySet::read(text.as_bytes()).unwrap_err();
        for text in
            ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[1]}"#, r#"{"keys":[],"keys":[]}"#]
        {
            assert_eq!(read(text), KeySetError::Form, "{text}");
        }
        assert_eq!(read(&" ".repeat(MAX_SET + 1)), KeySetError::TooLong);
        assert_eq!(read(&format!(r#"{{"keys":[{{{ED},"d":"AA"}}]}}"#)), KeySetError::Secret);
        assert_eq!(read(r#"{"keys":[{"kty":"oct","k":"AA"}]}"#), KeySetError::Secret);
        let many = vec!["{}"; MAX_KEYS + 1].join(",");
        assert_eq!(read(&format!(r#"{{"keys":[{many}]}}"#)), KeySetError::TooMany);
        assert!(KeySet::read(br#"{"keys":[]}"#).unwrap().is_empty(), "all withdrawn");
    }
}
