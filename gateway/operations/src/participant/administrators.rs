//! The hub keeps somebody who runs it: an administrator who is not suspended and holds a credential
//! that is good at the time.
//!
//! What is refused is to take the last such way in away. Credentials also end by themselves, and
//! nobody is asked then: `cipher-hub init --recover-admin` is the way back. A bound identity counts,
//! though the hub cannot know whether its issuer still vouches for it; an identity that only the
//! configuration maps does not.

use hub_auth::Credential;
use hub_model::{CredentialId, Participant, Role, Timestamp};
use hub_store::{Changes, Path, Revision, layout};

use crate::Error;
use crate::hub::Hub;

/// Records that must stay as they are, so that somebody can come in.
type WayIn = Vec<(Path, Revision)>;

/// Refuses what would leave the hub without an administrator who can come in: this one leaves.
///
/// INVARIANT: the way that stays is a check of the change, so two administrators who leave at the
/// same time, each counting on the other, do not both go.
pub(crate) async fn keep_an_administrator(
    hub: &Hub,
    leaving: &Participant,
    now: Timestamp,
    changes: &mut Changes,
) -> Result<(), Error> {
    if runs(hub, leaving) {
        let staying = other_way_in(hub, leaving, now).await?.ok_or(Error::LastAdministrator)?;
        check(changes, &staying);
    }
    Ok(())
}

/// The same where one credential of a participant is revoked.
pub(crate) async fn keep_a_way_in(
    hub: &Hub,
    holder: &Participant,
    leaving: &Credential,
    now: Timestamp,
    changes: &mut Changes,
) -> Result<(), Error> {
    if !runs(hub, holder) || !leaving.is_live(now) {
        return Ok(());
    }
    let staying = match way_in(hub, holder, Some(leaving.id), now).await? {
        Some(own) => {
            // Not suspended and not out of its role meanwhile.
            let path = layout::participant(holder.registration, holder.id);
            let found = hub.store().read::<Participant>(&path).await?;
            let found = found.filter(|found| found.value == *holder);
            found.map(|found| vec![own, (path, found.revision)])
        }
        None => other_way_in(hub, holder, now).await?,
    };
    check(changes, &staying.ok_or(Error::LastAdministrator)?);
    Ok(())
}

fn runs(hub: &Hub, participant: &Participant) -> bool {
    let admin = |role: &hub_model::RoleGrant| {
        role.role == Role::Admins && role.registration == hub.registration()
    };
    !participant.suspended && participant.roles.iter().any(admin)
}

fn check(changes: &mut Changes, way: &WayIn) {
    for (path, revision) in way {
        changes.check_revision(path, *revision);
    }
}

/// How somebody else who runs the hub can come in.
async fn other_way_in(
    hub: &Hub,
    leaving: &Participant,
    now: Timestamp,
) -> Result<Option<WayIn>, Error> {
    let prefix = layout::participants(hub.registration());
    let mut after = None;
    loop {
        let page = hub.store().scan::<Participant>(&prefix, after.as_ref(), 500).await?;
        for (path, found) in &page.records {
            if found.value.id == leaving.id || !runs(hub, &found.value) {
                continue;
            }
            if let Some(credential) = way_in(hub, &found.value, None, now).await? {
                return Ok(Some(vec![(path.clone(), found.revision), credential]));
            }
        }
        match page.records.last() {
            Some((last, _)) if page.more => after = Some(last.clone()),
            _ => return Ok(None),
        }
    }
}

/// A credential of a participant that is good now.
async fn way_in(
    hub: &Hub,
    participant: &Participant,
    except: Option<CredentialId>,
    now: Timestamp,
) -> Result<Option<(Path, Revision)>, Error> {
    let prefix = layout::credentials_of(participant.id);
    let mut after = None;
    loop {
        let page = hub.store().scan::<CredentialId>(&prefix, after.as_ref(), 500).await?;
        for (_, id) in page.records.iter().filter(|(_, id)| Some(id.value) != except) {
            let path = layout::credential(id.value);
            let found = hub.store().read::<Credential>(&path).await?;
            let good = |found: &Credential| found.is_live(now) && hub.rules().can_arrive(found);
            if let Some(found) = found.filter(|found| good(&found.value)) {
                return Ok(Some((path, found.revision)));
            }
        }
        match page.records.last() {
            Some((last, _)) if page.more => after = Some(last.clone()),
            _ => return Ok(None),
        }
    }
}
