//! libFuzzer for entries, manifests and streams of exports: `tests/src/fuzz/` has the body.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cipher_hub_fuzz::run("audit_export", data));
