//! How long a client's connection lives, and what it carries.

use super::{CHAT, MODEL, Stage, question, raw_question, streaming_question};
use crate::support::{Ending, Reply, Step};

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_carries_many_requests() {
    let stage = Stage::with(|setup| {
        setup.operation("method: GET\npath: /v1/models\ndefault_endpoint: {production: openai}")
    })
    .await;
    stage.upstream.on_path(
        "/v1/models",
        Reply::json(200, &serde_json::json!({"data": []})),
    );
    for client in stage.clients() {
        for _ in 0..20 {
            assert_eq!(client.post(CHAT, question()).await.status, 200);
            assert_eq!(client.get("/v1/models").await.status, 200);
            assert_eq!(client.get("/v1/unknown").await.status, 404);
            assert_eq!(client.post(CHAT, "{}").await.status, 400);
            let chunked = client
                .request("POST", CHAT)
                .chunked_body(["{\"model\":", "\"gpt-4o\"}"]);
            assert_eq!(chunked.await.status, 200);
        }
        assert_eq!(client.connections(), 1);
    }
    assert_eq!(stage.upstream.count(), 2 * 3 * 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_leaves_the_connection_usable() {
    let stage = Stage::new().await;
    stage
        .upstream
        .always(Reply::chat_stream(MODEL, &["Hel", "lo"]));
    for client in stage.clients() {
        for _ in 0..3 {
            let answer = client.post(CHAT, streaming_question()).await;
            assert_eq!(answer.content(), "Hello");
        }
        assert_eq!(client.connections(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_wants_the_connection_closed_gets_it_closed() {
    let stage = Stage::new().await;
    for body in [question(), streaming_question()] {
        stage.upstream.always(match body.get("stream") {
            Some(_) => Reply::chat_stream(MODEL, &["Hello"]),
            None => Reply::chat(MODEL, "Hello"),
        });
        let request = stage.client().post(CHAT, body);
        let answer = request.header("connection", "close").await;
        assert_eq!(answer.content(), "Hello");
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(answer.closed && answer.complete);
        assert_eq!(stage.upstream.last_request().header("connection"), None);
    }
    let request = stage.client().get("/v1/unknown");
    let answer = request.header("connection", "close").await;
    assert_eq!(answer.status, 404);
    assert!(answer.closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_gets_no_chunks() {
    let stage = Stage::new().await;
    let client = stage.client();
    let answer = client.post(CHAT, question()).http10().await;
    assert_eq!(answer.content(), "Hello");
    assert!(answer.header("content-length").is_some());
    assert!(answer.closed && answer.complete);

    stage
        .upstream
        .always(Reply::chat_stream(MODEL, &["Hel", "lo"]));
    for keep in [false, true] {
        let mut request = client.post(CHAT, streaming_question()).http10();
        if keep {
            request = request.header("connection", "keep-alive");
        }
        let answer = request.await;
        assert_eq!(answer.content(), "Hello");
        assert_eq!(answer.header("transfer-encoding"), None);
        assert_eq!(answer.header("content-length"), None);
        assert!(answer.closed, "the close is the end of the answer");
    }
    let error = client.post("/v1/unknown", question()).http10().await;
    assert_eq!(error.status, 404);
    assert!(error.closed && error.complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_may_ask_for_the_connection_to_be_kept() {
    let stage = Stage::new().await;
    let client = stage.client();
    for _ in 0..3 {
        let request = client.post(CHAT, question()).http10();
        let answer = request.header("connection", "keep-alive").await;
        assert_eq!(answer.content(), "Hello");
        assert_eq!(answer.header("connection"), Some("keep-alive"));
    }
    assert_eq!(client.connections(), 1);
}

/// A FIN says the same whether its sender goes on reading or not, and most who send one are gone:
/// what their answer costs is saved.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_its_half_is_taken_for_gone() {
    let stage = Stage::new().await;
    stage
        .upstream
        .always(Reply::chat(MODEL, "Hello").held("answer"));
    let mut connection = stage.client().connect().await;
    connection.write(&raw_question(&[])).await;
    stage.upstream.wait_gate("answer").await;
    connection.finish().await;
    stage.upstream.wait_cancelled(0).await;
    assert!(connection.read_to_end().await.is_empty());
    let log = stage.gateway.wait_log(1).await;
    assert_eq!(log[0]["error"], "client_gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_within_its_request_reaches_no_upstream() {
    let stage = Stage::new().await;
    let request = raw_question(&[]);
    for part in [1, 10, request.len() / 2, request.len() - 1] {
        let mut connection = stage.client().connect().await;
        connection.write(&request[..part]).await;
        connection.finish().await;
        assert!(connection.read_to_end().await.is_empty());
    }
    stage.wait_open_connections(0).await;
    stage.wait_held(0).await;
    assert_eq!(stage.upstream.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ending_closes_idle_connections_and_finishes_the_rest() {
    let stage = Stage::new().await;
    let held = Reply::chat_stream(MODEL, &["Hel", "lo"]).before_write(2, Step::Gate("rest"));
    let [http1, http2] = stage.clients();
    for client in [&http1, &http2] {
        assert_eq!(client.post(CHAT, question()).await.status, 200);
    }
    let mut never_spoke = [stage.client().connect().await, {
        crate::support::Client::new(stage.h2c_addr())
            .connect()
            .await
    }];
    stage.wait_open_connections(4).await;
    stage.upstream.always(held);
    let [busy1, busy2] = stage.clients();
    let mut streams = [
        busy1.open(CHAT, streaming_question()).await,
        busy2.open(CHAT, streaming_question()).await,
    ];
    for stream in &mut streams {
        assert!(stream.next_event().await.is_some());
    }

    stage.gateway.running.begin_stop();
    http1.wait_idle_closed().await;
    for connection in &mut never_spoke {
        assert!(connection.read_to_end().await.is_empty());
    }
    // The two that stream are left.
    stage.wait_open_connections(2).await;
    assert!(
        stage.client().try_connect().await.is_err(),
        "nobody listens"
    );

    stage.upstream.open("rest");
    for stream in streams {
        let answer = stream.rest().await;
        assert!(answer.complete);
        assert!(answer.events().last().unwrap().is_done());
    }
    stage.wait_open_connections(0).await;
    for exchange in 0..stage.upstream.count() {
        let (ending, _) = stage.upstream.wait_ended(exchange).await;
        assert_eq!(ending, Ending::Answered);
    }
}
