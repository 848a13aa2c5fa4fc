//! Suspensions beyond one process: through a real Redis that comes and goes, or in a file.

mod file;
mod redis;
mod server;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use standin::gateway::suspension::Standing;
use standin::policy::{Environment, Pair};

use crate::support::{self, Gateway, Reply, Setup, Upstream, bodies};

const CHAT: &str = "/v1/chat/completions";

/// The target that fails.
const FIRST: &str = "first";

fn question() -> Value {
    json!({"model": FIRST, "messages": [{"role": "user", "content": "Hi"}]})
}

/// An upstream whose first model fails and whose second one answers.
async fn upstream() -> Upstream {
    let upstream = Upstream::start().await;
    upstream.on_model(
        FIRST,
        Reply::json(500, &bodies::openai_error("server_error", None, "no")),
    );
    upstream.on_model("second", Reply::chat("second", "Hello"));
    upstream
}

/// A gateway with both as targets.
fn setup(upstream: &Upstream, shared_state: &str, suspend_duration: &str) -> Setup {
    Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(
            &[(FIRST, "openai"), ("second", "openai")],
            &format!("suspend_duration: {suspend_duration}"),
        )
        .shared_state(shared_state)
}

/// Asks, and gets the answer of whoever `model` is.
async fn served_by(gateway: &Gateway, model: &str) {
    let answer = gateway.client().post(CHAT, question()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-standin-model"), Some(model));
}

fn pair(environment: Environment) -> Pair {
    Pair {
        environment,
        endpoint: "openai".into(),
        model: FIRST.into(),
    }
}

/// How the first target stands.
fn standing(gateway: &Gateway) -> Standing {
    let suspensions = gateway.running.gateway.suspensions();
    let state = suspensions.get(&pair(Environment::Production));
    state.expect("a known pair").standing(Instant::now())
}

/// Suspends the first target as an operator does.
fn suspend(gateway: &Gateway, span: Duration) {
    let now = Instant::now();
    let suspensions = gateway.running.gateway.suspensions();
    let state = suspensions.resolve(&pair(Environment::Production));
    state.suspend(now, now + span, "by hand");
}

/// Makes it healthy as an operator does.
fn resume(gateway: &Gateway) {
    let suspensions = gateway.running.gateway.suspensions();
    suspensions.resolve(&pair(Environment::Production)).resume();
}

/// Waits until the first target stands as it should.
async fn until(gateway: &Gateway, what: &str, reached: impl Fn(Standing) -> bool) {
    support::until(what, || reached(standing(gateway))).await;
}

async fn until_suspended(gateway: &Gateway) {
    until(gateway, "a suspension", |standing| standing.is_suspended()).await;
}

async fn until_healthy(gateway: &Gateway) {
    until(gateway, "its end", |standing| standing == Standing::Healthy).await;
}
