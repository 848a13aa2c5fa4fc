//! One exchange with one endpoint: a request out, an answer's head and then its body in.
//!
//! HTTP/1.1 goes through our own lean client ([`super::http1`]), HTTP/2 ([`http2`]) through Pingora's
//! session; from here on nobody has to know which. An exchange that is dropped before its end is cancelled:
//! the connection is closed, or the HTTP/2 stream reset.
//!
//! A pooled connection may turn out dead: its server closed it in the moment of its reuse. If not
//! a byte of an answer has come, the request goes out once more on a fresh connection, and nobody
//! counts it as an attempt. The same goes for a request whose stream the server refuses (`REFUSED_STREAM`): more of them
//! may have begun on a connection than it takes, before its settings said so.

mod http2;

use bytes::Bytes;
use http::HeaderMap;
use pingora_http::{RequestHeader, ResponseHeader};

use self::http2::Http2;

use super::backends::{Lease, Member};
use super::connect::{Connection, Home, Http2Stream};
use super::http1::Http1;
use super::judge::ExchangeFault;
use super::outgoing::Outgoing;
use super::room::Place;
use super::table::EndpointLinks;
use crate::policy::Target;
use crate::provider::ShownKey;

/// An answer whose head is here and whose body is still to be read.
pub(super) struct Exchange {
    /// The status and the headers, less those about the connection.
    pub(super) head: Box<ResponseHeader>,
    wire: Wire,
    /// The backend that answers.
    pub(super) backend: Lease,
    /// Held at the endpoint until the exchange is over.
    pub(super) place: Option<Place>,
}

enum Wire {
    Http1(Box<Http1>, Home),
    Http2(Http2),
}

/// Sends `outgoing` with `key` to `endpoint` and reads the answer's head.
///
/// # Errors
/// What happened instead of an answer. Timeouts are the caller's: it drops the future.
pub(super) async fn begin(
    endpoint: &EndpointLinks,
    key: &ShownKey,
    outgoing: &Outgoing,
    target: Option<&Target>,
) -> Result<Exchange, ExchangeFault> {
    let written_out = outgoing.written_out(target);
    let outgoing = written_out.as_ref().unwrap_or(outgoing);
    let mut last = ExchangeFault::Refused;
    let mut turn = endpoint.backends().turn(|name| outgoing.header(name));
    while let Some(backend) = turn.next() {
        match on_backend(endpoint, &backend, key, outgoing, target).await {
            Ok((head, wire)) => {
                return Ok(Exchange {
                    head,
                    wire,
                    backend,
                    place: None,
                });
            }
            // No connection, so nothing was sent: another address of the endpoint may do.
            Err(Failed::Connect(fault)) => last = fault,
            Err(Failed::Exchange(fault)) => return Err(fault),
        }
    }
    Err(last)
}

/// Sends a request without a body over a connection that nobody had before, to one backend alone.
///
/// # Errors
/// As [`begin`].
pub(super) async fn begin_get(
    backend: Lease,
    head: Box<RequestHeader>,
) -> Result<Exchange, ExchangeFault> {
    let answered = match backend.link.connect_anew().await? {
        Connection::Http1 { stream, home, .. } => {
            let mut http1 = Http1::new(stream);
            http1.send(&written(&head), [&[]; 3]).await?;
            let answer = http1.read_head(&head.method).await?;
            (answer, Wire::Http1(Box::new(http1), home))
        }
        Connection::Http2(stream) => {
            let mut http2 = Http2::new(stream);
            let answered = http2.exchange(head, [const { Bytes::new() }; 3]).await;
            let answer = answered.map_err(|unanswered| unanswered.fault)?;
            (answer, Wire::Http2(http2))
        }
    };
    let (head, wire) = answered;
    Ok(Exchange {
        head,
        wire,
        backend,
        place: None,
    })
}

/// A head without a body as it goes over the wire in HTTP/1.1.
fn written(head: &RequestHeader) -> Vec<u8> {
    let mut text = Vec::with_capacity(512);
    let target = head.raw_path();
    for part in [
        head.method.as_str().as_bytes(),
        b" ",
        target,
        b" HTTP/1.1\r\n",
    ] {
        text.extend_from_slice(part);
    }
    for (name, value) in &head.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
    text.extend_from_slice(b"\r\n");
    text
}

/// How often a request is sent again whose stream was refused.
const REFUSALS: usize = 2;

enum Failed {
    Connect(ExchangeFault),
    Exchange(ExchangeFault),
}

async fn on_backend(
    endpoint: &EndpointLinks,
    backend: &Member,
    key: &ShownKey,
    outgoing: &Outgoing,
    target: Option<&Target>,
) -> Result<(Box<ResponseHeader>, Wire), Failed> {
    let mut fresh = false;
    let mut refusals = 0;
    loop {
        let connection = backend.link.connect(fresh).await.map_err(Failed::Connect)?;
        let (reused, tried) = match connection {
            Connection::Http1 {
                stream,
                home,
                reused,
            } => {
                let head = outgoing.http1_head(endpoint, backend, key, target);
                let tried = over_http1(Box::new(Http1::new(stream)), &head, outgoing, target).await;
                let tried = tried.map(|(head, http1)| (head, Wire::Http1(http1, home)));
                (reused, tried)
            }
            Connection::Http2(stream) => {
                let reused = stream.reused;
                let exchange = over_http2(stream, endpoint, backend, key, outgoing, target);
                let tried = Box::pin(exchange).await;
                (reused, tried)
            }
        };
        match tried {
            Ok(answered) => return Ok(answered),
            Err(Unanswered { refused: true, .. }) if refusals < REFUSALS => {
                // By now the connection's limit is known; but it may be one that serves nobody any more.
                refusals += 1;
                fresh = refusals == REFUSALS;
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
    /// The server says that it has not begun with it: it may be sent again.
    refused: bool,
}

async fn over_http1(
    mut http1: Box<Http1>,
    head: &[u8],
    outgoing: &Outgoing,
    target: Option<&Target>,
) -> Result<(Box<ResponseHeader>, Box<Http1>), Unanswered> {
    let answered = async {
        http1.send(head, outgoing.pieces(target)).await?;
        http1.read_head(outgoing.method()).await
    };
    match answered.await {
        Ok(head) => Ok((head, http1)),
        Err(fault) => Err(Unanswered {
            silent: !http1.received_anything()
                && matches!(fault, ExchangeFault::Closed | ExchangeFault::Reset),
            refused: false,
            fault,
        }),
    }
}

async fn over_http2(
    stream: Box<Http2Stream>,
    endpoint: &EndpointLinks,
    backend: &Member,
    key: &ShownKey,
    outgoing: &Outgoing,
    target: Option<&Target>,
) -> Result<(Box<ResponseHeader>, Wire), Unanswered> {
    let unsendable = |fault| Unanswered {
        fault,
        silent: false,
        refused: false,
    };
    let (head, body) = outgoing
        .http2_parts(endpoint, backend, key, target)
        .map_err(unsendable)?;
    let mut http2 = Http2::new(stream);
    let head = http2.exchange(head, body).await?;
    Ok((head, Wire::Http2(http2)))
}

impl Exchange {
    /// The next piece of the body; `None` when it is complete.
    ///
    /// # Errors
    /// What broke it off.
    pub(super) async fn read(&mut self) -> Result<Option<Bytes>, ExchangeFault> {
        match &mut self.wire {
            Wire::Http1(http1, _) => http1.read_body().await,
            Wire::Http2(http2) => http2.read().await,
        }
    }

    /// The body, where it has come along with the head; then nothing of it is left to [`read`](Self::read).
    pub(super) fn take_body(&mut self) -> Option<Bytes> {
        match &mut self.wire {
            Wire::Http1(http1, _) => http1.take_body(),
            Wire::Http2(_) => None,
        }
    }

    /// The answer's head, for the client; what stays here says the status alone.
    pub(super) fn take_head(&mut self) -> Box<ResponseHeader> {
        match ResponseHeader::build_no_case(self.head.status, Some(0)) {
            Ok(rest) => std::mem::replace(&mut self.head, Box::new(rest)),
            Err(_) => self.head.clone(),
        }
    }

    /// How many bytes of body are still to come, where it is known.
    pub(super) const fn body_left(&self) -> Option<u64> {
        match &self.wire {
            Wire::Http1(http1, _) => http1.body_left(),
            Wire::Http2(http2) => http2.body_left(),
        }
    }

    /// The trailers, after the body's end.
    pub(super) async fn trailers(&mut self) -> Option<HeaderMap> {
        match &mut self.wire {
            Wire::Http1(http1, _) => http1.take_trailers(),
            Wire::Http2(http2) => http2.trailers().await,
        }
    }

    /// Puts the connection back for the next exchange, if this one has left it clean; what stays is
    /// the answer's head.
    pub(super) fn finish(self) -> Box<ResponseHeader> {
        if let Wire::Http1(http1, home) = self.wire
            && let Some(stream) = http1.into_idle()
        {
            self.backend.link.put_idle(stream, home);
        }
        self.head
    }
}
