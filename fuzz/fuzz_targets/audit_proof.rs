//! libFuzzer for proofs over the audit log and names of tiles: `tests/src/fuzz/` has the body.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cipher_hub_fuzz::run("audit_proof", data));
