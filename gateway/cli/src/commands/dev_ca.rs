//! `cipher-hub dev-ca`: an authority for trying mutual TLS. Talks to no hub.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::dev_ca::{self, Authority, Made, Subject};
use clap::{Args, Subcommand};

use super::super::failure::{Code, Failure};
use super::super::output::time;
use super::super::run::Session;
use super::super::values;

/// A certificate authority in a folder, to try mutual TLS. Its key lies unprotected beside its
/// certificate: not for production.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cipher-hub dev-ca init
  cipher-hub dev-ca server > hub.toml
  cipher-hub dev-ca client worker --spiffe spiffe://dev.example/worker >> hub.toml
  cipher-hub dev-ca revoke worker")]
pub(crate) struct DevCaCommand {
    /// Folder of the authority
    #[arg(long, global = true, default_value = "dev-ca", value_name = "DIR")]
    dir: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make the authority
    #[command(
        after_help = "Examples:\n  cipher-hub dev-ca init\n  cipher-hub dev-ca init --dir /tmp/ca --life 30d"
    )]
    Init(InitArgs),
    /// Issue the hub's certificate, and print the settings that go with it
    #[command(
        after_help = "Examples:\n  cipher-hub dev-ca server > hub.toml\n  cipher-hub dev-ca server --name hub --dns hub.internal --ip 10.0.0.5"
    )]
    Server(ServerArgs),
    /// Issue a client's certificate, and print the setting that says who it is
    #[command(after_help = "\
Examples:
  cipher-hub dev-ca client worker --spiffe spiffe://dev.example/ns/shop/sa/worker
  cipher-hub dev-ca client db-1 --dns db-1.internal --participant shop/db-1 >> hub.toml
  cipher-hub dev-ca client batch --email batch@example.org --life 1h")]
    Client(ClientArgs),
    /// Revoke a certificate and write the revocation list
    #[command(
        after_help = "Examples:\n  cipher-hub dev-ca revoke worker\n  cipher-hub dev-ca revoke dev-ca/worker.pem\n  cipher-hub dev-ca revoke 4F:A0:31:…"
    )]
    Revoke(RevokeArgs),
    /// Write the revocation list again, before the old one ends
    #[command(
        after_help = "Examples:\n  cipher-hub dev-ca crl\n  cipher-hub dev-ca crl --list-life 1h"
    )]
    Crl(ListLife),
}

#[derive(Debug, Args)]
struct InitArgs {
    /// What the authority is called
    #[arg(long, default_value = "Cipher Hub dev-ca", value_name = "TEXT")]
    name: String,
    /// How long its certificate is good for
    #[arg(long, default_value = "365d", value_name = "DURATION", value_parser = values::duration)]
    life: Duration,
    #[command(flatten)]
    list: ListLife,
}

#[derive(Debug, Args)]
struct ListLife {
    /// How long the revocation list is good for; afterwards nobody is believed
    #[arg(long, default_value = "30d", value_name = "DURATION", value_parser = values::duration)]
    list_life: Duration,
}

#[derive(Debug, Args)]
struct ServerArgs {
    /// What its files and its subject are called
    #[arg(long, default_value = "server", value_name = "NAME")]
    name: String,
    /// Host name; may be repeated [default: localhost]
    #[arg(long, value_name = "NAME")]
    dns: Vec<String>,
    /// Address; may be repeated [default: 127.0.0.1 and ::1]
    #[arg(long, value_name = "ADDRESS")]
    ip: Vec<IpAddr>,
    /// How long it is good for
    #[arg(long, default_value = "90d", value_name = "DURATION", value_parser = values::duration)]
    life: Duration,
}

#[derive(Debug, Args)]
struct ClientArgs {
    /// What its files and its subject are called; nobody is known by it
    #[arg(value_name = "NAME")]
    name: String,
    /// SPIFFE id
    #[arg(long, value_name = "ID", conflicts_with = "uri")]
    spiffe: Option<String>,
    /// Host name; may be repeated
    #[arg(long, value_name = "NAME")]
    dns: Vec<String>,
    /// Mail address; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    email: Vec<String>,
    /// Other URI; may be repeated
    #[arg(long, value_name = "URI")]
    uri: Vec<String>,
    /// Who it shall be, for the printed setting
    #[arg(long, default_value = "REGISTRATION/PARTICIPANT", value_name = "REG/PARTICIPANT")]
    participant: String,
    /// How long it is good for
    #[arg(long, default_value = "30d", value_name = "DURATION", value_parser = values::duration)]
    life: Duration,
}

#[derive(Debug, Args)]
struct RevokeArgs {
    /// Its file, serial number or name
    #[arg(value_name = "WHICH")]
    which: String,
    #[command(flatten)]
    list: ListLife,
}

pub(crate) fn run(command: DevCaCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    let authority = Authority::at(command.dir);
    let console = &mut *session.console;
    match command.action {
        Action::Init(args) => {
            let end = authority.init(&args.name, args.life, args.list.list_life)?;
            console.note(&format!(
                "made {} (until {}) and {}",
                authority.certificate().display(),
                time(end),
                authority.list().display()
            ));
            console.note("next: cipher-hub dev-ca server > hub.toml");
            Ok(())
        }
        Action::Server(args) => {
            let subject = if args.dns.is_empty() && args.ip.is_empty() {
                dev_ca::this_machine()
            } else {
                Subject::Server { dns: args.dns, ip: args.ip }
            };
            let made = authority.issue(&args.name, &subject, args.life)?;
            console.note(&said(&made));
            let lines = [
                "[server.tls]".to_owned(),
                setting("cert_file", &made.cert),
                setting("key_file", &made.key),
                "client_auth = \"optional\"        # or \"required\"".to_owned(),
                setting("client_ca_file", &authority.certificate()),
                format!("client_crl_files = [{}]", quoted(&authority.list())),
                "client_identity = [\"spiffe\", \"dns\", \"email\", \"uri\"]".to_owned(),
            ];
            lines.iter().try_for_each(|line| console.line(line))
        }
        Action::Client(args) => {
            let first = args.spiffe.clone();
            let first = first.or_else(|| args.dns.first().map(|name| format!("mtls:dns:{name}")));
            let first = first.or_else(|| args.email.first().map(|at| format!("mtls:email:{at}")));
            let first = first.or_else(|| args.uri.first().map(|uri| format!("mtls:uri:{uri}")));
            // Of the first kind it has, a certificate must have one name.
            let kinds = [usize::from(args.spiffe.is_some()), args.dns.len(), args.email.len()];
            let mut kinds = kinds.into_iter().chain([args.uri.len()]);
            let several = kinds.find(|count| *count > 0).is_some_and(|count| count > 1);
            let ClientArgs { spiffe, dns, email, uri, .. } = args;
            let subject = Subject::Client { spiffe, dns, email, uri };
            let made = authority.issue(&args.name, &subject, args.life)?;
            console.note(&said(&made));
            let files = format!(
                "{} --cert-file {} --key-file {}",
                authority.certificate().display(),
                made.cert.display(),
                made.key.display()
            );
            console.note(&format!("try: cipher-hub --address https://… --ca-file {files} whoami"));
            let Some(identity) = first else {
                console.note("it names nobody: good for API keys that are bound to it");
                return Ok(());
            };
            if several {
                console.note("it names nobody: it has several names of one kind");
                return Ok(());
            }
            let lines = [
                "[[auth.map]]".to_owned(),
                format!("identity = \"{identity}\""),
                format!("participant = \"{}\"", args.participant),
            ];
            lines.iter().try_for_each(|line| console.line(line))
        }
        Action::Revoke(args) => {
            let serial = authority.revoke(&args.which, args.list.list_life)?;
            console.note(&format!("revoked {serial}; wrote {}", authority.list().display()));
            Ok(())
        }
        Action::Crl(args) => {
            let end = authority.write_list(args.list_life)?;
            console.note(&format!("wrote {} (until {})", authority.list().display(), time(end)));
            Ok(())
        }
    }
}

fn said(made: &Made) -> String {
    let (cert, key, end) = (made.cert.display(), made.key.display(), time(made.not_after));
    format!("made {cert} and {key}, serial {}, until {end}", made.serial)
}

fn setting(name: &str, path: &Path) -> String {
    format!("{name} = {}", quoted(path))
}

/// A path as a TOML string.
fn quoted(path: &Path) -> String {
    toml::Value::String(path.display().to_string()).to_string()
}

impl From<dev_ca::Error> for Failure {
    fn from(error: dev_ca::Error) -> Self {
        use dev_ca::Error as E;
        let (code, hint) = match &error {
            E::Exists(_) => (Code::Conflict, "choose another name or --dir, or remove it yourself"),
            E::NoAuthority(_) => (Code::NotFound, "make one: cipher-hub dev-ca init"),
            E::NotIssued(_) => (Code::NotFound, "index.json in the folder lists what was issued"),
            E::Name(_) => (Code::Usage, "--help shows the form, and examples"),
            E::File { .. } | E::Folder(_) | E::Made(_) => {
                (Code::Failed, "check the path and its permissions")
            }
        };
        Self::new(code, error.to_string(), hint)
    }
}
