//! A lean HTTP/1.1 client on a raw connection: one request out, one answer in.
//!
//! Pingora's own client session writes a request's head and body apart, copies what it reads, and
//! keeps 64 KiB for each connection; here the head and the pieces of the body leave in one write,
//! and an answer's body is handed on without a copy wherever it lies in one piece. How an answer is
//! framed is read strictly, because a misread length is a desync: what is not plainly right is
//! [`ExchangeFault::Malformed`] and the connection is not used again.
//!
//! ```text
//! send ──> head ──> body ... ──> None ──> into_idle (only if nothing is left behind, either way)
//!   │        └─ 1xx: read past
//!   └─ the answer comes before all is sent: the rest stays unsent
//! ```
//!
//! Framing, after RFC 9112, section 6.3:
//! HEAD, 204 and 304 have no body; `transfer-encoding: chunked` alone is chunked; one valid
//! `content-length` is a length; neither: the body ends with the connection. Both at once, other
//! transfer codings, or lengths that differ are malformed.

#[cfg(any(test, fuzzing))]
pub mod properties;
#[cfg(test)]
mod tests;

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pingora_core::protocols::Stream;
use pingora_http::ResponseHeader;
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::chunked::ChunkedDecoder;
use super::judge::ExchangeFault;
use super::reading::poll_read_some;
use super::writing::poll_write_some;

/// An answer's head (status line and headers) is at most this long.
const MAX_HEAD: usize = 64 << 10;

/// An answer has at most this many headers.
const MAX_HEADERS: usize = 128;

/// Interim (1xx) answers before the real one; more are an attack.
const MAX_INTERIM: usize = 16;

/// Read at once of a head, and of a body whose length nobody knows: most heads, many whole answers
/// and a stream's events are shorter.
const READ: usize = 16 << 10;

/// Read at once of a body that is known to be long.
const BODY_READ: usize = 64 << 10;

/// One request and its answer on one connection.
pub(super) struct Http1 {
    stream: Stream,
    buffer: BytesMut,
    framing: Framing,
    trailers: Option<HeaderMap>,
    keep_alive: bool,
    received: bool,
    /// All of the request has left. If not, the server would take the next one for its rest.
    sent: bool,
    /// The answer's head, where it came before all was sent.
    early: Option<Box<ResponseHeader>>,
    interim: usize,
}

enum Framing {
    /// No more body, or none at all.
    Done,
    /// This many bytes are left.
    Length(u64),
    Chunked(ChunkedDecoder),
    UntilClose,
}

impl Http1 {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            framing: Framing::Done,
            trailers: None,
            keep_alive: false,
            received: false,
            sent: false,
            early: None,
            interim: 0,
        }
    }

    /// Whether any byte of an answer has come: if not, a connection that was used before and
    /// breaks was dead already.
    pub(super) const fn received_anything(&self) -> bool {
        self.received
    }

    /// Sends a request's head and the pieces of its body, in one write if the kernel takes it.
    ///
    /// A server may answer before it has read all: then the rest stays unsent. Interim answers say
    /// the contrary, that it is reading.
    pub(super) async fn send(
        &mut self,
        head: &[u8],
        body: [&[u8]; 3],
    ) -> Result<(), ExchangeFault> {
        let mut slices = [head, body[0], body[1], body[2]].map(IoSlice::new);
        let mut left = &mut slices[..];
        match poll_fn(|context| self.poll_send(context, &mut left)).await {
            Ok(sent) => self.sent = sent,
            Err(ExchangeFault::Malformed) => return Err(ExchangeFault::Malformed),
            // A server that refuses a body closes early, but what it said may be here.
            Err(fault) => match self.fill().await {
                Ok(1..) => {}
                _ if !self.buffer.is_empty() => {}
                _ => return Err(fault),
            },
        }
        Ok(())
    }

    /// Whether all was sent: if not, the answer is here, or the server has closed.
    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        left: &mut &mut [IoSlice<'_>],
    ) -> Poll<Result<bool, ExchangeFault>> {
        loop {
            let progress = match poll_write_some(&mut self.stream, context, left) {
                Poll::Ready(Ok(0)) => Pin::new(&mut self.stream).poll_flush(context),
                Poll::Ready(Ok(_)) => continue,
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            };
            match progress {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(true)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(io_fault(&error))),
                Poll::Pending => {
                    let read = ready!(self.poll_fill(context));
                    if read.map_err(|error| io_fault(&error))? == 0 {
                        return Poll::Ready(Ok(false));
                    }
                    self.early = self.take_head()?;
                    if self.early.is_some() {
                        return Poll::Ready(Ok(false));
                    }
                }
            }
        }
    }

    /// Reads the answer's head: without the headers that are about this connection alone.
    ///
    /// # Errors
    /// `Closed` or `Reset` before it, `Truncated` within it, `Malformed`.
    pub(super) async fn read_head(
        &mut self,
        method: &http::Method,
    ) -> Result<Box<ResponseHeader>, ExchangeFault> {
        if let Some(head) = self.early.take() {
            return self.accept_head(head, method);
        }
        loop {
            if let Some(head) = self.take_head()? {
                return self.accept_head(head, method);
            }
            match self.fill().await {
                Ok(1..) => {}
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                    return Err(io_fault(&error));
                }
                // In order, or with TLS by a mere FIN.
                _ if self.buffer.is_empty() => return Err(ExchangeFault::Closed),
                _ => return Err(ExchangeFault::Truncated),
            }
        }
    }

    /// The answer's head, if all of it is here; interim answers before it are dropped.
    fn take_head(&mut self) -> Result<Option<Box<ResponseHeader>>, ExchangeFault> {
        while !self.buffer.is_empty() {
            let parsed = parse_head(&self.buffer)?;
            let length = parsed
                .as_ref()
                .map_or(self.buffer.len(), |(_, length)| *length);
            if length > MAX_HEAD {
                return Err(ExchangeFault::Malformed);
            }
            let Some((head, _)) = parsed else {
                return Ok(None);
            };
            self.buffer.advance(length);
            if !head.status.is_informational() {
                return Ok(Some(head));
            }
            self.interim += 1;
            if head.status == StatusCode::SWITCHING_PROTOCOLS || self.interim > MAX_INTERIM {
                return Err(ExchangeFault::Malformed);
            }
        }
        Ok(None)
    }

    fn accept_head(
        &mut self,
        mut head: Box<ResponseHeader>,
        method: &http::Method,
    ) -> Result<Box<ResponseHeader>, ExchangeFault> {
        let told = Told::by(&head)?;
        self.framing = told.framing(head.status, method);
        self.keep_alive = told.keeps_alive() && !matches!(self.framing, Framing::UntilClose);
        if told.hop_by_hop {
            strip_connection_headers(&mut head);
        }
        if told.lengths > 0 {
            say_length_once(&mut head);
        }
        Ok(head)
    }

    /// The next piece of the body, as much of it as one read brought; `None` at its end.
    ///
    /// # Errors
    /// `Truncated` where the connection ends before the body does; `Reset`; `Malformed` chunks.
    pub(super) async fn read_body(&mut self) -> Result<Option<Bytes>, ExchangeFault> {
        loop {
            if let Some(piece) = self.decode()? {
                return Ok(Some(piece));
            }
            if matches!(self.framing, Framing::Done) {
                return Ok(None);
            }
            let read = match self.fill().await {
                Ok(read) => read,
                Err(error) => return Err(io_fault(&error)),
            };
            if read == 0 {
                if matches!(self.framing, Framing::UntilClose) {
                    self.framing = Framing::Done;
                    return Ok(None);
                }
                return Err(ExchangeFault::Truncated);
            }
        }
    }

    /// What the buffer holds of the body.
    fn decode(&mut self) -> Result<Option<Bytes>, ExchangeFault> {
        if self.buffer.is_empty() {
            return Ok(None);
        }
        match &mut self.framing {
            Framing::Done => Ok(None),
            Framing::Length(left) => {
                let here = usize::try_from(*left)
                    .map_or(self.buffer.len(), |left| left.min(self.buffer.len()));
                *left -= here as u64;
                if *left == 0 {
                    self.framing = Framing::Done;
                }
                Ok(Some(self.buffer.split_to(here).freeze()))
            }
            Framing::UntilClose => Ok(Some(self.buffer.split().freeze())),
            Framing::Chunked(decoder) => {
                let piece = decoder.decode(&mut self.buffer)?;
                if let Some(trailers) = decoder.take_trailers() {
                    self.framing = Framing::Done;
                    self.trailers = (!trailers.is_empty()).then_some(trailers);
                }
                Ok((!piece.is_empty()).then_some(piece))
            }
        }
    }

    /// The body, where the answer says how long it is and all of it is here already.
    pub(super) fn take_body(&mut self) -> Option<Bytes> {
        let Framing::Length(left) = self.framing else {
            return None;
        };
        let left = usize::try_from(left).ok()?;
        if left > self.buffer.len() {
            return None;
        }
        self.framing = Framing::Done;
        // Mostly it is all that is here: then nobody has to share the memory.
        let body = if left == self.buffer.len() {
            std::mem::take(&mut self.buffer)
        } else {
            self.buffer.split_to(left)
        };
        Some(body.freeze())
    }

    /// How many bytes of body are still to come, where the answer said it.
    pub(super) const fn body_left(&self) -> Option<u64> {
        match self.framing {
            Framing::Done => Some(0),
            Framing::Length(left) => Some(left),
            Framing::Chunked(_) | Framing::UntilClose => None,
        }
    }

    /// The trailers that came after a chunked body.
    pub(super) const fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    /// The connection, if the exchange has left it as it found it.
    pub(super) fn into_idle(self) -> Option<Stream> {
        let clean = matches!(self.framing, Framing::Done) && self.buffer.is_empty();
        (self.sent && self.keep_alive && clean).then_some(self.stream)
    }

    async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|context| self.poll_fill(context)).await
    }

    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let read = match self.framing {
            // The whole rest at once, so that it lies in one piece.
            Framing::Length(left) => {
                let left = usize::try_from(left).unwrap_or(usize::MAX);
                self.buffer.reserve(left.min(BODY_READ));
                // This future keeps nothing between two polls, so a new one may go on where it was.
                ready!(pin!(self.stream.read_buf(&mut self.buffer)).poll(context))?
            }
            _ => ready!(poll_read_some::<READ>(
                &mut self.stream,
                context,
                &mut self.buffer
            ))?,
        };
        self.received |= read > 0;
        Poll::Ready(Ok(read))
    }
}

/// Reads a head from the start of `buffer`: it and its length, or `None` while it is incomplete.
fn parse_head(buffer: &BytesMut) -> Result<Option<(Box<ResponseHeader>, usize)>, ExchangeFault> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let parsed = config.parse_response_with_uninit_headers(&mut response, buffer, &mut headers);
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(ExchangeFault::Malformed),
    };
    let malformed = || ExchangeFault::Malformed;
    let (mut head, ()) = http::Response::new(()).into_parts();
    let status = response.code.ok_or_else(malformed)?;
    head.status = StatusCode::from_u16(status).map_err(|_| malformed())?;
    if response.version == Some(0) {
        head.version = http::Version::HTTP_10;
    }
    // One copy of the head that all values share, instead of one for each.
    let text = Bytes::copy_from_slice(&buffer[..length]);
    // By Pingora's own methods each name would be read twice, and looked up once to be written in capitals.
    let map = HeaderMap::try_with_capacity(response.headers.len() + 1); // a length of ours
    head.headers = map.map_err(|_| malformed())?;
    for header in response.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| malformed())?;
        let value = HeaderValue::from_maybe_shared(slice_of(&text, buffer, header.value));
        let appended = head
            .headers
            .try_append(name, value.map_err(|_| malformed())?);
        appended.map_err(|_| malformed())?;
    }
    Ok(Some((Box::new(head.into()), length)))
}

/// `part`, which lies in `whole`, as a slice of `copy`, a copy of its beginning.
fn slice_of(copy: &Bytes, whole: &[u8], part: &[u8]) -> Bytes {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    copy.slice(start..start + part.len())
}

/// What an answer's headers say about its connection and its body, in one look at each.
#[derive(Default)]
struct Told {
    /// On which all `content-length` headers agree.
    length: Option<u64>,
    /// How many of them there are.
    lengths: usize,
    chunked: bool,
    /// It is HTTP/1.1, so the connection stays open where nobody says anything about it.
    http11: bool,
    keep_alive: bool,
    close: bool,
    /// There are headers about this connection only.
    hop_by_hop: bool,
}

impl Told {
    fn by(head: &ResponseHeader) -> Result<Self, ExchangeFault> {
        let mut told = Self {
            http11: head.version == http::Version::HTTP_11,
            ..Self::default()
        };
        for (name, value) in &head.headers {
            let value = value.as_bytes();
            if *name == header::CONTENT_LENGTH {
                told.add_length(value)?;
            } else if HOP_BY_HOP.contains(&name.as_str()) {
                told.hop_by_hop = true;
                if *name == header::TRANSFER_ENCODING {
                    told.add_coding(value)?;
                } else if *name == header::CONNECTION {
                    told.add_options(value);
                }
            }
        }
        if told.chunked && (told.lengths > 0 || !told.http11) {
            return Err(ExchangeFault::Malformed);
        }
        Ok(told)
    }

    fn add_length(&mut self, text: &[u8]) -> Result<(), ExchangeFault> {
        let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok());
        let agrees = self.lengths == 0 || self.length == length;
        if !digits || length.is_none() || !agrees {
            return Err(ExchangeFault::Malformed);
        }
        self.length = length;
        self.lengths += 1;
        Ok(())
    }

    fn add_coding(&mut self, coding: &[u8]) -> Result<(), ExchangeFault> {
        let twice = std::mem::replace(&mut self.chunked, true);
        if twice || !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(ExchangeFault::Malformed);
        }
        Ok(())
    }

    fn add_options(&mut self, options: &[u8]) {
        for option in options.split(|&byte| byte == b',') {
            let option = option.trim_ascii();
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    const fn keeps_alive(&self) -> bool {
        (self.http11 || self.keep_alive) && !self.close
    }

    fn framing(&self, status: StatusCode, method: &http::Method) -> Framing {
        let no_body = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if no_body || method == http::Method::HEAD {
            return Framing::Done;
        }
        match (self.chunked, self.length) {
            (true, _) => Framing::Chunked(ChunkedDecoder::new()),
            (false, Some(0)) => Framing::Done,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::UntilClose,
        }
    }
}

/// Removes what is about one connection only (RFC 9110, section 7.6.1), what `connection` names
/// included.
fn strip_connection_headers(head: &mut ResponseHeader) {
    let named: Vec<HeaderName> = head
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
        .filter(|name| name != "close" && name != "keep-alive")
        .collect();
    for name in &named {
        head.remove_header(name);
    }
    for name in HOP_BY_HOP {
        head.remove_header(name);
    }
}

/// Lengths that agree become one, and a 204 says none (RFC 9110, section 8.6): the next reader may be
/// less patient.
pub(super) fn say_length_once(head: &mut ResponseHeader) {
    let lengths = head.headers.get_all(header::CONTENT_LENGTH);
    if head.status == StatusCode::NO_CONTENT {
        head.remove_header(&header::CONTENT_LENGTH);
    } else if lengths.iter().nth(1).is_some() {
        let length = head.headers[header::CONTENT_LENGTH].clone();
        // It replaces what is there, so the map doesn't grow, which alone could fail.
        let _ = head.insert_header(header::CONTENT_LENGTH, length);
    }
}

/// Headers that are about one connection only.
pub(super) const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn io_fault(error: &io::Error) -> ExchangeFault {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ExchangeFault::Truncated,
        io::ErrorKind::InvalidData => ExchangeFault::Tls,
        io::ErrorKind::WriteZero => ExchangeFault::Closed,
        io::ErrorKind::TimedOut => ExchangeFault::Timeout,
        _ => ExchangeFault::Reset,
    }
}
