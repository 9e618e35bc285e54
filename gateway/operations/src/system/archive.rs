//! `audit.archive`: archives of old entries are made by the hub itself, in the background; and the
//! list of them.

use hub_audit::archive::{Held, State};
use hub_model::Action;
use hub_model::api::archive::{ArchiveAudit as Body, ArchiveList, ArchivePlan, ArchiveView};
use hub_policy::Permit;

use crate::Error;
use crate::hub::Hub;
use crate::operation::{AtHub, Lost, Operation, Scene};
use crate::plan::Plan;

/// Has old entries archived.
#[derive(Debug)]
pub struct ArchiveAudit {
    /// Which.
    pub body: Body,
}

impl Operation for ArchiveAudit {
    const ACTION: Action = Action::AuditArchive;
    const TELLS_WHEN_DRY: bool = true;
    type Place = AtHub;
    type Reply = ArchivePlan;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn settle(&self, hub: &Hub) {
        hub.ask_archives(self.body.before);
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtHub>,
    ) -> Result<Plan<ArchivePlan>, Error> {
        let before = self.body.before;
        if before > scene.now {
            let detail = format!("`before` lies in the future: it is {} now", scene.now);
            return Err(Error::Invalid { pointer: "/before", detail });
        }
        let archiver = scene.hub.archiver().ok_or(Error::NoArchives)?;
        let survey = archiver.survey(before).await?;
        let plan = ArchivePlan {
            before,
            first: archiver.archives().end(),
            entries: survey.entries,
            approximate_bytes: survey.bytes,
            archives: survey.archives,
        };
        Ok(Plan::new(permit, plan).detail(format!("before {before}")))
    }
}

/// Lists the archives.
#[derive(Debug)]
pub struct ListArchives;

impl Operation for ListArchives {
    const ACTION: Action = Action::SystemStatus;
    type Place = AtHub;
    type Reply = ArchiveList;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtHub>,
    ) -> Result<Plan<ArchiveList>, Error> {
        let hub = scene.hub;
        let archives = hub.log().archives().ok_or(Error::NoArchives)?;
        let list = ArchiveList {
            items: archives.list().iter().map(|held| view(held)).collect(),
            end: archives.end(),
            folder: archives.dir().display().to_string(),
            retention_seconds: hub.retention().map(|retention| retention.as_secs()),
            working: hub.archive_asked(),
            problem: hub.archive_trouble(),
        };
        Ok(Plan::new(permit, list))
    }
}

fn view(held: &Held) -> ArchiveView {
    let record = &held.record;
    let (state, check_time, problem) = match &*held.state() {
        State::Present => ("present", None, None),
        State::Sound(time) => ("sound", Some(*time), None),
        State::Missing => ("missing", None, None),
        State::Damaged(why) => ("damaged", None, Some(why.clone())),
    };
    ArchiveView {
        file: record.file.clone(),
        first: record.first,
        last: record.end().saturating_sub(1),
        entries: record.entries,
        bytes: record.bytes,
        sha256: record.sha256.clone(),
        from: record.from,
        until: record.until,
        create_time: record.made,
        state: state.to_owned(),
        check_time,
        problem,
    }
}
