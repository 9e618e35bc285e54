//! `cipher-hub registration quotas` and `cipher-hub unblock`.

use clap::{Args, Subcommand};
use hub_model::api::quota::{QuotasView, SetQuotas};
use hub_model::quota::QuotaRule;

use super::super::failure::Failure;
use super::super::run::Session;
use super::super::values;

/// Quotas of a registration.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  cipher-hub registration quotas get shop
  cipher-hub registration quotas set shop --quota '{\"name\":\"decrypts\",\"per\":\"key\",
    \"actions\":[\"keys.decrypt\"],\"limits\":[{\"requests\":1000,\"windowSeconds\":1},
    {\"requests\":50000,\"windowSeconds\":86400}]}'")]
pub(crate) enum QuotasCommand {
    /// Show the quotas of a registration
    #[command(after_help = "Examples:\n  cipher-hub registration quotas get shop --output json")]
    Get(Of),
    /// Set all quotas of a registration
    Set(SetArgs),
    /// Remove the quotas of a registration
    #[command(after_help = "\
Examples:
  cipher-hub registration quotas clear shop
  cipher-hub registration quotas clear shop --bounds")]
    Clear(ClearArgs),
}

/// One registration.
#[derive(Debug, Args)]
pub(crate) struct Of {
    /// Name or uid
    registration: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub registration quotas set shop --bounds --quota '{\"name\":\"all\",
    \"per\":\"registration\",\"limits\":[{\"requests\":5000,\"windowSeconds\":1}]}'")]
pub(crate) struct SetArgs {
    /// Name or uid
    registration: String,
    /// A quota as JSON; those that are not given are gone afterwards
    #[arg(long, value_name = "JSON", required = true, value_parser = rule)]
    quota: Vec<QuotaRule>,
    /// Set what the hub allows, as one of its administrators
    #[arg(long)]
    bounds: bool,
    /// Change it only if this is the registration's ETag
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ClearArgs {
    /// Name or uid
    registration: String,
    /// Remove those of the hub, as one of its administrators
    #[arg(long)]
    bounds: bool,
    /// Change it only if this is the registration's ETag
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
}

/// Lifts blocks.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub status                        names the blocks in effect
  cipher-hub unblock blk_0123456789abcdef
  cipher-hub unblock --all")]
pub(crate) struct UnblockArgs {
    /// The block, as `cipher-hub status` names it
    #[arg(required_unless_present = "all")]
    block: Option<String>,
    /// Lift every block
    #[arg(long, conflicts_with = "block")]
    all: bool,
}

fn rule(text: &str) -> Result<QuotaRule, String> {
    let rule: QuotaRule = serde_json::from_str(text).map_err(|error| error.to_string())?;
    rule.check()?;
    Ok(rule)
}

pub(crate) async fn run(command: QuotasCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.connect()?;
    match command {
        QuotasCommand::Get(of) => {
            let found = client.quotas(&of.registration).await?;
            session.console.detail(&format!("etag {}", found.etag));
            show(session, &found.value)
        }
        QuotasCommand::Set(args) => {
            let etag = match args.if_match {
                Some(etag) => values::etag(&etag),
                None => client.quotas(&args.registration).await?.etag,
            };
            let body = SetQuotas { rules: args.quota };
            let set = client.set_quotas(&args.registration, args.bounds, &etag, &body).await?;
            show(session, &set.value)
        }
        QuotasCommand::Clear(args) => {
            let etag = match args.if_match {
                Some(etag) => values::etag(&etag),
                None => client.quotas(&args.registration).await?.etag,
            };
            client.clear_quotas(&args.registration, args.bounds, &etag).await?;
            session.done(&format!("removed quotas of registration {}", args.registration));
            Ok(())
        }
    }
}

pub(crate) async fn unblock(args: UnblockArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let lifted = session.connect()?.unblock(args.block.as_deref()).await?.lifted;
    session.done(&format!("lifted {lifted} blocks"));
    Ok(())
}

fn show(session: &mut Session<'_>, view: &QuotasView) -> Result<(), Failure> {
    let text = |rule: &QuotaRule| {
        let limits: Vec<_> = rule
            .limits
            .iter()
            .map(|window| {
                let burst = window.burst.map(|burst| format!(", {burst} at once"));
                let burst = burst.unwrap_or_default();
                format!("{} in {} s{burst}", window.requests, window.window_seconds)
            })
            .collect();
        let actions = rule.actions.words();
        let of = if actions.is_empty() { "every action".into() } else { actions.join(", ") };
        let mut only = Vec::new();
        only.extend(rule.participants.iter().map(ToString::to_string));
        only.extend(rule.keys.iter().map(ToString::to_string));
        let only =
            if only.is_empty() { String::new() } else { format!(", only {}", only.join(" ")) };
        format!("{}: {of} per {}{only}: {}", rule.name, rule.per.name(), limits.join("; "))
    };
    let mut facts: Vec<(&str, String)> = Vec::new();
    facts.extend(view.bounds.iter().map(|rule| ("bound", text(rule))));
    facts.extend(view.rules.iter().map(|rule| ("rule", text(rule))));
    session.console.item(view, &facts)
}
