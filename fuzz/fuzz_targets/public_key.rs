//! libFuzzer for SubjectPublicKeyInfo, raw points, PEM and JWK: `tests/src/fuzz/` has the body.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cipher_hub_fuzz::run("public_key", data));
