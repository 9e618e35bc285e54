//! The log of a report: read in order, verified while it streams by, up to a signed checkpoint.

use std::time::{Duration, Instant};

use cipher_hub_client::Client;
use hub_audit::verify::Keyring;
use hub_model::api::audit::AuditPage;
use hub_report::Trail;
use hub_report::document::Log;

use super::super::super::super::LogClaim;
use super::super::super::super::failure::{Code, Failure};
use super::super::super::super::run::Session;
use super::super::offline::keyring;
use super::super::{Progress, page_size, tampered};

/// How long to wait for a checkpoint that covers what there is now.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two looks for one.
const PAUSE: Duration = Duration::from_millis(250);

/// What became of reading.
pub(super) enum Reading {
    /// Read and verified.
    Read(Box<Log>),
    /// The caller may not read it; why.
    Refused(String),
}

/// The key given, if it is one: in words, or in a file.
pub(super) fn trusted(key: Option<&str>) -> Result<Option<Keyring>, Failure> {
    key.map(|key| keyring(&[key.to_owned()])).transpose()
}

/// The size and the chain head a note speaks of; the verifier checks its signature.
fn claimed(note: &str) -> Option<(u64, String)> {
    let mut lines = note.lines().skip(1);
    let size = lines.next()?.parse().ok()?;
    let chain = lines.nth(1)?.strip_prefix("chain ")?;
    Some((size, chain.to_owned()))
}

/// Reads the log into the trail.
pub(super) async fn read(
    session: &mut Session<'_>,
    client: &Client,
    key: Option<&str>,
    trail: &mut Trail,
) -> Result<Reading, Failure> {
    let first = match client.audit_events(0, Some(1)).await {
        Ok(page) => page,
        Err(error) if matches!(error.status(), Some(403 | 404)) => {
            return Ok(Reading::Refused(Failure::from(error).message));
        }
        Err(error) => return Err(error.into()),
    };
    let covered = covering(client, first).await?;
    let (size, head) = match covered.checkpoint.as_deref() {
        Some(note) => claimed(note).ok_or_else(|| {
            Failure::new(
                Code::NotVerified,
                "the checkpoint of the hub is malformed",
                "run `cipher-hub audit verify`",
            )
        })?,
        None => (covered.size, covered.head.clone()),
    };
    if size > covered.size {
        let message = format!("a checkpoint covers {size} entries, the log has {}", covered.size);
        return Err(tampered(message));
    }
    let trusted = trusted(key)?;
    let verifier_key = key.map_or_else(|| covered.verifier_key.clone(), str::to_owned);
    let mut verifier = session.hooks.verifier(LogClaim {
        size,
        head,
        checkpoint: covered.checkpoint.clone(),
        trusted,
        verifier_key: covered.verifier_key.clone(),
        kept: Vec::new(),
    });
    let mut progress = Progress::new(session, size);
    let mut next = 0;
    while next < size {
        let page = client.audit_events(next, Some(page_size(size - next))).await?;
        if page.items.is_empty() {
            let message = format!("the log claims {size} entries but ends before entry {next}");
            return Err(tampered(message));
        }
        for record in page.items.iter().take(usize::try_from(size - next).unwrap_or(usize::MAX)) {
            if record.seq != next {
                return Err(tampered(format!("expected entry {next}, got {}", record.seq)));
            }
            verifier.push(record).map_err(tampered)?;
            trail.push(&record.bytes);
            next += 1;
        }
        progress.at(session, next);
    }
    progress.end();
    let proven = verifier.finish().map_err(tampered)?;
    Ok(Reading::Read(Box::new(Log {
        size: proven.entries,
        root: proven.root,
        checkpoint: covered.checkpoint,
        verifier_key,
        key_given: key.is_some(),
        first: None,
        last: None,
        considered: 0,
        unreadable: 0,
        newer: covered.size.saturating_sub(proven.entries),
    })))
}

/// Waits until a checkpoint covers what the first page had; gives the newest page in any case.
async fn covering(client: &Client, first: AuditPage) -> Result<AuditPage, Failure> {
    let (wanted, began) = (first.size, Instant::now());
    let mut page = first;
    loop {
        let size = page.checkpoint.as_deref().and_then(claimed).map_or(0, |(size, _)| size);
        if size >= wanted || began.elapsed() >= PATIENCE {
            return Ok(page);
        }
        tokio::time::sleep(PAUSE).await;
        page = client.audit_events(0, Some(1)).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::claimed;

    #[test]
    fn a_note_names_its_size_and_head() {
        let note = "hub.audit\n12\ncm9vdA==\nchain ab\nstate 1 00\ntime t\n\n\u{2014} x y\n";
        assert_eq!(claimed(note), Some((12, "ab".to_owned())));
        for bad in ["", "a\nb\nc\nchain d", "a\n1\nc\nd"] {
            assert_eq!(claimed(bad), None, "{bad}");
        }
    }
}
