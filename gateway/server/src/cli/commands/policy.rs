//! `cipher-hub policy`.

use clap::{Args, Subcommand};
use hub_model::api::audit::{Explanation, PolicyView};

use super::super::failure::Failure;
use super::super::output::clean;
use super::super::run::Session;

/// Policies.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  cipher-hub policy explain dec_01jd8r0000000000000000000a")]
pub(crate) enum PolicyCommand {
    /// Explain why a decision fell as it did
    Explain(ExplainArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  cipher-hub policy explain dec_01jd8r0000000000000000000a")]
pub(crate) struct ExplainArgs {
    /// As in the hint of a denial
    #[arg(value_name = "DECISION_ID")]
    decision: String,
}

pub(crate) async fn run(command: PolicyCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    let PolicyCommand::Explain(args) = command;
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
        format!("decision   {}", explanation.decision_id),
        format!("revision   {} ({active})", explanation.revision),
        format!("roles now  {roles}"),
        format!("audit      entry {}", explanation.entry.seq),
    ];
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
