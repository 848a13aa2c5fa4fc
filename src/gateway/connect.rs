//! A connection to a backend: a pooled one where there is one, else a fresh one.
//!
//! Connections that need TCP alone are opened here, all others (TLS, ALPN, HTTP/2, from a bound
//! address) by Pingora's connector. The pool of idle HTTP/1.1 connections is ours, because Pingora's
//! spawns a task for each connection that is put back and asks the kernel for the peer's address
//! each time one is taken out: a third of a small request's cost here. Ours is a stack a backend
//! ([`idle`]). A connection that the server has closed meanwhile is noticed when it is taken out, or
//! by [`Links::sweep`]. HTTP/2 connections stay in Pingora's own pool.
//!
//! ```text
//! connect() ── idle one, alive? ──yes──> Connection { reused: true }
//!     └── no ── address (literal, or DNS, cached) ── TCP ── TLS ──> Connection { reused: false }
//!                                                              └─ ALPN says h2 ──> H2
//! ```

mod idle;
#[cfg(test)]
pub(super) mod tests;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use pingora_core::connectors::http::v2::Connector as Http2Connector;
use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::protocols::http::v2::client::Http2Session;
use pingora_core::protocols::{ALPN, Stream};
use pingora_core::upstreams::peer::{HttpPeer, Peer as _};
use pingora_core::utils::tls::{CertKey, WrappedX509, parse_x509};
use pingora_core::{Error, ErrorType};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::{Instant, timeout};

pub(super) use self::idle::Home;
use self::idle::{Idle, IdlePool};
use super::judge::ExchangeFault;
use super::plain_stream::PlainStream;
use crate::policy::{Backend, Endpoint, HttpVersion, Scheme};

/// An idle connection is closed after this time: under the usual 60 to 75 s of servers, so that
/// it is rarely they who close it, in the moment of its reuse.
const IDLE_TIMEOUT: Duration = Duration::from_secs(55);

/// How long the addresses of a host name are used before they are asked for again.
const DNS_REFRESH: Duration = Duration::from_secs(30);

/// Streams at once on one HTTP/2 connection; the server's own limit counts where it is lower.
const HTTP2_STREAMS: usize = 100;

/// What a server may send of an answer that nobody reads on. All streams of a connection together
/// stay within the window of the connection (Pingora's default: 8 MiB), so that slow readers can't
/// hold up the others.
const HTTP2_WINDOW: u32 = 64 << 10;

/// How often an HTTP/2 connection is asked whether it still lives.
pub(super) const HTTP2_PING: Duration = Duration::from_secs(15);

/// The way to every backend. It outlives a configuration: a backend that is the same in the next
/// one keeps its link, and so its idle connections.
pub struct Links {
    connectors: Arc<Connectors>,
    /// Idle connections kept for each backend at most.
    pool_size: usize,
    known: Mutex<HashMap<String, Weak<Link>>>,
}

struct Connectors {
    transport: TransportConnector,
    http2: Http2Connector,
    /// Pingora's configuration has something to say of all of them: from where they leave, or which threads
    /// open them.
    particular: bool,
}

impl Links {
    /// Links that open connections as `options` say and keep at most `pool_size` idle ones for
    /// each backend.
    pub fn new(options: ConnectorOptions, pool_size: usize) -> Self {
        Self {
            connectors: Arc::new(Connectors {
                particular: !options.bind_to_v4.is_empty()
                    || !options.bind_to_v6.is_empty()
                    || options.offload_threadpool.is_some(),
                transport: TransportConnector::new(Some(options.clone())),
                http2: Http2Connector::new(Some(options)),
            }),
            pool_size,
            known: Mutex::default(),
        }
    }

    /// The link to one backend of an endpoint, or to the one address of it that is given: the one
    /// there is, where nothing has changed.
    ///
    /// # Errors
    /// What is wrong with the endpoint's certificates, where they can't be used.
    pub fn link(
        &self,
        endpoint: &Endpoint,
        backend: &Backend,
        address: Option<IpAddr>,
    ) -> Result<Arc<Link>, LinkError> {
        let identity = identity(endpoint, backend, address);
        let mut known = lock(&self.known);
        if let Some(link) = known.get(&identity).and_then(Weak::upgrade) {
            return Ok(link);
        }
        let link = Arc::new(Link::new(
            endpoint,
            backend,
            address,
            &identity,
            self.connectors.clone(),
            self.pool_size,
        )?);
        known.retain(|_, link| link.strong_count() > 0);
        known.insert(identity, Arc::downgrade(&link));
        Ok(link)
    }

    /// Closes idle connections that are too old or that their server has closed.
    pub fn sweep(&self) {
        let links: Vec<_> = lock(&self.known)
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        for link in links {
            link.idle.sweep();
        }
    }
}

/// Why an endpoint can't be linked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The custom CA is no PEM certificate.
    #[error("endpoint {endpoint}: tls.ca holds no usable certificate: {why}")]
    Ca {
        /// The endpoint's name.
        endpoint: Arc<str>,
        /// What the PEM reader says.
        why: String,
    },
    /// The client certificate or its key is no PEM.
    #[error("endpoint {endpoint}: tls.client_certificate or tls.client_key can't be read: {why}")]
    ClientCertificate {
        /// The endpoint's name.
        endpoint: Arc<str>,
        /// What the PEM reader says.
        why: String,
    },
}

/// Everything about a backend that makes its connections different from another's.
fn identity(endpoint: &Endpoint, backend: &Backend, address: Option<IpAddr>) -> String {
    let mut hasher = DefaultHasher::new();
    endpoint.tls.ca.hash(&mut hasher);
    if let Some((certificate, key)) = &endpoint.tls.client_certificate {
        certificate.hash(&mut hasher);
        key.expose().hash(&mut hasher);
    }
    format!(
        "{} {:?} {} {address:?} {} {:?} {:?} {} {:?} {:x}",
        endpoint.name,
        backend.scheme,
        backend.host,
        backend.port,
        endpoint.http_version,
        endpoint.connect_timeout,
        endpoint.tls.verify,
        endpoint.tls.sni,
        hasher.finish(),
    )
}

/// A connection on which a request can be sent.
pub(super) enum Connection {
    /// HTTP/1.1, and whether it was used before.
    Http1 {
        /// The open connection.
        stream: Stream,
        /// Whose it is.
        home: Home,
        /// It comes from the pool, so it may turn out dead.
        reused: bool,
    },
    /// One stream of an HTTP/2 connection.
    Http2(Box<Http2Stream>),
}

/// The way to one backend: its addresses, how to connect, and the connections that are idle.
pub struct Link {
    connectors: Arc<Connectors>,
    template: HttpPeer,
    host: Host,
    http_version: HttpVersion,
    /// ALPN has chosen HTTP/1.1 the last time, so the pool is worth a look.
    speaks_http1: AtomicBool,
    idle: IdlePool,
}

/// Where a backend is.
enum Host {
    Literal(Arc<HttpPeer>),
    Name {
        name: String,
        port: u16,
        resolved: ArcSwapOption<Resolved>,
        refreshing: AtomicBool,
        next: AtomicUsize,
    },
}

struct Resolved {
    peers: Vec<Arc<HttpPeer>>,
    at: Instant,
}

impl Link {
    fn new(
        endpoint: &Endpoint,
        backend: &Backend,
        address: Option<IpAddr>,
        identity: &str,
        connectors: Arc<Connectors>,
        pool_size: usize,
    ) -> Result<Self, LinkError> {
        let template = peer_template(endpoint, backend, identity)?;
        let host = match address.or_else(|| backend.host.parse().ok()) {
            Some(ip) => Host::Literal(at_address(&template, SocketAddr::new(ip, backend.port))),
            None => Host::Name {
                name: backend.host.clone(),
                port: backend.port,
                resolved: ArcSwapOption::empty(),
                refreshing: AtomicBool::new(false),
                next: AtomicUsize::new(0),
            },
        };
        let http1 = match endpoint.http_version {
            HttpVersion::Http1 => true,
            HttpVersion::Auto => backend.scheme == Scheme::Http,
            HttpVersion::Http2 => false,
        };
        Ok(Self {
            connectors,
            template,
            host,
            http_version: if http1 {
                HttpVersion::Http1
            } else {
                endpoint.http_version
            },
            speaks_http1: AtomicBool::new(http1),
            idle: IdlePool::new(pool_size),
        })
    }

    /// A connection to send a request on; with `fresh` never one that was used before.
    pub(super) async fn connect(
        self: &Arc<Self>,
        fresh: bool,
    ) -> Result<Connection, ExchangeFault> {
        if !fresh
            && self.speaks_http1.load(Ordering::Relaxed)
            && let Some(Idle { stream, home, .. }) = self.idle.take(Home::here())
        {
            return Ok(Connection::Http1 {
                stream,
                home,
                reused: true,
            });
        }
        let peers = self.peers().await?;
        let mut last = ExchangeFault::Dns;
        for peer in peers {
            // Rare and large: a request's future needn't have room for a TLS handshake.
            match Box::pin(self.open(&peer, fresh)).await {
                Ok(connection) => return Ok(connection),
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }

    /// What tells it from every other link.
    pub(super) const fn key(&self) -> u64 {
        self.template.group_key
    }

    /// A connection that no request had before, or a stream of an HTTP/2 connection.
    pub(super) async fn connect_anew(self: &Arc<Self>) -> Result<Connection, ExchangeFault> {
        let mut last = ExchangeFault::Dns;
        for peer in self.peers().await? {
            match Box::pin(self.open(&peer, false)).await {
                Ok(connection) => return Ok(connection),
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }

    /// A peer for Pingora's own proxying, which pools its connections itself.
    pub(super) async fn peer(self: &Arc<Self>) -> Result<HttpPeer, ExchangeFault> {
        let peers = self.peers().await?;
        let first = peers.first().ok_or(ExchangeFault::Dns)?;
        Ok(HttpPeer::clone(first))
    }

    async fn open(
        self: &Arc<Self>,
        peer: &Arc<HttpPeer>,
        fresh: bool,
    ) -> Result<Connection, ExchangeFault> {
        if self.http_version == HttpVersion::Http1 {
            let stream = match plain_address(peer).filter(|_| !self.connectors.particular) {
                Some(address) => Box::new(self.open_plain(address).await?),
                None => {
                    let opened = self.connectors.transport.new_stream(&**peer).await;
                    opened.map_err(|error| connect_fault(&error))?
                }
            };
            return Ok(Connection::Http1 {
                stream,
                home: Home::here(),
                reused: false,
            });
        }
        let http2 = &self.connectors.http2;
        if !fresh && let Ok(Some(session)) = http2.reused_http_session(&**peer).await {
            return Ok(Connection::Http2(self.http2_stream(peer, session, true)));
        }
        let opened: Result<HttpSession<()>, _> = http2.new_http_session(&**peer).await;
        match opened.map_err(|error| connect_fault(&error))? {
            HttpSession::H2(session) => {
                self.speaks_http1.store(false, Ordering::Relaxed);
                Ok(Connection::Http2(self.http2_stream(peer, session, false)))
            }
            HttpSession::H1(session) => {
                self.speaks_http1.store(true, Ordering::Relaxed);
                Ok(Connection::Http1 {
                    stream: session.into_inner(),
                    home: Home::here(),
                    reused: false,
                })
            }
            HttpSession::Custom(()) => Err(ExchangeFault::Malformed),
        }
    }

    /// A connection without TLS.
    async fn open_plain(&self, address: SocketAddr) -> Result<PlainStream, ExchangeFault> {
        let patience = self.template.options.connection_timeout;
        let opened = timeout(
            patience.unwrap_or(Duration::MAX),
            PlainStream::connect(address),
        );
        match opened.await {
            Ok(opened) => opened.map_err(|error| match error.kind() {
                io::ErrorKind::TimedOut => ExchangeFault::Timeout,
                io::ErrorKind::ConnectionReset => ExchangeFault::Reset,
                _ => ExchangeFault::Refused,
            }),
            Err(_) => Err(ExchangeFault::Timeout),
        }
    }

    fn http2_stream(
        self: &Arc<Self>,
        peer: &Arc<HttpPeer>,
        session: Http2Session,
        reused: bool,
    ) -> Box<Http2Stream> {
        Box::new(Http2Stream {
            session: Some(session),
            reused,
            peer: peer.clone(),
            link: self.clone(),
        })
    }

    /// Keeps a connection whose exchange is over for the next one.
    pub(super) fn put_idle(&self, stream: Stream, home: Home) {
        self.idle.put(Idle::new(stream, home));
    }

    async fn peers(self: &Arc<Self>) -> Result<Vec<Arc<HttpPeer>>, ExchangeFault> {
        let Host::Name {
            resolved,
            refreshing,
            next,
            ..
        } = &self.host
        else {
            let Host::Literal(peer) = &self.host else {
                return Err(ExchangeFault::Dns);
            };
            return Ok(vec![peer.clone()]);
        };
        let current = match resolved.load_full() {
            Some(current) => {
                let stale = current.at.elapsed() > DNS_REFRESH;
                if stale && !refreshing.swap(true, Ordering::AcqRel) {
                    let link = self.clone();
                    tokio::spawn(async move { link.refresh().await });
                }
                current
            }
            None => self.refresh().await.ok_or(ExchangeFault::Dns)?,
        };
        let mut peers = current.peers.clone();
        let turn = next.fetch_add(1, Ordering::Relaxed) % peers.len().max(1);
        peers.rotate_left(turn);
        Ok(peers)
    }

    /// Asks for the name's addresses. Where there is no answer the old ones stay in use.
    async fn refresh(&self) -> Option<Arc<Resolved>> {
        let Host::Name {
            name,
            port,
            resolved,
            refreshing,
            ..
        } = &self.host
        else {
            return None;
        };
        let found = tokio::net::lookup_host((name.as_str(), *port)).await;
        refreshing.store(false, Ordering::Release);
        let peers: Vec<_> = match found {
            Ok(addresses) => addresses
                .map(|address| at_address(&self.template, address))
                .collect(),
            Err(error) => {
                log::warn!(
                    "host name {name} can't be resolved: {error}. Check the endpoint's url and this machine's DNS"
                );
                Vec::new()
            }
        };
        if peers.is_empty() {
            return resolved.load_full();
        }
        let current = Arc::new(Resolved {
            peers,
            at: Instant::now(),
        });
        resolved.store(Some(current.clone()));
        Some(current)
    }
}

/// One stream of an HTTP/2 connection. When it goes without having ended, the server is told
/// (`RST_STREAM`); in any case its connection has a free stream again.
pub(super) struct Http2Stream {
    session: Option<Http2Session>,
    pub(super) reused: bool,
    peer: Arc<HttpPeer>,
    link: Arc<Link>,
}

impl Http2Stream {
    pub(super) fn session(&mut self) -> Result<&mut Http2Session, ExchangeFault> {
        self.session.as_mut().ok_or(ExchangeFault::Closed)
    }
}

impl Drop for Http2Stream {
    fn drop(&mut self) {
        if let Some(mut session) = self.session.take() {
            if !session.response_finished() {
                session.shutdown();
            }
            let http2 = &self.link.connectors.http2;
            http2.release_http_session(session, &*self.peer, Some(IDLE_TIMEOUT));
        }
    }
}

fn peer_template(
    endpoint: &Endpoint,
    backend: &Backend,
    identity: &str,
) -> Result<HttpPeer, LinkError> {
    let anywhere = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), backend.port);
    let tls = backend.scheme == Scheme::Https;
    let sni = endpoint
        .tls
        .sni
        .clone()
        .unwrap_or_else(|| backend.host.clone());
    let mut peer = HttpPeer::new(anywhere, tls, if tls { sni } else { String::new() });
    let mut hasher = DefaultHasher::new();
    identity.hash(&mut hasher);
    peer.group_key = hasher.finish();

    let options = &mut peer.options;
    options.total_connection_timeout = Some(endpoint.connect_timeout);
    options.connection_timeout = Some(endpoint.connect_timeout);
    options.idle_timeout = Some(IDLE_TIMEOUT);
    options.verify_cert = endpoint.tls.verify;
    options.verify_hostname = endpoint.tls.verify;
    options.max_h2_streams = HTTP2_STREAMS;
    options.h2_stream_window_size = Some(HTTP2_WINDOW);
    options.h2_ping_interval = Some(HTTP2_PING);
    options.alpn = match (endpoint.http_version, backend.scheme) {
        (HttpVersion::Http1, _) | (HttpVersion::Auto, Scheme::Http) => ALPN::H1,
        (HttpVersion::Auto, Scheme::Https) => ALPN::H2H1,
        (HttpVersion::Http2, _) => ALPN::H2,
    };
    if let Some(pem) = &endpoint.tls.ca {
        let trusted = certificates(pem).map_err(|why| LinkError::Ca {
            endpoint: endpoint.name.clone(),
            why,
        })?;
        let trusted: Vec<_> = trusted
            .into_iter()
            .map(|der| WrappedX509::new(der, parse_x509))
            .collect();
        options.ca = Some(trusted.into());
    }
    if let Some((chain, key)) = &endpoint.tls.client_certificate {
        let failed = |why| LinkError::ClientCertificate {
            endpoint: endpoint.name.clone(),
            why,
        };
        let chain = certificates(chain).map_err(failed)?;
        let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
            .map_err(|error| failed(error.to_string()))?;
        peer.client_cert_key = Some(Arc::new(CertKey::new(chain, key.secret_der().to_vec())));
    }
    Ok(peer)
}

fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let found = CertificateDer::pem_slice_iter(pem)
        .map(|certificate| certificate.map(|der| der.as_ref().to_vec()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    if found.is_empty() {
        return Err("no certificate in it".to_owned());
    }
    Ok(found)
}

fn at_address(template: &HttpPeer, address: SocketAddr) -> Arc<HttpPeer> {
    let mut peer = template.clone();
    peer._address = pingora_core::protocols::l4::socket::SocketAddr::Inet(address);
    Arc::new(peer)
}

/// Where a peer is that speaks without TLS.
fn plain_address(peer: &HttpPeer) -> Option<SocketAddr> {
    peer.address().as_inet().copied().filter(|_| !peer.is_tls())
}

/// What an error of Pingora's says has happened.
pub(super) fn connect_fault(error: &Error) -> ExchangeFault {
    match error.etype() {
        ErrorType::ConnectTimedout
        | ErrorType::TLSHandshakeTimedout
        | ErrorType::ReadTimedout
        | ErrorType::WriteTimedout => ExchangeFault::Timeout,
        ErrorType::TLSHandshakeFailure
        | ErrorType::InvalidCert
        | ErrorType::HandshakeError
        | ErrorType::TLSWantX509Lookup => ExchangeFault::Tls,
        ErrorType::H2Error | ErrorType::InvalidH2 | ErrorType::H2Downgrade => {
            ExchangeFault::Malformed
        }
        ErrorType::ConnectionClosed => ExchangeFault::Closed,
        _ if was_reset(error) => ExchangeFault::Reset,
        _ => ExchangeFault::Refused,
    }
}

/// Whether somebody was there, who went away in the moment in which the connection was made.
fn was_reset(error: &Error) -> bool {
    let cause: &dyn std::error::Error = error.root_cause();
    std::iter::successors(Some(cause), |cause| cause.source())
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::ConnectionReset)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
