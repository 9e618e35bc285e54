//! `system.unblock`: lifts blocks that unusual behaviour has led to.

use hub_model::Action;
use hub_model::api::quota::{Unblock as Body, Unblocked};
use hub_policy::Permit;

use crate::Error;
use crate::hub::Hub;
use crate::operation::{AtHub, Lost, Operation, Scene};
use crate::plan::Plan;

/// Lifts blocks. They live in the process, which says how many there are of those named and lifts
/// them when the entry is durable.
#[derive(Debug)]
pub struct Unblock {
    /// Which.
    pub body: Body,
    /// How many the process has of them.
    pub found: u64,
}

impl Operation for Unblock {
    const ACTION: Action = Action::SystemUnblock;
    type Place = AtHub;
    type Reply = Unblocked;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(
        &self,
        permit: Permit,
        _scene: Scene<'_, AtHub>,
    ) -> Result<Plan<Unblocked>, Error> {
        if let (Some(block), 0) = (&self.body.block, self.found) {
            return Err(Error::not_found("block", block.chars().take(32).collect::<String>()));
        }
        let detail = format!("{} blocks", self.found);
        Ok(Plan::new(permit, Unblocked { lifted: self.found }).detail(detail))
    }
}
