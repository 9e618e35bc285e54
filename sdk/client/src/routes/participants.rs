//! Participants, their credentials and their roles.

use http::Method;
use hub_model::api::page::Page;
use hub_model::api::participant::{
    CreateParticipant, CredentialView, IssueCredential, IssuedCredential, MemberView,
    ParticipantView, PatchParticipant, RotateCredential,
};
use hub_model::{CredentialId, Role};

use super::PageRequest;
use crate::call::{Call, Path};
use crate::{Client, Error, Tagged};

fn participants(registration: &str) -> Result<Path, Error> {
    Ok(Path::registration(registration)?.then("participants"))
}

fn participant(registration: &str, participant: &str) -> Result<Path, Error> {
    participants(registration)?.item(participant)
}

fn members(registration: &str, role: Role) -> Result<Path, Error> {
    Ok(Path::registration(registration)?.then("roles").then(role.name()).then("members"))
}

/// Participants, credentials and roles. A participant is given by name or uid; one of `hub` that
/// is a member elsewhere, by uid.
impl Client {
    /// Creates a participant.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn create_participant(
        &self,
        registration: &str,
        body: &CreateParticipant,
    ) -> Result<Tagged<ParticipantView>, Error> {
        self.fetch_tagged(Call::create(participants(registration)?).json(body)?).await
    }

    /// Lists participants.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn participants(
        &self,
        registration: &str,
        page: &PageRequest,
    ) -> Result<Page<ParticipantView>, Error> {
        self.fetch(Call::read(page.on(participants(registration)?))).await
    }

    /// Reads a participant.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn participant(
        &self,
        registration: &str,
        name: &str,
    ) -> Result<Tagged<ParticipantView>, Error> {
        self.fetch_tagged(Call::read(participant(registration, name)?)).await
    }

    /// Changes the participant that has this ETag.
    ///
    /// # Errors
    /// Those of any call: see [`Error`]; `412` when it changed meanwhile.
    pub async fn update_participant(
        &self,
        registration: &str,
        name: &str,
        etag: &str,
        patch: &PatchParticipant,
    ) -> Result<Tagged<ParticipantView>, Error> {
        let path = participant(registration, name)?;
        self.fetch_tagged(Call::change(Method::PATCH, path, etag)?.json(patch)?).await
    }

    /// Removes the participant that has this ETag, and its credentials.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn remove_participant(
        &self,
        registration: &str,
        name: &str,
        etag: &str,
    ) -> Result<(), Error> {
        let path = participant(registration, name)?;
        self.fetch_nothing(Call::change(Method::DELETE, path, etag)?).await
    }

    /// Suspends a participant: it can do nothing until resumed.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn suspend_participant(
        &self,
        registration: &str,
        name: &str,
    ) -> Result<ParticipantView, Error> {
        self.fetch(Call::act(participant(registration, name)?.verb("suspend"))).await
    }

    /// Resumes a suspended participant.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn resume_participant(
        &self,
        registration: &str,
        name: &str,
    ) -> Result<ParticipantView, Error> {
        self.fetch(Call::act(participant(registration, name)?.verb("resume"))).await
    }

    /// Issues an API key, or binds an identity from outside. A key's secret is in this answer only: when the answer is lost, a repetition
    /// fails with the code `result_withheld`; revoke that credential and issue another.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn issue_credential(
        &self,
        registration: &str,
        name: &str,
        body: &IssueCredential,
    ) -> Result<IssuedCredential, Error> {
        let path = participant(registration, name)?.then("credentials");
        self.fetch(Call::create(path).json(body)?).await
    }

    /// Gives an API key a new secret, in this answer only; the old one stays good for a while.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn rotate_credential(
        &self,
        registration: &str,
        name: &str,
        credential: CredentialId,
        body: &RotateCredential,
    ) -> Result<IssuedCredential, Error> {
        let path = participant(registration, name)?.then("credentials");
        let path = path.item(&credential.to_string())?.verb("rotate");
        self.fetch(Call::create(path).json(body)?).await
    }

    /// Lists a participant's credentials.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn credentials(
        &self,
        registration: &str,
        name: &str,
        page: &PageRequest,
    ) -> Result<Page<CredentialView>, Error> {
        let path = participant(registration, name)?.then("credentials");
        self.fetch(Call::read(page.on(path))).await
    }

    /// Revokes a credential.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn revoke_credential(
        &self,
        registration: &str,
        name: &str,
        credential: CredentialId,
    ) -> Result<(), Error> {
        let path = participant(registration, name)?.then("credentials");
        let path = path.item(&credential.to_string())?;
        self.fetch_nothing(Call::settle(Method::DELETE, path)).await
    }

    /// Revokes a credential and removes its record.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn forget_credential(
        &self,
        registration: &str,
        name: &str,
        credential: CredentialId,
    ) -> Result<(), Error> {
        let path = participant(registration, name)?.then("credentials");
        let path = path.item(&credential.to_string())?.query("forget", "true");
        self.fetch_nothing(Call::settle(Method::DELETE, path)).await
    }

    /// Lists the members of a role.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn role_members(
        &self,
        registration: &str,
        role: Role,
        page: &PageRequest,
    ) -> Result<Page<MemberView>, Error> {
        self.fetch(Call::read(page.on(members(registration, role)?))).await
    }

    /// Makes a participant a member of a role.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn grant_role(
        &self,
        registration: &str,
        role: Role,
        participant: &str,
    ) -> Result<(), Error> {
        let path = members(registration, role)?.item(participant)?;
        self.fetch_nothing(Call::settle(Method::PUT, path)).await
    }

    /// Ends a participant's membership of a role.
    ///
    /// # Errors
    /// Those of any call: see [`Error`].
    pub async fn revoke_role(
        &self,
        registration: &str,
        role: Role,
        participant: &str,
    ) -> Result<(), Error> {
        let path = members(registration, role)?.item(participant)?;
        self.fetch_nothing(Call::settle(Method::DELETE, path)).await
    }
}
