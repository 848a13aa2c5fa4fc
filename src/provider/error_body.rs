//! What the body of an error says, whoever wrote it.
//!
//! | shape | who |
//! |---|---|
//! | `{"error":{"message","type","param","code"}}` | `OpenAI`, Groq, DeepSeek, Ollama, vLLM from 0.10, llama.cpp |
//! | `{"error":{"code":"…","message","innererror":{"code"}}}` | Azure |
//! | `{"error":{"code":429,"message","metadata":{…}}}` | `OpenRouter` |
//! | `{"type":"error","error":{"type","message","details":{"error_code"}}}` | Anthropic |
//! | `{"error":{"code":404,"status","message","details":[…]}}`, also as the one element of a list | Gemini |
//! | `{"object":"error","message","type","code"}` | Mistral, vLLM before 0.10 |
//! | `{"message"}`, the code in the header `x-amzn-errortype` | Bedrock |
//! | `{"message","request_id"}`, `{"detail":…}` | Mistral's gateway; FastAPI and what is built on it |
//! | `{"error":"…","error_type"}`, `{"code","error":"…"}` | Ollama's own API, TGI; xAI |
//! | `{"type":"response.failed","response":{"error":{…}}}` | `OpenAI`'s Responses, as an event |
//! | `"…"`, plain text | xAI where the account is empty; proxies and load balancers in between |
//!
//! The shapes don't contradict each other, so they are read as one: the error is the object under
//! `error`, or else the whole, and its codes are whatever stands where one of them has a code.
//! What is read is bounded: a message of 1 KiB, eight codes of 128 bytes, a thousand values. Text with
//! half a surrogate pair in it is as good as absent, and the rest of the body is read all the same.

#[cfg(test)]
mod properties;
mod tree;

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use self::tree::{Object, Tree};
use super::points_in_time::go_duration;

/// Bytes of a message that are kept.
const MESSAGE_LIMIT: usize = 1024;
/// Codes of one body that are kept.
const CODES_LIMIT: usize = 8;
/// Bytes of one code; what is longer is no code.
const CODE_LIMIT: usize = 128;

/// Stands at the end of a message that was cut.
pub(super) const CUT: char = '…';

/// What an error's body says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorBody {
    /// Its codes, types and statuses, the most telling first; numbers as text.
    pub codes: Vec<String>,
    /// Its own words, on one line and at most 1 KiB (then ending with `…`). May hold a secret: see
    /// [`redact`](super::redact).
    pub message: Option<String>,
    /// How long it asks to wait: Gemini's `RetryInfo`, which comes without a `retry-after`.
    pub retry_delay: Option<Duration>,
}

/// Reads the body of an error, or of an error event in a stream. `None`: it says nothing.
pub fn read_error_body(body: &[u8]) -> Option<ErrorBody> {
    let text = std::str::from_utf8(body).ok()?.trim();
    let read = match text.as_bytes().first()? {
        b'{' | b'[' | b'"' => of_json(&Tree::read(text, is_telling).ok()?)?,
        b'<' => return None, // a page for people
        _ => of_words(text),
    };
    (read != ErrorBody::default()).then_some(read)
}

/// The kind of an error that Amazon's APIs tell in a header: `ThrottlingException`, perhaps with an
/// address behind it.
pub fn error_type(headers: &HeaderMap) -> Option<&str> {
    const NAME: HeaderName = HeaderName::from_static("x-amzn-errortype");
    let value = headers.get(NAME)?.to_str().ok()?;
    let kind = value.split(':').next().unwrap_or_default().trim();
    (!kind.is_empty() && kind.len() <= CODE_LIMIT).then_some(kind)
}

/// Google's name for a status (`google.rpc.Code`), as its APIs' errors have it.
pub const fn google_status(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        408 | 504 => "DEADLINE_EXCEEDED",
        429 => "RESOURCE_EXHAUSTED",
        400..=499 => "INVALID_ARGUMENT",
        500 => "INTERNAL",
        _ => "UNAVAILABLE",
    }
}

/// Whether something is read of the members with this key.
fn is_telling(key: &str) -> bool {
    const TELLING: [&str; 16] = [
        "code",
        "detail",
        "details",
        "error",
        "error_code",
        "error_type",
        "flagged_input",
        "innererror",
        "message",
        "metadata",
        "msg",
        "reason",
        "response",
        "retryDelay",
        "status",
        "type",
    ];
    TELLING.contains(&key)
}

fn of_json(body: &Tree<'_>) -> Option<ErrorBody> {
    Some(match body {
        Tree::Object(whole) => of_object(whole),
        Tree::List(list) => of_object(list.first()?.object()?),
        Tree::Text(words) => of_words(words),
        Tree::Number(_) | Tree::Other => return None,
    })
}

fn of_object(whole: &Object<'_>) -> ErrorBody {
    let error = whole.get("error").and_then(Tree::object);
    let error = error.or_else(|| field(whole, "response", "error")?.object());
    let error = error.unwrap_or(whole);
    ErrorBody {
        codes: codes(error),
        message: ["message", "error", "detail"]
            .into_iter()
            .find_map(|field| words(error.get(field)?)),
        retry_delay: details(error)
            .find_map(|detail| go_duration(detail.get("retryDelay")?.text()?)),
    }
}

fn of_words(text: &str) -> ErrorBody {
    ErrorBody {
        message: one_line(text),
        ..ErrorBody::default()
    }
}

fn codes(error: &Object<'_>) -> Vec<String> {
    let mut codes: Vec<String> = Vec::new();
    let mut add = |value: Option<&Tree<'_>>| {
        let code = match value {
            Some(Tree::Text(code)) => code.trim(),
            Some(Tree::Number(code)) => code,
            _ => return,
        };
        let says_something = !code.is_empty() && code != "error"; // {"type": "error"}
        if says_something
            && code.len() <= CODE_LIMIT
            && codes.len() < CODES_LIMIT
            && codes.iter().all(|known| known != code)
        {
            codes.push(code.to_owned());
        }
    };
    add(error.get("code"));
    add(field(error, "innererror", "code"));
    add(field(error, "details", "error_code"));
    add(field(error, "metadata", "error_type"));
    details(error).for_each(|detail| add(detail.get("reason")));
    add(error.get("type"));
    add(error.get("error_type"));
    add(error.get("status"));
    if field(error, "metadata", "flagged_input").is_some() {
        // OpenRouter's moderation has no code of its own.
        add(Some(&Tree::Text("content_policy_violation".into())));
    }
    codes
}

fn field<'a, 'body>(
    object: &'a Object<'body>,
    outer: &str,
    inner: &str,
) -> Option<&'a Tree<'body>> {
    object.get(outer)?.get(inner)
}

/// The objects in Google's list of details.
fn details<'a, 'body>(error: &'a Object<'body>) -> impl Iterator<Item = &'a Object<'body>> {
    let list = error.get("details").and_then(Tree::list);
    list.into_iter().flatten().filter_map(Tree::object)
}

/// A message: text, or FastAPI's list of complaints, of which the first is told, or (Mistral's
/// 422) such a list one level deeper.
fn words(value: &Tree<'_>) -> Option<String> {
    let complaint = |value: &Tree<'_>| one_line(value.get("msg")?.text()?);
    match value {
        Tree::Text(text) => one_line(text),
        Tree::List(list) => list.iter().find_map(complaint),
        Tree::Object(object) => match object.get("detail") {
            Some(Tree::List(list)) => list.iter().find_map(complaint),
            Some(Tree::Text(text)) => one_line(text),
            _ => one_line(object.get("message")?.text()?),
        },
        Tree::Number(_) | Tree::Other => None,
    }
}

/// The text in one line, cut at the limit.
fn one_line(text: &str) -> Option<String> {
    let text = text.trim();
    let end = text.floor_char_boundary(MESSAGE_LIMIT - CUT.len_utf8());
    let kept = if text.len() <= MESSAGE_LIMIT {
        text
    } else {
        &text[..end]
    };
    // Mostly it is one already, and then a single copy.
    let plain = kept.bytes().all(|byte| (b' '..0x7f).contains(&byte));
    let mut line = if plain {
        kept.to_owned()
    } else {
        let in_line = |char: char| if char.is_control() { ' ' } else { char };
        kept.chars().map(in_line).collect()
    };
    if kept.len() < text.len() {
        line.push(CUT);
    }
    (!line.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::properties::check;
    use super::*;

    /// Bodies as providers send them, with the codes and the message that they come to.
    const BODIES: [(&str, &str, &[&str], &str); 22] = [
        (
            "OpenAI",
            r#"{"error":{"message":"The model `gpt-9` does not exist or you do not have access to it.","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
            &["model_not_found", "invalid_request_error"],
            "The model `gpt-9` does not exist or you do not have access to it.",
        ),
        (
            "Mistral",
            r#"{"object":"error","message":"Invalid model: invalid-model","type":"invalid_model","param":null,"code":"1500"}"#,
            &["1500", "invalid_model"],
            "Invalid model: invalid-model",
        ),
        (
            "Mistral, rate limit",
            r#"{"object":"error","message":"Rate limit exceeded","type":"rate_limited","param":null,"code":"1300","raw_status_code":429}"#,
            &["1300", "rate_limited"],
            "Rate limit exceeded",
        ),
        (
            "Mistral, 422",
            r#"{"object":"error","message":{"detail":[{"type":"less_than_equal","loc":["body","temperature"],"msg":"Input should be less than or equal to 1.5","input":7}]},"type":"invalid_request_error"}"#,
            &["invalid_request_error"],
            "Input should be less than or equal to 1.5",
        ),
        (
            "Mistral's gateway",
            r#"{"message":"Unauthorized","request_id":"2a5f7e1b9c"}"#,
            &[],
            "Unauthorized",
        ),
        ("FastAPI", r#"{"detail":"Not Found"}"#, &[], "Not Found"),
        (
            "FastAPI, validation",
            r#"{"detail":[{"loc":["body","messages"],"msg":"field required","type":"value_error.missing"}]}"#,
            &[],
            "field required",
        ),
        (
            "Anthropic",
            r#"{"type":"error","error":{"details":null,"type":"overloaded_error","message":"Overloaded"},"request_id":"req_011CZTE7i3e4tJVTPSyKsDMR"}"#,
            &["overloaded_error"],
            "Overloaded",
        ),
        (
            "Anthropic, spend limit",
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"Spend limit reached","details":{"error_code":"enforced_spend_limit_reached"}}}"#,
            &["enforced_spend_limit_reached", "rate_limit_error"],
            "Spend limit reached",
        ),
        (
            "Gemini",
            r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"},{"@type":"type.googleapis.com/google.rpc.LocalizedMessage","locale":"en-US"}]}}"#,
            &["400", "API_KEY_INVALID", "INVALID_ARGUMENT"],
            "API key not valid. Please pass a valid API key.",
        ),
        (
            "Gemini, OpenAI's API",
            "[{\n  \"error\": {\n    \"code\": 404,\n    \"message\": \"models/x is not found\",\n    \"status\": \"NOT_FOUND\"\n  }\n}\n]",
            &["404", "NOT_FOUND"],
            "models/x is not found",
        ),
        (
            "Azure",
            r#"{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}"#,
            &["DeploymentNotFound"],
            "The API deployment for this resource does not exist.",
        ),
        (
            "Azure, content filter",
            r#"{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"violence":{"filtered":true,"severity":"medium"}}}}}"#,
            &["content_filter", "ResponsibleAIPolicyViolation", "400"],
            "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        ),
        (
            "vLLM before 0.10",
            r#"{"object":"error","message":"The model `x` does not exist.","type":"NotFoundError","param":null,"code":404}"#,
            &["404", "NotFoundError"],
            "The model `x` does not exist.",
        ),
        (
            "Ollama",
            r#"{"error":{"message":"model \"x\" not found, try pulling it first","type":"api_error","param":null,"code":null}}"#,
            &["api_error"],
            "model \"x\" not found, try pulling it first",
        ),
        (
            "Ollama's own API",
            r#"{"error":"model 'x' not found"}"#,
            &[],
            "model 'x' not found",
        ),
        (
            "TGI",
            r#"{"error":"Model is overloaded","error_type":"overloaded"}"#,
            &["overloaded"],
            "Model is overloaded",
        ),
        (
            "xAI",
            r#"{"code":"Client specified an invalid argument","error":"Incorrect API key provided: xa***ey."}"#,
            &["Client specified an invalid argument"],
            "Incorrect API key provided: xa***ey.",
        ),
        (
            "xAI, empty account",
            r#""Your newly created team doesn't have any credits or licenses yet.""#,
            &[],
            "Your newly created team doesn't have any credits or licenses yet.",
        ),
        (
            "OpenRouter, moderation",
            r#"{"error":{"code":403,"message":"The input was flagged","metadata":{"reasons":["violence"],"flagged_input":"…","provider_name":"OpenAI"}}}"#,
            &["403", "content_policy_violation"],
            "The input was flagged",
        ),
        (
            "OpenAI, Responses event",
            r#"{"type":"response.failed","sequence_number":3,"response":{"status":"failed","error":{"code":"rate_limit_exceeded","message":"Requests have exceeded the token rate limit"}}}"#,
            &["rate_limit_exceeded"],
            "Requests have exceeded the token rate limit",
        ),
        (
            "Envoy",
            "upstream connect error or disconnect/reset before headers.\r\nreset reason: overflow",
            &[],
            "upstream connect error or disconnect/reset before headers.  reset reason: overflow",
        ),
    ];

    #[test]
    fn every_known_shape_is_read() {
        for (provider, body, codes, message) in BODIES {
            let read = read_error_body(body.as_bytes()).unwrap();
            assert_eq!(read.codes, codes, "{provider}");
            assert_eq!(read.message.as_deref(), Some(message), "{provider}");
        }
    }

    #[test]
    fn what_says_nothing_is_nothing() {
        for body in [
            "",
            " \n",
            "{}",
            "[]",
            "[1]",
            "{\"error\":null}",
            "{\"error\":{\"message\":\"cut",
            "{\"message\":17}",
            "<html><head><title>502 Bad Gateway</title></head></html>",
        ] {
            assert_eq!(read_error_body(body.as_bytes()), None, "{body}");
        }
        assert_eq!(read_error_body(b"\xff\xfe"), None);
    }

    #[test]
    fn what_is_odd_is_no_reason_to_read_nothing() {
        for (body, codes, message) in [
            (
                r#"{"error":{"message":"\ud800","code":"model_not_found"}}"#,
                &["model_not_found"][..],
                None,
            ),
            (
                r#"{"error":{"code":1e400,"message":"a number beyond a double"}}"#,
                &["1e400"],
                Some("a number beyond a double"),
            ),
            (r#"[{"error":{"code":404}},1]"#, &["404"], None),
            (
                r#"{"error":"the first","error":{"message":"the last"}}"#,
                &[],
                Some("the last"),
            ),
        ] {
            let read = read_error_body(body.as_bytes()).unwrap();
            assert_eq!(read.codes, codes, "{body}");
            assert_eq!(read.message.as_deref(), message, "{body}");
        }
        assert_eq!(read_error_body(br#""\ud800""#), None);
    }

    #[test]
    fn an_error_behind_a_long_answer_is_read() {
        let output = "[],".repeat(100_000);
        let body = format!(r#"{{"output":[{output}0],"error":{{"code":"content_filter"}}}}"#);
        let read = read_error_body(body.as_bytes()).unwrap();
        assert_eq!(read.codes, ["content_filter"]);
    }

    #[test]
    fn gemini_tells_the_wait_in_the_body() {
        let body = br#"[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[
            {"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[]},
            {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"38.5s"}]}}]"#;
        let read = read_error_body(body).unwrap();
        assert_eq!(read.retry_delay, Some(Duration::from_millis(38_500)));
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        for filler in ["x", "é", "…", "🙂"] {
            let body = serde_json::json!({"error": filler.repeat(2_000)}).to_string();
            let message = read_error_body(body.as_bytes()).unwrap().message.unwrap();
            assert!(
                message.len() <= MESSAGE_LIMIT && message.len() > MESSAGE_LIMIT - 8,
                "{filler}"
            );
            assert!(message.starts_with(filler) && message.ends_with(CUT));
        }
        let whole = "x".repeat(MESSAGE_LIMIT);
        let read = read_error_body(whole.as_bytes()).unwrap();
        assert_eq!(read.message, Some(whole));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,300}".prop_map(Value::from),
        ];
        let field = prop_oneof![
            prop::sample::select(vec![
                "error",
                "message",
                "detail",
                "details",
                "code",
                "type",
                "status",
                "innererror",
                "metadata",
                "response",
                "msg",
                "reason",
                "retryDelay",
                "error_code",
                "flagged_input",
            ])
            .prop_map(str::to_owned),
            "[a-z]{1,3}",
        ];
        leaf.prop_recursive(6, 64, 12, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..12).prop_map(Value::from),
                prop::collection::vec((field.clone(), inner), 0..12)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn the_fuzzers_seeds_are_read_within_bounds() {
        let seeds = crate::fuzz_seeds("error_body");
        seeds.iter().for_each(|seed| check(seed));
        let told = seeds.iter().filter(|seed| read_error_body(seed).is_some());
        assert!(told.count() >= 10);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_within_bounds(body in prop::collection::vec(any::<u8>(), 0..2_000)) {
            check(&body);
        }

        #[test]
        fn any_json_is_read_within_bounds(body in any_json(), cut in 0usize..200) {
            let text = body.to_string();
            check(text.as_bytes());
            check(&text.as_bytes()[..text.len().saturating_sub(cut)]);
        }
    }
}
