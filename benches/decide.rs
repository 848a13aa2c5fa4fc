//! What the decisions of a request cost: the policy of its model, its next target, the judgement of
//! an answer.
//!
//! `cargo bench --bench decide`

use std::fmt;
use std::time::SystemTime;

use divan::{Bencher, black_box};
use http::{HeaderMap, StatusCode, header};
use standin::gateway::judge::judge_answer;
use standin::policy::{FailoverOn, Routes};

mod cases;

fn main() {
    divan::main();
}

const POLICIES: [u32; 3] = [10, 1_000, 100_000];

/// By an exact name, another one each time.
#[divan::bench(args = POLICIES)]
fn route_exact(bencher: Bencher<'_, '_>, policies: u32) {
    route(bencher, &cases::names(policies), policies, "");
}

/// By a pattern, another one each time.
#[divan::bench(args = POLICIES)]
fn route_by_pattern(bencher: Bencher<'_, '_>, policies: u32) {
    route(bencher, &cases::patterns(policies), policies, "-latest");
}

/// A name that no policy matches, among patterns: all of them are looked at.
#[divan::bench(args = POLICIES)]
fn route_nowhere(bencher: Bencher<'_, '_>, policies: u32) {
    let routes = cases::patterns(policies);
    bencher.bench_local(|| routes.find(black_box("gpt-4o")));
}

/// Looks up names that end in `suffix`, spread over all policies in an order that no cache foresees.
fn route(bencher: Bencher<'_, '_>, routes: &Routes, policies: u32, suffix: &str) {
    const PRIME: u32 = 7919;
    let asked = policies.min(1_000);
    let names: Vec<_> = (0..asked)
        .map(|turn| cases::name(turn.wrapping_mul(PRIME) % policies) + suffix)
        .collect();
    assert!(names.iter().all(|name| routes.find(name).is_some()));
    let mut turn = names.iter().cycle();
    bencher.bench_local(|| turn.next().map(|name| routes.find(black_box(name))));
}

/// Of targets that are all suspended but the last.
#[divan::bench(args = [1, 2, 20, 1_000])]
fn choose(bencher: Bencher<'_, '_>, targets: usize) {
    let chain = cases::Chain::all_but_the_last_suspended(targets);
    bencher.bench_local(|| black_box(&chain).next());
}

/// An answer to be judged.
struct Answer {
    name: &'static str,
    status: StatusCode,
    retry_after: Option<&'static str>,
    body: Option<&'static str>,
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}

const ANSWERS: [Answer; 4] = [
    Answer {
        name: "200",
        status: StatusCode::OK,
        retry_after: None,
        body: None,
    },
    Answer {
        name: "503",
        status: StatusCode::SERVICE_UNAVAILABLE,
        retry_after: None,
        body: Some(
            r#"{"error":{"message":"The server is overloaded","type":"server_error","param":null,"code":null}}"#,
        ),
    },
    Answer {
        name: "429, with a wait",
        status: StatusCode::TOO_MANY_REQUESTS,
        retry_after: Some("20"),
        body: Some(
            r#"{"error":{"message":"Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Used 29500, Requested 900. Please try again in 800ms.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
        ),
    },
    Answer {
        name: "400, an unknown model",
        status: StatusCode::BAD_REQUEST,
        retry_after: None,
        body: Some(
            r#"{"object":"error","message":"Invalid model: invalid-model","type":"invalid_model","param":null,"code":"1500"}"#,
        ),
    },
];

#[divan::bench(args = ANSWERS)]
fn judge(bencher: Bencher<'_, '_>, answer: &Answer) {
    let failover_on = FailoverOn::default();
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    if let Some(seconds) = answer.retry_after {
        headers.insert(
            header::RETRY_AFTER,
            header::HeaderValue::from_static(seconds),
        );
    }
    let now = SystemTime::now();
    bencher.bench_local(|| {
        judge_answer(
            &failover_on,
            answer.status,
            black_box(&headers),
            black_box(answer.body.map(str::as_bytes)),
            || now,
        )
    });
}
