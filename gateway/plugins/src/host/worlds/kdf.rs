//! KDF profiles: contexts become plans. A question is asked twice, in two instances, before its plan
//! counts; after that the plan is remembered, for the life of these settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use hub_model::Thumbprint;
use hub_model::extend::{
    Asked, FailureKind, KdfPlan, KdfProfile, KdfProfiles, KdfQuestion, Parameters, PluginDigest,
    PluginFailure,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::bindings::kdf::exports::cipher_hub::plugin::kdf as wire;
use super::super::call::{Called, Caller};
use super::super::errors::reported;
use super::super::places::For;
use super::{fickle, fields, kdf_plan};

/// Bytes of plans that are remembered for one plugin.
const REMEMBERED: u64 = 2 << 20;

/// What a KDF profile is asked, as plain values: made from a question, or read from a case. Byte
/// strings are lists of numbers in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KdfContext {
    /// `reg_…`
    pub registration: String,
    /// `key_…`
    pub key: String,
    /// Version of the root key.
    pub version: u32,
    /// What the result is for; none for bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// Name of the stored key; none for bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Given by the caller.
    #[serde(default)]
    pub salt: Vec<u8>,
    /// Given by the caller.
    #[serde(default)]
    pub info: Vec<u8>,
    /// The encryption context.
    #[serde(default)]
    pub encryption_context: BTreeMap<String, String>,
    /// Bytes wanted.
    pub length: u32,
    /// For the plugin; defaults are filled in.
    #[serde(default)]
    pub parameters: Parameters,
}

impl KdfContext {
    /// The context of a question.
    #[must_use]
    pub fn of(question: &KdfQuestion<'_>) -> Self {
        let context = question.context.iter();
        Self {
            registration: question.key.registration.to_string(),
            key: question.key.id.to_string(),
            version: question.version,
            algorithm: question.into.map(|(algorithm, _)| algorithm.to_string()),
            name: question.into.map(|(_, name)| name.to_string()),
            salt: question.salt.to_vec(),
            info: question.info.to_vec(),
            encryption_context: context.map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
            length: question.length,
            parameters: question.parameters.clone(),
        }
    }

    fn wire(&self) -> wire::Context {
        wire::Context {
            registration: self.registration.clone(),
            key: self.key.clone(),
            version: self.version,
            algorithm: self.algorithm.clone(),
            name: self.name.clone(),
            salt: self.salt.clone(),
            info: self.info.clone(),
            encryption_context: fields(&self.encryption_context),
            length: self.length,
            parameters: fields(&self.parameters),
        }
    }

    /// A name for the question: SHA-256 over everything in it, each part with its length.
    fn fingerprint(&self, profile: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(bytes);
        };
        part(profile.as_bytes());
        part(self.registration.as_bytes());
        part(self.key.as_bytes());
        part(&self.version.to_be_bytes());
        for text in [&self.algorithm, &self.name] {
            part(&[u8::from(text.is_some())]);
            part(text.as_deref().unwrap_or_default().as_bytes());
        }
        part(&self.salt);
        part(&self.info);
        part(&self.length.to_be_bytes());
        part(&self.encryption_context.len().to_be_bytes());
        for (name, value) in &self.encryption_context {
            part(name.as_bytes());
            part(value.as_bytes());
        }
        for (name, value) in &self.parameters {
            part(name.as_bytes());
            part(value.as_bytes());
        }
        hash.finalize().into()
    }
}

/// A plugin of the world `kdf-profile` under an operator's settings.
pub struct KdfPlugin {
    caller: Caller,
    profiles: Arc<[KdfProfile]>,
    remembered: moka::sync::Cache<[u8; 32], Arc<KdfPlan>>,
}

impl std::fmt::Debug for KdfPlugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KdfPlugin")
            .field("loaded", &self.caller.loaded)
            .field("profiles", &self.profiles)
            .finish_non_exhaustive()
    }
}

impl KdfPlugin {
    /// Asks, twice, for the profiles.
    pub(in super::super) async fn new(caller: Caller) -> Result<Self, PluginFailure> {
        let first = offered(&caller).await?;
        if offered(&caller).await? != first {
            return Err(fickle("lists of profiles"));
        }
        let weigh = |_: &[u8; 32], plan: &Arc<KdfPlan>| {
            u32::try_from(64 + kdf_plan::weight(plan)).unwrap_or(u32::MAX)
        };
        let remembered = moka::sync::Cache::builder().max_capacity(REMEMBERED).weigher(weigh);
        Ok(Self { caller, profiles: first.into(), remembered: remembered.build() })
    }

    /// Are the settings usable? Asks `lifecycle.check` in a fresh instance.
    ///
    /// # Errors
    /// [`FailureKind::Refused`] with the plugin's own words, or what else went wrong.
    pub async fn check_settings(&self) -> Result<(), PluginFailure> {
        let called = self.caller.call(
            For::Operator,
            false,
            move |store, code| {
                Box::pin(async move {
                    let plugin = code.kdf()?.instantiate_async(&mut *store).await?;
                    plugin.cipher_hub_plugin_lifecycle().call_check(store).await
                })
            },
            |answer| answer.map_err(reported),
        );
        called.await.value
    }

    /// Asks once, remembers nothing, and says what it cost and what was logged.
    pub async fn plan_traced(&self, profile: &str, context: &KdfContext) -> Called<KdfPlan> {
        match self.complete(profile, context) {
            Ok(context) => self.ask(profile, &context, true).await,
            Err(failure) => Called::never(failure),
        }
    }

    /// The plan for a context: as [`KdfProfiles::plan`].
    ///
    /// # Errors
    /// As there.
    pub async fn plan_for(
        &self,
        profile: &str,
        context: &KdfContext,
    ) -> Result<Arc<KdfPlan>, PluginFailure> {
        let context = self.complete(profile, context)?;
        let name = context.fingerprint(profile);
        if let Some(plan) = self.remembered.get(&name) {
            return Ok(plan);
        }
        let plan = self.ask(profile, &context, false).await.value?;
        if self.ask(profile, &context, false).await.value? != plan {
            return Err(fickle("plans"));
        }
        let plan = Arc::new(plan);
        self.remembered.insert(name, Arc::clone(&plan));
        Ok(plan)
    }

    /// The profile must be on offer and give as many bytes; parameters get their defaults.
    fn complete(&self, profile: &str, context: &KdfContext) -> Result<KdfContext, PluginFailure> {
        let refused = |text: &str| PluginFailure::new(FailureKind::Refused, text);
        let Some(known) = self.profiles.iter().find(|known| known.id.as_str() == profile) else {
            let names: Vec<&str> = self.profiles.iter().map(|known| known.id.as_str()).collect();
            return Err(refused(&format!("it has no such profile; it has {}", names.join(", "))));
        };
        if context.length == 0 || context.length > known.max_length {
            let most = known.max_length;
            return Err(refused(&format!("profile `{}` gives 1 to {most} bytes", known.id)));
        }
        let parameters = self.caller.loaded.manifest.parameters.check(&context.parameters);
        let parameters = parameters.map_err(|text| refused(&text))?;
        Ok(KdfContext { parameters, ..context.clone() })
    }

    async fn ask(&self, profile: &str, context: &KdfContext, trace: bool) -> Called<KdfPlan> {
        let (asked, wanted, profile) = (context.wire(), context.length, profile.to_owned());
        let called = self.caller.call(
            For::Registration(&context.registration),
            trace,
            move |store, code| {
                Box::pin(async move {
                    let plugin = code.kdf()?.instantiate_async(&mut *store).await?;
                    plugin.cipher_hub_plugin_kdf().call_plan(store, &profile, &asked).await
                })
            },
            |answer| kdf_plan::plan(answer.map_err(reported)?, wanted),
        );
        called.await
    }
}

async fn offered(caller: &Caller) -> Result<Vec<KdfProfile>, PluginFailure> {
    let called = caller.call(
        For::Operator,
        false,
        move |store, code| {
            Box::pin(async move {
                let plugin = code.kdf()?.instantiate_async(&mut *store).await?;
                plugin.cipher_hub_plugin_kdf().call_profiles(store).await
            })
        },
        kdf_plan::profiles,
    );
    called.await.value
}

impl KdfProfiles for KdfPlugin {
    fn digest(&self) -> PluginDigest {
        self.caller.loaded.digest()
    }

    fn settings(&self) -> Option<Thumbprint> {
        let config = &self.caller.settings.config;
        if config.is_empty() {
            return None;
        }
        let mut hash = Sha256::new();
        for part in config.iter().flat_map(|(name, value)| [name, value]) {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Some(Thumbprint(hash.finalize().into()))
    }

    fn profiles(&self) -> Arc<[KdfProfile]> {
        Arc::clone(&self.profiles)
    }

    fn plan<'a>(&'a self, question: &'a KdfQuestion<'a>) -> Asked<'a, Arc<KdfPlan>> {
        let context = KdfContext::of(question);
        Box::pin(async move { self.plan_for(question.profile.as_str(), &context).await })
    }
}
