//! Runs one command to its end and turns that into an exit code.

use std::process::ExitCode;

use cipher_hub_client::Client;

use super::commands;
use super::connect::Target;
use super::failure::{Code, Failure};
use super::output::Console;
use super::verify::Verifying;
use super::{Cli, ClientCommand, ClientEnvironment, Command, Global, Hooks};

/// What every command works with.
pub(crate) struct Session<'a> {
    pub(crate) global: &'a Global,
    pub(crate) environment: &'a ClientEnvironment,
    pub(crate) hooks: &'a dyn Hooks,
    pub(crate) console: &'a mut Console,
}

impl Session<'_> {
    /// A client of the hub meant.
    pub(crate) fn connect(&mut self) -> Result<Client, Failure> {
        self.connect_with_registration().map(|(client, _)| client)
    }

    /// The same, with the registration meant when none is said.
    pub(crate) fn connect_with_registration(
        &mut self,
    ) -> Result<(Client, Option<String>), Failure> {
        let mut target = Target::resolve(self.global, self.environment)?;
        let registration = target.registration.take();
        let by = target.context.as_ref().map(|name| format!(" (context `{name}`)"));
        let line = format!("hub {}{}", target.address, by.unwrap_or_default());
        let client = target.client(self.global)?;
        self.console.detail(&line);
        Ok((client, registration))
    }

    /// Whether nobody needs to be asked.
    pub(crate) const fn sure(&self) -> bool {
        self.global.yes || self.global.dry_run
    }

    /// Says that a change was made, or would have been.
    pub(crate) fn done(&mut self, what: &str) {
        if !self.global.dry_run {
            self.console.note(what);
        }
    }
}

/// Says what went wrong, in the form all commands use, and gives the exit code.
#[must_use]
pub fn report(cli: &Cli, environment: &ClientEnvironment, failure: &Failure) -> ExitCode {
    Console::process(&cli.global, environment).failure(failure);
    failure.code.into()
}

/// Runs `command` until it ends or is interrupted; not inside a Tokio runtime.
#[must_use]
pub fn run(cli: &Cli, command: ClientCommand, environment: &ClientEnvironment) -> ExitCode {
    let console = Console::process(&cli.global, environment);
    run_on(console, &cli.global, command.0, environment, &Verifying)
        .map_or_else(ExitCode::from, |()| ExitCode::SUCCESS)
}

/// The same, with these streams.
pub(crate) fn run_on(
    mut console: Console,
    global: &Global,
    command: Command,
    environment: &ClientEnvironment,
    hooks: &dyn Hooks,
) -> Result<(), Code> {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            console.failure(&Failure::output(&error));
            return Err(Code::Failed);
        }
    };
    let outcome = runtime.block_on(async {
        let mut session = Session { global, environment, hooks, console: &mut console };
        tokio::select! {
            outcome = Box::pin(dispatch(command, &mut session)) => outcome,
            _ = tokio::signal::ctrl_c() => Err(Failure::interrupted()),
        }
    });
    // A thread may still wait for stdin.
    runtime.shutdown_background();
    match outcome {
        Err(failure) if !(global.dry_run && failure.agreed) => {
            console.failure(&failure);
            Err(failure.code)
        }
        _ => {
            if global.dry_run {
                console.note("dry run: allowed and valid; nothing was done");
            }
            Ok(())
        }
    }
}

async fn dispatch(command: Command, session: &mut Session<'_>) -> Result<(), Failure> {
    match command {
        Command::Status => commands::hub::status(session).await,
        Command::Unblock(args) => commands::limits::unblock(args, session).await,
        Command::Whoami => commands::hub::whoami(session).await,
        Command::Login(args) => commands::context::login(args, session).await,
        Command::Context(command) => commands::context::run(command, session).await,
        Command::Registration(command) => commands::registration::run(command, session).await,
        Command::Participant(command) => commands::participant::run(command, session).await,
        Command::Credential(command) => commands::credential::run(command, session).await,
        Command::Token(command) => commands::token::run(command, session).await,
        Command::Role(command) => commands::role::run(command, session).await,
        Command::Grant(command) => commands::grant::run(command, session).await,
        Command::Key(command) => commands::key::run(command, session).await,
        Command::Operation(command) => commands::operation::run(command, session).await,
        Command::Encrypt(args) => commands::crypto::encrypt(args, session).await,
        Command::Decrypt(args) => commands::crypto::decrypt(args, session).await,
        Command::Rewrap(args) => commands::crypto::rewrap(args, session).await,
        Command::Sign(args) => commands::uses::sign(args, session).await,
        Command::Verify(args) => commands::uses::verify(args, session).await,
        Command::Mac(args) => commands::uses::mac(args, session).await,
        Command::Datakey(args) => commands::uses::datakey(args, session).await,
        Command::Derive(args) => commands::uses::derive(args, session).await,
        Command::Random(args) => commands::uses::random(args, session).await,
        Command::Audit(command) => commands::audit::run(command, session).await,
        Command::Policy(command) => commands::policy::run(command, session).await,
        Command::Plugin(command) => commands::plugin::run(command, session).await,
        Command::Healthcheck(args) => commands::program::healthcheck(args, session).await,
        Command::Completion(args) => commands::program::completion(args, session),
        Command::Man(args) => commands::program::man(&args, session),
        Command::Version => commands::program::version(session),
        Command::DevCa(command) => commands::dev_ca::run(command, session),
        Command::Serve(_)
        | Command::Dev(_)
        | Command::Init(_)
        | Command::Bench(_)
        | Command::Openapi
        | Command::Witness(_)
        | Command::Config(_) => Err(Failure::new(
            Code::Failed,
            "this build of the command line cannot do that",
            "use the program `cipher-hub` itself",
        )),
    }
}
