//! `cipher-hub plugin keygen`, `sign` and `verify`: who stands behind a plugin.

use std::path::{Path, PathBuf};

use clap::Args;
use hub_model::clock::SystemClock;
use hub_model::{Clock as _, Name, Timestamp};
use hub_plugins::{KeyError, Signer, SigningKey, Trust, VerifyingKey};
use serde_json::json;

use super::super::super::failure::{Code, Failure};
use super::super::super::files;
use super::super::super::output::clean;
use super::super::super::run::Session;

/// Most bytes of a key file.
const MAX_KEY: usize = 16 * 1024;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub plugin keygen -o plugins.pem > plugins.pub
  cipher-hub plugin keygen --public-of plugins.pem

The private key is PKCS#8 in PEM, as `openssl genpkey -algorithm ed25519` makes it. The public key on
stdout is what an operator puts into `plugins.signers`.")]
pub(crate) struct KeygenArgs {
    /// The file for the private key, readable by you only
    #[arg(
        short = 'o',
        long = "out",
        id = "out",
        value_name = "FILE",
        required_unless_present = "public_of",
        conflicts_with = "public_of"
    )]
    out: Option<PathBuf>,
    /// Make none: show the public key of this private one
    #[arg(long, value_name = "FILE")]
    public_of: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub plugin sign payday.wasm --key plugins.pem
  cipher-hub plugin sign payday.wasm --key plugins.pem -o payday.signed.wasm

A plugin may have several signatures; signing again with the same key replaces its own.")]
pub(crate) struct SignArgs {
    /// The plugin
    file: PathBuf,
    /// The private key: PKCS#8 in PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The file to write; the same one when not said
    #[arg(short = 'o', long = "out", id = "out", value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub plugin verify payday.wasm --signer ed25519:MCowBQ…
  cipher-hub plugin verify payday.wasm --signer vendor=ed25519:MCowBQ… --signer plugins.pub
  cipher-hub plugin verify payday.wasm --signer plugins.pub --not-after 2027-01-01T00:00:00Z

Exits with 10 when no signature is by one of the signers within the period.")]
pub(crate) struct VerifyArgs {
    /// The plugin
    file: PathBuf,
    /// Whom to trust: `ed25519:…`, NAME=`ed25519:…`, or a file with such lines; may be repeated
    #[arg(long, value_name = "KEY|FILE", required = true)]
    signer: Vec<String>,
    /// Trust them only from this time on
    #[arg(long, value_name = "TIME", value_parser = time)]
    not_before: Option<Timestamp>,
    /// Trust them only until this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    not_after: Option<Timestamp>,
    /// Verify as if it were this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<Timestamp>,
}

fn time(text: &str) -> Result<Timestamp, String> {
    let day = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    day.parse().map_err(|error: hub_model::Error| error.to_string())
}

pub(super) async fn keygen(args: KeygenArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let key = match (&args.out, &args.public_of) {
        (Some(out), _) => {
            if out.symlink_metadata().is_ok() {
                let message = format!("`{}` is there already", out.display());
                let hint = format!(
                    "name another file, or print its public key: `cipher-hub plugin keygen \
                     --public-of {}`",
                    out.display()
                );
                return Err(Failure::new(Code::Conflict, message, hint));
            }
            let key = generate()?;
            let pem =
                hub_plugins::write_signing_key(&key).map_err(|error| unreadable(out, &error))?;
            if session.global.dry_run {
                return Ok(());
            }
            let pem = zeroize::Zeroizing::new(pem);
            files::write_private(out, pem.as_bytes())
                .map_err(|error| Failure::file(out, &error))?;
            session.console.note(&format!("the private key is in {}", out.display()));
            key
        }
        (None, Some(path)) => signing_key(path, session).await?,
        (None, None) => return Err(Failure::usage("no file is named", "give -o FILE")),
    };
    let public = hub_plugins::show_public_key(&key.verifying_key());
    if session.console.for_people() {
        return session.console.line(&public);
    }
    let key_id = hub_plugins::key_id(&key.verifying_key());
    session.console.item(&json!({ "publicKey": public, "keyId": key_id }), &[])
}

/// A new key, straight from the system's generator.
fn generate() -> Result<SigningKey, Failure> {
    let secret = hub_crypto::random::secret(32)
        .map_err(|error| Failure::new(Code::Failed, error.to_string(), "try again"))?;
    let mut bytes = zeroize::Zeroizing::new([0_u8; 32]);
    bytes.copy_from_slice(secret.expose_secret());
    Ok(SigningKey::from_bytes(&bytes))
}

pub(super) async fn sign(args: SignArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let package = super::package(&args.file)?;
    let key = signing_key(&args.key, session).await?;
    let signed = package.with_signature(&key);
    let out = args.out.as_deref().unwrap_or(&args.file);
    if session.global.dry_run {
        return Ok(());
    }
    super::write_public(out, &signed)?;
    let key_id = hub_plugins::key_id(&key.verifying_key());
    session.console.note(&format!("{}  signed by {key_id}", out.display()));
    Ok(())
}

async fn signing_key(path: &Path, session: &mut Session<'_>) -> Result<SigningKey, Failure> {
    let bytes = files::read(session.console, Some(path), MAX_KEY).await?;
    let text = bytes.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
    hub_plugins::read_signing_key(text.unwrap_or_default())
        .map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &KeyError) -> Failure {
    let hint = "make one: cipher-hub plugin keygen -o plugins.pem";
    Failure::usage(format!("`{}`: {error}", path.display()), hint)
}

pub(super) fn verify(args: &VerifyArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let mut signers = Vec::new();
    for said in &args.signer {
        for line in lines(said)? {
            let place = signers.len() + 1;
            let (name, key) = signer(&line, place)?;
            let (not_before, not_after) = (args.not_before, args.not_after);
            signers.push(Signer { name, key, not_before, not_after });
        }
    }
    let not_verified = |message: String| {
        let hint = "ask who made it for a file that is signed; do not install this one";
        Failure::new(Code::NotVerified, message, hint)
    };
    let shown = args.file.display();
    // What cannot be read is not verified either.
    let package = super::package(&args.file).map_err(|failure| match failure.code {
        Code::InvalidConfig => not_verified(failure.message),
        _ => failure,
    })?;
    let trust = Trust { signers };
    let signer = trust
        .verify(&package, args.at.unwrap_or_else(|| SystemClock.now()))
        .map_err(|error| not_verified(format!("`{shown}`: {error}")))?;
    let manifest = package.manifest();
    let key_id = hub_plugins::key_id(&signer.key);
    if session.console.for_people() {
        let line = format!(
            "ok  {} {}, signed by {} ({key_id}), sha256:{}",
            manifest.name,
            manifest.version,
            signer.name,
            package.digest()
        );
        return session.console.line(&clean(&line));
    }
    let value = json!({
        "verified": true,
        "name": manifest.name,
        "version": manifest.version,
        "digest": package.digest(),
        "signer": { "name": signer.name, "keyId": key_id },
    });
    session.console.item(&value, &[])
}

/// The keys said: one, or those of a file, a line each.
fn lines(said: &str) -> Result<Vec<String>, Failure> {
    if said.contains("ed25519:") {
        return Ok(vec![said.to_owned()]);
    }
    let path = Path::new(said);
    let text = std::fs::read_to_string(path).map_err(|error| {
        let hint = "give a key as `ed25519:…`, or a file with such lines";
        Failure { hint: hint.to_owned(), ..Failure::file(path, &error) }
    })?;
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

fn signer(text: &str, place: usize) -> Result<(Name, VerifyingKey), Failure> {
    let bad = |message: String| {
        Failure::usage(message, "as `ed25519:…` or `vendor=ed25519:…`; keygen shows the first")
    };
    // Base64 ends with `=`, too.
    let (name, key) = match text.split_once("=ed25519:") {
        Some((name, key)) => (name.trim().to_owned(), format!("ed25519:{key}")),
        None => (format!("signer-{place}"), text.to_owned()),
    };
    let name = name.parse().map_err(|error: hub_model::Error| bad(error.to_string()))?;
    let key = hub_plugins::parse_public_key(&key).map_err(|error| bad(error.to_string()))?;
    Ok((name, key))
}
