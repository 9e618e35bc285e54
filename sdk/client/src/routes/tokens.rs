//! Tokens of other issuers, and their revocation.

use hub_model::TokenRevocationId;
use hub_model::api::page::Page;
use hub_model::api::token::{RevokeTokens, TokenRevocationView};

use super::PageRequest;
use crate::call::{Call, Path};
use crate::{Client, Error};

fn revocations() -> Path {
    Path::new("/v1/tokenRevocations")
}

/// Tokens of other issuers.
impl Client {
    /// Revokes a token by its `jti`, or the tokens of a subject that were issued before.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn revoke_tokens(&self, body: &RevokeTokens) -> Result<TokenRevocationView, Error> {
        self.fetch(Call::create(revocations()).json(body)?).await
    }

    /// Lists revocations of tokens.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn token_revocations(
        &self,
        page: &PageRequest,
    ) -> Result<Page<TokenRevocationView>, Error> {
        self.fetch(Call::read(page.on(revocations()))).await
    }

    /// Takes a revocation of tokens back.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn restore_tokens(&self, revocation: TokenRevocationId) -> Result<(), Error> {
        let path = revocations().item(&revocation.to_string())?.verb("restore");
        self.fetch_nothing(Call::act(path)).await
    }
}
