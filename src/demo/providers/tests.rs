//! What the embedded providers answer.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::super::answers::PAINTER_QUESTION;
use super::*;

/// How long the wire must be still to be called silent.
const SILENCE: Duration = Duration::from_secs(1);

/// What came over a connection, and how it ended.
#[derive(Debug)]
struct Heard {
    head: String,
    body: String,
    end: End,
}

#[derive(Debug, PartialEq)]
enum End {
    Closed,
    Reset,
    Silence,
}

impl Heard {
    fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The data of the events, in order.
    fn events(&self) -> Vec<&str> {
        self.body
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .collect()
    }

    /// The text that the events put together.
    fn text(&self) -> String {
        let chunks = self.events().into_iter().filter(|data| *data != "[DONE]");
        chunks
            .filter_map(|data| {
                let chunk: Value = serde_json::from_str(data).unwrap();
                chunk["choices"][0]["delta"]["content"]
                    .as_str()
                    .map(str::to_owned)
            })
            .collect()
    }
}

/// Sends a request and gives back the connection.
fn send(address: SocketAddr, key: &str, line: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{line} HTTP/1.1\r\nhost: demo\r\nauthorization: Bearer {key}\r\n\
         connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    stream
}

/// Sends a request and listens until the connection ends or goes silent.
fn exchange(address: SocketAddr, key: &str, line: &str, body: &str) -> Heard {
    let mut stream = send(address, key, line, body);
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let end = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break End::Closed,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break End::Reset,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break End::Silence,
            Err(error) => panic!("{error}"),
        }
    };
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    Heard {
        head: head.to_owned(),
        body: body.to_owned(),
        end,
    }
}

fn request(model: &str, stream: bool) -> Value {
    let messages = json!([{"role": "user", "content": PAINTER_QUESTION}]);
    json!({"model": model, "messages": messages, "stream": stream})
}

fn post(address: SocketAddr, key: &str, body: &Value) -> Heard {
    exchange(address, key, "POST /v1/chat/completions", &body.to_string())
}

/// A request to the `OpenAI`-like provider with its key.
fn openai(providers: &Providers, model: &str, stream: bool) -> Heard {
    post(
        providers.openai(),
        "demo-openai-key",
        &request(model, stream),
    )
}

/// A request to the Mistral-like provider with its key.
fn mistral(providers: &Providers, model: &str, stream: bool) -> Heard {
    post(
        providers.mistral(),
        "demo-mistral-key",
        &request(model, stream),
    )
}

#[test]
fn healthy_models_answer_the_painter_question() {
    let providers = start().unwrap();
    let models = ["mistral-small-latest", "mistral-large-latest"];
    let heard = models.map(|model| (model, mistral(&providers, model, false)));
    let healthy = [("gpt-healthy", openai(&providers, "gpt-healthy", false))];
    for (model, heard) in heard.into_iter().chain(healthy) {
        assert_eq!((heard.status(), &heard.end), (200, &End::Closed));
        assert_eq!(heard.header("content-type"), Some("application/json"));
        let answer = heard.json();
        assert_eq!(answer["model"], model);
        assert_eq!(answer["object"], "chat.completion");
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(
            text.starts_with("Claude Monet") && text.contains("fixed text"),
            "{text}"
        );
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        assert_eq!(answer["usage"]["prompt_tokens"], 7);
        assert_eq!(
            answer["usage"]["completion_tokens"],
            text.split_whitespace().count()
        );
    }
}

#[test]
fn a_stream_has_the_same_text_word_by_word() {
    let providers = start().unwrap();
    let plain = openai(&providers, "gpt-healthy", false).json();
    let text = plain["choices"][0]["message"]["content"].as_str().unwrap();
    for heard in [
        openai(&providers, "gpt-healthy", true),
        mistral(&providers, "mistral-small-latest", true),
    ] {
        assert_eq!(
            heard.header("content-type"),
            Some("text/event-stream; charset=utf-8")
        );
        assert_eq!(heard.text(), text);
        let events = heard.events();
        assert!(
            events[0].contains(r#""role":"assistant","content":"""#),
            "{}",
            events[0]
        );
        assert!(events[1].contains(r#""content":"Claude""#), "{}", events[1]);
        assert!(events[events.len() - 2].contains(r#""finish_reason":"stop""#));
        assert_eq!(events.last(), Some(&"[DONE]"));
    }
}

#[test]
fn the_usage_of_a_stream_comes_when_asked_for() {
    let providers = start().unwrap();
    let mut asked = request("gpt-healthy", true);
    asked["stream_options"] = json!({"include_usage": true});
    let heard = post(providers.openai(), "demo-openai-key", &asked);
    let events = heard.events();
    let last: Value = serde_json::from_str(events[events.len() - 2]).unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["prompt_tokens"], 7);
    assert!(
        !openai(&providers, "gpt-healthy", true)
            .body
            .contains("usage")
    );
}

#[test]
fn a_foreign_key_is_refused_in_each_provider_s_shape() {
    let providers = start().unwrap();
    let body = request("gpt-healthy", false);

    let heard = post(providers.openai(), "demo-key", &body);
    assert_eq!(heard.status(), 401);
    assert_eq!(heard.json()["error"]["code"], "invalid_api_key");

    let heard = post(providers.mistral(), "demo-openai-key", &body);
    assert_eq!(heard.status(), 401);
    assert_eq!(heard.json()["message"], "Unauthorized");
}

#[test]
fn unknown_models_are_refused_as_by_the_real_ones() {
    let providers = start().unwrap();

    let heard = mistral(&providers, "invalid-model", false);
    assert_eq!(heard.status(), 400);
    assert_eq!(
        heard.body,
        r#"{"object":"error","message":"Invalid model: invalid-model","type":"invalid_model","code":"1500"}"#
    );

    let heard = openai(&providers, "gpt-unknown", true);
    assert_eq!(heard.status(), 404);
    assert_eq!(heard.json()["error"]["code"], "model_not_found");
}

#[test]
fn a_rate_limited_model_says_when_to_come_back() {
    let providers = start().unwrap();
    let heard = openai(&providers, "gpt-rate-limited", false);
    assert_eq!(heard.status(), 429);
    assert_eq!(heard.header("retry-after"), Some("20"));
    assert_eq!(heard.json()["error"]["code"], "rate_limit_exceeded");
}

#[test]
fn a_broken_model_is_unavailable() {
    let providers = start().unwrap();
    let heard = openai(&providers, "gpt-broken", false);
    assert_eq!(heard.status(), 503);
    assert_eq!(heard.json()["error"]["type"], "server_error");
}

#[test]
fn a_crashing_model_closes_without_a_byte() {
    let providers = start().unwrap();
    let heard = openai(&providers, "gpt-crashing", false);
    assert_eq!((heard.head.as_str(), heard.end), ("", End::Closed));
}

#[test]
fn a_garbled_answer_is_shorter_than_it_says() {
    let providers = start().unwrap();
    for stream in [false, true] {
        let heard = openai(&providers, "gpt-garbled", stream);
        assert_eq!((heard.status(), &heard.end), (200, &End::Closed));
        let claimed: usize = heard.header("content-length").unwrap().parse().unwrap();
        assert_eq!(heard.body.len(), claimed / 2);
        assert!(heard.body.starts_with('{'));
    }
}

#[test]
fn a_silent_model_sends_its_role_and_nothing_more() {
    let providers = start().unwrap();
    let heard = openai(&providers, "gpt-silent", true);
    assert_eq!((heard.status(), &heard.end), (200, &End::Silence));
    assert_eq!(heard.events().len(), 1);
    assert!(heard.events()[0].contains(r#""role":"assistant","content":"""#));

    let heard = openai(&providers, "gpt-silent", false);
    assert_eq!(
        (heard.status(), heard.body.as_str(), &heard.end),
        (200, "", &End::Silence)
    );
}

#[test]
fn a_slow_model_is_silent_for_long() {
    let providers = start().unwrap();
    let heard = openai(&providers, "gpt-slow", true);
    assert_eq!((heard.head.as_str(), heard.end), ("", End::Silence));
}

#[test]
fn a_stream_that_breaks_midway_ends_with_a_reset_after_half_of_its_words() {
    let providers = start().unwrap();
    let whole = openai(&providers, "gpt-healthy", true).text();
    let heard = openai(&providers, "gpt-breaks-midway", true);
    assert_eq!((heard.status(), &heard.end), (200, &End::Reset));
    let half = heard.text();
    assert!(whole.starts_with(&half));
    let (sent, all) = (half.split(' ').count(), whole.split(' ').count());
    assert!(sent.abs_diff(all / 2) <= 2, "{sent} of {all}");

    let heard = openai(&providers, "gpt-breaks-midway", false);
    assert_eq!((heard.status(), &heard.end), (200, &End::Reset));
    assert!(heard.body.contains("chat.completion"));
}

#[test]
fn the_rest_of_a_broken_stream_makes_it_whole() {
    let providers = start().unwrap();
    let half = openai(&providers, "gpt-breaks-midway", true).text();
    let mut body = request("mistral-small-latest", true);
    let partial = json!({"role": "assistant", "content": half, "prefix": true});
    body["messages"].as_array_mut().unwrap().push(partial);
    let rest = post(providers.mistral(), "demo-mistral-key", &body).text();
    assert_eq!(half + &rest, openai(&providers, "gpt-healthy", true).text());
}

#[test]
fn embeddings_and_lists_of_models() {
    let providers = start().unwrap();
    let body = json!({"model": "text-embedding-healthy", "input": ["Monet", "Manet"]});
    let line = "POST /v1/embeddings";
    let heard = exchange(
        providers.openai(),
        "demo-openai-key",
        line,
        &body.to_string(),
    );
    let list = heard.json();
    assert_eq!(list["data"][1]["index"], 1);
    assert_eq!(list["data"][0]["embedding"].as_array().unwrap().len(), 8);
    assert_eq!(
        list["usage"],
        json!({"prompt_tokens": 2, "total_tokens": 2})
    );

    let line = "GET /v1/models";
    let list = exchange(providers.mistral(), "demo-mistral-key", line, "").json();
    assert_eq!(list["data"][0]["id"], "mistral-small-latest");
    assert_eq!(list["data"].as_array().unwrap().len(), 2);

    let heard = exchange(providers.openai(), "demo-openai-key", "GET /v2", "");
    assert_eq!(
        (heard.status(), &heard.json()["error"]["param"]),
        (404, &Value::Null)
    );
}

#[tokio::test]
async fn they_start_and_stop_within_a_runtime_too() {
    let providers = start().unwrap();
    assert_eq!(openai(&providers, "gpt-healthy", false).status(), 200);
    drop(providers);
}

#[test]
fn dropping_them_stops_them_with_what_is_under_way() {
    let providers = start().unwrap();
    let address = providers.openai();
    let body = request("gpt-silent", true).to_string();
    let mut stream = send(
        address,
        "demo-openai-key",
        "POST /v1/chat/completions",
        &body,
    );
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(b"\n\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        heard.extend(byte);
    }
    drop(providers);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert!(TcpStream::connect(address).is_err());
}
