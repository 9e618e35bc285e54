//! Cipher Hub: one program that serves, prepares, and talks to a hub.

use std::io::Write as _;
use std::process::ExitCode;

use hub_audit::log::OnRollback;
use hub_cli::{Cli, ClientEnvironment, Code, Context, Failure, Task};
use hub_model::secret::SecretText;
use hub_server::app::{self, App, AppError, Mode};
use hub_server::config::{self, Config, Overrides};
use hub_server::witness::{self, Witness, WitnessError};
use hub_server::{banner, dev, openapi, process, telemetry};

fn main() -> ExitCode {
    let notices = process::harden();
    let mut cli = Cli::read();
    let task = cli.take_task();
    let mut environment = ClientEnvironment::from_variables(config::variable);
    let outcome = match task {
        Task::Serve(args) => serve(&args, notices),
        Task::Dev(args) => develop(&args, &environment, notices),
        Task::Init(args) => init(&args),
        Task::Openapi => print_openapi(),
        Task::Witness(args) => witness(args),
        Task::Config(command) => configuration(&command),
        Task::Bench(args) => hub_bench::run(&args, cli.output(), cli.quiet()),
        Task::Client(command) => {
            if command.asks_management() {
                environment.management = management();
            }
            return hub_cli::run(&cli, command, &environment);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => hub_cli::report(&cli, &environment, &failure),
    }
}

/// Where `healthcheck` asks: what `serve` would listen on in this environment.
fn management() -> Option<String> {
    let config = Config::load(&[], config::process_environment(), &Overrides::new()).ok()?;
    config.server.management_listen.map(|address| format!("http://{address}"))
}

fn failure(error: &AppError) -> Failure {
    use hub_server::open::OpenError;
    let (code, hint) = match error {
        AppError::Open(OpenError::Audit(
            hub_audit::Error::StoreBehindCheckpoint { .. }
            | hub_audit::Error::StoreForked(_)
            | hub_audit::Error::StoreBehindWitness { .. }
            | hub_audit::Error::StoreForkedFromWitness { .. }
            | hub_audit::Error::CheckpointMissing(_),
        )) => (
            Code::NotVerified,
            "restore the newest store, or accept the loss with `cipher-hub serve --accept-rollback`",
        ),
        AppError::Open(OpenError::Audit(hub_audit::Error::WitnessUnavailable { .. })) => {
            (Code::Unavailable, "start it when the witness answers; or set its `required = false`")
        }
        AppError::Open(OpenError::StoreMissing { .. }) => (
            Code::NotVerified,
            "restore the store, or begin anew in another folder with --data-dir",
        ),
        AppError::Open(OpenError::Policy(_)) => {
            (Code::InvalidConfig, "mend the policies in `policies.dir`; docs/policies.md")
        }
        AppError::Open(_) => (Code::Failed, "docs/configuration.md says where each file lies"),
        AppError::Issuers(_) => {
            (Code::InvalidConfig, "see `auth.jwt` in docs/authentication/jwt.md")
        }
        AppError::Sinks(_) => (Code::InvalidConfig, "see docs/audit/sinks.md"),
        AppError::Tls(_) => (Code::InvalidConfig, "see `server.tls` in docs/configuration.md"),
        AppError::Listen(_) | AppError::Management { .. } => {
            (Code::Failed, "is another hub running? choose another address with --listen")
        }
        AppError::Process(_) | AppError::Program(_) | AppError::Demo(_) => {
            (Code::Failed, "the log above may say more")
        }
        AppError::Ended(_) => (Code::Unavailable, "start it again; the log above says more"),
    };
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        cause = inner.source();
    }
    Failure::new(code, message, hint)
}

fn load(files: &[std::path::PathBuf], flags: &[(&str, Option<String>)]) -> Result<Config, Failure> {
    let mut overrides = Overrides::new();
    for (key, value) in flags {
        if let Some(value) = value {
            overrides.set(*key, value);
        }
    }
    Config::load(files, config::process_environment(), &overrides).map_err(|error| {
        let hint = "docs/configuration.md lists every setting";
        Failure::new(Code::InvalidConfig, error.to_string(), hint)
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| failure(&AppError::Process(error)))
}

fn text(path: Option<&std::path::PathBuf>) -> Option<String> {
    path.map(|path| path.display().to_string())
}

fn serve(args: &hub_cli::ServeArgs, notices: Vec<String>) -> Result<(), Failure> {
    let config = load(
        &args.config,
        &[
            ("data_dir", text(args.data_dir.as_ref())),
            ("server.listen", args.listen.clone()),
            ("server.unix_socket", text(args.unix_socket.as_ref())),
            ("server.management_listen", args.management_listen.clone()),
        ],
    )?;
    let on_rollback = if args.accept_rollback { OnRollback::Accept } else { OnRollback::Refuse };
    let mode = Mode { dev: false, on_rollback, notices };
    let runtime = runtime()?;
    let mut guard = start_telemetry(&config)?;
    let outcome = runtime.block_on(async {
        let app = App::build(config, mode).await?;
        app.run(Box::new(banner::banner)).await
    });
    guard.shutdown();
    outcome.map_err(|error| failure(&error))
}

fn start_telemetry(config: &Config) -> Result<telemetry::Guard, Failure> {
    telemetry::init(&config.log, config::otel_requested()).map_err(|error| {
        Failure::new(Code::InvalidConfig, error.to_string(), "see `log` and OTEL_* variables")
    })
}

fn develop(
    args: &hub_cli::DevArgs,
    environment: &ClientEnvironment,
    notices: Vec<String>,
) -> Result<(), Failure> {
    let kubernetes =
        config::process_environment().any(|(name, _)| name == "KUBERNETES_SERVICE_HOST");
    if kubernetes {
        let message = "`dev` keeps keys in memory and must not run inside Kubernetes";
        return Err(Failure::new(Code::Failed, message, "use `cipher-hub serve`"));
    }
    let listen = args.listen.clone().unwrap_or_else(|| "127.0.0.1:8443".to_owned());
    let loopback = listen.parse::<std::net::SocketAddr>().is_ok_and(|a| a.ip().is_loopback());
    if !loopback {
        let message = format!("`dev` listens on loopback only, not on `{listen}`");
        return Err(Failure::new(Code::Usage, message, "use --listen 127.0.0.1:PORT"));
    }
    let folder = std::path::Path::new(".cipher-hub-dev");
    let certificates = dev::certificates(folder).map_err(|e| failure(&e))?;
    let config = load(
        &[],
        &[
            ("data_dir", Some(folder.display().to_string())),
            ("store.engine", Some("memory".to_owned())),
            ("server.listen", Some(listen)),
            ("server.unix_socket", Some(String::new())),
            ("server.tls.cert_file", text(Some(&certificates.cert))),
            ("server.tls.key_file", text(Some(&certificates.key))),
            ("log.filter", Some("warn".to_owned())),
        ],
    )?;
    let mode = Mode { dev: true, on_rollback: OnRollback::Refuse, notices };
    let runtime = runtime()?;
    let mut guard = start_telemetry(&config)?;
    let outcome = runtime.block_on(async {
        let app = App::build(config, mode).await?;
        let demo = dev::demo(&app).await?;
        let address = app.addresses().first().map(ToString::to_string).unwrap_or_default();
        let stored = if args.no_store_token {
            Ok(None)
        } else {
            remember(environment, &address, &certificates.ca, &demo).map(Some)
        };
        let stored = match stored {
            Ok(stored) => stored,
            Err(problem) => return Ok(Err(problem)),
        };
        let remembered = stored.is_some();
        app.run(Box::new(|app| dev::banner(app, &certificates, &demo, remembered))).await.map(Ok)
    });
    guard.shutdown();
    outcome.map_err(|error| failure(&error))?
}

/// Saves the contexts of the demonstration; `dev` is the current one.
fn remember(
    environment: &ClientEnvironment,
    address: &str,
    ca: &std::path::Path,
    demo: &dev::Demo,
) -> Result<(), Failure> {
    let ca = std::fs::canonicalize(ca).unwrap_or_else(|_| ca.to_owned());
    let context = |api_key: &SecretText| Context {
        address: format!("https://{address}"),
        api_key: Some(api_key.clone()),
        ca_file: Some(ca.clone()),
        cert_file: None,
        key_file: None,
        registration: Some(dev::REGISTRATION.to_owned()),
    };
    let folder = environment.config_dir.as_deref();
    hub_cli::save_context(folder, "dev-auditor", context(&demo.auditor))?;
    hub_cli::save_context(folder, "dev", context(&demo.admin))?;
    Ok(())
}

fn init(args: &hub_cli::InitArgs) -> Result<(), Failure> {
    let config = load(&args.config, &[("data_dir", text(args.data_dir.as_ref()))])?;
    let runtime = runtime()?;
    let key = if args.recover_admin {
        Some(runtime.block_on(app::recover(&config)).map_err(|error| failure(&error))?)
    } else {
        runtime.block_on(app::prepare(&config)).map_err(|error| failure(&error))?
    };
    let mut err = std::io::stderr();
    match key {
        None => {
            let _ = writeln!(err, "{} is prepared already", config.data_dir.display());
        }
        Some(key) => {
            let _ = writeln!(err, "the administrator's API key, shown once, valid for 24 hours:");
            if writeln!(std::io::stdout(), "{}", key.expose_secret()).is_ok() {
                banner::forget_first_key(&config.data_dir);
            }
        }
    }
    Ok(())
}

fn witness(args: hub_cli::WitnessArgs) -> Result<(), Failure> {
    let failed = |error: WitnessError| {
        let code = match &error {
            WitnessError::Settings(_) => Code::InvalidConfig,
            WitnessError::State { .. } | WitnessError::Listen { .. } | WitnessError::Process(_) => {
                Code::Failed
            }
        };
        Failure::new(code, error.to_string(), "docs/audit/witness.md says how to run a witness")
    };
    let settings = witness_settings(args).map_err(failed)?;
    let runtime = runtime()?;
    let mut guard = telemetry::init(&config::LogConfig::default(), false)
        .map_err(|error| Failure::new(Code::InvalidConfig, error.to_string(), "see RUST_LOG"))?;
    let outcome = runtime.block_on(async {
        let witness = Witness::open(&settings).await?;
        let scheme = if witness.encrypted() { "https" } else { "http" };
        let mut out = std::io::stdout();
        let _ = writeln!(out, "{}", witness.verifier_key());
        let _ = out.flush();
        let mut err = std::io::stderr();
        let _ = writeln!(err, "witness on {scheme}://{}", witness.address());
        witness.run().await
    });
    guard.shutdown();
    outcome.map_err(failed)
}

/// File and flags together.
fn witness_settings(args: hub_cli::WitnessArgs) -> Result<witness::Settings, WitnessError> {
    let mut settings = match &args.config {
        Some(path) => witness::Settings::read(path)?,
        None => witness::Settings::default(),
    };
    if let Some(name) = args.name {
        settings.name = name;
    }
    if let Some(listen) = args.listen {
        settings.listen = listen;
    }
    if let Some(dir) = args.data_dir {
        settings.data_dir = dir;
    }
    settings.tls_cert_file = args.tls_cert.or(settings.tls_cert_file);
    settings.tls_key_file = args.tls_key.or(settings.tls_key_file);
    let named = |key| witness::LogSettings { origin: None, verifier_keys: vec![key] };
    settings.logs.extend(args.log.into_iter().map(named));
    Ok(settings)
}

fn configuration(command: &hub_cli::ConfigCommand) -> Result<(), Failure> {
    let text = match command {
        hub_cli::ConfigCommand::Example => config::example(),
        hub_cli::ConfigCommand::Show(args) => {
            let shown = load(&args.config, &[])?.show();
            shown.iter().map(|setting| format!("{setting}\n")).collect()
        }
        hub_cli::ConfigCommand::Check(args) => {
            let config = load(&args.config, &[])?;
            hub_server::tls::Tls::load(&config.server.tls)
                .map_err(|error| failure(&AppError::Tls(error)))?;
            hub_server::sinks::check_files(&config.audit.sinks)
                .map_err(|error| failure(&AppError::Sinks(error)))?;
            hub_server::open::bundle(&config)
                .map_err(|error| failure(&AppError::Open(error.into())))?;
            let notices = config.notices().iter().map(|notice| format!("notice: {notice}\n"));
            notices.chain(["ok\n".to_owned()]).collect()
        }
    };
    print(text.trim_end())
}

fn print(text: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{text}").map_err(|error| Failure::output(&error))
}

fn print_openapi() -> Result<(), Failure> {
    print(&serde_json::to_string_pretty(&openapi::document()).unwrap_or_default())
}
