//! The command line: what can be typed, and running those commands that talk to a hub.
//!
//! What must stay true: stdout is data and stderr is talk; no secret is ever an argument; nothing
//! here reads the environment; text from a hub reaches a terminal without control characters.
//!
//! [`Cli::read`] parses; [`Cli::take_task`] says what to do. What runs a hub or a witness, or measures
//! one, is the program's own affair; everything else goes to [`run`].

mod commands;
mod connect;
mod dev_ca;
mod failure;
mod files;
mod local;
mod output;
mod run;
mod values;
mod verify;

#[cfg(test)]
mod tests;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use hub_audit::verify::{Kept, Keyring};
use hub_model::api::audit::AuditRecord;
use hub_model::secret::SecretText;

pub(crate) use commands::audit::AuditCommand;
pub(crate) use commands::context::{ContextCommand, LoginArgs};
pub(crate) use commands::credential::CredentialCommand;
pub(crate) use commands::crypto::{DecryptArgs, EncryptArgs, RewrapArgs};
pub(crate) use commands::dev_ca::DevCaCommand;
pub(crate) use commands::grant::GrantCommand;
pub(crate) use commands::key::KeyCommand;
pub(crate) use commands::limits::UnblockArgs;
pub(crate) use commands::operation::OperationCommand;
pub(crate) use commands::participant::ParticipantCommand;
pub(crate) use commands::plugin::PluginCommand;
pub(crate) use commands::policy::PolicyCommand;
pub(crate) use commands::program::{CompletionArgs, HealthcheckArgs, ManArgs};
pub(crate) use commands::registration::RegistrationCommand;
pub(crate) use commands::role::RoleCommand;
pub(crate) use commands::token::TokenCommand;
pub(crate) use commands::uses::{
    DatakeyArgs, DeriveArgs, MacArgs, RandomArgs, SignArgs, VerifyArgs,
};
pub use commands::witness::WitnessArgs;
use connect::settings_folder;
pub use connect::{Context, save_context};
pub use failure::{Code, Failure};
pub use local::{BenchArgs, BenchPart, ConfigArgs, ConfigCommand, DevArgs, InitArgs, ServeArgs};
pub use run::{report, run};

/// What the environment says to the client side. Nothing here reads it: the program does.
#[derive(Debug, Default)]
pub struct ClientEnvironment {
    /// `CIPHER_HUB_ADDR`.
    pub address: Option<String>,
    /// `CIPHER_HUB_API_KEY`.
    pub api_key: Option<SecretText>,
    /// `CIPHER_HUB_TOKEN_FILE`.
    pub token_file: Option<PathBuf>,
    /// `CIPHER_HUB_CONTEXT`.
    pub context: Option<String>,
    /// `CIPHER_HUB_CA_FILE`.
    pub ca_file: Option<PathBuf>,
    /// `CIPHER_HUB_CERT_FILE`.
    pub cert_file: Option<PathBuf>,
    /// `CIPHER_HUB_KEY_FILE`.
    pub key_file: Option<PathBuf>,
    /// Our own folder for settings: `$XDG_CONFIG_HOME/cipher-hub` or `~/.config/cipher-hub`.
    pub config_dir: Option<PathBuf>,
    /// Whether `NO_COLOR` is set and not empty.
    pub no_color: bool,
    /// The management listener, by the configuration of this environment.
    pub management: Option<String>,
}

impl ClientEnvironment {
    /// By the names of variables; `variable` gives those that are set and not empty.
    pub fn from_variables(variable: impl Fn(&'static str) -> Option<String>) -> Self {
        let path = |name| variable(name).map(PathBuf::from);
        Self {
            address: variable("CIPHER_HUB_ADDR"),
            api_key: variable("CIPHER_HUB_API_KEY").map(SecretText::new),
            token_file: path("CIPHER_HUB_TOKEN_FILE"),
            context: variable("CIPHER_HUB_CONTEXT"),
            ca_file: path("CIPHER_HUB_CA_FILE"),
            cert_file: path("CIPHER_HUB_CERT_FILE"),
            key_file: path("CIPHER_HUB_KEY_FILE"),
            config_dir: settings_folder(
                path("HOME").as_deref(),
                path("XDG_CONFIG_HOME").as_deref(),
            ),
            no_color: variable("NO_COLOR").is_some(),
            management: None,
        }
    }
}

/// What commands work with, and tests put something else in place of.
pub(crate) trait Hooks: Sync {
    /// Begins to verify an audit log, from entry 0.
    fn verifier(&self, claim: LogClaim) -> Box<dyn LogVerifier>;
}

/// What a hub claims about its log when a verification begins. The log grows while it is read;
/// only the first `size` entries are verified.
#[derive(Debug, Clone)]
pub(crate) struct LogClaim {
    /// How many entries will be pushed.
    pub(crate) size: u64,
    /// The chain head over them, in hex.
    pub(crate) head: String,
    /// The newest checkpoint: a C2SP signed note.
    pub(crate) checkpoint: Option<String>,
    /// The keys the user trusts, if any were given.
    pub(crate) trusted: Option<Keyring>,
    /// The verifier key the hub names: believed where none is trusted.
    pub(crate) verifier_key: String,
    /// Checkpoints kept from earlier, which the log must agree with.
    pub(crate) kept: Vec<Kept>,
}

/// Verifies entries as they come.
pub(crate) trait LogVerifier {
    /// The next entry. The message says what is wrong with it.
    fn push(&mut self, record: &AuditRecord) -> Result<(), String>;
    /// The end: what has been proven, or what is wrong with head or checkpoint.
    fn finish(self: Box<Self>) -> Result<Verified, String>;
}

/// What a verification has proven.
#[derive(Debug, Clone)]
pub(crate) struct Verified {
    /// Entries, each chained to the one before.
    pub(crate) entries: u64,
    /// Entries the signed checkpoint covers; none without a checkpoint.
    pub(crate) checkpointed: Option<u64>,
    /// The Merkle root over all entries, in hex.
    pub(crate) root: String,
}

/// Key management service: keys that never leave, use that never goes unlogged.
#[derive(Debug, Parser)]
#[command(
    name = "cipher-hub",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  cipher-hub dev                                   a hub in memory, to try things
  echo hello | cipher-hub encrypt demo/hello       encrypt under the key `hello`
  cipher-hub --data-dir /var/lib/cipher-hub        serve (the default command)

Exit codes: 0 ok, 1 failed, 2 usage, 3 invalid configuration, 4 not authenticated, 5 denied,
6 not found, 7 conflict or stale, 8 unavailable or sealed, 9 interrupted, 10 verification failed"
)]
pub struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(flatten)]
    serve: ServeArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

impl Cli {
    /// Parses the program's arguments; on a mistake says so and exits with 2.
    #[must_use]
    pub fn read() -> Self {
        Self::try_parse().and_then(Self::checked).unwrap_or_else(|error| {
            let _ = error.print();
            if error.use_stderr() {
                let _ = writeln!(std::io::stderr(), "hint: --help shows the form, and examples");
            }
            std::process::exit(error.exit_code())
        })
    }

    /// Refuses flags of `serve` in front of another command, where they would mean nothing.
    fn checked(self) -> Result<Self, clap::Error> {
        if self.command.is_some() && self.serve != ServeArgs::default() {
            let words = "flags of `serve` stand after `serve`, or alone";
            return Err(Self::command().error(ErrorKind::ArgumentConflict, words));
        }
        let finds = matches!(&self.command, Some(Command::Policy(it)) if it.reports_findings());
        if !finds && matches!(self.global.output, Format::Sarif | Format::Github) {
            let words = "`--output sarif` and `--output github` are for `policy check`";
            return Err(Self::command().error(ErrorKind::ArgumentConflict, words));
        }
        Ok(self)
    }

    /// What to do: `serve` when nothing is said. Leaves `serve` behind.
    pub fn take_task(&mut self) -> Task {
        let Some(command) = self.command.take() else {
            return Task::Serve(std::mem::take(&mut self.serve));
        };
        match command {
            Command::Serve(args) => Task::Serve(args),
            Command::Dev(args) => Task::Dev(args),
            Command::Init(args) => Task::Init(args),
            Command::Bench(args) => Task::Bench(args),
            Command::Witness(args) => Task::Witness(args),
            Command::Openapi => Task::Openapi,
            Command::Config(command) => Task::Config(command),
            other => Task::Client(ClientCommand(other)),
        }
    }

    /// Form of the data on stdout.
    #[must_use]
    pub const fn output(&self) -> Format {
        self.global.output
    }

    /// Whether nothing but errors shall be said on stderr.
    #[must_use]
    pub const fn quiet(&self) -> bool {
        self.global.quiet
    }
}

/// What the program was asked to do.
#[derive(Debug)]
pub enum Task {
    /// Run the hub.
    Serve(ServeArgs),
    /// Run a hub in memory.
    Dev(DevArgs),
    /// Prepare a data folder.
    Init(InitArgs),
    /// Measure.
    Bench(BenchArgs),
    /// Run a witness.
    Witness(WitnessArgs),
    /// Print the OpenAPI document.
    Openapi,
    /// Configuration of `serve`.
    Config(ConfigCommand),
    /// What the command line does by itself, for [`run`].
    Client(ClientCommand),
}

/// A command that the command line does by itself; most of them ask a hub.
#[derive(Debug)]
pub struct ClientCommand(Command);

impl ClientCommand {
    /// Whether it asks the management listener, which the configuration of this environment names.
    #[must_use]
    pub const fn asks_management(&self) -> bool {
        matches!(self.0, Command::Healthcheck(_))
    }
}

/// Flags of every command.
#[derive(Debug, Default, Clone, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The hub: http://host:port, https://host:port or unix:/path
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub(crate) address: Option<String>,
    /// File that holds the API key
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// File that holds a token (JWT), read again when it changes
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "api_key_file")]
    pub(crate) token_file: Option<PathBuf>,
    /// PEM certificates to trust in addition to the machine's
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// PEM certificate to show to the hub, with its intermediates
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) cert_file: Option<PathBuf>,
    /// Private key of the certificate
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Use this named context (see `cipher-hub context list`)
    #[arg(id = "as", long = "as", global = true, value_name = "CONTEXT")]
    pub(crate) context: Option<String>,
    /// Form of the data on stdout: table, json or ndjson
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "FORM"
    )]
    pub(crate) output: Format,
    /// Say nothing on stderr but errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Say more on stderr
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Colour: auto, always or never
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "WHEN"
    )]
    pub(crate) color: Color,
    /// Ask whether it would be allowed and valid, and do nothing
    #[arg(long, global = true)]
    pub(crate) dry_run: bool,
    /// Do not ask for confirmation
    #[arg(long, short, global = true)]
    pub(crate) yes: bool,
    /// Deadline of every call, as 30s or 2m
    #[arg(long, global = true, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) timeout: Option<Duration>,
}

/// Form of the data on stdout.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns, for people.
    #[default]
    #[value(alias = "human")]
    Table,
    /// One indented JSON document.
    Json,
    /// One line of JSON for every item.
    Ndjson,
    /// SARIF 2.1.0, of `policy check`.
    Sarif,
    /// Workflow commands of GitHub Actions, of `policy check`.
    Github,
}

/// When to use colour.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// A command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the hub (the default command)
    Serve(ServeArgs),
    /// Run a hub in memory, to try things; keys vanish on exit
    Dev(DevArgs),
    /// A certificate authority in a folder, to try mutual TLS
    #[command(name = "dev-ca")]
    DevCa(DevCaCommand),
    /// Prepare a data folder: seal, first administrator and its API key
    Init(InitArgs),
    /// Exit with 0 when the hub on this machine is ready, else with 1
    Healthcheck(HealthcheckArgs),
    /// Show the hub's status
    #[command(after_help = "Examples:\n  cipher-hub status\n  cipher-hub status --output json")]
    Status,
    /// Lift blocks that unusual behaviour has led to
    Unblock(UnblockArgs),
    /// Show who the hub takes you for
    #[command(after_help = "Examples:\n  cipher-hub whoami\n  cipher-hub --as dev whoami")]
    Whoami,
    /// Remember a hub's address and your API key
    Login(LoginArgs),
    /// Remembered hubs
    #[command(subcommand)]
    Context(ContextCommand),
    /// Registrations: the security boundaries
    #[command(subcommand)]
    Registration(RegistrationCommand),
    /// Participants: users, services, devices
    #[command(subcommand)]
    Participant(ParticipantCommand),
    /// API keys of participants
    #[command(subcommand)]
    Credential(CredentialCommand),
    /// Tokens of other issuers, and their revocation
    #[command(subcommand)]
    Token(TokenCommand),
    /// Roles and their members
    #[command(subcommand)]
    Role(RoleCommand),
    /// Grants: one participant, one key, some actions
    #[command(subcommand)]
    Grant(GrantCommand),
    /// Keys and their versions
    #[command(subcommand)]
    Key(KeyCommand),
    /// Long operations
    #[command(subcommand)]
    Operation(OperationCommand),
    /// Encrypt stdin to stdout
    Encrypt(EncryptArgs),
    /// Decrypt stdin to stdout
    Decrypt(DecryptArgs),
    /// Encrypt again under the primary version, without seeing the plaintext
    Rewrap(RewrapArgs),
    /// Sign stdin, or its digest
    Sign(SignArgs),
    /// Verify the signature or code of stdin
    Verify(VerifyArgs),
    /// Compute the message authentication code of stdin
    Mac(MacArgs),
    /// Draw a data key, encrypted under a key
    Datakey(DatakeyArgs),
    /// Derive a secret
    Derive(DeriveArgs),
    /// Draw random bytes
    Random(RandomArgs),
    /// The audit trail
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Policies and their decisions
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Plugins: write, test and sign them; install them in a hub
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Measure encryption and decryption
    Bench(BenchArgs),
    /// Run a witness: cosign the checkpoints of other people's hubs
    Witness(WitnessArgs),
    /// Print the OpenAPI document
    #[command(after_help = "Examples:\n  cipher-hub openapi > openapi.json")]
    Openapi,
    /// Configuration of `serve`: check it, show it, or print an example
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script
    Completion(CompletionArgs),
    /// Write manual pages
    Man(ManArgs),
    /// Print the version
    #[command(after_help = "Examples:\n  cipher-hub version")]
    Version,
}
