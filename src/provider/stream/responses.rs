//! Events of `OpenAI`'s Responses API.
//!
//! The type stands in the data, and once more as the event's name. Types that announce are listed;
//! every other one is content: a delta, a part that is done, the progress of a tool.

use super::json::{Json, Malformed};
use super::usage::read_identity;
use super::{Meaning, Obstacle, Reading};

/// What an event tells.
pub fn read<'a>(name: &'a [u8], data: &'a [u8]) -> Result<Reading<'a>, Malformed> {
    let mut reading = Reading {
        choices: 1,
        obstacle: Some(Obstacle::Format),
        ..Reading::of(Meaning::Preamble)
    };
    let (mut kind, mut delta, mut error) = (None, None, false);
    Json::document(data, |json, key| {
        match key {
            "type" => kind = json.text()?,
            "delta" => delta = json.text()?,
            "sequence_number" => reading.sequence = json.count()?,
            "response" => json.object(|json, key| read_identity(json, key, &mut reading))?,
            "error" => error = json.filled()?,
            _ => json.skip()?,
        }
        Ok(())
    })?;
    let kind = kind.unwrap_or_else(|| String::from_utf8_lossy(name));
    reading.meaning = if error {
        Meaning::Error
    } else {
        meaning(&kind)
    };
    if reading.meaning == Meaning::Finish {
        reading.finished = 1;
        reading.ends = true;
    }
    if kind == "response.output_text.delta" {
        reading.text = delta.unwrap_or_default();
    }
    Ok(reading)
}

fn meaning(kind: &str) -> Meaning {
    match kind {
        "error" | "response.failed" | "response.cancelled" => Meaning::Error,
        "response.completed" | "response.incomplete" => Meaning::Finish,
        "response.created"
        | "response.queued"
        | "response.in_progress"
        | "response.output_item.added"
        | "response.content_part.added"
        | "response.reasoning_summary_part.added"
        | "keepalive"
        | "ping" => Meaning::Preamble,
        _ => Meaning::Content,
    }
}
