//! `cipher-hub policy`.

use clap::{Args, Subcommand};
use hub_model::api::audit::{Explanation, PolicyView};

use super::super::failure::Failure;
use super::super::output::clean;
use super::super::run::Session;
use super::replay::{self, ReplayArgs};
use super::revision::{
    self, ActivateArgs, DeleteArgs, GetArgs, ProposeArgs, RollbackArgs, ShadowArgs, ValidateArgs,
};

/// Policies.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  cipher-hub policy explain dec_01jd8r0000000000000000000a")]
pub(crate) enum PolicyCommand {
    /// Explain why a decision fell as it did
    Explain(ExplainArgs),
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

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  cipher-hub policy explain dec_01jd8r0000000000000000000a")]
pub(crate) struct ExplainArgs {
    /// As in the hint of a denial
    #[arg(value_name = "DECISION_ID")]
    decision: String,
}

pub(crate) async fn run(command: PolicyCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    let args = match command {
        PolicyCommand::Explain(args) => args,
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
    let explanation = session.connect()?.explain_decision(&args.decision).await?;
    if !session.console.for_people() {
        return session.console.item(&explanation, &[]);
    }
    for line in lines(&explanation) {
        session.console.line(&clean(&line))?;
    }
    Ok(())
}

fn lines(explanation: &Explanation) -> Vec<String> {
    let active = if explanation.revision_active { "active" } else { "no longer active" };
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
