//! `cipher-hub key suspend` and the other steps of the lifecycle; `cipher-hub key rotation`.

use cipher_hub_client::{Client, KeyStep};
use clap::{Args, Subcommand};
use hub_model::api::key::{KeyView, PatchKey, ScheduleDestroy, VersionView};
use hub_model::{Period, RotationPolicy};
use serde_json::{Map, Value, json};

use super::super::failure::Failure;
use super::super::output::time;
use super::super::run::Session;
use super::super::values::Place;
use super::super::{files, output::Console};
use super::rotation_plugin::{PluginArgs, next_text};

/// A key, or one of its versions.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The key
    #[arg(value_name = "REG/KEY")]
    key: Place,
    /// One version of it only
    #[arg(long, value_name = "NUMBER")]
    version: Option<u32>,
}

impl Target {
    /// The whole key.
    pub(crate) const fn key(key: Place) -> Self {
        Self { key, version: None }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub key destroy shop/orders                the whole key, in 30 days
  cipher-hub key destroy shop/orders --version 1 --after P7D")]
pub(crate) struct DestroyArgs {
    #[command(flatten)]
    target: Target,
    /// The waiting period, 7 to 365 days, as P7D
    #[arg(long, value_name = "DURATION")]
    after: Option<Period>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  cipher-hub key set-primary shop/orders 1")]
pub(crate) struct SetPrimaryArgs {
    /// The key
    #[arg(value_name = "REG/KEY")]
    key: Place,
    /// The version
    version: u32,
}

/// When a key is rotated by itself.
#[derive(Debug, Subcommand)]
pub(crate) enum RotationCommand {
    /// Show the policy in force and the next date
    #[command(after_help = "Examples:\n  cipher-hub key rotation show shop/orders")]
    Show(KeyArg),
    /// Give the key a policy of its own
    Set(Box<SetArgs>),
    /// Take the key's own policy away: that of the registration counts again
    #[command(after_help = "\
Examples:
  cipher-hub key rotation clear shop/orders
  cipher-hub key rotation clear shop/orders --never")]
    Clear(ClearArgs),
}

#[derive(Debug, Args)]
pub(crate) struct KeyArg {
    /// The key
    #[arg(value_name = "REG/KEY")]
    key: Place,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub key rotation set shop/orders --period P90D --grace-period P30D
  cipher-hub key rotation set shop/orders --max-operations 1000000000
  cipher-hub key rotation set shop/orders --cron '0 3 1 * *' --time-zone Europe/Zurich --jitter PT6H
  cipher-hub key rotation set shop/orders --rotation-plugin rotation-business-calendar --param zone=Europe/Zurich")]
pub(crate) struct SetArgs {
    /// The key
    #[arg(value_name = "REG/KEY")]
    key: Place,
    /// Rotate this long after the last rotation, as P90D
    #[arg(long, value_name = "DURATION", conflicts_with_all = ["cron", "plugin"])]
    period: Option<Period>,
    /// Rotate at these times: minute, hour, day, month, weekday
    #[arg(long, value_name = "EXPRESSION", conflicts_with = "plugin")]
    cron: Option<String>,
    /// The time zone of --cron; UTC when absent
    #[arg(long, value_name = "ZONE", requires = "cron")]
    time_zone: Option<String>,
    /// Rotate before the primary version is older than this
    #[arg(long, value_name = "DURATION")]
    max_age: Option<Period>,
    /// Rotate when the primary version has protected data so often
    #[arg(long, value_name = "NUMBER")]
    max_operations: Option<u64>,
    /// Rotate when the primary version has protected so many bytes
    #[arg(long, value_name = "BYTES")]
    max_bytes: Option<u64>,
    /// Spread the dates of many keys over this time
    #[arg(long, value_name = "DURATION")]
    jitter: Option<Period>,
    /// How many versions before the primary stay active
    #[arg(long, value_name = "NUMBER")]
    retain: Option<u32>,
    /// Deactivate a version this long after it was replaced
    #[arg(long, value_name = "DURATION")]
    grace_period: Option<Period>,
    #[command(flatten)]
    plugin: PluginArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ClearArgs {
    /// The key
    #[arg(value_name = "REG/KEY")]
    key: Place,
    /// Never rotate it by itself, whatever the registration says
    #[arg(long)]
    never: bool,
}

/// Takes a step; one that cannot be taken back wants the name typed.
pub(crate) async fn step(
    session: &mut Session<'_>,
    client: &Client,
    target: Target,
    step: KeyStep,
    warning: Option<&str>,
) -> Result<(), Failure> {
    let Target { key: at, version } = target;
    if let Some(what) = warning {
        let sure = session.sure();
        let what = version.map_or_else(
            || format!("{what} the key"),
            |number| format!("{what} version {number} of the key"),
        );
        files::confirm(session.console, sure, &what, &at.to_string()).await?;
    }
    match version {
        None => {
            let now = client.step_key(&at.registration, &at.name, &step).await?;
            say_key(session, &at, &now)
        }
        Some(number) => {
            let now = client.step_key_version(&at.registration, &at.name, number, &step).await?;
            say_version(session, &at, &now)
        }
    }
}

/// Schedules destruction.
pub(crate) async fn destroy(
    session: &mut Session<'_>,
    client: &Client,
    args: DestroyArgs,
) -> Result<(), Failure> {
    let body = ScheduleDestroy { after: args.after };
    body.wait().map_err(|error| Failure::usage(error.to_string(), "for example: --after P30D"))?;
    let warning = Some("taking out of use and, after the waiting period, destroying");
    step(session, client, args.target, KeyStep::ScheduleDestroy(body), warning).await
}

/// Makes an existing version primary.
pub(crate) async fn set_primary(
    session: &mut Session<'_>,
    client: &Client,
    args: SetPrimaryArgs,
) -> Result<(), Failure> {
    let at = args.key;
    let now = client.set_primary(&at.registration, &at.name, args.version).await?;
    session.done(&format!("{at}  primary version {}", now.primary_version));
    data(session.console, &now)
}

/// Shows, sets or clears the rotation policy.
pub(crate) async fn rotation(
    session: &mut Session<'_>,
    client: &Client,
    command: RotationCommand,
) -> Result<(), Failure> {
    let (at, policy) = match command {
        RotationCommand::Show(KeyArg { key: at }) => {
            let found = client.key(&at.registration, &at.name).await?;
            return show_rotation(session, &found.value);
        }
        RotationCommand::Set(args) => {
            let policy = policy(&args)?;
            (args.key, Some(policy))
        }
        RotationCommand::Clear(args) => (args.key, args.never.then(RotationPolicy::default)),
    };
    let etag = client.key(&at.registration, &at.name).await?.etag;
    let patch = PatchKey { rotation: Some(policy), ..PatchKey::default() };
    let made = client.update_key(&at.registration, &at.name, &etag, &patch).await?;
    show_rotation(session, &made.value)
}

fn policy(args: &SetArgs) -> Result<RotationPolicy, Failure> {
    let mut members = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            members.insert(name.to_owned(), value);
        }
    };
    let text = |period: &Option<Period>| period.map(|period| json!(period.to_string()));
    put("schedule", args.period.map(|period| json!({ "period": period.to_string() })));
    let zone = args.time_zone.as_deref().unwrap_or("UTC");
    put("schedule", args.cron.as_ref().map(|cron| json!({ "cron": cron, "timeZone": zone })));
    put("schedule", args.plugin.schedule()?);
    put("maxAge", text(&args.max_age));
    put("maxOperations", args.max_operations.map(Value::from));
    put("maxBytes", args.max_bytes.map(Value::from));
    put("jitter", text(&args.jitter));
    put("retain", args.retain.map(Value::from));
    put("gracePeriod", text(&args.grace_period));
    if members.is_empty() {
        let hint = "for example: --period P90D; `clear --never` ends rotation";
        return Err(Failure::usage("no limit is given", hint));
    }
    serde_json::from_value(Value::Object(members))
        .map_err(|error| Failure::usage(error.to_string(), "see docs/lifecycle.md"))
}

fn show_rotation(session: &mut Session<'_>, view: &KeyView) -> Result<(), Failure> {
    session.console.item(
        view,
        &[
            ("name", view.name.to_string()),
            ("policy", policy_text(view)),
            ("next", next_text(view)),
        ],
    )
}

/// The policy in force, on one line.
pub(crate) fn policy_text(view: &KeyView) -> String {
    view.rotation
        .as_ref()
        .and_then(|policy| serde_json::to_string(policy).ok())
        .unwrap_or_else(|| "none".to_owned())
}

fn say_key(session: &mut Session<'_>, at: &Place, now: &KeyView) -> Result<(), Failure> {
    let date = now.destroy_time.map(|date| format!(" {}", time(date))).unwrap_or_default();
    session.done(&format!("{at}  {}{date}", now.state));
    data(session.console, now)
}

fn say_version(session: &mut Session<'_>, at: &Place, now: &VersionView) -> Result<(), Failure> {
    let date = now.destroy_time.map(|date| format!(" {}", time(date))).unwrap_or_default();
    session.done(&format!("{at}  version {} {}{date}", now.version, now.state));
    data(session.console, now)
}

/// The answer as data, for programs; people have read it already.
fn data<T: serde::Serialize>(console: &mut Console, value: &T) -> Result<(), Failure> {
    if console.for_people() { Ok(()) } else { console.item(value, &[]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_make_the_policy() {
        let args = SetArgs {
            key: "shop/orders".parse().unwrap(),
            period: None,
            cron: Some("0 3 1 * *".to_owned()),
            time_zone: Some("Europe/Zurich".to_owned()),
            max_age: Some("P180D".parse().unwrap()),
            max_operations: Some(9),
            max_bytes: None,
            jitter: None,
            retain: Some(2),
            grace_period: None,
            plugin: PluginArgs::default(),
        };
        let value = serde_json::to_value(policy(&args).unwrap()).unwrap();
        assert_eq!(value["schedule"]["timeZone"], "Europe/Zurich");
        assert_eq!((&value["maxAge"], &value["retain"]), (&json!("P180D"), &json!(2)));
        assert_eq!(value["maxOperations"], 9);
        let bad = SetArgs { cron: Some("nonsense".to_owned()), ..args };
        assert!(policy(&bad).is_err());
    }
}
