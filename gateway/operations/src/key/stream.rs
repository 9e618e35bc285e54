//! `keys.encrypt` and `keys.decrypt` of bodies of any size. The operation itself begins a stream:
//! it is authorized, and its entry is durable, before a byte of the body is read. What follows is
//! asked for again while it lasts ([`UseStream::still_permitted`]) and ends with an entry of its
//! own ([`UseStream::end`]), which names the bytes and the outcome under the same request id.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hub_auth::Caller;
use hub_crypto::Material;
use hub_crypto::stream::{HEADER_LEN, StreamHeader, StreamOpener, StreamSealer};
use hub_model::entry::{Outcome, Subject};
use hub_model::usage::{Side, Tally};
use hub_model::{Action, Algorithm, EncryptionContext, KeyId, RegistrationId};
use hub_policy::{DecisionTrace, Permit, RequestFacts};
use serde::{Deserialize, Serialize};

use crate::hub::{HotKey, Hub};
use crate::operation::{AtKey, Lost, Meta, Operation, Scene};
use crate::perform::Done;
use crate::plan::Plan;
use crate::{Error, Ref, usage};

/// Encrypts a stream under a key's primary version.
pub type EncryptStream = UseStream<false>;
/// Decrypts a stream under the version its header names.
pub type DecryptStream = UseStream<true>;

/// Uses a key for a stream.
#[derive(Debug)]
pub struct UseStream<const DECRYPTS: bool> {
    registration: Ref<RegistrationId>,
    key: Ref<KeyId>,
    context: EncryptionContext,
    length: u64,
    begun: Mutex<Option<Begun>>,
    /// Bytes that have been counted.
    counted: AtomicU64,
}

/// A stream that was permitted.
#[derive(Clone, Debug)]
struct Begun {
    hot: Arc<HotKey>,
    /// That of the version that encrypts.
    material: Option<Arc<Material>>,
    trace: Arc<DecisionTrace>,
}

/// A stream has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamBegun {
    /// The version that encrypts; that of a stream to be decrypted is in its header.
    pub version: Option<u32>,
}

/// How a stream went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamTotals {
    /// The version used, when it came to that.
    pub version: Option<u32>,
    /// Bytes that came in.
    pub received: u64,
    /// Bytes that were handed out.
    pub sent: u64,
}

impl<const DECRYPTS: bool> UseStream<DECRYPTS> {
    /// A stream of this many bytes; `None` when that is not known, which policies see as more than
    /// any limit.
    #[must_use]
    pub const fn new(
        registration: Ref<RegistrationId>,
        key: Ref<KeyId>,
        context: EncryptionContext,
        length: Option<u64>,
    ) -> Self {
        let length = match length {
            Some(length) => length,
            None => u64::MAX,
        };
        let begun = Mutex::new(None);
        Self { registration, key, context, length, begun, counted: AtomicU64::new(0) }
    }

    fn begun(&self) -> Result<Begun, Error> {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        // INVARIANT: whoever holds the receipt of the beginning has planned.
        begun.clone().ok_or_else(|| Error::Integrity("a stream was not begun".into()))
    }

    /// Whether what was permitted at the beginning still is: the key may be suspended, or the
    /// caller lose a role, while a stream lasts. Counts what has come until now.
    ///
    /// # Errors
    /// [`Error::Denied`] when not; what finding the key fails with.
    pub async fn still_permitted(
        &self,
        hub: &Hub,
        caller: &Caller,
        version: u32,
        received: u64,
    ) -> Result<(), Error> {
        let begun = self.begun()?;
        if !DECRYPTS {
            self.count(hub, &begun.hot, version, received).await?;
        }
        let place = self.find(hub).await.map_err(|lost| lost.error)?;
        let denied = || Error::Denied { action: Self::ACTION.name() };
        let key = &place.hot.key;
        // A stream that was begun under a version goes on under it, also after a rotation.
        let state = key.effective_state(version);
        let usable =
            state.is_some_and(|state| if DECRYPTS { state.processes() } else { state.protects() });
        // Another key may have come to the name.
        if key.id != begun.hot.key.id || !usable {
            return Err(denied());
        }
        let target = crate::operation::Place::target(&place);
        let permit = hub.policies().authorize(caller, Self::ACTION, &target, &self.facts());
        permit.map(drop).map_err(|_| denied())
    }

    /// Writes the entry of the end. Durable when this returns.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub async fn end(
        &self,
        hub: &Hub,
        caller: &Caller,
        meta: &Meta,
        totals: StreamTotals,
        outcome: Outcome,
    ) -> Result<(), Error> {
        let begun = self.begun()?;
        let StreamTotals { version, received, sent } = totals;
        // What cannot be counted must not keep the entry away.
        let counted = match version {
            Some(version) if !DECRYPTS || outcome == Outcome::OK => {
                self.count(hub, &begun.hot, version, received).await
            }
            _ => Ok(()),
        };
        let subject = Subject {
            registration: Some(begun.hot.registration()),
            key: Some(begun.hot.key.id),
            version,
            participant: None,
            detail: Some(
                format!("stream ended: {received} bytes received, {sent} bytes sent").into(),
            ),
        };
        hub.record_end(caller, meta, Self::ACTION, subject, &begun.trace, outcome).await?;
        counted
    }
}

impl<const DECRYPTS: bool> UseStream<DECRYPTS> {
    /// Counts the bytes that have come and are not counted yet; what was decrypted is one use.
    async fn count(
        &self,
        hub: &Hub,
        hot: &HotKey,
        version: u32,
        received: u64,
    ) -> Result<(), Error> {
        let bytes = received.saturating_sub(self.counted.swap(received, Ordering::Relaxed));
        let (side, operations) = if DECRYPTS { (Side::Process, 1) } else { (Side::Protect, 0) };
        let default = match hub.find_registration(&Ref::Id(hot.registration())).await {
            Ok(facts) => facts.registration.rotation.clone(),
            // Deleted meanwhile: nothing rotates there any more.
            Err(Error::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        hub.count_use(hot, version, side, Tally { operations, bytes }, default.as_ref()).await
    }
}

impl EncryptStream {
    /// The header, which goes first, and what encrypts. `_begun` proves that the entry is durable.
    ///
    /// # Errors
    /// [`Error::Crypto`].
    pub fn sealer(
        &self,
        _begun: &Done<StreamBegun>,
    ) -> Result<([u8; HEADER_LEN], StreamSealer), Error> {
        let Begun { hot, material, .. } = self.begun()?;
        let version = hot.key.primary;
        let material = material.ok_or(Error::Crypto(hub_crypto::Error::NoVersion(version)))?;
        let context = self.context.canonical();
        Ok(StreamSealer::new(&material, hot.key.id, version, hot.registration(), &context)?)
    }
}

impl DecryptStream {
    /// What decrypts the stream with this header, and the version it is under. `_begun` proves
    /// that the entry is durable.
    ///
    /// # Errors
    /// [`Error::DecryptionFailed`], whatever is wrong with the header, key or context.
    pub async fn opener(
        &self,
        hub: &Hub,
        _begun: &Done<StreamBegun>,
        header: &[u8],
    ) -> Result<(u32, StreamOpener), Error> {
        let hot = self.begun()?.hot;
        let parsed = StreamHeader::parse(header).map_err(|_| Error::DecryptionFailed)?;
        if parsed.key != hot.key.id || !hot.key.processes(parsed.version) {
            return Err(Error::DecryptionFailed);
        }
        let material = hub.material_of(&hot, parsed.version).await?;
        let material = material.ok_or(Error::DecryptionFailed)?;
        let context = self.context.canonical();
        StreamOpener::new(&material, header, hot.key.id, hot.registration(), &context)
            .map(|opener| (parsed.version, opener))
            .map_err(|error| match error {
                hub_crypto::Error::Arena(_) => Error::Crypto(error),
                _ => Error::DecryptionFailed,
            })
    }
}

impl<const DECRYPTS: bool> Operation for UseStream<DECRYPTS> {
    const ACTION: Action = if DECRYPTS { Action::KeysDecrypt } else { Action::KeysEncrypt };
    type Place = AtKey;
    type Reply = StreamBegun;

    async fn find(&self, hub: &Hub) -> Result<AtKey, Lost> {
        AtKey::find(hub, &self.registration, &self.key).await
    }

    fn facts(&self) -> RequestFacts<'_> {
        RequestFacts { encryption_context: Some(&self.context), payload_bytes: self.length }
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtKey>,
    ) -> Result<Plan<StreamBegun>, Error> {
        let hot = &scene.place.hot;
        if !matches!(hot.key.algorithm, Algorithm::Aes256Gcm | Algorithm::ChaCha20Poly1305) {
            return Err(Error::Invalid {
                pointer: "key",
                detail: "streams are for keys of AES_256_GCM and CHACHA20_POLY1305".to_owned(),
            });
        }
        // Decryption waits for the header, which names the version.
        if !DECRYPTS && !hot.key.protects(hot.key.primary) {
            return Err(Error::Invalid {
                pointer: "key",
                detail: "the primary version of the key is not active".to_owned(),
            });
        }
        let mut material = None;
        if !DECRYPTS {
            material = scene.hub.material_of(hot, hot.key.primary).await?;
            // Its bytes are counted while they come.
            usage::count(&scene, hot.key.primary, Side::Protect, 0).await?;
        }
        let (hot, trace) = (Arc::clone(hot), Arc::clone(permit.trace()));
        let begun = Begun { hot, trace, material };
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = Some(begun);
        let version = (!DECRYPTS).then_some(scene.place.hot.key.primary);
        let plan = Plan::new(permit, StreamBegun { version }).detail("stream begun");
        Ok(match version {
            Some(version) => plan.version(version),
            None => plan,
        })
    }
}
