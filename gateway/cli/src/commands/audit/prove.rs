//! `cipher-hub audit prove` and `audit consistency`: proofs from a hub, verified here, and proofs
//! from files, verified without a hub.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use hub_audit::checkpoint::Checkpoint;
use hub_audit::encode::{hex, parse_hex32};
use hub_audit::merkle::{Hash, leaf_hash};
use hub_audit::proof;
use hub_audit::proof::text::TlogProof;
use hub_audit::verify::Keyring;
use hub_model::api::receipt::{AuditConsistency, AuditReceipt};

use super::super::super::failure::{Code, Failure};
use super::super::super::files::{blocking, write_private};
use super::super::super::output::clean;
use super::super::super::run::Session;
use super::offline;

/// How long the hub may take until a checkpoint covers the entry.
const WAIT: Duration = Duration::from_secs(10);
/// More is no proof, checkpoint or entry.
const MAX_FILE: u64 = 256 * 1024;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub audit prove 4711 --out order.tlog-proof --entry order.json
  cipher-hub audit prove 4711 --verifier-key \"$(cat hub.vkey)\" > order.tlog-proof
  cipher-hub audit prove --check order.tlog-proof --entry order.json --verifier-key \"$(cat hub.vkey)\"

The sequence is what `Cipher-Hub-Audit-Seq` said in the answer. The proof (C2SP tlog-proof) goes to
stdout or into --out. With --check nothing is asked of a hub. Exits with 10 when something is wrong.")]
pub(crate) struct ProveArgs {
    /// Sequence of the entry
    #[arg(value_name = "SEQ", required_unless_present = "check", conflicts_with = "check")]
    seq: Option<u64>,
    /// Under the checkpoint over this many entries; the newest by default
    #[arg(long, value_name = "N", conflicts_with = "check")]
    size: Option<u64>,
    /// Write the proof into this file
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    out: Option<PathBuf>,
    /// Write the entry into this file; with --check, read it there
    #[arg(long, value_name = "FILE")]
    entry: Option<PathBuf>,
    /// With --check, the entry's leaf hash in hex, where you have no entry
    #[arg(long, value_name = "HEX", requires = "check", conflicts_with = "entry")]
    hash: Option<String>,
    /// Verify the proof in this file, without a hub
    #[arg(long, value_name = "FILE", requires = "verifier_key")]
    check: Option<PathBuf>,
    /// Key that signs checkpoints, from a place you trust (C2SP vkey; public), or a file of them;
    /// several after a rotation
    #[arg(long, value_name = "VKEY")]
    verifier_key: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub audit consistency kept.checkpoint
  cipher-hub audit consistency kept.checkpoint --verifier-key \"$(cat hub.vkey)\" --out new.checkpoint

Keep a checkpoint outside of the hub, and ask later whether the log has only grown since. Exits with
10 when it has not.")]
pub(crate) struct ConsistencyArgs {
    /// A checkpoint kept from earlier: a signed note
    #[arg(value_name = "FILE")]
    checkpoint: PathBuf,
    /// Write the newest checkpoint into this file, to be kept in its place
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Key that signs checkpoints, from a place you trust (C2SP vkey; public), or a file of them;
    /// several after a rotation
    #[arg(long, value_name = "VKEY")]
    verifier_key: Vec<String>,
}

pub(crate) async fn prove(args: ProveArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    if let Some(file) = &args.check {
        return check(file, &args, session).await;
    }
    let Some(seq) = args.seq else { return Err(Failure::usage("no entry is named", "say which")) };
    let trusted = trusted(&args.verifier_key)?;
    let receipt = session.connect()?.audit_receipt(seq, args.size, WAIT).await?;
    let keys = match trusted {
        Some(keys) => keys,
        None => {
            by_word(session, &receipt.verifier_key);
            Keyring::parse(&receipt.verifier_key).map_err(|error| wrong(error.to_string()))?
        }
    };
    let covered = verified(seq, &receipt, &keys).map_err(wrong)?;
    if let Some(file) = &args.entry {
        let bytes = receipt.bytes.clone().ok_or_else(|| {
            let hint = "keep the leaf hash with the proof, and check with --hash";
            let message = "the hub does not show the entry of a request that it refused";
            Failure::new(Code::Failed, message, hint)
        })?;
        keep(file, bytes.into_bytes()).await?;
    }
    session.console.note(&format!(
        "ok  entry {seq} is in the log {} of {} entries signed at {}; leaf hash {}",
        covered.origin, covered.size, covered.time, receipt.hash
    ));
    match args.out {
        Some(file) => keep(&file, receipt.tlog_proof.into_bytes()).await,
        None => session.console.data(receipt.tlog_proof.as_bytes()),
    }
}

/// Checks everything a receipt says.
fn verified(seq: u64, receipt: &AuditReceipt, keys: &Keyring) -> Result<Checkpoint, String> {
    let leaf = match &receipt.bytes {
        Some(bytes) => leaf_hash(bytes.as_bytes()),
        None => parse_hex32(&receipt.hash).ok_or("the leaf hash is malformed")?,
    };
    if receipt.seq != seq || receipt.hash != hex(&leaf) {
        return Err("the receipt is of another entry".to_owned());
    }
    let proof = TlogProof::parse(&receipt.tlog_proof).map_err(|error| error.to_string())?;
    if proof.index != seq {
        return Err("the proof is of another entry".to_owned());
    }
    proof.verify_by(&leaf, keys).map_err(|error| error.to_string())
}

async fn check(file: &Path, args: &ProveArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let keys = offline::keyring(&args.verifier_key)?;
    let text = String::from_utf8(read(file).await?)
        .map_err(|_| wrong("the proof is not a text".to_owned()))?;
    let (leaf, entry) = match (&args.entry, &args.hash) {
        (Some(file), _) => {
            let entry = read(file).await?;
            (leaf_hash(&entry), Some(entry))
        }
        (None, Some(text)) => {
            let bad = || Failure::usage("--hash is not 64 hex digits", "as the receipt had it");
            (parse_hex32(text).ok_or_else(bad)?, None)
        }
        (None, None) => {
            let message = "a proof is of an entry, and none is given";
            return Err(Failure::usage(message, "add --entry FILE, or --hash HEX"));
        }
    };
    let proof = TlogProof::parse(&text).map_err(|error| wrong(error.to_string()))?;
    let checkpoint = proof.verify_by(&leaf, &keys).map_err(|error| wrong(error.to_string()))?;
    // The entry says its place itself; a hub that is well never proves it at another.
    let said = entry.and_then(|entry| serde_json::from_slice::<serde_json::Value>(&entry).ok());
    if said.is_some_and(|entry| entry.get("seq").and_then(|n| n.as_u64()) != Some(proof.index)) {
        let message = format!("the entry at {} says another sequence", proof.index);
        return Err(wrong(message));
    }
    session.console.line(&clean(&format!(
        "ok  entry {} is in the log {} of {} entries signed at {}",
        proof.index, checkpoint.origin, checkpoint.size, checkpoint.time
    )))
}

pub(crate) async fn consistency(
    args: ConsistencyArgs,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let trusted = trusted(&args.verifier_key)?;
    let note = String::from_utf8(read(&args.checkpoint).await?)
        .map_err(|_| wrong("the kept checkpoint is not a text".to_owned()))?;
    // Its size is only used to ask; the signature is checked when the key is known.
    let kept = note.lines().nth(1).and_then(|line| line.parse().ok());
    let from = kept.ok_or_else(|| wrong("the kept checkpoint has no size".to_owned()))?;
    let client = session.connect()?;
    let answer = client.audit_consistency(from, None).await.map_err(|error| {
        let behind = error.code() == Some("invalid_argument");
        if behind {
            wrong(format!("the hub does not reach the {from} entries of the kept checkpoint"))
        } else {
            error.into()
        }
    })?;
    let keys = match trusted {
        Some(keys) => keys,
        None => {
            let newest = Some(answer.verifier_key.clone());
            offline::keyring(&offline::by_word(&client, newest, session).await?)?
        }
    };
    let (old, new, signed) = grown(&note, &answer, &keys).map_err(wrong)?;
    if let Some(file) = args.out {
        keep(&file, signed.into_bytes()).await?;
    }
    session.console.line(&clean(&format!(
        "ok  the log {} of {} entries signed at {} goes on from the {} signed at {}",
        new.origin, new.size, new.time, old.size, old.time
    )))
}

/// Checks that the hub's newest checkpoint goes on from the kept one.
fn grown(
    note: &str,
    answer: &AuditConsistency,
    keys: &Keyring,
) -> Result<(Checkpoint, Checkpoint, String), String> {
    let open = |what: &str, note: &str| {
        let opened = keys.checkpoint(note);
        opened.map_err(|error| format!("the {what} checkpoint: {error}"))
    };
    let old = open("kept", note)?;
    let signed = answer.checkpoint.clone().ok_or("the hub gave no checkpoint")?;
    let new = open("newest", &signed)?;
    if old.origin != new.origin {
        return Err("the kept checkpoint is of another log".to_owned());
    }
    let hashes: Option<Vec<Hash>> = answer.proof.iter().map(|hash| parse_hex32(hash)).collect();
    let hashes = hashes.ok_or("a hash of the proof is malformed")?;
    proof::verify_consistency(old.size, &old.root, new.size, &new.root, &hashes)
        .map_err(|refused| format!("the log is not the one of the kept checkpoint: {refused}"))?;
    Ok((old, new, signed))
}

/// The keys given, if there are any.
fn trusted(given: &[String]) -> Result<Option<Keyring>, Failure> {
    if given.is_empty() { Ok(None) } else { offline::keyring(given).map(Some) }
}

fn by_word(session: &mut Session<'_>, key: &str) {
    session.console.note(&format!("verifier key, by the hub's word: {key}"));
}

async fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let owned = path.to_owned();
    let read = blocking(move || {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(owned)?;
        std::io::Read::read_to_end(&mut std::io::Read::take(file, MAX_FILE), &mut bytes)?;
        Ok(bytes)
    });
    read.await.map_err(|error| Failure::file(path, &error))
}

async fn keep(path: &Path, bytes: Vec<u8>) -> Result<(), Failure> {
    let owned = path.to_owned();
    let written = blocking(move || write_private(&owned, &bytes)).await;
    written.map_err(|error| Failure::file(path, &error))
}

fn wrong(message: String) -> Failure {
    Failure::new(
        Code::NotVerified,
        format!("not verified: {message}"),
        "keep what you have as it is, and ask the hub's auditors",
    )
}
