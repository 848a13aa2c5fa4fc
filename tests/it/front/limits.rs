//! What is too much: 413, 503, and connections that are closed where they begin.

use serde_json::Value;

use super::{CHAT, MODEL, Stage, assert_error, error_message, question, question_of, raw_post};
use crate::support::{Client, KEY, Reply, Response, Step};

const KIB: usize = 1024;

#[track_caller]
fn assert_too_large(answer: &Response, limit: usize) {
    let words = format!("larger than {limit} bytes");
    assert_error(
        answer,
        413,
        "request_too_large",
        &[&words, "Send a smaller one"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_up_to_the_limit_is_served_and_one_byte_more_is_413() {
    let stage = Stage::limited("request_body: 8KiB").await;
    for client in stage.clients() {
        let exact = question_of(8 * KIB);
        let pieces = exact.chunks(1000).map(<[u8]>::to_vec);
        let chunked = client.request("POST", CHAT).chunked_body(pieces);
        assert_eq!(chunked.await.status, 200);
        assert_eq!(client.post(CHAT, exact).await.status, 200);

        let over = question_of(8 * KIB + 1);
        let pieces = over.chunks(1000).map(<[u8]>::to_vec);
        let chunked = client.request("POST", CHAT).chunked_body(pieces);
        assert_too_large(&chunked.await, 8 * KIB);
        assert_too_large(&client.post(CHAT, over).await, 8 * KIB);
        assert_eq!(client.post(CHAT, question()).await.status, 200);
        assert_eq!(
            client.connections(),
            1,
            "a body this short is read to its end"
        );
    }
    assert_eq!(stage.upstream.count(), 6);
    stage.wait_held(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_over_the_limit_is_413_before_a_byte_of_the_body() {
    let stage = Stage::limited("request_body: 128KiB").await;
    for length in [
        "131073",
        "1000000000000",
        "9223372036854775807",
        "18446744073709551615",
    ] {
        let mut connection = stage.client().connect().await;
        let length = format!("content-length: {length}");
        connection.write(&raw_post(&[&length], "")).await;
        let answer = connection.response().await;
        assert_too_large(&answer, 128 * KIB);
        assert!(answer.closed, "{length}");
    }
    assert_eq!(stage.upstream.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_first_gets_413_and_sends_nothing() {
    let stage = Stage::limited("request_body: 8KiB").await;
    let client = stage.client();
    let large = client
        .post(CHAT, question_of(8 * KIB + 1))
        .expect_continue();
    let answer = large.await;
    assert_too_large(&answer, 8 * KIB);
    assert!(answer.interim.is_empty(), "{:?}", answer.interim);
    assert!(answer.closed, "nobody knows whether the body follows");

    let answer = client.post("/unknown", question()).expect_continue().await;
    assert_error(&answer, 404, "unknown_operation", &[]);
    assert!(answer.interim.is_empty() && answer.closed);
    assert_eq!(stage.upstream.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_first_is_told_to_go_on_once() {
    let stage = Stage::new().await;
    let client = stage.client();
    let body = question_of(2 << 20);
    for _ in 0..2 {
        let answer = client.post(CHAT, body.clone()).expect_continue().await;
        assert_eq!(answer.status, 200);
        let interim: Vec<u16> = answer.interim.iter().map(|head| head.status).collect();
        assert_eq!(interim, [100]);
        let received = stage.upstream.last_request();
        assert_eq!(received.body, body);
        assert_eq!(received.header("expect"), None);
    }
    assert_eq!(client.connections(), 1, "the connection stays usable");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_is_never_told_to_go_on() {
    let stage = Stage::new().await;
    let request = raw_post(
        &["expect: 100-continue", "content-length: 18"],
        r#"{"model":"gpt-4o"}"#,
    );
    let request = String::from_utf8(request).unwrap();
    let request = request.replacen("HTTP/1.1", "HTTP/1.0", 1);
    let answer = stage.client().send_raw(request.as_bytes()).await;
    assert_eq!(answer.status, 200);
    assert!(answer.interim.is_empty(), "{:?}", answer.interim);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_everything_before_it_reads_gets_its_answer() {
    let stage = Stage::limited("request_body: 8KiB").await;
    let length = 4 << 20;
    let body = vec![b' '; length];
    let chunks = [
        format!("{length:x}\r\n").as_bytes(),
        &body,
        b"\r\n0\r\n\r\n",
    ]
    .concat();
    let declared = format!("content-length: {length}");
    for request in [
        raw_post(&[&declared], &body),
        raw_post(&["transfer-encoding: chunked"], &chunks),
    ] {
        let mut connection = stage.client().connect().await;
        connection.write(&request).await;
        let answer = connection.response().await;
        assert_too_large(&answer, 8 * KIB);
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(answer.closed && !answer.reset);
    }

    // The same of an answer that has nothing to do with the body.
    let mut stranger = Client::new(stage.gateway.addr()).connect().await;
    let request = raw_post(&[&declared], &body);
    let text = String::from_utf8(request)
        .unwrap()
        .replace(KEY, "no-such-key");
    stranger.write(text.as_bytes()).await;
    let answer = stranger.response().await;
    assert_error(&answer, 401, "invalid_api_key", &[]);
    assert!(answer.closed && !answer.reset);
    assert_eq!(stage.upstream.count(), 0);
    stage.wait_held(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn buffered_bodies_at_their_limit_are_503_until_there_is_room() {
    let stage = Stage::limited("request_body: 8KiB\nbuffered_bodies: 16KiB").await;
    stage.upstream.push(Reply::chat(MODEL, "one").held("one"));
    stage.upstream.push(Reply::chat(MODEL, "two").held("two"));
    let [first, second] = stage.clients();
    let body = || question_of(6 * KIB);
    let first = tokio::spawn(first.post(CHAT, body()).into_future());
    stage.upstream.wait_gate("one").await;
    assert_eq!(stage.held(), 6 * KIB);
    let second = tokio::spawn(second.post(CHAT, body()).into_future());
    stage.upstream.wait_gate("two").await;
    assert_eq!(stage.held(), 12 * KIB);

    for client in stage.clients() {
        for request in [
            client.post(CHAT, body()),
            client
                .request("POST", CHAT)
                .chunked_body(body().chunks(1000).map(<[u8]>::to_vec)),
        ] {
            let answer = request.await;
            let message = error_message(&answer, 503, "gateway_overloaded");
            assert!(message.contains("in a moment"), "{message:?}");
            assert_eq!(answer.header("retry-after"), Some("1"));
            assert!(!answer.closed);
        }
        // A small one has room, and what was refused has given its share back.
        assert_eq!(client.post(CHAT, question()).await.status, 200);
        assert_eq!(client.connections(), 1, "the connection stays usable");
        stage.wait_held(12 * KIB).await;
    }
    assert_eq!(stage.upstream.count(), 4);

    stage.upstream.open("one");
    assert_eq!(first.await.unwrap().content(), "one");
    stage.wait_held(6 * KIB).await;
    assert_eq!(stage.client().post(CHAT, body()).await.status, 200);
    stage.upstream.open("two");
    assert_eq!(second.await.unwrap().content(), "two");
    stage.wait_held(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_returns_to_zero_however_a_request_ends() {
    let stage = Stage::limited("request_body: 8KiB\nrequest_body_timeout: 200ms").await;
    let length = format!("content-length: {}", 6 * KIB);
    let half = raw_post(&[&length], &question_of(6 * KIB)[..3 * KIB]);

    // The client leaves within its body: in order, and with a reset.
    for reset in [false, true] {
        let mut connection = stage.client().connect().await;
        connection.write(&half).await;
        stage.wait_held(3 * KIB).await;
        if reset {
            connection.reset();
        } else {
            drop(connection);
        }
        stage.wait_held(0).await;
    }
    // It is too slow.
    assert_eq!(stage.client().send_raw(&half).await.status, 408);
    stage.wait_held(0).await;
    // Its upstream fails.
    stage.upstream.push(Reply::status(500));
    assert_eq!(
        stage.client().post(CHAT, question_of(6 * KIB)).await.status,
        502
    );
    stage.wait_held(0).await;
    let log = stage.gateway.wait_log(4).await;
    let errors: Vec<&Value> = log.iter().map(|line| &line["error"]).collect();
    assert_eq!(
        errors,
        [
            "client_gone",
            "client_gone",
            "request_timeout",
            "all_targets_failed"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_held_as_long_as_it_may_be_needed_again() {
    let stage = Stage::new().await;
    let [client, _] = stage.clients();
    let stream = Reply::chat_stream(MODEL, &["one", "two"]);
    stage
        .upstream
        .always(stream.before_write(3, Step::Gate("rest")));
    let mut body: Value = serde_json::from_slice(&question_of(6 * KIB)).unwrap();
    body["stream"] = true.into();
    let length = body.to_string().len();
    let mut answer = client.open(CHAT, body).await;
    assert!(answer.next_event().await.is_some());
    // A stream that breaks goes on at another target.
    assert_eq!(stage.held(), length);
    stage.upstream.open("rest");
    assert!(answer.rest().await.complete);
    stage.wait_held(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_past_their_limit_are_closed_where_they_begin() {
    let stage = Stage::limited("connections: 3").await;
    let [first, second] = stage.clients();
    assert_eq!(first.post(CHAT, question()).await.status, 200);
    assert_eq!(second.post(CHAT, question()).await.status, 200);
    let third = stage.client();
    assert_eq!(third.post(CHAT, question()).await.status, 200);

    for addr in [stage.gateway.addr(), stage.h2c_addr()] {
        let mut fourth = Client::new(addr).connect().await;
        assert!(fourth.read_to_end().await.is_empty());
    }
    stage.wait_open_connections(3).await;
    for client in [&first, &second, &third] {
        assert_eq!(client.post(CHAT, question()).await.status, 200);
        assert_eq!(client.connections(), 1, "those that are there are served");
    }

    first.close_idle().await;
    stage.wait_open_connections(2).await;
    let fourth = stage.client();
    assert_eq!(fourth.post(CHAT, question()).await.status, 200);
    let mut fifth = stage.client().connect().await;
    assert!(fifth.read_to_end().await.is_empty());
}
