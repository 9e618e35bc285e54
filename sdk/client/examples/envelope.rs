//! Encrypts messages in this process under a key of a running hub, and decrypts them again:
//! `cargo run -p cipher-hub-client --example envelope -- ADDRESS API_KEY_FILE shop/orders`.
//!
//! The hub is asked twice, however many messages there are: for a branch key, and to decrypt it.

use cipher_hub_client::{Client, EncryptionContext, EnvelopeError};

const MESSAGES: usize = 1000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().ok_or(format!("missing argument: {what}"));
    let hub = Client::builder(next("address")?).api_key_file(next("API key file")?).build()?;
    let place = next("registration/key")?;
    let (registration, key) = place.split_once('/').ok_or("expected registration/key")?;

    // Bound to branch keys at the hub: its policies and its log see it.
    let tenant: EncryptionContext = serde_json::from_str(r#"{"tenant":"acme"}"#)?;
    let writer = hub.envelope(registration, key).branch(tenant.clone()).build()?;
    let mut messages = Vec::new();
    for number in 0..MESSAGES {
        // Bound to the message alone; the hub does not see it.
        let context: EncryptionContext = serde_json::from_str(&format!(r#"{{"row":"{number}"}}"#))?;
        let plaintext = format!("card number {number}");
        messages.push((writer.encrypt(plaintext.as_bytes(), &context).await?, context, plaintext));
    }

    let reader = hub.envelope(registration, key).branch(tenant).build()?;
    for (message, context, plaintext) in &messages {
        let opened = reader.decrypt(message, context).await?;
        assert_eq!(opened.expose_secret(), plaintext.as_bytes());
    }
    let (message, context, _) = messages.first().ok_or("no messages")?;
    let moved = reader.decrypt(message, &EncryptionContext::default()).await;
    assert!(matches!(moved, Err(EnvelopeError::Open)));
    let elsewhere = hub.envelope(registration, key).build()?.decrypt(message, context).await;
    assert!(matches!(elsewhere, Err(EnvelopeError::Open)));
    println!("{MESSAGES} messages, {} bytes each beside the plaintext", message.len() - 13);
    Ok(())
}
