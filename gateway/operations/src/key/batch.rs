//! Batches: every item is an operation of its own, authorized and audited by itself; all of them
//! share group commits. Never atomic.

use futures_util::future::join_all;
use hub_auth::Caller;
use hub_model::api::crypto::{
    BatchItem, BatchOp, BatchResult, Decrypt as DecryptBody, Encrypt as EncryptBody,
    Rewrap as RewrapBody,
};
use hub_model::entry::Outcome;
use hub_model::{Action, KeyId, RegistrationId};

use super::{Decrypt, DecryptAny, Encrypt, Rewrap, RewrapAny};
use crate::error::Failure;
use crate::hub::Hub;
use crate::operation::{Meta, Operation};
use crate::{Error, Ref};

/// Items planned at once: enough to fill a group commit, few enough to bound memory.
const WINDOW: usize = 256;

/// Which registration a batch works in.
#[derive(Debug)]
pub struct BatchKey {
    /// The registration.
    pub registration: Ref<RegistrationId>,
}

/// One answered item.
#[derive(Debug)]
pub struct Item {
    /// The item's `ref`.
    pub reference: Option<String>,
    /// Its outcome; `None` for a dry run that would have succeeded.
    pub outcome: Result<Option<BatchResult>, Failure>,
}

impl BatchKey {
    /// Does the items, in order of windows; the answers are in the items' order.
    pub async fn perform(
        &self,
        hub: &Hub,
        caller: &Caller,
        items: Vec<BatchItem>,
        meta: &Meta,
    ) -> Vec<Item> {
        let mut answers = Vec::with_capacity(items.len());
        let mut items = items.into_iter().peekable();
        while items.peek().is_some() {
            let window: Vec<_> = items.by_ref().take(WINDOW).collect();
            let work = window.into_iter().map(|item| self.item(hub, caller, item, meta));
            answers.extend(join_all(work).await);
            tokio::task::yield_now().await;
        }
        answers
    }

    async fn item(&self, hub: &Hub, caller: &Caller, item: BatchItem, meta: &Meta) -> Item {
        let BatchItem { reference, key, op, plaintext, ciphertext, context } = item;
        let registration = self.registration.clone();
        let key: Option<Ref<KeyId>> = key.map(Ref::Name);
        let outcome = match (op, key, plaintext, ciphertext) {
            (BatchOp::Encrypt, Some(key), Some(plaintext), None) => {
                let body = EncryptBody { plaintext, context };
                let operation = Encrypt { registration, key, body };
                one(hub, caller, &operation, meta, BatchResult::Encrypted).await
            }
            (BatchOp::Decrypt, key, None, Some(ciphertext)) => {
                let body = DecryptBody { ciphertext, context };
                let wrap = BatchResult::Decrypted;
                match key {
                    Some(key) => {
                        one(hub, caller, &Decrypt::new(registration, key, body), meta, wrap).await
                    }
                    None => {
                        one(hub, caller, &DecryptAny::new(registration, body), meta, wrap).await
                    }
                }
            }
            (BatchOp::Rewrap, key, None, Some(ciphertext)) => {
                let body = RewrapBody { ciphertext, context };
                let wrap = BatchResult::Rewrapped;
                match key {
                    Some(key) => {
                        one(hub, caller, &Rewrap::new(registration, key, body), meta, wrap).await
                    }
                    None => one(hub, caller, &RewrapAny::new(registration, body), meta, wrap).await,
                }
            }
            (op, ..) => Err(misshapen(hub, caller, op, meta).await),
        };
        Item { reference, outcome }
    }
}

async fn one<O: Operation>(
    hub: &Hub,
    caller: &Caller,
    operation: &O,
    meta: &Meta,
    wrap: impl FnOnce(O::Reply) -> BatchResult,
) -> Result<Option<BatchResult>, Failure> {
    hub.perform(caller, operation, meta).await.map(|done| done.reply.map(wrap))
}

/// An item whose members do not fit its verb.
async fn misshapen(hub: &Hub, caller: &Caller, op: BatchOp, meta: &Meta) -> Failure {
    let (action, detail) = match op {
        BatchOp::Encrypt => {
            (Action::KeysEncrypt, "`encrypt` takes `key` and `plaintext`, and no `ciphertext`")
        }
        BatchOp::Decrypt => {
            (Action::KeysDecrypt, "`decrypt` takes `ciphertext`, and no `plaintext`")
        }
        BatchOp::Rewrap => (Action::KeysRewrap, "`rewrap` takes `ciphertext`, and no `plaintext`"),
    };
    let error = Error::Invalid { pointer: "/items", detail: detail.to_owned() };
    let outcome = Outcome(error.code());
    match hub.record_refusal(caller, meta, action.name(), outcome).await {
        Ok(receipt) => {
            Failure { error, decision_id: None, seq: Some(receipt.seq()), algorithm: None }
        }
        Err(error) => Failure { error, decision_id: None, seq: None, algorithm: None },
    }
}
