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

/// The tokens that a whole JSON answer tells of, in its `usage` or (Gemini) `usageMetadata`; none
/// where it is no JSON object. One pass over its bytes, nothing of it is kept.
pub fn usage_of_answer(body: &[u8]) -> Usage {
    let mut told = Usage::default();
    let read = Json::document(body, |json, key| match key {
        "usage" | "usageMetadata" => {
            told = usage(json)?;
            Ok(())
        }
        _ => json.skip(),
    });
    read.map_or(Usage::default(), |_| told)
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
pub(super) fn usage(json: &mut Json<'_>) -> Result<Usage, Malformed> {
    let mut usage = Usage::default();
    json.object(|json, key| {
        match key {
            "prompt_tokens" | "input_tokens" | "promptTokenCount" => {
                usage.input_tokens = json.count()?;
            }
            "completion_tokens" | "output_tokens" | "candidatesTokenCount" => {
                usage.output_tokens = json.count()?;
            }
            _ => json.skip()?,
        }
        Ok(())
    })?;
    Ok(usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_every_api_tell_their_tokens() {
        for (api, body, input, output) in [
            (
                "chat completions",
                r#"{"id":"1","choices":[{"message":{"content":"{\"usage\":{\"prompt_tokens\":1}}"}}],
                   "usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,
                            "prompt_tokens_details":{"cached_tokens":4}}}"#,
                Some(9),
                Some(12),
            ),
            (
                "embeddings",
                r#"{"data":[{"embedding":[0.1,-2e-3]}],"usage":{"prompt_tokens":5,"total_tokens":5}}"#,
                Some(5),
                None,
            ),
            (
                "Messages",
                r#"{"type":"message","usage":{"input_tokens":9,"cache_read_input_tokens":0,"output_tokens":3},"content":[]}"#,
                Some(9),
                Some(3),
            ),
            (
                "Responses",
                r#"{"object":"response","error":null,"usage":{"input_tokens":7,"input_tokens_details":{"cached_tokens":0},"output_tokens":8}}"#,
                Some(7),
                Some(8),
            ),
            (
                "Gemini",
                r#"{"candidates":[],"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":6,"totalTokenCount":10}}"#,
                Some(4),
                Some(6),
            ),
        ] {
            let expected = Usage {
                input_tokens: input,
                output_tokens: output,
            };
            assert_eq!(usage_of_answer(body.as_bytes()), expected, "{api}");
        }
    }

    #[test]
    fn what_tells_of_no_tokens_has_none() {
        for body in [
            "",
            "17",
            "[]",
            r#"{"id":"1"}"#,
            r#"{"usage":null}"#,
            r#"{"usage":[{"prompt_tokens":1}]}"#,
            r#"{"usage":{"prompt_tokens":"many","completion_tokens":-1}}"#,
            r#"{"choices":[{"usage":{"prompt_tokens":1}}]}"#,
            r#"{"usage":{"prompt_tokens":1},"cut":"#,
            "{\"usage\":{\"prompt_tokens\":1},\"text\":\"\u{1}\"}",
        ] {
            assert_eq!(usage_of_answer(body.as_bytes()), Usage::default(), "{body}");
        }
        assert_eq!(usage_of_answer(b"{\"usage\":{}}\xff"), Usage::default());
    }
}
