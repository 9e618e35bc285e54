//! What the gateway is asked: a registration, an application, keys, and ready-made requests.

use std::net::SocketAddr;

use hub_model::api::crypto::{Batch, BatchItem, BatchOp, Decrypt, Encrypt, Encrypted};
use hub_model::{EncryptionContext, SecretBytes};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::failed;
use super::load::Wire;
use crate::cli::Failure;

/// The registration everything is in.
pub(super) const KEYS: &str = "/v1/registrations/bench/keys";

/// API keys of the two callers.
pub(super) struct Callers {
    /// Makes keys.
    pub(super) admin: String,
    /// Uses them.
    pub(super) app: String,
}

/// Makes the registration, the application and the key `hot`.
pub(super) async fn furnish(address: SocketAddr, admin: String) -> Result<Callers, Failure> {
    let mut wire = Wire::connect(address).await?;
    let participants = "/v1/registrations/bench/participants";
    let app = json!({ "name": "app", "kind": "service", "roles": ["apps"] });
    let steps = [
        ("/v1/registrations", json!({ "name": "bench" })),
        (participants, app),
        (KEYS, json!({ "name": "hot" })),
    ];
    for (path, body) in steps {
        wire.ask(&post(path, &admin, &body)?).await?;
    }
    let path = format!("{participants}/app/credentials");
    let issued: Value = decode(wire.ask(&post(&path, &admin, &json!({}))?).await?)?;
    let app = issued.get("apiKey").and_then(Value::as_str).map(str::to_owned);
    Ok(Callers { admin, app: app.ok_or_else(|| failed("no API key was issued"))? })
}

/// The request that encrypts this many bytes.
pub(super) fn encrypt(caller: &str, size: usize) -> Result<Vec<u8>, Failure> {
    let body = Encrypt { plaintext: data(size), context: EncryptionContext::default() };
    post(&format!("{KEYS}/hot:encrypt"), caller, &body)
}

/// The request that decrypts this many bytes, which are encrypted for it.
pub(super) async fn decrypt(
    address: SocketAddr,
    caller: &str,
    size: usize,
) -> Result<Vec<u8>, Failure> {
    let mut wire = Wire::connect(address).await?;
    let encrypted: Encrypted = decode(wire.ask(&encrypt(caller, size)?).await?)?;
    let context = EncryptionContext::default();
    let body = Decrypt { ciphertext: encrypted.ciphertext, context };
    post(&format!("{KEYS}/hot:decrypt"), caller, &body)
}

/// The requests that make keys, one each.
pub(super) fn create_keys(caller: &str, count: u32) -> Result<Vec<Vec<u8>>, Failure> {
    (0..count).map(|n| post(KEYS, caller, &json!({ "name": key_name(n) }))).collect()
}

/// Requests that encrypt once under each of those keys, in batches.
pub(super) fn use_keys(caller: &str, count: u32) -> Result<Vec<Vec<u8>>, Failure> {
    let names: Vec<String> = (0..count).map(key_name).collect();
    names.chunks(500).map(|names| batch(caller, names, 32)).collect()
}

/// A batch that encrypts this many bytes under each key named.
pub(super) fn batch(caller: &str, keys: &[String], size: usize) -> Result<Vec<u8>, Failure> {
    let item = |name: &String| {
        let key = name.parse().map_err(|error| failed(&format!("{error}")))?;
        Ok(BatchItem { plaintext: Some(data(size)), ..BatchItem::new(Some(key), BatchOp::Encrypt) })
    };
    let items = keys.iter().map(item).collect::<Result<_, Failure>>()?;
    post(&format!("{KEYS}:batch"), caller, &Batch { items })
}

fn key_name(number: u32) -> String {
    format!("key-{number}")
}

fn data(size: usize) -> SecretBytes {
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(size).collect();
    SecretBytes::new(bytes)
}

/// A whole HTTP/1.1 request.
fn post(path: &str, caller: &str, body: &impl Serialize) -> Result<Vec<u8>, Failure> {
    let body = serde_json::to_vec(body).map_err(|error| failed(&error.to_string()))?;
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {caller}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(&body);
    Ok(request)
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| failed(&format!("not understood: {error}")))
}
