//! `policies.explain`: why a past decision fell as it did.

use hub_model::api::audit::{Explain as Body, Explanation, PolicyView};
use hub_model::{Action, Participant, ParticipantId, RegistrationId};
use hub_policy::{Effect, Permit, PolicyInfo, RequestFacts, Target};
use hub_store::layout;
use serde::Deserialize;

use super::audit::record;
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
        let id = &self.body.decision_id;
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
        let determining: Vec<_> = decided
            .policies
            .iter()
            .filter_map(|id| policies.describe(id))
            .map(|info| shown(&info))
            .collect();
        let unpermitted = decided.decision == "deny" && decided.policies.is_empty();
        let candidates = match (unpermitted, decided.action.parse::<Action>()) {
            (true, Ok(action)) => policies.candidates(action).iter().map(shown).collect(),
            _ => Vec::new(),
        };
        let roles_now = roles(hub, &decided).await?;
        let summary = summarize(&decided, &determining, &candidates);
        let explanation = Explanation {
            decision_id: id.clone(),
            decision: decided.decision.clone(),
            summary,
            determining,
            candidates,
            roles_now,
            revision_active: *decided.revision == *policies.revision(),
            revision: decided.revision,
            entry: record(seq, bytes),
        };
        Ok(Plan::new(permit, explanation).detail(id.as_str()))
    }
}

fn shown(info: &PolicyInfo) -> PolicyView {
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

fn summarize(decided: &Decided, determining: &[PolicyView], candidates: &[PolicyView]) -> String {
    let ids = |views: &[PolicyView]| {
        let ids: Vec<_> = views.iter().map(|v| format!("`{}`", v.id)).collect();
        ids.join(", ")
    };
    let action = &decided.action;
    match (decided.decision.as_str(), determining.is_empty()) {
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
    let mut roles = Vec::new();
    for grant in &found.value.roles {
        let name = match hub.find_registration(&Ref::Id(grant.registration)).await {
            Ok(facts) => facts.registration.name.to_string(),
            Err(Error::NotFound { .. }) => continue,
            Err(error) => return Err(error),
        };
        roles.push(format!("{name}/{}", grant.role));
    }
    Ok(roles)
}
