//! The key that signs checkpoints: `audit.rotateSigningKey`, the end of an overlap, and the list of
//! keys that verifiers follow.

use std::sync::{Arc, Mutex, PoisonError};

use hub_audit::checkpoint::{Checkpoint, parse_verifier_key, verifier_key};
use hub_crypto::SystemKeys;
use hub_crypto::signing_keys::CheckpointKeys;
use hub_model::api::checkpoint::{RotatedSigningKey, SigningKeyView, SigningKeys};
use hub_model::entry::Outcome;
use hub_model::principal::PeerAddress;
use hub_model::{Action, Timestamp};
use hub_policy::Permit;
use hub_store::{Changes, layout};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::hub::Hub;
use crate::operation::{AtHub, Keeps, Lost, Operation, Scene};
use crate::perform::event;
use crate::plan::Plan;

/// The hub's own step at the end of an overlap.
const RETIRE: &str = "audit.retireSigningKey";
/// Entries looked through for the one that a key was named in: it is among the next few.
const LOOK: u64 = 10_000;
/// How many of them at once.
const GROUP: usize = 100;
/// A key must not be given up before.
const UNSIGNED: Error = Error::ProofPending(
    "no checkpoint signed by the keys of the last rotation is there yet; one is signed every few \
     moments",
);

/// The record: every key, oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chain {
    keys: Vec<Link>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Link {
    verifier_key: String,
    created: Option<Timestamp>,
    /// How many entries there were at least when it was named.
    named_after: u64,
    /// How many there were at least when it was retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retired_after: Option<u64>,
    /// The entry that named it, as found when the next change was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<u64>,
    /// The entry that ended it, found likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<u64>,
}

impl Hub {
    fn vkey_of(&self, key: &hub_crypto::SigningKey) -> String {
        verifier_key(self.log().origin(), &key.public())
    }

    /// The chain as it is, with the check for a change of it.
    async fn signing_chain(&self) -> Result<(Chain, Changes), Error> {
        let path = layout::signing_keys();
        let mut changes = Changes::new();
        if let Some(found) = self.store().read::<Chain>(&path).await? {
            changes.check_revision(&path, found.revision);
            return Ok((found.value, changes));
        }
        changes.check_absent(&path);
        let first = Link {
            verifier_key: self.vkey_of(self.system_keys().checkpoint_keys().active()),
            created: None,
            named_after: 0,
            retired_after: None,
            first: Some(0),
            last: None,
        };
        Ok((Chain { keys: vec![first] }, changes))
    }

    /// Adds keyring and chain to the changes.
    fn put_signing(
        &self,
        changes: &mut Changes,
        chain: &Chain,
        keys: &CheckpointKeys,
    ) -> Result<(), Error> {
        let wrapped = self.system_keys().wrap_with(self.root(), self.id(), keys);
        changes.put(&layout::signing_keys(), chain)?.put_wrapped(&layout::keyring(), wrapped);
        Ok(())
    }

    /// Erases the key before, when its overlap is over. Whether there was one to erase.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub async fn retire_signing_key(&self) -> Result<bool, Error> {
        let now = self.clock().now();
        let keys = self.system_keys().checkpoint_keys();
        let Some(previous) = keys.previous().filter(|_| keys.is_over(now)) else {
            return Ok(false);
        };
        // The next look at it may find that it has.
        if !self.log().is_signed_by_all() {
            return Ok(false);
        }
        let old = self.vkey_of(&previous.key);
        let (mut chain, mut changes) = self.signing_chain().await?;
        self.locate(&mut chain).await?;
        let at = self.log().appender().position().audit.size;
        let open = |link: &&mut Link| link.verifier_key == old && link.retired_after.is_none();
        if let Some(link) = chain.keys.iter_mut().find(open) {
            link.retired_after = Some(at);
        }
        let after = keys.with_previous(None);
        self.put_signing(&mut changes, &chain, &after)?;
        let entry = event(now, RETIRE, PeerAddress::Unix, Some(old.into()), Outcome::OK, 1);
        let _receipt = self.log().appender().append(&entry, changes).await?;
        self.system_keys().follow_checkpoint_keys(Arc::new(after));
        // The old keyring out of the engine's files, as far as that goes.
        self.purge().await?;
        Ok(true)
    }

    /// Follows the keyring where it has another key than this process signs with: after a rotation
    /// whose request went away between its commit and [`Operation::settle`]. Whether there was one.
    ///
    /// # Errors
    /// When the keyring cannot be read.
    pub async fn follow_signing_keys(&self) -> Result<bool, Error> {
        let (chain, _) = self.signing_chain().await?;
        let active = self.vkey_of(self.system_keys().checkpoint_keys().active());
        if chain.keys.last().is_none_or(|link| link.verifier_key == active) {
            return Ok(false);
        }
        let path = layout::keyring();
        let Some(wrapped) = self.store().backend().get(&path).await? else {
            return Err(Error::not_found("keyring", path));
        };
        let durable = SystemKeys::unwrap(self.root(), self.id(), &wrapped.value)?;
        self.follow(durable.checkpoint_keys()).await;
        Ok(true)
    }

    /// Signs with these keys from now on, at once: whoever trusts the key before needs its
    /// signature over the entry that names the new one.
    async fn follow(&self, keys: Arc<CheckpointKeys>) {
        self.system_keys().follow_checkpoint_keys(keys);
        let (log, now) = (self.log().clone(), self.clock().now());
        match tokio::task::spawn_blocking(move || log.checkpoint(now)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "no checkpoint after a rotation"),
            Err(error) => tracing::error!(%error, "no checkpoint after a rotation"),
        }
    }

    /// The verifier key of a checkpoint of this log: the active one where that signed it, else the
    /// newest that did.
    pub(super) async fn signer_of(&self, note: &str) -> Result<String, Error> {
        let active = self.system_keys().checkpoint_keys().active().public();
        let signed = |key| Checkpoint::open(note, self.log().origin(), &key).is_ok();
        if signed(active) {
            return Ok(self.log().verifier_key());
        }
        let (chain, _) = self.signing_chain().await?;
        let known = chain.keys.into_iter().rev().map(|link| link.verifier_key);
        let mut signers =
            known.filter(|key| parse_verifier_key(key).is_ok_and(|(_, key)| signed(key)));
        Ok(signers.next().unwrap_or_else(|| self.log().verifier_key()))
    }

    /// Finds the entries that begin and end each key, where the record does not say them yet: those
    /// of the last change alone.
    async fn locate(&self, chain: &mut Chain) -> Result<(), Error> {
        let rotate = Action::AuditRotateSigningKey.name();
        for link in chain.keys.iter_mut().filter(|link| link.first.is_none()) {
            link.first = match link.created {
                None => Some(0),
                Some(_) => self.naming(link.named_after, &[rotate], &link.verifier_key).await?,
            };
        }
        let begun: Vec<_> = chain.keys.iter().map(|link| (link.named_after, link.first)).collect();
        for (at, link) in chain.keys.iter_mut().enumerate().filter(|(_, link)| link.last.is_none())
        {
            let Some(from) = link.retired_after else { continue };
            link.last = match begun.get(at + 2) {
                // Both were planned at once: it was dropped by the rotation after the next, whose
                // entry names that key. No entry is of this one.
                Some((named_after, first)) if *named_after == from => *first,
                _ => self.naming(from, &[RETIRE], &link.verifier_key).await?,
            };
        }
        Ok(())
    }

    /// The first entry from `from` on with this action and this key in it.
    async fn naming(&self, from: u64, actions: &[&str], key: &str) -> Result<Option<u64>, Error> {
        let end = from.saturating_add(LOOK);
        let (detail, mut next) = (format!("\"detail\":\"{key}\""), from);
        while next < end {
            let page = self.log().page(next, GROUP).await?;
            let Some((last, _)) = page.last() else { break };
            next = last.saturating_add(1);
            for (seq, bytes) in &page {
                let text = String::from_utf8_lossy(bytes);
                let said = |action: &&str| text.contains(&format!("\"action\":\"{action}\""));
                if text.contains(&detail)
                    && actions.iter().any(said)
                    && text.contains("\"outcome\":\"ok\"")
                {
                    return Ok(Some(*seq));
                }
            }
        }
        Ok(None)
    }
}

/// Gives the log another key to sign with; the one before goes on signing for a while.
#[derive(Debug, Default)]
pub struct RotateSigningKey {
    /// What was planned, for when it is durable.
    planned: Mutex<Option<Arc<CheckpointKeys>>>,
}

impl Operation for RotateSigningKey {
    const ACTION: Action = Action::AuditRotateSigningKey;
    const KEEPS: Keeps = Keeps::Answer;
    type Place = AtHub;
    type Reply = RotatedSigningKey;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtHub>,
    ) -> Result<Plan<RotatedSigningKey>, Error> {
        let Scene { hub, now, .. } = scene;
        let keys = hub.system_keys().checkpoint_keys();
        let overlap = hub.log().key_overlap();
        let rotated = keys.rotated(now, overlap)?;
        let old = hub.vkey_of(keys.active());
        let new = hub.vkey_of(rotated.active());
        let (mut chain, mut changes) = hub.signing_chain().await?;
        // Another rotation is durable, and not followed in memory yet.
        if chain.keys.last().is_none_or(|link| link.verifier_key != old) {
            return Err(Error::Conflict);
        }
        // The oldest key signs no more after this one.
        if !hub.log().is_signed_by_all() {
            return Err(UNSIGNED);
        }
        hub.locate(&mut chain).await?;
        let at = hub.log().appender().position().audit.size;
        // Two rotations in one overlap: the oldest key signs no more.
        for link in chain.keys.iter_mut().filter(|link| link.verifier_key != old) {
            link.retired_after.get_or_insert(at);
        }
        chain.keys.push(Link {
            verifier_key: new.clone(),
            created: Some(now),
            named_after: at,
            retired_after: None,
            first: None,
            last: None,
        });
        hub.put_signing(&mut changes, &chain, &rotated)?;
        *self.planned.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(rotated));
        let reply = RotatedSigningKey {
            verifier_key: new.clone(),
            previous_verifier_key: old,
            overlap_end_time: now.plus(overlap),
        };
        let plan = Plan::new(permit, reply).changing(changes);
        // A dry run names no key that will never be.
        Ok(if scene.meta.dry_run { plan } else { plan.detail(new) })
    }

    async fn settle(&self, hub: &Hub) {
        let planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keys) = planned {
            hub.follow(keys).await;
        }
    }
}

/// Lists the keys that sign or signed checkpoints.
#[derive(Debug)]
pub struct ListSigningKeys;

impl Operation for ListSigningKeys {
    const ACTION: Action = Action::AuditReadCheckpoints;
    type Place = AtHub;
    type Reply = SigningKeys;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtHub>,
    ) -> Result<Plan<SigningKeys>, Error> {
        let hub = scene.hub;
        let (mut chain, _) = hub.signing_chain().await?;
        hub.locate(&mut chain).await?;
        let keys = hub.system_keys().checkpoint_keys();
        let active = hub.vkey_of(keys.active());
        let previous = keys.previous().map(|previous| hub.vkey_of(&previous.key));
        let mut items = Vec::with_capacity(chain.keys.len());
        for link in &chain.keys {
            let key = &link.verifier_key;
            let first_sequence = link.first.unwrap_or(link.named_after);
            let last_sequence = link.last.or(link.retired_after);
            let overlap = previous.as_ref() == Some(key);
            let state = match () {
                () if *key == active => "active",
                () if overlap => "overlap",
                () => "retired",
            };
            items.push(SigningKeyView {
                verifier_key: key.clone(),
                state: state.to_owned(),
                first_sequence,
                last_sequence,
                create_time: link.created,
                overlap_end_time: keys.previous().filter(|_| overlap).map(|p| p.until),
            });
        }
        Ok(Plan::new(permit, SigningKeys { items }))
    }
}
