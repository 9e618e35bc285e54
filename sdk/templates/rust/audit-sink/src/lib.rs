//! Sends audit entries to a receiver over HTTP, a JSON entry a line.

use cipher_hub_plugin::http::Request;
use cipher_hub_plugin::sink::{
    self, AuditSink, Batch, Chunks, Delivery, Entry, Outbound, post, reach,
};
use cipher_hub_plugin::{Config, Error, Result};

struct Plugin {
    endpoint: String,
    path: String,
}

impl AuditSink for Plugin {
    fn new(config: &Config) -> Result<Self> {
        let path = config.text_or("path", "/entries").to_owned();
        if !path.is_empty() && !path.starts_with('/') {
            return Err(Error::invalid("`path` must be empty or begin with `/`"));
        }
        Ok(Self { endpoint: config.text_or("endpoint", "receiver").to_owned(), path })
    }

    fn deliver(&self, batch: &Batch, outside: &mut dyn Outbound) -> Result<Delivery> {
        // `post` cuts the batch into requests, reads the answers and acknowledges what was stored.
        let chunks = Chunks { entries: 500, bytes: 1 << 20 };
        post(outside, &self.endpoint, batch, chunks, |entries| self.request(entries))
    }

    fn probe(&self, outside: &mut dyn Outbound) -> Result<()> {
        reach(outside, &self.endpoint, &self.request(&[]))
    }
}

impl Plugin {
    fn request(&self, entries: &[Entry]) -> Request {
        let lines: String = entries.iter().map(|entry| entry.json.clone() + "\n").collect();
        Request::post(self.path.as_str(), "application/x-ndjson", lines)
    }
}

sink::export!(Plugin);

#[cfg(test)]
mod tests {
    use super::*;
    use cipher_hub_plugin::testing::{Outside, batch, status};

    #[test]
    fn sends_a_line_for_each_entry() {
        let plugin = Plugin::new(&Config::default()).unwrap();
        let mut outside = Outside::new([Ok(status(200))]);
        assert_eq!(plugin.deliver(&batch(2), &mut outside), Ok(Delivery::Acknowledged(3)));
        let (endpoint, request) = &outside.sent[0];
        assert_eq!(endpoint, "receiver");
        assert_eq!(request.body, b"{\"seq\":1}\n{\"seq\":2}\n");
    }

    #[test]
    fn waits_while_the_receiver_is_busy() {
        let plugin = Plugin::new(&Config::default()).unwrap();
        let mut outside = Outside::new([Ok(status(503))]);
        assert_eq!(plugin.deliver(&batch(2), &mut outside), Ok(Delivery::RetryAfter(None)));
    }
}
