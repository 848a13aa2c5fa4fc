//! The two ends against each other, with no gateway between them.
//!
//! Where it matters what is on the wire, one end is replaced by literal bytes, since two ends that
//! share a reader could share a mistake.

mod breakage;
mod http1;
mod http2;
mod scripts;
mod sse;
mod tls;

use serde_json::{Value, json};

use super::{Client, Ending, PATIENCE, Reply, Response, Step, Upstream, bodies, within};

/// An upstream of HTTP/1.1 and a client of it.
async fn pair() -> (Upstream, Client) {
    let up = Upstream::start().await;
    let client = Client::new(up.addr());
    (up, client)
}

/// An upstream of HTTP/2 and a client of it.
async fn h2_pair() -> (Upstream, Client) {
    let up = Upstream::h2c().await;
    let client = Client::h2c(up.addr());
    (up, client)
}

/// A pair of each protocol.
async fn pairs() -> [(Upstream, Client); 2] {
    [pair().await, h2_pair().await]
}

/// A chat request.
fn ask(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hi"}]})
}

/// Where chat requests go.
const CHAT: &str = "/v1/chat/completions";

/// What a panic said.
fn message_of(panic: &(dyn std::any::Any + Send)) -> &str {
    match panic.downcast_ref::<String>() {
        Some(message) => message,
        None => panic.downcast_ref::<&str>().expect("words"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_answer_arrives_and_the_request_is_recorded() {
    for (up, client) in pairs().await {
        up.on_model("gpt-4o", Reply::chat("gpt-4o", "Hello"));
        let response = client
            .key("secret")
            .post("/v1/chat/completions?a=1", ask("gpt-4o"))
            .await;

        assert_eq!(response.status, 200);
        assert_eq!(response.header("Content-Type"), Some("application/json"));
        assert_eq!(response.json(), bodies::chat_completion("gpt-4o", "Hello"));
        assert_eq!(response.content(), "Hello");
        assert!(response.complete && !response.closed && !response.reset);

        let received = up.last_request();
        assert_eq!(received.method, "POST");
        assert_eq!(received.target, "/v1/chat/completions?a=1");
        assert_eq!(received.path(), CHAT);
        assert_eq!(received.authority, Some(up.addr().to_string()));
        assert_eq!(received.header("authorization"), Some("Bearer secret"));
        assert_eq!(received.version, response.version);
        assert_eq!(received.json(), ask("gpt-4o"));
        assert_eq!(received.connection, 0);
        assert!(received.complete);
        assert_eq!(
            (up.count(), up.count_for("gpt-4o"), up.count_for("x")),
            (1, 1, 0)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_a_chunk_and_a_stream_ends() {
    for (up, client) in pairs().await {
        up.always(Reply::chat_stream("m", &["Hel", "lo"]));
        let mut stream = client.open(CHAT, ask("m")).await;
        let sent = bodies::chat_events("m", &["Hel", "lo"]);
        let mut chunks = Vec::new();
        while let Some(chunk) = stream.next_chunk().await {
            chunks.extend((!chunk.data.is_empty()).then_some(chunk.data));
        }
        assert_eq!(chunks, sent, "one chunk (or DATA frame) an event");
        assert!(stream.rest().await.complete);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_as_gates_open() {
    for (up, client) in pairs().await {
        let reply = Reply::chat_stream("m", &["Hel", "lo"]);
        up.always(reply.before_write(2, Step::Gate("more")).held("head"));
        let waiting = tokio::spawn({
            let client = client.clone();
            async move { client.open(CHAT, ask("m")).await }
        });
        up.wait_gate("head").await;
        assert!(!waiting.is_finished(), "the head is held back");
        up.open("head");

        let mut stream = waiting.await.unwrap();
        assert_eq!(stream.status(), 200);
        assert_eq!(stream.header("cache-control"), Some("no-cache"));
        assert!(stream.headers().contains("content-type"));
        assert!(stream.next_event().await.unwrap().json()["choices"].is_array());
        assert_eq!(
            stream.next_event().await.unwrap().content().as_deref(),
            Some("Hel")
        );
        up.wait_gate("more").await;
        assert_eq!(up.ending(0), None, "under way");
        up.open("more");
        assert_eq!(
            stream.next_event().await.unwrap().content().as_deref(),
            Some("lo")
        );
        let rest = stream.rest().await;
        assert_eq!(rest.events().len(), 2, "the finish and [DONE]: {rest:?}");
        assert!(rest.complete);
        assert_eq!(up.wait_ended(0).await.0, Ending::Answered);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_bodiless_statuses_interim_answers_and_trailers() {
    for (up, client) in pairs().await {
        up.always([
            Reply::json(200, &json!({"a": 1})),
            Reply::status(204),
            Reply::status(304).header("etag", "\"x\""),
            Reply::json(200, &json!(2)).interim(103),
            Reply::status(200)
                .chunked(["a", "b"])
                .trailer("x-sum", "ab"),
        ]);
        let head = client.request("HEAD", "/").await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), Some("7"));
        let no_content = client.get("/").await;
        assert_eq!((no_content.status, no_content.complete), (204, true));
        assert_eq!(no_content.header("content-length"), None);
        assert_eq!(client.get("/").await.header("etag"), Some("\"x\""));
        let early = client.get("/").await;
        assert_eq!((early.interim[0].status, early.status), (103, 200));
        let trailed = client.get("/").await;
        assert_eq!(trailed.text(), "ab");
        assert_eq!(trailed.trailers.get("x-sum"), Some("ab"));
        assert_eq!(up.connections(), 1, "every end was found");
        assert_eq!(client.connections(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_pass_both_ways() {
    for (up, client) in pairs().await {
        let large = vec![b'x'; 3 << 20];
        up.always(Reply::status(200).body(large.clone()));
        let response = client.post("/", large.clone()).await;
        assert_eq!(response.body, large);
        assert_eq!(up.last_request().body, large);

        let pieces = [large.clone(), b"end".to_vec()];
        client.request("POST", "/").chunked_body(pieces).await;
        assert_eq!(up.last_request().body, [&large[..], b"end"].concat());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_at_once() {
    for (up, client) in pairs().await {
        up.always(Reply::chat("m", "x").held("all"));
        let asked: Vec<_> = (0..20)
            .map(|_| tokio::spawn(client.post(CHAT, ask("m")).into_future()))
            .collect();
        up.wait_for_requests(20).await;
        up.open("all");
        for response in asked {
            let response: Response = response.await.unwrap();
            assert_eq!(response.content(), "x");
        }
        let over_http2 = up.last_request().version == http::Version::HTTP_2;
        assert_eq!(up.connections(), if over_http2 { 1 } else { 20 });
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_too_long_says_what_for_and_where() {
    let up = Upstream::start().await;
    let wanted = format!(
        "waited {PATIENCE:?} for 1 requests at the upstream {} (0 connections, 0 requests",
        up.addr()
    );
    let waited = tokio::spawn(async move { up.wait_for_requests(1).await }).await;
    let panic = waited.unwrap_err().into_panic();
    let message = message_of(&*panic);
    assert!(message.starts_with(&wanted), "{message}");
    assert!(message.contains("selftest/mod.rs:"), "{message}");

    let waited = tokio::spawn(within("Godot", std::future::pending::<()>())).await;
    let panic = waited.unwrap_err().into_panic();
    let message = message_of(&*panic);
    assert!(
        message.starts_with("waited 10s for Godot (asked for at "),
        "{message}"
    );
}
