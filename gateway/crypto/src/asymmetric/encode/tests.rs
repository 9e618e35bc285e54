use hub_model::algorithm::ALGORITHMS;
use serde_json::{Map, Value, json};

use super::*;
use crate::asymmetric::{generate, private_key, public_key};

/// Every classic kind, RSA with 2048 bits only: the others differ in length alone.
fn kinds() -> Vec<Kind> {
    let kinds: Vec<_> = ALGORITHMS
        .iter()
        .map(|row| row.kind)
        .filter(|kind| match kind {
            Kind::RsaOaep { bits, .. }
            | Kind::RsaPss { bits, .. }
            | Kind::RsaPkcs1 { bits, .. } => *bits == 2048,
            Kind::Ecdsa(_) | Kind::Ecdh(_) | Kind::Ed25519 | Kind::X25519 => true,
            _ => false,
        })
        .collect();
    assert_eq!(kinds.len(), 9 + 4 + 3);
    kinds
}

/// A secret of the kind; RSA keys are made once.
fn secret(kind: Kind) -> Secret {
    static RSA: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    let rsa = Kind::RsaPss { bits: 2048, hash: Hash::Sha256 };
    match kind {
        Kind::RsaOaep { .. } | Kind::RsaPss { .. } | Kind::RsaPkcs1 { .. } => {
            let der = RSA.get_or_init(|| generate(rsa).unwrap().expose_secret().to_vec());
            Secret::copy_from(der).unwrap()
        }
        _ => generate(kind).unwrap(),
    }
}

fn jwk(key: &dyn PublicKey) -> Map<String, Value> {
    key.jwk().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

#[test]
fn public_keys_survive_every_form() {
    for kind in kinds() {
        let key = private_key(kind, &secret(kind)).unwrap().public();
        let (raw, spki) = (key.raw(), key.spki());
        let jwk = Value::Object(jwk(&*key));
        for again in [
            public_key(kind, &raw).unwrap(),
            public_key(kind, &spki).unwrap(),
            public_from_pem(kind, &pem(PUBLIC_LABEL, &spki)).unwrap(),
            public_from_pem(kind, &pem(PUBLIC_LABEL, &spki).replace('\n', "\r\n")).unwrap(),
            public_from_jwk(kind, &jwk).unwrap(),
        ] {
            assert_eq!((again.raw(), again.spki()), (raw.clone(), spki.clone()));
            assert_eq!(again.jwk(), key.jwk());
            assert_eq!(thumbprint(&*again), thumbprint(&*key));
        }
        assert!(spki.len() > raw.len() && spki.ends_with(&raw));
        for bad in [&spki[1..], &spki[..spki.len() - 1], &[&spki[..], &[0]].concat(), &[]] {
            assert!(matches!(public_key(kind, bad), Err(Error::PublicKey)), "{kind:?}");
        }
    }
}

#[test]
fn private_keys_survive_pkcs8_and_pem() {
    for kind in kinds() {
        let secret = secret(kind);
        let der = private_key(kind, &secret).unwrap().pkcs8().unwrap();
        let der = der.expose_secret();
        let text = pem(PRIVATE_LABEL, der);
        for again in [private_from_pkcs8(kind, der), private_from_pem(kind, &text)] {
            assert_eq!(again.unwrap().expose_secret(), secret.expose_secret());
        }
        for bad in [&der[1..], &der[..der.len() - 1], &[der, &[0]].concat(), &[]] {
            assert!(matches!(private_from_pkcs8(kind, bad), Err(Error::PrivateKey)), "{kind:?}");
        }
    }
}

/// The point inside of PKCS #8 is the scalar's own or the key is refused.
#[test]
fn a_scalar_beside_the_point_of_another_is_refused() {
    for kind in kinds() {
        let (Kind::Ecdsa(curve) | Kind::Ecdh(curve)) = kind else { continue };
        let key = private_key(kind, &secret(kind)).unwrap();
        let another = private_key(kind, &secret(kind)).unwrap().public().raw();
        let mut der = key.pkcs8().unwrap().expose_secret().to_vec();
        let start = der.len() - another.len();
        assert_eq!(der[start..], key.public().raw());
        der[start..].copy_from_slice(&another);
        assert!(matches!(private_from_pkcs8(kind, &der), Err(Error::PrivateKey)), "{curve:?}");
        *der.last_mut().unwrap() ^= 1;
        assert!(matches!(private_from_pkcs8(kind, &der), Err(Error::PrivateKey)), "{curve:?}");
    }
}

#[test]
fn keys_of_one_kind_are_none_of_another() {
    let family = |kind| match kind {
        Kind::RsaOaep { .. } | Kind::RsaPss { .. } | Kind::RsaPkcs1 { .. } => "rsa".to_owned(),
        Kind::Ecdsa(curve) | Kind::Ecdh(curve) => format!("{curve:?}"),
        other => format!("{other:?}"),
    };
    for kind in kinds() {
        let key = private_key(kind, &secret(kind)).unwrap();
        let (pkcs8, public) = (key.pkcs8().unwrap(), key.public());
        let jwk = Value::Object(jwk(&*public));
        for other in kinds().into_iter().filter(|other| family(*other) != family(kind)) {
            let text = format!("{kind:?} {other:?}");
            assert!(private_from_pkcs8(other, pkcs8.expose_secret()).is_err(), "{text}");
            assert!(public_key(other, &public.spki()).is_err(), "{text}");
            assert!(public_from_jwk(other, &jwk).is_err(), "{text}");
        }
    }
}

/// RFC 7638 §3.1 (RSA) and RFC 8037 §A.3 (Ed25519).
#[test]
fn thumbprints_of_the_standards() {
    let n = concat!(
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJE",
        "CPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2",
        "QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQ",
        "Fh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    );
    let rsa = json!({ "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29", "n": n });
    let kind = Kind::RsaPkcs1 { bits: 2048, hash: Hash::Sha256 };
    let key = public_from_jwk(kind, &rsa).unwrap();
    assert_eq!(thumbprint(&*key), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");

    let okp = json!({
        "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    });
    let key = public_from_jwk(Kind::Ed25519, &okp).unwrap();
    assert_eq!(thumbprint(&*key), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

/// RFC 8037 §A.1, RFC 8410 §10.3, and the members of EC keys.
#[test]
fn private_jwks_must_match_their_public_members() {
    let okp = json!({
        "kty": "OKP", "crv": "Ed25519",
        "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    });
    let secret = private_from_jwk(Kind::Ed25519, &okp).unwrap();
    assert_eq!(secret.expose_secret()[..2], [0x9d, 0x61]);

    for kind in [Kind::Ecdsa(Curve::P256), Kind::Ecdh(Curve::P256), Kind::Ecdsa(Curve::P521)]
        .into_iter()
        .chain([Kind::Ecdsa(Curve::P384), Kind::Ecdsa(Curve::Secp256k1)])
        .chain([Kind::Ed25519, Kind::X25519])
    {
        let secret = generate(kind).unwrap();
        let key = private_key(kind, &secret).unwrap();
        let mut jwk = jwk(&*key.public());
        let d = base64url(secret.expose_secret());
        let get = |jwk: &Map<_, _>| private_from_jwk(kind, &Value::Object(jwk.clone()));
        assert!(get(&jwk).is_err(), "no d");
        jwk.insert("d".to_owned(), d.clone().into());
        assert_eq!(get(&jwk).unwrap().expose_secret(), secret.expose_secret());

        let another = private_key(kind, &generate(kind).unwrap()).unwrap().public();
        let another = base64url(&another.raw()[1..]);
        for (name, bad) in [
            ("x", Value::from(another)),
            ("x", Value::Null),
            ("kty", "oct".into()),
            ("crv", "P-192".into()),
            ("d", format!("{d}=").into()),
            ("d", format!("AA{d}").into()),
            ("d", base64url(&secret.expose_secret()[1..]).into()),
            ("use", if jws_algorithm(kind).is_some() { "enc" } else { "sig" }.into()),
            ("alg", "HS256".into()),
            ("alg", json!(["ES256"])),
            ("key_ops", json!(["encrypt"])),
            ("key_ops", json!("sign")),
        ] {
            let mut changed = jwk.clone();
            changed.insert(name.to_owned(), bad.clone());
            assert!(matches!(get(&changed), Err(Error::PrivateKey)), "{kind:?} {name} {bad}");
        }
        // An extension is no objection, nor is what the kind is for.
        jwk.insert("ext".to_owned(), true.into());
        let operation = if jws_algorithm(kind).is_some() { "sign" } else { "deriveBits" };
        jwk.insert("key_ops".to_owned(), json!([operation]));
        get(&jwk).unwrap();
    }
}

/// RFC 8410 §10.3: the same key in version 1 and, with its public half, in version 2.
#[test]
fn ed25519_of_rfc_8410() {
    let one = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    let two = "-----BEGIN PRIVATE KEY-----\n\
        MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        oB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB\n\
        Z9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PRIVATE KEY-----\n";
    let public = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";
    let kind = Kind::Ed25519;
    let secret = private_from_pem(kind, one).unwrap();
    assert_eq!(private_from_pem(kind, two).unwrap().expose_secret(), secret.expose_secret());
    let key = private_key(kind, &secret).unwrap();
    assert_eq!(pem(PUBLIC_LABEL, &key.public().spki()), public);
    assert_eq!(pem(PRIVATE_LABEL, key.pkcs8().unwrap().expose_secret()), one);

    let mut der = from_pem(PRIVATE_LABEL, two).unwrap();
    *der.last_mut().unwrap() ^= 1;
    assert!(matches!(private_from_pkcs8(kind, &der), Err(Error::PrivateKey)));
}

#[test]
fn pem_of_another_label_or_shape_is_refused() {
    let text = pem("PUBLIC KEY", &[7; 100]);
    assert_eq!(*from_pem("PUBLIC KEY", &format!("\n{text}\n")).unwrap(), [7; 100]);
    assert_eq!(text.lines().map(str::len).max(), Some(64));
    for len in [0, 1, 47, 48, 49, 96] {
        let text = pem("X", &vec![9; len]);
        // RFC 7468 leaves empty bodies out.
        assert_eq!(from_pem("X", &text).is_ok_and(|der| *der == vec![9; len]), len > 0, "{len}");
    }
    assert!(matches!(from_pem("CERTIFICATE", &text), Err(Error::PublicKey)));
    assert!(matches!(from_pem("PRIVATE KEY", &text), Err(Error::PrivateKey)));
    for bad in ["", "-----BEGIN PUBLIC KEY-----", &text[10..], &text.replace("Bwc", "B c")] {
        assert!(from_pem("PUBLIC KEY", bad).is_err(), "{bad}");
    }
    assert!(from_pem("PUBLIC KEY", &format!("{text}{text}")).is_err());
}
