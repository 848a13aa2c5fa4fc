//! What fails over, and what does not.

use serde_json::json;

use crate::support::{Reply, Setup, Upstream, bodies, secret};

fn question(model: &str) -> serde_json::Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Who is the most renowned French painter?"}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn the_original_s_try_out() {
    let mistral = Upstream::start().await;
    mistral.on_model(
        "invalid-model",
        Reply::json(400, &bodies::mistral_invalid_model("invalid-model")),
    );
    mistral.on_model(
        "mistral-small-latest",
        Reply::chat("mistral-small-latest", "Claude Monet."),
    );
    let gateway = Setup::new()
        .endpoint_with("mistral", &mistral.url(), "provider: mistral")
        .chain(
            &[
                ("invalid-model", "mistral"),
                ("mistral-small-latest", "mistral"),
            ],
            "",
        )
        .start();

    let answer = gateway
        .client()
        .post("/v1/chat/completions", question("invalid-model"))
        .await;

    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["model"], "mistral-small-latest");
    assert_eq!(answer.header("x-standin-endpoint"), Some("mistral"));
    assert_eq!(
        answer.header("x-standin-model"),
        Some("mistral-small-latest")
    );
    assert_eq!(answer.header("x-standin-attempts"), Some("2"));
    assert_eq!(
        answer.header("x-standin-failover"),
        Some("mistral/invalid-model=400:invalid_model")
    );
    let received = mistral.requests();
    assert_eq!(received.len(), 2);
    assert_eq!(received[1].json(), question("mistral-small-latest"));
    let credential = format!("Bearer {}", secret("mistral"));
    assert_eq!(received[1].header("authorization"), Some(&*credential));
}
