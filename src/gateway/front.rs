//! A client's connection: the heads of its HTTP/1.1 requests, read in time and strictly, before
//! Pingora sees them.
//!
//! Pingora reads heads itself, but has no deadline for a slow one, mends what is ambiguous where a
//! proxy at an edge should refuse it, and answers neither in the shape that this API's clients
//! read. So a head is read here, checked, and handed to Pingora's session as bytes that it need
//! not wait for. HTTP/2 goes to Pingora as it is.
//!
//! ```text
//! accept ── past `connections`? closed
//!    ├─ ALPN h2, or its preface on an h2c listener ──> Pingora
//!    └─ HTTP/1.1: first byte ── head ── checked ── Pingora ── answer ─┐
//!            ▲  keepalive_timeout │ request_head_timeout -> 408       │
//!            └────────────────────┴───────────────────────────────────┘
//! ```
//!
//! What is refused with 400 and a closed connection, because two readers of it may see two
//! different requests: see [`framing_problem`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use http::StatusCode;
use pingora_core::apps::{HttpServerApp, ServerApp};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::{ALPN, Stream};
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::proxy::Proxy;
use super::shared::Gateway;

/// The first bytes of an HTTP/2 connection (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A request's head is at most this long.
const MAX_HEAD: usize = 64 << 10;

/// A request has at most this many headers.
const MAX_HEADERS: usize = 128;

/// Read at once while a head is awaited.
const HEAD_READ: usize = 4 << 10;

/// The client connections of all listeners.
#[derive(Clone, Default)]
pub struct Connections(Arc<Counted>);

#[derive(Default)]
struct Counted {
    open: AtomicUsize,
    closed: Notify,
}

impl Connections {
    /// How many are open now.
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Acquire)
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

    fn enter(&self) -> Entered {
        let before = self.0.open.fetch_add(1, Ordering::AcqRel);
        Entered {
            connections: self.clone(),
            number: before + 1,
        }
    }
}

/// An open connection.
struct Entered {
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
    /// The ports on which HTTP/2 with prior knowledge is welcome.
    h2c_ports: Vec<u16>,
}

impl Front {
    /// Serves what comes in by `proxy`; where it comes by one of `h2c_ports` also HTTP/2 without TLS.
    pub const fn new(
        proxy: Arc<HttpProxy<Proxy>>,
        gateway: Arc<Gateway>,
        connections: Connections,
        h2c_ports: Vec<u16>,
    ) -> Self {
        Self {
            proxy,
            gateway,
            connections,
            h2c_ports,
        }
    }
}

#[async_trait]
impl ServerApp for Front {
    async fn process_new(
        self: &Arc<Self>,
        mut stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let entered = self.connections.enter();
        let limits = self.gateway.table().snapshot.limits;
        if entered.number > limits.connections {
            log::warn!(
                "a connection was refused: {} are open, as many as limits.connections allows",
                limits.connections
            );
            return None;
        }
        let deadline = Instant::now() + limits.request_head_timeout;
        let http2 = matches!(stream.selected_alpn_proto(), Some(ALPN::H2))
            || self.is_h2c(&stream) && has_http2_preface(&mut stream, deadline).await;
        if http2 {
            return self.proxy.process_new(stream, shutdown).await;
        }
        self.serve_http1(stream, shutdown).await;
        None
    }

    async fn cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}

/// Whether an HTTP/2 client begins to speak; nothing is taken from the connection.
async fn has_http2_preface(stream: &mut Stream, deadline: Instant) -> bool {
    let mut first = [0; HTTP2_PREFACE.len()];
    let peeked = timeout_at(deadline, stream.try_peek(&mut first)).await;
    matches!(peeked, Ok(Ok(true))) && first == HTTP2_PREFACE
}

impl Front {
    fn is_h2c(&self, stream: &Stream) -> bool {
        if self.h2c_ports.is_empty() || stream.get_ssl_digest().is_some() {
            return false;
        }
        let digest = stream.get_socket_digest();
        let port = digest.and_then(|digest| Some(digest.local_addr()?.as_inet()?.port()));
        port.is_some_and(|port| self.h2c_ports.contains(&port))
    }

    async fn serve_http1(&self, mut stream: Stream, shutdown: &ShutdownWatch) {
        let mut idle_since_begin = false;
        loop {
            let head = self
                .read_head(&mut stream, idle_since_begin, shutdown)
                .await;
            let head = match head {
                Ok(head) => head,
                Err(Unread::Gone) => return,
                Err(Unread::Refused(refusal)) => return refuse(&mut stream, &refusal).await,
            };
            let mut session = ServerSession::new_http1(stream);
            session.set_pipelined_prefix(head);
            let served = self.proxy.process_new_http(session, shutdown).await;
            let Some((reused, _)) = served.map(pingora_core::apps::ReusedHttpStream::consume)
            else {
                return;
            };
            stream = reused;
            idle_since_begin = true;
        }
    }

    /// Reads up to the end of a request's head, and whatever of its body comes along.
    async fn read_head(
        &self,
        stream: &mut Stream,
        reused: bool,
        shutdown: &ShutdownWatch,
    ) -> Result<BytesMut, Unread> {
        let limits = self.gateway.table().snapshot.limits;
        let mut head = BytesMut::with_capacity(HEAD_READ);
        let patience = if reused {
            limits.keepalive_timeout
        } else {
            limits.request_head_timeout
        };
        let mut deadline = Instant::now() + patience;
        let mut closing = shutdown.clone();
        let first = tokio::select! {
            biased;
            read = timeout_at(deadline, stream.read_buf(&mut head)) => read,
            _ = closing.wait_for(|closing| *closing) => return Err(Unread::Gone),
        };
        if !matches!(first, Ok(Ok(1..))) {
            return Err(Unread::Gone);
        }
        if reused {
            deadline = Instant::now() + limits.request_head_timeout;
        }
        let mut searched = 0;
        loop {
            if let Some(end) = head_end(&head, searched) {
                return match framing_problem(&head[..end]) {
                    None => Ok(head),
                    Some(problem) => Err(Unread::Refused(problem)),
                };
            }
            if head.len() > MAX_HEAD {
                return Err(Unread::Refused(Refusal::too_large()));
            }
            searched = head.len();
            head.reserve(HEAD_READ);
            match timeout_at(deadline, stream.read_buf(&mut head)).await {
                Ok(Ok(1..)) => {}
                Ok(_) => return Err(Unread::Gone),
                Err(_) => {
                    return Err(Unread::Refused(Refusal::too_slow(
                        limits.request_head_timeout,
                    )));
                }
            }
        }
    }
}

/// Why there is no request to serve.
enum Unread {
    /// Nobody is there, or nobody will be served any more.
    Gone,
    Refused(Refusal),
}

/// What a connection gets before it is closed.
struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn bad(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "invalid_request_framing",
            message: message.into(),
        }
    }

    fn too_large() -> Self {
        Self {
            status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            code: "request_head_too_large",
            message: format!(
                "The request's head is larger than {MAX_HEAD} bytes or has more than {MAX_HEADERS} headers. Send fewer and shorter headers."
            ),
        }
    }

    fn too_slow(limit: Duration) -> Self {
        Self {
            status: StatusCode::REQUEST_TIMEOUT,
            code: "request_timeout",
            message: format!("The request's head didn't arrive within {limit:?}. Send it again."),
        }
    }
}

async fn refuse(stream: &mut Stream, refusal: &Refusal) {
    let body = serde_json::json!({"error": {
        "message": refusal.message,
        "type": "invalid_request_error",
        "param": null,
        "code": refusal.code,
    }})
    .to_string();
    let answer = format!(
        "HTTP/1.1 {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        refusal.status,
        body.len(),
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

/// What makes a head ambiguous, or no head of HTTP/1.x at all:
///
/// - a line that ends without CR, a space before a colon, folded lines, control characters;
/// - `content-length` with `transfer-encoding`, twice, or no plain number;
/// - a `transfer-encoding` that is not exactly `chunked`, or in HTTP/1.0;
/// - no `host` (in HTTP/1.1), or several.
fn framing_problem(head: &[u8]) -> Option<Refusal> {
    let bare = memchr::memchr_iter(b'\n', head).any(|at| at == 0 || head[at - 1] != b'\r');
    if bare {
        return Some(Refusal::bad(
            "A line of the request's head ends with LF alone. End lines with CRLF.",
        ));
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => {
            return Some(Refusal::bad("The request's head is incomplete."));
        }
        Err(httparse::Error::TooManyHeaders) => return Some(Refusal::too_large()),
        Err(error) => {
            return Some(Refusal::bad(format!(
                "The request's head is malformed: {error}."
            )));
        }
    }
    let version = request.version.unwrap_or_default();
    let mut lengths = 0;
    let mut codings = 0;
    let mut hosts = 0;
    for header in request.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            lengths += 1;
            if header.value.is_empty() || !header.value.iter().all(u8::is_ascii_digit) {
                return Some(Refusal::bad("The content-length is no number."));
            }
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            codings += 1;
            if !header.value.eq_ignore_ascii_case(b"chunked") {
                return Some(Refusal::bad(
                    "The only transfer-encoding that is understood is `chunked`, alone.",
                ));
            }
        } else if header.name.eq_ignore_ascii_case("host") {
            hosts += 1;
        }
    }
    if lengths + codings > 1 {
        return Some(Refusal::bad(
            "The body's length is said more than once. Send one content-length, or transfer-encoding: chunked, never both.",
        ));
    }
    if codings > 0 && version == 0 {
        return Some(Refusal::bad(
            "HTTP/1.0 has no transfer-encoding. Send a content-length.",
        ));
    }
    if hosts > 1 || hosts == 0 && version == 1 {
        return Some(Refusal::bad(
            "A request of HTTP/1.1 has exactly one host header.",
        ));
    }
    None
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

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let head = |lines: &str| format!("POST / HTTP/1.1\r\nhost: a\r\n{lines}\r\n");
        for fine in [
            "",
            "content-length: 5\r\n",
            "Transfer-Encoding: Chunked\r\n",
            "x-empty:\r\n",
        ] {
            assert!(framing_problem(head(fine).as_bytes()).is_none(), "{fine:?}");
        }
        for bad in [
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
            "content-length: 5\r\ncontent-length: 5\r\n",
            "content-length: 5\r\ncontent-length: 6\r\n",
            "content-length: 5, 5\r\n",
            "content-length: +5\r\n",
            "content-length: 0x5\r\n",
            "content-length:\r\n",
            "transfer-encoding: chunked, identity\r\n",
            "transfer-encoding: xchunked\r\n",
            "transfer-encoding: \x0bchunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding : chunked\r\n",
            "content-length: 5\r\n folded: x\r\n",
            "x: a\nb: c\r\n",
            "x: a\0b\r\n",
            "host: b\r\n",
        ] {
            assert!(framing_problem(head(bad).as_bytes()).is_some(), "{bad:?}");
        }
        assert!(framing_problem(b"GET / HTTP/1.1\r\n\r\n").is_some());
        assert!(framing_problem(b"GET / HTTP/1.0\r\n\r\n").is_none());
        assert!(framing_problem(b"GET / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n").is_some());
        assert!(framing_problem(b"HELLO\r\n\r\n").is_some());
    }
}
