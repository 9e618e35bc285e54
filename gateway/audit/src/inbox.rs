//! What waits to be appended, and how the outcome gets back.
//!
//! Entries are copied one after the other into one buffer, which the appending thread takes whole:
//! no allocation of one thread is freed by another, which glibc would pay for with a lock. Outcomes
//! of a group go back together, by [`Lane`] where the waiting thread has one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hub_store::Changes;
use tokio::sync::{Notify, Semaphore, oneshot};

use crate::encode::Gaps;
use crate::{Error, Receipt};

/// Entries waiting at most; beyond, callers wait for room.
const QUEUE: usize = 8192;
/// A buffer that one large burst has grown is not kept for ever.
const KEPT: usize = 1024 * 1024;

pub(crate) type Outcome = Result<Receipt, Error>;

/// One entry with its changes and whoever waits for it.
pub(crate) struct Submission {
    pub(crate) changes: Changes,
    pub(crate) gaps: Gaps,
    pub(crate) reply: Reply,
    text: Range<usize>,
}

/// The way back to one waiting caller.
pub(crate) struct Reply {
    to: oneshot::Sender<Outcome>,
    lane: Option<Arc<Lane>>,
}

impl Reply {
    /// Answers at once, by itself.
    pub(crate) fn send(self, outcome: Outcome) {
        let _ = self.to.send(outcome);
    }
}

#[derive(Default)]
struct Waiting {
    text: Vec<u8>,
    items: VecDeque<Submission>,
    closed: bool,
}

/// Where entries wait.
pub(crate) struct Inbox {
    waiting: Mutex<Waiting>,
    arrived: Notify,
    room: Semaphore,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self { waiting: Mutex::default(), arrived: Notify::new(), room: Semaphore::new(QUEUE) }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves an entry, once there is room, and gives what its outcome comes through. `write` puts
    /// the entry into a scratch buffer of this thread.
    pub(crate) async fn leave(
        &self,
        write: impl FnOnce(&mut String) -> Result<Gaps, Error>,
        changes: Changes,
    ) -> Result<oneshot::Receiver<Outcome>, Error> {
        thread_local! {
            static SCRATCH: RefCell<String> = const { RefCell::new(String::new()) };
        }
        let stopping = || Error::Unavailable("the hub is stopping".to_owned());
        self.room.acquire().await.map_err(|_| stopping())?.forget();
        let (to, answer) = oneshot::channel();
        let left = SCRATCH.with_borrow_mut(|scratch| {
            let gaps = write(scratch)?;
            let lane = LANE.with_borrow(Option::clone);
            let mut waiting = self.lock();
            if waiting.closed {
                return Err(stopping());
            }
            let start = waiting.text.len();
            waiting.text.extend_from_slice(scratch.as_bytes());
            let text = start..waiting.text.len();
            waiting.items.push_back(Submission { changes, gaps, reply: Reply { to, lane }, text });
            Ok(waiting.items.len())
        });
        match left {
            Ok(1) => {
                // Whoever takes the first takes the others with it.
                self.arrived.notify_one();
                Ok(answer)
            }
            Ok(_) => Ok(answer),
            Err(error) => {
                self.room.add_permits(1);
                Err(error)
            }
        }
    }

    /// Takes no more; what waits is still appended.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
    }

    /// Takes no more, and lets everybody who waits know that nobody comes.
    pub(crate) fn abandon(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        let dropped = std::mem::take(&mut waiting.items);
        drop(waiting);
        self.room.close();
        drop(dropped);
    }
}

/// The appending thread's end of an [`Inbox`].
pub(crate) struct Taken {
    text: Vec<u8>,
    items: VecDeque<Submission>,
}

impl Taken {
    pub(crate) const fn new() -> Self {
        Self { text: Vec::new(), items: VecDeque::new() }
    }

    /// The next entry; `None` when nothing waits now.
    pub(crate) fn next(&mut self, inbox: &Inbox) -> Option<Submission> {
        if self.items.is_empty() {
            self.text.clear();
            if self.text.capacity() > KEPT {
                self.text.shrink_to(KEPT);
            }
            let mut waiting = inbox.lock();
            std::mem::swap(&mut waiting.text, &mut self.text);
            std::mem::swap(&mut waiting.items, &mut self.items);
            drop(waiting);
            inbox.room.add_permits(self.items.len());
        }
        self.items.pop_front()
    }

    /// Waits for an entry; `None` when the inbox is closed and empty.
    pub(crate) async fn wait(&mut self, inbox: &Inbox) -> Option<Submission> {
        loop {
            if let Some(submission) = self.next(inbox) {
                return Some(submission);
            }
            if inbox.lock().closed {
                // Whatever came before the end came before the flag.
                return self.next(inbox);
            }
            inbox.arrived.notified().await;
        }
    }

    /// Puts back what did not fit. INVARIANT: nothing was taken since.
    pub(crate) fn put_back(&mut self, submission: Submission) {
        self.items.push_front(submission);
    }

    /// The text of an entry. INVARIANT: it was the last one taken.
    pub(crate) fn text(&self, submission: &Submission) -> &[u8] {
        self.text.get(submission.text.clone()).unwrap_or_default()
    }

    /// Everything that was taken and not appended.
    pub(crate) fn into_items(self) -> impl Iterator<Item = Submission> {
        self.items.into_iter()
    }
}

/// How outcomes get back to a thread that runs many requests: one wake a group instead of one a
/// request. A wake from another thread is a system call, one from the same thread is none.
pub struct Lane {
    done: Mutex<Vec<(oneshot::Sender<Outcome>, Outcome)>>,
    arrived: Notify,
}

thread_local! {
    static LANE: RefCell<Option<Arc<Lane>>> = const { RefCell::new(None) };
}

impl Lane {
    /// Does `work` with a lane for everything that this thread appends meanwhile. For the outermost
    /// future of a single-threaded runtime.
    pub async fn beside<F: Future>(work: F) -> F::Output {
        struct Leave;
        impl Drop for Leave {
            fn drop(&mut self) {
                // A thread that ends may have lost its storage already; then nothing appends here.
                let _ = LANE.try_with(|lane| lane.take());
            }
        }
        let lane = Arc::new(Self { done: Mutex::default(), arrived: Notify::new() });
        LANE.set(Some(Arc::clone(&lane)));
        let _leave = Leave;
        tokio::select! {
            biased;
            never = lane.deliver() => match never {},
            outcome = work => outcome,
        }
    }

    async fn deliver(&self) -> std::convert::Infallible {
        let mut batch = Vec::new();
        loop {
            self.arrived.notified().await;
            std::mem::swap(&mut batch, &mut *self.lock());
            for (to, outcome) in batch.drain(..) {
                let _ = to.send(outcome);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(oneshot::Sender<Outcome>, Outcome)>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lane")
    }
}

/// Sends the outcomes of a group, those of one lane together.
pub(crate) fn send_all(outcomes: impl Iterator<Item = (Reply, Outcome)>) {
    let mut lanes: Vec<Arc<Lane>> = Vec::new();
    for (Reply { to, lane }, outcome) in outcomes {
        let Some(lane) = lane else {
            let _ = to.send(outcome);
            continue;
        };
        lane.lock().push((to, outcome));
        if !lanes.iter().any(|known| Arc::ptr_eq(known, &lane)) {
            lanes.push(lane);
        }
    }
    for lane in lanes {
        lane.arrived.notify_one();
    }
}
