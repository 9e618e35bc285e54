//! What keys are used for beside encryption, public halves, random bytes and hashes.

use hub_model::api::crypto::Decrypted;
use hub_model::api::key::KeyView;
use hub_model::api::uses::{
    Agree, DataKey, Decapsulate, Decapsulated, Derive, DeriveKey, Derived, Encapsulate,
    Encapsulated, GenerateDataKey, Hash, Hashed, Jwks, Mac, MacTag, PublicKeyView, Random,
    RandomBytes, Sign, Signed, Unwrap, Verified, Verify, VerifyMac, Wrap, Wrapped,
};

use crate::call::{Call, Path};
use crate::{Client, Error, Tagged};

fn key_path(registration: &str, key: &str) -> Result<Path, Error> {
    Path::registration(registration)?.then("keys").item(key)
}

/// Use of keys. Each method takes the body its route takes.
impl Client {
    /// Signs a message, or its digest, under the primary version.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn sign(&self, registration: &str, key: &str, body: &Sign) -> Result<Signed, Error> {
        let path = key_path(registration, key)?.verb("sign");
        self.fetch(Call::compute(path, true).json(body)?).await
    }

    /// Verifies a signature. A wrong one is an answer: look at `valid`.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn verify(
        &self,
        registration: &str,
        key: &str,
        body: &Verify,
    ) -> Result<Verified, Error> {
        let path = key_path(registration, key)?.verb("verify");
        self.fetch(Call::compute(path, true).json(body)?).await
    }

    /// Computes a message authentication code under the primary version.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn mac(&self, registration: &str, key: &str, body: &Mac) -> Result<MacTag, Error> {
        let path = key_path(registration, key)?.verb("mac");
        self.fetch(Call::compute(path, true).json(body)?).await
    }

    /// Verifies a message authentication code: look at `valid`.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn verify_mac(
        &self,
        registration: &str,
        key: &str,
        body: &VerifyMac,
    ) -> Result<Verified, Error> {
        let path = key_path(registration, key)?.verb("verifyMac");
        self.fetch(Call::compute(path, true).json(body)?).await
    }

    /// Draws a data key, or a key pair, and encrypts it under the primary version.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn generate_data_key(
        &self,
        registration: &str,
        key: &str,
        body: &GenerateDataKey,
    ) -> Result<DataKey, Error> {
        let path = key_path(registration, key)?.verb("generateDataKey");
        self.fetch(Call::compute(path, true).json(body)?).await
    }

    /// Wraps key bytes with AES key wrap with padding.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn wrap(&self, registration: &str, key: &str, body: &Wrap) -> Result<Wrapped, Error> {
        let path = key_path(registration, key)?.verb("wrap");
        self.fetch(Call::compute(path, true).json(body)?).await
    }

    /// Unwraps key bytes.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn unwrap(
        &self,
        registration: &str,
        key: &str,
        body: &Unwrap,
    ) -> Result<Decrypted, Error> {
        let path = key_path(registration, key)?.verb("unwrap");
        self.fetch(Call::compute(path, true).json(body)?).await
    }

    /// Derives a secret.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn derive(
        &self,
        registration: &str,
        key: &str,
        body: &Derive,
    ) -> Result<Derived, Error> {
        let path = key_path(registration, key)?.verb("derive");
        self.fetch(Call::compute(path, true).json(body)?).await
    }

    /// Derives a new key and stores it; its bytes are not shown.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn derive_key(
        &self,
        registration: &str,
        key: &str,
        body: &DeriveKey,
    ) -> Result<Tagged<KeyView>, Error> {
        let path = key_path(registration, key)?.verb("deriveKey");
        self.fetch_tagged(Call::create(path).json(body)?).await
    }

    /// Agrees on a secret with a peer, and derives from it.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn agree(
        &self,
        registration: &str,
        key: &str,
        body: &Agree,
    ) -> Result<Derived, Error> {
        let path = key_path(registration, key)?.verb("agree");
        self.fetch(Call::compute(path, true).json(body)?).await
    }

    /// Makes a secret, and the ciphertext that carries it.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn encapsulate(
        &self,
        registration: &str,
        key: &str,
        body: &Encapsulate,
    ) -> Result<Encapsulated, Error> {
        let path = key_path(registration, key)?.verb("encapsulate");
        self.fetch(Call::compute(path, true).json(body)?).await
    }

    /// Reads the secret that a ciphertext carries.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn decapsulate(
        &self,
        registration: &str,
        key: &str,
        body: &Decapsulate,
    ) -> Result<Decapsulated, Error> {
        let path = key_path(registration, key)?.verb("decapsulate");
        self.fetch(Call::compute(path, true).json(body)?).await
    }

    /// Reads the public half of a version; of the primary one without a number.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn public_key(
        &self,
        registration: &str,
        key: &str,
        version: Option<u32>,
    ) -> Result<PublicKeyView, Error> {
        let mut path = key_path(registration, key)?.then("publicKey");
        if let Some(version) = version {
            path = path.query("version", &version.to_string());
        }
        self.fetch(Call::read(path)).await
    }

    /// Reads the key set of a registration: what its signatures verify with.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn jwks(&self, registration: &str) -> Result<Jwks, Error> {
        self.fetch(Call::read(Path::registration(registration)?.then("jwks"))).await
    }

    /// Draws random bytes.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn random(&self, registration: &str, body: &Random) -> Result<RandomBytes, Error> {
        let path = Path::registration(registration)?.verb("random");
        self.fetch(Call::compute(path, true).json(body)?).await
    }

    /// Hashes a message.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn hash(&self, registration: &str, body: &Hash) -> Result<Hashed, Error> {
        let path = Path::registration(registration)?.verb("hash");
        self.fetch(Call::compute(path, true).json(body)?).await
    }
}
