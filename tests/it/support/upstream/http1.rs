//! An upstream's connection in HTTP/1.1, one exchange after another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;

use super::record::Shared;
use super::{Busy, Ending, HangUp, Link, Performed, Received, Reply, Step, reply_to};
use crate::support::socket::{Lever, Wire};
use crate::support::wire::{Body, Broken, Headers, Reader, RequestHead};

/// How long the rest of a request is read after an early reply that closes. Closing with unread
/// bytes would reset the connection, and the caller could lose the reply.
const LINGER: Duration = Duration::from_millis(500);

/// Does a reply that waits for no request.
pub(super) async fn greet(link: &Link, mut tcp: TcpStream, lever: Lever, reply: &Reply) {
    let steps = reply.on_the_wire("GET");
    match perform(steps, &mut tcp, &link.shared, || {}).await {
        Performed::HangUp(HangUp::Reset) => lever.reset_on_close(),
        _ => shut_down(&mut tcp).await,
    }
}

/// Serves one connection until it is closed.
pub(super) async fn serve(link: &Arc<Link>, wire: Wire, lever: Lever) {
    let (read, write) = tokio::io::split(wire);
    let mut connection = Connection {
        link,
        reader: Reader::new(read),
        write,
        exchanges: 0,
    };
    let hang_up = loop {
        match connection.next().await {
            Next::KeepAlive => connection.exchanges += 1,
            Next::HangUp(how) => break Some(how),
            Next::Gone => break None,
        }
    };
    match hang_up {
        Some(HangUp::Close) => shut_down(&mut connection.write).await,
        Some(HangUp::Reset) => lever.reset_on_close(),
        None => {}
    }
}

/// FIN, after close_notify where there is TLS.
async fn shut_down(write: &mut (impl AsyncWrite + Unpin)) {
    // It fails where the caller was faster, which is as well.
    let _ = write.shutdown().await;
}

struct Connection<'a> {
    link: &'a Arc<Link>,
    reader: Reader<ReadHalf<Wire>>,
    write: WriteHalf<Wire>,
    /// Exchanges that are over.
    exchanges: usize,
}

/// What becomes of the connection.
enum Next {
    KeepAlive,
    HangUp(HangUp),
    Gone,
}

impl Connection<'_> {
    /// Waits for a request, and answers it.
    async fn next(&mut self) -> Next {
        if self.reader.buffered().is_empty() {
            let more = tokio::select! {
                biased;
                how = self.link.told_to_hang_up() => return Next::HangUp(how),
                more = self.reader.fill() => more,
            };
            if !matches!(more, Ok(true)) {
                return Next::Gone;
            }
        }
        let mut busy = Some(Busy::with(self.link));
        let next = match self.exchange(&mut busy).await {
            Ok(next) => next,
            Err(Broken::Malformed(what)) => {
                let id = self.link.id;
                let fault = format!("connection {id} is not proper HTTP/1.1: {what}");
                self.link.shared.fault(fault);
                Next::HangUp(HangUp::Close)
            }
            Err(Broken::Closed | Broken::Reset(_)) => Next::Gone,
        };
        if !matches!(next, Next::KeepAlive) {
            self.link.mark_cut();
        }
        next
    }

    /// One exchange. An error is one of the request; it is recorded once its head is known.
    async fn exchange(&mut self, busy: &mut Option<Busy>) -> Result<Next, Broken> {
        let Some(head) = self.reader.request_head().await? else {
            return Ok(Next::Gone);
        };
        let mut received = self.received(&head);
        let mut body = Body::of_request(&head)?;
        let shared = Arc::clone(&self.link.shared);
        let reused = self.exchanges > 0;
        if let Some(reply) = shared.scripts(|scripts| scripts.after_head(received.path(), reused)) {
            return self.answer_early(&head, received, body, &reply, busy).await;
        }
        if head.headers.lists("expect", "100-continue") {
            let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
            self.write.write_all(go_on).await.map_err(Broken::Reset)?;
        }
        if let Err(broken) = read(&mut body, &mut self.reader, &mut received).await {
            let number = self.link.begin(received);
            self.link.end(number, Ending::Cancelled);
            return Err(broken);
        }
        let number = self.link.begin(received.clone());
        let reply = reply_to(&shared, &received, reused);
        let performed = self.answer(&reply, &head, busy).await;
        self.link.end(number, performed.ending());
        Ok(next(performed, &head, &reply))
    }

    /// An exchange whose reply comes before the request's body.
    async fn answer_early(
        &mut self,
        head: &RequestHead,
        mut received: Received,
        mut body: Body,
        reply: &Reply,
        busy: &mut Option<Busy>,
    ) -> Result<Next, Broken> {
        let number = self.link.begin(received.clone());
        let performed = self.answer(reply, head, busy).await;
        self.link.end(number, performed.ending());
        let next = next(performed, head, reply);
        let rest = self.read_rest(&next, &mut body, &mut received).await;
        self.link
            .shared
            .change(|record| record.exchanges[number].received = received);
        rest.map(|()| next)
    }

    /// Reads what is left of a request whose reply is written.
    async fn read_rest(
        &mut self,
        next: &Next,
        body: &mut Body,
        received: &mut Received,
    ) -> Result<(), Broken> {
        let rest = read(body, &mut self.reader, received);
        match next {
            Next::KeepAlive => rest.await,
            Next::HangUp(HangUp::Close) => {
                shut_down(&mut self.write).await;
                let in_time = tokio::time::timeout(LINGER, rest).await;
                in_time.unwrap_or(Ok(()))
            }
            Next::HangUp(HangUp::Reset) | Next::Gone => Ok(()),
        }
    }

    /// Writes the reply, while it watches whether the caller is still there.
    async fn answer(
        &mut self,
        reply: &Reply,
        head: &RequestHead,
        busy: &mut Option<Busy>,
    ) -> Performed {
        let steps = reply.on_the_wire(&head.method);
        let idle_next = || {
            if keeps_alive(head) && !reply.closes() {
                *busy = None;
            }
        };
        tokio::select! {
            biased;
            performed = perform(steps, &mut self.write, &self.link.shared, idle_next) => performed,
            () = caller_gone(&mut self.reader) => Performed::CallerGone,
        }
    }

    fn received(&self, head: &RequestHead) -> Received {
        Received {
            method: head.method.clone(),
            target: head.target.clone(),
            authority: head.headers.get("host").map(str::to_owned),
            version: head.version,
            headers: head.headers.clone(),
            body: Bytes::new(),
            trailers: Headers::default(),
            complete: false,
            connection: self.link.id,
            sni: self.link.sni.clone(),
            client_certificate: self.link.client_certificate,
            at: Instant::now(),
        }
    }
}

/// Reads the body into `received`, also as far as it comes.
async fn read(
    body: &mut Body,
    reader: &mut Reader<ReadHalf<Wire>>,
    received: &mut Received,
) -> Result<(), Broken> {
    let mut whole = BytesMut::new();
    let ended = loop {
        match body.next(reader).await {
            Ok(Some(part)) => whole.extend_from_slice(&part),
            Ok(None) => break Ok(()),
            Err(broken) => break Err(broken),
        }
    };
    received.body = whole.freeze();
    received.complete = ended.is_ok();
    received.trailers = std::mem::take(&mut body.trailers);
    ended
}

/// Whether the connection goes on.
fn next(performed: Performed, head: &RequestHead, reply: &Reply) -> Next {
    match performed {
        Performed::Whole if keeps_alive(head) && !reply.closes() => Next::KeepAlive,
        Performed::Whole | Performed::StreamReset => Next::HangUp(HangUp::Close),
        Performed::HangUp(how) => Next::HangUp(how),
        Performed::CallerGone => Next::Gone,
    }
}

fn keeps_alive(head: &RequestHead) -> bool {
    match head.version {
        http::Version::HTTP_10 => head.headers.lists("connection", "keep-alive"),
        _ => !head.headers.lists("connection", "close"),
    }
}

/// Until the caller has closed or reset the connection.
async fn caller_gone(reader: &mut Reader<ReadHalf<Wire>>) {
    while let Ok(true) = reader.fill().await {}
}

/// Does the steps. `before_last` is called before a write that is the last step: what it changes
/// is seen by whoever has read the whole reply.
async fn perform(
    steps: Vec<Step>,
    write: &mut (impl AsyncWrite + Unpin),
    shared: &Shared,
    mut before_last: impl FnMut(),
) -> Performed {
    let last = steps.len().saturating_sub(1);
    for (place, step) in steps.into_iter().enumerate() {
        match step {
            Step::Write(bytes) | Step::Raw(bytes) => {
                if place == last {
                    before_last();
                }
                if write.write_all(&bytes).await.is_err() || write.flush().await.is_err() {
                    return Performed::CallerGone;
                }
            }
            Step::Wait(duration) => tokio::time::sleep(duration).await,
            Step::Gate(name) => shared.gate(name).await,
            Step::Close => return Performed::HangUp(HangUp::Close),
            Step::Reset => return Performed::HangUp(HangUp::Reset),
            Step::Hang => std::future::pending().await,
            Step::ResetStream(reason) => {
                shared.fault(format!("HTTP/1.1 has no stream to reset with {reason}"));
                return Performed::HangUp(HangUp::Close);
            }
        }
    }
    Performed::Whole
}
