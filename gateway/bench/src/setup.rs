//! What the gateway is asked: a registration, an application, keys, and ready-made requests.

use std::net::SocketAddr;
use std::ops::Range;

use hub_model::api::crypto::{Batch, BatchItem, BatchOp, Decrypt, Encrypt, Encrypted};
use hub_model::{EncryptionContext, SecretBytes};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::failed;
use super::load::Wire;
use hub_cli::Failure;

/// The registration everything is in.
pub(super) const KEYS: &str = "/v1/registrations/bench/keys";
/// How the path of a stream ends.
pub(super) const STREAM: &str = ":encryptStream";

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
    encrypt_with(caller, "hot", size)
}

/// The request that encrypts 32 bytes with a key that was made.
pub(super) fn encrypt_by(caller: &str, number: u32) -> Result<Vec<u8>, Failure> {
    encrypt_with(caller, &key_name(number), 32)
}

fn encrypt_with(caller: &str, key: &str, size: usize) -> Result<Vec<u8>, Failure> {
    let body = Encrypt { plaintext: data(size), context: EncryptionContext::default() };
    post(&format!("{KEYS}/{key}:encrypt"), caller, &body)
}

/// The request for a page of keys.
pub(super) fn list(caller: &str, size: usize, token: Option<&str>) -> Vec<u8> {
    let token = token.map(|token| format!("&pageToken={token}")).unwrap_or_default();
    format!(
        "GET {KEYS}?pageSize={size}{token} HTTP/1.1\r\nHost: hub\r\n\
         Authorization: Bearer {caller}\r\n\r\n"
    )
    .into_bytes()
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

/// The head of a request that encrypts a stream of this many bytes.
pub(super) fn stream_head(caller: &str, length: u64) -> Vec<u8> {
    format!(
        "POST {KEYS}/hot{STREAM} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {caller}\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    )
    .into_bytes()
}

/// The requests that make keys, one each.
pub(super) fn create_keys(caller: &str, numbers: Range<u32>) -> Result<Vec<Vec<u8>>, Failure> {
    numbers.map(|n| post(KEYS, caller, &json!({ "name": key_name(n) }))).collect()
}

/// Requests that encrypt once under each of those keys, in batches.
pub(super) fn use_keys(caller: &str, numbers: Range<u32>) -> Result<Vec<Vec<u8>>, Failure> {
    let names: Vec<String> = numbers.map(key_name).collect();
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
pub(super) fn post(path: &str, caller: &str, body: &impl Serialize) -> Result<Vec<u8>, Failure> {
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

pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| failed(&format!("not understood: {error}")))
}
