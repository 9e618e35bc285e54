//! The cryptographic operations.

use hub_model::api::crypto::{
    Batch, BatchAnswer, Decrypt, Decrypted, Encrypt, Encrypted, Rewrap, Rewrapped,
};
use tokio::io::AsyncRead;

use crate::call::{Call, Path};
use crate::stream::{AHEAD, AHEAD_LINE, BYTES, ByteStream, LINES, Outgoing, context_header};
use crate::{Client, EncryptionContext, Error, SecretBytes};

/// `…/keys/{key}:{verb}`, or `…:{verb}` when the ciphertext names the key.
fn operation(registration: &str, key: Option<&str>, verb: &str) -> Result<Call, Error> {
    let mut path = Path::registration(registration)?;
    if let Some(key) = key {
        path = path.then("keys").item(key)?;
    }
    Ok(Call::compute(path.verb(verb), true))
}

/// Cryptography. The context is not secret: it is bound to the ciphertext, logged by the hub, and
/// must be given again to decrypt.
impl Client {
    /// Encrypts up to [`crate::MAX_PLAINTEXT`] bytes under the key's primary version.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn encrypt(
        &self,
        registration: &str,
        key: &str,
        plaintext: SecretBytes,
        context: &EncryptionContext,
    ) -> Result<Encrypted, Error> {
        let body = Encrypt { plaintext, context: context.clone() };
        self.fetch(operation(registration, Some(key), "encrypt")?.json(&body)?).await
    }

    /// Decrypts; the ciphertext names its key.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn decrypt(
        &self,
        registration: &str,
        ciphertext: &str,
        context: &EncryptionContext,
    ) -> Result<Decrypted, Error> {
        let body = Decrypt { ciphertext: ciphertext.to_owned(), context: context.clone() };
        self.fetch(operation(registration, None, "decrypt")?.json(&body)?).await
    }

    /// Decrypts what must have been encrypted under this key.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn decrypt_with_key(
        &self,
        registration: &str,
        key: &str,
        ciphertext: &str,
        context: &EncryptionContext,
    ) -> Result<Decrypted, Error> {
        let body = Decrypt { ciphertext: ciphertext.to_owned(), context: context.clone() };
        self.fetch(operation(registration, Some(key), "decrypt")?.json(&body)?).await
    }

    /// Encrypts as many bytes as there are, under the key's primary version. The ciphertext comes
    /// while the plaintext goes: read one while the other is sent, for neither is kept. It is a
    /// binary stream (`docs/formats/stream.md`), not what [`Client::decrypt`] takes.
    ///
    /// The deadline of calls is here that of progress.
    ///
    /// # Errors
    /// Those of any call: see [`Error`]. A failure later on is one of reading the [`ByteStream`].
    pub async fn encrypt_stream(
        &self,
        registration: &str,
        key: &str,
        plaintext: impl AsyncRead + Send + 'static,
        context: &EncryptionContext,
    ) -> Result<ByteStream, Error> {
        let call = operation(registration, Some(key), "encryptStream")?;
        self.stream(
            call,
            (BYTES, Some(context_header(context)?)),
            Outgoing::reader(plaintext, AHEAD),
        )
        .await
    }

    /// Decrypts a stream made by [`Client::encrypt_stream`]. Only when reading has come to the end
    /// without an error was the plaintext whole: until then, be able to take it back.
    ///
    /// # Errors
    /// Those of any call: see [`Error`]. A failure later on is one of reading the [`ByteStream`].
    pub async fn decrypt_stream(
        &self,
        registration: &str,
        key: &str,
        ciphertext: impl AsyncRead + Send + 'static,
        context: &EncryptionContext,
    ) -> Result<ByteStream, Error> {
        let call = operation(registration, Some(key), "decryptStream")?;
        self.stream(
            call,
            (BYTES, Some(context_header(context)?)),
            Outgoing::reader(ciphertext, AHEAD),
        )
        .await
    }

    /// Encrypts again under the primary version of the key the ciphertext names, without showing
    /// the plaintext.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn rewrap(
        &self,
        registration: &str,
        ciphertext: &str,
        context: &EncryptionContext,
    ) -> Result<Rewrapped, Error> {
        let (ciphertext, context) = (ciphertext.to_owned(), context.clone());
        let body = Rewrap { ciphertext, context, new_context: None };
        self.fetch(operation(registration, None, "rewrap")?.json(&body)?).await
    }

    /// Rewraps what must have been encrypted under this key.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn rewrap_with_key(
        &self,
        registration: &str,
        key: &str,
        ciphertext: &str,
        context: &EncryptionContext,
    ) -> Result<Rewrapped, Error> {
        let (ciphertext, context) = (ciphertext.to_owned(), context.clone());
        let body = Rewrap { ciphertext, context, new_context: None };
        self.fetch(operation(registration, Some(key), "rewrap")?.json(&body)?).await
    }

    /// Rewraps and binds another encryption context: with the key named, or with the one the
    /// ciphertext names. Takes the permission `keys.rebind` with the new context, too.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn rebind(
        &self,
        registration: &str,
        key: Option<&str>,
        ciphertext: &str,
        context: &EncryptionContext,
        new_context: &EncryptionContext,
    ) -> Result<Rewrapped, Error> {
        let (ciphertext, context) = (ciphertext.to_owned(), context.clone());
        let body = Rewrap { ciphertext, context, new_context: Some(new_context.clone()) };
        self.fetch(operation(registration, key, "rewrap")?.json(&body)?).await
    }

    /// Rewraps any number of ciphertexts, one JSON object a line: `RewrapLine` out,
    /// `RewrapLineAnswer` back ([`crate::model::api::crypto`]). The answers come while the lines go:
    /// read one while the other is sent. A line that fails has its problem on its line.
    ///
    /// # Errors
    /// Those of any call: see [`Error`]. A failure later on is one of reading the [`ByteStream`].
    pub async fn rewrap_stream(
        &self,
        registration: &str,
        lines: impl AsyncRead + Send + 'static,
    ) -> Result<ByteStream, Error> {
        let mut call = operation(registration, None, "rewrapStream")?;
        call.can_be_dry = false;
        self.stream(call, (LINES, None), Outgoing::reader(lines, AHEAD_LINE)).await
    }

    /// Does up to 1,000 operations on keys of one registration. Each succeeds or fails by itself:
    /// look at the status of every item.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn batch(&self, registration: &str, batch: &Batch) -> Result<BatchAnswer, Error> {
        let path = Path::registration(registration)?.then("keys").verb("batch");
        self.fetch(Call::compute(path, true).json(batch)?).await
    }
}
