//! `keys.importJob`, `keys.import`, `keys.importVersion`: keys that come from elsewhere, wrapped for
//! a key of the hub that is used once.

use std::time::{Duration, Instant};

use hub_crypto::asymmetric::{self, encode};
use hub_crypto::{Binding, KeyFormat, Material, TransportForm, WrapPurpose, transport};
use hub_model::api::key::KeyView;
use hub_model::api::transfer::{
    CreateImportJob as JobBody, ImportJobView, ImportKey as KeyBody, ImportVersion as VersionBody,
    KeyForm, Transport,
};
use hub_model::{
    Action, Algorithm, ImportJobId, Key, KeyId, KeyState, KeyVersion, Origin, RegistrationId,
    SecretBytes, Timestamp,
};
use hub_policy::Permit;
use hub_store::{Changes, Revision, Versioned, layout};
use serde::{Deserialize, Serialize};

use super::agenda::put_key;
use super::rotate::MAX_VERSIONS;
use crate::hub::{Hub, is_hub};
use crate::operation::{AtKey, AtRegistration, Keeps, Lost, Operation, Scene};
use crate::plan::Plan;
use crate::{Error, Ref};

/// How long a job lasts.
const LIFE: Duration = Duration::from_secs(86_400);
/// Most jobs of one registration that were neither used nor have ended.
const MAX_JOBS: usize = 100;

/// An import job as stored: its private key under the registration's KEK.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImportJob {
    transport: Transport,
    algorithm: Algorithm,
    wrapped: SecretBytes,
    pub(crate) expires: Timestamp,
}

/// The same form in the words of the crypto core.
pub(super) const fn form(transport: Transport) -> TransportForm {
    match transport {
        Transport::RsaOaepAesKwp => TransportForm::RsaOaepAesKwp,
        Transport::X25519MlKem768AesKwp => TransportForm::X25519MlKem768AesKwp,
    }
}

pub(super) const fn format(form: KeyForm) -> KeyFormat {
    match form {
        KeyForm::Raw => KeyFormat::Raw,
        KeyForm::Pkcs8 => KeyFormat::Pkcs8,
        KeyForm::Jwk => KeyFormat::Jwk,
    }
}

/// Makes a key to wrap one key with.
#[derive(Debug)]
pub struct CreateImportJob {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// How.
    pub body: JobBody,
}

impl CreateImportJob {
    fn algorithm(&self) -> Result<Algorithm, Error> {
        match (self.body.transport, self.body.rsa_bits) {
            (Transport::RsaOaepAesKwp, None | Some(3072)) => Ok(Algorithm::RsaOaep3072Sha256),
            (Transport::RsaOaepAesKwp, Some(4096)) => Ok(Algorithm::RsaOaep4096Sha256),
            (Transport::X25519MlKem768AesKwp, None) => Ok(Algorithm::X25519MlKem768),
            (Transport::RsaOaepAesKwp, Some(_)) => Err(Error::Invalid {
                pointer: "/rsaBits",
                detail: "`rsaBits` is 3072 or 4096".to_owned(),
            }),
            (Transport::X25519MlKem768AesKwp, Some(_)) => Err(Error::Invalid {
                pointer: "/rsaBits",
                detail: "`rsaBits` is for RSA_OAEP_AES_KWP".to_owned(),
            }),
        }
    }
}

impl Operation for CreateImportJob {
    const ACTION: Action = Action::KeysImportJob;
    const KEEPS: Keeps = Keeps::Answer;
    type Place = AtRegistration;
    type Reply = ImportJobView;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<ImportJobView>, Error> {
        let Scene { hub, place, meta, now, .. } = scene;
        if is_hub(&place.0.registration) {
            return Err(Error::HubRegistration("it holds no keys"));
        }
        let (registration, algorithm) = (place.id(), self.algorithm()?);
        hub.check_profile(algorithm)?;
        let prefix = layout::import_jobs(registration);
        let jobs = hub.store().scan::<ImportJob>(&prefix, None, MAX_JOBS).await?;
        // Those that have ended are swept within the hour and do not count.
        let open = jobs.records.iter().filter(|(_, job)| job.value.expires > now).count();
        if open >= MAX_JOBS {
            return Err(Error::TooMany("there are 100 import jobs that nobody has used"));
        }
        let (id, expires) = (ImportJobId::generate(), now.plus(LIFE));
        let path = layout::import_job(registration, id);
        let mut view = ImportJobView {
            uid: id,
            transport: self.body.transport,
            algorithm,
            public_key: String::new(),
            create_time: now,
            expire_time: expires,
        };
        if meta.dry_run {
            return Ok(Plan::new(permit, view).step_of(id));
        }
        let material =
            hub.heavy().run(registration, move || Material::generate(algorithm)).await??;
        let spki = material.private()?.public().spki();
        view.public_key = encode::pem(encode::PUBLIC_LABEL, &spki);
        let kek = hub.kek(registration).await?;
        let binding = hub.job_binding(path.as_bytes(), registration, algorithm);
        let wrapped = SecretBytes::new(kek.wrap_material(&binding, &material));
        let job = ImportJob { transport: self.body.transport, algorithm, wrapped, expires };
        let mut changes = Changes::new();
        changes
            .check_absent(&path)
            .check_revision(&layout::registration(registration), Revision(place.0.revision))
            .put(&path, &job)?;
        Ok(Plan::new(permit, view).changing(changes).step_of(id))
    }
}

impl Hub {
    /// What the private key of an import job is bound to. It is no version of any key.
    fn job_binding<'a>(
        &self,
        path: &'a [u8],
        registration: RegistrationId,
        algorithm: Algorithm,
    ) -> Binding<'a> {
        Binding {
            registration: Some(registration),
            algorithm: Some(algorithm),
            ..Binding::hub(WrapPurpose::ImportJob, self.id(), path)
        }
    }

    /// A job of this registration that has not ended.
    async fn import_job(
        &self,
        registration: RegistrationId,
        job: ImportJobId,
        now: Timestamp,
    ) -> Result<Versioned<ImportJob>, Error> {
        let path = layout::import_job(registration, job);
        let found = self.store().read::<ImportJob>(&path).await?;
        let found = found.filter(|job| now < job.value.expires);
        found.ok_or_else(|| Error::not_found("import job", job))
    }

    /// Unwraps a key that was wrapped for a job of this registration, and spends the job. Failed
    /// openings are counted as those of RSA keys are.
    async fn unwrap_import(
        &self,
        registration: RegistrationId,
        job: ImportJobId,
        (algorithm, form_inside): (Algorithm, KeyForm),
        body: &SecretBytes,
        changes: &mut Changes,
        now: Timestamp,
    ) -> Result<Material, Error> {
        let path = layout::import_job(registration, job);
        let Versioned { value, revision } = self.import_job(registration, job, now).await?;
        self.failures().check(job.as_bytes(), Instant::now())?;
        let binding = self.job_binding(path.as_bytes(), registration, value.algorithm);
        let kek = self.kek(registration).await?;
        let secret = kek.unwrap(&binding, value.wrapped.expose_secret())?;
        let (transport, kind) = (form(value.transport), value.algorithm.row().kind);
        let body = body.clone();
        // RSA takes its time, both to unwrap and to check what was inside.
        let work = move || {
            let private = asymmetric::private_key(kind, &secret)?;
            let bytes = transport::unwrap(transport, &*private, body.expose_secret(), algorithm);
            let bytes = bytes.map_err(|error| match error {
                hub_crypto::Error::Open => Error::ImportFailed,
                other => Error::Crypto(other),
            })?;
            hub_crypto::import::parse(algorithm, format(form_inside), bytes.expose_secret())
                .and_then(|secret| Material::from_secret(algorithm, secret))
                .map_err(|error| match error {
                    hub_crypto::Error::Arena(_) | hub_crypto::Error::Random => Error::Crypto(error),
                    other => Error::Invalid { pointer: "/wrapped", detail: other.to_string() },
                })
        };
        let material = self.heavy().run(registration, work).await?.inspect_err(|error| {
            if matches!(error, Error::ImportFailed) {
                self.failures().count(job.as_bytes(), Instant::now());
            }
        })?;
        changes.check_revision(&path, revision).delete(&path);
        Ok(material)
    }
}

/// Imports a key.
#[derive(Debug)]
pub struct ImportKey {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// What.
    pub body: KeyBody,
}

impl Operation for ImportKey {
    const ACTION: Action = Action::KeysImport;
    const KEEPS: Keeps = Keeps::Answer;
    type Place = AtRegistration;
    type Reply = KeyView;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<KeyView>, Error> {
        let Scene { hub, place, now, .. } = scene;
        if is_hub(&place.0.registration) {
            return Err(Error::HubRegistration("it holds no keys"));
        }
        let (registration, body) = (place.id(), &self.body);
        hub.check_profile(body.algorithm)?;
        let privacy = hub.system_keys().privacy();
        let name = layout::key_name(privacy, registration, body.name.as_str());
        if hub.store().read_bytes(&name).await?.is_some() {
            return Err(Error::AlreadyExists { what: "key", name: body.name.to_string() });
        }
        let id = KeyId::generate();
        let mut key = Key::new(registration, id, body.name.clone(), body.algorithm, None, now);
        key.tags = body.tags.clone();
        key.exportable = body.exportable;
        key.origin = Origin::Imported;
        for version in &mut key.versions {
            version.origin = Origin::Imported;
        }
        if scene.meta.dry_run {
            // Tried out is everything but the opening, which is for whoever means it.
            hub.import_job(registration, body.job, now).await?;
            let view = KeyView::new(&key, place.0.registration.rotation.as_ref());
            return Ok(Plan::new(permit, view).key(id).version(1).step_of(body.job));
        }
        let mut changes = Changes::new();
        let inside = (body.algorithm, body.format);
        let material = hub
            .unwrap_import(registration, body.job, inside, &body.wrapped, &mut changes, now)
            .await?;
        let path = layout::version(id, 1);
        let kek = hub.kek(registration).await?;
        let wrapped = kek.wrap_material(&hub.binding(&path, &key, 1), &material);
        changes
            .check_absent(&name)
            .check_absent(&path)
            .check_revision(&layout::registration(registration), Revision(place.0.revision))
            .put(&name, &id)?;
        let default = place.0.registration.rotation.as_ref();
        put_key(&mut changes, &mut key, default, now)?;
        changes.put_bytes(&path, wrapped.into());
        let view = KeyView::new(&key, default);
        let plan = Plan::new(permit, view).changing(changes).generation(1).key(id).version(1);
        Ok(plan.step_of(body.job))
    }
}

/// Imports a version of an imported key.
#[derive(Debug)]
pub struct ImportVersion {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// Of which key.
    pub key: Ref<KeyId>,
    /// What.
    pub body: VersionBody,
}

impl Operation for ImportVersion {
    const ACTION: Action = Action::KeysImportVersion;
    const KEEPS: Keeps = Keeps::Answer;
    type Place = AtKey;
    type Reply = KeyView;

    async fn find(&self, hub: &Hub) -> Result<AtKey, Lost> {
        AtKey::find(hub, &self.registration, &self.key).await
    }

    async fn plan(&self, permit: Permit, scene: Scene<'_, AtKey>) -> Result<Plan<KeyView>, Error> {
        let Scene { hub, place, meta, now, .. } = scene;
        let (mut key, body) = (place.hot.key.clone(), &self.body);
        meta.matches_if_given(key.generation)?;
        let refused = |detail: String| Error::Invalid { pointer: "key", detail };
        if key.origin != Origin::Imported {
            return Err(refused("versions are imported of imported keys only".to_owned()));
        }
        hub.check_profile(key.algorithm)?;
        if key.state != KeyState::Active {
            return Err(refused(format!("a key that is {} takes no new version", key.state)));
        }
        if key.versions.len() >= MAX_VERSIONS {
            return Err(Error::TooMany("a key may have at most 2,000 versions"));
        }
        let number = key.versions.last().map_or(1, |last| last.number.saturating_add(1));
        let version = KeyVersion { origin: Origin::Imported, ..KeyVersion::new(number, now) };
        key.versions.push(version);
        key.primary = number;
        key.primary_since = None;
        key.updated = now;
        key.generation += 1;
        if meta.dry_run {
            hub.import_job(key.registration, body.job, now).await?;
            let default = place.registration.registration.rotation.as_ref();
            let plan = Plan::new(permit, KeyView::new(&key, default));
            return Ok(plan.version(number).step_of(body.job));
        }
        let mut changes = Changes::new();
        let inside = (key.algorithm, body.format);
        let material = hub
            .unwrap_import(key.registration, body.job, inside, &body.wrapped, &mut changes, now)
            .await?;
        let (path, record) =
            (layout::version(key.id, number), layout::key(key.registration, key.id));
        let kek = hub.kek(key.registration).await?;
        let wrapped = kek.wrap_material(&hub.binding(&path, &key, number), &material);
        changes
            .check_absent(&path)
            .check_revision(&record, Revision(place.hot.revision))
            .check_revision(
                &layout::registration(key.registration),
                Revision(place.registration.revision),
            );
        let default = place.registration.registration.rotation.as_ref();
        put_key(&mut changes, &mut key, default, now)?;
        changes.put_bytes(&path, wrapped.into());
        let plan = Plan::new(permit, KeyView::new(&key, default)).changing(changes);
        Ok(plan.generation(key.generation).version(number).step_of(body.job))
    }
}
