//! Questions to the audit trail: `audit.read` with filters, and `audit.readRegistration`, the trail
//! of one registration.

use hub_audit::encode::hex;
use hub_audit::index::{Filter, Order, Query};
use hub_model::api::audit::AuditPage;
use hub_model::{Action, KeyId, ParticipantId, RegistrationId};
use hub_policy::{Permit, RegistrationFacts};

use super::audit::record;
use crate::hub::Hub;
use crate::operation::{AtRegistration, Lost, Operation, Scene};
use crate::page::{self, PageRequest};
use crate::plan::Plan;
use crate::{Error, Ref};

/// Most bytes of a question that its entry repeats.
const MAX_DETAIL: usize = 512;

/// A key or participant, by id, or by name in a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named<I> {
    /// The registration, where it was said.
    pub registration: Option<Ref<RegistrationId>>,
    /// The name or id.
    pub item: Ref<I>,
}

impl<I: std::str::FromStr<Err = hub_model::Error>> std::str::FromStr for Named<I> {
    type Err = hub_model::Error;

    fn from_str(text: &str) -> Result<Self, hub_model::Error> {
        let (registration, item) = match text.split_once('/') {
            Some((registration, item)) => (Some(registration.parse()?), item),
            None => (None, text),
        };
        Ok(Self { registration, item: item.parse()? })
    }
}

/// Which entries are asked for, as it was asked.
#[derive(Clone, Debug)]
pub struct AuditQuestion {
    /// What needs no looking up. The rest of it is filled in from what follows.
    pub filter: Filter,
    /// The participant that called or was acted on.
    pub participant: Option<Named<ParticipantId>>,
    /// The participant that called.
    pub caller: Option<Named<ParticipantId>>,
    /// The key acted on.
    pub key: Option<Named<KeyId>>,
    /// The registration acted on.
    pub registration: Option<Ref<RegistrationId>>,
    /// The registration the caller belongs to.
    pub caller_registration: Option<Ref<RegistrationId>>,
    /// The first sequence looked at.
    pub after: u64,
    /// In which order.
    pub order: Order,
}

impl AuditQuestion {
    /// Answers, within a registration or for the whole hub.
    pub(super) async fn answer(
        &self,
        permit: Permit,
        hub: &Hub,
        asker: RegistrationId,
        within: Option<&RegistrationFacts>,
        page: &PageRequest,
    ) -> Result<Plan<AuditPage>, Error> {
        let limit = page.limit()?;
        let filter = self.resolve(hub, within).await?;
        let log = hub.log();
        let signed = log.latest();
        let position = log.appender().position();
        let asked = filter.canonical();
        let list = format!("audit {:?} {} {asked}", self.order, self.after);
        let (first, end) = match &page.token {
            None => (self.after, position.audit.size),
            Some(token) => range(&page::open_token(hub, &list, token)?)?,
        };
        let query = Query { filter, order: self.order, first, end, limit };
        let found =
            hub.audit_index().query_by(asker, query).await.map_err(|error| match within {
                // Where the hub keeps its archives is nothing to a registration.
                Some(_) => Error::from(error).veiled(),
                None => error.into(),
            })?;
        let next_page_token =
            found.rest.map(|(first, end)| page::seal_token(hub, &list, &format!("{first}.{end}")));
        let page = AuditPage {
            items: found.items.into_iter().map(|(seq, bytes)| record(seq, bytes)).collect(),
            next_page_token,
            size: position.audit.size,
            head: hex(&position.audit.chain),
            checkpoint: signed.map(|signed| signed.note.clone()),
            verifier_key: log.verifier_key(),
        };
        // What was asked for is no secret of who asked: ids, words and times.
        let detail: String = asked.chars().take(MAX_DETAIL).collect();
        let plan = Plan::new(permit, page);
        Ok(if detail.is_empty() { plan } else { plan.detail(detail) })
    }

    /// The filter, names looked up.
    ///
    /// INVARIANT: within a registration the filter asks for that registration's entries alone.
    async fn resolve(
        &self,
        hub: &Hub,
        within: Option<&RegistrationFacts>,
    ) -> Result<Filter, Error> {
        let mut filter = self.filter.clone();
        if let Some(key) = &self.key {
            let id = match (&key.item, home(hub, within, key, "key").await?) {
                (Ref::Id(id), _) => *id,
                (Ref::Name(_), home) => hub.find_key(home, &key.item).await?.key.id,
            };
            filter.key = Some(id.to_string().into());
        }
        filter.participant = match &self.participant {
            Some(named) => Some(participant(hub, within, named).await?),
            None => None,
        };
        filter.caller = match &self.caller {
            Some(named) => Some(participant(hub, within, named).await?),
            None => None,
        };
        if let Some(registration) = &self.caller_registration {
            let id = match (within, registration) {
                // Within one no other name is looked up: whether it is there, and its uid, is not
                // told.
                (Some(within), Ref::Name(name)) if *name == within.registration.name => {
                    within.registration.id.to_string().into()
                }
                (Some(_), Ref::Name(_)) => {
                    return Err(Error::not_found("registration", registration));
                }
                (Some(_), Ref::Id(_)) | (None, _) => registration_id(hub, registration).await?,
            };
            filter.caller_registration = Some(id);
        }
        filter.registration = match (within, &self.registration) {
            (Some(within), _) => Some(within.registration.id.to_string().into()),
            (None, Some(registration)) => Some(registration_id(hub, registration).await?),
            (None, None) => None,
        };
        Ok(filter)
    }
}

/// A registration that is gone is still found by its id.
async fn registration_id(hub: &Hub, reference: &Ref<RegistrationId>) -> Result<Box<str>, Error> {
    let id = match reference {
        Ref::Id(id) => *id,
        Ref::Name(_) => hub.find_registration(reference).await?.registration.id,
    };
    Ok(id.to_string().into())
}

async fn participant(
    hub: &Hub,
    within: Option<&RegistrationFacts>,
    named: &Named<ParticipantId>,
) -> Result<Box<str>, Error> {
    let id = match (&named.item, home(hub, within, named, "participant").await?) {
        (Ref::Id(id), _) => *id,
        (Ref::Name(_), home) => hub.find_participant(home, &named.item).await?.value.id,
    };
    Ok(id.to_string().into())
}

/// The registration a name is looked up in. Within one, no other is looked at: whether it is there
/// is not told.
async fn home<I: std::fmt::Display>(
    hub: &Hub,
    within: Option<&RegistrationFacts>,
    named: &Named<I>,
    pointer: &'static str,
) -> Result<RegistrationId, Error> {
    // An id needs no registration, and none is looked for.
    if matches!(named.item, Ref::Id(_)) {
        return Ok(hub.registration());
    }
    let missing = |said: &Ref<RegistrationId>| Error::not_found("registration", said);
    match (within, &named.registration) {
        (Some(within), None) => Ok(within.registration.id),
        (Some(within), Some(said)) => {
            let here = match said {
                Ref::Id(id) => *id == within.registration.id,
                Ref::Name(name) => *name == within.registration.name,
            };
            if here { Ok(within.registration.id) } else { Err(missing(said)) }
        }
        (None, Some(said)) => Ok(hub.find_registration(said).await?.registration.id),
        (None, None) => Err(Error::Invalid {
            pointer,
            detail: format!("`{}` is a name: say REGISTRATION/NAME, or give the uid", named.item),
        }),
    }
}

/// What a token says.
fn range(text: &str) -> Result<(u64, u64), Error> {
    let (first, end) = text.split_once('.').ok_or(Error::PageToken)?;
    let number = |text: &str| text.parse().map_err(|_| Error::PageToken);
    Ok((number(first)?, number(end)?))
}

/// Reads the entries of one registration: those that name it as what was acted on.
#[derive(Debug)]
pub struct ReadRegistrationAudit {
    /// Which.
    pub registration: Ref<RegistrationId>,
    /// Which of its entries.
    pub asked: AuditQuestion,
    /// Which part.
    pub page: PageRequest,
}

impl Operation for ReadRegistrationAudit {
    const ACTION: Action = Action::AuditReadRegistration;
    type Place = AtRegistration;
    type Reply = AuditPage;

    async fn find(&self, hub: &Hub) -> Result<AtRegistration, Lost> {
        AtRegistration::find(hub, &self.registration).await
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtRegistration>,
    ) -> Result<Plan<AuditPage>, Error> {
        let asker = scene.caller.principal().registration;
        self.asked.answer(permit, scene.hub, asker, Some(&scene.place.0), &self.page).await
    }
}
