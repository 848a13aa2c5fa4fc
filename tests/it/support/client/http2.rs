//! A client's connection in HTTP/2.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::ready;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};

use super::response::{End, Source};
use super::{Body, NoAnswer, Request, ResponseStream};
use crate::support::socket::{Lever, Unread, Wire};
use crate::support::wait::Task;
use crate::support::wire::{Headers, ResponseHead};

/// One connection; clones share it, and it closes with the last.
#[derive(Clone)]
pub(super) struct Session {
    send: SendRequest<Bytes>,
    driver: Arc<Driver>,
}

/// What moves the bytes of a connection.
struct Driver {
    task: Task,
    lever: Mutex<Option<Lever>>,
}

impl Session {
    pub(super) async fn start(wire: Wire, lever: Lever) -> Result<Self, NoAnswer> {
        let (send, connection) = h2::client::handshake(wire)
            .await
            .map_err(NoAnswer::Stream)?;
        let task = Task::spawn(async {
            // Its error reaches every stream.
            let _ = connection.await;
        });
        let lever = Mutex::new(Some(lever));
        let driver = Arc::new(Driver { task, lever });
        Ok(Self { send, driver })
    }

    /// Whether it can carry a request, after all that the server has said by now.
    pub(super) async fn is_open(&self) -> bool {
        while !self.driver.task.is_finished() {
            match self.driver.unread() {
                Unread::Nothing => return true,
                // Its driver is about to read them.
                Unread::Bytes => tokio::task::yield_now().await,
                Unread::End => return false,
            }
        }
        false
    }

    /// Resets the connection, with all its streams.
    fn reset(&self) {
        if let Some(lever) = self.driver.lever().take() {
            lever.reset_on_close();
        }
        self.driver.task.abort();
    }

    /// Sends `request` and reads the answer's head.
    pub(super) async fn exchange(self, request: &Request) -> Result<ResponseStream, NoAnswer> {
        let mut send = self.send.clone().ready().await.map_err(NoAnswer::Stream)?;
        let bodiless = matches!(request.body, Body::None);
        let (answer, stream) = send
            .send_request(head(request), bodiless)
            .map_err(NoAnswer::Stream)?;
        let sending = Task::spawn(send_body(stream, request.body.pieces(), bodiless));
        let mut interim = Vec::new();
        let answer = with_interim(answer, &mut interim).await;
        let (head, body) = answer.map_err(NoAnswer::Stream)?.into_parts();
        let incoming = Incoming {
            body,
            session: self,
            _sending: sending,
            error: None,
        };
        let head = response_head(head.status, &head.headers);
        Ok(ResponseStream::new(head, interim, Source::Http2(incoming)))
    }
}

impl Driver {
    fn lever(&self) -> MutexGuard<'_, Option<Lever>> {
        self.lever.lock().expect("no panic while it was held")
    }

    fn unread(&self) -> Unread {
        self.lever().as_ref().map_or(Unread::End, Lever::unread)
    }
}

/// Each piece in a DATA frame of its own, as far as the server's window allows it.
async fn send_body(mut stream: SendStream<Bytes>, pieces: Vec<Bytes>, sent: bool) {
    if sent {
        return;
    }
    // It fails where the server has answered and resets the stream; the answer tells.
    let refused = async {
        for mut piece in pieces {
            while !piece.is_empty() {
                stream.reserve_capacity(piece.len());
                let granted = poll_fn(|context| stream.poll_capacity(context)).await;
                let granted = granted.ok_or(h2::Reason::CANCEL)??.min(piece.len());
                stream.send_data(piece.split_to(granted), false)?;
            }
        }
        stream.send_data(Bytes::new(), true)
    };
    let _ = refused.await;
}

fn head(request: &Request) -> http::Request<()> {
    assert!(
        !request.http10 && !request.expect_continue,
        "only HTTP/1.1 can do this: {request}"
    );
    let mut headers = http::HeaderMap::from(&request.headers);
    headers.extend(http::HeaderMap::from(&request.body_headers()));
    headers.remove("host");
    let (scheme, authority, path) = (request.scheme(), request.authority(), &request.path);
    let mut head = http::Request::new(());
    *head.method_mut() = request.method.parse().expect("a method");
    *head.uri_mut() = format!("{scheme}://{authority}{path}")
        .parse()
        .expect("a URL");
    *head.version_mut() = http::Version::HTTP_2;
    *head.headers_mut() = headers;
    head
}

async fn with_interim(
    mut answer: ResponseFuture,
    interim: &mut Vec<ResponseHead>,
) -> Result<http::Response<RecvStream>, h2::Error> {
    poll_fn(|context| {
        // Polling for the answer drops interim ones, so it is not done before that is there.
        while let Some(head) = ready!(answer.poll_informational(context)) {
            let head = head?;
            interim.push(response_head(head.status(), head.headers()));
        }
        Pin::new(&mut answer).poll(context)
    })
    .await
}

fn response_head(status: http::StatusCode, headers: &http::HeaderMap) -> ResponseHead {
    ResponseHead {
        status: status.as_u16(),
        version: http::Version::HTTP_2,
        headers: Headers::from(headers),
    }
}

/// The rest of an answer whose head was read. Dropping it cancels the stream.
pub(super) struct Incoming {
    body: RecvStream,
    session: Session,
    _sending: Task,
    error: Option<h2::Error>,
}

impl Incoming {
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        match self.body.data().await? {
            Ok(data) => {
                // A stream that was reset meanwhile has no window to give back.
                let _ = self.body.flow_control().release_capacity(data.len());
                Some(data)
            }
            Err(error) => {
                self.error = Some(error);
                None
            }
        }
    }

    pub(super) async fn end(mut self) -> End {
        let trailers = match &self.error {
            None => self.body.trailers().await,
            Some(_) => Ok(None),
        };
        let (trailers, late_error) = match trailers {
            Ok(trailers) => (trailers, None),
            Err(error) => (None, Some(error)),
        };
        let error = self.error.or(late_error);
        let connection_failed = |error: &h2::Error| error.is_io() || error.is_go_away();
        let closed = error.as_ref().is_some_and(connection_failed) || !self.session.is_open().await;
        End {
            complete: error.is_none(),
            closed,
            reset: error.as_ref().is_some_and(h2::Error::is_reset),
            trailers: trailers.as_ref().map(Headers::from).unwrap_or_default(),
        }
    }

    pub(super) fn reset(self) {
        self.session.reset();
    }
}
