//! Endpoints with several backends: who gets which request, and who is left out.

mod balance;
mod discovery;
mod health;
mod killed;
mod reload;
mod shown;

use serde_json::{Value, json};
use standin::telemetry::BackendReport;

use crate::support::{Client, Gateway, Reply, Setup, Upstream, until};

const CHAT: &str = "/v1/chat/completions";

fn question() -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": "Who painted this?"}]})
}

/// Upstreams that answer every question.
async fn upstreams<const N: usize>() -> [Upstream; N] {
    let mut all = Vec::new();
    for _ in 0..N {
        let upstream = Upstream::start().await;
        upstream.always(Reply::chat("m", "Claude Monet."));
        all.push(upstream);
    }
    all.try_into().unwrap_or_else(|_| unreachable!())
}

/// The list of an endpoint's backends, each with its weight.
fn backends(upstreams: &[&Upstream], weights: &[u32]) -> String {
    let each = upstreams
        .iter()
        .zip(weights)
        .map(|(upstream, weight)| format!("{{url: {}, weight: {weight}}}", upstream.url()));
    format!("backends: [{}]\n", each.collect::<Vec<_>>().join(", "))
}

/// A policy for model `m` whose only target is the endpoint `gpus`, which has these fields; and the
/// endpoint without a policy at `GET /v1/models`.
fn setup(endpoint: &str, policy: &str) -> Setup {
    Setup::new()
        .bare_endpoint("gpus", endpoint)
        .chain(&[("m", "gpus")], policy)
        .operation("method: GET\npath: /v1/models\ndefault_endpoint: {production: gpus}")
}

/// Asks so many questions, several at once, each answered.
async fn ask(client: &Client, count: usize) {
    let lanes = 8;
    let asked = (0..lanes).map(|lane| async move {
        for _ in (lane..count).step_by(lanes) {
            let answer = client.post(CHAT, question()).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(answer.header("x-standin-attempts"), Some("1"));
        }
    });
    futures_util::future::join_all(asked).await;
}

/// How many questions each has got: health checks don't count.
fn counts(upstreams: &[&Upstream]) -> Vec<usize> {
    upstreams
        .iter()
        .map(|upstream| questions(upstream))
        .collect()
}

fn questions(upstream: &Upstream) -> usize {
    let requests = upstream.requests();
    requests
        .iter()
        .filter(|request| request.path() == CHAT)
        .count()
}

/// How a backend stands, as those who operate the gateway see it.
fn report(gateway: &Gateway, upstream: &Upstream) -> BackendReport {
    let name = upstream.addr().to_string();
    let backends = gateway.running.gateway.backends();
    let found = backends.iter().find(|report| *report.backend == *name);
    found
        .unwrap_or_else(|| panic!("{name} is not in {backends:?}"))
        .clone()
}

/// Until the gateway sees the backend as healthy, or not.
async fn wait_healthy(gateway: &Gateway, upstream: &Upstream, healthy: bool) {
    let reached = || report(gateway, upstream).healthy == healthy;
    until(format!("{upstream} to be healthy: {healthy}"), reached).await;
}
