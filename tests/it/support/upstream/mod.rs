//! An upstream that follows a script and records what reached it.
//!
//! ```text
//! accept ─▶ on_connect reply? ─▶ TLS? ─▶ HTTP/1.1 or HTTP/2 ─▶ request head ─▶ body ─▶ reply steps
//!                                                               (early reply?)          │
//!                                            keep-alive ◀───────────────────────────────┘
//! ```
//!
//! While it replies it watches its caller: the moment the caller closes, resets, or (HTTP/2) resets
//! the stream, the exchange is [`Ending::Cancelled`].
//!
//! What a test did not foresee is a fault: a request that no script answers, a request that is not
//! proper HTTP, a script that the protocol can't follow, a panic in an answer of the test's own. Faults fail the test when the upstream is
//! dropped; [`Upstream::take_faults`] takes them out before.

mod http1;
mod http2;
mod record;
mod reply;
mod script;

use std::fmt;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use self::record::{Busy, HangUp, Link, Record, Shared};
use super::socket::{Lever, Port, Wire};
use super::tls::{self, Authority, Certificate, Identity};
use super::wait::{Task, within_at};

pub use self::record::{Ending, Received};
pub use self::reply::{Reply, Step};
pub use self::script::Replies;

/// A scripted upstream on a port of 127.0.0.1; it ends when it is dropped.
pub struct Upstream {
    shared: Arc<Shared>,
    port: Port,
    speaks: Speaks,
    authority: Option<Authority>,
    /// None while it is down.
    accepting: Option<Task>,
}

/// Which protocol a connection has.
#[derive(Clone)]
enum Speaks {
    Http1,
    /// HTTP/2 with prior knowledge, perhaps with a limit of streams at once.
    H2c(Option<u32>),
    /// What ALPN agrees on; HTTP/1.1 without it.
    Tls(Arc<ServerConfig>),
}

/// Starting and stopping.
impl Upstream {
    /// HTTP/1.1 in cleartext.
    pub async fn start() -> Self {
        Self::run(Speaks::Http1, None)
    }

    /// HTTP/2 with prior knowledge, in cleartext.
    pub async fn h2c() -> Self {
        Self::run(Speaks::H2c(None), None)
    }

    /// The same, with so many streams at once on each connection.
    pub async fn h2c_with_streams(limit: u32) -> Self {
        Self::run(Speaks::H2c(Some(limit)), None)
    }

    /// TLS with ALPN: HTTP/2 for those who offer it, else HTTP/1.1.
    pub async fn tls(certificate: Certificate) -> Self {
        Self::tls_with(certificate, &["h2", "http/1.1"], false)
    }

    /// TLS with HTTP/1.1 alone.
    pub async fn tls_http1(certificate: Certificate) -> Self {
        Self::tls_with(certificate, &["http/1.1"], false)
    }

    /// TLS that demands a certificate of the caller: see [`client_identity`](Self::client_identity).
    pub async fn mutual_tls() -> Self {
        Self::tls_with(Certificate::Valid, &["h2", "http/1.1"], true)
    }

    fn tls_with(certificate: Certificate, alpn: &[&str], mutual: bool) -> Self {
        let authority = Authority::new();
        let client_ca = mutual.then(|| authority.pem());
        let config = tls::server_config(&authority.issue(certificate), alpn, client_ca.as_deref());
        Self::run(Speaks::Tls(config), Some(authority))
    }

    /// HTTP/1.1 in cleartext, on the port of another at 127.0.0.N.
    pub async fn beside(other: &Self, n: u8) -> Self {
        Self::run_at(other.port.beside(n), Speaks::Http1, None)
    }

    fn run(speaks: Speaks, authority: Option<Authority>) -> Self {
        Self::run_at(Port::reserve(), speaks, authority)
    }

    fn run_at(port: Port, speaks: Speaks, authority: Option<Authority>) -> Self {
        let mut upstream = Self {
            shared: Arc::default(),
            port,
            speaks,
            authority,
            accepting: None,
        };
        upstream.come_back();
        upstream
    }

    /// Closes everything and refuses connections, until [`come_back`](Self::come_back).
    pub async fn go_down(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.stop().await;
        }
        self.wait_open_connections(0).await;
    }

    /// Listens (again), on the same port.
    pub fn come_back(&mut self) {
        let (shared, speaks) = (Arc::clone(&self.shared), self.speaks.clone());
        self.accepting = Some(Task::spawn(accept(self.port.listen(), shared, speaks)));
    }

    /// Its address.
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.addr().port()
    }

    /// Its address as the URL of an endpoint.
    pub fn url(&self) -> String {
        self.url_of("127.0.0.1")
    }

    /// Its URL under another name of the machine, such as `localhost`.
    pub fn url_of(&self, host: &str) -> String {
        let scheme = if self.authority.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{host}:{}", self.port())
    }

    /// The certificate (PEM) that a caller must trust.
    pub fn ca_pem(&self) -> String {
        self.tls_authority().pem()
    }

    /// A certificate that [`mutual_tls`](Self::mutual_tls) accepts.
    pub fn client_identity(&self) -> Identity {
        self.tls_authority().issue(Certificate::Valid)
    }

    fn tls_authority(&self) -> &Authority {
        self.authority.as_ref().expect("an upstream with TLS")
    }
}

/// Scripting; see [`script`] for the order in which the scripts are asked.
impl Upstream {
    /// Adds a reply to the queue; it is used once.
    pub fn push(&self, reply: Reply) {
        self.shared.scripts(|scripts| scripts.push(reply));
    }

    /// Replies to requests of this path (without its query), such as `/health`.
    pub fn on_path(&self, path: &str, replies: impl Into<Replies>) {
        self.shared
            .scripts(|scripts| scripts.on_path(path, replies.into()));
    }

    /// Replies to requests whose JSON body names this model.
    pub fn on_model(&self, model: &str, replies: impl Into<Replies>) {
        self.shared
            .scripts(|scripts| scripts.on_model(model, replies.into()));
    }

    /// Replies to all other requests.
    pub fn always(&self, replies: impl Into<Replies>) {
        self.shared
            .scripts(|scripts| scripts.always(replies.into()));
    }

    /// Replies to all other requests, made from the request.
    pub fn answer_with(&self, answer: impl Fn(&Received) -> Reply + Send + Sync + 'static) {
        self.shared
            .scripts(|scripts| scripts.answer_with(Arc::new(answer)));
    }

    /// Opens the gate: replies that wait at it go on, now and later.
    pub fn open(&self, gate: &'static str) {
        self.shared.change(|record| record.open_gates.insert(gate));
    }

    /// Until a reply waits at the gate: all that it writes before has been written.
    #[track_caller]
    pub fn wait_gate(&self, gate: &'static str) -> impl Future<Output = ()> {
        let reached = |record: &Record| record.reached_gates.contains(gate);
        self.wait_until(format!("a reply to reach the gate {gate:?}"), reached)
    }

    /// Closes the connections that wait for a request (FIN, on HTTP/2 after GOAWAY); returns how
    /// many. Waits for one first: closing none would test nothing.
    pub async fn close_idle(&self) -> usize {
        self.hang_up_idle(HangUp::Close).await
    }

    /// Resets the connections that wait for a request (RST); returns how many, as
    /// [`close_idle`](Self::close_idle).
    pub async fn reset_idle(&self) -> usize {
        self.hang_up_idle(HangUp::Reset).await
    }

    async fn hang_up_idle(&self, how: HangUp) -> usize {
        let any = |record: &Record| record.idle().next().is_some();
        self.wait_until("an idle connection to close".to_owned(), any)
            .await;
        let idle = self.shared.change(|record| {
            let idle: Vec<usize> = record.idle().collect();
            for id in &idle {
                record.connections[*id].told = Some(how);
            }
            idle
        });
        let closed = |record: &Record| idle.iter().all(|id| !record.connections[*id].open);
        self.wait_until("idle connections to be closed".to_owned(), closed)
            .await;
        idle.len()
    }
}

/// What it saw.
impl Upstream {
    /// All requests so far, in order of arrival.
    pub fn requests(&self) -> Vec<Received> {
        let record = self.shared.record.borrow();
        let exchanges = record.exchanges.iter();
        exchanges
            .map(|exchange| exchange.received.clone())
            .collect()
    }

    /// The last request so far. Panics where there is none.
    pub fn last_request(&self) -> Received {
        let mut requests = self.requests();
        requests
            .pop()
            .unwrap_or_else(|| panic!("no request has reached {self}"))
    }

    /// How many requests came so far.
    pub fn count(&self) -> usize {
        self.shared.record.borrow().exchanges.len()
    }

    /// How many requests for this model came so far.
    pub fn count_for(&self, model: &str) -> usize {
        let requests = self.requests();
        let of_model = |request: &&Received| request.model().as_deref() == Some(model);
        requests.iter().filter(of_model).count()
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.record.borrow().connections.len()
    }

    /// How many connections are open now.
    pub fn open_connections(&self) -> usize {
        self.shared.record.borrow().open_connections()
    }

    /// How many TLS handshakes failed so far.
    pub fn failed_handshakes(&self) -> usize {
        self.shared.record.borrow().failed_handshakes
    }

    /// How the exchange of a request (counted from 0) ended, and when; none while it is under way.
    pub fn ending(&self, request: usize) -> Option<(Ending, Instant)> {
        let record = self.shared.record.borrow();
        record.exchanges.get(request)?.ending
    }

    /// Until `count` requests have come.
    #[track_caller]
    pub fn wait_for_requests(&self, count: usize) -> impl Future<Output = ()> {
        let enough = move |record: &Record| record.exchanges.len() >= count;
        self.wait_until(format!("{count} requests"), enough)
    }

    /// Until so many connections are open.
    #[track_caller]
    pub fn wait_open_connections(&self, count: usize) -> impl Future<Output = ()> {
        let reached = move |record: &Record| record.open_connections() == count;
        self.wait_until(format!("{count} open connections"), reached)
    }

    /// Until a TLS handshake has failed.
    #[track_caller]
    pub fn wait_failed_handshake(&self) -> impl Future<Output = ()> {
        let failed = |record: &Record| record.failed_handshakes > 0;
        self.wait_until("a failed handshake".to_owned(), failed)
    }

    /// Until the exchange of a request (counted from 0) has ended.
    #[track_caller]
    pub fn wait_ended(&self, request: usize) -> impl Future<Output = (Ending, Instant)> {
        let ended = move |record: &Record| {
            let exchange = record.exchanges.get(request);
            exchange.is_some_and(|exchange| exchange.ending.is_some())
        };
        let wait = self.wait_until(format!("the end of exchange {request}"), ended);
        async move {
            wait.await;
            self.ending(request).expect("waited for")
        }
    }

    /// Until the caller has hung up on the exchange of a request (counted from 0): the moment when
    /// it was noticed. Panics where the exchange ended otherwise.
    #[track_caller]
    pub fn wait_cancelled(&self, request: usize) -> impl Future<Output = Instant> {
        let wait = self.wait_ended(request);
        async move {
            let (ending, at) = wait.await;
            assert_eq!(ending, Ending::Cancelled, "exchange {request} of {self}");
            at
        }
    }

    /// The faults so far; they no longer fail the test.
    pub fn take_faults(&self) -> Vec<String> {
        self.shared
            .change(|record| std::mem::take(&mut record.faults))
    }

    #[track_caller]
    fn wait_until(
        &self,
        what: String,
        condition: impl FnMut(&Record) -> bool,
    ) -> impl Future<Output = ()> {
        let asked = Location::caller();
        let what = fmt::from_fn(move |formatter| write!(formatter, "{what} at {self}"));
        within_at(asked, what, self.shared.wait_for(condition))
    }
}

/// Its address and how far it got, for panics.
impl fmt::Display for Upstream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = self.shared.record.borrow();
        let (connections, requests) = (record.connections.len(), record.exchanges.len());
        write!(
            formatter,
            "the upstream {} ({connections} connections, {requests} requests, faults {:?})",
            self.port.addr(),
            record.faults
        )
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let faults = self.take_faults();
        if !faults.is_empty() && !std::thread::panicking() {
            panic!("{self} met what the test did not script: {faults:#?}");
        }
    }
}

/// Serves until it is dropped, and its connections with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>, speaks: Speaks) {
    let mut connections = JoinSet::new();
    loop {
        let (tcp, _) = listener.accept().await.expect("a connection");
        while connections.try_join_next().is_some() {}
        let link = Link::accepted(&shared);
        connections.spawn(connection(link, tcp, speaks.clone()));
    }
}

async fn connection(link: Link, tcp: TcpStream, speaks: Speaks) {
    tcp.set_nodelay(true).expect("TCP_NODELAY");
    let lever = Lever::on(&tcp);
    if let Some(reply) = link.shared.scripts(script::Scripts::on_connect) {
        http1::greet(&link, tcp, lever, &reply).await;
        return;
    }
    match speaks {
        Speaks::Http1 => http1::serve(&Arc::new(link), Box::new(tcp), lever).await,
        Speaks::H2c(streams) => {
            http2::serve(&Arc::new(link), Box::new(tcp), lever, streams).await;
        }
        Speaks::Tls(config) => encrypted(link, tcp, lever, config).await,
    }
}

async fn encrypted(mut link: Link, tcp: TcpStream, lever: Lever, config: Arc<ServerConfig>) {
    let Ok(stream) = TlsAcceptor::from(config).accept(tcp).await else {
        link.shared.change(|record| record.failed_handshakes += 1);
        return;
    };
    let (_, session) = stream.get_ref();
    link.sni = session.server_name().map(str::to_owned);
    link.client_certificate = session.peer_certificates().is_some();
    let http2 = session.alpn_protocol() == Some(b"h2");
    let wire: Wire = Box::new(stream);
    match http2 {
        true => http2::serve(&Arc::new(link), wire, lever, None).await,
        false => http1::serve(&Arc::new(link), wire, lever).await,
    }
}

/// How a reply went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Performed {
    /// To its end.
    Whole,
    /// To a step that closes the connection so.
    HangUp(HangUp),
    /// To a step that ends this exchange alone.
    StreamReset,
    /// The caller was gone before its end.
    CallerGone,
}

impl Performed {
    fn ending(self) -> Ending {
        match self {
            Self::Whole => Ending::Answered,
            Self::HangUp(_) | Self::StreamReset => Ending::Cut,
            Self::CallerGone => Ending::Cancelled,
        }
    }
}

/// What answers a request that no script answers.
fn unscripted(shared: &Shared, received: &Received) -> Reply {
    let Received { method, target, .. } = received;
    let model = received.model();
    shared.fault(format!(
        "no script answers {method} {target} (model {model:?})"
    ));
    Reply::status(500)
}

/// What answers a request at which the test's own answer panicked. The panic has been printed.
fn panicked(shared: &Shared, received: &Received) -> Reply {
    let Received { method, target, .. } = received;
    shared.fault(format!("the answer to {method} {target} panicked"));
    Reply::status(500)
}

/// The reply to a whole request.
fn reply_to(shared: &Shared, received: &Received, reused: bool) -> Reply {
    match shared.scripts(|scripts| scripts.after_request(received, reused)) {
        Some(script::Chosen::Reply(reply)) => reply,
        Some(script::Chosen::Answer(answer)) => {
            let answered = catch_unwind(AssertUnwindSafe(|| answer(received)));
            answered.unwrap_or_else(|_| panicked(shared, received))
        }
        None => unscripted(shared, received),
    }
}
