//! `cipher-hub audit verify --follow-rotations`: trust that follows the key that signs checkpoints.

use std::path::PathBuf;

use cipher_hub_client::Client;
use hub_audit::verify::{Failed, Follower, Keyring, MAX_NOTE, MAX_NOTES, What, offline as files};

use super::super::super::failure::{Code, Failure};
use super::super::super::files::{blocking, write_private};
use super::super::super::output::clean;
use super::super::super::run::Session;
use super::{PAGE, Progress, offline, tampered};

/// Of each rotation a checkpoint over its entry, the first that is kept, and the entry of the last
/// rotation. What the hub says of rotations is a hint where to look; what a checkpoint proves, its
/// signature says.
pub(super) async fn notes(client: &Client) -> Result<(Vec<String>, Option<u64>), Failure> {
    let keys = client.signing_keys().await?.items;
    // The first key was named by nobody.
    let rotations: Vec<u64> = keys.iter().skip(1).map(|key| key.first_sequence).collect();
    let mut found = Vec::new();
    for entry in rotations.iter().take(MAX_NOTES) {
        match client.checkpoint(&format!("over-{entry}")).await.map_err(Failure::from) {
            Ok(checkpoint) if checkpoint.note.len() <= MAX_NOTE => found.push(checkpoint.note),
            Err(failure) if is_the_clients(failure.code) => return Err(failure),
            // None is kept, or cannot be read: others may do.
            Ok(_) | Err(_) => {}
        }
    }
    found.dedup();
    Ok((found, rotations.last().copied()))
}

/// Whether no other question would be answered either.
const fn is_the_clients(code: Code) -> bool {
    matches!(code, Code::NotAuthenticated | Code::Denied | Code::Unavailable | Code::Interrupted)
}

/// Reads the hub's log up to the last rotation, and to a checkpoint over it that a trusted key has
/// signed.
pub(super) async fn follow(
    client: &Client,
    keys: Keyring,
    kept: &[PathBuf],
    session: &mut Session<'_>,
) -> Result<Follower, Failure> {
    let mut found = Vec::new();
    for file in kept {
        found.extend(files::notes(file).map_err(offline::failure)?);
    }
    let (by_the_hub, last) = notes(client).await?;
    found.extend(by_the_hub);
    let mut follower = Follower::new(keys, found);
    let mut page = client.audit_events(0, Some(PAGE)).await?;
    let size = page.size;
    let wanted = last.map_or(0, |last| last.saturating_add(1)).min(size);
    let mut progress = Progress::new(session, wanted);
    while follower.size() < follower.awaits().unwrap_or(wanted) {
        if page.items.is_empty() || follower.size() >= size {
            break;
        }
        for record in &page.items {
            let pushed = follower.push(record.bytes.as_bytes());
            pushed.map_err(|finding| tampered(finding.to_string()))?;
        }
        progress.at(session, follower.size());
        page = client.audit_events(follower.size(), Some(PAGE)).await?;
    }
    progress.end();
    if let Some(seen) = follower.awaits() {
        let read = follower.size();
        let message = format!("it ends before entry {read}, but a checkpoint has seen {seen}");
        return Err(tampered(message));
    }
    say(&follower, session);
    Ok(follower)
}

/// A file for the keys that are trusted, to be given to other commands. It is a new one: fewer keys
/// must not take the place of more, nor of a kept checkpoint.
pub(super) struct KeysOut {
    file: PathBuf,
    keys: Keyring,
    pending: Option<u64>,
}

impl KeysOut {
    /// Looks, before anything is read, whether it can be made.
    pub(super) fn check(file: Option<&PathBuf>) -> Result<(), Failure> {
        let Some(file) = file else { return Ok(()) };
        if std::fs::symlink_metadata(file).is_ok() {
            let message = format!("{} is there already (--keys-out)", file.display());
            return Err(Failure::usage(message, "name a file that is not there yet"));
        }
        match file.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) if !parent.is_dir() => {
                Err(Failure::file(parent, &std::io::ErrorKind::NotADirectory.into()))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn new(file: PathBuf, follower: &Follower) -> Self {
        Self { file, keys: follower.keys().clone(), pending: follower.pending() }
    }

    /// Writes the keys, unless there is one that could not be followed.
    pub(super) async fn keep(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let Self { file, keys, pending } = self;
        if let Some(entry) = pending {
            let message = format!(
                "no keys were written: entry {entry} names another one, which was not followed"
            );
            let hint = "ask again when a checkpoint covers it, or give that key: --verifier-key";
            return Err(Failure::new(Code::Failed, message, hint));
        }
        if session.global.dry_run {
            return Ok(());
        }
        // Reading the log can take long.
        Self::check(Some(&file))?;
        let (path, text) = (file.clone(), keys.text());
        let written = blocking(move || write_private(&path, text.as_bytes()));
        written.await.map_err(|error| Failure::file(&file, &error))?;
        session.done(&format!("{} keys are trusted; wrote {}", keys.keys().len(), file.display()));
        Ok(())
    }
}

/// Tells which keys are trusted by what.
pub(super) fn say(follower: &Follower, session: &mut Session<'_>) {
    for one in follower.followed() {
        session.console.note(&clean(&format!(
            "verifier key, followed by entry {} under the signed checkpoint of {}: {}",
            one.entry, one.checkpoint.size, one.verifier_key
        )));
    }
    let Some(entry) = follower.pending() else { return };
    let why = match follower.awaits() {
        Some(size) => format!("the checkpoint over it has seen {size} entries, and fewer are here"),
        None => "no checkpoint over it is signed by a key that is trusted here".to_owned(),
    };
    session.console.note(&format!("entry {entry} names another key, which is not followed: {why}"));
}

/// What goes wrong when entries are followed offline.
pub(super) fn failure(failed: Failed) -> Failure {
    const WHOLE: &str =
        "export the whole log as JSON Lines, or give the newer key: --verifier-key is repeatable";
    match failed {
        Failed::Wrong { what: What::Sequence { expected: 0, found }, .. } => Failure::new(
            Code::NotVerified,
            format!("rotations are followed from the first entry on, but entry {found} is here"),
            WHOLE,
        ),
        Failed::Wrong { what: What::Missing, place } if place.file == "entries.jsonl" => {
            let what =
                "rotations are followed through JSON Lines of the whole log, and there are none";
            Failure::new(Code::NotVerified, what, WHOLE)
        }
        other => offline::failure(other),
    }
}
