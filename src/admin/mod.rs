//! The listener of those who operate the gateway: health, metrics, the admin API, and the console.
//!
//! ```text
//! connection (Pingora's, TLS too) ── hyper ── axum ─┬─ /healthz, /readyz, /metrics   health
//!                                                   ├─ /api/v1/…                     api
//!                                                   └─ /, /console/…                 console
//!                             changes of the file that last: edits
//!                             who asks: access        what is told of errors: problem
//! ```
//!
//! It is a listening service of Pingora's of its own, with one thread: nothing that is asked here
//! takes time from a request, and its socket is handed to the next process like the others. It
//! goes on answering while the gateway drains, so that `/readyz` can say so.
//!
//! What runs is seen through [`Live`] alone, which `server` provides: this module knows neither
//! the request path nor the process.

mod access;
mod api;
mod console;
mod edits;
mod extract;
mod health;
mod live;
mod problem;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::Stream;
use pingora_core::server::ShutdownWatch;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

use self::console::{Console, Peer};
pub use self::live::{Applied, Listening, Live, Reload, ReloadedBy, Reloads, WayIn};
use self::problem::Problem;
use crate::config::AdminToken;

/// From the first byte that is awaited to the end of a request's head: idle connections end by it too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Of what is sent here: a configuration with 10,000 policies has about 4 MB.
const LARGEST_BODY: usize = 32 << 20;

/// The application behind the admin listener.
pub struct Admin {
    router: Router,
    state: Arc<State>,
}

/// The tokens that are good now.
pub struct Tokens(ArcSwap<Vec<AdminToken>>);

impl Tokens {
    /// These are good, until others are [set](Self::set).
    pub fn new(tokens: Vec<AdminToken>) -> Self {
        Self(ArcSwap::from_pointee(tokens))
    }

    /// From now on these are good, and no others.
    pub fn set(&self, tokens: Vec<AdminToken>) {
        self.0.store(Arc::new(tokens));
    }
}

/// What the handlers share.
pub(crate) struct State {
    live: Arc<dyn Live>,
    tokens: Arc<Tokens>,
    /// Whether only this machine can connect.
    loopback: bool,
    document: Arc<utoipa::openapi::OpenApi>,
    edits: edits::Edits,
    console: Console,
}

impl Admin {
    /// Shows `live` to whoever holds one of `tokens`; `address` is where it listens.
    pub fn new(live: Arc<dyn Live>, address: SocketAddr, tokens: Arc<Tokens>) -> Self {
        let (api, document) = OpenApiRouter::with_openapi(api::Document::openapi())
            .nest("/api/v1", api::routes())
            .split_for_parts();
        let state = Arc::new(State {
            live,
            tokens,
            loopback: address.ip().is_loopback(),
            document: Arc::new(document),
            edits: edits::Edits::default(),
            console: Console::new(address),
        });
        Self {
            router: router(api, &state),
            state,
        }
    }
}

impl Admin {
    /// Keeps count of what the console shows of the last minutes; never ends.
    pub fn watch(&self) -> impl Future<Output = ()> + Send + 'static {
        let state = self.state.clone();
        async move { state.console.watch(&*state.live).await }
    }
}

/// Every route. Whatever is under `/api` needs a token, also what isn't there.
fn router(api: Router<Arc<State>>, state: &Arc<State>) -> Router {
    let open = Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .layer(from_fn_with_state(state.clone(), access::local_or_token));
    let nothing = async || {
        Problem::not_found("there is no such resource; /api/v1/openapi.json says what there is")
    };
    let api = api
        .route("/api", any(nothing))
        .route("/api/{*rest}", any(nothing))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(from_fn_with_state(state.clone(), access::token));
    Router::new()
        .merge(open)
        .merge(api)
        .merge(console::routes(state))
        .fallback(async || Problem::not_found("there is no such page"))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(state.clone())
}

/// Runs what takes a while (reading and resolving a configuration) where it holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Problem::internal(error.to_string()))
}

#[async_trait]
impl ServerApp for Admin {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        _shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let service = self.router.clone().layer(Extension(peer(&stream)));
        let service = TowerToHyperService::new(service);
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            log::debug!("admin: a connection ended with: {error}");
        }
        None
    }
}

fn peer(stream: &Stream) -> Peer {
    let digest = stream.get_socket_digest();
    let address = digest.as_ref().and_then(|digest| digest.peer_addr());
    Peer {
        address: address.and_then(|address| address.as_inet()).copied(),
        tls: stream.get_ssl_digest().is_some(),
    }
}
