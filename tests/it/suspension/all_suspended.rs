//! What happens while every target is left out.

use super::{CHAT, answer, ask, failure, left_out, served_by};
use crate::support::{Gateway, Reply, Setup, Upstream};

const TARGETS: [(&str, &str); 3] = [
    ("long", "openai"),
    ("soon", "openai"),
    ("longest", "openai"),
];

/// All three have failed; the second comes back first.
async fn all_suspended(fields: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::start().await;
    upstream.on_model("long", failure(429).header("retry-after", "200"));
    upstream.on_model("soon", failure(500));
    upstream.on_model("longest", failure(429).header("retry-after", "300"));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(&TARGETS, &format!("suspend_duration: 60s\n{fields}"))
        .start();
    assert_eq!(gateway.client().post(CHAT, ask("long")).await.status, 429);
    assert_eq!(upstream.count(), 3);
    (upstream, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_is_told_when_to_come_back_and_nobody_is_asked() {
    for fields in ["", "when_all_suspended: reject"] {
        let (upstream, gateway) = all_suspended(fields).await;
        let client = gateway.client();
        for _ in 0..2 {
            let response = client.post(CHAT, ask("long")).await;
            assert_eq!(response.status, 503);
            let seconds: u64 = response.header("retry-after").unwrap().parse().unwrap();
            assert!((55..=60).contains(&seconds), "the soonest end: {seconds}");
            let error = &response.json()["error"];
            assert_eq!(error["type"], "failover_error");
            assert_eq!(error["code"], "all_targets_suspended");
            assert_eq!(error["param"], serde_json::Value::Null);
            assert_eq!(error["attempts"], serde_json::json!([]));
            assert_eq!(response.header("x-standin-attempts"), Some("0"));
            assert_eq!(response.header("x-standin-endpoint"), None);
        }
        assert_eq!(upstream.count(), 3);
        assert_eq!(client.connections(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn try_soonest_tries_the_one_that_ends_soonest_and_no_other() {
    let (upstream, gateway) = all_suspended("when_all_suspended: try_soonest").await;
    let failed = gateway.client().post(CHAT, ask("long")).await;
    assert_eq!(failed.status, 502);
    assert_eq!(failed.header("x-standin-attempts"), Some("1"));
    assert_eq!(failed.header("x-standin-model"), Some("soon"));
    assert_eq!(upstream.count_for("soon"), 2);
    assert_eq!(upstream.count(), 4);

    upstream.on_model("soon", answer("soon"));
    let answered = gateway.client().post(CHAT, ask("long")).await;
    assert_eq!(served_by(&answered), "soon");
    assert_eq!(
        left_out(&gateway),
        [
            "production openai/long 429",
            "production openai/longest 429"
        ],
        "the success has ended its suspension"
    );
    let next = gateway.client().post(CHAT, ask("long")).await;
    assert_eq!(served_by(&next), "soon");
    assert_eq!(upstream.count(), 6);
}

/// Some were tried by this request and the rest are suspended: that is no `all suspended`.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_failure_counts_where_something_was_tried() {
    let upstream = Upstream::start().await;
    upstream.on_model("limited", failure(429).header("retry-after", "100"));
    upstream.on_model("slow", Reply::hang());
    let link = |model| format!("{{model: {model}, endpoint: openai}}");
    let (limited, slow) = (link("limited"), link("slow"));
    let fields = "suspend_duration: 60s\nrequest_timeout: 200ms";
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .policy(
            "one",
            &format!("production: {{target: {limited}, fallbacks: []}}\n{fields}"),
        )
        .policy(
            "both",
            &format!("production: {{target: {slow}, fallbacks: [{limited}]}}\n{fields}"),
        )
        .start();
    assert_eq!(
        gateway.client().post(CHAT, ask("limited")).await.status,
        429
    );
    let response = gateway.client().post(CHAT, ask("slow")).await;
    assert_eq!(response.status, 504);
    assert_eq!(response.header("x-standin-attempts"), Some("1"));
    assert_eq!(upstream.count_for("limited"), 1);
}
