//! Receipts: the proof that one entry is in the audit log, for whom the entry concerns, and the
//! proof that the log only grew.
//!
//! By which right somebody has a receipt, the entry says: it is about a registration of the asker
//! (`audit.receipt`), the asker made the request (`audit.ownReceipt`), or the asker reads the whole
//! trail (`audit.read`). Policy decides in each case, and the entry names the action.

use std::sync::Arc;

use hub_audit::Log;
use hub_audit::encode::hex;
use hub_audit::log::Signed;
use hub_audit::merkle::leaf_hash;
use hub_audit::proof::text::TlogProof;
use hub_auth::Caller;
use hub_model::api::receipt::{AuditConsistency, AuditReceipt, AuditTree};
use hub_model::{Action, RegistrationId};
use hub_policy::{Permit, RegistrationFacts, RequestFacts, Target};
use serde::Deserialize;

use crate::hub::Hub;
use crate::operation::{AtHub, AtRegistration, Lost, Operation, Scene};
use crate::plan::Plan;
use crate::{Error, Ref};

/// What a receipt is asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Of which entry.
    pub seq: u64,
    /// Under the checkpoint of this size; the newest when absent.
    pub size: Option<u64>,
}

/// By which right a caller has a receipt.
#[derive(Debug)]
pub enum Right {
    /// The entry is about this registration.
    Registration(Arc<RegistrationFacts>),
    /// The entry is of a request of the caller's own.
    Own,
    /// The whole trail.
    Hub,
}

/// By which right, and whether policy gives it.
#[derive(Debug)]
pub struct Standing {
    /// The right.
    pub right: Right,
    /// Whether policy permits it now.
    pub permitted: bool,
}

/// One entry, without keeping others waiting: from memory, else on a thread that may block.
async fn read(log: &Log, asker: RegistrationId, seq: u64) -> Result<Option<Vec<u8>>, Error> {
    if let Some(bytes) = log.recent_entry(seq) {
        return Ok(Some(bytes));
    }
    // What is not there yet is not looked for.
    if seq >= log.appender().position().audit.size {
        return Ok(None);
    }
    Ok(log.aside(asker, async move |log: Log| log.entry(seq).await).await?)
}

/// What of an entry decides who has its receipt.
#[derive(Deserialize)]
struct Concerns {
    caller: Option<String>,
    registration: Option<RegistrationId>,
    decision: String,
}

fn concerns(bytes: &[u8]) -> Result<Concerns, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::Integrity(Box::new(error)))
}

/// What a failed proof is to a caller.
pub(super) fn unproven(error: hub_audit::Error) -> Error {
    match error {
        hub_audit::Error::TreeBehind => {
            Error::ProofPending("hashes of older entries are still being computed; try again later")
        }
        error @ (hub_audit::Error::TreeSpoiled
        | hub_audit::Error::Missing(_)
        | hub_audit::Error::Beyond { .. }) => Error::Integrity(Box::new(error)),
        other => other.into(),
    }
}

pub(super) const NO_CHECKPOINT: Error =
    Error::ProofPending("no checkpoint covers it yet; one is signed every few moments");

impl Hub {
    /// By which right the caller would have the receipt of this entry: the first one that policy
    /// permits, else the one it will be refused by.
    ///
    /// # Errors
    /// When the entry cannot be read.
    pub async fn receipt_right(&self, caller: &Caller, seq: u64) -> Result<Standing, Error> {
        let policies = self.policies();
        let may = |action, target: &Target<'_>| {
            policies.authorize(caller, action, target, &RequestFacts::default()).is_ok()
        };
        // Who reads the whole trail needs no look at the entry.
        if may(Action::AuditRead, &Target::Hub) {
            return Ok(Standing { right: Right::Hub, permitted: true });
        }
        let refused = |right| Ok(Standing { right, permitted: false });
        let bytes = read(self.log(), caller.principal().registration, seq).await;
        let Some(bytes) = bytes.map_err(Error::veiled)? else { return refused(Right::Hub) };
        let entry = concerns(&bytes)?;
        let registration = match entry.registration {
            // Of a registration that was erased, the hub's auditors alone have the trail.
            Some(id) => self.find_registration(&Ref::Id(id)).await.ok(),
            None => None,
        };
        if let Some(facts) = &registration
            && may(Action::AuditReceipt, &Target::Registration(facts))
        {
            let right = Right::Registration(Arc::clone(facts));
            return Ok(Standing { right, permitted: true });
        }
        let own = caller.principal().participant.to_string();
        let named = entry.caller.as_deref().and_then(|name| name.rsplit(':').next());
        if named == Some(own.as_str()) {
            let permitted = may(Action::AuditOwnReceipt, &Target::Hub);
            return Ok(Standing { right: Right::Own, permitted });
        }
        refused(match registration {
            Some(facts) if policies.may_see(caller, &facts) => Right::Registration(facts),
            // The trail of a registration is not for strangers to write into.
            _ => Right::Hub,
        })
    }

    /// Makes a receipt.
    async fn receipt(
        &self,
        caller: &Caller,
        asked: &Asked,
        own: bool,
    ) -> Result<AuditReceipt, Error> {
        let Asked { seq, size } = *asked;
        let asker = caller.principal().registration;
        let log = self.log();
        let missing = || Error::not_found("entry", seq);
        let bytes = read(log, asker, seq).await?.ok_or_else(missing)?;
        let signed: Arc<Signed> = match size {
            Some(size) => {
                log.checkpoint_at(size).await.map_err(unproven)?.ok_or_else(|| Error::Invalid {
                    pointer: "size",
                    detail: format!("no checkpoint over {size} entries is known any more"),
                })?
            }
            None => {
                log.latest().filter(|signed| seq < signed.checkpoint.size).ok_or(NO_CHECKPOINT)?
            }
        };
        let size = signed.checkpoint.size;
        if seq >= size {
            let detail = format!("entry {seq} lies behind the end of that checkpoint");
            return Err(Error::Invalid { pointer: "size", detail });
        }
        let hashes = log
            .aside(asker, async move |log: Log| log.inclusion_proof(seq, size).await)
            .await
            .map_err(unproven)?;
        let proof = hashes.iter().map(|hash| hex(hash)).collect();
        let text = TlogProof { index: seq, hashes, checkpoint: signed.note.clone() };
        let hash = hex(&leaf_hash(&bytes));
        // An entry of a refusal names what the answer hid: whose key it was, which policies.
        let told = !own || concerns(&bytes)?.decision == "allow";
        Ok(AuditReceipt {
            seq,
            bytes: told.then(|| String::from_utf8_lossy(&bytes).into_owned()),
            hash,
            size,
            proof,
            tlog_proof: text.to_text(),
            verifier_key: self.signer_of(&text.checkpoint).await?,
            checkpoint: text.checkpoint,
        })
    }
}

/// `audit.receipt`: the receipt of an entry about a registration.
#[derive(Debug)]
pub struct RegistrationReceipt {
    /// What is asked for.
    pub asked: Asked,
    /// The registration the entry is about.
    pub registration: Arc<RegistrationFacts>,
}

/// `audit.ownReceipt`: the receipt of an entry of a request of the caller's own.
#[derive(Debug)]
pub struct OwnReceipt(pub Asked);

/// `audit.read`: the receipt of any entry.
#[derive(Debug)]
pub struct HubReceipt(pub Asked);

fn detail(asked: &Asked) -> String {
    format!("receipt of entry {}", asked.seq)
}

impl Operation for RegistrationReceipt {
    const ACTION: Action = Action::AuditReceipt;
    type Place = AtRegistration;
    type Reply = AuditReceipt;

    async fn find(&self, _hub: &Hub) -> Result<AtRegistration, Lost> {
        Ok(AtRegistration(Arc::clone(&self.registration)))
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<AuditReceipt>, Error> {
        let receipt =
            scene.hub.receipt(scene.caller, &self.asked, false).await.map_err(Error::veiled)?;
        Ok(Plan::new(permit, receipt).detail(detail(&self.asked)))
    }
}

impl Operation for OwnReceipt {
    const ACTION: Action = Action::AuditOwnReceipt;
    type Place = AtHub;
    type Reply = AuditReceipt;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtHub>,
    ) -> Result<Plan<AuditReceipt>, Error> {
        let receipt =
            scene.hub.receipt(scene.caller, &self.0, true).await.map_err(Error::veiled)?;
        Ok(Plan::new(permit, receipt).detail(detail(&self.0)))
    }
}

impl Operation for HubReceipt {
    const ACTION: Action = Action::AuditRead;
    type Place = AtHub;
    type Reply = AuditReceipt;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtHub>,
    ) -> Result<Plan<AuditReceipt>, Error> {
        let receipt = scene.hub.receipt(scene.caller, &self.0, false).await?;
        Ok(Plan::new(permit, receipt).detail(detail(&self.0)))
    }
}

/// `audit.consistency`: the log at one size goes on from what it was at another.
#[derive(Debug)]
pub struct Consistency {
    /// The smaller size.
    pub from: u64,
    /// The larger size; that of the newest checkpoint when absent.
    pub to: Option<u64>,
}

impl Operation for Consistency {
    const ACTION: Action = Action::AuditConsistency;
    type Place = AtHub;
    type Reply = AuditConsistency;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtHub>,
    ) -> Result<Plan<AuditConsistency>, Error> {
        let log = scene.hub.log();
        let newest = log.latest().ok_or(NO_CHECKPOINT)?;
        let covered = newest.checkpoint.size;
        let (from, to) = (self.from, self.to.unwrap_or(covered));
        // What no checkpoint covers is not told: it could still be taken back.
        if to > covered {
            let detail = format!("the newest checkpoint covers {covered} entries");
            return Err(Error::Invalid { pointer: "to", detail });
        }
        if from > to {
            let detail = format!("`from` is larger than `to`, which is {to}");
            return Err(Error::Invalid { pointer: "from", detail });
        }
        let asker = scene.caller.principal().registration;
        let grown = log.aside(asker, async move |log: Log| log.consistency(from, to).await).await;
        let grown = grown.map_err(|error| unproven(error).veiled())?;
        let signed = match to == covered {
            true => Some(newest),
            false => log.checkpoint_at(to).await.map_err(|error| unproven(error).veiled())?,
        };
        let verifier_key = match &signed {
            Some(signed) => scene.hub.signer_of(&signed.note).await?,
            None => log.verifier_key(),
        };
        let answer = AuditConsistency {
            from: AuditTree { size: from, root: hex(&grown.old) },
            to: AuditTree { size: to, root: hex(&grown.new) },
            proof: grown.hashes.iter().map(|hash| hex(hash)).collect(),
            checkpoint: signed.map(|signed| signed.note.clone()),
            verifier_key,
        };
        Ok(Plan::new(permit, answer).detail(format!("{from} to {to}")))
    }
}
