//! How backends stand, as the admin API and the metrics show it.

use serde_json::{Value, json};

use super::{CHAT, backends, question, setup, upstreams, wait_healthy};
use crate::support::{Gateway, Reply, until, within};

async fn listed(gateway: &Gateway) -> Vec<Value> {
    let listed = gateway.admin().get("/api/v1/backends").await;
    assert_eq!(listed.status, 200, "{listed:?}");
    listed.json().as_array().unwrap().clone()
}

async fn told(gateway: &Gateway, name: &str, backend: &str) -> String {
    let metrics = gateway.admin().get("/metrics").await;
    let labels = format!("{name}{{endpoint=\"gpus\",backend={backend:?}}} ");
    let line = metrics
        .text()
        .lines()
        .find_map(|line| line.strip_prefix(&*labels));
    line.unwrap_or_else(|| panic!("no {labels} in {}", metrics.text()))
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_down_and_one_that_is_busy() {
    let [mut a, b] = upstreams().await;
    b.on_path(CHAT, Reply::chat("m", "At last.").held("answer"));
    let check = "health_check: {path: /v1/models, interval: 100ms, unhealthy_after: 2}";
    let gateway = setup(&format!("{}{check}", backends(&[&a, &b], &[1, 3])), "")
        .admin()
        .start();
    let (first, second) = (a.addr().to_string(), b.addr().to_string());
    let checked = || gateway.running.gateway.backends()[1].last_check.is_some();
    until("both to be checked", checked).await;
    let [one, two] = &listed(&gateway).await[..] else {
        panic!("two backends")
    };
    assert_eq!(
        (&one["endpoint"], &one["backend"]),
        (&json!("gpus"), &json!(first))
    );
    assert_eq!((&one["weight"], &two["weight"]), (&json!(1), &json!(3)));
    assert_eq!(
        (&one["healthy"], &one["share"]),
        (&json!(true), &json!(1.0))
    );
    assert_eq!(one.get("since"), None, "it never changed");
    assert_eq!(two["last_check"]["passed"], true);
    assert_eq!(told(&gateway, "standin_backend_healthy", &first).await, "1");

    a.go_down().await;
    wait_healthy(&gateway, &a, false).await;
    let down = &listed(&gateway).await[0];
    assert_eq!(down["healthy"], false);
    assert_eq!(down["last_check"]["passed"], false);
    for time in [&down["since"], &down["last_check"]["at"]] {
        assert!(time.as_str().unwrap().ends_with('Z'), "{down}");
    }
    assert_eq!(told(&gateway, "standin_backend_healthy", &first).await, "0");
    assert_eq!(
        told(&gateway, "standin_backend_healthy", &second).await,
        "1"
    );

    let client = gateway.client();
    let asked = client.post(CHAT, question());
    let looked = async {
        b.wait_gate("answer").await;
        assert_eq!(listed(&gateway).await[1]["requests"], 1);
        assert_eq!(
            told(&gateway, "standin_backend_requests", &second).await,
            "1"
        );
        b.open("answer");
    };
    let (answer, ()) = within("the answer", async { tokio::join!(asked, looked) }).await;
    assert_eq!(answer.status, 200);

    a.come_back();
    wait_healthy(&gateway, &a, true).await;
    let share = listed(&gateway).await[0]["share"].as_f64().unwrap();
    assert!((0.1..1.0).contains(&share), "{share}");
}

/// An only address is not counted at, and has nothing to be told of but that it is there.
#[tokio::test(flavor = "multi_thread")]
async fn an_only_backend() {
    let [upstream] = upstreams().await;
    let gateway = setup(&format!("url: {}", upstream.url()), "")
        .admin()
        .start();
    let backend = upstream.addr().to_string();
    let expected = json!([{
        "endpoint": "gpus", "backend": backend, "healthy": true, "weight": 1, "share": 1.0,
    }]);
    assert_eq!(json!(listed(&gateway).await), expected);
    assert_eq!(
        told(&gateway, "standin_backend_healthy", &backend).await,
        "1"
    );
}
