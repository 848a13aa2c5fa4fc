//! What may be invoked: paths byte for byte, and their methods.

use super::{CHAT, Stage, assert_error, question, raw, raw_question};
use crate::support::{KEY, Reply};

/// Paths that something on the way could take for the operation's.
const NEAR_MISSES: [&str; 18] = [
    "/",
    "/v1/chat",
    "/v1/chat/completions/",
    "/v1/chat/completions//",
    "//v1/chat/completions",
    "/v1//chat/completions",
    "/v1/./chat/completions",
    "/v1/x/../chat/completions",
    "/./v1/chat/completions",
    "/V1/chat/completions",
    "/v1/Chat/Completions",
    "/v1/chat%2Fcompletions",
    "/v1/chat/completion%73",
    "/v1/chat/completions%00",
    "/v1/chat/completions%3Fa=b",
    "/v1/chat/completions;a=b",
    "/v1/chat/completions.json",
    "/v1/chat/completions&a=b",
];

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_path_is_404_byte_for_byte() {
    let stage = Stage::new().await;
    for client in stage.clients() {
        for path in NEAR_MISSES {
            let answer = client.post(path, question()).await;
            let remedy = ["Check the base URL", "`operations`"];
            assert_error(&answer, 404, "unknown_operation", &remedy);
            assert_error(&answer, 404, "unknown_operation", &[path]);
            assert!(!answer.closed, "{path}");
        }
        let answer = client.get("/v1/models").await;
        assert_error(&answer, 404, "unknown_operation", &["/v1/models"]);
        assert_eq!(client.connections(), 1, "the connection stays usable");
    }
    assert_eq!(stage.upstream.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_of_strange_bytes_is_404_too() {
    let stage = Stage::new().await;
    let key = format!("authorization: Bearer {KEY}");
    let long = format!("/{}", "long".repeat(5_000));
    for path in ["/v1/caf\u{e9}", "*", "/\"}{", &long] {
        let line = format!("GET {path} HTTP/1.1");
        let request = raw(&line, &["host: gateway", &key], "");
        let answer = stage.client().send_raw(&request).await;
        assert_error(
            &answer,
            404,
            "unknown_operation",
            &["There is no operation"],
        );
        assert!(answer.body.len() < 1024, "{} bytes", answer.body.len());
    }
    assert_eq!(stage.upstream.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_query_is_no_part_of_the_path_and_goes_on_unchanged() {
    let stage = Stage::new().await;
    let target = "/v1/chat/completions?api-version=2024-10-21&a=%20/../&b=?c";
    for client in stage.clients() {
        assert_eq!(client.post(target, question()).await.status, 200);
        assert_eq!(stage.upstream.last_request().target, target);
    }
    for client in stage.clients() {
        let answer = client.post("/v1/chat/completions?", question()).await;
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_path_with_another_method_is_405() {
    let stage = Stage::with(|setup| {
        setup
            .operation("method: GET\npath: /v1/files\ndefault_endpoint: {production: openai}")
            .operation("method: PUT\npath: /v1/files\ndefault_endpoint: {production: openai}")
    })
    .await;
    for client in stage.clients() {
        for method in ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"] {
            let answer = client.request(method, CHAT).await;
            assert_error(&answer, 405, "method_not_allowed", &[method, "Use POST."]);
            assert_eq!(answer.header("allow"), Some("POST"));
            assert!(!answer.closed, "{method}");
        }
        let answer = client.post("/v1/files", question()).await;
        assert_error(
            &answer,
            405,
            "method_not_allowed",
            &["POST", "Use GET, PUT."],
        );
        assert_eq!(answer.header("allow"), Some("GET, PUT"));
        assert_eq!(client.connections(), 1, "the connection stays usable");
    }
    assert_eq!(stage.upstream.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_request_gets_a_head_alone() {
    let stage = Stage::new().await;
    for client in stage.clients() {
        let answer = client.request("HEAD", CHAT).await;
        assert_eq!(answer.status, 405);
        assert_eq!(answer.header("allow"), Some("POST"));
        assert!(answer.body.is_empty());
        assert!(answer.complete && !answer.closed);
        assert_eq!(client.post(CHAT, question()).await.status, 200);
        assert_eq!(client.connections(), 1, "the connection stays usable");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_operation_passes_the_answer_s_length_on() {
    let stage = Stage::with(|setup| {
        setup.operation("method: HEAD\npath: /v1/models\ndefault_endpoint: {production: openai}")
    })
    .await;
    let head = Reply::status(200).header("content-length", "1234");
    stage.upstream.on_path("/v1/models", head);
    for client in stage.clients() {
        let answer = client.request("HEAD", "/v1/models").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-length"), Some("1234"));
        assert!(answer.body.is_empty() && answer.complete);
        assert_eq!(stage.upstream.last_request().method, "HEAD");
        let again = client.request("HEAD", "/v1/models").await;
        assert_eq!(again.status, 200);
        assert_eq!(client.connections(), 1, "the connection stays usable");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn this_is_no_forward_proxy() {
    let stage = Stage::new().await;
    let key = format!("authorization: Bearer {KEY}");
    let upstream = stage.upstream.addr();
    let line = format!("CONNECT {upstream} HTTP/1.1");
    let host = format!("host: {upstream}");
    let answer = stage
        .client()
        .send_raw(&raw(&line, &[&host, &key], ""))
        .await;
    assert_error(&answer, 405, "method_not_allowed", &["CONNECT"]);
    assert!(answer.closed);

    // The absolute form (RFC 9112, section 3.2.2) is another way to write the path, as long as it
    // agrees with the host header; it chooses no server.
    let question = String::from_utf8(raw_question(&[])).unwrap();
    let absolute =
        |authority: &str| question.replacen(CHAT, &format!("http://{authority}{CHAT}"), 1);
    let answer = stage
        .client()
        .send_raw(absolute("gateway").as_bytes())
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(stage.upstream.last_request().target, CHAT);
    assert_eq!(stage.upstream.count(), 1);
    for authority in ["elsewhere", "user@gateway", ""] {
        let request = absolute(authority);
        let answer = stage.client().send_raw(request.as_bytes()).await;
        assert_error(&answer, 400, "invalid_request_framing", &["host"]);
        assert!(answer.closed);
    }
    assert_eq!(stage.upstream.count(), 1);
}
