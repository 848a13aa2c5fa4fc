//! What one connection can have: so many requests, and so much patience.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{CHAT, MODEL, limited, question};
use crate::support::{Client, Gateway, KEY, NoAnswer, Reply, Upstream, within};

const FILES: &str = "/v1/files";

async fn stage(limits: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::start().await;
    upstream.always(Reply::chat(MODEL, "Hello"));
    let gateway = limited(&upstream, limits)
        .operation("method: POST\npath: /v1/files\ndefault_endpoint: {production: openai}")
        .start();
    (upstream, gateway)
}

fn h2c(gateway: &Gateway) -> Client {
    Client::h2c(gateway.running.addresses[1]).key(KEY)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_so_many_requests() {
    let (upstream, gateway) = stage("requests_per_connection: 3").await;
    for (served, path) in [CHAT, FILES].into_iter().enumerate() {
        let client = gateway.client();
        for round in 1..=7 {
            let answer = client.post(path, question()).await;
            assert_eq!(answer.status, 200);
            let closes = answer.header("connection") == Some("close");
            assert_eq!(closes, round % 3 == 0, "{path}, {round}");
        }
        assert_eq!(client.connections(), 3, "{path}");
        assert_eq!(upstream.count(), 7 * (served + 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_2_the_client_is_told_to_come_back_and_loses_nothing() {
    let (upstream, gateway) = stage("requests_per_connection: 3").await;
    let client = h2c(&gateway);
    let (mut asked, mut answered) = (0, 0);
    while client.connections() < 3 {
        asked += 1;
        assert!(asked < 100, "still on connection {}", client.connections());
        match client.post(CHAT, question()).try_send().await {
            Ok(answer) => {
                assert_eq!(answer.status, 200);
                answered += 1;
            }
            // It was begun when the connection had ended for new ones, and nobody has seen it: to be sent again
            // (RFC 9113, section 6.8).
            Err(NoAnswer::Stream(error)) if error.is_go_away() => {
                assert_eq!(error.reason(), Some(h2::Reason::NO_ERROR));
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(answered > 2 * 3);
    assert_eq!(upstream.count(), answered);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_cut_and_its_upstream_let_go() {
    // More than the buffers of both kernels hold.
    let body = json!({"choices": [], "padding": "x".repeat(32 << 20)}).to_string();
    for path in [CHAT, FILES] {
        for http2 in [false, true] {
            let limits = "response_write_timeout: 300ms\nresponse_body: 64KiB";
            let (upstream, gateway) = stage(limits).await;
            upstream.always(Reply::status(200).body(body.clone()));
            let client = match http2 {
                true => h2c(&gateway),
                false => gateway.client(),
            };
            let client = client.receive_buffer(4 << 10);
            let answer = client.open(path, question()).await;
            assert_eq!(answer.status(), 200);
            upstream.wait_cancelled(0).await;
            let line = &gateway.wait_log(1).await[0];
            assert_eq!(line["error"], "client_stalled", "{path}, {http2}: {line}");
            let rest = answer.rest().await;
            assert!(!rest.complete, "{path}, {http2}");
            let suspended = gateway.running.gateway.suspensions();
            assert!(suspended.list(std::time::Instant::now()).is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_little_at_a_time_gets_all_of_it() {
    let body = json!({"choices": [], "padding": "x".repeat(16 << 20)}).to_string();
    let limits = "response_write_timeout: 2s\nresponse_body: 64KiB";
    let (upstream, gateway) = stage(limits).await;
    upstream.always(Reply::status(200).body(body.clone()));
    let client = gateway.client().receive_buffer(4 << 10);
    let answer = client.open(CHAT, question()).await.rest().await;
    assert!(answer.complete && answer.body == body.as_bytes());
}

/// Each of them has begun to speak HTTP/2, and asks for nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_http_2_without_a_request_is_closed() {
    let (upstream, gateway) = stage("request_head_timeout: 200ms").await;
    let preface: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    // A head that is said to go on.
    let begun: &[u8] = &[0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82];
    for said in [
        preface[..10].to_vec(),
        preface.to_vec(),
        [preface, settings].concat(),
        [preface, settings, begun].concat(),
    ] {
        let mut stream = TcpStream::connect(gateway.running.addresses[1])
            .await
            .unwrap();
        stream.write_all(&said).await.unwrap();
        let mut rest = Vec::new();
        // In order, or with a reset.
        let _ = within("the end", stream.read_to_end(&mut rest)).await;
    }
    assert_eq!(upstream.connections(), 0);
}
