//! Connections, spread over one single-threaded runtime a processor.
//!
//! A connection stays on its thread with everything it starts. So its requests wake no other
//! thread, and the outcomes of a commit wake each thread once (`hub_audit::Lane`), where a runtime
//! that shares its tasks between threads pays a system call for most of them. What must not keep a
//! thread busy for long runs on the blocking pool.

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::BoxFuture;
use hub_audit::Lane;
use tokio::sync::mpsc;

use super::{Crew, detached};

/// How long a thread waits, at its end, for work on the blocking pool.
const LAST: Duration = Duration::from_secs(1);

/// The threads connections live on.
#[derive(Debug)]
pub struct Shards(Vec<Shard>);

#[derive(Debug)]
struct Shard {
    // Bounded by the number of connections that may be open.
    jobs: mpsc::UnboundedSender<BoxFuture<'static, ()>>,
    load: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Shards {
    /// Starts one thread a processor.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be had.
    pub fn start() -> io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        (0..count).map(Shard::start).collect::<io::Result<_>>().map(Self)
    }

    /// Runs `work` as a member of the crew on the thread that has least to look after.
    pub fn spawn(&self, crew: &Crew, work: impl Future<Output = ()> + Send + 'static) {
        struct Counted(Arc<AtomicUsize>);
        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        // A thread that has ended by a panic would look like the one with the least to do.
        let alive = self.0.iter().filter(|shard| !shard.thread.is_finished());
        let Some(shard) = alive.min_by_key(|s| s.load.load(Ordering::Relaxed)) else {
            return;
        };
        shard.load.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(Arc::clone(&shard.load));
        let work = crew.0.track_future(async move {
            work.await;
            drop(counted);
        });
        // A thread that is gone drops the work, and with it the connection.
        drop(shard.jobs.send(Box::pin(work)));
    }

    /// Ends the threads and drops what still runs on them.
    pub async fn end(self) {
        let threads: Vec<_> = self.0.into_iter().map(|shard| shard.thread).collect();
        let joined = tokio::task::spawn_blocking(move || {
            threads.into_iter().for_each(|thread| drop(thread.join()));
        });
        drop(joined.await);
    }
}

impl Shard {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (jobs, mut inbox) = mpsc::unbounded_channel();
        let name = format!("connections-{number}");
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            runtime.block_on(Lane::beside(async move {
                while let Some(job) = inbox.recv().await {
                    detached(job);
                }
            }));
            runtime.shutdown_timeout(LAST);
        })?;
        Ok(Self { jobs, load: Arc::default(), thread })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_spread_and_dropped_at_the_end() {
        let shards = Shards::start().unwrap();
        let crew = Crew::new();
        let (told, mut names) = mpsc::unbounded_channel();
        let held = Arc::new(());
        for _ in 0..shards.0.len() {
            let (told, held) = (told.clone(), Arc::clone(&held));
            shards.spawn(&crew, async move {
                let name = std::thread::current().name().map(str::to_owned);
                told.send(name.unwrap()).unwrap();
                std::future::pending::<()>().await;
                drop(held);
            });
        }
        let mut seen = Vec::new();
        for _ in 0..shards.0.len() {
            seen.push(names.recv().await.unwrap());
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), shards.0.len(), "each thread has one");
        shards.end().await;
        assert_eq!(Arc::strong_count(&held), 1);
        assert!(crew.is_empty());
    }
}
