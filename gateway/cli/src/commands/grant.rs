//! `cipher-hub grant`: one participant, one key, some actions.

use std::time::Duration;

use clap::{Args, Subcommand};
use hub_model::api::grant::{CreateGrant, GrantView};
use hub_model::clock::SystemClock;
use hub_model::{Action, Clock as _, GrantId, Timestamp};

use super::super::failure::Failure;
use super::super::output::{Row, time};
use super::super::run::Session;
use super::super::values::{self, Place};
use super::every;

/// Grants on keys.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  cipher-hub grant create shop/orders reporting --action keys.decrypt --expires 30d
  cipher-hub grant list shop/orders

A grant lets one participant do some actions with one key; a role lets it do them with all keys of
the registration.")]
pub(crate) enum GrantCommand {
    /// List the grants on a key
    #[command(after_help = "Examples:\n  cipher-hub grant list shop/orders")]
    List(AtKey),
    /// Grant a participant some actions on a key
    Create(CreateArgs),
    /// Show a grant
    #[command(
        after_help = "Examples:\n  cipher-hub grant get shop/orders gnt_01jd8r0000000000000000000a"
    )]
    Get(One),
    /// Take a grant away; at once
    #[command(
        visible_alias = "remove",
        after_help = "Examples:\n  cipher-hub grant delete shop/orders gnt_01jd8r0000000000000000000a"
    )]
    Delete(One),
}

#[derive(Debug, Args)]
pub(crate) struct AtKey {
    /// The key
    #[arg(value_name = "REG/KEY")]
    key: Place,
}

#[derive(Debug, Args)]
pub(crate) struct One {
    /// The key
    #[arg(value_name = "REG/KEY")]
    key: Place,
    /// The grant's uid
    grant: GrantId,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub grant create shop/orders reporting --action keys.decrypt
  cipher-hub grant create shop/orders reporting --action keys.decrypt --context tenant=eu
  cipher-hub grant create shop/orders ptc_01jd8r0000000000000000000a --action keys.get --expires 8h

Actions: every use of a key (keys.encrypt, keys.decrypt, keys.rewrap, keys.sign, ...), and what reads
it (keys.get, keys.listVersions, keys.getPublicKey, keys.getDataKey, keys.listDataKeys).
keys.rebind and keys.useCompromised are granted only when named.")]
pub(crate) struct CreateArgs {
    /// The key
    #[arg(value_name = "REG/KEY")]
    key: Place,
    /// Name or uid; participants of `hub` by uid
    participant: String,
    /// What it may do; several times for several actions
    #[arg(long, value_name = "ACTION", required = true)]
    action: Vec<Action>,
    /// How long, such as 8h or 30d; without it until it is deleted
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    expires: Option<Duration>,
    /// Pair the encryption context must hold
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::pair)]
    context: Vec<(String, String)>,
    /// What it is for
    #[arg(long, default_value = "", hide_default_value = true)]
    note: String,
}

pub(crate) async fn run(command: GrantCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.connect()?;
    match command {
        GrantCommand::List(AtKey { key: at }) => {
            let (client, at) = (&client, &at);
            let fetch =
                |page| async move { client.grants(&at.registration, &at.name, &page).await };
            let all = every(fetch).await?;
            session.console.list(&all)
        }
        GrantCommand::Create(args) => {
            let at = args.key;
            let end = |life: Duration| -> Timestamp { SystemClock.now().plus(life) };
            let body = CreateGrant {
                participant: args.participant,
                actions: args.action,
                expire_time: args.expires.map(end),
                context: values::context(args.context)?,
                note: args.note,
            };
            let made = client.create_grant(&at.registration, &at.name, &body).await?;
            show(session, &made)
        }
        GrantCommand::Get(One { key: at, grant }) => {
            let found = client.grant(&at.registration, &at.name, grant).await?;
            show(session, &found)
        }
        GrantCommand::Delete(One { key: at, grant }) => {
            client.delete_grant(&at.registration, &at.name, grant).await?;
            session.done(&format!("deleted {grant} on {at}"));
            Ok(())
        }
    }
}

fn show(session: &mut Session<'_>, view: &GrantView) -> Result<(), Failure> {
    session.console.item(
        view,
        &[
            ("uid", view.uid.to_string()),
            ("key", view.key.to_string()),
            ("participant", holder(view)),
            ("actions", actions(view)),
            ("expires", end(view)),
            ("context", context(view)),
            ("note", view.note.clone()),
            ("created", time(view.create_time)),
        ],
    )
}

fn holder(view: &GrantView) -> String {
    format!("{}/{}", view.participant.registration, view.participant.name)
}

fn actions(view: &GrantView) -> String {
    view.actions.iter().map(|action| action.name()).collect::<Vec<_>>().join(" ")
}

fn context(view: &GrantView) -> String {
    view.context.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(" ")
}

fn end(view: &GrantView) -> String {
    let when = view.expire_time.map(time).unwrap_or_default();
    if view.expired { format!("{when} (expired)") } else { when }
}

impl Row for GrantView {
    const HEAD: &'static [&'static str] =
        &["UID", "PARTICIPANT", "ACTIONS", "EXPIRES", "CONTEXT", "NOTE"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.uid.to_string(),
            holder(self),
            actions(self),
            end(self),
            context(self),
            self.note.clone(),
        ]
    }
}
