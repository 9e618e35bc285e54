//! `policies.get`, `policies.list`.

use hub_model::Action;
use hub_model::api::page::Page;
use hub_model::api::policy::{
    PolicyFile, RevisionRef, RevisionView, ShadowDifference, ShadowReport,
};
use hub_policy::{Permit, shadow};
use hub_store::layout;

use super::{InUse, PolicySource, Record, Which, files_of};
use crate::Error;
use crate::hub::Hub;
use crate::operation::{AtHub, Lost, Operation, Scene};
use crate::page::{self, PageRequest};
use crate::plan::Plan;

/// Reads a revision with its files.
#[derive(Debug)]
pub struct GetRevision {
    /// Which.
    pub revision: RevisionRef,
}

impl Operation for GetRevision {
    const ACTION: Action = Action::PoliciesGet;
    type Place = AtHub;
    type Reply = RevisionView;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtHub>,
    ) -> Result<Plan<RevisionView>, Error> {
        let hub = scene.hub;
        // Before the revision: an ETag that is older than what is shown is merely stale.
        let in_use = hub.in_use().await?;
        let which = hub.find_revision(&self.revision).await?;
        let mut shown = view(hub, &which, &in_use)?;
        shown.files = Some(match &which {
            Which::Baseline => Vec::new(),
            Which::Kept(id, _) => files_of(hub.store(), id).await?,
            Which::Running(bundle) => {
                let file = |(name, text): &(std::sync::Arc<str>, std::sync::Arc<str>)| PolicyFile {
                    name: name.to_string(),
                    text: text.to_string(),
                };
                bundle.files().iter().map(file).collect()
            }
        });
        if shown.shadow {
            shown.shadowed = hub.policies().shadow_report().map(|report| found(&report));
        }
        let detail = shown.revision.clone();
        Ok(Plan::new(permit, shown).generation(in_use.generation).detail(detail))
    }
}

/// Lists the revisions kept, in order of their digests.
#[derive(Debug)]
pub struct ListRevisions {
    /// Which part.
    pub page: PageRequest,
}

impl Operation for ListRevisions {
    const ACTION: Action = Action::PoliciesList;
    type Place = AtHub;
    type Reply = Page<RevisionView>;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtHub>,
    ) -> Result<Plan<Page<RevisionView>>, Error> {
        let hub = scene.hub;
        let in_use = hub.in_use().await?;
        let prefix = layout::POLICY_REVISIONS;
        let found = page::scan::<Record>(hub, prefix, &self.page).await?;
        let mut items = Vec::with_capacity(found.items.len());
        for (path, record) in found.items {
            let id = path.as_str().strip_prefix(prefix).unwrap_or_default();
            items.push(view(hub, &Which::Kept(id.into(), Box::new(record)), &in_use)?);
        }
        Ok(Plan::new(permit, Page { items, next_page_token: found.next_page_token }))
    }
}

/// A revision as shown, without its files.
pub(super) fn view(hub: &Hub, which: &Which, in_use: &InUse) -> Result<RevisionView, Error> {
    let (running, source) = (hub.policies().revision(), hub.revisions().source);
    let by_api = source == PolicySource::Api;
    let is = |slot: &Option<Box<str>>, id: &str| slot.as_deref() == Some(id);
    Ok(match which {
        Which::Baseline => {
            let baseline = hub.revisions().baseline()?;
            let revision = baseline.revision().to_string();
            plain(revision, *running == **baseline.revision(), "baseline", &baseline)
        }
        Which::Running(bundle) => {
            let revision = bundle.revision().to_string();
            plain(revision, *running == **bundle.revision(), source.name(), bundle)
        }
        Which::Kept(id, record) => {
            let record = &record.value;
            RevisionView {
                revision: id.to_string(),
                active: if by_api { is(&in_use.active, id) } else { *running == **id },
                shadow: is(&in_use.shadow, id),
                source: PolicySource::Api.name().to_owned(),
                note: record.note.clone(),
                proposer: Some(record.proposer),
                create_time: Some(record.created),
                policies: record.policies,
                bytes: record.bytes,
                files: None,
                shadowed: None,
            }
        }
    })
}

fn plain(
    revision: String,
    active: bool,
    source: &str,
    bundle: &hub_policy::Bundle,
) -> RevisionView {
    let bytes: usize = bundle.files().iter().map(|(name, text)| name.len() + text.len()).sum();
    RevisionView {
        revision,
        active,
        shadow: false,
        source: source.to_owned(),
        note: None,
        proposer: None,
        create_time: None,
        policies: u64::try_from(bundle.policies().len()).unwrap_or(u64::MAX),
        bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
        files: None,
        shadowed: None,
    }
}

fn found(report: &shadow::Report) -> ShadowReport {
    let word = |permitted: bool| if permitted { "allow" } else { "deny" }.to_owned();
    let example = |one: &shadow::Difference| ShadowDifference {
        active: word(one.about.permitted),
        shadow: word(!one.about.permitted),
        participant: one.about.participant,
        action: one.about.action.name().to_owned(),
        resource: resource(&one.about),
        count: one.count,
        time: one.time,
        policies: one.policies.iter().map(ToString::to_string).collect(),
    };
    ShadowReport {
        since: report.since,
        decisions: report.decisions,
        allow_to_deny: report.allow_to_deny,
        deny_to_allow: report.deny_to_allow,
        dropped: report.dropped,
        examples: report.differences.iter().map(example).collect(),
    }
}

/// The key, the registration or the hub.
pub(super) fn resource(about: &shadow::About) -> String {
    match (about.key, about.registration) {
        (Some(key), _) => key.to_string(),
        (None, Some(registration)) => registration.to_string(),
        (None, None) => "hub".to_owned(),
    }
}
