//! HTTP/1.1 messages as they are on the wire, read strictly; used at both ends.
//!
//! Nothing is mended: a message whose framing is ambiguous (two lengths, a length and chunks), a
//! chunk without its line end, or a name with a space is [`Broken::Malformed`]. Every read can be
//! dropped half way and called again: what was read stays in the [`Reader`].

use std::fmt;
use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// More header fields than any test sends.
const MAX_HEADERS: usize = 256;

/// Header fields in the order and the letter case in which they were written.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, Bytes)>);

impl Headers {
    /// The first value of `name`, in any letter case. Panics where the value is not UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// Every value of `name`, in order. Panics where one is not UTF-8.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.iter()
            .filter(|(written, _)| written.eq_ignore_ascii_case(name))
            .map(|(_, value)| {
                std::str::from_utf8(value)
                    .unwrap_or_else(|_| panic!("the value of {name} is not UTF-8: {value:?}"))
            })
            .collect()
    }

    /// Whether `name` is there, in any letter case.
    pub fn contains(&self, name: &str) -> bool {
        self.iter()
            .any(|(written, _)| written.eq_ignore_ascii_case(name))
    }

    /// Whether the comma-separated list in `name` has `token`.
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .iter()
            .flat_map(|value| value.split(','))
            .any(|item| item.trim().eq_ignore_ascii_case(token))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values as they were written.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Adds a field at the end.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<Bytes>) {
        self.0.push((name.into(), value.into()));
    }

    /// The fields as they stand in a message head.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        for (name, value) in self.iter() {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
    }

    fn from_parsed(fields: &[httparse::Header<'_>]) -> Self {
        let copied = |field: &httparse::Header<'_>| {
            (field.name.to_owned(), Bytes::copy_from_slice(field.value))
        };
        Self(fields.iter().map(copied).collect())
    }
}

impl From<&http::HeaderMap> for Headers {
    fn from(map: &http::HeaderMap) -> Self {
        let copied = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (
                name.as_str().to_owned(),
                Bytes::copy_from_slice(value.as_bytes()),
            )
        };
        Self(map.iter().map(copied).collect())
    }
}

impl From<&Headers> for http::HeaderMap {
    fn from(headers: &Headers) -> Self {
        let mut map = Self::new();
        for (name, value) in headers.iter() {
            let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a header name");
            let value = http::HeaderValue::from_bytes(value).expect("a header value");
            map.append(name, value);
        }
        map
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}

/// Why a message did not come to its proper end.
#[derive(Debug)]
pub enum Broken {
    /// The peer closed (FIN) before the end.
    Closed,
    /// The connection was reset or failed otherwise.
    Reset(io::Error),
    /// What came is not HTTP/1.1.
    Malformed(String),
}

/// A request line and its headers.
#[derive(Debug)]
pub struct RequestHead {
    /// The method as written.
    pub method: String,
    /// The request target as written.
    pub target: String,
    /// 1.0 or 1.1.
    pub version: http::Version,
    /// The header fields.
    pub headers: Headers,
}

/// A status line and its headers.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The status code.
    pub status: u16,
    /// 1.0, 1.1 or 2.
    pub version: http::Version,
    /// The header fields.
    pub headers: Headers,
}

/// Buffered reading of messages from one connection.
pub struct Reader<R> {
    io: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Reads from `io`, from the start of a message.
    pub fn new(io: R) -> Self {
        Self {
            io,
            buffer: BytesMut::new(),
        }
    }

    /// What was read and not used yet.
    pub fn buffered(&self) -> &[u8] {
        &self.buffer
    }

    /// Takes what was read and not used yet.
    pub fn take_buffered(&mut self) -> Bytes {
        self.buffer.split().freeze()
    }

    /// Reads once; false at the end of the connection.
    pub async fn fill(&mut self) -> Result<bool, Broken> {
        match self.io.read_buf(&mut self.buffer).await {
            Ok(read) => Ok(read > 0),
            // What rustls says of a TCP end without close_notify.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(Broken::Reset(error)),
        }
    }

    async fn fill_or_closed(&mut self) -> Result<(), Broken> {
        match self.fill().await? {
            true => Ok(()),
            false => Err(Broken::Closed),
        }
    }

    /// The next request's head; none where the connection ends between two messages.
    pub async fn request_head(&mut self) -> Result<Option<RequestHead>, Broken> {
        let Some(head) = self.head().await? else {
            return Ok(None);
        };
        let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut fields);
        complete(&head, parsed.parse(&head))?;
        Ok(Some(RequestHead {
            method: parsed.method.unwrap_or_default().to_owned(),
            target: parsed.path.unwrap_or_default().to_owned(),
            version: version(parsed.version),
            headers: Headers::from_parsed(parsed.headers),
        }))
    }

    /// The next response's head; none where the connection ends between two messages.
    pub async fn response_head(&mut self) -> Result<Option<ResponseHead>, Broken> {
        let Some(head) = self.head().await? else {
            return Ok(None);
        };
        let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Response::new(&mut fields);
        complete(&head, parsed.parse(&head))?;
        Ok(Some(ResponseHead {
            status: parsed.code.unwrap_or_default(),
            version: version(parsed.version),
            headers: Headers::from_parsed(parsed.headers),
        }))
    }

    /// Bytes up to and with the first empty line.
    async fn head(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                return Ok(Some(self.buffer.split_to(end + 4).freeze()));
            }
            if !self.fill().await? {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(Broken::Closed),
                };
            }
        }
    }
}

fn complete(
    head: &[u8],
    parsed: Result<httparse::Status<usize>, httparse::Error>,
) -> Result<(), Broken> {
    match parsed {
        Ok(httparse::Status::Complete(length)) if length == head.len() => Ok(()),
        Ok(_) => Err(malformed("a head that ends elsewhere", head)),
        Err(error) => Err(malformed(&error.to_string(), head)),
    }
}

fn version(minor: Option<u8>) -> http::Version {
    match minor {
        Some(0) => http::Version::HTTP_10,
        _ => http::Version::HTTP_11,
    }
}

fn malformed(what: &str, bytes: &[u8]) -> Broken {
    Broken::Malformed(format!("{what} in {:?}", Bytes::copy_from_slice(bytes)))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

/// The body of one message, while it is read.
#[derive(Debug)]
pub struct Body {
    framing: Framing,
    ended: bool,
    /// The trailer fields, once the end was read.
    pub trailers: Headers,
}

#[derive(Debug)]
enum Framing {
    /// So many bytes are left.
    Length(usize),
    Chunked,
    UntilClose,
}

impl Body {
    /// The body that follows a request's head.
    pub fn of_request(head: &RequestHead) -> Result<Self, Broken> {
        let framing = declared(&head.headers)?.unwrap_or(Framing::Length(0));
        Ok(Self::new(framing))
    }

    /// The body that follows the head of a response to `method`.
    pub fn of_response(head: &ResponseHead, method: &str) -> Result<Self, Broken> {
        let bodiless = method == "HEAD" || matches!(head.status, 100..200 | 204 | 304);
        let declared = declared(&head.headers)?;
        Ok(Self::new(match declared {
            _ if bodiless => Framing::Length(0),
            Some(framing) => framing,
            None => Framing::UntilClose,
        }))
    }

    fn new(framing: Framing) -> Self {
        Self {
            framing,
            ended: false,
            trailers: Headers::default(),
        }
    }

    /// Whether only the end of the connection ends it.
    pub fn is_until_close(&self) -> bool {
        matches!(self.framing, Framing::UntilClose)
    }

    /// Its next part: one whole chunk, or what one read gave. None at its proper end.
    pub async fn next<R: AsyncRead + Unpin>(
        &mut self,
        reader: &mut Reader<R>,
    ) -> Result<Option<Bytes>, Broken> {
        if self.ended {
            return Ok(None);
        }
        let part = match self.framing {
            Framing::Length(left) => self.next_of_length(left, reader).await?,
            Framing::Chunked => self.next_chunk(reader).await?,
            Framing::UntilClose => match reader.buffer.is_empty() && !reader.fill().await? {
                true => None,
                false => Some(reader.take_buffered()),
            },
        };
        self.ended = part.is_none();
        Ok(part)
    }

    async fn next_of_length<R: AsyncRead + Unpin>(
        &mut self,
        left: usize,
        reader: &mut Reader<R>,
    ) -> Result<Option<Bytes>, Broken> {
        if left == 0 {
            return Ok(None);
        }
        if reader.buffer.is_empty() {
            reader.fill_or_closed().await?;
        }
        let taken = left.min(reader.buffer.len());
        self.framing = Framing::Length(left - taken);
        Ok(Some(reader.buffer.split_to(taken).freeze()))
    }

    async fn next_chunk<R: AsyncRead + Unpin>(
        &mut self,
        reader: &mut Reader<R>,
    ) -> Result<Option<Bytes>, Broken> {
        loop {
            match whole_chunk(&mut reader.buffer)? {
                Some(Chunk::Data(data)) => return Ok(Some(data)),
                Some(Chunk::End(trailers)) => {
                    self.trailers = trailers;
                    return Ok(None);
                }
                None => reader.fill_or_closed().await?,
            }
        }
    }
}

/// What the headers say of the body's end, if they say anything.
fn declared(headers: &Headers) -> Result<Option<Framing>, Broken> {
    let lengths = headers.all("content-length");
    let codings = headers.all("transfer-encoding");
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(None),
        ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            let length = length.parse().map_err(|_| ambiguous(headers))?;
            Ok(Some(Framing::Length(length)))
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
        _ => Err(ambiguous(headers)),
    }
}

fn ambiguous(headers: &Headers) -> Broken {
    Broken::Malformed(format!("no one body length in {headers:?}"))
}

enum Chunk {
    Data(Bytes),
    End(Headers),
}

/// Takes one chunk from the start of `buffer`, if all of it is there.
fn whole_chunk(buffer: &mut BytesMut) -> Result<Option<Chunk>, Broken> {
    let Some(line) = find(buffer, b"\r\n") else {
        return Ok(None);
    };
    let size = chunk_size(&buffer[..line])?;
    if size == 0 {
        return last_chunk(buffer, line);
    }
    let data = line + 2;
    if buffer.len() < data + size + 2 {
        return Ok(None);
    }
    if &buffer[data + size..data + size + 2] != b"\r\n" {
        return Err(malformed("a chunk without its line end", buffer));
    }
    buffer.advance(data);
    let chunk = buffer.split_to(size).freeze();
    buffer.advance(2);
    Ok(Some(Chunk::Data(chunk)))
}

/// Takes the last chunk, whose size line ends at `line`, and the trailer section.
fn last_chunk(buffer: &mut BytesMut, line: usize) -> Result<Option<Chunk>, Broken> {
    let Some(end) = find(&buffer[line..], b"\r\n\r\n") else {
        return Ok(None);
    };
    let section = buffer.split_to(line + end + 4);
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
    match httparse::parse_headers(&section[line + 2..], &mut fields) {
        Ok(httparse::Status::Complete((_, parsed))) => {
            Ok(Some(Chunk::End(Headers::from_parsed(parsed))))
        }
        _ => Err(malformed("bad trailers", &section)),
    }
}

fn chunk_size(line: &[u8]) -> Result<usize, Broken> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    std::str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .and_then(|digits| usize::from_str_radix(digits, 16).ok())
        .ok_or_else(|| malformed("a bad chunk size", line))
}
