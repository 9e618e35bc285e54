//! What a store is after its process was killed, after its files rotted, and for other users of the
//! machine. Each scene is played by a child process: this binary, asked for an ignored test, told
//! where to play on standard input.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "helpers of tests fail loudly"
)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path as FilePath, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use common::{
    Random, batch_path, chained, expected_records, load_keys, numbered_commit, save_keys,
};
use hub_store::{Backend, Error, FjallBackend, Store, Writer, block_on};

const SLOTS: u64 = 50;

/// This binary again, playing one ignored test.
struct Actor {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Actor {
    fn start(scene: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", scene, "--nocapture", "--test-threads=1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    fn tell(&mut self, place: &FilePath) {
        // A child that has died is found out by what it does not say.
        drop(writeln!(self.input, "{}", place.display()));
        drop(self.input.flush());
    }

    /// The next line meant for us; `None` when the child is gone.
    fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.output.read_line(&mut line).unwrap_or(0) == 0 {
                return None;
            }
            // The test harness may have written on the same line before.
            if let Some((_, said)) = line.split_once("say: ") {
                return line.ends_with('\n').then(|| said.trim_end().to_owned());
            }
        }
    }

    fn end(mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Told in the child: where to play. Nothing when a human runs the ignored tests.
fn told() -> Option<PathBuf> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).unwrap();
    let place = line.trim_end();
    (!place.is_empty()).then(|| PathBuf::from(place))
}

fn say(what: &str) {
    let mut output = std::io::stdout().lock();
    writeln!(output, "say: {what}").unwrap();
    output.flush().unwrap();
}

fn writer(place: &FilePath) -> (Arc<FjallBackend>, Writer) {
    let backend = Arc::new(FjallBackend::open_or_create(&place.join("store")).unwrap());
    let store = Store::new(backend.clone(), load_keys(&place.join("keys")));
    let writer = block_on(Writer::open(store, "node")).unwrap();
    (backend, writer)
}

#[test]
#[ignore = "played by a child process"]
fn scene_commits_until_killed() {
    let Some(place) = told() else { return };
    let (backend, mut writer) = writer(&place);
    loop {
        let number = numbered_commit(&mut writer, SLOTS);
        say(&number.to_string());
        if number.is_multiple_of(97) {
            // Also be killed while tables are written.
            backend.flush_tables().unwrap();
        }
    }
}

#[test]
fn kill_9_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    save_keys(&dir.path().join("keys"));
    let mut random = Random(11);
    let (mut acknowledged, mut unclean) = (0u64, 0);
    for round in 0..20 {
        let mut actor = Actor::start("scene_commits_until_killed");
        actor.tell(dir.path());
        let first = actor.hear().expect("the child did not start");
        let pid = actor.child.id();
        // Read on while the child is killed at some moment; what it said before counts.
        let wait = Duration::from_micros(random.below(60_000));
        let killer = std::thread::spawn(move || {
            std::thread::sleep(wait);
            let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        });
        let mut last: u64 = first.parse().unwrap();
        while let Some(said) = actor.hear() {
            last = said.parse().unwrap();
        }
        killer.join().unwrap();
        actor.end();
        assert!(last > acknowledged, "round {round}");
        acknowledged = last;

        let (backend, writer) = writer(dir.path());
        unclean += u32::from(!backend.stopped_cleanly());
        let head = writer.head().clone();
        assert!(head.commits == acknowledged || head.commits == acknowledged + 1);
        let report = block_on(writer.store().verify_digest("node", &mut |_| ())).unwrap();
        assert!(report.is_sound(), "round {round}");
        assert_eq!(contents(writer.store()), Ok(expected_records(head.commits, SLOTS)));
        assert_eq!(chain(writer.store(), head.commits), Some(head.audit.chain));
        acknowledged = head.commits;
    }
    // The first open of a round follows a kill; ours in between end without a word, too.
    assert_eq!(unclean, 20);
    println!("20 kills, {acknowledged} commits, 0 lost");
}

fn contents(store: &Store) -> Result<std::collections::BTreeMap<String, u64>, String> {
    let page = block_on(store.scan::<u64>("k/", None, 1000)).map_err(|e| e.to_string())?;
    Ok(page.records.into_iter().map(|(at, found)| (at.to_string(), found.value)).collect())
}

/// The chain over the audit batches, if all are there.
fn chain(store: &Store, commits: u64) -> Option<[u8; 32]> {
    (1..=commits).try_fold([0; 32], |chain, number| {
        let batch = block_on(store.read_bytes(&batch_path(number))).ok()??;
        Some(chained(chain, &batch.value))
    })
}

#[test]
#[ignore = "played by a child process"]
fn scene_inspects_stores() {
    while let Some(place) = told() {
        say(&inspect(&place));
    }
}

/// What starting the gateway would find out about a store, in one line.
fn inspect(place: &FilePath) -> String {
    let backend = match FjallBackend::open(&place.join("store")) {
        Ok(backend) => Arc::new(backend),
        Err(error) => return format!("refused {error}").replace('\n', " "),
    };
    let store = Store::new(backend, load_keys(&place.join("keys")));
    let report = match block_on(store.verify_digest("node", &mut |_| ())) {
        Ok(report) => report,
        Err(error) => return format!("unreadable {error}").replace('\n', " "),
    };
    if !report.is_sound() {
        return "digest".to_owned();
    }
    let commits = report.head.commits;
    if chain(&store, commits) != Some(report.head.audit.chain) {
        return "chain".to_owned();
    }
    let right = contents(&store) == Ok(expected_records(commits, SLOTS));
    format!("sound {commits} {}", if right { "right" } else { "wrong" })
}

const COMMITS: u64 = 600;

/// A store with records in tables of several levels and in the journal.
fn specimen(place: &FilePath) {
    let (backend, mut writer) = writer(place);
    for number in 1..=COMMITS {
        numbered_commit(&mut writer, SLOTS);
        if number.is_multiple_of(150) && number < COMMITS {
            backend.flush_tables().unwrap();
        }
    }
    drop((backend, writer));
    // Opening cuts the preallocated tail of the journal off: less to copy.
    drop(FjallBackend::open(&place.join("store")).unwrap());
}

fn files(dir: &FilePath) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_path_buf()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { left.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

fn copy(from: &FilePath, to: &FilePath) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, target).unwrap();
    }
}

/// One damage at a random place of the bytes; true if it changed them.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) -> bool {
    let before = bytes.clone();
    let length = bytes.len() as u64;
    let start = random.below(length) as usize;
    let end = (start + 1 + random.below(600) as usize).min(bytes.len());
    match random.below(10) {
        0..=5 => {
            let bit = random.below(length * 8) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        6 => bytes[start..end].fill(0),
        7 => bytes.truncate(start),
        8 => {
            let range = bytes[start..end].to_vec();
            bytes.splice(start..start, range);
        }
        _ => {
            bytes.drain(start..end);
        }
    }
    *bytes != before
}

#[test]
fn rot_in_any_file_is_never_silent() {
    let rounds = rot_rounds();
    let dir = tempfile::tempdir().unwrap();
    let original = dir.path().join("original");
    fs::create_dir(&original).unwrap();
    save_keys(&original.join("keys"));
    specimen(&original);
    let all: Vec<PathBuf> = files(&original.join("store"))
        .into_iter()
        .filter(|file| fs::metadata(file).unwrap().len() > 0)
        .collect();
    assert!(all.len() >= 8, "{all:?}");

    let mut random = Random(2026);
    let mut counts = std::collections::BTreeMap::<&str, u32>::new();
    let mut actor = Actor::start("scene_inspects_stores");
    for round in 0..rounds {
        let place = dir.path().join("damaged");
        copy(&original, &place);
        // In turn, so that small files get their share.
        let file = &all[round % all.len()];
        let mut bytes = fs::read(file).unwrap();
        if !damage(&mut bytes, &mut random) {
            fs::remove_dir_all(&place).unwrap();
            continue;
        }
        fs::write(place.join(file.strip_prefix(&original).unwrap()), bytes).unwrap();
        actor.tell(&place);
        let verdict = match actor.hear() {
            Some(said) => said,
            None => {
                actor.end();
                actor = Actor::start("scene_inspects_stores");
                "aborted".to_owned()
            }
        };
        let kind = match verdict.split(' ').collect::<Vec<_>>().as_slice() {
            ["refused", ..] => "refused at open",
            ["unreadable", ..] => "refused at reading",
            ["digest"] => "found by the digest",
            ["chain"] => "found by the audit chain",
            ["aborted"] => "aborted",
            // The checkpoint outside the store knows of the last commit.
            ["sound", commits, "right"] if *commits != COMMITS.to_string() => {
                "found by the checkpoint"
            }
            ["sound", _, "right"] => "harmless",
            _ => panic!("silent: round {round}, {}: {verdict}", file.display()),
        };
        *counts.entry(kind).or_default() += 1;
        fs::remove_dir_all(&place).unwrap();
    }
    actor.end();
    println!("{rounds} damages in {} files: {counts:?}", all.len());
    // Not everything may be refused, or the test looks at nothing.
    assert!(counts.get("harmless").is_some_and(|count| *count > 0), "{counts:?}");
}

/// A few hundred; many more where somebody has the time.
fn rot_rounds() -> usize {
    #[expect(clippy::disallowed_methods, reason = "the length of a test is no configuration")]
    let rounds = std::env::var("ROT_ROUNDS").ok();
    rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(400)
}

#[test]
#[ignore = "played by a child process"]
fn scene_works_without_umask() {
    let Some(place) = told() else { return };
    rustix::process::umask(rustix::fs::Mode::empty());
    let (backend, mut writer) = writer(&place);
    for _ in 0..20 {
        numbered_commit(&mut writer, SLOTS);
    }
    backend.flush_tables().unwrap();
    hub_store::durable_file::write_atomic(&place.join("checkpoint"), b"x", 0o600).unwrap();
    block_on(backend.close()).unwrap();
    say("done");
}

#[test]
fn files_are_private_even_without_umask() {
    let dir = tempfile::tempdir().unwrap();
    save_keys(&dir.path().join("keys"));
    let mut actor = Actor::start("scene_works_without_umask");
    actor.tell(dir.path());
    assert_eq!(actor.hear().as_deref(), Some("done"));
    actor.end();
    let store = dir.path().join("store");
    let mode = |path: &FilePath| fs::metadata(path).unwrap().mode() & 0o7777;
    let mut seen = 0;
    for file in files(&store).into_iter().chain([dir.path().join("checkpoint")]) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
        let parent = file.parent().unwrap();
        if parent != dir.path() {
            assert_eq!(mode(parent), 0o700, "{}", parent.display());
        }
        seen += 1;
    }
    assert!(seen >= 8);
    // Widened by somebody, it is narrowed again.
    let open_to_all = |path: &FilePath, mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(path, mode).unwrap();
    };
    open_to_all(&store, 0o755);
    open_to_all(&store.join("version"), 0o644);
    drop(FjallBackend::open(&store).unwrap());
    assert_eq!((mode(&store), mode(&store.join("version"))), (0o700, 0o600));
}

#[test]
fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    save_keys(&dir.path().join("keys"));
    let mut actor = Actor::start("scene_commits_until_killed");
    actor.tell(dir.path());
    actor.hear().unwrap();
    let outcome = FjallBackend::open(&dir.path().join("store"));
    assert!(matches!(outcome, Err(Error::Locked(_))));
    actor.end();
}
