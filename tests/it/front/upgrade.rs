//! WebSocket (RFC 6455) on an operation without policies: after the handshake the connection is the
//! client's and the upstream's.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Stage, raw};
use crate::support::{Client, Gateway, KEY, Reply, Setup, secret, within};

const PATH: &str = "/v1/realtime?model=gpt-4o-realtime";

const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\n\
     upgrade: websocket\r\nconnection: Upgrade\r\n\
     sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// How long the upstream thinks. Pingora 0.9.1 closes a connection whose upgrade is accepted before
/// it has told its own upstream half that the request has no body, a matter of microseconds.
const THOUGHT: Duration = Duration::from_millis(50);

fn handshake() -> Vec<u8> {
    let key = format!("authorization: Bearer {KEY}");
    let headers = [
        "host: gateway",
        &key,
        "connection: keep-alive, Upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-protocol: realtime",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    raw(&format!("GET {PATH} HTTP/1.1"), &headers, "")
}

fn realtime(setup: Setup) -> Setup {
    setup.operation("method: GET\npath: /v1/realtime\ndefault_endpoint: {production: openai}")
}

/// Both ends of a connection that is upgraded.
struct Tunnel {
    gateway: Gateway,
    client: TcpStream,
    upstream: TcpStream,
    /// The head of the request at the upstream, in lower case.
    request: String,
}

impl Tunnel {
    /// Up to where the upstream has to answer.
    async fn asked(limits: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let gateway = realtime(Setup::new())
            .limits(limits)
            .endpoint("openai", &url)
            .chain(&[("gpt-4o", "openai")], "")
            .start();
        let mut client = TcpStream::connect(gateway.addr()).await.unwrap();
        client.write_all(&handshake()).await.unwrap();
        let accepted = within("a connection", listener.accept()).await;
        let (mut upstream, _) = accepted.unwrap();
        let request = read_head(&mut upstream).await;
        tokio::time::sleep(THOUGHT).await;
        Self {
            gateway,
            client,
            upstream,
            request,
        }
    }

    /// Accepts the upgrade and sends `frame` along; gives the head that the client gets.
    async fn accept_with(&mut self, frame: &[u8]) -> String {
        let answer = [ACCEPTED.as_bytes(), frame].concat();
        self.upstream.write_all(&answer).await.unwrap();
        read_head(&mut self.client).await
    }
}

/// The head of a message, in lower case.
async fn read_head(tcp: &mut TcpStream) -> String {
    let mut head = Vec::new();
    within("a head", async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tcp.read_u8().await.unwrap());
        }
    })
    .await;
    String::from_utf8(head).unwrap().to_lowercase()
}

/// Sends a frame, and asserts that it arrives as it is.
async fn assert_passes(frame: &[u8], from: &mut TcpStream, to: &mut TcpStream) {
    let mut read = vec![0; frame.len()];
    let both = async { tokio::join!(from.write_all(frame), to.read_exact(&mut read)) };
    let (sent, received) = within("a frame to pass", both).await;
    sent.unwrap();
    received.unwrap();
    assert_eq!(read, frame);
}

async fn read_to_end(tcp: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset is an end, too.
    let _ = within("the other side's end", tcp.read_to_end(&mut rest)).await;
    rest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_passes_through() {
    let mut tunnel = Tunnel::asked("").await;
    let head = &tunnel.request;
    let line = "get /v1/realtime?model=gpt-4o-realtime http/1.1\r\n";
    assert!(head.starts_with(line), "{head}");
    for header in [
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-protocol: realtime",
        "sec-websocket-key: dghlihnhbxbszsbub25jzq==",
        &format!("authorization: bearer {}", secret("openai")),
    ] {
        let line = format!("\r\n{header}\r\n");
        assert!(head.contains(&line), "no {header} in {head}");
    }
    assert!(!head.contains(KEY), "{head}");

    let head = tunnel.accept_with(b"").await;
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    for header in [
        "upgrade: websocket",
        "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
    ] {
        let line = format!("\r\n{header}\r\n");
        assert!(head.contains(&line), "no {header} in {head}");
    }
    for frame in [&b"\x81\x05hello"[..], &vec![0x82; 300_000]] {
        assert_passes(frame, &mut tunnel.upstream, &mut tunnel.client).await;
        assert_passes(frame, &mut tunnel.client, &mut tunnel.upstream).await;
    }

    drop(tunnel.client);
    assert_eq!(read_to_end(&mut tunnel.upstream).await, b"");
    drop(tunnel.upstream);
    let log = tunnel.gateway.wait_log(1).await;
    assert_eq!(log[0]["status"], 101);
    assert_eq!(log[0]["path"], "/v1/realtime");
}

/// The limits on a body's time are for bodies; a conversation may pause.
#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_may_be_silent() {
    let limits = "request_head_timeout: 100ms\nrequest_body_timeout: 100ms\n\
                  request_body_total: 100ms\nkeepalive_timeout: 100ms";
    let mut tunnel = Tunnel::asked(limits).await;
    tunnel.accept_with(b"").await;
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_passes(b"\x81\x01?", &mut tunnel.client, &mut tunnel.upstream).await;
        assert_passes(b"\x81\x01!", &mut tunnel.upstream, &mut tunnel.client).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_comes_with_the_handshake_is_not_lost() {
    let mut tunnel = Tunnel::asked("").await;
    tunnel.accept_with(b"\x81\x01!").await;
    let mut frame = [0; 3];
    let read = tunnel.client.read_exact(&mut frame);
    within("the frame", read).await.unwrap();
    assert_eq!(&frame, b"\x81\x01!");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_closes_closes_the_client_s_side() {
    let mut tunnel = Tunnel::asked("").await;
    tunnel.accept_with(b"").await;
    tunnel.upstream.write_all(b"\x88\x00").await.unwrap();
    drop(tunnel.upstream);
    assert_eq!(read_to_end(&mut tunnel.client).await, b"\x88\x00");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_is_refused_is_an_ordinary_answer() {
    let stage = Stage::with(realtime).await;
    let refusal = Reply::json(426, &serde_json::json!({"no": true}));
    stage.upstream.on_path("/v1/realtime", refusal);
    let answer = Client::new(stage.gateway.addr())
        .send_raw(&handshake())
        .await;
    assert_eq!(answer.status, 426);
    assert_eq!(answer.json()["no"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_on_an_operation_with_a_policy_is_no_upgrade() {
    let stage = Stage::new().await;
    let request = super::raw_question(&["connection: upgrade", "upgrade: websocket"]);
    let answer = stage.client().send_raw(&request).await;
    assert_eq!(answer.status, 200);
    let received = stage.upstream.last_request();
    assert_eq!(received.header("upgrade"), None);
    assert_eq!(received.header("connection"), None);
}
