//! `system.status` and `system.whoami`.

use hub_model::api::participant::{RoleView, Whoami as WhoamiBody};
use hub_model::api::system::Status as StatusBody;
use hub_model::{Action, Timestamp};
use hub_policy::Permit;

use crate::Error;
use crate::hub::Hub;
use crate::operation::{AtHub, Lost, Operation, Scene};
use crate::participant::view;
use crate::plan::Plan;

/// What only the process knows of its status.
#[derive(Clone, Debug)]
pub struct StatusFacts {
    /// The program's version.
    pub version: String,
    /// Whether everything lives in memory only.
    pub dev: bool,
    /// When the process started.
    pub start_time: Timestamp,
    /// Kind of the seal slot in use.
    pub seal_kind: String,
    /// The engine.
    pub store: String,
    /// Bytes the store takes on disk.
    pub store_bytes: u64,
    /// How secrets are held.
    pub arena: String,
    /// Secrets held in memory.
    pub arena_secrets: u64,
    /// What computes primitives that there are two implementations of.
    pub crypto_provider: String,
    /// How the last full scan of the store ended.
    pub integrity: String,
    /// What an operator should know.
    pub notices: Vec<String>,
    /// Who is refused for a while.
    pub blocks: Vec<hub_model::api::quota::BlockView>,
    /// Where audit entries are sent besides, and how that goes.
    pub sinks: Vec<hub_model::api::system::SinkView>,
    /// Plugins, by name.
    pub plugins: Vec<hub_model::api::plugin::PluginHealth>,
    /// Witnesses of the log.
    pub witnesses: Vec<hub_model::api::checkpoint::WitnessView>,
}

/// Reads the hub's status.
#[derive(Debug)]
pub struct Status {
    /// What the process adds.
    pub facts: StatusFacts,
}

impl Operation for Status {
    const ACTION: Action = Action::SystemStatus;
    type Place = AtHub;
    type Reply = StatusBody;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtHub>,
    ) -> Result<Plan<StatusBody>, Error> {
        let hub = scene.hub;
        let facts = self.facts.clone();
        let index = hub.audit_index().status();
        let status = StatusBody {
            hub: hub.id(),
            version: facts.version,
            dev: facts.dev,
            start_time: facts.start_time,
            seal: "unsealed".to_owned(),
            seal_kind: facts.seal_kind,
            store: facts.store,
            store_bytes: facts.store_bytes,
            arena: facts.arena,
            arena_secrets: facts.arena_secrets,
            crypto_provider: facts.crypto_provider,
            crypto_profile: hub.profile().name().to_owned(),
            audit_size: hub.log().appender().position().audit.size,
            checkpoint_size: hub.log().latest().map_or(0, |signed| signed.checkpoint.size),
            audit_indexed: index.position,
            audit_index_pending: index.pending,
            policy_revision: hub.policies().revision().to_string(),
            integrity: facts.integrity,
            notices: facts.notices,
            blocks: facts.blocks,
            sinks: facts.sinks,
            plugins: facts.plugins,
            witnesses: facts.witnesses,
        };
        Ok(Plan::new(permit, status))
    }
}

/// Reads who the caller is.
#[derive(Debug)]
pub struct Whoami;

impl Operation for Whoami {
    const ACTION: Action = Action::SystemWhoami;
    type Place = AtHub;
    type Reply = WhoamiBody;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtHub>,
    ) -> Result<Plan<WhoamiBody>, Error> {
        let Scene { hub, caller, .. } = scene;
        let participant = caller.participant();
        let principal = caller.principal();
        let whoami = WhoamiBody {
            principal: principal.to_string(),
            participant: view(hub, participant, participant.registration).await?,
            roles: participant
                .roles
                .iter()
                .map(|grant| RoleView { registration: grant.registration, role: grant.role })
                .collect(),
            method: caller.method(),
            credential: principal.credential,
            identity: principal.identity.as_deref().cloned(),
            expire_time: caller.expires(),
            policy_revision: hub.policies().revision().to_string(),
        };
        Ok(Plan::new(permit, whoami))
    }
}
