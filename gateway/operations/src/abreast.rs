//! Requests that are ready together go through the code together (docs/adr/0039-abreast.md).

use std::future::{Future, poll_fn};
use std::task::Poll;

use futures_util::future::maybe_done;

/// Lets the tasks that are ready on this thread come as far first.
///
/// What one request runs is larger than the cache of a processor. A thread that takes one request
/// through all of it after the other fetches all of it for each; abreast, once for all of them.
/// Not `tokio::task::yield_now`, which asks the kernel for events before it goes on: a caller who
/// is alone would pay for that.
pub fn abreast() -> impl Future<Output = ()> + Send {
    let mut waited = false;
    poll_fn(move |cx| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

/// The outcomes of these, in their order. All are asked whenever any is woken, so they go abreast:
/// `join_all` gives up after two that wake themselves.
pub async fn all<F: Future>(work: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut work: Vec<_> = work.into_iter().map(|one| Box::pin(maybe_done(one))).collect();
    poll_fn(|cx| {
        // Each is asked, also behind one that is not ready.
        let waiting =
            work.iter_mut().filter_map(|one| one.as_mut().poll(cx).is_pending().then_some(()));
        if waiting.count() == 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    work.iter_mut().filter_map(|one| one.as_mut().take_output()).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use futures_util::StreamExt as _;
    use futures_util::stream::FuturesUnordered;

    use super::*;

    /// Each future has a waker of its own here, as a task has, and comes when it is woken.
    #[tokio::test]
    async fn those_who_are_ready_go_stage_by_stage() {
        let seen = RefCell::new(Vec::new());
        let seen = &seen;
        let requests: FuturesUnordered<_> = (0..4)
            .map(|number| async move {
                for stage in 0..3 {
                    seen.borrow_mut().push((stage, number));
                    abreast().await;
                }
            })
            .collect();
        assert_eq!(requests.count().await, 4);
        let in_order: Vec<_> = (0..3).flat_map(|s| (0..4).map(move |n| (s, n))).collect();
        assert_eq!(*seen.borrow(), in_order);
    }

    /// However many they are, each round of them takes one look at the whole.
    #[tokio::test]
    async fn all_go_stage_by_stage_in_as_many_rounds() {
        let seen = RefCell::new(Vec::new());
        let work = (0..256).map(|number| {
            let seen = &seen;
            async move {
                for stage in 0..3 {
                    seen.borrow_mut().push((stage, number));
                    abreast().await;
                }
                number
            }
        });
        let mut work = std::pin::pin!(all(work));
        let mut rounds = 0;
        let outcomes = poll_fn(|cx| {
            rounds += 1;
            work.as_mut().poll(cx)
        })
        .await;
        assert_eq!(outcomes, (0..256).collect::<Vec<_>>());
        assert_eq!(rounds, 4);
        let in_order: Vec<_> = (0..3).flat_map(|s| (0..256).map(move |n| (s, n))).collect();
        assert_eq!(*seen.borrow(), in_order);
    }
}
