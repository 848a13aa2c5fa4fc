//! What every request passes before a page sees it.
//!
//! A change needs three things: a session (a cookie that no other site's request brings, by
//! `SameSite=Strict`), an `Origin` that is this host, and the session's own token, in a field
//! `csrf` of the form or in the header `x-csrf-token`. It is asked for here, so that no page can
//! forget it. Who can't go on is told how without losing what was typed: a request of htmx gets a
//! notice for the page that is there.

use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use subtle::ConstantTimeEq as _;

use super::LARGEST_FORM;
use super::frame::{self, Notice, is_htmx};
use super::sessions::Visitor;
use crate::admin::State as Shared;
use crate::admin::access::Operator;

/// A page may load what this host serves, and nothing that stands in the page itself.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The headers that every answer has.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // `no-referrer` would make browsers send `Origin: null`.
    (header::REFERRER_POLICY, "same-origin"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=()",
    ),
];

/// Where the token of a change may stand instead of in its form.
const CSRF_HEADER: &str = "x-csrf-token";

/// Adds the headers that every answer has; what is no asset isn't kept by anybody.
pub(super) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let keep = headers.entry(header::CACHE_CONTROL);
    keep.or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Lets whoever is signed in pass, with the changes that are their own.
pub(super) async fn session(
    State(state): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(visitor) = visitor(&state, request.headers()) else {
        return sign_in_first(&request);
    };
    let mut request = match own(request, &visitor).await {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    let operator = Operator(visitor.operator.clone());
    request.extensions_mut().insert(operator);
    request.extensions_mut().insert(visitor);
    next.run(request).await
}

/// Whose session a request belongs to.
pub(super) fn visitor(state: &Shared, headers: &HeaderMap) -> Option<Visitor> {
    let cookies = headers.get_all(header::COOKIE).iter();
    let pairs = cookies.filter_map(|cookie| cookie.to_str().ok());
    let mut pairs = pairs.flat_map(|cookies| cookies.split(';'));
    let id = pairs.find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == state.console.cookie).then_some(value)
    })?;
    let tokens = state.tokens.0.load();
    state.console.sessions.find(id, &tokens, Instant::now())
}

/// Whether a change was asked for by a page of this host: every browser says where it comes from.
pub(super) fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let authority = |text: &str| text.parse::<Authority>().ok();
    let origin = text(header::ORIGIN).and_then(|origin| authority(origin.split_once("://")?.1));
    let host = text(header::HOST).and_then(authority);
    origin.is_some() && origin == host
}

fn sign_in_first(request: &Request) -> Response {
    let link = "/console/sign-in";
    if is_htmx(request.headers()) {
        let notice = Notice::warning("Your session has ended. Nothing that you typed is lost: sign in in another tab, and send it again here.")
            .link(link, "Sign in");
        return frame::notice(StatusCode::UNAUTHORIZED, &notice);
    }
    if request.method() != Method::GET {
        return Redirect::to(link).into_response();
    }
    let path = request
        .uri()
        .path_and_query()
        .map_or("", |path| path.as_str());
    let path = utf8_percent_encode(path, NON_ALPHANUMERIC);
    Redirect::to(&format!("{link}?next={path}")).into_response()
}

/// The request, if it changes nothing or is the visitor's own.
async fn own(request: Request, visitor: &Visitor) -> Result<Request, Box<Response>> {
    if [Method::GET, Method::HEAD].contains(request.method()) {
        return Ok(request);
    }
    let refused = |status, words: &str| Box::new(frame::notice(status, &Notice::warning(words)));
    if !is_same_origin(request.headers()) {
        let words = "This change was asked for by a page of another site, and is not made.";
        return Err(refused(StatusCode::FORBIDDEN, words));
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LARGEST_FORM).await else {
        let words = "This is too much for one form, or was cut on its way.";
        return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, words));
    };
    let in_header = parts.headers.get(CSRF_HEADER).map(HeaderValue::as_bytes);
    let same = |token: &[u8]| bool::from(token.ct_eq(visitor.csrf.as_bytes()));
    if in_header.map_or_else(|| same(in_form(&body)), same) {
        return Ok(Request::from_parts(parts, Body::from(body)));
    }
    let words = "Your session is another one than when this page was opened. Nothing that you typed is lost: send it again.";
    let mut refusal = refused(StatusCode::FORBIDDEN, words);
    if is_htmx(&parts.headers)
        && let Ok(renew) = HeaderValue::try_from(format!(r#"{{"csrf":"{}"}}"#, visitor.csrf))
    {
        refusal.headers_mut().insert("hx-trigger", renew);
    }
    Err(refusal)
}

/// The token of a form: hexadecimal, so that it stands there as it is.
fn in_form(body: &[u8]) -> &[u8] {
    let mut fields = body.split(|byte| *byte == b'&');
    fields
        .find_map(|field| field.strip_prefix(b"csrf="))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_of_a_change_is_the_host_that_is_asked() {
        let asked = |origin: Option<&'static str>, host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            is_same_origin(&headers)
        };
        assert!(asked(Some("http://127.0.0.1:9090"), "127.0.0.1:9090"));
        assert!(asked(Some("https://Standin.example"), "standin.example"));
        for origin in [
            "http://127.0.0.1:8080",
            "http://127.0.0.1",
            "http://evil.example",
            "http://127.0.0.1:9090.evil.example",
            "null",
            "",
        ] {
            assert!(!asked(Some(origin), "127.0.0.1:9090"), "{origin}");
        }
        assert!(!asked(None, "127.0.0.1:9090"), "a browser says it");
    }
}
