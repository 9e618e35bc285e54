//! Keys that come from elsewhere and keys that leave: between the formats of others and the secret
//! that is stored.
//!
//! What must stay true: what is taken is a key of the algorithm, whole and consistent, and not one
//! that anybody would guess; a key that goes out and comes in again is the same secret.

use std::str::FromStr;

use hub_arena::Secret;
use hub_model::Algorithm;
use hub_model::algorithm::{Hash, Kind};
use pkcs8::PrivateKeyInfoRef;
use pkcs8::der::asn1::{AnyRef, UintRef};
use pkcs8::der::{Decode as _, Reader as _};
use serde_json::Value;

use crate::asymmetric::{self, hybrid, ml_dsa, ml_kem};
use crate::jwk::{self, Jwk, Member};
use crate::{Error, Result};

/// The form of key bytes outside the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyFormat {
    /// The bytes of a symmetric key.
    Raw,
    /// `OneAsymmetricKey` (RFC 5958) in DER, for keys with a public half.
    Pkcs8,
    /// JSON Web Key (RFC 7517).
    Jwk,
}

impl KeyFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Raw, Self::Pkcs8, Self::Jwk];

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Pkcs8 => "pkcs8",
            Self::Jwk => "jwk",
        }
    }
}

impl FromStr for KeyFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == text)
            .ok_or(Error::Parameter("not a key format"))
    }
}

/// Reads a key: the secret that is stored for the algorithm.
///
/// # Errors
/// [`Error::Parameter`] for a format the algorithm does not have, for what is not a JWK and for a
/// weak key; [`Error::SecretLength`]; [`Error::PrivateKey`]; [`Error::Arena`].
pub fn parse(algorithm: Algorithm, format: KeyFormat, bytes: &[u8]) -> Result<Secret> {
    let kind = algorithm.row().kind;
    let secret = match (format, algorithm.is_asymmetric()) {
        (KeyFormat::Raw, false) => {
            fits(algorithm, bytes.len())?;
            Secret::copy_from(bytes)?
        }
        (KeyFormat::Jwk, false) => oct(algorithm, Jwk::parse(bytes)?.value())?,
        (KeyFormat::Pkcs8, true) => private_from_pkcs8(kind, bytes)?,
        (KeyFormat::Jwk, true) => private_from_jwk(kind, Jwk::parse(bytes)?.value())?,
        (format, _) => return Err(refused(format)),
    };
    fits(algorithm, secret.len())?;
    if !algorithm.is_asymmetric() && is_weak(secret.expose_secret()) {
        return Err(Error::Parameter("the key is weak: all its bytes are the same"));
    }
    Ok(secret)
}

/// Writes a stored secret.
///
/// # Errors
/// [`Error::Parameter`] for a format the algorithm does not have; [`Error::SecretLength`],
/// [`Error::PrivateKey`] when it is no secret of the algorithm; [`Error::Arena`].
pub fn serialize(algorithm: Algorithm, secret: &Secret, format: KeyFormat) -> Result<Secret> {
    fits(algorithm, secret.len())?;
    let kind = algorithm.row().kind;
    match (format, algorithm.is_asymmetric()) {
        (KeyFormat::Raw, false) => Ok(Secret::copy_from(secret.expose_secret())?),
        (KeyFormat::Jwk, false) => {
            let k = ("k", Member::Bytes(secret.expose_secret()));
            let kty = ("kty", Member::Word("oct"));
            match jose_name(kind) {
                Some(alg) => jwk::write(&[("alg", Member::Word(alg)), k, kty]),
                None => jwk::write(&[k, kty]),
            }
        }
        (KeyFormat::Pkcs8, true) => asymmetric::private_key(kind, secret)?.pkcs8(),
        (KeyFormat::Jwk, true) => private_jwk(kind, secret),
        (format, _) => Err(refused(format)),
    }
}

const fn refused(format: KeyFormat) -> Error {
    Error::Parameter(match format {
        KeyFormat::Raw => "keys of this algorithm travel as PKCS #8 or JWK",
        KeyFormat::Pkcs8 | KeyFormat::Jwk => "keys of this algorithm travel raw or as JWK",
    })
}

fn fits(algorithm: Algorithm, found: usize) -> Result<()> {
    match algorithm.row().secret_len {
        Some(expected) if found != expected => {
            Err(Error::SecretLength { what: "the key", found, expected })
        }
        _ => Ok(()),
    }
}

/// Whether all bytes are the same: what is left when somebody forgot to draw the key.
fn is_weak(key: &[u8]) -> bool {
    let first = key.first().copied().unwrap_or_default();
    key.iter().fold(0, |sum, byte| sum | (byte ^ first)) == 0
}

/// `alg` of a symmetric JWK (RFC 7518 §3.1), where JOSE has one that means the same.
const fn jose_name(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Hmac(Hash::Sha256) => Some("HS256"),
        Kind::Hmac(Hash::Sha384) => Some("HS384"),
        Kind::Hmac(Hash::Sha512) => Some("HS512"),
        _ => None,
    }
}

/// The `k` of a symmetric JWK (RFC 7518 §6.4). An `alg` must not speak against the algorithm.
fn oct(algorithm: Algorithm, jwk: &Value) -> Result<Secret> {
    let name = jose_name(algorithm.row().kind);
    let other = name.is_some() && jwk.get("alg").is_some() && jwk::text(jwk, "alg") != name;
    if jwk::text(jwk, "kty") != Some("oct") || other {
        return Err(Error::Parameter("not a symmetric JWK of this algorithm"));
    }
    jwk::bytes(jwk, "k").ok_or(Error::Parameter("`k` of the JWK is not base64url"))
}

fn private_from_pkcs8(kind: Kind, der: &[u8]) -> Result<Secret> {
    match kind {
        Kind::MlDsa(set) => ml_dsa::private_from_pkcs8(set, der),
        Kind::MlKem(set) => ml_kem::private_from_pkcs8(set, der),
        Kind::Hybrid => hybrid::private_from_pkcs8(der),
        _ => asymmetric::encode::private_from_pkcs8(kind, der),
    }
}

fn private_from_jwk(kind: Kind, jwk: &Value) -> Result<Secret> {
    match kind {
        Kind::MlDsa(set) => ml_dsa::private_from_jwk(set, jwk),
        Kind::MlKem(set) => ml_kem::private_from_jwk(set, jwk),
        Kind::Hybrid => hybrid::private_from_jwk(jwk),
        _ => asymmetric::encode::private_from_jwk(kind, jwk),
    }
}

fn private_jwk(kind: Kind, secret: &Secret) -> Result<Secret> {
    let private = match kind {
        Kind::MlDsa(set) => return ml_dsa::private_jwk(set, secret),
        Kind::MlKem(set) => return ml_kem::private_jwk(set, secret),
        Kind::Hybrid => return hybrid::private_jwk(secret),
        Kind::RsaOaep { .. } | Kind::RsaPss { .. } | Kind::RsaPkcs1 { .. } => rsa_members(secret)?,
        // The stored secret is the scalar or seed, as long as `d` has to be (RFC 7518 §6.2.2,
        // RFC 8037 §2).
        _ => vec![("d", Member::Bytes(secret.expose_secret()))],
    };
    let public = asymmetric::private_key(kind, secret)?.public().jwk();
    let mut members: Vec<_> =
        public.iter().map(|(name, value)| (*name, Member::Word(value))).collect();
    members.extend(private);
    jwk::write(&members)
}

/// The private members of an RSA JWK (RFC 7518 §6.3.2) from PKCS #8, whose inside is
/// `RSAPrivateKey` (RFC 8017 §A.1.2): version, n, e, then these.
fn rsa_members(pkcs8: &Secret) -> Result<Vec<(&'static str, Member<'_>)>> {
    let info = PrivateKeyInfoRef::from_der(pkcs8.expose_secret());
    let info = info.map_err(|_| Error::PrivateKey)?;
    let key = AnyRef::from_der(info.private_key.as_bytes()).map_err(|_| Error::PrivateKey)?;
    let members = key.sequence(|reader| {
        for _ in 0..3 {
            reader.decode::<UintRef<'_>>()?;
        }
        ["d", "p", "q", "dp", "dq", "qi"]
            .into_iter()
            .map(|name| Ok((name, Member::Bytes(reader.decode::<UintRef<'_>>()?.as_bytes()))))
            .collect::<Result<_, pkcs8::der::Error>>()
    });
    members.map_err(|_| Error::PrivateKey)
}

#[cfg(test)]
mod tests {
    use hub_model::algorithm::ALGORITHMS;

    use super::*;
    use crate::random;

    #[test]
    fn what_goes_out_comes_in_again() {
        let mut seen = 0;
        // One key of each size: RSA schemes differ in how they use one, not in the key.
        let mut rsa = std::collections::BTreeMap::new();
        for row in ALGORITHMS {
            let secret = match row.kind {
                Kind::RsaOaep { bits, .. }
                | Kind::RsaPss { bits, .. }
                | Kind::RsaPkcs1 { bits, .. } => {
                    let key =
                        rsa.entry(bits).or_insert_with(|| asymmetric::generate(row.kind).unwrap());
                    Secret::copy_from(key.expose_secret()).unwrap()
                }
                kind if row.algorithm.is_asymmetric() => asymmetric::generate(kind).unwrap(),
                _ => random::secret(row.secret_len.unwrap()).unwrap(),
            };
            for format in KeyFormat::ALL {
                let out = serialize(row.algorithm, &secret, format);
                let offered = match format {
                    KeyFormat::Raw => !row.algorithm.is_asymmetric(),
                    KeyFormat::Pkcs8 => row.algorithm.is_asymmetric(),
                    KeyFormat::Jwk => true,
                };
                if !offered {
                    assert!(matches!(out, Err(Error::Parameter(_))));
                    let parsed = parse(row.algorithm, format, secret.expose_secret());
                    assert!(matches!(parsed, Err(Error::Parameter(_))));
                    continue;
                }
                let back = parse(row.algorithm, format, out.unwrap().expose_secret()).unwrap();
                assert_eq!(back.expose_secret(), secret.expose_secret());
                seen += 1;
            }
        }
        assert_eq!(seen, 2 * ALGORITHMS.len());
    }

    #[test]
    fn lengths_and_weak_keys_are_refused() {
        for row in ALGORITHMS.iter().filter(|row| !row.algorithm.is_asymmetric()) {
            let len = row.secret_len.unwrap();
            for wrong in [0, 1, len - 1, len + 1, 2 * len] {
                let key = random::secret(wrong).unwrap();
                let parsed = parse(row.algorithm, KeyFormat::Raw, key.expose_secret());
                assert!(matches!(parsed, Err(Error::SecretLength { .. })));
                let jwk = jwk::write(&[
                    ("kty", Member::Word("oct")),
                    ("k", Member::Bytes(key.expose_secret())),
                ]);
                let parsed = parse(row.algorithm, KeyFormat::Jwk, jwk.unwrap().expose_secret());
                assert!(matches!(parsed, Err(Error::SecretLength { .. })));
            }
            for byte in [0, 1, 0x55, 0xff] {
                let parsed = parse(row.algorithm, KeyFormat::Raw, &vec![byte; len]);
                assert!(matches!(parsed, Err(Error::Parameter(_))));
            }
            let mut almost = vec![0; len];
            almost[len - 1] = 1;
            assert!(parse(row.algorithm, KeyFormat::Raw, &almost).is_ok());
        }
    }

    #[test]
    fn a_jwk_must_be_of_the_algorithm() {
        let k = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
        let read = |algorithm, text: String| parse(algorithm, KeyFormat::Jwk, text.as_bytes());
        let hmac = Algorithm::HmacSha256;
        assert!(read(hmac, format!(r#"{{"kty":"oct","k":"{k}"}}"#)).is_ok());
        assert!(
            read(hmac, format!(r#"{{"kty":"oct","k":"{k}","alg":"HS256","kid":"a"}}"#)).is_ok()
        );
        for bad in [
            format!(r#"{{"kty":"oct","k":"{k}","alg":"HS512"}}"#),
            format!(r#"{{"kty":"oct","k":"{k}","alg":7}}"#),
            format!(r#"{{"kty":"AKP","k":"{k}"}}"#),
            format!(r#"{{"k":"{k}"}}"#),
            format!(r#"{{"kty":"oct","k":"{k}="}}"#),
            r#"{"kty":"oct"}"#.to_owned(),
            "[]".to_owned(),
            String::new(),
        ] {
            assert!(matches!(read(hmac, bad), Err(Error::Parameter(_))));
        }
        let aes = read(Algorithm::Aes256Gcm, format!(r#"{{"kty":"oct","k":"{k}","alg":"dir"}}"#));
        assert_eq!(aes.unwrap().expose_secret()[..3], [0, 1, 2]);
        let error = read(Algorithm::MlDsa44, format!(r#"{{"kty":"oct","k":"{k}"}}"#)).unwrap_err();
        assert!(matches!(error, Error::PrivateKey));
    }

    #[test]
    fn rsa_members_are_those_of_the_key() {
        use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
        let key = aws_lc_rs::rsa::PrivateDecryptingKey::generate(aws_lc_rs::rsa::KeySize::Rsa2048);
        let der: Pkcs8V1Der<'_> = key.unwrap().as_der().unwrap();
        let secret = Secret::copy_from(der.as_ref()).unwrap();
        let members = rsa_members(&secret).unwrap();
        let low = |at: usize| -> u64 {
            let Member::Bytes(bytes) = members[at].1 else { panic!("bytes") };
            u64::from_be_bytes(*bytes.last_chunk().unwrap())
        };
        assert_eq!(
            members.iter().map(|member| member.0).collect::<Vec<_>>(),
            ["d", "p", "q", "dp", "dq", "qi"]
        );
        // 65537 · dp = 1 mod p - 1, which is even; n is in the first half of the DER.
        let n = low(1).wrapping_mul(low(2)).to_be_bytes();
        assert!(der.as_ref()[..320].windows(8).any(|window| window == n));
        assert_eq!((low(3) & 1, low(4) & 1), (1, 1));
        assert!(rsa_members(&Secret::copy_from(&der.as_ref()[1..]).unwrap()).is_err());
    }

    #[test]
    fn names_come_back() {
        for format in KeyFormat::ALL {
            assert_eq!(format.name().parse::<KeyFormat>().unwrap(), format);
        }
        assert!("PKCS8".parse::<KeyFormat>().is_err());
    }
}
