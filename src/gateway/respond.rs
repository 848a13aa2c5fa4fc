//! What the client gets: the head of an answer, an answer that is whole, or an error.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use pingora_http::ResponseHeader;

use super::admit::content_length;
use super::client::Client;
use super::error::{self, ErrorAnswer, Failure};
use super::hold::Whole;
use super::labels::{Labels, set};
use super::ledger::Ledger;
use super::proxy::RequestContext;

/// A request body up to this length is read to its end even where nobody wants it.
const SHORT_BODY: usize = 64 << 10;

/// How much, and for how long, is read of a body that nobody wants, for its sender's sake.
const LINGER_BYTES: usize = 8 << 20;
const LINGER_TIME: Duration = Duration::from_secs(2);

/// What a client's HTTP/2 connection has to write out an error event before the reset behind it. A
/// client that takes longer sees the reset alone.
const BEFORE_RESET: Duration = Duration::from_millis(100);

/// Sends an answer that is whole: its head and body leave together. What is left of it is the caller's to
/// drop: the client needn't wait for that.
///
/// # Errors
/// `ClientGone` where nobody takes it.
pub(super) async fn whole(
    client: &mut Client<'_>,
    whole: &mut Whole<'_>,
    request_id: &str,
    ledger: &Ledger,
) -> Result<(), Failure> {
    whole.forget_decoded();
    let Whole { head, body, .. } = whole;
    let labels = Labels::new(request_id, ledger);
    labels.make_room(head);
    say_length(head, &client.request().method, body.len());
    write_head(client, head, labels).await?;
    write(client, body, true).await
}

/// Says how long the body is that is sent. What an answer to HEAD would have its sender alone knows, and the length of
/// a 304 is that of something else (RFC 9110, section 8.6).
fn say_length(head: &mut ResponseHeader, method: &Method, length: usize) {
    match head.status {
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => {
            head.remove_header(&header::CONTENT_LENGTH);
        }
        _ if method == Method::HEAD || content_length(&head.headers) == Some(length) => {}
        _ => set(head, header::CONTENT_LENGTH, HeaderValue::from(length)),
    }
}

/// Begins an answer whose end is not here yet. Where its length isn't known it goes in chunks, or
/// to an HTTP/1.0 client until the connection's end.
pub(super) async fn begin(
    client: &mut Client<'_>,
    mut head: Box<ResponseHeader>,
    request_id: &str,
    ledger: &Ledger,
) -> Result<(), Failure> {
    let labels = Labels::new(request_id, ledger);
    labels.make_room(&mut head);
    let chunks = client.request().version == Version::HTTP_11;
    if chunks && !head.headers.contains_key(header::CONTENT_LENGTH) {
        set(
            &mut head,
            header::TRANSFER_ENCODING,
            HeaderValue::from_static("chunked"),
        );
    }
    write_head(client, &mut head, labels).await
}

/// Sends a piece of the body; `last` ends it.
pub(super) async fn write(
    client: &mut Client<'_>,
    piece: &Bytes,
    last: bool,
) -> Result<(), Failure> {
    Ok(client.write(piece, last).await?)
}

/// Ends a body with trailers.
pub(super) async fn end_with_trailers(
    client: &mut Client<'_>,
    trailers: HeaderMap,
) -> Result<(), Failure> {
    Ok(client.end_with_trailers(trailers).await?)
}

async fn write_head(
    client: &mut Client<'_>,
    head: &mut ResponseHeader,
    labels: Labels<'_>,
) -> Result<(), Failure> {
    // It is that of the upstream's connection, which need not be the client's.
    head.set_version(Version::HTTP_11);
    Ok(client.write_head(head, labels).await?)
}

/// What a client was told of a failure.
pub(super) struct Told {
    /// The status; none where an answer had begun, or nobody was there.
    pub(super) status: Option<StatusCode>,
    /// Its connection can be used again.
    pub(super) reusable: bool,
}

/// Answers a failure, or cuts what can't be completed. The connection stays usable where nothing
/// of the request is left on it and nothing of an answer was cut.
pub(super) async fn failure(
    client: &mut Client<'_>,
    failure: &Failure,
    ctx: &RequestContext,
) -> Told {
    let cut = |status| Told {
        status,
        reusable: false,
    };
    let begun = client.is_answered();
    let answer = error::answer(failure, ctx.dialect).filter(|_| !begun);
    let Some(answer) = answer else {
        // A reset overtakes what was written to an HTTP/2 stream, and nothing tells when that is out.
        if client.is_http2() && matches!(failure, Failure::Broken) {
            tokio::time::sleep(BEFORE_RESET).await;
        }
        client.shutdown().await;
        return cut(None);
    };
    let status = Some(answer.status);
    // A client that was too slow once isn't waited for again.
    let too_slow = answer.status == StatusCode::REQUEST_TIMEOUT;
    // Nobody knows where a panic has left its connection.
    let panicked = matches!(failure, Failure::Panicked);
    let drained = !too_slow && !panicked && drain_request(client).await;
    if !drained {
        client.close_after();
    }
    match error_answer(client, answer, ctx).await {
        Ok(()) if drained => Told {
            status,
            reusable: true,
        },
        Ok(()) => {
            if !too_slow {
                linger(client).await;
            }
            cut(status)
        }
        Err(_) => cut(None),
    }
}

/// Sends an answer that is this gateway's own, as JSON.
///
/// # Errors
/// `ClientGone` where nobody takes it.
pub(super) async fn own(
    client: &mut Client<'_>,
    body: Bytes,
    ctx: &RequestContext,
) -> Result<(), Failure> {
    let json = HeaderValue::from_static("application/json");
    let answer = ErrorAnswer {
        status: StatusCode::OK,
        headers: vec![(header::CONTENT_TYPE, json)],
        body,
    };
    error_answer(client, answer, ctx).await
}

async fn error_answer(
    client: &mut Client<'_>,
    answer: ErrorAnswer,
    ctx: &RequestContext,
) -> Result<(), Failure> {
    let gone = |_| Failure::ClientGone;
    let mut head = ResponseHeader::build_no_case(answer.status, Some(12)).map_err(gone)?;
    for (name, value) in answer.headers {
        set(&mut head, name, value);
    }
    set(
        &mut head,
        header::CONTENT_LENGTH,
        HeaderValue::from(answer.body.len()),
    );
    let is_head = client.request().method == Method::HEAD;
    let labels = Labels::new(&ctx.record.request_id, &ctx.ledger);
    write_head(client, &mut head, labels).await?;
    // The answer to HEAD says how long the body would be, and has none.
    let body = if is_head { Bytes::new() } else { answer.body };
    write(client, &body, true).await
}

/// Takes what is left of a short request body that is on its way anyway, so that the connection can
/// be used again. Whether nothing is left.
async fn drain_request(client: &mut Client<'_>) -> bool {
    let waits = client.request().headers.contains_key(header::EXPECT);
    let promised = client.content_length();
    let short = promised.is_none_or(|length| length <= SHORT_BODY);
    if client.is_body_done() {
        return true;
    }
    !waits && short && discard(client, SHORT_BODY).await
}

/// Reads on for a moment after an answer that came before the request's end: a client that is
/// still sending would otherwise see its connection reset before it has read the answer.
async fn linger(client: &mut Client<'_>) {
    discard(client, LINGER_BYTES).await;
}

/// Reads and forgets up to `limit` bytes of the request's body. Whether that was all of it.
async fn discard(client: &mut Client<'_>, limit: usize) -> bool {
    let reading = async {
        let mut read = 0;
        let mut piece = BytesMut::new();
        while read <= limit {
            match client.read_body(&mut piece).await {
                Ok(0) => return true,
                Ok(length) => read += length,
                Err(_) => return false,
            }
            piece.clear();
        }
        false
    };
    tokio::time::timeout(LINGER_TIME, reading)
        .await
        .unwrap_or(false)
}
