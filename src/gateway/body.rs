//! The whole body of a request, kept once: it is needed again at every attempt.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Version, header};
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use tokio::time::{Instant, timeout_at};

use super::admit::content_length;
use super::client::{Client, Unreadable};
use super::error::{Failure, Rejection};
use super::held_bytes::{HeldBytes, Share};
use crate::policy::Limits;

/// A length up to which a body's memory is taken at once, before it has come. Nothing of it is
/// touched, and so nothing used, until bytes arrive.
const RESERVED_AT_ONCE: usize = 4 << 20;

/// A body up to this length mostly comes with its head, and then lies where it was read.
const WITH_THE_HEAD: usize = 8 << 10;

/// A body and its share of what is held; given back when this goes.
pub(super) struct Body<'a> {
    pub(super) bytes: Bytes,
    /// From the end of the head to its last byte; nothing where it came with the head.
    pub(super) took: Duration,
    _share: Share<'a>,
}

/// Reads the body of a request whose head has been admitted; `expected`: as long as the head says.
///
/// # Errors
/// 413 over the limit, 503 where all requests together hold too much, 408 for a caller too slow,
/// 400 for broken chunks; `ClientGone`.
pub(super) async fn read<'a>(
    client: &mut Client<'_>,
    expected: Option<usize>,
    limits: &Limits,
    held: &'a HeldBytes,
) -> Result<Body<'a>, Failure> {
    let mut share = held.share();
    // Of what came with the head nobody needs to know when.
    let mut begun = None;
    if expects_continue(client.request()) {
        client.go_on().await?;
    }
    let mut whole = BytesMut::new();
    if let Some(length) = expected
        && length > WITH_THE_HEAD
    {
        whole.reserve(length.min(RESERVED_AT_ONCE));
    }
    loop {
        let read = match client.take_body(&mut whole) {
            Some(here) => here,
            None => {
                let begun = *begun.get_or_insert_with(Instant::now);
                let deadline = begun + limits.request_body_total;
                read_on(client, &mut whole, deadline, limits).await?
            }
        };
        if read == 0 {
            break;
        }
        if share.grow(read, limits.buffered_bodies).is_err() {
            return Err(Rejection::overloaded().into());
        }
        if share.bytes() > limits.request_body {
            return Err(Rejection::too_large(limits.request_body).into());
        }
    }
    Ok(Body {
        bytes: whole.freeze(),
        took: begun.map_or(Duration::ZERO, |begun| begun.elapsed()),
        _share: share,
    })
}

async fn read_on(
    client: &mut Client<'_>,
    whole: &mut BytesMut,
    deadline: Instant,
    limits: &Limits,
) -> Result<usize, Failure> {
    let next_read = Instant::now() + limits.request_body_timeout;
    match timeout_at(deadline.min(next_read), client.read_body(whole)).await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(unreadable)) => {
            let failure = failed_read(unreadable, limits);
            if let Failure::Rejected(_) = failure {
                // Where the next request would begin is anybody's guess.
                client.close_after();
            }
            Err(failure)
        }
        Err(_) if next_read < deadline => {
            Err(Rejection::too_slow(limits.request_body_timeout).into())
        }
        Err(_) => Err(Rejection::too_slow(limits.request_body_total).into()),
    }
}

/// What it means that a body could not be read.
pub(super) fn failed_read(unreadable: Unreadable, limits: &Limits) -> Failure {
    match unreadable {
        Unreadable::TooSlow => Rejection::too_slow(limits.request_body_timeout).into(),
        Unreadable::Malformed => Rejection::bad_request(
            "invalid_body_framing",
            "The request's body is not framed as its head says: its chunks are malformed.",
        )
        .into(),
        Unreadable::Gone => Failure::ClientGone,
    }
}

/// Admits a body that Pingora will read and pass on, piece by piece.
///
/// # Errors
/// 413 for a length over the limit, before a byte of it is read.
pub(super) fn pass_on(session: &mut Session, limits: &Limits) -> Result<(), Rejection> {
    let length = content_length(&session.req_header().headers);
    if length.is_some_and(|length| length > limits.request_body) {
        return Err(Rejection::too_large(limits.request_body));
    }
    let session = session.as_downstream_mut();
    session.set_read_timeout(Some(limits.request_body_timeout));
    Ok(())
}

/// Whether the client waits for a word before it sends the body. In HTTP/1.0 there is no such word
/// (RFC 9110, section 10.1.1).
fn expects_continue(request: &RequestHeader) -> bool {
    request.version != Version::HTTP_10
        && request
            .headers
            .get(header::EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
