//! The clock of the guests: a thread that counts the engine's epoch up while a call is under way,
//! and sleeps otherwise, so that a hub whose plugins are idle does not wake.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Ticks without a call until the thread lies down. Waking it costs a call some microseconds, so
/// that it stays up between calls that follow each other.
const LINGER: u32 = 50;

#[derive(Debug)]
pub(super) struct Ticker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    under_way: AtomicUsize,
    asleep: AtomicBool,
    ended: AtomicBool,
    ticks: AtomicUsize,
    bed: Mutex<()>,
    wake: Condvar,
}

/// Held while a call is under way.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Shared>);

impl Ticker {
    pub(super) fn start(engine: wasmtime::Engine, tick: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            under_way: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            ticks: AtomicUsize::new(0),
            bed: Mutex::new(()),
            wake: Condvar::new(),
        });
        let of_thread = Arc::clone(&shared);
        thread::Builder::new()
            .name("plugin-ticks".to_owned())
            .stack_size(64 * 1024)
            .spawn(move || of_thread.run(&engine, tick))?;
        Ok(Self(shared))
    }

    /// Begins a call: the epoch moves until what is returned is dropped.
    pub(super) fn begin(&self) -> UnderWay {
        self.0.under_way.fetch_add(1, Ordering::SeqCst);
        // INVARIANT: the thread says that it is asleep before it looks at `under_way`, and this
        // side counts before it looks at `asleep`: one of the two sees the other.
        if self.0.asleep.load(Ordering::SeqCst) {
            self.0.rouse();
        }
        UnderWay(Arc::clone(&self.0))
    }

    /// Whether the thread lies down, for tests.
    #[cfg(test)]
    fn is_asleep(&self) -> bool {
        self.0.asleep.load(Ordering::SeqCst)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::SeqCst);
        self.0.rouse();
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    fn rouse(&self) {
        drop(self.bed.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_all();
    }

    fn run(&self, engine: &wasmtime::Engine, tick: Duration) {
        while !self.ended.load(Ordering::SeqCst) {
            let mut idle = 0;
            while idle < LINGER && !self.ended.load(Ordering::SeqCst) {
                thread::sleep(tick);
                engine.increment_epoch();
                self.ticks.fetch_add(1, Ordering::Relaxed);
                idle = if self.under_way.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
            }
            let mut bed = self.bed.lock().unwrap_or_else(PoisonError::into_inner);
            self.asleep.store(true, Ordering::SeqCst);
            while self.under_way.load(Ordering::SeqCst) == 0 && !self.ended.load(Ordering::SeqCst) {
                bed = self.wake.wait(bed).unwrap_or_else(PoisonError::into_inner);
            }
            self.asleep.store(false, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(mut what: impl FnMut() -> bool) {
        for _ in 0..10_000 {
            if what() {
                return;
            }
            thread::yield_now();
            thread::sleep(Duration::from_micros(500));
        }
        panic!("it never came");
    }

    #[test]
    fn it_ticks_while_a_call_is_under_way_and_lies_down_after() {
        let engine = wasmtime::Engine::default();
        let ticker = Ticker::start(engine, Duration::from_micros(200)).unwrap();
        until(|| ticker.is_asleep());
        let before = ticker.0.ticks.load(Ordering::Relaxed);
        let call = ticker.begin();
        until(|| ticker.0.ticks.load(Ordering::Relaxed) > before + 2 * LINGER as usize);
        assert!(!ticker.is_asleep(), "a call is under way");
        drop(call);
        until(|| ticker.is_asleep());
    }

    #[test]
    fn it_ends_with_its_engine() {
        let ticker =
            Ticker::start(wasmtime::Engine::default(), Duration::from_micros(200)).unwrap();
        let shared = Arc::downgrade(&ticker.0);
        drop(ticker);
        until(|| shared.strong_count() == 0);
    }
}
