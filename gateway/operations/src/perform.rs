//! The one way through: find, authorize, plan, commit with the entry, and only then answer.

use std::sync::Mutex;

use futures_util::future::BoxFuture;
use hub_audit::Receipt;
use hub_auth::Caller;
use hub_model::action::ResourceKind;
use hub_model::entry::{AuditEntry, Decided, Decision, LatencyClass, Outcome, Subject};
use hub_model::principal::PeerAddress;
use hub_model::{Action, EncryptionContext, Principal, Timestamp};
use hub_policy::{DecisionTrace, RequestFacts, Target};
use hub_store::Changes;
use tracing::Instrument as _;

use crate::abreast;
use crate::error::{Error, Failure};
use crate::guard::{Charge, Left};
use crate::hub::Hub;
use crate::idempotency::{self, Kept};
use crate::operation::{Meta, Operation, Place, Scene};
use crate::usage::{Reserving, lock};

/// How often a change that met somebody else's is planned anew.
const ATTEMPTS: usize = 3;

/// An operation that was done, or tried out; proof is its receipt.
#[derive(Debug)]
pub struct Done<R> {
    /// The answer; `None` for a dry run.
    pub reply: Option<R>,
    /// The generation of the record shown: its ETag.
    pub generation: Option<u64>,
    /// The algorithm of the key acted on.
    pub algorithm: Option<hub_model::Algorithm>,
    /// Whether the answer is one kept for an idempotency key.
    pub replayed: bool,
    /// What is left of the quota that has least left, where there is any.
    pub left: Option<Left>,
    receipt: Receipt,
}

impl<R> Done<R> {
    /// Where the entry stands.
    pub const fn receipt(&self) -> &Receipt {
        &self.receipt
    }
}

impl Hub {
    /// Does one operation for a caller. Whatever the outcome, its entry is durable when this
    /// returns.
    ///
    /// # Errors
    /// A [`Failure`], already in the audit log.
    pub async fn perform<O: Operation>(
        &self,
        caller: &Caller,
        operation: &O,
        meta: &Meta,
    ) -> Result<Done<O::Reply>, Failure> {
        let Some(guard) = self.guard() else {
            return self.attempts(caller, operation, meta, &mut Charge::default()).await;
        };
        let admitted = guard.admit(caller, O::ACTION);
        let left = admitted.map_err(Failure::unlogged)?;
        let mut charge = Charge { done: false, left };
        let mut outcome = self.attempts(caller, operation, meta, &mut charge).await;
        if let Ok(done) = &mut outcome {
            done.left = charge.left;
        }
        let error = outcome.as_ref().err().map(|failure| &failure.error);
        if !matches!(error, Some(Error::OverQuota { .. })) {
            let decrypted = O::ACTION == Action::KeysDecrypt && error.is_none();
            let context = decrypted.then(|| operation.facts().encryption_context).flatten();
            guard.ended(caller, O::ACTION, context, error);
        }
        outcome
    }

    async fn attempts<O: Operation>(
        &self,
        caller: &Caller,
        operation: &O,
        meta: &Meta,
        charge: &mut Charge,
    ) -> Result<Done<O::Reply>, Failure> {
        for _ in 0..ATTEMPTS {
            match self.attempt(caller, operation, meta, charge).await {
                Ok(Attempt::Done(done)) => return Ok(done),
                Ok(Attempt::Conflict) => {}
                Err(failure) => return Err(failure),
            }
        }
        let ending = Ending {
            error: Error::Conflict,
            decision: Decision::Allow,
            trace: None,
            decided: None,
            context: None,
        };
        Err(self.refuse(O::ACTION, caller, meta, Subject::default(), ending).await)
    }

    async fn attempt<O: Operation>(
        &self,
        caller: &Caller,
        operation: &O,
        meta: &Meta,
        charge: &mut Charge,
    ) -> Result<Attempt<O::Reply>, Failure> {
        let span = tracing::debug_span!(target: "hub::stage", "find");
        let place = match operation.find(self).instrument(span).await {
            Ok(place) => place,
            Err(lost) => {
                let seen = lost.registration.filter(|r| self.policies().may_see(caller, r));
                let error = match (&seen, lost.error) {
                    // Nothing was found where the caller may not look: what is missing is not said.
                    (None, Error::NotFound { .. } | Error::DecryptionFailed) => {
                        Error::NoRegistration
                    }
                    (_, error) => error,
                };
                let registration = seen.map(|facts| facts.registration.id);
                let subject = Subject { registration, ..Subject::default() };
                let decision = Decision::None;
                let (trace, decided, context) = (None, None, None);
                let ending = Ending { error, decision, trace, decided, context };
                return Err(self.refuse(O::ACTION, caller, meta, subject, ending).await);
            }
        };
        let algorithm = place.algorithm();
        self.attempt_at(caller, operation, meta, place, charge)
            .await
            .map_err(|failure| Failure { algorithm, ..failure })
    }

    async fn attempt_at<O: Operation>(
        &self,
        caller: &Caller,
        operation: &O,
        meta: &Meta,
        place: O::Place,
        charge: &mut Charge,
    ) -> Result<Attempt<O::Reply>, Failure> {
        let facts = operation.facts();
        let after = operation.facts_after();
        let decided = Some(decided(caller, &place.target(), &facts, operation.needs()));
        let permit = tracing::debug_span!(target: "hub::stage", "authorize").in_scope(|| {
            let policies = self.policies();
            let permit = policies.authorize(caller, O::ACTION, &place.target(), &facts)?;
            if let Some(action) = operation.needs() {
                let target = target_of(&place, action);
                policies.authorize(caller, action, &target, &after).map(drop)?;
                // What goes from one context to another needs the right in both: else it would
                // carry data out of a context the caller may not read.
                if O::CHANGES_CONTEXT {
                    policies.authorize(caller, action, &target, &facts).map(drop)?;
                }
            }
            Ok::<_, hub_policy::Denial>(permit)
        });
        let permit = match permit {
            Ok(permit) => permit,
            Err(denial) => {
                let visible = place
                    .registration()
                    .is_none_or(|registration| self.policies().may_see(caller, registration));
                let error = if visible {
                    Error::Denied { action: denial.action().name() }
                } else {
                    Error::NoRegistration
                };
                let trace = Some(&**denial.trace());
                let (decision, context) = (Decision::Deny, after.encryption_context);
                let ending = Ending { error, decision, trace, decided, context };
                let mut subject = place.subject();
                if denial.action() != O::ACTION {
                    subject.detail = Some(denial.action().name().into());
                }
                return Err(self.refuse(O::ACTION, caller, meta, subject, ending).await);
            }
        };
        // Only what is permitted counts here: a stranger cannot use up what a registration has.
        charge.at(self.guard(), caller, O::ACTION, &place).map_err(Failure::unlogged)?;
        let trace = std::sync::Arc::clone(permit.trace());
        let kept = match idempotency::look_up::<O>(self, caller, &place, meta).await {
            Ok(kept) => kept,
            Err(error) => {
                let ending = allowed(error, &trace, decided, after.encryption_context);
                return Err(self.refuse(O::ACTION, caller, meta, place.subject(), ending).await);
            }
        };
        if let Kept::Answer(answer) = kept {
            // This entry says no context, so a decision that had one cannot be made again from it.
            let decided = decided.filter(|_| after.encryption_context.is_none());
            return self.replay::<O>(caller, meta, &place, (&trace, decided), answer).await;
        }
        abreast().await;
        let now = self.clock().now();
        let reserving: Mutex<Option<Box<Reserving>>> = Mutex::new(None);
        let scene = Scene { hub: self, caller, place: &place, meta, now, reserving: &reserving };
        let span = tracing::debug_span!(target: "hub::stage", "operate");
        let plan = match operation.plan(permit, scene).instrument(span).await {
            Ok(plan) => plan,
            Err(error) => {
                let ending = allowed(error, &trace, decided, after.encryption_context);
                return Err(self.refuse(O::ACTION, caller, meta, place.subject(), ending).await);
            }
        };
        let mut subject = place.subject();
        subject.registration = plan.registration.or(subject.registration);
        subject.key = plan.key.or(subject.key);
        subject.version = plan.version;
        subject.participant = plan.participant;
        subject.detail = plan.detail;
        let mut changes = plan.changes;
        if meta.dry_run {
            changes = Changes::new();
        } else if let Err(error) =
            idempotency::keep::<O>(meta, kept, (&plan.reply, plan.generation), &mut changes, now)
        {
            let ending = allowed(error, &trace, decided, after.encryption_context);
            return Err(self.refuse(O::ACTION, caller, meta, subject, ending).await);
        }
        // The permit was for exactly what the entry names.
        let covered = plan.permit.covers(
            O::ACTION,
            place.registration().map(|r| r.registration.id),
            place.subject().key,
        );
        debug_assert!(covered, "a plan spent the permit of another operation");
        let base = EntryBase { caller, meta, action: O::ACTION.name(), at: self.clock().now() };
        let entry = AuditEntry {
            context: after.encryption_context.cloned(),
            decided,
            operation: plan.operation,
            ..base.entry(subject, Decision::Allow, Some(plan.permit.trace()), Outcome::OK)
        };
        let reserving = lock(&reserving).take();
        if let Some(Err(error)) = reserving.as_ref().map(|block| block.join(&mut changes)) {
            let ending = allowed(error, &trace, decided, after.encryption_context);
            return Err(self.refuse(O::ACTION, caller, meta, place.subject(), ending).await);
        }
        let appended = self.append(&entry, changes).await;
        drop(plan.held);
        match appended {
            Ok(receipt) => {
                if let Some(block) = reserving {
                    block.committed(receipt.revision());
                }
                if !meta.dry_run {
                    operation.settle(self).await;
                }
                Ok(Attempt::Done(Done {
                    reply: (!meta.dry_run || operation.tells_when_dry()).then_some(plan.reply),
                    generation: plan.generation,
                    algorithm: place.algorithm(),
                    replayed: false,
                    left: None,
                    receipt,
                }))
            }
            Err(hub_audit::Error::Conflict) => {
                if let Some(block) = reserving
                    && let Err(error) = block.lost(self).await
                {
                    let ending = allowed(error, &trace, decided, after.encryption_context);
                    return Err(self
                        .refuse(O::ACTION, caller, meta, place.subject(), ending)
                        .await);
                }
                Ok(Attempt::Conflict)
            }
            // The log is well: what could not be done is refused, with an entry like any refusal.
            Err(
                error @ (hub_audit::Error::ChangeTooLarge | hub_audit::Error::EntryTooLarge(_)),
            ) => {
                let error = error.into();
                let ending = allowed(error, &trace, decided, after.encryption_context);
                Err(self.refuse(O::ACTION, caller, meta, place.subject(), ending).await)
            }
            Err(error) => {
                Err(Failure { error: error.into(), decision_id: None, seq: None, algorithm: None })
            }
        }
    }

    async fn replay<O: Operation>(
        &self,
        caller: &Caller,
        meta: &Meta,
        place: &O::Place,
        (trace, decided): (&DecisionTrace, Option<Decided>),
        answer: idempotency::Answer<O::Reply>,
    ) -> Result<Attempt<O::Reply>, Failure> {
        let base = EntryBase { caller, meta, action: O::ACTION.name(), at: self.clock().now() };
        let subject = Subject { detail: Some("idempotent replay".into()), ..place.subject() };
        let entry = base.entry(subject, Decision::Allow, Some(trace), Outcome::OK);
        let entry = AuditEntry { decided, ..entry };
        match self.append(&entry, Changes::new()).await {
            Ok(receipt) => Ok(Attempt::Done(Done {
                reply: Some(answer.reply),
                generation: answer.generation,
                algorithm: place.algorithm(),
                replayed: true,
                left: None,
                receipt,
            })),
            Err(error) => {
                Err(Failure { error: error.into(), decision_id: None, seq: None, algorithm: None })
            }
        }
    }

    /// Appends the entry of a refusal, and makes the failure of it. In a box: it is asked for at
    /// eight places of every operation.
    fn refuse<'a>(
        &'a self,
        action: Action,
        caller: &'a Caller,
        meta: &'a Meta,
        subject: Subject,
        ending: Ending<'a>,
    ) -> BoxFuture<'a, Failure> {
        Box::pin(self.refused(action, caller, meta, subject, ending))
    }

    async fn refused(
        &self,
        action: Action,
        caller: &Caller,
        meta: &Meta,
        subject: Subject,
        ending: Ending<'_>,
    ) -> Failure {
        let Ending { error, decision, trace, decided, context } = ending;
        let base = EntryBase { caller, meta, action: action.name(), at: self.clock().now() };
        let entry = base.entry(subject, decision, trace, Outcome(error.code()));
        let entry = AuditEntry { decided, context: context.cloned(), ..entry };
        match self.append(&entry, Changes::new()).await {
            Ok(receipt) => {
                let denied = matches!(error, Error::Denied { .. });
                let decision_id = denied.then(|| self.decision_id(receipt.seq()));
                Failure { error, decision_id, seq: Some(receipt.seq()), algorithm: None }
            }
            // What cannot be logged is not answered either.
            Err(unlogged) => {
                Failure { error: unlogged.into(), decision_id: None, seq: None, algorithm: None }
            }
        }
    }

    /// Appends the entry of a request that fell between authentication and its operation: a
    /// malformed body, an exceeded limit.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub async fn record_refusal(
        &self,
        caller: &Caller,
        meta: &Meta,
        action: &'static str,
        outcome: Outcome,
    ) -> Result<Receipt, Error> {
        let base = EntryBase { caller, meta, action, at: self.clock().now() };
        let entry = base.entry(Subject::default(), Decision::None, None, outcome);
        Ok(self.append(&entry, Changes::new()).await?)
    }

    /// Appends the entry of the end of something that was permitted at its beginning.
    pub(crate) async fn record_end(
        &self,
        caller: &Caller,
        meta: &Meta,
        action: hub_model::Action,
        subject: Subject,
        trace: &DecisionTrace,
        outcome: Outcome,
    ) -> Result<(), Error> {
        let base = EntryBase { caller, meta, action: action.name(), at: self.clock().now() };
        let mut entry = base.entry(subject, Decision::Allow, Some(trace), outcome);
        // A stream may last: unlike other entries this one is not of when it was asked for.
        entry.time = self.clock().now();
        // What was begun ends with its entry, whatever is refused meanwhile.
        let _receipt = self.log().appender().append_begun(&entry, Changes::new()).await?;
        Ok(())
    }

    /// Appends an entry of the hub's own doing: start, stop, sampled authentication failures.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub async fn record_event(
        &self,
        action: &'static str,
        address: PeerAddress,
        detail: impl Into<Option<Box<str>>>,
        outcome: Outcome,
        count: u64,
    ) -> Result<Receipt, Error> {
        let entry = event(self.clock().now(), action, address, detail.into(), outcome, count);
        Ok(self.log().appender().append_begun(&entry, Changes::new()).await?)
    }

    /// The audit stage: entry and changes, durable together.
    async fn append(
        &self,
        entry: &AuditEntry,
        changes: Changes,
    ) -> Result<Receipt, hub_audit::Error> {
        let span = tracing::debug_span!(target: "hub::stage", "audit");
        self.log().appender().append(entry, changes).instrument(span).await
    }

    /// How a decision is named to callers: writer and position of its entry.
    #[must_use]
    pub fn decision_id(&self, seq: u64) -> String {
        format!("dec_{}-{seq}", self.log().appender().writer())
    }
}

/// An entry of the hub's own doing.
pub(crate) fn event(
    time: Timestamp,
    action: &'static str,
    address: PeerAddress,
    detail: Option<Box<str>>,
    outcome: Outcome,
    count: u64,
) -> AuditEntry {
    AuditEntry {
        time,
        principal: None::<Principal>,
        address,
        action,
        subject: Subject { detail, ..Subject::default() },
        decision: Decision::None,
        decided: None,
        policies: Default::default(),
        revision: "".into(),
        outcome,
        latency: None,
        operation: None,
        context: None,
        request: "-".into(),
        trace: None,
        dry_run: false,
        count,
    }
}

/// What a verb is asked for at: the place, or the registration it lies in.
fn target_of<P: Place>(place: &P, action: Action) -> Target<'_> {
    match (action.resource_kind(), place.registration()) {
        (ResourceKind::Registration, Some(registration)) => Target::Registration(registration),
        _ => place.target(),
    }
}

enum Attempt<R> {
    Done(Done<R>),
    Conflict,
}

struct Ending<'a> {
    error: Error,
    decision: Decision,
    trace: Option<&'a DecisionTrace>,
    decided: Option<Decided>,
    context: Option<&'a EncryptionContext>,
}

/// The end of what was permitted and failed all the same.
const fn allowed<'a>(
    error: Error,
    trace: &'a DecisionTrace,
    decided: Option<Decided>,
    context: Option<&'a EncryptionContext>,
) -> Ending<'a> {
    Ending { error, decision: Decision::Allow, trace: Some(trace), decided, context }
}

/// What a decision was about, for making it again later.
fn decided(
    caller: &Caller,
    target: &Target<'_>,
    facts: &RequestFacts<'_>,
    beside: Option<Action>,
) -> Decided {
    let participant = caller.participant_revision();
    let revisions = match target {
        Target::Hub => [participant, 0, 0],
        Target::Registration(facts) => [participant, facts.revision, facts.revision],
        Target::Key { revision, registration, .. } => {
            [participant, *revision, registration.revision]
        }
    };
    Decided {
        revisions,
        tls: caller.tls(),
        mutual_tls: caller.mutual_tls(),
        payload_bytes: facts.payload_bytes,
        beside: beside.map(Action::name),
    }
}

struct EntryBase<'a> {
    caller: &'a Caller,
    meta: &'a Meta,
    action: &'static str,
    /// When it ended.
    at: Timestamp,
}

impl EntryBase<'_> {
    fn entry(
        &self,
        subject: Subject,
        decision: Decision,
        trace: Option<&DecisionTrace>,
        outcome: Outcome,
    ) -> AuditEntry {
        AuditEntry {
            time: self.caller.now(),
            principal: Some(self.caller.principal().clone()),
            address: self.caller.address(),
            action: self.action,
            subject,
            decision,
            decided: None,
            policies: trace.map_or_else(Default::default, |t| std::sync::Arc::clone(&t.policies)),
            revision: trace.map_or_else(|| "".into(), |t| std::sync::Arc::clone(&t.revision)),
            outcome,
            latency: Some(LatencyClass::of(self.at.since(self.caller.now()))),
            operation: None,
            context: None,
            request: std::sync::Arc::clone(&self.meta.request),
            trace: self.meta.trace,
            dry_run: self.meta.dry_run,
            count: 1,
        }
    }
}
