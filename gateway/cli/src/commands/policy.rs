//! `cipher-hub policy`.

mod check;
mod diff;
mod fmt;
mod folder;
mod init;
mod suppose;
mod test;

use clap::{Args, Subcommand};
use hub_model::api::audit::{Explanation, PolicyView};

use super::super::failure::Failure;
use super::super::output::clean;
use super::super::run::Session;
use super::ask::{self, AskArgs};
use super::replay::{self, ReplayArgs};
use super::revision::{
    self, ActivateArgs, DeleteArgs, GetArgs, ProposeArgs, RollbackArgs, ShadowArgs, ValidateArgs,
};

/// Policies.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  cipher-hub policy init
  cipher-hub policy check --watch
  cipher-hub policy test --coverage
  cipher-hub policy explain dec_01jd8r0000000000000000000a")]
pub(crate) enum PolicyCommand {
    /// Make a folder to write policies in
    Init(init::InitArgs),
    /// Say everything that is wrong with a folder of policies
    Check(check::CheckArgs),
    /// Format policies as Cedar's formatter does
    Fmt(fmt::FmtArgs),
    /// Run the decision tests of a folder
    Test(test::TestArgs),
    /// Say what a change of the policies would allow and deny
    Diff(diff::DiffArgs),
    /// Print the schema that policies are written against
    #[command(after_help = "Examples:\n  cipher-hub policy schema > hub.cedarschema")]
    Schema,
    /// Explain why a decision fell as it did, or how a request would be decided
    Explain(ExplainArgs),
    /// Ask a running hub how a request would be decided that nobody makes
    Ask(AskArgs),
    /// Have a running hub check policies, and keep nothing
    Validate(ValidateArgs),
    /// Keep policies as a revision
    Propose(ProposeArgs),
    /// List the revisions kept
    #[command(after_help = "Examples:\n  cipher-hub policy list")]
    List,
    /// Show a revision with its files, and what it found in the shadow
    Get(GetArgs),
    /// Decide by another revision
    Activate(ActivateArgs),
    /// Decide by the revision that was active before
    Rollback(RollbackArgs),
    /// Evaluate a revision beside the active one, and count what differs
    Shadow(ShadowArgs),
    /// Decide recorded requests again under a candidate, and list what falls otherwise
    Replay(ReplayArgs),
    /// Delete a revision that is not in use
    Delete(DeleteArgs),
}

impl PolicyCommand {
    /// Whether its findings can be written as SARIF and as workflow commands.
    pub(crate) const fn reports_findings(&self) -> bool {
        matches!(self, Self::Check(_))
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub policy explain dec_01jd8r0000000000000000000a
  cipher-hub policy explain --principal checkout --action keys.encrypt --resource orders
  cipher-hub policy explain --principal 'Service::\"ptc_…\"' --action keys.rotate \\
    --resource 'Key::\"key_…\"' --entities prod.json --context sourceIp=10.1.2.3 --dir policies")]
pub(crate) struct ExplainArgs {
    /// As in the hint of a denial
    #[arg(
        value_name = "DECISION_ID",
        required_unless_present = "principal",
        conflicts_with = "principal"
    )]
    decision: Option<String>,
    #[command(flatten)]
    suppose: suppose::SupposeArgs,
}

pub(crate) async fn run(command: PolicyCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    let args = match command {
        PolicyCommand::Init(args) => return init::run(&args, session),
        PolicyCommand::Check(args) => return check::run(&args, session).await,
        PolicyCommand::Fmt(args) => return fmt::run(&args, session),
        PolicyCommand::Test(args) => return test::run(&args, session),
        PolicyCommand::Diff(args) => return Box::pin(diff::run(&args, session)).await,
        PolicyCommand::Schema => return init::schema(session),
        PolicyCommand::Explain(args) => args,
        PolicyCommand::Ask(args) => {
            let explanation = ask::ask(args, session).await?;
            return show(&explanation, session);
        }
        PolicyCommand::Validate(args) => return revision::validate(args, session).await,
        PolicyCommand::Propose(args) => return revision::propose(args, session).await,
        PolicyCommand::List => return revision::list(session).await,
        PolicyCommand::Get(args) => return revision::get(args, session).await,
        PolicyCommand::Activate(args) => return revision::activate(args, session).await,
        PolicyCommand::Rollback(args) => return revision::rollback(args, session).await,
        PolicyCommand::Shadow(args) => return revision::shadow(args, session).await,
        PolicyCommand::Replay(args) => return replay::replay(args, session).await,
        PolicyCommand::Delete(args) => return revision::delete(args, session).await,
    };
    if let Some(principal) = &args.suppose.principal {
        return suppose::run(&args.suppose, principal, session);
    }
    let decision = args.decision.unwrap_or_default();
    let explanation = session.connect()?.explain_decision(&decision).await?;
    show(&explanation, session)
}

fn show(explanation: &Explanation, session: &mut Session<'_>) -> Result<(), Failure> {
    if !session.console.for_people() {
        return session.console.item(explanation, &[]);
    }
    for line in lines(explanation) {
        session.console.line(&clean(&line))?;
    }
    Ok(())
}

fn lines(explanation: &Explanation) -> Vec<String> {
    let active = if explanation.revision_active { "active" } else { "not active" };
    let roles = if explanation.roles_now.is_empty() {
        "none".to_owned()
    } else {
        explanation.roles_now.join(", ")
    };
    let mut lines = vec![
        format!("{}  {}", explanation.decision, explanation.summary),
        String::new(),
        format!("decision   {}", explanation.decision_id.as_deref().unwrap_or("asked by nobody")),
        format!("revision   {} ({active})", explanation.revision),
        format!("roles now  {roles}"),
    ];
    lines.extend(explanation.entry.iter().map(|entry| format!("audit      entry {}", entry.seq)));
    lines.extend(explanation.errors.iter().map(|error| format!("error      {error}")));
    lines.extend(explanation.changes.iter().map(|change| format!("to change  {change}")));
    let groups =
        [("decided by", &explanation.determining), ("could permit this", &explanation.candidates)];
    for (head, policies) in groups {
        for policy in policies {
            lines.push(String::new());
            lines.push(format!("{head}: {}", title(policy)));
            // Lines of the text one by one, since line ends are cleaned away.
            lines.extend(policy.text.lines().map(|line| format!("    {line}")));
        }
    }
    lines
}

fn title(policy: &PolicyView) -> String {
    format!("{} {} \"{}\" ({})", policy.effect, policy.id, policy.title, policy.place)
}
