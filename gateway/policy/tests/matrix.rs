//! Every action and every role, decided by the engine over the baseline, as one table for people:
//! `docs/roles.md`. An action without a row, or a cell that has changed, fails.
//!
//! `cargo test -p hub-policy --test matrix -- --ignored write_the_table` writes it anew.

#![expect(clippy::unwrap_used, reason = "tests want their fixtures")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use hub_auth::Caller;
use hub_model::action::ResourceKind;
use hub_model::principal::PeerAddress;
use hub_model::{
    Action, Algorithm, AuthMethod, Environment, Grant, HubId, Key, KeyId, Participant,
    ParticipantId, ParticipantKind, Registration, RegistrationId, Role, RoleGrant, Tags, Timestamp,
};
use hub_policy::{Bundle, Policies, RegistrationFacts, RequestFacts, Target};

const TIME: Timestamp = Timestamp::from_micros(1_767_571_200_000_000);
const BEGIN: &str = "<!-- the table: written by a test, see gateway/policy/tests/matrix.rs -->\n";
const END: &str = "<!-- the end of the table -->\n";

fn page() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/roles.md")
}

struct Hub {
    policies: Policies,
    own: RegistrationFacts,
    shop: RegistrationFacts,
    other: RegistrationId,
}

fn registration(name: &str) -> RegistrationFacts {
    let registration = Registration {
        id: RegistrationId::generate(),
        name: name.parse().unwrap(),
        description: String::new(),
        environment: Environment::Production,
        quotas: None,
        frozen: false,
        tags: Tags::default(),
        frozen_by_hub: false,
        created: TIME,
        updated: TIME,
        generation: 1,
        rotation: None,
    };
    RegistrationFacts { registration: Arc::new(registration), revision: 1 }
}

impl Hub {
    fn new() -> Self {
        let own = registration("hub");
        let bundle = Bundle::baseline().unwrap();
        let policies = Policies::new(bundle, HubId::generate(), own.registration.id).unwrap();
        Self { policies, own, shop: registration("shop"), other: RegistrationId::generate() }
    }

    /// The columns: a heading, where the participant belongs and what role it holds.
    fn columns(&self) -> Vec<(&'static str, Participant)> {
        let (hub, shop) = (self.own.registration.id, self.shop.registration.id);
        let somebody = |home: RegistrationId, roles: &[(RegistrationId, Role)]| {
            let roles = roles.iter().map(|&(registration, role)| RoleGrant { registration, role });
            Participant {
                id: ParticipantId::generate(),
                registration: home,
                name: "somebody".parse().unwrap(),
                kind: ParticipantKind::Service,
                suspended: false,
                tags: Tags::default(),
                roles: roles.collect(),
                grants_in: BTreeMap::new(),
                created: TIME,
                updated: TIME,
                generation: 1,
            }
        };
        let every = [Role::Owners, Role::Operators, Role::Rotators, Role::Auditors, Role::Apps];
        let elsewhere = every.map(|role| (self.other, role));
        vec![
            ("owner", somebody(shop, &[(shop, Role::Owners)])),
            ("operator", somebody(shop, &[(shop, Role::Operators)])),
            ("rotator", somebody(shop, &[(shop, Role::Rotators)])),
            ("auditor", somebody(shop, &[(shop, Role::Auditors)])),
            ("app", somebody(shop, &[(shop, Role::Apps)])),
            ("no role", somebody(shop, &[])),
            ("every role elsewhere", somebody(self.other, &elsewhere)),
            ("hub admin", somebody(hub, &[(hub, Role::Admins)])),
            ("hub auditor", somebody(hub, &[(hub, Role::Auditors)])),
            ("no role, of `hub`", somebody(hub, &[])),
        ]
    }

    fn may(&self, who: &Participant, action: Action, key: &Key, at: &RegistrationFacts) -> bool {
        let target = match action.resource_kind() {
            ResourceKind::Hub => Target::Hub,
            ResourceKind::Registration => Target::Registration(at),
            ResourceKind::Key => Target::Key { key, revision: 1, registration: at },
        };
        let address = PeerAddress::Ip([10, 1, 2, 3].into());
        let method = AuthMethod::ApiKey;
        let caller = Caller::for_tests(who.clone(), 1, method, address, TIME, false);
        let facts = RequestFacts::default();
        self.policies.authorize(&caller, action, &target, &facts).is_ok()
    }
}

fn key(registration: RegistrationId) -> Key {
    let name = "orders".parse().unwrap();
    let id = KeyId::generate();
    // Every guard that looks at the key is content with this one.
    let key = Key::new(registration, id, name, Algorithm::Aes256Gcm, None, TIME);
    Key { exportable: true, ..key }
}

fn table() -> String {
    let hub = Hub::new();
    let (columns, key) = (hub.columns(), key(hub.shop.registration.id));
    let mut text = String::from("| action |");
    for (name, _) in &columns {
        write!(text, " {name} |").unwrap();
    }
    text += " by a grant |\n| --- |";
    text += &" --- |".repeat(columns.len() + 1);
    text.push('\n');
    for action in Action::ALL {
        write!(text, "| `{action}` |").unwrap();
        for (_, who) in &columns {
            let cell = if hub.may(who, *action, &key, &hub.shop) { "yes" } else { "" };
            write!(text, " {cell} |").unwrap();
        }
        let grant = if by_grant(&hub, *action, &key) { "yes" } else { "" };
        writeln!(text, " {grant} |").unwrap();
    }
    text
}

/// Whether somebody without any role may do it with a grant of it.
fn by_grant(hub: &Hub, action: Action, key: &Key) -> bool {
    let columns = hub.columns();
    let (_, nobody) = columns.iter().find(|(name, _)| *name == "no role").unwrap();
    let context = hub_model::EncryptionContext::default();
    let made = Grant::new(nobody, vec![action], None, context, String::new(), TIME);
    let Ok(grant) = made else { return false };
    let key = Key { grants: vec![grant], ..key.clone() };
    hub.may(nobody, action, &key, &hub.shop)
}

#[test]
fn the_page_shows_what_every_role_may() {
    let page = std::fs::read_to_string(page()).unwrap();
    let shown = page.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).unwrap().0;
    let expected = table();
    for (shown, expected) in shown.lines().zip(expected.lines()) {
        assert_eq!(shown, expected, "docs/roles.md, see the head of this test");
    }
    assert_eq!(shown, expected, "docs/roles.md, see the head of this test");
}

#[test]
fn a_grant_permits_each_action_that_can_be_granted_and_no_other() {
    let hub = Hub::new();
    let key = key(hub.shop.registration.id);
    // Compromised keys are another matter: see `guard.compromised-needs-readable-key`.
    for action in Action::ALL {
        assert_eq!(by_grant(&hub, *action, &key), action.grantable(), "{action}");
    }
}

#[test]
fn in_the_registration_of_the_hub_admins_manage_members_and_nothing_holds_keys() {
    let hub = Hub::new();
    let key = key(hub.own.registration.id);
    let columns = hub.columns();
    let admin = &columns.iter().find(|(name, _)| *name == "hub admin").unwrap().1;
    let may = |who, action| hub.may(who, action, &key, &hub.own);
    for action in [Action::RolesGrant, Action::CredentialsIssue, Action::ParticipantsCreate] {
        for (name, who) in &columns {
            assert_eq!(may(who, action), *name == "hub admin", "{name}: {action}");
        }
    }
    for action in [Action::KeysCreate, Action::KeysImport, Action::RegistrationsDelete] {
        assert!(!may(admin, action), "{action}");
    }
}

#[test]
#[ignore = "writes docs/roles.md"]
fn write_the_table() {
    let page_text = std::fs::read_to_string(page()).unwrap();
    let (head, rest) = page_text.split_once(BEGIN).unwrap();
    let (_, tail) = rest.split_once(END).unwrap();
    std::fs::write(page(), format!("{head}{BEGIN}{}{END}{tail}", table())).unwrap();
}
