//! `audit.readCheckpoints`: checkpoints of the log, for whoever keeps one.

use std::str::FromStr;
use std::sync::Arc;

use hub_audit::checkpoint::Checkpoint;
use hub_audit::encode::hex;
use hub_audit::note::Note;
use hub_model::Action;
use hub_model::api::checkpoint::CheckpointView;
use hub_model::api::page::Page;
use hub_policy::Permit;

use crate::Error;
use crate::hub::Hub;
use crate::operation::{AtHub, Lost, Operation, Scene};
use crate::page::{PageRequest, open_token, seal_token};
use crate::plan::Plan;

const LIST: &str = "checkpoints";
/// Most on a page: each is a file that is read.
const MOST: usize = 100;

/// Which checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhichCheckpoint {
    /// The newest.
    Latest,
    /// The newest that a witness has cosigned.
    Cosigned,
    /// The one over this many entries.
    Size(u64),
    /// The first that is kept of those that cover this entry.
    Over(u64),
}

impl FromStr for WhichCheckpoint {
    type Err = hub_model::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "latest" => Ok(Self::Latest),
            "cosigned" => Ok(Self::Cosigned),
            _ => {
                let (number, which): (&str, fn(u64) -> Self) = match text.strip_prefix("over-") {
                    Some(entry) => (entry, Self::Over),
                    None => (text, Self::Size),
                };
                let digits = number.bytes().all(|byte| byte.is_ascii_digit());
                let plain = number == "0" || !number.starts_with('0');
                let number = number.parse().ok().filter(|_| digits && plain);
                number.map(which).ok_or_else(|| hub_model::Error::Word {
                    kind: "checkpoint",
                    text: text.chars().take(64).collect(),
                    known: "latest, cosigned, a number of entries, or over- and an entry"
                        .to_owned(),
                })
            }
        }
    }
}

/// Reads one checkpoint.
#[derive(Debug)]
pub struct GetCheckpoint {
    /// Which.
    pub which: WhichCheckpoint,
}

impl Operation for GetCheckpoint {
    const ACTION: Action = Action::AuditReadCheckpoints;
    type Place = AtHub;
    type Reply = CheckpointView;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtHub>,
    ) -> Result<Plan<CheckpointView>, Error> {
        let log = scene.hub.log();
        let missing = |name: String| Error::not_found("checkpoint", name);
        let found = match self.which {
            WhichCheckpoint::Latest => log.latest().map(|signed| signed.note.clone()),
            WhichCheckpoint::Cosigned => log.cosigned().map(|signed| signed.note.clone()),
            WhichCheckpoint::Size(size) => match log.latest() {
                Some(signed) if signed.checkpoint.size == size => {
                    kept(scene.hub, size).await?.or_else(|| Some(signed.note.clone()))
                }
                _ => kept(scene.hub, size).await?,
            },
            WhichCheckpoint::Over(entry) => {
                let mut found = None;
                // A newer one may take its place between the two looks.
                for _ in 0..3 {
                    let Some(size) = log.history().sizes(Some(entry), 1).first().copied() else {
                        break;
                    };
                    found = kept(scene.hub, size).await?;
                    if found.is_some() {
                        break;
                    }
                }
                let newest = || log.latest().filter(|signed| signed.checkpoint.size > entry);
                found.or_else(|| newest().map(|signed| signed.note.clone()))
            }
        };
        let name = || match self.which {
            WhichCheckpoint::Latest => "latest".to_owned(),
            WhichCheckpoint::Cosigned => "cosigned".to_owned(),
            WhichCheckpoint::Size(size) => size.to_string(),
            WhichCheckpoint::Over(entry) => format!("over-{entry}"),
        };
        let note = found.ok_or_else(|| missing(name()))?;
        Ok(Plan::new(permit, view(scene.hub, note)?))
    }
}

/// Lists the checkpoints that are kept: of each hour the newest, for 400 days, and the last
/// kept by each key.
#[derive(Debug)]
pub struct ListCheckpoints {
    /// Which part.
    pub page: PageRequest,
}

impl Operation for ListCheckpoints {
    const ACTION: Action = Action::AuditReadCheckpoints;
    type Place = AtHub;
    type Reply = Page<CheckpointView>;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtHub>,
    ) -> Result<Plan<Page<CheckpointView>>, Error> {
        let hub = scene.hub;
        let limit = self.page.limit()?.min(MOST);
        let after = match &self.page.token {
            None => None,
            Some(token) => {
                let last = open_token(hub, LIST, token)?;
                Some(last.parse::<u64>().map_err(|_| Error::PageToken)?)
            }
        };
        let mut sizes = hub.log().history().sizes(after, limit.saturating_add(1));
        let more = sizes.len() > limit;
        sizes.truncate(limit);
        let mut items = Vec::with_capacity(sizes.len());
        for size in &sizes {
            // Replaced or damaged meanwhile: what is there says so by itself.
            let found = kept(hub, *size).await?;
            items.extend(found.and_then(|note| view(hub, note).ok()));
        }
        let last = sizes.last().filter(|_| more);
        let next_page_token = last.map(|last| seal_token(hub, LIST, &last.to_string()));
        Ok(Plan::new(permit, Page { items, next_page_token }))
    }
}

/// The note of this size in the history.
async fn kept(hub: &Hub, size: u64) -> Result<Option<String>, Error> {
    let history = Arc::clone(hub.log().history());
    let read = tokio::task::spawn_blocking(move || history.note(size)).await;
    Ok(read.map_err(|error| Error::Integrity(Box::new(error)))??)
}

/// A note as shown. Its signature is the reader's to check: old ones are by keys that are gone.
fn view(hub: &Hub, note: String) -> Result<CheckpointView, Error> {
    let damaged = |error| Error::Integrity(Box::new(error));
    let parsed = Note::parse(&note).map_err(damaged)?;
    let checkpoint = Checkpoint::read(parsed.text).map_err(damaged)?;
    let own = hub.log().origin();
    let witnesses = parsed.signers().filter(|name| *name != own).map(str::to_owned).collect();
    Ok(CheckpointView {
        size: checkpoint.size,
        root: hex(&checkpoint.root),
        time: checkpoint.time,
        witnesses,
        note,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_checkpoints() {
        let parse = |text: &str| text.parse::<WhichCheckpoint>().ok();
        assert_eq!(parse("latest"), Some(WhichCheckpoint::Latest));
        assert_eq!(parse("cosigned"), Some(WhichCheckpoint::Cosigned));
        assert_eq!(parse("0"), Some(WhichCheckpoint::Size(0)));
        assert_eq!(parse("1200"), Some(WhichCheckpoint::Size(1200)));
        for bad in ["", "007", "+7", "-1", "Latest", "1e3", "18446744073709551616"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
