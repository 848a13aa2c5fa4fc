//! Waits that end, and tasks that end with their owner.

use std::fmt::Display;
use std::panic::Location;
use std::time::Duration;

use tokio::task::JoinHandle;

/// How long any wait may take: far more than a loaded machine needs, far less than a test run.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(2);

/// Waits for `future`, at most [`PATIENCE`].
///
/// `what` completes "waited for …" and is written only when the wait is over, so that it can tell
/// how far things got.
///
/// # Panics
/// When the time is up.
#[track_caller]
pub fn within<F: Future>(what: impl Display, future: F) -> impl Future<Output = F::Output> {
    within_at(Location::caller(), what, future)
}

/// [`within`] for a wait that was asked for at `asked`.
pub async fn within_at<F: Future>(
    asked: &'static Location<'static>,
    what: impl Display,
    future: F,
) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {PATIENCE:?} for {what} (asked for at {asked})"),
    }
}

/// Looks until `reached`, at most [`PATIENCE`]: for what tells nobody when it changes, such as an
/// atomic of the gateway, another process, or a file. What has an event is waited for by that.
///
/// # Panics
/// When the time is up.
#[track_caller]
pub fn until(what: impl Display, mut reached: impl FnMut() -> bool) -> impl Future<Output = ()> {
    within_at(Location::caller(), what, async move {
        let mut looks = tokio::time::interval(LOOK);
        while !reached() {
            looks.tick().await;
        }
    })
}

/// A task that does not outlive its owner.
#[derive(Debug)]
pub struct Task<T = ()>(JoinHandle<T>);

impl<T: Send + 'static> Task<T> {
    /// Starts `future`.
    pub fn spawn(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }

    /// Its result.
    pub async fn join(mut self) -> T {
        (&mut self.0).await.expect("a task of the test support")
    }

    /// Whether it is over.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Ends it.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Ends it and waits until everything that it held is dropped.
    pub async fn stop(mut self) {
        self.0.abort();
        let _ = (&mut self.0).await;
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
