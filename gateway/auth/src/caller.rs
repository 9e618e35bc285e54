//! The authenticated caller: the value the authenticate stage gives and nothing else can make.

use std::sync::Arc;

use hub_model::identity::Via;
use hub_model::principal::PeerAddress;
use hub_model::{AuthMethod, Identity, Participant, Principal, Timestamp};

/// What is known about the connection a request came over.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Where it came from.
    pub address: PeerAddress,
    /// Whether it is encrypted.
    pub tls: bool,
    /// What the other end has proven by the connection itself.
    pub peer: Peer,
}

impl Channel {
    /// A connection whose other end has proven nothing.
    #[must_use]
    pub const fn anonymous(address: PeerAddress, tls: bool) -> Self {
        Self { address, tls, peer: Peer::Anonymous }
    }
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub enum Peer {
    /// Anybody.
    Anonymous,
    /// A process on this machine, as the kernel says (`SO_PEERCRED`, unix(7)).
    Unix {
        /// Its effective user.
        uid: u32,
        /// Its effective group.
        gid: u32,
    },
    /// The holder of a client certificate's key. The chain is verified.
    Certificate(Arc<ClientCertificate>),
}

/// A client certificate that was verified in the handshake.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// SHA-256 of the certificate in DER (`x5t#S256`, RFC 8705 §3.1).
    pub thumbprint: [u8; 32],
    /// Whom it names; none when it names nobody or several.
    pub identity: Option<Arc<Identity>>,
    /// From when it is good.
    pub not_before: Timestamp,
    /// Until when it is good, itself included.
    pub not_after: Timestamp,
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
    expires: Option<Timestamp>,
    channel: Channel,
    now: Timestamp,
}

impl Caller {
    pub(crate) fn new(
        principal: Principal,
        (participant, participant_revision): (Arc<Participant>, u64),
        expires: Option<Timestamp>,
        channel: Channel,
        now: Timestamp,
    ) -> Self {
        Self { principal, participant, participant_revision, expires, channel, now }
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

    /// Whether the connection proved a client certificate, whatever the caller authenticated by.
    #[must_use]
    pub const fn mutual_tls(&self) -> bool {
        matches!(self.channel.peer, Peer::Certificate(_))
    }

    /// The SPIFFE id of the connection's client certificate.
    #[must_use]
    pub fn spiffe_id(&self) -> Option<&str> {
        let Peer::Certificate(certificate) = &self.channel.peer else { return None };
        let identity = certificate.identity.as_ref()?;
        (*identity.via() == Via::Spiffe).then(|| identity.as_str())
    }

    /// When what it authenticated by ends, where that has an end.
    #[must_use]
    pub const fn expires(&self) -> Option<Timestamp> {
        self.expires
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
        mutual_tls: bool,
    ) -> Self {
        let principal = Principal {
            registration: participant.registration,
            participant: participant.id,
            method,
            identity: None,
            credential: Some(hub_model::CredentialId::generate()),
        };
        let mut channel = Channel::anonymous(address, mutual_tls);
        if mutual_tls {
            channel.peer = Peer::Certificate(Arc::new(ClientCertificate {
                thumbprint: [0; 32],
                identity: None,
                not_before: now,
                not_after: now,
            }));
        }
        Self::new(principal, (Arc::new(participant), revision), None, channel, now)
    }
}
