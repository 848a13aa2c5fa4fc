use std::fmt::Write;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::gateway::sse::{Batch, Splitter};
use crate::provider::stream::{Obstacle, Usage};

/// Every event of some bytes, as name and data.
fn events(bytes: &[u8]) -> Vec<(String, String)> {
    let mut splitter = Splitter::new();
    let batches = [
        splitter.push(Bytes::copy_from_slice(bytes)),
        splitter.finish(),
    ];
    let owned = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let of = |batch: &Batch| -> Vec<_> {
        let events = batch.events().filter(|event| !event.data.is_empty());
        events
            .map(|event| (owned(event.name), owned(&event.data)))
            .collect()
    };
    batches.iter().flat_map(of).collect()
}

fn state(format: Format, events: &[(String, String)]) -> StreamState {
    let mut state = StreamState::new(format);
    for (name, data) in events {
        state.observe(name.as_bytes(), data.as_bytes());
    }
    state
}

/// Splices whole streams of rescuers to what the client has; the bytes that the client gets more.
fn splice(
    client: StreamState,
    rescuer: &[(String, String)],
) -> (Result<(), Different>, StreamState, String) {
    let mut splicer = Splicer::new(client, 0, "backup", "other-model");
    let mut out = Vec::new();
    let result = rescuer
        .iter()
        .try_for_each(|(name, data)| splicer.event(name.as_bytes(), data.as_bytes(), &mut out));
    (
        result,
        splicer.into_client(),
        String::from_utf8(out).unwrap(),
    )
}

/// A stream of chat completions with these pieces of text.
fn chat(id: &str, model: &str, pieces: &[&str]) -> Vec<(String, String)> {
    let choice = |delta: Value, finish: Value| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
    let chunk = |choices: Value, usage: Value| {
        let chunk = json!({"id": id, "object": "chat.completion.chunk", "created": id.len(), "model": model,
            "choices": choices, "usage": usage});
        (String::new(), chunk.to_string())
    };
    let role = chunk(
        choice(json!({"role": "assistant", "content": ""}), Value::Null),
        Value::Null,
    );
    let texts = pieces
        .iter()
        .map(|piece| chunk(choice(json!({"content": piece}), Value::Null), Value::Null));
    let finish = chunk(choice(json!({}), json!("stop")), Value::Null);
    let usage = chunk(
        json!([]),
        json!({"prompt_tokens": 7, "completion_tokens": pieces.len()}),
    );
    let done = (String::new(), "[DONE]".to_owned());
    [role]
        .into_iter()
        .chain(texts)
        .chain([finish, usage, done])
        .collect()
}

/// A stream of Anthropic's with a thinking block, if there is a thought, and these pieces of text.
fn messages(id: &str, thought: Option<&str>, pieces: &[&str]) -> Vec<(String, String)> {
    let mut stream = vec![
        json!({"type": "message_start", "message": {"id": id, "role": "assistant",
        "content": [], "usage": {"input_tokens": 7, "output_tokens": 1}}}),
    ];
    let mut block = |start: Value, deltas: Vec<Value>| {
        let index = stream
            .iter()
            .filter(|event| event["type"] == "content_block_start")
            .count();
        stream.push(json!({"type": "content_block_start", "index": index, "content_block": start}));
        for delta in deltas {
            stream.push(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
        stream.push(json!({"type": "content_block_stop", "index": index}));
    };
    if let Some(thought) = thought {
        block(
            json!({"type": "thinking", "thinking": ""}),
            vec![json!({"type": "thinking_delta", "thinking": thought})],
        );
    }
    let deltas = pieces
        .iter()
        .map(|piece| json!({"type": "text_delta", "text": piece}));
    block(json!({"type": "text", "text": ""}), deltas.collect());
    stream.push(json!({"type": "ping"}));
    stream.push(
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
        "usage": {"output_tokens": pieces.len()}}),
    );
    stream.push(json!({"type": "message_stop"}));
    let named = |event: Value| {
        (
            event["type"].as_str().unwrap().to_owned(),
            event.to_string(),
        )
    };
    stream.into_iter().map(named).collect()
}

/// The text of a whole stream of chat completions, read as strictly as it can be.
fn read_chat(stream: &[(String, String)]) -> String {
    let (last, chunks) = stream.split_last().unwrap();
    assert_eq!(last.1, "[DONE]");
    let chunks: Vec<Value> = chunks
        .iter()
        .map(|(_, data)| serde_json::from_str(data).unwrap())
        .collect();
    let (mut text, mut roles, mut finishes, mut usages) = (String::new(), 0, 0, 0);
    for chunk in &chunks {
        assert_eq!(chunk["id"], chunks[0]["id"], "one id");
        assert_eq!(chunk["created"], chunks[0]["created"], "one creation time");
        assert_eq!(chunk["object"], "chat.completion.chunk");
        usages += usize::from(chunk["usage"].is_object());
        for choice in chunk["choices"].as_array().unwrap() {
            assert_eq!(finishes, 0, "nothing after the finish");
            roles += usize::from(choice["delta"].get("role").is_some());
            finishes += usize::from(choice["finish_reason"].is_string());
            text += choice["delta"]["content"].as_str().unwrap_or_default();
        }
    }
    assert_eq!((roles, finishes, usages), (1, 1, 1));
    text
}

/// The thoughts and the text of a whole stream of Anthropic's, read as strictly as it can be.
fn read_messages(stream: &[(String, String)]) -> (String, String) {
    let (mut thoughts, mut text) = (String::new(), String::new());
    let (mut open, mut blocks, mut stopped, mut ended) = (None, 0, false, false);
    for (at, (name, data)) in stream.iter().enumerate() {
        let event: Value = serde_json::from_str(data).unwrap();
        assert_eq!(event["type"], **name);
        assert_eq!(at == 0, name == "message_start");
        assert!(!ended, "nothing after the end");
        match &**name {
            "message_start" | "ping" => {}
            "content_block_start" => {
                assert_eq!((open, stopped), (None, false));
                assert_eq!(event["index"], blocks);
                open = Some(blocks);
                blocks += 1;
            }
            "content_block_delta" => {
                assert_eq!(event["index"].as_u64(), open);
                let delta = &event["delta"];
                text += delta["text"].as_str().unwrap_or_default();
                thoughts += delta["thinking"].as_str().unwrap_or_default();
            }
            "content_block_stop" => assert_eq!(event["index"].as_u64(), open.take()),
            "message_delta" => {
                assert_eq!((open, stopped), (None, false));
                stopped = true;
            }
            "message_stop" => ended = stopped,
            _ => panic!("{name}"),
        }
    }
    assert!(ended);
    (thoughts, text)
}

#[test]
fn a_chat_goes_on_as_one_stream() {
    let sent = &chat("first", "model", &["Hello", " wor"])[..3];
    let rescuer = chat("second", "other-model", &["ld", "!"]);
    let (result, client, bytes) = splice(state(Format::ChatCompletions, sent), &rescuer);
    assert_eq!(result, Ok(()));
    assert!(bytes.starts_with(": standin: continued by backup/other-model\n\ndata: {"));
    assert_eq!(bytes.matches(": standin:").count(), 1);
    let more = events(bytes.as_bytes());
    assert!(more[0].1.contains(r#""model":"other-model""#));
    let whole = [sent, &more].concat();
    assert_eq!(read_chat(&whole), "Hello world!");
    assert_eq!(client.continuable(), Ok("Hello world!"));
    assert_eq!(
        (client.id(), client.is_finished(), client.has_ended()),
        (Some("first"), true, true)
    );
    let usage = Usage {
        input_tokens: Some(7),
        output_tokens: Some(2),
    };
    assert_eq!(client.usage(), usage, "the rescuer's");
}

#[test]
fn messages_go_on_in_the_block_that_is_open() {
    let sent = &messages("first", None, &["Hello", " wor"])[..4];
    let rescuer = messages("second", None, &["ld", "!"]);
    let (result, client, bytes) = splice(state(Format::Messages, sent), &rescuer);
    assert_eq!(result, Ok(()));
    assert!(
        bytes.starts_with(
            ": standin: continued by backup/other-model\n\nevent: content_block_delta\n"
        )
    );
    let more = events(bytes.as_bytes());
    assert!(more.iter().all(|(name, _)| name != "content_block_start"));
    assert_eq!(read_messages(&[sent, &more].concat()).1, "Hello world!");
    assert_eq!(client.continuable(), Ok("Hello world!"));
}

#[test]
fn thoughts_of_the_rescuer_have_a_block_of_their_own() {
    let sent = &messages("first", Some("Hm."), &["Hello", " wor"])[..7];
    let rescuer = messages("second", Some("Where was I?"), &["ld", "!"]);
    let (result, _, bytes) = splice(state(Format::Messages, sent), &rescuer);
    assert_eq!(result, Ok(()));
    let whole = [sent, &events(bytes.as_bytes())].concat();
    assert_eq!(
        read_messages(&whole),
        ("Hm.Where was I?".into(), "Hello world!".into())
    );
}

#[test]
fn a_stream_of_thoughts_alone_is_followed_by_the_whole_answer() {
    let sent = &messages("first", Some("Hm."), &[])[..3];
    let rescuer = messages("second", None, &["Hello"]);
    let (_, _, bytes) = splice(state(Format::Messages, sent), &rescuer);
    let whole = [sent, &events(bytes.as_bytes())].concat();
    assert_eq!(read_messages(&whole), ("Hm.".into(), "Hello".into()));

    let thought = r#"{"id":"first","created":5,"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","reasoning_content":"Hm."},"finish_reason":null}]}"#;
    let sent = [(String::new(), thought.to_owned())];
    let (_, _, bytes) = splice(
        state(Format::ChatCompletions, &sent),
        &chat("second", "m", &["Hello"]),
    );
    assert_eq!(
        read_chat(&[&sent, &*events(bytes.as_bytes())].concat()),
        "Hello"
    );
}

#[test]
fn nothing_but_repetition_makes_no_block() {
    let all = messages("first", None, &["The whole of the answer."]);
    // Its block was stopped, and only the finish is missing.
    let sent = &all[..4];
    let rescuer = messages("second", None, &["The whole of ", "the answer."]);
    let (result, _, bytes) = splice(state(Format::Messages, sent), &rescuer);
    assert_eq!(result, Ok(()));
    assert!(!bytes.contains("content_block"), "{bytes}");
    read_messages(&[sent, &events(bytes.as_bytes())].concat());
}

#[test]
fn what_is_about_a_block_that_was_not_started_is_not_sent() {
    let text = "The whole of the answer.";
    let begun = messages("first", None, &[text]);
    let thinks = messages("first", Some("Hm."), &[])[1..3].to_vec();
    let second = |data: String| data.replace("\"index\":0", "\"index\":1");
    let thinks = thinks.into_iter().map(|(name, data)| (name, second(data)));
    let sent: Vec<_> = begun[..4].iter().cloned().chain(thinks).collect();
    let mut rescuer = messages("second", None, &[text]);
    let citation =
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta"}});
    rescuer.insert(3, ("content_block_delta".into(), citation.to_string()));
    let finish = rescuer[rescuer.len() - 2].clone();
    rescuer.insert(rescuer.len() - 2, finish);
    let (result, _, bytes) = splice(state(Format::Messages, &sent), &rescuer);
    assert_eq!(result, Ok(()));
    let more = events(bytes.as_bytes());
    let names: Vec<&str> = more.iter().map(|(name, _)| &**name).collect();
    assert_eq!(
        names,
        [
            "content_block_stop",
            "ping",
            "message_delta",
            "message_stop"
        ]
    );
    read_messages(&[sent, more].concat());
}

#[test]
fn a_rescuer_that_has_nothing_to_add_ends_the_stream() {
    let sent = &messages("first", None, &["Done."])[..3];
    let rescuer = messages("second", None, &[]);
    let nothing: Vec<_> = rescuer
        .into_iter()
        .filter(|(name, _)| !name.contains("block"))
        .collect();
    let (_, _, bytes) = splice(state(Format::Messages, sent), &nothing);
    assert_eq!(
        read_messages(&[sent, &events(bytes.as_bytes())].concat()).1,
        "Done."
    );
}

#[test]
fn another_answer_is_told_from_a_continuation() {
    let begun = "The quick brown fox jumps";
    for (format, sent, rescuer) in [
        (
            Format::ChatCompletions,
            &chat("a", "m", &[begun])[..2],
            chat("b", "m", &["The quick brown dog"]),
        ),
        (
            Format::Messages,
            &messages("a", None, &[begun])[..3],
            messages("b", None, &["The quick brown dog"]),
        ),
        // It ends before it comes to the seam.
        (
            Format::ChatCompletions,
            &chat("a", "m", &[begun])[..2],
            chat("b", "m", &["The quick brown fox"]),
        ),
        (
            Format::Messages,
            &messages("a", None, &[begun])[..3],
            messages("b", None, &["The quick brown fox"]),
        ),
    ] {
        let (result, client, bytes) = splice(state(format, sent), &rescuer);
        assert_eq!(result, Err(Different));
        assert_eq!(bytes, "", "nothing of it was sent");
        assert_eq!(client.continuable(), Ok(begun));
    }
}

#[test]
fn what_was_held_back_when_a_rescuer_breaks_was_never_said() {
    let text = "The quick brown fox jumps over the lazy dog.";
    let sent = &chat("first", "m", &[&text[..25]])[..2];
    // The second is cut while it repeats, the third in the middle of what is new.
    let second = &chat("second", "m", &[&text[..20], &text[20..24]])[..3];
    let (_, client, bytes) = splice(state(Format::ChatCompletions, sent), second);
    assert_eq!(bytes, "");
    let third = &chat("third", "m", &[&text[..30], &text[30..35]])[..3];
    let (_, client, from_third) = splice(client, third);
    assert_eq!(client.continuable(), Ok(&text[..35]));
    let (_, client, from_fourth) = splice(client, &chat("fourth", "m", &[&text[10..]]));
    assert_eq!(client.continuable(), Ok(text));
    let more = events(format!("{from_third}{from_fourth}").as_bytes());
    assert_eq!(read_chat(&[sent, &more].concat()), text);
}

#[test]
fn the_rest_of_a_chunk_goes_through() {
    let sent = &chat("first", "m", &["Let me look it up."])[..2];
    let chunks = [
        r#"{"id":"second","choices":[{"index":0,"delta":{"role":"assistant","reasoning":"Hm","content":""}}],"x":1.10}"#,
        r#"{"id":"second","choices":[{"index":0,"delta":{"content":[{"type":"thinking","thinking":[]}]}}]}"#,
        // held back, and said before the call
        r#"{"id":"second","choices":[{"index":0,"delta":{"content":"L"}}]}"#,
        r#"{"id":"second","choices":[{"index":0,"delta":{"role":"assistant","tool_calls":[{"index":0,"id":"t"}]}}]}"#,
        r#"{"id":"second","choices":[{"index":0,"delta":{"content":""},"finish_reason":"tool_calls"}]}"#,
        r#"{"id":"second","choices":[{"index":0,"delta":{"content":""},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":1}}"#,
    ];
    let rescuer = chunks.map(|data| (String::new(), data.to_owned()));
    let (_, client, bytes) = splice(state(Format::ChatCompletions, sent), &rescuer);
    let expected = [
        r#"{"id":"first","choices":[{"index":0,"delta":{"reasoning":"Hm","content":""}}],"x":1.10,"created":5}"#,
        r#"{"id":"first","choices":[{"index":0,"delta":{"content":[{"type":"thinking","thinking":[]}]}}],"created":5}"#,
        r#"{"id":"first","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"t"}],"content":"L"}}],"created":5}"#,
        r#"{"id":"first","choices":[{"index":0,"delta":{"content":""},"finish_reason":"tool_calls"}],"created":5}"#,
        r#"{"id":"first","choices":[],"usage":{"prompt_tokens":1},"created":5}"#,
    ];
    let sent: Vec<String> = events(bytes.as_bytes())
        .into_iter()
        .map(|(_, data)| data)
        .collect();
    assert_eq!(sent, expected);
    assert_eq!(client.continuable(), Err(Obstacle::ToolCall), "not again");
}

#[test]
fn what_is_held_is_said_where_the_rescuer_knows_no_finish() {
    let sent = &chat("first", "m", &["A text with enough characters"])[..2];
    let rescuer = chat("second", "m", &[" with"]);
    let unfinished = [&rescuer[..2], &rescuer[4..]].concat();
    let (_, client, bytes) = splice(state(Format::ChatCompletions, sent), &unfinished);
    assert_eq!(
        client.continuable(),
        Ok("A text with enough characters with")
    );
    let told = events(bytes.as_bytes());
    let chunk: Value = serde_json::from_str(&told[0].1).unwrap();
    assert_eq!(
        (&chunk["id"], &chunk["model"]),
        (&json!("first"), &json!("other-model"))
    );
    assert_eq!(told[1].1, "[DONE]");
}

#[test]
fn comments_errors_and_garbage() {
    let sent = &chat("first", "m", &["Hi"])[..2];
    let mut splicer = Splicer::new(state(Format::ChatCompletions, sent), 0, "a\nb", "c");
    let mut out = Vec::new();
    for (name, data) in [("", ""), ("", "oops"), ("error", "oops"), ("", "\u{0}")] {
        splicer
            .event(name.as_bytes(), data.as_bytes(), &mut out)
            .unwrap();
    }
    splicer.event(b"", b"\xff", &mut out).unwrap();
    assert_eq!(out, b":\n\n", "the comment alone");
    let chunk = "{\"choices\":\n[{\"delta\":{\"content\":\" you\"}}], \"x\":[\n1]}";
    splicer.event(b"", chunk.as_bytes(), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains(": standin: continued by a b/c\n\n"), "{text}");
    assert_eq!(events(text.as_bytes()).len(), 1, "{text}");
    assert_eq!(splicer.client().continuable(), Ok("Hi you"));
}

/// Words in which 16 characters tell a place.
fn text() -> impl Strategy<Value = String> {
    prop::collection::vec("[a-zé\"\n]{3,8}", 1..30).prop_map(|words| {
        words
            .iter()
            .enumerate()
            .fold(String::new(), |mut text, (n, word)| {
                let _ = write!(text, "{word}{n} ");
                text
            })
    })
}

fn pieces(text: &str, size: usize) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters
        .chunks(size)
        .map(|piece| piece.iter().collect())
        .collect()
}

proptest! {
    /// A stream is cut after any event of its text, is rescued by one who continues exactly, takes a
    /// run-up or begins again, is cut again and rescued again.
    #[test]
    fn any_cut_and_any_rescuer_give_the_whole_answer(
        text in text(),
        sizes in prop::array::uniform3(1usize..12),
        cuts in prop::array::uniform2(any::<prop::sample::Index>()),
        run_ups in prop::array::uniform2(prop_oneof![Just(0), 16usize..60, Just(usize::MAX)]),
        anthropic in any::<bool>(),
    ) {
        let format = if anthropic { Format::Messages } else { Format::ChatCompletions };
        let stream = |id: &str, text: &str, size: usize| {
            let owned = pieces(text, size);
            let pieces: Vec<&str> = owned.iter().map(String::as_str).collect();
            if anthropic { messages(id, None, &pieces) } else { chat(id, "m", &pieces) }
        };
        let first = stream("first", &text, sizes[0]);
        let mut whole = first[..1 + cuts[0].index(first.len() - 4)].to_vec();
        let mut client = state(format, &whole);
        for (turn, run_up) in run_ups.into_iter().enumerate() {
            let sent = client.continuable().unwrap().to_owned();
            let total = sent.chars().count();
            // What is too short to be told is not repeated.
            let run_up = if total < 16 { 0 } else { run_up.min(total) };
            let rest: String = text.chars().skip(total - run_up).collect();
            let mut rescuer = stream("rescuer", &rest, sizes[turn + 1]);
            if turn == 0 {
                rescuer.truncate(1 + cuts[1].index(rescuer.len() - 4));
            }
            let (result, after, bytes) = splice(client, &rescuer);
            prop_assert_eq!(result, Ok(()));
            whole.extend(events(bytes.as_bytes()));
            client = after;
        }
        if anthropic {
            prop_assert_eq!(read_messages(&whole).1, text);
        } else {
            prop_assert_eq!(read_chat(&whole), text);
        }
    }

    #[test]
    fn nothing_is_too_strange(name in any::<Vec<u8>>(), data in any::<Vec<u8>>(), json in "[\\[\\]{}:,\"a-z0-9 ]{0,40}") {
        for format in [Format::ChatCompletions, Format::Messages] {
            for data in [&data, json.as_bytes()] {
                let mut splicer = Splicer::new(StreamState::new(format), 0, "a", "b");
                let _ = splicer.event(&name, data, &mut Vec::new());
            }
        }
    }
}
