//! What the events of a stream mean, in each API's format. Pure.
//!
//! ```text
//! event: name, data ──► read ──► Reading { meaning, text, usage, … }
//!                                   │
//!                                   └──► StreamState: what the client of this stream knows by now
//! ```
//!
//! Two things depend on it. Until the first content nothing is committed, so [`Meaning`] says what
//! content is. After it a broken stream is continued elsewhere, so [`StreamState`] keeps the text that
//! was delivered, and the first [`Obstacle`] to continuing it.
//!
//! - **Lenient in shape, strict in syntax.** Members that are missing, null or of another type than
//!   the API's documentation says count as absent: servers that "speak `OpenAI`" vary. What is no JSON
//!   object at all is [`Meaning::Malformed`] and must not reach a client, which would throw on it.
//!   JSON that is well-formed but can't be read (half a surrogate pair in a text, a member twice) is
//!   content that can't be spliced.
//! - **The text is decoded, the event is not rebuilt**: a chunk costs one pass over its bytes, and one that
//!   differs from the last in its text alone hardly that (`alike`).
//! - **A finish is not the end.** [`Meaning::Finish`] says that the answer is whole (its finish
//!   reason came); usage and the API's own end marker may follow. See [`StreamState::at_end`].
//! - **`OpenAI`'s error object** can stand in the data of any event, in any format, and `event: error`
//!   says the same. Some servers tell of it in `"finish_reason":"error"`.
//! - **No format:** on paths that are none of the known ones Gemini's streams are told by their
//!   shape; of anything else the first event is content.

mod alike;
mod closing;
mod gemini;
pub(super) mod json;
mod messages;
mod openai;
mod responses;
mod state;
#[cfg(test)]
mod tests;
pub(super) mod usage;

use std::borrow::Cow;

pub use closing::error_event;
pub use state::{Ending, MAX_TEXT, StreamState};
pub use usage::Usage;

use crate::policy::Format;
use json::Malformed;

/// What an event is to a stream that is judged and perhaps rescued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing of substance: a role, a ping, a comment, the announcement of what is to come.
    Preamble,
    /// Text, reasoning, a tool call, or anything else of the answer; a finish may come with it.
    Content,
    /// The answer is whole: its finish reason, and nothing more of it.
    Finish,
    /// `[DONE]`.
    Done,
    /// The tokens that were used, and nothing else.
    Usage,
    /// The provider tells of an error in the stream.
    Error,
    /// The data is no JSON object: to be dropped.
    Malformed,
}

impl Meaning {
    /// Whether an answer that is held back until its first content goes to the client from here on.
    pub const fn commits(self) -> bool {
        matches!(self, Self::Content | Self::Finish)
    }
}

/// Why a broken stream can't be continued by another model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// Neither chat completions nor Messages.
    #[error("streams of this API can't be continued")]
    Format,
    /// The request has no conversation to add to.
    #[error("the request has no messages to add to")]
    NoMessages,
    /// `n` > 1.
    #[error("the answer has several choices")]
    Choices,
    /// It would have to be repeated to the letter.
    #[error("a tool call was under way")]
    ToolCall,
    /// JSON of a schema, or text of a grammar: no model continues it from the middle.
    #[error("structured output was asked for")]
    StructuredOutput,
    /// They belong to the model that began.
    #[error("log probabilities were asked for")]
    Logprobs,
    /// Sound can't be cut at a character.
    #[error("the answer has audio")]
    Audio,
    /// A safety decision: not to be routed around.
    #[error("the model was refusing")]
    Refusal,
    /// Content of a kind that is not known, or text that can't be decoded.
    #[error("the answer is not plain text")]
    NotText,
    /// More than [`MAX_TEXT`].
    #[error("the answer is too long")]
    TooLong,
}

impl Obstacle {
    /// A short fixed name, for logs and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::NoMessages => "no_messages",
            Self::Choices => "choices",
            Self::ToolCall => "tool_call",
            Self::StructuredOutput => "structured_output",
            Self::Logprobs => "logprobs",
            Self::Audio => "audio",
            Self::Refusal => "refusal",
            Self::NotText => "not_text",
            Self::TooLong => "too_long",
        }
    }
}

/// What kind of content an Anthropic content block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// `text`
    Text,
    /// `thinking`, `redacted_thinking`
    Thinking,
    /// `tool_use` and everything else.
    Other,
}

/// What an event does to the content block with this index; Anthropic only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockStep {
    /// `content_block_start`
    Start(u64, BlockKind),
    /// `content_block_delta`
    Delta(u64),
    /// `content_block_stop`
    Stop(u64),
}

/// All that one event tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading<'a> {
    /// What it is.
    pub meaning: Meaning,
    /// Text of the answer, often empty; of the first choice, where there are several.
    pub text: Cow<'a, str>,
    /// There is reasoning in it.
    pub reasoning: bool,
    /// Why the stream can't be continued elsewhere from here on.
    pub obstacle: Option<Obstacle>,
    /// The choices that it is about, a bit for each index (the last for all from 63 on).
    pub choices: u64,
    /// Those of them that are whole with it.
    pub finished: u64,
    /// It is the last event of its API's streams: `[DONE]`, `message_stop`, `response.completed`.
    pub ends: bool,
    /// Tokens that it tells of.
    pub usage: Usage,
    /// The answer's id.
    pub id: Option<Cow<'a, str>>,
    /// When the answer was begun, in seconds since 1970.
    pub created: Option<u64>,
    /// It tells the role of who speaks.
    pub role: bool,
    /// What it does to a content block.
    pub block: Option<BlockStep>,
    /// Its `sequence_number`; the Responses API only.
    pub sequence: Option<u64>,
}

/// Reads one event: its name (empty where it has none) and its data.
pub fn read<'a>(format: Format, name: &'a [u8], data: &'a [u8]) -> Reading<'a> {
    if data.is_empty() {
        return Reading::of(Meaning::Preamble);
    }
    if data.trim_ascii() == b"[DONE]" {
        return Reading {
            ends: true,
            ..Reading::of(Meaning::Done)
        };
    }
    if name == b"error" {
        return Reading::of(Meaning::Error);
    }
    match format {
        Format::ChatCompletions | Format::Completions => openai::read(data),
        Format::Responses => responses::read(name, data),
        Format::Messages => messages::read(name, data),
        Format::GenerateContent => gemini::read(data),
        Format::Other => Ok(gemini::read_unknown(data)),
    }
    .unwrap_or_else(|Malformed| Reading::of(Meaning::Malformed))
}

impl Reading<'_> {
    /// An event that tells what it is, and no more.
    const fn of(meaning: Meaning) -> Self {
        Self {
            meaning,
            text: Cow::Borrowed(""),
            reasoning: false,
            obstacle: None,
            choices: 0,
            finished: 0,
            ends: false,
            usage: Usage {
                input_tokens: None,
                output_tokens: None,
            },
            id: None,
            created: None,
            role: false,
            block: None,
            sequence: None,
        }
    }

    /// Content that can't be spliced.
    fn obstruct(&mut self, obstacle: Obstacle) {
        self.meaning = Meaning::Content;
        self.obstacle = Some(obstacle);
    }

    /// An event without content is a finish or usage where it tells of one.
    fn settled(mut self) -> Self {
        if self.meaning == Meaning::Preamble {
            if self.finished != 0 {
                self.meaning = Meaning::Finish;
            } else if self.usage != Usage::default() {
                self.meaning = Meaning::Usage;
            }
        }
        self
    }
}
