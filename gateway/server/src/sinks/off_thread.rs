//! Sinks that block, on a thread of their own: a file system or a pipe that hangs holds that thread
//! and nothing else, not even the end of the process.

use std::sync::mpsc;

use hub_audit::relay::{Batch, Sink, SinkError, Work};
use tokio::sync::oneshot;

/// A sink that blocks.
pub(super) trait Blocking: Send + 'static {
    /// As [`Sink::accept`].
    fn accept(&mut self, batch: &Batch) -> std::io::Result<u64>;
}

type Answer = oneshot::Receiver<Result<u64, SinkError>>;
type Job = (Batch, oneshot::Sender<Result<u64, SinkError>>);

/// Runs a blocking sink.
#[derive(Debug)]
pub(super) struct OffThread {
    jobs: mpsc::SyncSender<Job>,
    /// What was handed over and given up: it may still be done.
    late: Option<Answer>,
}

impl OffThread {
    pub(super) fn start(mut sink: impl Blocking) -> std::io::Result<Self> {
        let (jobs, todo) = mpsc::sync_channel::<Job>(1);
        std::thread::Builder::new().name("sink".to_owned()).spawn(move || {
            while let Ok((batch, answer)) = todo.recv() {
                let outcome = sink.accept(&batch).map_err(|error| SinkError(error.to_string()));
                let _ = answer.send(outcome);
            }
        })?;
        Ok(Self { jobs, late: None })
    }
}

impl Sink for OffThread {
    fn accept<'a>(&'a mut self, batch: &'a Batch) -> Work<'a, Result<u64, SinkError>> {
        Box::pin(async move {
            let ended = || SinkError("its thread has ended".to_owned());
            if self.late.is_none() {
                let (answer, outcome) = oneshot::channel();
                // INVARIANT: one job at a time, so there is room.
                self.jobs.try_send((batch.clone(), answer)).map_err(|_| ended())?;
                self.late = Some(outcome);
            }
            // Kept while it is waited for: given up, it is waited for again.
            let Some(outcome) = &mut self.late else { return Err(ended()) };
            let outcome = outcome.await;
            self.late = None;
            // Of an earlier batch perhaps, whose end is then a place between, or of a later one.
            outcome.unwrap_or_else(|_| Err(ended())).map(|reached| reached.max(batch.from()))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Slow(mpsc::Receiver<()>, mpsc::Sender<u64>);

    impl Blocking for Slow {
        fn accept(&mut self, batch: &Batch) -> std::io::Result<u64> {
            self.0.recv().map_err(std::io::Error::other)?;
            self.1.send(batch.from()).map_err(std::io::Error::other)?;
            Ok(batch.end())
        }
    }

    #[tokio::test]
    async fn what_was_given_up_is_waited_for_and_not_done_twice() {
        let (go, gate) = mpsc::channel();
        let (done, seen) = mpsc::channel();
        let mut sink = OffThread::start(Slow(gate, done)).unwrap();
        let batch = Batch::of(0, &[b"{}", b"{}"]);
        let short = Duration::from_millis(20);
        for _ in 0..2 {
            assert!(tokio::time::timeout(short, sink.accept(&batch)).await.is_err());
        }
        go.send(()).unwrap();
        assert_eq!(sink.accept(&batch).await.unwrap(), 2);
        go.send(()).unwrap();
        assert_eq!(sink.accept(&Batch::of(2, &[b"{}"])).await.unwrap(), 3);
        assert_eq!(seen.try_iter().collect::<Vec<_>>(), [0, 2]);
    }
}
