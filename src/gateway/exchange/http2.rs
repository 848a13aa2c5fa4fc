//! One request and its answer on a stream of an HTTP/2 connection, over Pingora's session.
//!
//! What HTTP/2 leaves open is settled here, so that the rest need not know of it:
//!
//! - a server may answer before it has read all: request and answer go at the same time, and when
//!   the answer's head is here the rest of the request stays unsent. Such a server may reset the
//!   stream with `NO_ERROR` behind its answer (RFC 9113, section 8.1), which is an end then;
//! - an answer's last byte and its end are two things. The last piece of a declared length is given
//!   out when its end has come: whoever has it has the whole answer, and may send the next request;
//! - servers take many short frames for a flood, and end the connection: of hyper's a hundred that nobody
//!   has read are too many, which fifty requests at once had. What is short of a body shares a frame.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::io;

use bytes::{Bytes, BytesMut};
use h2::{Reason, SendStream};
use http::{HeaderMap, StatusCode};
use pingora_core::{Error, ErrorType};
use pingora_http::{RequestHeader, ResponseHeader};

use super::Unanswered;
use crate::gateway::admit::content_length;
use crate::gateway::connect::Http2Stream;
use crate::gateway::http1::say_length_once;
use crate::gateway::judge::ExchangeFault;

/// What every server takes in one frame (RFC 9113, section 6.5.2).
const FRAME: usize = 16 << 10;

/// An exchange over HTTP/2. Dropped before its end it resets the stream.
pub(super) struct Http2 {
    stream: Box<Http2Stream>,
    /// How many bytes of body are still to come, where the answer said it.
    left: Option<u64>,
    /// The last piece of a body of a declared length, until its end has come.
    last: Option<Bytes>,
}

impl Http2 {
    pub(super) const fn new(stream: Box<Http2Stream>) -> Self {
        Self {
            stream,
            left: None,
            last: None,
        }
    }

    /// Sends a request and reads the answer's head.
    pub(super) async fn exchange(
        &mut self,
        request: Box<RequestHeader>,
        body: [Bytes; 3],
    ) -> Result<Box<ResponseHeader>, Unanswered> {
        let method = request.method.clone();
        match self.head(request, body).await {
            Ok(mut head) => {
                // From here on nobody has to know, the client's connection least of all.
                head.set_version(http::Version::HTTP_11);
                say_length_once(&mut head);
                let has_body =
                    method != http::Method::HEAD && head.status != StatusCode::NOT_MODIFIED;
                self.left = content_length(&head.headers)
                    .filter(|_| has_body)
                    .map(|length| length as u64);
                Ok(head)
            }
            Err(error) => Err(Unanswered {
                silent: connection_died(&error),
                refused: was_refused(&error),
                fault: fault(&error),
            }),
        }
    }

    async fn head(
        &mut self,
        request: Box<RequestHeader>,
        body: [Bytes; 3],
    ) -> Result<Box<ResponseHeader>, Box<Error>> {
        let closed = |_| Error::new(ErrorType::ConnectionClosed);
        let session = self.stream.session().map_err(closed)?;
        let empty = body.iter().all(Bytes::is_empty);
        session.write_request_header(request, empty)?;
        match session.take_request_body_writer() {
            Some(writer) if !empty => tokio::select! {
                biased;
                read = session.read_response_header() => read?,
                () = send(writer, body) => session.read_response_header().await?,
            },
            _ => session.read_response_header().await?,
        }
        session
            .response_header()
            .map(|head| Box::new(head.clone()))
            .ok_or_else(|| Error::new(ErrorType::InvalidHTTPHeader))
    }

    /// The next piece of the body; `None` when it is complete.
    ///
    /// # Errors
    /// What broke it off.
    pub(super) async fn read(&mut self) -> Result<Option<Bytes>, ExchangeFault> {
        let session = self.stream.session()?;
        let ended = loop {
            match session.read_response_body().await {
                Ok(Some(piece)) if piece.is_empty() => {}
                Ok(Some(piece)) => {
                    if let Some(left) = &mut self.left {
                        *left = left.saturating_sub(piece.len() as u64);
                    }
                    if self.left != Some(0) {
                        return Ok(Some(piece));
                    }
                    self.last = Some(piece);
                }
                Ok(None) => break session.check_response_end_or_error().map(|_| ()),
                Err(error) => break Err(error),
            }
        };
        match ended {
            Err(error) if !wants_no_more(&error) => Err(body_fault(&error)),
            _ if self.left.is_some_and(|left| left > 0) => Err(ExchangeFault::Truncated),
            _ => Ok(self.last.take()),
        }
    }

    /// How many bytes of body are still to come, where it is known.
    pub(super) const fn body_left(&self) -> Option<u64> {
        self.left
    }

    /// The trailers, after the body's end.
    pub(super) async fn trailers(&mut self) -> Option<HeaderMap> {
        let session = self.stream.session().ok()?;
        session.read_trailers().await.ok().flatten()
    }
}

/// Sends a request's body as fast as the server takes it. What stops it is told by the answer, or by
/// its absence.
async fn send(mut writer: SendStream<Bytes>, body: [Bytes; 3]) {
    let pieces = body.into_iter().filter(|piece| !piece.is_empty());
    let mut pieces: VecDeque<_> = pieces.collect();
    while let Some(mut piece) = next_piece(&mut pieces) {
        while !piece.is_empty() {
            writer.reserve_capacity(piece.len());
            let Some(Ok(granted)) = poll_fn(|context| writer.poll_capacity(context)).await else {
                return pending().await;
            };
            let part = piece.split_to(granted.min(piece.len()));
            let last = piece.is_empty() && pieces.is_empty();
            if writer.send_data(part, last).is_err() {
                return pending().await;
            }
        }
    }
}

/// Takes the next piece; a short one with as much of what follows as fills a frame.
fn next_piece(pieces: &mut VecDeque<Bytes>) -> Option<Bytes> {
    let first = pieces.pop_front()?;
    if first.len() >= FRAME || pieces.is_empty() {
        return Some(first);
    }
    let left: usize = pieces.iter().map(Bytes::len).sum();
    let mut joined = BytesMut::with_capacity(FRAME.min(first.len() + left));
    joined.extend_from_slice(&first);
    while joined.len() < FRAME
        && let Some(mut next) = pieces.pop_front()
    {
        joined.extend_from_slice(&next.split_to(next.len().min(FRAME - joined.len())));
        if !next.is_empty() {
            pieces.push_front(next);
        }
    }
    Some(joined.freeze())
}

/// Whether the whole connection is gone or going, so that this request was not handled: not a
/// mere reset of its one stream, after which it may have been.
fn connection_died(error: &Error) -> bool {
    match error.root_cause().downcast_ref::<h2::Error>() {
        Some(cause) => !cause.is_reset(),
        None => *error.etype() == ErrorType::ConnectionClosed,
    }
}

/// Whether the server says that it has done nothing for this request (RFC 9113, section 8.7).
fn was_refused(error: &Error) -> bool {
    let cause = error.root_cause().downcast_ref::<h2::Error>();
    cause.is_some_and(|cause| {
        cause.is_reset() && cause.is_remote() && cause.reason() == Some(Reason::REFUSED_STREAM)
    })
}

/// Whether the server has said all, and wants no more of the request.
fn wants_no_more(error: &Error) -> bool {
    let cause = error.root_cause().downcast_ref::<h2::Error>();
    cause.is_some_and(|cause| {
        cause.is_reset() && cause.is_remote() && cause.reason() == Some(Reason::NO_ERROR)
    })
}

fn fault(error: &Error) -> ExchangeFault {
    match error.etype() {
        ErrorType::ConnectionClosed => return ExchangeFault::Closed,
        ErrorType::InvalidH2 | ErrorType::InvalidHTTPHeader | ErrorType::H2Downgrade => {
            return ExchangeFault::Malformed;
        }
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => return ExchangeFault::Timeout,
        _ => {}
    }
    match error.root_cause().downcast_ref::<h2::Error>() {
        Some(cause) if cause.is_io() => match cause.get_io().map(io::Error::kind) {
            Some(io::ErrorKind::InvalidData) => ExchangeFault::Tls,
            // The connection has ended, and nobody has said why.
            Some(io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof) => ExchangeFault::Closed,
            _ => ExchangeFault::Reset,
        },
        // It was not the server that gave up, but we on what it sent.
        Some(cause) if cause.is_library() => ExchangeFault::Malformed,
        Some(cause) if cause.is_go_away() => ExchangeFault::Closed,
        _ => ExchangeFault::Reset,
    }
}

/// The same for an answer whose head is here.
fn body_fault(error: &Error) -> ExchangeFault {
    match fault(error) {
        ExchangeFault::Closed => ExchangeFault::Truncated,
        other => other,
    }
}

#[cfg(test)]
mod tests;
