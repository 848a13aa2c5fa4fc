//! HTTP/1.1: what is on the wire, connections, bodies.

use serde_json::json;

use super::{CHAT, ask, pair};
use crate::support::{Client, NoAnswer, Reply, Step, Upstream};

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_is_these_bytes() {
    let (up, client) = pair().await;
    up.push(
        Reply::status(503)
            .header("Retry-After", "3")
            .body("no")
            .closing(),
    );
    up.push(
        Reply::status(200)
            .chunked(["ab", "c"])
            .trailer("t", "1")
            .closing(),
    );
    up.push(Reply::status(200).body("as it is").until_close());
    up.push(Reply::raw("SSH-2.0-x\r\n").then(Step::Close));
    let expected: [&[u8]; 4] = [
        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nt: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nas it is",
        b"SSH-2.0-x\r\n",
    ];
    for bytes in expected {
        let mut connection = client.connect().await;
        connection.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(connection.read_to_end().await, bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_these_bytes() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap();
    let read = tokio::task::spawn_blocking(move || {
        use std::io::{Read, Write};
        let mut all = Vec::new();
        for _ in 0..2 {
            let (mut connection, _) = server.accept().unwrap();
            let mut bytes = vec![0; 4096];
            let mut length = 0;
            while !bytes[..length].ends_with(b"\r\n\r\n{}")
                && !bytes[..length].ends_with(b"0\r\n\r\n")
            {
                length += connection.read(&mut bytes[length..]).unwrap();
            }
            connection
                .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
                .unwrap();
            bytes.truncate(length);
            all.push(String::from_utf8(bytes).unwrap());
        }
        all
    });
    let client = Client::new(addr).header("X-Mixed", "One");
    client.post("/a", json!({})).key("k").await;
    client
        .request("PUT", "/b")
        .header("host", "h")
        .chunked_body(["ab"])
        .http10()
        .await;
    let requests = read.await.unwrap();
    assert_eq!(
        requests[0],
        format!(
            "POST /a HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 2\r\nhost: {addr}\r\nX-Mixed: One\r\nauthorization: Bearer k\r\n\r\n{{}}"
        )
    );
    assert_eq!(
        requests[1],
        "PUT /b HTTP/1.0\r\ntransfer-encoding: chunked\r\nX-Mixed: One\r\nhost: h\r\n\r\n2\r\nab\r\n0\r\n\r\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_keep_their_order_and_letter_case() {
    let (up, client) = pair().await;
    up.always(
        Reply::status(200)
            .header("X-b", "1")
            .header("x-A", "2")
            .header("X-B", "3"),
    );
    let request = b"GET / HTTP/1.1\r\nZ-Last: \xe9\r\nHost: a\r\nz-last: b\r\n\r\n";
    let response = client.send_raw(request).await;
    let names = |headers: &crate::support::wire::Headers| -> Vec<String> {
        headers.iter().map(|(name, _)| name.to_owned()).collect()
    };
    assert_eq!(
        names(&response.headers),
        ["X-b", "x-A", "X-B", "content-length"]
    );
    assert_eq!(response.headers.all("x-b"), ["1", "3"]);
    let received = up.last_request();
    assert_eq!(names(&received.headers), ["Z-Last", "Host", "z-last"]);
    let (_, first) = received.headers.iter().next().unwrap();
    assert_eq!(first, &b"\xe9"[..], "bytes that are no UTF-8 stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_until_a_close_is_announced() {
    let (up, client) = pair().await;
    up.always([
        Reply::chat("m", "1"),
        Reply::chat("m", "2").closing(),
        Reply::chat("m", "3"),
    ]);
    for (connection, closed) in [(0, false), (0, true), (1, false)] {
        let response = client.post(CHAT, ask("m")).await;
        assert_eq!(response.closed, closed);
        assert!(response.complete);
        assert_eq!(up.last_request().connection, connection);
    }
    assert_eq!(up.connections(), 2);
    up.wait_open_connections(1).await;
    assert_eq!(client.connections(), 2);
    client.close_idle().await;
    up.wait_open_connections(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_wants_a_close_gets_it() {
    let (up, client) = pair().await;
    up.always(Reply::status(200));
    assert!(client.get("/").header("connection", "close").await.closed);
    assert!(client.get("/").http10().await.closed);
    assert_eq!(up.last_request().version, http::Version::HTTP_10);
    let kept = client
        .get("/")
        .http10()
        .header("connection", "keep-alive")
        .await;
    assert!(!kept.closed);
    assert_eq!(up.connections(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_closed_on_demand() {
    let (up, client) = pair().await;
    up.always(Reply::status(200));
    for round in 1..=20 {
        client.get("/").await;
        assert_eq!(up.close_idle().await, 1);
        client.wait_idle_closed().await;
        assert_eq!(up.connections(), 2 * round - 1);

        let mut connection = client.connect().await;
        connection.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        connection.response().await;
        assert_eq!(
            up.reset_idle().await,
            1,
            "the answer was read, so it is idle"
        );
        let failed = connection
            .try_write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await;
        let next = connection.try_response().await;
        assert!(
            failed.is_err() || matches!(next, Err(NoAnswer::Reset(_))),
            "{next:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_that_was_closed_is_not_used_again() {
    let (up, client) = pair().await;
    up.always(Reply::status(200));
    client.get("/").await;
    up.close_idle().await;
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(client.connections(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn request_bodies_of_every_kind() {
    let (up, client) = pair().await;
    up.always(Reply::status(200));
    client
        .request("POST", "/")
        .chunked_body(["{\"mod", "el\":", "\"m\"}"])
        .await;
    assert_eq!(up.last_request().model().as_deref(), Some("m"));
    assert!(
        up.last_request()
            .headers
            .lists("transfer-encoding", "chunked")
    );

    let response = client.post("/", "text").expect_continue().await;
    assert_eq!(response.interim[0].status, 100);
    assert_eq!(up.last_request().body, "text");

    let mut connection = client.connect().await;
    connection.write(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n0\r\nT: 1\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    connection.finish().await;
    connection.response().await;
    assert_eq!(up.requests()[2].body, "ab");
    assert_eq!(up.requests()[2].trailers.get("t"), Some("1"));
    up.wait_for_requests(4).await;
    assert_eq!(
        up.last_request().target,
        "/2",
        "what came together is read apart"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_reply_does_not_wait_for_the_body() {
    let (up, client) = pair().await;
    up.push(Reply::status(413).before_body());
    up.push(Reply::status(413).before_body().closing());
    up.push(Reply::status(417).before_body());
    let large = vec![b'x'; 8 << 20];
    let kept = client.post("/", large.clone()).await;
    assert_eq!((kept.status, kept.closed), (413, false));
    let closed = client.post("/", large.clone()).await;
    assert_eq!((closed.status, closed.closed), (413, true));
    let refused = client.post("/", large.clone()).expect_continue().await;
    assert_eq!((refused.status, refused.interim.len()), (417, 0));
    up.wait_open_connections(0).await;
    assert_eq!(
        up.requests()[0].body,
        large,
        "the rest was read for the next request"
    );
    assert!(!up.requests()[2].complete, "never sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_holds_the_upstream_up() {
    let up = Upstream::start().await;
    up.always(Reply::status(200).body(vec![b'x'; 16 << 20]));
    let client = Client::new(up.addr()).receive_buffer(4096);
    let mut stream = client.get("/").open().await;
    let first = stream.next_chunk().await.unwrap();
    let quick = Client::new(up.addr()).get("/").await;
    assert_eq!(quick.body.len(), 16 << 20, "there was time to send it all");
    assert_eq!(
        up.ending(0),
        None,
        "16 MiB don't fit into the buffers between"
    );
    let rest = stream.rest().await;
    assert_eq!(first.data.len() + rest.body.len(), 16 << 20);
    assert!(rest.complete && first.at <= std::time::Instant::now());
}

#[tokio::test(flavor = "multi_thread")]
async fn extra_bytes_after_an_answer_are_noticed() {
    let (up, client) = pair().await;
    up.always(Reply::status(200).header("content-length", "2").body("abc"));
    let failed = tokio::spawn(async move { client.get("/").await }).await;
    let panic = failed.unwrap_err().into_panic();
    assert_eq!(super::message_of(&*panic), "bytes after the answer: [99]");
}
