//! A client's connection: the heads of its HTTP/1.1 requests, read in time and strictly before
//! anybody acts on them.
//!
//! Pingora reads heads itself, but has no deadline for a slow one, mends what is ambiguous where a
//! proxy at an edge should refuse it, and answers neither in the shape that this API's clients
//! read. So a head is read here and checked. A request of an operation with policies is then served
//! without Pingora ([`direct`]); any other's head is handed to Pingora's session as bytes that it
//! need not wait for. HTTP/2 goes to Pingora as it is.
//!
//! ```text
//! enter ── past `connections`? closed
//! serve
//!    ├─ ALPN h2, or its preface on an h2c listener ──> http2, Pingora
//!    └─ HTTP/1.1: first byte ── head ── checked ── direct, or Pingora ── answer ─┐
//!            ▲  keepalive_timeout │ request_head_timeout -> 408       │
//!            └────────────────────┴───────────────────────────────────┘
//! ```
//!
//! What is refused with 400 and a closed connection, because two readers of it may see two
//! different requests: see [`framing`].

mod direct;
mod framing;
mod http2;
mod strict_chunks;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::Method;
use pingora_core::apps::{HttpServerApp, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::{ALPN, Stream};
use pingora_core::server::ShutdownWatch;
use pingora_http::RequestHeader;
use pingora_proxy::HttpProxy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use self::framing::{MAX_HEAD, Refusal};
pub use self::http2::HTTP2_STREAMS;
use self::http2::Http2;
pub(super) use self::strict_chunks::MalformedChunks;
use self::strict_chunks::StrictChunks;
use super::client::peer;
use super::proxy::Proxy;
use super::reading::read_some;
use super::shared::Gateway;
use super::table::Table;
use super::timer::Timer;
use crate::telemetry::{RequestPath, RequestRecord};

/// The first bytes of an HTTP/2 connection (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Read at once while a head is awaited: it and most bodies that come with it are shorter.
const HEAD_READ: usize = 8 << 10;

/// The client connections of all listeners.
#[derive(Clone)]
pub struct Connections(Arc<Counted>);

impl Default for Connections {
    fn default() -> Self {
        Self(Arc::new(Counted {
            open: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            closed: Notify::new(),
            close_idle: watch::Sender::new(false),
        }))
    }
}

struct Counted {
    open: AtomicUsize,
    refused: AtomicU64,
    closed: Notify,
    /// Whether those that wait for a request are to be closed.
    close_idle: watch::Sender<bool>,
}

impl Connections {
    /// How many are open now.
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Acquire)
    }

    /// How many were closed at once because there were too many, since the start.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Waits until none is open.
    pub async fn all_closed(&self) {
        loop {
            let closed = self.0.closed.notified();
            if self.open() == 0 {
                return;
            }
            closed.await;
        }
    }

    /// Closes those that wait for a request, now and from now on.
    pub fn close_idle(&self) {
        self.0.close_idle.send_replace(true);
    }

    /// Tells when those that wait for a request are to be closed.
    fn idle_closing(&self) -> IdleClosing {
        IdleClosing(self.0.close_idle.subscribe())
    }

    fn enter(&self) -> Entered {
        let before = self.0.open.fetch_add(1, Ordering::AcqRel);
        Entered {
            connections: self.clone(),
            number: before + 1,
        }
    }
}

/// Waits for the end of those connections that wait for a request.
struct IdleClosing(watch::Receiver<bool>);

impl IdleClosing {
    async fn wait(&mut self) {
        // No sender is left only where nobody is left to serve.
        let _ = self.0.wait_for(|close| *close).await;
    }
}

/// An open connection, for as long as this is kept.
pub struct Entered {
    connections: Connections,
    /// How many there were with this one.
    number: usize,
}

impl Drop for Entered {
    fn drop(&mut self) {
        if self.connections.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.connections.0.closed.notify_waiters();
        }
    }
}

/// The application behind the listeners.
pub struct Front {
    proxy: Arc<HttpProxy<Proxy>>,
    gateway: Arc<Gateway>,
    connections: Connections,
}

impl Front {
    /// Serves what comes in: operations without policies, and HTTP/2, by `proxy`.
    pub const fn new(
        proxy: Arc<HttpProxy<Proxy>>,
        gateway: Arc<Gateway>,
        connections: Connections,
    ) -> Self {
        Self {
            proxy,
            gateway,
            connections,
        }
    }

    /// Lets a connection in, unless as many are open as `limits.connections` allows.
    pub fn enter(&self) -> Option<Entered> {
        let entered = self.connections.enter();
        let most = self.gateway.table().snapshot.limits.connections;
        if entered.number <= most {
            return Some(entered);
        }
        self.connections.0.refused.fetch_add(1, Ordering::Relaxed);
        log::warn!(
            "a connection was refused: {most} are open, as many as limits.connections allows. Raise it, or add an instance"
        );
        None
    }

    /// When a connection that comes now must have said what it wants.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.gateway.table().snapshot.limits.request_head_timeout
    }

    /// Serves a connection to its end; what it wants must have come by `deadline`. With `h2c` also HTTP/2
    /// without TLS is welcome.
    pub async fn serve(
        &self,
        entered: Entered,
        mut stream: Stream,
        h2c: bool,
        deadline: Instant,
        shutdown: &ShutdownWatch,
    ) {
        let http2 = match stream.selected_alpn_proto() {
            Some(ALPN::H2) => Ok(true),
            None if h2c => {
                let begins = begins_http2(&mut stream, deadline, &self.connections);
                Box::pin(begins).await
            }
            _ => Ok(false),
        };
        match http2 {
            Ok(true) => {
                let limits = self.gateway.table().snapshot.limits;
                let (proxy, shutdown) = (self.proxy.clone(), shutdown.clone());
                let http2 = Http2::serve(entered, proxy, stream, &limits, deadline, shutdown);
                Box::pin(http2).await;
            }
            Ok(false) => self.serve_http1(stream, deadline, shutdown).await,
            Err(unread) => Box::pin(self.give_up(stream, unread)).await,
        }
    }

    /// No connection comes any more, and those that stand are to come to their end.
    pub async fn cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}

/// Whether an HTTP/2 client begins to speak; nothing is taken from the connection.
///
/// Its first three bytes tell it from every method of HTTP/1.1, whose requests may be shorter than
/// the whole preface: that is waited for only where they are `PRI`.
async fn begins_http2(
    stream: &mut Stream,
    deadline: Instant,
    connections: &Connections,
) -> Result<bool, Unread> {
    let mut first = [0; HTTP2_PREFACE.len()];
    let mut closing = connections.idle_closing();
    for length in [1, 2, 3, HTTP2_PREFACE.len()] {
        let first = &mut first[..length];
        let peeked = tokio::select! {
            biased;
            peeked = timeout_at(deadline, stream.try_peek(first)) => peeked,
            () = closing.wait(), if length == 1 => return Err(Unread::Gone),
        };
        match peeked {
            Ok(Ok(true)) if HTTP2_PREFACE.starts_with(first) => {}
            Ok(Ok(_)) => return Ok(false),
            Err(_) if length > 1 => return Err(Unread::TooSlow),
            Ok(Err(_)) | Err(_) => return Err(Unread::Gone),
        }
    }
    Ok(true)
}

impl Front {
    /// Serves one request after the other, the first byte of the first one by `deadline`.
    async fn serve_http1(
        &self,
        mut stream: Stream,
        mut deadline: Instant,
        shutdown: &ShutdownWatch,
    ) {
        let mut closing = self.connections.idle_closing();
        // Once for all requests: whoever begins to wait has to be put on a list.
        let mut closing = pin!(closing.wait());
        let mut timer = Timer::default();
        let mut head_timeout = None;
        // Made before a request comes, which needn't wait for it then.
        let mut id = self.gateway.next_request_id();
        for served in 1.. {
            let head = read_head(
                &mut stream,
                &mut timer,
                deadline,
                head_timeout,
                closing.as_mut(),
            );
            let head = head.await;
            let table = self.gateway.table();
            let taken = head.and_then(|(text, rest)| {
                let request = ours(&table, &text).map_err(Unread::Refused)?;
                Ok((text, rest, request))
            });
            let (text, rest, request) = match taken {
                Ok(taken) => taken,
                Err(unread) => return Box::pin(self.give_up(stream, unread)).await,
            };
            let limits = table.snapshot.limits;
            let last = served >= limits.requests_per_connection;
            let idle = match request {
                Some(request) => {
                    let (gateway, line) = (&self.gateway, (stream, timer));
                    let id = std::mem::take(&mut id);
                    direct::serve_request(gateway, table, id, line, request, rest, last).await
                }
                None => Box::pin(self.proxied(stream, &text, rest, last, shutdown))
                    .await
                    .map(|stream| (stream, timer)),
            };
            let Some(idle) = idle else {
                return;
            };
            (stream, timer) = idle;
            if id.is_empty() {
                id = self.gateway.next_request_id();
            }
            head_timeout = Some(limits.request_head_timeout);
            deadline = Instant::now() + limits.keepalive_timeout;
        }
    }

    /// Serves a request of which the head and perhaps more has come by Pingora; the `last` one of its
    /// connection.
    async fn proxied(
        &self,
        stream: Stream,
        head: &[u8],
        rest: BytesMut,
        last: bool,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let chunked = framing::is_chunked(head);
        let mut read = BytesMut::from(head);
        let stream: Stream = if chunked {
            Box::new(StrictChunks::new(stream, rest))
        } else {
            read.extend_from_slice(&rest);
            stream
        };
        let mut session = ServerSession::new_http1(stream);
        session.set_pipelined_prefix(read);
        session.set_keepalive_reuses_remaining(last.then_some(0));
        let served = self.proxy.process_new_http(session, shutdown).await;
        let (idle, _) = served.map(ReusedHttpStream::consume)?;
        if chunked {
            StrictChunks::unwrap(idle)
        } else {
            Some(idle)
        }
    }

    /// Closes a connection that brings no request; where there was part of one it is told why, and
    /// accounted for like any other.
    async fn give_up(&self, mut stream: Stream, unread: Unread) {
        let refusal = match unread {
            Unread::Gone => return,
            Unread::TooSlow => {
                let limits = self.gateway.table().snapshot.limits;
                Refusal::too_slow(limits.request_head_timeout)
            }
            Unread::Refused(refusal) => refusal,
        };
        // Neither was read, or neither can be trusted.
        let method = Method::from_bytes(b"-").unwrap_or_default();
        let path = RequestPath::Unknown("-".into());
        let id = self.gateway.next_request_id();
        let mut record = RequestRecord::new(id, SystemTime::now(), method, path);
        record.client = peer(&stream);
        record.status = Some(refusal.status.as_u16());
        record.error = Some(refusal.code);
        record.bytes_out = refuse(&mut stream, &refusal, &record.request_id).await;
        let ended = Instant::now().into_std();
        self.gateway.account(&self.gateway.table(), ended, record);
    }
}

/// The request of a head, if it is one to be served without Pingora.
fn ours(table: &Table, head: &Bytes) -> Result<Option<Box<RequestHeader>>, Refusal> {
    let mut fields = framing::fields();
    let read = framing::read(head, &mut fields)?;
    Ok(direct::take_request(table, head, &read))
}

/// Reads up to the end of a request's head, and whatever of its body comes along, and gives both. Its
/// first byte must come by `deadline`, and its end, too; where there is a `timeout`, its end within
/// that after its first byte.
async fn read_head(
    stream: &mut Stream,
    timer: &mut Timer,
    mut deadline: Instant,
    mut timeout: Option<Duration>,
    closing: impl Future<Output = ()>,
) -> Result<(Bytes, BytesMut), Unread> {
    let mut head = BytesMut::new();
    let first = tokio::select! {
        biased;
        read = read_some::<HEAD_READ>(stream, &mut head) => read,
        () = timer.until(deadline) => return Err(Unread::Gone),
        () = closing => return Err(Unread::Gone),
    };
    if !matches!(first, Ok(1..)) {
        return Err(Unread::Gone);
    }
    let mut searched = 0;
    loop {
        if let Some(end) = head_end(&head, searched) {
            let text = head.split_to(end).freeze();
            return Ok((text, head));
        }
        if head.len() > MAX_HEAD {
            return Err(Unread::Refused(Refusal::too_large()));
        }
        if let Some(timeout) = timeout.take() {
            deadline = Instant::now() + timeout;
        }
        searched = head.len();
        let more = tokio::select! {
            biased;
            read = read_some::<HEAD_READ>(stream, &mut head) => read,
            () = timer.until(deadline) => return Err(Unread::TooSlow),
        };
        if !matches!(more, Ok(1..)) {
            return Err(Unread::Gone);
        }
    }
}

/// Why there is no request to serve.
enum Unread {
    /// Nobody is there, or nobody will be served any more.
    Gone,
    /// The deadline passed within a head.
    TooSlow,
    Refused(Refusal),
}

/// Sends a refusal and closes the connection; gives the length of the body.
async fn refuse(stream: &mut Stream, refusal: &Refusal, request_id: &str) -> u64 {
    let body = serde_json::json!({"error": {
        "message": refusal.message,
        "type": "invalid_request_error",
        "param": null,
        "code": refusal.code,
    }})
    .to_string();
    let answer = format!(
        "HTTP/1.1 {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nx-request-id: {request_id}\r\nconnection: close\r\n{}\r\n{body}",
        refusal.status,
        body.len(),
        refusal.header,
    );
    let told = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await?;
        AsyncWriteExt::shutdown(stream).await?;
        // What is still on its way would make the kernel reset the connection, and the answer lost.
        let mut rest = [0; 4096];
        while stream.read(&mut rest).await? > 0 {}
        std::io::Result::Ok(())
    };
    // Nobody has to take it.
    let _ = tokio::time::timeout(Duration::from_secs(1), told).await;
    body.len() as u64
}

/// Where the head ends, its last line end included; `searched` bytes were looked at before.
fn head_end(head: &[u8], searched: usize) -> Option<usize> {
    // The end is up to four bytes long and may have begun in the part that was looked at.
    let mut at = searched.saturating_sub(3);
    loop {
        at += memchr::memchr(b'\n', &head[at..])? + 1;
        match &head[at..] {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_however_it_arrives() {
        let whole = b"GET / HTTP/1.1\r\nhost: a\r\n\r\nrest";
        let end = whole.len() - 4;
        for cut in 1..whole.len() {
            let expected = (cut >= end).then_some(end);
            for searched in 0..=cut.min(end - 1) {
                assert_eq!(
                    head_end(&whole[..cut], searched),
                    expected,
                    "{searched} of {cut}"
                );
            }
        }
        assert_eq!(head_end(b"GET / HTTP/1.1\n\nx", 0), Some(16));
    }
}
