//! A stream of server-sent events, cut into its events as the bytes arrive. Pure.
//!
//! ```text
//! read ──► Splitter ──► Batch { bytes, events() }     what ends with a whole event
//!             │
//!             └ carry: the event that is not whole yet
//! ```
//!
//! - **Bytes stay bytes.** A batch's bytes are those of the stream, in order and unchanged, so that
//!   a relay can send them on in one write. Where nothing was carried over they are a slice of the
//!   read; else the carried part is joined with the read, once.
//! - **Line ends** are LF, CRLF or CR, mixed as the standard allows. A CR at the end of a read may
//!   be half of a CRLF, so it ends nothing until the next byte comes; but a blank line after a line
//!   that a lone CR ended is taken at once: such a stream uses CR, and its event is whole.
//! - **Every blank line ends a block.** A block without data (a comment, a keep-alive, an extra
//!   blank line) is an [`Event`] whose data is empty: it means nothing to a client, and is passed on.
//! - **The end of the stream** may come without the blank line: what is left then is given out as
//!   an event with the blank line added. Whether it was whole is for its reader to say: half an
//!   event is no valid JSON.
//! - **An event larger than [`MAX_EVENT`]** is none that we know how to read: from there on the
//!   stream is *opaque* and its bytes pass as they come, without events. So they do where its reader
//!   says that it wants no more of it.
//!
//! The format: <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

/// Bytes of the largest event that is read; a stream with a larger one is passed on unread.
pub const MAX_EVENT: usize = 1 << 20;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Cuts one stream into batches of whole events.
#[derive(Debug, Default)]
pub struct Splitter {
    carry: BytesMut,
    scan: Scan,
    begun: bool,
    opaque: bool,
}

impl Splitter {
    /// A splitter at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what one read brought; gives what is whole with it, often all of it.
    pub fn push(&mut self, mut read: Bytes) -> Batch {
        if self.opaque {
            return self.batch(read);
        }
        let whole = if self.carry.is_empty() {
            let whole = read.split_to(self.scan.whole(&read));
            self.carry.extend_from_slice(&read);
            whole
        } else {
            self.carry.extend_from_slice(&read);
            let whole = self.scan.whole(&self.carry);
            self.carry.split_to(whole).freeze()
        };
        if self.carry.len() > MAX_EVENT {
            self.opaque = true;
            let mut bytes = BytesMut::from(whole);
            bytes.unsplit(self.carry.split());
            return self.batch(bytes.freeze());
        }
        self.batch(whole)
    }

    /// The end of the stream: an event that lacks its blank line is given out with one.
    pub fn finish(&mut self) -> Batch {
        let mut rest = self.carry.split();
        if !rest.is_empty() {
            rest.extend_from_slice(b"\n\n");
        }
        self.scan = Scan::default();
        self.batch(rest.freeze())
    }

    /// From here on the bytes pass as they come; those of an event that is not whole are given out.
    pub fn stop(&mut self) -> Bytes {
        self.opaque = true;
        self.carry.split().freeze()
    }

    /// Whether nothing is known of what passes: an event was too large, or it was stopped.
    pub fn is_opaque(&self) -> bool {
        self.opaque
    }

    /// Bytes of the event that is not whole yet.
    pub fn carried(&self) -> usize {
        self.carry.len()
    }

    fn batch(&mut self, bytes: Bytes) -> Batch {
        let first = !self.begun;
        self.begun |= !bytes.is_empty();
        Batch {
            bytes,
            first,
            opaque: self.opaque,
        }
    }
}

/// How far the bytes that are not given out yet have been looked at, counted from their start.
#[derive(Debug, Default)]
struct Scan {
    /// Where the line under way starts.
    line: usize,
    /// Up to here there is no line end that is not accounted for.
    seen: usize,
    /// The line before ended in CR alone.
    lone_cr: bool,
}

impl Scan {
    /// Looks at what was added to `bytes`: the length of the whole events at their start, which
    /// the caller takes away.
    fn whole(&mut self, bytes: &[u8]) -> usize {
        let mut whole = 0;
        loop {
            let Some(found) = memchr2(b'\n', b'\r', &bytes[self.seen..]) else {
                self.seen = bytes.len();
                break;
            };
            let end = self.seen + found;
            let blank = end == self.line;
            let next = match (bytes[end], bytes.get(end + 1)) {
                (b'\r', Some(b'\n')) => end + 2,
                (b'\r', None) if !(blank && self.lone_cr) => {
                    self.seen = end;
                    break;
                }
                _ => end + 1,
            };
            self.lone_cr = bytes[next - 1] == b'\r';
            self.line = next;
            self.seen = next;
            if blank {
                whole = next;
            }
        }
        self.line -= whole;
        self.seen -= whole;
        whole
    }
}

/// What a read made whole: the bytes to pass on, and the events in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// As they came; empty while an event is under way.
    pub bytes: Bytes,
    first: bool,
    opaque: bool,
}

impl Batch {
    /// The events in order; none in an opaque stream.
    pub fn events(&self) -> Events<'_> {
        let bytes: &[u8] = if self.opaque { &[] } else { &self.bytes };
        let line = if self.first && bytes.starts_with(BOM) {
            BOM.len()
        } else {
            0
        };
        Events {
            bytes,
            start: 0,
            line,
        }
    }
}

/// The events of a [`Batch`].
#[derive(Clone, Debug)]
pub struct Events<'a> {
    bytes: &'a [u8],
    /// Where the next event starts.
    start: usize,
    /// Where its next line starts.
    line: usize,
}

impl<'a> Iterator for Events<'a> {
    type Item = Event<'a>;

    fn next(&mut self) -> Option<Event<'a>> {
        if self.start == self.bytes.len() {
            return None;
        }
        let mut name: &[u8] = &[];
        let mut data = None;
        let mut garbled = false;
        while let Some(line) = self.line() {
            if line.is_empty() {
                break;
            }
            match field(line) {
                Some((b"data", value)) => append(&mut data, value),
                other => {
                    garbled |= simdutf8::basic::from_utf8(line).is_err();
                    name = other.map_or(name, |(_, value)| value);
                }
            }
        }
        let range = self.start..self.line;
        self.start = self.line;
        Some(Event {
            name,
            data: data.unwrap_or_default(),
            garbled,
            range,
        })
    }
}

impl<'a> Events<'a> {
    /// The next line, without its end.
    fn line(&mut self) -> Option<&'a [u8]> {
        let rest = &self.bytes[self.line..];
        if rest.is_empty() {
            return None;
        }
        let end = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        self.line += match &rest[end..] {
            [] => end,
            [b'\r', b'\n', ..] => end + 2,
            _ => end + 1,
        };
        Some(&rest[..end])
    }
}

/// One event, or a block without data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Of its `event:` line; empty where it has none.
    pub name: &'a [u8],
    /// Of its `data:` lines, joined by LF; empty for a comment: no client is told of it then.
    pub data: Cow<'a, [u8]>,
    /// A line of it other than its data is no text (UTF-8): a client may throw on that.
    pub garbled: bool,
    /// Where it stands in its batch's bytes, blank line and all.
    pub range: Range<usize>,
}

/// A line's field name and value; `None` for a comment.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    // Nearly every line of a stream is one of these two.
    for name in [&b"data"[..], b"event"] {
        if let Some(value) = line
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix(b":"))
        {
            return Some((name, value.strip_prefix(b" ").unwrap_or(value)));
        }
    }
    (line == b"data" || line == b"event").then_some((line, &[]))
}

fn append<'a>(data: &mut Option<Cow<'a, [u8]>>, value: &'a [u8]) {
    match data {
        None => *data = Some(Cow::Borrowed(value)),
        Some(lines) => {
            let lines = lines.to_mut();
            lines.push(b'\n');
            lines.extend_from_slice(value);
        }
    }
}
