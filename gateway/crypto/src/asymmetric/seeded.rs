//! How keys travel whose secret is a seed: ML-DSA (RFC 9881, RFC 9964), ML-KEM (RFC 9935) and
//! X-Wing (draft-connolly-cfrg-xwing-kem §5.8).
//!
//! What must stay true: a seed is taken only when everything that came with it (the expanded key,
//! the public key) follows from it, and an expanded key without its seed is not taken, because
//! the seed is what is stored.

use hub_arena::Secret;
use pkcs8::der::asn1::{AnyRef, BitStringRef, ContextSpecific, OctetStringRef};
use pkcs8::der::{Decode as _, Encode as _, Tag, TagMode, TagNumber, Tagged as _};
use pkcs8::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use serde_json::Value;
use zeroize::Zeroizing;

use hub_model::secret::encode_base64_url;

use crate::jwk::{self, Member};
use crate::{Error, Result, mac};

/// Key type of the JWKs (RFC 9964 §3).
const KTY: &str = "AKP";
/// The longest PKCS #8 written here: 64 bytes of seed and 20 around them.
const LONGEST: usize = 96;

/// What is fixed about one parameter set.
pub(crate) struct Form {
    pub(crate) oid: ObjectIdentifier,
    /// `alg` of its JWKs.
    pub(crate) alg: &'static str,
    /// Bytes of the public key.
    pub(crate) public: usize,
    /// Whether `privateKey` of PKCS #8 is the CHOICE of seed, expanded key or both (RFC 9881 §6,
    /// RFC 9935 §6), or else the bare seed (X-Wing).
    pub(crate) choice: bool,
    /// What follows from a seed. Fails on a seed of another length.
    pub(crate) expand: fn(&[u8]) -> Result<Expanded>,
}

/// What follows from a seed.
pub(crate) struct Expanded {
    pub(crate) public: Vec<u8>,
    /// The expanded private key of the standard; empty where it has none.
    pub(crate) private: Zeroizing<Vec<u8>>,
}

impl Form {
    /// Parameters are absent in all of these.
    const fn algorithm(&self) -> AlgorithmIdentifierRef<'static> {
        AlgorithmIdentifierRef { oid: self.oid, parameters: None }
    }

    /// `SubjectPublicKeyInfo` of a raw public key.
    #[expect(
        clippy::expect_used,
        reason = "INVARIANT: raw keys have at most 2,592 bytes; DER refuses from 256 MiB"
    )]
    pub(crate) fn spki(&self, raw: &[u8]) -> Vec<u8> {
        let subject_public_key = BitStringRef::from_bytes(raw).expect("a short key");
        SubjectPublicKeyInfoRef { algorithm: self.algorithm(), subject_public_key }
            .to_der()
            .expect("a short key")
    }

    /// The raw public key inside a `SubjectPublicKeyInfo`, or the bytes themselves when they are
    /// as long as a raw key: no `SubjectPublicKeyInfo` is.
    pub(crate) fn raw<'a>(&self, encoded: &'a [u8]) -> Result<&'a [u8]> {
        if encoded.len() == self.public {
            return Ok(encoded);
        }
        let spki = SubjectPublicKeyInfoRef::from_der(encoded).map_err(|_| Error::PublicKey)?;
        let raw = spki.subject_public_key.as_bytes().ok_or(Error::PublicKey)?;
        if spki.algorithm != self.algorithm() || raw.len() != self.public {
            return Err(Error::PublicKey);
        }
        Ok(raw)
    }

    /// The public members of the JWK, in the order of the thumbprint (RFC 9964 §6).
    pub(crate) fn jwk(&self, raw: &[u8]) -> Vec<(&'static str, String)> {
        vec![("alg", self.alg.to_owned()), ("kty", KTY.to_owned()), ("pub", encode_base64_url(raw))]
    }

    /// The private JWK of a seed.
    pub(crate) fn private_jwk(&self, seed: &Secret) -> Result<Secret> {
        let Expanded { public, .. } = (self.expand)(seed.expose_secret())?;
        jwk::write(&[
            ("alg", Member::Word(self.alg)),
            ("kty", Member::Word(KTY)),
            ("priv", Member::Bytes(seed.expose_secret())),
            ("pub", Member::Bytes(&public)),
        ])
    }

    /// The seed of a private JWK. `pub` must be there and belong to it (RFC 9964 §3).
    pub(crate) fn read_jwk(&self, jwk: &Value) -> Result<Secret> {
        if jwk::text(jwk, "kty") != Some(KTY) || jwk::text(jwk, "alg") != Some(self.alg) {
            return Err(Error::PrivateKey);
        }
        let seed = jwk::bytes(jwk, "priv").ok_or(Error::PrivateKey)?;
        let public = jwk::bytes(jwk, "pub").ok_or(Error::PrivateKey)?;
        if (self.expand)(seed.expose_secret())?.public != public.expose_secret() {
            return Err(Error::PrivateKey);
        }
        Ok(seed)
    }

    /// PKCS #8 of a seed, without the public key (version 0).
    pub(crate) fn pkcs8(&self, seed: &Secret) -> Result<Secret> {
        let (mut inner, mut outer) = (Zeroizing::new([0; LONGEST]), Zeroizing::new([0; LONGEST]));
        let value = seed.expose_secret();
        let inner = if self.choice {
            let value = OctetStringRef::new(value).map_err(|_| Error::PrivateKey)?;
            ContextSpecific { tag_number: TagNumber(0), tag_mode: TagMode::Implicit, value }
                .encode_to_slice(&mut *inner)
                .map_err(|_| Error::PrivateKey)?
        } else {
            value
        };
        let inner = OctetStringRef::new(inner).map_err(|_| Error::PrivateKey)?;
        let der = PrivateKeyInfoRef::new(self.algorithm(), inner)
            .encode_to_slice(&mut *outer)
            .map_err(|_| Error::PrivateKey)?;
        Ok(Secret::copy_from(der)?)
    }

    /// The seed of a PKCS #8.
    pub(crate) fn read_pkcs8(&self, der: &[u8]) -> Result<Secret> {
        let info = PrivateKeyInfoRef::from_der(der).map_err(|_| Error::PrivateKey)?;
        if info.algorithm != self.algorithm() {
            return Err(Error::PrivateKey);
        }
        let private = info.private_key.as_bytes();
        let (seed, beside) = if self.choice { choice(private)? } else { (private, None) };
        let expanded = (self.expand)(seed)?;
        if beside.is_some_and(|beside| !mac::ct_eq(beside, &expanded.private)) {
            return Err(Error::PrivateKey);
        }
        if info.public_key.is_some_and(|public| public.as_bytes() != Some(&expanded.public)) {
            return Err(Error::PrivateKey);
        }
        Ok(Secret::copy_from(seed)?)
    }
}

/// `seed [0] IMPLICIT OCTET STRING` or `both SEQUENCE { seed, expandedKey }`. An `expandedKey`
/// alone has no seed.
fn choice(der: &[u8]) -> Result<(&[u8], Option<&[u8]>)> {
    let any = AnyRef::from_der(der).map_err(|_| Error::PrivateKey)?;
    match any.tag() {
        Tag::ContextSpecific { constructed: false, number: TagNumber(0) } => {
            Ok((any.value(), None))
        }
        Tag::Sequence => any
            .sequence(|reader| {
                let seed = <&OctetStringRef>::decode(reader)?;
                let expanded = <&OctetStringRef>::decode(reader)?;
                Ok((seed.as_bytes(), Some(expanded.as_bytes())))
            })
            .map_err(|_: pkcs8::der::Error| Error::PrivateKey),
        _ => Err(Error::PrivateKey),
    }
}
