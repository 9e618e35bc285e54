//! `cipher-hub key import` and `key export`. Key bytes cross the network wrapped only.

use std::path::PathBuf;

use cipher_hub_client::{Client, SecretBytes};
use clap::{Args, ValueEnum};
use hub_crypto::asymmetric::{self, encode};
use hub_crypto::{KeyFormat, TransportForm, transport};
use hub_model::Algorithm;
use hub_model::algorithm::{Hash, Kind};
use hub_model::api::key::KeyView;
use hub_model::api::transfer::{
    CreateImportJob, ExportKey, ImportJobView, ImportKey, ImportVersion, KeyForm, Transport,
};
use zeroize::Zeroizing;

use super::super::failure::Failure;
use super::super::files;
use super::super::run::Session;
use super::super::values::{self, Place};

/// Most bytes of a key file.
const MAX_FILE: usize = 64 * 1024;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  openssl rand 32 | cipher-hub key import shop/legacy --algorithm AES_256_GCM
  cipher-hub key import shop/signer --algorithm ECDSA_P256_SHA256 -i signer.pem
  cipher-hub key import shop/legacy -i next.bin --new-version

The key is wrapped on this machine for a key of the hub that is used once.")]
pub(crate) struct ImportArgs {
    /// Registration and name
    #[arg(value_name = "REG/KEY")]
    key: Place,
    /// Its algorithm; never changes
    #[arg(long, required_unless_present = "new_version")]
    algorithm: Option<Algorithm>,
    /// Add a primary version to a key that was imported
    #[arg(long, conflicts_with_all = ["algorithm", "exportable", "tag"])]
    new_version: bool,
    /// Read this file instead of stdin
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// raw, pkcs8 (also as PEM) or jwk; told by the content when absent
    #[arg(long, value_enum, hide_possible_values = true)]
    format: Option<Form>,
    /// How it is wrapped: hybrid (post-quantum) or rsa
    #[arg(long, value_enum, default_value_t, hide_possible_values = true)]
    transport: Way,
    /// Let its material leave the hub one day, wrapped for a recipient; never changes
    #[arg(long)]
    exportable: bool,
    /// Label
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::pair)]
    tag: Vec<(String, String)>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub key export shop/legacy --recipient-key partner.pem -o legacy.wrapped

The key comes out wrapped for the holder of the recipient's key (RSA of 3072 or 4096 bits, or
X25519 with ML-KEM-768). Only a key created with --exportable leaves the hub.")]
pub(crate) struct ExportArgs {
    /// The key
    #[arg(value_name = "REG/KEY")]
    key: Place,
    /// The recipient's public key: a PEM file
    #[arg(long, value_name = "FILE")]
    recipient_key: PathBuf,
    /// raw, pkcs8 or jwk; raw or pkcs8 when absent, as the algorithm has it
    #[arg(long, value_enum, hide_possible_values = true)]
    format: Option<Form>,
    /// The version; the primary when absent
    #[arg(long, value_name = "NUMBER")]
    key_version: Option<u32>,
    /// Write the wrapped bytes to this file, readable by you only
    #[arg(short = 'o', long = "out", id = "out", value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The form of key bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Bytes of a symmetric key.
    Raw,
    /// RFC 5958.
    Pkcs8,
    /// RFC 7517.
    Jwk,
}

impl Form {
    const fn api(self) -> KeyForm {
        match self {
            Self::Raw => KeyForm::Raw,
            Self::Pkcs8 => KeyForm::Pkcs8,
            Self::Jwk => KeyForm::Jwk,
        }
    }

    const fn core(self) -> KeyFormat {
        match self {
            Self::Raw => KeyFormat::Raw,
            Self::Pkcs8 => KeyFormat::Pkcs8,
            Self::Jwk => KeyFormat::Jwk,
        }
    }
}

/// How key bytes are wrapped.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// X25519 with ML-KEM-768.
    #[default]
    Hybrid,
    /// RSA-OAEP.
    Rsa,
}

/// Imports a key or a version of one.
pub(super) async fn import(
    args: ImportArgs,
    client: &Client,
    session: &mut Session<'_>,
) -> Result<KeyView, Failure> {
    let at = args.key;
    let name = at.name.parse();
    let bytes = files::read(session.console, args.input.as_deref(), MAX_FILE).await?;
    let Some(bytes) = bytes else {
        return Err(Failure::usage("that is larger than any key", "give one key"));
    };
    let algorithm = match args.algorithm {
        Some(algorithm) => algorithm,
        None => client.key(&at.registration, &at.name).await?.value.algorithm,
    };
    let (form, bytes) = key_bytes(args.format, algorithm, bytes)?;
    // What the hub would refuse is not sent.
    hub_crypto::import::parse(algorithm, form.core(), &bytes).map_err(|error| {
        Failure::usage(error.to_string(), "check the file, --algorithm and --format")
    })?;
    let transport = match args.transport {
        Way::Hybrid => Transport::X25519MlKem768AesKwp,
        Way::Rsa => Transport::RsaOaepAesKwp,
    };
    let body = CreateImportJob { transport, rsa_bits: None };
    let job = client.create_import_job(&at.registration, &body).await?;
    let (wrapped, job, format) = (wrap(&job, &bytes, algorithm)?, job.uid, form.api());
    if args.new_version {
        let body = ImportVersion { job, format, wrapped };
        return Ok(client.import_version(&at.registration, &at.name, &body).await?);
    }
    let name = name.map_err(|error: hub_model::Error| {
        Failure::usage(error.to_string(), "choose another name")
    })?;
    let (exportable, tags) = (args.exportable, values::tags(args.tag)?);
    let body = ImportKey { name, algorithm, job, format, wrapped, exportable, tags };
    Ok(client.import_key(&at.registration, &body).await?.value)
}

/// The bytes of a key file and their form.
fn key_bytes(
    said: Option<Form>,
    algorithm: Algorithm,
    bytes: Zeroizing<Vec<u8>>,
) -> Result<(Form, Zeroizing<Vec<u8>>), Failure> {
    let is_pem = bytes.starts_with(b"-----BEGIN ");
    let form = said.unwrap_or_else(|| {
        // One raw key of 256 begins like JSON, but is no text.
        let is_text = std::str::from_utf8(&bytes).is_ok();
        if is_text && bytes.trim_ascii_start().starts_with(b"{") {
            Form::Jwk
        } else if is_pem || algorithm.is_asymmetric() {
            Form::Pkcs8
        } else {
            Form::Raw
        }
    });
    if form != Form::Pkcs8 || !is_pem {
        return Ok((form, bytes));
    }
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let der = encode::from_pem(encode::PRIVATE_LABEL, text).map_err(|_| {
        Failure::usage(
            "that is no unencrypted PRIVATE KEY in PEM",
            "convert it: openssl pkcs8 -topk8 -nocrypt -in KEY",
        )
    })?;
    Ok((form, der))
}

fn wrap(job: &ImportJobView, bytes: &[u8], algorithm: Algorithm) -> Result<SecretBytes, Failure> {
    let form = match job.transport {
        Transport::RsaOaepAesKwp => TransportForm::RsaOaepAesKwp,
        Transport::X25519MlKem768AesKwp => TransportForm::X25519MlKem768AesKwp,
    };
    encode::from_pem(encode::PUBLIC_LABEL, &job.public_key)
        .and_then(|der| asymmetric::public_key(job.algorithm.row().kind, &der))
        .and_then(|public| transport::wrap(form, &*public, bytes, algorithm))
        .map(SecretBytes::new)
        .map_err(|error| {
            Failure::usage(
                format!("the key cannot be wrapped: {error}"),
                "is the hub as new as this program?",
            )
        })
}

/// Exports a version of a key.
pub(super) async fn export(
    args: ExportArgs,
    client: &Client,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let at = args.key;
    let pem = files::read(session.console, Some(&args.recipient_key), MAX_FILE).await?;
    let (transport, recipient_key) = recipient(pem.as_deref().map_or(&[], Vec::as_slice))?;
    let format = match args.format {
        Some(form) => form.api(),
        None if client.key(&at.registration, &at.name).await?.value.algorithm.is_asymmetric() => {
            KeyForm::Pkcs8
        }
        None => KeyForm::Raw,
    };
    let body = ExportKey { version: args.key_version, transport, recipient_key, format };
    let answer = client.export_key(&at.registration, &at.name, &body).await?;
    if let Some(path) = args.out.as_deref() {
        let bytes = answer.wrapped.expose_secret();
        files::write_private(path, bytes).map_err(|error| Failure::file(path, &error))?;
        session.done(&format!(
            "{at}  version {} for {}, {} in {}",
            answer.version,
            answer.recipient,
            answer.format.name(),
            answer.transport.name(),
        ));
        return Ok(());
    }
    let wrapped = hub_model::secret::encode_base64(answer.wrapped.expose_secret());
    session.console.item(
        &answer,
        &[
            ("version", answer.version.to_string()),
            ("algorithm", answer.algorithm.to_string()),
            ("format", answer.format.name().to_owned()),
            ("transport", answer.transport.name().to_owned()),
            ("recipient", answer.recipient.clone()),
            ("wrapped", wrapped),
        ],
    )
}

/// The recipient's key, and how is wrapped for it.
fn recipient(pem: &[u8]) -> Result<(Transport, String), Failure> {
    let text = std::str::from_utf8(pem).unwrap_or_default();
    let der = encode::from_pem(encode::PUBLIC_LABEL, text).unwrap_or_default();
    let is = |kind| asymmetric::public_key(kind, &der).is_ok();
    let rsa = [3072, 4096].into_iter().any(|bits| is(Kind::RsaOaep { bits, hash: Hash::Sha256 }));
    let transport = if rsa {
        Transport::RsaOaepAesKwp
    } else if is(Kind::Hybrid) {
        Transport::X25519MlKem768AesKwp
    } else {
        return Err(Failure::usage(
            "the recipient's key is no PUBLIC KEY in PEM of RSA-3072, RSA-4096 or X25519 with \
             ML-KEM-768",
            "make one: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072",
        ));
    };
    Ok((transport, text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_told_by_the_content() {
        let form = |said, algorithm, bytes: &[u8]| {
            key_bytes(said, algorithm, Zeroizing::new(bytes.to_vec())).map(|(form, _)| form).ok()
        };
        let (aes, ecdsa) = (Algorithm::Aes256Gcm, Algorithm::EcdsaP256);
        assert_eq!(form(None, aes, &[7; 32]), Some(Form::Raw));
        assert_eq!(form(None, aes, b" {}"), Some(Form::Jwk));
        assert_eq!(form(None, aes, &[&b"{"[..], &[0xf7; 31]].concat()), Some(Form::Raw));
        assert_eq!(form(None, ecdsa, &[0x30, 3]), Some(Form::Pkcs8));
        assert_eq!(form(Some(Form::Raw), aes, b"{"), Some(Form::Raw));
        assert_eq!(form(None, ecdsa, b"-----BEGIN EC PRIVATE KEY-----"), None);
    }
}
