//! libFuzzer for names, ids, dates, periods, encryption contexts: `tests/src/fuzz/` has the body.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cipher_hub_fuzz::run("words", data));
