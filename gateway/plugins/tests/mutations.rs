//! Damaged files: never a panic, never another plugin than the one that was asked for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;
use std::sync::Arc;

use common::{Guest, engine, limits, rotation_request, settings};
use hub_model::extend::RotationAnswer;
use hub_plugins::{CacheConfig, Engine, EngineConfig, Package, SizeLimits, World};

const SCHEDULE: World = World::RotationSchedule;

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap()
    }
}

fn mutate(bytes: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=numbers.next() % 4 {
        let at = numbers.next() % bytes.len();
        let value = u8::try_from(numbers.next() % 256).unwrap();
        match numbers.next() % 5 {
            0 => bytes[at] ^= 1 << (value % 8),
            1 => bytes[at] = value,
            2 => bytes.insert(at, value),
            3 => drop(bytes.remove(at)),
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes
}

#[tokio::test]
async fn damaged_components_load_as_themselves_or_not_at_all() {
    let engine = engine();
    let good = Guest::of(SCHEDULE).package(SCHEDULE);
    let mut numbers = Numbers(0x5eed);
    let (mut parsed, mut loaded_ones) = (0, 0);
    for _ in 0..300 {
        let bytes = mutate(good.bytes(), &mut numbers);
        let Ok(package) = Package::parse(bytes.as_slice(), &SizeLimits::default()) else {
            continue;
        };
        parsed += 1;
        assert!(package.digest() != good.digest() || bytes.as_slice() == &**good.bytes());
        let Ok(loaded) = engine.load(&package) else { continue };
        loaded_ones += 1;
        assert_eq!(loaded.digest(), package.digest());
        // Whatever it is now, it runs within its limits.
        let plugin = loaded.rotation(settings(&loaded, &limits()));
        let _ = plugin.decide_traced(&rotation_request()).await.value;
    }
    assert!(parsed > 10, "{parsed} were read, {loaded_ones} loaded");
}

#[tokio::test]
async fn damaged_cache_files_are_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let cache = CacheConfig { folder: folder.path().to_owned(), key: [9; 32].into() };
    let config = EngineConfig { cache: Some(cache), ceilings: limits(), ..EngineConfig::default() };
    let engine: Arc<Engine> = Engine::new(config).unwrap();
    let package = Guest::of(SCHEDULE).package(SCHEDULE);
    engine.load(&package).unwrap();
    let file = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let good = fs::read(&file).unwrap();
    let mut numbers = Numbers(0xcafe);
    for _ in 0..60 {
        let bad = mutate(&good, &mut numbers);
        fs::write(&file, &bad).unwrap();
        let loaded = engine.load(&package).unwrap();
        let plugin = loaded.rotation(settings(&loaded, &limits()));
        let answer = plugin.decide_traced(&rotation_request()).await.value.unwrap();
        assert_eq!(answer, RotationAnswer::At(hub_model::Timestamp::from_micros(0)));
        let now = fs::read(&file).unwrap();
        assert!(bad == good || now != bad, "a damaged file was used or left");
    }
}
