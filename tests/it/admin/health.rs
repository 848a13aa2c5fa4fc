//! What probes and scrapers ask, and who may.

use serde_json::json;

use super::{CHAT, problem};
use crate::support::{Client, Reply, Setup, Step, TOKEN, Upstream};

fn setup(url: &str) -> Setup {
    Setup::new()
        .endpoint("openai", url)
        .chain(&[("gpt-4o", "openai")], "")
}

#[tokio::test(flavor = "multi_thread")]
async fn on_loopback_health_needs_no_token_and_the_api_does() {
    let gateway = setup("http://127.0.0.1:9").admin().start();
    let client = gateway.admin();
    let stranger = Client::new(gateway.running.admin.unwrap());
    for (path, text) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        let answer = stranger.get(path).await;
        assert_eq!((answer.status, answer.text()), (200, text));
    }
    let metrics = stranger.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    let kind = metrics.header("content-type").unwrap();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");

    for path in ["/api", "/api/v1", "/api/v1/nothing"] {
        let refused = stranger.get(path).await;
        problem(&refused, 401, "unauthorized");
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
        let wrong = stranger.get(path).key("another-token").await;
        problem(&wrong, 401, "unauthorized");
        problem(&client.get(path).await, 404, "not_found");
    }
    problem(&stranger.get("/nothing").await, 404, "not_found");
    let posted = stranger.post("/healthz", json!({})).await;
    problem(&posted, 405, "method_not_allowed");
    assert_eq!(posted.header("allow"), Some("GET,HEAD"));
}

#[tokio::test(flavor = "multi_thread")]
async fn away_from_loopback_everything_needs_a_token() {
    let digest = "8e1ef2a5d1f3ff4d5b2a5ba5ee8f1a1cb5f2b5fd13ed6b0f8c16a4ccf5b7ae02";
    let fields = format!("address: 0.0.0.0:0\ntokens: [{{name: other, sha256: {digest}}}]");
    let gateway = setup("http://127.0.0.1:9").admin_with(&fields).start();
    let mut address = gateway.running.admin.unwrap();
    address.set_ip("127.0.0.1".parse().unwrap());
    for path in ["/healthz", "/readyz", "/metrics", "/api/v1"] {
        let stranger = Client::new(address);
        problem(&stranger.get(path).await, 401, "unauthorized");
        let wrong = Client::new(address).key(TOKEN);
        problem(&wrong.get(path).await, 401, "unauthorized");
    }
    drop(gateway);

    let fields = setup("http://127.0.0.1:9").admin().yaml("off");
    let tokens = fields
        .lines()
        .find(|line| line.contains("tokens:"))
        .unwrap();
    let fields = format!("address: 0.0.0.0:0\n{}", tokens.trim());
    let gateway = setup("http://127.0.0.1:9").admin_with(&fields).start();
    let mut address = gateway.running.admin.unwrap();
    address.set_ip("127.0.0.1".parse().unwrap());
    let operator = Client::new(address).key(TOKEN);
    assert_eq!(operator.get("/healthz").await.status, 200);
    assert_eq!(operator.get("/metrics").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_drains_is_not_ready_but_alive() {
    let upstream = Upstream::start().await;
    let stream = Reply::chat_stream("gpt-4o", &["Hel", "lo"]).before_write(2, Step::Gate("rest"));
    upstream.always(stream);
    let gateway = setup(&upstream.url()).admin().start();
    let question = json!({"model": "gpt-4o", "stream": true, "messages": []});
    let mut stream = gateway.client().open(CHAT, question).await;
    assert!(stream.next_event().await.is_some());

    gateway.running.begin_stop();
    let admin = gateway.admin();
    crate::support::within("not to be ready", async {
        while admin.get("/readyz").await.status == 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let ready = admin.get("/readyz").await;
    assert_eq!((ready.status, ready.text()), (503, "draining\n"));
    assert_eq!(admin.get("/healthz").await.status, 200);
    upstream.open("rest");
    assert!(stream.rest().await.complete);
}
