//! What is counted of a route and of a target, and how it is shown.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::exposition::{Exposition, Label};
use super::histogram::Histogram;
use super::outcome::{AttemptClass, RequestOutcome};
use super::totals::{TargetTotals, Totals};
use crate::policy::{Environment, Format, Provider};
use crate::telemetry::gen_ai::{operation_name, provider_name};
use crate::telemetry::{AttemptRecord, RequestRecord, StreamEnd, StreamRecord};

/// Of a whole request, and of an attempt. Models answer in tenths of seconds to minutes.
static DURATIONS: [Duration; 14] = micros([
    10_000, 20_000, 40_000, 80_000, 160_000, 320_000, 640_000, 1_280_000, 2_560_000, 5_120_000,
    10_240_000, 20_480_000, 40_960_000, 81_920_000,
]);

/// Of the gateway's own part.
static OWN_DURATIONS: [Duration; 12] = micros([
    50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 25_000, 50_000, 100_000, 1_000_000,
]);

/// As the conventions have them for `gen_ai.server.time_to_first_token`.
static FIRST_TOKEN: [Duration; 16] = micros([
    1_000, 5_000, 10_000, 20_000, 40_000, 60_000, 80_000, 100_000, 250_000, 500_000, 750_000,
    1_000_000, 2_500_000, 5_000_000, 7_500_000, 10_000_000,
]);

const fn micros<const N: usize>(numbers: [u64; N]) -> [Duration; N] {
    let mut spans = [Duration::ZERO; N];
    let mut place = 0;
    while place < N {
        spans[place] = Duration::from_micros(numbers[place]);
        place += 1;
    }
    spans
}

/// The way of a request; empty where it came to none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RouteLabels {
    pub(super) operation: Arc<str>,
    pub(super) policy: Arc<str>,
    pub(super) environment: Option<Environment>,
}

impl RouteLabels {
    fn pairs(&self) -> [Label<'_>; 3] {
        [
            ("operation", &self.operation),
            ("policy", &self.policy),
            (
                "environment",
                self.environment.map_or("", Environment::name),
            ),
        ]
    }
}

/// A target on the way of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TargetLabels {
    pub(super) route: RouteLabels,
    pub(super) endpoint: Arc<str>,
    pub(super) model: Arc<str>,
    pub(super) provider: Provider,
    pub(super) format: Format,
}

impl TargetLabels {
    /// By name, for a scrape that shows the same things at the same place each time.
    pub(super) fn order(&self) -> (&RouteLabels, &str, &str) {
        (&self.route, &self.endpoint, &self.model)
    }

    fn pairs(&self) -> [Label<'_>; 5] {
        let [operation, policy, environment] = self.route.pairs();
        let endpoint = ("endpoint", &*self.endpoint);
        [
            operation,
            policy,
            environment,
            endpoint,
            ("model", &self.model),
        ]
    }

    /// The same with the names of the conventions.
    fn gen_ai_pairs(&self) -> [Label<'_>; 7] {
        let [operation, policy, environment] = self.route.pairs();
        [
            operation,
            policy,
            environment,
            ("endpoint", &self.endpoint),
            ("gen_ai_operation_name", operation_name(self.format)),
            ("gen_ai_provider_name", provider_name(self.provider)),
            ("gen_ai_request_model", &self.model),
        ]
    }
}

/// What is counted of a route.
pub(super) struct RouteSeries {
    requests: [AtomicU64; RequestOutcome::ALL.len()],
    duration: Histogram<14>,
    own_duration: Histogram<12>,
    streams: [AtomicU64; StreamEnd::ALL.len()],
    events_dropped: AtomicU64,
    rescues: AtomicU64,
}

impl Default for RouteSeries {
    fn default() -> Self {
        Self {
            requests: Default::default(),
            duration: Histogram::new(&DURATIONS),
            own_duration: Histogram::new(&OWN_DURATIONS),
            streams: Default::default(),
            events_dropped: AtomicU64::new(0),
            rescues: AtomicU64::new(0),
        }
    }
}

impl RouteSeries {
    pub(super) fn count(&self, record: &RequestRecord, outcome: RequestOutcome) {
        add(&self.requests[outcome as usize], 1);
        self.duration.observe(record.duration);
        if !record.attempts.is_empty() {
            self.own_duration.observe(record.own_duration());
        }
        if let Some(stream) = &record.stream {
            self.count_stream(stream);
        }
    }

    fn count_stream(&self, stream: &StreamRecord) {
        add(&self.streams[stream.end as usize], 1);
        if stream.events_dropped > 0 {
            add(&self.events_dropped, stream.events_dropped);
        }
        if !stream.rescued_at.is_empty() {
            add(&self.rescues, stream.rescued_at.len() as u64);
        }
    }

    pub(super) fn add_to(&self, totals: &mut Totals) {
        for outcome in RequestOutcome::ALL {
            let requests = get(&self.requests[outcome as usize]);
            totals.requests += requests;
            if outcome.is_failure() {
                totals.failed += requests;
            }
        }
        totals.rescues += get(&self.rescues);
        totals.own.add(self.own_duration.spans());
    }

    pub(super) fn write(&self, labels: &RouteLabels, out: &mut Exposition) {
        let labels = labels.pairs();
        for outcome in RequestOutcome::ALL {
            out.counter(
                "standin_requests_total",
                "Requests, by what became of them.",
                &with(labels, ("outcome", outcome.name())),
                get(&self.requests[outcome as usize]),
            );
        }
        out.histogram(
            "standin_request_duration_seconds",
            "From the first byte of a request's head to the last byte of its answer.",
            &labels,
            &self.duration,
        );
        if self.own_duration.spans().count > 0 {
            out.histogram(
                "standin_gateway_duration_seconds",
                "The gateway's own part of a request: without its attempts, the reading of its body and waits between attempts.",
                &labels,
                &self.own_duration,
            );
        }
        if self.streams.iter().any(|count| get(count) > 0) {
            self.write_streams(&labels, out);
        }
    }

    fn write_streams(&self, labels: &[Label<'_>; 3], out: &mut Exposition) {
        for end in StreamEnd::ALL {
            out.counter(
                "standin_streams_total",
                "Streamed answers, by how they ended.",
                &with(*labels, ("end", end.name())),
                get(&self.streams[end as usize]),
            );
        }
        out.counter(
            "standin_rescues_total",
            "Times that a broken stream was continued by another target.",
            labels,
            get(&self.rescues),
        );
        out.counter(
            "standin_stream_events_dropped_total",
            "Events of streams that were no valid JSON and reached no client.",
            labels,
            get(&self.events_dropped),
        );
    }
}

/// What is counted of a target.
pub(super) struct TargetSeries {
    attempts: [AtomicU64; AttemptClass::NAMES.len()],
    failovers: [AtomicU64; AttemptClass::NAMES.len()],
    duration: Histogram<14>,
    first_token: Histogram<16>,
    tokens_in: AtomicU64,
    tokens_out: AtomicU64,
}

impl Default for TargetSeries {
    fn default() -> Self {
        Self {
            attempts: [const { AtomicU64::new(0) }; AttemptClass::NAMES.len()],
            failovers: [const { AtomicU64::new(0) }; AttemptClass::NAMES.len()],
            duration: Histogram::new(&DURATIONS),
            first_token: Histogram::new(&FIRST_TOKEN),
            tokens_in: AtomicU64::new(0),
            tokens_out: AtomicU64::new(0),
        }
    }
}

impl TargetSeries {
    /// Counts an attempt; `went_on`: another target was asked after it.
    pub(super) fn count(&self, attempt: &AttemptRecord, went_on: bool) {
        let class = attempt.class;
        add(&self.attempts[class.place()], 1);
        if class == AttemptClass::SUCCESS {
            self.duration.observe(attempt.duration);
        } else if went_on {
            add(&self.failovers[class.place()], 1);
        }
    }

    /// Counts what is known of the answer, which is this target's.
    pub(super) fn count_answer(&self, record: &RequestRecord) {
        if let Some(tokens) = record.tokens_in {
            add(&self.tokens_in, tokens);
        }
        if let Some(tokens) = record.tokens_out {
            add(&self.tokens_out, tokens);
        }
        let first_token = record.stream.as_ref().and_then(|stream| stream.ttft);
        if let Some(span) = first_token {
            self.first_token.observe(span);
        }
    }

    pub(super) fn totals(&self) -> TargetTotals {
        let sum = |counters: &[AtomicU64]| counters.iter().map(get).sum::<u64>();
        let failures = AttemptClass::failures();
        TargetTotals {
            attempts: sum(&self.attempts),
            failed: sum(&self.attempts[failures]),
            failovers: sum(&self.failovers),
            answers: self.duration.spans(),
            first_tokens: self.first_token.spans(),
            tokens_in: get(&self.tokens_in),
            tokens_out: get(&self.tokens_out),
        }
    }

    pub(super) fn write(&self, labels: &TargetLabels, out: &mut Exposition) {
        let pairs = labels.pairs();
        for (place, name) in AttemptClass::NAMES.into_iter().enumerate() {
            let attempts = get(&self.attempts[place]);
            if attempts > 0 || place == AttemptClass::SUCCESS.place() {
                out.counter(
                    "standin_attempts_total",
                    "Exchanges begun with a target, by what became of them.",
                    &with(pairs, ("outcome", name)),
                    attempts,
                );
            }
            let failovers = get(&self.failovers[place]);
            if failovers > 0 {
                out.counter(
                    "standin_failovers_total",
                    "Times that another target was asked after this one, by why.",
                    &with(pairs, ("reason", name)),
                    failovers,
                );
            }
        }
        self.write_answers(labels, &pairs, out);
    }

    fn write_answers(&self, labels: &TargetLabels, pairs: &[Label<'_>; 5], out: &mut Exposition) {
        out.histogram(
            "standin_upstream_duration_seconds",
            "Of attempts whose answer the client got: from their start to its last byte.",
            pairs,
            &self.duration,
        );
        if self.first_token.spans().count > 0 {
            out.histogram(
                "gen_ai_server_time_to_first_token_seconds",
                "Of streams: from the start of the request to its first event with content.",
                &labels.gen_ai_pairs(),
                &self.first_token,
            );
        }
        let tokens = [
            ("input", get(&self.tokens_in)),
            ("output", get(&self.tokens_out)),
        ];
        if tokens.iter().any(|(_, count)| *count > 0) {
            for (kind, count) in tokens {
                out.counter(
                    "standin_tokens_total",
                    "Tokens of prompts (input) and answers (output), where the answers say them.",
                    &with(*pairs, ("type", kind)),
                    count,
                );
            }
        }
    }
}

/// Labels and one more.
fn with<'a, const N: usize>(labels: [Label<'a>; N], last: Label<'a>) -> Vec<Label<'a>> {
    labels.into_iter().chain([last]).collect()
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
