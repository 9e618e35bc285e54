//! Batches: every item is an operation of its own, authorized and audited by itself; all of them
//! share group commits. Never atomic.

use hub_auth::Caller;
use hub_model::api::crypto::{
    BatchItem, BatchOp, BatchResult, Decrypt as DecryptBody, Encrypt as EncryptBody,
    Rewrap as RewrapBody,
};
use hub_model::api::key::KeyView;
use hub_model::entry::Outcome;
use hub_model::{Action, KeyId, RegistrationId};

use super::{
    Agree, Decapsulate, Decrypt, DecryptAny, Derive, DeriveKey, Encapsulate, Encrypt, ExportKey,
    GenerateDataKey, ImportKey, Mac, Rewrap, RewrapAny, Sign, Unwrap, Verify, VerifyMac, Wrap,
};
use crate::error::Failure;
use crate::hub::Hub;
use crate::operation::{Meta, Operation};
use crate::registration::{Hash, Random};
use crate::{Error, Ref};

/// Items planned at once: enough to fill a group commit, few enough to bound memory.
const WINDOW: usize = 256;

const KEYLESS: &str = "this verb takes its body in the member of its own name, and no `key`";
const OWN_BODY: &str = "this verb takes `key` and its body in the member of its own name, only";

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
            answers.extend(crate::all(work).await);
            tokio::task::yield_now().await;
        }
        answers
    }

    async fn item(&self, hub: &Hub, caller: &Caller, item: BatchItem, meta: &Meta) -> Item {
        let uses = bodies(&item);
        let registration = self.registration.clone();
        if !matches!(item.op, BatchOp::Encrypt | BatchOp::Decrypt | BatchOp::Rewrap) {
            let reference = item.reference.clone();
            let outcome = self.used(hub, caller, item, uses, meta).await;
            return Item { reference, outcome };
        }
        let BatchItem { reference, key, op, plaintext, ciphertext, context, new_context, .. } =
            item;
        if uses > 0 || (new_context.is_some() && op != BatchOp::Rewrap) {
            return Item { reference, outcome: Err(misshapen(hub, caller, op, meta).await) };
        }
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
                let body = RewrapBody { ciphertext, context, new_context };
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

impl BatchKey {
    /// An item whose verb has a body of its own.
    async fn used(
        &self,
        hub: &Hub,
        caller: &Caller,
        item: BatchItem,
        bodies: usize,
        meta: &Meta,
    ) -> Result<Option<BatchResult>, Failure> {
        let op = item.op;
        let plain = item.plaintext.is_none() && item.ciphertext.is_none();
        let bound = !item.context.is_empty() || item.new_context.is_some();
        let fits = plain && !bound && bodies <= 1;
        let keyless = matches!(op, BatchOp::Import | BatchOp::Random | BatchOp::Hash);
        if keyless && fits && item.key.is_none() {
            return self.keyless(hub, caller, item, meta).await;
        }
        let (Some(key), true) = (item.key.map(Ref::Name), fits) else {
            return Err(misshapen(hub, caller, op, meta).await);
        };
        let registration = self.registration.clone();
        macro_rules! used {
            ($operation:ident, $body:expr, $wrap:ident) => {
                match $body {
                    Some(body) => {
                        let operation = $operation { registration, key, body };
                        one(hub, caller, &operation, meta, BatchResult::$wrap).await
                    }
                    None => Err(misshapen(hub, caller, op, meta).await),
                }
            };
        }
        match op {
            BatchOp::Sign => used!(Sign, item.sign, Signed),
            BatchOp::Verify => used!(Verify, item.verify, Verified),
            BatchOp::Mac => used!(Mac, item.mac, MacTag),
            BatchOp::VerifyMac => used!(VerifyMac, item.verify_mac, Verified),
            BatchOp::GenerateDataKey => used!(GenerateDataKey, item.generate_data_key, DataKey),
            BatchOp::Wrap => used!(Wrap, item.wrap, Wrapped),
            BatchOp::Unwrap => used!(Unwrap, item.unwrap, Decrypted),
            BatchOp::Derive => used!(Derive, item.derive, Derived),
            BatchOp::Agree => used!(Agree, item.agree, Derived),
            BatchOp::Encapsulate if bodies == usize::from(item.encapsulate.is_some()) => {
                used!(Encapsulate, Some(item.encapsulate.unwrap_or_default()), Encapsulated)
            }
            BatchOp::Decapsulate => used!(Decapsulate, item.decapsulate, Decapsulated),
            BatchOp::Export => used!(ExportKey, item.export, Exported),
            BatchOp::DeriveKey => match item.derive_key {
                Some(body) => {
                    let operation = DeriveKey { registration, key, body };
                    one(hub, caller, &operation, meta, made).await
                }
                None => Err(misshapen(hub, caller, op, meta).await),
            },
            BatchOp::Encapsulate
            | BatchOp::Encrypt
            | BatchOp::Decrypt
            | BatchOp::Rewrap
            | BatchOp::Import
            | BatchOp::Random
            | BatchOp::Hash => Err(misshapen(hub, caller, op, meta).await),
        }
    }

    /// An item that is about no key that is there.
    async fn keyless(
        &self,
        hub: &Hub,
        caller: &Caller,
        item: BatchItem,
        meta: &Meta,
    ) -> Result<Option<BatchResult>, Failure> {
        let registration = self.registration.clone();
        let named = bodies(&item) > 0;
        match (item.op, item.import, item.random, item.hash) {
            (BatchOp::Import, Some(body), ..) => {
                one(hub, caller, &ImportKey { registration, body }, meta, made).await
            }
            (BatchOp::Random, _, body, _) if body.is_some() == named => {
                let operation = Random { registration, body: body.unwrap_or_default() };
                one(hub, caller, &operation, meta, BatchResult::RandomBytes).await
            }
            (BatchOp::Hash, _, _, Some(body)) => {
                let operation = Hash { registration, body };
                one(hub, caller, &operation, meta, BatchResult::Hashed).await
            }
            (op, ..) => Err(misshapen(hub, caller, op, meta).await),
        }
    }
}

/// How many bodies of verbs an item has.
fn bodies(item: &BatchItem) -> usize {
    [
        item.sign.is_some(),
        item.verify.is_some(),
        item.mac.is_some(),
        item.verify_mac.is_some(),
        item.generate_data_key.is_some(),
        item.wrap.is_some(),
        item.unwrap.is_some(),
        item.derive.is_some(),
        item.agree.is_some(),
        item.encapsulate.is_some(),
        item.decapsulate.is_some(),
        item.derive_key.is_some(),
        item.export.is_some(),
        item.import.is_some(),
        item.random.is_some(),
        item.hash.is_some(),
    ]
    .into_iter()
    .filter(|given| *given)
    .count()
}

fn made(key: KeyView) -> BatchResult {
    BatchResult::Key(Box::new(key))
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
        BatchOp::Sign => (Action::KeysSign, OWN_BODY),
        BatchOp::Verify => (Action::KeysVerify, OWN_BODY),
        BatchOp::Mac => (Action::KeysMac, OWN_BODY),
        BatchOp::VerifyMac => (Action::KeysVerifyMac, OWN_BODY),
        BatchOp::GenerateDataKey => (Action::KeysGenerateDataKey, OWN_BODY),
        BatchOp::Wrap => (Action::KeysWrap, OWN_BODY),
        BatchOp::Unwrap => (Action::KeysUnwrap, OWN_BODY),
        BatchOp::Derive => (Action::KeysDerive, OWN_BODY),
        BatchOp::Agree => (Action::KeysAgree, OWN_BODY),
        BatchOp::Encapsulate => (Action::KeysEncapsulate, OWN_BODY),
        BatchOp::Decapsulate => (Action::KeysDecapsulate, OWN_BODY),
        BatchOp::DeriveKey => (Action::KeysDerive, OWN_BODY),
        BatchOp::Export => (Action::KeysExport, OWN_BODY),
        BatchOp::Import => (Action::KeysImport, KEYLESS),
        BatchOp::Random => (Action::RegistrationsRandom, KEYLESS),
        BatchOp::Hash => (Action::RegistrationsHash, KEYLESS),
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
