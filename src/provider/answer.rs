//! What a whole answer with a status of success is, and what it cost: one pass over its bytes, and
//! another over those few that tell of tokens, when there is time for it.

use std::ops::Range;

use serde::de::IgnoredAny;

use super::stream::Usage;
use super::stream::json::Json;
use super::stream::usage::usage;

/// What a whole JSON answer with a status of success is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// JSON that does not tell of an error.
    Complete,
    /// JSON whose top level has an `error`: `OpenRouter` and the Responses API answer so when the
    /// model failed after they had begun.
    Error,
    /// No JSON, or cut.
    Malformed,
}

/// Tells whether a JSON answer with a status of success is whole, whether it is one at all, and
/// where in it stands what it cost, for [`usage_at`]: its `usage` or (Gemini) `usageMetadata`.
pub fn inspect_answer(body: &[u8]) -> (Answer, Option<Range<usize>>) {
    let mut is_error = false;
    let mut usage = None;
    let read = Json::document(body, |json, key| {
        match key {
            "error" => is_error = !json.null()?,
            "usage" | "usageMetadata" => usage = Some(json.place()?),
            _ => json.skip()?,
        }
        Ok(())
    });
    match read {
        Ok(_) if is_error => (Answer::Error, usage),
        Ok(_) => (Answer::Complete, usage),
        // Another type than an object is JSON, too.
        Err(_) => match serde_json::from_slice::<IgnoredAny>(body) {
            Ok(_) => (Answer::Complete, None),
            Err(_) => (Answer::Malformed, None),
        },
    }
}

/// The tokens that are told at a place of an answer.
pub fn usage_at(body: &[u8], place: Range<usize>) -> Usage {
    let told = body.get(place).map(simdutf8::basic::from_utf8);
    let mut tokens = Usage::default();
    if let Some(Ok(told)) = told {
        // It was found to be JSON; what is not tells of nothing.
        let _ = Json::whole(told, |json| {
            tokens = usage(json)?;
            Ok(())
        });
    }
    tokens
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn usage_of_answer(body: &[u8]) -> Usage {
        let (_, place) = inspect_answer(body);
        place.map_or_else(Usage::default, |place| usage_at(body, place))
    }

    #[test]
    fn an_answer_of_success_may_be_an_error_or_cut() {
        for (body, expected) in [
            (
                r#"{"id":"1","choices":[{"message":{"content":"{\"error\":1}"}}]}"#,
                Answer::Complete,
            ),
            (
                r#" {"id":"resp_1","error":null,"output":[]} "#,
                Answer::Complete,
            ),
            (r#"{"data":[{"error":"nested"}]}"#, Answer::Complete),
            (r#"[{"error":1}]"#, Answer::Complete),
            ("17", Answer::Complete),
            (
                r#"{"error":{"code":502,"message":"Provider returned error"}}"#,
                Answer::Error,
            ),
            (
                r#"{"id":"resp_1","status":"failed","error":{"code":"server_error"}}"#,
                Answer::Error,
            ),
            (r#"{"id":"1","choices":[{"mess"#, Answer::Malformed),
            (r#"{"error":{"code":502}"#, Answer::Malformed),
            (r#"{"id":"1"} trailing"#, Answer::Malformed),
            ("<html></html>", Answer::Malformed),
            ("", Answer::Malformed),
        ] {
            assert_eq!(inspect_answer(body.as_bytes()).0, expected, "{body}");
        }
    }

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

    proptest! {
        #[test]
        fn what_is_whole_is_what_serde_json_reads(body in "[\\[\\]{}\":,a1e \\-.\\\\]{0,24}") {
            let whole = serde_json::from_str::<Value>(&body).is_ok();
            let (answer, _) = inspect_answer(body.as_bytes());
            prop_assert_eq!(answer != Answer::Malformed, whole);
        }

        #[test]
        fn an_error_is_one_on_the_top_level(error in ".*", cut in 1usize..20) {
            let body = serde_json::json!({"id": "1", "error": error, "usage": {"input_tokens": 3}}).to_string();
            let told = Usage { input_tokens: Some(3), output_tokens: None };
            prop_assert_eq!(inspect_answer(body.as_bytes()).0, Answer::Error);
            prop_assert_eq!(usage_of_answer(body.as_bytes()), told);
            let cut = &body.as_bytes()[..body.len() - cut];
            prop_assert_eq!(inspect_answer(cut), (Answer::Malformed, None));
        }
    }
}
