//! `cipher-hub credential`.

use std::time::Duration;

use clap::{Args, Subcommand};
use hub_model::api::participant::{CredentialView, IssueCredential};
use hub_model::clock::{Clock as _, SystemClock};
use hub_model::{CredentialId, Timestamp};

use super::super::failure::Failure;
use super::super::files;
use super::super::output::{Row, time};
use super::super::run::Session;
use super::super::values::{self, Place};
use super::every;

/// API keys.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  cipher-hub credential issue shop/checkout --expires 30d > api-key
  cipher-hub credential list shop/checkout")]
pub(crate) enum CredentialCommand {
    /// Issue an API key: its secret goes to stdout, this once
    Issue(IssueArgs),
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
}

pub(crate) async fn run(
    command: CredentialCommand,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    match command {
        CredentialCommand::Issue(args) => issue(args, session).await,
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
            client.revoke_credential(&at.registration, &at.name, credential).await?;
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
    };
    let issued = client.issue_credential(&at.registration, &at.name, &body).await?;
    if session.global.dry_run {
        return Ok(());
    }
    let (facts, key) = (&issued.credential, issued.api_key.expose_secret());
    session.console.note(&format!("issued {} to {at}", facts.uid));
    session.console.note(&format!("expires {}", time(facts.expire_time)));
    session.console.note("keep it: it cannot be shown again");
    if session.console.for_people() {
        session.console.line(&super::super::output::clean(key))
    } else {
        session.console.item(&issued, &[])
    }
}

fn in_time(now: Timestamp, expires: Duration) -> Timestamp {
    now.plus(expires)
}

impl Row for CredentialView {
    const HEAD: &'static [&'static str] = &["UID", "METHOD", "STATE", "EXPIRES", "LABEL"];

    fn cells(&self) -> Vec<String> {
        let state = if self.revoke_time.is_some() { "revoked" } else { "issued" };
        vec![
            self.uid.to_string(),
            self.method.name().to_owned(),
            state.to_owned(),
            time(self.expire_time),
            self.label.clone(),
        ]
    }
}
