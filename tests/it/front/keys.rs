//! Who may call: the caller's key.

use super::{CHAT, Stage, assert_error, question};
use crate::support::{KEY, secret};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_taken_in_each_of_its_headers() {
    let stage = Stage::new().await;
    let forms = [
        ("authorization", format!("Bearer {KEY}")),
        ("authorization", format!("bearer   {KEY} ")),
        ("x-api-key", KEY.to_owned()),
        ("api-key", KEY.to_owned()),
        ("x-goog-api-key", KEY.to_owned()),
    ];
    for client in stage.strangers() {
        for (name, value) in &forms {
            let request = client.post(CHAT, question()).header(name, value);
            let answer = request.await;
            assert_eq!(answer.status, 200, "{name}: {value}: {answer:?}");

            let received = stage.upstream.last_request();
            let credential = format!("Bearer {}", secret("openai"));
            assert_eq!(received.headers.all("authorization"), [&*credential]);
            for (name, value) in received.headers.iter() {
                let value = String::from_utf8_lossy(value);
                assert!(!value.contains(KEY), "{name}: {value} went upstream");
            }
        }
    }
    assert_eq!(stage.upstream.count(), 2 * forms.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_key_nothing_is_done() {
    let stage = Stage::new().await;
    let wrong = [
        ("authorization", "Bearer no-such-key".to_owned()),
        ("authorization", format!("Bearer {}", KEY.to_uppercase())),
        ("authorization", format!("Bearer {KEY}x")),
        ("x-api-key", format!("Bearer {KEY}")),
        ("api-key", String::new()),
    ];
    let none = [
        ("authorization", format!("Basic {KEY}")),
        ("authorization", KEY.to_owned()),
        ("x-other", KEY.to_owned()),
    ];
    let wrong = wrong.map(|header| (header, "isn't one of this gateway's"));
    let none = none.map(|header| (header, "No API key in the request"));
    for (served, client) in stage.strangers().into_iter().enumerate() {
        for ((name, value), words) in wrong.iter().chain(&none) {
            let request = client.post(CHAT, question()).header(name, value);
            let answer = request.await;
            assert_error(&answer, 401, "invalid_api_key", &[words]);
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            assert!(!answer.closed, "{name}: {value}");
        }
        let answer = client.post(CHAT, question()).await;
        assert_error(
            &answer,
            401,
            "invalid_api_key",
            &[
                "`Authorization: Bearer KEY`",
                "`x-api-key: KEY`",
                "`api-key: KEY`",
            ],
        );
        assert_eq!(stage.upstream.count(), served);

        let answer = client.post(CHAT, question()).key(KEY).await;
        assert_eq!(answer.status, 200);
        assert_eq!(client.connections(), 1, "the connection stays usable");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_key_learns_nothing_about_the_operations() {
    let stage = Stage::new().await;
    for client in stage.strangers() {
        for (method, path) in [("GET", "/"), ("POST", "/v1/unknown"), ("DELETE", CHAT)] {
            let answer = client.request(method, path).await;
            assert_error(&answer, 401, "invalid_api_key", &["No API key"]);
            assert_eq!(answer.header("allow"), None);
        }
    }
    assert_eq!(stage.upstream.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_is_never_shown() {
    let stage = Stage::new().await;
    let [client, _] = stage.strangers();
    let answer = client.post(CHAT, question()).key("sk-very-secret").await;
    assert_error(&answer, 401, "invalid_api_key", &[]);
    assert!(!answer.text().contains("sk-very-secret"));
    let log = stage.gateway.wait_log(1).await;
    assert_eq!(log[0]["status"], 401);
    assert_eq!(log[0]["error"], "invalid_api_key");
    assert_eq!(log[0]["caller"], serde_json::Value::Null);
    assert!(!log[0].to_string().contains("sk-very-secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_authentication_everybody_may_call() {
    let stage = Stage::with(crate::support::Setup::without_authentication).await;
    for client in stage.strangers() {
        let request = client.post(CHAT, question()).key("whatever");
        assert_eq!(request.await.status, 200);
        assert_eq!(client.post(CHAT, question()).await.status, 200);
    }
    for received in stage.upstream.requests() {
        let credential = format!("Bearer {}", secret("openai"));
        assert_eq!(received.headers.all("authorization"), [&*credential]);
    }
}
