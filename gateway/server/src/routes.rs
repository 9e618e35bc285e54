//! The route table: one row per endpoint. The row drives routing, the Cedar action, the audit
//! entry, the span, the body limit and the OpenAPI document.

use http::{Method, StatusCode};
use hub_model::api::{
    audit, crypto, job, key, page::Page, participant, quota, registration, system, token, transfer,
    uses,
};
use hub_model::{Action, Role};
use hub_operations::jobs;
use hub_operations::key as keys;
use hub_operations::participant as ptc;
use hub_operations::registration as reg;
use hub_operations::system as sys;
use hub_operations::token as tkn;
use hub_operations::{Keeps, Operation};

use crate::endpoint::{BatchEndpoint, Endpoint, Of, StatusEndpoint};
use crate::openapi::{SchemaOf, schema};
use crate::problem::Refusal;
use crate::public_key::PublicKeyEndpoint;
use crate::request::Parts;
use crate::rewrapping::RewrapStreamEndpoint;
use crate::streaming::StreamEndpoint;
use crate::unblock::UnblockEndpoint;
use crate::watching::EventsEndpoint;

mod archives;
mod checkpoints;
mod plugins;
mod policies;

/// What a body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    None,
    /// JSON up to the ordinary limit.
    Json,
    /// JSON up to the ordinary limit, or nothing.
    JsonOrNothing,
    /// JSON up to the limit of batches.
    Batch,
    /// Bytes of any number, read piece by piece while they are answered.
    Stream,
    /// Any number of lines of JSON, read and answered line by line.
    Lines,
    /// The file of a plugin, read when the caller was found to be permitted.
    Wasm,
}

/// One endpoint.
#[derive(Debug)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, with its parameters in braces.
    pub path: &'static str,
    /// The verb it stands for: also the `operationId`, unless several paths share the verb.
    pub action: Action,
    /// The `operationId`.
    pub operation_id: &'static str,
    /// The status of success.
    pub success: StatusCode,
    /// What the body may be.
    pub body: Body,
    /// The body's schema.
    pub request: Option<SchemaOf>,
    /// The answer's schema.
    pub response: Option<SchemaOf>,
    /// Known query parameters.
    pub query: &'static [&'static str],
    /// Whether `Idempotency-Key` is understood.
    pub keeps: Keeps,
    /// Whether `If-Match` is demanded.
    pub if_match: bool,
    /// Whether `?dryRun=true` is understood: wherever something changes or a key is used.
    pub dry_run: bool,
    /// Whether the answer holds a secret, and its buffer is erased after sending.
    pub secret: bool,
    /// What answers.
    pub endpoint: Box<dyn Endpoint>,
}

const PAGED: &[&str] = &["pageSize", "pageToken"];
const PAGED_KEYS: &[&str] = &["pageSize", "pageToken", "needsRewrap"];

impl Route {
    pub(crate) fn new<O, F>(method: Method, path: &'static str, build: F) -> Self
    where
        O: Operation + 'static,
        F: Fn(&Parts<'_>) -> Result<O, Refusal> + Send + Sync + 'static,
    {
        let dry_run = method != Method::GET;
        Self {
            method,
            path,
            action: O::ACTION,
            operation_id: O::ACTION.name(),
            success: StatusCode::OK,
            body: Body::None,
            request: None,
            response: None,
            query: &[],
            keeps: O::KEEPS,
            if_match: false,
            dry_run,
            secret: false,
            endpoint: Box::new(Of::new(build)),
        }
    }

    pub(crate) fn takes<T: utoipa::ToSchema>(self) -> Self {
        Self { body: Body::Json, request: Some(schema::<T>), ..self }
    }

    pub(crate) fn may_take<T: utoipa::ToSchema>(self) -> Self {
        Self { body: Body::JsonOrNothing, request: Some(schema::<T>), ..self }
    }

    pub(crate) fn gives<T: utoipa::ToSchema>(self) -> Self {
        Self { response: Some(schema::<T>), ..self }
    }

    pub(crate) fn creates(self) -> Self {
        Self { success: StatusCode::CREATED, ..self }
    }

    pub(crate) fn empty(self) -> Self {
        Self { success: StatusCode::NO_CONTENT, ..self }
    }

    pub(crate) fn asks(self, query: &'static [&'static str]) -> Self {
        Self { query, ..self }
    }

    pub(crate) fn paged(self) -> Self {
        Self { query: PAGED, ..self }
    }

    fn needs_match(self) -> Self {
        Self { if_match: true, ..self }
    }

    fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    pub(crate) fn called(self, operation_id: &'static str) -> Self {
        Self { operation_id, ..self }
    }
}

/// Every endpoint.
#[must_use]
pub fn table() -> Vec<Route> {
    let mut rows = registrations();
    rows.extend(participants());
    rows.extend(key_management());
    rows.extend(crate::routes_access::rows());
    rows.extend(lifecycle());
    rows.extend(cryptography());
    rows.extend(uses_of_keys());
    rows.extend(transfers());
    rows.extend(streams());
    rows.extend(data_keys());
    rows.extend(operations());
    rows.extend(policies::rows());
    rows.extend(plugins::rows());
    rows.extend(checkpoints::rows());
    rows.extend(limits());
    rows.extend(crate::routes_audit::rows());
    rows.extend(hub());
    rows.extend(tokens());
    rows.extend(crate::proofs::rows());
    rows.extend(archives::rows());
    rows
}

fn registrations() -> Vec<Route> {
    vec![
        Route::new(Method::POST, "/v1/registrations", |p| {
            Ok(reg::CreateRegistration { body: p.json()? })
        })
        .takes::<registration::CreateRegistration>()
        .gives::<registration::RegistrationView>()
        .creates(),
        Route::new(Method::GET, "/v1/registrations", |p| {
            Ok(reg::ListRegistrations { page: p.page()? })
        })
        .gives::<Page<registration::RegistrationView>>()
        .paged(),
        Route::new(Method::GET, "/v1/registrations/{registration}", |p| {
            Ok(reg::GetRegistration { registration: p.param("registration")? })
        })
        .gives::<registration::RegistrationView>(),
        Route::new(Method::PATCH, "/v1/registrations/{registration}", |p| {
            Ok(reg::UpdateRegistration { registration: p.param("registration")?, body: p.json()? })
        })
        .takes::<registration::PatchRegistration>()
        .gives::<registration::RegistrationView>()
        .needs_match(),
        Route::new(Method::DELETE, "/v1/registrations/{registration}", |p| {
            Ok(reg::DeleteRegistration { registration: p.param("registration")? })
        })
        .empty()
        .needs_match(),
        Route::new(Method::POST, "/v1/registrations/{registration}:freeze", |p| {
            Ok(reg::Freeze::<true> { registration: p.param("registration")? })
        })
        .gives::<registration::RegistrationView>(),
        Route::new(Method::POST, "/v1/registrations/{registration}:unfreeze", |p| {
            Ok(reg::Freeze::<false> { registration: p.param("registration")? })
        })
        .gives::<registration::RegistrationView>(),
    ]
}

fn participants() -> Vec<Route> {
    const ALL: &str = "/v1/registrations/{registration}/participants";
    const ONE: &str = "/v1/registrations/{registration}/participants/{participant}";
    const SUSPEND: &str = "/v1/registrations/{registration}/participants/{participant}:suspend";
    const RESUME: &str = "/v1/registrations/{registration}/participants/{participant}:resume";
    const CREDENTIALS: &str =
        "/v1/registrations/{registration}/participants/{participant}/credentials";
    const CREDENTIAL: &str =
        "/v1/registrations/{registration}/participants/{participant}/credentials/{credential}";
    const ROTATE_CREDENTIAL: &str = "/v1/registrations/{registration}/participants/{participant}/credentials/{credential}:rotate";
    const MEMBERS: &str = "/v1/registrations/{registration}/roles/{role}/members";
    const MEMBER: &str = "/v1/registrations/{registration}/roles/{role}/members/{participant}";
    vec![
        Route::new(Method::POST, ALL, |p| {
            let registration = p.param("registration")?;
            Ok(ptc::CreateParticipant { registration, body: p.json()? })
        })
        .takes::<participant::CreateParticipant>()
        .gives::<participant::ParticipantView>()
        .creates(),
        Route::new(Method::GET, ALL, |p| {
            let registration = p.param("registration")?;
            Ok(ptc::ListParticipants { registration, page: p.page()? })
        })
        .gives::<Page<participant::ParticipantView>>()
        .paged(),
        Route::new(Method::GET, ONE, |p| {
            let registration = p.param("registration")?;
            Ok(ptc::GetParticipant { registration, participant: p.param("participant")? })
        })
        .gives::<participant::ParticipantView>(),
        Route::new(Method::PATCH, ONE, |p| {
            let (registration, participant) = (p.param("registration")?, p.param("participant")?);
            Ok(ptc::UpdateParticipant { registration, participant, body: p.json()? })
        })
        .takes::<participant::PatchParticipant>()
        .gives::<participant::ParticipantView>()
        .needs_match(),
        Route::new(Method::DELETE, ONE, |p| {
            let registration = p.param("registration")?;
            Ok(ptc::RemoveParticipant { registration, participant: p.param("participant")? })
        })
        .empty()
        .needs_match(),
        Route::new(Method::POST, SUSPEND, |p| {
            let registration = p.param("registration")?;
            Ok(ptc::Suspend::<true> { registration, participant: p.param("participant")? })
        })
        .gives::<participant::ParticipantView>(),
        Route::new(Method::POST, RESUME, |p| {
            let registration = p.param("registration")?;
            Ok(ptc::Suspend::<false> { registration, participant: p.param("participant")? })
        })
        .gives::<participant::ParticipantView>(),
        Route::new(Method::POST, CREDENTIALS, |p| {
            let (registration, participant) = (p.param("registration")?, p.param("participant")?);
            Ok(ptc::IssueCredential { registration, participant, body: p.json_or_default()? })
        })
        .may_take::<participant::IssueCredential>()
        .gives::<participant::IssuedCredential>()
        .creates()
        .secret(),
        Route::new(Method::GET, CREDENTIALS, |p| {
            let (registration, participant) = (p.param("registration")?, p.param("participant")?);
            Ok(ptc::ListCredentials { registration, participant, page: p.page()? })
        })
        .gives::<Page<participant::CredentialView>>()
        .paged(),
        Route::new(Method::POST, ROTATE_CREDENTIAL, |p| {
            let (registration, participant) = (p.param("registration")?, p.param("participant")?);
            let credential = p.param("credential")?;
            let body = p.json_or_default()?;
            Ok(ptc::RotateCredential { registration, participant, credential, body })
        })
        .may_take::<participant::RotateCredential>()
        .gives::<participant::IssuedCredential>()
        .secret(),
        Route::new(Method::DELETE, CREDENTIAL, |p| {
            let (registration, participant) = (p.param("registration")?, p.param("participant")?);
            let credential = p.param("credential")?;
            let forget = p.query.flag("forget")?;
            Ok(ptc::RevokeCredential { registration, participant, credential, forget })
        })
        .asks(&["forget"])
        .empty(),
        Route::new(Method::GET, MEMBERS, |p| {
            let registration = p.param("registration")?;
            Ok(ptc::ListMembers { registration, role: p.param::<Role>("role")?, page: p.page()? })
        })
        .gives::<Page<participant::MemberView>>()
        .paged(),
        Route::new(Method::PUT, MEMBER, |p| {
            let (registration, participant) = (p.param("registration")?, p.param("participant")?);
            Ok(ptc::GrantRole { registration, role: p.param::<Role>("role")?, participant })
        })
        .empty(),
        Route::new(Method::DELETE, MEMBER, |p| {
            let (registration, participant) = (p.param("registration")?, p.param("participant")?);
            Ok(ptc::RevokeRole { registration, role: p.param::<Role>("role")?, participant })
        })
        .empty(),
    ]
}

fn key_management() -> Vec<Route> {
    const ALL: &str = "/v1/registrations/{registration}/keys";
    const ONE: &str = "/v1/registrations/{registration}/keys/{key}";
    const ROTATE: &str = "/v1/registrations/{registration}/keys/{key}:rotate";
    const VERSIONS: &str = "/v1/registrations/{registration}/keys/{key}/versions";
    const VERSION: &str = "/v1/registrations/{registration}/keys/{key}/versions/{version}";
    vec![
        Route::new(Method::POST, ALL, |p| {
            Ok(keys::CreateKey { registration: p.param("registration")?, body: p.json()? })
        })
        .takes::<key::CreateKey>()
        .gives::<key::KeyView>()
        .creates(),
        Route::new(Method::GET, ALL, |p| {
            let (registration, page) = (p.param("registration")?, p.page()?);
            Ok(keys::ListKeys { registration, page, needs_rewrap: p.query.flag("needsRewrap")? })
        })
        .gives::<Page<key::KeyView>>()
        .asks(PAGED_KEYS),
        Route::new(Method::GET, ONE, |p| {
            Ok(keys::GetKey { registration: p.param("registration")?, key: p.param("key")? })
        })
        .gives::<key::KeyView>(),
        Route::new(Method::PATCH, ONE, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::UpdateKey { registration, key, body: p.json()? })
        })
        .takes::<key::PatchKey>()
        .gives::<key::KeyView>()
        .needs_match(),
        Route::new(Method::POST, ROTATE, |p| {
            Ok(keys::RotateKey { registration: p.param("registration")?, key: p.param("key")? })
        })
        .gives::<key::KeyView>(),
        Route::new(Method::GET, VERSIONS, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::ListVersions { registration, key, page: p.page()? })
        })
        .gives::<Page<key::VersionView>>()
        .paged(),
        Route::new(Method::GET, VERSION, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::GetVersion { registration, key, version: p.number("version")? })
        })
        .gives::<key::VersionView>()
        .called("keys.getVersion"),
    ]
}

/// A step of the lifecycle with a key.
fn key_step<V: keys::Verb>(path: &'static str) -> Route {
    Route::new(Method::POST, path, |p| {
        let (registration, key) = (p.param("registration")?, p.param("key")?);
        Ok(keys::StepKey::<V>::new(registration, key, p.json_or_default()?))
    })
    .gives::<key::KeyView>()
}

/// A step of the lifecycle with a version, under an `operationId` of its own.
fn version_step<V: keys::Verb>(path: &'static str, operation_id: &'static str) -> Route {
    Route::new(Method::POST, path, |p| {
        let (registration, key) = (p.param("registration")?, p.param("key")?);
        let (version, body) = (p.number("version")?, p.json_or_default()?);
        Ok(keys::StepVersion::<V>::new(registration, key, version, body))
    })
    .gives::<key::VersionView>()
    .called(operation_id)
}

fn lifecycle() -> Vec<Route> {
    macro_rules! key {
        ($verb:literal) => {
            concat!("/v1/registrations/{registration}/keys/{key}:", $verb)
        };
    }
    macro_rules! version {
        ($verb:literal) => {
            concat!("/v1/registrations/{registration}/keys/{key}/versions/{version}:", $verb)
        };
    }
    vec![
        key_step::<keys::Activate>(key!("activate")),
        key_step::<keys::Suspend>(key!("suspend")),
        key_step::<keys::Resume>(key!("resume")),
        key_step::<keys::Deactivate>(key!("deactivate")),
        key_step::<keys::MarkCompromised>(key!("markCompromised")),
        key_step::<keys::ScheduleDestroy>(key!("scheduleDestroy"))
            .may_take::<key::ScheduleDestroy>(),
        key_step::<keys::CancelDestroy>(key!("cancelDestroy")),
        version_step::<keys::Suspend>(version!("disable"), "keys.disableVersion"),
        version_step::<keys::Resume>(version!("enable"), "keys.enableVersion"),
        version_step::<keys::Deactivate>(version!("deactivate"), "keys.deactivateVersion"),
        version_step::<keys::MarkCompromised>(
            version!("markCompromised"),
            "keys.markVersionCompromised",
        ),
        version_step::<keys::ScheduleDestroy>(
            version!("scheduleDestroy"),
            "keys.scheduleDestroyVersion",
        )
        .may_take::<key::ScheduleDestroy>(),
        version_step::<keys::CancelDestroy>(version!("cancelDestroy"), "keys.cancelDestroyVersion"),
        Route::new(Method::POST, version!("setPrimary"), |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::SetPrimary { registration, key, version: p.number("version")? })
        })
        .gives::<key::KeyView>(),
    ]
}

fn cryptography() -> Vec<Route> {
    const ENCRYPT: &str = "/v1/registrations/{registration}/keys/{key}:encrypt";
    const DECRYPT: &str = "/v1/registrations/{registration}/keys/{key}:decrypt";
    const REWRAP: &str = "/v1/registrations/{registration}/keys/{key}:rewrap";
    vec![
        Route::new(Method::POST, ENCRYPT, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::Encrypt { registration, key, body: p.json()? })
        })
        .takes::<crypto::Encrypt>()
        .gives::<crypto::Encrypted>(),
        Route::new(Method::POST, DECRYPT, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::Decrypt::new(registration, key, p.json()?))
        })
        .takes::<crypto::Decrypt>()
        .gives::<crypto::Decrypted>()
        .secret(),
        Route::new(Method::POST, REWRAP, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::Rewrap::new(registration, key, p.json()?))
        })
        .takes::<crypto::Rewrap>()
        .gives::<crypto::Rewrapped>(),
        Route::new(Method::POST, "/v1/registrations/{registration}:decrypt", |p| {
            Ok(keys::DecryptAny::new(p.param("registration")?, p.json()?))
        })
        .takes::<crypto::Decrypt>()
        .gives::<crypto::Decrypted>()
        .called("registrations.decrypt")
        .secret(),
        Route::new(Method::POST, "/v1/registrations/{registration}:rewrap", |p| {
            Ok(keys::RewrapAny::new(p.param("registration")?, p.json()?))
        })
        .takes::<crypto::Rewrap>()
        .gives::<crypto::Rewrapped>()
        .called("registrations.rewrap"),
        Route {
            method: Method::POST,
            path: "/v1/registrations/{registration}/keys:batch",
            // Each item is authorized as the verb it names.
            action: Action::KeysEncrypt,
            operation_id: "keys.batch",
            success: StatusCode::OK,
            body: Body::Batch,
            request: Some(schema::<crypto::Batch>),
            response: Some(schema::<crypto::BatchAnswer>),
            query: &[],
            keeps: Keeps::Nothing,
            if_match: false,
            dry_run: true,
            secret: true,
            endpoint: Box::new(BatchEndpoint),
        },
    ]
}

/// What keys are used for beside encryption, and what needs no key.
fn uses_of_keys() -> Vec<Route> {
    const PUBLIC_KEY: &str = "/v1/registrations/{registration}/keys/{key}/publicKey";
    vec![
        Route::new(Method::POST, "/v1/registrations/{registration}/keys/{key}:sign", |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::Sign { registration, key, body: p.json()? })
        })
        .takes::<uses::Sign>()
        .gives::<uses::Signed>(),
        Route::new(Method::POST, "/v1/registrations/{registration}/keys/{key}:verify", |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::Verify { registration, key, body: p.json()? })
        })
        .takes::<uses::Verify>()
        .gives::<uses::Verified>(),
        Route::new(Method::POST, "/v1/registrations/{registration}/keys/{key}:mac", |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::Mac { registration, key, body: p.json()? })
        })
        .takes::<uses::Mac>()
        .gives::<uses::MacTag>()
        .secret(),
        Route::new(Method::POST, "/v1/registrations/{registration}/keys/{key}:verifyMac", |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::VerifyMac { registration, key, body: p.json()? })
        })
        .takes::<uses::VerifyMac>()
        .gives::<uses::Verified>(),
        Route::new(
            Method::POST,
            "/v1/registrations/{registration}/keys/{key}:generateDataKey",
            |p| {
                let (registration, key) = (p.param("registration")?, p.param("key")?);
                Ok(keys::GenerateDataKey { registration, key, body: p.json_or_default()? })
            },
        )
        .may_take::<uses::GenerateDataKey>()
        .gives::<uses::DataKey>()
        .secret(),
        Route::new(Method::POST, "/v1/registrations/{registration}/keys/{key}:wrap", |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::Wrap { registration, key, body: p.json()? })
        })
        .takes::<uses::Wrap>()
        .gives::<uses::Wrapped>(),
        Route::new(Method::POST, "/v1/registrations/{registration}/keys/{key}:unwrap", |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::Unwrap { registration, key, body: p.json()? })
        })
        .takes::<uses::Unwrap>()
        .gives::<crypto::Decrypted>()
        .secret(),
        Route::new(Method::POST, "/v1/registrations/{registration}/keys/{key}:derive", |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::Derive { registration, key, body: p.json()? })
        })
        .takes::<uses::Derive>()
        .gives::<uses::Derived>()
        .secret(),
        Route::new(Method::POST, "/v1/registrations/{registration}/keys/{key}:deriveKey", |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::DeriveKey { registration, key, body: p.json()? })
        })
        .takes::<uses::DeriveKey>()
        .gives::<key::KeyView>()
        .creates()
        .called("keys.deriveKey"),
        Route::new(Method::POST, "/v1/registrations/{registration}/keys/{key}:agree", |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::Agree { registration, key, body: p.json()? })
        })
        .takes::<uses::Agree>()
        .gives::<uses::Derived>()
        .secret(),
        Route::new(Method::POST, "/v1/registrations/{registration}/keys/{key}:encapsulate", |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::Encapsulate { registration, key, body: p.json_or_default()? })
        })
        .may_take::<uses::Encapsulate>()
        .gives::<uses::Encapsulated>()
        .secret(),
        Route::new(Method::POST, "/v1/registrations/{registration}/keys/{key}:decapsulate", |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::Decapsulate { registration, key, body: p.json()? })
        })
        .takes::<uses::Decapsulate>()
        .gives::<uses::Decapsulated>()
        .secret(),
        Route {
            query: &["version"],
            endpoint: Box::new(PublicKeyEndpoint),
            ..Route::new(Method::GET, PUBLIC_KEY, crate::public_key::operation)
                .gives::<uses::PublicKeyView>()
        },
        Route::new(Method::GET, "/v1/registrations/{registration}/jwks", |p| {
            Ok(keys::Jwks { registration: p.param("registration")? })
        })
        .gives::<uses::Jwks>(),
        Route::new(Method::POST, "/v1/registrations/{registration}:random", |p| {
            Ok(reg::Random { registration: p.param("registration")?, body: p.json_or_default()? })
        })
        .may_take::<uses::Random>()
        .gives::<uses::RandomBytes>()
        .secret(),
        Route::new(Method::POST, "/v1/registrations/{registration}:hash", |p| {
            Ok(reg::Hash { registration: p.param("registration")?, body: p.json()? })
        })
        .takes::<uses::Hash>()
        .gives::<uses::Hashed>(),
    ]
}

fn transfers() -> Vec<Route> {
    const JOB: &str = "/v1/registrations/{registration}/keys:importJob";
    const IMPORT: &str = "/v1/registrations/{registration}/keys:import";
    const VERSION: &str = "/v1/registrations/{registration}/keys/{key}:importVersion";
    const EXPORT: &str = "/v1/registrations/{registration}/keys/{key}:export";
    vec![
        Route::new(Method::POST, JOB, |p| {
            Ok(keys::CreateImportJob { registration: p.param("registration")?, body: p.json()? })
        })
        .takes::<transfer::CreateImportJob>()
        .gives::<transfer::ImportJobView>()
        .creates(),
        Route::new(Method::POST, IMPORT, |p| {
            Ok(keys::ImportKey { registration: p.param("registration")?, body: p.json()? })
        })
        .takes::<transfer::ImportKey>()
        .gives::<key::KeyView>()
        .creates(),
        Route::new(Method::POST, VERSION, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::ImportVersion { registration, key, body: p.json()? })
        })
        .takes::<transfer::ImportVersion>()
        .gives::<key::KeyView>(),
        Route::new(Method::POST, EXPORT, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::ExportKey { registration, key, body: p.json()? })
        })
        .takes::<transfer::ExportKey>()
        .gives::<transfer::ExportedKey>()
        .secret(),
    ]
}

fn streams() -> Vec<Route> {
    let row = |path, action, operation_id, endpoint| Route {
        method: Method::POST,
        path,
        action,
        operation_id,
        success: StatusCode::OK,
        body: Body::Stream,
        request: None,
        response: None,
        query: &["context"],
        keeps: Keeps::Nothing,
        if_match: false,
        dry_run: true,
        secret: true,
        endpoint,
    };
    vec![
        row(
            "/v1/registrations/{registration}/keys/{key}:encryptStream",
            Action::KeysEncrypt,
            "keys.encryptStream",
            Box::new(StreamEndpoint::<false>),
        ),
        row(
            "/v1/registrations/{registration}/keys/{key}:decryptStream",
            Action::KeysDecrypt,
            "keys.decryptStream",
            Box::new(StreamEndpoint::<true>),
        ),
        Route {
            body: Body::Lines,
            request: Some(schema::<crypto::RewrapLine>),
            response: Some(schema::<crypto::RewrapLineAnswer>),
            query: &[],
            dry_run: false,
            secret: false,
            // Each line is authorized by itself.
            ..row(
                "/v1/registrations/{registration}:rewrapStream",
                Action::KeysRewrap,
                "registrations.rewrapStream",
                Box::new(RewrapStreamEndpoint),
            )
        },
    ]
}

/// Wrapped data keys that the hub keeps.
fn data_keys() -> Vec<Route> {
    const ALL: &str = "/v1/registrations/{registration}/keys/{key}/dataKeys";
    const ONE: &str = "/v1/registrations/{registration}/keys/{key}/dataKeys/{dataKey}";
    vec![
        Route::new(Method::POST, ALL, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::PutDataKey { registration, key, body: p.json()? })
        })
        .takes::<job::PutDataKey>()
        .gives::<job::KeptDataKey>()
        .creates(),
        Route::new(Method::GET, ALL, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::ListDataKeys { registration, key, page: p.page()? })
        })
        .gives::<Page<job::KeptDataKey>>()
        .paged(),
        Route::new(Method::GET, ONE, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::GetDataKey { registration, key, name: p.param("dataKey")? })
        })
        .gives::<job::KeptDataKey>(),
        Route::new(Method::DELETE, ONE, |p| {
            let (registration, key) = (p.param("registration")?, p.param("key")?);
            Ok(keys::DeleteDataKey { registration, key, name: p.param("dataKey")? })
        })
        .empty(),
        Route {
            success: StatusCode::ACCEPTED,
            ..Route::new(Method::POST, "/v1/registrations/{registration}/keys/{key}:migrate", |p| {
                Ok(jobs::Migrate { registration: p.param("registration")?, key: p.param("key")? })
            })
            .gives::<job::OperationView>()
        },
    ]
}

/// Long operations.
fn operations() -> Vec<Route> {
    const ALL: &str = "/v1/registrations/{registration}/operations";
    const ONE: &str = "/v1/registrations/{registration}/operations/{operation}";
    const CANCEL: &str = "/v1/registrations/{registration}/operations/{operation}:cancel";
    const RESUME: &str = "/v1/registrations/{registration}/operations/{operation}:resume";
    const EVENTS: &str = "/v1/registrations/{registration}/operations/{operation}/events";
    vec![
        Route::new(Method::GET, ALL, |p| {
            Ok(jobs::ListOperations { registration: p.param("registration")?, page: p.page()? })
        })
        .gives::<Page<job::OperationView>>()
        .paged(),
        Route::new(Method::GET, ONE, crate::watching::operation).gives::<job::OperationView>(),
        Route::new(Method::POST, CANCEL, |p| {
            let (registration, operation) = (p.param("registration")?, p.param("operation")?);
            Ok(jobs::CancelOperation { registration, operation })
        })
        .gives::<job::OperationView>(),
        Route::new(Method::POST, RESUME, |p| {
            let (registration, operation) = (p.param("registration")?, p.param("operation")?);
            Ok(jobs::ResumeOperation { registration, operation })
        })
        .gives::<job::OperationView>(),
        Route {
            endpoint: Box::new(EventsEndpoint),
            ..Route::new(Method::GET, EVENTS, crate::watching::operation)
                .gives::<job::OperationView>()
                .called("operations.events")
        },
    ]
}

/// Tokens of other issuers.
fn tokens() -> Vec<Route> {
    const ALL: &str = "/v1/tokenRevocations";
    const RESTORE: &str = "/v1/tokenRevocations/{revocation}:restore";
    vec![
        Route::new(Method::POST, ALL, |p| Ok(tkn::RevokeTokens { body: p.json()? }))
            .takes::<token::RevokeTokens>()
            .gives::<token::TokenRevocationView>()
            .creates(),
        Route::new(Method::GET, ALL, |p| Ok(tkn::ListTokenRevocations { page: p.page()? }))
            .gives::<Page<token::TokenRevocationView>>()
            .paged(),
        Route::new(Method::POST, RESTORE, |p| {
            Ok(tkn::RestoreTokens { revocation: p.param("revocation")? })
        })
        .empty(),
    ]
}

/// Quotas of registrations, and blocks.
fn limits() -> Vec<Route> {
    const QUOTAS: &str = "/v1/registrations/{registration}/quotas";
    const BOUNDS: &str = "/v1/registrations/{registration}/quotas/bounds";
    vec![
        Route::new(Method::GET, QUOTAS, |p| {
            Ok(reg::GetQuotas { registration: p.param("registration")? })
        })
        .gives::<quota::QuotasView>(),
        Route::new(Method::PUT, QUOTAS, |p| {
            let registration = p.param("registration")?;
            Ok(reg::PutQuotas::<false> { registration, body: p.json()? })
        })
        .takes::<quota::SetQuotas>()
        .gives::<quota::QuotasView>()
        .needs_match(),
        Route::new(Method::DELETE, QUOTAS, |p| {
            Ok(reg::ClearQuotas::<false> { registration: p.param("registration")? })
        })
        .empty()
        .needs_match()
        .called("quotas.clear"),
        Route::new(Method::PUT, BOUNDS, |p| {
            let registration = p.param("registration")?;
            Ok(reg::PutQuotas::<true> { registration, body: p.json()? })
        })
        .takes::<quota::SetQuotas>()
        .gives::<quota::QuotasView>()
        .needs_match(),
        Route::new(Method::DELETE, BOUNDS, |p| {
            Ok(reg::ClearQuotas::<true> { registration: p.param("registration")? })
        })
        .empty()
        .needs_match()
        .called("quotas.clearBounds"),
        Route {
            action: Action::SystemUnblock,
            endpoint: Box::new(UnblockEndpoint),
            ..Route::new(Method::POST, "/v1/system:unblock", |_| Ok(sys::Whoami))
                .may_take::<quota::Unblock>()
                .gives::<quota::Unblocked>()
                .called("system.unblock")
        },
    ]
}

fn hub() -> Vec<Route> {
    vec![
        Route {
            query: crate::exporting::QUERY,
            endpoint: Box::new(crate::exporting::ExportEndpoint(crate::exporting::of_hub)),
            ..Route::new(Method::GET, "/v1/audit/export", crate::exporting::of_hub)
                .called("audit.export")
        },
        Route {
            query: crate::exporting::WITHIN,
            endpoint: Box::new(crate::exporting::ExportEndpoint(crate::exporting::of_registration)),
            ..Route::new(
                Method::GET,
                "/v1/registrations/{registration}/audit/export",
                crate::exporting::of_registration,
            )
            .called("audit.exportRegistration")
        },
        Route {
            dry_run: false,
            ..Route::new(Method::POST, "/v1/policies:explain", |p| {
                Ok(sys::Explain { body: p.json()? })
            })
            .takes::<audit::Explain>()
            .gives::<audit::Explanation>()
        },
        Route {
            action: Action::SystemStatus,
            endpoint: Box::new(StatusEndpoint),
            ..Route::new(Method::GET, "/v1/system/status", |_| Ok(sys::Whoami))
                .gives::<system::Status>()
                .called("system.status")
        },
        Route::new(Method::GET, "/v1/whoami", |_| Ok(sys::Whoami)).gives::<participant::Whoami>(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_a_route_and_every_operation_id_is_unique() {
        let rows = table();
        let mut ids: Vec<_> = rows.iter().map(|row| row.operation_id).collect();
        // Asked for beside another verb, never by itself.
        let beside = [Action::KeysUseCompromised, Action::KeysRebind, Action::AuditOwnReceipt];
        for action in Action::ALL.iter().filter(|action| !beside.contains(action)) {
            assert!(ids.contains(&action.name()), "no route for {action}");
        }
        ids.sort_unstable();
        let before = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), before);
    }

    #[test]
    fn changes_of_existing_records_demand_if_match() {
        for row in table() {
            let quotas = row.path.contains("/quotas");
            let whole = (row.path.ends_with('}') || quotas)
                && !row.path.contains("/members/")
                && !row.path.contains("/dataKeys/")
                && !row.path.contains("/grants/")
                && !row.path.contains("/credentials/");
            let changes = row.method == Method::PATCH
                || row.method == Method::DELETE
                || (quotas && row.method == Method::PUT);
            // Activation changes which policies are active, a record that no path names.
            let activates = matches!(row.operation_id, "policies.activate" | "policies.rollback");
            let demands = (whole && changes) || activates;
            assert_eq!(row.if_match, demands, "{} {}", row.method, row.path);
        }
    }
}
