//! One exchange with one endpoint: a request out, an answer's head and then its body in.
//!
//! HTTP/1.1 goes through our own lean client ([`super::http1`]), HTTP/2 through Pingora's session;
//! from here on nobody has to know which. An exchange that is dropped before its end is cancelled:
//! the connection is closed, or the HTTP/2 stream reset.
//!
//! A pooled connection may turn out dead: its server closed it in the moment of its reuse. If not
//! a byte of an answer has come, the request goes out once more on a fresh connection, and nobody
//! counts it as an attempt.

use std::future::{pending, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use h2::SendStream;
use http::HeaderMap;
use pingora_core::{Error, ErrorType};
use pingora_http::ResponseHeader;

use super::connect::{Connection, Http2Stream, Link};
use super::http1::{Http1, say_length_once};
use super::judge::ExchangeFault;
use super::outgoing::Outgoing;
use super::table::EndpointLinks;
use crate::policy::Target;

/// An answer whose head is here and whose body is still to be read.
pub(super) struct Exchange {
    /// The status and the headers, less those about the connection.
    pub(super) head: Box<ResponseHeader>,
    wire: Wire,
    link: Arc<Link>,
    /// Which of the endpoint's backends answers.
    pub(super) backend: usize,
}

enum Wire {
    Http1(Box<Http1>),
    Http2(Box<Http2Stream>),
}

/// Sends `outgoing` to `endpoint` and reads the answer's head.
///
/// # Errors
/// What happened instead of an answer. Timeouts are the caller's: it drops the future.
pub(super) async fn begin(
    endpoint: &EndpointLinks,
    outgoing: &Outgoing,
    target: Option<&Target>,
) -> Result<Exchange, ExchangeFault> {
    let mut last = ExchangeFault::Refused;
    for backend in endpoint.backends_in_turn() {
        let link = endpoint.link(backend);
        match on_backend(endpoint, backend, link, outgoing, target).await {
            Ok(exchange) => return Ok(exchange),
            // No connection, so nothing was sent: another address of the endpoint may do.
            Err(Failed::Connect(fault)) => last = fault,
            Err(Failed::Exchange(fault)) => return Err(fault),
        }
    }
    Err(last)
}

enum Failed {
    Connect(ExchangeFault),
    Exchange(ExchangeFault),
}

async fn on_backend(
    endpoint: &EndpointLinks,
    backend: usize,
    link: &Arc<Link>,
    outgoing: &Outgoing,
    target: Option<&Target>,
) -> Result<Exchange, Failed> {
    let mut fresh = false;
    loop {
        let connection = link.connect(fresh).await.map_err(Failed::Connect)?;
        let (reused, tried) = match connection {
            Connection::Http1 { stream, reused } => {
                let head = outgoing.http1_head(endpoint, backend, target);
                let tried = over_http1(Http1::new(stream), &head, outgoing, target).await;
                (reused, tried)
            }
            Connection::Http2(stream) => {
                let reused = stream.reused;
                let exchange = over_http2(stream, endpoint, backend, outgoing, target);
                let tried = Box::pin(exchange).await;
                (reused, tried)
            }
        };
        match tried {
            Ok((head, wire)) => {
                return Ok(Exchange {
                    head,
                    wire,
                    link: link.clone(),
                    backend,
                });
            }
            Err(Unanswered { silent: true, .. }) if reused && !fresh => fresh = true,
            Err(Unanswered { fault, .. }) => return Err(Failed::Exchange(fault)),
        }
    }
}

/// An exchange without an answer's head.
struct Unanswered {
    fault: ExchangeFault,
    /// Not a byte has come back, and the connection is gone.
    silent: bool,
}

async fn over_http1(
    mut http1: Http1,
    head: &[u8],
    outgoing: &Outgoing,
    target: Option<&Target>,
) -> Result<(Box<ResponseHeader>, Wire), Unanswered> {
    let answered = async {
        http1.send(head, outgoing.pieces(target)).await?;
        http1.read_head(outgoing.method()).await
    };
    match answered.await {
        Ok(head) => Ok((head, Wire::Http1(Box::new(http1)))),
        Err(fault) => Err(Unanswered {
            silent: !http1.received_anything()
                && matches!(fault, ExchangeFault::Closed | ExchangeFault::Reset),
            fault,
        }),
    }
}

async fn over_http2(
    mut stream: Box<Http2Stream>,
    endpoint: &EndpointLinks,
    backend: usize,
    outgoing: &Outgoing,
    target: Option<&Target>,
) -> Result<(Box<ResponseHeader>, Wire), Unanswered> {
    let prepared = outgoing.http2_parts(endpoint, backend, target);
    let (Ok((head, pieces)), Ok(session)) = (prepared, stream.session()) else {
        return Err(Unanswered {
            fault: ExchangeFault::Malformed,
            silent: false,
        });
    };
    let empty = pieces.iter().all(Bytes::is_empty);
    let answered = async {
        session.write_request_header(head, empty)?;
        if let Some(body) = session.take_request_body_writer().filter(|_| !empty) {
            let sending = send_over_http2(body, pieces);
            let mut sending = pin!(sending);
            // A server may answer before it has read all: then the rest stays unsent.
            tokio::select! {
                biased;
                read = session.read_response_header() => read?,
                () = &mut sending => session.read_response_header().await?,
            }
        } else {
            session.read_response_header().await?;
        }
        session
            .response_header()
            .map(|head| Box::new(head.clone()))
            .ok_or_else(|| Error::new(ErrorType::InvalidHTTPHeader))
    };
    match answered.await {
        Ok(mut head) => {
            // From here on nobody has to know, the client's connection least of all.
            head.set_version(http::Version::HTTP_11);
            say_length_once(&mut head);
            Ok((head, Wire::Http2(stream)))
        }
        Err(error) => Err(Unanswered {
            silent: connection_died(&error),
            fault: http2_fault(&error),
        }),
    }
}

/// Sends a request's body as fast as the server takes it. What stops it is told by the answer, or by
/// its absence.
async fn send_over_http2(mut body: SendStream<Bytes>, pieces: [Bytes; 3]) {
    let mut pieces = pieces
        .into_iter()
        .filter(|piece| !piece.is_empty())
        .peekable();
    while let Some(mut piece) = pieces.next() {
        while !piece.is_empty() {
            body.reserve_capacity(piece.len());
            let Some(Ok(granted)) = poll_fn(|context| body.poll_capacity(context)).await else {
                return pending().await;
            };
            let part = piece.split_to(granted.min(piece.len()));
            let last = piece.is_empty() && pieces.peek().is_none();
            if body.send_data(part, last).is_err() {
                return pending().await;
            }
        }
    }
}

/// Whether the whole connection is gone or going, so that this request was not handled: not a
/// mere reset of its one stream, after which it may have been (RFC 9113, section 8.7).
fn connection_died(error: &Error) -> bool {
    match error.root_cause().downcast_ref::<h2::Error>() {
        Some(cause) => !cause.is_reset() || cause.reason() == Some(h2::Reason::REFUSED_STREAM),
        None => *error.etype() == ErrorType::ConnectionClosed,
    }
}

impl Exchange {
    /// The next piece of the body; `None` when it is complete.
    ///
    /// # Errors
    /// What broke it off.
    pub(super) async fn read(&mut self) -> Result<Option<Bytes>, ExchangeFault> {
        match &mut self.wire {
            Wire::Http1(http1) => http1.read_body().await,
            Wire::Http2(stream) => {
                let session = stream.session()?;
                let read = session.read_response_body().await;
                match read.map_err(|error| http2_body_fault(&error))? {
                    Some(piece) => Ok(Some(piece)),
                    None => match session.check_response_end_or_error() {
                        Ok(_) => Ok(None),
                        Err(error) => Err(http2_body_fault(&error)),
                    },
                }
            }
        }
    }

    /// How many bytes of body are still to come, where it is known.
    pub(super) fn body_left(&self) -> Option<u64> {
        match &self.wire {
            Wire::Http1(http1) => http1.body_left(),
            Wire::Http2(_) => {
                let length = self.head.headers.get(http::header::CONTENT_LENGTH)?;
                length.to_str().ok()?.parse().ok()
            }
        }
    }

    /// The trailers, after the body's end.
    pub(super) async fn trailers(&mut self) -> Option<HeaderMap> {
        match &mut self.wire {
            Wire::Http1(http1) => http1.take_trailers(),
            Wire::Http2(stream) => stream.session().ok()?.read_trailers().await.ok().flatten(),
        }
    }

    /// Puts the connection back for the next exchange, if this one has left it clean; what stays is
    /// the answer's head.
    pub(super) fn finish(self) -> Box<ResponseHeader> {
        if let Wire::Http1(http1) = self.wire
            && let Some(stream) = http1.into_idle()
        {
            self.link.put_idle(stream);
        }
        self.head
    }
}

fn http2_fault(error: &Error) -> ExchangeFault {
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
fn http2_body_fault(error: &Error) -> ExchangeFault {
    match http2_fault(error) {
        ExchangeFault::Closed => ExchangeFault::Truncated,
        fault => fault,
    }
}
