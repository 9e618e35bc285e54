//! The bindings in `src/bindings` are those of `wit/`.

use std::fs;
use std::path::Path;

#[test]
fn bindings_are_of_this_contract() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> =
        fs::read_dir(root.join("../../wit")).unwrap().map(|f| f.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "wit"));
    files.sort();
    assert!(files.len() >= 4, "{files:?}");
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for byte in files.iter().flat_map(|f| fs::read(f).unwrap()) {
        sum = (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let noted = fs::read_to_string(root.join("src/bindings/wit.sum")).unwrap();
    assert_eq!(noted.trim(), format!("{sum:016x}"), "wit/ has changed: sdk/generate/run");
}
