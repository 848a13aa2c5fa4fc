//! Which reply a request gets, and what is a fault.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::json;

use super::{CHAT, ask, h2_pair, message_of, pair, pairs};
use crate::support::{Received, Reply, Step, bodies};

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_then_the_path_then_the_model_then_the_rest() {
    for (up, client) in pairs().await {
        up.always(Reply::status(299));
        up.on_model("a", [Reply::status(500), Reply::status(201)]);
        up.on_path("/health", Reply::status(202));
        up.push(Reply::status(203));
        let mut statuses = Vec::new();
        for (path, model) in [
            (CHAT, "a"),
            (CHAT, "a"),
            (CHAT, "b"),
            (CHAT, "a"),
            ("/health?x=1", "a"),
            (CHAT, "a"),
        ] {
            statuses.push(client.post(path, ask(model)).await.status);
        }
        assert_eq!(statuses, [203, 500, 299, 201, 202, 201]);

        up.on_model("a", vec![Reply::status(210), Reply::status(211)]);
        assert_eq!(
            client.post(CHAT, ask("a")).await.status,
            210,
            "a new script"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_can_be_made_from_the_request() {
    let (up, client) = pair().await;
    up.answer_with(|request: &Received| Reply::json(200, &json!({"echo": request.json()})));
    let response = client.post(CHAT, ask("m")).await;
    assert_eq!(response.json()["echo"], ask("m"));

    up.answer_with(|_| panic!("an assertion of the test"));
    assert_eq!(client.post(CHAT, ask("m")).await.status, 500);
    let fault = "the answer to POST /v1/chat/completions panicked";
    assert_eq!(up.take_faults(), [fault]);
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_for_reused_connections_wait_for_one() {
    for (up, client) in pairs().await {
        up.push(Reply::status(500).if_reused());
        up.always(Reply::status(200));
        let statuses = [
            client.get("/").await.status,
            client.get("/").await.status,
            client.get("/").await.status,
        ];
        assert_eq!(statuses, [200, 500, 200]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unscripted_request_fails_the_test() {
    for (up, client) in pairs().await {
        assert_eq!(client.post(CHAT, ask("m")).await.status, 500);
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(up))).unwrap_err();
        let message = message_of(&*dropped);
        let wanted = "no script answers POST /v1/chat/completions (model Some(\\\"m\\\"))";
        assert!(message.contains(wanted), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_improper_request_fails_the_test() {
    let improper: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nA b: c\r\n\r\n",
    ];
    for bytes in improper {
        let (up, client) = pair().await;
        let mut connection = client.connect().await;
        connection.write(bytes).await;
        assert_eq!(connection.read_to_end().await, "");
        let faults = up.take_faults();
        assert!(faults[0].contains("not proper HTTP/1.1"), "{faults:?}");
        assert_eq!(faults.len(), 1);
    }
    let (up, client) = h2_pair().await;
    let mut connection = client.connect().await;
    connection
        .write(b"GET / HTTP/1.1\r\nHost: an HTTP/2 server\r\n\r\n")
        .await;
    connection.read_to_end().await;
    let faults = up.take_faults();
    assert!(faults[0].contains("not proper HTTP/2"), "{faults:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_the_protocol_cannot_follow_fails_the_test() {
    let impossible = [
        Reply::raw("HTTP/1.1 200 OK\r\n\r\n"),
        Reply::status(200).then(Step::Raw("x".into())),
        Reply::status(200).after(Step::write("x")),
        Reply::chat("m", "x").cut_at(9, Step::Close),
        Reply::status(200).closing(),
    ];
    for reply in impossible {
        let (up, client) = h2_pair().await;
        up.push(reply);
        client.get("/").try_send().await.unwrap_err();
        assert!(up.take_faults()[0].starts_with("HTTP/2 can't"));
    }
    let (up, client) = pair().await;
    up.push(Reply::refuse_stream());
    client.get("/").try_send().await.unwrap_err();
    assert!(up.take_faults()[0].starts_with("HTTP/1.1 has no stream"));
}

#[test]
fn bodies_say_which_kind_of_error_they_are() {
    let at = |body: serde_json::Value, path: &str| body.pointer(path).cloned().unwrap();
    for (body, path, code) in [
        (
            bodies::openai_model_not_found("m"),
            "/error/code",
            "model_not_found",
        ),
        (
            bodies::openai_context_length_exceeded(),
            "/error/code",
            "context_length_exceeded",
        ),
        (
            bodies::openai_insufficient_quota(),
            "/error/code",
            "insufficient_quota",
        ),
        (
            bodies::openai_rate_limited(),
            "/error/code",
            "rate_limit_exceeded",
        ),
        (
            bodies::openai_content_policy_violation(),
            "/error/code",
            "content_policy_violation",
        ),
        (
            bodies::openai_invalid_api_key("k"),
            "/error/code",
            "invalid_api_key",
        ),
        (bodies::mistral_invalid_model("m"), "/type", "invalid_model"),
        (
            bodies::anthropic_error("overloaded_error", "x"),
            "/error/type",
            "overloaded_error",
        ),
        (
            bodies::azure_deployment_not_found(),
            "/error/code",
            "DeploymentNotFound",
        ),
        (
            bodies::azure_content_filter(),
            "/error/code",
            "content_filter",
        ),
        (
            bodies::gemini_error(404, "NOT_FOUND", "x"),
            "/error/status",
            "NOT_FOUND",
        ),
    ] {
        assert_eq!(at(body, path), code);
    }
}
