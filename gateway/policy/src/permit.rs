//! What a decision hands on: [`Permit`] or [`Denial`], constructible only in this crate.

use std::sync::Arc;

use hub_model::{Action, KeyId, Principal, RegistrationId};

/// Why a decision came out as it did. Shared by every request the same decision answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionTrace {
    /// Ids of the determining policies, sorted: the forbids of a denial, the permits of a permit,
    /// empty when nothing permitted.
    pub policies: Arc<[Arc<str>]>,
    /// The policy set that decided: SHA-256, hex.
    pub revision: Arc<str>,
    /// What went wrong, without values; any entry denies.
    pub errors: Vec<Arc<str>>,
}

/// What was decided about.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) action: Action,
    pub(crate) principal: Principal,
    pub(crate) registration: Option<RegistrationId>,
    pub(crate) key: Option<KeyId>,
    pub(crate) trace: Arc<DecisionTrace>,
}

/// Leave to do one thing, once: this action on this target by this principal.
///
/// It cannot be made outside this crate:
///
/// ```compile_fail,E0451
/// let forged = hub_policy::Permit { subject: todo!() };
/// ```
///
/// nor copied:
///
/// ```compile_fail,E0599
/// fn copy(permit: hub_policy::Permit) -> [hub_policy::Permit; 2] {
///     [permit.clone(), permit]
/// }
/// ```
#[must_use = "a permit is to be spent on the operation it permits"]
#[derive(Debug)]
pub struct Permit {
    subject: Subject,
}

/// A refusal, with what the audit trail needs.
#[derive(Debug)]
pub struct Denial {
    subject: Subject,
}

macro_rules! accessors {
    ($($kind:ident),*) => {$(
        impl $kind {
            pub(crate) const fn new(subject: Subject) -> Self {
                Self { subject }
            }

            /// What was asked for.
            #[must_use]
            pub const fn action(&self) -> Action {
                self.subject.action
            }

            /// Who asked.
            #[must_use]
            pub const fn principal(&self) -> &Principal {
                &self.subject.principal
            }

            /// The registration it was asked about; none for the hub.
            #[must_use]
            pub const fn registration(&self) -> Option<RegistrationId> {
                self.subject.registration
            }

            /// The key it was asked about.
            #[must_use]
            pub const fn key(&self) -> Option<KeyId> {
                self.subject.key
            }

            /// Why.
            #[must_use]
            pub const fn trace(&self) -> &Arc<DecisionTrace> {
                &self.subject.trace
            }
        }
    )*};
}

accessors!(Permit, Denial);

impl Permit {
    /// Whether this permit is for exactly this action on exactly this target.
    #[must_use]
    pub fn covers(
        &self,
        action: Action,
        registration: Option<RegistrationId>,
        key: Option<KeyId>,
    ) -> bool {
        self.subject.action == action
            && self.subject.registration == registration
            && self.subject.key == key
    }
}
