//! Requests drawn at random, by the words of the policies that are compared: the ids, tags, names,
//! addresses, times and numbers they mention are what requests are made of, beside others.
//!
//! The numbers come from a seed that is always the same, so a comparison gives the same answer
//! every time. Nothing here is a secret.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use cedar_policy::{PrincipalConstraint, ResourceConstraint};
use hub_model::action::ResourceKind;
use hub_model::principal::PeerAddress;
use hub_model::{
    Action, Algorithm, AuthMethod, EncryptionContext, Environment, Key, KeyId, KeyState,
    Participant, ParticipantId, ParticipantKind, Registration, RegistrationId, Role, RoleGrant,
    Tags, Timestamp,
};

use crate::decide::{Asker, RegistrationFacts, RequestFacts, Target};
use crate::source::Parsed;

/// 2026-01-05T00:00:00Z, a Monday.
const MONDAY: i64 = 1_767_571_200_000_000;
const MILLISECOND: i64 = 1_000;
const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

/// SplitMix64: enough for a choice among a few, and the same on every machine.
#[derive(Debug)]
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        let n = u64::try_from(n.max(1)).unwrap_or(1);
        usize::try_from(self.next() % n).unwrap_or(0)
    }

    /// Yes, in `percent` of a hundred.
    pub(super) fn odds(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(super) fn one<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }
}

/// What policies mention.
#[derive(Debug, Default)]
pub(super) struct Vocabulary {
    strings: Vec<String>,
    numbers: Vec<i64>,
    addresses: Vec<IpAddr>,
    /// Microseconds: moments, and times of day.
    moments: Vec<i64>,
    participants: Vec<ParticipantId>,
    roles: Vec<(Option<RegistrationId>, Role)>,
    registrations: Vec<RegistrationId>,
    keys: Vec<KeyId>,
}

impl Vocabulary {
    pub(super) fn of<'a>(policies: impl Iterator<Item = &'a Arc<Parsed>>) -> Self {
        let mut words = Self::default();
        for parsed in policies {
            if let Ok(json) = parsed.policy.to_json() {
                words.walk(&json);
            }
            for uid in parsed.policy.entity_literals() {
                words.entity(uid.type_name().basename(), uid.id().unescaped());
            }
        }
        words.strings.sort();
        words.strings.dedup();
        words
    }

    fn entity(&mut self, kind: &str, id: &str) {
        match kind {
            "User" | "Service" | "Device" => self.participants.extend(id.parse::<ParticipantId>()),
            "Registration" => self.registrations.extend(id.parse::<RegistrationId>()),
            "Key" => self.keys.extend(id.parse::<KeyId>()),
            "Role" => {
                let Some((registration, role)) = id.split_once('/') else { return };
                let registration = match registration {
                    "hub" => None,
                    other => match other.parse() {
                        Ok(id) => Some(id),
                        Err(_) => return,
                    },
                };
                self.roles.extend(role.parse::<Role>().map(|role| (registration, role)));
            }
            _ => {}
        }
    }

    fn walk(&mut self, value: &serde_json::Value) {
        match value {
            serde_json::Value::Object(fields) => {
                for (name, value) in fields {
                    let literal = value.pointer("/0/Value").and_then(serde_json::Value::as_str);
                    match (name.as_str(), literal) {
                        ("ip", Some(text)) => self.address(text),
                        ("datetime", Some(text)) => self.moment(text),
                        ("duration", Some(text)) => self.moments.extend(duration(text)),
                        ("pattern", _) | ("annotations", _) => {}
                        ("Value", _) => {
                            self.strings.extend(value.as_str().map(str::to_owned));
                            self.numbers.extend(value.as_i64());
                        }
                        _ => self.walk(value),
                    }
                    if name == "attr" {
                        continue;
                    }
                }
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| self.walk(item)),
            _ => {}
        }
    }

    fn address(&mut self, text: &str) {
        let (first, _) = text.split_once('/').unwrap_or((text, ""));
        let Ok(first) = first.parse() else { return };
        self.addresses.push(first);
        // Its neighbour is inside where a range is meant, outside where one address is.
        self.addresses.push(match first {
            IpAddr::V4(v4) => IpAddr::V4(u32::from(v4).wrapping_add(1).into()),
            IpAddr::V6(v6) => IpAddr::V6(u128::from(v6).wrapping_add(1).into()),
        });
    }

    fn moment(&mut self, text: &str) {
        let full = if text.len() == "YYYY-MM-DD".len() {
            format!("{text}T00:00:00.000Z")
        } else {
            text.to_owned()
        };
        self.moments.extend(full.parse::<Timestamp>().map(Timestamp::as_micros));
    }
}

/// A duration of Cedar (`1d2h3m4s5ms`) in microseconds.
fn duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut total = 0_i64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at_checked(digits)?;
        let units =
            [("ms", MILLISECOND), ("d", DAY), ("h", HOUR), ("m", HOUR / 60), ("s", 1_000_000)];
        let (unit, micros) = units.into_iter().find(|(unit, _)| after.starts_with(unit))?;
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(micros)?)?;
        rest = after.strip_prefix(unit)?;
    }
    Some(if negative { -total } else { total })
}

/// One request, all of its facts side by side, so that each can be made simpler by itself.
#[derive(Clone, Debug)]
pub(super) struct Draw {
    pub(super) action: Action,
    pub(super) kind: ParticipantKind,
    participant: ParticipantId,
    participant_name: String,
    suspended: bool,
    participant_tags: BTreeMap<String, String>,
    roles: Vec<RoleGrant>,
    registration: RegistrationId,
    registration_name: String,
    environment: Environment,
    frozen: bool,
    frozen_by_hub: bool,
    registration_tags: BTreeMap<String, String>,
    key: KeyId,
    key_name: String,
    algorithm: Algorithm,
    state: KeyState,
    exportable: bool,
    key_tags: BTreeMap<String, String>,
    address: PeerAddress,
    now: i64,
    method: AuthMethod,
    tls: bool,
    mutual_tls: bool,
    spiffe_id: Option<String>,
    pairs: BTreeMap<String, String>,
    payload: u64,
}

/// The registration of the hub, and another.
pub(super) const HUB: RegistrationId = RegistrationId::from_bytes([0x11; 16]);
const SHOP: RegistrationId = RegistrationId::from_bytes([0x22; 16]);

impl Draw {
    /// The plainest request: an app over TLS, about an active key of a registration.
    pub(super) fn plain(action: Action, kind: ParticipantKind) -> Self {
        Self {
            action,
            kind,
            participant: ParticipantId::from_bytes([0x33; 16]),
            participant_name: "somebody".to_owned(),
            suspended: false,
            participant_tags: BTreeMap::new(),
            roles: Vec::new(),
            registration: SHOP,
            registration_name: "shop".to_owned(),
            environment: Environment::Production,
            frozen: false,
            frozen_by_hub: false,
            registration_tags: BTreeMap::new(),
            key: KeyId::from_bytes([0x44; 16]),
            key_name: "orders".to_owned(),
            algorithm: Algorithm::Aes256Gcm,
            state: KeyState::Active,
            exportable: false,
            key_tags: BTreeMap::new(),
            address: PeerAddress::Ip(IpAddr::from([10, 1, 2, 3])),
            now: MONDAY + 10 * HOUR,
            method: AuthMethod::ApiKey,
            tls: true,
            mutual_tls: false,
            spiffe_id: None,
            pairs: BTreeMap::new(),
            payload: 0,
        }
    }

    /// A request for `action`, as the vocabulary and chance have it.
    pub(super) fn random(
        action: Action,
        kind: ParticipantKind,
        words: &Vocabulary,
        numbers: &mut Numbers,
    ) -> Self {
        let mut draw = Self::plain(action, kind);
        let n = numbers;
        if n.odds(30) {
            draw.participant = n.one(&words.participants).copied().unwrap_or(draw.participant);
        }
        if n.odds(30) {
            draw.registration = n.one(&words.registrations).copied().unwrap_or(draw.registration);
        }
        // It holds no keys.
        if n.odds(10) && action.resource_kind() != ResourceKind::Key {
            draw.registration = HUB;
        }
        if n.odds(30) {
            draw.key = n.one(&words.keys).copied().unwrap_or(draw.key);
        }
        let name = |n: &mut Numbers, name: &mut String| {
            if n.odds(20)
                && let Some(text) = n.one(&words.strings)
                && text.parse::<hub_model::Name>().is_ok()
            {
                name.clone_from(text);
            }
        };
        name(n, &mut draw.participant_name);
        name(n, &mut draw.registration_name);
        name(n, &mut draw.key_name);
        draw.suspended = n.odds(8);
        draw.frozen = n.odds(10);
        draw.frozen_by_hub = draw.frozen && n.odds(2);
        draw.exportable = n.odds(40);
        for _ in 0..n.below(3) {
            let registration = if n.odds(80) { draw.registration } else { HUB };
            let role = n.one(&Role::ALL).copied().unwrap_or(Role::Apps);
            draw.roles.push(RoleGrant { registration, role });
        }
        if n.odds(30)
            && let Some((registration, role)) = n.one(&words.roles).copied()
        {
            let registration = registration.unwrap_or(HUB);
            draw.roles.push(RoleGrant { registration, role });
        }
        let environments = [Environment::Dev, Environment::Staging, Environment::Production];
        draw.environment = n.one(&environments).copied().unwrap_or(Environment::Dev);
        if n.odds(40) {
            draw.state = n.one(&KeyState::ALL).copied().unwrap_or(KeyState::Active);
        }
        if n.odds(40) {
            let rows = hub_model::algorithm::ALGORITHMS;
            draw.algorithm = n.one(rows).map_or(draw.algorithm, |row| row.algorithm);
            if let Some(said) = n.one(&words.strings)
                && let Ok(said) = said.parse()
            {
                draw.algorithm = said;
            }
        }
        let tags = |n: &mut Numbers| {
            let mut tags = BTreeMap::new();
            for _ in 0..n.below(3) {
                if let (Some(name), Some(value)) = (n.one(&words.strings), n.one(&words.strings)) {
                    let value = if n.odds(20) { "other" } else { value };
                    let pair = [(name.clone(), value.to_owned())];
                    if Tags::new(pair.clone().into()).is_ok() {
                        tags.extend(pair);
                    }
                }
            }
            tags
        };
        draw.participant_tags = tags(n);
        draw.registration_tags = tags(n);
        draw.key_tags = tags(n);
        for _ in 0..n.below(3) {
            if let (Some(name), Some(value)) = (n.one(&words.strings), n.one(&words.strings)) {
                draw.pairs.insert(name.clone(), value.clone());
            }
        }
        if EncryptionContext::new(draw.pairs.clone()).is_err() {
            draw.pairs.clear();
        }
        if n.odds(60)
            && let Some(address) = n.one(&words.addresses)
        {
            draw.address = PeerAddress::Ip(*address);
        } else if n.odds(30) {
            draw.address = PeerAddress::Ip(IpAddr::from([203, 0, 113, 9]));
        }
        if n.odds(20) {
            draw.address = PeerAddress::Unix;
        }
        draw.now = MONDAY + i64::try_from(n.below(7 * 24)).unwrap_or(0) * HOUR;
        if n.odds(50)
            && let Some(moment) = n.one(&words.moments)
        {
            // A moment of a day or of all time, just before, at and just after it.
            let base = if moment.unsigned_abs() < DAY.unsigned_abs() { MONDAY } else { 0 };
            let off = n.one(&[-MILLISECOND, 0, MILLISECOND]).copied().unwrap_or(0);
            draw.now = base + moment + off;
        }
        draw.method = n.one(&AuthMethod::ALL).copied().unwrap_or(AuthMethod::ApiKey);
        draw.tls = draw.address != PeerAddress::Unix && n.odds(70);
        draw.mutual_tls = draw.tls && n.odds(30);
        if draw.mutual_tls && n.odds(50) {
            draw.spiffe_id = n.one(&words.strings).cloned();
        }
        if n.odds(60)
            && let Some(number) = n.one(&words.numbers)
        {
            let off = n.one(&[-1, 0, 1]).copied().unwrap_or(0);
            draw.payload = u64::try_from(number.saturating_add(off)).unwrap_or(0);
        }
        draw
    }

    /// Makes the scope of a policy fit, since that is seldom met by chance.
    pub(super) fn meet(&mut self, policy: &Parsed) {
        let role = |text: &str| -> Option<RoleGrant> {
            let (registration, role) = text.split_once('/')?;
            let registration =
                if registration == "hub" { HUB } else { registration.parse().ok()? };
            Some(RoleGrant { registration, role: role.parse().ok()? })
        };
        match policy.policy.principal_constraint() {
            PrincipalConstraint::Any | PrincipalConstraint::Is(_) => {}
            PrincipalConstraint::Eq(uid)
            | PrincipalConstraint::In(uid)
            | PrincipalConstraint::IsIn(_, uid) => {
                let id = uid.id().unescaped();
                self.roles.extend(role(id));
                self.participant = id.parse().unwrap_or(self.participant);
            }
        }
        match policy.policy.resource_constraint() {
            ResourceConstraint::Any | ResourceConstraint::Is(_) => {}
            ResourceConstraint::Eq(uid)
            | ResourceConstraint::In(uid)
            | ResourceConstraint::IsIn(_, uid) => {
                let id = uid.id().unescaped();
                self.key = id.parse().unwrap_or(self.key);
                self.registration = id.parse().unwrap_or(self.registration);
            }
        }
    }

    /// The same with one fact made plain, for each fact that is not.
    pub(super) fn simpler(&self) -> Vec<Self> {
        let plain = Self::plain(self.action, self.kind);
        let mut out = Vec::new();
        macro_rules! fields {
            ($($field:ident),*) => {$(
                if self.$field != plain.$field {
                    out.push(Self { $field: plain.$field.clone(), ..self.clone() });
                }
            )*};
        }
        fields!(
            participant,
            participant_name,
            suspended,
            participant_tags,
            roles,
            registration,
            registration_name,
            environment,
            frozen_by_hub,
            frozen,
            registration_tags,
            key,
            key_name,
            algorithm,
            state,
            exportable,
            key_tags,
            address,
            now,
            method,
            mutual_tls,
            spiffe_id,
            pairs,
            payload
        );
        if !self.tls && self.address != PeerAddress::Unix {
            out.push(Self { tls: true, ..self.clone() });
        }
        for at in 0..self.roles.len() {
            let mut fewer = self.clone();
            fewer.roles.remove(at);
            out.push(fewer);
        }
        out
    }

    /// In the types a hub decides with; nothing where chance made what no hub has.
    pub(super) fn made(&self) -> Option<Made> {
        let time = Timestamp::from_micros(MONDAY);
        let participant = Participant {
            id: self.participant,
            registration: HUB,
            name: self.participant_name.parse().ok()?,
            kind: self.kind,
            suspended: self.suspended,
            tags: Tags::new(self.participant_tags.clone()).ok()?,
            roles: self.roles.clone(),
            grants_in: std::collections::BTreeMap::new(),
            created: time,
            updated: time,
            generation: 1,
        };
        let registration = Registration {
            id: self.registration,
            name: self.registration_name.parse().ok()?,
            description: String::new(),
            environment: self.environment,
            frozen: self.frozen,
            frozen_by_hub: self.frozen_by_hub,
            quotas: None,
            tags: Tags::new(self.registration_tags.clone()).ok()?,
            created: time,
            updated: time,
            generation: 1,
            rotation: None,
        };
        let name = self.key_name.parse().ok()?;
        let key = Key {
            state: self.state,
            exportable: self.exportable,
            tags: Tags::new(self.key_tags.clone()).ok()?,
            ..Key::new(self.registration, self.key, name, self.algorithm, None, time)
        };
        let registration = RegistrationFacts { registration: Arc::new(registration), revision: 1 };
        let pairs = EncryptionContext::new(self.pairs.clone()).ok()?;
        Some(Made { draw: self.clone(), participant, registration, key, pairs })
    }
}

/// A draw in the hub's own types.
#[derive(Debug)]
pub(super) struct Made {
    draw: Draw,
    participant: Participant,
    registration: RegistrationFacts,
    key: Key,
    pairs: EncryptionContext,
}

impl Made {
    pub(super) fn asker(&self) -> Asker<'_> {
        Asker {
            participant: &self.participant,
            revision: 1,
            address: self.draw.address,
            now: Timestamp::from_micros(self.draw.now),
            method: self.draw.method,
            tls: self.draw.tls,
            mutual_tls: self.draw.mutual_tls,
            spiffe_id: self.draw.spiffe_id.as_deref(),
            extra_roles: false,
        }
    }

    pub(super) fn target(&self) -> Target<'_> {
        match self.draw.action.resource_kind() {
            ResourceKind::Hub => Target::Hub,
            ResourceKind::Registration => Target::Registration(&self.registration),
            ResourceKind::Key => {
                Target::Key { key: &self.key, revision: 1, registration: &self.registration }
            }
        }
    }

    pub(super) fn facts(&self) -> RequestFacts<'_> {
        RequestFacts { encryption_context: Some(&self.pairs), payload_bytes: self.draw.payload }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_cedar_writes_them() {
        assert_eq!(duration("6h"), Some(6 * HOUR));
        assert_eq!(duration("1d2h3m4s5ms"), Some(DAY + 2 * HOUR + 3 * 60_000_000 + 4_005_000));
        assert_eq!(duration("-1ms"), Some(-MILLISECOND));
        assert_eq!(duration("6x"), None);
        assert_eq!(duration("h"), None);
    }

    #[test]
    fn numbers_are_the_same_every_time() {
        let mut a = Numbers::new(1);
        let mut b = Numbers::new(1);
        let drawn: Vec<usize> = (0..50).map(|_| a.below(10)).collect();
        assert_eq!(drawn, (0..50).map(|_| b.below(10)).collect::<Vec<_>>());
        assert!((0..10).all(|digit| drawn.contains(&digit)));
    }
}
