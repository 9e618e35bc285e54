//! `cipher-hub operation`, `key migrate`, `key data-keys`: long operations and what they work on.

use std::time::{Duration, Instant};

use cipher_hub_client::{Client, PageRequest};
use clap::{Args, Subcommand};
use hub_model::OperationId;
use hub_model::api::job::{KeptDataKey, OperationState, OperationView, PutDataKey};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::super::failure::{Code, Failure};
use super::super::files;
use super::super::output::{Row, clean, time};
use super::super::run::Session;
use super::super::values::{self, Place};
use super::every;

/// More than any wrapped data key has.
const MAX_WRAPPED: usize = 256 * 1024;
/// Between two looks at an operation.
const PAUSE: Duration = Duration::from_millis(250);
/// Between two lines of progress where there is no terminal.
const WORD: Duration = Duration::from_secs(5);

/// Long operations.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  cipher-hub operation list shop
  cipher-hub operation watch shop op_01jd8r0000000000000000000a")]
pub(crate) enum OperationCommand {
    /// List the operations of a registration
    #[command(after_help = "Examples:\n  cipher-hub operation list shop")]
    List(ListArgs),
    /// Show an operation and what it could not do
    #[command(
        after_help = "Examples:\n  cipher-hub operation get shop op_01jd8r0000000000000000000a"
    )]
    Get(One),
    /// Wait for the end of an operation, with a progress bar
    #[command(
        after_help = "Examples:\n  cipher-hub operation watch shop op_01jd8r0000000000000000000a"
    )]
    Watch(One),
    /// Cancel an operation; what it has done stays done
    #[command(
        after_help = "Examples:\n  cipher-hub operation cancel shop op_01jd8r0000000000000000000a"
    )]
    Cancel(One),
    /// Go on with an operation that failed or was cancelled
    #[command(
        after_help = "Examples:\n  cipher-hub operation resume shop op_01jd8r0000000000000000000a"
    )]
    Resume(One),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The registration
    registration: String,
}

#[derive(Debug, Args)]
pub(crate) struct One {
    /// The registration
    registration: String,
    /// The operation's id
    operation: OperationId,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub key rotate shop/orders && cipher-hub key migrate shop/orders
  cipher-hub key migrate shop/orders --no-wait

The hub wraps the data keys that it keeps under the key anew, under its primary version, and goes
on with it after a restart. Ciphertexts of your own: cipher-hub rewrap.")]
pub(crate) struct MigrateArgs {
    /// The key
    #[arg(value_name = "REG/KEY")]
    key: Place,
    /// Say which operation it is, and do not wait for its end
    #[arg(long)]
    no_wait: bool,
}

/// Wrapped data keys that the hub keeps.
#[derive(Debug, Subcommand)]
pub(crate) enum DataKeysCommand {
    /// Keep a wrapped data key: what `cipher-hub datakey` gave, from stdin or a file
    #[command(after_help = "\
Examples:
  cipher-hub datakey shop/orders --context tenant=eu |
    cipher-hub key data-keys keep shop/orders eu-2026 --context tenant=eu")]
    Keep(KeepArgs),
    /// List them
    #[command(after_help = "Examples:\n  cipher-hub key data-keys list shop/orders")]
    List(AtKey),
    /// Print one, wrapped
    #[command(after_help = "\
Examples:
  cipher-hub key data-keys get shop/orders eu-2026 |
    cipher-hub decrypt --context tenant=eu > data.key")]
    Get(Named),
    /// Delete one: what it encrypted is lost, unless somebody else has it too
    #[command(after_help = "Examples:\n  cipher-hub key data-keys delete shop/orders eu-2026")]
    Delete(Named),
}

#[derive(Debug, Args)]
pub(crate) struct AtKey {
    /// The key
    #[arg(value_name = "REG/KEY")]
    key: Place,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The key
    #[arg(value_name = "REG/KEY")]
    key: Place,
    /// The name of the data key
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct KeepArgs {
    #[command(flatten)]
    named: Named,
    /// Read this file instead of stdin
    #[arg(short, long, value_name = "FILE")]
    input: Option<std::path::PathBuf>,
    /// The pairs it was generated with
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::pair)]
    context: Vec<(String, String)>,
}

pub(crate) async fn run(
    command: OperationCommand,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let client = session.connect()?;
    match command {
        OperationCommand::List(ListArgs { registration }) => {
            let (client, registration) = (&client, &registration);
            let fetch = |page| async move { client.operations(registration, &page).await };
            let all = every(fetch).await?;
            session.console.list(&all)
        }
        OperationCommand::Get(One { registration, operation }) => {
            let view = client.operation(&registration, operation).await?;
            show(session, &view)
        }
        OperationCommand::Watch(One { registration, operation }) => {
            let view = client.operation(&registration, operation).await?;
            let view = wait(session, &client, &registration, view).await?;
            end(session, &view)
        }
        OperationCommand::Cancel(One { registration, operation }) => {
            let view = client.cancel_operation(&registration, operation).await?;
            show(session, &view)
        }
        OperationCommand::Resume(One { registration, operation }) => {
            let view = client.resume_operation(&registration, operation).await?;
            show(session, &view)
        }
    }
}

pub(super) async fn migrate(
    session: &mut Session<'_>,
    client: &Client,
    args: MigrateArgs,
) -> Result<(), Failure> {
    let MigrateArgs { key: at, no_wait } = args;
    let begun = client.migrate_key(&at.registration, &at.name).await?;
    if no_wait {
        return show(session, &begun);
    }
    session.console.detail(&format!("operation {}", begun.uid));
    let view = wait(session, client, &at.registration, begun).await?;
    end(session, &view)
}

pub(super) async fn data_keys(
    session: &mut Session<'_>,
    client: &Client,
    command: DataKeysCommand,
) -> Result<(), Failure> {
    match command {
        DataKeysCommand::Keep(args) => {
            let KeepArgs { named: Named { key: at, name }, input, context } = args;
            let name = name.parse().map_err(|error: hub_model::Error| {
                Failure::usage(error.to_string(), "choose another name")
            })?;
            let context = values::context(context)?;
            let text = files::read(session.console, input.as_deref(), MAX_WRAPPED).await?;
            let text = text.ok_or_else(|| {
                let message = format!("a wrapped data key has at most {MAX_WRAPPED} bytes");
                Failure::usage(message, "give what `cipher-hub datakey` printed")
            })?;
            let ciphertext = String::from_utf8_lossy(&text).trim().to_owned();
            let body = PutDataKey { name, ciphertext, context };
            let kept = client.put_data_key(&at.registration, &at.name, &body).await?;
            session.done(&format!("{at}  keeps {} under version {}", kept.name, kept.version));
            if session.console.for_people() { Ok(()) } else { session.console.item(&kept, &[]) }
        }
        DataKeysCommand::List(AtKey { key: at }) => {
            let at = &at;
            let fetch = |page: PageRequest| async move {
                let page = PageRequest { size: Some(100), ..page };
                client.data_keys(&at.registration, &at.name, &page).await
            };
            let all = every(fetch).await?;
            session.console.list(&all)
        }
        DataKeysCommand::Get(Named { key: at, name }) => {
            let kept = client.data_key(&at.registration, &at.name, &name).await?;
            if !session.console.for_people() {
                return session.console.item(&kept, &[]);
            }
            session.console.line(&clean(&kept.ciphertext))
        }
        DataKeysCommand::Delete(Named { key: at, name }) => {
            let sure = session.sure();
            files::confirm(session.console, sure, "deleting the data key", &name).await?;
            client.delete_data_key(&at.registration, &at.name, &name).await?;
            session.done(&format!("{at}  {name} deleted"));
            Ok(())
        }
    }
}

/// Waits for the end, and shows how far it is.
async fn wait(
    session: &mut Session<'_>,
    client: &Client,
    registration: &str,
    mut view: OperationView,
) -> Result<OperationView, Failure> {
    let visible = session.console.err_terminal && !session.global.quiet;
    let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(view.progress.total), target);
    let template = "{bar:30} {pos}/{len} data keys  {per_sec}  {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    let mut said = Instant::now();
    while !view.state.is_final() && !session.global.dry_run {
        tokio::time::sleep(PAUSE).await;
        view = client.operation(registration, view.uid).await?;
        bar.set_length(view.progress.total);
        bar.set_position(view.progress.done);
        if !session.console.err_terminal && said.elapsed() >= WORD {
            let (done, total) = (view.progress.done, view.progress.total);
            session.console.note(&format!("{done} of {total} data keys"));
            said = Instant::now();
        }
    }
    bar.finish_and_clear();
    Ok(view)
}

/// Shows how it ended; an end without success is a failure.
fn end(session: &mut Session<'_>, view: &OperationView) -> Result<(), Failure> {
    show(session, view)?;
    if matches!(view.state, OperationState::Failed | OperationState::Cancelled) {
        let word = view.problem.as_deref().unwrap_or("cancelled");
        return Err(Failure::new(
            Code::Failed,
            format!("the operation did not succeed: {}", clean(word)),
            "see `cipher-hub operation get`; go on with `cipher-hub operation resume`",
        ));
    }
    Ok(())
}

const fn word(state: OperationState) -> &'static str {
    match state {
        OperationState::Running => "running",
        OperationState::Succeeded => "succeeded",
        OperationState::Failed => "failed",
        OperationState::Cancelled => "cancelled",
    }
}

fn show(session: &mut Session<'_>, view: &OperationView) -> Result<(), Failure> {
    let failures: Vec<_> =
        view.failures.iter().map(|f| format!("{} ({})", f.data_key, clean(&f.code))).collect();
    let progress = view.progress;
    session.console.item(
        view,
        &[
            ("uid", view.uid.to_string()),
            ("kind", clean(&view.kind)),
            ("key", view.key.to_string()),
            ("state", word(view.state).to_owned()),
            ("done", format!("{} of {}", progress.done, progress.total)),
            ("failed", progress.failed.to_string()),
            ("problem", view.problem.as_deref().map(clean).unwrap_or_default()),
            ("failures", failures.join(", ")),
            ("created", time(view.create_time)),
            ("updated", time(view.update_time)),
            ("ended", view.end_time.map(time).unwrap_or_default()),
        ],
    )
}

impl Row for OperationView {
    const HEAD: &'static [&'static str] = &["UID", "KIND", "STATE", "DONE", "FAILED", "CREATED"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.uid.to_string(),
            self.kind.clone(),
            word(self.state).to_owned(),
            format!("{}/{}", self.progress.done, self.progress.total),
            self.progress.failed.to_string(),
            time(self.create_time),
        ]
    }
}

impl Row for KeptDataKey {
    const HEAD: &'static [&'static str] = &["NAME", "VERSION", "CREATED", "WRAPPED"];

    fn cells(&self) -> Vec<String> {
        let (created, updated) = (time(self.create_time), time(self.update_time));
        vec![self.name.to_string(), self.version.to_string(), created, updated]
    }
}
