//! Traces: a span a request and one for each of its attempts, sent to an OpenTelemetry collector.
//!
//! ```text
//! head ── Tracer::begin ── sampled? ──no──> None: the caller's traceparent passes as it came
//!            └──yes──> RequestTrace ── an id for each attempt ──> traceparent to its target
//! end ─── Tracer::finish(record) ──> queue ──> exporter ── OTLP/HTTP, JSON ──> collector
//! ```
//!
//! - **Nothing is paid without `observability.otlp`**, and next to nothing for what isn't sampled: the
//!   rest of a request's path asks an `Option`. The spans are made from the [`RequestRecord`] after the
//!   request has ended, by the exporter's task.
//! - **Sampling** is the caller's where it sends a `traceparent`, else `sample_ratio` of the requests.
//!   A caller that doesn't sample is obeyed: its `traceparent` goes on unchanged.
//! - **A collector that is slow or dead costs spans**, never a request: a bounded number of requests waits;
//!   what doesn't fit, and what couldn't be sent, is counted.
//! - **OTLP/HTTP with JSON, written here.** The `opentelemetry` crates bring a second model of spans,
//!   `tonic` and `prost`, and a batch processor that tells nobody what it has dropped; what is needed of
//!   them is the encoding of one message, which every collector reads as JSON (port 4318).
//! - **Names** are those of OpenTelemetry's semantic conventions for HTTP and generative AI.

mod context;
mod encode;
mod exporter;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};

pub use self::context::SpanId;
use self::context::{Context, TraceId};
use self::exporter::Exporter;
use super::request::RequestRecord;
use crate::policy::{Format, Provider, Tracing};

/// Requests whose spans wait to be sent, at most.
const QUEUE: usize = 2_048;

/// The tracers of all configurations: one goes on where its settings do.
#[derive(Default)]
pub struct Traces {
    current: Mutex<Option<Arc<Tracer>>>,
    dropped: Arc<AtomicU64>,
}

impl Traces {
    /// The tracer of these settings: the one there is, where nothing has changed.
    pub fn tracer(&self, settings: Option<&Tracing>) -> Option<Arc<Tracer>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let known = current.as_ref().map(|tracer| &tracer.settings);
        if known != settings {
            let tracer = |settings: &Tracing| Tracer::new(settings, self.dropped.clone());
            *current = settings.map(|settings| Arc::new(tracer(settings)));
        }
        current.clone()
    }

    /// Spans that were never sent, since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything that has ended is sent or given up, at most `within`.
    pub async fn flush(&self, within: Duration) {
        let current = || self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let tracer = current().clone();
        if let Some(tracer) = tracer {
            let _ = tokio::time::timeout(within, tracer.flush()).await;
        }
    }
}

/// Makes traces as one configuration says.
pub struct Tracer {
    settings: Tracing,
    /// Of 2^64: the part of the requests without a caller's word that are sampled.
    share: u64,
    keys: RandomState,
    count: AtomicU64,
    queue: mpsc::Sender<Job>,
    /// Until the first request ends: only then there is surely a runtime for it.
    waiting: Mutex<Option<Exporter>>,
    dropped: Arc<AtomicU64>,
}

/// What the exporter is asked for.
enum Job {
    /// To send what is told of this request.
    Send(Box<RequestRecord>),
    /// To say when everything before is sent.
    Flush(oneshot::Sender<()>),
}

impl Tracer {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "saturates, and a part need not be exact to the last of 64 bits"
    )]
    fn new(settings: &Tracing, dropped: Arc<AtomicU64>) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let exporter = Exporter::new(settings.collector.clone(), jobs, dropped.clone());
        Self {
            settings: settings.clone(),
            share: (settings.sample_ratio * u64::MAX as f64) as u64,
            keys: RandomState::new(),
            count: AtomicU64::new(0),
            queue,
            waiting: Mutex::new(Some(exporter)),
            dropped,
        }
    }

    /// The trace of a request, if it is sampled; `traceparent` is what its caller says.
    pub fn begin(&self, traceparent: Option<&[u8]>, format: Format) -> Option<Arc<RequestTrace>> {
        let parent = traceparent.and_then(Context::parse);
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let trace = match parent {
            Some(parent) if !parent.sampled => return None,
            Some(parent) => parent.trace,
            None => {
                let low = self.keys.hash_one((count, 0));
                if low >= self.share && self.share != u64::MAX {
                    return None;
                }
                TraceId::new(self.keys.hash_one((count, 1)), low)
            }
        };
        Some(Arc::new(RequestTrace {
            trace,
            parent: parent.map(|parent| parent.span),
            span: SpanId::new(self.keys.hash_one((count, 2))),
            attempt: AtomicU64::new(0),
            format,
        }))
    }

    /// Sends what is told of a request, if it has a trace. Never waits.
    pub fn finish(&self, record: &RequestRecord) {
        if record.trace.is_none() {
            return;
        }
        self.attend();
        let spans = 1 + record.attempts.len() as u64;
        if self
            .queue
            .try_send(Job::Send(Box::new(record.clone())))
            .is_err()
        {
            self.dropped.fetch_add(spans, Ordering::Relaxed);
        }
    }

    async fn flush(&self) {
        if self.waiting().is_some() {
            return;
        }
        let (done, sent) = oneshot::channel();
        if self.queue.send(Job::Flush(done)).await.is_ok() {
            let _ = sent.await;
        }
    }

    /// Starts the exporter, unless it was started before.
    fn attend(&self) {
        let exporter = self.waiting().take();
        if let Some(exporter) = exporter {
            tokio::spawn(exporter.run());
        }
    }

    /// The exporter that has not begun.
    fn waiting(&self) -> MutexGuard<'_, Option<Exporter>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The trace of one request.
#[derive(Debug)]
pub struct RequestTrace {
    trace: TraceId,
    /// The caller's span.
    parent: Option<SpanId>,
    /// The request's own.
    span: SpanId,
    /// Of the attempt under way, that of the request plus its number.
    attempt: AtomicU64,
    format: Format,
}

/// The span of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptSpan {
    /// Its id: what its target is told as the parent.
    pub id: SpanId,
    /// When it began.
    pub begun: SystemTime,
    /// Whose API was asked.
    pub provider: Provider,
}

impl RequestTrace {
    /// Another attempt begins.
    pub fn begin_attempt(&self, provider: Provider, now: SystemTime) -> AttemptSpan {
        self.attempt.fetch_add(1, Ordering::Relaxed);
        AttemptSpan {
            id: self.attempt_span(),
            begun: now,
            provider,
        }
    }

    /// What the target of the attempt under way is told.
    pub fn traceparent(&self) -> String {
        Context {
            trace: self.trace,
            span: self.attempt_span(),
            sampled: true,
        }
        .to_string()
    }

    /// Whether what the caller said of its trace is carried on.
    pub const fn has_parent(&self) -> bool {
        self.parent.is_some()
    }

    /// The trace's id, for the log.
    pub fn id(&self) -> impl std::fmt::Display {
        self.trace
    }

    fn attempt_span(&self) -> SpanId {
        self.span.plus(self.attempt.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::policy::{Backend, Scheme};
    use crate::telemetry::RequestPath;

    fn tracer(sample_ratio: f64, dropped: &Arc<AtomicU64>) -> Tracer {
        let collector = Backend {
            scheme: Scheme::Http,
            host: "127.0.0.1".to_owned(),
            port: 1,
            base_path: String::new(),
            weight: 1,
        };
        let settings = Tracing {
            collector,
            sample_ratio,
        };
        Tracer::new(&settings, dropped.clone())
    }

    fn begun(tracer: &Tracer, parent: Option<&str>) -> Option<Arc<RequestTrace>> {
        tracer.begin(parent.map(str::as_bytes), Format::ChatCompletions)
    }

    #[test]
    fn the_ratio_is_that_of_the_requests_without_a_caller_s_word() {
        let dropped = Arc::default();
        for (ratio, range) in [(0.0, 0..=0), (0.25, 2_200..=2_800), (1.0, 10_000..=10_000)] {
            let tracer = tracer(ratio, &dropped);
            let sampled = (0..10_000).filter(|_| begun(&tracer, None).is_some());
            let sampled = sampled.count();
            assert!(range.contains(&sampled), "{ratio}: {sampled}");
        }
    }

    #[test]
    fn a_caller_s_word_comes_before_the_ratio() {
        let dropped = Arc::default();
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0";
        let (sampled, unsampled) = (format!("{parent}1"), format!("{parent}0"));
        let trace = begun(&tracer(0.0, &dropped), Some(&sampled)).unwrap();
        assert_eq!(trace.id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(trace.has_parent());
        assert!(begun(&tracer(1.0, &dropped), Some(&unsampled)).is_none());
        let trace = begun(&tracer(1.0, &dropped), Some("no context")).unwrap();
        assert!(!trace.has_parent());
    }

    #[test]
    fn ids_differ() {
        let tracer = tracer(1.0, &Arc::default());
        let traces: Vec<_> = (0..1_000).filter_map(|_| begun(&tracer, None)).collect();
        let ids = traces.iter().map(|trace| trace.id().to_string());
        assert_eq!(ids.collect::<std::collections::HashSet<_>>().len(), 1_000);
        let trace = &traces[0];
        let now = SystemTime::now();
        let [first, second] = [(); 2].map(|()| trace.begin_attempt(Provider::OpenAi, now).id);
        assert_ne!(first, second);
        assert!(trace.traceparent().contains(&second.to_string()));
    }

    /// The exporter gets no turn here, as with a collector that never answers.
    #[tokio::test]
    async fn what_finds_no_room_is_counted_and_waits_for_nobody() {
        let dropped = Arc::default();
        let tracer = tracer(1.0, &dropped);
        let path = RequestPath::Unknown("/".into());
        let mut record = RequestRecord::new("id".into(), SystemTime::now(), Method::GET, path);
        tracer.finish(&record);
        record.trace = begun(&tracer, None);
        for _ in 0..QUEUE + 7 {
            tracer.finish(&record);
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 7);
    }
}
