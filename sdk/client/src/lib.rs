//! Client of a Cipher Hub for applications and for the command line: typed calls over HTTP, HTTPS
//! or a Unix socket, with kept-alive connections, a deadline on every call and retries where they
//! cannot do harm.
//!
//! What must stay true: secrets travel as [`SecretBytes`] and [`hub_model::secret::SecretText`],
//! and this crate's copies of bodies are erased after use; an API key is never sent over plain
//! HTTP to another machine; a call is repeated only if doing it twice equals doing it once;
//! redirects are not followed.
//!
//! ```no_run
//! use cipher_hub_client::{Client, EncryptionContext, SecretBytes};
//!
//! # async fn example() -> Result<(), cipher_hub_client::Error> {
//! let hub = Client::builder("unix:/run/cipher-hub/hub.sock")
//!     .api_key_file("/run/credentials/shop/api-key")
//!     .build()?;
//!
//! let context = EncryptionContext::default();
//! let card = SecretBytes::new(b"4242 4242 4242 4242".to_vec());
//! let sealed = hub.encrypt("shop", "orders", card, &context).await?;
//! let opened = hub.decrypt("shop", &sealed.ciphertext, &context).await?;
//! assert_eq!(opened.plaintext.expose_secret(), b"4242 4242 4242 4242");
//! # Ok(())
//! # }
//! ```
//!
//! `cargo run -p cipher-hub-client --example round-trip` does the same against a running hub.

mod address;
mod builder;
mod call;
mod client;
mod connect;
mod envelope;
mod error;
mod own_certificate;
mod retry;
mod routes;
mod stream;
mod token;

pub use hub_model as model;
pub use hub_model::{EncryptionContext, SecretBytes};

pub use address::Address;
pub use builder::ClientBuilder;
pub use client::{Client, Tagged};
pub use envelope::{BRANCH_PAIR, Envelope, EnvelopeBuilder, EnvelopeError, MAX_ENVELOPE_PLAINTEXT};
pub use error::Error;
pub use retry::RetryPolicy;
pub use routes::{AuditExport, AuditQuery, KeyStep, PageRequest};
pub use stream::ByteStream;

/// Most bytes one `encrypt` takes; larger data is for [`Envelope`] or a stream.
pub const MAX_PLAINTEXT: usize = 64 * 1024;
