//! `audit.read` as C2SP tlog-tiles: the newest checkpoint and the tiles of its tree.

use hub_audit::tile::Tile;
use hub_model::Action;
use hub_policy::Permit;

use super::receipt::{NO_CHECKPOINT, unproven};
use crate::Error;
use crate::hub::Hub;
use crate::operation::{AtHub, Lost, Operation, Scene};
use crate::plan::Plan;

/// Reads the newest checkpoint: a signed note.
#[derive(Debug)]
pub struct ReadCheckpoint;

impl Operation for ReadCheckpoint {
    const ACTION: Action = Action::AuditRead;
    type Place = AtHub;
    type Reply = Vec<u8>;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    fn json(reply: Vec<u8>) -> Result<Vec<u8>, Vec<u8>> {
        Ok(reply)
    }

    async fn plan(&self, permit: Permit, scene: Scene<'_, AtHub>) -> Result<Plan<Vec<u8>>, Error> {
        let signed = scene.hub.log().latest().ok_or(NO_CHECKPOINT)?;
        Ok(Plan::new(permit, signed.note.clone().into_bytes()).detail("checkpoint"))
    }
}

/// Reads a tile.
#[derive(Debug)]
pub struct ReadTile {
    /// What follows `tile/` in the path.
    pub name: String,
}

impl Operation for ReadTile {
    const ACTION: Action = Action::AuditRead;
    type Place = AtHub;
    type Reply = Vec<u8>;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    fn json(reply: Vec<u8>) -> Result<Vec<u8>, Vec<u8>> {
        Ok(reply)
    }

    async fn plan(&self, permit: Permit, scene: Scene<'_, AtHub>) -> Result<Plan<Vec<u8>>, Error> {
        let missing = || Error::not_found("tile", self.name.chars().take(80).collect::<String>());
        let tile = Tile::parse(&self.name).ok_or_else(missing)?;
        let bytes = scene.hub.log().tile(tile).await.map_err(unproven)?.ok_or_else(missing)?;
        Ok(Plan::new(permit, bytes).detail(format!("tile {}", self.name)))
    }
}
