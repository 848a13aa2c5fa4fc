//! Suspension, line by line of the design: who is left out, by whom, until when, and how it ends.

mod all_suspended;
mod probe;
mod sharing;
mod until;

use std::time::Instant;

use serde_json::{Value, json};
use standin::gateway::suspension::{Standing, Suspension};
use standin::policy::Pair;

use crate::support::{Gateway, Reply, Response, bodies, within};

const CHAT: &str = "/v1/chat/completions";

fn ask(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hello"}]})
}

fn failure(status: u16) -> Reply {
    Reply::json(status, &bodies::openai_error("server_error", None, "No."))
}

fn answer(model: &str) -> Reply {
    Reply::chat(model, "Hello.")
}

/// What the gateway leaves out now, as `production openai/gpt-4o 500`.
fn left_out(gateway: &Gateway) -> Vec<String> {
    let told = |(pair, suspension): &(Pair, Suspension)| {
        let environment = pair.environment.name();
        let (endpoint, model, reason) = (&pair.endpoint, &pair.model, &suspension.reason);
        format!("{environment} {endpoint}/{model} {reason}")
    };
    list(gateway).iter().map(told).collect()
}

fn list(gateway: &Gateway) -> Vec<(Pair, Suspension)> {
    gateway.running.gateway.suspensions().list(Instant::now())
}

/// The suspension of a model in production. Panics where it has none.
fn suspension(gateway: &Gateway, model: &str) -> Suspension {
    let of_model = |(pair, _): &(Pair, Suspension)| &*pair.model == model;
    let (_, suspension) = list(gateway)
        .into_iter()
        .find(of_model)
        .unwrap_or_else(|| panic!("{model} is not suspended"));
    suspension
}

/// Until the suspension of a model has ended and nobody has probed it yet.
async fn wait_ended(gateway: &Gateway, model: &str) {
    within(format!("the end of the suspension of {model}"), async {
        while suspension(gateway, model).standing != Standing::Ended {
            let until = suspension(gateway, model).until;
            tokio::time::sleep_until(until.into()).await;
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The model that has answered.
fn served_by(response: &Response) -> &str {
    assert_eq!(response.status, 200, "{}", response.text());
    response.header("x-standin-model").unwrap()
}
