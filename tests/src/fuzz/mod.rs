//! Decoders of bytes from outside, each as a function that must come back whatever it is given.
//! libFuzzer calls them (`fuzz/fuzz_targets/`), and so does a bounded test on stable Rust
//! (`tests/tests/fuzz.rs`).
//!
//! What must stay true: a target panics only for a fault of the code under test: either that code
//! panicked, or it broke a promise that the target checks, such as that what was read and written
//! is read as the same again.

#![expect(
    clippy::expect_used,
    reason = "a target fails by panicking; what is expected here is promised by the code under test"
)]

mod archive;
mod ciphertext;
mod keys;
pub mod mutate;
mod plan;
mod proof;
mod text;

/// One target.
#[derive(Debug)]
pub struct Target {
    /// Its name: that of its file in `fuzz/fuzz_targets/` and of its folder in `fuzz/seeds/`.
    pub name: &'static str,
    /// What it tries.
    pub about: &'static str,
    /// Takes any bytes.
    pub run: fn(&[u8]),
    /// How many inputs the bounded test gives it: what it does within a second in a dev build.
    pub inputs: u32,
}

macro_rules! targets {
    ($($name:literal = $run:path, $inputs:literal, $about:literal;)*) => {
        /// Every target.
        pub const TARGETS: &[Target] =
            &[$(Target { name: $name, about: $about, run: $run, inputs: $inputs },)*];
    };
}

targets! {
    "envelope" = ciphertext::envelope, 40_000, "ciphertexts in their text form, and opening them";
    "stream" = ciphertext::stream, 6_000, "encrypted streams, cut into pieces";
    "keywrap" = ciphertext::keywrap, 20_000, "AES key wrap with padding";
    "transport" = keys::transport, 1_200, "keys wrapped for an import";
    "private_key" = keys::private_key, 6_000, "raw keys, PKCS #8 and JWK of every algorithm";
    "public_key" = keys::public_key, 6_000, "SubjectPublicKeyInfo, raw points, PEM and JWK";
    "api_key" = text::api_key, 40_000, "API keys";
    "token" = text::token, 40_000, "tokens of other issuers, taken apart";
    "jwks" = text::jwks, 20_000, "key sets of other issuers";
    "bodies" = text::bodies, 40_000, "JSON bodies of every operation";
    "words" = text::words, 40_000, "names, ids, dates, periods, encryption contexts";
    "rotation" = text::rotation, 1_000, "rotation policies, with their dates";
    "audit_proof" = proof::audit_proof, 20_000, "proofs over the audit log and names of tiles";
    "checkpoint" = text::checkpoint, 20_000, "signed checkpoints and verifier keys, submissions to witnesses";
    "audit_export" = text::audit_export, 6_000, "entries, manifests and streams of exports";
    "archive" = archive::archive, 1_500, "archives of the audit log";
    "kdf_plan" = plan::kdf_plan, 10_000, "plans of plugins, checked and carried out";
}

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// The first byte as a choice among `all`, and the rest.
fn choose<'a, T>(data: &'a [u8], all: &'static [T]) -> Option<(&'static T, &'a [u8])> {
    let (first, rest) = data.split_first()?;
    let at = usize::from(*first).checked_rem(all.len())?;
    Some((all.get(at)?, rest))
}
