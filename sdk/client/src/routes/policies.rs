//! Revisions of the policies, and decisions that nobody asked for.

use http::Method;
use hub_model::api::audit::{Explain, Explanation};
use hub_model::api::page::Page;
use hub_model::api::policy::{
    Activated, PolicyCheck, PolicyFile, ProposeRevision, ReplayPolicies, Replayed, RevisionView,
    Shadowed, ValidatePolicies,
};

use super::PageRequest;
use crate::call::{Call, Path};
use crate::{Client, Error, Tagged};

fn revisions() -> Path {
    Path::new("/v1/policies/revisions")
}

fn verb(verb: &str) -> Path {
    Path::new("/v1/policies").verb(verb)
}

/// Revisions of the policies. They are named by their digest or the beginning of it, by `active`
/// or by `baseline`.
impl Client {
    /// Checks a policy set and keeps nothing.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn validate_policies(&self, files: Vec<PolicyFile>) -> Result<PolicyCheck, Error> {
        let call = Call::compute(verb("validate"), false);
        self.fetch(call.json(&ValidatePolicies { files })?).await
    }

    /// Keeps a policy set as a revision. What is kept already is answered as it is.
    ///
    /// # Errors
    /// Those of any call: see [`Error`]; `invalid_policy` lists every problem.
    pub async fn propose_revision(&self, body: &ProposeRevision) -> Result<RevisionView, Error> {
        self.fetch(Call::create(revisions()).json(body)?).await
    }

    /// Reads a revision with its files. Its ETag is what an activation gives.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn revision(&self, revision: &str) -> Result<Tagged<RevisionView>, Error> {
        self.fetch_tagged(Call::read(revisions().item(revision)?)).await
    }

    /// Lists the revisions kept, without their files, in order of their digests.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn revisions(&self, page: &PageRequest) -> Result<Page<RevisionView>, Error> {
        self.fetch(Call::read(page.on(revisions()))).await
    }

    /// Deletes a revision that is not in use.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn delete_revision(&self, revision: &str, etag: &str) -> Result<(), Error> {
        let path = revisions().item(revision)?;
        self.fetch_nothing(Call::change(Method::DELETE, path, etag)?).await
    }

    /// Decides by this revision from now on. A dry run tells what would be.
    ///
    /// # Errors
    /// Those of any call: see [`Error`]; `stale` when another was activated meanwhile.
    pub async fn activate_revision(&self, revision: &str, etag: &str) -> Result<Activated, Error> {
        let path = revisions().item(revision)?.verb("activate");
        self.fetch(Call::change(Method::POST, path, etag)?).await
    }

    /// Decides by the revision that was active before. A dry run tells what would be.
    ///
    /// # Errors
    /// As [`Client::activate_revision`].
    pub async fn roll_policies_back(&self, etag: &str) -> Result<Activated, Error> {
        self.fetch(Call::change(Method::POST, verb("rollback"), etag)?).await
    }

    /// Evaluates this revision beside the active one from now on, in place of any other.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn shadow_revision(&self, revision: &str) -> Result<Shadowed, Error> {
        self.fetch(Call::act(revisions().item(revision)?.verb("shadow"))).await
    }

    /// Evaluates none beside the active one any more.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn end_shadow(&self) -> Result<(), Error> {
        let path = Path::new("/v1/policies").then("shadow");
        self.fetch_nothing(Call::settle(Method::DELETE, path)).await
    }

    /// Decides recorded requests again under a candidate. An answer with `next` covers a part of
    /// the range: ask again with that as `after`.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn replay_policies(&self, body: &ReplayPolicies) -> Result<Replayed, Error> {
        self.fetch(Call::compute(verb("replay"), false).json(body)?).await
    }

    /// Asks how a request would be decided that nobody makes.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn explain_request(&self, body: &Explain) -> Result<Explanation, Error> {
        self.fetch(Call::compute(verb("explain"), false).json(body)?).await
    }
}
