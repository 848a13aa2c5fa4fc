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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An event that a client is told of: its name and data.
    type Told = (Vec<u8>, Vec<u8>);

    /// The events, and all bytes given out, of a stream that arrives in these reads.
    fn split<'a>(reads: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Told>, Vec<u8>) {
        let mut splitter = Splitter::new();
        let mut events = Vec::new();
        let mut bytes = Vec::new();
        let mut take = |batch: Batch| {
            let mut end = 0;
            for event in batch.events() {
                assert_eq!(
                    event.range.start, end,
                    "events follow each other without a gap"
                );
                end = event.range.end;
                if !event.data.is_empty() {
                    events.push((event.name.to_vec(), event.data.into_owned()));
                }
            }
            assert_eq!(end, batch.bytes.len(), "a batch ends with an event");
            bytes.extend_from_slice(&batch.bytes);
        };
        for read in reads {
            take(splitter.push(Bytes::copy_from_slice(read)));
        }
        take(splitter.finish());
        (events, bytes)
    }

    fn event(name: &str, data: &str) -> Told {
        (name.into(), data.into())
    }

    #[test]
    fn every_line_end_and_every_field() {
        for (stream, expected) in [
            (
                "data: a\n\ndata: b\n\n",
                vec![event("", "a"), event("", "b")],
            ),
            (
                "data: a\r\n\r\ndata: b\r\n\r\n",
                vec![event("", "a"), event("", "b")],
            ),
            (
                "data: a\r\rdata: b\r\r",
                vec![event("", "a"), event("", "b")],
            ),
            (
                "data: a\n\r\ndata: b\r\n\r",
                vec![event("", "a"), event("", "b")],
            ),
            (
                "data: a\r\r\ndata: b\n\n",
                vec![event("", "a"), event("", "b")],
            ),
            ("data:a\ndata:  b\ndata\n\n", vec![event("", "a\n b\n")]),
            (
                "event: ping\nid: 7\nretry: 3\ndata: {}\n\n",
                vec![event("ping", "{}")],
            ),
            ("event: a\nevent: b\ndata: c\n\n", vec![event("b", "c")]),
            ("event\ndata: c\n\n", vec![event("", "c")]),
            (": a comment\n\ndata: a\n\n", vec![event("", "a")]),
            (": a comment\ndata: a\n\n", vec![event("", "a")]),
            ("\n\n\ndata: a\n\n\n\n", vec![event("", "a")]),
            ("data: \n\ndata\n\nevent: x\n\n", vec![]),
            ("databases: a\n dataa: b\n\n", vec![]),
            (
                "\u{feff}data: a\n\n\u{feff}data: b\n\n",
                vec![event("", "a")],
            ),
            ("\u{feff}\ndata: a\n\n", vec![event("", "a")]),
            ("data: unterminated", vec![event("", "unterminated")]),
            ("data: a\n", vec![event("", "a")]),
            ("data: a\r", vec![event("", "a")]),
            ("", vec![]),
        ] {
            let (events, bytes) = split([stream.as_bytes()]);
            assert_eq!(events, expected, "{stream:?}");
            assert!(bytes.starts_with(stream.as_bytes()), "{stream:?}");
            let (events, _) = split(stream.as_bytes().chunks(1));
            assert_eq!(events, expected, "{stream:?}, byte by byte");
        }
    }

    #[test]
    fn an_event_is_given_out_with_its_last_byte() {
        for stream in ["data: a\n\n", "data: a\r\n\r\n", "data: a\r\r"] {
            let mut splitter = Splitter::new();
            let (last, before) = stream.as_bytes().split_last().unwrap();
            for byte in before {
                assert!(
                    splitter
                        .push(Bytes::copy_from_slice(&[*byte]))
                        .bytes
                        .is_empty()
                );
            }
            let batch = splitter.push(Bytes::copy_from_slice(&[*last]));
            assert_eq!(batch.bytes, stream.as_bytes(), "{stream:?}");
        }
    }

    #[test]
    fn whole_events_are_not_copied() {
        let read = Bytes::from_static(b"data: a\n\ndata: b\n\ndata: c");
        let batch = Splitter::new().push(read.clone());
        assert_eq!(batch.bytes.as_ptr(), read.as_ptr());
        assert!(
            batch
                .events()
                .all(|event| matches!(event.data, Cow::Borrowed(_)))
        );
    }

    #[test]
    fn an_event_past_the_limit_makes_the_stream_opaque() {
        let mut splitter = Splitter::new();
        let mut sent = 0;
        let mut got = 0;
        for part in [
            &b"data: a\n\ndata: "[..],
            &[b'x'; MAX_EVENT],
            b"\n\n",
            b"data: b\n\n",
        ] {
            let batch = splitter.push(Bytes::copy_from_slice(part));
            sent += part.len();
            got += batch.bytes.len();
            assert_eq!(batch.events().count(), usize::from(sent == part.len()));
        }
        assert!(splitter.is_opaque());
        assert_eq!(splitter.carried(), 0);
        assert_eq!(sent, got);
    }

    #[test]
    fn who_stops_gets_what_was_carried_and_no_more_events() {
        let mut splitter = Splitter::new();
        let batch = splitter.push(Bytes::from_static(b"data: a\n\ndata: b\n"));
        assert_eq!(batch.events().count(), 1);
        assert_eq!(splitter.carried(), 8);
        assert_eq!(splitter.stop(), "data: b\n");
        assert!(splitter.is_opaque());
        assert_eq!(splitter.carried(), 0);
        for read in ["\ndata: c\n\n", "data: d"] {
            let batch = splitter.push(Bytes::from_static(read.as_bytes()));
            assert_eq!(batch.bytes, read, "at once, and as it came");
            assert_eq!(batch.events().count(), 0);
        }
        assert_eq!(splitter.finish().bytes, "", "it makes nothing up");
    }

    #[test]
    fn bytes_that_are_no_text_garble_their_event_alone() {
        for (stream, garbled) in [
            (&b"data: a\n\ndata: b\n\n"[..], [false, false]),
            (b"event: \xff\ndata: a\n\ndata: b\n\n", [true, false]),
            (b"data: a\nevent: \xff\n\ndata: b\n\n", [true, false]),
            (b"data: a\n\nid: \xff\ndata: b\n\n", [false, true]),
            (b"data: a\n\n: \xff\n\n", [false, true]),
            (b"\xff\n\ndata: b\n\n", [true, false]),
            ("event: é\ndata: a\n\n: 字\n\n".as_bytes(), [false, false]),
            // Of the data its reader knows: it is no JSON.
            (b"data: \xff\n\ndata\n\n", [false, false]),
        ] {
            let batch = Splitter::new().push(Bytes::copy_from_slice(stream));
            let found: Vec<bool> = batch.events().map(|event| event.garbled).collect();
            assert_eq!(found, garbled, "{}", stream.escape_ascii());
        }
    }

    /// Streams of the pieces that matter to a splitter, and what may stand between them.
    fn streams() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just("data: "),
            Just("data:"),
            Just("event: delta"),
            Just(": ping"),
            Just("id: 1"),
            Just("{\"a\":\"é\u{1f600}\"}"),
            Just("\n"),
            Just("\r\n"),
            Just("\r"),
            Just("\n\n"),
            Just("\u{feff}"),
            Just("data: [DONE]\n\n"),
            Just("data: {}\r\n\r\n"),
        ];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
    }

    /// The standard's own algorithm, over the whole stream: lines first, then their fields.
    fn by_the_standard(stream: &[u8]) -> Vec<Told> {
        let stream = stream.strip_prefix(BOM).unwrap_or(stream);
        let text = String::from_utf8(stream.to_vec()).unwrap();
        let mut events = Vec::new();
        let (mut name, mut data) = (String::new(), String::new());
        // What is left at the end is given out like the rest: see `Splitter::finish`.
        for line in (text.replace("\r\n", "\n").replace('\r', "\n") + "\n\n").split('\n') {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" if line.is_empty() => {
                    if data.len() > 1 {
                        data.pop();
                        events.push((name.clone().into_bytes(), data.clone().into_bytes()));
                    }
                    name.clear();
                    data.clear();
                }
                "event" => name = value.into(),
                "data" => data += &format!("{value}\n"),
                _ => {}
            }
        }
        events
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_events_of_the_standard(
            stream in streams(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            at.extend([0, stream.len()]);
            at.sort_unstable();
            let reads = at.windows(2).map(|pair| &stream[pair[0]..pair[1]]);
            let expected = by_the_standard(&stream);
            for (events, bytes) in [split(reads), split(stream.chunks(1)), split([&stream[..]])] {
                prop_assert_eq!(&events, &expected);
                prop_assert!(bytes.starts_with(&stream));
                prop_assert!(matches!(&bytes[stream.len()..], b"" | b"\n\n"));
            }
        }

        #[test]
        fn no_bytes_are_too_strange(stream in prop::collection::vec(any::<u8>(), 0..200)) {
            let (events, bytes) = split([&stream[..]]);
            prop_assert_eq!(split(stream.chunks(1)), (events, bytes.clone()));
            prop_assert!(bytes.starts_with(&stream));
        }
    }
}
