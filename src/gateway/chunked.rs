//! The chunked transfer coding of an answer, decoded as it arrives (RFC 9112, section 7.1).
//!
//! Strict where laxness has been an attack: lines end in CRLF, a size is hexadecimal digits and
//! nothing else before its extensions, and what a line may hold is bounded.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::judge::ExchangeFault;

/// A chunk's size line, extensions included, is at most this long.
const MAX_SIZE_LINE: usize = 4 << 10;

/// A chunk is at most this long: nobody sends a longer one, and who says so wants an overflow.
const MAX_CHUNK: u64 = 1 << 40;

/// All trailers together are at most this long.
const MAX_TRAILERS: usize = 16 << 10;

/// Trailers are at most this many.
const MAX_TRAILER_FIELDS: usize = 32;

/// Where in the coding the next byte stands.
pub(super) struct ChunkedDecoder {
    state: State,
}

enum State {
    Size,
    Data { left: u64 },
    AfterData,
    Trailers,
    Done(Option<HeaderMap>),
}

impl ChunkedDecoder {
    pub(super) const fn new() -> Self {
        Self { state: State::Size }
    }

    /// Takes what it can from `buffer` and returns the data in it, in one piece: a single chunk's
    /// without a copy. Empty: more must be read, or the end has come ([`Self::take_trailers`]).
    ///
    /// # Errors
    /// `Malformed` for anything that is not this coding.
    pub(super) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Bytes, ExchangeFault> {
        let mut pieces = Pieces::default();
        while !buffer.is_empty() {
            match &mut self.state {
                State::Size => {
                    let Some(end) = line_end(buffer, MAX_SIZE_LINE)? else {
                        break;
                    };
                    let size = chunk_size(&buffer[..end])?;
                    buffer.advance(end + 2);
                    self.state = match size {
                        0 => State::Trailers,
                        left => State::Data { left },
                    };
                }
                State::Data { left } => {
                    let here =
                        usize::try_from(*left).map_or(buffer.len(), |left| left.min(buffer.len()));
                    *left -= here as u64;
                    let ended = *left == 0;
                    pieces.push(buffer.split_to(here));
                    if ended {
                        self.state = State::AfterData;
                    }
                }
                State::AfterData => {
                    if buffer.len() < 2 {
                        break;
                    }
                    if !buffer.starts_with(b"\r\n") {
                        return Err(ExchangeFault::Malformed);
                    }
                    buffer.advance(2);
                    self.state = State::Size;
                }
                State::Trailers => {
                    let Some(trailers) = parse_trailers(buffer)? else {
                        break;
                    };
                    self.state = State::Done(Some(trailers));
                }
                State::Done(_) => break,
            }
        }
        Ok(pieces.joined())
    }

    /// The trailers, once, when the end has come; empty where there were none.
    pub(super) const fn take_trailers(&mut self) -> Option<HeaderMap> {
        match &mut self.state {
            State::Done(trailers) => trailers.take(),
            _ => None,
        }
    }
}

/// The data of the chunks that one read brought.
#[derive(Default)]
struct Pieces {
    first: BytesMut,
}

impl Pieces {
    fn push(&mut self, piece: BytesMut) {
        if self.first.is_empty() {
            self.first = piece;
        } else {
            self.first.extend_from_slice(&piece);
        }
    }

    fn joined(self) -> Bytes {
        self.first.freeze()
    }
}

/// Where the line at the start of `buffer` ends, if its CRLF is there.
fn line_end(buffer: &[u8], limit: usize) -> Result<Option<usize>, ExchangeFault> {
    match memchr::memchr(b'\n', buffer) {
        Some(at) if at >= 1 && at <= limit && buffer[at - 1] == b'\r' => Ok(Some(at - 1)),
        Some(_) => Err(ExchangeFault::Malformed),
        None if buffer.len() > limit => Err(ExchangeFault::Malformed),
        None => Ok(None),
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, ExchangeFault> {
    let digits = line
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let (number, rest) = line.split_at(digits);
    let extension = rest.trim_ascii_start();
    if digits == 0 || digits > 16 || !(extension.is_empty() || extension.starts_with(b";")) {
        return Err(ExchangeFault::Malformed);
    }
    if rest.iter().any(|&byte| byte == b'\r' || byte == 0) {
        return Err(ExchangeFault::Malformed);
    }
    std::str::from_utf8(number)
        .ok()
        .and_then(|number| u64::from_str_radix(number, 16).ok())
        .filter(|&size| size <= MAX_CHUNK)
        .ok_or(ExchangeFault::Malformed)
}

fn parse_trailers(buffer: &mut BytesMut) -> Result<Option<HeaderMap>, ExchangeFault> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
    let (length, trailers) = match httparse::parse_headers(buffer, &mut fields) {
        Ok(httparse::Status::Complete((length, fields))) => {
            let mut trailers = HeaderMap::new();
            for field in fields {
                let name = HeaderName::from_bytes(field.name.as_bytes());
                let value = HeaderValue::from_bytes(field.value);
                let (Ok(name), Ok(value)) = (name, value) else {
                    return Err(ExchangeFault::Malformed);
                };
                trailers.append(name, value);
            }
            (length, trailers)
        }
        Ok(httparse::Status::Partial) if buffer.len() <= MAX_TRAILERS => return Ok(None),
        _ => return Err(ExchangeFault::Malformed),
    };
    buffer.advance(length);
    Ok(Some(trailers))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode_all(wire: &[u8], step: usize) -> Result<(Vec<u8>, Option<HeaderMap>), ExchangeFault> {
        let mut decoder = ChunkedDecoder::new();
        let mut buffer = BytesMut::new();
        let mut data = Vec::new();
        let mut trailers = None;
        for piece in wire.chunks(step.max(1)) {
            buffer.extend_from_slice(piece);
            data.extend_from_slice(&decoder.decode(&mut buffer)?);
            trailers = trailers.or(decoder.take_trailers());
        }
        Ok((data, trailers))
    }

    #[test]
    fn trailers_come_after_the_last_chunk() {
        let wire = b"5;name=\"x\"\r\nhello\r\n6 \r\n world\r\n0\r\nx-sum: 1\r\n\r\n";
        for step in 1..wire.len() {
            let (data, trailers) = decode_all(wire, step).unwrap();
            assert_eq!(data, b"hello world");
            assert_eq!(trailers.unwrap()["x-sum"], "1");
        }
    }

    #[test]
    fn what_is_not_plainly_right_is_malformed() {
        for wire in [
            &b"5\nhello\r\n"[..],
            b"\r\nhello",
            b"+5\r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b"5 x\r\nhello\r\n",
            b"5\r\nhelloX\r\n0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"fffffffffffffffff\r\n",
            b"-1\r\n",
            b"5;a\rb\r\nhello",
        ] {
            let decoded = decode_all(wire, wire.len());
            assert_eq!(
                decoded.unwrap_err(),
                ExchangeFault::Malformed,
                "{}",
                wire.escape_ascii()
            );
        }
        let endless = vec![b'0'; MAX_SIZE_LINE + 2];
        assert!(decode_all(&endless, endless.len()).is_err());
    }

    proptest! {
        #[test]
        fn any_chunking_at_any_reading_gives_the_data(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..8),
            step in 1usize..400,
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let (data, trailers) = decode_all(&wire, step).unwrap();
            prop_assert_eq!(data, chunks.concat());
            prop_assert!(trailers.unwrap().is_empty());
        }

        #[test]
        fn nothing_makes_it_panic(wire: Vec<u8>, step in 1usize..64) {
            let _ = decode_all(&wire, step);
        }
    }
}
