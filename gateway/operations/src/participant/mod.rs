//! Operations on participants, their credentials and roles.

mod change;
mod create;
mod credential;
mod last_use;
mod read;
mod remove;
mod role;

pub use change::{Suspend, UpdateParticipant};
pub use create::CreateParticipant;
pub(crate) use credential::issue;
pub use credential::{
    IssueCredential, ListCredentials, RevokeCredential, Revoked, RotateCredential,
};
pub use read::{GetParticipant, ListParticipants};
pub use remove::{RemoveParticipant, Removed};
pub use role::{GrantRole, Granted, ListMembers, RevokeRole};

use hub_model::api::participant::ParticipantView;
use hub_model::{Participant, RegistrationId, Role};
use hub_store::{Changes, Path, Revision, layout};

use crate::Error;
use crate::hub::Hub;
use crate::operation::AtRegistration;

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

/// Where somebody else who is not suspended runs the hub, and as of when.
async fn other_administrator(
    hub: &Hub,
    participant: &Participant,
) -> Result<Option<(Path, Revision)>, Error> {
    let prefix = layout::participants(hub.registration());
    let mut after = None;
    loop {
        let page = hub.store().scan::<Participant>(&prefix, after.as_ref(), 500).await?;
        let runs = |p: &Participant| {
            p.id != participant.id && !p.suspended && p.roles.iter().any(|g| g.role == Role::Admins)
        };
        if let Some((path, found)) = page.records.iter().find(|(_, record)| runs(&record.value)) {
            return Ok(Some((path.clone(), found.revision)));
        }
        match page.records.last() {
            Some((last, _)) if page.more => after = Some(last.clone()),
            _ => return Ok(None),
        }
    }
}

/// Refuses what would leave the hub without an administrator.
///
/// INVARIANT: the one who stays is a check of the change, so two administrators who leave at the
/// same time, each counting on the other, do not both go.
pub(crate) async fn keep_an_administrator(
    hub: &Hub,
    leaving: &Participant,
    changes: &mut Changes,
) -> Result<(), Error> {
    let is_admin = leaving.roles.iter().any(|grant| grant.role == Role::Admins);
    if is_admin && !leaving.suspended {
        let staying = other_administrator(hub, leaving).await?;
        let (path, revision) = staying.ok_or(Error::LastAdministrator)?;
        changes.check_revision(&path, revision);
    }
    Ok(())
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
