//! The context of a request, as Cedar takes it.

use std::sync::{Arc, LazyLock};

use cedar_policy_core::ast::{Context, Entity, Name, PartialValue, Value};
use cedar_policy_core::extensions::Extensions;
use hub_model::principal::PeerAddress;
use hub_model::{Action, Timestamp};

use crate::decide::{Asker, RequestFacts};
use crate::entities::{Unsayable, uid};
use crate::schema::Words;

/// The context of a request, and the entity its encryption context is.
pub(crate) fn context(
    words: &Words,
    asker: &Asker<'_>,
    action: Action,
    facts: &RequestFacts<'_>,
) -> Result<(Context, Option<Entity>), Unsayable> {
    let unix = asker.address == PeerAddress::Unix;
    let channel = uid(&words.channel, if unix { "unix" } else { "tcp" });
    let method = uid(&words.auth_method, asker.method.name());
    let mut caller: Vec<(&str, Value)> = Vec::with_capacity(7);
    caller.push(("channel", channel.into()));
    if let PeerAddress::Ip(address) = asker.address {
        caller.push(("sourceIp", call(&IP, address.to_canonical().to_string())?));
    }
    caller.push(("now", call(&DATETIME, datetime(asker.now))?));
    caller.push(("authMethod", method.into()));
    caller.push(("tls", asker.tls.into()));
    caller.push(("mutualTls", asker.mutual_tls.into()));
    if let Some(id) = asker.spiffe_id {
        caller.push(("spiffeId", id.into()));
    }
    let mut pairs: Vec<(&str, Value)> = Vec::with_capacity(3);
    pairs.push(("caller", Value::record(caller, None)));
    let mut extra = None;
    if uses_key(action) {
        let id = uid(&words.encryption_context, "request");
        let pairs_of = facts.encryption_context.into_iter().flat_map(|context| context.iter());
        let tags = pairs_of.map(|(name, value)| (name.into(), PartialValue::from(value)));
        let (up, parents) = Default::default();
        extra = Some(Entity::new_with_attr_partial_value(id.clone(), [], up, parents, tags));
        let bytes = i64::try_from(facts.payload_bytes).unwrap_or(i64::MAX);
        pairs.push(("encryptionContext", id.into()));
        pairs.push(("payloadBytes", bytes.into()));
    }
    let pairs = pairs.into_iter().map(|(name, value)| (name.into(), value)).collect();
    let context = Context::Value(Arc::new(pairs));
    if cfg!(debug_assertions)
        && let Some(action) = words.action(action)
    {
        cedar_policy::Context::from(context.clone()).validate(&words.schema, action)?;
    }
    Ok((context, extra))
}

/// Whether the schema gives the action the context of cryptographic operations.
pub(crate) const fn uses_key(action: Action) -> bool {
    action.uses_key()
}

/// The names of Cedar's functions that make an address and a time of a text.
static IP: LazyLock<Option<Name>> = LazyLock::new(|| Name::parse_unqualified_name("ip").ok());
static DATETIME: LazyLock<Option<Name>> =
    LazyLock::new(|| Name::parse_unqualified_name("datetime").ok());

/// What one of Cedar's functions makes of a text.
fn call(function: &Option<Name>, text: String) -> Result<Value, Unsayable> {
    let unknown = || Unsayable("unknown function".to_owned());
    let function = function.as_ref().ok_or_else(unknown)?;
    match Extensions::all_available().func(function)?.call(&[text.into()])? {
        PartialValue::Value(value) => Ok(value),
        PartialValue::Residual(_) => Err(unknown()),
    }
}

/// `YYYY-MM-DDThh:mm:ss.SSSZ`: Cedar takes milliseconds, and exactly three digits of them.
fn datetime(time: Timestamp) -> String {
    let mut text = time.to_string();
    text.truncate("YYYY-MM-DDThh:mm:ss.SSS".len());
    text.push('Z');
    text
}
