//! Everything that outlives a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

use super::backends::Pools;
use super::connect::Links;
use super::front::Connections;
use super::guests::Guests;
use super::held_bytes::HeldBytes;
use super::request_id::RequestIds;
use super::suspension::Suspensions;
use super::table::{Lasting, Table, TableError};
use crate::policy::Snapshot;
use crate::telemetry::metrics::{Metrics, PairStatus, State};
use crate::telemetry::traces::Traces;
use crate::telemetry::{AccessLog, BackendReport, Recent, RequestRecord};

/// Between two looks whether a request still holds what was replaced.
const RETIRED_LOOK: Duration = Duration::from_secs(1);

/// The gateway: everything that outlives a request.
pub struct Gateway {
    table: ArcSwap<Table>,
    lasting: Lasting,
    access_log: AccessLog,
    recent: Recent,
    request_ids: RequestIds,
    guests: Arc<Guests>,
    draining: AtomicBool,
}

impl Gateway {
    /// A gateway that serves `snapshot`.
    ///
    /// # Errors
    /// What of the snapshot can't be used.
    pub fn new(
        snapshot: Snapshot,
        links: Links,
        access_log: AccessLog,
        recent: Recent,
    ) -> Result<Self, TableError> {
        let lasting = Lasting::new(links, Instant::now());
        Ok(Self {
            table: ArcSwap::from_pointee(Table::new(snapshot, &lasting)?),
            lasting,
            access_log,
            recent,
            request_ids: RequestIds::new(),
            guests: Arc::default(),
            draining: AtomicBool::new(false),
        })
    }

    /// Puts a new snapshot in the place of the old one. Requests under way keep theirs.
    ///
    /// # Errors
    /// What of it can't be used; then nothing has changed.
    pub fn install(&self, snapshot: Snapshot) -> Result<(), TableError> {
        let table = Table::new(snapshot, &self.lasting)?;
        retire(self.table.swap(Arc::new(table)));
        self.lasting.pools.changed.notify_one();
        self.lasting.suspensions.sweep(Instant::now());
        Ok(())
    }

    /// A new request's id.
    pub(super) fn next_request_id(&self) -> Box<str> {
        self.request_ids.next()
    }

    /// From now on every answer closes its connection.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether the process is about to end.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The configuration that new requests are served with.
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// The suspensions of all pairs.
    pub const fn suspensions(&self) -> &Arc<Suspensions> {
        &self.lasting.suspensions
    }

    /// The ways to the backends.
    pub const fn links(&self) -> &Links {
        &self.lasting.links
    }

    /// The pools of backends.
    pub(super) const fn pools(&self) -> &Pools {
        &self.lasting.pools
    }

    /// How each backend of each endpoint stands now, in the order of the configuration. For the
    /// admin side: it allocates a line a backend, and waits for nobody.
    pub fn backends(&self) -> Vec<BackendReport> {
        self.table.load().backends(tokio::time::Instant::now())
    }

    /// The bytes of bodies that are held now.
    pub fn held_bytes(&self) -> &HeldBytes {
        &self.lasting.held
    }

    /// What is counted.
    pub const fn metrics(&self) -> &Metrics {
        &self.lasting.metrics
    }

    /// Everything that Prometheus is told, in its text format.
    pub fn metrics_text(&self, connections: &Connections) -> String {
        let table = self.table();
        let now = Instant::now();
        let pairs = table.snapshot.pairs.iter();
        let pairs = pairs.zip(table.pairs()).map(|(pair, state)| PairStatus {
            environment: pair.environment,
            endpoint: pair.endpoint.clone(),
            model: pair.model.clone(),
            suspended: state.standing(now).is_suspended(),
            suspensions: state.suspensions(),
        });
        self.lasting.metrics.text(&State {
            pairs: pairs.collect(),
            rooms: table.rooms(),
            backends: self.backends(),
            keys: table.keys(now),
            buffered_bytes: self.held_bytes().current() as u64,
            connections: connections.open() as u64,
            connections_refused: connections.refused(),
            access_log_lines_dropped: self.access_log.dropped(),
            spans_dropped: self.lasting.traces.dropped(),
        })
    }

    /// Tells of a request that has `ended`, wherever it is told of.
    pub(super) fn account(&self, table: &Table, ended: Instant, record: RequestRecord) {
        for attempt in &record.attempts {
            if let Some(pair) = attempt.pair {
                table.pair(pair).tally().count(attempt);
            }
        }
        table.series().record(&record);
        self.access_log.record(&record);
        if let Some(tracer) = table.tracer() {
            tracer.finish(&record);
        }
        self.recent.keep(ended, record);
    }

    /// The last requests.
    pub const fn recent(&self) -> &Recent {
        &self.recent
    }

    /// What is traced.
    pub const fn traces(&self) -> &Traces {
        &self.lasting.traces
    }

    /// Requests of this process's own.
    pub const fn guests(&self) -> &Arc<Guests> {
        &self.guests
    }

    /// The access log.
    pub const fn access_log(&self) -> &AccessLog {
        &self.access_log
    }
}

/// Frees what was replaced once no request holds it, and on none of the threads that serve: a table
/// of many policies takes them a tenth of a second.
fn retire<T: Send + Sync + 'static>(replaced: Arc<T>) {
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    runtime.spawn(async move {
        let mut looks = tokio::time::interval(RETIRED_LOOK);
        while Arc::strong_count(&replaced) > 1 {
            looks.tick().await;
        }
        let _ = tokio::task::spawn_blocking(move || drop(replaced)).await;
    });
}

#[cfg(test)]
mod tests {
    use std::thread::{self, ThreadId};

    use tokio::sync::oneshot;

    use super::*;

    /// Tells on which thread it is freed.
    struct Freed(Option<oneshot::Sender<ThreadId>>);

    impl Drop for Freed {
        fn drop(&mut self) {
            let told = self
                .0
                .take()
                .map(|freed| freed.send(thread::current().id()));
            assert_eq!(told, Some(Ok(())));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_replaced_is_freed_where_nobody_waits() {
        let (freed, mut is_freed) = oneshot::channel();
        let replaced = Arc::new(Freed(Some(freed)));
        let request = replaced.clone();
        retire(replaced);
        tokio::time::sleep(10 * RETIRED_LOOK).await;
        assert!(is_freed.try_recv().is_err(), "a request holds it");
        drop(request);
        assert!(is_freed.try_recv().is_err(), "its thread has not freed it");
        assert_ne!(is_freed.await.unwrap(), thread::current().id());
    }
}
