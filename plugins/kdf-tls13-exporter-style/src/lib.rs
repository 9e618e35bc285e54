//! RFC 8446, §7.5: keying material as TLS 1.3 exports it. `README.md` says how.
//!
//! HKDF-Expand-Label(Derive-Secret(root, label, ""), "exporter", Hash(context), length)

use cipher_hub_plugin::kdf::{self, Context, Hash, KdfProfiles, Profile, plan};
use cipher_hub_plugin::plan::{MAX_LENGTH, Plan};
use cipher_hub_plugin::{Config, Error, Result};
use sha2::{Digest as _, Sha256, Sha384};

#[derive(Debug)]
struct Exporter;

const PROFILES: [(&str, Hash); 2] =
    [("exporter-sha256", Hash::Sha256), ("exporter-sha384", Hash::Sha384)];

impl KdfProfiles for Exporter {
    fn new(_: &Config) -> Result<Self> {
        Ok(Self)
    }

    fn profiles() -> Vec<Profile> {
        let text =
            "TLS-Exporter of RFC 8446, section 7.5; info of the request is its context value.";
        PROFILES.iter().map(|(id, _)| Profile::new(id, text, MAX_LENGTH)).collect()
    }

    fn plan(&self, profile: &str, context: &Context) -> Result<Plan> {
        let found = PROFILES.iter().find(|(id, _)| *id == profile);
        let (_, hash) =
            found.ok_or_else(|| Error::unsupported(format!("no profile `{profile}`")))?;
        if !context.salt.is_empty() {
            return Err(Error::unsupported("the construction has no salt: put it into info"));
        }
        let label = context.parameters.text("label")?;
        if !label.is_ascii() {
            return Err(Error::invalid("`label` must be of ASCII characters"));
        }
        exporter(*hash, label.as_bytes(), &context.info, context.length)
    }
}

fn exporter(hash: Hash, label: &[u8], context: &[u8], length: u32) -> Result<Plan> {
    let derive = hkdf_label(hash.length(), label, &digest(hash, b""))?;
    let export = hkdf_label(length, b"exporter", &digest(hash, context))?;
    plan(|p, root| {
        let secret = p.expand(hash, root, &derive, hash.length());
        Ok(p.expand(hash, secret, &export, length))
    })
}

/// The structure HkdfLabel of RFC 8446, §7.1.
fn hkdf_label(length: u32, label: &[u8], context: &[u8]) -> Result<Vec<u8>> {
    let length = u16::try_from(length).map_err(|_| Error::unsupported("65535 bytes at most"))?;
    let mut out = length.to_be_bytes().to_vec();
    for part in [[b"tls13 ", label].concat().as_slice(), context] {
        let size = u8::try_from(part.len())
            .map_err(|_| Error::invalid("`label` must have 249 characters at most"))?;
        out.push(size);
        out.extend(part);
    }
    Ok(out)
}

fn digest(hash: Hash, bytes: &[u8]) -> Vec<u8> {
    match hash {
        Hash::Sha256 => Sha256::digest(bytes).to_vec(),
        Hash::Sha384 => Sha384::digest(bytes).to_vec(),
        Hash::Sha512 => sha2::Sha512::digest(bytes).to_vec(),
    }
}

kdf::export!(Exporter);

#[cfg(test)]
mod tests {
    use super::*;
    use cipher_hub_plugin::Fields;
    use cipher_hub_plugin::json::hex;
    use cipher_hub_plugin::testing::{execute, kdf_context};
    use hmac::{Hmac, KeyInit as _, Mac as _};

    fn mac(hash: Hash, key: &[u8], message: &[u8]) -> Vec<u8> {
        macro_rules! mac {
            ($hash:ty) => {
                Hmac::<$hash>::new_from_slice(key)
                    .unwrap()
                    .chain_update(message)
                    .finalize()
                    .into_bytes()
                    .to_vec()
            };
        }
        match hash {
            Hash::Sha256 => mac!(sha2::Sha256),
            Hash::Sha384 => mac!(sha2::Sha384),
            Hash::Sha512 => mac!(sha2::Sha512),
        }
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = hex.as_bytes().chunks(2);
        digits.map(|d| u8::from_str_radix(str::from_utf8(d).unwrap(), 16).unwrap()).collect()
    }

    /// RFC 8448, §3: Derive-Secret(early secret, "derived", "").
    #[test]
    fn derives_secrets_as_the_traces_of_tls_do() {
        let early = "33ad0a1c607ec03b09e6cd9893680ce210adf300aa1f2660e1b22e10f170f92a";
        let label = hkdf_label(32, b"derived", &digest(Hash::Sha256, b"")).unwrap();
        let known = "00200d746c733133206465726976656420e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b93\
                     4ca495991b7852b855";
        assert_eq!(hex(&label), known);
        let plan = plan(|p, root| Ok(p.expand(Hash::Sha256, root, &label, 32))).unwrap();
        let secret = hex(&execute(&plan, &bytes(early), mac));
        assert_eq!(secret, "6f2615a108c702c5678f54fc9dbab69716c076189c48250cebeac3576c3611ba");
    }

    /// RFC 9001, appendix A.1: labels as QUIC expands them.
    #[test]
    fn writes_labels_as_quic_does() {
        let label = hkdf_label(32, b"client in", b"").unwrap();
        assert_eq!(hex(&label), "00200f746c73313320636c69656e7420696e00");
        let label = hkdf_label(12, b"quic iv", b"").unwrap();
        assert_eq!(hex(&label), "000c0d746c733133207175696320697600");
    }

    #[test]
    fn exports_with_two_expansions() {
        let mut context = kdf_context();
        context.parameters = Fields::from([("label", "EXPORTER-test")]);
        context.info = b"context".to_vec();
        for (id, hash) in PROFILES {
            context.length = 80;
            let plan = Exporter.plan(id, &context).unwrap();
            assert_eq!(plan.steps.len(), 2);
            let out = execute(&plan, &[9; 48], mac);
            let expand = |prk: &[u8], info: &[u8]| mac(hash, prk, &[info, &[1]].concat());
            let none = digest(hash, b"");
            let secret =
                expand(&[9; 48], &hkdf_label(hash.length(), b"EXPORTER-test", &none).unwrap());
            let info = hkdf_label(80, b"exporter", &digest(hash, b"context")).unwrap();
            let size = usize::try_from(hash.length()).unwrap();
            assert_eq!(out[..size], expand(&secret, &info), "{id}");
        }
    }

    #[test]
    fn refuses_what_it_would_not_use() {
        let with = |label: &str| {
            let parameters = Fields::from([("label", label)]);
            Exporter.plan("exporter-sha256", &Context { parameters, ..kdf_context() })
        };
        assert!(with(&"x".repeat(249)).is_ok());
        for label in ["", "é", &"x".repeat(250)] {
            assert!(matches!(with(label), Err(Error::InvalidConfig(_))), "{label}");
        }
        let salted = Context { salt: vec![1], ..kdf_context() };
        assert!(Exporter.plan("exporter-sha256", &salted).is_err());
        assert!(Exporter.plan("exporter-md5", &kdf_context()).is_err());
    }
}
