//! Policies in the shape of WSO2 API Manager's: a list for each environment.

use crate::support::{Gateway, Reply, SANDBOX_KEY, Setup, Upstream};

use super::{CHAT, ask, failure, received, served_by, spread, spread_of};

fn start(upstream: &Upstream, kind: &str, production: &str, fields: &str) -> Gateway {
    let policy = format!("type: {kind}\nproduction:\n{production}\nsandbox: []\n{fields}");
    Setup::new()
        .endpoint("mistral", &upstream.url())
        .policy_of_type("spread", &policy)
        .default_endpoint("mistral")
        .start()
}

const THREE: &str = "  - {model: a, endpoint: mistral}
  - {model: b, endpoint: mistral}
  - {model: c, endpoint: mistral}";

async fn answering() -> Upstream {
    let upstream = Upstream::start().await;
    upstream.always(Reply::chat("any", "Hello."));
    upstream
}

/// Whatever model the request names: there as here the policy is about all of the operation.
#[tokio::test(flavor = "multi_thread")]
async fn every_request_of_the_operation_goes_in_turn() {
    let upstream = answering().await;
    let gateway = start(&upstream, "round_robin", THREE, "");
    let client = gateway.client();
    let mut served = String::new();
    for model in ["a", "c", "gpt-4o", "b", "x", "y"] {
        served += &served_by(&client.post(CHAT, ask(model)).await);
    }
    assert_eq!(served, "abcabc");
    let seen = spread_of(&gateway, 3_000, |_| ask("any")).await;
    assert_eq!(seen, spread([("a", 1000), ("b", 1000), ("c", 1000)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn by_weight_where_they_have_one() {
    let upstream = answering().await;
    let weighted = "  - {model: a, endpoint: mistral, weight: 80}
  - {model: b, endpoint: mistral, weight: 20}";
    let gateway = start(
        &upstream,
        "weighted_round_robin",
        weighted,
        "suspend_duration: 5",
    );
    let seen = spread_of(&gateway, 10_000, |_| ask("any")).await;
    assert_eq!(seen, spread([("a", 8000), ("b", 2000)]));
    assert_eq!(received(&[&upstream]), seen);
}

/// The original returns the error and passes the model by from the next request on.
#[tokio::test(flavor = "multi_thread")]
async fn what_fails_goes_on_with_the_next_of_the_list() {
    let upstream = answering().await;
    upstream.on_model("a", failure(503));
    upstream.on_model("b", failure(429));
    let gateway = start(&upstream, "round_robin", THREE, "suspend_duration: 1h");
    let client = gateway.client();
    let first = client.post(CHAT, ask("any")).await;
    assert_eq!(served_by(&first), "c");
    assert_eq!(
        first.header("x-standin-failover"),
        Some("mistral/a=503, mistral/b=429")
    );
    for _ in 0..3 {
        assert_eq!(served_by(&client.post(CHAT, ask("any")).await), "c");
    }
    assert_eq!(
        received(&[&upstream]),
        spread([("a", 1), ("b", 1), ("c", 4)])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_with_an_empty_list_has_no_policy() {
    let upstream = answering().await;
    let gateway = start(&upstream, "round_robin", THREE, "");
    let client = gateway.stranger().key(SANDBOX_KEY);
    let answer = client.post(CHAT, ask("gpt-4o")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(received(&[&upstream]), spread([("gpt-4o", 1)]));
}
