//! What an upstream answers, down to the byte and the moment.
//!
//! A [`Reply`] is built like an ordinary answer and then bent: held back, delayed, cut, split, or
//! ended by a close or a reset. It is made of [`Step`]s:
//!
//! ```text
//! prelude  ─▶  head  ─▶  body steps  ─▶  the framing's end  ─▶  keep-alive
//! (waits)               (each write is     (last chunk,
//!                        one chunk or       END_STREAM)
//!                        one DATA frame)
//! ```
//!
//! A step that ends the connection or hangs is the last one done: what would follow is left out, so
//! `Reply::sse(events).then(Step::Reset)` lacks its last chunk.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::support::bodies;
use crate::support::wire::Headers;

/// The pause between the pieces of a split reply: long enough for the reader to see each alone.
const BETWEEN_PIECES: Duration = Duration::from_millis(1);

/// One thing that an upstream does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Writes a part of the body and flushes it: in a chunked answer one chunk, on HTTP/2 one DATA
    /// frame.
    Write(Bytes),
    /// Writes to the connection what no framing surrounds. HTTP/1.1 only.
    Raw(Bytes),
    /// Does nothing for a while.
    Wait(Duration),
    /// Waits until the test opens the gate of this name.
    Gate(&'static str),
    /// Closes the connection in order: FIN, with TLS after close_notify.
    Close,
    /// Resets the connection: RST.
    Reset,
    /// Resets the stream with this reason. HTTP/2 only.
    ResetStream(h2::Reason),
    /// Never goes on.
    Hang,
}

impl Step {
    /// Writes a part of the body.
    pub fn write(bytes: impl Into<Bytes>) -> Self {
        Self::Write(bytes.into())
    }
}

/// When a reply begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timing {
    /// When the connection is accepted, before a byte (with TLS: of the handshake) is read.
    OnConnect,
    /// When the request's head was read. The body is read after the reply.
    AfterHead,
    /// When the request was read.
    AfterRequest,
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(super) timing: Timing,
    pub(super) if_reused: bool,
    pub(super) prelude: Vec<Step>,
    /// None: the body steps are the whole wire.
    pub(super) head: Option<Head>,
    pub(super) body: Vec<Step>,
    pub(super) trailers: Headers,
    framing: Framing,
    pub(super) cut: Option<(usize, Step)>,
    pub(super) split: Option<usize>,
}

/// The head of an answer.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) interim: Vec<u16>,
    pub(super) status: u16,
    pub(super) headers: Headers,
}

/// How an HTTP/1.1 body ends, unless a header says it.
#[derive(Clone, Copy, Debug)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// Ordinary answers.
impl Reply {
    /// An answer without a body.
    pub fn status(status: u16) -> Self {
        Self {
            timing: Timing::AfterRequest,
            if_reused: false,
            prelude: Vec::new(),
            head: Some(Head {
                interim: Vec::new(),
                status,
                headers: Headers::default(),
            }),
            body: Vec::new(),
            trailers: Headers::default(),
            framing: Framing::Length(0),
            cut: None,
            split: None,
        }
    }

    /// A JSON answer.
    pub fn json(status: u16, value: &Value) -> Self {
        Self::status(status)
            .header("content-type", "application/json")
            .body(value.to_string())
    }

    /// A chat completion of OpenAI.
    pub fn chat(model: &str, text: &str) -> Self {
        Self::json(200, &bodies::chat_completion(model, text))
    }

    /// A chat stream of OpenAI: see [`bodies::chat_events`].
    pub fn chat_stream(model: &str, tokens: &[&str]) -> Self {
        Self::sse(bodies::chat_events(model, tokens))
    }

    /// A message stream of Anthropic: see [`bodies::anthropic_events`].
    pub fn anthropic_stream(model: &str, tokens: &[&str]) -> Self {
        Self::sse(bodies::anthropic_events(model, tokens))
    }

    /// A stream of events, each given with its empty line and written alone.
    pub fn sse<E: Into<Bytes>>(events: impl IntoIterator<Item = E>) -> Self {
        Self::status(200)
            .header("content-type", "text/event-stream; charset=utf-8")
            .header("cache-control", "no-cache")
            .chunked(events)
    }

    /// Adds a header. One that declares the body's length is believed: nothing else is declared,
    /// and the body is written as it is (with `transfer-encoding: chunked`: in chunks).
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.head_mut()
            .headers
            .push(name, Bytes::copy_from_slice(value.as_bytes()));
        self
    }

    /// The whole body, with its length declared.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        self.framing = Framing::Length(body.len());
        self.body = vec![Step::Write(body)];
        self
    }

    /// The body as pieces, each a chunk of its own.
    pub fn chunked<P: Into<Bytes>>(self, pieces: impl IntoIterator<Item = P>) -> Self {
        self.steps(pieces.into_iter().map(Step::write))
    }

    /// The body as steps, chunked.
    pub fn steps(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.framing = Framing::Chunked;
        self.body = steps.into_iter().collect();
        self
    }

    /// Declares no length: the end of the connection ends the body. HTTP/1.1 only.
    pub fn until_close(mut self) -> Self {
        self.framing = Framing::UntilClose;
        self
    }

    /// Says `connection: close`, and closes.
    pub fn closing(self) -> Self {
        self.header("connection", "close")
    }

    /// An interim answer (`103`, …) before the answer.
    pub fn interim(mut self, status: u16) -> Self {
        self.head_mut().interim.push(status);
        self
    }

    /// A trailer field after a chunked body.
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers
            .push(name, Bytes::copy_from_slice(value.as_bytes()));
        self
    }

    fn head_mut(&mut self) -> &mut Head {
        let head = self.head.as_mut();
        head.expect("a reply of raw bytes has no headers: write them into the bytes")
    }
}

/// Answers that are none.
impl Reply {
    /// Does `steps` and nothing else: writes are bytes on the wire. HTTP/2 can't write so.
    pub fn script(steps: impl IntoIterator<Item = Step>) -> Self {
        let mut reply = Self::status(0);
        reply.head = None;
        reply.body = steps.into_iter().collect();
        reply
    }

    /// Writes `bytes` as they are. HTTP/1.1 only.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self::script([Step::write(bytes)])
    }

    /// Reads the request and never answers.
    pub fn hang() -> Self {
        Self::script([Step::Hang])
    }

    /// Reads the request and closes.
    pub fn close() -> Self {
        Self::script([Step::Close])
    }

    /// Reads the request and resets the connection.
    pub fn reset() -> Self {
        Self::script([Step::Reset])
    }

    /// HTTP/2: refuses the stream, which says that nothing was done and a new try is safe.
    pub fn refuse_stream() -> Self {
        Self::script([Step::ResetStream(h2::Reason::REFUSED_STREAM)])
    }

    /// Closes the next connection when it is accepted.
    pub fn close_before_reading() -> Self {
        Self::close().on_connect()
    }

    /// Resets the next connection when it is accepted.
    pub fn reset_before_reading() -> Self {
        Self::reset().on_connect()
    }

    /// Reads the next request that comes on a reused connection, and closes: what a pooled
    /// connection does whose keep-alive time just ran out.
    pub fn close_if_reused() -> Self {
        Self::close().if_reused()
    }

    /// Like [`close_if_reused`](Self::close_if_reused), with a reset.
    pub fn reset_if_reused() -> Self {
        Self::reset().if_reused()
    }
}

/// Bending an answer.
impl Reply {
    /// Is for the next connection that is accepted, at once.
    pub fn on_connect(mut self) -> Self {
        self.timing = Timing::OnConnect;
        self
    }

    /// Answers when the request's head was read, without waiting for its body.
    pub fn before_body(mut self) -> Self {
        self.timing = Timing::AfterHead;
        self
    }

    /// Is only for a request on a connection that carried one before; others get the reply that
    /// comes after this one.
    pub fn if_reused(mut self) -> Self {
        self.if_reused = true;
        self
    }

    /// Does `step` before the head.
    pub fn after(mut self, step: Step) -> Self {
        self.prelude.push(step);
        self
    }

    /// Waits before the head.
    pub fn delayed(self, delay: Duration) -> Self {
        self.after(Step::Wait(delay))
    }

    /// Waits before the head until the test opens the gate.
    pub fn held(self, gate: &'static str) -> Self {
        self.after(Step::Gate(gate))
    }

    /// Does `step` after the body scripted so far, before its proper end.
    pub fn then(mut self, step: Step) -> Self {
        self.body.push(step);
        self
    }

    /// Does `step` before the `nth` write of the body, counted from 0.
    pub fn before_write(mut self, nth: usize, step: Step) -> Self {
        let mut writes = self.body.iter().enumerate();
        let place = writes
            .by_ref()
            .filter(|(_, step)| matches!(step, Step::Write(_)))
            .nth(nth);
        let (place, _) = place.unwrap_or_else(|| panic!("the reply has no write {nth}"));
        self.body.insert(place, step);
        self
    }

    /// Ends the body after `bytes` of its content with `end`. A declared length stays what it was.
    pub fn cut_body_at(mut self, bytes: usize, end: Step) -> Self {
        self.body = cut(self.body, bytes, end);
        self
    }

    /// Ends the answer after `bytes` on the wire, head and framing included, with `end`.
    /// HTTP/1.1 only.
    pub fn cut_at(mut self, bytes: usize, end: Step) -> Self {
        self.cut = Some((bytes, end));
        self
    }

    /// Writes pieces of at most `bytes`, with pauses that keep them apart: of the whole wire, on
    /// HTTP/2 of the body.
    pub fn split_every(mut self, bytes: usize) -> Self {
        self.split = Some(bytes);
        self
    }
}

/// As HTTP/1.1 does it.
impl Reply {
    /// The steps of an answer to `method`, in which every write is bytes on the wire.
    pub(super) fn on_the_wire(&self, method: &str) -> Vec<Step> {
        let mut steps = self.prelude.clone();
        match &self.head {
            None => steps.extend(self.body.iter().cloned()),
            Some(head) => self.message(head, method, &mut steps),
        }
        if let Some((bytes, end)) = &self.cut {
            steps = cut(steps, *bytes, end.clone());
        }
        match self.split {
            None => steps,
            Some(bytes) => split(steps, bytes),
        }
    }

    fn message(&self, head: &Head, method: &str, steps: &mut Vec<Step>) {
        for interim in &head.interim {
            steps.push(Step::write(format!("HTTP/1.1 {interim} Interim\r\n\r\n")));
        }
        let declared = self.declared(head);
        let mut first = head.bytes(declared.as_ref());
        let mut rest = match self.is_bodiless(method) {
            true => Vec::new(),
            false => self.framed(head),
        };
        // An ordinary small answer is one write, as servers do it.
        if let (Framing::Length(_), Some(Step::Write(bytes))) = (self.framing, rest.first()) {
            first.extend_from_slice(bytes);
            rest.remove(0);
        }
        steps.push(Step::write(first));
        steps.extend(rest);
    }

    /// Whether the connection is closed after the whole answer.
    pub(super) fn closes(&self) -> bool {
        let says = |head: &Head| head.headers.lists("connection", "close");
        matches!(self.framing, Framing::UntilClose) || self.head.as_ref().is_some_and(says)
    }

    /// Whether an answer to `method` has no body whatever the script says.
    pub(super) fn is_bodiless(&self, method: &str) -> bool {
        let status = self.head.as_ref().map(|head| head.status);
        method == "HEAD" || matches!(status, Some(204 | 304))
    }

    /// The header that declares the body's length, unless the script has one.
    fn declared(&self, head: &Head) -> Option<(&'static str, String)> {
        let scripted = |name| head.headers.contains(name);
        if scripted("content-length") || scripted("transfer-encoding") || head.status == 204 {
            return None;
        }
        match self.framing {
            Framing::Length(length) => Some(("content-length", length.to_string())),
            Framing::Chunked => Some(("transfer-encoding", "chunked".to_owned())),
            Framing::UntilClose => None,
        }
    }

    /// The body's steps with chunks around its writes where it has them, and the last chunk.
    fn framed(&self, head: &Head) -> Vec<Step> {
        let length_scripted = head.headers.contains("content-length");
        let chunked = matches!(self.framing, Framing::Chunked) && !length_scripted
            || head.headers.lists("transfer-encoding", "chunked");
        if !chunked {
            return self.body.clone();
        }
        let mut steps: Vec<Step> = self.body.iter().map(chunk).collect();
        let mut end = b"0\r\n".to_vec();
        self.trailers.write_to(&mut end);
        end.extend_from_slice(b"\r\n");
        steps.push(Step::write(end));
        steps
    }
}

/// As HTTP/2 does it.
impl Reply {
    /// What of the reply only HTTP/1.1 can do.
    pub(super) fn not_on_http2(&self) -> Option<&'static str> {
        let writes = |step: &Step| matches!(step, Step::Write(_));
        let raw = |step: &Step| matches!(step, Step::Raw(_));
        match &self.head {
            _ if self.prelude.iter().chain(&self.body).any(raw) => Some("raw bytes"),
            _ if self.prelude.iter().any(writes) => Some("bytes before the head"),
            None if self.body.iter().any(writes) => Some("raw bytes"),
            _ if self.cut.is_some() => Some("a cut of the wire: use cut_body_at"),
            Some(head) if head.headers.contains("connection") => Some("a connection header"),
            _ => None,
        }
    }

    /// Status and headers.
    pub(super) fn http2_head(&self, head: &Head) -> http::Response<()> {
        let mut response = http::Response::new(());
        *response.status_mut() = http::StatusCode::from_u16(head.status).expect("a status");
        let mut headers = head.headers.clone();
        if let Some((name @ "content-length", value)) = self.declared(head) {
            headers.push(name, value);
        }
        *response.headers_mut() = http::HeaderMap::from(&headers);
        response
    }
}

impl Head {
    fn bytes(&self, declared: Option<&(&'static str, String)>) -> Vec<u8> {
        let status = http::StatusCode::from_u16(self.status).ok();
        let reason = status.and_then(|status| status.canonical_reason());
        let reason = reason.unwrap_or("Unknown");
        let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", self.status).into_bytes();
        let mut headers = self.headers.clone();
        if let Some((name, value)) = declared {
            headers.push(*name, value.clone());
        }
        headers.write_to(&mut bytes);
        bytes.extend_from_slice(b"\r\n");
        bytes
    }
}

/// A write as one chunk, in one write. An empty one would be the last chunk and is left out.
fn chunk(step: &Step) -> Step {
    match step {
        Step::Write(bytes) if bytes.is_empty() => Step::Wait(Duration::ZERO),
        Step::Write(bytes) => {
            let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
            chunk.extend_from_slice(bytes);
            chunk.extend_from_slice(b"\r\n");
            Step::write(chunk)
        }
        step => step.clone(),
    }
}

/// `steps` up to `limit` bytes, then `end`. Panics where there are not so many.
fn cut(steps: Vec<Step>, limit: usize, end: Step) -> Vec<Step> {
    let mut left = limit;
    let mut kept = Vec::new();
    for step in steps {
        if left == 0 {
            break;
        }
        kept.push(match step {
            Step::Write(bytes) | Step::Raw(bytes) => {
                let taken = left.min(bytes.len());
                left -= taken;
                Step::Write(bytes.slice(..taken))
            }
            step => step,
        });
    }
    assert_eq!(left, 0, "the reply has no {limit} bytes that could be cut");
    kept.push(end);
    kept
}

/// `steps` with every write in pieces of at most `size` bytes.
pub(super) fn split(steps: Vec<Step>, size: usize) -> Vec<Step> {
    let mut pieces = Vec::new();
    for step in steps {
        match step {
            Step::Write(bytes) => {
                for piece in bytes.chunks(size) {
                    pieces.push(Step::Write(bytes.slice_ref(piece)));
                    pieces.push(Step::Wait(BETWEEN_PIECES));
                }
            }
            step => pieces.push(step),
        }
    }
    pieces
}
