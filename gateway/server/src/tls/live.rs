//! Open connections with a client certificate, to be looked at again when trust changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls_pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;

/// A chain as the client sent it, leaf first.
pub(super) type Chain = Arc<[CertificateDer<'static>]>;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Live(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    open: HashMap<u64, (Chain, CancellationToken)>,
}

/// One of them, until dropped.
#[derive(Debug)]
pub(super) struct Entry {
    live: Arc<Live>,
    id: u64,
    cut: CancellationToken,
}

impl Live {
    pub(super) fn enter(self: &Arc<Self>, chain: Chain) -> Entry {
        let cut = CancellationToken::new();
        let mut entries = self.entries();
        let id = entries.next;
        entries.next += 1;
        entries.open.insert(id, (chain, cut.clone()));
        Entry { live: Arc::clone(self), id, cut }
    }

    /// Cuts those whose chain is no longer good, and says how many. What is asked takes a while, so
    /// nobody waits for the lock meanwhile.
    pub(super) fn cut_unless(&self, good: impl Fn(&Chain) -> bool) -> usize {
        let open: Vec<(Chain, CancellationToken)> = self.entries().open.values().cloned().collect();
        let bad = open.iter().filter(|(chain, cut)| !cut.is_cancelled() && !good(chain));
        bad.map(|(_, cut)| cut.cancel()).count()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Cancelled when the connection must end.
    pub(super) const fn cut(&self) -> &CancellationToken {
        &self.cut
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.live.entries().open.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(byte: u8) -> Chain {
        Arc::from(vec![CertificateDer::from(vec![byte])])
    }

    #[test]
    fn only_the_bad_are_cut_and_the_gone_forgotten() {
        let live = Arc::new(Live::default());
        let (good, bad) = (live.enter(chain(1)), live.enter(chain(2)));
        drop(live.enter(chain(2)));
        let is_good = |chain: &Chain| chain.first().is_some_and(|der| der.as_ref() == [1]);
        assert_eq!(live.cut_unless(is_good), 1);
        assert_eq!(live.cut_unless(is_good), 0, "once");
        assert!(bad.cut().is_cancelled() && !good.cut().is_cancelled());
        drop((good, bad));
        assert!(live.entries().open.is_empty());
    }
}
