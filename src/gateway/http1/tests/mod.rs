mod any;

use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID,
};
use pingora_http::RequestHeader;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf, duplex};

use super::properties::{Answer, check_input, exchange, read_body};
use super::*;

/// Enough for every message here.
const ROOM: usize = 1 << 20;

/// A connection whose server has said `wire` and closed.
fn after(wire: &[u8]) -> Stream {
    let (client, mut server) = duplex(ROOM);
    let wire = wire.to_vec();
    // There is room for it, so nothing waits.
    tokio::spawn(async move { server.write_all(&wire).await });
    Box::new(client)
}

/// The answer in `wire` to a GET.
async fn answer(wire: &[u8]) -> Result<Answer, ExchangeFault> {
    answer_to(&Method::GET, wire).await
}

async fn answer_to(method: &Method, wire: &[u8]) -> Result<Answer, ExchangeFault> {
    let taken = exchange(after(wire), method, true).await;
    assert_eq!(taken, exchange(after(wire), method, false).await);
    taken
}

/// The exchange whose answer is in `wire`, with its head read.
async fn begun(wire: &[u8]) -> (Http1, Box<ResponseHeader>) {
    let mut http1 = Http1::new(after(wire));
    http1
        .send(b"GET / HTTP/1.1\r\n\r\n", [b""; 3])
        .await
        .unwrap();
    let head = http1.read_head(&Method::GET).await.unwrap();
    (http1, head)
}

/// A whole message: `lines` each with its line end, then the empty line and what follows.
fn message(lines: &str, rest: &str) -> Vec<u8> {
    format!("{}\r\n\r\n{rest}", lines.replace('\n', "\r\n")).into_bytes()
}

#[test]
fn reads_make_no_difference_to_the_fuzzers_seeds() {
    for seed in crate::fuzz_seeds("answer") {
        check_input(&seed);
    }
}

#[tokio::test]
async fn the_body_ends_where_the_head_says() {
    for (lines, rest, body, reusable) in [
        ("HTTP/1.1 200 OK\ncontent-length: 5", "hello", "hello", true),
        ("HTTP/1.1 200\ncontent-length: 5", "hello", "hello", true),
        ("HTTP/1.1 200 OK\ncontent-length: 0", "", "", true),
        (
            "HTTP/1.1 200 OK\nContent-Length: 5\ncontent-length: 5",
            "hello",
            "hello",
            true,
        ),
        (
            "HTTP/1.1 200 OK\ncontent-length: 05",
            "hello",
            "hello",
            true,
        ),
        (
            "HTTP/1.1 200 OK\ntransfer-encoding: chunked",
            "5\r\nhello\r\n0\r\n\r\n",
            "hello",
            true,
        ),
        (
            "HTTP/1.1 200 OK\nTransfer-Encoding: CHUNKED",
            "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            "hello",
            true,
        ),
        ("HTTP/1.1 200 OK", "hello", "hello", false),
        ("HTTP/1.0 200 OK", "hello", "hello", false),
        (
            "HTTP/1.1 200 OK\nconnection: keep-alive",
            "hello",
            "hello",
            false,
        ),
        ("HTTP/1.1 204 No Content", "", "", true),
        ("HTTP/1.1 204 No Content\ncontent-length: 5", "", "", true),
        ("HTTP/1.1 304 Not Modified\ncontent-length: 5", "", "", true),
        (
            "HTTP/1.1 304 Not Modified\ntransfer-encoding: chunked",
            "",
            "",
            true,
        ),
    ] {
        let status = lines[9..12].parse().unwrap();
        let expected = Answer {
            status,
            body: body.into(),
            reusable,
        };
        assert_eq!(
            answer(&message(lines, rest)).await,
            Ok(expected),
            "{lines:?}"
        );
    }
}

#[tokio::test]
async fn the_answer_to_a_head_request_has_no_body() {
    for lines in [
        "HTTP/1.1 200 OK\ncontent-length: 5",
        "HTTP/1.1 200 OK\ntransfer-encoding: chunked",
    ] {
        let answered = answer_to(&Method::HEAD, &message(lines, "")).await;
        assert_eq!(answered.unwrap().body, b"");
    }
}

#[tokio::test]
async fn what_two_readers_could_read_differently_is_malformed() {
    for lines in [
        "HTTP/1.1 200 OK\ncontent-length: 5\ncontent-length: 6",
        "HTTP/1.1 200 OK\ncontent-length: 5\ntransfer-encoding: chunked",
        "HTTP/1.1 204 No Content\ncontent-length: 5\ntransfer-encoding: chunked",
        "HTTP/1.1 200 OK\ncontent-length: 5, 5",
        "HTTP/1.1 200 OK\ncontent-length: +5",
        "HTTP/1.1 200 OK\ncontent-length: -5",
        "HTTP/1.1 200 OK\ncontent-length: 5.0",
        "HTTP/1.1 200 OK\ncontent-length: 0x5",
        "HTTP/1.1 200 OK\ncontent-length: 5 5",
        "HTTP/1.1 200 OK\ncontent-length:",
        "HTTP/1.1 200 OK\ncontent-length: 18446744073709551616",
        "HTTP/1.1 200 OK\ntransfer-encoding: gzip",
        "HTTP/1.1 200 OK\ntransfer-encoding: gzip, chunked",
        "HTTP/1.1 200 OK\ntransfer-encoding: chunked, chunked",
        "HTTP/1.1 200 OK\ntransfer-encoding: chunked\ntransfer-encoding: chunked",
        "HTTP/1.1 200 OK\ntransfer-encoding: \u{b}chunked",
        "HTTP/1.1 200 OK\ntransfer-encoding: chunked;q=1",
        "HTTP/1.1 200 OK\ntransfer-encoding:",
        "HTTP/1.0 200 OK\ntransfer-encoding: chunked",
        "HTTP/1.1 200 OK\ntransfer-encoding : chunked",
        "HTTP/1.1 200 OK\ncontent-length : 5",
        "HTTP/1.1 200 OK\nx: a\n folded: b",
        "HTTP/1.1 200 OK\n leading: a",
        "HTTP/1.1 200 OK\nno colon",
        "HTTP/1.1 200 OK\nx: a\u{0}b",
        "HTTP/1.1 200 OK\nx: a\rb",
        "HTTP/1.1 200 OK\n: no name",
        "HTTP/1.1 99 Too Low",
        "HTTP/1.1 2000 Too Long",
        "HTTP/1.1 20x OK",
        "HTTP/2 200 OK",
        "HTTP/1.2 200 OK",
        "http/1.1 200 OK",
        "HTTP/1.1 101 Switching Protocols\nupgrade: h2c",
        "GET / HTTP/1.1",
    ] {
        let answered = answer(&message(lines, "hello")).await;
        assert_eq!(answered, Err(ExchangeFault::Malformed), "{lines:?}");
    }
}

#[tokio::test]
async fn a_head_without_end_is_malformed() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(2 * MAX_HEAD));
    let ended = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(MAX_HEAD));
    let many = format!(
        "HTTP/1.1 200 OK\r\n{}\r\n",
        "x: y\r\n".repeat(MAX_HEADERS + 1)
    );
    for wire in [long, ended, many] {
        let answered = answer(wire.as_bytes()).await;
        assert_eq!(answered, Err(ExchangeFault::Malformed));
    }
    let most = format!(
        "HTTP/1.1 204 No Content\r\n{}\r\n",
        "x: y\r\n".repeat(MAX_HEADERS)
    );
    assert_eq!(answer(most.as_bytes()).await.unwrap().status, 204);
}

#[tokio::test]
async fn an_answer_that_is_cut_anywhere_is_no_answer() {
    for (wire, head) in [
        (
            &b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"[..],
            38,
        ),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            47,
        ),
        (
            b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            60,
        ),
    ] {
        assert_eq!(answer(wire).await.unwrap().body, b"hello");
        assert_eq!(&wire[head - 4..head], b"\r\n\r\n");
        for cut in 0..wire.len() {
            let fault = answer(&wire[..cut]).await.unwrap_err();
            let expected = match cut {
                0 => ExchangeFault::Closed,
                // Between an interim answer and the one that counts.
                22 if wire.starts_with(b"HTTP/1.1 103") => ExchangeFault::Closed,
                _ => ExchangeFault::Truncated,
            };
            assert_eq!(fault, expected, "cut at {cut} of {}", wire.escape_ascii());
        }
    }
}

#[tokio::test]
async fn interim_answers_are_read_past_but_not_without_end() {
    let last = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let hint = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let wire = format!(
        "HTTP/1.1 100 Continue\r\n\r\n{}{last}",
        hint.repeat(MAX_INTERIM - 1)
    );
    let answered = answer(wire.as_bytes()).await.unwrap();
    assert_eq!((answered.status, &*answered.body), (200, &b"ok"[..]));
    assert!(answered.reusable);

    let wire = format!("{}{last}", hint.repeat(MAX_INTERIM + 1));
    let answered = answer(wire.as_bytes()).await;
    assert_eq!(answered, Err(ExchangeFault::Malformed));
}

#[tokio::test]
async fn a_connection_is_kept_only_if_nothing_is_left_on_it() {
    for (lines, rest, reusable) in [
        ("HTTP/1.1 200 OK\ncontent-length: 2", "ok", true),
        (
            "HTTP/1.1 200 OK\nconnection: Keep-Alive\ncontent-length: 2",
            "ok",
            true,
        ),
        (
            "HTTP/1.1 200 OK\nconnection: close\ncontent-length: 2",
            "ok",
            false,
        ),
        (
            "HTTP/1.1 200 OK\nconnection: x-a, CLOSE\ncontent-length: 2",
            "ok",
            false,
        ),
        (
            "HTTP/1.1 200 OK\nconnection: keep-alive\nconnection: close\ncontent-length: 2",
            "ok",
            false,
        ),
        ("HTTP/1.0 200 OK\ncontent-length: 2", "ok", false),
        (
            "HTTP/1.0 200 OK\nconnection: keep-alive\ncontent-length: 2",
            "ok",
            true,
        ),
        (
            "HTTP/1.1 200 OK\ncontent-length: 2",
            "okHTTP/1.1 200 OK\r\n",
            false,
        ),
        ("HTTP/1.1 204 No Content", "!", false),
        (
            "HTTP/1.1 200 OK\ntransfer-encoding: chunked",
            "0\r\n\r\n\r\n",
            false,
        ),
    ] {
        let answered = answer(&message(lines, rest)).await.unwrap();
        assert_eq!(answered.reusable, reusable, "{lines:?} {rest:?}");
    }
}

#[tokio::test]
async fn a_body_is_taken_where_its_length_is_told_and_all_of_it_is_here() {
    for (lines, rest, taken, reusable) in [
        ("content-length: 5", "hello", Some("hello"), true),
        ("content-length: 5", "hello!", Some("hello"), false),
        ("content-length: 5", "hell", None, false),
        ("content-length: 5", "", None, false),
        ("content-length: 0", "", None, true),
        ("content-length: 18446744073709551615", "hello", None, false),
        (
            "transfer-encoding: chunked",
            "2\r\nhe\r\n0\r\n\r\n",
            None,
            false,
        ),
        ("x: y", "hello", None, false),
    ] {
        let wire = message(&format!("HTTP/1.1 200 OK\n{lines}"), rest);
        let (mut http1, _) = begun(&wire).await;
        let body = http1.take_body();
        assert_eq!(body.as_deref(), taken.map(str::as_bytes), "{lines} {rest}");
        if taken.is_some() {
            assert_eq!(http1.body_left(), Some(0));
            assert_eq!(http1.read_body().await, Ok(None));
        }
        assert_eq!(http1.into_idle().is_some(), reusable, "{lines} {rest}");
    }
}

#[tokio::test]
async fn a_connection_is_not_kept_before_the_body_s_end() {
    let (client, mut server) = duplex(ROOM);
    let mut http1 = Http1::new(Box::new(client));
    http1
        .send(b"GET / HTTP/1.1\r\n\r\n", [b""; 3])
        .await
        .unwrap();
    let wire = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok";
    server.write_all(wire).await.unwrap();
    http1.read_head(&Method::GET).await.unwrap();
    assert_eq!(http1.body_left(), Some(4));
    assert_eq!(http1.read_body().await.unwrap().unwrap(), "ok");
    assert_eq!(http1.body_left(), Some(2));
    assert!(http1.into_idle().is_none());
}

#[tokio::test]
async fn headers_about_the_connection_stay_here() {
    let lines = "HTTP/1.1 200 OK\nConnection: close, X-Hop, x-other\nX-Hop: 1\nx-OTHER: 2\nkeep-alive: timeout=5\nproxy-connection: close\nproxy-authenticate: Basic\nte: trailers\ntrailer: x-sum\nupgrade: h2c\ntransfer-encoding: chunked\nX-Kept: a\nx-kept: b\nset-cookie: c";
    let (_, head) = begun(&message(lines, "0\r\n\r\n")).await;
    let kept: Vec<_> = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    assert_eq!(
        kept,
        [("x-kept", "a"), ("x-kept", "b"), ("set-cookie", "c")]
    );
}

#[tokio::test]
async fn trailers_come_with_the_end() {
    let wire = message(
        "HTTP/1.1 200 OK\ntransfer-encoding: chunked",
        "2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
    );
    let (mut http1, _) = begun(&wire).await;
    assert_eq!(read_body(&mut http1).await.unwrap(), b"ok");
    assert_eq!(http1.take_trailers().unwrap()["x-sum"], "1");
    assert!(http1.into_idle().is_some());
}

/// A server that reads what there is and takes its time over it.
async fn read_slowly(mut server: DuplexStream, length: usize) -> (Vec<u8>, DuplexStream) {
    let mut received = Vec::new();
    while received.len() < length {
        assert!(
            server.read_buf(&mut received).await.unwrap() > 0,
            "the rest"
        );
        tokio::task::yield_now().await;
    }
    (received, server)
}

#[tokio::test]
async fn an_early_answer_ends_the_sending_and_the_connection() {
    let (client, mut server) = duplex(64);
    let mut http1 = Http1::new(Box::new(client));
    let early = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno";
    server.write_all(early).await.unwrap();
    // Nobody reads, so it can't all be sent.
    http1
        .send(b"POST / HTTP/1.1\r\n\r\n", [&[b'x'; 1000], b"", b""])
        .await
        .unwrap();
    assert_eq!(http1.read_head(&Method::POST).await.unwrap().status, 413);
    assert_eq!(read_body(&mut http1).await.unwrap(), b"no");
    assert!(
        http1.into_idle().is_none(),
        "the server would take the next request for the rest"
    );
}

#[tokio::test]
async fn an_early_answer_may_come_in_pieces() {
    let (client, mut server) = duplex(64);
    let mut http1 = Http1::new(Box::new(client));
    let answering = tokio::spawn(async move {
        for byte in b"HTTP/1.1 429 Slow Down\r\ncontent-length: 2\r\n\r\nno" {
            server.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        server
    });
    http1
        .send(b"POST / HTTP/1.1\r\n\r\n", [&[b'x'; 1000], b"", b""])
        .await
        .unwrap();
    assert_eq!(http1.read_head(&Method::POST).await.unwrap().status, 429);
    assert_eq!(read_body(&mut http1).await.unwrap(), b"no");
    drop(answering.await);
}

#[tokio::test]
async fn an_interim_answer_does_not_end_the_sending() {
    let (client, mut server) = duplex(64);
    let mut http1 = Http1::new(Box::new(client));
    let reading = tokio::spawn(async move {
        server.write_all(b"HTTP/1.1 103 Early Hi").await.unwrap();
        tokio::task::yield_now().await;
        server.write_all(b"nts\r\n\r\n").await.unwrap();
        let (received, mut server) = read_slowly(server, 1000).await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        server.write_all(answer).await.unwrap();
        (received, server)
    });
    http1
        .send(&[b'h'; 100], [&[b'a'; 450], b"m", &[b'z'; 449]])
        .await
        .unwrap();
    assert_eq!(http1.read_head(&Method::POST).await.unwrap().status, 200);
    assert_eq!(read_body(&mut http1).await.unwrap(), b"ok");
    assert!(http1.into_idle().is_some(), "all was sent");
    let (received, _server) = reading.await.unwrap();
    let sent = [&[b'h'; 100][..], &[b'a'; 450], b"m", &[b'z'; 449]].concat();
    assert_eq!(received, sent);
}

#[tokio::test]
async fn nonsense_while_sending_is_malformed() {
    for nonsense in [
        "HELLO\r\n\r\n".to_owned(),
        "HTTP/1.1 103 Hints\r\n\r\n".repeat(MAX_INTERIM + 1),
    ] {
        let (client, mut server) = duplex(1024);
        let mut http1 = Http1::new(Box::new(client));
        server.write_all(nonsense.as_bytes()).await.unwrap();
        let sent = http1
            .send(b"POST / HTTP/1.1\r\n\r\n", [&[b'x'; 4000], b"", b""])
            .await;
        assert_eq!(sent, Err(ExchangeFault::Malformed));
    }
}

#[tokio::test]
async fn a_connection_that_was_dead_says_nothing() {
    for body in [&b""[..], &[b'x'; 1000]] {
        let (client, server) = duplex(64);
        drop(server);
        let mut http1 = Http1::new(Box::new(client));
        let sent = http1
            .send(b"POST / HTTP/1.1\r\n\r\n", [body, b"", b""])
            .await;
        let fault = match sent {
            Ok(()) => http1.read_head(&Method::POST).await.unwrap_err(),
            Err(fault) => fault,
        };
        assert!(
            matches!(fault, ExchangeFault::Closed | ExchangeFault::Reset),
            "{fault:?}"
        );
        assert!(!http1.received_anything());
    }
}

/// With TLS a server that closes without a `close_notify` is an error of the connection.
#[tokio::test]
async fn an_unannounced_end_is_an_end_before_the_answer_and_a_cut_within_it() {
    for (wire, expected) in [
        ("", ExchangeFault::Closed),
        ("HTTP/1.1 200", ExchangeFault::Truncated),
        ("HTTP/1.1 200 OK\r\n\r\nhello", ExchangeFault::Truncated),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello",
            ExchangeFault::Truncated,
        ),
    ] {
        let (client, mut server) = duplex(ROOM);
        server.write_all(wire.as_bytes()).await.unwrap();
        AsyncWriteExt::shutdown(&mut server).await.unwrap();
        let mut http1 = Http1::new(Box::new(Unannounced(client)));
        let answered = async {
            http1.send(b"GET / HTTP/1.1\r\n\r\n", [b""; 3]).await?;
            http1.read_head(&Method::GET).await?;
            read_body(&mut http1).await
        };
        assert_eq!(answered.await, Err(expected), "{wire:?}");
    }
}

/// A connection whose end is an error, as rustls says it.
#[derive(Debug)]
struct Unannounced(DuplexStream);

impl AsyncRead for Unannounced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(context, buffer))?;
        Poll::Ready(match buffer.filled().len() == before {
            true => Err(io::ErrorKind::UnexpectedEof.into()),
            false => Ok(()),
        })
    }
}

impl AsyncWrite for Unannounced {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[async_trait]
impl Shutdown for Unannounced {
    async fn shutdown(&mut self) {}
}

impl UniqueID for Unannounced {
    fn id(&self) -> i32 {
        0
    }
}

impl GetTimingDigest for Unannounced {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Unannounced {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Unannounced {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl Ssl for Unannounced {}
impl Peek for Unannounced {}

/// What Pingora's own client makes of the same bytes.
async fn answer_by_pingora(wire: &[u8]) -> Option<(u16, Vec<u8>)> {
    let mut session = HttpSession::new(after(wire));
    let mut request = RequestHeader::build("GET", b"/", None).unwrap();
    request.insert_header("host", "a").unwrap();
    session.write_request_header(Box::new(request)).await.ok()?;
    loop {
        session.read_response().await.ok()?;
        if !session.resp_header().unwrap().status.is_informational() {
            break;
        }
    }
    let status = session.get_status().unwrap().as_u16();
    let mut body = Vec::new();
    while let Some(piece) = session.read_body_bytes().await.ok()? {
        body.extend_from_slice(&piece);
    }
    Some((status, body))
}
