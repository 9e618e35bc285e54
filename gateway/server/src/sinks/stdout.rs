//! Entries as lines on standard output, between the lines of the log.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;

use hub_audit::relay::Batch;

use super::off_thread::Blocking;

/// What a pipe takes whole (`PIPE_BUF`, pipe(7)).
const WHOLE: usize = 4096;

/// Standard output.
#[derive(Debug)]
pub(super) struct Stdout {
    own: File,
}

impl Stdout {
    pub(super) fn open() -> std::io::Result<Self> {
        Ok(Self { own: std::io::stdout().as_fd().try_clone_to_owned()?.into() })
    }
}

impl Blocking for Stdout {
    fn accept(&mut self, batch: &Batch) -> std::io::Result<u64> {
        let mut line = Vec::with_capacity(WHOLE);
        for entry in batch.entries() {
            line.clear();
            line.extend_from_slice(entry.bytes);
            line.push(b'\n');
            if line.len() <= WHOLE {
                // Past the lock of the log lines: a reader who hangs must not hang them with it.
                self.own.write_all(&line)?;
            } else {
                // Other lines could come between its parts otherwise.
                let mut shared = std::io::stdout().lock();
                shared.write_all(&line)?;
                shared.flush()?;
            }
        }
        Ok(batch.end())
    }
}
