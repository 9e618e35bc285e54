//! `cipher-hub key`.

use cipher_hub_client::KeyStep;
use clap::{Args, Subcommand};
use hub_model::api::key::{CreateKey, KeyView, PatchKey, VersionView};
use hub_model::api::profile::UsedProfile;
use hub_model::{Algorithm, RotationPolicy, Timestamp};

use super::super::failure::Failure;
use super::super::output::{Row, clean, tags, time};
use super::super::run::Session;
use super::super::values::{self, Place};
use super::access::{self, WhoCanArgs};
use super::every;
use super::lifecycle::{self, DestroyArgs, RotationCommand, SetPrimaryArgs, Target, policy_text};
use super::operation::{self, DataKeysCommand, MigrateArgs};
use super::rotation_plugin::{PluginArgs, next_text};
use super::transfer::{self, ExportArgs, ImportArgs};

/// Keys.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  cipher-hub key create shop/orders
  cipher-hub key rotate shop/orders")]
pub(crate) enum KeyCommand {
    /// Create a key
    Create(CreateArgs),
    /// List keys
    #[command(after_help = "\
Examples:
  cipher-hub key list shop
  cipher-hub key list shop --needs-rewrap")]
    List(ListArgs),
    /// Show a key
    #[command(after_help = "Examples:\n  cipher-hub key get shop/orders")]
    Get(One),
    /// Change a key's tags and its minimum version
    Update(UpdateArgs),
    /// Add a version and make it primary
    #[command(after_help = "\
Examples:
  cipher-hub key rotate shop/orders && cipher-hub rewrap shop/orders < old > new")]
    Rotate(One),
    /// Import a key made elsewhere, wrapped on this machine
    Import(ImportArgs),
    /// Export an exportable key, wrapped for a recipient
    Export(ExportArgs),
    /// List a key's versions
    #[command(after_help = "Examples:\n  cipher-hub key versions shop/orders")]
    Versions(One),
    /// Take a key or a version out of use for a while
    #[command(after_help = "\
Examples:
  cipher-hub key suspend shop/orders
  cipher-hub key suspend shop/orders --version 1")]
    Suspend(Target),
    /// Put a suspended key or version back into use
    #[command(after_help = "Examples:\n  cipher-hub key resume shop/orders")]
    Resume(Target),
    /// Make a pending key active before its date
    #[command(after_help = "Examples:\n  cipher-hub key activate shop/orders")]
    Activate(One),
    /// End new protection by a key or a version for ever; it still reads
    #[command(after_help = "Examples:\n  cipher-hub key deactivate shop/orders --version 1")]
    Deactivate(Target),
    /// Note that others know a key or a version; cannot be taken back
    #[command(after_help = "Examples:\n  cipher-hub key compromise shop/orders --version 1")]
    Compromise(Target),
    /// Schedule the destruction of a key or a version
    Destroy(DestroyArgs),
    /// Cancel a destruction: the key or version is suspended then
    #[command(after_help = "Examples:\n  cipher-hub key cancel-destroy shop/orders")]
    CancelDestroy(Target),
    /// Make an existing version primary
    SetPrimary(SetPrimaryArgs),
    /// When a key is rotated by itself
    #[command(
        subcommand,
        after_help = "\
Examples:
  cipher-hub key rotation show shop/orders
  cipher-hub key rotation clear shop/orders"
    )]
    Rotation(RotationCommand),
    /// Wrap the data keys that the hub keeps anew, under the primary version
    Migrate(MigrateArgs),
    /// Wrapped data keys that the hub keeps under a key
    #[command(subcommand, after_help = "Examples:\n  cipher-hub key data-keys list shop/orders")]
    DataKeys(DataKeysCommand),
    /// Show a key's public half
    Public(PublicArgs),
    /// Show who may do an action with a key
    WhoCan(WhoCanArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub key public shop/receipts > receipts.pem
  cipher-hub key public shop/receipts --key-version 1 --output json")]
pub(crate) struct PublicArgs {
    /// The key
    #[arg(value_name = "REG/KEY")]
    key: Place,
    /// The version; without it the primary one
    #[arg(long = "key-version", value_name = "NUMBER")]
    version: Option<u32>,
}

/// One key.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// The key
    #[arg(value_name = "REG/KEY")]
    key: Place,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The registration
    registration: String,
    /// Only keys with data under a version that the primary version should protect
    #[arg(long)]
    needs_rewrap: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub key create shop/orders --tag team=payments
  cipher-hub key create shop/tokens --algorithm CHACHA20_POLY1305
  cipher-hub key create shop/cards --rotation-plugin rotation-business-calendar --param zone=Europe/Zurich")]
pub(crate) struct CreateArgs {
    /// Registration and name
    #[arg(value_name = "REG/KEY")]
    key: Place,
    /// AES_256_GCM (the default), ED25519, RSA_PSS_3072_SHA256, ...: docs/http.md; never changes
    #[arg(long)]
    algorithm: Option<Algorithm>,
    /// Let its material leave the hub one day, wrapped for a recipient; never changes
    #[arg(long)]
    exportable: bool,
    /// Label
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::pair)]
    tag: Vec<(String, String)>,
    /// Become active at this time (RFC 3339), not at once
    #[arg(long, value_name = "TIME")]
    activate_at: Option<Timestamp>,
    #[command(flatten)]
    plugin: PluginArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  cipher-hub key update shop/orders --tag team=payments")]
pub(crate) struct UpdateArgs {
    /// The key
    #[arg(value_name = "REG/KEY")]
    key: Place,
    /// Label to set
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::pair)]
    tag: Vec<(String, String)>,
    /// Label to remove
    #[arg(long, value_name = "NAME")]
    remove_tag: Vec<String>,
    /// End decryption by versions below this number
    #[arg(long, value_name = "NUMBER")]
    min_decrypt_version: Option<u32>,
    /// Change it only if this is its ETag
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
}

pub(crate) async fn run(command: KeyCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    let client = session.connect()?;
    match command {
        KeyCommand::Create(args) => {
            let name = args.key.name.parse().map_err(|error: hub_model::Error| {
                Failure::usage(error.to_string(), "choose another name")
            })?;
            let tags = values::tags(args.tag)?;
            let schedule = args.plugin.schedule()?.map(serde_json::from_value).transpose();
            let schedule = schedule
                .map_err(|error| Failure::usage(error.to_string(), "see docs/lifecycle.md"))?;
            let rotation =
                schedule.map(|it| RotationPolicy { schedule: Some(it), ..Default::default() });
            let body = CreateKey {
                rotation,
                algorithm: args.algorithm,
                tags,
                exportable: args.exportable,
                activation_time: args.activate_at,
                ..CreateKey::new(name)
            };
            let made = client.create_key(&args.key.registration, &body).await?;
            show(session, &made.value)
        }
        KeyCommand::List(args) => {
            let (client, registration) = (&client, &args.registration);
            let only = args.needs_rewrap;
            let all = every(|page| async move {
                if only {
                    client.keys_that_need_rewrap(registration, &page).await
                } else {
                    client.keys(registration, &page).await
                }
            })
            .await?;
            session.console.list(&all)
        }
        KeyCommand::Get(One { key: at }) => {
            let found = client.key(&at.registration, &at.name).await?;
            session.console.detail(&format!("etag {}", found.etag));
            show(session, &found.value)
        }
        KeyCommand::Update(args) => {
            let at = args.key;
            let tags = values::tag_patch(args.tag, args.remove_tag)?;
            let min_decrypt_version = args.min_decrypt_version;
            let patch = PatchKey { tags, min_decrypt_version, ..PatchKey::default() };
            let etag = match args.if_match {
                Some(etag) => values::etag(&etag),
                None => client.key(&at.registration, &at.name).await?.etag,
            };
            let made = client.update_key(&at.registration, &at.name, &etag, &patch).await?;
            show(session, &made.value)
        }
        KeyCommand::Rotate(One { key: at }) => {
            let now = client.rotate_key(&at.registration, &at.name).await?;
            let (to, from) = (now.primary_version, now.primary_version.saturating_sub(1));
            session.done(&format!("{at}  primary version {from} -> {to}"));
            if session.console.for_people() { Ok(()) } else { show(session, &now) }
        }
        KeyCommand::Public(PublicArgs { key: at, version }) => {
            let found = client.public_key(&at.registration, &at.name, version).await?;
            session.console.detail(&format!("{at}  version {}", found.version));
            if !session.console.for_people() {
                return session.console.item(&found, &[]);
            }
            // Of a hub's text only what PEM is made of reaches a terminal.
            let lines: Vec<_> = found.pem.lines().map(clean).collect();
            session.console.line(&lines.join("\n"))
        }
        KeyCommand::Import(args) => {
            let made = transfer::import(args, &client, session).await?;
            show(session, &made)
        }
        KeyCommand::Export(args) => transfer::export(args, &client, session).await,
        KeyCommand::Versions(One { key: at }) => {
            let (client, at) = (&client, &at);
            let all = every(|page| async move {
                client.key_versions(&at.registration, &at.name, &page).await
            })
            .await?;
            session.console.list(&all)
        }
        KeyCommand::Suspend(at) => {
            lifecycle::step(session, &client, at, KeyStep::Suspend, None).await
        }
        KeyCommand::Resume(at) => {
            lifecycle::step(session, &client, at, KeyStep::Resume, None).await
        }
        KeyCommand::Activate(One { key }) => {
            let at = Target::key(key);
            lifecycle::step(session, &client, at, KeyStep::Activate, None).await
        }
        KeyCommand::Deactivate(at) => {
            let warning = Some("ending new protection by");
            lifecycle::step(session, &client, at, KeyStep::Deactivate, warning).await
        }
        KeyCommand::Compromise(at) => {
            let warning = Some("marking as compromised");
            lifecycle::step(session, &client, at, KeyStep::MarkCompromised, warning).await
        }
        KeyCommand::Destroy(args) => lifecycle::destroy(session, &client, args).await,
        KeyCommand::CancelDestroy(at) => {
            lifecycle::step(session, &client, at, KeyStep::CancelDestroy, None).await
        }
        KeyCommand::SetPrimary(args) => lifecycle::set_primary(session, &client, args).await,
        KeyCommand::WhoCan(args) => access::who_can(session, &client, args).await,
        KeyCommand::Migrate(args) => operation::migrate(session, &client, args).await,
        KeyCommand::DataKeys(command) => operation::data_keys(session, &client, command).await,
        KeyCommand::Rotation(command) => lifecycle::rotation(session, &client, command).await,
    }
}

pub(super) fn show(session: &mut Session<'_>, view: &KeyView) -> Result<(), Failure> {
    session.console.item(
        view,
        &[
            ("name", view.name.to_string()),
            ("uid", view.uid.to_string()),
            ("purpose", view.purpose.to_string()),
            ("algorithm", view.algorithm.to_string()),
            ("state", view.state.to_string()),
            ("primary", format!("version {} of {}", view.primary_version, view.versions)),
            ("readable", format!("from version {}", view.min_decrypt_version)),
            ("rotation", policy_text(view)),
            ("next rotation", next_text(view)),
            ("activation", view.activation_time.map(time).unwrap_or_default()),
            ("destruction", view.destroy_time.map(time).unwrap_or_default()),
            ("derived by", view.derived_by.as_ref().map(used).unwrap_or_default()),
            ("derives by", pins(view)),
            ("tags", tags(&view.tags)),
            ("created", time(view.create_time)),
            ("updated", time(view.update_time)),
        ],
    )
}

fn used(profile: &UsedProfile) -> String {
    let UsedProfile { plugin, profile, digest, .. } = profile;
    format!("{plugin}/{profile} {digest}")
}

/// The profiles of plugins that a key is pinned to.
fn pins(view: &KeyView) -> String {
    let pins: Vec<_> = view.profile_pins.iter().map(|pin| used(&pin.into())).collect();
    pins.join(", ")
}

impl Row for KeyView {
    const HEAD: &'static [&'static str] =
        &["NAME", "ALGORITHM", "STATE", "PRIMARY", "VERSIONS", "UPDATED", "TAGS"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.to_string(),
            self.algorithm.to_string(),
            self.state.to_string(),
            self.primary_version.to_string(),
            self.versions.to_string(),
            time(self.update_time),
            tags(&self.tags),
        ]
    }
}

impl Row for VersionView {
    const HEAD: &'static [&'static str] =
        &["VERSION", "STATE", "PRIMARY", "USES", "LAST USE", "REWRAP", "CREATED", "DESTRUCTION"];

    fn cells(&self) -> Vec<String> {
        let primary = if self.primary { "yes" } else { "" };
        let state = self.state.to_string();
        let destruction = self.destroy_time.map(time).unwrap_or_default();
        let created = time(self.create_time);
        let usage = self.usage.unwrap_or_default();
        let last = usage.last_use.map(time).unwrap_or_default();
        let rewrap = if self.needs_rewrap == Some(true) { "needed" } else { "" };
        vec![
            self.version.to_string(),
            state,
            primary.to_owned(),
            usage.operations().to_string(),
            last,
            rewrap.to_owned(),
            created,
            destruction,
        ]
    }
}
