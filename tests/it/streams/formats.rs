//! The streams of each API: what in them is content, and what their error event looks like.

use serde_json::{Value, json};

use crate::support::bodies::{data, named};
use crate::support::stage::{CHAT, FIRST, HTTP1, HTTP2, Lane, MESSAGES, SECOND, Setting};
use crate::support::{Reply, Step, bodies};

/// The stream of an API.
struct Api {
    name: &'static str,
    path: &'static str,
    /// What commits nothing.
    preamble: Vec<String>,
    content: String,
    /// From there to its proper end.
    rest: Vec<String>,
    /// What its clients are told where it can't go on.
    broken: fn(&Value) -> bool,
}

impl Api {
    fn events(&self) -> Vec<String> {
        let mut events = self.preamble.clone();
        events.push(self.content.clone());
        events.extend(self.rest.iter().cloned());
        events
    }
}

fn apis() -> Vec<Api> {
    vec![
        chat(),
        completions(),
        mistral(),
        responses(),
        messages(),
        gemini(),
    ]
}

fn openai_error(event: &Value) -> bool {
    event["error"]["code"] == "stream_broken" && event["error"]["type"] == "failover_error"
}

fn chat() -> Api {
    let mut events = bodies::chat_events(FIRST, &["Monet"]);
    Api {
        name: "chat completions",
        path: CHAT,
        preamble: vec![": OPENROUTER PROCESSING\n\n".to_owned(), events.remove(0)],
        content: events.remove(0),
        rest: events,
        broken: openai_error,
    }
}

fn completions() -> Api {
    let event = |text: &str, finish: Option<&str>| {
        data(
            &json!({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": FIRST,
            "choices": [{"text": text, "index": 0, "logprobs": null, "finish_reason": finish}]}),
        )
    };
    Api {
        name: "legacy completions",
        path: "/v1/completions",
        preamble: vec![event("", None)],
        content: event("Monet", None),
        rest: vec![event("", Some("stop")), "data: [DONE]\n\n".to_owned()],
        broken: openai_error,
    }
}

fn mistral() -> Api {
    let event = |delta: Value, finish: Value| {
        data(
            &json!({"id": "1", "object": "chat.completion.chunk", "created": 1, "model": FIRST,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}),
        )
    };
    let thinking = json!([{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]);
    Api {
        name: "Mistral",
        path: CHAT,
        preamble: vec![event(
            json!({"role": "assistant", "content": ""}),
            Value::Null,
        )],
        content: event(json!({"content": thinking}), Value::Null),
        rest: vec![
            event(json!({"content": "Monet"}), Value::Null),
            data(&json!({"id": "1", "model": FIRST,
                "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}})),
            "data: [DONE]\n\n".to_owned(),
        ],
        broken: openai_error,
    }
}

fn responses() -> Api {
    let response = |status: &str| json!({"id": "resp_1", "object": "response", "status": status, "model": FIRST, "output": []});
    let event = |number: u64, kind: &str, mut members: Value| {
        members["type"] = json!(kind);
        members["sequence_number"] = json!(number);
        named(&members)
    };
    let (created, going) = (response("in_progress"), response("in_progress"));
    let item =
        json!({"output_index": 0, "item": {"id": "msg_1", "type": "message", "content": []}});
    let part = json!({"item_id": "msg_1", "output_index": 0, "content_index": 0, "part": {"type": "output_text", "text": ""}});
    let text = |key: &str| json!({"item_id": "msg_1", "output_index": 0, "content_index": 0, key: "Monet"});
    let mut completed = response("completed");
    completed["usage"] = json!({"input_tokens": 9, "output_tokens": 1, "total_tokens": 10});
    Api {
        name: "Responses",
        path: "/v1/responses",
        preamble: vec![
            event(0, "response.created", json!({"response": created})),
            event(1, "response.in_progress", json!({"response": going})),
            event(2, "response.output_item.added", item),
            event(3, "response.content_part.added", part),
        ],
        content: event(4, "response.output_text.delta", text("delta")),
        rest: vec![
            event(5, "response.output_text.done", text("text")),
            event(6, "response.completed", json!({"response": completed})),
        ],
        broken: |event| {
            event["type"] == "error"
                && event["code"] == "stream_broken"
                && event["sequence_number"] == 5
        },
    }
}

fn messages() -> Api {
    let mut events = bodies::anthropic_events(FIRST, &["Monet"]);
    let rest = events.split_off(4);
    Api {
        name: "Messages",
        path: MESSAGES,
        content: events.remove(3),
        preamble: events,
        rest,
        broken: |event| event["type"] == "error" && openai_error(event),
    }
}

/// On a path that is none of the known ones: told by its shape.
fn gemini() -> Api {
    let event = |parts: Value, finish: Value| {
        data(
            &json!({"candidates": [{"content": {"role": "model", "parts": parts}, "index": 0, "finishReason": finish}],
            "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 1}, "modelVersion": FIRST}),
        )
    };
    Api {
        name: "Gemini",
        path: "/v1beta/stream",
        preamble: vec![event(json!([{"text": ""}]), Value::Null)],
        content: event(json!([{"text": "Monet"}]), Value::Null),
        rest: vec![event(json!([{"text": ""}]), json!("STOP"))],
        broken: openai_error,
    }
}

fn setting(api: &Api, lane: Lane) -> Setting {
    Setting::new(lane).at(api.path)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_preamble_commits_nothing_and_the_content_commits() {
    for lane in [HTTP1, HTTP2] {
        for api in apis() {
            let silent = Reply::sse(api.preamble.clone()).then(Step::Hang);
            let reply =
                Reply::sse(api.events()).before_write(api.preamble.len() + 1, Step::Gate("rest"));
            let setting = setting(&api, lane).policy("first_token_timeout: 300ms");
            let stage = setting.start().await;
            stage.first.always(silent);
            stage.second.always(reply);

            let mut stream = stage.open().await;
            let endpoint = stream.header("x-standin-endpoint");
            assert_eq!(endpoint, Some("second"), "{} over {lane:?}", api.name);
            let mut body = Vec::new();
            while body.len() < api.events()[..=api.preamble.len()].concat().len() {
                body.extend_from_slice(&stream.next_chunk().await.unwrap().data);
            }
            stage.second.open("rest");
            let rest = stream.rest().await;
            body.extend_from_slice(&rest.body);
            assert_eq!(body, api.events().concat().as_bytes(), "{}", api.name);
            assert!(rest.complete);
            assert_eq!(stage.first.last_request().json()["model"], FIRST);
            assert_eq!(stage.second.last_request().json()["model"], SECOND);
        }
    }
}

/// Whoever finds no target to go on gets one error, in the API's own shape, and a cut stream.
#[tokio::test(flavor = "multi_thread")]
async fn a_break_is_told_in_the_shape_of_the_api() {
    for lane in [HTTP1, HTTP2] {
        for api in apis() {
            let stage = setting(&api, lane).fallbacks(0).start().await;
            let begun = api.events()[..=api.preamble.len()].concat();
            stage
                .first
                .always(Reply::sse([begun.clone()]).then(Step::Reset));
            let answer = stage.answer().await;
            let error = answer.text().strip_prefix(&begun);
            let error = error.unwrap_or_else(|| panic!("{}: {answer:?}", api.name));
            let events = crate::support::sse::events(error.as_bytes());
            assert_eq!(events.len(), 1, "{}: {error}", api.name);
            assert!((api.broken)(&events[0].json()), "{}: {error}", api.name);
            let name = (api.path == MESSAGES || api.name == "Responses").then_some("error");
            assert_eq!(events[0].name.as_deref(), name);
            assert!(!answer.complete, "{} over {lane:?}", api.name);
            assert_eq!(answer.reset, lane == HTTP2, "{}", api.name);
        }
    }
}

/// The end of an API's streams that can be told from what came before it is made good; of the
/// others nothing is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_finished_stream_without_its_last_event_gets_it() {
    for api in apis() {
        let missing = match api.path {
            "/v1/responses" | "/v1beta/stream" => continue,
            MESSAGES => "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
            _ => "data: [DONE]\n\n",
        };
        for end in [None, Some(Step::Close), Some(Step::Reset)] {
            let stage = setting(&api, HTTP1)
                .policy("suspend_duration: 60s")
                .start()
                .await;
            let mut events = api.events();
            assert_eq!(events.pop().as_deref(), Some(missing));
            let mut reply = Reply::sse(events.clone());
            if let Some(end) = end.clone() {
                reply = reply.then(end);
            }
            stage.first.always(reply);
            let answer = stage.answer().await;
            assert_eq!(answer.text(), api.events().concat(), "{} {end:?}", api.name);
            assert!(answer.complete, "{} {end:?}", api.name);
            assert!(!stage.first_is_suspended().await, "{} {end:?}", api.name);
            assert_eq!(stage.account().await["stream_end"], "repaired");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_format_commits_at_its_first_event() {
    for lane in [HTTP1, HTTP2] {
        let setting = Setting::new(lane)
            .at("/v1/odd")
            .policy("first_token_timeout: 300ms");
        let stage = setting.start().await;
        stage
            .first
            .always(Reply::sse([": nothing yet\n\n"]).then(Step::Hang));
        let events = [
            ": hello\n\n",
            "data: not even JSON\n\n",
            "event: bye\ndata: 1\n\n",
        ];
        let reply = Reply::sse(events).before_write(2, Step::Gate("rest"));
        stage.second.always(reply);
        let mut stream = stage.open().await;
        assert_eq!(stream.header("x-standin-endpoint"), Some("second"));
        assert_eq!(
            stream.next_chunk().await.unwrap().data,
            events[..2].concat()
        );
        stage.second.open("rest");
        let rest = stream.rest().await;
        assert_eq!(rest.body, events[2], "{lane:?}");
        assert!(rest.complete);
        assert_eq!(stage.account().await["stream_end"], "complete");
    }
}

/// Nothing tells where it would end: only its proper end is one.
#[tokio::test(flavor = "multi_thread")]
async fn a_break_of_an_unknown_format_is_a_break() {
    for lane in [HTTP1, HTTP2] {
        for end in [Step::Reset, Step::Hang] {
            let setting = Setting::new(lane).at("/v1/odd");
            let stage = setting
                .policy("stream_idle_timeout: 200ms\nsuspend_duration: 60s")
                .start()
                .await;
            let event = "data: {\"said\":\"something\"}\n\n";
            stage.first.always(Reply::sse([event]).then(end.clone()));
            let answer = stage.answer().await;
            assert!(!answer.complete, "{end:?} over {lane:?}");
            let told = answer.events();
            assert_eq!(told.len(), 2);
            assert!(openai_error(&told[1].json()));
            assert_eq!(stage.second.count(), 0, "nobody can go on with it");
            stage.second.always(Reply::sse([event]));
            assert!(stage.first_is_suspended().await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_api_tells_its_tokens() {
    for api in apis() {
        let stage = setting(&api, HTTP1).start().await;
        stage.first.always(Reply::sse(api.events()));
        stage.answer().await;
        let line = stage.account().await;
        let expected = match api.name {
            "Mistral" => (json!(4), json!(2)),
            "Responses" | "Messages" => (json!(9), json!(1)),
            "Gemini" => (json!(4), json!(1)),
            _ => (Value::Null, Value::Null),
        };
        assert_eq!(
            (line["tokens_in"].clone(), line["tokens_out"].clone()),
            expected,
            "{}",
            api.name
        );
        assert_eq!(line["stream_end"], "complete", "{}", api.name);
        assert_eq!(line["events"], api.events().len(), "{}: {line}", api.name);
    }
}
