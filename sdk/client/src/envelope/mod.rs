//! Envelope encryption in the application: every message has a key of its own, derived here from a
//! branch key, and the branch key is a data key of the hub. So one call of the hub serves many
//! messages of any length, and their bytes never leave the application.
//!
//! What must stay true: a branch key lives in memory only, and serves for no longer and no more than
//! its bounds say (a process that is idle keeps it in memory until the next call for another branch,
//! or [`Envelope::forget`]); a message opens under the branch and the context it was made for, whole, or not at all.
//! Format: `docs/formats/envelope.md`. Decisions: `docs/adr/0035-*.md`.

mod cache;
mod error;
mod message;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hub_model::api::uses::{DataKeyForm, GenerateDataKey};
use hub_model::clock::SystemClock;
use hub_model::{Clock, EncryptionContext, SecretBytes};
use sha2::{Digest as _, Sha256};

use self::cache::{Bounds, BranchKey, Cache, Found};
pub use self::error::EnvelopeError;
pub use self::message::MAX_PLAINTEXT as MAX_ENVELOPE_PLAINTEXT;
use crate::{Client, Error};

/// What every branch key is bound to at the hub beside the context of its branch, so that no other
/// ciphertext serves as one.
pub const BRANCH_PAIR: (&str, &str) = ("cipher-hub/envelope", "1");
/// How long a caller waits at most for a branch key fetched ahead of time: there is a good one.
const AHEAD: Duration = Duration::from_secs(2);
/// How long after a failure none is fetched ahead of time.
const PAUSE: Duration = Duration::from_secs(15);

/// Encrypts and decrypts in the application under keys that a hub protects. Clones, and those made
/// by [`Envelope::branch`], share what is remembered.
///
/// ```no_run
/// use cipher_hub_client::{Client, EncryptionContext};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let hub = Client::builder("unix:/run/cipher-hub/hub.sock").build()?;
/// let envelope = hub.envelope("shop", "orders").build()?;
/// let context = serde_json::from_str(r#"{"order":"4711"}"#)?;
/// let message = envelope.encrypt(b"4242 4242 4242 4242", &context).await?;
/// let card = envelope.decrypt(&message, &context).await?;
/// assert_eq!(card.expose_secret(), b"4242 4242 4242 4242");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Envelope {
    shared: Arc<Shared>,
    /// The context of the branch, with [`BRANCH_PAIR`].
    branch: EncryptionContext,
}

struct Shared {
    hub: Client,
    registration: String,
    key: String,
    bounds: Bounds,
    clock: Arc<dyn Clock>,
    cache: Cache,
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { registration, key, bounds, .. } = &*self.shared;
        f.debug_struct("Envelope")
            .field("registration", registration)
            .field("key", key)
            .field("bounds", bounds)
            .finish_non_exhaustive()
    }
}

/// Settings of an [`Envelope`].
#[derive(Debug, Clone)]
pub struct EnvelopeBuilder {
    hub: Client,
    registration: String,
    key: String,
    branch: EncryptionContext,
    bounds: Bounds,
    clock: Arc<dyn Clock>,
}

impl Client {
    /// Envelope encryption under this key of a registration, which has to be for encryption.
    #[must_use]
    pub fn envelope(
        &self,
        registration: impl Into<String>,
        key: impl Into<String>,
    ) -> EnvelopeBuilder {
        EnvelopeBuilder {
            // Without an answer there is no branch key.
            hub: self.clone().with_dry_run(false),
            registration: registration.into(),
            key: key.into(),
            branch: EncryptionContext::default(),
            bounds: Bounds {
                age: Duration::from_secs(300),
                messages: 1 << 20,
                bytes: 1 << 40,
                branches: 1000,
            },
            clock: Arc::new(SystemClock),
        }
    }
}

impl EnvelopeBuilder {
    /// What branch keys are bound to at the hub: its policies see these pairs, and its log has
    /// them. Needed again to decrypt. None unless said; [`Envelope::branch`] is for others.
    #[must_use]
    pub fn branch(mut self, context: EncryptionContext) -> Self {
        self.branch = context;
        self
    }

    /// How long a branch key is used: five minutes unless said. For as long a hub that is away, or
    /// a permission that was taken back, goes unnoticed. At least a second.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.bounds.age = age.max(Duration::from_secs(1));
        self
    }

    /// How many messages are encrypted under one branch key: 2^20 unless said, one at least.
    #[must_use]
    pub fn max_messages(mut self, messages: u64) -> Self {
        self.bounds.messages = messages.max(1);
        self
    }

    /// How many bytes are encrypted under one branch key: 2^40 unless said. A message larger than
    /// that has one of its own.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.bounds.bytes = bytes;
        self
    }

    /// How many branch keys are remembered, for encryption and decryption together: 1,000 unless
    /// said.
    #[must_use]
    pub const fn max_branches(mut self, branches: usize) -> Self {
        self.bounds.branches = branches;
        self
    }

    /// The clock that ages are measured with: for tests.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Asks the hub for nothing yet.
    ///
    /// # Errors
    /// [`EnvelopeError::Context`].
    pub fn build(self) -> Result<Envelope, EnvelopeError> {
        let Self { hub, registration, key, branch, bounds, clock } = self;
        let branch = bound(&branch)?;
        let cache = Cache::default();
        let shared = Arc::new(Shared { hub, registration, key, bounds, clock, cache });
        Ok(Envelope { shared, branch })
    }
}

/// What a branch key is bound to.
fn bound(branch: &EncryptionContext) -> Result<EncryptionContext, EnvelopeError> {
    let (name, value) = BRANCH_PAIR;
    if branch.value(name).is_some() {
        return Err(EnvelopeError::Context);
    }
    let given = branch.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let pairs = given.chain([(name.to_owned(), value.to_owned())]).collect();
    EncryptionContext::new(pairs).map_err(|_| EnvelopeError::Context)
}

impl Envelope {
    /// The same with another branch, such as one for each tenant: its keys are bound to these pairs
    /// at the hub.
    ///
    /// # Errors
    /// [`EnvelopeError::Context`].
    pub fn branch(&self, context: &EncryptionContext) -> Result<Self, EnvelopeError> {
        Ok(Self { shared: Arc::clone(&self.shared), branch: bound(context)? })
    }

    /// Encrypts up to [`MAX_ENVELOPE_PLAINTEXT`] bytes. The context is bound to the message, is not
    /// in it, and is needed again to decrypt; the hub does not see it.
    ///
    /// # Errors
    /// [`EnvelopeError::Hub`] when a branch key is needed and the hub gives none;
    /// [`EnvelopeError::TooLong`].
    pub async fn encrypt(
        &self,
        plaintext: &[u8],
        context: &EncryptionContext,
    ) -> Result<Vec<u8>, EnvelopeError> {
        if plaintext.len() > MAX_ENVELOPE_PLAINTEXT {
            return Err(EnvelopeError::TooLong(plaintext.len()));
        }
        let bytes = u64::try_from(plaintext.len()).unwrap_or(u64::MAX);
        let id = self.id(b"encrypt", "");
        let branch = Box::pin(self.key(id, bytes, None)).await?;
        let mut salt = [0; message::SALT];
        getrandom::fill(&mut salt).map_err(|_| EnvelopeError::Random)?;
        message::seal(&branch.key, &branch.ciphertext, &salt, context, plaintext)
    }

    /// Decrypts what was encrypted with the same branch and context.
    ///
    /// # Errors
    /// [`EnvelopeError::NotAMessage`]; [`EnvelopeError::Open`] when it does not open, for whatever
    /// reason; [`EnvelopeError::Hub`] when its branch key is needed and the hub does not decrypt it.
    pub async fn decrypt(
        &self,
        message: &[u8],
        context: &EncryptionContext,
    ) -> Result<SecretBytes, EnvelopeError> {
        let parsed = message::parse(message)?;
        let id = self.id(b"decrypt", parsed.branch);
        let branch = Box::pin(self.key(id, 0, Some(parsed.branch))).await?;
        message::open(&branch.key, &parsed, context)
    }

    /// Forgets every branch key at once, of all branches: they are erased when what is under way
    /// has ended.
    pub fn forget(&self) {
        self.shared.cache.clear();
    }

    /// What a branch key is remembered by.
    fn id(&self, what: &[u8], ciphertext: &str) -> [u8; 32] {
        let mut id = Sha256::new();
        id.update(what);
        // Says its own length.
        id.update(self.branch.canonical());
        id.update(ciphertext.as_bytes());
        id.finalize().into()
    }

    /// The branch key to use: the one remembered, or one fetched by the first who needs it.
    async fn key(
        &self,
        id: [u8; 32],
        bytes: u64,
        ciphertext: Option<&str>,
    ) -> Result<Arc<BranchKey>, EnvelopeError> {
        let Shared { hub, bounds, clock, cache, .. } = &*self.shared;
        // Decrypting uses a key up by its age alone.
        let bounds = match ciphertext {
            None => *bounds,
            Some(_) => Bounds { messages: u64::MAX, bytes: u64::MAX, ..*bounds },
        };
        let place = cache.place(id, &bounds, clock.steady());
        let failures = match place.find(&bounds, clock.steady(), bytes) {
            Found::Fresh(branch) => return Ok(branch),
            Found::Ageing(branch) => {
                // One caller fetches the next one, and nobody is worse off when there is none.
                if let Ok(_turn) = place.turn.try_lock() {
                    let soon = hub.clone().with_timeout(AHEAD);
                    match self.fetch(&soon, ciphertext).await {
                        Ok(next) => place.put(&next),
                        Err(_) => place.put_off(clock.steady() + PAUSE),
                    }
                }
                return Ok(branch);
            }
            Found::Nothing(failures) => failures,
        };
        let _turn = place.turn.lock().await;
        if let Found::Fresh(branch) | Found::Ageing(branch) =
            place.find(&bounds, clock.steady(), bytes)
        {
            return Ok(branch);
        }
        if let Some(failure) = place.failed_since(failures) {
            return Err(failure);
        }
        match self.fetch(hub, ciphertext).await {
            Ok(branch) => {
                // INVARIANT: this message is counted before anybody else has the key. Whatever its
                // size, it is the first.
                branch.take(&bounds, bytes);
                place.put(&branch);
                Ok(branch)
            }
            Err(failure) => {
                place.put_failure(&failure);
                Err(failure)
            }
        }
    }

    /// Has the hub make a branch key, or decrypt this one.
    async fn fetch(
        &self,
        hub: &Client,
        ciphertext: Option<&str>,
    ) -> Result<Arc<BranchKey>, EnvelopeError> {
        let Shared { registration, key, clock, .. } = &*self.shared;
        // Its age begins when it is asked for.
        let now = clock.steady();
        let context = self.branch.clone();
        let (secret, ciphertext) = if let Some(ciphertext) = ciphertext {
            let answer = hub.decrypt_with_key(registration, key, ciphertext, &context).await;
            (answer.map_err(not_decrypted)?.plaintext, ciphertext.into())
        } else {
            let bytes = u32::try_from(message::KEY).ok();
            let body = GenerateDataKey { bytes, context, ..GenerateDataKey::default() };
            let answer = hub.generate_data_key(registration, key, &body).await;
            let answer = answer.map_err(|error| EnvelopeError::Hub(Arc::new(error)))?;
            let visible = answer.ciphertext.bytes().all(|byte| byte.is_ascii_graphic());
            if answer.form != DataKeyForm::Random
                || answer.ciphertext.is_empty()
                || answer.ciphertext.len() > message::MAX_BRANCH
                || !visible
            {
                return Err(EnvelopeError::BranchKey("the hub gave something else"));
            }
            let none = EnvelopeError::BranchKey("the hub gave it without its plaintext");
            (answer.plaintext.ok_or(none)?, answer.ciphertext.into())
        };
        if secret.len() != message::KEY {
            return Err(EnvelopeError::BranchKey("it has another length"));
        }
        Ok(Arc::new(BranchKey::new(secret, ciphertext, now)))
    }
}

/// A message whose branch key the hub does not open is one that does not open.
fn not_decrypted(error: Error) -> EnvelopeError {
    match error.code() {
        Some("decryption_failed") => EnvelopeError::Open,
        _ => EnvelopeError::Hub(Arc::new(error)),
    }
}
