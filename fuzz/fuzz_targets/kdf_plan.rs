//! libFuzzer for plans of plugins: `tests/src/fuzz/` has the body.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cipher_hub_fuzz::run("kdf_plan", data));
