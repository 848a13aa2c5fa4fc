//! What the client of a stream knows by now.

use super::alike::Alike;
use super::closing::{end_marker, error_event};
use super::{BlockKind, BlockStep, Meaning, Obstacle, Reading, Usage, read};
use crate::policy::Format;

/// Bytes of text that are kept to continue a broken stream; a longer answer is not continued.
pub const MAX_TEXT: usize = 1 << 20;

/// One stream, as the events so far tell of it.
///
/// It serves two streams alike: that of an upstream, to judge it until its first content, and that
/// of the client, which several upstreams may have written.
#[derive(Clone, Debug)]
pub struct StreamState {
    format: Format,
    /// Unknown by its shape too.
    alien: bool,
    id: Option<Box<str>>,
    created: Option<u64>,
    role: bool,
    text: String,
    text_bytes: u64,
    content: bool,
    obstacle: Option<Obstacle>,
    choices: u64,
    finished: u64,
    ended: bool,
    usage: Usage,
    open_block: Option<(u64, BlockKind)>,
    next_block: u64,
    next_sequence: u64,
    events: u64,
    dropped: u64,
    alike: Alike,
}

/// What the end of the body means for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The stream was whole.
    Whole,
    /// The answer is whole; this event, the last of its API's streams, was not sent.
    Lacks(&'static str),
    /// The answer is cut short, or there is none.
    Cut,
}

impl StreamState {
    /// A stream before its first event.
    pub fn new(format: Format) -> Self {
        let spliceable = matches!(format, Format::ChatCompletions | Format::Messages);
        Self {
            format,
            alien: false,
            id: None,
            created: None,
            role: false,
            text: String::new(),
            text_bytes: 0,
            content: false,
            obstacle: (!spliceable).then_some(Obstacle::Format),
            choices: 0,
            finished: 0,
            ended: false,
            usage: Usage::default(),
            open_block: None,
            next_block: 0,
            next_sequence: 0,
            events: 0,
            dropped: 0,
            alike: Alike::default(),
        }
    }

    /// Reads an event and takes note of it.
    pub fn observe(&mut self, name: &[u8], data: &[u8]) -> Meaning {
        if let Some(text) = self.alike.text(name, data) {
            self.events += 1;
            self.note_text(text, None);
            return Meaning::Content;
        }
        let reading = read(self.format, name, data);
        self.note(&reading);
        // The last one alone: to note it once more then changes nothing but the text.
        match reading.meaning {
            Meaning::Content => self.alike.keep(name, data, &reading.text),
            _ => self.alike.forget(),
        }
        reading.meaning
    }

    /// Takes note of an event that must not reach the client.
    pub fn drop_event(&mut self) {
        self.dropped += 1;
    }

    /// Takes note of an event that was read.
    pub fn note(&mut self, reading: &Reading<'_>) {
        match reading.meaning {
            Meaning::Malformed => return self.drop_event(),
            Meaning::Error => return,
            Meaning::Content => self.content = true,
            Meaning::Preamble | Meaning::Finish | Meaning::Done | Meaning::Usage => {}
        }
        self.events += 1;
        self.alien |= self.format == Format::Other && reading.obstacle == Some(Obstacle::NotText);
        if self.id.is_none() {
            self.id = reading.id.as_deref().map(Box::from);
        }
        self.created = self.created.or(reading.created);
        self.role |= reading.role;
        self.choices |= reading.choices;
        self.finished |= reading.finished;
        self.ended |= reading.ends;
        self.note_usage(reading.usage);
        self.note_text(&reading.text, reading.obstacle);
        if let Some(step) = reading.block {
            self.note_block(step);
        }
        if let Some(sequence) = reading.sequence {
            self.next_sequence = sequence.saturating_add(1);
        }
    }

    /// Nothing is known of the stream any more: an event of it was too large to be read.
    pub fn lose_track(&mut self) {
        self.alien = true;
        self.content = true;
        self.note_text("", Some(Obstacle::TooLong));
    }

    fn note_usage(&mut self, usage: Usage) {
        self.usage = Usage {
            input_tokens: usage.input_tokens.or(self.usage.input_tokens),
            output_tokens: usage.output_tokens.or(self.usage.output_tokens),
        };
    }

    fn note_text(&mut self, text: &str, obstacle: Option<Obstacle>) {
        self.text_bytes += text.len() as u64;
        self.obstacle = self.obstacle.or(obstacle);
        if self.text_bytes > MAX_TEXT as u64 {
            self.obstacle = self.obstacle.or(Some(Obstacle::TooLong));
        }
        if self.obstacle.is_none() {
            self.text.push_str(text);
        } else if self.text.capacity() > 0 {
            self.text = String::new();
        }
    }

    fn note_block(&mut self, step: BlockStep) {
        match step {
            BlockStep::Start(index, kind) => {
                self.open_block = Some((index, kind));
                self.next_block = self.next_block.max(index.saturating_add(1));
            }
            BlockStep::Delta(_) => {}
            BlockStep::Stop(_) => self.open_block = None,
        }
    }

    /// The text so far, for another model to continue.
    ///
    /// # Errors
    /// Why none can.
    pub fn continuable(&self) -> Result<&str, Obstacle> {
        self.obstacle.map_or(Ok(&self.text), Err)
    }

    /// What it means when the body ends here, as HTTP has it properly. A stream of which nothing is
    /// known is whole then.
    pub fn at_end(&self) -> Ending {
        if self.alien && self.content {
            Ending::Whole
        } else {
            self.at_break()
        }
    }

    /// What it means when the body breaks off here.
    pub fn at_break(&self) -> Ending {
        if self.ended && (self.content || self.finished != 0) {
            Ending::Whole
        } else if self.is_finished() {
            end_marker(self.format).map_or(Ending::Whole, Ending::Lacks)
        } else {
            Ending::Cut
        }
    }

    /// The event that ends this stream where it can't go on.
    pub fn error_event(&self, message: &str) -> String {
        error_event(self.format, self.next_sequence, message)
    }

    /// The API whose stream it is.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The answer's id.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// When the answer was begun, in seconds since 1970.
    pub fn created(&self) -> Option<u64> {
        self.created
    }

    /// Whether the client knows the role of who speaks.
    pub fn has_role(&self) -> bool {
        self.role
    }

    /// Whether there was content.
    pub fn has_content(&self) -> bool {
        self.content
    }

    /// Whether there are as many choices as were asked for; beyond 64 they are not told apart.
    pub fn has_choices(&self, asked: u64) -> bool {
        u64::from(self.choices.count_ones()) >= asked.min(64)
    }

    /// Whether every choice that was seen has its finish reason.
    pub fn is_finished(&self) -> bool {
        self.finished != 0 && self.finished == self.choices
    }

    /// Whether the last event of the API's streams was seen.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Bytes of text so far (of the first choice), also where they are not kept.
    pub fn text_bytes(&self) -> u64 {
        self.text_bytes
    }

    /// Tokens, as last told.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Events noted, comments too; without errors and those that were dropped.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Events that were no valid JSON, or no text.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The content block that was started and not stopped (Anthropic).
    pub fn open_block(&self) -> Option<(u64, BlockKind)> {
        self.open_block
    }

    /// The index of the next content block (Anthropic).
    pub fn next_block(&self) -> u64 {
        self.next_block
    }

    /// The same, having seen nothing.
    #[cfg(test)]
    pub(super) fn without_alike(mut self) -> Self {
        self.alike = Alike::default();
        self
    }
}
