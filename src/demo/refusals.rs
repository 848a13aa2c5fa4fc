//! What the imitated providers say when they don't answer: status, headers and body as the real
//! ones send them. Pure.

use http::StatusCode;
use serde::Serialize;

use super::models::Flavour;
use super::script::Answer;
use super::shapes::to_json;

/// The provider's key is missing, or it is another one.
pub fn unauthorized(flavour: Flavour) -> Answer {
    let status = StatusCode::UNAUTHORIZED;
    match flavour {
        Flavour::OpenAi => {
            let message = "Incorrect API key provided.";
            openai(
                status,
                message,
                "invalid_request_error",
                Some("invalid_api_key"),
            )
        }
        Flavour::Mistral => {
            let request_id = "00000000000000000000000000000000";
            let body = MistralUnauthorized {
                message: "Unauthorized",
                request_id,
            };
            Answer::json(status, to_json(&body))
        }
    }
}

/// The body is no request; `why` says what is wrong with it.
pub fn malformed(flavour: Flavour, why: &str) -> Answer {
    let kind = "invalid_request_error";
    match flavour {
        Flavour::OpenAi => openai(StatusCode::BAD_REQUEST, why, kind, None),
        Flavour::Mistral => mistral(StatusCode::UNPROCESSABLE_ENTITY, why, kind, None),
    }
}

/// The provider has no such model, or not for this operation.
pub fn unknown_model(flavour: Flavour, model: &str) -> Answer {
    match flavour {
        Flavour::OpenAi => {
            let message =
                format!("The model `{model}` does not exist or you do not have access to it.");
            let code = Some("model_not_found");
            openai(
                StatusCode::NOT_FOUND,
                &message,
                "invalid_request_error",
                code,
            )
        }
        Flavour::Mistral => {
            let message = format!("Invalid model: {model}");
            mistral(
                StatusCode::BAD_REQUEST,
                &message,
                "invalid_model",
                Some("1500"),
            )
        }
    }
}

/// There is nothing at this path.
pub fn unknown_path(flavour: Flavour) -> Answer {
    let status = StatusCode::NOT_FOUND;
    match flavour {
        Flavour::OpenAi => openai(status, "Invalid URL.", "invalid_request_error", None),
        Flavour::Mistral => mistral(status, "No such path.", "not_found", None),
    }
}

/// `OpenAI`'s: too many requests for this model.
pub fn rate_limited(model: &str) -> Answer {
    let message = format!(
        "Rate limit reached for {model} on requests per min (RPM): Limit 3, Used 3, Requested 1. \
         Please try again in 20s."
    );
    openai(
        StatusCode::TOO_MANY_REQUESTS,
        &message,
        "requests",
        Some("rate_limit_exceeded"),
    )
    .with_header("retry-after", "20")
    .with_header("x-ratelimit-limit-requests", "3")
    .with_header("x-ratelimit-remaining-requests", "0")
    .with_header("x-ratelimit-reset-requests", "20s")
}

/// `OpenAI`'s: the model is down.
pub fn unavailable() -> Answer {
    let message = "The engine is currently overloaded, please try again later.";
    openai(
        StatusCode::SERVICE_UNAVAILABLE,
        message,
        "server_error",
        None,
    )
}

/// Mistral's: the last message is the assistant's and not marked as a prefix.
pub fn last_message_is_assistant() -> Answer {
    let message = "Expected last role User or Tool (or Assistant with prefix True) for serving \
                   but got assistant";
    let kind = "invalid_request_message_order";
    mistral(StatusCode::BAD_REQUEST, message, kind, Some("3230"))
}

fn openai(
    status: StatusCode,
    message: &str,
    kind: &'static str,
    code: Option<&'static str>,
) -> Answer {
    let error = OpenAiError {
        message,
        kind,
        param: None,
        code,
    };
    Answer::json(status, to_json(&OpenAiBody { error }))
}

fn mistral(
    status: StatusCode,
    message: &str,
    kind: &'static str,
    code: Option<&'static str>,
) -> Answer {
    let error = MistralError {
        object: "error",
        message,
        kind,
        code,
    };
    Answer::json(status, to_json(&error))
}

#[derive(Serialize)]
struct OpenAiBody<'a> {
    error: OpenAiError<'a>,
}

#[derive(Serialize)]
struct OpenAiError<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

#[derive(Serialize)]
struct MistralError<'a> {
    object: &'static str,
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    code: Option<&'static str>,
}

#[derive(Serialize)]
struct MistralUnauthorized {
    message: &'static str,
    request_id: &'static str,
}
