//! `cipher-hub dev`: a hub in memory with a demonstration inside, over TLS with a throw-away CA.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use futures_util::future::LocalBoxFuture;
use hub_auth::{Authenticator, Caller, Channel, Presented};
use hub_model::api::key::CreateKey as KeyBody;
use hub_model::api::participant::{CreateParticipant as ParticipantBody, IssueCredential};
use hub_model::api::registration::CreateRegistration as RegistrationBody;
use hub_model::principal::PeerAddress;
use hub_model::secret::SecretText;
use hub_model::{Environment, ParticipantKind, Role, Tags};
use hub_operations::{Hub, Meta, Operation, Ref, key, participant, registration};
use hub_store::durable_file::make_private;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::app::{App, AppError};
use crate::open::OpenError;

/// The registration of the demonstration.
pub const REGISTRATION: &str = "demo";
/// Its key.
const KEY: &str = "hello";

/// Files of the throw-away CA.
#[derive(Debug)]
pub struct Certificates {
    /// The CA, to be trusted by clients.
    pub ca: PathBuf,
    /// The server's certificate.
    pub cert: PathBuf,
    /// The server's key.
    pub key: PathBuf,
}

/// API keys of the demonstration.
#[derive(Debug)]
pub struct Demo {
    /// Runs the hub, owns and uses the demo registration.
    pub admin: SecretText,
    /// May read the trail, and nothing else.
    pub auditor: SecretText,
}

/// Makes a CA and a certificate for loopback, for this run only. The CA's key is not kept.
///
/// # Errors
/// [`AppError::Demo`].
pub fn certificates(folder: &Path) -> Result<Certificates, AppError> {
    let demo = |error: rcgen::Error| AppError::Demo(error.to_string());
    make_private(folder).map_err(OpenError::from)?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Cipher Hub dev CA (throw away)");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_key = KeyPair::generate().map_err(demo)?;
    let ca = params.self_signed(&ca_key).map_err(demo)?;
    let issuer = Issuer::new(params, ca_key);
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let leaf_params = CertificateParams::new(names).map_err(demo)?;
    let leaf_key = KeyPair::generate().map_err(demo)?;
    let leaf = leaf_params.signed_by(&leaf_key, &issuer).map_err(demo)?;
    let files = Certificates {
        ca: folder.join("ca.pem"),
        cert: folder.join("server.pem"),
        key: folder.join("server.key"),
    };
    let write = |path: &Path, text: String| {
        hub_store::durable_file::write_atomic(path, text.as_bytes(), 0o600)
            .map_err(|error| AppError::Demo(error.to_string()))
    };
    write(&files.ca, ca.pem())?;
    write(&files.cert, leaf.pem())?;
    write(&files.key, leaf_key.serialize_pem())?;
    Ok(files)
}

/// Fills the hub with a registration, a key and participants.
///
/// # Errors
/// [`AppError::Demo`].
pub fn demo(app: &App) -> LocalBoxFuture<'_, Result<Demo, AppError>> {
    Box::pin(fill(app))
}

async fn fill(app: &App) -> Result<Demo, AppError> {
    let hub = &app.hub;
    let missing = || AppError::Demo("there is no first administrator".to_owned());
    let admin = app.first_key.clone().ok_or_else(missing)?;
    let caller = authenticate(app.authenticator(), &admin).await?;
    let demo_name = || named(REGISTRATION).map(Ref::Name);
    let body = RegistrationBody {
        name: named(REGISTRATION)?,
        description: "A demonstration".to_owned(),
        environment: Environment::Dev,
        tags: Tags::default(),
        owners: Vec::new(),
        rotation: None,
    };
    perform(hub, &caller, &registration::CreateRegistration { body }).await?;
    // The caller has become its owner; roles are read again with each authentication.
    let caller = authenticate(app.authenticator(), &admin).await?;
    for role in [Role::Apps, Role::Rotators] {
        let participant = Ref::Id(caller.principal().participant);
        let operation = participant::GrantRole { registration: demo_name()?, role, participant };
        perform(hub, &caller, &operation).await?;
    }
    let body = KeyBody::new(named(KEY)?);
    perform(hub, &caller, &key::CreateKey { registration: demo_name()?, body }).await?;
    let body = ParticipantBody {
        name: named("auditor")?,
        kind: ParticipantKind::User,
        tags: Tags::default(),
        roles: vec![Role::Auditors],
    };
    perform(hub, &caller, &participant::CreateParticipant { registration: demo_name()?, body })
        .await?;
    let issue = participant::IssueCredential {
        registration: demo_name()?,
        participant: Ref::Name(named("auditor")?),
        body: IssueCredential::default(),
    };
    let missing = || AppError::Demo("no API key was issued".to_owned());
    let auditor = perform(hub, &caller, &issue).await?.api_key.ok_or_else(missing)?;
    Ok(Demo { admin, auditor })
}

fn named(text: &str) -> Result<hub_model::Name, AppError> {
    text.parse().map_err(|error: hub_model::Error| AppError::Demo(error.to_string()))
}

async fn authenticate(by: &Authenticator, key: &SecretText) -> Result<Caller, AppError> {
    let header = zeroize::Zeroizing::new(format!("Bearer {}", key.expose_secret()));
    let channel = Channel::anonymous(PeerAddress::Unix, false);
    let presented = Presented { authorization: &[header.as_bytes()], channel: &channel };
    by.authenticate(presented).await.map_err(|error| AppError::Demo(error.to_string()))
}

async fn perform<O: Operation>(
    hub: &Hub,
    caller: &Caller,
    operation: &O,
) -> Result<O::Reply, AppError> {
    let meta = Meta {
        request: "dev".into(),
        trace: None,
        dry_run: false,
        if_match: None,
        idempotency: None,
    };
    match hub.perform(caller, operation, &meta).await {
        Ok(done) => done.reply.ok_or_else(|| AppError::Demo("nothing was answered".to_owned())),
        Err(failure) => Err(AppError::Demo(failure.error.to_string())),
    }
}

/// Writes the banner of a demonstration.
pub fn banner(app: &App, certificates: &Certificates, demo: &Demo, remembered: bool) {
    let address = app.addresses().first().map(ToString::to_string).unwrap_or_default();
    let mut out = format!(
        "  Cipher Hub {}   DEV MODE - in memory, keys vanish on exit, never use in production\n\n  \
         API       https://{address}        (dev CA written to ./{})\n",
        env!("CARGO_PKG_VERSION"),
        certificates.ca.display(),
    );
    if let Some(address) = app.management() {
        out.push_str(&format!("  Metrics   http://{address}/metrics\n"));
    }
    if remembered {
        out.push_str(
            "  Logged in as  hub/admin   (context \"dev\", key stored for this user only)\n",
        );
    } else {
        out.push_str(&format!(
            "  export CIPHER_HUB_ADDR=https://{address} CIPHER_HUB_CA_FILE=./{} CIPHER_HUB_API_KEY={}\n",
            certificates.ca.display(),
            demo.admin.expose_secret(),
        ));
    }
    out.push_str(
        "\n  Try it, in another terminal:\n    \
         echo 'hello' | cipher-hub encrypt demo/hello | tee secret.txt | cipher-hub decrypt\n    \
         cipher-hub key rotate demo/hello && cipher-hub rewrap < secret.txt\n    \
         cipher-hub audit verify\n    \
         cipher-hub --as dev-auditor decrypt < secret.txt    # denied; policy explain says why\n",
    );
    let _ = std::io::stderr().write_all(out.as_bytes());
    zeroize::Zeroize::zeroize(&mut out);
}
