//! What an operation wants done: its answer, the changes, and what the audit entry says of it.

use std::any::Any;

use hub_model::{KeyId, ParticipantId, RegistrationId};
use hub_policy::Permit;
use hub_store::Changes;

/// A planned operation. Its answer comes out only through a receipt of the audit log:
///
/// ```compile_fail
/// fn skip_audit<R>(plan: hub_operations::Plan<R>) -> R {
///     plan.reply
/// }
/// ```
///
/// and it cannot be made without a permit, which only policy gives:
///
/// ```compile_fail
/// let plan = hub_operations::Plan::new((), "reply");
/// ```
#[derive(Debug)]
pub struct Plan<R> {
    pub(crate) permit: Permit,
    pub(crate) reply: R,
    pub(crate) changes: Changes,
    pub(crate) generation: Option<u64>,
    pub(crate) registration: Option<RegistrationId>,
    pub(crate) key: Option<KeyId>,
    pub(crate) version: Option<u32>,
    pub(crate) participant: Option<ParticipantId>,
    pub(crate) detail: Option<Box<str>>,
    pub(crate) operation: Option<Box<str>>,
    pub(crate) held: Option<Held>,
}

/// A lock that is held until the changes are committed.
pub(crate) type Held = Box<dyn Any + Send + Sync>;

impl<R> Plan<R> {
    /// A plan that changes nothing.
    pub(crate) fn new(permit: Permit, reply: R) -> Self {
        Self {
            permit,
            reply,
            changes: Changes::new(),
            generation: None,
            registration: None,
            key: None,
            version: None,
            participant: None,
            detail: None,
            operation: None,
            held: None,
        }
    }

    /// With these changes.
    pub(crate) fn changing(mut self, changes: Changes) -> Self {
        self.changes = changes;
        self
    }

    /// Holding this until they are committed.
    pub(crate) fn holding(mut self, held: Option<Held>) -> Self {
        self.held = held;
        self
    }

    /// The reply shows a record of this generation: its ETag.
    pub(crate) const fn generation(mut self, generation: u64) -> Self {
        self.generation = Some(generation);
        self
    }

    /// The registration made or changed, where the place does not name it.
    pub(crate) const fn registration(mut self, registration: RegistrationId) -> Self {
        self.registration = Some(registration);
        self
    }

    /// The key made.
    pub(crate) const fn key(mut self, key: KeyId) -> Self {
        self.key = Some(key);
        self
    }

    /// The version used or made.
    pub(crate) const fn version(mut self, version: u32) -> Self {
        self.version = Some(version);
        self
    }

    /// The participant acted on.
    pub(crate) const fn participant(mut self, participant: ParticipantId) -> Self {
        self.participant = Some(participant);
        self
    }

    /// One step of a long operation or import job: what its entries are found by. Also the detail.
    pub(crate) fn step_of(mut self, operation: impl std::fmt::Display) -> Self {
        let id: Box<str> = operation.to_string().into();
        self.operation = Some(id.clone());
        self.detail = Some(id);
        self
    }

    /// What else the entry should name: ids and closed words only.
    pub(crate) fn detail(mut self, detail: impl Into<Box<str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}
