//! First start: the hub's record, the registration `hub`, and its first administrator. Also the way
//! back in when every administrator's key is lost.

use hub_auth::credential::BOOTSTRAP_LIFE;
use hub_crypto::{Binding, Kek, RootKey, SystemKeys};
use hub_model::entry::Outcome;
use hub_model::principal::PeerAddress;
use hub_model::registration::HUB_REGISTRATION;
use hub_model::secret::SecretText;
use hub_model::{
    AuthMethod, Environment, HubId, Name, Participant, ParticipantId, ParticipantKind,
    Registration, RegistrationId, Role, RoleGrant, Tags, Timestamp,
};
use hub_store::{Changes, Store, layout};
use serde::{Deserialize, Serialize};

use crate::hub::Hub;
use crate::participant::issue;
use crate::perform::event;
use crate::{Error, Ref};

/// The name of the first administrator.
pub const FIRST_ADMINISTRATOR: &str = "admin";

/// The hub's own record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HubRecord {
    /// The hub.
    pub id: HubId,
    /// The registration that stands for it.
    pub registration: RegistrationId,
    /// When it was made.
    pub created: Timestamp,
    /// Format level of the store.
    pub format: u32,
}

/// The format level this program writes and reads.
pub const FORMAT: u32 = 1;

/// The hub's record, if the store has one.
///
/// # Errors
/// When the store cannot be read, or belongs to a later program.
pub async fn read(store: &Store) -> Result<Option<HubRecord>, Error> {
    let Some(found) = store.read::<HubRecord>(&layout::hub()).await? else { return Ok(None) };
    if found.value.format != FORMAT {
        return Err(Error::Integrity(
            format!("the store has format {}, this program reads {FORMAT}", found.value.format)
                .into(),
        ));
    }
    Ok(Some(found.value))
}

/// What the first start makes: changes to commit as one, and the administrator's key.
#[derive(Debug)]
pub struct FirstStart {
    /// The hub's record.
    pub record: HubRecord,
    /// To be committed in one transaction.
    pub changes: Changes,
    /// The administrator's API key: shown once, kept nowhere.
    pub api_key: SecretText,
}

/// Plans the first start.
///
/// # Errors
/// When randomness or memory for keys fails.
pub fn first_start(
    id: HubId,
    keys: &SystemKeys,
    root: &RootKey,
    now: Timestamp,
) -> Result<FirstStart, Error> {
    let name = fixed_name(HUB_REGISTRATION)?;
    let registration = Registration {
        id: RegistrationId::generate(),
        name,
        description: "The hub itself: its participants run it; it holds no keys.".to_owned(),
        environment: Environment::Production,
        frozen: false,
        tags: Tags::default(),
        frozen_by_hub: false,
        created: now,
        updated: now,
        generation: 1,
        rotation: None,
        quotas: None,
    };
    let record = HubRecord { id, registration: registration.id, created: now, format: FORMAT };
    let mut changes = Changes::new();
    let name = layout::registration_name(keys.privacy(), HUB_REGISTRATION);
    let kek_path = layout::kek(registration.id, 1);
    let kek = Kek::generate(1)?;
    let binding = Binding::kek(id, kek_path.as_bytes(), registration.id, 1);
    let wrapped = root.kek().wrap_kek(&binding, &kek);
    changes
        .check_absent(&layout::hub())
        .put(&layout::hub(), &record)?
        .put(&name, &registration.id)?
        .put(&layout::registration(registration.id), &registration)?
        .put_bytes(&kek_path, wrapped.into());
    let admin = administrator(keys, &mut changes, registration.id, FIRST_ADMINISTRATOR, now)?;
    let life = (now, now.plus(BOOTSTRAP_LIFE));
    let label = "first start".to_owned();
    let (_, api_key) = issue(keys, &mut changes, &admin, AuthMethod::Bootstrap, label, life)?;
    Ok(FirstStart { record, changes, api_key })
}

fn fixed_name(text: &str) -> Result<Name, Error> {
    text.parse().map_err(|error: hub_model::Error| Error::Integrity(Box::new(error)))
}

fn administrator(
    keys: &SystemKeys,
    changes: &mut Changes,
    registration: RegistrationId,
    name: &str,
    now: Timestamp,
) -> Result<Participant, Error> {
    let grant = |role| RoleGrant { registration, role };
    let mut roles = vec![grant(Role::Admins), grant(Role::Auditors)];
    roles.sort();
    let participant = Participant {
        id: ParticipantId::generate(),
        registration,
        name: fixed_name(name)?,
        kind: ParticipantKind::User,
        suspended: false,
        tags: Tags::default(),
        roles,
        grants_in: Default::default(),
        created: now,
        updated: now,
        generation: 1,
    };
    let name = layout::participant_name(keys.privacy(), registration, name);
    changes
        .check_absent(&name)
        .put(&name, &participant.id)?
        .put(&layout::participant(registration, participant.id), &participant)?;
    Ok(participant)
}

impl Hub {
    /// Gives the first administrator a new key, for whoever holds the seal and has lost every
    /// other way in. Audited.
    ///
    /// # Errors
    /// When the participant `admin` of `hub` is gone, or the log cannot be written.
    pub async fn recover_administrator(&self) -> Result<SecretText, Error> {
        let now = self.clock().now();
        let registration = self.registration();
        let name = Ref::Name(fixed_name(FIRST_ADMINISTRATOR)?);
        let mut changes = Changes::new();
        let participant = match self.find_participant(registration, &name).await {
            Ok(found) => {
                let mut participant = found.value;
                participant.suspended = false;
                crate::registration::add_role(&mut participant, registration, Role::Admins);
                participant.updated = now;
                participant.generation += 1;
                let path = layout::participant(registration, participant.id);
                changes.check_revision(&path, found.revision).put(&path, &participant)?;
                participant
            }
            Err(Error::NotFound { .. }) => administrator(
                self.system_keys(),
                &mut changes,
                registration,
                FIRST_ADMINISTRATOR,
                now,
            )?,
            Err(error) => return Err(error),
        };
        let life = (now, now.plus(BOOTSTRAP_LIFE));
        let label = "recovered".to_owned();
        let (_, api_key) = issue(
            self.system_keys(),
            &mut changes,
            &participant,
            AuthMethod::Bootstrap,
            label,
            life,
        )?;
        let mut entry =
            event(now, "system.recoverAdministrator", PeerAddress::Unix, None, Outcome::OK, 1);
        entry.subject.participant = Some(participant.id);
        let _receipt = self.log().appender().append(&entry, changes).await?;
        Ok(api_key)
    }
}

/// The audit entry of a start on a store that its checkpoint contradicts, as an operator wanted.
#[must_use]
pub fn accepted_rollback_entry(now: Timestamp, reason: &str) -> hub_model::entry::AuditEntry {
    let detail = Some(reason.chars().take(512).collect::<String>().into());
    event(now, "system.acceptRollback", PeerAddress::Unix, detail, Outcome::OK, 1)
}

/// The audit entry of the first start.
#[must_use]
pub fn first_entry(now: Timestamp) -> hub_model::entry::AuditEntry {
    event(now, "system.init", PeerAddress::Unix, None, Outcome::OK, 1)
}
