//! Operations on participants, their credentials and roles.

mod administrators;
mod change;
mod create;
mod credential;
mod last_use;
mod read;
mod remove;
mod role;

pub(crate) use administrators::{keep_a_way_in, keep_an_administrator};
pub use change::{Suspend, UpdateParticipant};
pub use create::CreateParticipant;
pub(crate) use credential::issue;
pub use credential::{
    IssueCredential, ListCredentials, RevokeCredential, Revoked, RotateCredential,
};
pub use read::{GetParticipant, ListParticipants};
pub use remove::{RemoveParticipant, Removed};
pub use role::{GrantRole, Granted, ListMembers, RevokeRole};

use hub_model::api::participant::{MemberView, ParticipantView};
use hub_model::{Participant, ParticipantId, RegistrationId, Role};
use hub_store::Versioned;

use crate::hub::Hub;
use crate::operation::AtRegistration;
use crate::{Error, Ref};

/// A participant as seen from one registration.
pub(crate) async fn view(
    hub: &Hub,
    participant: &Participant,
    seen_from: RegistrationId,
) -> Result<ParticipantView, Error> {
    let roles =
        participant.roles.iter().filter(|g| g.registration == seen_from).map(|g| g.role).collect();
    Ok(ParticipantView {
        uid: participant.id,
        registration: hub.registration_name(participant.registration).await?,
        name: participant.name.clone(),
        kind: participant.kind,
        suspended: participant.suspended,
        tags: participant.tags.clone(),
        roles,
        create_time: participant.created,
        update_time: participant.updated,
    })
}

/// A participant as a member of something.
pub(crate) async fn member_view(hub: &Hub, participant: &Participant) -> Result<MemberView, Error> {
    Ok(MemberView {
        uid: participant.id,
        name: participant.name.clone(),
        registration: hub.registration_name(participant.registration).await?,
        kind: participant.kind,
    })
}

/// A participant of a registration or, by id only, of `hub`.
pub(crate) async fn member_of(
    hub: &Hub,
    registration: RegistrationId,
    reference: &Ref<ParticipantId>,
) -> Result<Versioned<Participant>, Error> {
    match (hub.find_participant(registration, reference).await, reference) {
        (Err(Error::NotFound { .. }), Ref::Id(_)) => {
            hub.find_participant(hub.registration(), reference).await
        }
        (found, _) => found,
    }
}

/// Refuses roles that do not exist in this registration.
pub(crate) fn role_exists(place: &AtRegistration, role: Role) -> Result<(), Error> {
    let hub = crate::hub::is_hub(&place.0.registration);
    if role.exists_in(hub) {
        return Ok(());
    }
    let known: Vec<_> =
        Role::ALL.into_iter().filter(|r| r.exists_in(hub)).map(Role::name).collect();
    Err(Error::Invalid {
        pointer: "role",
        detail: format!("there is no role `{role}` here (known: {})", known.join(", ")),
    })
}
