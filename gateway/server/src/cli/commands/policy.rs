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
    };
    if let Some(principal) = &args.suppose.principal {
        return suppose::run(&args.suppose, principal, session);
    }
    let decision = args.decision.unwrap_or_default();
    let explanation = session.connect()?.explain_decision(&decision).await?;
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
