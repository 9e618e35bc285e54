//! API keys: `chk_<22 base62 id>_<43 base62 secret>_<6 base62 CRC-32>`. The id finds the stored
//! record, the 256-bit secret is compared as a keyed hash in constant time, the checksum is for
//! scanners that look for leaked keys.

use hub_crypto::{HmacKey, random};
use hub_model::CredentialId;
use hub_model::secret::SecretText;
use zeroize::{Zeroize, Zeroizing};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ID_LEN: usize = 22;
const SECRET_LEN: usize = 43;
const CHECK_LEN: usize = 6;
/// Length of every API key.
pub const KEY_LEN: usize = 4 + ID_LEN + 1 + SECRET_LEN + 1 + CHECK_LEN;

/// A parsed API key. Well formed; not yet known to be good.
#[derive(Debug)]
pub struct ApiKey {
    id: CredentialId,
    secret: Zeroizing<[u8; 32]>,
}

impl ApiKey {
    /// A fresh key for this credential.
    #[must_use]
    pub fn generate(id: CredentialId) -> (Self, SecretText) {
        let mut secret = Zeroizing::new([0u8; 32]);
        random::fill(secret.as_mut());
        let mut text = String::with_capacity(KEY_LEN);
        text.push_str("chk_");
        push_base62(&mut text, id.as_bytes(), ID_LEN);
        text.push('_');
        push_base62(&mut text, secret.as_ref(), SECRET_LEN);
        let check = crc32(text.as_bytes());
        text.push('_');
        push_base62(&mut text, &check.to_be_bytes(), CHECK_LEN);
        (Self { id, secret }, SecretText::new(text))
    }

    /// Reads a key. `None` for anything that is not one, however close.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != KEY_LEN || !bytes.starts_with(b"chk_") {
            return None;
        }
        let (body, check) = bytes.split_at_checked(KEY_LEN - CHECK_LEN - 1)?;
        let (id, secret) = body.get(4..)?.split_at_checked(ID_LEN)?;
        let mut expected = Zeroizing::new([0u8; 4]);
        parse_base62(check.strip_prefix(b"_")?, expected.as_mut())?;
        if crc32(body).to_be_bytes() != *expected {
            return None;
        }
        let mut public = [0u8; 16];
        parse_base62(id, &mut public)?;
        let mut bytes = Zeroizing::new([0u8; 32]);
        parse_base62(secret.strip_prefix(b"_")?, bytes.as_mut())?;
        Some(Self { id: CredentialId::from_bytes(public), secret: bytes })
    }

    /// Which credential it claims to be.
    #[must_use]
    pub const fn id(&self) -> CredentialId {
        self.id
    }

    /// The hash to be stored: HMAC-SHA-256(token key, "chk1" ‖ id ‖ secret).
    #[must_use]
    pub fn hash(&self, token: &HmacKey) -> [u8; 32] {
        token.tag(&[b"chk1", self.id.as_bytes(), self.secret.as_ref()])
    }
}

/// Writes big-endian bytes as base62, padded with `0` to `width`.
fn push_base62(out: &mut String, bytes: &[u8], width: usize) {
    let mut number = Zeroizing::new(bytes.to_vec());
    let mut digits = vec![b'0'; width];
    for slot in digits.iter_mut().rev() {
        let mut rest: u32 = 0;
        for byte in number.iter_mut() {
            let value = (rest << 8) | u32::from(*byte);
            // INVARIANT: rest < 62, so value < 62 · 256 and the quotient fits a byte.
            *byte = u8::try_from(value / 62).unwrap_or(0);
            rest = value % 62;
        }
        *slot = ALPHABET.get(rest as usize).copied().unwrap_or(b'0');
    }
    out.push_str(std::str::from_utf8(&digits).unwrap_or_default());
    digits.zeroize();
}

/// Reads base62 into exactly `out.len()` bytes; `None` when a digit is unknown or the number is
/// larger than that.
fn parse_base62(digits: &[u8], out: &mut [u8]) -> Option<()> {
    out.fill(0);
    // Nine digits at a time: 62^9 · 256 fits 64 bits, and fewer passes are made over the number.
    for chunk in digits.chunks(9) {
        let (mut scale, mut carry) = (1_u64, 0_u64);
        for digit in chunk {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'A'..=b'Z' => digit - b'A' + 10,
                b'a'..=b'z' => digit - b'a' + 36,
                _ => return None,
            };
            scale *= 62;
            carry = carry * 62 + u64::from(value);
        }
        for byte in out.iter_mut().rev() {
            let sum = u64::from(*byte) * scale + carry;
            *byte = u8::try_from(sum & 0xff).ok()?;
            carry = sum >> 8;
        }
        if carry != 0 {
            return None;
        }
    }
    Some(())
}

/// CRC-32 (IEEE 802.3), by nibbles: it runs once a request over 71 bytes.
fn crc32(bytes: &[u8]) -> u32 {
    /// The CRC of each nibble, for the reflected polynomial 0xedb88320.
    const TABLE: [u32; 16] = [
        0x0000_0000,
        0x1db7_1064,
        0x3b6e_20c8,
        0x26d9_30ac,
        0x76dc_4190,
        0x6b6b_51f4,
        0x4db2_6158,
        0x5005_713c,
        0xedb8_8320,
        0xf00f_9344,
        0xd6d6_a3e8,
        0xcb61_b38c,
        0x9b64_c2b0,
        0x86d3_d2d4,
        0xa00a_e278,
        0xbdbd_f21c,
    ];
    let step = |crc: u32, nibble: u32| {
        let index = (crc ^ nibble) & 15;
        (crc >> 4) ^ TABLE.get(index as usize).copied().unwrap_or(0)
    };
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        let byte = u32::from(*byte);
        step(step(crc, byte), byte >> 4)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn crc_is_the_ieee_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn keys_round_trip_and_are_never_printed() {
        let id = CredentialId::generate();
        let (key, text) = ApiKey::generate(id);
        let parsed = ApiKey::parse(text.expose_secret()).unwrap();
        assert_eq!(text.expose_secret().len(), KEY_LEN);
        assert_eq!((parsed.id(), &*parsed.secret), (id, &*key.secret));
        assert_eq!(format!("{text:?}"), "[secret]");
        let token = HmacKey::generate().unwrap();
        assert_eq!(parsed.hash(&token), key.hash(&token));
    }

    #[test]
    fn every_changed_character_is_refused_or_another_key() {
        let (key, text) = ApiKey::generate(CredentialId::generate());
        for index in 0..KEY_LEN {
            for replacement in [b'0', b'z', b'_', b' '] {
                let mut bytes = text.expose_secret().as_bytes().to_vec();
                if bytes[index] == replacement {
                    continue;
                }
                bytes[index] = replacement;
                let changed = String::from_utf8(bytes).unwrap();
                assert!(ApiKey::parse(&changed).is_none(), "character {index}");
            }
        }
        drop(key);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,90}") {
            let _ = ApiKey::parse(&text);
        }

        #[test]
        fn base62_round_trips(bytes: [u8; 32]) {
            let mut text = String::new();
            push_base62(&mut text, &bytes, SECRET_LEN);
            let mut back = [0u8; 32];
            prop_assert!(parse_base62(text.as_bytes(), &mut back).is_some());
            prop_assert_eq!(back, bytes);
        }
    }
}
