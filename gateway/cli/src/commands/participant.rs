//! `cipher-hub participant`.

use clap::{Args, Subcommand};
use hub_model::api::participant::{CreateParticipant, ParticipantView, PatchParticipant};
use hub_model::{ParticipantKind, Role};

use super::super::failure::Failure;
use super::super::files;
use super::super::output::{Row, tags, time};
use super::super::run::Session;
use super::super::values::{self, Place};
use super::access::{self, AccessArgs};
use super::every;

/// Participants.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  cipher-hub participant create shop/checkout --kind service --role apps
  cipher-hub participant list shop")]
pub(crate) enum ParticipantCommand {
    /// Create a participant
    Create(CreateArgs),
    /// List participants
    #[command(after_help = "Examples:\n  cipher-hub participant list shop")]
    List(ListArgs),
    /// Show a participant
    #[command(after_help = "Examples:\n  cipher-hub participant get shop/checkout")]
    Get(One),
    /// Change a participant's tags
    Update(UpdateArgs),
    /// Remove a participant and its credentials
    #[command(after_help = "Examples:\n  cipher-hub participant remove shop/checkout")]
    Remove(RemoveArgs),
    /// Suspend a participant: it can do nothing until resumed
    #[command(after_help = "Examples:\n  cipher-hub participant suspend shop/checkout")]
    Suspend(One),
    /// Resume a suspended participant
    #[command(after_help = "Examples:\n  cipher-hub participant resume shop/checkout")]
    Resume(One),
    /// Show what a participant may do in a registration and with its keys
    Access(AccessArgs),
}

/// One participant.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// The participant
    #[arg(value_name = "REG/PARTICIPANT")]
    participant: Place,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The registration
    registration: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub participant create shop/checkout --kind service --role apps
  cipher-hub participant create hub/alice --kind user --role admins")]
pub(crate) struct CreateArgs {
    /// Registration and name
    #[arg(value_name = "REG/PARTICIPANT")]
    participant: Place,
    /// What kind: user, service or device
    #[arg(long, value_parser = kind, default_value = "service")]
    kind: ParticipantKind,
    /// Role it starts with
    #[arg(long)]
    role: Vec<Role>,
    /// Label
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::pair)]
    tag: Vec<(String, String)>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub participant update shop/checkout --tag team=payments --remove-tag owner")]
pub(crate) struct UpdateArgs {
    /// The participant
    #[arg(value_name = "REG/PARTICIPANT")]
    participant: Place,
    /// Label to set
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::pair)]
    tag: Vec<(String, String)>,
    /// Label to remove
    #[arg(long, value_name = "NAME")]
    remove_tag: Vec<String>,
    /// Change it only if this is its ETag
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The participant
    #[arg(value_name = "REG/PARTICIPANT")]
    participant: Place,
    /// Remove it only if this is its ETag
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
}

fn kind(text: &str) -> Result<ParticipantKind, String> {
    [ParticipantKind::User, ParticipantKind::Service, ParticipantKind::Device]
        .into_iter()
        .find(|known| known.name() == text)
        .ok_or_else(|| "expected user, service or device".to_owned())
}

pub(crate) async fn run(
    command: ParticipantCommand,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let client = session.connect()?;
    match command {
        ParticipantCommand::Create(args) => {
            let body = CreateParticipant {
                name: args.participant.name.parse().map_err(|error: hub_model::Error| {
                    Failure::usage(error.to_string(), "choose another name")
                })?,
                kind: args.kind,
                tags: values::tags(args.tag)?,
                roles: args.role,
            };
            let made = client.create_participant(&args.participant.registration, &body).await?;
            show(session, &made.value)
        }
        ParticipantCommand::List(args) => {
            let (client, registration) = (&client, &args.registration);
            let all =
                every(|page| async move { client.participants(registration, &page).await }).await?;
            session.console.list(&all)
        }
        ParticipantCommand::Get(One { participant: at }) => {
            let found = client.participant(&at.registration, &at.name).await?;
            session.console.detail(&format!("etag {}", found.etag));
            show(session, &found.value)
        }
        ParticipantCommand::Update(args) => {
            let at = args.participant;
            let patch = PatchParticipant { tags: values::tag_patch(args.tag, args.remove_tag)? };
            let etag = match args.if_match {
                Some(etag) => values::etag(&etag),
                None => client.participant(&at.registration, &at.name).await?.etag,
            };
            let made = client.update_participant(&at.registration, &at.name, &etag, &patch).await?;
            show(session, &made.value)
        }
        ParticipantCommand::Remove(args) => {
            let at = args.participant;
            let sure = session.sure();
            let what = "removing the participant";
            files::confirm(session.console, sure, what, &at.to_string()).await?;
            let etag = match args.if_match {
                Some(etag) => values::etag(&etag),
                None => client.participant(&at.registration, &at.name).await?.etag,
            };
            client.remove_participant(&at.registration, &at.name, &etag).await?;
            session.done(&format!("removed participant {at}"));
            Ok(())
        }
        ParticipantCommand::Suspend(One { participant: at }) => {
            let now = client.suspend_participant(&at.registration, &at.name).await?;
            show(session, &now)
        }
        ParticipantCommand::Access(args) => access::of_participant(session, &client, args).await,
        ParticipantCommand::Resume(One { participant: at }) => {
            let now = client.resume_participant(&at.registration, &at.name).await?;
            show(session, &now)
        }
    }
}

fn show(session: &mut Session<'_>, view: &ParticipantView) -> Result<(), Failure> {
    session.console.item(view, &facts(view))
}

/// A participant's facts for people.
pub(crate) fn facts(view: &ParticipantView) -> Vec<(&'static str, String)> {
    vec![
        ("name", format!("{}/{}", view.registration, view.name)),
        ("uid", view.uid.to_string()),
        ("kind", view.kind.name().to_owned()),
        ("state", state(view).to_owned()),
        ("roles", roles(&view.roles)),
        ("tags", tags(&view.tags)),
        ("created", time(view.create_time)),
        ("updated", time(view.update_time)),
    ]
}

const fn state(view: &ParticipantView) -> &'static str {
    if view.suspended { "suspended" } else { "active" }
}

fn roles(roles: &[Role]) -> String {
    roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(" ")
}

impl Row for ParticipantView {
    const HEAD: &'static [&'static str] = &["NAME", "UID", "KIND", "STATE", "ROLES", "TAGS"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.to_string(),
            self.uid.to_string(),
            self.kind.name().to_owned(),
            state(self).to_owned(),
            roles(&self.roles),
            tags(&self.tags),
        ]
    }
}
