//! Events of Anthropic's Messages API.
//!
//! ```text
//! message_start ─► (content_block_start ─► content_block_delta* ─► content_block_stop)*
//!               ─► message_delta (stop_reason, usage) ─► message_stop          ping anywhere
//! ```
//!
//! The type stands in the data, and once more as the event's name.

use std::borrow::Cow;

use super::json::{Json, Malformed};
use super::usage::{read_identity, usage};
use super::{BlockKind, BlockStep, Meaning, Obstacle, Reading};

/// What an event tells.
pub fn read<'a>(name: &'a [u8], data: &'a [u8]) -> Result<Reading<'a>, Malformed> {
    let mut reading = Reading {
        choices: 1,
        ..Reading::of(Meaning::Preamble)
    };
    let (mut kind, mut index, mut piece) = (None, 0, Piece::default());
    let mut error = false;
    let json = Json::document(data, |json, key| {
        match key {
            "type" => kind = json.text()?,
            "index" => index = json.count()?.unwrap_or(0),
            "message" => json.object(|json, key| read_identity(json, key, &mut reading))?,
            "content_block" | "delta" => piece = Piece::read(json)?,
            "usage" => reading.usage = usage(json)?,
            "error" => error = json.filled()?,
            _ => json.skip()?,
        }
        Ok(())
    })?;
    match kind.as_deref().map_or(name, str::as_bytes) {
        _ if error => reading.meaning = Meaning::Error,
        b"error" => reading.meaning = Meaning::Error,
        b"message_start" => reading.role = true,
        b"content_block_start" => start(&mut reading, index, piece),
        b"content_block_delta" => delta(&mut reading, index, piece),
        b"content_block_stop" => reading.block = Some(BlockStep::Stop(index)),
        b"message_delta" => reading.finished = piece.stop_reason.into(),
        b"message_stop" => {
            reading.finished = 1;
            reading.ends = true;
        }
        b"ping" => {}
        _ => reading.obstruct(Obstacle::NotText),
    }
    if json.is_garbled() {
        reading.obstruct(Obstacle::NotText);
    }
    Ok(if reading.role {
        reading
    } else {
        reading.settled()
    })
}

/// A content block at its start, or a delta.
#[derive(Debug, Default)]
struct Piece<'a> {
    kind: Cow<'a, str>,
    text: Cow<'a, str>,
    stop_reason: bool,
}

impl<'a> Piece<'a> {
    fn read(json: &mut Json<'a>) -> Result<Self, Malformed> {
        let mut piece = Self::default();
        json.object(|json, key| {
            match key {
                "type" => piece.kind = json.text()?.unwrap_or_default(),
                "text" => piece.text = json.text()?.unwrap_or_default(),
                "stop_reason" => piece.stop_reason = json.filled()?,
                _ => json.skip()?,
            }
            Ok(())
        })?;
        Ok(piece)
    }
}

fn start<'a>(reading: &mut Reading<'a>, index: u64, block: Piece<'a>) {
    let kind = match &*block.kind {
        "text" => BlockKind::Text,
        "thinking" => BlockKind::Thinking,
        // It comes whole with its start.
        "redacted_thinking" => {
            think(reading);
            BlockKind::Thinking
        }
        "tool_use" | "server_tool_use" | "mcp_tool_use" => {
            reading.obstruct(Obstacle::ToolCall);
            BlockKind::Other
        }
        _ => {
            reading.obstruct(Obstacle::NotText);
            BlockKind::Other
        }
    };
    reading.block = Some(BlockStep::Start(index, kind));
    say(reading, block.text);
}

fn delta<'a>(reading: &mut Reading<'a>, index: u64, delta: Piece<'a>) {
    reading.block = Some(BlockStep::Delta(index));
    match &*delta.kind {
        "text_delta" => say(reading, delta.text),
        "thinking_delta" | "signature_delta" => think(reading),
        // They are about text that was told already.
        "citations_delta" => reading.meaning = Meaning::Content,
        "input_json_delta" => reading.obstruct(Obstacle::ToolCall),
        _ => reading.obstruct(Obstacle::NotText),
    }
}

fn say<'a>(reading: &mut Reading<'a>, text: Cow<'a, str>) {
    if !text.is_empty() {
        reading.meaning = Meaning::Content;
        reading.text = text;
    }
}

fn think(reading: &mut Reading<'_>) {
    reading.meaning = Meaning::Content;
    reading.reasoning = true;
}
