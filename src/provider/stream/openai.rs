//! Chunks of chat completions and of legacy completions, in the dialects of those who speak them.

use std::borrow::Cow;

use super::json::{Json, Malformed};
use super::usage::usage;
use super::{Meaning, Obstacle, Reading};

/// What a chunk tells.
pub fn read(data: &[u8]) -> Result<Reading<'_>, Malformed> {
    let mut reading = Reading::of(Meaning::Preamble);
    let mut error = false;
    let json = Json::document(data, |json, key| {
        match key {
            "id" => reading.id = json.text()?.filter(|id| !id.is_empty()),
            "created" => reading.created = json.count()?,
            "choices" => json.list(|json| {
                let choice = Choice::read(json)?;
                choice.tell(&mut reading);
                Ok(())
            })?,
            "usage" => reading.usage = usage(json)?,
            "error" => error = json.filled()?,
            _ => json.skip()?,
        }
        Ok(())
    })?;
    if json.is_garbled() {
        reading.obstruct(Obstacle::NotText);
    }
    if error {
        reading.meaning = Meaning::Error;
    }
    Ok(reading.settled())
}

#[derive(Debug, Default)]
struct Choice<'a> {
    index: u64,
    role: bool,
    text: Cow<'a, str>,
    reasoning: bool,
    obstacle: Option<Obstacle>,
    logprobs: bool,
    finish_reason: Cow<'a, str>,
}

impl<'a> Choice<'a> {
    fn read(json: &mut Json<'a>) -> Result<Self, Malformed> {
        let mut choice = Self::default();
        json.object(|json, key| {
            match key {
                "index" => choice.index = json.count()?.unwrap_or(0),
                "delta" => json.object(|json, key| choice.read_delta(json, key))?,
                // Legacy completions have no delta.
                "text" => choice.text = json.text()?.unwrap_or_default(),
                "logprobs" => choice.logprobs = json.filled()?,
                "finish_reason" => choice.finish_reason = json.text()?.unwrap_or_default(),
                _ => json.skip()?,
            }
            Ok(())
        })?;
        Ok(choice)
    }

    fn read_delta(&mut self, json: &mut Json<'a>, key: &str) -> Result<(), Malformed> {
        let obstacle = match key {
            "role" => {
                self.role = json.filled()?;
                return Ok(());
            }
            "content" => return self.read_content(json),
            // DeepSeek and vLLM; Groq, OpenRouter and newer vLLM; OpenRouter.
            "reasoning_content" | "reasoning" | "reasoning_details" => {
                self.reasoning |= json.filled()?;
                return Ok(());
            }
            "refusal" => Obstacle::Refusal,
            "tool_calls" | "function_call" => Obstacle::ToolCall,
            "audio" => Obstacle::Audio,
            _ => return json.skip(),
        };
        if json.filled()? {
            self.obstacle = Some(obstacle);
        }
        Ok(())
    }

    /// Text, or (Mistral's reasoning models) a list of parts.
    fn read_content(&mut self, json: &mut Json<'a>) -> Result<(), Malformed> {
        if json.is_list() {
            json.list(|json| self.read_part(json))
        } else {
            self.text = json.text()?.unwrap_or_default();
            Ok(())
        }
    }

    fn read_part(&mut self, json: &mut Json<'a>) -> Result<(), Malformed> {
        let (mut kind, mut text) = (None, None);
        json.object(|json, key| {
            match key {
                "type" => kind = json.text()?,
                "text" => text = json.text()?,
                _ => json.skip()?,
            }
            Ok(())
        })?;
        match kind.as_deref() {
            Some("text") => self.text += text.unwrap_or_default(),
            Some("thinking") => self.reasoning = true,
            _ => self.obstacle = Some(Obstacle::NotText),
        }
        Ok(())
    }

    fn tell(self, reading: &mut Reading<'a>) {
        let bit = 1 << self.index.min(63);
        reading.choices |= bit;
        reading.role |= self.role;
        reading.reasoning |= self.reasoning;
        if self.reasoning || !self.text.is_empty() {
            reading.meaning = Meaning::Content;
        }
        if let Some(obstacle) = self.obstacle {
            reading.obstruct(obstacle);
        }
        if self.logprobs {
            reading.obstacle = Some(Obstacle::Logprobs);
        }
        if self.index > 0 {
            reading.obstacle = Some(Obstacle::Choices);
        } else {
            reading.text = self.text;
        }
        match &*self.finish_reason {
            "" => {}
            "error" => reading.meaning = Meaning::Error,
            _ => reading.finished |= bit,
        }
    }
}
