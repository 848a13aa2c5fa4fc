//! What providers say: answers, streams and errors in their real shapes.
//!
//! Ids are made from the model's name, so that a test can tell whose answer it got.

use serde_json::{Value, json};

/// OpenAI: a chat completion.
pub fn chat_completion(model: &str, text: &str) -> Value {
    json!({
        "id": chat_id(model),
        "object": "chat.completion",
        "created": CREATED,
        "model": model,
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": text, "refusal": null},
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21},
    })
}

/// OpenAI: a chat completion as a stream: the role, one event a token, the finish, `[DONE]`.
pub fn chat_events(model: &str, tokens: &[&str]) -> Vec<String> {
    let role = json!({"role": "assistant", "content": "", "refusal": null});
    let mut events = vec![chat_chunk(model, &role, None)];
    for token in tokens {
        events.push(chat_chunk(model, &json!({"content": token}), None));
    }
    events.push(chat_chunk(model, &json!({}), Some("stop")));
    events.push("data: [DONE]\n\n".to_owned());
    events
}

/// [`chat_events`] with the usage that `stream_options.include_usage` asks for, before `[DONE]`.
pub fn chat_events_with_usage(model: &str, tokens: &[&str]) -> Vec<String> {
    let mut events = chat_events(model, tokens);
    let usage = json!({
        "id": chat_id(model), "object": "chat.completion.chunk", "created": CREATED, "model": model,
        "choices": [],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": tokens.len(),
            "total_tokens": 9 + tokens.len(),
        },
    });
    events.insert(events.len() - 1, data(&usage));
    events
}

/// OpenAI: one event of a chat stream.
pub fn chat_chunk(model: &str, delta: &Value, finish_reason: Option<&str>) -> String {
    data(&json!({
        "id": chat_id(model), "object": "chat.completion.chunk", "created": CREATED, "model": model,
        "choices": [{
            "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason,
        }],
    }))
}

/// The id of every [`chat_completion`] and every event of [`chat_events`].
pub fn chat_id(model: &str) -> String {
    format!("chatcmpl-{model}")
}

/// Anthropic: a message.
pub fn anthropic_message(model: &str, text: &str) -> Value {
    json!({
        "id": anthropic_id(model),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": null,
        "usage": {"input_tokens": 9, "output_tokens": 12},
    })
}

/// Anthropic: a message as a stream, from `message_start` to `message_stop`.
pub fn anthropic_events(model: &str, tokens: &[&str]) -> Vec<String> {
    let mut events = vec![
        named(&json!({"type": "message_start", "message": {
            "id": anthropic_id(model), "type": "message", "role": "assistant", "model": model,
            "content": [], "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": 9, "output_tokens": 1},
        }})),
        named(&json!({"type": "content_block_start", "index": 0,
            "content_block": {"type": "text", "text": ""}})),
        named(&json!({"type": "ping"})),
    ];
    for token in tokens {
        events.push(named(&json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": "text_delta", "text": token}})));
    }
    events.push(named(&json!({"type": "content_block_stop", "index": 0})));
    events.push(named(&json!({"type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": null},
        "usage": {"output_tokens": tokens.len()}})));
    events.push(named(&json!({"type": "message_stop"})));
    events
}

/// The id of every [`anthropic_message`] and of [`anthropic_events`].
pub fn anthropic_id(model: &str) -> String {
    format!("msg-{model}")
}

/// An event with this `data`.
pub fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// Anthropic: an event named as its `type`.
pub fn named(value: &Value) -> String {
    let name = value["type"].as_str().unwrap_or_default();
    format!("event: {name}\ndata: {value}\n\n")
}

/// OpenAI: any error.
pub fn openai_error(kind: &str, code: Option<&str>, message: &str) -> Value {
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
}

/// OpenAI, with 404.
pub fn openai_model_not_found(model: &str) -> Value {
    let message = format!("The model `{model}` does not exist or you do not have access to it.");
    openai_error("invalid_request_error", Some("model_not_found"), &message)
}

/// OpenAI, with 400.
pub fn openai_context_length_exceeded() -> Value {
    openai_error(
        "invalid_request_error",
        Some("context_length_exceeded"),
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens.",
    )
}

/// OpenAI, with 429: no later try helps.
pub fn openai_insufficient_quota() -> Value {
    openai_error(
        "insufficient_quota",
        Some("insufficient_quota"),
        "You exceeded your current quota, please check your plan and billing details.",
    )
}

/// OpenAI, with 429: a later try helps.
pub fn openai_rate_limited() -> Value {
    openai_error(
        "requests",
        Some("rate_limit_exceeded"),
        "Rate limit reached for requests",
    )
}

/// OpenAI, with 400: a safety decision.
pub fn openai_content_policy_violation() -> Value {
    openai_error(
        "invalid_request_error",
        Some("content_policy_violation"),
        "Your request was rejected as a result of our safety system.",
    )
}

/// OpenAI, with 401. It echoes the key, as the provider does.
pub fn openai_invalid_api_key(key: &str) -> Value {
    let message = format!("Incorrect API key provided: {key}.");
    openai_error("invalid_request_error", Some("invalid_api_key"), &message)
}

/// Mistral, with 400: what it says of a model that does not exist.
pub fn mistral_invalid_model(model: &str) -> Value {
    json!({
        "object": "error",
        "message": format!("Invalid model: {model}"),
        "type": "invalid_model",
        "param": null,
        "code": "1500",
    })
}

/// Anthropic: any error; its `type` is the kind (`not_found_error`, `overloaded_error`, …).
pub fn anthropic_error(kind: &str, message: &str) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": message}})
}

/// Azure OpenAI, with 404.
pub fn azure_deployment_not_found() -> Value {
    json!({"error": {
        "code": "DeploymentNotFound",
        "message": "The API deployment for this resource does not exist.",
    }})
}

/// Azure OpenAI, with 400: a safety decision.
pub fn azure_content_filter() -> Value {
    json!({"error": {
        "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        "type": null,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {"code": "ResponsibleAIPolicyViolation"},
    }})
}

/// Gemini: any error.
pub fn gemini_error(code: u16, status: &str, message: &str) -> Value {
    json!({"error": {"code": code, "message": message, "status": status}})
}

/// A fixed creation time, so that bodies can be compared.
const CREATED: u64 = 1_700_000_000;
