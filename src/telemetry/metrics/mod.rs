//! Numbers about all requests, for Prometheus.
//!
//! ```text
//! install ─ Metrics::series(snapshot) ──> Series: a slot for every route and target that there is
//! request ─ Series::record(&record) ────> a search by ids, then relaxed atomics
//! scrape ── Metrics::text(&State) ──────> what is counted, and what is so at this moment
//! ```
//!
//! **Labels come from the configuration.** A record names its operation, policy and pair by ids of
//! its snapshot; nothing that a caller writes (a model, a path, a key) can become a label, so the
//! number of series is bounded by the configuration, whatever is asked for.
//!
//! **A series begins with its first request**, and with its siblings at zero: ten thousand policies
//! that nobody uses cost a slot each and no line in a scrape. From then on its slot holds it, and a
//! request reaches it without a look-up by text and without a lock.
//!
//! **A series ends with its configuration.** What a reload takes away goes from the exposition:
//! a gateway whose policies come and go for a year must not remember all of them. What both
//! configurations have goes on counting, so no counter ever goes backwards while it is shown; one
//! that comes back starts at zero, which Prometheus knows as a restart. A request that is still
//! under way under the old configuration counts in a series that both have, and else nowhere that
//! is shown for longer than to the next reload.
//!
//! **The `prometheus` crate** gives histograms (four relaxed atomics an observation), the text format
//! and the process's own numbers. Its vectors of labelled metrics are not used: they tell series
//! apart by a hash of the label values one behind the other, so that endpoint `a` with model `bc`
//! and endpoint `ab` with model `c` would share their counters. `prometheus-client`, the other
//! crate, takes a mutex for every observation of a histogram and writes `OpenMetrics` alone.

mod counted;
mod exposition;
mod histogram;
mod outcome;
mod series;
mod state;
mod totals;

pub use outcome::{AttemptClass, RequestOutcome};
pub use series::{RouteKey, Series};
pub use state::{KeyStatus, PairStatus, RoomStatus, State};
pub use totals::{Spans, TargetTotals, Totals};

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use self::counted::{RouteLabels, RouteSeries, TargetLabels, TargetSeries};
use self::exposition::{Exposition, Kind};
use crate::policy::Snapshot;

/// All that is counted. It outlives every configuration.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Counted>);

/// What the slots of all snapshots share.
#[derive(Default)]
struct Counted {
    routes: Mutex<HashMap<RouteLabels, Arc<RouteSeries>>>,
    targets: Mutex<HashMap<TargetLabels, Arc<TargetSeries>>>,
    reloads: [AtomicU64; 2],
    /// Of the last reload: whether it succeeded, and if so its time.
    last_reload_failed: AtomicU64,
    deployed_at: AtomicU64,
}

impl Metrics {
    /// The slots of a snapshot's series. What is counted already goes on in them; series that only
    /// earlier snapshots had end here.
    pub fn series(&self, snapshot: &Snapshot) -> Series {
        let series = Series::new(self.clone(), snapshot);
        end_others(&self.0.routes, series.route_labels());
        end_others(&self.0.targets, series.target_labels());
        self.0
            .deployed_at
            .store(unix_seconds(SystemTime::now()), Ordering::Relaxed);
        series
    }

    /// Counts an attempt to put a new configuration in the place of the old one.
    pub fn reloaded(&self, success: bool) {
        self.0.reloads[usize::from(success)].fetch_add(1, Ordering::Relaxed);
        self.0
            .last_reload_failed
            .store(u64::from(!success), Ordering::Relaxed);
    }

    /// Everything as Prometheus reads it.
    pub fn text(&self, state: &State) -> String {
        let mut out = Exposition::default();
        self.write_routes(&mut out);
        self.write_targets(&mut out);
        self.write_reloads(&mut out);
        state.write(&mut out);
        out.into_text()
    }

    /// What is counted, added up. For those who watch: it locks the maps that scrapes lock.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for series in lock(&self.0.routes).values() {
            series.add_to(&mut totals);
        }
        for (labels, series) in lock(&self.0.targets).iter() {
            totals.add(&labels.endpoint, &labels.model, &series.totals());
        }
        totals
    }

    fn write_routes(&self, out: &mut Exposition) {
        let mut routes: Vec<_> = lock(&self.0.routes)
            .iter()
            .map(|(labels, series)| (labels.clone(), series.clone()))
            .collect();
        routes.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (labels, series) in routes {
            series.write(&labels, out);
        }
    }

    fn write_targets(&self, out: &mut Exposition) {
        let mut targets: Vec<_> = lock(&self.0.targets)
            .iter()
            .map(|(labels, series)| (labels.clone(), series.clone()))
            .collect();
        targets.sort_unstable_by(|(a, _), (b, _)| a.order().cmp(&b.order()));
        for (labels, series) in targets {
            series.write(&labels, out);
        }
    }

    fn write_reloads(&self, out: &mut Exposition) {
        for (success, count) in self.0.reloads.iter().enumerate() {
            let result = if success == 1 { "success" } else { "failure" };
            out.counter(
                "standin_config_reloads_total",
                "Attempts to put a new configuration in the place of the old one.",
                &[("result", result)],
                count.load(Ordering::Relaxed),
            );
        }
        out.single(
            Kind::Gauge,
            "standin_config_last_reload_successful",
            "Whether the last attempt to load a configuration succeeded.",
            1 - self.0.last_reload_failed.load(Ordering::Relaxed),
        );
        out.single(
            Kind::Gauge,
            "standin_config_deployed_timestamp_seconds",
            "When the configuration in use was put to use.",
            self.0.deployed_at.load(Ordering::Relaxed),
        );
    }

    fn route(&self, labels: &RouteLabels) -> Arc<RouteSeries> {
        let mut routes = lock(&self.0.routes);
        routes.entry(labels.clone()).or_default().clone()
    }

    fn target(&self, labels: &TargetLabels) -> Arc<TargetSeries> {
        let mut targets = lock(&self.0.targets);
        targets.entry(labels.clone()).or_default().clone()
    }
}

/// Ends the series of all labels but these. A request that begins one waits for no more than one
/// look at those that there are.
fn end_others<'l, L: Clone + Eq + Hash + 'l, S>(
    series: &Mutex<HashMap<L, S>>,
    stay: impl Iterator<Item = &'l L>,
) {
    let mut gone: HashSet<L> = lock(series).keys().cloned().collect();
    for labels in stay {
        gone.remove(labels);
    }
    lock(series).retain(|labels, _| !gone.contains(labels));
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
