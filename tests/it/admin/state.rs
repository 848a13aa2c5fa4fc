//! What the API shows of the gateway that runs, and suspensions by hand.

use serde_json::{Value, json};

use super::{CHAT, problem};
use crate::support::{Gateway, Reply, Setup, TOKEN, Upstream, secret};

/// `gpt-4o` at one endpoint, `mistral-large` at another as its fallback.
fn setup(first: &str, second: &str) -> Setup {
    let targets = [("gpt-4o", "openai"), ("mistral-large", "mistral")];
    Setup::new()
        .endpoint("openai", first)
        .endpoint("mistral", second)
        .chain(&targets, "suspend_duration: 1h")
        .admin()
}

fn question() -> Value {
    json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "a secret prompt"}]})
}

/// The pair of a model.
async fn pair(gateway: &Gateway, model: &str) -> Value {
    let pairs = gateway.admin().get("/api/v1/pairs").await.json();
    let pair = pairs
        .as_array()
        .unwrap()
        .iter()
        .find(|pair| pair["model"] == model);
    pair.unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn pairs_show_how_they_stand_and_what_became_of_attempts() {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    first.always(Reply::status(500));
    second.always(Reply::chat("mistral-large", "Hello"));
    let gateway = setup(&first.url(), &second.url()).start();
    let untouched = pair(&gateway, "gpt-4o").await;
    let expected = json!({
        "environment": "production", "endpoint": "openai", "model": "gpt-4o",
        "standing": "healthy", "succeeded": 0, "failed": 0, "last_outcomes": [],
    });
    assert_eq!(untouched, expected);

    let client = gateway.client();
    for _ in 0..3 {
        assert_eq!(client.post(CHAT, question()).await.status, 200);
    }
    gateway.wait_log(3).await;
    let failed = pair(&gateway, "gpt-4o").await;
    assert_eq!(failed["standing"], "suspended");
    assert_eq!(failed["reason"], "500");
    assert!(failed["until"].as_str().unwrap().ends_with('Z'), "{failed}");
    assert_eq!(
        (&failed["succeeded"], &failed["failed"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(failed["last_outcomes"], json!(["500"]));
    let good = pair(&gateway, "mistral-large").await;
    assert_eq!(
        (&good["standing"], &good["succeeded"]),
        (&json!("healthy"), &json!(3))
    );
    assert!(good["mean_ms"].as_f64().unwrap() > 0.0, "{good}");
    assert_eq!(
        good["last_outcomes"],
        json!(["success", "success", "success"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_is_suspended_and_resumed_by_hand() {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    first.always(Reply::chat("gpt-4o", "Hello"));
    second.always(Reply::chat("mistral-large", "Hello"));
    let gateway = setup(&first.url(), &second.url()).start();
    let (admin, client) = (gateway.admin(), gateway.client());
    let served = async || {
        let answer = client.post(CHAT, question()).await;
        answer.header("x-standin-model").unwrap().to_owned()
    };
    assert_eq!(served().await, "gpt-4o");

    let name = json!({"environment": "production", "endpoint": "openai", "model": "gpt-4o"});
    let mut wish = name.clone();
    wish["duration"] = "10m".into();
    let suspended = admin.post("/api/v1/pairs/suspend", wish.clone()).await;
    assert_eq!(suspended.status, 200, "{}", suspended.text());
    let told = suspended.json();
    assert_eq!(
        (&told["standing"], &told["reason"]),
        (&json!("suspended"), &json!("by hand (ops)"))
    );
    assert_eq!(served().await, "mistral-large");
    let resumed = admin
        .post("/api/v1/pairs/resume", name.clone())
        .await
        .json();
    assert_eq!(resumed["standing"], "healthy");
    assert_eq!(served().await, "gpt-4o");

    let mut unknown = name;
    unknown["model"] = "nothing".into();
    problem(
        &admin.post("/api/v1/pairs/resume", unknown).await,
        404,
        "not_found",
    );
    for duration in ["", "0s", "soon", "1000h"] {
        wish["duration"] = duration.into();
        let refused = admin.post("/api/v1/pairs/suspend", wish.clone()).await;
        problem(&refused, 422, "unprocessable");
    }
    for wrong in [json!({"model": "m"}), json!([]), json!("x")] {
        let refused = admin.post("/api/v1/pairs/suspend", wrong).await;
        problem(&refused, 422, "unprocessable");
    }
    let broken = admin
        .post("/api/v1/pairs/suspend", "{")
        .header("content-type", "application/json");
    problem(&broken.await, 400, "bad_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn recent_requests_are_the_access_logs_without_prompts() {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    first.always(Reply::status(500));
    second.always(Reply::chat("mistral-large", "a secret answer"));
    let gateway = setup(&first.url(), &second.url()).start();
    let client = gateway.client();
    assert_eq!(client.get("/v1/first").await.status, 404);
    assert_eq!(client.post(CHAT, question()).await.status, 200);
    let mut log = gateway.wait_log(2).await;
    log.reverse();
    let admin = gateway.admin();
    let recent = admin.get("/api/v1/requests").await;
    assert_eq!(recent.json(), json!({"requests": log}));
    assert!(!recent.text().contains("secret"), "{}", recent.text());
    let one = admin.get("/api/v1/requests?limit=1").await.json();
    assert_eq!(one, json!({"requests": [log[0]]}));
    problem(
        &admin.get("/api/v1/requests?limit=x").await,
        400,
        "bad_request",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_and_policies_are_shown_without_secrets() {
    let gateway = setup("http://127.0.0.1:9", "http://127.0.0.1:9/base").start();
    let admin = gateway.admin();
    let endpoints = admin.get("/api/v1/endpoints").await;
    assert_eq!(
        endpoints.json()[1],
        json!({
            "name": "mistral", "provider": "openai", "credential": "keys", "keys": [{"standing": "healthy"}],
            "backends": [{"url": "http://127.0.0.1:9/base", "weight": 1}],
            "connect_timeout": "5s", "http_version": "auto", "verifies_tls": true,
        })
    );
    let policies = admin.get("/api/v1/policies").await;
    assert_eq!(
        policies.json(),
        json!([{
            "name": "chat",
            "operations": [{"method": "POST", "path": CHAT, "matches": ["gpt-4o"]}],
            "production": {
                "target": [{"model": "gpt-4o", "endpoint": "openai", "weight": 1}],
                "fallbacks": [{"model": "mistral-large", "endpoint": "mistral", "weight": 1}],
            },
            "request_timeout": "30s", "suspend_duration": "1h", "retries": 0,
        }])
    );
    for answer in [endpoints, policies] {
        for hidden in [secret("openai"), secret("mistral"), TOKEN.to_owned()] {
            assert!(!answer.text().contains(&hidden));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_explained_as_by_the_command() {
    let gateway = setup("http://127.0.0.1:9", "http://127.0.0.1:9").start();
    let admin = gateway.admin();
    let explained = admin
        .get("/api/v1/explain?environment=production&model=gpt-4o")
        .await
        .json();
    assert_eq!(
        (&explained[0]["path"], &explained[0]["policy"]),
        (&json!(CHAT), &json!("chat"))
    );
    let text = explained[0]["text"].as_str().unwrap();
    assert!(
        text.contains("Policy chat matches gpt-4o, by its exact name."),
        "{text}"
    );
    assert!(text.contains("2. mistral-large at mistral"), "{text}");
    let sandbox = admin
        .get("/api/v1/explain?environment=sandbox&model=gpt-4o")
        .await
        .json();
    assert_eq!(sandbox[0]["policy"], Value::Null);
    let unknown = admin
        .get("/api/v1/explain?environment=sandbox&model=m&operation=/nowhere")
        .await;
    problem(&unknown, 404, "not_found");
    let wrong = admin.get("/api/v1/explain?environment=test&model=m").await;
    problem(&wrong, 400, "bad_request");
}
