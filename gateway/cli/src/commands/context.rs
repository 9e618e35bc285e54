//! `cipher-hub login` and `cipher-hub context`.

use std::path::Path;

use clap::{Args, Subcommand};
use hub_model::secret::SecretText;
use serde::Serialize;

use super::super::connect::{self, Context, Contexts, Target, save_context};
use super::super::failure::{Code, Failure};
use super::super::files;
use super::super::output::Row;
use super::super::run::Session;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub login --address https://hub.example:8443
  cipher-hub login --address unix:/run/cipher-hub/hub.sock --name prod < api-key
  cipher-hub login --address https://127.0.0.1:8443 --ca-file ca.pem --registration shop
  cipher-hub login --address https://hub.example:8443 --cert-file me.pem --key-file me.key")]
pub(crate) struct LoginArgs {
    /// Name to remember it by
    #[arg(long, default_value = "default", value_name = "CONTEXT")]
    name: String,
    /// Registration meant when none is said
    #[arg(long, value_name = "REG")]
    registration: Option<String>,
    /// Remember it without asking the hub whether the API key is good
    #[arg(long)]
    no_check: bool,
}

/// Remembered hubs.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  cipher-hub context list\n  cipher-hub context use prod")]
pub(crate) enum ContextCommand {
    /// List contexts
    #[command(after_help = "Examples:\n  cipher-hub context list")]
    List,
    /// Make a context the current one
    #[command(after_help = "Examples:\n  cipher-hub context use prod")]
    Use(One),
    /// Show a context, without its API key
    #[command(after_help = "Examples:\n  cipher-hub context show\n  cipher-hub context show prod")]
    Show(Maybe),
    /// Forget a context and its API key
    #[command(after_help = "Examples:\n  cipher-hub context remove prod")]
    Remove(One),
}

#[derive(Debug, Args)]
pub(crate) struct One {
    /// Its name
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct Maybe {
    /// Its name; the current one when not said
    name: Option<String>,
}

pub(crate) async fn login(args: LoginArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    connect::check_name(&args.name)?;
    let (global, environment) = (session.global, session.environment);
    let Some(address) = global.address.as_ref().or(environment.address.as_ref()) else {
        return Err(Failure::usage("no address is given", "add --address https://host:port"));
    };
    let certificate = connect::given_certificate(global, environment)?;
    // Kept as given and not through its links, which are how mounted files are swapped.
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let certificate = certificate.map(|(cert, key)| (absolute(&cert), absolute(&key)));
    let key = match &global.api_key_file {
        Some(path) => files::read(session.console, Some(path), 4096)
            .await?
            .and_then(|bytes| String::from_utf8(bytes.to_vec()).ok())
            .map(|text| zeroize::Zeroizing::new(text.trim().to_owned())),
        // Who shows a certificate may need no key; one to be used with it comes from a file.
        None if certificate.is_some() => None,
        None => Some(files::secret(session.console, "API key (chk_…, not shown): ").await?),
    };
    let key = key.filter(|key| !key.is_empty());
    if key.is_none() && (certificate.is_none() || global.api_key_file.is_some()) {
        return Err(Failure::usage(
            "no API key is given",
            "type it, pipe it in, or give --api-key-file FILE",
        ));
    }
    let ca_file = global.ca_file.as_ref().or(environment.ca_file.as_ref());
    let ca_file = ca_file
        .map(|path| path.canonicalize().map_err(|error| Failure::file(path, &error)))
        .transpose()?;
    let context = Context {
        address: address.clone(),
        api_key: key.map(|key| SecretText::new(key.to_string())),
        ca_file,
        cert_file: certificate.as_ref().map(|(cert, _)| cert.clone()),
        key_file: certificate.as_ref().map(|(_, key)| key.clone()),
        registration: args.registration,
    };
    let target = Target {
        address: context.address.clone(),
        api_key: context.api_key.clone(),
        token_file: None,
        ca_file: context.ca_file.clone(),
        certificate,
        registration: None,
        context: None,
    };
    let client = target.client(global)?;
    if !args.no_check {
        let me = client.whoami().await?;
        let who = &me.participant;
        session.console.note(&format!("logged in as {}/{}", who.registration, who.name));
    }
    if global.dry_run {
        return Ok(());
    }
    let path = save_context(environment.config_dir.as_deref(), &args.name, context)?;
    session.console.note(&format!("context `{}` stored in {}", args.name, path.display()));
    Ok(())
}

pub(crate) async fn run(command: ContextCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    let folder: Option<&Path> = session.environment.config_dir.as_deref();
    let mut contexts = Contexts::load(folder)?;
    match command {
        ContextCommand::List => {
            let views: Vec<_> = contexts
                .contexts
                .iter()
                .map(|(name, context)| View::new(&contexts, name, context))
                .collect();
            session.console.list(&views)
        }
        ContextCommand::Use(One { name }) => {
            find(&contexts, &name)?;
            contexts.current = Some(name.clone());
            contexts.save(folder)?;
            session.console.note(&format!("current context: {name}"));
            Ok(())
        }
        ContextCommand::Show(Maybe { name }) => {
            let name = name.or(contexts.current.clone()).unwrap_or_default();
            let view = View::new(&contexts, &name, find(&contexts, &name)?);
            session.console.item(
                &view,
                &[
                    ("name", view.name.clone()),
                    ("address", view.address.clone()),
                    ("API key", if view.has_api_key { "stored" } else { "none" }.to_owned()),
                    ("CA file", view.ca_file.clone().unwrap_or_default()),
                    ("certificate", view.cert_file.clone().unwrap_or_default()),
                    ("registration", view.registration.clone().unwrap_or_default()),
                    ("current", if view.current { "yes" } else { "no" }.to_owned()),
                ],
            )
        }
        ContextCommand::Remove(One { name }) => {
            find(&contexts, &name)?;
            let sure = session.sure();
            files::confirm(session.console, sure, "forgetting the API key of", &name).await?;
            if session.global.dry_run {
                return Ok(());
            }
            contexts.contexts.remove(&name);
            contexts.current = contexts.current.filter(|current| *current != name);
            contexts.save(folder)?;
            session.console.note(&format!("forgot context {name}"));
            Ok(())
        }
    }
}

fn find<'a>(contexts: &'a Contexts, name: &str) -> Result<&'a Context, Failure> {
    contexts.contexts.get(name).ok_or_else(|| {
        let message = if name.is_empty() {
            "there is no current context".to_owned()
        } else {
            format!("there is no context `{name}`")
        };
        Failure::new(Code::NotFound, message, "see them: cipher-hub context list")
    })
}

/// A context without its secret.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    name: String,
    current: bool,
    address: String,
    has_api_key: bool,
    ca_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cert_file: Option<String>,
    registration: Option<String>,
}

impl View {
    fn new(contexts: &Contexts, name: &str, context: &Context) -> Self {
        Self {
            name: name.to_owned(),
            current: contexts.current.as_deref() == Some(name),
            address: context.address.clone(),
            has_api_key: context.api_key.is_some(),
            ca_file: context.ca_file.as_ref().map(|path| path.display().to_string()),
            cert_file: context.cert_file.as_ref().map(|path| path.display().to_string()),
            registration: context.registration.clone(),
        }
    }
}

impl Row for View {
    const HEAD: &'static [&'static str] = &["", "NAME", "ADDRESS", "REGISTRATION"];

    fn cells(&self) -> Vec<String> {
        vec![
            if self.current { "*" } else { "" }.to_owned(),
            self.name.clone(),
            self.address.clone(),
            self.registration.clone().unwrap_or_default(),
        ]
    }
}
