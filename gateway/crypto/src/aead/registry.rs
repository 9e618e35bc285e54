//! From algorithm to suite: the one place a new algorithm is entered (besides the model's table).

use hub_model::Algorithm;

use super::Aead;
use super::aes_gcm::Aes256Gcm;
use super::chacha20_poly1305::ChaCha20Poly1305;

/// The cipher an algorithm uses.
#[must_use]
pub fn suite(algorithm: Algorithm) -> &'static dyn Aead {
    match algorithm {
        Algorithm::ChaCha20Poly1305 => &ChaCha20Poly1305,
        _ => &Aes256Gcm,
    }
}
