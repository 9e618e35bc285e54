//! Batches by HTTP POST: the stored bytes, or another form of them, a line each. Any 2xx says that they are kept.

use hub_audit::relay::{Batch, Sink, SinkError, Work};

use super::http::Client;
use super::lines::Lines;
use crate::config::HttpTarget;

/// Lines to a URL.
#[derive(Debug)]
pub(super) struct Webhook {
    client: Client,
    lines: Lines,
}

impl Webhook {
    pub(super) const fn new(target: HttpTarget, lines: Lines) -> Self {
        Self { client: Client::new(target), lines }
    }
}

impl Sink for Webhook {
    fn accept<'a>(&'a mut self, batch: &'a Batch) -> Work<'a, Result<u64, SinkError>> {
        Box::pin(async move {
            let mut lines = Vec::new();
            let (mut first, mut last) = (None, batch.from());
            for entry in batch.entries() {
                self.lines.push(entry.bytes, &mut lines);
                first.get_or_insert(entry.seq);
                last = entry.seq;
            }
            let range = format!("{}-{last}", first.unwrap_or(last));
            let more = ("cipher-hub-sequence", range);
            self.client.post(self.lines.media_type(), Some(more), lines).await?;
            Ok(batch.end())
        })
    }
}
