//! Answers, whole or as they come.

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use super::http1::Incoming;
use super::http2;
use crate::support::sse::{self, Event, Transcript};
use crate::support::wait::within;
use crate::support::wire::{Headers, ResponseHead};

/// Why there is no answer at all. A malformed answer is none of these: it panics.
#[derive(Debug)]
pub enum NoAnswer {
    /// No connection was made.
    Refused(io::Error),
    /// The TLS handshake failed.
    Tls(io::Error),
    /// The connection was closed in order before the end of a head.
    Closed,
    /// The connection was reset before the end of a head.
    Reset(io::Error),
    /// The HTTP/2 stream or its connection failed before a head.
    Stream(h2::Error),
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// 1.0, 1.1 or 2.
    pub version: http::Version,
    /// The header fields.
    pub headers: Headers,
    /// The interim answers (1xx) before it.
    pub interim: Vec<ResponseHead>,
    /// The body, without its framing, as far as it came.
    pub body: Bytes,
    /// The trailer fields.
    pub trailers: Headers,
    /// Whether the framing ended properly: the declared length, the last chunk, END_STREAM; where
    /// nothing was declared, FIN.
    pub complete: bool,
    /// Whether the connection is closed. A close that the answer announces is waited for.
    pub closed: bool,
    /// Whether the end was a reset: RST, on HTTP/2 also RST_STREAM.
    pub reset: bool,
}

impl Response {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// The body as text. Panics where it is not UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body)
            .unwrap_or_else(|_| panic!("a body that is not UTF-8: {:?}", self.body))
    }

    /// The body as JSON. Panics where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}) in {self:?}"))
    }

    /// The body's events. Panics where the last is cut, unless the whole answer is.
    pub fn events(&self) -> Vec<Event> {
        match self.complete {
            true => sse::events(&self.body),
            false => sse::Parser::default().feed(&self.body, Instant::now()),
        }
    }

    /// What the body's events say together.
    pub fn transcript(&self) -> Transcript {
        Transcript::of(&self.events())
    }

    /// The text of the answer of a model, streamed or not, OpenAI's or Anthropic's. Panics where
    /// there is none.
    pub fn content(&self) -> String {
        let stream = self.header("content-type").unwrap_or_default();
        if stream.starts_with("text/event-stream") {
            return self.transcript().text;
        }
        let body = self.json();
        let text = body.pointer("/choices/0/message/content");
        let text = text.or_else(|| body.pointer("/content/0/text"));
        let text = text.and_then(Value::as_str);
        text.unwrap_or_else(|| panic!("no answer of a model: {self:?}"))
            .to_owned()
    }
}

/// A part of a body as it was framed: one chunk, on HTTP/2 one DATA frame.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Its content.
    pub data: Bytes,
    /// When its last byte was read.
    pub at: Instant,
}

/// An answer from its head on. Dropping it hangs up.
pub struct ResponseStream {
    /// The head, and once it was read the end.
    answer: Response,
    source: Source,
    parser: sse::Parser,
    events: VecDeque<Event>,
}

/// Where the body comes from.
pub(super) enum Source {
    Http1(Incoming),
    Http2(http2::Incoming),
    /// Its end was read.
    Ended,
}

/// How a body ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) complete: bool,
    pub(super) closed: bool,
    pub(super) reset: bool,
    pub(super) trailers: Headers,
}

impl ResponseStream {
    pub(super) fn new(head: ResponseHead, interim: Vec<ResponseHead>, source: Source) -> Self {
        Self {
            answer: Response {
                status: head.status,
                version: head.version,
                headers: head.headers,
                interim,
                body: Bytes::new(),
                trailers: Headers::default(),
                complete: false,
                closed: false,
                reset: false,
            },
            source,
            parser: sse::Parser::default(),
            events: VecDeque::new(),
        }
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.answer.status
    }

    /// The header fields.
    pub fn headers(&self) -> &Headers {
        &self.answer.headers
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.answer.header(name)
    }

    /// The next part of the body; none at its end: [`rest`](Self::rest) tells which end.
    #[track_caller]
    pub fn next_chunk(&mut self) -> impl Future<Output = Option<Chunk>> {
        within("the next chunk of an answer", self.read_chunk())
    }

    /// The next event of the body; none at its end.
    #[track_caller]
    pub fn next_event(&mut self) -> impl Future<Output = Option<Event>> {
        within("the next event of an answer", async {
            while self.events.is_empty() {
                let chunk = self.read_chunk().await?;
                self.events.extend(self.parser.feed(&chunk.data, chunk.at));
            }
            self.events.pop_front()
        })
    }

    /// The answer to its end, with what of its body was not taken before. After
    /// [`next_event`](Self::next_event) that begins with the first event that was not taken.
    #[track_caller]
    pub fn rest(mut self) -> impl Future<Output = Response> {
        within("the rest of an answer", async move {
            let mut body = BytesMut::new();
            for event in &self.events {
                body.extend_from_slice(&event.raw);
            }
            body.extend_from_slice(self.parser.unfinished());
            while let Some(chunk) = self.read_chunk().await {
                body.extend_from_slice(&chunk.data);
            }
            self.answer.body = body.freeze();
            self.answer
        })
    }

    /// Goes away in the usual manner: closes the connection, on HTTP/2 cancels the stream.
    pub fn hang_up(self) {
        drop(self);
    }

    /// Resets the connection (RST), also on HTTP/2.
    pub fn reset(self) {
        match self.source {
            Source::Http1(incoming) => incoming.reset(),
            Source::Http2(incoming) => incoming.reset(),
            Source::Ended => {}
        }
    }

    async fn read_chunk(&mut self) -> Option<Chunk> {
        let data = match &mut self.source {
            Source::Http1(incoming) => incoming.next().await,
            Source::Http2(incoming) => incoming.next().await,
            Source::Ended => return None,
        };
        if let Some(data) = data {
            let at = Instant::now();
            return Some(Chunk { data, at });
        }
        let end = match std::mem::replace(&mut self.source, Source::Ended) {
            Source::Http1(incoming) => incoming.end().await,
            Source::Http2(incoming) => incoming.end().await,
            Source::Ended => return None,
        };
        self.answer.complete = end.complete;
        self.answer.closed = end.closed;
        self.answer.reset = end.reset;
        self.answer.trailers = end.trailers;
        None
    }
}
