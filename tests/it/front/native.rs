//! Operations without policies: streamed through as they come, within the same limits.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{CHAT, Stage, assert_error, question, raw};
use crate::support::{Ending, KEY, Reply, Setup, Step, secret, within};

const FILES: &str = "/v1/files";

/// `GET /v1/models` and `POST /v1/files`, which have no policies.
fn native(setup: Setup) -> Setup {
    setup
        .operation("method: GET\npath: /v1/models\ndefault_endpoint: {production: openai}")
        .operation("method: POST\npath: /v1/files\ndefault_endpoint: {production: openai}")
}

/// A form with a file of this many bytes.
fn form(bytes: usize) -> Vec<u8> {
    let file = "x".repeat(bytes);
    format!(
        "--b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n\
         --b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\n{file}\r\n--b--\r\n"
    )
    .into_bytes()
}

/// An upload as bytes, with the body's framing among the headers.
fn upload(headers: &[&str], body: &[u8]) -> Vec<u8> {
    let key = format!("authorization: Bearer {KEY}");
    let usual = [
        "host: gateway",
        &key,
        "content-type: multipart/form-data; boundary=b",
    ];
    raw(
        &format!("POST {FILES} HTTP/1.1"),
        &[&usual, headers].concat(),
        body,
    )
}

/// An upstream that is read byte by byte.
struct Listening {
    listener: TcpListener,
}

struct Accepted {
    tcp: TcpStream,
    received: Vec<u8>,
}

impl Listening {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener }
    }

    fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().unwrap())
    }

    async fn accept(&self) -> Accepted {
        let accepted = within("a connection to the upstream", self.listener.accept()).await;
        Accepted {
            tcp: accepted.unwrap().0,
            received: Vec::new(),
        }
    }
}

impl Accepted {
    /// Until what has come ends with `end`.
    async fn received_up_to(&mut self, end: &[u8]) {
        within("bytes at the upstream", async {
            while !self
                .received
                .trim_ascii_end()
                .ends_with(end.trim_ascii_end())
            {
                let read = self.tcp.read_buf(&mut self.received).await.unwrap();
                assert!(read > 0, "closed after {:?}", self.text());
            }
        })
        .await;
    }

    /// Everything up to the end of the connection.
    async fn rest(mut self) -> Vec<u8> {
        within("the upstream's connection to be closed", async {
            while let Ok(1..) = self.tcp.read_buf(&mut self.received).await {}
        })
        .await;
        self.received
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.received).to_lowercase()
    }
}

/// A gateway before an upstream that is read byte by byte.
async fn before(upstream: &Listening, limits: &str) -> crate::support::Gateway {
    native(Setup::new())
        .limits(limits)
        .endpoint("openai", &upstream.url())
        .chain(&[("gpt-4o", "openai")], "")
        .start()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_goes_through_and_only_its_credential_changes() {
    let stage = Stage::with(native).await;
    let models = json!({"object": "list", "data": [{"id": "gpt-4o"}]});
    let reply = Reply::json(200, &models).header("x-upstream", "yes");
    stage.upstream.on_path("/v1/models", reply);
    for client in stage.clients() {
        let request = client.get("/v1/models?limit=2");
        let answer = request
            .header("x-caller", "shop")
            .header("cookie", "a=b")
            .await;
        assert_eq!(answer.json(), models);
        assert_eq!(answer.header("x-upstream"), Some("yes"));
        assert_eq!(answer.header("x-standin-endpoint"), Some("openai"));
        assert_eq!(answer.header("x-standin-attempts"), Some("1"));
        assert!(answer.header("x-request-id").is_some());
        let received = stage.upstream.last_request();
        assert_eq!(received.target, "/v1/models?limit=2");
        assert_eq!(received.header("x-caller"), Some("shop"));
        assert_eq!(received.header("cookie"), None);
        let credential = format!("Bearer {}", secret("openai"));
        assert_eq!(received.headers.all("authorization"), [&*credential]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_streams_through() {
    let stage = Stage::with(native).await;
    let chunks = Reply::status(200).chunked(["first", "last"]);
    stage
        .upstream
        .on_path("/v1/models", chunks.before_write(1, Step::Gate("last")));
    let [http1, http2] = stage.clients();
    let mut answers = [
        http1.get("/v1/models").open().await,
        http2.get("/v1/models").open().await,
    ];
    for answer in &mut answers {
        assert_eq!(answer.next_chunk().await.unwrap().data, "first");
    }
    stage.upstream.open("last");
    for answer in answers {
        assert_eq!(answer.rest().await.text(), "last");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_streams_through() {
    let upstream = Listening::start().await;
    let gateway = before(&upstream, "").await;
    let body = form(1000);
    let (first, last) = body.split_at(500);
    let length = format!("content-length: {}", body.len());
    let chunk = |part: &[u8]| [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
    let last_chunks = [&*chunk(last), b"0\r\n\r\n"].concat();
    for (framing, sent_first, sent_last, end) in [
        (&*length, first.to_vec(), last.to_vec(), last),
        (
            "transfer-encoding: chunked",
            chunk(first),
            last_chunks,
            b"\r\n0\r\n\r\n",
        ),
    ] {
        let mut connection = gateway.client().connect().await;
        connection.write(&upload(&[framing], &sent_first)).await;
        let mut accepted = upstream.accept().await;
        accepted.received_up_to(&first[400..]).await;
        let head = accepted.text();
        assert!(head.starts_with("post /v1/files http/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("\r\n{framing}\r\n")), "{head}");
        assert!(
            head.contains("\r\ncontent-type: multipart/form-data; boundary=b\r\n"),
            "{head}"
        );
        assert!(!head.contains(KEY), "{head}");
        assert_eq!(
            gateway.running.gateway.held_bytes().current(),
            0,
            "nothing is kept"
        );

        connection.write(&sent_last).await;
        accepted.received_up_to(end).await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
        accepted.tcp.write_all(answer).await.unwrap();
        assert_eq!(connection.response().await.text(), "{}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_arrives_whole() {
    let stage = Stage::with(native).await;
    stage
        .upstream
        .on_path(FILES, Reply::json(200, &json!({"id": "file-1"})));
    let body = form(3 << 20);
    for client in stage.clients() {
        let pieces: Vec<_> = body.chunks(50_000).map(<[u8]>::to_vec).collect();
        for request in [
            client.post(FILES, body.clone()),
            client.request("POST", FILES).chunked_body(pieces),
        ] {
            let answer = request
                .header("content-type", "multipart/form-data; boundary=b")
                .await;
            assert_eq!(answer.json()["id"], "file-1");
            assert_eq!(stage.upstream.last_request().body, body);
        }
        assert_eq!(client.connections(), 1, "the connection stays usable");
    }
    for line in stage.gateway.wait_log(4).await {
        assert_eq!(line["path"], FILES);
        assert_eq!(line["bytes_in"], body.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_asks_first_is_told_to_go_on() {
    let stage = Stage::with(native).await;
    stage
        .upstream
        .on_path(FILES, Reply::json(200, &json!({"id": "file-1"})));
    let body = form(1 << 20);
    let upload = stage.client().post(FILES, body.clone()).expect_continue();
    let answer = upload.await;
    assert_eq!(answer.json()["id"], "file-1");
    let interim: Vec<u16> = answer.interim.iter().map(|head| head.status).collect();
    assert_eq!(interim, [100]);
    assert_eq!(stage.upstream.last_request().body, body);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_a_body_holds_for_uploads() {
    let stage = Stage::with(|setup| native(setup).limits("request_body: 8KiB")).await;
    stage
        .upstream
        .on_path(FILES, Reply::json(200, &json!({"id": "file-1"})));
    let too_large = |answer: &crate::support::Response| {
        let words = ["larger than 8192 bytes", "Send a smaller one"];
        assert_error(answer, 413, "request_too_large", &words);
    };
    for client in stage.clients() {
        assert_eq!(client.post(FILES, vec![b'x'; 8192]).await.status, 200);
        too_large(&client.post(FILES, vec![b'x'; 8193]).await);
        too_large(&client.post(FILES, vec![b'x'; 4 << 20]).await);
        let pieces = vec![vec![b'x'; 1000]; 9];
        too_large(&client.request("POST", FILES).chunked_body(pieces).await);
        assert_eq!(client.post(CHAT, question()).await.status, 200);
    }
    // By its length it is refused before anybody else hears of it, and before a byte of it.
    let answer = stage
        .client()
        .post(FILES, vec![b'x'; 8193])
        .expect_continue()
        .await;
    too_large(&answer);
    assert!(answer.interim.is_empty());
    let length = "content-length: 1000000000";
    too_large(&stage.client().send_raw(&upload(&[length], b"")).await);

    let complete: Vec<usize> = stage
        .upstream
        .requests()
        .iter()
        .filter(|received| received.path() == FILES && received.complete)
        .map(|received| received.body.len())
        .collect();
    assert_eq!(
        complete,
        [8192, 8192],
        "no upstream takes a part for the whole"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_stops_is_408() {
    let stage = Stage::with(|setup| native(setup).limits("request_body_timeout: 300ms")).await;
    let answer = stage
        .client()
        .send_raw(&upload(&["content-length: 1000"], b"x"))
        .await;
    assert_error(&answer, 408, "request_timeout", &["300ms"]);
    assert!(answer.closed);
    assert!(
        stage
            .upstream
            .requests()
            .iter()
            .all(|received| !received.complete)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_chunks_of_an_upload_are_400() {
    let stage = Stage::with(native).await;
    let request = upload(&["transfer-encoding: chunked"], b"5\r\nhello\r\nx\r\n");
    let answer = stage.client().send_raw(&request).await;
    assert_error(&answer, 400, "invalid_body_framing", &["chunks"]);
    assert!(answer.closed);
    assert!(
        stage
            .upstream
            .requests()
            .iter()
            .all(|received| !received.complete)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_cancels_the_exchange() {
    let stage = Stage::with(native).await;
    stage
        .upstream
        .on_path("/v1/models", Reply::json(200, &json!({})).held("answer"));
    for (exchange, client) in stage.clients().into_iter().enumerate() {
        let request = tokio::spawn(client.get("/v1/models").try_open());
        stage.upstream.wait_for_requests(exchange + 1).await;
        request.abort();
        stage.upstream.wait_cancelled(exchange).await;
    }
    for line in stage.gateway.wait_log(2).await {
        assert_eq!(line["error"], "client_gone", "{line}");
        assert_eq!(line["status"], serde_json::Value::Null, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_within_its_upload_leaves_no_whole_request() {
    let upstream = Listening::start().await;
    let gateway = before(&upstream, "").await;
    for framing in ["content-length: 1000", "transfer-encoding: chunked"] {
        let mut connection = gateway.client().connect().await;
        connection
            .write(&upload(&[framing], b"5\r\nhello\r\n"))
            .await;
        let mut accepted = upstream.accept().await;
        accepted.received_up_to(b"hello\r\n").await;
        drop(connection);
        let received = accepted.rest().await;
        assert!(
            !received.ends_with(b"0\r\n\r\n"),
            "the end of a request that has none"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_never_taken_for_whole() {
    let stage = Stage::with(native).await;
    let cut = Reply::status(200).chunked(["first"]).then(Step::Reset);
    stage.upstream.on_path("/v1/models", cut);
    for client in stage.clients() {
        // In HTTP/2 the stream may be reset before its head was written.
        let answer = client.get("/v1/models").try_send().await;
        assert!(!answer.is_ok_and(|answer| answer.complete));
    }
    stage.upstream.on_path("/v1/models", Reply::close());
    for client in stage.clients() {
        let answer = client.get("/v1/models").await;
        assert_eq!(answer.status, 502);
        assert_eq!(answer.json()["error"]["type"], "failover_error");
    }
    let (ending, _) = stage.upstream.wait_ended(0).await;
    assert_eq!(ending, Ending::Cut);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_answer_to_an_upload_is_not_lost() {
    let stage = Stage::with(native).await;
    let error = json!({"error": {"message": "no", "type": "x", "param": null, "code": null}});
    stage
        .upstream
        .on_path(FILES, Reply::json(400, &error).before_body());
    let body = form(2 << 20);
    let length = format!("content-length: {}", body.len());
    let mut connection = stage.client().connect().await;
    connection.write(&upload(&[&length], &body)).await;
    let answer = connection.response().await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json(), error);
}
