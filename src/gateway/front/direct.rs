//! Requests that never pass through Pingora: HTTP/1.1, of an operation with policies.
//!
//! They are most of what a gateway sees, and everything that their answer needs is ours already; what
//! Pingora's proxying would add is its cost. The rest (uploads, WebSockets, other operations) takes
//! its path, for which the head is handed over as it was read.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use httparse::{Header, Request};
use pingora_core::protocols::Stream;
use pingora_http::RequestHeader;

use crate::gateway::client::{Client, Http1};
use crate::gateway::proxy::{RequestContext, Sent};
use crate::gateway::respond;
use crate::gateway::serve::serve;
use crate::gateway::shared::Gateway;
use crate::gateway::table::Table;
use crate::gateway::timer::Timer;

/// The request whose head is `text`, which was read as `read`, if it is one to be served here.
pub(super) fn take_request(
    table: &Table,
    text: &Bytes,
    read: &Request<'_, '_>,
) -> Option<Box<RequestHeader>> {
    let method = Method::from_bytes(read.method?.as_bytes()).ok()?;
    if !is_ours(table, &method, read) {
        return None;
    }
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = method;
    parts.uri = target(text, read.path?)?;
    if read.version == Some(0) {
        parts.version = Version::HTTP_10;
    }
    // By Pingora's own methods each name would be read twice, and looked up once to be written in capitals.
    parts.headers = HeaderMap::try_with_capacity(read.headers.len()).ok()?;
    for header in read.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        let value = HeaderValue::from_maybe_shared(text.slice_ref(header.value)).ok()?;
        parts.headers.try_append(name, value).ok()?;
    }
    Some(Box::new(RequestHeader::from(parts)))
}

/// The target of an operation in the text of its head: it begins with the operation's path.
fn target(text: &Bytes, target: &str) -> Option<Uri> {
    Uri::from_maybe_shared(text.slice_ref(target.as_bytes())).ok()
}

/// Whether it invokes an operation with policies, by its path alone, and asks for no other protocol.
fn is_ours(table: &Table, method: &Method, request: &Request<'_, '_>) -> bool {
    let target = request.path.unwrap_or_default();
    let end = memchr::memchr(b'?', target.as_bytes()).unwrap_or(target.len());
    let path = &target[..end];
    let upgrades = |header: &Header<'_>| header.name.eq_ignore_ascii_case("upgrade");
    let operation = table.snapshot.operations.find(method, path);
    operation.is_ok_and(|(operation, _)| operation.routes.is_some())
        && !request.headers.iter().any(upgrades)
}

/// Serves a request to its end. Its name here is `id`, behind its head `read` has come, and it may be the `last`
/// one of its connection: that is given back where it can be used again.
pub(super) async fn serve_request(
    gateway: &Arc<Gateway>,
    table: Arc<Table>,
    id: Box<str>,
    (stream, timer): (Stream, Timer),
    request: Box<RequestHeader>,
    read: BytesMut,
    last: bool,
) -> Option<(Stream, Timer)> {
    let patience = table.snapshot.limits.response_write_timeout;
    let mut http1 = Http1::new(stream, timer, request, read, patience);
    if last || gateway.is_draining() {
        http1.close_after();
    }
    let mut ctx = RequestContext::new(gateway.clone(), table, id);
    let mut client = Client::http1(&mut http1);
    let mut reusable = true;
    if let Err(failure) = serve(gateway, &mut client, &mut ctx).await {
        ctx.record.error = Some(failure.code());
        reusable = respond::failure(&mut client, &failure, &ctx).await.reusable;
    }
    let sent = Sent {
        status: http1.status(),
        bytes_in: http1.body_read(),
        bytes_out: http1.body_written(),
    };
    ctx.account(sent);
    if reusable { http1.into_idle() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_what_pingora_takes_it_for() {
        for path in [
            "/v1/chat/completions",
            "/v1?api-version=2024-10-21&x=%20",
            "/v1beta/models/gemini:generateContent",
            "/v1beta/models/é:x",
            "/openai/deployments/%2e%2e/x",
            "//host/x",
            "/a?b?c",
            "/{x}",
            "/\"",
            "/<>",
            "/a b",
            "/\\",
            "/?",
            "/%zz",
        ] {
            let text = Bytes::from(format!("POST {path} HTTP/1.1"));
            let here = std::str::from_utf8(&text[5..5 + path.len()]).unwrap();
            let mut head = RequestHeader::build_no_case(Method::GET, b"/", None).unwrap();
            let read = head.set_raw_path(path.as_bytes()).ok();
            assert_eq!(
                target(&text, here),
                read.map(|()| head.uri.clone()),
                "{path}"
            );
        }
    }
}
