//! Clients that report what was on the wire.
//!
//! ```text
//! Client ── post, get ──▶ Request ── .await ───────▶ Response        whole
//!   │                        ├────── .try_send() ──▶ or NoAnswer
//!   │                        └────── .open() ──────▶ ResponseStream  chunk by chunk, event by event
//!   └── connect ──▶ Connection                                       byte by byte (HTTP/1.1)
//! ```
//!
//! One [`Client`] type for HTTP/1.1 and HTTP/2, cleartext and TLS, so that a test can run with
//! each. It keeps connections alive and uses an idle one again; it never tries anything twice.

mod http1;
mod http2;
mod request;
mod response;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::socket::{Lever, Wire};
use super::tls::{self, Identity};
use super::wait::within;
use super::wire::Headers;

use self::http2::Session;

pub use self::http1::Connection;
pub use self::request::{Body, Request};
pub use self::response::{NoAnswer, Response, ResponseStream};

/// A caller of one address. Clones share its connections.
#[derive(Clone)]
pub struct Client {
    addr: SocketAddr,
    speaks: Speaks,
    tls: Option<Arc<ClientConfig>>,
    headers: Headers,
    receive_buffer: Option<u32>,
    pool: Arc<Pool>,
}

/// The connections of a client.
#[derive(Default)]
struct Pool {
    /// HTTP/1.1 connections between two exchanges.
    idle: Mutex<Vec<Connection>>,
    /// The HTTP/2 connection.
    session: tokio::sync::Mutex<Option<Session>>,
    made: AtomicUsize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    Http1,
    Http2,
}

/// Making one.
impl Client {
    /// HTTP/1.1 in cleartext.
    pub fn new(addr: SocketAddr) -> Self {
        Self::speaking(Speaks::Http1, addr, None)
    }

    /// HTTP/2 with prior knowledge, in cleartext.
    pub fn h2c(addr: SocketAddr) -> Self {
        Self::speaking(Speaks::Http2, addr, None)
    }

    /// HTTP/1.1 with TLS, trusting `ca` (PEM), showing `identity` where it is asked for one.
    pub fn https(addr: SocketAddr, ca: &str, identity: Option<&Identity>) -> Self {
        let config = tls::client_config(ca, &["http/1.1"], identity);
        Self::speaking(Speaks::Http1, addr, Some(config))
    }

    /// HTTP/1.1 with TLS, after offering all of `alpn`: the server chooses it.
    pub fn https_offering(addr: SocketAddr, ca: &str, alpn: &[&str]) -> Self {
        let config = tls::client_config(ca, alpn, None);
        Self::speaking(Speaks::Http1, addr, Some(config))
    }

    /// HTTP/2 with TLS, agreed on by ALPN; otherwise as [`https`](Self::https).
    pub fn https_h2(addr: SocketAddr, ca: &str, identity: Option<&Identity>) -> Self {
        let config = tls::client_config(ca, &["h2"], identity);
        Self::speaking(Speaks::Http2, addr, Some(config))
    }

    fn speaking(speaks: Speaks, addr: SocketAddr, tls: Option<Arc<ClientConfig>>) -> Self {
        Self {
            addr,
            speaks,
            tls,
            headers: Headers::default(),
            receive_buffer: None,
            pool: Arc::default(),
        }
    }

    /// Sends `Authorization: Bearer key` with every request.
    pub fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    /// Sends a header with every request.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(name, value.to_owned());
        self
    }

    /// Gives new connections a kernel buffer of about so many bytes, so that a slow reader holds
    /// its peer up soon.
    pub fn receive_buffer(mut self, bytes: u32) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }
}

/// Requests.
impl Client {
    /// A POST of JSON (`json!(…)`) or of bytes.
    #[track_caller]
    pub fn post(&self, path: &str, body: impl Into<Body>) -> Request {
        self.request("POST", path).body(body)
    }

    /// A GET.
    #[track_caller]
    pub fn get(&self, path: &str) -> Request {
        self.request("GET", path)
    }

    /// A request of any method, without a body so far.
    #[track_caller]
    pub fn request(&self, method: &str, path: &str) -> Request {
        Request::new(self, method, path)
    }

    /// Posts a body and gives the answer as it comes, from its head on.
    #[track_caller]
    pub fn open<B: Into<Body>>(
        &self,
        path: &str,
        body: B,
    ) -> impl Future<Output = ResponseStream> + use<B> {
        self.post(path, body).open()
    }

    /// Writes `bytes` as they are to a new connection, and reads one answer. HTTP/1.1 only.
    pub async fn send_raw(&self, bytes: &[u8]) -> Response {
        let mut connection = self.connect().await;
        connection.write(bytes).await;
        connection.response().await
    }
}

/// Connections.
impl Client {
    /// A new connection for a test that writes its own bytes. Panics where it can't be made.
    pub async fn connect(&self) -> Connection {
        let connected = self.try_connect().await;
        connected.unwrap_or_else(|reason| panic!("no connection to {}: {reason:?}", self.addr))
    }

    /// [`connect`](Self::connect) where failure (of TLS, too) is an answer.
    pub async fn try_connect(&self) -> Result<Connection, NoAnswer> {
        let (wire, lever) = self.wire().await?;
        Ok(Connection::new(wire, lever))
    }

    /// How many connections it has made so far.
    pub fn connections(&self) -> usize {
        self.pool.made.load(Ordering::SeqCst)
    }

    /// Until the server has closed an idle connection. Panics where there is none.
    #[track_caller]
    pub fn wait_idle_closed(&self) -> impl Future<Output = ()> {
        let idle = self.pool.idle().pop();
        let mut idle = idle.expect("an idle connection");
        within("the server to close the idle connection", async move {
            idle.closed().await;
        })
    }

    /// Closes all idle connections.
    pub async fn close_idle(&self) {
        self.pool.idle().clear();
        self.pool.session.lock().await.take();
    }

    /// An idle connection that is still open, or a new one.
    async fn connection(&self) -> Result<Connection, NoAnswer> {
        loop {
            let Some(mut idle) = self.pool.idle().pop() else {
                return self.try_connect().await;
            };
            if !idle.is_closed_now().await {
                return Ok(idle);
            }
        }
    }

    /// The one HTTP/2 connection, made where there is none.
    async fn session(&self) -> Result<Session, NoAnswer> {
        let mut session = self.pool.session.lock().await;
        if let Some(session) = &*session
            && session.is_open().await
        {
            return Ok(session.clone());
        }
        let (wire, lever) = self.wire().await?;
        let new = Session::start(wire, lever).await?;
        *session = Some(new.clone());
        Ok(new)
    }

    async fn wire(&self) -> Result<(Wire, Lever), NoAnswer> {
        let tcp = within("a connection", self.tcp()).await;
        let tcp = tcp.map_err(NoAnswer::Refused)?;
        self.pool.made.fetch_add(1, Ordering::SeqCst);
        let lever = Lever::on(&tcp);
        let Some(config) = &self.tls else {
            return Ok((Box::new(tcp), lever));
        };
        let name = ServerName::try_from("localhost").expect("a name");
        let handshake = TlsConnector::from(Arc::clone(config)).connect(name, tcp);
        let encrypted = within("a TLS handshake", handshake).await;
        Ok((Box::new(encrypted.map_err(NoAnswer::Tls)?), lever))
    }

    async fn tcp(&self) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        let tcp = socket.connect(self.addr).await?;
        tcp.set_nodelay(true)?;
        Ok(tcp)
    }
}

impl Pool {
    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().expect("no panic while it was held")
    }
}
