//! What reaches a server whose frames are written by hand: short bodies in one frame, and pings by a clock that
//! the test moves.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures_util::{FutureExt as _, future::join};
use pingora_core::connectors::ConnectorOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{advance, timeout};

use super::*;
use crate::gateway::connect::tests::to_listener;
use crate::gateway::connect::{Connection, HTTP2_PING, Link, Links};
use crate::policy::HttpVersion;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;

const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200` (RFC 7541, appendix A).
const OK: &[u8] = &[0x88];

/// How long a ping's answer may take: Pingora's.
const PATIENCE: Duration = Duration::from_secs(5);

/// What has not come by then does not come. More than any one step of the test's clock.
const UNHEARD: Duration = Duration::from_secs(60);

/// The smallest step of tokio's clock.
const TICK: Duration = Duration::from_millis(1);

fn links() -> Links {
    Links::new(ConnectorOptions::new(8), 8)
}

/// The way to an endpoint that speaks HTTP/2 in cleartext.
fn link(links: &Links, listener: &TcpListener) -> Arc<Link> {
    to_listener(links, listener, HttpVersion::Http2)
}

/// A connection's other end.
struct Server(TcpStream);

impl Server {
    /// A fresh connection, and its two ends.
    async fn connected(link: &Arc<Link>, listener: &TcpListener) -> (Self, Http2) {
        let (connected, accepted) = join(link.connect(false), listener.accept()).await;
        let Ok(Connection::Http2(stream)) = connected else {
            panic!("no stream of HTTP/2");
        };
        assert!(!stream.reused);
        let mut server = Self(accepted.unwrap().0);
        let mut preface = [0; 24];
        server.0.read_exact(&mut preface).await.unwrap();
        server.send(SETTINGS, 0, 0, &[]).await;
        (server, Http2::new(stream))
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u8, payload: &[u8]) {
        let length = u8::try_from(payload.len()).unwrap();
        let head = [0, 0, length, kind, flags, 0, 0, 0, stream];
        self.0.write_all(&[&head, payload].concat()).await.unwrap();
    }

    /// The payload of the next frame of this kind.
    async fn next(&mut self, kind: u8) -> Vec<u8> {
        let found = timeout(UNHEARD, self.find(kind)).await;
        found.unwrap_or_else(|_| panic!("no frame of kind {kind}"))
    }

    async fn find(&mut self, kind: u8) -> Vec<u8> {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.0.read_exact(&mut payload).await.unwrap();
            if head[3] == kind {
                return payload;
            }
        }
    }
}

#[test]
fn what_is_short_shares_a_frame() {
    let frames = |lengths: [usize; 3]| {
        let piece = |length| Bytes::from(vec![b'x'; length]);
        let mut pieces = VecDeque::from(lengths.map(piece));
        let taken = std::iter::from_fn(|| next_piece(&mut pieces));
        taken.map(|piece| piece.len()).collect::<Vec<_>>()
    };
    assert_eq!(frames([10, 5, 300]), [315]);
    assert_eq!(frames([10, 5, 3 * FRAME]), [FRAME, 2 * FRAME + 15]);
    assert_eq!(frames([2 * FRAME, 5, 30]), [2 * FRAME, 35]);
    assert_eq!(frames([FRAME - 1, 5, 30]), [FRAME, 34]);
    assert_eq!(frames([FRAME - 5, 5, 30]), [FRAME, 30]);
}

fn question() -> Box<RequestHeader> {
    let mut head = RequestHeader::build_no_case("GET", b"/", None).unwrap();
    head.insert_header("host", "a").unwrap();
    Box::new(head)
}

/// Time moves by the test's hand alone, for as long as what comes back lives; after ten seconds of
/// everybody's clock it runs to the next deadline.
fn stop_the_clock() -> mpsc::Sender<()> {
    let (held, let_go) = mpsc::channel::<()>();
    // While a blocking task is under way tokio doesn't move the clock by itself.
    tokio::task::spawn_blocking(move || let_go.recv_timeout(Duration::from_secs(10)));
    tokio::time::pause();
    held
}

#[tokio::test]
async fn a_server_that_answers_no_ping_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let links = links();
    let link = link(&links, &listener);
    let (mut server, mut http2) = Server::connected(&link, &listener).await;
    let answering = async {
        server.next(HEADERS).await;
        server.send(HEADERS, END_HEADERS, 1, OK).await;
    };
    let asking = http2.exchange(question(), [const { Bytes::new() }; 3]);
    let (answered, ()) = join(asking, answering).await;
    assert_eq!(answered.map_err(|_| "unanswered").unwrap().status, 200);

    let _held = stop_the_clock();
    for round in 0..3 {
        advance(HTTP2_PING + TICK).await;
        let ping = server.next(PING).await;
        server.send(PING, ACK, 0, &ping).await;
        server.send(DATA, 0, 1, &[round]).await;
        assert_eq!(http2.read().await, Ok(Some(vec![round].into())));
    }
    advance(HTTP2_PING + TICK).await;
    server.next(PING).await;
    advance(PATIENCE - TICK).await;
    assert!(http2.read().now_or_never().is_none(), "it has time left");
    advance(2 * TICK).await;
    assert_eq!(http2.read().await, Err(ExchangeFault::Truncated));
    drop(http2);
    Server::connected(&link, &listener).await;
}
