//! Writing when credentials were last used, seldom, and by the hub itself.

use hub_auth::Used;
use hub_model::entry::Outcome;
use hub_model::principal::PeerAddress;
use hub_store::{Changes, layout};

use crate::Error;
use crate::hub::Hub;
use crate::perform::event;

/// Records written in one transaction.
const CHUNK: usize = 40;

impl Hub {
    /// Writes the last uses of credentials that are due; at the `end` all of them. Gives how many.
    ///
    /// # Errors
    /// When the store or the log fails.
    pub async fn settle_last_uses(&self, end: bool) -> Result<usize, Error> {
        let due = self.uses().due(end);
        let mut written = 0;
        for chunk in due.chunks(CHUNK) {
            written += self.write_last_uses(chunk).await?;
        }
        Ok(written)
    }

    async fn write_last_uses(&self, some: &[Used]) -> Result<usize, Error> {
        let mut changes = Changes::new();
        for used in some {
            // One that was removed or changed since leaves no record behind; the next use of a
            // changed one is noted under its new revision.
            changes
                .check_revision(&layout::credential(used.credential), used.revision)
                .put(&layout::last_use(used.credential), &used.at)?;
        }
        let count = u64::try_from(some.len()).unwrap_or(1);
        let now = self.clock().now();
        let (action, address) = ("system.noteLastUse", PeerAddress::Unix);
        let entry = event(now, action, address, None, Outcome::OK, count);
        match self.log().appender().append(&entry, changes).await {
            Ok(_receipt) => {
                some.iter().for_each(|used| self.uses().written(used));
                Ok(some.len())
            }
            Err(hub_audit::Error::Conflict) if some.len() > 1 => {
                let mut written = 0;
                for one in some {
                    written += Box::pin(self.write_last_uses(std::slice::from_ref(one))).await?;
                }
                Ok(written)
            }
            Err(hub_audit::Error::Conflict) => {
                some.iter().for_each(|used| self.uses().written(used));
                Ok(0)
            }
            Err(error) => Err(error.into()),
        }
    }
}
