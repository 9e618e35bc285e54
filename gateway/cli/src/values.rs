//! Forms of values on the command line.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use hub_model::{EncryptionContext, Tags};

use super::failure::Failure;

/// `REGISTRATION/NAME`, each a name or a uid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) registration: String,
    pub(crate) name: String,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let well_formed = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        match text.split_once('/') {
            Some((registration, name)) if well_formed(registration) && well_formed(name) => {
                Ok(Self { registration: registration.to_owned(), name: name.to_owned() })
            }
            _ => Err("expected REGISTRATION/NAME, such as `shop/orders`".to_owned()),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.registration, self.name)
    }
}

/// `name=value`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

/// A whole number and a unit: `90s`, `15m`, `12h`, `30d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let bad = || "expected a whole number and s, m, h or d, such as `30d`".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(bad)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(bad()),
    };
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    let total = number.parse::<u64>().ok().and_then(|n| n.checked_mul(seconds)).ok_or_else(bad)?;
    if total == 0 { Err(bad()) } else { Ok(Duration::from_secs(total)) }
}

/// An ETag with its quotes, which shells like to eat.
pub(crate) fn etag(text: &str) -> String {
    if text.starts_with('"') { text.to_owned() } else { format!("\"{text}\"") }
}

/// Pairs without a name given twice.
pub(crate) fn unique(pairs: Vec<(String, String)>) -> Result<BTreeMap<String, String>, Failure> {
    let mut map = BTreeMap::new();
    for (name, value) in pairs {
        if map.contains_key(&name) {
            return Err(Failure::usage(format!("`{name}` is given twice"), "give each name once"));
        }
        map.insert(name, value);
    }
    Ok(map)
}

/// The encryption context of `--context` flags.
pub(crate) fn context(pairs: Vec<(String, String)>) -> Result<EncryptionContext, Failure> {
    EncryptionContext::new(unique(pairs)?)
        .map_err(|error| Failure::usage(error.to_string(), "put only what identifies the data in"))
}

/// The tags of `--tag` flags.
pub(crate) fn tags(pairs: Vec<(String, String)>) -> Result<Tags, Failure> {
    Tags::new(unique(pairs)?)
        .map_err(|error| Failure::usage(error.to_string(), "for example: --tag team=payments"))
}

/// The merge patch of `--tag` and `--remove-tag` flags; none without any.
pub(crate) fn tag_patch(
    set: Vec<(String, String)>,
    remove: Vec<String>,
) -> Result<Option<BTreeMap<String, Option<String>>>, Failure> {
    let mut patch: BTreeMap<String, Option<String>> =
        unique(set)?.into_iter().map(|(name, value)| (name, Some(value))).collect();
    for name in remove {
        if patch.insert(name.clone(), None).is_some() {
            let message = format!("tag `{name}` is both set and removed");
            return Err(Failure::usage(message, "give each tag once"));
        }
    }
    Ok((!patch.is_empty()).then_some(patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_two_names() {
        assert_eq!("shop/orders".parse::<Place>().unwrap().to_string(), "shop/orders");
        for bad in ["shop", "/orders", "shop/", "a/b/c", "a:b/c", "../x", "a b/c"] {
            assert!(bad.parse::<Place>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("30d"), Ok(Duration::from_secs(30 * 86_400)));
        for bad in ["", "d", "30", "0s", "-1d", "+1d", "1.5h", "1w", "99999999999999999999d", "3é"]
        {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }
}
