//! Batches by HTTP POST: the stored bytes, a line each. Any 2xx says that they are kept.

use hub_audit::relay::{Batch, Sink, SinkError, Work};

use super::http::Client;
use crate::config::HttpTarget;

/// `application/x-ndjson` to a URL.
#[derive(Debug)]
pub(super) struct Webhook {
    client: Client,
}

impl Webhook {
    pub(super) const fn new(target: HttpTarget) -> Self {
        Self { client: Client::new(target) }
    }
}

impl Sink for Webhook {
    fn accept<'a>(&'a mut self, batch: &'a Batch) -> Work<'a, Result<u64, SinkError>> {
        Box::pin(async move {
            let mut lines = Vec::new();
            let (mut first, mut last) = (None, batch.from());
            for entry in batch.entries() {
                lines.extend_from_slice(entry.bytes);
                lines.push(b'\n');
                first.get_or_insert(entry.seq);
                last = entry.seq;
            }
            let range = format!("{}-{last}", first.unwrap_or(last));
            let more = ("cipher-hub-sequence", range);
            self.client.post("application/x-ndjson", Some(more), lines).await?;
            Ok(batch.end())
        })
    }
}
