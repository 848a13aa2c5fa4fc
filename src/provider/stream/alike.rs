//! Events that differ from the one before in their text alone.
//!
//! Most of a stream's events are: the same id, time and model, and another word. Such an event is known by its
//! bytes up to the text and behind it, and needs no reading (`benches/stream.rs`).

use std::ops::Range;

use super::json::plain_run;

/// A longer event isn't kept.
const MAX_EVENT: usize = 1 << 10;

/// The last event that was read, if it had text.
#[derive(Clone, Debug, Default)]
pub(super) struct Alike {
    name: Vec<u8>,
    data: Vec<u8>,
    /// Where in the data the text stands: all of a JSON string, as it is written.
    text: Range<usize>,
}

impl Alike {
    /// Keeps an event whose text was found to be `text`.
    pub(super) fn keep(&mut self, name: &[u8], data: &[u8], text: &str) {
        self.forget();
        if let Some(place) = place(data, text).filter(|_| data.len() <= MAX_EVENT) {
            self.name.extend_from_slice(name);
            self.data.extend_from_slice(data);
            self.text = place;
        }
    }

    /// Another event was read.
    pub(super) fn forget(&mut self) {
        self.name.clear();
        self.data.clear();
        self.text = 0..0;
    }

    /// The text of an event that differs from the one that is kept in nothing else.
    pub(super) fn text<'a>(&self, name: &[u8], data: &'a [u8]) -> Option<&'a str> {
        if self.text.is_empty() || self.name != name {
            return None;
        }
        let before = &self.data[..self.text.start];
        let behind = &self.data[self.text.end..];
        let text = data.strip_prefix(before)?.strip_suffix(behind)?;
        if text.is_empty() || plain_run(text) < text.len() {
            return None;
        }
        simdutf8::basic::from_utf8(text).ok()
    }
}

/// Where in `data` the text stands, if it is a piece of it: an escaped one is not.
fn place(data: &[u8], text: &str) -> Option<Range<usize>> {
    let start = (text.as_ptr() as usize).checked_sub(data.as_ptr() as usize)?;
    let place = start..start + text.len();
    let quoted =
        start > 0 && data.get(start - 1) == Some(&b'"') && data.get(place.end) == Some(&b'"');
    (quoted && !text.is_empty()).then_some(place)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Format, StreamState, read};
    use super::*;

    /// Events of each format, with `§` where their text stands.
    const EVENTS: [(Format, &str, &str); 6] = [
        (
            Format::ChatCompletions,
            "",
            r#"{"id":"c-1","created":17,"model":"m","choices":[{"index":0,"delta":{"content":"§"},"finish_reason":null}]}"#,
        ),
        (
            Format::ChatCompletions,
            "",
            r#"{"id":"§","created":17,"choices":[{"index":0,"delta":{"role":"assistant","content":"§"}}],"usage":{"prompt_tokens":7}}"#,
        ),
        (
            Format::ChatCompletions,
            "",
            r#"{"choices":[{"index":1,"delta":{"content":"§"}},{"index":0,"delta":{"content":"a§"},"finish_reason":"stop"}]}"#,
        ),
        (
            Format::Messages,
            "content_block_delta",
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"§"}}"#,
        ),
        (
            Format::Responses,
            "response.output_text.delta",
            r#"{"type":"response.output_text.delta","sequence_number":4,"item_id":"i","delta":"§"}"#,
        ),
        (
            Format::GenerateContent,
            "",
            r#"{"candidates":[{"content":{"parts":[{"text":"§"}],"role":"model"},"index":0}]}"#,
        ),
    ];

    /// Events that others may stand between: they end what has begun, or tell how it stands.
    const BETWEEN: [(Format, &str, &str); 7] = [
        (
            Format::ChatCompletions,
            "",
            r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":9}}"#,
        ),
        (Format::ChatCompletions, "", "no JSON"),
        (
            Format::Messages,
            "content_block_start",
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"§"}}"#,
        ),
        (
            Format::Messages,
            "content_block_stop",
            r#"{"type":"content_block_stop","index":0}"#,
        ),
        (
            Format::Responses,
            "response.in_progress",
            r#"{"type":"response.in_progress","sequence_number":5}"#,
        ),
        (
            Format::ChatCompletions,
            "",
            r#"{"choices":[{"index":0,"delta":{"content":"§"}}],"usage":{"completion_tokens":1}}"#,
        ),
        (
            Format::ChatCompletions,
            "",
            r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0}],"content":"§"}}]}"#,
        ),
    ];

    /// What is known after these events, each with its text: with every one read, and with those that are
    /// alike not.
    fn known(format: Format, events: &[(&str, &str, String)]) -> [String; 2] {
        let (mut all, mut some) = (StreamState::new(format), StreamState::new(format));
        let mut meanings = [Vec::new(), Vec::new()];
        for (name, event, text) in events {
            let data = event.replace('§', text);
            let reading = read(format, name.as_bytes(), data.as_bytes());
            all.note(&reading);
            meanings[0].push(reading.meaning);
            meanings[1].push(some.observe(name.as_bytes(), data.as_bytes()));
        }
        [(all, &meanings[0]), (some, &meanings[1])]
            .map(|(state, meanings)| format!("{:?} {meanings:?}", state.without_alike()))
    }

    #[test]
    fn the_second_of_two_is_not_read() {
        for (format, name, event) in EVENTS {
            let [first, second] = ["Hello", " wörld"].map(|text| event.replacen('§', text, 9));
            let reading = read(format, name.as_bytes(), first.as_bytes());
            let mut alike = Alike::default();
            assert_eq!(alike.text(name.as_bytes(), second.as_bytes()), None);
            alike.keep(name.as_bytes(), first.as_bytes(), &reading.text);
            let one_place = event.matches('§').count() == 1;
            let expected = one_place.then_some(" wörld");
            assert_eq!(
                alike.text(name.as_bytes(), second.as_bytes()),
                expected,
                "{event}"
            );
            assert_eq!(alike.text(b"error", second.as_bytes()), None, "{event}");
        }
    }

    #[test]
    fn what_is_no_text_is_read() {
        let (_, name, event) = EVENTS[0];
        let first = event.replace('§', "Hello");
        let text = first.find("Hello").map(|at| &first[at..at + 5]).unwrap();
        let mut alike = Alike::default();
        alike.keep(name.as_bytes(), first.as_bytes(), text);
        for other in ["", "\\n", "\"", "a\",\"b\":\"c", "\u{1}"] {
            let event = event.replace('§', other);
            assert_eq!(
                alike.text(name.as_bytes(), event.as_bytes()),
                None,
                "{event}"
            );
        }
        let mut broken = first.clone().into_bytes();
        let at = first.find("Hello").unwrap();
        broken[at] = 0xff;
        assert_eq!(alike.text(name.as_bytes(), &broken), None, "no UTF-8");
        for cut in 0..first.len() {
            assert_eq!(alike.text(name.as_bytes(), &first.as_bytes()[..cut]), None);
        }
        alike.keep(name.as_bytes(), first.as_bytes(), "Hello");
        assert_eq!(
            alike.text(name.as_bytes(), first.as_bytes()),
            None,
            "not its own text"
        );
    }

    fn events() -> impl Strategy<Value = (Format, Vec<(&'static str, &'static str, String)>)> {
        let formats = EVENTS.map(|(format, ..)| format).to_vec();
        prop::sample::select(formats).prop_flat_map(|format| {
            let of_it = EVENTS
                .into_iter()
                .chain(BETWEEN)
                .filter(move |(of, ..)| *of == format);
            let event = prop::sample::select(of_it.collect::<Vec<_>>());
            let text = "[a-c\"\\\\né]{0,3}|\\\\n|null|\\\\ud800";
            let event = (event, text).prop_map(|((_, name, event), text)| (name, event, text));
            (Just(format), prop::collection::vec(event, 1..8))
        })
    }

    proptest! {
        #[test]
        fn nothing_else_is_known_than_by_reading((format, events) in events()) {
            let [all, some] = known(format, &events);
            prop_assert_eq!(all, some);
        }
    }
}
