//! No key byte comes into a guest's memory: a key is planted in the host, a profile keeps everything
//! it is given, and all that guests can reach is searched.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{Guest, engine, kdf_context, limits, load, settings};
use hub_plugins::World;

#[tokio::test]
async fn a_planted_key_is_not_in_the_memory_of_a_guest() {
    // Bytes that appear nowhere in the program's own text.
    let seed = std::process::id().to_le_bytes();
    let key: Vec<u8> =
        (0..32).map(|n: u8| n.wrapping_mul(73) ^ seed[usize::from(n) % 4] ^ 0xa5).collect();
    let salt: Vec<u8> = key.iter().map(|byte| !byte).collect();
    let planted = vec![key.clone(); 64];
    let engine = engine();
    let world = World::KdfProfile;
    // The allocator never takes memory back, so that what the guest was given stays there.
    let loaded = load(&engine, &Guest::of(world), world);
    let plugin = loaded.kdf(settings(&loaded, &limits())).await.unwrap();
    let mut context = kdf_context();
    context.salt.clone_from(&salt);
    let called = plugin.plan_traced("hkdf", &context).await;
    called.value.unwrap();
    assert!(!called.memory_image.is_empty(), "the memories were found");
    let holds = |wanted: &[u8]| called.memory_image.iter().any(|region| region.holds(wanted));
    assert!(holds(&salt), "what it was given is there, so the search finds what there is");
    assert!(!holds(&key), "the key is not");
    for part in key.chunks(8) {
        assert!(!holds(part), "nor a part of it");
    }
    assert_eq!(planted.len(), 64);
}
