//! The document: what `--format json` gives, and what the HTML is made from. Members are added,
//! never renamed or given another meaning within one `v` (`docs/audit/reports.md`).

use std::collections::BTreeMap;

use hub_model::{RotationPolicy, Timestamp};
use serde::Serialize;

use crate::cryptoperiod::{KeyType, Row, Source};
use crate::facts::Missing;
use crate::strength::Quantum;

/// What the document calls itself.
pub const FORMAT: &str = "cipher-hub.audit-report";
/// Its version.
pub const VERSION: u32 = 1;

/// A whole report.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`FORMAT`].
    pub format: &'static str,
    /// [`VERSION`].
    pub v: u32,
    /// The program that made it.
    pub program: String,
    /// When.
    pub generated: Timestamp,
    /// Who asked.
    pub by: String,
    /// Whose keys and log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// The policy revision active then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_revision: Option<String>,
    /// From when on events count.
    pub since: Timestamp,
    /// Until when, itself excluded.
    pub until: Timestamp,
    /// Whether it is about every registration.
    pub whole_hub: bool,
    /// The registrations it is about.
    pub registrations: Vec<RegistrationLine>,
    /// What it should say and cannot, and why.
    pub missing: Vec<Missing>,
    /// The log it was computed from; absent where the log could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<Log>,
    /// The kinds of reports asked for, in order.
    pub kinds: Vec<&'static str>,
    /// Activity within the window; absent without a log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activity: Option<Activity>,
    /// Key inventory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inventory: Option<Inventory>,
    /// Rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// Destruction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destruction: Option<Destruction>,
    /// Access review.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<Vec<AccessReview>>,
    /// Administrative changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// Denials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denials: Option<Denials>,
    /// Dual control.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<Control>,
    /// Custody and substitution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custody: Option<Custody>,
    /// Integrity of the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integrity: Option<Integrity>,
    /// PCI DSS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pci: Option<Pci>,
}

/// The log a report was computed from: a prefix whose chain and root were verified.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Log {
    /// Entries verified and read: 0 to this, itself excluded.
    pub size: u64,
    /// Their Merkle root (RFC 6962), hex.
    pub root: String,
    /// The signed note over exactly these entries (C2SP tlog-checkpoint).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// The key its signature was checked with (C2SP vkey).
    pub verifier_key: String,
    /// Whether whoever asked gave that key; else it is the hub's own word.
    pub key_given: bool,
    /// Time of the first entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// Time of the last entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// Entries of the window and the registrations.
    pub considered: u64,
    /// Entries whose bytes are chained and are no JSON object this program understands.
    pub unreadable: u64,
    /// Entries the log had beyond the checkpoint when it was read; not in the report.
    pub newer: u64,
}

/// A registration, in one line.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistrationLine {
    /// Its uid.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// How far from production.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Whether it is read-only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frozen: Option<bool>,
    /// How many keys were read.
    pub keys: usize,
    /// How many participants were read.
    pub participants: usize,
}

/// One day or month and a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Count {
    /// The day, month or word.
    pub name: String,
    /// How many.
    pub count: u64,
}

/// Uses and denials by day. Days without any are left out.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// Uses of keys that succeeded.
    pub uses: u64,
    /// By day.
    pub uses_by_day: Vec<Count>,
    /// Denials by day.
    pub denials_by_day: Vec<Count>,
    /// Rotations by month.
    pub rotations_by_month: Vec<Count>,
}

/// An entry of the log, as lists show it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Happening {
    /// Its number in the log.
    pub seq: u64,
    /// Its leaf hash.
    pub hash: String,
    /// When.
    pub time: String,
    /// What was asked.
    pub action: String,
    /// How it ended.
    pub outcome: String,
    /// Who asked; absent for the hub itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// How they proved it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Their name now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_name: Option<String>,
    /// From where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The registration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration: Option<String>,
    /// Its name now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration_name: Option<String>,
    /// The key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_name: Option<String>,
    /// The key's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The participant acted on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participant: Option<String>,
    /// Its name now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participant_name: Option<String>,
    /// What else names the resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// How many failures it stands for, when not one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The deciding policies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
}

/// A list of entries, newest last, and how many older ones were let go.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Happenings {
    /// The entries.
    pub items: Vec<Happening>,
    /// Older ones that are counted and not shown.
    pub omitted: u64,
}

/// The cryptoperiod of a key.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cryptoperiod {
    /// The key type of the table.
    pub key_type: KeyType,
    /// Who says how long.
    pub source: Source,
    /// Days its primary version may protect.
    pub days: u32,
    /// Days the primary version is active.
    pub used_days: u32,
    /// Days left; negative when it is exceeded.
    pub left_days: i64,
    /// Whether it is exceeded, by a version that still protects.
    pub exceeded: bool,
    /// Whether the rotation policy allows more than the table suggests.
    pub longer_than_table: bool,
}

/// One key.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InventoryKey {
    /// Its uid.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// Its registration.
    pub registration: String,
    /// Its algorithm.
    pub algorithm: String,
    /// What it is for.
    pub purpose: String,
    /// Bits of security (SP 800-57 part 1 §5.6.1; categories of FIPS 203 and 204).
    pub strength_bits: u16,
    /// What a large quantum computer would do to it.
    pub quantum: Quantum,
    /// Whether a FIPS or NIST recommendation approves the algorithm; says nothing of the module.
    pub approved: bool,
    /// Its state.
    pub state: String,
    /// Where the material of its first version comes from.
    pub origin: String,
    /// Whether its material may leave the hub.
    pub exportable: bool,
    /// The version that protects.
    pub primary_version: u32,
    /// How many versions there are.
    pub versions: u32,
    /// Versions whose material is there and that are not primary.
    pub old_versions: u32,
    /// Of those, versions past the recipient-usage period of the table.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub past_recipient_period: Vec<u32>,
    /// When it was created.
    pub created: Timestamp,
    /// When the primary version became active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activated: Option<Timestamp>,
    /// Its cryptoperiod.
    pub cryptoperiod: Cryptoperiod,
    /// Data protected: operations over all versions.
    pub protected: u64,
    /// Data processed.
    pub processed: u64,
    /// When it was last used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_use: Option<Timestamp>,
    /// Owners of the registration, where members were read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<String>,
}

/// The key inventory.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inventory {
    /// Keys by state.
    pub by_state: Vec<Count>,
    /// Keys by algorithm.
    pub by_algorithm: Vec<Count>,
    /// Keys that a large quantum computer would break.
    pub quantum_vulnerable: u64,
    /// Keys whose cryptoperiod is exceeded.
    pub exceeded: u64,
    /// The keys.
    pub keys: Vec<InventoryKey>,
    /// The table the cryptoperiods come from, where nobody says otherwise.
    pub table: &'static [Row],
    /// Where it stands.
    pub table_source: &'static str,
}

/// Rotation of one key.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RotationKey {
    /// Its uid.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// Its registration.
    pub registration: String,
    /// Its state.
    pub state: String,
    /// The rotation policy in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<RotationPolicy>,
    /// When it is due by that policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// Whether it protects, and is due or past its cryptoperiod.
    pub overdue: bool,
    /// Why: `policy`, `cryptoperiod`, or both.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<&'static str>,
    /// When the primary version became active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// Rotations within the window, by people.
    pub by_people: u64,
    /// Rotations within the window, by the hub itself.
    pub by_schedule: u64,
    /// Versions that were replaced after more days than the cryptoperiod of today.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replaced_late: Vec<Late>,
    /// Versions replaced that still process.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub still_processing: Vec<OldVersion>,
}

/// A version that was replaced late.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Late {
    /// The version.
    pub version: u32,
    /// Days it had been active.
    pub days: u32,
}

/// A version that was replaced, and still processes.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OldVersion {
    /// The version.
    pub version: u32,
    /// Its state.
    pub state: String,
    /// When it last processed something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_process: Option<Timestamp>,
    /// Whether data may still be under it that the primary version should protect.
    pub needs_rewrap: bool,
}

/// Rotation.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    /// Keys that protect.
    pub protecting: u64,
    /// Of those, without a rotation policy that has a date.
    pub without_date: u64,
    /// Of those, overdue.
    pub overdue: u64,
    /// The keys that are not destroyed.
    pub keys: Vec<RotationKey>,
    /// The rotations of the window; absent without a log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<Happenings>,
}

/// The end of a key or a version.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// The key.
    pub key: String,
    /// Its name, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_name: Option<String>,
    /// The version; absent for the whole key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// `scheduled`, `cancelled` or `destroyed`.
    pub state: &'static str,
    /// Who asked for it, and when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<Happening>,
    /// Who took that back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<Happening>,
    /// The destruction: the log's entry and its leaf hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destroyed: Option<Happening>,
    /// Days between schedule and destruction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waited_days: Option<u32>,
}

/// Destruction.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Destruction {
    /// Destroyed within the window.
    pub destroyed: u64,
    /// Waiting at its end.
    pub waiting: u64,
    /// Each.
    pub certificates: Vec<Certificate>,
}

/// What one participant could do and did with one key.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyUse {
    /// The key.
    pub key: String,
    /// Its name, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Actions that policy does not rule out now.
    pub could: Vec<Could>,
    /// What was done within the window; empty without a log.
    pub did: Vec<DidLine>,
    /// Uses that are permitted and did not happen within the window; empty without a log.
    pub unused: Vec<String>,
}

/// An action somebody may do.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Could {
    /// The action.
    pub action: String,
    /// `always` or `conditional`.
    pub decision: &'static str,
    /// By which policies and grants.
    pub by: Vec<String>,
}

/// An action somebody did.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DidLine {
    /// The action.
    pub action: String,
    /// How often it succeeded.
    pub done: u64,
    /// How often it was denied.
    pub denied: u64,
    /// How often it failed otherwise.
    pub failed: u64,
    /// First in the window.
    pub first: String,
    /// Last in the window.
    pub last: String,
}

/// A credential.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialLine {
    /// Its uid.
    pub uid: String,
    /// Its kind.
    pub method: String,
    /// What it is for.
    pub label: String,
    /// When it was issued.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// `good`, `expired` or `revoked`.
    pub state: &'static str,
    /// When it was last used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_use: Option<Timestamp>,
    /// Good, and not used for 90 days.
    pub idle: bool,
}

/// A grant.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantLine {
    /// Its uid.
    pub uid: String,
    /// On which key.
    pub key: String,
    /// To do what.
    pub actions: Vec<String>,
    /// What it is for.
    pub note: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Whether that has come.
    pub expired: bool,
}

/// One participant, seen from one registration.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Person {
    /// Its uid.
    pub uid: String,
    /// Its name; absent for one known from the log alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Whether suspended.
    pub suspended: bool,
    /// Known from the log alone: removed since, or of another registration.
    pub log_only: bool,
    /// Roles here.
    pub roles: Vec<String>,
    /// Credentials; absent where they could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Vec<CredentialLine>>,
    /// Grants held.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<GrantLine>,
    /// Whether its rights could be read.
    pub rights_known: bool,
    /// Actions on the registration itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub here: Vec<Could>,
    /// Keys.
    pub keys: Vec<KeyUse>,
}

/// The access review of one registration.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessReview {
    /// The registration.
    pub registration: String,
    /// Its name.
    pub name: String,
    /// Everybody who could or did.
    pub people: Vec<Person>,
    /// Keys that participants of other registrations may use by policies that name nobody.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub open_to_others: Vec<Open>,
}

/// A key that others may use.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Open {
    /// The key's name.
    pub key: String,
    /// By which policies.
    pub policies: Vec<String>,
}

/// Administrative changes.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    /// How many.
    pub all: u64,
    /// By action.
    pub by_action: Vec<Count>,
    /// Each.
    pub list: Happenings,
}

/// Denials.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Denials {
    /// Decisions that denied.
    pub all: u64,
    /// By action.
    pub by_action: Vec<Count>,
    /// By participant; `-` for nobody known.
    pub by_caller: Vec<Count>,
    /// By policy that forbade; denials that nothing permitted name none.
    pub by_policy: Vec<Count>,
    /// Failed authentications.
    pub unauthenticated: u64,
    /// Requests refused by limits.
    pub throttled: u64,
    /// Each.
    pub list: Happenings,
}

/// Who proposed and who activated a policy revision.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionControl {
    /// The revision.
    pub revision: String,
    /// The proposal; absent where policies came from files, or before the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proposed: Option<Happening>,
    /// Each activation.
    pub activated: Vec<Happening>,
    /// Whether everybody who activated it is somebody else than who proposed it; absent where
    /// either is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub two_people: Option<bool>,
}

/// Dual control: what can be shown, and what is not enforced.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Control {
    /// Policy revisions.
    pub revisions: Vec<RevisionControl>,
    /// Destructions that waited and could have been cancelled; of [`Destruction`].
    pub destructions_waited: u64,
    /// Destructions without their schedule in the log.
    pub destructions_unexplained: u64,
    /// Exports of key material.
    pub exports: u64,
    /// Roles and grants people gave to themselves.
    pub self_grants: Happenings,
    /// What the hub does not enforce today.
    pub not_enforced: &'static [&'static str],
}

/// Custody and substitution.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Custody {
    /// Keys whose material may leave the hub.
    pub exportable: Vec<String>,
    /// Keys whose material came from elsewhere.
    pub imported: Vec<String>,
    /// Exports, imports, changes of the primary version.
    pub transfers: Happenings,
    /// Starts, stops and recoveries of the hub itself.
    pub system: Happenings,
}

/// Integrity of the log.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Integrity {
    /// What was verified, in words.
    pub verified: Vec<String>,
    /// What that does not prove.
    pub limits: &'static [&'static str],
}

/// PCI DSS.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pci {
    /// The edition.
    pub edition: &'static str,
    /// What this table is and is not.
    pub note: &'static str,
    /// Its rows.
    pub rows: Vec<PciRow>,
}

/// A requirement, and what speaks to it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PciRow {
    /// Its number.
    pub requirement: &'static str,
    /// What it is about, in our words.
    pub about: &'static str,
    /// What in this report speaks to it.
    pub evidence: String,
    /// The reports it is in.
    pub reports: &'static [&'static str],
    /// What the hub cannot know.
    pub outside: &'static str,
}

/// Counts as a list, the most first, then by name.
#[must_use]
pub(crate) fn most_first(counts: &BTreeMap<String, u64>) -> Vec<Count> {
    let mut list = in_order(counts);
    list.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    list
}

/// Counts as a list by name.
#[must_use]
pub(crate) fn in_order(counts: &BTreeMap<String, u64>) -> Vec<Count> {
    counts.iter().map(|(name, count)| Count { name: name.clone(), count: *count }).collect()
}
