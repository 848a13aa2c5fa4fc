//! How a conversation begins: what stays the same from turn to turn.

use super::scanner::Scanner;
use super::{ModelFieldError, decode};

/// Hands `visit` what a request's conversation begins with, as it stands in the body: the
/// instructions that come before the messages, and the messages up to the first one of the user. The
/// body is walked no further than that. Nothing where it is no such request.
///
/// | API | messages | instructions |
/// |---|---|---|
/// | OpenAI's chat completions, Mistral, Anthropic | `messages` | `system` |
/// | OpenAI's responses, embeddings, moderations | `input` | `instructions` |
/// | completions | `prompt` | |
/// | Gemini | `contents` | `systemInstruction` |
pub fn first_messages<'a>(body: &'a [u8], mut visit: impl FnMut(&'a [u8])) {
    // What was found before an error is as good as what would have been found without it.
    let _ = walk(body, &mut visit);
}

fn walk<'a>(body: &'a [u8], visit: &mut impl FnMut(&'a [u8])) -> Result<(), ModelFieldError> {
    let mut scanner = Scanner::new(decode(body)?);
    if scanner.next() != b'{' {
        return Ok(());
    }
    let mut more = scanner.enter_object()?;
    while more {
        match &*scanner.key()?.decode()? {
            "messages" | "input" | "contents" | "prompt" => {
                return messages(&mut scanner, body, visit);
            }
            "system" | "instructions" | "systemInstruction" | "system_instruction" => {
                scanner.next();
                let start = scanner.at();
                scanner.skip_value()?;
                visit(&body[start..scanner.at()]);
            }
            _ => scanner.skip_value()?,
        }
        more = scanner.next_member()?;
    }
    Ok(())
}

/// Of a list its elements up to the first message of the user; of anything else all.
fn messages<'a>(
    scanner: &mut Scanner<'_>,
    body: &'a [u8],
    visit: &mut impl FnMut(&'a [u8]),
) -> Result<(), ModelFieldError> {
    let list = scanner.next() == b'[';
    let mut more = !list || scanner.enter_array();
    while more {
        let object = scanner.next() == b'{';
        let start = scanner.at();
        let users = if object {
            skip_message(scanner)?
        } else {
            scanner.skip_value()?;
            true
        };
        visit(&body[start..scanner.at()]);
        more = list && !users && scanner.next_element()?;
    }
    Ok(())
}

/// From before a message to past it; whether it is the user's, as is one that doesn't say whose.
fn skip_message(scanner: &mut Scanner<'_>) -> Result<bool, ModelFieldError> {
    let mut users = true;
    let mut more = scanner.enter_object()?;
    while more {
        let key = scanner.key()?.decode()?;
        if key == "role" && scanner.next() == b'"' {
            users = scanner.string()?.decode()? == "user";
        } else {
            scanner.skip_value()?;
        }
        more = scanner.next_member()?;
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(body: &str) -> Vec<&str> {
        let mut found = Vec::new();
        first_messages(body.as_bytes(), |piece| {
            found.push(std::str::from_utf8(piece).unwrap());
        });
        found
    }

    #[test]
    fn what_a_conversation_begins_with() {
        let none: &[&str] = &[];
        for (body, expected) in [
            (
                r#"{"model":"m","messages":[ {"role":"system","content":"S"} , {"content":"U","role":"user"} ,{"role":"assistant"}]}"#,
                &[
                    r#"{"role":"system","content":"S"}"#,
                    r#"{"content":"U","role":"user"}"#,
                ][..],
            ),
            (
                r#"{"messages":[{"role":"assistant","content":[{"role":"user"}]},{"role":"user"}]}"#,
                &[
                    r#"{"role":"assistant","content":[{"role":"user"}]}"#,
                    r#"{"role":"user"}"#,
                ],
            ),
            (
                r#"{"system": [{"text":"S"}], "messages":[{"role":"user","content":"U"}], "max_tokens":1}"#,
                &[r#"[{"text":"S"}]"#, r#"{"role":"user","content":"U"}"#],
            ),
            (r#"{"instructions":"I","input":"U"}"#, &[r#""I""#, r#""U""#]),
            (r#"{"input":["a","b"]}"#, &[r#""a""#]),
            (r#"{"prompt" : "p"}"#, &[r#""p""#]),
            (
                r#"{"systemInstruction":{"parts":[]},"contents":[{"parts":[{"text":"U"}]},{"role":"model"}]}"#,
                &[r#"{"parts":[]}"#, r#"{"parts":[{"text":"U"}]}"#],
            ),
            (
                r#"{"mess\u0061ges":[{"role":"us\u0065r"},{"role":"user"}]}"#,
                &[r#"{"role":"us\u0065r"}"#],
            ),
            (r#"{"messages":[]}"#, none),
            (r#"{"messages":null}"#, &["null"]),
            (r#"{"messages":[{"role":7},{}]}"#, &[r#"{"role":7}"#]),
            (r#"{"model":"m"}"#, none),
            (r#"["messages"]"#, none),
            ("--boundary", none),
            ("", none),
            (r#"{"system":"S","messages":[{"role":"#, &[r#""S""#]),
        ] {
            assert_eq!(found(body), expected, "{body}");
        }
        first_messages(b"\xff", |_| panic!("in what is no text"));
    }

    #[test]
    fn what_follows_is_not_walked() {
        let body = r#"{"messages":[{"role":"user"},here it is no JSON any more"#;
        assert_eq!(found(body), [r#"{"role":"user"}"#]);
    }
}
