//! `policies.explain`: why a past decision fell as it did, or how one would fall (`suppose.rs`).

use std::fmt::Write as _;

use hub_model::api::audit::{Explain as Body, Explanation, PolicyView};
use hub_model::grant::POLICY_PREFIX;
use hub_model::{Action, GrantId, Key, KeyId, Participant, ParticipantId, RegistrationId};
use hub_policy::{Effect, Permit, PolicyInfo, RequestFacts, Target};
use hub_store::layout;
use serde::Deserialize;

use super::audit::record;
use super::suppose;
use crate::hub::Hub;
use crate::operation::{AtHub, Lost, Operation, Scene};
use crate::plan::Plan;
use crate::{Error, Ref};

/// Explains a decision.
#[derive(Debug)]
pub struct Explain {
    /// Which.
    pub body: Body,
}

/// What explaining reads of an entry.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Decided {
    action: String,
    decision: String,
    #[serde(default)]
    policies: Vec<String>,
    #[serde(default)]
    revision: String,
    caller: Option<String>,
    caller_registration: Option<RegistrationId>,
    registration: Option<RegistrationId>,
    key: Option<KeyId>,
}

impl Operation for Explain {
    const ACTION: Action = Action::PoliciesExplain;
    type Place = AtHub;
    type Reply = Explanation;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtHub>,
    ) -> Result<Plan<Explanation>, Error> {
        let hub = scene.hub;
        let Some(id) = &self.body.decision_id else {
            let (explanation, detail) = suppose::explain(&scene, &self.body).await?;
            return Ok(Plan::new(permit, explanation).detail(detail));
        };
        if let Some(pointer) = suppose::first_member(&self.body) {
            let detail = "a past decision is explained by its `decisionId` alone".to_owned();
            return Err(Error::Invalid { pointer, detail });
        }
        let missing = || Error::not_found("decision", id.chars().take(80).collect::<String>());
        let seq: u64 = id
            .strip_prefix("dec_")
            .and_then(|rest| rest.strip_prefix(hub.log().appender().writer()))
            .and_then(|rest| rest.strip_prefix('-'))
            .and_then(|digits| digits.parse().ok())
            // One spelling only: `+7` and `007` are no sequence.
            .filter(|seq| hub.decision_id(*seq) == *id)
            .ok_or_else(missing)?;
        let bytes = hub.log().entry(seq).await?.ok_or_else(missing)?;
        let decided: Decided =
            serde_json::from_slice(&bytes).map_err(|error| Error::Integrity(Box::new(error)))?;
        if decided.decision == "none" {
            return Err(missing());
        }
        let policies = hub.policies();
        // Refusals are what explaining is for. What was permitted to others, with its encryption
        // context, is for whoever may read the trail.
        let facts = RequestFacts::default();
        let read = policies.authorize(scene.caller, Action::AuditRead, &Target::Hub, &facts);
        if decided.decision != "deny" && read.is_err() {
            return Err(missing());
        }
        let mut determining = Vec::with_capacity(decided.policies.len());
        for id in &decided.policies {
            if let Some(info) = policies.describe(id) {
                determining.push(shown(&info));
            } else if let Some(grant) = granted(hub, &decided, id).await? {
                determining.push(grant);
            }
        }
        let unpermitted = decided.decision == "deny" && decided.policies.is_empty();
        let candidates = match (unpermitted, decided.action.parse::<Action>()) {
            (true, Ok(action)) => {
                let template = hub_policy::template(action).filter(|_| decided.key.is_some());
                policies.candidates(action).iter().chain(&template).map(shown).collect()
            }
            _ => Vec::new(),
        };
        let roles_now = roles(hub, &decided).await?;
        let asked = (decided.action.as_str(), decided.decision.as_str());
        let summary = summarize(asked, &determining, &candidates);
        let explanation = Explanation {
            decision_id: Some(id.clone()),
            decision: decided.decision.clone(),
            summary,
            determining,
            candidates,
            roles_now,
            revision_active: *decided.revision == *policies.revision(),
            revision: decided.revision,
            changes: Vec::new(),
            errors: Vec::new(),
            entry: Some(record(seq, bytes)),
        };
        Ok(Plan::new(permit, explanation).detail(id.as_str()))
    }
}

pub(super) fn shown(info: &PolicyInfo) -> PolicyView {
    PolicyView {
        id: info.id.to_string(),
        title: info.title.as_deref().unwrap_or_default().to_owned(),
        effect: match info.effect {
            Effect::Permit => "permit".to_owned(),
            Effect::Forbid => "forbid".to_owned(),
        },
        place: format!("{}:{}", info.file, info.line),
        text: info.text.to_string(),
    }
}

/// The grant of a past decision.
async fn granted(hub: &Hub, decided: &Decided, id: &str) -> Result<Option<PolicyView>, Error> {
    match (decided.registration, decided.key) {
        (Some(registration), Some(key)) => {
            grant(hub, (registration, key), decided.action.parse().ok(), id).await
        }
        _ => Ok(None),
    }
}

/// A grant that permitted something: the template it was linked from, and with what.
pub(super) async fn grant(
    hub: &Hub,
    (registration, key): (RegistrationId, KeyId),
    action: Option<Action>,
    id: &str,
) -> Result<Option<PolicyView>, Error> {
    let uid: Option<GrantId> = id.strip_prefix(POLICY_PREFIX).and_then(|id| id.parse().ok());
    let Some(uid) = uid else { return Ok(None) };
    let template = action.and_then(hub_policy::template);
    let mut view = PolicyView {
        id: id.to_owned(),
        title: "A grant that was deleted since".to_owned(),
        effect: "permit".to_owned(),
        place: format!("grants of {key}"),
        text: template.as_ref().map(|info| info.text.to_string()).unwrap_or_default(),
    };
    let found = hub.store().read::<Key>(&layout::key(registration, key)).await?;
    let grants = found.map(|found| found.value.grants).unwrap_or_default();
    if let Some(grant) = grants.iter().find(|grant| grant.id == uid) {
        let title = template.and_then(|info| info.title);
        view.title = title.as_deref().unwrap_or_default().to_owned();
        let mut linked = format!("\n// ?principal: {}, ?resource: {key}", grant.participant);
        if let Some(end) = grant.expires {
            let _ = write!(linked, ", until {end}");
        }
        let names: Vec<_> = grant.context.iter().map(|(name, _)| name).collect();
        if !names.is_empty() {
            let _ = write!(linked, ", with pairs of its own for {}", names.join(", "));
        }
        view.text.push_str(&linked);
    }
    Ok(Some(view))
}

pub(super) fn summarize(
    (action, decision): (&str, &str),
    determining: &[PolicyView],
    candidates: &[PolicyView],
) -> String {
    let ids = |views: &[PolicyView]| {
        let ids: Vec<_> = views.iter().map(|v| format!("`{}`", v.id)).collect();
        ids.join(", ")
    };
    match (decision, determining.is_empty()) {
        ("allow", _) => format!("`{action}` was permitted by {}", ids(determining)),
        (_, false) => {
            format!("`{action}` was refused by {}: a forbid beats every permit", ids(determining))
        }
        (_, true) if candidates.is_empty() => {
            format!("`{action}` was refused: no policy permits it to anybody")
        }
        (_, true) => format!(
            "`{action}` was refused: no policy permitted it. {} could, if their conditions held",
            ids(candidates)
        ),
    }
}

/// The roles the participant of the decision holds now, as `registration/role`.
async fn roles(hub: &Hub, decided: &Decided) -> Result<Vec<String>, Error> {
    let participant: Option<ParticipantId> = decided
        .caller
        .as_deref()
        .and_then(|caller| caller.rsplit_once(':'))
        .and_then(|(_, id)| id.parse().ok());
    let (Some(participant), Some(registration)) = (participant, decided.caller_registration) else {
        return Ok(Vec::new());
    };
    let path = layout::participant(registration, participant);
    let Some(found) = hub.store().read::<Participant>(&path).await? else {
        return Ok(vec!["(the participant is gone)".to_owned()]);
    };
    roles_of(hub, &found.value).await
}

pub(super) async fn roles_of(hub: &Hub, participant: &Participant) -> Result<Vec<String>, Error> {
    let mut roles = Vec::new();
    for grant in &participant.roles {
        let name = match hub.find_registration(&Ref::Id(grant.registration)).await {
            Ok(facts) => facts.registration.name.to_string(),
            Err(Error::NotFound { .. }) => continue,
            Err(error) => return Err(error),
        };
        roles.push(format!("{name}/{}", grant.role));
    }
    Ok(roles)
}
