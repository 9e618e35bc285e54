//! Canonical bytes of an entry: one JSON object, keys in byte order, at most 16 KiB. The stored
//! bytes are what is hashed; nobody re-serialises to verify (`docs/formats/audit.md`).
//!
//! A request encodes its entry before it reaches the appender; the appender only splices in what it
//! alone knows: the previous leaf hash, the sequence number and the state digest.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hub_model::entry::AuditEntry;
use hub_model::principal::PeerAddress;

use crate::Error;
use crate::keyed::{Field, Keyed};

/// The most bytes one entry may have.
pub const MAX_ENTRY: usize = 16 * 1024;
/// Above this an encryption context is recorded by its hash.
const MAX_CONTEXT_TEXT: usize = 12 * 1024;

/// The most bytes [`Gaps::fill`] adds: 64 hex digits, 20 decimal digits and the state digest.
const FILLED: usize = 64 + 20 + 82;

/// Bytes of the salt of an entry.
const SALT: usize = 16;

/// Where an entry that was written by [`encode`] is still open.
#[derive(Clone, Copy, Debug)]
pub struct Gaps {
    /// Where the previous leaf hash goes.
    prev_at: usize,
    /// Where the sequence number goes.
    seq_at: usize,
}

/// Writes everything of an entry but sequence, previous hash and state digest into `text`, whose
/// old content is dropped and whose memory is used again. Fields of `keyed` are written as hashes.
///
/// # Errors
/// [`Error::EntryTooLarge`].
pub fn encode(
    text: &mut String,
    entry: &AuditEntry,
    writer: &str,
    keyed: Option<&Keyed>,
) -> Result<Gaps, Error> {
    text.clear();
    let hashes = |field| keyed.filter(|keyed| keyed.has(field));
    let mut w = Fields { text };
    w.plain("action", entry.action);
    // Whether a caller came over the socket is no secret.
    match hashes(Field::Address).filter(|_| entry.address != PeerAddress::Unix) {
        None => w.display("address", &entry.address),
        Some(keyed) => {
            let address = entry.address.to_string();
            w.plain("address", &keyed.hash(Field::Address, "", address.as_bytes()));
        }
    }
    let decided = entry.decided.as_ref();
    if let Some(beside) = decided.and_then(|decided| decided.beside) {
        w.plain("beside", beside);
    }
    if let Some(principal) = &entry.principal {
        w.quoted("caller", |text| principal.append_to(text));
        w.quoted("callerRegistration", |text| principal.registration.append_to(text));
    }
    if let Some(context) = entry.context.as_ref().filter(|c| !c.is_empty()) {
        let keyed = hashes(Field::Context);
        let text = match keyed {
            None => serde_json::to_string(context).unwrap_or_default(),
            Some(keyed) => {
                let hash = |value: &str, name| keyed.hash(Field::Context, name, value.as_bytes());
                let pairs: BTreeMap<&str, String> =
                    context.iter().map(|(name, value)| (name, hash(value, name))).collect();
                serde_json::to_string(&pairs).unwrap_or_default()
            }
        };
        if text.len() <= MAX_CONTEXT_TEXT {
            w.name("context");
            w.text.push_str(&text);
        } else {
            let canonical = context.canonical();
            match keyed {
                None => {
                    w.name("contextDigest");
                    w.quoted_hex(&hub_crypto::hash::sha256(&canonical));
                }
                Some(keyed) => {
                    w.plain("contextDigest", &keyed.hash(Field::Context, "", &canonical));
                }
            }
        }
    }
    if entry.count != 1 {
        w.display_bare("count", &entry.count);
    }
    if let Some(credential) = entry.principal.as_ref().and_then(|by| by.credential.as_ref()) {
        w.quoted("credential", |text| credential.append_to(text));
    }
    w.plain("decision", entry.decision.name());
    if let Some(detail) = &entry.subject.detail {
        w.escaped("detail", detail);
    }
    if entry.dry_run {
        w.display_bare("dryRun", &true);
    }
    if let Some([participant, target, registration]) = decided.map(|decided| decided.revisions) {
        w.name("entities");
        let _ = write!(w.text, "[{participant},{target},{registration}]");
    }
    if let Some(identity) = entry.principal.as_ref().and_then(|by| by.identity.as_ref()) {
        match hashes(Field::Identity) {
            None => w.escaped("identity", identity.as_str()),
            Some(keyed) => {
                let hash = keyed.hash(Field::Identity, "", identity.as_str().as_bytes());
                w.plain("identity", &hash);
            }
        }
    }
    if let Some(key) = &entry.subject.key {
        w.quoted("key", |text| key.append_to(text));
    }
    if let Some(keyed) = keyed.filter(|keyed| !keyed.fields().is_empty()) {
        w.name("keyed");
        for (index, field) in keyed.fields().iter().enumerate() {
            w.text.push_str(if index == 0 { "[\"" } else { ",\"" });
            w.text.push_str(field.name());
            w.text.push('"');
        }
        w.text.push(']');
    }
    if let Some(latency) = entry.latency {
        w.plain("latency", latency.name());
    }
    if decided.is_some_and(|decided| decided.mutual_tls) {
        w.display_bare("mutualTls", &true);
    }
    if let Some(operation) = &entry.operation {
        w.escaped("operation", operation);
    }
    w.plain("outcome", entry.outcome.0);
    if let Some(participant) = &entry.subject.participant {
        w.quoted("participant", |text| participant.append_to(text));
    }
    if let Some(bytes) = decided.map(|decided| decided.payload_bytes).filter(|bytes| *bytes > 0) {
        w.display_bare("payloadBytes", &bytes);
    }
    if !entry.policies.is_empty() {
        w.name("policies");
        for (index, policy) in entry.policies.iter().enumerate() {
            w.text.push(if index == 0 { '[' } else { ',' });
            w.string(policy);
        }
        w.text.push(']');
    }
    w.name("prev");
    w.text.push('"');
    let prev_at = w.text.len();
    w.text.push('"');
    if let Some(registration) = &entry.subject.registration {
        w.quoted("registration", |text| registration.append_to(text));
    }
    w.escaped("request", &entry.request);
    if !entry.revision.is_empty() {
        w.plain("revision", &entry.revision);
    }
    // The hash of this entry stands in proofs that others hold: without chance in it, whoever knows
    // who, what and roughly when could try the rest until the hash fits.
    let mut salt = [0; SALT];
    hub_crypto::random::fill(&mut salt);
    w.quoted("salt", |text| salt.iter().for_each(|byte| push_hex_byte(text, *byte)));
    w.name("seq");
    let seq_at = w.text.len();
    w.quoted("time", |text| entry.time.append_to(text));
    if decided.is_some_and(|decided| decided.tls) {
        w.display_bare("tls", &true);
    }
    if let Some(trace) = &entry.trace {
        w.name("trace");
        w.quoted_hex(trace);
    }
    w.display_bare("v", &1);
    if let Some(version) = entry.subject.version {
        w.display_bare("version", &version);
    }
    w.plain("writer", writer);
    w.text.push('}');
    let size = w.text.len() + FILLED;
    if size > MAX_ENTRY {
        return Err(Error::EntryTooLarge(size));
    }
    Ok(Gaps { prev_at, seq_at })
}

impl Gaps {
    /// Appends the finished bytes of the entry written as `text` to `out`.
    pub(crate) fn fill(
        self,
        text: &[u8],
        out: &mut Vec<u8>,
        prev: &[u8; 32],
        seq: u64,
        digest: Option<&[u8; 32]>,
    ) {
        let (head, rest) = text.split_at_checked(self.prev_at).unwrap_or((text, &[]));
        let (middle, tail) = rest.split_at_checked(self.seq_at - self.prev_at).unwrap_or_default();
        out.extend_from_slice(head);
        push_hex(out, prev);
        out.extend_from_slice(middle);
        out.extend_from_slice(seq.to_string().as_bytes());
        if let Some(digest) = digest {
            out.extend_from_slice(b",\"stateDigest\":\"");
            push_hex(out, digest);
            out.push(b'"');
        }
        out.extend_from_slice(tail);
    }

    /// The most bytes [`Gaps::fill`] will append for a text of this length.
    pub(crate) const fn size_bound(text: usize) -> usize {
        text + FILLED
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
    out.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
}

fn push_hex_byte(text: &mut String, byte: u8) {
    for nibble in [byte >> 4, byte & 15] {
        text.push(char::from(HEX.get(usize::from(nibble)).copied().unwrap_or(b'0')));
    }
}

/// Bytes in lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    push_hex(&mut out, bytes);
    String::from_utf8(out).unwrap_or_default()
}

/// The 32 bytes of 64 lower-case hex digits.
#[must_use]
pub fn parse_hex32(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut out = [0u8; 32];
    for (slot, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let nibble = HEX.iter().position(|h| h == digit)?;
            *slot = (*slot << 4) | u8::try_from(nibble).ok()?;
        }
    }
    Some(out)
}

struct Fields<'a> {
    text: &'a mut String,
}

impl Fields<'_> {
    fn name(&mut self, name: &str) {
        self.text.push_str(if self.text.is_empty() { "{\"" } else { ",\"" });
        self.text.push_str(name);
        self.text.push_str("\":");
    }

    /// A value known to need no escaping: a word of a closed vocabulary.
    fn plain(&mut self, name: &str, value: &str) {
        self.name(name);
        self.text.push('"');
        self.text.push_str(value);
        self.text.push('"');
    }

    /// A value that `write` appends, which needs no escaping: ids and times.
    fn quoted(&mut self, name: &str, write: impl FnOnce(&mut String)) {
        self.name(name);
        self.text.push('"');
        write(self.text);
        self.text.push('"');
    }

    /// A value whose text form needs no escaping: addresses.
    fn display(&mut self, name: &str, value: &dyn std::fmt::Display) {
        self.name(name);
        let _ = write!(self.text, "\"{value}\"");
    }

    fn display_bare(&mut self, name: &str, value: &dyn std::fmt::Display) {
        self.name(name);
        let _ = write!(self.text, "{value}");
    }

    fn escaped(&mut self, name: &str, value: &str) {
        self.name(name);
        self.string(value);
    }

    /// A string of JSON. Most of them hold nothing to escape.
    fn string(&mut self, value: &str) {
        let clean = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        if value.bytes().all(clean) {
            self.text.push('"');
            self.text.push_str(value);
            self.text.push('"');
        } else {
            self.text.push_str(&serde_json::to_string(value).unwrap_or_default());
        }
    }

    fn quoted_hex(&mut self, bytes: &[u8]) {
        self.text.push('"');
        self.text.push_str(&hex(bytes));
        self.text.push('"');
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;
    use hub_model::entry::{Decided, Decision, LatencyClass, Outcome, Subject};
    use hub_model::{
        AuthMethod, CredentialId, EncryptionContext, KeyId, ParticipantId, Principal,
        RegistrationId, Timestamp,
    };

    pub(crate) fn sample() -> AuditEntry {
        AuditEntry {
            time: Timestamp::from_micros(1_795_000_000_000_000),
            principal: Some(Principal {
                registration: RegistrationId::from_bytes([1; 16]),
                participant: ParticipantId::from_bytes([2; 16]),
                method: AuthMethod::ApiKey,
                identity: None,
                credential: Some(CredentialId::from_bytes([3; 16])),
            }),
            address: PeerAddress::Ip([127, 0, 0, 1].into()),
            action: "keys.encrypt",
            subject: Subject {
                registration: Some(RegistrationId::from_bytes([1; 16])),
                key: Some(KeyId::from_bytes([4; 16])),
                version: Some(2),
                participant: None,
                detail: Some("a\"b\u{7}".into()),
            },
            decision: Decision::Allow,
            decided: Some(Decided {
                revisions: [7, 8, 9],
                tls: true,
                mutual_tls: true,
                payload_bytes: 5,
                beside: Some("keys.rebind"),
            }),
            policies: ["role.app".into()].into(),
            revision: "0011aabb".into(),
            outcome: Outcome::OK,
            latency: Some(LatencyClass::of(Duration::from_millis(5))),
            operation: Some("op_1".into()),
            context: Some(
                EncryptionContext::new([("tenant".to_owned(), "eu\n".to_owned())].into()).unwrap(),
            ),
            request: "req-1".into(),
            trace: Some([9; 16]),
            dry_run: false,
            count: 1,
        }
    }

    #[test]
    fn entries_are_json_objects_with_sorted_keys() {
        let (mut text, mut bytes) = ("what was there".to_owned(), Vec::new());
        let gaps = encode(&mut text, &sample(), "w1", None).unwrap();
        gaps.fill(text.as_bytes(), &mut bytes, &[0xab; 32], 7, Some(&[0xcd; 32]));
        assert!(bytes.len() <= Gaps::size_bound(text.len()));
        let value: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["seq"], 7);
        assert_eq!(value["prev"], "ab".repeat(32));
        assert_eq!(value["stateDigest"], "cd".repeat(32));
        assert_eq!(value["detail"], "a\"b\u{7}");
        assert_eq!((&value["latency"], &value["operation"]), (&"10ms".into(), &"op_1".into()));
        assert_eq!(value["context"]["tenant"], "eu\n");
        assert_eq!(value["entities"], serde_json::json!([7, 8, 9]));
        assert_eq!((&value["payloadBytes"], &value["tls"]), (&5.into(), &true.into()));
        assert_eq!(value["salt"].as_str().unwrap().len(), 2 * SALT);
        // serde_json's map is sorted: equal texts mean that the keys were written in order.
        assert_eq!(serde_json::to_vec(&value).unwrap(), bytes);
    }

    #[test]
    fn entries_alike_in_all_facts_differ_in_their_salt() {
        let (mut one, mut other) = (String::new(), String::new());
        encode(&mut one, &sample(), "w1", None).unwrap();
        encode(&mut other, &sample(), "w1", None).unwrap();
        assert_ne!(one, other);
    }

    #[test]
    fn hex_round_trips() {
        assert_eq!(parse_hex32(&hex(&[0x5a; 32])), Some([0x5a; 32]));
        assert_eq!(parse_hex32("5A"), None);
        assert_eq!(parse_hex32(&"5A".repeat(32)), None);
    }

    #[test]
    fn a_huge_context_is_recorded_by_its_hash() {
        let mut entry = sample();
        let value = "\u{1}".repeat(4000);
        entry.context = Some(EncryptionContext::new([("n".to_owned(), value)].into()).unwrap());
        let mut text = String::new();
        encode(&mut text, &entry, "w1", None).unwrap();
        assert!(text.contains("\"contextDigest\":\""));
        assert!(Gaps::size_bound(text.len()) < MAX_ENTRY);
    }

    #[test]
    fn keyed_fields_show_no_value() {
        use hub_crypto::SystemKeys;
        let keys = std::sync::Arc::new(SystemKeys::generate().unwrap());
        let keyed = Keyed::new(keys, Field::ALL.to_vec());
        let mut entry = sample();
        let who = entry.principal.as_mut().unwrap();
        who.identity = Some(std::sync::Arc::new("spiffe://test.example/till".parse().unwrap()));
        let (mut text, mut bytes) = (String::new(), Vec::new());
        let gaps = encode(&mut text, &entry, "w1", Some(&keyed)).unwrap();
        gaps.fill(text.as_bytes(), &mut bytes, &[0xab; 32], 7, None);
        let value: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&bytes).unwrap();
        assert_eq!(serde_json::to_vec(&value).unwrap(), bytes);
        assert_eq!(value["keyed"], serde_json::json!(["address", "context", "identity"]));
        assert_eq!(value["address"], keyed.hash(Field::Address, "", b"127.0.0.1"));
        assert_eq!(value["context"]["tenant"], keyed.hash(Field::Context, "tenant", b"eu\n"));
        let text = String::from_utf8(bytes).unwrap();
        for secret in ["127.0.0.1", "eu", "till"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        // A context too large for an entry shows no digest that could be guessed, either.
        entry.context =
            Some(EncryptionContext::new([("n".to_owned(), "\u{1}".repeat(4000))].into()).unwrap());
        let context = entry.context.clone().unwrap();
        encode(&mut String::new(), &entry, "w1", Some(&keyed)).unwrap();
        let plain = hex(&hub_crypto::hash::sha256(&context.canonical()));
        let mut text = String::new();
        encode(&mut text, &entry, "w1", Some(&keyed)).unwrap();
        assert!(!text.contains(&plain));
    }
}
