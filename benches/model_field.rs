//! Finding the model in a body of 1 MiB, beside `serde_json`'s full parse of the same body.
//!
//! `cargo bench --bench model_field`: the kinds of bodies differ in where their cost lies.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use serde_json::Value;
use standin::gateway::model_field::find_model;

const SIZE: usize = 1 << 20;

/// What the body of a request is made of. The model comes last, though its place makes no
/// difference: all of the body is read in any case.
#[derive(Clone, Copy, Debug)]
enum Body {
    /// English with a `\n` every 80 bytes.
    Chat,
    /// The same of characters of two bytes.
    Greek,
    /// One string in base64.
    Picture,
    /// More structure than text.
    ShortMessages,
    /// Pretty-printed JSON schemas.
    Tools,
    /// JSON in strings: an escape every few bytes.
    ToolCalls,
    /// Numbers of one to six digits.
    TokenIds,
}

use Body::{Chat, Greek, Picture, ShortMessages, TokenIds, ToolCalls, Tools};

const BODIES: [Body; 7] = [
    Chat,
    Greek,
    Picture,
    ShortMessages,
    Tools,
    ToolCalls,
    TokenIds,
];

fn main() {
    divan::main();
}

#[divan::bench(args = BODIES)]
fn standin(bencher: Bencher<'_, '_>, body: Body) {
    measure(bencher, body, |json| Some(find_model(json).ok()?.span));
}

#[divan::bench(args = BODIES)]
fn serde_json_full_parse(bencher: Bencher<'_, '_>, body: Body) {
    measure(bencher, body, |json| {
        serde_json::from_slice::<Value>(json).ok()
    });
}

/// What `parse` gives is dropped outside the measured time.
fn measure<T>(bencher: Bencher<'_, '_>, body: Body, parse: impl Fn(&[u8]) -> Option<T>) {
    let json = body.json();
    assert!(parse(json.as_bytes()).is_some(), "{body:?} is a request");
    bencher
        .counter(BytesCount::of_str(&json))
        .bench_local(|| parse(black_box(json.as_bytes())));
}

impl Body {
    fn json(self) -> String {
        match self {
            Chat => messages(
                "The quick brown fox jumps over the lazy dog, and nobody knows why it does so.\\n",
            ),
            Greek => messages("Η γρήγορη καφέ αλεπού πηδάει πάνω από το τεμπέλικο σκυλί.\\n"),
            Picture => picture(),
            ShortMessages => short_messages(),
            Tools => tools(),
            ToolCalls => tool_calls(),
            TokenIds => array_body("input", ",", |n| (n * 7919 % 100_277).to_string()),
        }
    }
}

/// A conversation in messages of fifty lines.
fn messages(line: &str) -> String {
    let text = line.repeat(50);
    array_body("messages", ",", |_| {
        format!(r#"{{"role":"user","content":"{text}"}}"#)
    })
}

fn picture() -> String {
    let base64: String = (0..SIZE)
        .map(|n| {
            char::from(
                b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[n * 7 % 64],
            )
        })
        .collect();
    format!(
        r#"{{"messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{base64}"}}}}]}}],"model":"gpt-4o"}}"#
    )
}

fn short_messages() -> String {
    const WORDS: [&str; 7] = [
        "yes",
        "go on",
        "why?",
        "and then",
        "I see, thank you",
        "what is the time",
        "no",
    ];
    array_body("messages", ",", |n| {
        let (role, word) = (["user", "assistant"][n % 2], WORDS[n * 31 % 7]);
        format!(r#"{{"role":"{role}","content":"{word}"}}"#)
    })
}

fn tools() -> String {
    array_body("tools", ",\n", |n| {
        let tool = serde_json::json!({"type": "function", "function": {
            "name": format!("get_weather_{n}"),
            "description": "The current weather at a place",
            "strict": true,
            "parameters": {"type": "object", "properties": {
                "location": {"type": "string", "description": "City and country"},
                "days": {"type": "integer", "minimum": 1, "maximum": 14},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            }, "required": ["location", "unit"], "additionalProperties": false},
        }});
        format!("{tool:#}")
    })
}

fn tool_calls() -> String {
    array_body("messages", ",", |n| {
        format!(
            r#"{{"role":"assistant","content":null,"tool_calls":[{{"id":"call_{n}","type":"function","function":{{"name":"get_weather","arguments":"{{\"location\":\"Paris\",\"days\":[{n},2],\"unit\":\"celsius\"}}"}}}}]}}"#
        )
    })
}

/// `{"KEY":[ITEM,ITEM,…],"model":"gpt-4o"}` of about [`SIZE`].
fn array_body(key: &str, separator: &str, item: impl Fn(usize) -> String) -> String {
    let mut body = format!(r#"{{"{key}":["#);
    for n in 0.. {
        body.push_str(&item(n));
        if body.len() >= SIZE {
            break;
        }
        body.push_str(separator);
    }
    body.push_str(r#"],"model":"gpt-4o"}"#);
    body
}
