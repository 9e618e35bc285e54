//! What a report says of the time it is made: registrations, keys, members, rights. What the caller
//! may not read becomes a gap that the report names.

use std::collections::{BTreeMap, BTreeSet};

use cipher_hub_client::{Client, PageRequest};
use hub_model::api::access::{ActionAccess, KeyAccess, Prospect};
use hub_model::api::key::KeyView;
use hub_model::api::participant::MemberView;
use hub_model::api::registration::RegistrationView;
use hub_model::{Action, Purpose, Role, Timestamp};
use hub_report::Kind;
use hub_report::facts::{Facts, KeyFacts, Missing, PersonFacts, RegistrationFacts};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::super::super::super::failure::{Code, Failure};
use super::super::super::super::run::Session;
use super::super::super::every;

/// Participants of one page of `whoCan`.
const PARTICIPANTS: u32 = 200;
/// Keys of one page of a participant's access.
const KEYS: u32 = 100;

/// What could not be read, and why, each once with how often.
#[derive(Default)]
struct Gaps(BTreeMap<(String, String), u64>);

impl Gaps {
    /// The answer, or a gap where the hub refuses; other failures end the report.
    fn or_gap<T>(
        &mut self,
        answer: Result<T, Failure>,
        what: impl FnOnce() -> String,
    ) -> Result<Option<T>, Failure> {
        match answer {
            Ok(value) => Ok(Some(value)),
            Err(failure) if matches!(failure.code, Code::Denied | Code::NotFound) => {
                *self.0.entry((what(), failure.message)).or_default() += 1;
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    fn into_missing(self) -> Vec<Missing> {
        self.0
            .into_iter()
            .map(|((what, why), times)| Missing {
                what: if times > 1 { format!("{what} ({times} times)") } else { what },
                why,
            })
            .collect()
    }
}

/// A reader at work.
struct Reader<'a> {
    client: &'a Client,
    gaps: Gaps,
    bar: ProgressBar,
    /// Whether rights are asked for.
    access: bool,
}

pub(super) async fn facts(
    session: &mut Session<'_>,
    client: &Client,
    only: &[String],
    kinds: &BTreeSet<Kind>,
) -> Result<Facts, Failure> {
    let whoami = client.whoami().await?;
    let visible = session.console.err_terminal && !session.global.quiet;
    let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(None, target);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} read  {msg}") {
        bar.set_style(style);
    }
    let mut reader =
        Reader { client, gaps: Gaps::default(), bar, access: kinds.contains(&Kind::Access) };
    let (found, whole_hub) = reader.registrations(only, &whoami.roles).await?;
    let mut registrations = Vec::new();
    for (asked, view) in found {
        registrations.push(reader.registration(asked, view).await?);
    }
    reader.bar.finish_and_clear();
    let member = &whoami.participant;
    Ok(Facts {
        hub: None,
        program: format!("cipher-hub {}", env!("CARGO_PKG_VERSION")),
        by: format!("{}/{} ({})", member.registration, member.name, whoami.principal),
        generated: Timestamp::from_micros(0),
        policy_revision: Some(whoami.policy_revision),
        whole_hub,
        registrations,
        missing: reader.gaps.into_missing(),
    })
}

type Found = Vec<(String, Option<RegistrationView>)>;

impl Reader<'_> {
    fn step(&self, what: &str) {
        self.bar.inc(1);
        self.bar.set_message(what.to_owned());
    }

    /// Those asked for; else all; else those the caller holds a role in. And whether it is all.
    async fn registrations(
        &mut self,
        only: &[String],
        roles: &[hub_model::api::participant::RoleView],
    ) -> Result<(Found, bool), Failure> {
        let client = self.client;
        if !only.is_empty() {
            let mut found: Found = Vec::new();
            for name in only {
                found.push((name.clone(), self.view(name).await?));
            }
            // One registration can be asked for by its name and by its uid.
            let mut seen = BTreeSet::new();
            found.retain(|(name, view)| {
                seen.insert(view.as_ref().map_or_else(|| name.clone(), |view| view.uid.to_string()))
            });
            return Ok((found, false));
        }
        let listed = every(|page| async move { client.registrations(&page).await }).await;
        let all =
            || "the registrations there are; only those you hold a role in are here".to_owned();
        if let Some(views) = self.gaps.or_gap(listed, all)? {
            let found = views.into_iter().map(|view| (view.uid.to_string(), Some(view)));
            return Ok((found.collect(), true));
        }
        let mine: BTreeSet<_> = roles.iter().map(|role| role.registration.to_string()).collect();
        let mut found = Vec::new();
        for uid in mine {
            let view = self.view(&uid).await?;
            found.push((uid, view));
        }
        Ok((found, false))
    }

    async fn view(&mut self, registration: &str) -> Result<Option<RegistrationView>, Failure> {
        let read = self.client.registration(registration).await.map_err(Failure::from);
        // Nothing can be said of what is not there, or not for the caller.
        if let Err(failure) = read {
            if failure.code == Code::NotFound {
                return Err(failure);
            }
            return self
                .gaps
                .or_gap(Err(failure), || format!("the facts of registration `{registration}`"));
        }
        Ok(read.ok().map(|tagged| tagged.value))
    }

    async fn registration(
        &mut self,
        asked: String,
        view: Option<RegistrationView>,
    ) -> Result<RegistrationFacts, Failure> {
        let client = self.client;
        let uid = view.as_ref().map_or_else(|| asked.clone(), |view| view.uid.to_string());
        let name = view.as_ref().map_or(asked, |view| view.name.to_string());
        let at = uid.as_str();
        let listed = every(|page| async move { client.keys(at, &page).await }).await;
        let views = self.gaps.or_gap(listed, || format!("the keys of `{name}`"))?;
        let (mut keys, mut known) = (Vec::new(), BTreeMap::new());
        for view in views.unwrap_or_default() {
            self.step(&format!("{name}/{}", view.name));
            keys.push(self.key(at, &name, view, &mut known).await?);
        }
        let people = self.people(at, &name, &keys, known).await?;
        Ok(RegistrationFacts { uid, name, view, keys, people })
    }

    async fn key(
        &mut self,
        registration: &str,
        name: &str,
        view: KeyView,
        known: &mut BTreeMap<String, MemberView>,
    ) -> Result<KeyFacts, Failure> {
        let (client, uid) = (self.client, view.uid.to_string());
        let key = uid.as_str();
        let versions =
            every(|page| async move { client.key_versions(registration, key, &page).await }).await;
        let versions =
            self.gaps.or_gap(versions, || format!("the versions of keys of `{name}`"))?;
        let (mut grants, mut others, mut elsewhere) = (None, None, Vec::new());
        if self.access {
            let read =
                every(|page| async move { client.grants(registration, key, &page).await }).await;
            grants = self.gaps.or_gap(read, || format!("the grants on keys of `{name}`"))?;
            let asked = who_can(client, registration, key, view.purpose, known).await;
            let what = || format!("who may use keys of `{name}` beside its participants");
            if let Some((open, named)) = self.gaps.or_gap(asked, what)? {
                (others, elsewhere) = (open, named);
            }
        }
        let (versions, grants) = (versions.unwrap_or_default(), grants.unwrap_or_default());
        Ok(KeyFacts { view, versions, grants, others, elsewhere })
    }

    /// Participants; members of roles and holders of grants from elsewhere; whoever else may.
    async fn people(
        &mut self,
        at: &str,
        name: &str,
        keys: &[KeyFacts],
        known: BTreeMap<String, MemberView>,
    ) -> Result<Vec<PersonFacts>, Failure> {
        let client = self.client;
        let listed = every(|page| async move { client.participants(at, &page).await }).await;
        let views = self.gaps.or_gap(listed, || format!("the participants of `{name}`"))?;
        let mut people: BTreeMap<String, PersonFacts> = BTreeMap::new();
        for view in views.unwrap_or_default() {
            let (uid, kind) = (view.uid, view.kind);
            let member = MemberView { uid, name: view.name, registration: view.registration, kind };
            let mut person = fresh(member);
            person.suspended = view.suspended;
            person.roles = view.roles.iter().map(|role| role.name().to_owned()).collect();
            let (client, who) = (self.client, uid.to_string());
            let who = who.as_str();
            let read = every(|page| async move { client.credentials(at, who, &page).await }).await;
            let what = || format!("the credentials of participants of `{name}`");
            person.credentials = self.gaps.or_gap(read, what)?;
            people.insert(uid.to_string(), person);
        }
        for role in Role::ALL.into_iter().filter(|role| role.exists_in(name == "hub")) {
            let read =
                every(|page| async move { client.role_members(at, role, &page).await }).await;
            let members = self.gaps.or_gap(read, || format!("the members of roles of `{name}`"))?;
            for member in members.unwrap_or_default() {
                let person = people.entry(member.uid.to_string()).or_insert_with(|| fresh(member));
                let word = role.name().to_owned();
                if !person.roles.contains(&word) {
                    person.roles.push(word);
                }
            }
        }
        let holders = keys.iter().flat_map(|key| &key.grants).map(|grant| &grant.participant);
        for member in holders.chain(known.values()) {
            people.entry(member.uid.to_string()).or_insert_with(|| fresh(member.clone()));
        }
        if self.access {
            for (uid, person) in &mut people {
                self.step(&format!("{name}: rights of {}", person.member.name));
                let read = rights(client, at, uid).await;
                let what = || format!("the rights of participants in `{name}`");
                if let Some((suspended, here, keys)) = self.gaps.or_gap(read, what)? {
                    person.suspended = suspended;
                    (person.here, person.keys) = (Some(here), Some(keys));
                }
            }
        }
        Ok(people.into_values().collect())
    }
}

const fn fresh(member: MemberView) -> PersonFacts {
    PersonFacts {
        member,
        suspended: false,
        roles: Vec::new(),
        credentials: None,
        here: None,
        keys: None,
    }
}

/// The use of a key that gives most: what shows the data, or acts in its name.
const fn strongest(purpose: Purpose) -> Action {
    match purpose {
        Purpose::Encrypt => Action::KeysDecrypt,
        Purpose::Sign => Action::KeysSign,
        Purpose::Mac => Action::KeysMac,
        Purpose::Wrap => Action::KeysUnwrap,
        Purpose::Derive => Action::KeysDerive,
        Purpose::Agree => Action::KeysAgree,
        Purpose::Encapsulate => Action::KeysDecapsulate,
    }
}

/// Who else may use a key: participants of `hub` go to `known`; what policies open to everybody is
/// given back.
async fn who_can(
    client: &Client,
    registration: &str,
    key: &str,
    purpose: Purpose,
    known: &mut BTreeMap<String, MemberView>,
) -> Result<(Option<Prospect>, Vec<String>), Failure> {
    let mut page = PageRequest { size: Some(PARTICIPANTS), token: None };
    loop {
        let found = client.who_can(registration, key, strongest(purpose), &page).await?;
        for item in found.items {
            if item.prospect.decision.name() != "never" {
                known.insert(item.participant.uid.to_string(), item.participant);
            }
        }
        // A token that leads back to itself would never end.
        if found.next_page_token.is_none() || found.next_page_token == page.token {
            return Ok((found.others, found.elsewhere));
        }
        page.token = found.next_page_token;
    }
}

type Rights = (bool, Vec<ActionAccess>, Vec<KeyAccess>);

async fn rights(client: &Client, registration: &str, who: &str) -> Result<Rights, Failure> {
    let (mut here, mut keys) = (Vec::new(), Vec::new());
    let mut page = PageRequest { size: Some(KEYS), token: None };
    loop {
        let found = client.participant_access(registration, who, &page).await?;
        here.extend(found.registration);
        keys.extend(found.items);
        if found.next_page_token.is_none() || found.next_page_token == page.token {
            return Ok((found.suspended, here, keys));
        }
        page.token = found.next_page_token;
    }
}
