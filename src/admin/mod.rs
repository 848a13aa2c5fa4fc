//! The listener of those who operate the gateway: health, metrics, and the admin API.
//!
//! ```text
//! connection (Pingora's, TLS too) ── hyper ── axum ─┬─ /healthz, /readyz, /metrics   health
//!                                                   └─ /api/v1/…                     api
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
mod health;
mod problem;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::Stream;
use pingora_core::server::ShutdownWatch;

use self::problem::Problem;
use crate::config::AdminToken;

/// From the first byte that is awaited to the end of a request's head: idle connections end by it too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The gateway that runs, as far as it is shown and changed here.
pub trait Live: Send + Sync + 'static {
    /// Whether the process is about to end, so that nobody should send it new requests.
    fn is_draining(&self) -> bool;

    /// Appends the metrics in Prometheus's text format.
    fn write_metrics(&self, text: &mut String);
}

/// The application behind the admin listener.
pub struct Admin {
    router: Router,
    state: Arc<State>,
}

/// What the handlers share.
pub(crate) struct State {
    live: Arc<dyn Live>,
    tokens: ArcSwap<Vec<AdminToken>>,
    /// Whether only this machine can connect.
    loopback: bool,
}

impl Admin {
    /// Shows `live` to whoever holds one of `tokens`; `ip` is where it listens.
    pub fn new(live: Arc<dyn Live>, ip: IpAddr, tokens: Vec<AdminToken>) -> Self {
        let state = Arc::new(State {
            live,
            tokens: ArcSwap::from_pointee(tokens),
            loopback: ip.is_loopback(),
        });
        Self {
            router: router(&state),
            state,
        }
    }

    /// From now on these tokens are good, and no others.
    pub fn set_tokens(&self, tokens: Vec<AdminToken>) {
        self.state.tokens.store(Arc::new(tokens));
    }
}

/// Every route. Whatever is under `/api` needs a token, also what isn't there.
fn router(state: &Arc<State>) -> Router {
    let open = Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .layer(from_fn_with_state(state.clone(), access::local_or_token));
    let api = Router::new()
        .fallback(async || Problem::not_found("there is no such resource"))
        .layer(from_fn_with_state(state.clone(), access::token));
    Router::new()
        .merge(open)
        .nest("/api", api)
        .fallback(async || Problem::not_found("there is no such page"))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(state.clone())
}

#[async_trait]
impl ServerApp for Admin {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        _shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let service = TowerToHyperService::new(self.router.clone());
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
