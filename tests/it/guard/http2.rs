//! Floods over HTTP/2, their frames written by hand: whatever one connection sends, what it costs is
//! bounded, and everybody else is served.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{CHAT, MODEL, limited, question, streaming_question};
use crate::support::{Client, Gateway, KEY, Reply, Step, Upstream, within};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// More frames than any honest client sends of what is no request.
const FLOOD: usize = 200_000;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header field in HPACK, as a literal that nobody remembers (RFC 7541, section 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    literal(0, name, value)
}

/// The same, and with 0x40 one that is remembered (section 6.2.1).
fn literal(kind: u8, name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![kind];
    for text in [name, value] {
        field.extend(integer(text.len()));
        field.extend(text.as_bytes());
    }
    field
}

/// A length with a prefix of seven bits (section 5.1).
fn integer(value: usize) -> Vec<u8> {
    let Some(mut rest) = value.checked_sub(127) else {
        return vec![u8::try_from(value).unwrap()];
    };
    let mut bytes = vec![127];
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

/// The head of a question.
fn head() -> Vec<u8> {
    [
        field(":method", "POST"),
        field(":scheme", "http"),
        field(":authority", "gateway"),
        field(":path", CHAT),
        field("content-type", "application/json"),
        field("authorization", &format!("Bearer {KEY}")),
    ]
    .concat()
}

struct Stage {
    upstream: Upstream,
    gateway: Gateway,
}

impl Stage {
    async fn new(limits: &str) -> Self {
        let upstream = Upstream::start().await;
        upstream.always(Reply::chat(MODEL, "Hello"));
        let gateway = limited(&upstream, limits).start();
        Self { upstream, gateway }
    }

    /// A connection that has said hello.
    async fn connect(&self) -> Raw {
        self.connect_with(&[]).await
    }

    async fn connect_with(&self, settings: &[u8]) -> Raw {
        let stream = TcpStream::connect(self.gateway.running.addresses[1]).await;
        let mut raw = Raw(stream.unwrap());
        let hello = frame(SETTINGS, 0, 0, settings);
        raw.write(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &*hello].concat())
            .await
            .unwrap();
        raw
    }

    /// Others are served as if nothing had been, and nothing of the flood is left.
    async fn assert_unharmed(&self) {
        let h2c = Client::h2c(self.gateway.running.addresses[1]).key(KEY);
        for client in [self.gateway.client(), h2c] {
            assert_eq!(client.post(CHAT, question()).await.content(), "Hello");
        }
        let held = self.gateway.running.gateway.held_bytes();
        crate::support::until("no held bytes", || held.current() == 0).await;
    }

    async fn wait_no_connections(&self) {
        let connections = &self.gateway.running.connections;
        crate::support::until("no open connections", || connections.open() == 0).await;
    }
}

/// A connection whose frames are written by hand.
struct Raw(TcpStream);

impl Raw {
    async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes).await
    }

    /// Writes `frames` over and over, `count` times at most, until the gateway cuts the connection or
    /// takes no more; how often it could.
    async fn flood(&mut self, count: usize, mut frames: impl FnMut(usize) -> Vec<u8>) -> usize {
        for turn in 0..count {
            let bytes = frames(turn);
            let written = self.0.write_all(&bytes);
            match tokio::time::timeout(Duration::from_secs(1), written).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return turn,
            }
        }
        count
    }

    /// The next frame: its kind, its stream, and its payload; `None` at the connection's end.
    async fn frame(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.0.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some((head[3], stream, payload))
    }

    /// The first frame of this kind; `None` where the connection ends before.
    async fn next(&mut self, kind: u8) -> Option<Vec<u8>> {
        within(format!("a frame of kind {kind}"), async {
            loop {
                let (told, _, payload) = self.frame().await?;
                if told == kind {
                    return Some(payload);
                }
            }
        })
        .await
    }

    /// Until the gateway has ended the connection; the reason in its GOAWAY, where it could be read.
    async fn ended(&mut self) -> Option<u32> {
        let reason = self.next(GOAWAY).await?;
        let rest = async { while self.frame().await.is_some() {} };
        within("the connection's end", rest).await;
        Some(u32::from_be_bytes(reason[4..8].try_into().unwrap()))
    }
}

const ENHANCE_YOUR_CALM: u32 = 11;

/// Which stream the nth request of a client has.
fn stream(turn: usize) -> u32 {
    u32::try_from(2 * turn + 1).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_resets_end_the_connection() {
    let stage = Stage::new("").await;
    stage
        .upstream
        .always(Reply::chat(MODEL, "Hello").held("flood"));
    let mut raw = stage.connect().await;
    let body = question().to_string();
    let begun = raw
        .flood(FLOOD, |turn| {
            let id = stream(turn);
            [
                frame(HEADERS, END_HEADERS, id, &head()),
                frame(DATA, END_STREAM, id, body.as_bytes()),
                frame(RST_STREAM, 0, id, &8u32.to_be_bytes()),
            ]
            .concat()
        })
        .await;
    assert!(begun < FLOOD, "all {FLOOD} were taken");
    drop(raw);
    stage.wait_no_connections().await;
    let asked = stage.upstream.count();
    assert!(asked <= 512, "{asked} requests went upstream");
    stage.upstream.open("flood");
    stage.upstream.always(Reply::chat(MODEL, "Hello"));
    stage.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_so_many_streams_and_no_more() {
    let stage = Stage::new("").await;
    stage
        .upstream
        .always(Reply::chat(MODEL, "Hello").held("all"));
    let mut raw = stage.connect().await;
    let told = raw.next(SETTINGS).await.unwrap();
    let streams = told
        .chunks(6)
        .find(|setting| setting[..2] == [0, 3])
        .map(|setting| u32::from_be_bytes(setting[2..].try_into().unwrap()));
    assert_eq!(streams, Some(256), "SETTINGS_MAX_CONCURRENT_STREAMS");
    let body = question().to_string();
    for turn in 0..300 {
        let id = stream(turn);
        let request = [
            frame(HEADERS, END_HEADERS, id, &head()),
            frame(DATA, END_STREAM, id, body.as_bytes()),
        ];
        raw.write(&request.concat()).await.unwrap();
    }
    let refused = raw.next(RST_STREAM).await.unwrap();
    assert_eq!(refused, 7u32.to_be_bytes(), "REFUSED_STREAM");
    stage.upstream.wait_for_requests(256).await;
    stage.upstream.open("all");
    assert_eq!(stage.upstream.count(), 256);
    drop(raw);
    stage.upstream.always(Reply::chat(MODEL, "Hello"));
    stage.assert_unharmed().await;
}

/// A client that sends what must be answered, and reads no answer: the gateway keeps one for it, and reads
/// no more of it.
#[tokio::test(flavor = "multi_thread")]
async fn pings_and_settings_that_nobody_reads_the_answers_of_fill_no_memory() {
    let stage = Stage::new("request_head_timeout: 20s").await;
    for flood in [
        frame(PING, 0, 0, &[0; 8]),
        frame(SETTINGS, 0, 0, &[]),
        frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]),
    ] {
        let mut raw = stage.connect().await;
        let many = flood.repeat(1000);
        let written = raw.flood(FLOOD / 100, |_| many.clone()).await;
        assert!(written < FLOOD / 100, "{written} thousand were taken");
        stage.assert_unharmed().await;
        drop(raw);
        stage.wait_no_connections().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_without_end_ends_the_connection() {
    let stage = Stage::new("").await;
    for continued in [Vec::new(), field("x-more", &"x".repeat(1000))] {
        let mut raw = stage.connect().await;
        raw.write(&frame(HEADERS, END_STREAM, 1, &head()))
            .await
            .unwrap();
        let more = frame(CONTINUATION, 0, 1, &continued);
        let written = raw.flood(FLOOD, |_| more.clone()).await;
        // Taken by the kernel, too, before anybody has looked at them.
        assert!(written < FLOOD / 2, "{written} frames were taken");
        raw.ended().await;
        stage.wait_no_connections().await;
    }
    assert_eq!(stage.upstream.count(), 0);
    stage.assert_unharmed().await;
}

/// A large field that is remembered once and named often: a few KiB that would be megabytes.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_bomb_is_refused() {
    let stage = Stage::new("").await;
    let mut raw = stage.connect().await;
    let mut bomb = head();
    bomb.extend(literal(0x40, "x-bomb", &"x".repeat(4000)));
    // The youngest entry behind the 61 of the static table.
    bomb.extend([0x80 | 62].repeat(12_000));
    raw.write(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb))
        .await
        .unwrap();
    let (kind, _, _) = within("an answer", async {
        loop {
            match raw.frame().await {
                Some((SETTINGS | WINDOW_UPDATE, _, _)) => {}
                other => return other.unwrap_or((GOAWAY, 0, Vec::new())),
            }
        }
    })
    .await;
    // 431, or the stream's end, or the connection's.
    assert!([HEADERS, RST_STREAM, GOAWAY].contains(&kind), "{kind}");
    assert_eq!(stage.upstream.count(), 0);
    stage.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_data_without_end_ends_the_connection() {
    let stage = Stage::new("").await;
    let mut raw = stage.connect().await;
    raw.write(&frame(HEADERS, END_HEADERS, 1, &head()))
        .await
        .unwrap();
    let empty = frame(DATA, 0, 1, &[]);
    let written = raw.flood(FLOOD, |_| empty.clone()).await;
    assert!(written < FLOOD, "all {FLOOD} were taken");
    assert!([None, Some(ENHANCE_YOUR_CALM)].contains(&raw.ended().await));
    assert_eq!(stage.upstream.count(), 0);
    stage.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_never_opens_lets_the_upstream_go() {
    let stage = Stage::new("response_write_timeout: 300ms").await;
    let stream = Reply::chat_stream(MODEL, &["one", "two"]);
    stage
        .upstream
        .always(stream.before_write(3, Step::Gate("never")));
    // SETTINGS_INITIAL_WINDOW_SIZE 0: nothing may be sent to it.
    let mut raw = stage.connect_with(&[0, 4, 0, 0, 0, 0]).await;
    let body = streaming_question().to_string();
    let request = [
        frame(HEADERS, END_HEADERS, 1, &head()),
        frame(DATA, END_STREAM, 1, body.as_bytes()),
    ];
    raw.write(&request.concat()).await.unwrap();
    stage.upstream.wait_cancelled(0).await;
    let line = &stage.gateway.wait_log(1).await[0];
    assert_eq!(line["error"], "client_stalled", "{line}");
    raw.next(RST_STREAM).await.unwrap();
    stage.upstream.open("never");
    stage.upstream.always(Reply::chat(MODEL, "Hello"));
    stage.assert_unharmed().await;
}
