//! A request to begin with, for each kind of operation. Pure.

use serde_json::Value;

use crate::policy::{Dialect, Format, ModelPlace, Operation};

/// The body of a request for `model`; empty where there is none. The question is the original's.
pub(super) fn body(operation: &Operation, model: &str) -> String {
    if !operation.method.is_idempotent() {
        let model = (operation.model_in == ModelPlace::Body).then_some(model);
        return written(model, rest(operation));
    }
    String::new()
}

fn written(model: Option<&str>, rest: &str) -> String {
    let model = model.map(|model| format!("  \"model\": {},\n", Value::from(model)));
    format!("{{\n{}  {rest}\n}}", model.unwrap_or_default())
}

const fn rest(operation: &Operation) -> &'static str {
    match (operation.format, operation.dialect) {
        (Format::ChatCompletions, _) => {
            r#""messages": [{"role": "user", "content": "Who is the most renowned French painter?"}]"#
        }
        (Format::Completions, _) => r#""prompt": "Who is the most renowned French painter?""#,
        (Format::Messages, _) => {
            r#""max_tokens": 256,
  "messages": [{"role": "user", "content": "Who is the most renowned French painter?"}]"#
        }
        (Format::GenerateContent, _) => {
            r#""contents": [{"role": "user", "parts": [{"text": "Who is the most renowned French painter?"}]}]"#
        }
        (Format::Other, Dialect::Bedrock) => {
            r#""messages": [{"role": "user", "content": [{"text": "Who is the most renowned French painter?"}]}]"#
        }
        (Format::Responses | Format::Other, _) => {
            r#""input": "Who is the most renowned French painter?""#
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_json_with_the_model_where_it_belongs() {
        for rest in [r#""input": "?""#, r#""max_tokens": 256, "messages": []"#] {
            let body: Value = serde_json::from_str(&written(Some("a \"b\""), rest)).unwrap();
            assert_eq!(body["model"], "a \"b\"");
            let body: Value = serde_json::from_str(&written(None, rest)).unwrap();
            assert_eq!(body.get("model"), None);
        }
    }
}
