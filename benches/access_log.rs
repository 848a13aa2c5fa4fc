//! What the access log costs the thread that ends a request.

#![expect(clippy::unwrap_used, reason = "a benchmark that can't run says so")]

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use divan::Bencher;
use standin::policy::Environment;
use standin::telemetry::metrics::AttemptClass;
use standin::telemetry::{AccessLog, AccessLogPath, AttemptRecord, RequestPath, RequestRecord};

fn main() {
    divan::main();
}

/// A request that was answered at its second attempt.
fn record() -> RequestRecord {
    let attempt = |endpoint: &str, model: &str, outcome, status| AttemptRecord {
        endpoint: endpoint.into(),
        model: Some(model.into()),
        backend: None,
        key: None,
        outcome,
        class: AttemptClass::SUCCESS,
        pair: None,
        span: None,
        status: Some(status),
        duration: Duration::from_micros(81_204),
    };
    RequestRecord {
        client: Some([192, 0, 2, 7].into()),
        caller: Some("web-shop".into()),
        environment: Some(Environment::Production),
        model: Some("gpt-4o".into()),
        policy: Some("chat".into()),
        attempts: vec![
            attempt("openai", "gpt-4o", Cow::Borrowed("429"), 429),
            attempt(
                "mistral",
                "mistral-large-latest",
                AttemptRecord::SUCCESS,
                200,
            ),
        ],
        status: Some(200),
        bytes_in: 512,
        bytes_out: 2_048,
        tokens_in: Some(9),
        tokens_out: Some(120),
        duration: Duration::from_micros(162_913),
        ..RequestRecord::new(
            "0123456789abcdef0123456789abcdef".into(),
            SystemTime::now(),
            http::Method::POST,
            RequestPath::Operation(Arc::from("/v1/chat/completions")),
        )
    }
}

/// One line into a sink that takes everything at once, by threads that do nothing else.
#[divan::bench(threads = [1, 2, 4], sample_size = 1_000)]
fn record_line(bencher: Bencher<'_, '_>) {
    let log = AccessLog::open(&AccessLogPath::File("/dev/null".into())).unwrap();
    let record = record();
    bencher.bench(|| log.record(divan::black_box(&record)));
}

/// A log that is off.
#[divan::bench]
fn record_nothing(bencher: Bencher<'_, '_>) {
    let log = AccessLog::open(&AccessLogPath::Off).unwrap();
    let record = record();
    bencher.bench(|| log.record(divan::black_box(&record)));
}
