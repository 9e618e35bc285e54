//! Encrypts and decrypts a word at a running hub:
//! `cargo run -p cipher-hub-client --example round-trip -- ADDRESS API_KEY_FILE shop/orders`.

use cipher_hub_client::{Client, EncryptionContext, SecretBytes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().ok_or(format!("missing argument: {what}"));
    let hub = Client::builder(next("address")?).api_key_file(next("API key file")?).build()?;
    let place = next("registration/key")?;
    let (registration, key) = place.split_once('/').ok_or("expected registration/key")?;

    let context = EncryptionContext::default();
    let word = SecretBytes::new(b"hello".to_vec());
    let sealed = hub.encrypt(registration, key, word.clone(), &context).await?;
    println!("{}", sealed.ciphertext);
    let opened = hub.decrypt(registration, &sealed.ciphertext, &context).await?;
    assert_eq!(opened.plaintext, word);
    Ok(())
}
