//! What it costs the thread that ends a request to count it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark that can't run says so"
)]

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use divan::Bencher;
use standin::config;
use standin::policy::{Environment, PairId, PolicyId};
use standin::telemetry::metrics::{AttemptClass, Metrics, RouteKey, Series};
use standin::telemetry::{AttemptRecord, RequestPath, RequestRecord, StreamEnd, StreamRecord};

fn main() {
    divan::main();
}

/// As many policies as a large configuration has, each with a target and a fallback.
const POLICIES: u32 = 10_000;

fn configuration() -> config::Configuration {
    let mut yaml = String::from(
        "listeners: [{address: '127.0.0.1:0'}]\nauthentication: none\nenvironment: production\n\
         endpoints: {a: {provider: openai, url: 'http://127.0.0.1:1'}, b: {provider: openai, url: 'http://127.0.0.1:2'}}\n",
    );
    let names: Vec<String> = (0..POLICIES).map(|number| format!("p{number}")).collect();
    writeln!(
        yaml,
        "operations: [{{method: POST, path: /v1/chat/completions, policies: [{}]}}]\npolicies:",
        names.join(", ")
    )
    .unwrap();
    for name in &names {
        writeln!(
            yaml,
            "  {name}: {{type: failover, production: {{target: {{model: {name}, endpoint: a}}, fallbacks: [{{model: {name}, endpoint: b}}]}}}}"
        )
        .unwrap();
    }
    config::parse(&yaml, &|_| None).expect("a configuration")
}

fn series() -> Series {
    Metrics::default().series(&configuration().snapshot)
}

/// A stream that was answered at its second attempt, with all there is to count.
fn record(policy: u32) -> RequestRecord {
    let attempt = |pair, class| AttemptRecord {
        endpoint: "a".into(),
        model: Some("m".into()),
        backend: None,
        key: None,
        outcome: AttemptRecord::SUCCESS,
        class,
        pair: Some(PairId(pair)),
        span: None,
        status: Some(200),
        duration: Duration::from_micros(812_040),
    };
    let mut record = RequestRecord::new(
        "id".into(),
        SystemTime::now(),
        http::Method::POST,
        RequestPath::Operation("/v1/chat/completions".into()),
    );
    record.route = Some(RouteKey {
        operation: standin::policy::OperationId(0),
        environment: Environment::Production,
        policy: Some(PolicyId(policy)),
    });
    record.attempts = vec![
        attempt(policy * 2, AttemptClass::named("429")),
        attempt(policy * 2 + 1, AttemptClass::SUCCESS),
    ];
    record.status = Some(200);
    record.duration = Duration::from_micros(1_630_000);
    record.tokens_in = Some(9);
    record.tokens_out = Some(120);
    record.stream = Some(StreamRecord {
        ttft: Some(Duration::from_millis(412)),
        events: 121,
        events_dropped: 0,
        rescued_at: Vec::new(),
        end: StreamEnd::Complete,
    });
    record
}

/// A plain answer by the first target, by threads that all count the same policy.
#[divan::bench(threads = [1, 2, 4], sample_size = 1_000)]
fn plain(bencher: Bencher<'_, '_>) {
    let series = series();
    let mut record = record(POLICIES / 3);
    record.attempts.remove(0);
    record.stream = None;
    bencher.bench(|| series.record(divan::black_box(&record)));
}

/// A stream after a failover.
#[divan::bench(threads = [1, 2, 4], sample_size = 1_000)]
fn stream_after_failover(bencher: Bencher<'_, '_>) {
    let series = series();
    let record = record(POLICIES / 3);
    bencher.bench(|| series.record(divan::black_box(&record)));
}

/// The slots of ten thousand policies, as a reload makes them.
#[divan::bench(sample_count = 10)]
fn install(bencher: Bencher<'_, '_>) {
    let snapshot = configuration().snapshot;
    let metrics = Metrics::default();
    bencher.bench(|| metrics.series(divan::black_box(&snapshot)));
}
