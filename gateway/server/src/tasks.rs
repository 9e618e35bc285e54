//! Everything that runs beside the main task: named, watched, ended by one token.
//!
//! This is the only file that starts tasks. A named task that panics is logged; a critical one that
//! panics or returns before the stop was asked for stops the process with a failure. Connections
//! and their streams run in a [`Crew`], which has no names because it has thousands of members.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The process exit code of a second signal: interrupted.
const INTERRUPTED: i32 = 9;

mod shards;

pub use shards::Shards;

/// The supervised tasks of the process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Tasks(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    stop: CancellationToken,
    tracker: TaskTracker,
    running: Mutex<Vec<&'static str>>,
    failure: Mutex<Option<String>>,
}

impl Tasks {
    /// No tasks yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The token that ends every task: hand it to what must stop by itself.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.0.stop.clone()
    }

    /// Starts a task whose end is not fatal. A panic is logged.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.start(name, false, task);
    }

    /// Starts a task the process cannot live without: its end before the stop is a failure.
    pub fn spawn_critical(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.start(name, true, task);
    }

    /// Resolves when a stop was asked for, by signal, by [`Tasks::stop`] or by a failure.
    pub async fn stopped(&self) {
        self.0.stop.cancelled().await;
    }

    /// Asks every task to stop.
    pub fn stop(&self) {
        self.0.stop.cancel();
    }

    /// Asks every task to stop and logs why; the process then exits with a failure.
    pub fn fail(&self, reason: impl Into<String>) {
        let reason = reason.into();
        tracing::error!(target: "hub::tasks", %reason, "stopping after a failure");
        let mut failure = self.0.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(reason);
        drop(failure);
        self.0.stop.cancel();
    }

    /// Why the process must exit with a failure, if it must.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks every task to stop and waits. Gives the names of those still running at the deadline.
    pub async fn shutdown(&self, deadline: Duration) -> Vec<&'static str> {
        self.0.stop.cancel();
        self.0.tracker.close();
        if tokio::time::timeout(deadline, self.0.tracker.wait()).await.is_ok() {
            return Vec::new();
        }
        let late = self.running().clone();
        tracing::warn!(target: "hub::tasks", tasks = ?late, "tasks did not stop in time");
        late
    }

    /// Listens for signals: SIGTERM and SIGINT stop gracefully, the second one at once, SIGHUP
    /// calls `reload`.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn signals(&self, reload: impl Fn() + Send + 'static) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let stop = self.token();
        // Not tracked: it outlives the stop, to see the second signal.
        detached(async move {
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                    _ = hangup.recv() => {
                        tracing::info!(target: "hub::tasks", "SIGHUP: reloading");
                        reload();
                        continue;
                    }
                };
                if stop.is_cancelled() {
                    tracing::warn!(target: "hub::tasks", signal = name, "stopping at once");
                    std::process::exit(INTERRUPTED);
                }
                tracing::info!(target: "hub::tasks", signal = name, "stopping");
                stop.cancel();
            }
        });
        Ok(())
    }

    fn start(
        &self,
        name: &'static str,
        critical: bool,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.running().push(name);
        let tasks = self.clone();
        detached(self.0.tracker.track_future(async move {
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            let mut running = tasks.running();
            if let Some(index) = running.iter().position(|other| *other == name) {
                running.swap_remove(index);
            }
            drop(running);
            tasks.judge(name, critical, ended);
        }));
    }

    fn judge(&self, name: &'static str, critical: bool, ended: Result<(), Box<dyn Any + Send>>) {
        match (ended, critical) {
            // The payload may quote data: the panic hook has logged the place, that must do.
            (Err(_), true) => self.fail(format!("task `{name}` panicked")),
            (Err(_), false) => {
                tracing::error!(target: "hub::tasks", task = name, "task panicked");
            }
            (Ok(()), true) if !self.0.stop.is_cancelled() => {
                self.fail(format!("task `{name}` ended early"));
            }
            (Ok(()), _) => tracing::debug!(target: "hub::tasks", task = name, "task ended"),
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Vec<&'static str>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Many short tasks of one kind: connections, and streams on them. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Crew(TaskTracker);

impl Crew {
    /// Nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts one member.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        detached(self.0.track_future(task));
    }

    /// How many are at work.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody is at work.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Resolves when nobody is at work any more. Members may still be added.
    pub async fn finished(&self) {
        self.0.close();
        self.0.wait().await;
    }
}

impl<F> hyper::rt::Executor<F> for Crew
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that starts tasks")]
fn detached<F>(task: F)
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    drop(tokio::spawn(task));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_critical_task_that_ends_early_stops_the_process() {
        let tasks = Tasks::new();
        tasks.spawn_critical("sweep", async {});
        tasks.stopped().await;
        assert_eq!(tasks.failure().unwrap(), "task `sweep` ended early");
    }

    #[tokio::test]
    async fn a_critical_panic_is_a_failure_and_an_ordinary_one_is_not() {
        let tasks = Tasks::new();
        tasks.spawn("ordinary", async { panic!("secret payload") });
        let token = tasks.token();
        tasks.spawn("good", async move { token.cancelled().await });
        tokio::task::yield_now().await;
        assert!(tasks.failure().is_none());
        tasks.spawn_critical("integrator", async { panic!("secret payload") });
        tasks.stopped().await;
        assert_eq!(tasks.failure().unwrap(), "task `integrator` panicked");
        assert!(tasks.shutdown(Duration::from_secs(1)).await.is_empty());
    }

    #[tokio::test]
    async fn late_tasks_are_named() {
        let tasks = Tasks::new();
        tasks.spawn("stubborn", std::future::pending());
        assert_eq!(tasks.shutdown(Duration::from_millis(10)).await, ["stubborn"]);
        assert!(tasks.failure().is_none());
    }
}
