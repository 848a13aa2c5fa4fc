//! The caller of a request: what it has sent, what it is sent, and whether it is still there.

mod http1;

use std::future::{Future, pending};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::{Error, ErrorType};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::time::{Instant, timeout};

pub(super) use self::http1::Http1;
use super::admit::content_length;
use super::front::MalformedChunks;
use super::labels::Labels;
use super::timer::Timer;

/// How long telling a caller of the end may take.
const TO_SHUT_DOWN: Duration = Duration::from_secs(1);

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
pub(super) enum Gone {
    /// The caller closed its connection, or reset its stream.
    Left,
    /// It is there, and has taken nothing for as long as it may.
    Stalled,
}

impl Gone {
    /// What an error of Pingora's means.
    pub(super) fn of(error: &Error) -> Self {
        match error.etype() {
            ErrorType::WriteTimedout => Self::Stalled,
            _ => Self::Left,
        }
    }
}

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
    session: Session<'a>,
    /// Watching ends where a caller sends its next request before this one is answered: what has
    /// been read of it can't be put back, so its connection is closed after the answer.
    watching: bool,
}

/// Who speaks with the caller.
enum Session<'a> {
    /// HTTP/2, and what is not on the way of most requests.
    Pingora(&'a mut ServerSession, Timer),
    Http1(&'a mut Http1),
}

impl<'a> Client<'a> {
    /// A caller whose connection Pingora keeps.
    pub(super) fn pingora(session: &'a mut pingora_proxy::Session) -> Self {
        Self::new(Session::Pingora(
            session.as_downstream_mut(),
            Timer::default(),
        ))
    }

    /// A caller whose connection is ours.
    pub(super) const fn http1(session: &'a mut Http1) -> Self {
        Self::new(Session::Http1(session))
    }

    const fn new(session: Session<'a>) -> Self {
        Self {
            session,
            watching: true,
        }
    }

    /// The head of the request.
    pub(super) fn request(&self) -> &RequestHeader {
        match &self.session {
            Session::Pingora(session, _) => session.req_header(),
            Session::Http1(http1) => http1.request(),
        }
    }

    /// Where it comes from.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match &self.session {
            Session::Pingora(session, _) => session.client_addr()?.as_inet().map(SocketAddr::ip),
            Session::Http1(http1) => peer(http1.stream()),
        }
    }

    pub(super) fn is_http2(&self) -> bool {
        match &self.session {
            Session::Pingora(session, _) => session.is_http2(),
            Session::Http1(_) => false,
        }
    }

    /// Whether the head says that there is no body.
    pub(super) fn sends_no_body(&mut self) -> bool {
        match &mut self.session {
            Session::Pingora(session, _) => session.is_body_empty(),
            Session::Http1(http1) => !http1.has_body(),
        }
    }

    /// The length of the body, where the head promises one.
    pub(super) fn content_length(&self) -> Option<usize> {
        match &self.session {
            Session::Pingora(session, _) => content_length(&session.req_header().headers),
            Session::Http1(http1) => http1.promised(),
        }
    }

    /// Whether the body has been read to its end.
    pub(super) fn is_body_done(&mut self) -> bool {
        match &mut self.session {
            Session::Pingora(session, _) => session.is_body_done(),
            Session::Http1(http1) => http1.is_body_done(),
        }
    }

    /// Appends what has already come of the request's body to `whole`, and tells how much it is: 0 at
    /// its end, none where it has to be waited for.
    pub(super) fn take_body(&mut self, whole: &mut BytesMut) -> Option<usize> {
        match &mut self.session {
            Session::Pingora(..) => None,
            Session::Http1(http1) => http1.take_body(whole),
        }
    }

    /// Appends what comes next of the request's body to `whole`, and tells how much it is: 0 at its
    /// end.
    ///
    /// # Errors
    /// Why nothing comes. How long that may take is the caller's affair.
    pub(super) async fn read_body(&mut self, whole: &mut BytesMut) -> Result<usize, Unreadable> {
        let session = match &mut self.session {
            Session::Pingora(session, _) => session,
            Session::Http1(http1) => return http1.read_body(whole).await,
        };
        loop {
            let read = session.read_request_body().await;
            match read.map_err(|error| Unreadable::of(&error))? {
                Some(piece) if piece.is_empty() => {}
                Some(piece) => {
                    whole.extend_from_slice(&piece);
                    return Ok(piece.len());
                }
                None => return Ok(0),
            }
        }
    }

    /// Tells the caller to send the body that it has announced.
    pub(super) async fn go_on(&mut self) -> Result<(), Gone> {
        let session = match &mut self.session {
            Session::Pingora(session, _) => session,
            Session::Http1(http1) => return http1.go_on().await,
        };
        // An answer before the body's end makes Pingora give the connection up, and it takes this one
        // for an answer.
        let keepalive = session.get_keepalive();
        let written = session.write_continue_response().await;
        session.set_keepalive(keepalive);
        written.map_err(|error| Gone::of(&error))
    }

    /// The connection ends with this answer.
    pub(super) fn close_after(&mut self) {
        match &mut self.session {
            Session::Pingora(session, _) => session.set_keepalive(None),
            Session::Http1(http1) => http1.close_after(),
        }
    }

    /// Whether an answer has begun.
    pub(super) fn is_answered(&self) -> bool {
        match &self.session {
            Session::Pingora(session, _) => session
                .response_written()
                .is_some_and(|head| !head.status.is_informational()),
            Session::Http1(http1) => http1.is_answered(),
        }
    }

    /// Begins an answer. Its head may be held until the first piece of the body, or until there is
    /// something to [`wait`](Self::wait) for. Nothing stays in `head`: a caller may take its time with the
    /// body.
    pub(super) async fn write_head(
        &mut self,
        head: &mut ResponseHeader,
        labels: Labels<'_>,
    ) -> Result<(), Gone> {
        let (nothing, ()) = http::Response::new(()).into_parts();
        match &mut self.session {
            Session::Pingora(session, _) => {
                labels.put_on(head);
                let head = std::mem::replace(head, nothing.into());
                let written = session.write_response_header(Box::new(head)).await;
                written.map_err(|error| Gone::of(&error))
            }
            Session::Http1(http1) => {
                http1.write_head(head, labels);
                *head = nothing.into();
                Ok(())
            }
        }
    }

    /// Sends a piece of the answer's body; `last` ends it.
    pub(super) async fn write(&mut self, piece: &Bytes, last: bool) -> Result<(), Gone> {
        match &mut self.session {
            Session::Pingora(session, _) => {
                let written = session.write_response_body(piece.clone(), last).await;
                written.map_err(|error| Gone::of(&error))
            }
            Session::Http1(http1) => http1.write(piece, last).await,
        }
    }

    /// Ends a body with trailers.
    pub(super) async fn end_with_trailers(&mut self, trailers: HeaderMap) -> Result<(), Gone> {
        match &mut self.session {
            Session::Pingora(session, _) if session.is_http2() => {
                let written = session.write_response_trailers(trailers).await;
                written.map_err(|error| Gone::of(&error))
            }
            // It has no way to send them.
            Session::Pingora(..) => self.write(&Bytes::new(), true).await,
            Session::Http1(http1) => http1.end_with_trailers(&trailers).await,
        }
    }

    /// Cuts the answer off.
    pub(super) async fn shutdown(&mut self) {
        match &mut self.session {
            // A caller that takes nothing may not take its end, either.
            Session::Pingora(session, _) => {
                let _ = timeout(TO_SHUT_DOWN, session.shutdown()).await;
            }
            Session::Http1(http1) => http1.shutdown().await,
        }
    }

    /// Awaits `work`, but no longer than until `deadline` or until the caller leaves; then `work`
    /// is dropped, which cancels it.
    pub(super) async fn wait<T>(
        &mut self,
        deadline: Option<Instant>,
        work: impl Future<Output = T>,
    ) -> Result<T, Interrupted> {
        if let Session::Http1(http1) = &mut self.session {
            let flushed = http1.flush().await;
            flushed.map_err(|_| Interrupted::ClientGone)?;
        }
        let mut timer = std::mem::take(self.timer());
        let too_late = async {
            match deadline {
                Some(deadline) => timer.until(deadline).await,
                None => pending().await,
            }
        };
        let ended = tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.gone() => Err(Interrupted::ClientGone),
            () = too_late => Err(Interrupted::Deadline),
        };
        *self.timer() = timer;
        ended
    }

    const fn timer(&mut self) -> &mut Timer {
        match &mut self.session {
            Session::Pingora(_, timer) => timer,
            Session::Http1(http1) => http1.timer(),
        }
    }

    async fn gone(&mut self) {
        if self.watching {
            let early = match &mut self.session {
                Session::Pingora(session, _) => {
                    let idle = session.read_body_or_idle(true).await;
                    matches!(idle, Err(error) if *error.etype() == ErrorType::ConnectError)
                }
                Session::Http1(http1) => http1.early_or_gone().await.is_ok(),
            };
            if !early {
                return;
            }
            self.watching = false;
            self.close_after();
        }
        pending::<()>().await;
    }
}

/// The address of a connection's other end.
pub(super) fn peer(stream: &Stream) -> Option<IpAddr> {
    let digest = stream.get_socket_digest()?;
    Some(digest.peer_addr()?.as_inet()?.ip())
}

impl Unreadable {
    /// What an error of Pingora's means.
    pub(super) fn of(error: &Error) -> Self {
        match error.etype() {
            ErrorType::ReadTimedout => Self::TooSlow,
            ErrorType::Custom("InvalidChunk" | "InvalidTrailerEnd") => Self::Malformed,
            _ if is_malformed(error) => Self::Malformed,
            _ => Self::Gone,
        }
    }
}

/// Whether it was the body's framing that ended the reading of it.
fn is_malformed(error: &Error) -> bool {
    let cause = error.root_cause().downcast_ref::<io::Error>();
    let inner = cause.and_then(io::Error::get_ref);
    inner
        .and_then(|inner| inner.downcast_ref::<MalformedChunks>())
        .is_some()
}
