//! The plugin that `cipher-hub bench --only plugins` runs beside honest work: a profile whose plan
//! never comes. Base64 on standard output:
//!
//! `cargo run -p hub-plugins --example looping > gateway/bench/src/loop.wasm.b64`

#[path = "../tests/common/mod.rs"]
mod common;

use common::Guest;
use hub_plugins::World;

fn main() {
    let world = World::KdfProfile;
    let text = "(param i32) (result i32) (loop $l (br $l)) unreachable";
    let bytes = Guest::of(world).with("kdf#plan", text).component(world);
    for line in base64_simd::STANDARD.encode_to_string(bytes).as_bytes().chunks(100) {
        println!("{}", String::from_utf8_lossy(line));
    }
}
