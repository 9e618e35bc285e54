//! World `audit-sink`: where does the audit log go?

use std::time::Duration;

pub use crate::http::Outbound;
use crate::http::{Request, Response, SendError, Verdict};
use crate::time::Timestamp;
use crate::{Config, Error, Result};

/// Makes a type that implements [`AuditSink`] the plugin of this crate.
pub use crate::export_sink as export;

/// Brings entries of the audit log to another place. The hub keeps the cursor; an entry can come
/// again, also after it was acknowledged.
pub trait AuditSink: Sized {
    /// Takes the operator's settings. Called before every call, in a fresh instance, and when the
    /// settings change: an error keeps what was in service before.
    ///
    /// # Errors
    /// The settings are unusable.
    fn new(config: &Config) -> Result<Self>;

    /// Delivers a batch.
    ///
    /// # Errors
    /// It could not; the hub tries again later.
    fn deliver(&self, batch: &Batch, outside: &mut dyn Outbound) -> Result<Delivery>;

    /// Reaches the destination without sending an entry.
    ///
    /// # Errors
    /// It is not there, or not what it should be.
    fn probe(&self, outside: &mut dyn Outbound) -> Result<()>;
}

/// Entries to deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Everything before this was acknowledged.
    pub cursor: u64,
    /// To be given back when all of the batch is durable downstream.
    pub next: u64,
    /// 1 for the first time, 2 after a failure, and so on.
    pub attempt: u32,
    /// Ascending by sequence, which can have gaps.
    pub entries: Vec<Entry>,
}

/// An entry of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the log.
    pub sequence: u64,
    /// When it happened.
    pub at: Timestamp,
    /// `keys.encrypt`
    pub action: String,
    /// Who: principal or identity.
    pub actor: Option<String>,
    /// `reg_…`
    pub registration: Option<String>,
    /// What came of it.
    pub outcome: Outcome,
    /// As the log has it: canonical JSON, the bytes whose hash is the leaf.
    pub json: String,
    /// RFC 6962 leaf hash, 32 bytes.
    pub leaf_hash: Vec<u8>,
}

/// What came of what an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Success,
    /// It was not allowed.
    Denied,
    /// It failed.
    Failure,
}

impl Outcome {
    /// The word in the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Denied => "denied",
            Self::Failure => "failure",
        }
    }
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Everything before this cursor is durable downstream; the rest is handed over again.
    Acknowledged(u64),
    /// Nothing was stored: again, not before this long from now where it says how long.
    RetryAfter(Option<Duration>),
    /// Something in it is never acceptable downstream. The hub hands over fewer entries until one is
    /// rejected alone: a required sink closes the hub then, another passes over that entry.
    Rejected(String),
}

/// How much goes into one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    /// The most entries.
    pub entries: usize,
    /// The most bytes of the body; a single entry is sent, however long.
    pub bytes: usize,
}

/// Sends a batch to an endpoint, in as many requests as `chunks` says, and acknowledges what was
/// stored. `request` makes the request for some entries. A status tells what came of each
/// ([`Verdict`]).
///
/// # Errors
/// The endpoint is not there or not what was expected, and nothing was stored before.
pub fn post(
    outside: &mut dyn Outbound,
    endpoint: &str,
    batch: &Batch,
    chunks: Chunks,
    request: impl FnMut(&[Entry]) -> Request,
) -> Result<Delivery> {
    post_and_judge(outside, endpoint, batch, chunks, request, Response::verdict)
}

/// As [`post`], where the status alone does not tell what came of the entries.
///
/// # Errors
/// As for [`post`].
pub fn post_and_judge(
    outside: &mut dyn Outbound,
    endpoint: &str,
    batch: &Batch,
    chunks: Chunks,
    mut request: impl FnMut(&[Entry]) -> Request,
    judge: impl Fn(&Response) -> Verdict,
) -> Result<Delivery> {
    let mut rest = batch.entries.as_slice();
    let mut stored = batch.cursor;
    while !rest.is_empty() {
        let (sent, chosen) = fitting(rest, chunks, &mut request);
        let after = rest.get(chosen..).unwrap_or_default();
        let ended = match outside.send(endpoint, &sent) {
            Ok(response) => match judge(&response) {
                Verdict::Stored => {
                    stored = after.first().map_or(batch.next, |entry| entry.sequence);
                    rest = after;
                    continue;
                }
                Verdict::Later(wait) => Ok(Delivery::RetryAfter(wait)),
                Verdict::Refused(why) => Ok(Delivery::Rejected(why)),
                Verdict::Misplaced => {
                    Err(Error::internal(format!("unexpected status {}", response.status)))
                }
            },
            // With fewer entries it may not be.
            Err(error @ SendError::TooLarge) => Ok(Delivery::Rejected(error.to_string())),
            Err(error) => Err(error.into()),
        };
        // What was stored counts; the hub brings the rest again, and hears about it then.
        return if stored > batch.cursor { Ok(Delivery::Acknowledged(stored)) } else { ended };
    }
    Ok(Delivery::Acknowledged(batch.next))
}

/// Sends a request that stores nothing; any status but those for a wrong place will do.
///
/// # Errors
/// The endpoint is not there or not what was expected.
pub fn reach(outside: &mut dyn Outbound, endpoint: &str, request: &Request) -> Result<()> {
    let response = outside.send(endpoint, request)?;
    match response.verdict() {
        Verdict::Stored | Verdict::Refused(_) => Ok(()),
        Verdict::Later(_) | Verdict::Misplaced => {
            Err(Error::internal(format!("unexpected status {}", response.status)))
        }
    }
}

/// The request for as many of the first entries as its body has room for, and how many that are.
fn fitting(
    entries: &[Entry],
    chunks: Chunks,
    request: &mut impl FnMut(&[Entry]) -> Request,
) -> (Request, usize) {
    let mut count = length(entries, chunks);
    loop {
        let made = request(entries.get(..count).unwrap_or(entries));
        let size = made.body.len();
        if count <= 1 || size <= chunks.bytes {
            return (made, count);
        }
        // What is around the JSON of an entry, and escapes in it, are about the same for all.
        let fewer = count.saturating_mul(chunks.bytes) / size.max(1);
        count = fewer.clamp(1, count - 1);
    }
}

/// How many are not too many going by their JSON alone; at least one.
fn length(entries: &[Entry], chunks: Chunks) -> usize {
    let mut bytes = 0_usize;
    let fits = entries.iter().take(chunks.entries).take_while(|entry| {
        bytes = bytes.saturating_add(entry.json.len());
        bytes <= chunks.bytes
    });
    fits.count().clamp(1, entries.len())
}

/// Makes a type the plugin of its crate: `sink::export!(Type)`.
#[macro_export]
#[doc(hidden)]
macro_rules! export_sink {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type CipherHubPlugin = $crate::guest::Sink<$plugin>;
            $crate::bindings::sink::export_sink_bindings!(
                CipherHubPlugin with_types_in $crate::bindings::sink
            );
        };
        // Natively it is checked all the same.
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn(&$crate::Config) -> $crate::Result<$plugin> =
            <$plugin as $crate::sink::AuditSink>::new;
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Outside, batch, status};

    const TWO: Chunks = Chunks { entries: 2, bytes: 1000 };

    fn run(
        answers: Vec<std::result::Result<Response, SendError>>,
    ) -> (Result<Delivery>, Vec<usize>) {
        let mut sizes = Vec::new();
        let mut batch = batch(5);
        // A gap: an entry that does not come here.
        batch.entries.remove(1);
        let mut outside = Outside::new(answers);
        let made = post(&mut outside, "there", &batch, TWO, |entries| {
            sizes.push(entries.len());
            Request::post("", "text/plain", "")
        });
        (made, sizes)
    }

    #[test]
    fn acknowledges_what_was_stored() {
        // Sequences 1, 3, 4, 5, and 6 next.
        let all = run(vec![Ok(status(200)), Ok(status(204))]);
        assert_eq!(all, (Ok(Delivery::Acknowledged(6)), vec![2, 2]));
        for later in [Ok(status(503)), Ok(status(400)), Ok(status(404)), Err(SendError::Timeout)] {
            let some = run(vec![Ok(status(200)), later]);
            assert_eq!(some.0, Ok(Delivery::Acknowledged(4)));
        }
        assert_eq!(run(vec![Ok(status(503))]).0, Ok(Delivery::RetryAfter(None)));
        assert_eq!(run(vec![Ok(status(400))]).0, Ok(Delivery::Rejected("status 400".to_owned())));
        assert!(run(vec![Ok(status(404))]).0.is_err());
        assert!(run(vec![Err(SendError::UnknownEndpoint)]).0.is_err());
    }

    #[test]
    fn counts_the_bytes_of_the_body() {
        let mut outside = Outside::new((0..6).map(|_| Ok(status(200))));
        let chunks = Chunks { entries: 100, bytes: 250 };
        let made = post(&mut outside, "there", &batch(10), chunks, |entries| {
            Request::post("", "text/plain", vec![b'x'; 100 * entries.len()])
        });
        assert_eq!(made, Ok(Delivery::Acknowledged(11)));
        let sizes: Vec<usize> = outside.sent.iter().map(|(_, sent)| sent.body.len()).collect();
        assert_eq!(sizes, [200; 5]);
        let one = Chunks { bytes: 1, ..chunks };
        let mut outside = Outside::new([Ok(status(200)), Err(SendError::TooLarge)]);
        let made = post(&mut outside, "there", &batch(2), one, |_| Request::post("", "a/b", "xx"));
        assert_eq!(made, Ok(Delivery::Acknowledged(2)));
        let mut outside = Outside::new([Err(SendError::TooLarge)]);
        let made = post(&mut outside, "there", &batch(2), one, |_| Request::post("", "a/b", "xx"));
        assert_eq!(made, Ok(Delivery::Rejected("the request is too large".to_owned())));
    }

    #[test]
    fn sends_a_long_entry_alone() {
        let mut batch = batch(3);
        batch.entries[0].json = "x".repeat(5000);
        let sizes = |chunks| length(&batch.entries, chunks);
        assert_eq!(sizes(TWO), 1);
        assert_eq!(sizes(Chunks { entries: 0, bytes: 0 }), 1);
        assert_eq!(sizes(Chunks { entries: 9, bytes: 9000 }), 3);
    }
}
