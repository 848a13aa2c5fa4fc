//! The console: pages for those who operate the gateway, on the admin listener.
//!
//! ```text
//! /console/… ── headers (a strict policy for what a page may load) ─┬─ assets    by the hash of their content
//!                                                                   ├─ sign-in   tries ── sessions
//!                                                                   └─ gate: session, origin, CSRF
//!                                                                        └─ pages (policies, …)
//! ```
//!
//! - A page is rendered here and whole; htmx fetches it in the background and puts its `main` in
//!   the place of the one that is there. So everything works by plain links and forms as well, and
//!   a page has one description. Templates are askama's: plain HTML that whoever knows HTML can
//!   change, compiled into the binary, held to the types of what it shows, escaped by default.
//! - A page changes what runs by the same functions as the admin API: an [edit](super::edits) or a
//!   [`Live`](super::Live).
//! - Nothing comes from elsewhere: scripts, styles and pictures are in the binary.
//! - An answer to a form that is wrong is the form again, with all that was typed.

mod assets;
mod changes;
mod diff;
mod endpoints;
mod frame;
mod gate;
mod keys;
mod live;
mod policies;
mod question;
mod revisions;
mod sent;
mod sessions;
mod sign_in;
mod trail;
mod tries;
mod try_out;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Redirect;
use axum::routing::get;

use self::live::History;
use self::sessions::Sessions;
use self::tries::Tries;
use super::{Live, State};

/// Of a form that is sent here.
const LARGEST_FORM: usize = 1 << 20;

/// What the pages share beyond what runs.
pub(super) struct Console {
    sessions: Sessions,
    tries: Tries,
    history: History,
    /// The cookie's name. Browsers keep cookies by host alone: the port tells two gateways on one
    /// machine apart.
    cookie: String,
}

impl Console {
    /// For a listener at `address`.
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            sessions: Sessions::default(),
            tries: Tries::default(),
            history: History::default(),
            cookie: format!("standin-{}", address.port()),
        }
    }

    /// Counts what is shown of the last minutes, for as long as the process lives.
    pub(super) async fn watch(&self, live: &dyn Live) {
        live::watch(live, &self.history).await;
    }
}

/// Who is connected, and how: an extension of every request.
#[derive(Clone, Copy)]
pub(super) struct Peer {
    pub(super) address: Option<SocketAddr>,
    pub(super) tls: bool,
}

/// Every page. `/` leads to the first.
pub(super) fn routes(state: &Arc<State>) -> Router<Arc<State>> {
    let pages = Router::new()
        .merge(policies::routes())
        .merge(revisions::routes())
        .merge(try_out::routes())
        .merge(live::routes())
        .route("/console/endpoints", get(endpoints::list))
        .merge(keys::routes())
        .route("/console/sign-out", axum::routing::post(sign_in::sign_out))
        .route("/console/{*rest}", get(frame::nothing_here))
        .method_not_allowed_fallback(frame::nothing_here)
        .layer(from_fn_with_state(state.clone(), gate::session));
    let open = Router::new()
        .route(
            "/console/sign-in",
            get(sign_in::page).post(sign_in::sign_in),
        )
        .route("/console/assets/{name}", get(assets::asset));
    let home = async || Redirect::to("/console/policies");
    Router::new()
        .route("/", get(home))
        .route("/console", get(home))
        .merge(pages)
        .merge(open)
        .layer(DefaultBodyLimit::max(LARGEST_FORM))
        .layer(from_fn(gate::headers))
}
