//! Makes a component of its text form, for tests: base64 on standard output.
//!
//! `cargo run -p hub-plugins --example wat -- tests/e2e/payday.wat > tests/e2e/payday.wasm.b64`

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("which file?")?;
    let bytes = wat::parse_file(path)?;
    let text = base64_simd::STANDARD.encode_to_string(bytes);
    for line in text.as_bytes().chunks(100) {
        println!("{}", String::from_utf8_lossy(line));
    }
    Ok(())
}
