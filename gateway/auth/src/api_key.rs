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
        let check = crc32fast::hash(text.as_bytes());
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
        let mut expected = [0u8; 8];
        parse_base62(check.strip_prefix(b"_")?, &mut expected)?;
        if u64::from(crc32fast::hash(body)) != u64::from_be_bytes(expected) {
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

/// Reads base62 into exactly `out.len()` bytes, a multiple of eight up to 32; `None` when a digit
/// is unknown or the number is larger than that.
fn parse_base62(digits: &[u8], out: &mut [u8]) -> Option<()> {
    let mut number = Zeroizing::new([0_u64; 4]);
    let words = number.get_mut(..out.len() / 8)?;
    // Ten digits at a time: 62^10 fits 64 bits, and few passes are made over the number.
    for chunk in digits.chunks(10) {
        let (mut scale, mut carry) = (1_u64, 0_u64);
        for digit in chunk {
            let value = VALUES.get(usize::from(*digit)).copied().filter(|value| *value < 62)?;
            scale *= 62;
            carry = carry * 62 + u64::from(value);
        }
        for word in words.iter_mut().rev() {
            // INVARIANT: (2^64 - 1)^2 + 2^64 - 1 fits 128 bits.
            let sum = u128::from(*word) * u128::from(scale) + u128::from(carry);
            let bytes = sum.to_be_bytes();
            let (high, low) = bytes.split_first_chunk::<8>()?;
            carry = u64::from_be_bytes(*high);
            *word = u64::from_be_bytes(*low.first_chunk()?);
        }
        if carry != 0 {
            return None;
        }
    }
    let (slots, []) = out.as_chunks_mut::<8>() else { return None };
    for (slot, word) in slots.iter_mut().zip(words) {
        *slot = word.to_be_bytes();
    }
    Some(())
}

/// The value of each digit; 255 for what is none.
const VALUES: [u8; 256] = {
    let mut values = [u8::MAX; 256];
    let mut value = 0;
    while value < ALPHABET.len() {
        // A constant: an index beyond the table would not compile.
        #[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "constant")]
        {
            values[ALPHABET[value] as usize] = value as u8;
        }
        value += 1;
    }
    values
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn crc_is_the_ieee_one() {
        assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
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
