//! The background work: taking in new entries, writing whole blocks, making again what is of no
//! use.

use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::block::Builder;
use super::fetch::Fetcher;
use super::postings::BLOCK;
use super::{Block, Index, Slot, Source};
use crate::merkle::leaf_hash;
use crate::{Committed, Error, Follower};

/// Between two looks at new entries, so that the appender wakes nobody meanwhile.
const LINGER: Duration = Duration::from_millis(100);
/// After something went wrong.
const PAUSE: Duration = Duration::from_secs(10);
/// Groups taken in before repairs have their turn.
const GROUPS: usize = 64;
/// Entries read at once to make a block again.
const RUN: u64 = 512;

impl Index {
    /// Keeps the index until `stop`. One at a time.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let from = self.state().live.end();
        let mut follower = self.0.log.follow(from);
        let mut arrived = None;
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return,
                () = std::future::ready(()) => {}
            }
            let index = self.clone();
            let work = tokio::task::spawn_blocking(move || {
                let outcome = hub_store::block_on(index.step(&mut follower, arrived));
                (follower, outcome)
            });
            // Not broken off: what it reads must not be closed meanwhile. It takes a moment.
            let Ok((back, outcome)) = work.await else { return };
            (follower, arrived) = (back, None);
            let wait = match outcome {
                Ok(true) => continue,
                Ok(false) => LINGER,
                Err(error) => {
                    tracing::error!(%error, "the audit log's index does not get on");
                    PAUSE
                }
            };
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(wait) => {}
            }
            if self.repair_due() && self.next_repair().is_some() {
                continue;
            }
            let paused = self.next_repair().is_some();
            tokio::select! {
                () = &mut stop => return,
                group = follower.next() => match group {
                    Ok(group) => arrived = Some(group),
                    // What does not come is looked for again by the next step.
                    Err(error) => tracing::error!(%error, "the audit log cannot be followed"),
                },
                () = self.0.repair.notified() => {}
                () = tokio::time::sleep(PAUSE), if paused => {}
            }
        }
    }

    /// Does some of what there is to do; says whether there is more.
    async fn step(
        &self,
        follower: &mut Follower,
        arrived: Option<Arc<Committed>>,
    ) -> Result<bool, Error> {
        if let Some(group) = arrived {
            self.take_in(&group);
        }
        // After a failure the follower may be ahead of what was taken in, or behind.
        follower.seek(self.state().live.end());
        for _ in 0..GROUPS {
            match follower.try_next().await? {
                Some(group) => self.take_in(&group),
                None => break,
            }
        }
        if self.repair_due()
            && let Some(number) = self.next_repair()
            && let Err(error) = self.repair(number).await
        {
            tracing::error!(%error, block = number, "a block of the index cannot be made again");
            let mut pause = self.0.pause.lock().unwrap_or_else(PoisonError::into_inner);
            *pause = Some(Instant::now() + PAUSE);
        }
        Ok(follower.lag() > 0 || (self.repair_due() && self.next_repair().is_some()))
    }

    /// Takes in entries that follow those it has.
    fn take_in(&self, group: &Committed) {
        let from = self.state().live.end();
        if group.first() > from || group.end() <= from {
            return;
        }
        let mut state = self.change();
        for (_, entry, leaf) in group.entries(from) {
            state.live.push(entry, leaf);
            if state.live.is_full() {
                let names = state.live.take_names();
                let full = state.live.clone();
                // Sorting and writing is for a while; queries go on with what is in memory.
                drop(state);
                let next = full.end();
                let slot = self.finish(full);
                state = self.change();
                state.blocks.push(slot);
                state.live = Builder::knowing(next, names);
            }
        }
    }

    /// Writes a whole block.
    fn finish(&self, full: Builder) -> Slot {
        let (header, sections) = full.finish();
        let source = match &self.0.folder {
            None => Source::Memory(sections),
            Some(folder) => match folder.write(&header, &sections) {
                Ok(()) => Source::File,
                Err(error) => {
                    tracing::error!(
                        %error, block = header.number, "a file of the index cannot be written"
                    );
                    let mut pause = self.0.pause.lock().unwrap_or_else(PoisonError::into_inner);
                    *pause = Some(Instant::now() + PAUSE);
                    return Slot::Absent;
                }
            },
        };
        self.0.built.fetch_add(1, Ordering::Relaxed);
        Slot::Ready(Arc::new(Block { header, source }))
    }

    fn repair_due(&self) -> bool {
        let pause = self.0.pause.lock().unwrap_or_else(PoisonError::into_inner);
        pause.is_none_or(|until| Instant::now() >= until)
    }

    /// The newest block that is not usable: the newest entries are asked for most.
    fn next_repair(&self) -> Option<u64> {
        let state = self.state();
        let at = state.blocks.iter().rposition(|slot| !matches!(slot, Slot::Ready(_)))?;
        u64::try_from(at).ok()
    }

    /// Makes a block usable: by its file, or from its entries.
    async fn repair(&self, number: u64) -> Result<(), Error> {
        if matches!(self.slot(number), Some(Slot::Unknown)) && self.check(number).await?.is_some() {
            return Ok(());
        }
        let (first, end) = (number * BLOCK, (number + 1) * BLOCK);
        let mut builder = Builder::new(first);
        let mut fetcher = Fetcher::new(&self.0.log);
        let mut next = first;
        while next < end {
            for (_, entry) in fetcher.run(next, (next + RUN).min(end) - 1).await? {
                builder.push(&entry, &leaf_hash(&entry));
            }
            next = builder.end();
        }
        let slot = self.finish(builder);
        self.put(number, slot);
        Ok(())
    }
}
