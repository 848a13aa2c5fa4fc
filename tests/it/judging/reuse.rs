//! Connections to upstreams that are used again, and what happens when one turns out dead.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{CHAT, FALLBACK_SAYS, SUSPENDING, Stage, question, server_error};
use crate::support::{Client, Reply, Response, Setup, Step, Upstream, bodies};

/// The target answered at its first attempt.
#[track_caller]
fn assert_target(answer: &Response) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-standin-endpoint"), Some("target"));
    assert_eq!(answer.header("x-standin-attempts"), Some("1"));
    assert_eq!(answer.header("x-standin-failover"), None);
}

/// A stage whose target has answered once, so that its connection is in the pool.
async fn warmed(stage: Stage) -> Stage {
    stage.target.always(Reply::chat("first", FALLBACK_SAYS));
    assert_target(&stage.ask().await);
    stage
}

async fn both() -> [Stage; 2] {
    [
        warmed(Stage::new().await).await,
        warmed(Stage::http2().await).await,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_used_again_after_every_kind_of_answer() {
    let chat = bodies::chat_completion("first", "Berthe Morisot.").to_string();
    let chunked = || {
        Reply::status(200)
            .header("content-type", "application/json")
            .chunked([chat.clone()])
    };
    for reply in [
        Reply::chat("first", "Berthe Morisot."),
        chunked(),
        chunked().trailer("x-checksum", "1"),
        Reply::chat_stream("first", &["Berthe ", "Morisot."]),
        Reply::status(204),
        Reply::status(304),
        server_error(),
        Reply::status(503).chunked(["over", "loaded"]),
        Reply::json(400, &super::invalid_request()),
        Reply::json(400, &bodies::mistral_invalid_model("first")),
        Reply::status(500).body(vec![b'x'; 64 << 10]),
        Reply::status(404).interim(103),
    ] {
        for stage in [
            Stage::with("").await,
            Stage::before(Upstream::h2c().await, "http_version: 2", "").await,
        ] {
            stage.target.always(reply.clone());
            for _ in 0..10 {
                stage.ask().await;
            }
            assert_eq!(stage.target.count(), 10);
            // What follows a stream's last event is read beside the client's next request.
            let most = if format!("{reply:?}").contains("event-stream") {
                2
            } else {
                1
            };
            assert!(
                (1..=most).contains(&stage.target.connections()),
                "{} for {reply:?}",
                stage.target
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_to_be_closed_is_not() {
    let not_whole = Reply::raw("HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\n{}");
    for reply in [
        Reply::chat("first", FALLBACK_SAYS).closing(),
        Reply::chat("first", FALLBACK_SAYS).until_close(),
        Reply::raw("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}").then(Step::Close),
        // What comes after an answer would be taken for the next one.
        not_whole,
    ] {
        let stage = Stage::with("").await;
        stage.target.always(reply);
        for _ in 0..3 {
            assert_target_or_empty(&stage.ask().await);
        }
        assert_eq!(stage.counts(), (3, 0));
        assert_eq!(stage.target.connections(), 3);
    }
}

#[track_caller]
fn assert_target_or_empty(answer: &Response) {
    assert!(answer.status == 200 || answer.status == 204, "{answer:?}");
    assert_eq!(answer.header("x-standin-endpoint"), Some("target"));
    assert_eq!(answer.header("x-standin-attempts"), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn http10_may_keep_a_connection_alive() {
    let stage = Stage::with("").await;
    let head = "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\n{}";
    stage.target.always(Reply::raw(head));
    for _ in 0..3 {
        assert_target(&stage.ask().await);
    }
    assert_eq!(stage.target.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooled_connection_that_was_closed_is_no_attempt() {
    for stage in both().await {
        assert_eq!(stage.target.close_idle().await, 1);
        assert_target(&stage.ask().await);
        assert_eq!(stage.target.connections(), 2);
        assert_eq!(stage.counts(), (2, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_is_one_that_was_reset() {
    for stage in both().await {
        assert_eq!(stage.target.reset_idle().await, 1);
        assert_target(&stage.ask().await);
        assert_eq!(stage.target.connections(), 2);
        assert_eq!(stage.counts(), (2, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_is_one_that_dies_in_the_moment_of_its_reuse() {
    for reply in [Reply::close_if_reused(), Reply::reset_if_reused()] {
        for stage in both().await {
            stage.target.push(reply.clone());
            assert_target(&stage.ask().await);
            assert_eq!(stage.target.connections(), 2);
            // The one that died had been read, but not answered.
            assert_eq!(stage.counts(), (3, 0));
        }
    }
    let stage = warmed(Stage::http2().await).await;
    stage.target.push(Reply::refuse_stream().if_reused());
    assert_target(&stage.ask().await);
    // Nor one that refuses a stream, and the next one that does.
    stage.target.push(Reply::refuse_stream());
    stage.target.push(Reply::refuse_stream());
    assert_target(&stage.ask().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_body_is_sent_again_whole() {
    let text = "x".repeat(10 << 20);
    let question = json!({"model": "first", "messages": [{"role": "user", "content": text}]});
    for reply in [Reply::close_if_reused(), Reply::reset_if_reused()] {
        for stage in both().await {
            // Before the body is read: the gateway is still sending it.
            stage.target.push(reply.clone().before_body());
            let answer = stage.client.post(CHAT, &question).await;
            assert_target(&answer);
            let received = stage.target.last_request();
            assert!(received.complete && received.body == question.to_string());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_dead_connections_cost_one_fresh_one() {
    let stage = Stage::with("").await;
    let reply = Reply::chat("first", FALLBACK_SAYS);
    stage.target.always(reply.clone().held("all here"));
    let clients: Vec<Client> = (0..4).map(|_| stage.gateway.client()).collect();
    let asked: Vec<_> = clients
        .iter()
        .map(|client| tokio::spawn(client.post(CHAT, question("first")).try_send()))
        .collect();
    stage.target.wait_for_requests(4).await;
    stage.target.open("all here");
    for answer in asked {
        assert_target(&answer.await.unwrap().unwrap());
    }
    assert_eq!(stage.target.connections(), 4);
    for _ in 0..4 {
        stage.target.push(Reply::close_if_reused());
    }
    stage.target.always(reply);
    assert_target(&stage.ask().await);
    assert_eq!(stage.target.connections(), 5);
    assert_eq!(stage.target.count(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_connection_that_closes_is_an_attempt() {
    for (reply, reason) in [(Reply::close(), "closed"), (Reply::reset(), "reset")] {
        let stage = Stage::new().await;
        stage.target.always(reply);
        stage.assert_target_fault(reason).await;
        assert_eq!(stage.target.connections(), 1);
    }
}

/// The pooled one is no attempt, the fresh one after it is.
#[tokio::test(flavor = "multi_thread")]
async fn only_one_fresh_connection_is_tried() {
    let stage = warmed(Stage::new().await).await;
    stage.target.always(Reply::close());
    let answer = stage.ask().await;
    Stage::assert_fallback(&answer, 2, Some("target/first=closed"));
    assert_eq!(stage.target.connections(), 2);
    assert_eq!(stage.counts(), (3, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_had_begun_is_an_attempt_on_a_pooled_connection_too() {
    let stage = warmed(Stage::new().await).await;
    stage
        .target
        .always(Reply::raw("HTTP/1.1 2").then(Step::Close));
    let answer = stage.ask().await;
    Stage::assert_fallback(&answer, 2, Some("target/first=truncated"));
    assert_eq!(stage.target.connections(), 1);
    assert_eq!(stage.counts(), (2, 1));
}

/// An upstream that answers before it has read the request: what was not sent must never be taken
/// for the beginning of the next request.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_with_half_a_request_on_it_is_not_used_again() {
    let long = json!({"model": "first", "padding": "x".repeat(10 << 20)});
    for (reply, client_sees) in [
        (Reply::json(429, &bodies::openai_rate_limited()), 200),
        (Reply::json(413, &super::invalid_request()), 413),
    ] {
        for target in [
            (Upstream::start().await, ""),
            (Upstream::h2c().await, "http_version: 2"),
        ] {
            let stage = Stage::before(target.0, target.1, "").await;
            stage.target.push(reply.clone().before_body());
            let answer = stage.client.post(CHAT, &long).await;
            assert_eq!(answer.status, client_sees, "{answer:?}");
            stage.target.always(Reply::chat("first", FALLBACK_SAYS));
            for _ in 0..3 {
                assert_target(&stage.ask().await);
                assert_eq!(stage.target.last_request().json(), question("first"));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_answer_of_an_upstream_that_closes_is_heard() {
    let long = json!({"padding": "x".repeat(10 << 20), "model": "first"});
    let stage = Stage::with("").await;
    let refusal = Reply::json(413, &super::invalid_request());
    stage.target.always(refusal.closing().before_body());
    for _ in 0..3 {
        let answer = stage.client.post(CHAT, &long).await;
        assert_eq!(answer.status, 413, "{answer:?}");
        assert_eq!(answer.json(), super::invalid_request());
    }
    assert_eq!(stage.counts(), (3, 0));
}

/// Interim answers say that the request is being read, not that it needn't be sent.
#[tokio::test(flavor = "multi_thread")]
async fn an_interim_answer_does_not_end_the_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let stage = Stage::at(Upstream::start().await, &url, "", "").await;
    let text = "x".repeat(10 << 20);
    let long = json!({"model": "first", "messages": [{"role": "user", "content": text}]});

    let upstream = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        let interim: [&[u8]; 2] = [b"HTTP/1.1 103 Early ", b"Hints\r\nlink: </a>\r\n\r\n"];
        let mut said = 0;
        let body = loop {
            // While the body comes: three of them, half of one with each MiB of it.
            if said < 6 && received.len() > said << 20 {
                tcp.write_all(interim[said % 2]).await.unwrap();
                said += 1;
            }
            assert!(
                tcp.read_buf(&mut received).await.unwrap() > 0,
                "the rest of the request"
            );
            let head = received.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            if let Some(head) = head.filter(|head| received.len() >= head + 4 + (10 << 20)) {
                let body = received.split_off(head + 4);
                if serde_json::from_slice::<Value>(&body).is_ok() {
                    break body;
                }
                received.extend_from_slice(&body);
            }
        };
        for half in said..6 {
            tcp.write_all(interim[half % 2]).await.unwrap();
        }
        let answer = bodies::chat_completion("first", FALLBACK_SAYS).to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        tcp.write_all(format!("{head}{answer}").as_bytes())
            .await
            .unwrap();
        body
    });
    assert_target(&stage.client.post(CHAT, &long).await);
    assert!(upstream.await.unwrap() == long.to_string().as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_was_restarted_is_found_again() {
    let mut stage = warmed(Stage::with("").await).await;
    stage.target.go_down().await;
    let answer = stage.ask().await;
    Stage::assert_fallback(&answer, 2, Some("target/first=refused"));
    stage.target.come_back();
    assert_target(&stage.ask().await);
}

/// Another backend of the endpoint is asked where one can't be reached; it is one attempt.
#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_can_t_be_reached_is_passed_by() {
    let dead = crate::support::Dead::refusing();
    let alive = Upstream::start().await;
    alive.always(Reply::chat("first", FALLBACK_SAYS));
    let fields = format!(
        "provider: openai\nbackends:\n  - {{url: {}}}\n  - {{url: {}}}",
        dead.url(),
        alive.url()
    );
    let gateway = Setup::new()
        .bare_endpoint("target", &fields)
        .chain(&[("first", "target")], SUSPENDING)
        .start();
    let client = gateway.client();
    for round in 1..=4 {
        assert_target(&client.post(CHAT, question("first")).await);
        assert_eq!(alive.count(), round);
    }
}

/// Over HTTP/2 an answer's last byte and its end may come apart; a client of HTTP/1.1 that has the
/// last byte sends its next request.
#[tokio::test(flavor = "multi_thread")]
async fn the_client_s_connection_survives_an_end_that_comes_late() {
    let upstream = Upstream::h2c().await;
    let reply = Reply::chat("any", FALLBACK_SAYS);
    let large = Reply::status(200).body(vec![b'x'; 9 << 20]);
    upstream.on_model("large", large.then(Step::Wait(Duration::from_millis(20))));
    upstream.always(reply.then(Step::Wait(Duration::from_millis(20))));
    let gateway = Setup::new()
        .endpoint_with(
            "target",
            &upstream.url(),
            "provider: openai\nhttp_version: 2",
        )
        .chain(
            &[("first", "target"), ("large", "target")],
            "match: [first, large]",
        )
        .default_endpoint("target")
        .start();
    let client = gateway.client();
    for model in ["first", "of-no-policy", "large"]
        .into_iter()
        .cycle()
        .take(12)
    {
        let answer = client.post(CHAT, question(model)).await;
        assert!(
            answer.status == 200 && answer.complete && !answer.closed,
            "{answer:?}"
        );
    }
    assert_eq!(client.connections(), 1);
    assert_eq!(upstream.connections(), 1);
}

/// RFC 9113, section 8.1: a server that needs no more of a request may say so behind its answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_reset_without_an_error_ends_an_answer() {
    let no_more = || Step::ResetStream(h2::Reason::NO_ERROR);
    let long = json!({"padding": "x".repeat(10 << 20), "model": "first"});
    let refusal = Reply::json(413, &super::invalid_request());
    let stage = Stage::http2().await;
    stage.target.always(refusal.then(no_more()).before_body());
    for round in 1..=2 {
        let answer = stage.client.post(CHAT, &long).await;
        assert_eq!(answer.status, 413, "{answer:?}");
        assert_eq!(answer.json(), super::invalid_request());
        assert_eq!(stage.counts(), (round, 0));
    }
    let stage = Stage::http2().await;
    let cut = Reply::chat("first", FALLBACK_SAYS).cut_body_at(30, no_more());
    stage.target.always(cut);
    stage.assert_target_fault("truncated").await;
}

/// Whichever way they are opened.
#[tokio::test(flavor = "multi_thread")]
async fn connections_leave_from_where_the_configuration_says() {
    for (field, expected) in [
        ("client_bind_to_ipv4: []", "127.0.0.1"),
        ("client_bind_to_ipv4: [127.0.0.2]", "127.0.0.2"),
        ("upstream_connect_offload_threadpools: 1", "127.0.0.1"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let gateway = Setup::new()
            .server(field)
            .endpoint("target", &url)
            .chain(&[("first", "target")], "")
            .start();
        let client = gateway.client();
        let asked = async { client.post(CHAT, question("first")).await };
        let answered = async {
            let (mut socket, from) = listener.accept().await.unwrap();
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
            assert!(socket.read(&mut [0; 4096]).await.unwrap() > 0);
            socket.write_all(head).await.unwrap();
            from.ip()
        };
        let (answer, from) = tokio::join!(asked, answered);
        assert_eq!((answer.status, from), (200, expected.parse().unwrap()));
    }
}
