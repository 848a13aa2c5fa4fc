//! Chunks of Gemini's `streamGenerateContent?alt=sse`, told by their shape; anything else that
//! comes on a path of no known format is content of which nothing is known.

use std::borrow::Cow;

use super::json::{Json, Malformed};
use super::usage::usage;
use super::{Meaning, Obstacle, Reading};

/// What an event tells.
pub fn read_unknown(data: &[u8]) -> Reading<'_> {
    match told(data) {
        Ok((reading, true)) => reading,
        Ok((reading, false)) if reading.meaning == Meaning::Error => reading,
        _ => {
            let mut reading = Reading::of(Meaning::Preamble);
            reading.obstruct(Obstacle::NotText);
            reading
        }
    }
}

/// What a chunk tells, where Gemini's streams are expected.
pub fn read(data: &[u8]) -> Result<Reading<'_>, Malformed> {
    told(data).map(|(reading, _)| reading)
}

/// What a chunk tells, and whether it has anything that only Gemini's chunks have.
fn told(data: &[u8]) -> Result<(Reading<'_>, bool), Malformed> {
    let mut reading = Reading {
        obstacle: Some(Obstacle::Format),
        ..Reading::of(Meaning::Preamble)
    };
    let (mut ours, mut error) = (false, false);
    Json::document(data, |json, key| {
        ours |= matches!(key, "candidates" | "usageMetadata" | "promptFeedback");
        match key {
            "candidates" => json.list(|json| {
                let candidate = Candidate::read(json)?;
                candidate.tell(&mut reading);
                Ok(())
            })?,
            "usageMetadata" => reading.usage = usage(json)?,
            "promptFeedback" => json.object(|json, key| read_feedback(json, key, &mut reading))?,
            "responseId" => reading.id = json.text()?,
            "error" => error = json.filled()?,
            _ => json.skip()?,
        }
        Ok(())
    })?;
    if error {
        reading.meaning = Meaning::Error;
    }
    Ok((reading.settled(), ours))
}

fn read_feedback(
    json: &mut Json<'_>,
    key: &str,
    reading: &mut Reading<'_>,
) -> Result<(), Malformed> {
    // A prompt that is refused: that is the whole answer.
    if key == "blockReason" && json.filled()? {
        reading.choices |= 1;
        reading.finished |= 1;
    } else if key != "blockReason" {
        json.skip()?;
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Candidate<'a> {
    index: u64,
    text: Cow<'a, str>,
    reasoning: bool,
    other: bool,
    finished: bool,
}

impl<'a> Candidate<'a> {
    fn read(json: &mut Json<'a>) -> Result<Self, Malformed> {
        let mut candidate = Self::default();
        json.object(|json, key| {
            match key {
                "index" => candidate.index = json.count()?.unwrap_or(0),
                "finishReason" => candidate.finished = json.filled()?,
                "content" => json.object(|json, key| match key {
                    "parts" => json.list(|json| candidate.read_part(json)),
                    _ => json.skip(),
                })?,
                _ => json.skip()?,
            }
            Ok(())
        })?;
        Ok(candidate)
    }

    fn read_part(&mut self, json: &mut Json<'a>) -> Result<(), Malformed> {
        let (mut text, mut thought) = (None, false);
        json.object(|json, key| {
            match key {
                "text" => text = json.text()?,
                "thought" => thought = json.filled()?,
                _ => json.skip()?,
            }
            Ok(())
        })?;
        match text {
            // An empty text comes with the finish reason, and as a first sign of life.
            Some(text) if text.is_empty() => {}
            Some(_) if thought => self.reasoning = true,
            Some(text) => self.text += text,
            None => self.other = true,
        }
        Ok(())
    }

    fn tell(self, reading: &mut Reading<'a>) {
        let bit = 1 << self.index.min(63);
        reading.choices |= bit;
        reading.reasoning |= self.reasoning;
        if self.reasoning || self.other || !self.text.is_empty() {
            reading.meaning = Meaning::Content;
        }
        if self.index == 0 {
            reading.text = self.text;
        }
        if self.finished {
            reading.finished |= bit;
        }
    }
}
