//! The caller of a request: what it has sent, what it is sent, and whether it is still there.

use std::future::{Future, pending};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use pingora_core::{Error, ErrorType};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use tokio::time::Instant;

/// Why a wait ended before what was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interrupted {
    /// The caller closed its connection, or reset its stream.
    ClientGone,
    /// The deadline has passed.
    Deadline,
}

/// Nobody takes what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// Why a request's body can't be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// The time between two reads has passed.
    TooSlow,
    /// It is not framed as the request's head says.
    Malformed,
    /// The caller has left.
    Gone,
}

/// The caller of a request.
pub(super) struct Client<'a> {
    session: &'a mut Session,
    /// Watching ends where a caller sends its next request before this one is answered: what has
    /// been read of it can't be put back, so its connection is closed after the answer.
    watching: bool,
}

impl<'a> Client<'a> {
    pub(super) const fn new(session: &'a mut Session) -> Self {
        Self {
            session,
            watching: true,
        }
    }

    /// The head of the request.
    pub(super) fn request(&self) -> &RequestHeader {
        self.session.req_header()
    }

    /// Where it comes from.
    pub(super) fn address(&self) -> Option<IpAddr> {
        let address = self.session.client_addr()?;
        address.as_inet().map(SocketAddr::ip)
    }

    pub(super) fn is_http2(&self) -> bool {
        self.session.as_downstream().is_http2()
    }

    /// Whether the head says that there is no body.
    pub(super) fn sends_no_body(&mut self) -> bool {
        self.session.as_downstream_mut().is_body_empty()
    }

    /// Whether the body has been read to its end.
    pub(super) fn is_body_done(&mut self) -> bool {
        self.session.as_downstream_mut().is_body_done()
    }

    /// How long it may take between two reads of the body.
    pub(super) fn set_read_timeout(&mut self, timeout: Duration) {
        let session = self.session.as_downstream_mut();
        session.set_read_timeout(Some(timeout));
    }

    /// The next piece of the request's body; `None` at its end.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn read_body(&mut self) -> Result<Option<Bytes>, Unreadable> {
        let session = self.session.as_downstream_mut();
        let read = session.read_request_body().await;
        read.map_err(|error| Unreadable::of(&error))
    }

    /// Tells the caller to send the body that it has announced.
    pub(super) async fn go_on(&mut self) -> Result<(), Gone> {
        let session = self.session.as_downstream_mut();
        // An answer before the body's end makes Pingora give the connection up, and it takes this one
        // for an answer.
        let keepalive = session.get_keepalive();
        let written = session.write_continue_response().await;
        session.set_keepalive(keepalive);
        written.map_err(|_| Gone)
    }

    /// The connection ends with this answer.
    pub(super) fn close_after(&mut self) {
        self.session.as_downstream_mut().set_keepalive(None);
    }

    /// Whether an answer has begun.
    pub(super) fn is_answered(&self) -> bool {
        self.session
            .response_written()
            .is_some_and(|head| !head.status.is_informational())
    }

    /// Begins an answer.
    pub(super) async fn write_head(&mut self, head: Box<ResponseHeader>) -> Result<(), Gone> {
        let session = self.session.as_downstream_mut();
        let written = session.write_response_header(head).await;
        written.map_err(|_| Gone)
    }

    /// Sends a piece of the answer's body; `last` ends it.
    pub(super) async fn write(&mut self, piece: Bytes, last: bool) -> Result<(), Gone> {
        let session = self.session.as_downstream_mut();
        let written = session.write_response_body(piece, last).await;
        written.map_err(|_| Gone)
    }

    /// Ends a body with trailers; to an HTTP/1.1 client without them, as Pingora's session has no way
    /// to send them there.
    pub(super) async fn end_with_trailers(&mut self, trailers: HeaderMap) -> Result<(), Gone> {
        if !self.is_http2() {
            return self.write(Bytes::new(), true).await;
        }
        let session = self.session.as_downstream_mut();
        let written = session.write_response_trailers(trailers).await;
        written.map_err(|_| Gone)
    }

    /// Cuts the answer off.
    pub(super) async fn shutdown(&mut self) {
        self.session.as_downstream_mut().shutdown().await;
    }

    /// Awaits `work`, but no longer than until `deadline` or until the caller leaves; then `work`
    /// is dropped, which cancels it.
    pub(super) async fn wait<T>(
        &mut self,
        deadline: Option<Instant>,
        work: impl Future<Output = T>,
    ) -> Result<T, Interrupted> {
        let too_late = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.gone() => Err(Interrupted::ClientGone),
            () = too_late => Err(Interrupted::Deadline),
        }
    }

    async fn gone(&mut self) {
        if self.watching {
            let idle = self.session.as_downstream_mut().read_body_or_idle(true);
            match idle.await {
                Err(error) if *error.etype() == ErrorType::ConnectError => {
                    self.watching = false;
                    self.close_after();
                }
                _ => return,
            }
        }
        pending::<()>().await;
    }
}

impl Unreadable {
    /// What an error of Pingora's means.
    pub(super) fn of(error: &Error) -> Self {
        match error.etype() {
            ErrorType::ReadTimedout => Self::TooSlow,
            ErrorType::Custom("InvalidChunk" | "InvalidTrailerEnd") => Self::Malformed,
            _ => Self::Gone,
        }
    }
}
