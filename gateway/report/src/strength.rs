//! How strong algorithms are, for inventories: bits of security after SP 800-57 part 1 §5.6.1 and
//! the categories of FIPS 203 and 204, and what a quantum computer would do to them.

use hub_model::Algorithm;
use hub_model::algorithm::{Curve, Kind};
use serde::{Deserialize, Serialize};

/// What a large quantum computer would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Quantum {
    /// Nothing known that matters: symmetric algorithms with long keys.
    Symmetric,
    /// Nothing known: made for it.
    #[serde(rename = "postQuantum")]
    Resistant,
    /// Holds as long as one of two holds.
    Hybrid,
    /// Breaks it.
    Vulnerable,
}

/// Bits of security against classical attacks.
pub(crate) const fn bits(algorithm: Algorithm) -> u16 {
    match algorithm.row().kind {
        Kind::Aead(_) | Kind::Hmac(_) | Kind::Hkdf(_) | Kind::Pbkdf2(_) => 256,
        Kind::Argon2id | Kind::AesKwp => 256,
        Kind::RsaOaep { bits, .. } | Kind::RsaPss { bits, .. } | Kind::RsaPkcs1 { bits, .. } => {
            // The table has no row between 3072 and 7680.
            if bits < 3072 { 112 } else { 128 }
        }
        Kind::Ecdsa(curve) | Kind::Ecdh(curve) => match curve {
            Curve::P256 | Curve::Secp256k1 => 128,
            Curve::P384 => 192,
            Curve::P521 => 256,
        },
        Kind::Ed25519 | Kind::X25519 => 128,
        Kind::MlDsa(set) => match set {
            44 => 128,
            65 => 192,
            _ => 256,
        },
        Kind::MlKem(set) => match set {
            512 => 128,
            768 => 192,
            _ => 256,
        },
        Kind::Hybrid => 192,
    }
}

/// What a large quantum computer would do to it.
pub(crate) const fn quantum(algorithm: Algorithm) -> Quantum {
    match algorithm.row().kind {
        Kind::Aead(_)
        | Kind::Hmac(_)
        | Kind::Hkdf(_)
        | Kind::Pbkdf2(_)
        | Kind::Argon2id
        | Kind::AesKwp => Quantum::Symmetric,
        Kind::MlDsa(_) | Kind::MlKem(_) => Quantum::Resistant,
        Kind::Hybrid => Quantum::Hybrid,
        _ => Quantum::Vulnerable,
    }
}
