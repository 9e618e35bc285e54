//! The form of every operation, and the places operations act on.

use std::sync::{Arc, Mutex};

use hub_auth::Caller;
use hub_model::entry::Subject;
use hub_model::{Action, KeyId, RegistrationId, Timestamp};
use hub_policy::{Permit, RegistrationFacts, RequestFacts, Target};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::hub::{HotKey, Hub};
use crate::plan::Plan;
use crate::usage::Reserving;
use crate::{Error, Ref};

/// What comes with a call besides the operation itself.
#[derive(Clone, Debug)]
pub struct Meta {
    /// The request id.
    pub request: Arc<str>,
    /// The W3C trace id.
    pub trace: Option<[u8; 16]>,
    /// Authenticate, authorize, validate; touch nothing.
    pub dry_run: bool,
    /// The generation the caller has seen (`If-Match`).
    pub if_match: Option<u64>,
    /// The caller's idempotency key, with the hash of the request it was given with.
    pub idempotency: Option<Idempotency>,
}

/// An idempotency key.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// The key.
    pub key: String,
    /// SHA-256 over route and body.
    pub request_hash: [u8; 32],
}

impl Meta {
    /// Checks `If-Match`, which changes of existing records demand.
    pub(crate) fn matches(&self, generation: u64) -> Result<(), Error> {
        match self.if_match {
            None => Err(Error::PreconditionRequired),
            Some(seen) if seen != generation => Err(Error::Stale { current: generation }),
            Some(_) => Ok(()),
        }
    }

    /// Checks `If-Match` where it was given.
    pub(crate) fn matches_if_given(&self, generation: u64) -> Result<(), Error> {
        if self.if_match.is_some() { self.matches(generation) } else { Ok(()) }
    }
}

/// Whether an operation's answer is kept for its idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// The operation takes no idempotency key.
    Nothing,
    /// The answer is kept for 24 hours.
    Answer,
    /// That it was done is kept; the answer holds a secret.
    Fact,
}

/// What an operation plans with.
#[derive(Debug)]
pub struct Scene<'a, P> {
    /// The hub.
    pub hub: &'a Hub,
    /// Who asks.
    pub caller: &'a Caller,
    /// What is acted on.
    pub place: &'a P,
    /// What came with the call.
    pub meta: &'a Meta,
    /// When.
    pub now: Timestamp,
    /// A block of uses that becomes durable with the entry.
    pub(crate) reserving: &'a Mutex<Option<Box<Reserving>>>,
}

/// One thing the hub can do. It plans; [`Hub::perform`] authorizes before and commits after.
pub trait Operation: Send + Sync {
    /// The verb.
    const ACTION: Action;
    /// Whether it may carry data from one encryption context to another.
    const CHANGES_CONTEXT: bool = false;
    /// What is kept for an idempotency key.
    const KEEPS: Keeps = Keeps::Nothing;
    /// Whether a dry run is answered with what would be.
    const TELLS_WHEN_DRY: bool = false;
    /// Where it acts.
    type Place: Place;
    /// What it answers.
    type Reply: Serialize + DeserializeOwned + Send;

    /// Finds what is acted on. Looks at facts, never at material in use.
    fn find(&self, hub: &Hub) -> impl Future<Output = Result<Self::Place, Lost>> + Send;

    /// What policies may know of the request.
    fn facts(&self) -> RequestFacts<'_> {
        RequestFacts::default()
    }

    /// Another verb the caller needs at the same place, for what this call does beside its own. A
    /// verb of registrations is asked for in the registration of the place.
    fn needs(&self) -> Option<Action> {
        None
    }

    /// What policies may know where that verb is asked for, and whose encryption context the entry
    /// has: of what comes out, should it differ from what goes in.
    fn facts_after(&self) -> RequestFacts<'_> {
        self.facts()
    }

    /// Whether a dry run of this very request is answered so.
    fn tells_when_dry(&self) -> bool {
        Self::TELLS_WHEN_DRY
    }

    /// What the process does once changes and entry are durable, before it answers: follow them in
    /// memory. Nothing can be refused any more.
    fn settle(&self, _hub: &Hub) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// The answer as JSON, where writing it by hand spares a search for what to escape.
    ///
    /// # Errors
    /// The answer, where it is to be written as any other.
    fn json(reply: Self::Reply) -> Result<Vec<u8>, Self::Reply> {
        Err(reply)
    }

    /// Where what goes on after the answer is to be looked for: a path of the API, in the
    /// registration that the caller named.
    fn location(_reply: &Self::Reply, _registration: &str) -> Option<String> {
        None
    }

    /// Reads, checks and computes; writes nothing. The permit is spent on the plan.
    fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, Self::Place>,
    ) -> impl Future<Output = Result<Plan<Self::Reply>, Error>> + Send;
}

/// A target that was not found.
#[derive(Debug)]
pub struct Lost {
    /// Why.
    pub error: Error,
    /// The registration it was looked for in, if that was found: whether the caller may see it
    /// decides what the caller is told.
    pub registration: Option<Arc<RegistrationFacts>>,
}

impl From<Error> for Lost {
    fn from(error: Error) -> Self {
        Self { error, registration: None }
    }
}

/// What an operation acts on.
pub trait Place: Send + Sync {
    /// As policy sees it.
    fn target(&self) -> Target<'_>;
    /// As the audit entry names it.
    fn subject(&self) -> Subject;
    /// The registration it lies in.
    fn registration(&self) -> Option<&Arc<RegistrationFacts>>;
    /// The algorithm of the key it is.
    fn algorithm(&self) -> Option<hub_model::Algorithm> {
        None
    }
}

/// The hub itself.
#[derive(Debug)]
pub struct AtHub;

impl Place for AtHub {
    fn target(&self) -> Target<'_> {
        Target::Hub
    }

    fn subject(&self) -> Subject {
        Subject::default()
    }

    fn registration(&self) -> Option<&Arc<RegistrationFacts>> {
        None
    }
}

/// A registration.
#[derive(Debug)]
pub struct AtRegistration(pub(crate) Arc<RegistrationFacts>);

impl AtRegistration {
    pub(crate) async fn find(hub: &Hub, reference: &Ref<RegistrationId>) -> Result<Self, Lost> {
        Ok(Self(hub.find_registration(reference).await?))
    }

    pub(crate) fn id(&self) -> RegistrationId {
        self.0.registration.id
    }
}

impl Place for AtRegistration {
    fn target(&self) -> Target<'_> {
        Target::Registration(&self.0)
    }

    fn subject(&self) -> Subject {
        Subject { registration: Some(self.id()), ..Subject::default() }
    }

    fn registration(&self) -> Option<&Arc<RegistrationFacts>> {
        Some(&self.0)
    }
}

/// A key.
#[derive(Debug)]
pub struct AtKey {
    pub(crate) registration: Arc<RegistrationFacts>,
    pub(crate) hot: Arc<HotKey>,
}

impl AtKey {
    pub(crate) async fn find(
        hub: &Hub,
        registration: &Ref<RegistrationId>,
        key: &Ref<KeyId>,
    ) -> Result<Self, Lost> {
        let registration = hub.find_registration(registration).await?;
        match hub.find_key(registration.registration.id, key).await {
            Ok(hot) => Ok(Self { registration, hot }),
            Err(error) => Err(Lost { error, registration: Some(registration) }),
        }
    }
}

impl Place for AtKey {
    fn target(&self) -> Target<'_> {
        Target::Key {
            key: &self.hot.key,
            revision: self.hot.revision,
            registration: &self.registration,
        }
    }

    fn subject(&self) -> Subject {
        Subject {
            registration: Some(self.registration.registration.id),
            key: Some(self.hot.key.id),
            ..Subject::default()
        }
    }

    fn registration(&self) -> Option<&Arc<RegistrationFacts>> {
        Some(&self.registration)
    }

    fn algorithm(&self) -> Option<hub_model::Algorithm> {
        Some(self.hot.key.algorithm)
    }
}
