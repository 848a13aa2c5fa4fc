//! A caller on HTTP/1.1, served without Pingora: one request, and the answer to it.
//!
//! Pingora's own session copies a request's header map, keeps 64 KiB beside each connection, writes
//! an answer's head apart from its body, and its proxying is a future of 15 KiB for each request.
//! Here the head comes as [`Front`](crate::gateway::Front) has read and checked it, a body of known
//! length is read into one allocation, and the answer's head leaves with the first piece of its
//! body.
//!
//! ```text
//! head (read by Front) ──> body ──> [100 Continue] ──> answer's head ──> pieces ──> end
//!                                                                          └─ cut: the connection is closed
//! into_idle: the connection, where nothing is left on it either way
//! ```
//!
//! A caller that sends its next request before it has the answer to this one gets that answer, and
//! then the connection is closed: what it has sent too early is never taken for a request, since it
//! may as well be the rest of a body that somebody has framed otherwise.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::date::get_cached_date;
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::{Gone, Unreadable};
use crate::gateway::admit::number;
use crate::gateway::chunked::ChunkedDecoder;
use crate::gateway::labels::Labels;
use crate::gateway::reading::read_some;
use crate::gateway::timer::Timer;
use crate::gateway::writing::{length, poll_write_some};

/// Read at once where nobody knows how much will come.
const READ: usize = 8 << 10;

/// One request on a caller's connection, and its answer.
pub(in crate::gateway) struct Http1 {
    stream: Stream,
    timer: Timer,
    request: Box<RequestHeader>,
    /// What was read behind the request's head.
    buffer: BytesMut,
    body: Body,
    has_body: bool,
    /// The body's length, where the head tells it.
    promised: Option<usize>,
    body_read: u64,
    keep_alive: bool,
    answer: Answer,
    status: Option<StatusCode>,
    /// The answer's head, until it leaves.
    head: Vec<u8>,
    body_written: u64,
    write_timeout: Duration,
    /// The caller has taken nothing for too long.
    stalled: bool,
}

/// What is left of the request's body.
enum Body {
    Done,
    Length(u64),
    Chunked(ChunkedDecoder),
}

/// How the answer's body is framed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// It has not begun.
    None,
    /// It has no body, or the body has ended.
    Done,
    /// So much of it is left.
    Length(u64),
    Chunks,
    UntilClose,
}

impl Http1 {
    /// A request whose head has been read and found clear; `buffer` is what came with it. Its caller may
    /// take nothing of the answer for as long as `write_timeout`.
    pub(in crate::gateway) fn new(
        stream: Stream,
        timer: Timer,
        request: Box<RequestHeader>,
        buffer: BytesMut,
        write_timeout: Duration,
    ) -> Self {
        let asked = Asked::by(&request.headers);
        let body = match asked.length {
            _ if asked.chunks => Body::Chunked(ChunkedDecoder::new()),
            None | Some(0) => Body::Done,
            Some(length) => Body::Length(length as u64),
        };
        Self {
            keep_alive: asked.keeps_alive(request.version),
            has_body: !matches!(body, Body::Done),
            promised: asked.length,
            stream,
            timer,
            request,
            buffer,
            body,
            body_read: 0,
            answer: Answer::None,
            status: None,
            head: Vec::new(),
            body_written: 0,
            write_timeout,
            stalled: false,
        }
    }

    pub(super) const fn request(&self) -> &RequestHeader {
        &self.request
    }

    pub(super) const fn stream(&self) -> &Stream {
        &self.stream
    }

    pub(super) const fn has_body(&self) -> bool {
        self.has_body
    }

    pub(super) const fn promised(&self) -> Option<usize> {
        self.promised
    }

    pub(super) const fn is_body_done(&self) -> bool {
        matches!(self.body, Body::Done)
    }

    pub(super) const fn is_answered(&self) -> bool {
        self.status.is_some()
    }

    /// The status of the answer, once it has begun.
    pub(in crate::gateway) const fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Bytes of the request's body that were read.
    pub(in crate::gateway) const fn body_read(&self) -> u64 {
        self.body_read
    }

    /// Bytes of the answer's body that were written.
    pub(in crate::gateway) const fn body_written(&self) -> u64 {
        self.body_written
    }

    /// The connection ends with this answer.
    pub(in crate::gateway) const fn close_after(&mut self) {
        self.keep_alive = false;
    }

    /// What ends the waits of this connection.
    pub(super) const fn timer(&mut self) -> &mut Timer {
        &mut self.timer
    }

    /// The connection for the next request, and its timer, where nothing of this one is left on it.
    pub(in crate::gateway) fn into_idle(self) -> Option<(Stream, Timer)> {
        let clean = self.is_body_done()
            && self.answer == Answer::Done
            && self.head.is_empty()
            && self.buffer.is_empty();
        (self.keep_alive && clean).then_some((self.stream, self.timer))
    }

    /// Appends what has come of a body of known length to `whole`: how much it is, and 0 at its end; none
    /// where it is still to come. What has come with the head is taken as it is.
    pub(super) fn take_body(&mut self, whole: &mut BytesMut) -> Option<usize> {
        let Body::Length(left) = &mut self.body else {
            return matches!(self.body, Body::Done).then_some(0);
        };
        if self.buffer.is_empty() {
            return None;
        }
        let wanted = usize::try_from(*left).unwrap_or(usize::MAX);
        let here = self.buffer.split_to(wanted.min(self.buffer.len()));
        let length = here.len();
        if whole.is_empty() && length == wanted {
            *whole = here;
        } else {
            whole.extend_from_slice(&here);
        }
        self.note_read(length);
        Some(length)
    }

    /// Appends what comes next of the request's body to `whole`; 0 at its end.
    pub(super) async fn read_body(&mut self, whole: &mut BytesMut) -> Result<usize, Unreadable> {
        if let Some(here) = self.take_body(whole) {
            return Ok(here);
        }
        let read = match &self.body {
            Body::Done => 0,
            Body::Length(left) => read_length(&mut self.stream, *left, whole).await?,
            Body::Chunked(_) => self.read_chunks(whole).await?,
        };
        self.note_read(read);
        Ok(read)
    }

    fn note_read(&mut self, read: usize) {
        self.body_read += read as u64;
        if let Body::Length(left) = &mut self.body {
            *left -= read as u64;
            if *left == 0 {
                self.body = Body::Done;
            }
        }
    }

    async fn read_chunks(&mut self, whole: &mut BytesMut) -> Result<usize, Unreadable> {
        while let Body::Chunked(decoder) = &mut self.body {
            let piece = decoder
                .decode(&mut self.buffer)
                .map_err(|_| Unreadable::Malformed)?;
            if decoder.take_trailers().is_some() {
                self.body = Body::Done;
            }
            if !piece.is_empty() {
                whole.extend_from_slice(&piece);
                return Ok(piece.len());
            }
            if self.is_body_done() {
                break;
            }
            self.fill().await?;
        }
        Ok(0)
    }

    async fn fill(&mut self) -> Result<(), Unreadable> {
        match read_some::<READ>(&mut self.stream, &mut self.buffer).await {
            Ok(1..) => Ok(()),
            _ => Err(Unreadable::Gone),
        }
    }

    /// Waits until the caller leaves; or comes back when it sends what nobody has asked for.
    pub(super) async fn early_or_gone(&mut self) -> Result<(), Gone> {
        if self.buffer.is_empty() {
            self.fill().await.map_err(|_| Gone::Left)?;
        }
        Ok(())
    }

    /// `100 Continue`.
    pub(super) async fn go_on(&mut self) -> Result<(), Gone> {
        let told = async {
            self.stream
                .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
                .await?;
            self.stream.flush().await
        };
        told.await.map_err(|_| Gone::Left)
    }

    /// Begins an answer. Its head leaves with the first piece of its body, or with [`Self::flush`].
    pub(super) fn write_head(&mut self, head: &ResponseHeader, labels: Labels<'_>) {
        self.status = Some(head.status);
        let (bytes, announced) = begin_head(head, labels);
        self.head = bytes;
        self.answer = announced.framing(head.status, &self.request.method);
        self.keep_alive &= self.answer != Answer::UntilClose;
        // What is there of another request can't be told from the rest of this one.
        self.keep_alive &= self.is_body_done() && self.buffer.is_empty();
        end_head(&mut self.head, self.keep_alive, self.request.version);
    }

    /// Sends what is held of the answer.
    pub(super) async fn flush(&mut self) -> Result<(), Gone> {
        if self.head.is_empty() {
            return Ok(());
        }
        self.send([&[], &[], &[]]).await
    }

    /// Sends a piece of the answer's body in one write; `last` ends it.
    pub(super) async fn write(&mut self, piece: &[u8], last: bool) -> Result<(), Gone> {
        let taken = match self.answer {
            Answer::Length(left) => {
                usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()))
            }
            Answer::Chunks | Answer::UntilClose => piece.len(),
            Answer::None | Answer::Done => 0,
        };
        let piece = &piece[..taken];
        self.body_written += taken as u64;
        let sent = match self.answer {
            Answer::Chunks => self.write_chunk(piece, last).await,
            _ => self.send([piece, &[], &[]]).await,
        };
        self.answer = match self.answer {
            Answer::Length(left) if left > taken as u64 => {
                // Ended before its length: whoever waits for the rest must see that it won't come.
                self.keep_alive &= !last;
                Answer::Length(left - taken as u64)
            }
            Answer::Length(_) => Answer::Done,
            _ if last => Answer::Done,
            answer => answer,
        };
        sent
    }

    async fn write_chunk(&mut self, piece: &[u8], last: bool) -> Result<(), Gone> {
        let end: &[u8] = match (piece.is_empty(), last) {
            (true, true) => b"0\r\n\r\n",
            (true, false) => return self.flush().await,
            (false, true) => b"\r\n0\r\n\r\n",
            (false, false) => b"\r\n",
        };
        let mut line = [0; SIZE_LINE];
        let line = match piece.len() {
            0 => &[],
            size => size_line(&mut line, size),
        };
        self.send([line, piece, end]).await
    }

    /// Ends the body, with trailers where the caller has said that it takes them (RFC 9110, section
    /// 6.5.1).
    pub(super) async fn end_with_trailers(&mut self, trailers: &HeaderMap) -> Result<(), Gone> {
        if self.answer != Answer::Chunks || !takes_trailers(&self.request.headers) {
            return self.write(&[], true).await;
        }
        self.head.extend_from_slice(b"0\r\n");
        for (name, value) in trailers {
            push_line(&mut self.head, name.as_str(), value.as_bytes());
        }
        self.head.extend_from_slice(b"\r\n");
        self.answer = Answer::Done;
        self.send([&[], &[], &[]]).await
    }

    /// Closes the connection, also where an answer has not ended.
    pub(super) async fn shutdown(&mut self) {
        self.keep_alive = false;
        if self.stalled {
            return;
        }
        // Who has left needn't be told.
        let _ = self.flush().await;
        let _ = self.stream.shutdown().await;
    }

    /// Sends what is held of the head, and `pieces` behind it.
    async fn send(&mut self, pieces: [&[u8]; 3]) -> Result<(), Gone> {
        let head = std::mem::take(&mut self.head);
        let mut slices = [&head[..], pieces[0], pieces[1], pieces[2]].map(IoSlice::new);
        let mut left = &mut slices[..];
        // Mostly the kernel takes all of it at once, and nobody needs a timer.
        let at_once = poll_fn(|context| {
            let polled = poll_send(&mut self.stream, context, &mut left);
            Poll::Ready(polled)
        });
        let sent = match at_once.await {
            Poll::Ready(sent) => sent.map_err(|_| Gone::Left),
            Poll::Pending => send_slowly(&mut self.stream, left, self.write_timeout).await,
        };
        sent.inspect_err(|gone| {
            self.keep_alive = false;
            self.stalled = *gone == Gone::Stalled;
        })
    }
}

/// Reads of the rest of a body of known length what comes, and not a byte beyond it.
async fn read_length(
    stream: &mut Stream,
    left: u64,
    whole: &mut BytesMut,
) -> Result<usize, Unreadable> {
    if whole.capacity() == whole.len() {
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        whole.reserve(left.min(READ));
    }
    match stream.take(left).read_buf(whole).await {
        Ok(0) | Err(_) => Err(Unreadable::Gone),
        Ok(read) => Ok(read),
    }
}

/// Sends to a caller that doesn't take all at once, but something within each `write_timeout`.
async fn send_slowly(
    stream: &mut Stream,
    mut left: &mut [IoSlice<'_>],
    write_timeout: Duration,
) -> Result<(), Gone> {
    loop {
        let before = length(left);
        let step = poll_fn(|context| match poll_send(stream, context, &mut left) {
            Poll::Ready(sent) => Poll::Ready(sent.map(|()| true)),
            Poll::Pending if length(left) < before => Poll::Ready(Ok(false)),
            Poll::Pending => Poll::Pending,
        });
        match timeout(write_timeout, step).await {
            Ok(Ok(true)) => return Ok(()),
            Ok(Ok(false)) => {}
            Ok(Err(_)) => return Err(Gone::Left),
            Err(_) => return Err(Gone::Stalled),
        }
    }
}

fn poll_send(
    stream: &mut Stream,
    context: &mut Context<'_>,
    left: &mut &mut [IoSlice<'_>],
) -> Poll<io::Result<()>> {
    while ready!(poll_write_some(stream, context, left))? > 0 {}
    Pin::new(stream).poll_flush(context)
}

/// What an answer's headers say that matters to how it is sent.
#[derive(Default)]
struct Announced {
    length: Option<usize>,
    chunks: bool,
    date: bool,
}

impl Announced {
    fn note(&mut self, name: &HeaderName, value: &HeaderValue) {
        if *name == header::CONTENT_LENGTH {
            self.length = self.length.or_else(|| number(value.as_bytes()));
        } else if *name == header::TRANSFER_ENCODING {
            self.chunks = true;
        } else if *name == header::DATE {
            self.date = true;
        }
    }

    /// How the body is framed.
    fn framing(&self, status: StatusCode, method: &Method) -> Answer {
        let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if bodiless || method == Method::HEAD {
            return Answer::Done;
        }
        match self.length {
            _ if self.chunks => Answer::Chunks,
            Some(0) => Answer::Done,
            Some(length) => Answer::Length(length as u64),
            None => Answer::UntilClose,
        }
    }
}

/// An answer's head up to its last headers: those about the connection.
fn begin_head(head: &ResponseHeader, labels: Labels<'_>) -> (Vec<u8>, Announced) {
    let mut bytes = Vec::with_capacity(1 << 10);
    bytes.extend_from_slice(b"HTTP/1.1 ");
    bytes.extend_from_slice(head.status.as_str().as_bytes());
    bytes.push(b' ');
    let reason = head.status.canonical_reason().unwrap_or_default();
    bytes.extend_from_slice(reason.as_bytes());
    bytes.extend_from_slice(b"\r\n");
    let mut announced = Announced::default();
    for (name, value) in &head.headers {
        announced.note(name, value);
        push_line(&mut bytes, name.as_str(), value.as_bytes());
    }
    labels.each(|name, value| push_line(&mut bytes, name.as_str(), value));
    if !announced.date {
        push_line(&mut bytes, "date", get_cached_date().as_bytes());
    }
    (bytes, announced)
}

fn end_head(bytes: &mut Vec<u8>, keep_alive: bool, version: Version) {
    match (keep_alive, version) {
        (true, Version::HTTP_11) => {}
        (true, _) => push_line(bytes, "connection", b"keep-alive"),
        (false, _) => push_line(bytes, "connection", b"close"),
    }
    bytes.extend_from_slice(b"\r\n");
}

/// The line before a chunk is at most this long: a digit for four bits, and CRLF.
const SIZE_LINE: usize = usize::BITS as usize / 4 + 2;

/// The line before a chunk, in `line`: its size in hexadecimal digits.
fn size_line(line: &mut [u8; SIZE_LINE], mut size: usize) -> &[u8] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut start = SIZE_LINE - 2;
    line[start..].copy_from_slice(b"\r\n");
    while size > 0 {
        start -= 1;
        line[start] = DIGITS[size & 0xf];
        size >>= 4;
    }
    &line[start..]
}

fn push_line(bytes: &mut Vec<u8>, name: &str, value: &[u8]) {
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(b": ");
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(b"\r\n");
}

/// What a request's headers say of its body and its connection, in one look at each.
#[derive(Default)]
struct Asked {
    length: Option<usize>,
    chunks: bool,
    close: bool,
    keep_alive: bool,
}

impl Asked {
    fn by(headers: &HeaderMap) -> Self {
        let mut asked = Self::default();
        for (name, value) in headers {
            if *name == header::CONTENT_LENGTH {
                asked.length = number(value.as_bytes());
            } else if *name == header::TRANSFER_ENCODING {
                asked.chunks = true;
            } else if *name == header::CONNECTION {
                asked.close |= says(value, "close");
                asked.keep_alive |= says(value, "keep-alive");
            }
        }
        asked
    }

    fn keeps_alive(&self, version: Version) -> bool {
        let wanted = version == Version::HTTP_11 || self.keep_alive;
        wanted && !self.close
    }
}

fn takes_trailers(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::TE).iter();
    values.any(|value| says(value, "trailers"))
}

/// Whether a list of words has `word` in it.
fn says(list: &HeaderValue, word: &str) -> bool {
    let mut words = list.as_bytes().split(|&byte| byte == b',');
    words.any(|said| said.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_s_size_is_in_hexadecimal_digits() {
        for size in [1, 9, 0xf, 0x10, 0xad, 0x1000, usize::MAX] {
            let expected = format!("{size:x}\r\n");
            assert_eq!(size_line(&mut [0; SIZE_LINE], size), expected.as_bytes());
        }
    }
}
