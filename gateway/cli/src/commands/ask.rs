//! `cipher-hub policy ask`: how a running hub would decide a request that nobody makes.

use clap::Args;
use hub_model::api::audit::{Explain, Explanation};
use hub_model::{AuthMethod, Timestamp};

use super::super::failure::Failure;
use super::super::run::Session;
use super::super::values::{self, Place};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub policy ask shop/checkout keys.encrypt shop/orders
  cipher-hub policy ask shop/checkout keys.decrypt shop/orders --source-ip 192.0.2.7 \\
    --context tenant=eu --time 2026-12-24T22:00:00Z
  cipher-hub policy ask hub/admin registrations.create
  cipher-hub policy ask shop/checkout keys.encrypt shop/orders --revision 3f9a41c2

Nothing is done, and nobody is taken for the participant. Without a hub, over a folder:
cipher-hub policy explain --principal …")]
pub(crate) struct AskArgs {
    /// Who would ask
    #[arg(value_name = "REG/PARTICIPANT")]
    participant: Place,
    /// For what, such as keys.encrypt
    action: String,
    /// About what: a key, a registration, or nothing for the hub
    #[arg(value_name = "REG[/KEY]")]
    target: Option<String>,
    /// From where: an IP address, or `unix`; 127.0.0.1 when not said
    #[arg(long, value_name = "ADDRESS")]
    source_ip: Option<String>,
    /// A pair of the encryption context
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::pair)]
    context: Vec<(String, String)>,
    /// Bytes of the payload
    #[arg(long, value_name = "N")]
    payload_bytes: Option<u64>,
    /// How the participant would authenticate: apiKey, jwt, mtls, unix or bootstrap
    #[arg(long, value_name = "METHOD", value_parser = method)]
    method: Option<AuthMethod>,
    /// Without TLS
    #[arg(long)]
    plain: bool,
    /// With a client certificate
    #[arg(long)]
    mutual_tls: bool,
    /// When, in RFC 3339; now when not said
    #[arg(long, value_name = "TIME")]
    time: Option<Timestamp>,
    /// Under which revision; the active one when not said
    #[arg(long, value_name = "REV")]
    revision: Option<String>,
}

fn method(text: &str) -> Result<AuthMethod, String> {
    AuthMethod::ALL.into_iter().find(|method| method.name() == text).ok_or_else(|| {
        let known: Vec<_> = AuthMethod::ALL.iter().map(|method| method.name()).collect();
        format!("expected one of {}", known.join(", "))
    })
}

/// Asks; the answer has the form of an explanation.
pub(crate) async fn ask(args: AskArgs, session: &mut Session<'_>) -> Result<Explanation, Failure> {
    let (registration, key) = match args.target.as_deref().map(|text| text.split_once('/')) {
        None => (None, None),
        Some(None) => (args.target.clone(), None),
        Some(Some((registration, key))) => (Some(registration.to_owned()), Some(key.to_owned())),
    };
    let encryption_context = match args.context.is_empty() {
        true => None,
        false => Some(values::context(args.context)?),
    };
    let body = Explain {
        decision_id: None,
        participant: Some(args.participant.to_string()),
        action: Some(args.action),
        registration,
        key,
        encryption_context,
        payload_bytes: args.payload_bytes,
        source_ip: args.source_ip,
        method: args.method,
        tls: args.plain.then_some(false),
        mutual_tls: args.mutual_tls.then_some(true),
        spiffe_id: None,
        time: args.time,
        revision: args.revision,
    };
    Ok(session.connect()?.explain_request(&body).await?)
}
