//! libFuzzer for raw keys, PKCS #8 and JWK of every algorithm: `tests/src/fuzz/` has the body.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cipher_hub_fuzz::run("private_key", data));
