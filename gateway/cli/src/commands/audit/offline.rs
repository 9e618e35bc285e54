//! `cipher-hub audit verify FOLDER`: an export under public keys, without a network.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use cipher_hub_client::Client;
use hub_audit::verify::offline::{self, Proven};
use hub_audit::verify::{Failed, Kept, Keyring, What};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::super::super::failure::{Code, Failure};
use super::super::super::output::clean;
use super::super::super::run::Session;
use super::{VerifyArgs, rotations};

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(100);
/// Between two lines of progress where there is no terminal.
const WORD: Duration = Duration::from_secs(10);
/// The longest file of keys.
const MAX_KEYS: usize = 256 * 1024;

/// The keys given: each is a verifier key, or a file of them.
pub(super) fn keyring(given: &[String]) -> Result<Keyring, Failure> {
    let mut keys = Keyring::default();
    for text in vkeys(given)? {
        let parsed = Keyring::parse(&text).map_err(|error| {
            let hint = "a verifier key reads NAME+ID+BASE64, as `audit verify` shows it";
            Failure::usage(error.to_string(), hint)
        })?;
        keys.extend(parsed);
    }
    Ok(keys)
}

/// Every key the hub names, those before a rotation too; `newest` where it may not be asked.
pub(super) async fn by_word(
    client: &Client,
    newest: Option<String>,
    session: &mut Session<'_>,
) -> Result<Vec<String>, Failure> {
    let keys: Vec<String> = match (client.signing_keys().await, newest) {
        (Ok(found), _) => found.items.into_iter().map(|key| key.verifier_key).collect(),
        (Err(_), Some(newest)) => vec![newest],
        (Err(error), None) => return Err(error.into()),
    };
    for key in &keys {
        session.console.note(&format!("verifier key, by the hub's word: {key}"));
    }
    Ok(keys)
}

/// The texts given, files of them read.
pub(super) fn vkeys(given: &[String]) -> Result<Vec<String>, Failure> {
    let mut texts = Vec::new();
    for text in given {
        let path = Path::new(text);
        let text = if !text.contains('+') || path.is_file() {
            let bytes = std::fs::File::open(path)
                .and_then(|file| super::super::super::files::up_to(file, MAX_KEYS))
                .map_err(|error| Failure::file(path, &error))?;
            if bytes.len() > MAX_KEYS {
                let message = format!("{} is longer than {MAX_KEYS} bytes", path.display());
                return Err(Failure::usage(message, "a file of keys has one a line"));
            }
            String::from_utf8_lossy(&bytes).into_owned()
        } else {
            text.clone()
        };
        texts.push(text);
    }
    Ok(texts)
}

/// Checkpoints from files.
pub(super) fn kept(files: &[PathBuf], keys: &Keyring) -> Result<Vec<Kept>, Failure> {
    files.iter().map(|file| offline::keep(file, keys).map_err(failure)).collect()
}

pub(super) async fn run(args: VerifyArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let VerifyArgs {
        path,
        verifier_key: given,
        checkpoint: checkpoints,
        follow_rotations,
        keys_out,
        allow_uncovered,
    } = args;
    rotations::KeysOut::check(keys_out.as_ref())?;
    let path = path.unwrap_or_default();
    if given.is_empty() {
        return Err(Failure::usage(
            "an export is verified under a key from a place you trust: --verifier-key",
            "`verifier-keys` of an export is but the hub's own word: ask who runs the hub",
        ));
    }
    let (mut keys, mut anchors) = (keyring(&given)?, Vec::new());
    let mut followed = None;
    if follow_rotations {
        let (path, files) = (path.clone(), checkpoints.clone());
        let length = offline::length(&path);
        let work = move |told: &mut dyn FnMut(u64)| offline::follow(&path, keys, &files, told);
        let follower = watched(session, length, work).await?.map_err(rotations::failure)?;
        rotations::say(&follower, session);
        keys = follower.keys().clone();
        followed = keys_out.map(|file| rotations::KeysOut::new(file, &follower));
        // What is read a second time must be the log that led to them.
        anchors.extend(follower.anchors());
    }
    let mut kept = kept(&checkpoints, &keys)?;
    let anchored = u64::try_from(anchors.len()).unwrap_or(0);
    kept.extend(anchors);
    let whole = path.is_dir();
    if !whole && kept.is_empty() {
        return Err(Failure::usage(
            "bare entries prove nothing without a checkpoint: --checkpoint FILE",
            "or name the folder of an export",
        ));
    }
    let (length, shown) = (offline::length(&path), path.display().to_string());
    let work = move |told: &mut dyn FnMut(u64)| {
        if whole {
            offline::folder(&path, &keys, kept, told)
        } else {
            offline::bare(&path, kept, allow_uncovered, told)
        }
    };
    let outcome = watched(session, length, work).await?;
    let mut proven = outcome.map_err(failure)?;
    // Only what the caller kept is evidence from elsewhere.
    proven.kept = proven.kept.saturating_sub(anchored);
    say(session, &shown, &proven)?;
    match followed {
        Some(keys) => keys.keep(session).await,
        None => Ok(()),
    }
}

/// Does long work off this thread, so that an interrupt is heard, and shows how far it is.
async fn watched<T: Send + 'static>(
    session: &mut Session<'_>,
    length: u64,
    work: impl FnOnce(&mut dyn FnMut(u64)) -> T + Send + 'static,
) -> Result<T, Failure> {
    let (sender, done) = mpsc::channel();
    let mut work = tokio::task::spawn_blocking(move || {
        work(&mut |bytes| {
            let _ = sender.send(bytes);
        })
    });
    let mut progress = Progress::new(session, length);
    let outcome = loop {
        match tokio::time::timeout(LOOK, &mut work).await {
            Ok(outcome) => break outcome,
            Err(_) => progress.at(session, done.try_iter().last()),
        }
    };
    progress.bar.finish_and_clear();
    outcome.map_err(|error| Failure::output(&std::io::Error::other(error)))
}

fn say(session: &mut Session<'_>, shown: &str, proven: &Proven) -> Result<(), Failure> {
    let Proven { manifest, entries, size, root, covered, kept } = proven;
    let mut text = format!("ok  {entries} entries in {shown}");
    match (manifest, root) {
        (Some(_), Some(root)) => {
            text.push_str(&format!(
                ", in the log of {size} that a signed checkpoint covers; root {root}"
            ));
        }
        (None, Some(root)) => {
            text.push_str(&format!(
                ", each chained to the one before, the first {covered} under a signed checkpoint; \
                 root {root}"
            ));
        }
        _ => text.push_str(", as the hub has signed them"),
    }
    if *kept > 0 {
        text.push_str(&format!("; {kept} kept checkpoints agree"));
    }
    session.console.line(&clean(&text))?;
    if manifest.is_none() && covered < entries {
        let last = entries.saturating_sub(1);
        let note = format!("entries {covered} to {last} are not proven: no checkpoint covers them");
        session.console.note(&note);
    }
    let Some(manifest) = manifest else { return Ok(()) };
    let mut facts = format!("signed {} by {}", manifest.time, manifest.origin);
    if let Some(registration) = manifest.registration {
        facts.push_str(&format!(", of registration {registration} alone"));
    }
    facts.push_str(&format!(", entries {} to before {}", manifest.range.0, manifest.range.1));
    if root.is_none() {
        facts.push_str("; this form cannot be held against the log itself, JSON Lines can");
    }
    session.console.note(&facts);
    Ok(())
}

pub(super) fn failure(failed: Failed) -> Failure {
    match failed {
        Failed::Wrong { ref what, .. } => {
            let hint = match what {
                What::Uncovered { .. } => {
                    "give a newer checkpoint, or --allow-uncovered to let them pass unproven"
                }
                _ => {
                    "keep the files as they are; is it the right key (after a rotation give the \
                     key before and the new one, or --follow-rotations), and was the export made \
                     whole?"
                }
            };
            Failure::new(Code::NotVerified, clean(&failed.to_string()), hint)
        }
        Failed::Unreadable { path, source } => Failure::file(&path, &source),
    }
}

/// A bar on a terminal, else a line now and then.
struct Progress {
    bar: ProgressBar,
    length: u64,
    said: Instant,
}

impl Progress {
    fn new(session: &Session<'_>, length: u64) -> Self {
        let visible = session.console.err_terminal && !session.global.quiet;
        let target =
            if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(length), target);
        let form = "{bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  {eta}";
        if let Ok(style) = ProgressStyle::with_template(form) {
            bar.set_style(style);
        }
        Self { bar, length, said: Instant::now() }
    }

    fn at(&mut self, session: &mut Session<'_>, done: Option<u64>) {
        let Some(done) = done else { return };
        self.bar.set_position(done);
        if !session.console.err_terminal && self.said.elapsed() >= WORD {
            session.console.note(&format!("{done} of {} bytes", self.length));
            self.said = Instant::now();
        }
    }
}
