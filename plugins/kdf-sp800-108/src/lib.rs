//! NIST SP 800-108r1, §4.1: key derivation in counter mode, with HMAC. `README.md` says how.
//!
//! K(i) = HMAC(root, [i] ‖ Label ‖ 0x00 ‖ Context ‖ [L]), where i and L, the length in bits, have 32
//! bits each.

use cipher_hub_plugin::kdf::{self, Context, Hash, KdfProfiles, Profile, plan};
use cipher_hub_plugin::plan::{MAX_LENGTH, Plan};
use cipher_hub_plugin::{Config, Error, Result};

#[derive(Debug)]
struct CounterMode;

const PROFILES: [(&str, Hash); 3] = [
    ("counter-hmac-sha256", Hash::Sha256),
    ("counter-hmac-sha384", Hash::Sha384),
    ("counter-hmac-sha512", Hash::Sha512),
];

impl KdfProfiles for CounterMode {
    fn new(_: &Config) -> Result<Self> {
        Ok(Self)
    }

    fn profiles() -> Vec<Profile> {
        let profile = |(id, hash): &(&str, Hash)| {
            let name = id.trim_start_matches("counter-").to_uppercase();
            let description =
                format!("SP 800-108 in counter mode with {name}; info is its Context.");
            Profile::new(id, &description, max_length(*hash))
        };
        PROFILES.iter().map(profile).collect()
    }

    fn plan(&self, profile: &str, context: &Context) -> Result<Plan> {
        let found = PROFILES.iter().find(|(id, _)| *id == profile);
        let (_, hash) =
            found.ok_or_else(|| Error::unsupported(format!("no profile `{profile}`")))?;
        if !context.salt.is_empty() {
            return Err(Error::unsupported("the construction has no salt: put it into info"));
        }
        let label = context.parameters.text("label")?;
        counter(*hash, label.as_bytes(), &context.info, context.length)
    }
}

/// Two steps of a plan join the blocks and cut them.
const fn max_length(hash: Hash) -> u32 {
    let blocks = 30 * hash.length();
    if blocks < MAX_LENGTH { blocks } else { MAX_LENGTH }
}

fn counter(hash: Hash, label: &[u8], context: &[u8], length: u32) -> Result<Plan> {
    if length == 0 || length > max_length(hash) {
        return Err(Error::unsupported(format!("1 to {} bytes", max_length(hash))));
    }
    // Without it, a label with a zero byte could pass for a shorter one with another context.
    if label.contains(&0) {
        return Err(Error::invalid("`label` must have no zero byte"));
    }
    fixed_input(hash, &[label, &[0], context, &(length * 8).to_be_bytes()].concat(), length)
}

/// The most bytes of all messages of a plan.
const MOST_TEXT: usize = 64 * 1024;

/// The blocks over an input that the standard leaves to its users.
fn fixed_input(hash: Hash, fixed: &[u8], length: u32) -> Result<Plan> {
    let blocks = length.div_ceil(hash.length());
    // The hub would refuse the plan, which reads like a failure of the plugin.
    let text = usize::try_from(blocks).ok().and_then(|n| n.checked_mul(4 + fixed.len()));
    if text.is_none_or(|text| text > MOST_TEXT) {
        return Err(Error::unsupported(format!(
            "label and info are too long for {blocks} blocks: {MOST_TEXT} bytes in all"
        )));
    }
    plan(|p, root| {
        let block = |i: u32| [&i.to_be_bytes(), fixed].concat();
        let mut parts = Vec::new();
        for i in 1..=blocks {
            let whole = p.hmac(hash, root, &block(i));
            // The last is cut before all are joined: the hub joins 1024 bytes at most.
            let left = length - (i - 1) * hash.length();
            let cut = left < hash.length();
            parts.push(if cut { p.truncate(whole, left) } else { whole.into() });
        }
        match parts.as_slice() {
            [one] => Ok(*one),
            all => Ok(p.concat(all)),
        }
    })
}

kdf::export!(CounterMode);

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

    /// RFC 8009, §3 and appendix A: Kerberos derives its keys in this mode and layout, without a
    /// context. Its labels hold a zero byte, which the profile refuses: hence from beneath it.
    #[test]
    fn gives_the_keys_of_rfc_8009() {
        let aes128 = "3705D96080C17728A0E800EAB6E0D23C";
        let aes256 = "6D404D37FAF79F9DF0D33568D320669800EB4836472EA8A026D16B7182460C52";
        for (hash, root, usage, length, key) in [
            (Hash::Sha256, aes128, 0x99, 16, "b31a018a48f54776f403e9a396325dc3"),
            (Hash::Sha256, aes128, 0xaa, 16, "9b197dd1e8c5609d6e67c3e37c62c72e"),
            (Hash::Sha256, aes128, 0x55, 16, "9fda0e56ab2d85e1569a688696c26a6c"),
            (Hash::Sha384, aes256, 0x99, 24, "ef5718be86cc84963d8bbb5031e9f5c4ba41f28faf69e73d"),
            (
                Hash::Sha384,
                aes256,
                0xaa,
                32,
                "56ab22bee63d82d7bc5227f6773f8ea7a5eb1c825160c38312980c442e5c7e49",
            ),
            (Hash::Sha384, aes256, 0x55, 24, "69b16514e3cd8e56b82010d5c73012b622c4d00ffc23ed1f"),
        ] {
            let label = [0, 0, 0, 2, usage];
            let fixed = [&label[..], &[0], &(length * 8_u32).to_be_bytes()].concat();
            let plan = fixed_input(hash, &fixed, length).unwrap();
            assert_eq!(hex(&execute(&plan, &bytes(root), mac)), key, "{usage:x}");
        }
    }

    /// NIST CAVP, KDFCTR_gen, HMAC_SHA256, counter before the fixed input, 32 bits.
    #[test]
    fn gives_the_key_of_the_validation_program() {
        let root = "dd1d91b7d90b2bd3138533ce92b272fbf8a369316aefe242e659cc0ae238afe0";
        let fixed = "01322b96b30acd197979444e468e1c5c6859bf1b1cf951b7e725303e237e46b864a145fab25e51\
                     7b08f8683d0315bb2911d80a0e8aba17f3b413faac";
        let plan = fixed_input(Hash::Sha256, &bytes(fixed), 16).unwrap();
        assert_eq!(hex(&execute(&plan, &bytes(root), mac)), "10621342bfb0fd40046c0e29f2cfdbf0");
    }

    #[test]
    fn lays_the_input_out_as_the_standard_does() {
        let mut context = kdf_context();
        context.parameters = Fields::from([("label", "orders")]);
        context.info = b"ctx".to_vec();
        context.length = 40;
        let plan = CounterMode.plan("counter-hmac-sha256", &context).unwrap();
        let first = b"\0\0\0\x01orders\0ctx\0\0\x01\x40".to_vec();
        assert_eq!(plan.steps.len(), 4);
        assert_eq!(
            plan.steps.first(),
            Some(&cipher_hub_plugin::plan::Step::Hmac {
                hash: Hash::Sha256,
                key: 0,
                message: first
            })
        );
        assert_eq!(execute(&plan, b"root", mac).len(), 40);
    }

    #[test]
    fn gives_every_length_it_offers() {
        for ((id, hash), profile) in PROFILES.iter().zip(CounterMode::profiles()) {
            assert_eq!(profile.id, *id);
            for length in [1, 16, 31, 32, 33, 48, 64, 500, profile.max_length] {
                let plan = counter(*hash, b"l", b"", length).unwrap();
                let out = execute(&plan, b"root", mac);
                assert_eq!(out.len(), usize::try_from(length).unwrap(), "{id}");
            }
            assert!(counter(*hash, b"l", b"", profile.max_length + 1).is_err());
            assert!(counter(*hash, b"l", b"", 0).is_err());
        }
    }

    #[test]
    fn refuses_more_text_than_a_plan_may_have() {
        // Counter, label, zero byte and length are ten bytes.
        let info = vec![0; (64 * 1024) / 2 - 10];
        assert!(counter(Hash::Sha256, b"l", &info, 64).is_ok());
        for (length, more) in [(64, 1), (65, 0)] {
            let info = vec![0; info.len() + more];
            let error = counter(Hash::Sha256, b"l", &info, length).unwrap_err();
            assert!(matches!(error, Error::Unsupported(_)), "{error}");
        }
    }

    #[test]
    fn refuses_what_it_would_not_use() {
        let mut context = kdf_context();
        assert!(matches!(
            CounterMode.plan("counter-hmac-sha256", &context),
            Err(Error::InvalidConfig(_))
        ));
        context.parameters = Fields::from([("label", "orders")]);
        assert!(CounterMode.plan("feedback", &context).is_err());
        context.salt = vec![1];
        assert!(CounterMode.plan("counter-hmac-sha256", &context).is_err());
        assert!(counter(Hash::Sha256, b"a\0b", b"", 32).is_err());
    }
}
