//! Where each kind of record lies. Paths hold ids and keyed hashes of names, never names.
//!
//! | path | record |
//! | --- | --- |
//! | `m/hub` | the hub itself |
//! | `r/<reg>` | a registration |
//! | `e/<reg>/<version>` | a registration's KEK, wrapped under the root key |
//! | `p/<reg>/<ptc>` | a participant |
//! | `c/<crd>` | a credential |
//! | `o/<ptc>/<crd>` | which credentials a participant has |
//! | `l/<crd>` | when a credential was last used |
//! | `a/<token>` | which credential an identity from outside stands for |
//! | `k/<reg>/<key>` | a key's facts |
//! | `v/<key>/<version>` | a version's material, wrapped under the KEK |
//! | `u/<key>/<version>` | how much a version was used, in blocks ahead of use |
//! | `y/<key>/<token>` | a data key that the hub keeps, wrapped under the key |
//! | `f/<reg>/<op>` | a long operation |
//! | `n/<scope>/<token>` | which id a name stands for |
//! | `i/<ptc>/<token>` | the answer kept for an idempotency key |
//! | `j/<reg>/<job>` | an import job; its private key wrapped under the KEK |
//! | `d/<reg>` | a registration being erased |
//! | `t/<date>/<reg>/<key>` | the agenda: when the hub looks at a key again by itself |
//! | `z/<trv>` | the revocation of tokens of another issuer |
//! | `g/<digest>` | a revision of the policies: who proposed it, when, how much of it |
//! | `h/<digest>` | its files |
//! | `m/policies` | which revision is active, which were before, which is in the shadow |
//! | `plugins/names/<name>` | a plugin: its versions, which is active, its settings |
//! | `plugins/pins/<digest>/<key>` | that a key derives by a plugin's code |
//! | `plugins/removed` | which versions of plugins were removed last |
//! | `x/<key>` | a key whose destroyed material may still be in files |
//! | `m/keyring` | the hub's own keys, wrapped under the root key (the barrier cannot seal its own key) |
//! | `b/<writer>/<first>` | an archive of the writer's audit log |
//! | `m/signing-keys` | which keys sign or signed checkpoints |
//! | `w/<writer>/…` | head and audit batches of a writer |

use hub_crypto::HmacKey;
use hub_model::{
    CredentialId, ImportJobId, KeyId, OperationId, ParticipantId, RegistrationId, Timestamp,
    TokenRevocationId, extend::PluginDigest,
};

use crate::Path;

/// A path made of well-formed parts.
fn path(text: &str) -> Path {
    // INVARIANT: ids, hex and the literals below consist of path characters only, and stay short;
    // should that ever break, the record lands where nothing else does.
    Path::new(text).unwrap_or_else(|_| Path::invalid())
}

/// A keyed hash of a name, so that paths do not show names.
fn token(privacy: &HmacKey, scope: &str, name: &str) -> String {
    use std::fmt::Write as _;
    let tag = privacy.tag(&[b"name", &[0], scope.as_bytes(), &[0], name.as_bytes()]);
    tag.iter().take(16).fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The hub's record.
#[must_use]
pub fn hub() -> Path {
    path("m/hub")
}

/// The prefix of the records of a writer's archives.
#[must_use]
pub fn archives(writer: &str) -> String {
    format!("b/{writer}/")
}

/// The archive that begins with this entry.
#[must_use]
pub fn archive(writer: &str, first: u64) -> Path {
    path(&format!("b/{writer}/{first:016x}"))
}

/// The hub's own keys.
#[must_use]
pub fn keyring() -> Path {
    path("m/keyring")
}

/// Which keys sign or signed checkpoints: public halves, and between which entries.
#[must_use]
pub fn signing_keys() -> Path {
    path("m/signing-keys")
}

/// The prefix of the notes which keys derive by this code of a plugin.
#[must_use]
pub fn plugin_pins(digest: PluginDigest) -> String {
    format!("plugins/pins/{digest}/")
}

/// The note that a key derives by this code of a plugin.
#[must_use]
pub fn plugin_pin(digest: PluginDigest, key: KeyId) -> Path {
    path(&format!("plugins/pins/{digest}/{key}"))
}

/// The prefix of all registrations.
pub const REGISTRATIONS: &str = "r/";

/// A registration.
#[must_use]
pub fn registration(id: RegistrationId) -> Path {
    path(&format!("r/{id}"))
}

/// A registration's KEK.
#[must_use]
pub fn kek(id: RegistrationId, version: u32) -> Path {
    path(&format!("e/{id}/{version:08x}"))
}

/// The prefix of a registration's KEKs.
#[must_use]
pub fn keks(id: RegistrationId) -> String {
    format!("e/{id}/")
}

/// The prefix of a registration's participants.
#[must_use]
pub fn participants(registration: RegistrationId) -> String {
    format!("p/{registration}/")
}

/// A participant.
#[must_use]
pub fn participant(registration: RegistrationId, id: ParticipantId) -> Path {
    path(&format!("p/{registration}/{id}"))
}

/// A credential.
#[must_use]
pub fn credential(id: CredentialId) -> Path {
    path(&format!("c/{id}"))
}

/// The prefix of a participant's credentials.
#[must_use]
pub fn credentials_of(participant: ParticipantId) -> String {
    format!("o/{participant}/")
}

/// The note that a participant has a credential.
#[must_use]
pub fn credential_of(participant: ParticipantId, id: CredentialId) -> Path {
    path(&format!("o/{participant}/{id}"))
}

/// When a credential was last used.
#[must_use]
pub fn last_use(id: CredentialId) -> Path {
    path(&format!("l/{id}"))
}

/// Which credential an identity from outside stands for.
#[must_use]
pub fn identity(privacy: &HmacKey, identity: &str) -> Path {
    path(&format!("a/{}", token(privacy, "a", identity)))
}

/// The revocation of tokens of another issuer.
#[must_use]
pub fn token_revocation(id: TokenRevocationId) -> Path {
    path(&format!("z/{id}"))
}

/// The prefix of all revocations of tokens.
pub const TOKEN_REVOCATIONS: &str = "z/";

/// The prefix of a registration's keys.
#[must_use]
pub fn keys(registration: RegistrationId) -> String {
    format!("k/{registration}/")
}

/// A key.
#[must_use]
pub fn key(registration: RegistrationId, id: KeyId) -> Path {
    path(&format!("k/{registration}/{id}"))
}

/// A version's material.
#[must_use]
pub fn version(key: KeyId, number: u32) -> Path {
    path(&format!("v/{key}/{number:08x}"))
}

/// The prefix of a key's versions.
#[must_use]
pub fn versions(key: KeyId) -> String {
    format!("v/{key}/")
}

/// How much a version was used.
#[must_use]
pub fn usage(key: KeyId, number: u32) -> Path {
    path(&format!("u/{key}/{number:08x}"))
}

/// The prefix of the usage of a key's versions.
#[must_use]
pub fn usages(key: KeyId) -> String {
    format!("u/{key}/")
}

/// A data key that the hub keeps, by its name.
#[must_use]
pub fn data_key(privacy: &HmacKey, key: KeyId, name: &str) -> Path {
    let scope = format!("y/{key}");
    path(&format!("{scope}/{}", token(privacy, &scope, name)))
}

/// The prefix of the data keys under a key.
#[must_use]
pub fn data_keys(key: KeyId) -> String {
    format!("y/{key}/")
}

/// A long operation.
#[must_use]
pub fn operation(registration: RegistrationId, id: OperationId) -> Path {
    path(&format!("f/{registration}/{id}"))
}

/// The prefix of a registration's long operations.
#[must_use]
pub fn operations(registration: RegistrationId) -> String {
    format!("f/{registration}/")
}

/// The prefix of all long operations.
pub const OPERATIONS: &str = "f/";

/// What a registration's name stands for.
#[must_use]
pub fn registration_name(privacy: &HmacKey, name: &str) -> Path {
    path(&format!("n/r/{}", token(privacy, "r", name)))
}

/// What a participant's name stands for.
#[must_use]
pub fn participant_name(privacy: &HmacKey, registration: RegistrationId, name: &str) -> Path {
    let scope = format!("p/{registration}");
    path(&format!("n/{scope}/{}", token(privacy, &scope, name)))
}

/// What a key's name stands for.
#[must_use]
pub fn key_name(privacy: &HmacKey, registration: RegistrationId, name: &str) -> Path {
    let scope = format!("k/{registration}");
    path(&format!("n/{scope}/{}", token(privacy, &scope, name)))
}

/// The answer kept for an idempotency key of one participant.
#[must_use]
pub fn idempotency(privacy: &HmacKey, participant: ParticipantId, key: &str) -> Path {
    let scope = format!("i/{participant}");
    path(&format!("{scope}/{}", token(privacy, &scope, key)))
}

/// The prefix of all kept answers.
pub const IDEMPOTENCY: &str = "i/";

/// The prefix of all import jobs.
pub const IMPORT_JOBS: &str = "j/";

/// The prefix of a registration's import jobs.
#[must_use]
pub fn import_jobs(registration: RegistrationId) -> String {
    format!("j/{registration}/")
}

/// An import job.
#[must_use]
pub fn import_job(registration: RegistrationId, id: ImportJobId) -> Path {
    path(&format!("j/{registration}/{id}"))
}

/// A registration being erased.
#[must_use]
pub fn erasure(id: RegistrationId) -> Path {
    path(&format!("d/{id}"))
}

/// The prefix of registrations being erased.
pub const ERASURES: &str = "d/";

/// A key in the agenda, in order of date.
#[must_use]
pub fn agenda(at: Timestamp, registration: RegistrationId, key: KeyId) -> Path {
    let micros = u64::try_from(at.as_micros()).unwrap_or(0);
    path(&format!("t/{micros:016x}/{registration}/{key}"))
}

/// All keys of a registration in the agenda, before everything else.
#[must_use]
pub fn agenda_of_all(registration: RegistrationId) -> Path {
    path(&format!("t/{:016x}/{registration}", 0))
}

/// The prefix of the agenda.
pub const AGENDA: &str = "t/";

/// The prefix of all revisions of the policies.
pub const POLICY_REVISIONS: &str = "g/";

/// A revision of the policies, by its digest in hex.
#[must_use]
pub fn policy_revision(digest: &str) -> Path {
    path(&format!("g/{digest}"))
}

/// The files of a revision of the policies.
#[must_use]
pub fn policy_files(digest: &str) -> Path {
    path(&format!("h/{digest}"))
}

/// Which revision of the policies is active.
#[must_use]
pub fn active_policies() -> Path {
    path("m/policies")
}

/// A key whose destroyed material may still be in files.
#[must_use]
pub fn shredding(key: KeyId) -> Path {
    path(&format!("x/{key}"))
}

/// The prefix of keys whose destroyed material may still be in files.
pub const SHREDDINGS: &str = "x/";

/// The prefix of all plugins.
pub const PLUGINS: &str = "plugins/names/";

/// Which versions of plugins were removed: the folder does not bring them back.
#[must_use]
pub fn removed_plugins() -> Path {
    path("plugins/removed")
}

/// A plugin. Its name is no secret: it is in the file that its author gave away.
#[must_use]
pub fn plugin(name: &hub_model::Name) -> Path {
    path(&format!("{PLUGINS}{name}"))
}
