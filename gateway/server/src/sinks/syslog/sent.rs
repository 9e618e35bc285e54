//! What was written into a connection and may not have arrived. Syslog knows no answer, so nobody
//! says that a message was taken (RFC 6587 §3.1); when a connection breaks, what it may have taken
//! with it goes again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What may lie unread in a receiver that dies.
const UNREAD: usize = 256 * 1024;
/// How old a write must be so that a receiver that closes politely has read it.
const POLITE: Duration = Duration::from_secs(5);

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Closed by the receiver: one that has not read everything resets instead (RFC 2525 §2.17).
    Closed,
    /// Reset, timed out, or cut in the middle of a message.
    Broken,
}

/// The newest writes.
#[derive(Debug)]
pub(super) struct Sent {
    /// When, from which entry on, how many bytes.
    writes: VecDeque<(Instant, u64, usize)>,
    bytes: usize,
    /// After this time without an acknowledgement the system gives a connection up.
    patience: Duration,
    /// What lay unread once goes again once: a connection may be cut each minute for being idle.
    repeated: u64,
}

impl Sent {
    pub(super) fn new(patience: Duration) -> Self {
        Self { writes: VecDeque::new(), bytes: 0, patience, repeated: 0 }
    }

    /// Notes a write of entries from `from` on.
    pub(super) fn note(&mut self, now: Instant, from: u64, bytes: usize) {
        self.writes.push_back((now, from, bytes));
        self.bytes += bytes;
        while let Some((at, _, bytes)) = self.writes.front().copied()
            && now.duration_since(at) > self.patience
            && self.bytes - bytes > UNREAD
        {
            self.writes.pop_front();
            self.bytes -= bytes;
        }
    }

    /// The entry from which on writes may be lost, whatever happens.
    pub(super) fn safe(&self) -> Option<u64> {
        self.writes.front().map(|(_, from, _)| *from)
    }

    /// The connection is gone: from which entry on everything goes again, if any.
    pub(super) fn lost(&mut self, now: Instant, end: End, next: u64) -> Option<u64> {
        let younger = |than: Duration, writes: &VecDeque<(Instant, u64, usize)>| {
            let found = writes.iter().find(|(at, ..)| now.duration_since(*at) <= than);
            found.map(|(_, from, _)| *from)
        };
        let back = match end {
            End::Closed => younger(POLITE, &self.writes),
            End::Broken => {
                let unread = self.writes.iter().map(|(_, from, _)| *from);
                let unread = unread.clone().find(|from| *from >= self.repeated);
                let young = younger(self.patience, &self.writes);
                [unread, young].into_iter().flatten().min()
            }
        };
        self.repeated = self.repeated.max(next);
        self.forget();
        back
    }

    /// Everything has arrived.
    pub(super) fn forget(&mut self) {
        self.writes.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn a_broken_connection_takes_with_it_what_is_young_or_may_lie_unread() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut sent = Sent::new(PATIENCE);
        for n in 0..10 {
            sent.note(at(n * 10), n * 100, 100 * 1024);
        }
        // The last three hundred KiB, of which the oldest reaches beyond what may lie unread.
        assert_eq!(sent.safe(), Some(700));
        assert_eq!(sent.lost(at(200), End::Broken, 1000), Some(700));
        assert_eq!(sent.safe(), None);
        // Sent again and cut for being idle: once is enough.
        sent.note(at(201), 700, 300 * 1024);
        assert_eq!(sent.lost(at(400), End::Broken, 1000), None);
        sent.note(at(401), 1000, 10);
        assert_eq!(sent.lost(at(402), End::Broken, 1010), Some(1000), "but what is young goes");
    }

    #[test]
    fn a_receiver_that_closes_has_read_what_is_not_young() {
        let start = Instant::now();
        let mut sent = Sent::new(PATIENCE);
        sent.note(start, 0, 10);
        sent.note(start + Duration::from_secs(10), 5, 10);
        let later = start + Duration::from_secs(12);
        assert_eq!(sent.lost(later, End::Closed, 7), Some(5));
        sent.note(later, 5, 10);
        assert_eq!(sent.lost(later + Duration::from_secs(60), End::Closed, 7), None);
        sent.note(later, 7, 10);
        sent.forget();
        assert_eq!(sent.lost(later, End::Broken, 9), None);
    }
}
