//! `cipher-hub registration`.

use clap::{Args, Subcommand};
use hub_model::api::registration::{CreateRegistration, PatchRegistration, RegistrationView};
use hub_model::{Environment, Name, ParticipantId, RotationPolicy};

use super::super::failure::Failure;
use super::super::output::{Row, tags, time};
use super::super::run::Session;
use super::super::{files, values};
use super::{every, limits};

/// Registrations.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  cipher-hub registration create shop --environment production
  cipher-hub registration list")]
pub(crate) enum RegistrationCommand {
    /// Create a registration
    Create(CreateArgs),
    /// List registrations
    #[command(after_help = "Examples:\n  cipher-hub registration list --output ndjson")]
    List,
    /// Show a registration
    #[command(after_help = "Examples:\n  cipher-hub registration get shop")]
    Get(One),
    /// Change a registration
    Update(Box<UpdateArgs>),
    /// Erase a frozen registration and everything in it
    #[command(after_help = "\
Examples:
  cipher-hub registration freeze shop && cipher-hub registration delete shop")]
    Delete(DeleteArgs),
    /// Make a registration read-only
    #[command(after_help = "Examples:\n  cipher-hub registration freeze shop")]
    Freeze(One),
    /// How much may be done in a registration
    #[command(subcommand)]
    Quotas(limits::QuotasCommand),
    /// Make a frozen registration usable again
    #[command(after_help = "Examples:\n  cipher-hub registration unfreeze shop")]
    Unfreeze(One),
}

/// One registration.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// Name or uid
    registration: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub registration create shop --environment production --tag team=payments
  cipher-hub registration create shop --owner ptc_01jd8r0000000000000000000a")]
pub(crate) struct CreateArgs {
    /// Its name
    name: Name,
    /// What it is, for people
    #[arg(long, default_value = "")]
    description: String,
    /// How far from production: dev, staging or production
    #[arg(long, value_parser = environment, default_value = "dev")]
    environment: Environment,
    /// Label
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::pair)]
    tag: Vec<(String, String)>,
    /// Participant of `hub` who becomes an owner, by uid; you, when none is said
    #[arg(long, value_name = "UID")]
    owner: Vec<ParticipantId>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub registration update shop --description 'The web shop' --remove-tag team")]
pub(crate) struct UpdateArgs {
    /// Name or uid
    registration: String,
    /// A new description
    #[arg(long)]
    description: Option<String>,
    /// A new environment: dev, staging or production
    #[arg(long, value_parser = environment)]
    environment: Option<Environment>,
    /// Label to set
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::pair)]
    tag: Vec<(String, String)>,
    /// Label to remove
    #[arg(long, value_name = "NAME")]
    remove_tag: Vec<String>,
    /// Rotation policy of keys without one of their own, as JSON; `null` for none
    #[arg(long, value_name = "JSON", value_parser = rotation)]
    rotation: Option<Rotation>,
    /// Change it only if this is its ETag
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Name or uid
    registration: String,
    /// Delete it only if this is its ETag
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
}

/// A policy, or none.
#[derive(Debug, Clone)]
pub(crate) struct Rotation(Option<RotationPolicy>);

fn rotation(text: &str) -> Result<Rotation, String> {
    serde_json::from_str(text).map(Rotation).map_err(|error| error.to_string())
}

fn environment(text: &str) -> Result<Environment, String> {
    [Environment::Dev, Environment::Staging, Environment::Production]
        .into_iter()
        .find(|known| known.name() == text)
        .ok_or_else(|| "expected dev, staging or production".to_owned())
}

pub(crate) async fn run(
    command: RegistrationCommand,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let command = match command {
        RegistrationCommand::Quotas(command) => return limits::run(command, session).await,
        other => other,
    };
    let client = session.connect()?;
    match command {
        RegistrationCommand::Quotas(_) => Ok(()),
        RegistrationCommand::Create(args) => {
            let body = CreateRegistration {
                name: args.name,
                description: args.description,
                environment: args.environment,
                tags: values::tags(args.tag)?,
                owners: args.owner,
                rotation: None,
            };
            let made = client.create_registration(&body).await?;
            show(session, &made.value)
        }
        RegistrationCommand::List => {
            let client = &client;
            let all = every(|page| async move { client.registrations(&page).await }).await?;
            session.console.list(&all)
        }
        RegistrationCommand::Get(one) => {
            let found = client.registration(&one.registration).await?;
            session.console.detail(&format!("etag {}", found.etag));
            show(session, &found.value)
        }
        RegistrationCommand::Update(args) => {
            let args = *args;
            let patch = PatchRegistration {
                description: args.description,
                environment: args.environment,
                tags: values::tag_patch(args.tag, args.remove_tag)?,
                rotation: args.rotation.map(|rotation| rotation.0),
            };
            let etag = match args.if_match {
                Some(etag) => values::etag(&etag),
                None => client.registration(&args.registration).await?.etag,
            };
            let made = client.update_registration(&args.registration, &etag, &patch).await?;
            show(session, &made.value)
        }
        RegistrationCommand::Delete(args) => {
            let name = args.registration;
            let sure = session.sure();
            files::confirm(session.console, sure, "erasing the registration", &name).await?;
            let etag = match args.if_match {
                Some(etag) => values::etag(&etag),
                None => client.registration(&name).await?.etag,
            };
            client.delete_registration(&name, &etag).await?;
            session.done(&format!("erased registration {name}"));
            Ok(())
        }
        RegistrationCommand::Freeze(one) => {
            let now = client.freeze_registration(&one.registration).await?;
            show(session, &now)
        }
        RegistrationCommand::Unfreeze(one) => {
            let now = client.unfreeze_registration(&one.registration).await?;
            show(session, &now)
        }
    }
}

fn show(session: &mut Session<'_>, view: &RegistrationView) -> Result<(), Failure> {
    session.console.item(
        view,
        &[
            ("name", view.name.to_string()),
            ("uid", view.uid.to_string()),
            ("description", view.description.clone()),
            ("environment", view.environment.name().to_owned()),
            ("state", state(view).to_owned()),
            ("tags", tags(&view.tags)),
            ("created", time(view.create_time)),
            ("updated", time(view.update_time)),
        ],
    )
}

const fn state(view: &RegistrationView) -> &'static str {
    if view.frozen { "frozen" } else { "active" }
}

impl Row for RegistrationView {
    const HEAD: &'static [&'static str] = &["NAME", "ENVIRONMENT", "STATE", "CREATED", "TAGS"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.to_string(),
            self.environment.name().to_owned(),
            state(self).to_owned(),
            time(self.create_time),
            tags(&self.tags),
        ]
    }
}
