//! Several keys of one endpoint: spread over them, and one that is refused is set aside before the
//! pair is.

use std::collections::BTreeMap;

use super::{CHAT, ask, assert_ok};
use crate::support::{Gateway, Received, Reply, Setup, Upstream, bodies, secret};

/// Endpoint `many` with the keys `a`, `b` and `c`, and `spare` behind it.
fn setup(upstream: &Upstream, spare: &Upstream, policy: &str) -> Setup {
    let keys = "api_keys: [{env: a}, {env: b}, {env: c}]";
    Setup::new()
        .bare_endpoint("many", &format!("url: {}\n{keys}", upstream.url()))
        .endpoint("spare", &spare.url())
        .chain(&[("m", "many"), ("n", "spare")], policy)
        .default_endpoint("many")
        .operation("method: GET\npath: /v1/models\ndefault_endpoint: {production: many}")
        .admin()
}

async fn spare() -> Upstream {
    let spare = Upstream::start().await;
    spare.always(Reply::chat("n", "Hello"));
    spare
}

/// Which of the keys it carries.
fn key_of(received: &Received) -> &'static str {
    let [credential] = received.headers.all("authorization")[..] else {
        panic!("{received:?}");
    };
    ["a", "b", "c"]
        .into_iter()
        .find(|name| credential == format!("Bearer {}", secret(name)))
        .unwrap_or_else(|| panic!("{credential}"))
}

/// The keys that have come since the first `skip` requests, in order.
fn keys(upstream: &Upstream, skip: usize) -> Vec<&'static str> {
    let requests = upstream.requests();
    requests[skip..].iter().map(key_of).collect()
}

/// Answers, but refuses these keys so.
async fn refusing(refused: &'static [&'static str], reply: fn() -> Reply) -> Upstream {
    let upstream = Upstream::start().await;
    upstream.answer_with(move |received| {
        if refused.contains(&key_of(received)) {
            return reply();
        }
        Reply::chat("m", "Hello")
    });
    upstream
}

fn unauthorized() -> Reply {
    Reply::json(401, &bodies::openai_invalid_api_key("sk-…"))
}

fn limited() -> Reply {
    Reply::json(429, &bodies::openai_rate_limited()).header("retry-after", "1800")
}

async fn endpoint(gateway: &Gateway) -> serde_json::Value {
    let endpoints = gateway.admin().get("/api/v1/endpoints").await.json();
    let mut endpoints = endpoints.as_array().unwrap().iter();
    let many = endpoints.find(|endpoint| endpoint["name"] == "many");
    many.unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_spread_over_the_keys_exactly() {
    let upstream = refusing(&[], unauthorized).await;
    let gateway = setup(&upstream, &spare().await, "").start();
    let client = gateway.client();
    for _ in 0..10 {
        assert_ok(&client.post(CHAT, ask("m")).await);
        assert_ok(&client.post(CHAT, ask("of-no-policy")).await);
        assert_ok(&client.get("/v1/models").await);
    }
    let mut spread = BTreeMap::new();
    for key in keys(&upstream, 0) {
        *spread.entry(key).or_insert(0) += 1;
    }
    assert_eq!(spread, BTreeMap::from([("a", 10), ("b", 10), ("c", 10)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_is_set_aside_and_the_next_one_sent() {
    for (reply, reason) in [(unauthorized as fn() -> Reply, "401"), (limited, "429")] {
        for policy in ["suspend_duration: 1h", "suspend_duration: 0"] {
            let (upstream, spare) = (refusing(&["a"], reply).await, spare().await);
            let gateway = setup(&upstream, &spare, policy).start();
            let client = gateway.client();
            let first = client.post(CHAT, ask("m")).await;
            assert_ok(&first);
            assert_eq!(first.header("x-standin-attempts"), Some("2"));
            let failover = format!("many/m={reason}");
            assert_eq!(first.header("x-standin-failover"), Some(&*failover));
            for _ in 0..6 {
                let later = client.post(CHAT, ask("m")).await;
                assert_eq!(later.header("x-standin-attempts"), Some("1"));
            }
            assert_ok(&client.post(CHAT, ask("of-no-policy")).await);
            assert_ok(&client.get("/v1/models").await);
            let sent = keys(&upstream, 0);
            assert_eq!(sent[..2], ["a", "b"]);
            assert!(!sent[1..].contains(&"a"), "{policy}: {sent:?}");
            assert!(sent[2..].contains(&"c"), "{sent:?}");
            assert_eq!(spare.count(), 0);

            let log = gateway.wait_log(1).await.remove(0);
            let logged: Vec<_> = log["attempts"]
                .as_array()
                .unwrap()
                .iter()
                .map(|attempt| attempt["key"].as_u64())
                .collect();
            assert_eq!(logged, [Some(0), Some(1)]);
            assert!(!gateway.log_text().contains(&secret("a")));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pair_is_suspended_when_no_key_is_left() {
    let upstream = refusing(&["a", "b", "c"], limited).await;
    let spare = spare().await;
    let gateway = setup(&upstream, &spare, "suspend_duration: 1m").start();
    let client = gateway.client();
    let first = client.post(CHAT, ask("m")).await;
    assert_ok(&first);
    assert_eq!(first.header("x-standin-attempts"), Some("4"));
    assert_eq!(keys(&upstream, 0), ["a", "b", "c"]);

    assert_ok(&client.post(CHAT, ask("m")).await);
    assert_eq!((upstream.count(), spare.count()), (3, 2), "not asked again");
    let pairs = gateway.admin().get("/api/v1/pairs").await.json();
    assert_eq!(pairs[0]["standing"], "suspended", "{pairs}");
    assert_eq!(pairs[0]["reason"], "429");

    // Another model of the endpoint is not taken away: the limit may be a model's.
    upstream.answer_with(|_| Reply::chat("x", "Hello"));
    let other = client.post(CHAT, ask("of-no-policy")).await;
    assert_ok(&other);
    assert_eq!(other.header("x-standin-attempts"), Some("1"));
}

/// Nothing is remembered of the pair then, and the key that is back soonest is tried.
#[tokio::test(flavor = "multi_thread")]
async fn without_suspensions_an_endpoint_is_asked_though_all_its_keys_are_set_aside() {
    let upstream = refusing(&["a", "b", "c"], unauthorized).await;
    let spare = spare().await;
    let gateway = setup(&upstream, &spare, "").start();
    let client = gateway.client();
    assert_ok(&client.post(CHAT, ask("m")).await);
    assert_ok(&client.post(CHAT, ask("m")).await);
    assert_eq!(keys(&upstream, 0), ["a", "b", "c", "a"]);

    upstream.answer_with(|_| Reply::chat("m", "Hello"));
    for _ in 0..2 {
        let answer = client.post(CHAT, ask("m")).await;
        assert_eq!(answer.header("x-standin-endpoint"), Some("many"));
    }
    let sent = keys(&upstream, 4);
    assert_eq!(sent[0], sent[1], "its success has brought it back");
}

/// The gateway's own key is refused, not the client's: with several, when the last one is.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_policy_the_others_are_tried_as_well() {
    let upstream = refusing(&["a", "b", "c"], unauthorized).await;
    let gateway = setup(&upstream, &spare().await, "").start();
    let client = gateway.client();
    let refused = client.post(CHAT, ask("of-no-policy")).await;
    assert_eq!(refused.status, 502, "{refused:?}");
    assert_eq!(keys(&upstream, 0), ["a", "b", "c"]);

    let upstream = refusing(&["a", "b"], limited).await;
    let gateway = setup(&upstream, &spare().await, "").start();
    let client = gateway.client();
    // What is streamed through is sent once; what it is told is remembered.
    assert_eq!(client.get("/v1/models").await.status, 429);
    assert_eq!(client.get("/v1/models").await.status, 429);
    assert_ok(&client.get("/v1/models").await);
    assert_ok(&client.post(CHAT, ask("of-no-policy")).await);
    assert_eq!(keys(&upstream, 0), ["a", "b", "c", "c"]);
}

/// A key that has answered, and has said that it has no more to give.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_quota_is_used_up_is_set_aside() {
    let upstream = Upstream::start().await;
    upstream.answer_with(|received| {
        let left = if key_of(received) == "b" { "100" } else { "0" };
        Reply::chat("m", "Hello").header("x-ratelimit-remaining-requests", left)
    });
    let spare = spare().await;
    let gateway = setup(&upstream, &spare, "suspend_duration: 1h").start();
    let client = gateway.client();
    for _ in 0..6 {
        assert_ok(&client.post(CHAT, ask("m")).await);
    }
    assert_eq!(keys(&upstream, 0), ["a", "b", "c", "b", "b", "b"]);
    assert_eq!(spare.count(), 0);
}

/// What fails is not the key: nobody is set aside, and a request has as many attempts as ever.
#[tokio::test(flavor = "multi_thread")]
async fn other_failures_say_nothing_about_the_key() {
    let upstream = refusing(&["a", "b", "c"], || Reply::status(500)).await;
    let spare = spare().await;
    let gateway = setup(&upstream, &spare, "suspend_duration: 1h").start();
    let answer = gateway.client().post(CHAT, ask("m")).await;
    assert_eq!(answer.header("x-standin-attempts"), Some("2"));
    assert_eq!((upstream.count(), spare.count()), (1, 1));
    let keys = endpoint(&gateway).await["keys"].take();
    let standing: Vec<_> = keys
        .as_array()
        .unwrap()
        .iter()
        .map(|key| &key["standing"])
        .collect();
    assert_eq!(standing, ["healthy"; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_set_aside_are_shown_and_never_what_they_are() {
    let (upstream, spare) = (refusing(&["b"], limited).await, spare().await);
    let gateway = setup(&upstream, &spare, "").start();
    let client = gateway.client();
    for _ in 0..3 {
        assert_ok(&client.post(CHAT, ask("m")).await);
    }
    let shown = endpoint(&gateway).await;
    assert_eq!(shown["credential"], "keys");
    let keys = shown["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 3);
    assert_eq!(keys[0]["standing"], "healthy");
    assert_eq!(
        (&keys[1]["standing"], &keys[1]["reason"]),
        (&"suspended".into(), &"429".into())
    );
    assert!(keys[1]["until"].as_str().unwrap().ends_with('Z'), "{shown}");
    let metrics = gateway.admin().get("/metrics").await;
    for (name, values) in [
        ("standin_key_set_aside", [0, 1, 0]),
        ("standin_key_set_asides_total", [0, 1, 0]),
    ] {
        for (key, value) in values.into_iter().enumerate() {
            let line = format!("{name}{{endpoint=\"many\",key=\"{key}\"}} {value}\n");
            assert!(metrics.text().contains(&line), "{line}: {}", metrics.text());
        }
    }
    for text in [shown.to_string(), metrics.text().to_owned()] {
        for key in ["a", "b", "c"] {
            assert!(!text.contains(&secret(key)));
        }
    }
}

/// A reload that keeps a key keeps what is known of it, wherever in the list it stands then.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_remembers() {
    let (upstream, spare) = (refusing(&["a"], unauthorized).await, spare().await);
    let gateway = setup(&upstream, &spare, "").start();
    let client = gateway.client();
    assert_ok(&client.post(CHAT, ask("m")).await);
    let fields = format!(
        "url: {}\napi_keys: [{{env: b}}, {{env: a}}]",
        upstream.url()
    );
    let changed = Setup::new()
        .bare_endpoint("many", &fields)
        .chain(&[("m", "many")], "");
    gateway.install(&changed);
    for _ in 0..4 {
        assert_ok(&client.post(CHAT, ask("m")).await);
    }
    assert_eq!(keys(&upstream, 0), ["a", "b", "b", "b", "b", "b"]);
}

/// A backend that is down says nothing about the keys, and the endpoint is passed over with all of them.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_without_a_backend_keeps_its_keys() {
    let (mut upstream, spare) = (refusing(&["a"], unauthorized).await, spare().await);
    let check = "health_check: {path: /v1/models, interval: 100ms, unhealthy_after: 1}";
    let fields = format!(
        "url: {}\napi_keys: [{{env: b}}, {{env: c}}]\n{check}",
        upstream.url()
    );
    let gateway = Setup::new()
        .bare_endpoint("many", &fields)
        .endpoint("spare", &spare.url())
        .chain(&[("m", "many"), ("n", "spare")], "")
        .admin()
        .start();
    let client = gateway.client();
    assert_ok(&client.post(CHAT, ask("m")).await);
    upstream.go_down().await;
    let backends = || gateway.running.gateway.backends();
    crate::support::until("the backend to be down", || !backends()[0].healthy).await;
    let answer = client.post(CHAT, ask("m")).await;
    assert_eq!(answer.header("x-standin-endpoint"), Some("spare"));
    assert_eq!(answer.header("x-standin-attempts"), Some("1"));
    let keys = endpoint(&gateway).await["keys"].take();
    assert!(!keys.to_string().contains("suspended"), "{keys}");

    upstream.come_back();
    crate::support::until("the backend to be back", || backends()[0].healthy).await;
    let answer = client.post(CHAT, ask("m")).await;
    assert_eq!(answer.header("x-standin-endpoint"), Some("many"));
}
