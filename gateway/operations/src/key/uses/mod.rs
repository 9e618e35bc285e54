//! What keys are used for beside encryption. One file a family; each function here plans one verb.
//!
//! What must stay true: a key used for what it is not for never reaches a cryptographic function;
//! only the primary version protects, and others process what they protected as the lifecycle
//! allows (`docs/lifecycle.md`); every failed opening is one error.

mod agree;
mod data_key;
mod derive;
mod derive_key;
mod encapsulate;
mod mac;
mod profile;
mod public;
mod sign;
mod wrap;

use std::sync::Arc;

use hub_crypto::Material;
use hub_model::api::uses as api;
use hub_model::usage::Side;
use hub_model::{Action, EncryptionContext, KeyId, Purpose, RegistrationId, SecretBytes};
use hub_policy::{Permit, RequestFacts};

pub use self::derive_key::DeriveKey;
pub use self::public::{GetPublicKey, Jwks};
use crate::hub::{HotKey, Hub};
use crate::operation::{AtKey, Lost, Operation, Scene};
use crate::plan::{Held, Plan};
use crate::{Error, Ref, abreast, usage};

/// What using a key gave.
struct Used<R> {
    reply: R,
    version: u32,
    /// What the audit entry says besides.
    detail: Option<&'static str>,
    /// Of a derivation by a profile: what its entry says, and the key with its new pin.
    profiled: Option<Box<(String, hub_store::Changes, Option<Held>)>>,
}

impl<R> Used<R> {
    const fn new(reply: R, version: u32) -> Self {
        Self { reply, version, detail: None, profiled: None }
    }
}

/// What policies may know of a body.
trait Given {
    /// Bytes that come in, or are asked for.
    fn payload(&self) -> usize;
    fn context(&self) -> Option<&EncryptionContext> {
        None
    }
    /// Whether a dry run says what it would do.
    fn tells_when_dry(&self) -> bool {
        false
    }
}

macro_rules! uses {
    ($($(#[$doc:meta])* $name:ident($body:ty) -> $reply:ty, $action:ident, $plan:path;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            /// Where.
            pub registration: Ref<RegistrationId>,
            /// With which key.
            pub key: Ref<KeyId>,
            /// What.
            pub body: $body,
        }

        impl Operation for $name {
            const ACTION: Action = Action::$action;
            type Place = AtKey;
            type Reply = $reply;

            async fn find(&self, hub: &Hub) -> Result<AtKey, Lost> {
                AtKey::find(hub, &self.registration, &self.key).await
            }

            fn facts(&self) -> RequestFacts<'_> {
                RequestFacts {
                    encryption_context: self.body.context(),
                    payload_bytes: u64::try_from(self.body.payload()).unwrap_or(u64::MAX),
                }
            }

            fn tells_when_dry(&self) -> bool {
                self.body.tells_when_dry()
            }

            async fn plan(
                &self,
                permit: Permit,
                scene: Scene<'_, AtKey>,
            ) -> Result<Plan<$reply>, Error> {
                let used = $plan(&scene, &self.body).await?;
                if let Some(side) = side(Self::ACTION).filter(|_| used.detail.is_none()) {
                    usage::count(&scene, used.version, side, self.body.payload()).await?;
                }
                let plan = Plan::new(permit, used.reply).version(used.version);
                Ok(match (used.detail, used.profiled.map(|profiled| *profiled)) {
                    (Some(detail), _) => plan.detail(detail),
                    (None, None) => plan,
                    (None, Some((detail, pinned, held))) => {
                        plan.detail(detail).changing(pinned).holding(held)
                    }
                })
            }
        }
    )*};
}

uses! {
    /// Signs under the primary version.
    Sign(api::Sign) -> api::Signed, KeysSign, sign::sign;
    /// Verifies a signature.
    Verify(api::Verify) -> api::Verified, KeysVerify, sign::verify;
    /// Computes a message authentication code under the primary version.
    Mac(api::Mac) -> api::MacTag, KeysMac, mac::mac;
    /// Verifies a message authentication code.
    VerifyMac(api::VerifyMac) -> api::Verified, KeysVerifyMac, mac::verify_mac;
    /// Draws a data key and encrypts it under the primary version.
    GenerateDataKey(api::GenerateDataKey) -> api::DataKey, KeysGenerateDataKey, data_key::generate;
    /// Wraps key bytes under the primary version.
    Wrap(api::Wrap) -> api::Wrapped, KeysWrap, wrap::wrap;
    /// Unwraps key bytes.
    Unwrap(api::Unwrap) -> hub_model::api::crypto::Decrypted, KeysUnwrap, wrap::unwrap;
    /// Derives a secret.
    Derive(api::Derive) -> api::Derived, KeysDerive, derive::derive;
    /// Agrees on a secret with a peer.
    Agree(api::Agree) -> api::Derived, KeysAgree, agree::agree;
    /// Makes a secret and what carries it.
    Encapsulate(api::Encapsulate) -> api::Encapsulated, KeysEncapsulate, encapsulate::encapsulate;
    /// Reads a carried secret.
    Decapsulate(api::Decapsulate) -> api::Decapsulated, KeysDecapsulate, encapsulate::decapsulate;
}

/// What a use counts as. Data keys are counted where they are encrypted.
const fn side(action: Action) -> Option<Side> {
    match action {
        Action::KeysSign | Action::KeysMac | Action::KeysWrap | Action::KeysEncapsulate => {
            Some(Side::Protect)
        }
        Action::KeysGenerateDataKey => None,
        _ => Some(Side::Process),
    }
}

/// Refuses a key that is for something else.
pub(super) fn check_purpose(hot: &HotKey, wanted: Purpose) -> Result<(), Error> {
    let purpose = hot.key.purpose();
    if purpose == wanted { Ok(()) } else { Err(Error::WrongPurpose { purpose, wanted }) }
}

/// The primary version, to make something new with.
async fn protecting(
    scene: &Scene<'_, AtKey>,
    wanted: Purpose,
) -> Result<(u32, Arc<Material>), Error> {
    let hot = &scene.place.hot;
    check_purpose(hot, wanted)?;
    let version = hot.key.primary;
    let state = hot.key.effective_state(version).ok_or(Error::NoVersion(version))?;
    if !hot.key.protects(version) {
        return Err(Error::VersionUnusable { version, state });
    }
    Ok((version, load(scene, version).await?.ok_or(Error::NoVersion(version))?))
}

/// The version named, or the primary one, to read or check something with.
async fn processing(
    scene: &Scene<'_, AtKey>,
    wanted: Purpose,
    version: Option<u32>,
) -> Result<(u32, Arc<Material>), Error> {
    let hot = &scene.place.hot;
    check_purpose(hot, wanted)?;
    let version = version.unwrap_or(hot.key.primary);
    let state = hot.key.effective_state(version).ok_or(Error::NoVersion(version))?;
    if !hot.key.processes(version) {
        return Err(Error::VersionUnusable { version, state });
    }
    Ok((version, load(scene, version).await?.ok_or(Error::NoVersion(version))?))
}

/// The material of a version; `None` when the key has no such version.
pub(super) async fn load(
    scene: &Scene<'_, AtKey>,
    version: u32,
) -> Result<Option<Arc<Material>>, Error> {
    abreast().await;
    scene.hub.material_of(&scene.place.hot, version).await
}

/// Computes: here, or where slow work is done.
async fn compute<T: Send + 'static>(
    scene: &Scene<'_, AtKey>,
    slow: bool,
    work: impl FnOnce() -> hub_crypto::Result<T> + Send + 'static,
) -> Result<hub_crypto::Result<T>, Error> {
    if slow {
        scene.hub.heavy().run(scene.place.hot.key.registration, work).await
    } else {
        let _span = tracing::debug_span!(target: "hub::stage", "compute").entered();
        Ok(work())
    }
}

/// What a caller is told of a refusal by a cryptographic function; `pointer` names what it took.
pub(super) fn refusal(error: hub_crypto::Error, pointer: &'static str) -> Error {
    use hub_crypto::Error as Crypto;
    match error {
        Crypto::Open => Error::DecryptionFailed,
        Crypto::Digest => Error::Invalid { pointer: "/digest", detail: error.to_string() },
        Crypto::Parameter(_)
        | Crypto::PublicKey
        | Crypto::TooLongFor(_)
        | Crypto::PlaintextTooLong(_) => Error::Invalid { pointer, detail: error.to_string() },
        other => other.into(),
    }
}

fn invalid<T>(pointer: &'static str, detail: impl Into<String>) -> Result<T, Error> {
    Err(Error::Invalid { pointer, detail: detail.into() })
}

/// Refuses a message above the limit.
fn check_message(message: &SecretBytes) -> Result<(), Error> {
    if message.len() > api::MAX_MESSAGE {
        return invalid("/message", format!("a message has at most {} bytes", api::MAX_MESSAGE));
    }
    Ok(())
}

/// How many bytes are asked for.
fn output(bytes: Option<u32>, least: u32) -> Result<usize, Error> {
    let bytes = bytes.unwrap_or(32);
    if !(least..=api::MAX_OUTPUT).contains(&bytes) {
        let detail = format!("`bytes` must be between {least} and {}", api::MAX_OUTPUT);
        return invalid("/bytes", detail);
    }
    usize::try_from(bytes).map_err(|_| Error::TooMany("too many bytes"))
}

/// Bytes of a secret on their way out.
fn secret_bytes(secret: &hub_crypto::Secret) -> SecretBytes {
    SecretBytes::new(secret.expose_secret().to_vec())
}

/// What HKDF binds: the canonical context, which says its own length, then the caller's `info`.
fn bound_info(context: &EncryptionContext, info: Option<&SecretBytes>) -> Vec<u8> {
    let mut bound = context.canonical();
    bound.extend_from_slice(info.map(SecretBytes::expose_secret).unwrap_or_default());
    bound
}
