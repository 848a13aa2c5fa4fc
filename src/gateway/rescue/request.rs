//! The caller's request once more, now asking to continue what was answered so far.
//!
//! ```text
//! prefill         …, user, assistant: "The quick brown"                  the model goes on in its own words
//! continue turn   …, user, assistant: "The quick brown", user: "Continue …"
//! ```
//!
//! - Everything else of the request stays as it was written, `max_tokens` too: what is left of it is
//!   not known in the next model's tokens.
//! - Where the request itself ends with an assistant message, the text is added to that one: it
//!   is one message that is being written.
//! - Where there is no text yet, only reasoning or white space, there is nothing to continue: the
//!   request is sent as it was, and the answer starts afresh.
//! - Anthropic refuses a prefill that ends with white space, so it is left out there; what the
//!   continuation repeats of it is cut by [`overlap`](super::overlap).

use super::json::{Object, items, list, string};
use crate::policy::{Format, Prefill, Provider};
use crate::provider::stream::Obstacle;

/// What a model that can't be prefilled is told.
const TURN: &str = "Your last message was cut off while it was being sent. Continue it from exactly \
    where it ends: begin with the very next character, repeat nothing of it, and add no greeting, \
    remark or explanation of your own.";

/// How a target is asked to continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// By a user message behind the text.
    Turn,
    /// By the text as the last message.
    Prefill,
    /// The same without the white space at its end.
    AnthropicPrefill,
    /// The same with `"prefix": true` on that message.
    MistralPrefill,
    /// The same with vLLM's `continue_final_message`.
    VllmPrefill,
}

impl Ask {
    /// How a target is asked first.
    pub const fn of(prefill: Prefill, provider: Provider) -> Self {
        match (prefill, provider) {
            (Prefill::No, _) => Self::Turn,
            (Prefill::Vllm, _) => Self::VllmPrefill,
            (Prefill::Yes, Provider::Anthropic) => Self::AnthropicPrefill,
            (Prefill::Yes, Provider::Mistral) => Self::MistralPrefill,
            (Prefill::Yes, _) => Self::Prefill,
        }
    }

    /// How it is asked when it refused that.
    pub const fn otherwise(self) -> Option<Self> {
        match self {
            Self::Turn => None,
            _ => Some(Self::Turn),
        }
    }

    fn trims(self, format: Format) -> bool {
        let prefill = self != Self::Turn;
        self == Self::AnthropicPrefill || prefill && format == Format::Messages
    }
}

/// A request that asks to continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuation {
    /// Its body, still with the caller's model name.
    pub body: Vec<u8>,
    /// Bytes of white space at the text's end that it does not have.
    pub trimmed: usize,
}

/// Whether the answer of this request may be continued by another model.
///
/// # Errors
/// Why not.
pub fn can_rescue(format: Format, body: &[u8]) -> Result<(), Obstacle> {
    let request = parse(body)?;
    match format {
        Format::ChatCompletions => chat_can_be_continued(&request)?,
        Format::Messages => messages_can_be_continued(&request)?,
        Format::Completions | Format::Responses | Format::GenerateContent | Format::Other => {
            return Err(Obstacle::Format);
        }
    }
    messages_of(&request).map(drop)
}

/// How many choices a request asks for: `n`, of each of a legacy completion's prompts.
pub fn choices(format: Format, body: &[u8]) -> u64 {
    let prompts = match format {
        Format::ChatCompletions => Some(1),
        Format::Completions => None,
        Format::Responses | Format::Messages | Format::GenerateContent | Format::Other => return 1,
    };
    let Ok(request) = parse(body) else { return 1 };
    let each = request.get_as::<u64>("n").unwrap_or(1).max(1);
    let prompts = prompts.unwrap_or_else(|| request.get("prompt").map_or(1, prompts_in));
    each.saturating_mul(prompts)
}

/// Prompts in a text, in a list of tokens, or in a list of either.
fn prompts_in(prompt: &str) -> u64 {
    let prompts = items(prompt).unwrap_or_default();
    let several = prompts
        .first()
        .is_some_and(|first| first.starts_with(['"', '[']));
    if several { prompts.len() as u64 } else { 1 }
}

/// The request that asks to continue `text`.
///
/// # Errors
/// `NoMessages` where there is nothing to add it to.
pub fn continuation(
    format: Format,
    body: &[u8],
    text: &str,
    ask: Ask,
) -> Result<Continuation, Obstacle> {
    if text.trim().is_empty() {
        return Ok(Continuation {
            body: body.to_vec(),
            trimmed: text.len(),
        });
    }
    let shown = if ask.trims(format) {
        text.trim_end()
    } else {
        text
    };
    let mut request = parse(body)?;
    let mut messages = messages_of(&request)?;
    add_answer(&mut messages, shown, ask);
    if ask == Ask::Turn {
        messages.push(message("user", TURN).to_string());
    }
    request.set("messages", list(&messages));
    if ask == Ask::VllmPrefill {
        request.set("continue_final_message", "true");
        request.set("add_generation_prompt", "false");
    }
    Ok(Continuation {
        body: request.to_string().into_bytes(),
        trimmed: text.len() - shown.len(),
    })
}

fn parse(body: &[u8]) -> Result<Object, Obstacle> {
    let text = std::str::from_utf8(body).map_err(|_| Obstacle::NoMessages)?;
    Object::parse(text).ok_or(Obstacle::NoMessages)
}

fn messages_of(request: &Object) -> Result<Vec<String>, Obstacle> {
    let messages = request.get("messages").and_then(items);
    messages
        .filter(|messages| !messages.is_empty())
        .ok_or(Obstacle::NoMessages)
}

/// Puts the answer so far behind the messages, or into the last where the assistant is writing it.
fn add_answer(messages: &mut Vec<String>, text: &str, ask: Ask) {
    let begun = messages.last().and_then(|last| Object::parse(last));
    let begun = begun.filter(|last| last.get_as::<String>("role").as_deref() == Some("assistant"));
    let mut answer = match begun {
        Some(mut answer) => {
            messages.pop();
            let content = extended(answer.get("content"), text);
            answer.set("content", content);
            answer
        }
        None => message("assistant", text),
    };
    if ask == Ask::MistralPrefill {
        answer.set("prefix", "true");
    }
    messages.push(answer.to_string());
}

fn message(role: &str, content: &str) -> Object {
    let mut message = Object::default();
    message.set("role", string(role));
    message.set("content", string(content));
    message
}

/// A message's content with `text` behind it: a string stays one, a list gets a part more.
fn extended(content: Option<&str>, text: &str) -> String {
    let content = content.unwrap_or("null");
    if let Some(mut parts) = items(content) {
        let mut part = Object::default();
        part.set("type", string("text"));
        part.set("text", string(text));
        parts.push(part.to_string());
        return list(&parts);
    }
    let before: Option<String> = serde_json::from_str(content).unwrap_or_default();
    string(&(before.unwrap_or_default() + text))
}

fn chat_can_be_continued(request: &Object) -> Result<(), Obstacle> {
    /// What servers call a schema or grammar of their own that the answer must follow.
    const GRAMMARS: [&str; 7] = [
        "guided_json",
        "guided_regex",
        "guided_choice",
        "guided_grammar",
        "structured_outputs",
        "json_schema",
        "grammar",
    ];
    let number = |key| request.get_as::<f64>(key).unwrap_or(0.0);
    let is_text = |format: Object| format.get_as::<String>("type").as_deref() == Some("text");
    let response_format = request.get_as::<Object>("response_format");
    let modalities = request
        .get_as::<Vec<String>>("modalities")
        .unwrap_or_default();
    if number("n") > 1.0 {
        Err(Obstacle::Choices)
    } else if request.get_as("logprobs") == Some(true) || number("top_logprobs") > 0.0 {
        Err(Obstacle::Logprobs)
    } else if is_set(request, "audio") || modalities.iter().any(|kind| kind == "audio") {
        Err(Obstacle::Audio)
    } else if response_format.is_some_and(|format| !is_text(format))
        || GRAMMARS.iter().any(|key| is_set(request, key))
    {
        Err(Obstacle::StructuredOutput)
    } else {
        Ok(())
    }
}

fn messages_can_be_continued(request: &Object) -> Result<(), Obstacle> {
    let config = request
        .get_as::<Object>("output_config")
        .unwrap_or_default();
    if is_set(request, "output_format") || is_set(&config, "format") {
        Err(Obstacle::StructuredOutput)
    } else {
        Ok(())
    }
}

fn is_set(object: &Object, key: &str) -> bool {
    object.get(key).is_some_and(|value| value != "null")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn continued(format: Format, body: &Value, text: &str, ask: Ask) -> (Value, usize) {
        let body = body.to_string();
        let continuation = continuation(format, body.as_bytes(), text, ask).unwrap();
        let body = serde_json::from_slice(&continuation.body).unwrap();
        (body, continuation.trimmed)
    }

    fn chat() -> Value {
        json!({
            "model": "gpt-4o",
            "messages": [{"role": "user", "content": "Tell"}],
            "stream": true,
            "max_tokens": 100,
        })
    }

    /// The chat, with other messages and further members.
    fn chat_with(messages: Value, members: Value) -> Value {
        let mut chat = chat();
        chat["messages"] = messages;
        for (key, value) in members.as_object().unwrap() {
            chat[key] = value.clone();
        }
        chat
    }

    #[test]
    fn as_many_choices_as_are_asked_for() {
        use Format::*;
        for (format, members, expected) in [
            (ChatCompletions, json!({}), 1),
            (ChatCompletions, json!({"n": null}), 1),
            (ChatCompletions, json!({"n": 0}), 1),
            (ChatCompletions, json!({"n": "2"}), 1),
            (ChatCompletions, json!({"n": 2, "prompt": ["a", "b"]}), 2),
            (Completions, json!({"n": 3}), 3),
            (Completions, json!({"n": 3, "prompt": "a"}), 3),
            (Completions, json!({"n": 3, "prompt": []}), 3),
            (Completions, json!({"prompt": [1, 2]}), 1),
            (Completions, json!({"prompt": ["a", "b"]}), 2),
            (Completions, json!({"n": 2, "prompt": [[1, 2], [3]]}), 4),
            (
                Completions,
                json!({"n": u64::MAX, "prompt": ["a", "b"]}),
                u64::MAX,
            ),
            (Messages, json!({"n": 2}), 1),
            (Responses, json!({"n": 2}), 1),
            (Other, json!({"n": 2}), 1),
        ] {
            let body = members.to_string();
            assert_eq!(
                choices(format, body.as_bytes()),
                expected,
                "{format:?} {body}"
            );
        }
        assert_eq!(choices(ChatCompletions, b"no JSON"), 1);
    }

    #[test]
    fn each_way_to_ask() {
        let user = json!({"role": "user", "content": "Tell"});
        let assistant = json!({"role": "assistant", "content": "Once \"upon\" "});
        let prefix = json!({"role": "assistant", "content": "Once \"upon\" ", "prefix": true});
        let trimmed = json!({"role": "assistant", "content": "Once \"upon\""});
        let turn = json!({"role": "user", "content": TURN});
        let vllm = json!({"continue_final_message": true, "add_generation_prompt": false});
        let nothing = json!({});
        for (ask, format, messages, members, white) in [
            (
                Ask::Turn,
                Format::ChatCompletions,
                json!([user, assistant, turn]),
                &nothing,
                0,
            ),
            (
                Ask::Prefill,
                Format::ChatCompletions,
                json!([user, assistant]),
                &nothing,
                0,
            ),
            (
                Ask::MistralPrefill,
                Format::ChatCompletions,
                json!([user, prefix]),
                &nothing,
                0,
            ),
            (
                Ask::VllmPrefill,
                Format::ChatCompletions,
                json!([user, assistant]),
                &vllm,
                0,
            ),
            (
                Ask::AnthropicPrefill,
                Format::ChatCompletions,
                json!([user, trimmed]),
                &nothing,
                1,
            ),
            (
                Ask::AnthropicPrefill,
                Format::Messages,
                json!([user, trimmed]),
                &nothing,
                1,
            ),
            (
                Ask::Prefill,
                Format::Messages,
                json!([user, trimmed]),
                &nothing,
                1,
            ),
            (
                Ask::Turn,
                Format::Messages,
                json!([user, assistant, turn]),
                &nothing,
                0,
            ),
        ] {
            let (body, trimmed) = continued(format, &chat(), "Once \"upon\" ", ask);
            assert_eq!(
                body,
                chat_with(messages, members.clone()),
                "{ask:?} {format:?}"
            );
            assert_eq!(trimmed, white, "{ask:?} {format:?}");
        }
    }

    #[test]
    fn which_way_a_target_is_asked() {
        for (prefill, provider, expected) in [
            (Prefill::No, Provider::Anthropic, Ask::Turn),
            (Prefill::Yes, Provider::Anthropic, Ask::AnthropicPrefill),
            (Prefill::Yes, Provider::Mistral, Ask::MistralPrefill),
            (Prefill::Yes, Provider::OpenAi, Ask::Prefill),
            (Prefill::Yes, Provider::Custom, Ask::Prefill),
            (Prefill::Vllm, Provider::OpenAi, Ask::VllmPrefill),
        ] {
            let ask = Ask::of(prefill, provider);
            assert_eq!(ask, expected);
            assert_eq!(ask.otherwise(), (ask != Ask::Turn).then_some(Ask::Turn));
        }
    }

    #[test]
    fn a_message_that_the_caller_began_is_one_with_the_answer() {
        let user = json!({"role": "user", "content": "Tell"});
        for (begun, expected) in [
            (json!("Here: "), json!("Here: Once")),
            (Value::Null, json!("Once")),
            (
                json!([{"type": "text", "text": "Here: "}]),
                json!([{"type": "text", "text": "Here: "}, {"type": "text", "text": "Once"}]),
            ),
        ] {
            let request = chat_with(
                json!([user, {"role": "assistant", "content": begun, "name": "x"}]),
                json!({}),
            );
            let (body, _) = continued(Format::Messages, &request, "Once", Ask::Prefill);
            let written = json!({"role": "assistant", "content": expected, "name": "x"});
            assert_eq!(body["messages"], json!([user, written]));
        }
    }

    #[test]
    fn without_text_the_answer_starts_afresh() {
        let body = b" {\"messages\": [1] } ";
        for text in ["", " \n"] {
            let continuation = continuation(Format::Messages, body, text, Ask::Prefill).unwrap();
            assert_eq!(continuation.body, body);
            assert_eq!(continuation.trimmed, text.len());
        }
    }

    #[test]
    fn what_nobody_here_knows_stays_as_it_was_written() {
        let body = r#"{"seed": 123456789012345678901234567890, "messages":[{"role":"user","content":"\u00e9","x":1e400}], "x":{ "y" :1.10}}"#;
        let continuation =
            continuation(Format::ChatCompletions, body.as_bytes(), "a", Ask::Prefill);
        let expected = r#"{"seed":123456789012345678901234567890,"messages":[{"role":"user","content":"\u00e9","x":1e400},{"role":"assistant","content":"a"}],"x":{ "y" :1.10}}"#;
        assert_eq!(
            String::from_utf8(continuation.unwrap().body).unwrap(),
            expected
        );
    }

    #[test]
    fn what_cannot_be_continued() {
        let chat_cases = [
            (
                json!({"n": 1, "response_format": {"type": "text"}, "tools": [{}]}),
                Ok(()),
            ),
            (
                json!({"logprobs": false, "top_logprobs": 0, "modalities": ["text"], "audio": null}),
                Ok(()),
            ),
            (json!({"n": 2}), Err(Obstacle::Choices)),
            (json!({"n": 2.0}), Err(Obstacle::Choices)),
            (json!({"logprobs": true}), Err(Obstacle::Logprobs)),
            (json!({"top_logprobs": 3}), Err(Obstacle::Logprobs)),
            (
                json!({"modalities": ["text", "audio"]}),
                Err(Obstacle::Audio),
            ),
            (json!({"audio": {"voice": "alloy"}}), Err(Obstacle::Audio)),
            (
                json!({"response_format": {"type": "json_object"}}),
                Err(Obstacle::StructuredOutput),
            ),
            (
                json!({"response_format": {"type": "json_schema", "json_schema": {}}}),
                Err(Obstacle::StructuredOutput),
            ),
            (
                json!({"guided_regex": "a+"}),
                Err(Obstacle::StructuredOutput),
            ),
            (json!({"messages": []}), Err(Obstacle::NoMessages)),
            (json!({"messages": "Tell"}), Err(Obstacle::NoMessages)),
        ];
        let messages_cases = [
            (json!({"tools": [{}], "output_format": null}), Ok(())),
            (json!({"output_config": {"effort": "low"}}), Ok(())),
            (
                json!({"output_format": {"type": "json_schema"}}),
                Err(Obstacle::StructuredOutput),
            ),
            (
                json!({"output_config": {"format": {"type": "json_schema"}}}),
                Err(Obstacle::StructuredOutput),
            ),
        ];
        let cases = chat_cases
            .map(|case| (Format::ChatCompletions, case))
            .into_iter();
        for (format, (members, expected)) in
            cases.chain(messages_cases.map(|case| (Format::Messages, case)))
        {
            let request = chat_with(chat()["messages"].clone(), members.clone());
            let can = can_rescue(format, request.to_string().as_bytes());
            assert_eq!(can, expected, "{members}");
        }
        for format in [Format::Completions, Format::Responses, Format::Other] {
            assert_eq!(
                can_rescue(format, b"{\"messages\":[{}]}"),
                Err(Obstacle::Format)
            );
        }
        assert_eq!(
            can_rescue(Format::Messages, b"no JSON"),
            Err(Obstacle::NoMessages)
        );
        assert_eq!(
            can_rescue(Format::Messages, b"\xff"),
            Err(Obstacle::NoMessages)
        );
    }

    proptest! {
        #[test]
        fn the_model_is_shown_the_text_to_the_character(text in any::<String>()) {
            let (body, trimmed) = continued(Format::Messages, &chat(), &text, Ask::Prefill);
            let (shown, white) = text.split_at(text.len() - trimmed);
            prop_assert!(white.trim().is_empty());
            let last = body["messages"].as_array().unwrap().last().unwrap();
            if shown.is_empty() {
                prop_assert_eq!(&body, &chat());
            } else {
                prop_assert_eq!(last, &json!({"role": "assistant", "content": shown}));
                prop_assert_eq!(shown, shown.trim_end());
            }
        }
    }
}
