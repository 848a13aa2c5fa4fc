//! Which reply a request gets: the answer to it, spoiled as the model's behaviour says. Pure.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::answers::{Message, answer_to, count_prompt_words, count_words, tokens};
use super::models::{Behaviour, Flavour};
use super::refusals;
use super::script::{Answer, Reply};
use super::shapes::{Chat, DONE_EVENT, Stamp, Usage, embedding_list, model_list};

/// How late a slow model answers.
pub const SLOWNESS: Duration = Duration::from_secs(10);

/// The reply to `POST /v1/chat/completions` with this body.
pub fn chat(flavour: Flavour, body: &[u8], stamp: Stamp) -> Reply {
    let request: ChatRequest = match serde_json::from_slice(body) {
        Ok(request) => request,
        Err(error) => return Reply::Answer(refusals::malformed(flavour, &error.to_string())),
    };
    let behaviour = match flavour.behaviour(&request.model) {
        None | Some(Behaviour::Embeds) => {
            return Reply::Answer(refusals::unknown_model(flavour, &request.model));
        }
        Some(behaviour) => behaviour,
    };
    if flavour == Flavour::Mistral && ends_without_prefix(&request.messages) {
        return Reply::Answer(refusals::last_message_is_assistant());
    }
    spoil(
        request.answer(flavour, behaviour, stamp),
        behaviour,
        &request.model,
    )
}

/// The reply to `POST /v1/embeddings` with this body.
pub fn embeddings(flavour: Flavour, body: &[u8]) -> Reply {
    let request: EmbeddingsRequest = match serde_json::from_slice(body) {
        Ok(request) => request,
        Err(error) => return Reply::Answer(refusals::malformed(flavour, &error.to_string())),
    };
    match flavour.behaviour(&request.model) {
        None | Some(Behaviour::Answers) => {
            Reply::Answer(refusals::unknown_model(flavour, &request.model))
        }
        Some(behaviour) => {
            let body = embedding_list(&request.model, &request.inputs());
            spoil(
                Answer::json(StatusCode::OK, body),
                behaviour,
                &request.model,
            )
        }
    }
}

/// The reply to `GET /v1/models`.
pub fn models(flavour: Flavour) -> Reply {
    Reply::Answer(Answer::json(StatusCode::OK, model_list(flavour)))
}

/// What becomes of a good answer.
fn spoil(answer: Answer, behaviour: Behaviour, model: &str) -> Reply {
    Reply::Answer(match behaviour {
        Behaviour::Answers | Behaviour::Embeds => answer,
        Behaviour::Slow => answer.late(SLOWNESS),
        Behaviour::RateLimited => refusals::rate_limited(model),
        Behaviour::Broken => refusals::unavailable(),
        Behaviour::Crashing => return Reply::HangUp,
        Behaviour::Garbled => answer.halved(),
        Behaviour::Silent => answer.going_silent(),
        Behaviour::BreaksMidway => answer.breaking_midway(),
    })
}

/// Whether Mistral would refuse the conversation: only a message marked as a prefix is continued.
fn ends_without_prefix(messages: &[Message]) -> bool {
    messages
        .last()
        .is_some_and(|last| last.role == "assistant" && !last.prefix)
}

#[derive(Debug, Deserialize)]
struct ChatRequest {
    model: String,
    messages: Vec<Message>,
    #[serde(default)]
    stream: bool,
    stream_options: Option<StreamOptions>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

impl ChatRequest {
    /// The good answer. A model that garbles its answers sends no stream.
    fn answer(&self, flavour: Flavour, behaviour: Behaviour, stamp: Stamp) -> Answer {
        let text = answer_to(&self.messages);
        let chat = Chat {
            flavour,
            model: &self.model,
            stamp,
            usage: Usage::new(count_prompt_words(&self.messages), count_words(text)),
            include_usage: self
                .stream_options
                .as_ref()
                .is_some_and(|asked| asked.include_usage),
        };
        if self.stream && behaviour != Behaviour::Garbled {
            let contents = tokens(text)
                .into_iter()
                .map(|token| chat.content_event(token));
            Answer::events(
                [chat.role_event()]
                    .into_iter()
                    .chain(contents)
                    .chain([chat.finish_event()])
                    .chain(chat.usage_event())
                    .chain([DONE_EVENT]),
            )
        } else {
            Answer::json(StatusCode::OK, chat.completion(text))
        }
    }
}

#[derive(Debug, Deserialize)]
struct EmbeddingsRequest {
    model: String,
    input: Value,
}

impl EmbeddingsRequest {
    /// A text, or several; a list of token numbers counts as one text.
    fn inputs(&self) -> Vec<String> {
        let as_text = |value: &Value| value.as_str().map(str::to_owned);
        match &self.input {
            Value::Array(items) if !items.iter().any(Value::is_number) => items
                .iter()
                .map(|item| as_text(item).unwrap_or_else(|| item.to_string()))
                .collect(),
            other => vec![as_text(other).unwrap_or_else(|| other.to_string())],
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::script::Step;
    use super::*;

    const STAMP: Stamp = Stamp {
        number: 1,
        created: 1_700_000_000,
    };

    fn ask(flavour: Flavour, request: &Value) -> Answer {
        match chat(flavour, request.to_string().as_bytes(), STAMP) {
            Reply::Answer(answer) => answer,
            Reply::HangUp => panic!("no answer to {request}"),
        }
    }

    fn body_of(answer: &Answer) -> String {
        answer
            .body
            .iter()
            .filter_map(|step| match step {
                Step::Send(bytes) => std::str::from_utf8(bytes).ok(),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn mistral_continues_only_what_is_marked_as_a_prefix() {
        let request = |last: Value| {
            let question = json!({"role": "user", "content": "Hello"});
            json!({"model": "mistral-small-latest", "messages": [question, last]})
        };
        let unmarked = request(json!({"role": "assistant", "content": "This is a"}));
        let refused = ask(Flavour::Mistral, &unmarked);
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert!(body_of(&refused).contains(r#""code":"3230""#));

        let marked = request(json!({"role": "assistant", "content": "This is a", "prefix": true}));
        let answer: Value =
            serde_json::from_str(&body_of(&ask(Flavour::Mistral, &marked))).unwrap();
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(text.starts_with(" provider of the demo."), "{text}");
    }

    #[test]
    fn a_body_that_is_no_request_is_refused() {
        for (flavour, status) in [
            (Flavour::OpenAi, StatusCode::BAD_REQUEST),
            (Flavour::Mistral, StatusCode::UNPROCESSABLE_ENTITY),
        ] {
            assert_eq!(ask(flavour, &json!({"messages": []})).status, status);
            assert_eq!(ask(flavour, &json!([])).status, status);
        }
    }

    #[test]
    fn an_embeddings_model_is_no_chat_model_and_the_other_way_round() {
        let request = json!({"model": "text-embedding-healthy", "messages": []});
        assert_eq!(ask(Flavour::OpenAi, &request).status, StatusCode::NOT_FOUND);

        let request = json!({"model": "gpt-healthy", "input": "a"}).to_string();
        let Reply::Answer(answer) = embeddings(Flavour::OpenAi, request.as_bytes()) else {
            panic!("no answer");
        };
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }

    #[test]
    fn inputs_are_a_text_or_texts_or_tokens() {
        let inputs = |input: Value| {
            EmbeddingsRequest {
                model: String::new(),
                input,
            }
            .inputs()
        };
        assert_eq!(inputs(json!("a b")), ["a b"]);
        assert_eq!(inputs(json!(["a", "b"])), ["a", "b"]);
        assert_eq!(inputs(json!([1, 2])), ["[1,2]"]);
        assert_eq!(inputs(json!([[1, 2], [3]])), ["[1,2]", "[3]"]);
    }

    #[test]
    fn half_of_a_broken_stream_is_words_and_no_end() {
        let request = json!({
            "model": "gpt-breaks-midway",
            "messages": [{"role": "user", "content": super::super::answers::PAINTER_QUESTION}],
            "stream": true,
        });
        let answer = ask(Flavour::OpenAi, &request);
        let sent = body_of(&answer);
        assert!(sent.contains(r#""content":" Monet""#));
        assert!(!sent.contains("fixed") && !sent.contains("\"stop\"") && !sent.contains("[DONE]"));
        assert_eq!(answer.body.last(), Some(&Step::Reset));
    }
}
