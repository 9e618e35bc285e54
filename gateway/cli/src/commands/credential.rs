//! `cipher-hub credential`.

use std::time::Duration;

use clap::{Args, Subcommand};
use hub_model::api::participant::{
    CredentialView, IssueCredential, IssuedCredential, RotateCredential,
};
use hub_model::clock::{Clock as _, SystemClock};
use hub_model::{CredentialId, Identity, Period, SourceRange, Thumbprint, Timestamp};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::super::failure::Failure;
use super::super::files;
use super::super::output::{Row, time};
use super::super::run::Session;
use super::super::values::{self, Place};
use super::every;

/// API keys, and identities from outside.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  cipher-hub credential issue shop/checkout --expires 30d > api-key
  cipher-hub credential rotate shop/checkout crd_01jd8r0000000000000000000a > api-key
  cipher-hub credential bind shop/checkout spiffe://prod.example/ns/shop/sa/checkout
  cipher-hub credential list shop/checkout")]
pub(crate) enum CredentialCommand {
    /// Issue an API key: its secret goes to stdout, this once
    Issue(IssueArgs),
    /// Give an API key a new secret: it goes to stdout, this once; the old one ends later
    Rotate(RotateArgs),
    /// Make an identity from outside, such as a token's subject, stand for a participant
    Bind(BindArgs),
    /// List a participant's credentials
    #[command(after_help = "Examples:\n  cipher-hub credential list shop/checkout")]
    List(ListArgs),
    /// Revoke a credential
    #[command(after_help = "\
Examples:
  cipher-hub credential revoke shop/checkout crd_01jd8r0000000000000000000a")]
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  (umask 077; cipher-hub credential issue shop/checkout --expires 30d > api-key)
  cipher-hub credential issue shop/checkout --label 'blue deployment' --output json")]
pub(crate) struct IssueArgs {
    /// Whose it will be
    #[arg(value_name = "REG/PARTICIPANT")]
    participant: Place,
    /// What it is for
    #[arg(long, default_value = "")]
    label: String,
    /// How long it is good for, as 12h or 30d; the hub's usual time when not said
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    expires: Option<Duration>,
    #[command(flatten)]
    limits: Limits,
}

/// What a credential is good with.
#[derive(Debug, Args)]
struct Limits {
    /// A network it is good from, as 10.1.0.0/16, or `unix`; may be repeated
    #[arg(long = "from", value_name = "NETWORK")]
    sources: Vec<SourceRange>,
    /// The only client certificate it is good with: SHA-256 in hex, or a PEM file
    #[arg(long, value_name = "SHA256|FILE")]
    certificate: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub credential rotate shop/checkout crd_01jd8r0000000000000000000a > api-key
  cipher-hub credential rotate shop/checkout crd_01jd8r0000000000000000000a --overlap 1h
  cipher-hub credential rotate shop/checkout crd_01jd8r0000000000000000000a --overlap 0s")]
pub(crate) struct RotateArgs {
    /// Whose it is
    #[arg(value_name = "REG/PARTICIPANT")]
    participant: Place,
    /// Which one
    #[arg(value_name = "UID")]
    credential: CredentialId,
    /// How long the old secret stays good; a day when not said
    #[arg(long, value_name = "DURATION", value_parser = overlap)]
    overlap: Option<Period>,
    /// How long it is good for; as long as it was when not said
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    expires: Option<Duration>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub credential bind shop/checkout spiffe://prod.example/ns/shop/sa/checkout
  cipher-hub credential bind shop/checkout jwt:cluster:system:serviceaccount:shop:checkout
  cipher-hub credential bind shop/checkout unix:uid:1000 --label 'the sidecar'

The configuration of the hub says which registrations may bind which identities (auth.bind).")]
pub(crate) struct BindArgs {
    /// Whose it will be
    #[arg(value_name = "REG/PARTICIPANT")]
    participant: Place,
    /// The identity
    #[arg(value_name = "IDENTITY")]
    identity: Identity,
    /// What it is for
    #[arg(long, default_value = "")]
    label: String,
    /// How long it is good for, as 12h or 30d; ten years when not said
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    expires: Option<Duration>,
    #[command(flatten)]
    limits: Limits,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Whose they are
    #[arg(value_name = "REG/PARTICIPANT")]
    participant: Place,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// Whose it is
    #[arg(value_name = "REG/PARTICIPANT")]
    participant: Place,
    /// Which one
    #[arg(value_name = "UID")]
    credential: CredentialId,
    /// Remove its record too: it is not listed any more
    #[arg(long)]
    forget: bool,
}

pub(crate) async fn run(
    command: CredentialCommand,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    match command {
        CredentialCommand::Issue(args) => issue(args, session).await,
        CredentialCommand::Rotate(args) => rotate(args, session).await,
        CredentialCommand::Bind(args) => bind(args, session).await,
        CredentialCommand::List(args) => {
            let client = &session.connect()?;
            let at = &args.participant;
            let all = every(|page| async move {
                client.credentials(&at.registration, &at.name, &page).await
            })
            .await?;
            session.console.list(&all)
        }
        CredentialCommand::Revoke(args) => {
            let client = session.connect()?;
            let (at, credential) = (args.participant, args.credential);
            let sure = session.sure();
            let what = "revoking the credential";
            files::confirm(session.console, sure, what, &credential.to_string()).await?;
            if args.forget {
                client.forget_credential(&at.registration, &at.name, credential).await?;
            } else {
                client.revoke_credential(&at.registration, &at.name, credential).await?;
            }
            session.done(&format!("revoked {credential} of {at}"));
            Ok(())
        }
    }
}

async fn issue(args: IssueArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.connect()?;
    let at = args.participant;
    let body = IssueCredential {
        label: args.label,
        expire_time: args.expires.map(|expires| in_time(SystemClock.now(), expires)),
        identity: None,
        sources: args.limits.sources,
        certificate: args.limits.certificate.as_deref().map(thumbprint).transpose()?,
    };
    let issued = client.issue_credential(&at.registration, &at.name, &body).await?;
    if session.global.dry_run {
        return Ok(());
    }
    session.console.note(&format!("issued {} to {at}", issued.credential.uid));
    shown(&issued, session)
}

async fn rotate(args: RotateArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.connect()?;
    let at = args.participant;
    let body = RotateCredential {
        overlap: args.overlap,
        expire_time: args.expires.map(|expires| in_time(SystemClock.now(), expires)),
    };
    let rotated =
        client.rotate_credential(&at.registration, &at.name, args.credential, &body).await?;
    if session.global.dry_run {
        return Ok(());
    }
    session.console.note(&format!("rotated {} of {at}", rotated.credential.uid));
    let end = rotated.credential.previous_expire_time;
    let old = end.map_or_else(|| "ended".to_owned(), |end| format!("is good until {}", time(end)));
    session.console.note(&format!("the old secret {old}"));
    shown(&rotated, session)
}

/// The secret, this once.
fn shown(issued: &IssuedCredential, session: &mut Session<'_>) -> Result<(), Failure> {
    session.console.note(&format!("expires {}", time(issued.credential.expire_time)));
    session.console.note("keep it: it cannot be shown again");
    match &issued.api_key {
        Some(key) if session.console.for_people() => {
            session.console.line(&super::super::output::clean(key.expose_secret()))
        }
        _ => session.console.item(issued, &[]),
    }
}

async fn bind(args: BindArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.connect()?;
    let at = args.participant;
    let body = IssueCredential {
        label: args.label,
        expire_time: args.expires.map(|expires| in_time(SystemClock.now(), expires)),
        identity: Some(args.identity.clone()),
        sources: args.limits.sources,
        certificate: args.limits.certificate.as_deref().map(thumbprint).transpose()?,
    };
    let bound = client.issue_credential(&at.registration, &at.name, &body).await?;
    if session.global.dry_run {
        return Ok(());
    }
    session.done(&format!(
        "{} is {at} until {}",
        args.identity,
        time(bound.credential.expire_time)
    ));
    if session.console.for_people() { Ok(()) } else { session.console.item(&bound.credential, &[]) }
}

/// The SHA-256 of a certificate, as given or of the first one in a PEM file.
fn thumbprint(text: &str) -> Result<Thumbprint, Failure> {
    if let Ok(thumbprint) = text.parse() {
        return Ok(thumbprint);
    }
    let der = CertificateDer::from_pem_file(text).map_err(|error| {
        Failure::usage(
            format!("`{text}` is no SHA-256 in hex and no PEM certificate: {error}"),
            "give 64 hexadecimal digits, or the path of the certificate",
        )
    })?;
    Ok(Thumbprint(hub_crypto::hash::sha256(&der)))
}

/// An overlap as `1h`, `30d` or `0s`.
fn overlap(text: &str) -> Result<Period, String> {
    let seconds = match text {
        "0" | "0s" => 0,
        text => values::duration(text)?.as_secs(),
    };
    format!("PT{seconds}S").parse().map_err(|error: hub_model::Error| error.to_string())
}

fn in_time(now: Timestamp, expires: Duration) -> Timestamp {
    now.plus(expires)
}

impl Row for CredentialView {
    const HEAD: &'static [&'static str] =
        &["UID", "METHOD", "STATE", "EXPIRES", "LAST USE", "IDENTITY", "LABEL"];

    fn cells(&self) -> Vec<String> {
        let state = if self.revoke_time.is_some() { "revoked" } else { "issued" };
        vec![
            self.uid.to_string(),
            self.method.name().to_owned(),
            state.to_owned(),
            time(self.expire_time),
            self.last_use_time.map_or_else(|| "never".to_owned(), time),
            self.identity.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            self.label.clone(),
        ]
    }
}
