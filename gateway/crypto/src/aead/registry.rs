//! From algorithm to cipher: the one place a new algorithm is entered (besides the model's table),
//! and where the provider is chosen.

use hub_model::Algorithm;

use super::aes_gcm::Aes256Gcm;
use super::aes_gcm_raw::Aes256GcmRaw;
use super::aes_gcm_siv::{Aes256GcmSiv, Suite4};
use super::aes_siv::Aes256Siv;
use super::chacha20_poly1305::ChaCha20Poly1305;
use super::xchacha20_poly1305::XChaCha20Poly1305;
use super::{Aead, Direct, aws_lc};
use crate::committing::{COMMITMENT_LEN, SALT_LEN};
use crate::provider::{self, Provider};

/// How ciphertexts of an algorithm are made.
#[derive(Clone, Copy)]
pub enum Suite {
    /// Under a key derived for each message, with a commitment (the C suites).
    Committing(&'static dyn Aead),
    /// Under the key itself.
    Direct(&'static dyn Direct),
}

impl Suite {
    /// Bytes of the header that follow its fixed part: salt and commitment, or the nonce.
    #[must_use]
    pub fn variable_len(self) -> usize {
        match self {
            Self::Committing(_) => SALT_LEN + COMMITMENT_LEN,
            Self::Direct(cipher) => cipher.nonce_len(),
        }
    }
}

/// The suite of an algorithm, if it makes ciphertexts of this kind.
#[must_use]
pub fn suite(algorithm: Algorithm) -> Option<Suite> {
    Some(match algorithm {
        Algorithm::Aes256Gcm => Suite::Committing(aes_256_gcm()),
        Algorithm::ChaCha20Poly1305 => Suite::Committing(chacha20_poly1305()),
        Algorithm::XChaCha20Poly1305 => Suite::Direct(&XChaCha20Poly1305),
        Algorithm::Aes256GcmSiv => Suite::Direct(&Suite4),
        Algorithm::Aes256Siv => Suite::Direct(&Aes256Siv),
        Algorithm::Aes256GcmRaw => Suite::Direct(&Aes256GcmRaw),
        _ => return None,
    })
}

/// AES-256-GCM by the provider in force.
#[must_use]
pub fn aes_256_gcm() -> &'static dyn Aead {
    match provider::current() {
        Provider::Auto | Provider::RustCrypto => &Aes256Gcm,
        Provider::AwsLc => &aws_lc::AES_256_GCM,
    }
}

/// AES-256-GCM-SIV by the provider in force.
#[must_use]
pub fn aes_256_gcm_siv() -> &'static dyn Aead {
    match provider::current() {
        Provider::Auto | Provider::RustCrypto => &Aes256GcmSiv,
        Provider::AwsLc => &aws_lc::AES_256_GCM_SIV,
    }
}

/// ChaCha20-Poly1305 by the provider in force. `Auto` is aws-lc-rs: at 1 KiB RustCrypto, which
/// finds its vector code at run time, takes about four times as long.
#[must_use]
pub fn chacha20_poly1305() -> &'static dyn Aead {
    match provider::current() {
        Provider::RustCrypto => &ChaCha20Poly1305,
        Provider::Auto | Provider::AwsLc => &aws_lc::CHACHA20_POLY1305,
    }
}

#[cfg(test)]
mod tests {
    use hub_model::algorithm::ALGORITHMS;

    use super::*;

    #[test]
    fn exactly_the_algorithms_with_a_suite_number_have_a_suite() {
        for row in ALGORITHMS {
            assert_eq!(suite(row.algorithm).is_some(), row.algorithm.suite().is_some());
        }
    }
}
