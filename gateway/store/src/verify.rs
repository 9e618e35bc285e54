//! Recomputing the state digest: one scan of everything, at one revision.

use crate::backend::Revision;
use crate::digest::StateDigest;
use crate::head::Head;
use crate::path::{MAX_PATH, WRITER_PREFIX};
use crate::{Error, Path, Store, View};

/// Records looked at between two calls of the progress callback, at most.
const PAGE: usize = 1000;

/// How often a scan is begun.
const ATTEMPTS: u32 = 8;

/// What a full scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestReport {
    /// The revision looked at.
    pub at: Revision,
    /// Records outside `w/`.
    pub records: u64,
    /// Their sealed bytes.
    pub bytes: u64,
    /// The head at that revision; the empty head if the writer has never committed.
    pub head: Head,
    /// The digest of what is there.
    pub computed: [u8; 32],
}

impl DigestReport {
    /// Whether the records are exactly those the head speaks of.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.computed == self.head.digest
    }
}

impl Store {
    /// Reads every record and compares their digest with the head of `writer`, both at one
    /// revision. Opens no record but the head, so it finds what was edited, moved, put back,
    /// removed or added, but not which record it was. `progress` gets the number of records so far.
    /// A scan that the engine could not hold the revision of begins again: others' scans and purges
    /// must not look like damage.
    ///
    /// Long on a large store: to be run where blocking is allowed. Commits go on meanwhile.
    ///
    /// # Errors
    /// [`Error::Tampered`] or [`Error::Malformed`] for the head, [`Error::RevisionGone`] when the
    /// engine was asked for too many other scans meanwhile, every time, or what else it answers.
    pub async fn verify_digest(
        &self,
        writer: &str,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<DigestReport, Error> {
        let mut left = ATTEMPTS;
        loop {
            left = left.saturating_sub(1);
            match self.scan_digest(writer, progress).await {
                Err(Error::RevisionGone(_)) if left > 0 => {}
                outcome => return outcome,
            }
        }
    }

    async fn scan_digest(
        &self,
        writer: &str,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<DigestReport, Error> {
        let head_path = Head::path(writer)?;
        // The last possible path under `w/`: where to go on after the records before it.
        let last = MAX_PATH.saturating_sub(WRITER_PREFIX.len());
        let after_writers = Path::new(&format!("{WRITER_PREFIX}{}", "z".repeat(last)))?;

        let mut computed = StateDigest::EMPTY;
        let (mut records, mut bytes) = (0u64, 0u64);
        let mut view = View::Hold;
        let mut after: Option<Path> = None;
        let at = loop {
            let page = self.backend().scan("", after.as_ref(), PAGE, view).await?;
            let at = page.at;
            // A scan that was given up is let go of later, by itself.
            view = View::At(at);
            after = page.entries.last().map(|entry| entry.path.clone());
            for entry in page.entries {
                if entry.path.is_writers() {
                    after = after.max(Some(after_writers.clone()));
                    continue;
                }
                computed = computed.plus(self.barrier().term(&entry.path, &entry.value));
                records = records.saturating_add(1);
                let size = u64::try_from(entry.value.len()).unwrap_or(u64::MAX);
                bytes = bytes.saturating_add(size);
            }
            progress(records);
            if !page.more {
                break at;
            }
        };
        let heads = self.backend().scan(head_path.as_str(), None, 1, view).await;
        self.backend().let_go(at);
        let heads = heads?;
        let head = match heads.entries.first().filter(|entry| entry.path == head_path) {
            Some(entry) => {
                Head::decode(&head_path, &self.barrier().open(&head_path, &entry.value)?)?
            }
            None => Head::default(),
        };
        Ok(DigestReport { at, records, bytes, head, computed: computed.to_bytes() })
    }
}
