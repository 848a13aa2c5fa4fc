//! How streams are cut into events.

use proptest::prelude::*;

use super::properties::{Told, check, check_input, split};
use super::*;

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

#[test]
fn the_fuzzers_seeds_are_cut_as_the_standard_says() {
    for seed in crate::fuzz_seeds("event_stream") {
        check_input(&seed);
    }
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
        prop_assert_eq!(split(reads), split([&stream[..]]));
        check(&stream, 7);
    }

    #[test]
    fn no_bytes_are_too_strange(stream in prop::collection::vec(any::<u8>(), 0..200), size in 1usize..20) {
        check(&stream, size);
    }
}
