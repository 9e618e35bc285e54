//! How harnesses reach the bodies of the targets.

/// Gives bytes to the target of this name.
pub fn run(name: &str, data: &[u8]) {
    let target = cipher_hub_tests::fuzz::target(name).expect("a target of the table");
    (target.run)(data);
}
