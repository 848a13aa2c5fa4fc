//! What holds of any bytes that are taken for a stream of events, whatever the reads in which they
//! arrive. The tests beside this file and the fuzz target share it.

use bytes::Bytes;

use super::{Batch, Splitter};

/// Checks any bytes: the first says how long reads are, the rest is the stream.
///
/// # Panics
/// As [`check`].
pub fn check_input(input: &[u8]) {
    if let [size, stream @ ..] = input {
        check(stream, usize::from(*size));
    }
}

/// Checks a stream that arrives whole, byte by byte, and in reads of `size` bytes.
///
/// # Panics
/// Where the reads make a difference, a byte is lost or changed, or (in a stream that is text) an event
/// is not the standard's.
pub fn check(stream: &[u8], size: usize) {
    let (events, bytes) = split([stream]);
    assert!(bytes.starts_with(stream));
    assert!(matches!(&bytes[stream.len()..], b"" | b"\n\n"));
    for size in [1, size.max(1)] {
        assert_eq!(split(stream.chunks(size)), (events.clone(), bytes.clone()));
    }
    if std::str::from_utf8(stream).is_ok() {
        assert_eq!(events, by_the_standard(stream));
    }
}

/// An event that a client is told of: its name and data.
pub type Told = (Vec<u8>, Vec<u8>);

/// The events, and all bytes given out, of a stream that arrives in these reads.
pub fn split<'a>(reads: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Told>, Vec<u8>) {
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

/// The standard's own algorithm, over the whole stream: lines first, then their fields.
fn by_the_standard(stream: &[u8]) -> Vec<Told> {
    let stream = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream);
    let text = std::str::from_utf8(stream).unwrap();
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
