//! Rows of participants, their credentials and roles.

use http::Method;
use hub_model::Role;
use hub_model::api::{page::Page, participant};
use hub_operations::participant as ptc;

use super::Route;

/// The rows.
pub(super) fn rows() -> Vec<Route> {
    const ALL: &str = "/v1/registrations/{registration}/participants";
    const ONE: &str = "/v1/registrations/{registration}/participants/{participant}";
    const SUSPEND: &str = "/v1/registrations/{registration}/participants/{participant}:suspend";
    const RESUME: &str = "/v1/registrations/{registration}/participants/{participant}:resume";
    const CREDENTIALS: &str =
        "/v1/registrations/{registration}/participants/{participant}/credentials";
    const CREDENTIAL: &str =
        "/v1/registrations/{registration}/participants/{participant}/credentials/{credential}";
    const ROTATE_CREDENTIAL: &str = "/v1/registrations/{registration}/participants/{participant}/credentials/{credential}:rotate";
    const MEMBERS: &str = "/v1/registrations/{registration}/roles/{role}/members";
    const MEMBER: &str = "/v1/registrations/{registration}/roles/{role}/members/{participant}";
    vec![
        Route::new(Method::POST, ALL, |p| {
            let registration = p.param("registration")?;
            Ok(ptc::CreateParticipant { registration, body: p.json()? })
        })
        .takes::<participant::CreateParticipant>()
        .gives::<participant::ParticipantView>()
        .creates(),
        Route::new(Method::GET, ALL, |p| {
            let registration = p.param("registration")?;
            Ok(ptc::ListParticipants { registration, page: p.page()? })
        })
        .gives::<Page<participant::ParticipantView>>()
        .paged(),
        Route::new(Method::GET, ONE, |p| {
            let registration = p.param("registration")?;
            Ok(ptc::GetParticipant { registration, participant: p.param("participant")? })
        })
        .gives::<participant::ParticipantView>(),
        Route::new(Method::PATCH, ONE, |p| {
            let (registration, participant) = (p.param("registration")?, p.param("participant")?);
            Ok(ptc::UpdateParticipant { registration, participant, body: p.json()? })
        })
        .takes::<participant::PatchParticipant>()
        .gives::<participant::ParticipantView>()
        .needs_match(),
        Route::new(Method::DELETE, ONE, |p| {
            let registration = p.param("registration")?;
            Ok(ptc::RemoveParticipant { registration, participant: p.param("participant")? })
        })
        .empty()
        .needs_match(),
        Route::new(Method::POST, SUSPEND, |p| {
            let registration = p.param("registration")?;
            Ok(ptc::Suspend::<true> { registration, participant: p.param("participant")? })
        })
        .gives::<participant::ParticipantView>(),
        Route::new(Method::POST, RESUME, |p| {
            let registration = p.param("registration")?;
            Ok(ptc::Suspend::<false> { registration, participant: p.param("participant")? })
        })
        .gives::<participant::ParticipantView>(),
        Route::new(Method::POST, CREDENTIALS, |p| {
            let (registration, participant) = (p.param("registration")?, p.param("participant")?);
            Ok(ptc::IssueCredential { registration, participant, body: p.json_or_default()? })
        })
        .may_take::<participant::IssueCredential>()
        .gives::<participant::IssuedCredential>()
        .creates()
        .secret(),
        Route::new(Method::GET, CREDENTIALS, |p| {
            let (registration, participant) = (p.param("registration")?, p.param("participant")?);
            Ok(ptc::ListCredentials { registration, participant, page: p.page()? })
        })
        .gives::<Page<participant::CredentialView>>()
        .paged(),
        Route::new(Method::POST, ROTATE_CREDENTIAL, |p| {
            let (registration, participant) = (p.param("registration")?, p.param("participant")?);
            let credential = p.param("credential")?;
            let body = p.json_or_default()?;
            Ok(ptc::RotateCredential { registration, participant, credential, body })
        })
        .may_take::<participant::RotateCredential>()
        .gives::<participant::IssuedCredential>()
        .secret(),
        Route::new(Method::DELETE, CREDENTIAL, |p| {
            let (registration, participant) = (p.param("registration")?, p.param("participant")?);
            let credential = p.param("credential")?;
            let forget = p.query.flag("forget")?;
            Ok(ptc::RevokeCredential { registration, participant, credential, forget })
        })
        .asks(&["forget"])
        .empty(),
        Route::new(Method::GET, MEMBERS, |p| {
            let registration = p.param("registration")?;
            Ok(ptc::ListMembers { registration, role: p.param::<Role>("role")?, page: p.page()? })
        })
        .gives::<Page<participant::MemberView>>()
        .paged(),
        Route::new(Method::PUT, MEMBER, |p| {
            let (registration, participant) = (p.param("registration")?, p.param("participant")?);
            Ok(ptc::GrantRole { registration, role: p.param::<Role>("role")?, participant })
        })
        .empty(),
        Route::new(Method::DELETE, MEMBER, |p| {
            let (registration, participant) = (p.param("registration")?, p.param("participant")?);
            Ok(ptc::RevokeRole { registration, role: p.param::<Role>("role")?, participant })
        })
        .empty(),
    ]
}
