//! `tokens.revoke`, `tokens.listRevocations`, `tokens.restore`: tokens of other issuers that are
//! refused although they are genuine.

use std::time::Duration;

use hub_auth::jwt::{LONGEST_LIFE, MOST_LEEWAY, TokenRevocation, Which};
use hub_model::api::page::Page;
use hub_model::api::token::{RevokeTokens as Body, TokenRevocationView};
use hub_model::entry::Outcome;
use hub_model::principal::PeerAddress;
use hub_model::{Action, Identity, Timestamp, TokenRevocationId};
use hub_policy::Permit;
use hub_store::{Changes, layout};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::hub::Hub;
use crate::operation::{AtHub, Keeps, Lost, Operation, Scene};
use crate::page::{self, PageRequest};
use crate::perform::event;
use crate::plan::Plan;

const MAX_REASON: usize = 256;
/// The most bytes of a `jti`; a token has no room for many more.
const MAX_JTI: usize = 4096;
/// How far ahead `issuedBefore` may lie.
const MOST_AHEAD: Duration = Duration::from_secs(3_650 * 86_400);

/// A revocation as shown.
fn view(revocation: &TokenRevocation) -> TokenRevocationView {
    let (jti, subject, issued_before) = match &revocation.which {
        Which::Token { jti } => (Some(jti.clone()), None, None),
        Which::Subject { subject, before } => (None, Some(subject.clone()), Some(*before)),
    };
    TokenRevocationView {
        uid: revocation.id,
        issuer: revocation.issuer.clone(),
        jti,
        subject,
        issued_before,
        reason: revocation.reason.clone(),
        create_time: revocation.created,
        expire_time: revocation.expires,
    }
}

/// When the last token that was issued until then has ended, whatever the configuration says of
/// clocks and lives then: both are bounded.
fn last_end(issued: Timestamp) -> Timestamp {
    issued.plus(LONGEST_LIFE).plus(2 * MOST_LEEWAY)
}

/// Revokes tokens. In effect before the answer is sent.
#[derive(Debug)]
pub struct RevokeTokens {
    /// Which.
    pub body: Body,
}

impl RevokeTokens {
    fn which(&self, hub: &Hub, now: Timestamp) -> Result<Which, Error> {
        let invalid =
            |pointer, detail: &str| Err(Error::Invalid { pointer, detail: detail.to_owned() });
        let Body { issuer, jti, subject, issued_before, .. } = &self.body;
        match (jti, subject) {
            (Some(jti), None) => {
                if jti.is_empty() || jti.len() > MAX_JTI {
                    return invalid("/jti", "a `jti` has 1 to 4,096 bytes");
                }
                if issued_before.is_some() {
                    return invalid("/issuedBefore", "goes with `subject` only");
                }
                Ok(Which::Token { jti: jti.clone() })
            }
            (None, Some(subject)) => {
                if Identity::jwt(issuer, subject).is_err() {
                    return invalid("/subject", "no token can have this subject");
                }
                // The issuer's clock may be ahead by as much as is allowed it, and what it has
                // issued by now bears the date of its clock.
                let ahead = hub.rules().leeway(issuer);
                let before = issued_before.unwrap_or_else(|| now.plus(ahead));
                if before > now.plus(MOST_AHEAD) {
                    return invalid("/issuedBefore", "may lie at most 3,650 days ahead");
                }
                Ok(Which::Subject { subject: subject.clone(), before })
            }
            _ => invalid("", "one of `jti` and `subject` is needed"),
        }
    }
}

impl Operation for RevokeTokens {
    const ACTION: Action = Action::TokensRevoke;
    const KEEPS: Keeps = Keeps::Answer;
    type Place = AtHub;
    type Reply = TokenRevocationView;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtHub>,
    ) -> Result<Plan<TokenRevocationView>, Error> {
        let Scene { hub, now, .. } = scene;
        let issuer = &self.body.issuer;
        if !hub.rules().knows_issuer(issuer) {
            return Err(Error::Invalid {
                pointer: "/issuer",
                detail: "the configuration of the hub has no issuer of this name (`auth.jwt`)"
                    .to_owned(),
            });
        }
        if self.body.reason.len() > MAX_REASON {
            let detail = format!("the reason may have at most {MAX_REASON} bytes");
            return Err(Error::Invalid { pointer: "/reason", detail });
        }
        let mut which = self.which(hub, now)?;
        let id = which.id(hub.system_keys().privacy(), issuer);
        let path = layout::token_revocation(id);
        let found = hub.store().read::<TokenRevocation>(&path).await?;
        let mut changes = Changes::new();
        match &found {
            None => changes.check_absent(&path),
            Some(found) => changes.check_revision(&path, found.revision),
        };
        // Once more for the same revokes more, never less.
        let earlier = found.map(|found| found.value);
        if let (Which::Subject { before, .. }, Some(earlier)) = (&mut which, &earlier)
            && let Which::Subject { before: known, .. } = &earlier.which
        {
            *before = (*before).max(*known);
        }
        let last_issued = match &which {
            Which::Token { .. } => now,
            Which::Subject { before, .. } => now.max(*before),
        };
        let revocation = TokenRevocation {
            id,
            issuer: issuer.clone(),
            which,
            reason: self.body.reason.clone(),
            created: earlier.as_ref().map_or(now, |earlier| earlier.created),
            expires: earlier.map_or(now, |earlier| earlier.expires).max(last_end(last_issued)),
        };
        changes.put(&path, &revocation)?;
        // The id is a keyed hash: the trail names no subject by it.
        Ok(Plan::new(permit, view(&revocation)).changing(changes).detail(id.to_string()))
    }
}

/// Lists revocations.
#[derive(Debug)]
pub struct ListTokenRevocations {
    /// Which part.
    pub page: PageRequest,
}

impl Operation for ListTokenRevocations {
    const ACTION: Action = Action::TokensListRevocations;
    type Place = AtHub;
    type Reply = Page<TokenRevocationView>;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(
        &self,
        permit: Permit,
        scene: Scene<'_, AtHub>,
    ) -> Result<Plan<Page<TokenRevocationView>>, Error> {
        let prefix = layout::TOKEN_REVOCATIONS;
        let found = page::scan::<TokenRevocation>(scene.hub, prefix, &self.page).await?;
        let items = found.items.iter().map(|(_, record)| view(&record.value)).collect();
        Ok(Plan::new(permit, Page { items, next_page_token: found.next_page_token }))
    }
}

/// Takes a revocation back.
#[derive(Debug)]
pub struct RestoreTokens {
    /// Which.
    pub revocation: TokenRevocationId,
}

/// Nothing to show.
#[derive(Debug, Serialize, Deserialize)]
pub struct Restored {}

impl Operation for RestoreTokens {
    const ACTION: Action = Action::TokensRestore;
    type Place = AtHub;
    type Reply = Restored;

    async fn find(&self, _hub: &Hub) -> Result<AtHub, Lost> {
        Ok(AtHub)
    }

    async fn plan(&self, permit: Permit, scene: Scene<'_, AtHub>) -> Result<Plan<Restored>, Error> {
        let id = self.revocation;
        let path = layout::token_revocation(id);
        let found = scene.hub.store().read::<TokenRevocation>(&path).await?;
        let found = found.ok_or_else(|| Error::not_found("token revocation", id))?;
        let mut changes = Changes::new();
        changes.check_revision(&path, found.revision).delete(&path);
        Ok(Plan::new(permit, Restored {}).changing(changes).detail(id.to_string()))
    }
}

impl Hub {
    /// Forgets revocations of tokens that have all ended. Gives how many.
    ///
    /// # Errors
    /// When the store or the log fails.
    pub async fn sweep_token_revocations(&self) -> Result<usize, Error> {
        let now = self.clock().now();
        let mut ended = Vec::new();
        let mut after = None;
        loop {
            let prefix = layout::TOKEN_REVOCATIONS;
            let page = self.store().scan::<TokenRevocation>(prefix, after.as_ref(), 500).await?;
            for (path, record) in &page.records {
                if record.value.expires <= now {
                    ended.push((path.clone(), record.revision));
                }
            }
            match page.records.last() {
                Some((last, _)) if page.more => after = Some(last.clone()),
                _ => break,
            }
        }
        for chunk in ended.chunks(40) {
            let mut changes = Changes::new();
            for (path, revision) in chunk {
                changes.check_revision(path, *revision).delete(path);
            }
            let (action, address) = ("system.sweepTokenRevocations", PeerAddress::Unix);
            let count = u64::try_from(chunk.len()).unwrap_or(1);
            let entry = event(now, action, address, None, Outcome::OK, count);
            match self.log().appender().append(&entry, changes).await {
                // Revoked again meanwhile: left for the next sweep.
                Ok(_) | Err(hub_audit::Error::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(ended.len())
    }
}
