//! An upstream's connection in HTTP/2: one task for the connection, one for each stream.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::reply::split;
use super::{Busy, Ending, HangUp, Link, Performed, Received, Reply, Step, reply_to};
use crate::support::socket::{Lever, Wire};
use crate::support::wire::Headers;

type Connection = server::Connection<Wire, Bytes>;

/// Serves one connection until it is closed, with so many `streams` at once where it has a limit.
pub(super) async fn serve(link: &Arc<Link>, wire: Wire, lever: Lever, streams: Option<u32>) {
    let greeting = Busy::with(link);
    let mut builder = server::Builder::new();
    if let Some(streams) = streams {
        builder.max_concurrent_streams(streams);
    }
    let mut connection = match builder.handshake(wire).await {
        Ok(connection) => connection,
        Err(error) => return improper(link, &error),
    };
    drop(greeting);
    let mut streams = JoinSet::new();
    if let Some(how) = accept(link, &mut connection, &mut streams).await {
        link.mark_cut();
        if how == HangUp::Reset {
            lever.reset_on_close();
        }
    }
    drop(connection);
    // Each notices that its connection is gone, and records it.
    while streams.join_next().await.is_some() {}
}

/// Accepts streams until the connection ends, or until a script or the test wants it ended.
async fn accept(
    link: &Arc<Link>,
    connection: &mut Connection,
    streams: &mut JoinSet<()>,
) -> Option<HangUp> {
    let (hang_up, mut hang_ups) = mpsc::unbounded_channel();
    let mut going_away = false;
    let mut reused = false;
    loop {
        tokio::select! {
            biased;
            Some(how) = hang_ups.recv() => {
                flush(connection).await;
                return Some(how);
            }
            how = link.told_to_hang_up(), if !going_away => match how {
                HangUp::Reset => return Some(how),
                HangUp::Close => {
                    going_away = true;
                    connection.graceful_shutdown();
                }
            },
            accepted = connection.accept() => match accepted? {
                Ok((request, respond)) => {
                    let stream = Stream { link: Arc::clone(link), hang_up: hang_up.clone(), reused };
                    streams.spawn(stream.exchange(request, respond, Busy::with(link)));
                    reused = true;
                }
                Err(error) => {
                    improper(link, &error);
                    return None;
                }
            },
        }
    }
}

/// Notes an error of the connection, where the caller broke the protocol and did not just leave.
fn improper(link: &Link, error: &h2::Error) {
    if !error.is_io() && !error.is_remote() {
        let id = link.id;
        let fault = format!("connection {id} is not proper HTTP/2: {error}");
        link.shared.fault(fault);
    }
}

/// Writes what the streams have queued: one turn of the connection does it.
async fn flush(connection: &mut Connection) {
    poll_fn(|context| {
        let _ = connection.poll_accept(context);
        Poll::Ready(())
    })
    .await;
}

struct Stream {
    link: Arc<Link>,
    /// Ends the whole connection.
    hang_up: mpsc::UnboundedSender<HangUp>,
    /// Whether the connection carried a request before.
    reused: bool,
}

impl Stream {
    async fn exchange(
        self,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        busy: Busy,
    ) {
        let (head, mut body) = request.into_parts();
        let mut received = self.received(&head);
        let shared = &self.link.shared;
        if let Some(reply) =
            shared.scripts(|scripts| scripts.after_head(received.path(), self.reused))
        {
            let number = self.link.begin(received.clone());
            self.answer(number, &reply, &head, respond, busy).await;
            read(&mut body, &mut received).await;
            shared.change(|record| record.exchanges[number].received = received);
            return;
        }
        read(&mut body, &mut received).await;
        let number = self.link.begin(received.clone());
        if !received.complete {
            return self.end(number, Performed::CallerGone);
        }
        let reply = reply_to(shared, &received, self.reused);
        self.answer(number, &reply, &head, respond, busy).await;
    }

    async fn answer(
        &self,
        number: usize,
        reply: &Reply,
        head: &http::request::Parts,
        respond: SendResponse<Bytes>,
        busy: Busy,
    ) {
        let mut sender = Sender::Head(respond);
        let mut busy = Some(busy);
        let performed = self.perform(reply, &head.method, &mut sender, &mut busy);
        let performed = performed.await.unwrap_or(Performed::CallerGone);
        self.end(number, performed);
        if let Performed::HangUp(how) = performed {
            self.link.mark_cut();
            // Where nobody receives it the connection is closed already.
            let _ = self.hang_up.send(how);
            // Dropped before the connection, the stream would still say that it is cancelled.
            let _ = poll_fn(|context| sender.poll_reset(context)).await;
        }
    }

    fn end(&self, number: usize, performed: Performed) {
        let ending = match performed.ending() {
            Ending::Cancelled if self.link.is_cut() => Ending::Cut,
            ending => ending,
        };
        self.link.end(number, ending);
    }

    fn received(&self, head: &http::request::Parts) -> Received {
        let target = head.uri.path_and_query();
        Received {
            method: head.method.to_string(),
            target: target.map(ToString::to_string).unwrap_or_default(),
            authority: head.uri.authority().map(ToString::to_string),
            version: head.version,
            headers: Headers::from(&head.headers),
            body: Bytes::new(),
            trailers: Headers::default(),
            complete: false,
            connection: self.link.id,
            sni: self.link.sni.clone(),
            client_certificate: self.link.client_certificate,
            at: Instant::now(),
        }
    }

    /// Does the reply. An error means that the caller has reset the stream or is gone.
    async fn perform(
        &self,
        reply: &Reply,
        method: &http::Method,
        sender: &mut Sender,
        busy: &mut Option<Busy>,
    ) -> Result<Performed, h2::Error> {
        if let Some(impossible) = reply.not_on_http2() {
            let fault = format!("HTTP/2 can't do what the script says: {impossible}");
            self.link.shared.fault(fault);
            return Ok(sender.reset(Reason::INTERNAL_ERROR));
        }
        if let Some(end) = self.steps(&reply.prelude, sender).await? {
            return Ok(end);
        }
        let Some(head) = &reply.head else {
            let end = self.steps(&reply.body, sender).await?;
            return Ok(end.unwrap_or_else(|| sender.reset(Reason::INTERNAL_ERROR)));
        };
        let mut steps = match reply.is_bodiless(method.as_str()) {
            true => Vec::new(),
            false => split(reply.body.clone(), reply.split.unwrap_or(usize::MAX)),
        };
        let has_body = !steps.is_empty() || !reply.trailers.is_empty();
        if !has_body {
            *busy = None;
        }
        sender.head(&head.interim, reply.http2_head(head), !has_body)?;
        // The last write carries END_STREAM, unless trailers do.
        let last = match steps.pop_if(|step| matches!(step, Step::Write(_))) {
            Some(Step::Write(bytes)) => bytes,
            _ => Bytes::new(),
        };
        if let Some(end) = self.steps(&steps, sender).await? {
            return Ok(end);
        }
        *busy = None;
        if has_body {
            sender.finish(last, &reply.trailers).await?;
        }
        Ok(Performed::Whole)
    }

    /// Does `steps`, up to one that ends the exchange.
    async fn steps(
        &self,
        steps: &[Step],
        sender: &mut Sender,
    ) -> Result<Option<Performed>, h2::Error> {
        for step in steps {
            match step {
                Step::Write(bytes) | Step::Raw(bytes) => sender.data(bytes.clone(), false).await?,
                Step::Wait(duration) => {
                    sender.unless_reset(tokio::time::sleep(*duration)).await?;
                }
                Step::Gate(name) => sender.unless_reset(self.link.shared.gate(name)).await?,
                Step::Hang => sender.unless_reset(std::future::pending()).await?,
                Step::Close => return Ok(Some(Performed::HangUp(HangUp::Close))),
                Step::Reset => return Ok(Some(Performed::HangUp(HangUp::Reset))),
                Step::ResetStream(reason) => return Ok(Some(sender.reset(*reason))),
            }
        }
        Ok(None)
    }
}

/// Reads the body into `received`, also as far as it comes.
async fn read(body: &mut RecvStream, received: &mut Received) {
    let mut whole = BytesMut::new();
    while let Some(Ok(part)) = body.data().await {
        whole.extend_from_slice(&part);
        // A stream that was reset meanwhile has no window to give back.
        let _ = body.flow_control().release_capacity(part.len());
    }
    received.body = whole.freeze();
    if let Ok(trailers) = body.trailers().await {
        received.complete = body.is_end_stream();
        received.trailers = trailers.as_ref().map(Headers::from).unwrap_or_default();
    }
}

/// The sending half of a stream.
enum Sender {
    /// Before the answer's head.
    Head(SendResponse<Bytes>),
    /// After it.
    Body(SendStream<Bytes>),
}

impl Sender {
    fn head(&mut self, interim: &[u16], head: Response<()>, ends: bool) -> Result<(), h2::Error> {
        let Self::Head(respond) = self else {
            unreachable!("the head is sent once")
        };
        for status in interim {
            let interim = Response::builder().status(*status).body(());
            respond.send_informational(interim.expect("an interim status"))?;
        }
        *self = Self::Body(respond.send_response(head, ends)?);
        Ok(())
    }

    /// One DATA frame, or more where the caller's window or the frame size demands it.
    async fn data(&mut self, mut bytes: Bytes, ends: bool) -> Result<(), h2::Error> {
        let Self::Body(stream) = self else {
            unreachable!("checked: nothing is written before the head")
        };
        while !bytes.is_empty() {
            stream.reserve_capacity(bytes.len());
            let granted = poll_fn(|context| stream.poll_capacity(context)).await;
            let granted = granted.ok_or(Reason::CANCEL)??.min(bytes.len());
            let part = bytes.split_to(granted);
            stream.send_data(part, ends && bytes.is_empty())?;
            if ends && bytes.is_empty() {
                return Ok(());
            }
        }
        match ends {
            true => stream.send_data(Bytes::new(), true),
            false => Ok(()),
        }
    }

    async fn finish(&mut self, last: Bytes, trailers: &Headers) -> Result<(), h2::Error> {
        self.data(last, trailers.is_empty()).await?;
        match self {
            Self::Body(stream) if !trailers.is_empty() => stream.send_trailers(trailers.into()),
            _ => Ok(()),
        }
    }

    fn reset(&mut self, reason: Reason) -> Performed {
        match self {
            Self::Head(respond) => respond.send_reset(reason),
            Self::Body(stream) => stream.send_reset(reason),
        }
        Performed::StreamReset
    }

    /// `future`, unless the caller resets the stream or leaves before.
    async fn unless_reset(&mut self, future: impl Future<Output = ()>) -> Result<(), h2::Error> {
        tokio::select! {
            () = future => Ok(()),
            reset = poll_fn(|context| self.poll_reset(context)) => Err(reset?.into()),
        }
    }

    fn poll_reset(&mut self, context: &mut Context<'_>) -> Poll<Result<Reason, h2::Error>> {
        match self {
            Self::Head(respond) => respond.poll_reset(context),
            Self::Body(stream) => stream.poll_reset(context),
        }
    }
}
