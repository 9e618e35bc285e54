//! `audit.read`: entries as stored, with the newest checkpoint.

use hub_audit::encode::hex;
use hub_audit::merkle::leaf_hash;
use hub_model::Action;
use hub_model::api::audit::{AuditPage, AuditRecord};
use hub_policy::Permit;

use super::audit_query::AuditQuestion;
use crate::Error;
use crate::hub::Hub;
use crate::operation::{AtHub, Lost, Operation, Scene};
use crate::page::PageRequest;
use crate::plan::Plan;

/// Reads entries.
#[derive(Debug)]
pub struct ReadAudit {
    /// The first sequence wanted.
    pub after: u64,
    /// How many at most.
    pub page: PageRequest,
    /// Which entries; every one from `after` on when nothing is asked.
    pub asked: Option<AuditQuestion>,
}

impl Operation for ReadAudit {
    const ACTION: Action = Action::AuditRead;
    type Place = AtHub;
    type Reply = AuditPage;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtHub>,
    ) -> Result<Plan<AuditPage>, Error> {
        if let Some(asked) = &self.asked {
            let asker = scene.caller.principal().registration;
            return asked.answer(permit, scene.hub, asker, None, &self.page).await;
        }
        let log = scene.hub.log();
        let limit = self.page.limit()?;
        // The checkpoint first: what it covers is then never more than the size told with it. What
        // is durable now; this reading's own entry comes after it.
        let signed = log.latest();
        let position = log.appender().position();
        let mut items = Vec::new();
        for (seq, bytes) in log.page(self.after, limit).await? {
            if seq < position.audit.size {
                items.push(record(seq, bytes));
            }
        }
        let page = AuditPage {
            items,
            next_page_token: None,
            size: position.audit.size,
            head: hex(&position.audit.chain),
            checkpoint: signed.map(|signed| signed.note.clone()),
            verifier_key: log.verifier_key(),
        };
        Ok(Plan::new(permit, page))
    }
}

/// An entry as shown.
pub(super) fn record(seq: u64, bytes: Vec<u8>) -> AuditRecord {
    let hash = hex(&leaf_hash(&bytes));
    AuditRecord { seq, hash, bytes: String::from_utf8_lossy(&bytes).into_owned() }
}
