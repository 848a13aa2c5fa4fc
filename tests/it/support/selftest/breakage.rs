//! Everything that can go wrong on the wire.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use super::{CHAT, ask, h2_pair, pair, pairs};
use crate::support::{Client, Dead, Ending, NoAnswer, Reply, Step, Upstream, bodies};

/// The wire of the reply that the cuts are made in.
const WIRE: &str =
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";

fn whole() -> Reply {
    Reply::status(200).chunked(["abc", "de"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_at_every_byte() {
    let head = WIRE.find("\r\n\r\n").unwrap() + 4;
    for end in [Step::Close, Step::Reset] {
        for cut in 1..WIRE.len() {
            let (up, client) = pair().await;
            up.push(whole().cut_at(cut, end.clone()));
            let answer = client.get("/").try_send().await;
            assert_eq!(up.wait_ended(0).await.0, Ending::Cut);
            if end == Step::Reset && matches!(answer, Err(NoAnswer::Reset(_))) {
                continue; // a reset may overtake what was written before it
            }
            if cut < head {
                assert!(matches!(answer, Err(NoAnswer::Closed)), "{cut}: {answer:?}");
                continue;
            }
            let response = answer.unwrap();
            assert!(!response.complete && response.closed, "{cut}: {response:?}");
            assert_eq!(response.reset, end == Step::Reset, "{cut}");
            assert!("abcde".starts_with(response.text()), "{cut}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_at_every_byte_changes_nothing() {
    for (up, client) in pairs().await {
        for size in 1..WIRE.len() {
            up.push(whole().split_every(size));
            let response = client.get("/").await;
            assert_eq!((response.text(), response.complete), ("abcde", true));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_cut_at_every_byte() {
    for (up, client) in pairs().await {
        for cut in 0..=5 {
            up.push(whole().cut_body_at(cut, Step::Close));
            let response = client.get("/").await;
            assert_eq!(response.body, "abcde"[..cut]);
            assert!(!response.complete && response.closed, "{cut}: {response:?}");
            assert_eq!(up.wait_ended(up.count() - 1).await.0, Ending::Cut);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_length_that_is_a_lie() {
    let (up, client) = pair().await;
    up.push(Reply::status(200).body("abcde").cut_body_at(2, Step::Close));
    up.push(
        Reply::status(200)
            .header("content-length", "9")
            .body("ab")
            .then(Step::Close),
    );
    for length in ["5", "9"] {
        let response = client.get("/").await;
        assert_eq!(response.header("content-length"), Some(length));
        assert_eq!(response.body, "ab");
        assert!(!response.complete && response.closed && !response.reset);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_stalls_resets_or_turns_to_garbage() {
    let (up, client) = pair().await;
    let events = bodies::chat_events("m", &["Hel", "lo"]);
    up.push(
        Reply::sse(events[..2].to_vec())
            .then(Step::Gate("reset"))
            .then(Step::Reset),
    );
    let mut stream = client.open(CHAT, ask("m")).await;
    stream.next_event().await.unwrap();
    assert_eq!(
        stream.next_event().await.unwrap().content().as_deref(),
        Some("Hel")
    );
    up.open("reset");
    assert!(stream.next_event().await.is_none());
    let response = stream.rest().await;
    assert!(response.reset && !response.complete);

    up.push(Reply::sse(["data: 1\n\n"]).then(Step::Raw("XX\r\n".into())));
    let failed = tokio::spawn(async move { client.open(CHAT, ask("m")).await.rest().await }).await;
    let panic = failed.unwrap_err().into_panic();
    let message = super::message_of(&*panic);
    assert!(
        message.starts_with("a malformed answer: a bad chunk size"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delay_is_as_long_as_scripted() {
    for (up, client) in pairs().await {
        let delay = Duration::from_millis(80);
        up.always(
            Reply::chat_stream("m", &["a"])
                .before_write(1, Step::Wait(delay))
                .delayed(delay),
        );
        let started = Instant::now();
        let mut stream = client.open(CHAT, ask("m")).await;
        assert!(started.elapsed() >= delay);
        let first = stream.next_event().await.unwrap();
        let second = stream.next_event().await.unwrap();
        assert!(
            second.at - first.at >= delay / 2,
            "{:?}",
            second.at - first.at
        );
        assert!(up.last_request().at - started < delay);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_to_a_request_that_was_read() {
    let (up, client) = pair().await;
    up.push(Reply::close());
    up.push(Reply::reset());
    let closed = client.post(CHAT, ask("m")).try_send().await;
    assert!(matches!(closed, Err(NoAnswer::Closed)), "{closed:?}");
    let reset = client.post(CHAT, ask("m")).try_open().await;
    let Err(NoAnswer::Reset(error)) = reset else {
        panic!("no reset")
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(up.count(), 2);
    assert_eq!(up.ending(1).unwrap().0, Ending::Cut);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_before_anything_is_read() {
    for (up, client) in pairs().await {
        up.push(Reply::close_before_reading());
        up.push(Reply::reset_before_reading());
        up.push(Reply::status(200));
        for _ in 0..2 {
            client.get("/").try_send().await.unwrap_err();
        }
        assert_eq!((up.connections(), up.count()), (2, 0));
        assert_eq!(client.get("/").await.status, 200);
    }
    let (up, client) = pair().await;
    up.always(Reply::raw("220 smtp\r\n").on_connect());
    let mut connection = client.connect().await;
    assert_eq!(connection.read_to_end().await, "220 smtp\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reused_connection_dies_once() {
    for end in [Reply::close_if_reused(), Reply::reset_if_reused()] {
        let (up, client) = pair().await;
        up.push(end);
        up.always(Reply::status(200));
        assert_eq!(client.get("/").await.status, 200);
        client.get("/").try_send().await.unwrap_err();
        assert_eq!(client.get("/").await.status, 200);
        assert_eq!(client.get("/").await.status, 200, "once");
        assert_eq!((up.connections(), up.count()), (2, 4));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_is_noticed_at_once() {
    for leave in [
        crate::support::client::ResponseStream::hang_up,
        crate::support::client::ResponseStream::reset,
    ] {
        for (up, client) in pairs().await {
            up.always(Reply::chat_stream("m", &["a", "b"]).before_write(2, Step::Hang));
            let mut stream = client.open(CHAT, ask("m")).await;
            stream.next_event().await.unwrap();
            let left = Instant::now();
            leave(stream);
            let noticed = up.wait_cancelled(0).await;
            assert!(
                noticed - left < Duration::from_millis(100),
                "{:?}",
                noticed - left
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_before_the_head_or_in_its_request() {
    let (up, client) = pair().await;
    up.always(Reply::hang());
    let mut connection = client.connect().await;
    connection.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    up.wait_for_requests(1).await;
    connection.reset();
    up.wait_cancelled(0).await;

    let mut connection = client.connect().await;
    connection
        .write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
        .await;
    drop(connection);
    up.wait_cancelled(1).await;
    let cut = up.last_request();
    assert_eq!((&cut.body[..], cut.complete), (&b"abc"[..], false));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_that_was_answered_is_not_cancelled() {
    for (up, client) in pairs().await {
        up.always(Reply::chat("m", "x"));
        client.post(CHAT, ask("m")).await;
        drop(client);
        up.wait_open_connections(0).await;
        assert_eq!(up.wait_ended(0).await.0, Ending::Answered);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_addresses() {
    let refusing = Dead::refusing();
    for _ in 0..50 {
        let refused = Client::new(refusing.addr()).get("/").try_send().await;
        let Err(NoAnswer::Refused(error)) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
    assert_eq!(refusing.url(), format!("http://{}", refusing.addr()));

    let brief = Duration::from_millis(300);
    let black_hole = Dead::black_hole().await;
    let mut connection = Client::new(black_hole.addr()).connect().await;
    connection.write(b"GET / HTTP/1.1\r\n\r\n").await;
    tokio::time::timeout(brief, connection.try_response())
        .await
        .unwrap_err();

    let unconnectable = Dead::unconnectable().await;
    let client = Client::new(unconnectable.addr());
    tokio::time::timeout(brief, client.try_connect())
        .await
        .map(drop)
        .unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_goes_down_and_comes_back() {
    for (mut up, client) in [pair().await, h2_pair().await] {
        up.always(Reply::status(200));
        client.get("/").await;
        up.go_down().await;
        assert_eq!(up.open_connections(), 0);
        let refused = client.get("/").try_send().await;
        assert!(matches!(refused, Err(NoAnswer::Refused(_))), "{refused:?}");
        up.come_back();
        assert_eq!(client.get("/").await.status, 200);
        assert_eq!(up.count(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_upstream_answers_nobody() {
    let up = Upstream::start().await;
    up.always(Reply::hang());
    let client = Client::new(up.addr());
    let asked = tokio::spawn(client.get("/").try_send());
    up.wait_for_requests(1).await;
    drop(up);
    asked.await.unwrap().unwrap_err();
}
