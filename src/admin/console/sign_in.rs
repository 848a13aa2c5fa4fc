//! Signing in with a token of the admin API, and out.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use askama::Template;
use axum::Extension;
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use super::frame::{Notice, page_with};
use super::sessions::{LONGEST, Visitor};
use super::{Console, Peer, gate};
use crate::admin::{State as Shared, access};

/// Where somebody goes who was not sent here from another page.
const FIRST: &str = "/console/policies";

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn {
    next: String,
    /// Whether there is a token at all.
    possible: bool,
    notice: Option<Notice>,
}

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    next: String,
}

/// What the form sends.
#[derive(Deserialize)]
pub(super) struct Sent {
    token: String,
    #[serde(default)]
    next: String,
}

/// The page to sign in on.
pub(super) async fn page(
    State(state): State<Arc<Shared>>,
    Query(Asked { next }): Query<Asked>,
    headers: HeaderMap,
) -> Response {
    if gate::visitor(&state, &headers).is_some() {
        return Redirect::to(own(&next)).into_response();
    }
    show(&state, StatusCode::OK, next, None)
}

/// Signs the holder of a token in.
pub(super) async fn sign_in(
    State(state): State<Arc<Shared>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    Form(Sent { token, next }): Form<Sent>,
) -> Response {
    let Peer { address, tls } = peer.map_or(
        Peer {
            address: None,
            tls: false,
        },
        |peer| peer.0,
    );
    let refused =
        |status, words: &str| show(&state, status, next.clone(), Some(Notice::warning(words)));
    if !gate::is_same_origin(&headers) {
        let words = "This was sent by a page of another site. Sign in here.";
        return refused(StatusCode::FORBIDDEN, words);
    }
    let now = Instant::now();
    let address = address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip());
    let tries = &state.console.tries;
    if let Some(wait) = tries.wait(address, now) {
        log::warn!("console: {address} has tried too many tokens");
        return too_many(wait, refused);
    }
    let tokens = state.tokens.0.load();
    let Some(token) = access::holder(&tokens, token.trim()) else {
        tries.failed(address, now);
        log::warn!("console: {address} has tried a token that is none");
        return match tries.wait(address, now) {
            Some(wait) => too_many(wait, refused),
            None => refused(
                StatusCode::UNAUTHORIZED,
                "This token is not one of those that are good here. It is in `admin.tokens` of the configuration, as its SHA-256.",
            ),
        };
    };
    let Ok(session) = state.console.sessions.begin(token, now) else {
        let words = "The system gives no random numbers.";
        return refused(StatusCode::INTERNAL_SERVER_ERROR, words);
    };
    log::info!("console: {} has signed in from {address}", token.name);
    let cookie = cookie(&state.console, &session, LONGEST, tls);
    ([(header::SET_COOKIE, cookie)], Redirect::to(own(&next))).into_response()
}

/// Ends the session.
pub(super) async fn sign_out(
    State(state): State<Arc<Shared>>,
    Extension(visitor): Extension<Visitor>,
    peer: Option<Extension<Peer>>,
) -> Response {
    state.console.sessions.end(&visitor);
    log::info!("console: {} has signed out", visitor.operator);
    let tls = peer.is_some_and(|peer| peer.tls);
    let gone = cookie(&state.console, "", Duration::ZERO, tls);
    (
        [(header::SET_COOKIE, gone)],
        Redirect::to("/console/sign-in"),
    )
        .into_response()
}

fn too_many(wait: Duration, refused: impl Fn(StatusCode, &str) -> Response) -> Response {
    let seconds = wait.as_millis().div_ceil(1000).max(1);
    let words = format!(
        "Too many wrong tokens. The next can be tried in {seconds} seconds; until then even the right one is refused."
    );
    let mut response = refused(StatusCode::TOO_MANY_REQUESTS, &words);
    if let Ok(seconds) = seconds.to_string().try_into() {
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

fn show(state: &Shared, status: StatusCode, next: String, notice: Option<Notice>) -> Response {
    let possible = !state.tokens.0.load().is_empty();
    page_with(
        status,
        &SignIn {
            next,
            possible,
            notice,
        },
    )
}

/// A path of the console, whatever was asked for: a sign-in never leads elsewhere.
fn own(next: &str) -> &str {
    let is_own = next.starts_with("/console/") && next.bytes().all(|byte| byte.is_ascii_graphic());
    if is_own { next } else { FIRST }
}

fn cookie(console: &Console, value: &str, age: Duration, tls: bool) -> String {
    let secure = if tls { "; Secure" } else { "" };
    format!(
        "{}={value}; Path=/console; Max-Age={}; HttpOnly; SameSite=Strict{secure}",
        console.cookie,
        age.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_leads_nowhere_else() {
        assert_eq!(own("/console/policy/chat?x=1"), "/console/policy/chat?x=1");
        for next in [
            "",
            "/",
            "//evil.example/console/",
            "https://evil.example/console/",
            "/console",
            "/console/\r\nset-cookie: a=b",
            "/consoles/",
        ] {
            assert_eq!(own(next), FIRST, "{next:?}");
        }
    }
}
