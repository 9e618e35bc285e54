//! Cipher Hub.
fn main() {}
