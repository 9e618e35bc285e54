//! Rotations of the key that signs checkpoints: the chain from key to key never breaks.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::{World, meta};
use hub_audit::checkpoint::{Checkpoint, parse_verifier_key};
use hub_model::Action;
use hub_model::api::checkpoint::{RotatedSigningKey, SigningKeys};
use hub_operations::operation::{AtHub, Lost, Scene};
use hub_operations::system::{ListSigningKeys, RotateSigningKey};
use hub_operations::{Error, Hub, Operation, Plan};
use hub_policy::Permit;

/// A rotation whose caller went away after the commit.
struct Abandoned(RotateSigningKey);

impl Operation for Abandoned {
    const ACTION: Action = RotateSigningKey::ACTION;
    type Place = AtHub;
    type Reply = RotatedSigningKey;

    async fn find(&self, hub: &Hub) -> Result<AtHub, Lost> {
        self.0.find(hub).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtHub>,
    ) -> Result<Plan<RotatedSigningKey>, Error> {
        self.0.plan(permit, scene).await
    }
}

async fn rotate(world: &World) -> Result<(String, u64), Error> {
    let done = world.attempt(&world.admin, &RotateSigningKey::default(), &meta()).await;
    let done = done.map_err(|failure| failure.error)?;
    let seq = done.receipt().seq();
    Ok((done.reply.unwrap().verifier_key, seq))
}

/// Which of these keys signed the newest checkpoint, and how many entries it covers.
fn newest(world: &World, keys: &[&String]) -> (Vec<bool>, u64) {
    let signed = world.hub.log().latest().unwrap();
    let by = |key: &&String| {
        let (name, key) = parse_verifier_key(key).unwrap();
        Checkpoint::open(&signed.note, &name, &key).is_ok()
    };
    (keys.iter().map(by).collect(), signed.checkpoint.size)
}

async fn listed(world: &World) -> SigningKeys {
    world.ok(&world.admin, &ListSigningKeys).await
}

#[tokio::test]
async fn no_key_is_given_up_before_it_has_signed_for_the_next() {
    let world = World::new().await;
    // No checkpoint yet: nothing that the first key signed.
    assert_eq!(rotate(&world).await.unwrap_err().code(), "proof_pending");
    world.hub.log().checkpoint(world.clock_now()).unwrap();
    let one = world.hub.log().verifier_key();
    let (two, named) = rotate(&world).await.unwrap();
    // At once, and by both: whoever trusts the first key sees it name the second.
    let (signed, covered) = newest(&world, &[&one, &two]);
    assert!(signed == [true, true] && covered > named);
    let (three, dropped) = rotate(&world).await.unwrap();
    assert_eq!(newest(&world, &[&one, &two, &three]).0, [false, true, true]);
    let keys = listed(&world).await.items;
    let places: Vec<_> = keys.iter().map(|key| (key.first_sequence, key.last_sequence)).collect();
    assert_eq!(places, [(0, Some(dropped)), (named, None), (dropped, None)]);
    // The end of an overlap has an entry of its own; more of both are found as well.
    // By one who came before the first key's days were over.
    let caller = world.caller(&world.admin).await;
    world.clock.advance(Duration::from_secs(8 * 86_400));
    assert!(world.hub.retire_signing_key().await.unwrap());
    let retired = world.hub.log().appender().position().audit.size - 1;
    world.hub.log().checkpoint(world.clock_now()).unwrap();
    let rotate = RotateSigningKey::default();
    let last = world.hub.perform(&caller, &rotate, &meta()).await.unwrap().receipt().seq();
    let listed = world.hub.perform(&caller, &ListSigningKeys, &meta()).await.unwrap();
    let keys = listed.reply.unwrap().items;
    let places: Vec<_> = keys.iter().map(|key| (key.first_sequence, key.last_sequence)).collect();
    let expected = [(0, Some(dropped)), (named, Some(retired)), (dropped, None), (last, None)];
    assert_eq!(places, expected);
}

#[tokio::test]
async fn a_rotation_that_nobody_waited_for_is_followed() {
    let world = World::new().await;
    world.hub.log().checkpoint(world.clock_now()).unwrap();
    let one = world.hub.log().verifier_key();
    assert!(!world.hub.follow_signing_keys().await.unwrap());
    let abandoned = Abandoned(RotateSigningKey::default());
    let two = world.ok(&world.admin, &abandoned).await.verifier_key;
    assert_eq!(world.hub.log().verifier_key(), one);
    assert_eq!(rotate(&world).await.unwrap_err().code(), "conflict");
    assert!(world.hub.follow_signing_keys().await.unwrap());
    assert_eq!(world.hub.log().verifier_key(), two);
    assert_eq!(newest(&world, &[&one, &two]).0, [true, true]);
    assert!(!world.hub.follow_signing_keys().await.unwrap());
    rotate(&world).await.unwrap();
}

#[tokio::test]
async fn the_overlap_does_not_end_before_both_have_signed() {
    let world = World::new().await;
    world.hub.log().checkpoint(world.clock_now()).unwrap();
    let one = world.hub.log().verifier_key();
    world.ok(&world.admin, &Abandoned(RotateSigningKey::default())).await;
    // Followed without a checkpoint, as a crash between the two leaves it.
    let keys = world.hub.log().latest().unwrap();
    world.clock.advance(Duration::from_secs(8 * 86_400));
    assert!(!world.hub.retire_signing_key().await.unwrap());
    assert!(world.hub.follow_signing_keys().await.unwrap());
    assert_ne!(world.hub.log().latest().unwrap().note, keys.note);
    assert!(world.hub.retire_signing_key().await.unwrap());
    assert_eq!(newest(&world, &[&one]).0, [true]);
}
