//! What the process puts before every operation of the hub: quotas, and an eye on abuse.

use std::sync::Arc;

use hub_auth::Caller;
use hub_model::{Action, EncryptionContext, KeyId, Registration, RegistrationId};
use hub_operations::{Error, Guard, Left};

use crate::abuse::Abuse;
use crate::failures::Failures;
use crate::metrics::Metrics;
use crate::quotas::Quotas;

/// Both of them.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) abuse: Arc<Abuse>,
    pub(crate) failures: Arc<Failures>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Watch {
    fn note<T>(
        &self,
        caller: &Caller,
        registration: Option<RegistrationId>,
        asked: Result<T, Error>,
    ) -> Result<T, Error> {
        if let Err(Error::OverQuota { left, .. }) = &asked {
            self.metrics.over_quota();
            let policy = left.as_ref().map(|left| Arc::clone(&left.policy));
            self.failures.count_over_quota(caller, registration, policy);
        }
        asked
    }
}

impl Guard for Watch {
    fn admit(&self, caller: &Caller, action: Action) -> Result<Option<Left>, Error> {
        self.note(caller, None, self.quotas.admit(caller, action))
    }

    fn admit_at(
        &self,
        caller: &Caller,
        action: Action,
        registration: &Registration,
        key: Option<KeyId>,
    ) -> Result<Option<Left>, Error> {
        let asked = self.quotas.admit_at(caller, action, registration, key);
        self.note(caller, Some(registration.id), asked)
    }

    fn ended(
        &self,
        caller: &Caller,
        action: Action,
        context: Option<&EncryptionContext>,
        error: Option<&Error>,
    ) {
        self.abuse.ended(caller, action, context, error);
    }
}
