//! A panic in one request: that request ends, and nothing else does.
//!
//! No input is known that panics, so the gateway is given something broken: a configuration that names a
//! pair which isn't there, as no loader would make it, or a client's connection that panics itself.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;
use standin::gateway::{Connections, Front, Proxy};
use standin::policy::PairId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{CHAT, MODEL, limited, question};
use crate::support::{Client, Gateway, KEY, Reply, Response, Upstream, within};

const FILES: &str = "/v1/files";
const BROKEN: &str = "broken-model";

/// A gateway with a model whose pair isn't there, and one that can be had.
async fn stage() -> (Upstream, Gateway) {
    let upstream = Upstream::start().await;
    upstream.always(Reply::chat(MODEL, "Hello"));
    let broken =
        format!("production:\n  target: {{model: {BROKEN}, endpoint: openai}}\n  fallbacks: []");
    let gateway = limited(&upstream, "").policy("broken", &broken).start();
    let mut snapshot = gateway.running.gateway.table().snapshot.clone();
    let mut policies = snapshot.policies.iter_mut();
    let broken = policies.find(|policy| &*policy.name == "broken").unwrap();
    broken.chains.production.as_mut().unwrap().target[0].pair = PairId(u32::MAX);
    gateway.running.gateway.install(snapshot).unwrap();
    (upstream, gateway)
}

fn h2c(gateway: &Gateway) -> Client {
    Client::h2c(gateway.running.addresses[1]).key(KEY)
}

fn code(answer: &Response) -> String {
    answer.json()["error"]["code"].as_str().unwrap().to_owned()
}

fn counted(gateway: &Gateway, outcome: &str) -> u64 {
    let running = &gateway.running;
    let text = running.gateway.metrics_text(&running.connections);
    let of = |line: &&str| {
        line.starts_with("standin_requests_total{") && line.contains(&format!("{outcome:?}"))
    };
    let number = |line: &str| line.rsplit(' ').next()?.parse::<u64>().ok();
    text.lines().filter(of).filter_map(number).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_panics_is_answered_and_nobody_else_notices() {
    let (upstream, gateway) = stage().await;
    for client in [gateway.client(), h2c(&gateway)] {
        assert_eq!(client.post(CHAT, question()).await.content(), "Hello");
        let asked = serde_json::json!({"model": BROKEN, "messages": []});
        let answer = client.post(CHAT, asked).await;
        assert_eq!(
            (answer.status, code(&answer)),
            (500, "internal_error".to_owned())
        );
        assert!(answer.header("x-request-id").is_some());
        assert_eq!(client.post(CHAT, question()).await.content(), "Hello");
    }
    let lines = gateway.wait_log(6).await;
    for line in [&lines[1], &lines[4]] {
        assert_eq!(
            (&line["error"], &line["status"]),
            (&"internal_error".into(), &500.into())
        );
        assert_eq!(
            (&line["model"], &line["policy"]),
            (&BROKEN.into(), &"broken".into())
        );
    }
    assert_eq!(
        (
            counted(&gateway, "internal_error"),
            counted(&gateway, "success")
        ),
        (2, 4)
    );
    assert_eq!(upstream.count(), 4);
    assert_eq!(gateway.running.gateway.held_bytes().current(), 0);
}

/// A gateway with an endpoint that has one place, whose pair is about to be probed.
struct Probed {
    upstream: Upstream,
    gateway: Gateway,
    connections: Connections,
}

impl Probed {
    async fn new() -> Self {
        let upstream = Upstream::start().await;
        upstream.push(Reply::status(500));
        upstream.push(Reply::chat(MODEL, "Nobody hears this").held("answer"));
        upstream.always(Reply::chat(MODEL, "Hello"));
        let gateway = crate::support::Setup::new()
            .endpoint_with(
                "openai",
                &upstream.url(),
                "max_concurrent: 1\nqueue_timeout: 0ms",
            )
            .chain(&[(MODEL, "openai")], "suspend_duration: 1ms")
            .operation("method: POST\npath: /v1/files\ndefault_endpoint: {production: openai}")
            .start();
        let failed = gateway.client().post(CHAT, question()).await;
        assert_eq!(code(&failed), "all_targets_failed");
        Self {
            upstream,
            gateway,
            connections: Connections::default(),
        }
    }

    /// A request over a connection that is the test's own: its other end, what springs its trap, and what
    /// serves it.
    async fn ask(&self, path: &str) -> (DuplexStream, Arc<AtomicU8>, JoinHandle<()>) {
        let gateway = self.gateway.running.gateway.clone();
        let conf = Arc::new(ServerConf::default());
        let proxy = Arc::new(HttpProxy::new(Proxy(gateway.clone()), conf));
        let front = Front::new(proxy, gateway, self.connections.clone());
        let (mut client, stream) = tokio::io::duplex(64 << 10);
        let trap = Arc::new(AtomicU8::new(0));
        let stream = Box::new(Trapped {
            stream,
            panics: trap.clone(),
        });
        let serving = tokio::spawn(async move {
            let (_running, shutdown) = watch::channel(false);
            let (entered, deadline) = (front.enter().unwrap(), front.deadline());
            front
                .serve(entered, stream, false, deadline, &shutdown)
                .await;
        });
        let body = question().to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        client.write_all((head + &body).as_bytes()).await.unwrap();
        self.upstream.wait_gate("answer").await;
        assert_eq!(self.connections.open(), 1);
        let held = self.gateway.running.gateway.held_bytes().current();
        assert_eq!(held, if path == CHAT { body.len() } else { 0 });
        assert_eq!(self.in_flight(), 1);
        (client, trap, serving)
    }

    fn in_flight(&self) -> usize {
        self.gateway.running.gateway.table().rooms()[0].in_flight
    }

    /// What the request held is given back, the request accounted for with this status, and others served.
    async fn assert_unharmed(&self, status: Option<u16>) {
        self.upstream.wait_cancelled(1).await;
        let line = &self.gateway.wait_log(2).await[1];
        assert_eq!(
            (&line["error"], &line["status"]),
            (&"internal_error".into(), &status.into())
        );
        assert_eq!(line["attempts"][0]["outcome"], "internal_error", "{line}");
        assert_eq!(counted(&self.gateway, "internal_error"), 1);
        assert_eq!((self.connections.open(), self.in_flight()), (0, 0));
        assert_eq!(self.gateway.running.gateway.held_bytes().current(), 0);
        // The probe has decided nothing, and is the next one's.
        let suspended = || {
            let suspensions = self.gateway.running.gateway.suspensions();
            suspensions.list(std::time::Instant::now()).len()
        };
        assert_eq!(suspended(), 1);
        let answer = self.gateway.client().post(CHAT, question()).await;
        assert_eq!((answer.content(), suspended()), ("Hello".to_owned(), 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_request_holds_that_panics_is_given_back() {
    let probed = Probed::new().await;
    let (mut client, trap, serving) = probed.ask(CHAT).await;
    trap.store(1, Ordering::Relaxed);
    client.write_all(b"!").await.unwrap();
    let mut answer = String::new();
    within("an answer", client.read_to_string(&mut answer))
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(answer.contains(r#""code":"internal_error""#), "{answer}");
    within("the connection's end", serving).await.unwrap();
    probed.assert_unharmed(Some(500)).await;
}

/// On Pingora's own way, and where the answer to the first panic panics.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_that_nobody_catches_is_accounted_for() {
    for path in [CHAT, FILES] {
        let probed = Probed::new().await;
        let (mut client, trap, serving) = probed.ask(path).await;
        trap.store(u8::MAX, Ordering::Relaxed);
        client.write_all(b"!").await.unwrap();
        let ended = within("the connection's end", serving).await;
        assert!(
            ended.is_err_and(|error| error.is_panic()),
            "it was answered"
        );
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert!(answer.is_empty());
        probed.assert_unharmed(None).await;
    }
}

/// A connection that panics so many times when it is read or written.
struct Trapped {
    stream: DuplexStream,
    panics: Arc<AtomicU8>,
}

impl Trapped {
    fn step(&mut self) -> Pin<&mut DuplexStream> {
        let left = |panics: u8| panics.checked_sub(1);
        let sprung = self
            .panics
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
        assert!(sprung.is_err(), "the trap is sprung");
        Pin::new(&mut self.stream)
    }
}

impl AsyncRead for Trapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.step().poll_read(context, buffer)
    }
}

impl AsyncWrite for Trapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.step().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl fmt::Debug for Trapped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Trapped")
    }
}

#[async_trait::async_trait]
impl Shutdown for Trapped {
    async fn shutdown(&mut self) {
        let _ = AsyncWriteExt::shutdown(&mut self.stream).await;
    }
}

impl Peek for Trapped {}

impl Ssl for Trapped {}

impl UniqueID for Trapped {
    fn id(&self) -> UniqueIDType {
        0
    }
}

impl GetTimingDigest for Trapped {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Trapped {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Trapped {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}
