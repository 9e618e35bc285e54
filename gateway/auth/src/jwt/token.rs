//! A token's three parts, taken apart before anything of it is believed (RFC 7515 §7.1).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hub_crypto::jws::JwsAlgorithm;
use serde_json::{Map, Value};

use super::json;
use super::keys::MAX_KID;

/// The most bytes of a token.
pub const MAX_TOKEN: usize = 8 * 1024;

/// Header members that would have us trust a key that the token brings along, or that must be
/// understood (RFC 7515 §4.1), or that say that what is signed is no set of claims.
const REFUSED: [&str; 7] = ["jku", "x5u", "jwk", "x5c", "crit", "cty", "b64"];

/// A token, taken apart. Nothing of it is proven.
#[derive(Debug)]
pub(super) struct Token<'t> {
    /// What is signed: header and claims, as sent.
    pub(super) signed: &'t [u8],
    pub(super) algorithm: JwsAlgorithm,
    pub(super) kid: Option<String>,
    pub(super) claims: Map<String, Value>,
    pub(super) signature: Vec<u8>,
}

impl<'t> Token<'t> {
    /// Takes it apart; `None` for everything that is no token we could take.
    pub(super) fn parse(text: &'t str) -> Option<Self> {
        if text.len() > MAX_TOKEN {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        // A further dot is no letter of base64url, so there are exactly three parts.
        let header = json::object(&decode(header)?)?;
        let (algorithm, kid) = read_header(&header)?;
        let claims = json::object(&decode(claims)?)?;
        let signature = decode(signature)?;
        Some(Self { signed: signed.as_bytes(), algorithm, kid, claims, signature })
    }
}

/// base64url without padding, and in its one spelling: bits left over must be zero.
fn decode(text: &str) -> Option<Vec<u8>> {
    if text.is_empty() {
        return None;
    }
    URL_SAFE_NO_PAD.decode(text).ok()
}

fn read_header(header: &Map<String, Value>) -> Option<(JwsAlgorithm, Option<String>)> {
    if REFUSED.iter().any(|name| header.contains_key(*name)) {
        return None;
    }
    let algorithm = JwsAlgorithm::of_name(header.get("alg")?.as_str()?)?;
    if let Some(kind) = header.get("typ") {
        let kind = kind.as_str()?;
        // Other kinds of tokens of the same issuer are for something else (RFC 8725 §3.11).
        if !kind.eq_ignore_ascii_case("JWT") && !kind.eq_ignore_ascii_case("at+jwt") {
            return None;
        }
    }
    let kid = match header.get("kid") {
        None => None,
        Some(value) => Some(value.as_str().filter(|kid| kid.len() <= MAX_KID)?.to_owned()),
    };
    Some((algorithm, kid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(header: &str, claims: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{}", part(header), part(claims), part("signature"))
    }

    #[test]
    fn headers_are_taken_at_their_word_or_not_at_all() {
        for good in [
            r#"{"alg":"ES256"}"#,
            r#"{"alg":"ES256","typ":"JWT","kid":"a"}"#,
            r#"{"alg":"RS256","typ":"at+jwt","x5t":"a"}"#,
        ] {
            assert!(Token::parse(&text(good, "{}")).is_some(), "{good}");
        }
        let long = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "a".repeat(MAX_KID + 1));
        for bad in [
            "{}",
            "[]",
            r#"{"alg":"none"}"#,
            r#"{"alg":"nOnE"}"#,
            r#"{"alg":""}"#,
            r#"{"alg":null}"#,
            r#"{"alg":["ES256"]}"#,
            r#"{"alg":"HS256"}"#,
            r#"{"alg":"es256"}"#,
            r#"{"alg":"ES256","alg":"ES256"}"#,
            r#"{"alg":"ES256","jku":"https://evil.example"}"#,
            r#"{"alg":"ES256","x5u":"https://evil.example"}"#,
            r#"{"alg":"ES256","jwk":{}}"#,
            r#"{"alg":"ES256","x5c":[]}"#,
            r#"{"alg":"ES256","crit":["exp"]}"#,
            r#"{"alg":"ES256","b64":false}"#,
            r#"{"alg":"ES256","cty":"JWT"}"#,
            r#"{"alg":"ES256","typ":"logout+jwt"}"#,
            r#"{"alg":"ES256","typ":1}"#,
            r#"{"alg":"ES256","kid":1}"#,
            long.as_str(),
        ] {
            assert!(Token::parse(&text(bad, "{}")).is_none(), "{bad}");
        }
    }

    #[test]
    fn there_are_three_parts_in_one_spelling() {
        let good = text(r#"{"alg":"ES256"}"#, "{}");
        assert!(Token::parse(&good).is_some());
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        for bad in [
            signed.to_owned(),
            format!("{signed}."),
            format!("{good}."),
            format!(".{good}"),
            format!("{good}.{signature}"),
            format!("{good}="),
            format!("{header}..{signature}"),
            format!("{header}=.{claims}.{signature}"),
            format!("{header}. {claims}.{signature}"),
            // The last letter with bits that must be zero.
            format!("{header}.{}9.{signature}", &claims[..claims.len() - 1]),
            format!("{header}.{claims}.+/+/"),
            good[1..].to_owned(),
            good[..good.len() / 2].to_owned(),
            String::new(),
            "...".to_owned(),
        ] {
            assert!(Token::parse(&bad).is_none(), "{bad}");
        }
        for claims in [r#"{"a":1,"a":1}"#, r#"{"a":{"b":1,"b":2}}"#, "[]", "1", "{", "{} "] {
            let taken = Token::parse(&text(r#"{"alg":"ES256"}"#, claims)).is_some();
            assert_eq!(taken, claims == "{} ", "{claims}");
        }
        let huge = text(r#"{"alg":"ES256"}"#, &format!(r#"{{"a":"{}"}}"#, "a".repeat(MAX_TOKEN)));
        assert!(Token::parse(&huge).is_none());
    }
}
