//! Clients that are too slow: 408, and idle connections that are closed.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{CHAT, Stage, assert_error, question, question_of, raw_post, raw_question};
use crate::support::client::Connection;
use crate::support::{Client, KEY, Response};

const LIMIT: Duration = Duration::from_millis(300);

/// Writes one byte after the other, each long before a limit on the pause between two would end
/// it, until there is an answer.
async fn drip(connection: &mut Connection, bytes: &[u8]) -> Response {
    for byte in bytes {
        if connection.try_write(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(LIMIT / 20).await;
        if connection.has_answer() {
            break;
        }
    }
    connection.response().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_head_is_408() {
    let stage = Stage::limited("request_head_timeout: 300ms").await;
    let request = raw_question(&[]);
    for addr in [stage.gateway.addr(), stage.h2c_addr()] {
        for half in [
            1,
            4,
            request.len() / 2,
            request.len() - question().to_string().len() - 1,
        ] {
            let began = Instant::now();
            let answer = Client::new(addr).send_raw(&request[..half]).await;
            assert_error(&answer, 408, "request_timeout", &["300ms", "Send it again"]);
            assert!(answer.closed);
            assert!(began.elapsed() >= LIMIT, "{:?}", began.elapsed());
        }
    }
    assert_eq!(stage.upstream.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_drips_is_408() {
    let stage = Stage::limited("request_head_timeout: 300ms").await;
    let mut connection = stage.client().connect().await;
    let answer = drip(&mut connection, &raw_question(&[])).await;
    assert_error(&answer, 408, "request_timeout", &["300ms"]);
    assert!(answer.closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_never_speaks_is_closed_without_a_word() {
    let stage = Stage::limited("request_head_timeout: 300ms").await;
    for addr in [stage.gateway.addr(), stage.h2c_addr()] {
        let began = Instant::now();
        let mut connection = Client::new(addr).connect().await;
        assert!(connection.read_to_end().await.is_empty());
        assert!(began.elapsed() >= LIMIT, "{:?}", began.elapsed());
    }
    stage.wait_open_connections(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_beginning_of_an_http_2_connection_has_the_time_of_a_head() {
    let stage = Stage::limited("request_head_timeout: 300ms").await;
    for part in [&b"PRI * HTTP/2.0"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
        let mut connection = Client::new(stage.h2c_addr()).connect().await;
        connection.write(part).await;
        connection.read_to_end().await;
    }
    stage.wait_open_connections(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_head_has_its_time_from_its_first_byte() {
    let stage = Stage::limited("request_head_timeout: 300ms\nkeepalive_timeout: 60s").await;
    let mut connection = stage.client().connect().await;
    connection.write(&raw_question(&[])).await;
    assert_eq!(connection.response().await.status, 200);
    tokio::time::sleep(LIMIT * 2).await;
    connection.write(&raw_question(&[])).await;
    assert_eq!(connection.response().await.status, 200);

    connection.write(b"POST ").await;
    let answer = connection.response().await;
    assert_error(&answer, 408, "request_timeout", &["300ms"]);
    assert!(answer.closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_is_408() {
    let stage = Stage::limited("request_body_timeout: 300ms").await;
    let body = question_of(1000);
    let half = &body[..500];
    for request in [
        raw_post(&["content-length: 1000"], ""),
        raw_post(&["content-length: 1000"], half),
        raw_post(&["transfer-encoding: chunked"], "1"),
        raw_post(&["transfer-encoding: chunked"], [b"3e8\r\n", half].concat()),
        raw_post(&["content-length: 1000", "expect: 100-continue"], ""),
    ] {
        let began = Instant::now();
        let answer = stage.client().send_raw(&request).await;
        assert_error(&answer, 408, "request_timeout", &["300ms", "Send it again"]);
        assert!(answer.closed);
        assert!(began.elapsed() >= LIMIT, "{:?}", began.elapsed());
    }
    assert_eq!(stage.upstream.connections(), 0);
    stage.wait_held(0).await;
    for line in stage.gateway.wait_log(5).await {
        assert_eq!(line["status"], 408);
        assert_eq!(line["error"], "request_timeout");
        assert_eq!(line["attempts"], json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_drips_is_408_after_the_time_for_the_whole() {
    let stage = Stage::limited("request_body_timeout: 60s\nrequest_body_total: 300ms").await;
    let mut connection = stage.client().connect().await;
    connection
        .write(&raw_post(&["content-length: 1000"], ""))
        .await;
    let answer = drip(&mut connection, &question_of(1000)).await;
    assert_error(&answer, 408, "request_timeout", &["300ms", "Send it again"]);
    assert!(answer.closed);
    assert_eq!(stage.upstream.connections(), 0);
    stage.wait_held(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_in_http_2_is_408_and_its_neighbours_are_served() {
    for limits in ["request_body_timeout: 300ms", "request_body_total: 300ms"] {
        let stage = Stage::limited(limits).await;
        let (mut send, _session) = h2_session(&stage).await;
        let body = question().to_string();

        let (stalled, mut stream) = send.send_request(h2_question(), false).unwrap();
        stream
            .send_data(body[..9].to_owned().into(), false)
            .unwrap();
        let (served, mut neighbour) = send.send_request(h2_question(), false).unwrap();
        neighbour.send_data(body.into(), true).unwrap();

        assert_eq!(served.await.unwrap().status(), 200);
        let answer = stalled.await.unwrap();
        assert_eq!(answer.status(), 408);
        let mut text = answer.into_body();
        let text = text.data().await.unwrap().unwrap();
        let error: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(error["error"]["code"], "request_timeout");
        assert_eq!(stage.upstream.count(), 1);
        stage.wait_held(0).await;
    }
}

async fn h2_session(
    stage: &Stage,
) -> (
    h2::client::SendRequest<bytes::Bytes>,
    crate::support::wait::Task,
) {
    let tcp = tokio::net::TcpStream::connect(stage.h2c_addr())
        .await
        .unwrap();
    let (send, connection) = h2::client::handshake(tcp).await.unwrap();
    let driver = crate::support::wait::Task::spawn(async { connection.await.unwrap() });
    (send, driver)
}

fn h2_question() -> http::Request<()> {
    http::Request::post(format!("http://gateway{CHAT}"))
        .header("authorization", format!("Bearer {KEY}"))
        .body(())
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed_and_one_in_use_is_not() {
    let stage = Stage::limited("keepalive_timeout: 300ms").await;
    for client in stage.clients() {
        for _ in 0..3 {
            assert_eq!(client.post(CHAT, question()).await.status, 200);
        }
        assert_eq!(client.connections(), 1);
    }
    // An answer that takes longer than an idle connection lives.
    let slow = crate::support::Reply::chat(super::MODEL, "Hello").delayed(LIMIT * 3);
    stage.upstream.always(slow);
    for client in stage.clients() {
        assert_eq!(client.post(CHAT, question()).await.status, 200);
    }
    stage.wait_open_connections(0).await;

    let mut connection = stage.client().connect().await;
    connection.write(&raw_question(&[])).await;
    assert_eq!(connection.response().await.status, 200);
    let began = Instant::now();
    assert!(connection.closed().await, "without a word");
    let idle = began.elapsed();
    assert!(idle >= LIMIT / 2, "{idle:?}");
}
