//! `cipher-hub token`.

use clap::{Args, Subcommand};
use hub_model::api::token::{RevokeTokens, TokenRevocationView};
use hub_model::{Name, Timestamp, TokenRevocationId};

use super::super::failure::Failure;
use super::super::files;
use super::super::output::{Row, time};
use super::super::run::Session;
use super::every;

/// Tokens of other issuers.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  cipher-hub token revoke corp --jti 2f1c9a40-77d1-4a3e-a7a0-0e6f1f1d2c11
  cipher-hub token revoke corp --subject alice@example.org --reason 'laptop lost'
  cipher-hub token list
  cipher-hub token restore trv_01jd8r0000000000000000000a

To call the hub with a token: --token-file FILE, or CIPHER_HUB_TOKEN_FILE.")]
pub(crate) enum TokenCommand {
    /// Revoke a token, or all tokens of a subject that were issued until now
    Revoke(RevokeArgs),
    /// List revocations
    #[command(after_help = "Examples:\n  cipher-hub token list --output json")]
    List,
    /// Take a revocation back
    #[command(after_help = "\
Examples:
  cipher-hub token restore trv_01jd8r0000000000000000000a")]
    Restore(RestoreArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub token revoke corp --jti 2f1c9a40-77d1-4a3e-a7a0-0e6f1f1d2c11
  cipher-hub token revoke corp --subject alice@example.org
  cipher-hub token revoke cluster --subject system:serviceaccount:shop:worker
  cipher-hub token revoke corp --subject alice@example.org --issued-before 2027-01-31T00:00:00Z

Tokens that the subject is given later are good again: to shut somebody out, suspend the
participant (cipher-hub participant suspend), or have the issuer give no more tokens.")]
pub(crate) struct RevokeArgs {
    /// The issuer, by its name in the hub's configuration
    #[arg(value_name = "ISSUER")]
    issuer: Name,
    /// The `jti` of the token
    #[arg(long, value_name = "ID", required_unless_present = "subject")]
    jti: Option<String>,
    /// Whose tokens
    #[arg(long, value_name = "SUBJECT", conflicts_with = "jti")]
    subject: Option<String>,
    /// Tokens issued until then; until now when not said
    #[arg(long, value_name = "TIME", requires = "subject", value_parser = instant)]
    issued_before: Option<Timestamp>,
    /// Why
    #[arg(long, default_value = "")]
    reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// Which one
    #[arg(value_name = "UID")]
    revocation: TokenRevocationId,
}

pub(crate) async fn run(command: TokenCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    match command {
        TokenCommand::Revoke(args) => {
            let client = session.connect()?;
            let body = RevokeTokens {
                issuer: args.issuer,
                jti: args.jti,
                subject: args.subject,
                issued_before: args.issued_before,
                reason: args.reason,
            };
            let revoked = client.revoke_tokens(&body).await?;
            if session.global.dry_run {
                return Ok(());
            }
            session.done(&format!("revoked; kept until {}", time(revoked.expire_time)));
            let facts = [("uid", revoked.uid.to_string()), ("issuer", revoked.issuer.to_string())];
            session.console.item(&revoked, &facts)
        }
        TokenCommand::List => {
            let client = &session.connect()?;
            let all = every(|page| async move { client.token_revocations(&page).await }).await?;
            session.console.list(&all)
        }
        TokenCommand::Restore(args) => {
            let client = session.connect()?;
            let (revocation, sure) = (args.revocation, session.sure());
            let what = "taking back the revocation";
            files::confirm(session.console, sure, what, &revocation.to_string()).await?;
            client.restore_tokens(revocation).await?;
            session.done(&format!("took {revocation} back"));
            Ok(())
        }
    }
}

fn instant(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|error: hub_model::Error| error.to_string())
}

impl Row for TokenRevocationView {
    const HEAD: &'static [&'static str] =
        &["UID", "ISSUER", "JTI", "SUBJECT", "ISSUED BEFORE", "KEPT UNTIL", "REASON"];

    fn cells(&self) -> Vec<String> {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            self.uid.to_string(),
            self.issuer.to_string(),
            or_none(&self.jti),
            or_none(&self.subject),
            self.issued_before.map_or_else(|| "-".to_owned(), time),
            time(self.expire_time),
            self.reason.clone(),
        ]
    }
}
