//! Server-sent events, read the way a strict client reads them.
//!
//! The bytes must be UTF-8, every field one that the format knows, and every `data` JSON or
//! `[DONE]`: anything else panics, since a client's SDK would throw on it.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use serde_json::Value;

/// One block of a stream, up to its empty line.
#[derive(Clone, Debug)]
pub struct Event {
    /// The `event` field.
    pub name: Option<String>,
    /// The `data` fields, joined; none in a block of comments.
    pub data: Option<String>,
    /// The comments, without their colon.
    pub comments: Vec<String>,
    /// The block as it was on the wire, with its empty line.
    pub raw: Bytes,
    /// When its last byte was read.
    pub at: Instant,
}

impl Event {
    /// Whether it is OpenAI's end of a stream.
    pub fn is_done(&self) -> bool {
        self.data.as_deref() == Some("[DONE]")
    }

    /// Its data. Panics at `[DONE]` and where there is none.
    pub fn json(&self) -> Value {
        self.value()
            .unwrap_or_else(|| panic!("no JSON in {:?}", self.raw))
    }

    /// The text that it adds to the answer: OpenAI's `choices[0].delta.content`, Anthropic's
    /// `delta.text`.
    pub fn content(&self) -> Option<String> {
        let value = self.value()?;
        let text = value.pointer("/choices/0/delta/content");
        let text = text.or_else(|| value.pointer("/delta/text"))?;
        Some(text.as_str()?.to_owned())
    }

    fn value(&self) -> Option<Value> {
        let data = self.data.as_deref().filter(|data| *data != "[DONE]")?;
        Some(serde_json::from_str(data).expect("checked when it was read"))
    }
}

/// Cuts a stream into events, however its bytes arrive.
#[derive(Debug, Default)]
pub struct Parser {
    buffer: BytesMut,
}

impl Parser {
    /// The events that `bytes`, read at `at`, complete.
    pub fn feed(&mut self, bytes: &[u8], at: Instant) -> Vec<Event> {
        self.buffer.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = block_end(&self.buffer) {
            events.extend(event(self.buffer.split_to(end).freeze(), at));
        }
        events
    }

    /// The start of an event whose end has not come.
    pub fn unfinished(&self) -> &[u8] {
        &self.buffer
    }
}

/// All events of a whole body. Panics where its last one is cut.
pub fn events(body: &[u8]) -> Vec<Event> {
    let mut parser = Parser::default();
    let events = parser.feed(body, Instant::now());
    let left = parser.unfinished();
    assert!(
        left.is_empty(),
        "a cut event: {:?}",
        String::from_utf8_lossy(left)
    );
    events
}

/// Where the first empty line ends.
fn block_end(bytes: &[u8]) -> Option<usize> {
    let mut line = 0;
    loop {
        let end = line
            + bytes[line..]
                .iter()
                .position(|byte| b"\r\n".contains(byte))?;
        let crlf = bytes[end..].starts_with(b"\r\n");
        let next = end + if crlf { 2 } else { 1 };
        if end == line {
            return Some(next);
        }
        line = next;
    }
}

/// What a block says; nothing where it has no line (a stray line end between two events).
fn event(raw: Bytes, at: Instant) -> Option<Event> {
    let text = std::str::from_utf8(&raw).unwrap_or_else(|_| panic!("not UTF-8: {raw:?}"));
    let mut event = Event {
        name: None,
        data: None,
        comments: Vec::new(),
        raw: raw.clone(),
        at,
    };
    let mut lines = text
        .split(['\r', '\n'])
        .filter(|line| !line.is_empty())
        .peekable();
    lines.peek()?;
    for line in lines {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => event.comments.push(value.to_owned()),
            "event" => event.name = Some(value.to_owned()),
            "data" => event.data = Some(joined(event.data.take(), value)),
            "id" | "retry" => {}
            _ => panic!("an unknown field in {raw:?}"),
        }
    }
    if let Some(data) = event.data.as_deref().filter(|data| *data != "[DONE]") {
        serde_json::from_str::<Value>(data)
            .unwrap_or_else(|error| panic!("data that is no JSON ({error}): {raw:?}"));
    }
    Some(event)
}

fn joined(before: Option<String>, line: &str) -> String {
    match before {
        None => line.to_owned(),
        Some(before) => format!("{before}\n{line}"),
    }
}

/// What a client makes of a whole text stream, OpenAI's chat completions or Anthropic's messages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transcript {
    /// All text in order.
    pub text: String,
    /// The different ids, in order of their first appearance.
    pub ids: Vec<String>,
    /// The different models, in order of their first appearance.
    pub models: Vec<String>,
    /// How often a role was announced.
    pub roles: usize,
    /// Every finish or stop reason.
    pub finishes: Vec<String>,
    /// The last usage.
    pub usage: Option<Value>,
    /// Every error event's `error`.
    pub errors: Vec<Value>,
    /// Every comment.
    pub comments: Vec<String>,
    /// Whether `[DONE]` or `message_stop` came. Nothing may come after it.
    pub done: bool,
}

impl Transcript {
    /// Reads `events`. Panics where something follows the end.
    pub fn of(events: &[Event]) -> Self {
        let mut transcript = Self::default();
        for event in events {
            transcript.read(event);
        }
        transcript
    }

    fn read(&mut self, event: &Event) {
        assert!(!self.done, "after the end of the stream: {:?}", event.raw);
        self.comments.extend(event.comments.iter().cloned());
        self.text.extend(event.content());
        let Some(value) = event.value() else {
            self.done = event.is_done();
            return;
        };
        self.done = value["type"] == "message_stop";
        let string = |pointers: [&str; 2]| {
            let found = pointers.iter().find_map(|path| value.pointer(path));
            found.and_then(Value::as_str).map(str::to_owned)
        };
        note(&mut self.ids, string(["/id", "/message/id"]));
        note(&mut self.models, string(["/model", "/message/model"]));
        let role = string(["/choices/0/delta/role", "/message/role"]);
        self.roles += usize::from(role.is_some());
        let finish = string(["/choices/0/finish_reason", "/delta/stop_reason"]);
        self.finishes.extend(finish);
        self.errors.extend(value.get("error").cloned());
        if let Some(usage) = value.get("usage").filter(|usage| !usage.is_null()) {
            self.usage = Some(usage.clone());
        }
    }
}

fn note(seen: &mut Vec<String>, value: Option<String>) {
    seen.extend(value.filter(|value| !seen.contains(value)));
}
