//! Sends audit entries to a webhook, signed with HMAC-SHA-256 as Standard Webhooks says.
//! `README.md` says how.

use std::fmt::{self, Write as _};

use base64ct::{Base64, Encoding as _};
use cipher_hub_plugin::http::Request;
use cipher_hub_plugin::json::hex;
use cipher_hub_plugin::sink::{
    self, AuditSink, Batch, Chunks, Delivery, Entry, Outbound, post, reach,
};
use cipher_hub_plugin::{Config, Error, Result};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

struct Webhook {
    endpoint: String,
    path: String,
    chunks: Chunks,
    /// The first is the current one.
    keys: Vec<Vec<u8>>,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl AuditSink for Webhook {
    fn new(config: &Config) -> Result<Self> {
        let mut keys = vec![key("secret", config.text("secret")?)?];
        if let Some(previous) = config.get("previous-secret").filter(|text| !text.is_empty()) {
            keys.push(key("previous-secret", previous)?);
        }
        Ok(Self {
            endpoint: config.text_or("endpoint", "receiver").to_owned(),
            path: config.text_or("path", "").to_owned(),
            chunks: Chunks {
                entries: config.integer("entries")?.unwrap_or(500),
                bytes: config.integer("bytes")?.unwrap_or(1 << 20),
            },
            keys,
        })
    }

    fn deliver(&self, batch: &Batch, outside: &mut dyn Outbound) -> Result<Delivery> {
        let request = |entries: &[Entry]| self.request(entries);
        post(outside, &self.endpoint, batch, self.chunks, request)
    }

    fn probe(&self, outside: &mut dyn Outbound) -> Result<()> {
        reach(outside, &self.endpoint, &self.signed("probe", 0, r#"{"entries":[]}"#.to_owned()))
    }
}

impl Webhook {
    fn request(&self, entries: &[Entry]) -> Request {
        let (first, last) = (entries.first(), entries.last());
        let (from, to) = (first.map_or(0, |e| e.sequence), last.map_or(0, |e| e.sequence));
        let mut body = format!(r#"{{"cursor":{from},"next":{},"entries":["#, to.saturating_add(1));
        for (n, entry) in entries.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            let leaf = hex(&entry.leaf_hash);
            // Writing to a string does not fail. The entry is JSON already.
            let _ = write!(
                body,
                r#"{comma}{{"sequence":{},"leafHash":"{leaf}","entry":{}}}"#,
                entry.sequence, entry.json
            );
        }
        body.push_str("]}");
        // There is no clock here: the newest entry says when.
        let seconds = last.map_or(0, |entry| entry.at.as_millis() / 1000);
        // Numbers alone would repeat: in another hub, and in a log that was restored from a backup.
        let leaf = last.map_or(&[][..], |entry| &entry.leaf_hash);
        let leaf = hex(leaf.get(..8).unwrap_or(leaf));
        self.signed(&format!("{from}-{to}-{leaf}"), seconds, body)
    }

    fn signed(&self, id: &str, seconds: u64, body: String) -> Request {
        let mut signatures = String::new();
        for key in &self.keys {
            // Keys of every length are keys of HMAC.
            let Ok(mac) = Hmac::<Sha256>::new_from_slice(key) else { continue };
            let mac = mac.chain_update(format!("{id}.{seconds}.")).chain_update(&body);
            let space = if signatures.is_empty() { "" } else { " " };
            let code = Base64::encode_string(&mac.finalize().into_bytes());
            let _ = write!(signatures, "{space}v1,{code}");
        }
        Request::post(self.path.as_str(), "application/json", body)
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds.to_string())
            .header("webhook-signature", signatures)
    }
}

/// `whsec_` and Base64. What is wrong is said without what was given.
fn key(name: &str, text: &str) -> Result<Vec<u8>> {
    let key = text.strip_prefix("whsec_").and_then(|code| Base64::decode_vec(code).ok());
    key.filter(|key| (24..=64).contains(&key.len())).ok_or_else(|| {
        Error::invalid(format!("`{name}` must be `whsec_` and Base64 of 24 to 64 bytes"))
    })
}

sink::export!(Webhook);

#[cfg(test)]
mod tests {
    use super::*;
    use cipher_hub_plugin::Fields;
    use cipher_hub_plugin::testing::{Outside, batch, status};

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn webhook(more: &[(&str, &str)]) -> Result<Webhook> {
        Webhook::new(&[("secret", SECRET)].iter().chain(more).copied().collect())
    }

    fn header<'a>(request: &'a Request, name: &str) -> &'a str {
        &request.headers.iter().find(|(n, _)| n == name).unwrap().1
    }

    /// The example of the Standard Webhooks specification's libraries.
    #[test]
    fn signs_as_the_specification_does() {
        let body = r#"{"test": 2432232314}"#.to_owned();
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let request = webhook(&[]).unwrap().signed(id, 1_614_265_330, body);
        let known = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(header(&request, "webhook-signature"), known);
    }

    #[test]
    fn signs_what_it_sends_with_both_keys() {
        let mut outside = Outside::new([Ok(status(204))]);
        let other = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
        let sink = webhook(&[("previous-secret", other)]).unwrap();
        assert_eq!(sink.deliver(&batch(2), &mut outside), Ok(Delivery::Acknowledged(3)));
        let request = &outside.sent[0].1;
        let leaf = "ab".repeat(32);
        let body = format!(
            r#"{{"cursor":1,"next":3,"entries":[{{"sequence":1,"leafHash":"{leaf}","entry":{{"seq":1}}}},{{"sequence":2,"leafHash":"{leaf}","entry":{{"seq":2}}}}]}}"#
        );
        assert_eq!(String::from_utf8_lossy(&request.body), body);
        assert_eq!(header(request, "webhook-id"), "1-2-abababababababab");
        assert_eq!(header(request, "webhook-timestamp"), "1795683602");
        let signatures: Vec<_> = header(request, "webhook-signature").split(' ').collect();
        assert_eq!(signatures.len(), 2);
        assert_ne!(signatures[0], signatures[1]);
        let alone = Webhook::new(&Fields::from([("secret", other)])).unwrap();
        assert_eq!(
            header(&alone.signed("1-2-abababababababab", 1_795_683_602, body), "webhook-signature"),
            signatures[1]
        );
    }

    #[test]
    fn errors_do_not_show_the_secret() {
        for secret in ["", "hunter2", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!!"] {
            let error = Webhook::new(&Fields::from([("secret", secret)])).unwrap_err().to_string();
            assert!(secret.len() < 7 || !error.contains(secret), "{error}");
        }
        let shown = format!("{:?}", webhook(&[]).unwrap());
        assert_eq!(shown, r#"Webhook { endpoint: "receiver", .. }"#);
    }
}
