//! How a request would be decided that nobody makes.

use std::net::IpAddr;
use std::str::FromStr;

use hub_model::action::ResourceKind;
use hub_model::api::audit::{Explain as Body, Explanation, PolicyView};
use hub_model::api::policy::RevisionRef;
use hub_model::principal::PeerAddress;
use hub_model::{Action, AuthMethod, ParticipantId, RegistrationId};
use hub_policy::{Circumstances, RequestFacts};

use super::explain::{grant, roles_of, shown, summarize};
use crate::operation::{AtHub, AtKey, AtRegistration, Place, Scene};
use crate::{Error, Ref};

/// The first member that says something of a supposed request.
pub(super) fn first_member(body: &Body) -> Option<&'static str> {
    [
        ("/participant", body.participant.is_some()),
        ("/action", body.action.is_some()),
        ("/registration", body.registration.is_some()),
        ("/key", body.key.is_some()),
        ("/encryptionContext", body.encryption_context.is_some()),
        ("/payloadBytes", body.payload_bytes.is_some()),
        ("/sourceIp", body.source_ip.is_some()),
        ("/method", body.method.is_some()),
        ("/tls", body.tls.is_some()),
        ("/mutualTls", body.mutual_tls.is_some()),
        ("/spiffeId", body.spiffe_id.is_some()),
        ("/time", body.time.is_some()),
        ("/revision", body.revision.is_some()),
    ]
    .into_iter()
    .find_map(|(pointer, given)| given.then_some(pointer))
}

/// Explains a supposed request; and what the entry says of it.
pub(super) async fn explain(
    scene: &Scene<'_, AtHub>,
    body: &Body,
) -> Result<(Explanation, String), Error> {
    let hub = scene.hub;
    let participant = needed("/participant", body.participant.as_deref())?;
    let action: Action = parsed("/action", needed("/action", body.action.as_deref())?)?;
    let Some((home, name)) = participant.split_once('/') else {
        return invalid("/participant", "a participant is given as `registration/name`");
    };
    let home: Ref<RegistrationId> = parsed("/participant", home)?;
    let name: Ref<ParticipantId> = parsed("/participant", name)?;
    let home = hub.find_registration(&home).await?;
    let participant = hub.find_participant(home.registration.id, &name).await?.value;

    let at = match &body.registration {
        Some(text) => parsed("/registration", text)?,
        None => Ref::Id(home.registration.id),
    };
    let place: Box<dyn Place> = match action.resource_kind() {
        ResourceKind::Hub => Box::new(AtHub),
        ResourceKind::Registration => Box::new(lost(AtRegistration::find(hub, &at).await)?),
        ResourceKind::Key => {
            let key = parsed("/key", needed("/key", body.key.as_deref())?)?;
            Box::new(lost(AtKey::find(hub, &at, &key).await)?)
        }
    };
    let address = match body.source_ip.as_deref() {
        None => PeerAddress::Ip([127, 0, 0, 1].into()),
        Some("unix") => PeerAddress::Unix,
        Some(text) => match text.parse::<IpAddr>() {
            Ok(address) => PeerAddress::Ip(address),
            Err(_) => return invalid("/sourceIp", "neither an IP address nor `unix`"),
        },
    };
    let reference = body.revision.as_deref().unwrap_or("active");
    let bundle = hub.revision_bundle(&parsed::<RevisionRef>("/revision", reference)?).await?;
    let circumstances = Circumstances {
        address,
        now: body.time.unwrap_or(scene.now),
        method: body.method.unwrap_or(AuthMethod::ApiKey),
        tls: body.tls.unwrap_or(address != PeerAddress::Unix),
        mutual_tls: body.mutual_tls.unwrap_or(body.spiffe_id.is_some()),
        spiffe_id: body.spiffe_id.clone(),
    };
    let facts = RequestFacts {
        encryption_context: body.encryption_context.as_ref(),
        payload_bytes: body.payload_bytes.unwrap_or(0),
    };
    let (policies, target) = (hub.policies(), place.target());
    let found = policies.suppose(&bundle, &participant, &circumstances, action, &target, &facts);
    let question = policies.question(&participant, &circumstances, action, &target, &facts);
    let changes = match question {
        Ok(question) => {
            let set = std::sync::Arc::clone(&bundle);
            let analyzed = hub.heavy().run(hub.registration(), move || set.analyze(&question));
            analyzed.await?.map_err(|error| Error::Integrity(Box::new(error)))?.changes
        }
        Err(_) => Vec::new(),
    };
    // The analysis is of the set: what a grant permits needs no change.
    let changes = if found.permitted { Vec::new() } else { changes };
    let decision = if found.permitted { "allow" } else { "deny" };
    let mut determining = Vec::with_capacity(found.trace.policies.len());
    for id in found.trace.policies.iter() {
        let subject = place.subject();
        if let Some(info) = bundle.describe(id) {
            determining.push(shown(info));
        } else if let (Some(registration), Some(key)) = (subject.registration, subject.key) {
            determining.extend(grant(hub, (registration, key), Some(action), id).await?);
        }
    }
    let unpermitted = !found.permitted && determining.is_empty();
    let candidates: Vec<_> = if unpermitted { candidates(&bundle, action) } else { Vec::new() };
    let explanation = Explanation {
        decision_id: None,
        decision: decision.to_owned(),
        summary: summarize((action.name(), decision), &determining, &candidates),
        determining,
        candidates,
        roles_now: roles_of(hub, &participant).await?,
        revision_active: *bundle.revision() == hub.policies().revision(),
        revision: bundle.revision().to_string(),
        changes,
        errors: found.trace.errors.iter().map(ToString::to_string).collect(),
        entry: None,
    };
    Ok((explanation, format!("{action} by {}", participant.id)))
}

/// What could permit the action: permits of the set, and the template of grants.
fn candidates(bundle: &hub_policy::Bundle, action: Action) -> Vec<PolicyView> {
    let template = hub_policy::template(action);
    bundle.candidates(action).chain(&template).map(shown).collect()
}

fn lost<P>(found: Result<P, crate::operation::Lost>) -> Result<P, Error> {
    found.map_err(|lost| lost.error)
}

fn needed<'a>(pointer: &'static str, value: Option<&'a str>) -> Result<&'a str, Error> {
    let detail = || format!("`{}` is needed, or a `decisionId` alone", pointer.trim_matches('/'));
    value.ok_or_else(|| Error::Invalid { pointer, detail: detail() })
}

fn parsed<T: FromStr<Err = hub_model::Error>>(
    pointer: &'static str,
    text: &str,
) -> Result<T, Error> {
    text.parse()
        .map_err(|error: hub_model::Error| Error::Invalid { pointer, detail: error.to_string() })
}

fn invalid<T>(pointer: &'static str, detail: &str) -> Result<T, Error> {
    Err(Error::Invalid { pointer, detail: detail.to_owned() })
}
