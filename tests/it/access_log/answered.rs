//! Requests that were answered.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{CHAT, ask, attempts, failure, line, lines, members, millis};
use crate::support::{Client, Dead, KEY, Reply, Setup, Step, Upstream, bodies};

#[tokio::test(flavor = "multi_thread")]
async fn a_success_tells_everything_about_itself() {
    let upstream = Upstream::start().await;
    let delay = Duration::from_millis(100);
    upstream.always(Reply::chat("gpt-4o", "Claude Monet.").delayed(delay));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .policy(
            "chat",
            "match: [painter]\nproduction: {target: {model: gpt-4o, endpoint: openai}, fallbacks: []}",
        )
        .start();
    let body = ask("painter").to_string();
    let before = SystemTime::now() - Duration::from_millis(1);
    let response = gateway.client().post(CHAT, &*body).await;
    let line = line(&gateway).await;

    let expected = [
        "attempts",
        "bytes_in",
        "bytes_out",
        "caller",
        "client",
        "duration_ms",
        "environment",
        "method",
        "model",
        "path",
        "policy",
        "request_id",
        "status",
        "time",
        "tokens_in",
        "tokens_out",
        "upstream_ms",
    ];
    assert_eq!(members(&line), expected);
    let time = OffsetDateTime::parse(line["time"].as_str().unwrap(), &Rfc3339).unwrap();
    assert!(SystemTime::from(time) >= before && SystemTime::from(time) <= SystemTime::now());
    assert_eq!(line["request_id"], response.header("x-request-id").unwrap());
    assert_eq!(line["client"], "127.0.0.1");
    assert_eq!(line["caller"], "shop");
    assert_eq!(line["environment"], "production");
    assert_eq!(line["method"], "POST");
    assert_eq!(line["path"], CHAT);
    assert_eq!(line["model"], "painter", "as it was asked for");
    assert_eq!(line["policy"], "chat");
    assert_eq!(attempts(&line), ["openai/gpt-4o success 200"]);
    assert_eq!(line["status"], 200);
    assert_eq!(line["bytes_in"], body.len());
    assert_eq!(line["bytes_out"], response.body.len());
    assert_eq!(
        (&line["tokens_in"], &line["tokens_out"]),
        (&json!(9), &json!(12))
    );

    let attempt = millis(&line["attempts"][0], "duration_ms");
    assert!(attempt >= 100.0, "{attempt}");
    assert!((millis(&line, "upstream_ms") - attempt).abs() < 0.01);
    assert!(millis(&line, "duration_ms") >= attempt);
    assert!(millis(&line, "duration_ms") < 10_000.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_tells_every_attempt() {
    let upstream = Upstream::start().await;
    let down = Dead::refusing();
    upstream.on_model("broken", failure(500));
    upstream.on_model("slow", Reply::hang());
    upstream.on_model(
        "retired",
        Reply::json(404, &bodies::openai_model_not_found("retired")),
    );
    upstream.on_model(
        "unknown",
        Reply::json(400, &bodies::mistral_invalid_model("unknown")),
    );
    upstream.on_model("well", Reply::chat("well", "Hello."));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .endpoint("down", &down.url())
        .chain(
            &[
                ("broken", "openai"),
                ("slow", "openai"),
                ("unreachable", "down"),
                ("retired", "openai"),
                ("unknown", "openai"),
                ("well", "openai"),
            ],
            "request_timeout: 300ms",
        )
        .start();
    gateway.client().post(CHAT, ask("broken")).await;
    let line = line(&gateway).await;
    assert_eq!(
        attempts(&line),
        [
            "openai/broken 500 500",
            "openai/slow timeout",
            "down/unreachable refused",
            "openai/retired 404 404",
            "openai/unknown 400:invalid_model 400",
            "openai/well success 200",
        ]
    );
    assert_eq!(line["status"], 200);
    assert_eq!(line.get("error"), None);
    assert_eq!(line["model"], "broken");
    assert!(millis(&line["attempts"][1], "duration_ms") >= 300.0);
    let sum: f64 = line["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| millis(attempt, "duration_ms"))
        .sum();
    assert!((millis(&line, "upstream_ms") - sum).abs() < 0.05);
    assert!(millis(&line, "duration_ms") >= sum - 0.05);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_told_where_the_answer_says_them() {
    let upstream = Upstream::start().await;
    let silent = json!({"id": "1", "object": "chat.completion", "choices": []});
    let embeddings = json!({"data": [], "usage": {"prompt_tokens": 5, "total_tokens": 5}});
    let cases = [
        (Reply::chat("m", "Hello."), json!(9), json!(12)),
        (
            Reply::json(200, &bodies::anthropic_message("m", "Hello.")),
            json!(9),
            json!(12),
        ),
        (Reply::json(200, &embeddings), json!(5), Value::Null),
        (Reply::json(200, &silent), Value::Null, Value::Null),
        (
            Reply::json(400, &bodies::openai_error("e", None, "No.")),
            Value::Null,
            Value::Null,
        ),
    ];
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(&[("m", "openai")], "")
        .start();
    let mut answers = Vec::new();
    for (reply, _, _) in &cases {
        upstream.push(reply.clone());
        answers.push(gateway.client().post(CHAT, ask("m")).await);
    }
    let lines = lines(&gateway, &answers).await;
    for (line, (_, tokens_in, tokens_out)) in lines.iter().zip(&cases) {
        assert_eq!(
            (&line["tokens_in"], &line["tokens_out"]),
            (tokens_in, tokens_out),
            "{line}"
        );
    }
}

/// An error of the client's that a target found: its answer is the one that counts.
#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_is_passed_on_is_no_error_of_the_gateway_s() {
    let upstream = Upstream::start().await;
    upstream.always(failure(422));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(&[("m", "openai")], "")
        .start();
    gateway.client().post(CHAT, ask("m")).await;
    let line = line(&gateway).await;
    assert_eq!(line["status"], 422);
    assert_eq!(line.get("error"), None);
    assert_eq!(attempts(&line), ["openai/m success 422"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_a_policy_has_none_in_its_line() {
    let upstream = Upstream::start().await;
    let pause = Duration::from_millis(50);
    let slow_end = Reply::status(200)
        .chunked(["beginning", "end"])
        .before_write(1, Step::Wait(pause));
    upstream.on_model("unnamed", slow_end.clone());
    upstream.on_path("/v1/files", slow_end);
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(&[("named", "openai")], "")
        .default_endpoint("openai")
        .operation("method: POST\npath: /v1/files\ndefault_endpoint: {sandbox: openai}")
        .start();
    let mut answers = Vec::new();
    for path in [CHAT, "/v1/files"] {
        let mut response = gateway.sandbox().open(path, ask("unnamed")).await;
        assert_eq!(response.next_chunk().await.unwrap().data, "beginning");
        answers.push(response.rest().await);
    }
    let lines = lines(&gateway, &answers).await;
    for line in &lines {
        assert_eq!(line["caller"], "shop-test");
        assert_eq!(line["environment"], "sandbox");
        assert_eq!(line["status"], 200);
        assert_eq!(line.get("policy"), None);
        assert_eq!(line["bytes_in"], ask("unnamed").to_string().len());
        assert_eq!(line["bytes_out"], "beginningend".len());
        let attempt = millis(&line["attempts"][0], "duration_ms");
        assert!(attempt >= 50.0, "to the answer's last byte: {attempt}");
    }
    assert_eq!(attempts(&lines[0]), ["openai/unnamed success 200"]);
    assert_eq!(attempts(&lines[1]), ["openai success 200"]);
    assert_eq!(lines[0]["model"], "unnamed");
    assert_eq!(lines[1].get("model"), None, "nobody has read the body");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_backends_the_line_says_which() {
    let [one, other] = [Upstream::start().await, Upstream::start().await];
    for upstream in [&one, &other] {
        upstream.always(Reply::chat("m", "Hello."));
    }
    let backends = format!(
        "provider: openai\nbackends: [{{url: {}}}, {{url: {}}}]",
        one.url(),
        other.url()
    );
    let gateway = Setup::new()
        .bare_endpoint("gpus", &backends)
        .chain(&[("m", "gpus")], "")
        .default_endpoint("gpus")
        .operation("method: GET\npath: /v1/models\ndefault_endpoint: {production: gpus}")
        .start();
    for _ in 0..2 {
        gateway.client().post(CHAT, ask("m")).await;
        gateway.client().post(CHAT, ask("unnamed")).await;
        gateway.client().get("/v1/models").await;
    }
    let lines = gateway.wait_log(6).await;
    let mut told: Vec<_> = lines
        .iter()
        .map(|line| line["attempts"][0]["backend"].as_str().unwrap().to_owned())
        .collect();
    told.sort();
    let count = |upstream: &Upstream| {
        told.iter()
            .filter(|backend| **backend == upstream.addr().to_string())
            .count()
    };
    assert_eq!((count(&one), count(&other)), (one.count(), other.count()));
    assert_eq!((one.count(), other.count()), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_of_a_connection_has_its_line() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::chat("m", "Hello."));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(&[("m", "openai")], "")
        .listener("{address: \"127.0.0.1:0\", h2c: true}")
        .start();
    let http2 = Client::h2c(gateway.running.addresses[1]).key(KEY);
    let http1 = gateway.client();
    drop(gateway.client().connect().await);
    let mut answers = Vec::new();
    for client in [&http1, &http2] {
        for _ in 0..3 {
            answers.push(client.post(CHAT, ask("m")).await);
        }
        assert_eq!(client.connections(), 1);
    }
    let lines = lines(&gateway, &answers).await;
    for line in &lines {
        assert_eq!(line["bytes_in"], ask("m").to_string().len());
        assert_eq!(line["bytes_out"], lines[0]["bytes_out"]);
        assert_eq!(line["client"], "127.0.0.1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_authentication_the_caller_is_anonymous() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::chat("m", "Hello."));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(&[("m", "openai")], "")
        .without_authentication()
        .start();
    gateway.stranger().post(CHAT, ask("m")).await;
    let line = line(&gateway).await;
    assert_eq!(line["caller"], "anonymous");
    assert_eq!(line["environment"], "production");
}
