//! `cipher-hub sign`, `verify`, `mac`, `datakey`, `derive`, `random`: filters like `encrypt`.

use std::path::{Path, PathBuf};

use cipher_hub_client::SecretBytes;
use clap::{Args, ValueEnum};
use hub_model::api::profile::{ChosenProfile, PlanStep};
use hub_model::api::uses::{
    Derive, DeriveKey, GenerateDataKey, MAX_MESSAGE, Mac, Random, Sign, SignatureFormat, Verify,
    VerifyMac,
};
use hub_model::secret::decode_base64;
use hub_model::{Algorithm, Name, Thumbprint};
use zeroize::Zeroizing;

use super::super::failure::{Code, Failure};
use super::super::files;
use super::super::output::{clean, json_text};
use super::super::run::Session;
use super::super::values::{self, Place};
use super::key;

/// More than any signature, code or password has.
const MAX_SMALL: usize = 16 * 1024;

/// Where the message comes from.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// Read this file instead of stdin
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
}

/// Where the outcome goes.
#[derive(Debug, Args)]
pub(crate) struct Sink {
    /// Write this file instead of stdout, readable by you only
    #[arg(short = 'o', long = "out", id = "out", value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write bytes instead of a line of base64
    #[arg(long)]
    binary: bool,
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Form {
    /// As the standard of the algorithm has it; ECDSA as r and s.
    Raw,
    /// ECDSA in DER.
    Der,
    /// Raw in base64url, for JWS.
    Jws,
}

impl From<Form> for SignatureFormat {
    fn from(form: Form) -> Self {
        match form {
            Form::Raw => Self::Raw,
            Form::Der => Self::Der,
            Form::Jws => Self::Jws,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub sign shop/receipts -i receipt.pdf -o receipt.sig
  cipher-hub sign shop/receipts --binary < note.txt > note.sig     (for openssl dgst -verify)
  openssl dgst -sha256 -binary big.iso | cipher-hub sign shop/releases --digest

At most 64 KiB at once: for more, sign the digest.")]
pub(crate) struct SignArgs {
    /// The key
    #[arg(value_name = "REG/KEY")]
    key: Place,
    /// The input is the digest of the message
    #[arg(long)]
    digest: bool,
    /// raw, der (the default for ECDSA) or jws
    #[arg(long, value_enum, hide_possible_values = true, value_name = "FORM")]
    format: Option<Form>,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    sink: Sink,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub verify shop/receipts --signature receipt.sig -i receipt.pdf
  cipher-hub verify shop/hooks --mac hook.mac < hook.json

Says whether it is right, and ends with 10 when it is not.")]
pub(crate) struct VerifyArgs {
    /// The key
    #[arg(value_name = "REG/KEY")]
    key: Place,
    /// File with the signature
    #[arg(long, value_name = "FILE", required_unless_present = "mac")]
    signature: Option<PathBuf>,
    /// File with the message authentication code instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["signature", "digest", "format"])]
    mac: Option<PathBuf>,
    /// The file holds bytes instead of base64
    #[arg(long)]
    binary: bool,
    /// The input is the digest of the message
    #[arg(long)]
    digest: bool,
    /// raw, der (the default for ECDSA) or jws
    #[arg(long, value_enum, hide_possible_values = true, value_name = "FORM")]
    format: Option<Form>,
    /// The version that signed; without it the primary one
    #[arg(long = "key-version", value_name = "NUMBER")]
    version: Option<u32>,
    #[command(flatten)]
    source: Source,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  cipher-hub mac shop/hooks < hook.json > hook.mac")]
pub(crate) struct MacArgs {
    /// The key
    #[arg(value_name = "REG/KEY")]
    key: Place,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    sink: Sink,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub datakey shop/orders --key data.key -o data.key.ch
  cipher-hub datakey shop/orders > later.ch                        (decrypt it when it is needed)
  cipher-hub datakey shop/orders --pair ED25519 --key device.der --public device.pub.der > device.ch")]
pub(crate) struct DatakeyArgs {
    /// The key
    #[arg(value_name = "REG/KEY")]
    key: Place,
    /// How many random bytes; 32 when absent
    #[arg(long, value_name = "NUMBER", conflicts_with = "pair")]
    bytes: Option<u32>,
    /// A key pair of this algorithm instead, as PKCS #8
    #[arg(long, value_name = "ALGORITHM")]
    pair: Option<Algorithm>,
    /// Write the data key itself here, readable by you only; without it, it is not shown
    #[arg(long = "key", id = "data_key", value_name = "FILE")]
    data_key: Option<PathBuf>,
    /// Write the public half of the pair here, in DER
    #[arg(long, value_name = "FILE", requires = "pair")]
    public: Option<PathBuf>,
    /// Pair bound to the data key: not secret, logged, and needed again to decrypt
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::pair)]
    context: Vec<(String, String)>,
    /// Write the encrypted data key here instead of to stdout
    #[arg(short = 'o', long = "out", id = "out", value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub derive shop/master --info 'backup 2026' --bytes 64 -o backup.key --binary
  cipher-hub derive shop/pepper --password --salt 'c2FsdCBvZiAxNiBieXRlcyE=' < password.txt
  cipher-hub derive shop/master --context tenant=acme --into acme-data --algorithm AES_256_GCM
  cipher-hub derive shop/master --profile kdf-tenant-tree/tree-sha256 --param path=eu/acme -o acme.key
  cipher-hub derive shop/master --profile kdf-tenant-tree/tree-sha256 --param path=eu/acme --dry-run

With --into the secret becomes a key of the hub and is not shown; that needs keys.create, too. With
--profile a plugin says how to derive, and --dry-run prints its plan.")]
pub(crate) struct DeriveArgs {
    /// The key
    #[arg(value_name = "REG/KEY")]
    key: Place,
    /// How many bytes; 32 when absent
    #[arg(long, value_name = "NUMBER")]
    bytes: Option<u32>,
    /// The salt, in base64
    #[arg(long, value_name = "BASE64")]
    salt: Option<String>,
    /// For HKDF keys: what the secret is for
    #[arg(long, value_name = "TEXT")]
    info: Option<String>,
    /// For PBKDF2 and Argon2id keys: read the password from stdin, less a line end
    #[arg(long, conflicts_with = "info")]
    password: bool,
    /// For HKDF keys: pair bound into the secret; not secret itself, and logged
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::pair)]
    context: Vec<(String, String)>,
    /// The version to derive from; without it the primary one
    #[arg(long = "key-version", value_name = "NUMBER")]
    version: Option<u32>,
    /// For HKDF keys: store the secret as a new key of this name instead of showing it
    #[arg(
        long,
        value_name = "NAME",
        requires = "algorithm",
        conflicts_with_all = ["bytes", "password", "version", "out", "binary"]
    )]
    into: Option<Name>,
    /// The new key's algorithm: one of AES, ChaCha20, HMAC or HKDF
    #[arg(long, requires = "into")]
    algorithm: Option<Algorithm>,
    /// Let the new key leave the hub one day, wrapped for a recipient
    #[arg(long, requires = "into")]
    exportable: bool,
    /// Label of the new key
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::pair, requires = "into")]
    tag: Vec<(String, String)>,
    /// For HKDF keys: derive as this profile of a plugin says
    #[arg(long, value_name = "PLUGIN/PROFILE", conflicts_with = "password")]
    profile: Option<Place>,
    /// What the profile wants to know
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::pair, requires = "profile")]
    param: Vec<(String, String)>,
    /// Which code of the plugin, by its digest; without it the one the key has derived by before
    #[arg(long, value_name = "SHA-256", requires = "profile")]
    digest: Option<Thumbprint>,
    #[command(flatten)]
    sink: Sink,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cipher-hub random shop --bytes 16\n  cipher-hub random shop --binary > seed"
)]
pub(crate) struct RandomArgs {
    /// The registration
    registration: String,
    /// How many bytes; 32 when absent
    #[arg(long, value_name = "NUMBER")]
    bytes: Option<u32>,
    #[command(flatten)]
    sink: Sink,
}

pub(crate) async fn sign(args: SignArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.connect()?;
    let data = message(session, &args.source).await?;
    let (message, digest) = if args.digest { (None, Some(data)) } else { (Some(data), None) };
    let body = Sign { message, digest, format: args.format.map(Into::into) };
    let answer = client.sign(&args.key.registration, &args.key.name, &body).await?;
    if session.global.dry_run {
        return Ok(());
    }
    session.done(&format!("{}  version {}", args.key, answer.version));
    text(session, &args.sink, &answer.signature)
}

pub(crate) async fn verify(args: VerifyArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.connect()?;
    let given = args.signature.as_deref().or(args.mac.as_deref());
    let signature = small(session, given, args.binary).await?;
    let data = message(session, &args.source).await?;
    let at = &args.key;
    let answer = if args.mac.is_some() {
        let body = VerifyMac { message: data, mac: signature, version: args.version };
        client.verify_mac(&at.registration, &at.name, &body).await?
    } else {
        let (message, digest) = if args.digest { (None, Some(data)) } else { (Some(data), None) };
        let (format, version) = (args.format.map(Into::into), args.version);
        let body = Verify { message, digest, signature, format, version };
        client.verify(&at.registration, &at.name, &body).await?
    };
    if session.global.dry_run {
        return Ok(());
    }
    if !answer.valid {
        return Err(Failure::new(
            Code::NotVerified,
            format!("not by version {} of {at}", answer.version),
            "name the version that made it: --key-version NUMBER",
        ));
    }
    session.done(&format!("valid: by version {} of {at}", answer.version));
    Ok(())
}

pub(crate) async fn mac(args: MacArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.connect()?;
    let body = Mac { message: message(session, &args.source).await? };
    let answer = client.mac(&args.key.registration, &args.key.name, &body).await?;
    if session.global.dry_run {
        return Ok(());
    }
    session.done(&format!("{}  version {}", args.key, answer.version));
    secret(session, &args.sink, &answer.mac)
}

pub(crate) async fn datakey(args: DatakeyArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let context = values::context(args.context)?;
    let client = session.connect()?;
    let plaintext = Some(args.data_key.is_some());
    let body = GenerateDataKey { bytes: args.bytes, key_pair: args.pair, plaintext, context };
    let answer = client.generate_data_key(&args.key.registration, &args.key.name, &body).await?;
    if session.global.dry_run {
        return Ok(());
    }
    if let (Some(path), Some(key)) = (&args.data_key, &answer.plaintext) {
        private(path, key.expose_secret())?;
    }
    if let (Some(path), Some(public)) = (&args.public, &answer.public_key) {
        private(path, &decode_base64(public).unwrap_or_default())?;
    }
    session.done(&format!("{}  version {}", args.key, answer.version));
    let line = format!("{}\n", clean(&answer.ciphertext));
    match args.out.as_deref() {
        Some(path) => private(path, line.as_bytes()),
        None => session.console.data(line.as_bytes()),
    }
}

pub(crate) async fn derive(args: DeriveArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let context = values::context(args.context)?;
    let client = session.connect()?;
    let salt = args.salt.as_deref().map(decode_base64).transpose().map_err(|error| {
        Failure::usage(error.to_string(), "give the salt in base64: printf salt | base64")
    })?;
    let salt = salt.map(SecretBytes::new);
    let info = args.info.map(|info| SecretBytes::new(info.into_bytes()));
    let profile = args.profile.map(|named| chosen(&named, args.param, args.digest)).transpose()?;
    if let (Some(name), Some(algorithm)) = (args.into, args.algorithm) {
        let tags = values::tags(args.tag)?;
        let exportable = args.exportable;
        let body = DeriveKey {
            tags,
            exportable,
            salt,
            info,
            context,
            profile,
            ..DeriveKey::new(name, algorithm)
        };
        let made = client.derive_key(&args.key.registration, &args.key.name, &body).await?;
        if let Some(plan) = made.value.derived_by.as_ref().and_then(|used| used.plan.as_ref()) {
            return show_plan(session, plan);
        }
        return key::show(session, &made.value);
    }
    let password = if args.password {
        let mut bytes = read(session, None, MAX_SMALL, "a password").await?;
        let ended = bytes.strip_suffix(b"\n").map_or(bytes.len(), <[u8]>::len);
        bytes.truncate(ended);
        Some(SecretBytes::new(std::mem::take(&mut *bytes)))
    } else {
        None
    };
    let body = Derive {
        bytes: args.bytes,
        salt,
        info,
        password,
        context,
        profile,
        version: args.version,
        ..Derive::default()
    };
    let answer = client.derive(&args.key.registration, &args.key.name, &body).await?;
    if session.global.dry_run {
        let plan = answer.profile.as_ref().and_then(|used| used.plan.as_ref());
        return plan.map_or(Ok(()), |plan| show_plan(session, plan));
    }
    session.done(&format!("{}  version {}", args.key, answer.version));
    secret(session, &args.sink, &answer.derived)
}

/// The profile of `PLUGIN/PROFILE` with its parameters.
fn chosen(
    named: &Place,
    parameters: Vec<(String, String)>,
    digest: Option<Thumbprint>,
) -> Result<Box<ChosenProfile>, Failure> {
    let name = |text: &str| {
        let wrong = |error: hub_model::Error| {
            Failure::usage(error.to_string(), "say --profile PLUGIN/PROFILE, both by their names")
        };
        text.parse::<Name>().map_err(wrong)
    };
    let (plugin, profile) = (name(&named.registration)?, name(&named.name)?);
    let parameters = values::unique(parameters)?;
    let parameters = parameters.into_iter().map(|(n, v)| (n.into(), v.into())).collect();
    Ok(Box::new(ChosenProfile { plugin, profile, parameters, digest }))
}

/// A plan as JSON, a step a line.
fn show_plan(session: &mut Session<'_>, plan: &[PlanStep]) -> Result<(), Failure> {
    let lines: Vec<String> =
        plan.iter().map(|step| json_text(step, false)).collect::<Result<_, _>>()?;
    session.console.data(format!("[\n  {}\n]\n", lines.join(",\n  ")).as_bytes())
}

pub(crate) async fn random(args: RandomArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.connect()?;
    let body = Random { bytes: args.bytes };
    let answer = client.random(&args.registration, &body).await?;
    if session.global.dry_run {
        return Ok(());
    }
    secret(session, &args.sink, &answer.random)
}

async fn message(session: &Session<'_>, source: &Source) -> Result<SecretBytes, Failure> {
    let mut bytes = read(session, source.input.as_deref(), MAX_MESSAGE, "a message").await?;
    Ok(SecretBytes::new(std::mem::take(&mut *bytes)))
}

/// A signature or code, in base64 with white space around it or as bytes.
async fn small(
    session: &Session<'_>,
    path: Option<&Path>,
    binary: bool,
) -> Result<SecretBytes, Failure> {
    let mut bytes = read(session, path, MAX_SMALL, "a signature").await?;
    if binary {
        return Ok(SecretBytes::new(std::mem::take(&mut *bytes)));
    }
    let text = std::str::from_utf8(&bytes).map(str::trim).unwrap_or_default();
    match decode_base64(text) {
        Ok(decoded) if !text.is_empty() => Ok(SecretBytes::new(decoded)),
        _ => Err(Failure::usage(
            "the file does not hold a signature in base64",
            "is it one in bytes? add --binary",
        )),
    }
}

async fn read(
    session: &Session<'_>,
    path: Option<&Path>,
    limit: usize,
    what: &str,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    files::read(session.console, path, limit).await?.ok_or_else(|| {
        Failure::usage(
            format!("the input is larger than {limit} bytes, the most {what} has here"),
            "sign or authenticate its digest: --digest",
        )
    })
}

/// Text from the hub that is base64 or base64url.
fn text(session: &mut Session<'_>, sink: &Sink, text: &str) -> Result<(), Failure> {
    if sink.binary {
        return put(session, sink, &decode_base64(text).unwrap_or_default());
    }
    put(session, sink, format!("{}\n", clean(text)).as_bytes())
}

fn secret(session: &mut Session<'_>, sink: &Sink, bytes: &SecretBytes) -> Result<(), Failure> {
    if !sink.binary {
        let mut line = Zeroizing::new(hub_model::secret::encode_base64(bytes.expose_secret()));
        line.push('\n');
        return put(session, sink, line.as_bytes());
    }
    if sink.out.is_none() && session.console.out_terminal {
        return Err(Failure::usage("stdout is a terminal", "write bytes to a file: -o FILE"));
    }
    put(session, sink, bytes.expose_secret())
}

fn put(session: &mut Session<'_>, sink: &Sink, bytes: &[u8]) -> Result<(), Failure> {
    match sink.out.as_deref() {
        Some(path) => private(path, bytes),
        None => session.console.data(bytes),
    }
}

fn private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    files::write_private(path, bytes).map_err(|error| Failure::file(path, &error))
}
