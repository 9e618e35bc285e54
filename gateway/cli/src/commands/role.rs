//! `cipher-hub role`.

use clap::{Args, Subcommand};
use hub_model::Role;
use hub_model::api::participant::MemberView;

use super::super::failure::Failure;
use super::super::output::Row;
use super::super::run::Session;
use super::super::values::Place;
use super::every;

/// Roles.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  cipher-hub role members shop/apps
  cipher-hub role grant shop/apps checkout

Roles: owners, operators, rotators, auditors, apps; in the registration `hub`: admins, auditors")]
pub(crate) enum RoleCommand {
    /// List the members of a role
    #[command(after_help = "Examples:\n  cipher-hub role members shop/apps")]
    Members(MembersArgs),
    /// Make a participant a member of a role
    #[command(
        visible_alias = "add",
        after_help = "\
Examples:
  cipher-hub role grant shop/apps checkout
  cipher-hub role grant shop/owners ptc_01jd8r0000000000000000000a   (someone of `hub`)"
    )]
    Grant(MemberArgs),
    /// End a participant's membership of a role
    #[command(
        visible_alias = "remove",
        after_help = "\
Examples:
  cipher-hub role revoke shop/apps checkout"
    )]
    Revoke(MemberArgs),
}

#[derive(Debug, Args)]
pub(crate) struct MembersArgs {
    /// Registration and role
    #[arg(value_name = "REG/ROLE")]
    role: Place,
}

#[derive(Debug, Args)]
pub(crate) struct MemberArgs {
    /// Registration and role
    #[arg(value_name = "REG/ROLE")]
    role: Place,
    /// Name or uid; participants of `hub` elsewhere by uid
    participant: String,
}

pub(crate) async fn run(command: RoleCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.connect()?;
    match command {
        RoleCommand::Members(args) => {
            let (client, at) = (&client, &args.role);
            let role = role(at)?;
            let all =
                every(
                    |page| async move { client.role_members(&at.registration, role, &page).await },
                )
                .await?;
            session.console.list(&all)
        }
        RoleCommand::Grant(args) => {
            let (at, who) = (&args.role, &args.participant);
            client.grant_role(&at.registration, role(at)?, who).await?;
            session.done(&format!("{who} is a member of {at}"));
            Ok(())
        }
        RoleCommand::Revoke(args) => {
            let (at, who) = (&args.role, &args.participant);
            client.revoke_role(&at.registration, role(at)?, who).await?;
            session.done(&format!("{who} is no member of {at}"));
            Ok(())
        }
    }
}

fn role(at: &Place) -> Result<Role, Failure> {
    at.name.parse().map_err(|error: hub_model::Error| {
        Failure::usage(error.to_string(), "for example: shop/apps")
    })
}

impl Row for MemberView {
    const HEAD: &'static [&'static str] = &["NAME", "UID", "KIND"];

    fn cells(&self) -> Vec<String> {
        vec![
            format!("{}/{}", self.registration, self.name),
            self.uid.to_string(),
            self.kind.name().to_owned(),
        ]
    }
}
