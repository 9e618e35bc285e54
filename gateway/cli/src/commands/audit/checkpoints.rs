//! `cipher-hub audit checkpoint`, `audit checkpoints`, `audit keys`, `audit rotate-key`.

use std::path::PathBuf;

use clap::Args;
use hub_model::api::checkpoint::{CheckpointView, SigningKeyView};

use super::super::super::Format;
use super::super::super::failure::Failure;
use super::super::super::files;
use super::super::super::output::{Row, clean, time};
use super::super::super::run::Session;
use super::super::every;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub audit checkpoint --out hub.checkpoint
  cipher-hub audit checkpoint --cosigned
  cipher-hub audit checkpoint 120000

Keep it where the operator of the hub cannot reach it: whoever holds a checkpoint can prove later
that nothing before it was altered, removed or cut off.")]
pub(crate) struct CheckpointArgs {
    /// The one over this many entries; the newest when not said
    #[arg(value_name = "SIZE")]
    size: Option<u64>,
    /// The newest that a witness has cosigned
    #[arg(long, conflicts_with = "size")]
    cosigned: bool,
    /// Write it to this file, replacing what is there
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) async fn checkpoint(
    args: CheckpointArgs,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let client = session.connect()?;
    let which = match (args.size, args.cosigned) {
        (Some(size), _) => size.to_string(),
        (None, true) => "cosigned".to_owned(),
        (None, false) => "latest".to_owned(),
    };
    let found = client.checkpoint(&which).await?;
    if let Some(path) = &args.out {
        files::write_private(path, found.note.as_bytes())
            .map_err(|error| Failure::file(path, &error))?;
        session.done(&format!("{} entries; wrote {}", found.size, path.display()));
        return Ok(());
    }
    if session.global.output != Format::Table {
        return session.console.item(&found, &[]);
    }
    for line in found.note.lines() {
        session.console.line(&clean(line))?;
    }
    Ok(())
}

pub(crate) async fn list(session: &mut Session<'_>) -> Result<(), Failure> {
    let client = &session.connect()?;
    let all = every(|page| async move { client.checkpoints(&page).await }).await?;
    session.console.list(&all)
}

pub(crate) async fn keys(session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.connect()?;
    let keys = client.signing_keys().await?;
    session.console.list(&keys.items)
}

pub(crate) async fn rotate(session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.connect()?;
    let sure = session.sure();
    let what = "the rotation of";
    files::confirm(session.console, sure, what, "signing-key").await?;
    let rotated = client.rotate_signing_key().await?;
    if session.global.dry_run {
        return Ok(());
    }
    let end = time(rotated.overlap_end_time);
    session.done(&format!("rotated; the key before signs beside it until {end}"));
    let facts = [
        ("verifier key", rotated.verifier_key.clone()),
        ("before", rotated.previous_verifier_key.clone()),
        ("overlap until", end),
    ];
    session.console.item(&rotated, &facts)
}

impl Row for CheckpointView {
    const HEAD: &'static [&'static str] = &["SIZE", "TIME", "WITNESSES", "ROOT"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.size.to_string(),
            time(self.time),
            if self.witnesses.is_empty() { "-".to_owned() } else { self.witnesses.join(", ") },
            self.root.clone(),
        ]
    }
}

impl Row for SigningKeyView {
    const HEAD: &'static [&'static str] = &["STATE", "FROM", "TO", "VERIFIER KEY"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.state.clone(),
            self.first_sequence.to_string(),
            self.last_sequence.map_or_else(|| "-".to_owned(), |seq| seq.to_string()),
            self.verifier_key.clone(),
        ]
    }
}
