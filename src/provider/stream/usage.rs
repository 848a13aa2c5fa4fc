//! The tokens that an answer cost, by whatever names its API has for them.

use super::Reading;
use super::json::{Json, Malformed};

/// Tokens, as far as the provider has told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the prompt.
    pub input_tokens: Option<u64>,
    /// Of the answer.
    pub output_tokens: Option<u64>,
}

/// Reads a member of an answer's own object in an event: who it is, and what it cost so far.
pub(super) fn read_identity<'a>(
    json: &mut Json<'a>,
    key: &str,
    reading: &mut Reading<'a>,
) -> Result<(), Malformed> {
    match key {
        "id" => reading.id = json.text()?,
        "usage" => reading.usage = usage(json)?,
        _ => json.skip()?,
    }
    Ok(())
}

/// The members of one usage: named as in chat completions, as in the Responses API and Anthropic's
/// Messages (some servers send both), or as Gemini does.
pub(in crate::provider) fn usage(json: &mut Json<'_>) -> Result<Usage, Malformed> {
    let mut usage = Usage::default();
    json.object(|json, key| {
        match key {
            "prompt_tokens" | "input_tokens" | "promptTokenCount" | "inputTokens" => {
                usage.input_tokens = json.count()?;
            }
            "completion_tokens" | "output_tokens" | "candidatesTokenCount" | "outputTokens" => {
                usage.output_tokens = json.count()?;
            }
            _ => json.skip()?,
        }
        Ok(())
    })?;
    Ok(usage)
}
