//! The authenticated caller: the value the authenticate stage gives and nothing else can make.

use std::sync::Arc;

use hub_model::principal::PeerAddress;
use hub_model::{AuthMethod, Participant, Principal, Timestamp};

/// What is known about the connection a request came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Where it came from.
    pub address: PeerAddress,
    /// Whether it is encrypted.
    pub tls: bool,
}

/// An authenticated participant, over one channel, at one instant.
///
/// The constructor is private to this crate, so holding a `Caller` means that authentication
/// happened:
///
/// ```compile_fail
/// let caller = hub_auth::Caller { participant_revision: 1, ..todo!() };
/// ```
#[derive(Clone, Debug)]
pub struct Caller {
    principal: Principal,
    participant: Arc<Participant>,
    participant_revision: u64,
    channel: Channel,
    now: Timestamp,
}

impl Caller {
    pub(crate) const fn new(
        principal: Principal,
        participant: Arc<Participant>,
        participant_revision: u64,
        channel: Channel,
        now: Timestamp,
    ) -> Self {
        Self { principal, participant, participant_revision, channel, now }
    }

    /// Who, by which method and credential.
    #[must_use]
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The participant's facts, roles included, as read at authentication.
    #[must_use]
    pub fn participant(&self) -> &Participant {
        &self.participant
    }

    /// The store revision of those facts.
    #[must_use]
    pub const fn participant_revision(&self) -> u64 {
        self.participant_revision
    }

    /// Where the request came from.
    #[must_use]
    pub const fn address(&self) -> PeerAddress {
        self.channel.address
    }

    /// When the request was authenticated.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Whether the channel was encrypted.
    #[must_use]
    pub const fn tls(&self) -> bool {
        self.channel.tls
    }

    /// Whether the caller proved its identity by a client certificate.
    #[must_use]
    pub const fn mutual_tls(&self) -> bool {
        false
    }

    /// How the caller authenticated.
    #[must_use]
    pub const fn method(&self) -> AuthMethod {
        self.principal.method
    }

    /// A caller out of thin air, for tests of the floors above.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn for_tests(
        participant: Participant,
        revision: u64,
        method: AuthMethod,
        address: PeerAddress,
        now: Timestamp,
        _mutual_tls: bool,
    ) -> Self {
        let principal = Principal {
            registration: participant.registration,
            participant: participant.id,
            method,
            credential: hub_model::CredentialId::generate(),
        };
        let channel = Channel { address, tls: false };
        Self::new(principal, Arc::new(participant), revision, channel, now)
    }
}
