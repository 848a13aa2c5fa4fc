//! How load is spread: on which target of a set the choice falls.

mod latency;
mod round_robin;
mod sticky;
mod weighted;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Client, Gateway, Reply, Response, Upstream, bodies};

const CHAT: &str = "/v1/chat/completions";

/// Callers at once, each with a connection of its own.
const CALLERS: usize = 20;

fn ask(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hello"}]})
}

fn failure(status: u16) -> Reply {
    Reply::json(status, &bodies::openai_error("server_error", None, "No."))
}

/// The model that has answered.
fn served_by(response: &Response) -> String {
    assert_eq!(response.status, 200, "{}", response.text());
    response.header("x-standin-model").unwrap().to_owned()
}

/// How many answers each model gave.
type Spread = BTreeMap<String, usize>;

fn spread<const N: usize>(shares: [(&str, usize); N]) -> Spread {
    shares
        .map(|(model, count)| (model.to_owned(), count))
        .into()
}

/// The spread of `count` requests by many callers at once; `request` makes the body of each.
async fn spread_of(
    gateway: &Gateway,
    count: usize,
    request: impl Fn(usize) -> Value + Copy + Send + 'static,
) -> Spread {
    let of_caller = |caller: usize, client: Client| async move {
        let mut spread = Spread::new();
        for number in (caller..count).step_by(CALLERS) {
            let response = client.post(CHAT, request(number)).await;
            *spread.entry(served_by(&response)).or_default() += 1;
        }
        spread
    };
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| tokio::spawn(of_caller(caller, gateway.client())))
        .collect();
    let mut total = Spread::new();
    for caller in callers {
        for (model, count) in caller.await.unwrap() {
            *total.entry(model).or_default() += count;
        }
    }
    total
}

/// Whether each is within three standard deviations of what chance would give it.
fn is_fair(seen: &Spread, shares: &[(&str, f64)]) -> bool {
    let total = seen.values().sum::<usize>() as f64;
    shares.iter().all(|(model, share)| {
        let count = seen.get(*model).copied().unwrap_or_default() as f64;
        let expected = total * share;
        let deviation = (expected * (1.0 - share)).sqrt();
        (count - expected).abs() <= 3.0 * deviation
    })
}

/// The same, counted by the upstreams.
fn received(upstreams: &[&Upstream]) -> Spread {
    let mut spread = Spread::new();
    for upstream in upstreams {
        for request in upstream.requests() {
            *spread.entry(request.model().unwrap()).or_default() += 1;
        }
    }
    spread
}
