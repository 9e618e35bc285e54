//! Cosignatures of witnesses after C2SP tlog-cosignature, Ed25519 (type 0x04): a time, and a
//! signature over that time and the checkpoint's text.

use hub_crypto::sign::{SigningKey, VerifyingKey};

use crate::note::{Kind, VerifierKey};

/// Bytes of a `timestamped_signature`: u64 time ‖ Ed25519 signature.
const LENGTH: usize = 8 + 64;

/// What is signed: header line, time line, the text of the checkpoint.
fn message(text: &str, time: u64) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// The signature line of a witness over this text, made at this time (seconds since 1970).
#[must_use]
pub fn cosign(text: &str, name: &str, key: &SigningKey, time: u64) -> String {
    let mut signature = time.to_be_bytes().to_vec();
    signature.extend_from_slice(&key.sign(message(text, time).as_bytes()));
    let verifier =
        VerifierKey { name: name.to_owned(), kind: Kind::Cosignature, key: key.public() };
    verifier.line(&signature)
}

/// When the signature was made, should it be good. A time of 0 is not: it must be said.
pub(crate) fn verify(key: &VerifyingKey, text: &str, signature: &[u8]) -> Option<u64> {
    if signature.len() != LENGTH {
        return None;
    }
    let (time, signature) = signature.split_first_chunk::<8>()?;
    let time = u64::from_be_bytes(*time);
    if time == 0 || time > u64::MAX / 2 {
        return None;
    }
    key.verify(message(text, time).as_bytes(), signature).ok().map(|()| time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::Note;

    /// Made with Python's `cryptography` from the specification's text: seed 0x2a × 32, over the
    /// checkpoint that the specification shows, at the time that it shows.
    const TEXT: &str = "example.com/behind-the-sofa\n20852163\n\
        CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    const KEY: &str = "witness.example/w1+18041f2a+BBl/ayPhbIUyxqvIOPrNXqeJvgx2spIDNAOb+os9No1h";
    const LINE: &str = "\u{2014} witness.example/w1 GAQfKgAAAABkGFDLO3QHuVkoSLXBTFXEZirSXMcqft7KH9IJ/9dNoJmEuYKyHYdwR8Hl82lSBc3HRuL0pix1dLkwMzmSzwYLULbTBA==\n";

    fn key() -> SigningKey {
        SigningKey::from_secret(hub_crypto::Secret::copy_from(&[0x2a; 32]).unwrap()).unwrap()
    }

    #[test]
    fn a_frozen_cosignature() {
        let line = cosign(TEXT, "witness.example/w1", &key(), 1_679_315_147);
        assert_eq!(line, LINE);
        let verifier = VerifierKey::parse(KEY).unwrap();
        assert_eq!((verifier.kind, verifier.key), (Kind::Cosignature, key().public()));
        let note = format!("{TEXT}\n{LINE}");
        let found = verifier.find(&Note::parse(&note).unwrap()).unwrap().unwrap();
        assert_eq!((found.time, found.line), (1_679_315_147, LINE.trim_end()));
    }

    #[test]
    fn nothing_else_verifies() {
        let verifier = VerifierKey::parse(KEY).unwrap();
        let wrong = |text: &str, line: &str| {
            let note = format!("{text}\n{line}");
            verifier.find(&Note::parse(&note).unwrap()).is_err()
        };
        assert!(!wrong(TEXT, LINE));
        assert!(wrong(&TEXT.replace("163", "164"), LINE));
        // Without a time, and by the log's kind of signature under the same id.
        assert!(wrong(TEXT, &cosign(TEXT, "witness.example/w1", &key(), 0)));
        assert!(wrong(TEXT, &verifier.line(&key().sign(TEXT.as_bytes()))));
        // Another key of that name has another id: passed over.
        let other = cosign(TEXT, "witness.example/w1", &SigningKey::generate().unwrap(), 1);
        let note = format!("{TEXT}\n{other}");
        assert_eq!(verifier.find(&Note::parse(&note).unwrap()).unwrap(), None);
    }
}
