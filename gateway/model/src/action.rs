//! Every authorizable verb. One id is the OpenAPI `operationId`, the Cedar action, the `action` of
//! an audit entry and the span attribute.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// What kind of thing an action is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceKind {
    /// The hub itself.
    Hub,
    /// A registration.
    Registration,
    /// A key.
    Key,
}

macro_rules! actions {
    ($($variant:ident = $name:literal on $kind:ident : $doc:literal;)*) => {
        /// An authorizable verb.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Action {
            $(#[doc = $doc] $variant,)*
        }

        impl Action {
            /// Every action.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its id.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it is done to.
            #[must_use]
            pub const fn resource_kind(self) -> ResourceKind {
                match self { $(Self::$variant => ResourceKind::$kind,)* }
            }

            /// One line for people.
            #[must_use]
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$variant => $doc,)* }
            }
        }
    };
}

actions! {
    KeysEncrypt = "keys.encrypt" on Key: "Encrypt data under a key's primary version";
    KeysDecrypt = "keys.decrypt" on Key: "Decrypt data";
    KeysRewrap = "keys.rewrap" on Key: "Encrypt again under the primary version, without showing the plaintext";
    KeysRebind = "keys.rebind" on Key: "Give a ciphertext another encryption context while it is rewrapped";
    KeysSign = "keys.sign" on Key: "Sign a message or its digest";
    KeysVerify = "keys.verify" on Key: "Verify a signature";
    KeysMac = "keys.mac" on Key: "Compute a message authentication code";
    KeysVerifyMac = "keys.verifyMac" on Key: "Verify a message authentication code";
    KeysGenerateDataKey = "keys.generateDataKey" on Key: "Draw a data key or a key pair, and encrypt it under the key";
    KeysWrap = "keys.wrap" on Key: "Wrap key bytes with AES key wrap";
    KeysUnwrap = "keys.unwrap" on Key: "Unwrap key bytes";
    KeysDerive = "keys.derive" on Key: "Derive a secret";
    KeysAgree = "keys.agree" on Key: "Agree on a secret with a peer's public key";
    KeysEncapsulate = "keys.encapsulate" on Key: "Make a secret and the ciphertext that carries it";
    KeysDecapsulate = "keys.decapsulate" on Key: "Read the secret a ciphertext carries";
    KeysGetPublicKey = "keys.getPublicKey" on Key: "Read the public half of a key";
    RegistrationsJwks = "registrations.jwks" on Registration: "Read the public halves of every signing key, as a JSON Web Key Set";
    RegistrationsRandom = "registrations.random" on Registration: "Draw random bytes";
    RegistrationsHash = "registrations.hash" on Registration: "Hash a message";
    KeysCreate = "keys.create" on Registration: "Create a key";
    KeysImportJob = "keys.importJob" on Registration: "Make a key to wrap one key with, for its import";
    KeysImport = "keys.import" on Registration: "Import a key that was wrapped for an import job";
    KeysImportVersion = "keys.importVersion" on Key: "Import a version of an imported key, and make it primary";
    KeysExport = "keys.export" on Key: "Export a version of an exportable key, wrapped for a recipient";
    KeysList = "keys.list" on Registration: "List keys";
    KeysGet = "keys.get" on Key: "Read a key's facts";
    KeysListVersions = "keys.listVersions" on Key: "Read the versions of a key";
    KeysUpdate = "keys.update" on Key: "Change a key's tags, rotation policy and minimum version";
    KeysRotate = "keys.rotate" on Key: "Add a version and make it primary";
    KeysActivate = "keys.activate" on Key: "Make a pending key active before its date";
    KeysSuspend = "keys.suspend" on Key: "Take a key or a version out of use for a while";
    KeysResume = "keys.resume" on Key: "Put a suspended key or version back into use";
    KeysDeactivate = "keys.deactivate" on Key: "End new protection by a key or a version for ever";
    KeysMarkCompromised = "keys.markCompromised" on Key: "Note that others know a key or a version";
    KeysScheduleDestroy = "keys.scheduleDestroy" on Key: "Schedule the destruction of a key or a version";
    KeysCancelDestroy = "keys.cancelDestroy" on Key: "Cancel the destruction of a key or a version";
    KeysSetPrimary = "keys.setPrimary" on Key: "Make an existing version primary";
    KeysPutDataKey = "keys.putDataKey" on Key: "Keep a wrapped data key with the hub";
    KeysDeleteDataKey = "keys.deleteDataKey" on Key: "Delete a wrapped data key that the hub keeps";
    KeysGetDataKey = "keys.getDataKey" on Key: "Read a wrapped data key that the hub keeps";
    KeysListDataKeys = "keys.listDataKeys" on Key: "List the wrapped data keys that the hub keeps";
    KeysMigrate = "keys.migrate" on Key: "Encrypt the data keys that the hub keeps again under the primary version";
    OperationsGet = "operations.get" on Registration: "Read and watch a long operation";
    OperationsList = "operations.list" on Registration: "List long operations";
    OperationsCancel = "operations.cancel" on Registration: "Cancel a long operation";
    OperationsResume = "operations.resume" on Registration: "Go on with a long operation that failed or was cancelled";
    KeysUseCompromised = "keys.useCompromised" on Key: "Process data with a compromised key or version";
    RegistrationsCreate = "registrations.create" on Hub: "Create a registration";
    RegistrationsList = "registrations.list" on Hub: "List registrations";
    RegistrationsGet = "registrations.get" on Registration: "Read a registration's facts";
    RegistrationsUpdate = "registrations.update" on Registration: "Change a registration";
    RegistrationsFreeze = "registrations.freeze" on Registration: "Make a registration read-only";
    RegistrationsUnfreeze = "registrations.unfreeze" on Registration: "Make a frozen registration usable again";
    RegistrationsDelete = "registrations.delete" on Registration: "Erase a frozen registration and everything in it";
    QuotasGet = "quotas.get" on Registration: "Read the quotas of a registration";
    QuotasSet = "quotas.set" on Registration: "Set the quotas owners set for their registration";
    QuotasBound = "quotas.bound" on Registration: "Set the quotas the hub sets for a registration";
    ParticipantsCreate = "participants.create" on Registration: "Create a participant";
    ParticipantsList = "participants.list" on Registration: "List participants";
    ParticipantsGet = "participants.get" on Registration: "Read a participant's facts";
    ParticipantsUpdate = "participants.update" on Registration: "Change a participant's tags";
    ParticipantsSuspend = "participants.suspend" on Registration: "Suspend a participant";
    ParticipantsResume = "participants.resume" on Registration: "Resume a suspended participant";
    ParticipantsRemove = "participants.remove" on Registration: "Remove a participant and its credentials";
    CredentialsIssue = "credentials.issue" on Registration: "Issue an API key to a participant";
    CredentialsRotate = "credentials.rotate" on Registration: "Give an API key a new secret";
    CredentialsList = "credentials.list" on Registration: "List a participant's credentials";
    CredentialsRevoke = "credentials.revoke" on Registration: "Revoke a credential";
    RolesList = "roles.list" on Registration: "List the members of a role";
    RolesGrant = "roles.grant" on Registration: "Add a member to a role";
    RolesRevoke = "roles.revoke" on Registration: "Remove a member from a role";
    TokensRevoke = "tokens.revoke" on Hub: "Revoke tokens of another issuer";
    TokensListRevocations = "tokens.listRevocations" on Hub: "List revocations of tokens";
    TokensRestore = "tokens.restore" on Hub: "Take the revocation of tokens back";
    GrantsCreate = "grants.create" on Key: "Grant a participant some actions on a key";
    GrantsList = "grants.list" on Key: "List the grants on a key";
    GrantsGet = "grants.get" on Key: "Read a grant on a key";
    GrantsDelete = "grants.delete" on Key: "Take a grant on a key away";
    AccessWhoCan = "access.whoCan" on Key: "Ask who may do an action with a key";
    AccessOfParticipant = "access.ofParticipant" on Registration: "Ask what a participant may do in a registration";
    AuditRead = "audit.read" on Hub: "Read the hub's audit trail";
    AuditReceipt = "audit.receipt" on Registration: "Have an entry of the audit log proven";
    AuditOwnReceipt = "audit.ownReceipt" on Hub: "Have an entry of one's own proven";
    AuditConsistency = "audit.consistency" on Hub: "Have it proven that the audit log only grew";
    AuditReadRegistration = "audit.readRegistration" on Registration: "Read the audit trail of a registration";
    AuditArchive = "audit.archive" on Hub: "Have old entries of the audit trail archived";
    AuditReadCheckpoints = "audit.readCheckpoints" on Hub: "Read checkpoints of the audit log and the keys that sign them";
    AuditRotateSigningKey = "audit.rotateSigningKey" on Hub: "Give the audit log another key to sign checkpoints with";
    PoliciesExplain = "policies.explain" on Hub: "Explain a past decision, or one that nobody asked for";
    PoliciesValidate = "policies.validate" on Hub: "Check policies without keeping them";
    PoliciesPropose = "policies.propose" on Hub: "Keep policies as a revision";
    PoliciesGet = "policies.get" on Hub: "Read a revision of the policies";
    PoliciesList = "policies.list" on Hub: "List revisions of the policies";
    PoliciesDelete = "policies.delete" on Hub: "Delete a revision of the policies that is not in use";
    PoliciesActivate = "policies.activate" on Hub: "Decide by another revision of the policies";
    PoliciesRollback = "policies.rollback" on Hub: "Decide by the revision that was active before";
    PoliciesShadow = "policies.shadow" on Hub: "Evaluate a revision beside the active one";
    PoliciesReplay = "policies.replay" on Hub: "Decide recorded requests again under a candidate";
    PluginsList = "plugins.list" on Hub: "List plugins";
    PluginsGet = "plugins.get" on Hub: "Read a plugin with its settings and health";
    PluginsInstall = "plugins.install" on Hub: "Install a plugin or a version of one";
    PluginsUpdate = "plugins.update" on Hub: "Change, enable, disable or roll back a plugin";
    PluginsDelete = "plugins.delete" on Hub: "Remove a plugin with its versions";
    SystemUnblock = "system.unblock" on Hub: "Lift blocks that unusual behaviour has led to";
    SystemStatus = "system.status" on Hub: "Read the hub's status";
    SystemWhoami = "system.whoami" on Hub: "Read who one is";
}

impl Action {
    /// Whether it is the use of a key: what policies call `UseKey`, with the encryption context and
    /// the size of the payload in sight.
    #[must_use]
    pub const fn uses_key(self) -> bool {
        matches!(
            self,
            Self::KeysEncrypt
                | Self::KeysDecrypt
                | Self::KeysRewrap
                | Self::KeysRebind
                | Self::KeysSign
                | Self::KeysVerify
                | Self::KeysMac
                | Self::KeysVerifyMac
                | Self::KeysGenerateDataKey
                | Self::KeysWrap
                | Self::KeysUnwrap
                | Self::KeysDerive
                | Self::KeysAgree
                | Self::KeysEncapsulate
                | Self::KeysDecapsulate
                | Self::KeysPutDataKey
        )
    }
}

impl Action {
    /// Whether it can be granted to one participant on one key: the uses of keys and what reads
    /// them, each by its own name; nothing that changes a key, its members or its registration.
    #[must_use]
    pub const fn grantable(self) -> bool {
        self.uses_key()
            || matches!(
                self,
                Self::KeysGet
                    | Self::KeysListVersions
                    | Self::KeysGetPublicKey
                    | Self::KeysGetDataKey
                    | Self::KeysListDataKeys
                    | Self::KeysUseCompromised
            )
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Action {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.iter().copied().find(|action| action.name() == text).ok_or_else(|| Error::Word {
            kind: "action",
            text: text.chars().take(64).collect(),
            known: Self::ALL.iter().map(|a| a.name()).collect::<Vec<_>>().join(", "),
        })
    }
}
