//! `keys.encrypt`, `keys.decrypt`, `keys.rewrap`. Every failed opening is one error on one path.

use hub_audit::keyed::Field;
use hub_crypto::{Envelope, MAX_PLAINTEXT};
use hub_model::api::crypto::{
    Decrypt as DecryptBody, Decrypted, Encrypt as EncryptBody, Encrypted, Rewrap as RewrapBody,
    Rewrapped,
};
use hub_model::usage::Side;
use hub_model::{Action, EncryptionContext, KeyId, Purpose, RegistrationId, SecretBytes};
use hub_policy::{Permit, RequestFacts};

use super::rsa::{self, RsaCiphertext};
use super::state;
use super::uses::check_purpose;
use crate::hub::Hub;
use crate::operation::{AtKey, Lost, Operation, Scene};
use crate::plan::Plan;
use crate::usage;
use crate::{Error, Ref, abreast};

fn facts(context: &EncryptionContext, payload: usize) -> RequestFacts<'_> {
    RequestFacts {
        encryption_context: Some(context),
        payload_bytes: u64::try_from(payload).unwrap_or(u64::MAX),
    }
}

/// Encrypts under a key's primary version.
#[derive(Debug)]
pub struct Encrypt {
    /// Where.
    pub registration: Ref<RegistrationId>,
    /// With which key.
    pub key: Ref<KeyId>,
    /// What.
    pub body: EncryptBody,
}

impl Operation for Encrypt {
    const ACTION: Action = Action::KeysEncrypt;
    type Place = AtKey;
    type Reply = Encrypted;

    async fn find(&self, hub: &Hub) -> Result<AtKey, Lost> {
        AtKey::find(hub, &self.registration, &self.key).await
    }

    fn facts(&self) -> RequestFacts<'_> {
        facts(&self.body.context, self.body.plaintext.len())
    }

    fn json(reply: Encrypted) -> Result<Vec<u8>, Encrypted> {
        Ok(reply.into_json())
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtKey>,
    ) -> Result<Plan<Encrypted>, Error> {
        let plaintext = &self.body.plaintext;
        if plaintext.len() > MAX_PLAINTEXT {
            return Err(Error::Invalid {
                pointer: "/plaintext",
                detail: format!("at most {MAX_PLAINTEXT} bytes can be encrypted at once"),
            });
        }
        let version = state::protecting(&scene)?;
        let ciphertext = seal(&scene, &self.body.context, plaintext, "/plaintext").await?;
        Ok(Plan::new(permit, Encrypted { ciphertext, version }).version(version))
    }
}

/// Encrypts under the primary version; `pointer` names the plaintext should it be too long.
pub(super) async fn seal(
    scene: &Scene<'_, AtKey>,
    context: &EncryptionContext,
    plaintext: &SecretBytes,
    pointer: &'static str,
) -> Result<String, Error> {
    let key = &scene.place.hot.key;
    check_purpose(&scene.place.hot, Purpose::Encrypt)?;
    usage::count(scene, key.primary, Side::Protect, plaintext.len()).await?;
    if key.algorithm.is_asymmetric() {
        return rsa::seal(scene, context, plaintext, pointer).await;
    }
    let (hot, context) = (&scene.place.hot, context.canonical());
    abreast().await;
    let sealed = scene.hub.using(hot, key.primary, |keyring| {
        let _span = tracing::debug_span!(target: "hub::stage", "seal").entered();
        keyring.seal(&context, plaintext.expose_secret())
    });
    Ok(sealed.await?.ok_or(Error::NoVersion(key.primary))??)
}

/// Opens a ciphertext under the key the caller was authorized for, and counts that.
async fn open(
    scene: &Scene<'_, AtKey>,
    given: &Given,
    context: &EncryptionContext,
) -> Result<SecretBytes, Error> {
    let plaintext = open_uncounted(scene, given, context).await?;
    usage::count(scene, given.version(), Side::Process, plaintext.len()).await?;
    Ok(plaintext)
}

/// Whether a ciphertext opens under the key a call is about; gives the version it is under.
pub(super) async fn check_opens(
    scene: &Scene<'_, AtKey>,
    ciphertext: &str,
    context: &EncryptionContext,
) -> Result<u32, Error> {
    let given = Given::new(ciphertext);
    open(scene, &given, context).await?;
    Ok(given.version())
}

async fn open_uncounted(
    scene: &Scene<'_, AtKey>,
    given: &Given,
    context: &EncryptionContext,
) -> Result<SecretBytes, Error> {
    let hot = &scene.place.hot;
    check_purpose(hot, Purpose::Encrypt)?;
    if hot.key.algorithm.is_asymmetric() {
        return rsa::open(scene, given.rsa.as_ref(), context).await;
    }
    let envelope = given.envelope.as_ref().ok_or(Error::DecryptionFailed)?;
    let header = envelope.header();
    if header.key != hot.key.id {
        return Err(Error::DecryptionFailed);
    }
    state::processing(scene, header.version)?;
    let context = context.canonical();
    abreast().await;
    let opened = scene.hub.using(hot, header.version, |keyring| {
        let _span = tracing::debug_span!(target: "hub::stage", "open").entered();
        keyring.open(envelope, &context)
    });
    opened.await?.and_then(Result::ok).ok_or(Error::DecryptionFailed)
}

/// The key a ciphertext names, in this registration.
async fn find_named(
    hub: &Hub,
    registration: &Ref<RegistrationId>,
    envelope: Option<&Envelope>,
) -> Result<AtKey, Lost> {
    let facts = hub.find_registration(registration).await?;
    let lost = |error| Lost { error, registration: Some(std::sync::Arc::clone(&facts)) };
    // A ciphertext that names no key of this registration does not open here: the same answer as
    // for any other that does not.
    let Some(envelope) = envelope else { return Err(lost(Error::DecryptionFailed)) };
    let key = Ref::Id(envelope.header().key);
    match hub.find_key(facts.registration.id, &key).await {
        Ok(hot) if hot.key.purpose() == Purpose::Encrypt => Ok(AtKey { registration: facts, hot }),
        // A key that encrypts nothing: no ciphertext of the hub names it.
        Ok(_) | Err(Error::NotFound { .. }) => Err(lost(Error::DecryptionFailed)),
        Err(error) => Err(lost(error)),
    }
}

/// A ciphertext, parsed once. Malformed is `None`: told apart from a wrong one by nobody.
#[derive(Debug)]
struct Given {
    envelope: Option<Envelope>,
    rsa: Option<RsaCiphertext>,
    length: usize,
}

impl Given {
    fn new(text: &str) -> Self {
        let rsa = RsaCiphertext::parse(text);
        let envelope = if rsa.is_some() { None } else { Envelope::parse(text).ok() };
        Self { envelope, rsa, length: text.len() }
    }

    fn version(&self) -> u32 {
        let rsa = || self.rsa.as_ref().map_or(0, RsaCiphertext::version);
        self.envelope.as_ref().map_or_else(rsa, |envelope| envelope.header().version)
    }
}

/// What a ciphertext is to be bound to instead.
trait Rebinds {
    fn new_context(&self) -> Option<EncryptionContext>;
}

impl Rebinds for DecryptBody {
    fn new_context(&self) -> Option<EncryptionContext> {
        None
    }
}

impl Rebinds for RewrapBody {
    fn new_context(&self) -> Option<EncryptionContext> {
        self.new_context.clone()
    }
}

macro_rules! opening {
    (
        $(#[$doc:meta])* $named:ident,
        $(#[$doc_any:meta])* $any:ident,
        $body:ty, $reply:ty, $action:expr, $finish:ident
    ) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $named {
            registration: Ref<RegistrationId>,
            key: Ref<KeyId>,
            given: Given,
            context: EncryptionContext,
            new: Option<EncryptionContext>,
        }

        impl $named {
            /// With the key named by the caller.
            #[must_use]
            pub fn new(registration: Ref<RegistrationId>, key: Ref<KeyId>, body: $body) -> Self {
                let given = Given::new(&body.ciphertext);
                let new = body.new_context();
                Self { registration, key, given, context: body.context, new }
            }
        }

        impl Operation for $named {
            const ACTION: Action = $action;
            const CHANGES_CONTEXT: bool = true;
            type Place = AtKey;
            type Reply = $reply;

            async fn find(&self, hub: &Hub) -> Result<AtKey, Lost> {
                AtKey::find(hub, &self.registration, &self.key).await
            }

            fn facts(&self) -> RequestFacts<'_> {
                facts(&self.context, self.given.length)
            }

            fn needs(&self) -> Option<Action> {
                self.new.as_ref().map(|_| Action::KeysRebind)
            }

            fn facts_after(&self) -> RequestFacts<'_> {
                facts(self.new.as_ref().unwrap_or(&self.context), self.given.length)
            }

            fn json(reply: $reply) -> Result<Vec<u8>, $reply> {
                Ok(reply.into_json())
            }

            async fn plan(
                &self,
                permit: Permit,
                scene: Scene<'_, AtKey>,
            ) -> Result<Plan<$reply>, Error> {
                $finish(permit, scene, &self.given, &self.context, self.new.as_ref()).await
            }
        }

        $(#[$doc_any])*
        #[derive(Debug)]
        pub struct $any {
            registration: Ref<RegistrationId>,
            given: Given,
            context: EncryptionContext,
            new: Option<EncryptionContext>,
        }

        impl $any {
            /// With the key the ciphertext names.
            #[must_use]
            pub fn new(registration: Ref<RegistrationId>, body: $body) -> Self {
                let given = Given::new(&body.ciphertext);
                let new = body.new_context();
                Self { registration, given, context: body.context, new }
            }
        }

        impl Operation for $any {
            const ACTION: Action = $action;
            const CHANGES_CONTEXT: bool = true;
            type Place = AtKey;
            type Reply = $reply;

            async fn find(&self, hub: &Hub) -> Result<AtKey, Lost> {
                find_named(hub, &self.registration, self.given.envelope.as_ref()).await
            }

            fn facts(&self) -> RequestFacts<'_> {
                facts(&self.context, self.given.length)
            }

            fn needs(&self) -> Option<Action> {
                self.new.as_ref().map(|_| Action::KeysRebind)
            }

            fn facts_after(&self) -> RequestFacts<'_> {
                facts(self.new.as_ref().unwrap_or(&self.context), self.given.length)
            }

            fn json(reply: $reply) -> Result<Vec<u8>, $reply> {
                Ok(reply.into_json())
            }

            async fn plan(
                &self,
                permit: Permit,
                scene: Scene<'_, AtKey>,
            ) -> Result<Plan<$reply>, Error> {
                $finish(permit, scene, &self.given, &self.context, self.new.as_ref()).await
            }
        }
    };
}

opening! {
    /// Decrypts with a named key.
    Decrypt,
    /// Decrypts with the key the ciphertext names.
    DecryptAny,
    DecryptBody, Decrypted, Action::KeysDecrypt, decrypt
}

opening! {
    /// Encrypts again under the primary version of a named key, without showing the plaintext.
    Rewrap,
    /// Encrypts again under the primary version of the key the ciphertext names.
    RewrapAny,
    RewrapBody, Rewrapped, Action::KeysRewrap, rewrap
}

async fn decrypt(
    permit: Permit,
    scene: Scene<'_, AtKey>,
    given: &Given,
    context: &EncryptionContext,
    _: Option<&EncryptionContext>,
) -> Result<Plan<Decrypted>, Error> {
    let plaintext = open(&scene, given, context).await?;
    let version = given.version();
    Ok(Plan::new(permit, Decrypted { plaintext, version }).version(version))
}

async fn rewrap(
    permit: Permit,
    scene: Scene<'_, AtKey>,
    given: &Given,
    context: &EncryptionContext,
    new: Option<&EncryptionContext>,
) -> Result<Plan<Rewrapped>, Error> {
    let version = state::protecting(&scene)?;
    let plaintext = open(&scene, given, context).await?;
    let ciphertext = seal(&scene, new.unwrap_or(context), &plaintext, "/ciphertext").await?;
    let from_version = given.version();
    let plan = Plan::new(permit, Rewrapped { ciphertext, from_version, version }).version(version);
    // The entry has the new context, and by its digest what the ciphertext was bound to before.
    Ok(match new {
        Some(_) => {
            let canonical = context.canonical();
            // Where contexts are not to be guessed from entries, this one is not, either.
            let keyed = scene.hub.log().appender().keyed();
            let digest = match keyed.filter(|keyed| keyed.has(Field::Context)) {
                Some(keyed) => keyed.hash(Field::Context, "", &canonical),
                None => {
                    let digest = hub_crypto::hash::sha256(&canonical);
                    format!("sha256:{}", hub_audit::encode::hex(&digest))
                }
            };
            plan.detail(format!("from context {digest}"))
        }
        None => plan,
    })
}
