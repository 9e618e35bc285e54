//! What an issuer's tokens must say, and reading it.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hub_crypto::jws::JwsAlgorithm;
use hub_model::{Name, Role, Timestamp};
use serde_json::{Map, Value};

use crate::error::Refusal;

/// The longest a token may live, from `iat` to `exp` (SECURITY-MODEL §6).
pub const LONGEST_LIFE: Duration = Duration::from_secs(86_400);
/// The most that clocks may differ by.
pub const MOST_LEEWAY: Duration = Duration::from_secs(300);
/// The most roles that the groups of one token give.
const MAX_ROLES: usize = 64;

/// Where a claim is found: its name, or from a `/` on a JSON pointer (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim(String);

impl Claim {
    /// The claim of this name or pointer.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    fn of<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        let Some(path) = self.0.strip_prefix('/') else { return claims.get(&self.0) };
        let (first, rest) = path.split_once('/').map_or((path, None), |(a, b)| (a, Some(b)));
        let value = claims.get(&first.replace("~1", "/").replace("~0", "~"))?;
        match rest {
            None => Some(value),
            Some(rest) => value.pointer(&format!("/{rest}")),
        }
    }
}

/// A role in a registration, by names, as the configuration says it.
pub type NamedRole = (Name, Role);

/// What the configuration says of an issuer.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What identities call it.
    pub name: Name,
    /// Its `iss`, as it stands in tokens.
    pub issuer: String,
    /// Tokens are for one of these (`aud`).
    pub audiences: Vec<String>,
    /// What its tokens may be signed by.
    pub algorithms: Vec<JwsAlgorithm>,
    /// By how much clocks may differ.
    pub leeway: Duration,
    /// The longest time from `iat` to `exp`.
    pub max_life: Duration,
    /// The longest time since `iat`.
    pub max_age: Option<Duration>,
    /// The claim that names the subject.
    pub subject: Claim,
    /// The claim that lists groups.
    pub groups: Option<Claim>,
    /// The roles that groups give.
    pub roles: BTreeMap<String, Vec<NamedRole>>,
    /// What claims must say: one of these.
    pub require: Vec<(Claim, Vec<Value>)>,
    /// How long after asking for keys because of an unknown one nobody asks again; none where
    /// asking cannot help, since the keys lie in a file.
    pub cooldown: Option<Duration>,
}

/// What a token says, once its signature is known to be good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) subject: String,
    pub(super) token_id: Option<String>,
    pub(super) issued: Timestamp,
    /// From when it is good, clocks that differ allowed for.
    pub(super) from: Timestamp,
    /// Until when, likewise.
    pub(super) until: Timestamp,
    /// The certificate it is bound to (RFC 8705 §3.1).
    pub(super) certificate: Option<[u8; 32]>,
    pub(super) roles: Vec<NamedRole>,
}

impl Settings {
    /// Checks everything that a token claims.
    pub(super) fn check(
        &self,
        claims: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<Said, Refusal> {
        if !self.is_for_us(claims.get("aud")) {
            return Err(Refusal::TokenAudience);
        }
        let (issued, from, until) = self.times(claims, now)?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        // RFC 7519 leaves `sub` out at will; here a token without one names nobody.
        if claims.get("sub").and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(Refusal::TokenClaims);
        }
        let subject = self.subject.of(claims).and_then(text).ok_or(Refusal::TokenClaims)?;
        let token_id = match claims.get("jti") {
            None => None,
            Some(value) => Some(text(value).ok_or(Refusal::TokenClaims)?),
        };
        if !self.require.iter().all(|(claim, wanted)| says(claim.of(claims), wanted)) {
            return Err(Refusal::TokenClaims);
        }
        let certificate = bound_to(claims.get("cnf"))?;
        let roles = self.roles_of(claims)?;
        Ok(Said { subject, token_id, issued, from, until, certificate, roles })
    }

    /// `aud` is a text or a list of texts (RFC 7519 §4.1.3).
    fn is_for_us(&self, audience: Option<&Value>) -> bool {
        let ours = |text: &str| self.audiences.iter().any(|ours| ours == text);
        match audience {
            Some(Value::String(text)) => ours(text),
            Some(Value::Array(list)) => {
                list.iter().all(Value::is_string) && list.iter().filter_map(Value::as_str).any(ours)
            }
            _ => false,
        }
    }

    /// When the token was issued, and from and until when it is good.
    fn times(
        &self,
        claims: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<(Timestamp, Timestamp, Timestamp), Refusal> {
        let issued = date(claims.get("iat"))?.ok_or(Refusal::TokenClaims)?;
        let ends = date(claims.get("exp"))?.ok_or(Refusal::TokenClaims)?;
        let not_before = date(claims.get("nbf"))?.unwrap_or(issued);
        if ends <= issued || ends.since(issued) > self.max_life {
            return Err(Refusal::TokenTime);
        }
        let oldest = self.max_age.map_or(ends, |age| ends.min(issued.plus(age)));
        let until = oldest.plus(self.leeway);
        let from = issued.max(not_before);
        let leeway = i64::try_from(self.leeway.as_micros()).unwrap_or(0);
        let from = Timestamp::from_micros(from.as_micros().saturating_sub(leeway));
        if now < from {
            return Err(Refusal::TokenTime);
        }
        if now >= until {
            return Err(Refusal::Expired);
        }
        Ok((issued, from, until))
    }

    fn roles_of(&self, claims: &Map<String, Value>) -> Result<Vec<NamedRole>, Refusal> {
        let mut roles = Vec::new();
        let Some(value) = self.groups.as_ref().and_then(|claim| claim.of(claims)) else {
            return Ok(roles);
        };
        let groups = match value {
            Value::String(_) => std::slice::from_ref(value),
            Value::Array(list) => list,
            _ => return Err(Refusal::TokenClaims),
        };
        for group in groups {
            let group = group.as_str().ok_or(Refusal::TokenClaims)?;
            for role in self.roles.get(group).into_iter().flatten() {
                if !roles.contains(role) && roles.len() < MAX_ROLES {
                    roles.push(role.clone());
                }
            }
        }
        Ok(roles)
    }
}

/// Whether a claim says one of these, or a list of claims holds one.
fn says(claim: Option<&Value>, wanted: &[Value]) -> bool {
    match claim {
        None => false,
        Some(Value::Array(list)) => list.iter().any(|value| wanted.contains(value)),
        Some(value) => wanted.contains(value),
    }
}

/// A date in whole seconds. Texts and fractions, which some libraries take for numbers, are no
/// dates here.
fn date(value: Option<&Value>) -> Result<Option<Timestamp>, Refusal> {
    // The year 9999: what lies beyond cannot be meant, and does not overflow.
    const LAST: i64 = 253_402_300_799;
    let Some(value) = value else { return Ok(None) };
    let seconds = value.as_i64().filter(|seconds| (0..=LAST).contains(seconds));
    let seconds = seconds.ok_or(Refusal::TokenClaims)?;
    Ok(Some(Timestamp::from_micros(seconds.saturating_mul(1_000_000))))
}

/// The certificate a token is bound to. A token that is bound to something else is refused: whoever
/// shows it cannot prove here that he may.
fn bound_to(claim: Option<&Value>) -> Result<Option<[u8; 32]>, Refusal> {
    let Some(claim) = claim else { return Ok(None) };
    let members = claim.as_object().filter(|members| members.len() == 1);
    let text = members.and_then(|members| members.get("x5t#S256")).and_then(Value::as_str);
    let bytes = text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let thumbprint = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    thumbprint.map(Some).ok_or(Refusal::TokenClaims)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn settings() -> Settings {
        Settings {
            name: "corp".parse().unwrap(),
            issuer: "https://login.example".to_owned(),
            audiences: vec!["hub".to_owned(), "hub-eu".to_owned()],
            algorithms: JwsAlgorithm::ALL.to_vec(),
            leeway: Duration::from_secs(30),
            max_life: Duration::from_secs(3600),
            max_age: None,
            subject: Claim::new("sub"),
            groups: Some(Claim::new("groups")),
            roles: BTreeMap::from([(
                "ops".to_owned(),
                vec![("shop".parse().unwrap(), Role::Operators)],
            )]),
            require: vec![(Claim::new("/realm/tier"), vec![json!("gold"), json!(1)])],
            cooldown: None,
        }
    }

    fn claims() -> Value {
        json!({
            "iss": "https://login.example", "sub": "alice", "aud": "hub", "jti": "t-1",
            "iat": NOW - 10, "exp": NOW + 600, "realm": {"tier": "gold"}, "groups": ["ops", "x"],
        })
    }

    fn check(settings: &Settings, claims: &Value) -> Result<Said, Refusal> {
        settings.check(claims.as_object().unwrap(), Timestamp::from_micros(NOW * 1_000_000))
    }

    /// What comes of the claims with one changed; null takes it away.
    fn with(name: &str, value: Value) -> Result<Said, Refusal> {
        let mut claims = claims();
        let members = claims.as_object_mut().unwrap();
        match value {
            Value::Null => members.remove(name),
            value => members.insert(name.to_owned(), value),
        };
        check(&settings(), &claims)
    }

    #[test]
    fn a_good_token_says_who_until_when_and_in_which_roles() {
        let said = check(&settings(), &claims()).unwrap();
        assert_eq!((said.subject.as_str(), said.token_id.as_deref()), ("alice", Some("t-1")));
        assert_eq!(said.until.as_micros(), (NOW + 630) * 1_000_000);
        assert_eq!(said.from.as_micros(), (NOW - 40) * 1_000_000);
        assert_eq!(said.roles, [("shop".parse().unwrap(), Role::Operators)]);
        assert_eq!(with("groups", json!("ops")).unwrap().roles.len(), 1);
        assert_eq!(with("groups", json!(["ops", "ops"])).unwrap().roles.len(), 1);
        assert_eq!(with("groups", Value::Null).unwrap().roles, []);
        assert_eq!(with("jti", Value::Null).unwrap().token_id, None);
    }

    #[test]
    fn dates_are_whole_numbers_and_in_order() {
        use Refusal as R;
        for (name, value, refusal) in [
            ("exp", Value::Null, R::TokenClaims),
            ("iat", Value::Null, R::TokenClaims),
            ("exp", json!((NOW + 600).to_string()), R::TokenClaims),
            ("exp", json!(1_800_000_600.5), R::TokenClaims),
            ("exp", json!(1.8e9), R::TokenClaims),
            ("exp", json!(true), R::TokenClaims),
            ("exp", json!(-1), R::TokenClaims),
            ("exp", json!(u64::MAX), R::TokenClaims),
            ("exp", json!(i64::MAX), R::TokenClaims),
            ("exp", json!([NOW + 600]), R::TokenClaims),
            ("nbf", json!((NOW - 5).to_string()), R::TokenClaims),
            ("iat", json!(NOW.to_string()), R::TokenClaims),
            ("exp", json!(NOW - 30), R::TokenTime),
            ("exp", json!(NOW - 10), R::TokenTime),
            ("exp", json!(NOW + 3591), R::TokenTime),
            ("iat", json!(NOW + 31), R::TokenTime),
            ("nbf", json!(NOW + 31), R::TokenTime),
        ] {
            assert_eq!(with(name, value.clone()), Err(refusal), "{name} {value}");
        }
        for (name, value) in
            [("nbf", json!(NOW + 30)), ("iat", json!(NOW + 30)), ("exp", json!(NOW + 3590))]
        {
            assert!(with(name, value.clone()).is_ok(), "{name} {value}");
        }
        let mut old = claims();
        old["iat"] = json!(NOW - 1000);
        old["exp"] = json!(NOW - 30);
        assert_eq!(check(&settings(), &old), Err(R::Expired));
        old["exp"] = json!(NOW - 29);
        assert!(check(&settings(), &old).is_ok(), "clocks differ");
        old["exp"] = json!(NOW + 100);
        let aged = Settings { max_age: Some(Duration::from_secs(900)), ..settings() };
        assert_eq!(check(&aged, &old), Err(R::Expired));
    }

    #[test]
    fn audiences_subjects_and_conditions_have_their_types() {
        use Refusal as R;
        for value in [
            Value::Null,
            json!("other"),
            json!("Hub"),
            json!(["other"]),
            json!([]),
            json!(["hub", 1]),
            json!({"hub": true}),
            json!(7),
        ] {
            assert_eq!(with("aud", value.clone()), Err(R::TokenAudience), "{value}");
        }
        assert!(with("aud", json!(["other", "hub-eu"])).is_ok());
        for (name, value) in [
            ("sub", Value::Null),
            ("sub", json!("")),
            ("sub", json!(7)),
            ("sub", json!(["alice"])),
            ("jti", json!(7)),
            ("groups", json!({"ops": true})),
            ("groups", json!(["ops", 1])),
            ("realm", json!({"tier": "tin"})),
            ("realm", json!({"tier": true})),
            ("realm", json!({"tier": "1"})),
            ("realm", Value::Null),
        ] {
            assert_eq!(with(name, value.clone()), Err(R::TokenClaims), "{name} {value}");
        }
        assert!(with("realm", json!({"tier": 1})).is_ok());
        assert!(with("realm", json!({"tier": ["tin", "gold"]})).is_ok());
    }

    #[test]
    fn what_a_token_is_bound_to_is_a_certificate_or_nothing() {
        let thumbprint = URL_SAFE_NO_PAD.encode([7; 32]);
        let said = with("cnf", json!({"x5t#S256": thumbprint})).unwrap();
        assert_eq!(said.certificate, Some([7; 32]));
        for value in [
            json!({}),
            json!("x"),
            json!({"jkt": "x"}),
            json!({"x5t#S256": "AA"}),
            json!({"x5t#S256": format!("{thumbprint}=")}),
            json!({"x5t#S256": 1}),
            json!({"x5t#S256": thumbprint, "jwk": {}}),
        ] {
            assert_eq!(with("cnf", value.clone()), Err(Refusal::TokenClaims), "{value}");
        }
    }
}
