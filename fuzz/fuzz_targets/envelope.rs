//! libFuzzer for ciphertexts in their text form, and opening them: `tests/src/fuzz/` has the body.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cipher_hub_fuzz::run("envelope", data));
