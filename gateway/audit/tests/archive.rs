//! Archives: whatever happens between two steps, every entry is read as it was written; whatever
//! byte of a file is changed is found, and its place named.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "tests")]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{append, entry};
use hub_audit::archive::{
    Archive, ArchiveRecord, Archiver, Examined, Goal, Key, State, continues, examine,
};
use hub_audit::log::OnRollback;
use hub_audit::merkle::leaf_hash;
use hub_audit::verify::Verifier;
use hub_audit::{Error, Log};
use hub_crypto::SystemKeys;
use hub_model::entry::AuditEntry;
use hub_model::{HubId, Timestamp};
use hub_store::{Backend, Changes, FjallBackend, MemoryBackend, Store, View, Writer};

/// When the entries of `common` are from.
const THEN: i64 = 1_795_000_000_000_000;

struct World {
    backend: Arc<dyn Backend>,
    keys: Arc<SystemKeys>,
    folder: tempfile::TempDir,
    log: Log,
}

fn hub() -> HubId {
    HubId::from_bytes([7; 16])
}

fn now() -> Timestamp {
    Timestamp::from_micros(THEN + 9)
}

fn goal() -> Goal {
    let later = Timestamp::from_micros(THEN + 1);
    Goal { before: later, partial_before: later }
}

fn told(action: &'static str, detail: String) -> AuditEntry {
    // Younger than what is archived: archiving does not archive its own doing.
    AuditEntry { action, time: now(), ..entry(&detail) }
}

impl World {
    async fn new() -> Self {
        Self::on(Arc::new(MemoryBackend::new())).await
    }

    async fn on(backend: Arc<dyn Backend>) -> Self {
        let keys = Arc::new(SystemKeys::generate().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let log = open(&backend, &keys, folder.path()).await.unwrap();
        Self { backend, keys, folder, log }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    fn archiver(&self, target: u64) -> Archiver {
        self.log.checkpoint(now()).unwrap();
        Archiver::new(&self.log, hub(), target).unwrap()
    }

    /// As after a kill: nothing of the process is left, and the files are what they are.
    async fn restart(&mut self) {
        self.log.appender().close().await;
        self.log = open(&self.backend, &self.keys, self.folder.path()).await.unwrap();
    }

    /// Archives all that may be, to the end.
    async fn archive(&self, target: u64) -> Vec<ArchiveRecord> {
        let archiver = self.archiver(target);
        let mut made = Vec::new();
        while let Some(record) = archiver.make(goal(), now(), &|| true).unwrap() {
            archiver.record(record.clone(), &told).await.unwrap();
            made.push(record);
            self.log.checkpoint(now()).unwrap();
            if made.len() > 100 {
                panic!("archiving its own entries for ever");
            }
            let _pruned = archiver.prune(1000, now(), &told, &|| true).await.unwrap();
        }
        made
    }

    async fn stored(&self) -> usize {
        self.backend.scan("w/main/b/", None, 100_000, View::Now).await.unwrap().entries.len()
    }

    fn key(&self) -> Key {
        Key::parse(&self.log.verifier_key()).unwrap()
    }
}

async fn open(
    backend: &Arc<dyn Backend>,
    keys: &Arc<SystemKeys>,
    folder: &Path,
) -> Result<Log, Error> {
    let store = Store::new(Arc::clone(backend), Arc::clone(keys));
    let writer = Writer::open(store.clone(), "main").await?;
    let (file, archives) = (Some(folder.join("checkpoint")), Some(folder.join("archive")));
    Log::open_archived(
        store,
        writer,
        "main",
        Arc::clone(keys),
        hub(),
        file,
        OnRollback::Refuse,
        archives,
    )
    .await
}

/// Reads the whole log in pages of this many, and verifies it up to the newest checkpoint.
async fn whole(log: &Log, pages: usize) -> Vec<Vec<u8>> {
    log.checkpoint(now()).unwrap();
    let mut verifier = Verifier::new();
    verifier.expect(log.latest().unwrap().checkpoint.clone()).unwrap();
    let size = log.appender().position().audit.size;
    let mut all = Vec::new();
    while (all.len() as u64) < size {
        let page = log.page(all.len() as u64, pages).await.unwrap();
        assert!(!page.is_empty(), "nothing at {}", all.len());
        for (seq, bytes) in page {
            assert_eq!(seq, all.len() as u64);
            verifier.push(&bytes).unwrap();
            all.push(bytes);
        }
    }
    verifier.finish().unwrap();
    all
}

#[tokio::test]
async fn the_log_reads_the_same_across_archives() {
    let world = World::new().await;
    append(&world.log, 300).await;
    let before = whole(&world.log, 100).await;
    let made = world.archive(64).await;
    assert!(made.len() >= 4, "{made:?}");
    assert_eq!(made[0].first, 0);
    for pair in made.windows(2) {
        assert_eq!(pair[0].end(), pair[1].first);
    }
    let archived = made.last().unwrap().end();
    let size = world.log.appender().position().audit.size;
    assert!(archived > 256 && archived < size);
    assert_eq!(world.stored().await as u64, size - archived, "batches of one entry each");
    for pages in [1, 7, 1000] {
        let after = whole(&world.log, pages).await;
        assert_eq!(after[..300], before[..]);
    }
    // From any place, one by one, and followed.
    for seq in (0..size).step_by(13) {
        let bytes = world.log.entry(seq).await.unwrap().unwrap();
        assert!(std::str::from_utf8(&bytes).unwrap().contains(&format!("\"seq\":{seq},")));
    }
    let mut follower = world.log.follow(3);
    let mut next = 3;
    while next < size {
        let group = follower.next().await.unwrap();
        for (seq, bytes, leaf) in group.entries(next) {
            assert_eq!((seq, *leaf), (next, leaf_hash(bytes)));
            next += 1;
        }
    }
}

#[tokio::test]
async fn every_archive_has_its_entries_and_little_more_is_written() {
    let world = World::new().await;
    append(&world.log, 1000).await;
    let archiver = world.archiver(1000);
    let made = archiver.make(goal(), now(), &|| true).unwrap().unwrap();
    archiver.record(made.clone(), &told).await.unwrap();
    while archiver.prune(3, now(), &told, &|| true).await.unwrap() > 0 {}
    assert!(!archiver.to_prune().await.unwrap());
    let all = whole(&world.log, 1000).await;
    let text = |seq: usize| String::from_utf8(all[seq].clone()).unwrap();
    assert!(all.len() <= 1000 + 1 + 12, "{} entries", all.len());
    assert!(text(1000).contains("\"action\":\"audit.archived\""));
    assert!(text(1000).contains(&made.sha256) && text(1000).contains(&made.file));
    assert!(text(1001).contains("\"action\":\"audit.pruned\""));
}

#[tokio::test]
async fn a_kill_between_any_two_steps_loses_nothing() {
    for kill in 0..6 {
        let backend = tempfile::tempdir().unwrap();
        let place = backend.path().join("store");
        let mut world = World::on(Arc::new(FjallBackend::create(&place).unwrap())).await;
        append(&world.log, 400).await;
        let before = whole(&world.log, 1000).await;
        {
            let archiver = world.archiver(350);
            if kill >= 1 {
                // Left behind in the middle of writing.
                std::fs::create_dir_all(world.dir()).unwrap();
                let half = world.dir().join(".main-00000000000000000000.audit.making");
                std::fs::write(half, b"half of it").unwrap();
            }
            if kill >= 2 {
                let made = archiver.make(goal(), now(), &|| true).unwrap().unwrap();
                if kill >= 3 {
                    archiver.record(made, &told).await.unwrap();
                }
                if kill >= 4 {
                    let commits = kill - 3;
                    let pruned = archiver.prune(commits, now(), &told, &|| true).await.unwrap();
                    assert_eq!(pruned, commits as u64 * 90);
                }
            }
        }
        world.restart().await;
        assert_eq!(whole(&world.log, 64).await[..400], before[..], "kill {kill}");
        world.archive(350).await;
        world.restart().await;
        assert_eq!(whole(&world.log, 1000).await[..400], before[..], "kill {kill}");
        assert!(world.log.archives().unwrap().end() >= 350);
        assert!(world.log.archives().unwrap().problems().is_empty());
        let names: Vec<_> = std::fs::read_dir(world.dir()).unwrap().collect();
        assert_eq!(names.len(), world.log.archives().unwrap().list().len(), "{names:?}");
        world.log.appender().close().await;
    }
}

/// A small generator, so that a failure can be told again by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

#[tokio::test]
async fn any_sequence_of_appends_archives_and_restarts_reads_the_same() {
    for seed in 0..30 {
        let mut random = Random(seed);
        let mut world = World::new().await;
        let mut known: Vec<Vec<u8>> = Vec::new();
        for _ in 0..12 {
            let archiver = world.archiver(1 + random.below(70));
            match random.below(6) {
                0 | 1 => append(&world.log, random.below(90)).await,
                2 => {
                    if let Some(made) = archiver.make(goal(), now(), &|| true).unwrap()
                        && random.below(4) > 0
                    {
                        archiver.record(made, &told).await.unwrap();
                    }
                }
                3 => {
                    let commits = random.below(3) as usize;
                    archiver.prune(commits, now(), &told, &|| true).await.unwrap();
                }
                4 => {
                    world.archive(1 + random.below(50)).await;
                }
                _ => world.restart().await,
            }
            drop(archiver);
            let all = whole(&world.log, 1 + random.below(200) as usize).await;
            assert_eq!(all[..known.len()], known[..], "seed {seed}");
            known = all;
        }
    }
}

fn examined(path: &Path, key: &Key) -> Result<Examined, hub_audit::archive::Damage> {
    examine(&Archive::open(path)?, std::slice::from_ref(key), &[], &mut |_| ())
}

#[tokio::test]
async fn whatever_byte_is_changed_is_found_and_its_place_named() {
    let world = World::new().await;
    let long = "x".repeat(300);
    for _ in 0..60 {
        let _receipt = world.log.appender().append(&entry(&long), Changes::new()).await.unwrap();
    }
    let archiver = world.archiver(50);
    let made = archiver.make(goal(), now(), &|| true).unwrap().unwrap();
    let (path, key) = (world.dir().join(&made.file), world.key());
    let good = std::fs::read(&path).unwrap();
    let found = examined(&path, &key).unwrap();
    assert_eq!((found.first, found.end, found.bytes), (0, 50, good.len() as u64));
    let sections = Archive::open(&path).unwrap().summary().sections;
    let copy = world.folder.path().join("copy.audit");
    let mut random = Random(1);
    let wrong = |bytes: &[u8]| {
        std::fs::write(&copy, bytes).unwrap();
        examined(&copy, &key).expect_err("altered and not found")
    };
    for round in 0..4000 {
        let at = random.below(good.len() as u64);
        let mut bytes = good.clone();
        bytes[at as usize] ^= 1 << random.below(8);
        let damage = wrong(&bytes);
        // The named place holds the byte, or is the summary that speaks for it.
        let range = damage.place.split("bytes ").nth(1).unwrap_or_default();
        let range = range.trim_end_matches(')').split_once(" to ");
        if let Some((from, to)) = range
            && at < sections[3].end()
        {
            let (from, to): (u64, u64) = (from.parse().unwrap(), to.parse().unwrap());
            assert!((from..to).contains(&at), "round {round}: byte {at}, told {damage}");
        }
        if (sections[1].offset..sections[1].end()).contains(&at) {
            assert!(damage.place.starts_with("entries "), "{damage}");
        }
    }
    for _ in 0..500 {
        let cut = random.below(good.len() as u64) as usize;
        let _damage = wrong(&good[..cut]);
        let mut longer = good.clone();
        longer.insert(cut, random.below(256) as u8);
        let _damage = wrong(&longer);
        let mut shorter = good.clone();
        shorter.remove(cut);
        let _damage = wrong(&shorter);
    }
    let other = SystemKeys::generate().unwrap().checkpoint_keys().active().public();
    let other = hub_audit::checkpoint::verifier_key(&format!("{}.audit", hub()), &other);
    let refused = examined(&path, &Key::parse(&other).unwrap()).unwrap_err();
    assert!(refused.to_string().contains("signature"), "{refused}");
}

const SAMPLE: &str = "../../tests/formats/audit-archive.audit";
const SAMPLE_KEY: &str = "../../tests/formats/audit-archive.txt";

/// The second archive of a small log, so that its head has a frontier.
#[tokio::test]
#[ignore = "writes the frozen sample anew, which a change of the format alone may do"]
async fn write_the_sample() {
    let world = World::new().await;
    append(&world.log, 9).await;
    let made = world.archive(5).await;
    std::fs::copy(world.dir().join(&made[1].file), SAMPLE).unwrap();
    let facts = format!("{}\n{}\n{}\n", world.log.verifier_key(), made[1].sha256, made[1].chain);
    std::fs::write(SAMPLE_KEY, facts).unwrap();
}

#[test]
fn the_frozen_sample_verifies() {
    let facts = std::fs::read_to_string(SAMPLE_KEY).unwrap();
    let mut lines = facts.lines();
    let key = Key::parse(lines.next().unwrap()).unwrap();
    let found = examined(Path::new(SAMPLE), &key).unwrap();
    assert_eq!((found.first, found.end), (5, 9));
    assert_eq!(found.frontier_before.len(), 2);
    assert_eq!(hub_audit::encode::hex(&found.sha256), lines.next().unwrap());
    assert_eq!(hub_audit::encode::hex(&found.after), lines.next().unwrap());
    let bytes = std::fs::read(SAMPLE).unwrap();
    assert_eq!(bytes[..9], *b"CHUBARCH\x01");
    assert_eq!(bytes[9..25], [7; 16]);
    assert_eq!(bytes[25..33], 5u64.to_be_bytes());
}

#[tokio::test]
async fn archives_continue_one_another_and_meet_checkpoints() {
    let world = World::new().await;
    append(&world.log, 70).await;
    world.log.checkpoint(now()).unwrap();
    let seen = world.log.latest().unwrap().checkpoint.clone();
    append(&world.log, 130).await;
    let made = world.archive(60).await;
    let key = world.key();
    let found: Vec<_> =
        made.iter().map(|m| examined(&world.dir().join(&m.file), &key).unwrap()).collect();
    assert!(found.len() >= 3);
    for pair in found.windows(2) {
        continues(&pair[0], &pair[1]).unwrap();
    }
    let gap = continues(&found[0], &found[2]).unwrap_err();
    assert!(gap.contains("missing"), "{gap}");
    assert!(continues(&found[1], &found[1]).unwrap_err().contains("both hold"));
    // The checkpoint over 70 entries lies within the second.
    let second = Archive::open(&world.dir().join(&made[1].file)).unwrap();
    let keys = [key];
    let met = examine(&second, &keys, std::slice::from_ref(&seen), &mut |_| ()).unwrap();
    assert_eq!(met.checkpoints, 1);
    let mut other = seen;
    other.root = [1; 32];
    let damage = examine(&second, &keys, &[other], &mut |_| ()).unwrap_err();
    assert!(damage.to_string().contains("root at 70"), "{damage}");
}

#[tokio::test]
async fn a_missing_or_damaged_archive_names_itself_and_its_range() {
    let mut world = World::new().await;
    append(&world.log, 200).await;
    let made = world.archive(60).await;
    let path = world.dir().join(&made[1].file);
    let away = world.folder.path().join("away");
    std::fs::rename(&path, &away).unwrap();
    world.restart().await;
    let problems = world.log.archives().unwrap().problems();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].contains(&made[1].file) && problems[0].contains("60 to 119"));
    let error = world.log.page(70, 10).await.unwrap_err();
    assert!(matches!(&error, Error::Archive { first: 60, last: 119, .. }), "{error}");
    assert!(error.to_string().contains(&made[1].file));
    assert_eq!(world.log.page(0, 10).await.unwrap().len(), 10);
    assert!(!world.log.page(made.last().unwrap().end(), 10).await.unwrap().is_empty());
    // It comes back.
    std::fs::rename(&away, &path).unwrap();
    world.log.archives().unwrap().look();
    assert!(world.log.archives().unwrap().problems().is_empty());
    assert_eq!(world.log.page(70, 10).await.unwrap().len(), 10);
    // And is damaged in a batch.
    let mut bytes = std::fs::read(&path).unwrap();
    let at = Archive::open(&path).unwrap().summary().sections[1].offset as usize + 100;
    bytes[at] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let archives = world.log.archives().unwrap();
    let held = Arc::clone(&archives.list()[1]);
    let error = archives.check(&held, now(), &|| true).unwrap_err();
    assert!(error.to_string().contains("entries 60 to 60"), "{error}");
    assert!(matches!(&*held.state(), State::Damaged(why) if why.contains("entries 60 to 60")));
    assert!(world.log.page(60, 10).await.is_err());
}

#[tokio::test]
async fn a_damaged_archive_is_not_pruned_and_harms_nothing() {
    let mut world = World::new().await;
    append(&world.log, 100).await;
    let before = whole(&world.log, 100).await;
    {
        let archiver = world.archiver(90);
        let made = archiver.make(goal(), now(), &|| true).unwrap().unwrap();
        archiver.record(made.clone(), &told).await.unwrap();
        let path = world.dir().join(made.file);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[400] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    world.restart().await;
    let archiver = world.archiver(90);
    assert!(archiver.prune(9, now(), &told, &|| true).await.is_err());
    assert_eq!(world.stored().await, 101);
    assert_eq!(whole(&world.log, 7).await[..100], before[..]);
}

#[tokio::test]
async fn only_old_entries_under_a_checkpoint_go() {
    let world = World::new().await;
    append(&world.log, 20).await;
    let unseen = Archiver::new(&world.log, hub(), 10).unwrap();
    assert_eq!(unseen.make(goal(), now(), &|| true).unwrap(), None, "no checkpoint yet");
    let archiver = world.archiver(10);
    let same = Timestamp::from_micros(THEN);
    let young = Goal { before: same, partial_before: same };
    assert_eq!(archiver.make(young, now(), &|| true).unwrap(), None);
    assert_eq!(archiver.survey(same).await.unwrap().entries, 0);
    let survey = archiver.survey(goal().before).await.unwrap();
    assert_eq!((survey.entries, survey.archives), (19, 2));
    // One that is not full waits.
    let patient = Goal { partial_before: same, ..goal() };
    let made = archiver.make(patient, now(), &|| true).unwrap().unwrap();
    assert_eq!(made.entries, 10);
    archiver.record(made, &told).await.unwrap();
    assert_eq!(archiver.make(patient, now(), &|| true).unwrap(), None);
    // Being stopped leaves nothing behind.
    assert_eq!(archiver.make(goal(), now(), &|| false).unwrap(), None);
    assert_eq!(std::fs::read_dir(world.dir()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_stranger_in_the_place_of_an_archive_is_kept() {
    let world = World::new().await;
    append(&world.log, 20).await;
    std::fs::create_dir_all(world.dir()).unwrap();
    let name = "main-00000000000000000000.audit";
    std::fs::write(world.dir().join(name), b"of another history").unwrap();
    let made = world.archive(10).await;
    assert_eq!(made[0].file, name);
    let aside = world.dir().join(format!("{name}.aside-1"));
    assert_eq!(std::fs::read(aside).unwrap(), b"of another history");
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_an_error_and_nothing_more() {
    let world = World::new().await;
    append(&world.log, 20).await;
    std::fs::write(world.dir(), b"no folder").unwrap();
    let archiver = world.archiver(10);
    let error = archiver.make(goal(), now(), &|| true).unwrap_err();
    assert!(matches!(error, Error::ArchiveFile { .. }), "{error}");
    assert_eq!(whole(&world.log, 7).await.len(), 20);
}

#[tokio::test]
async fn entries_of_another_history_are_not_archived_and_nothing_is_deleted() {
    // One entry of another history breaks the chain; all of them have another root.
    for (altered, expected) in [(5..6, "does not follow"), (0..300, "checkpoint")] {
        let world = World::new().await;
        append(&world.log, 300).await;
        let archiver = world.archiver(64);
        let elsewhere = tempfile::tempdir().unwrap();
        let other: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
        let log = open(&other, &world.keys, elsewhere.path()).await.unwrap();
        for n in 0..300 {
            let other = entry(&format!("other {n}"));
            let _receipt = log.appender().append(&other, Changes::new()).await.unwrap();
        }
        let found = other.scan("w/main/b/", None, 1000, View::Now).await.unwrap().entries;
        assert_eq!(found.len(), 300, "a batch each");
        for (n, entry) in found.into_iter().enumerate() {
            if altered.contains(&n) {
                let mut txn = hub_store::Txn::new();
                txn.put(entry.path, entry.value).unwrap();
                world.backend.commit(txn).await.unwrap();
            }
        }
        let stored = world.stored().await;
        let Err(Error::NotArchived(reason)) = archiver.make(goal(), now(), &|| true) else {
            panic!("archived what the log never was");
        };
        assert!(reason.contains(expected), "{reason}");
        assert_eq!(std::fs::read_dir(world.dir()).unwrap().count(), 0, "a file was left");
        assert_eq!(archiver.prune(1000, now(), &told, &|| true).await.unwrap(), 0);
        assert_eq!(world.stored().await, stored);
    }
}

#[tokio::test]
async fn no_archive_is_made_while_its_record_could_not_be_written() {
    let world = World::new().await;
    append(&world.log, 100).await;
    let archiver = world.archiver(64);
    let appender = world.log.appender();
    appender.set_sinks_behind(true);
    assert!(matches!(archiver.make(goal(), now(), &|| true), Err(Error::NotArchived(_))));
    appender.set_sinks_behind(false);
    appender.set_low_space(true);
    assert!(matches!(archiver.make(goal(), now(), &|| true), Err(Error::NotArchived(_))));
    assert!(!world.dir().exists());
    appender.set_low_space(false);
    assert!(archiver.make(goal(), now(), &|| true).unwrap().is_some());
}
