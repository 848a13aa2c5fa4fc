mod formats;

use proptest::prelude::*;

use super::*;

const FORMATS: [Format; 5] = [
    Format::ChatCompletions,
    Format::Completions,
    Format::Responses,
    Format::Messages,
    Format::Other,
];

#[track_caller]
fn means(format: Format, events: &[(&str, Meaning)]) {
    for (data, expected) in events {
        let reading = read(format, b"", data.as_bytes());
        assert_eq!(reading.meaning, *expected, "{data}");
    }
}

/// The state after these events, each a name and data.
fn state(format: Format, events: &[(&str, &str)]) -> StreamState {
    let mut state = StreamState::new(format);
    for (name, data) in events {
        state.observe(name.as_bytes(), data.as_bytes());
    }
    state
}

fn chat(deltas: &[&str]) -> StreamState {
    let mut state = StreamState::new(Format::ChatCompletions);
    for delta in deltas {
        let data = format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#);
        state.observe(b"", data.as_bytes());
    }
    state
}

const CHAT_FINISH: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

#[test]
fn an_event_named_error_is_one_in_every_format() {
    for format in FORMATS {
        for data in ["oops", r#"{"message":"oops"}"#] {
            assert_eq!(
                read(format, b"error", data.as_bytes()).meaning,
                Meaning::Error
            );
        }
    }
}

#[test]
fn only_content_and_the_end_commit() {
    use Meaning::*;
    let committing =
        [Preamble, Content, Finish, Done, Usage, Error, Malformed].map(Meaning::commits);
    assert_eq!(committing, [false, true, true, false, false, false, false]);
}

#[test]
fn a_chat_stream_is_remembered() {
    let state = state(
        Format::ChatCompletions,
        &[
            ("", ""),
            (
                "",
                r#"{"id":"c-1","created":17,"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#,
            ),
            (
                "",
                r#"{"id":"c-2","created":18,"choices":[{"index":0,"delta":{"content":"Good \"mor"}}]}"#,
            ),
            ("", "oops"),
            (
                "",
                r#"{"choices":[{"index":0,"delta":{"content":"ning\"\n\ud83d\ude00"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#,
            ),
            (
                "",
                r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
            ),
            (
                "",
                r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5}}"#,
            ),
        ],
    );
    assert_eq!(
        (state.id(), state.created(), state.has_role()),
        (Some("c-1"), Some(17), true)
    );
    let text = "Good \"morning\"\n\u{1f600}";
    assert_eq!(state.continuable(), Ok(text));
    assert_eq!(state.text_bytes(), text.len() as u64);
    assert_eq!((state.events(), state.dropped()), (6, 1));
    let tokens = |input, output| Usage {
        input_tokens: Some(input),
        output_tokens: Some(output),
    };
    assert_eq!(state.usage(), tokens(3, 5));
    assert_eq!(state.at_end(), Ending::Lacks("data: [DONE]\n\n"));
}

#[test]
fn a_messages_stream_is_remembered() {
    let mut stream = StreamState::new(Format::Messages);
    let mut open = Vec::new();
    for data in [
        r#"{"type":"message_start","message":{"id":"msg_1","usage":{"input_tokens":3,"output_tokens":1}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":"A"}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"ha"}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}"#,
    ] {
        stream.observe(b"", data.as_bytes());
        open.push(stream.open_block());
    }
    let (thinking, text) = (Some((0, BlockKind::Thinking)), Some((1, BlockKind::Text)));
    assert_eq!(
        open,
        [None, thinking, thinking, None, text, text, None, None]
    );
    assert_eq!(stream.next_block(), 2);
    assert_eq!(stream.continuable(), Ok("Aha"));
    assert_eq!(stream.id(), Some("msg_1"));
    assert_eq!(
        stream.usage(),
        Usage {
            input_tokens: Some(3),
            output_tokens: Some(9)
        }
    );
    assert!(matches!(stream.at_end(), Ending::Lacks(marker) if marker.contains("message_stop")));
    stream.observe(b"message_stop", b"{\"type\":\"message_stop\"}");
    assert_eq!(stream.at_end(), Ending::Whole);
}

#[test]
fn what_cannot_be_continued() {
    for (deltas, expected) in [
        (&[r#"{"content":"Hi"}"#][..], Ok("Hi")),
        (&[r#"{"reasoning_content":"Hm"}"#], Ok("")),
        (&[r#"{"reasoning":"Hm"}"#, r#"{"content":"Hi"}"#], Ok("Hi")),
        (
            &[r#"{"content":[{"type":"text","text":"H"},{"type":"text","text":"i"}]}"#],
            Ok("Hi"),
        ),
        (
            &[r#"{"content":[{"type":"thinking","thinking":[]}]}"#],
            Ok(""),
        ),
        (
            &[r#"{"content":[{"type":"image_url"}]}"#],
            Err(Obstacle::NotText),
        ),
        (
            &[r#"{"content":"Hi"}"#, r#"{"content":"\ud83d"}"#],
            Err(Obstacle::NotText),
        ),
        (
            &[r#"{"content":"Hi"}"#, r#"{"tool_calls":[{}]}"#],
            Err(Obstacle::ToolCall),
        ),
        (
            &[r#"{"function_call":{"name":"f"}}"#, r#"{"content":"Hi"}"#],
            Err(Obstacle::ToolCall),
        ),
        (&[r#"{"refusal":"No"}"#], Err(Obstacle::Refusal)),
        (&[r#"{"audio":{"data":"x"}}"#], Err(Obstacle::Audio)),
    ] {
        assert_eq!(chat(deltas).continuable(), expected, "{deltas:?}");
    }
    for (format, data, expected) in [
        (
            Format::ChatCompletions,
            r#"{"choices":[{"index":1,"delta":{"content":"Hi"}}]}"#,
            Obstacle::Choices,
        ),
        (
            Format::ChatCompletions,
            r#"{"choices":[{"logprobs":{"content":[]},"delta":{"content":"Hi"}}]}"#,
            Obstacle::Logprobs,
        ),
        (
            Format::Completions,
            r#"{"choices":[{"text":"Hi"}]}"#,
            Obstacle::Format,
        ),
        (
            Format::Responses,
            r#"{"type":"response.output_text.delta","delta":"Hi"}"#,
            Obstacle::Format,
        ),
        (
            Format::Other,
            r#"{"candidates":[{"content":{"parts":[{"text":"Hi"}]}}]}"#,
            Obstacle::Format,
        ),
        (
            Format::Messages,
            r#"{"type":"content_block_delta","delta":{"type":"input_json_delta"}}"#,
            Obstacle::ToolCall,
        ),
        (
            Format::Messages,
            r#"{"type":"something_new"}"#,
            Obstacle::NotText,
        ),
    ] {
        assert_eq!(
            state(format, &[("", data)]).continuable(),
            Err(expected),
            "{data}"
        );
    }
}

#[test]
fn a_text_past_the_limit_is_let_go() {
    let mut stream = StreamState::new(Format::ChatCompletions);
    let word = "x".repeat(MAX_TEXT / 4);
    let data = format!(r#"{{"choices":[{{"delta":{{"content":"{word}"}}}}]}}"#);
    for _ in 0..4 {
        stream.observe(b"", data.as_bytes());
    }
    assert_eq!(stream.continuable().map(str::len), Ok(MAX_TEXT));
    stream.observe(b"", br#"{"choices":[{"delta":{"content":"x"}}]}"#);
    assert_eq!(stream.continuable(), Err(Obstacle::TooLong));
    assert_eq!(stream.text_bytes(), MAX_TEXT as u64 + 1);
}

#[test]
fn what_the_end_of_a_connection_means() {
    let text = r#"{"choices":[{"index":0,"delta":{"content":"Hi"}}]}"#;
    let second = r#"{"choices":[{"index":1,"delta":{"content":"Ho"}}]}"#;
    let role = r#"{"choices":[{"index":0,"delta":{"role":"assistant"}}]}"#;
    let done = ("", "[DONE]");
    let lacks_done = Ending::Lacks("data: [DONE]\n\n");
    for (format, events, expected) in [
        (Format::ChatCompletions, &[][..], Ending::Cut),
        (Format::ChatCompletions, &[("", role)], Ending::Cut),
        (Format::ChatCompletions, &[done], Ending::Cut),
        (Format::ChatCompletions, &[("", role), done], Ending::Cut),
        (Format::ChatCompletions, &[("", text)], Ending::Cut),
        (
            Format::ChatCompletions,
            &[("", text), ("", CHAT_FINISH)],
            lacks_done,
        ),
        (Format::ChatCompletions, &[("", CHAT_FINISH)], lacks_done),
        (
            Format::ChatCompletions,
            &[("", text), ("", CHAT_FINISH), done],
            Ending::Whole,
        ),
        // servers that know no finish reasons
        (Format::ChatCompletions, &[("", text), done], Ending::Whole),
        // one of two choices is whole
        (
            Format::ChatCompletions,
            &[("", text), ("", second), ("", CHAT_FINISH)],
            Ending::Cut,
        ),
        (
            Format::Completions,
            &[("", r#"{"choices":[{"text":"Hi","finish_reason":"stop"}]}"#)],
            lacks_done,
        ),
        (
            Format::Messages,
            &[("message_stop", r#"{"type":"message_stop"}"#)],
            Ending::Whole,
        ),
        (
            Format::Messages,
            &[(
                "",
                r#"{"type":"message_start","message":{"usage":{"input_tokens":3}}}"#,
            )],
            Ending::Cut,
        ),
        (
            Format::Responses,
            &[("", r#"{"type":"response.output_text.delta","delta":"Hi"}"#)],
            Ending::Cut,
        ),
        (
            Format::Responses,
            &[("", r#"{"type":"response.completed"}"#)],
            Ending::Whole,
        ),
        (
            Format::Other,
            &[(
                "",
                r#"{"candidates":[{"content":{"parts":[{"text":"Hi"}]}}]}"#,
            )],
            Ending::Cut,
        ),
        (
            Format::Other,
            &[
                ("", ""),
                ("", r#"{"candidates":[{"finishReason":"STOP"}]}"#),
            ],
            Ending::Whole,
        ),
        (Format::Other, &[("", "")], Ending::Cut),
        (Format::Other, &[("", r#"{"token":"Hi"}"#)], Ending::Whole),
    ] {
        assert_eq!(
            state(format, events).at_end(),
            expected,
            "{format:?} {events:?}"
        );
    }
    let mut opaque = StreamState::new(Format::ChatCompletions);
    opaque.lose_track();
    assert_eq!(opaque.at_end(), Ending::Whole);
    assert_eq!(opaque.continuable(), Err(Obstacle::TooLong));
}

#[test]
fn what_it_means_when_a_connection_breaks() {
    let text = r#"{"choices":[{"index":0,"delta":{"content":"Hi"}}]}"#;
    let done = ("", "[DONE]");
    let chat = Format::ChatCompletions;
    for (format, events, at_break, at_end) in [
        (chat, &[][..], Ending::Cut, Ending::Cut),
        (chat, &[("", text)], Ending::Cut, Ending::Cut),
        // whole is whole, whatever happens then
        (chat, &[("", text), done], Ending::Whole, Ending::Whole),
        (
            chat,
            &[("", CHAT_FINISH)],
            Ending::Lacks("data: [DONE]\n\n"),
            Ending::Lacks("data: [DONE]\n\n"),
        ),
        // of a stream of which nothing is known only its proper end says that it is whole
        (Format::Other, &[("", "")], Ending::Cut, Ending::Cut),
        (
            Format::Other,
            &[("", r#"{"token":"Hi"}"#)],
            Ending::Cut,
            Ending::Whole,
        ),
        (
            Format::Other,
            &[("", r#"{"token":"Hi"}"#), done],
            Ending::Whole,
            Ending::Whole,
        ),
        (
            Format::Other,
            &[("", r#"{"candidates":[{"finishReason":"STOP"}]}"#)],
            Ending::Whole,
            Ending::Whole,
        ),
    ] {
        let state = state(format, events);
        let found = (state.at_break(), state.at_end());
        assert_eq!(found, (at_break, at_end), "{format:?} {events:?}");
    }
    let mut opaque = state(chat, &[("", text)]);
    opaque.lose_track();
    assert_eq!(opaque.at_break(), Ending::Cut);
    assert_eq!(opaque.at_end(), Ending::Whole);
}

#[test]
fn the_error_event_reads_as_one_in_its_own_format() {
    for format in FORMATS {
        let event = StreamState::new(format).error_event("it broke: \"\n\n\"");
        let body = event.strip_suffix("\n\n").unwrap();
        let (name, data) = match body.split_once('\n') {
            Some((name, data)) => (name.strip_prefix("event: ").unwrap(), data),
            None => ("", body),
        };
        let data = data.strip_prefix("data: ").unwrap();
        assert!(!data.contains('\n'), "one line of data");
        assert_eq!(
            read(format, b"", data.as_bytes()).meaning,
            Meaning::Error,
            "{event}"
        );
        let anthropic_or_responses = matches!(format, Format::Messages | Format::Responses);
        assert_eq!(name == "error", anthropic_or_responses);
        let json: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(json["error"]["message"], "it broke: \"\n\n\"");
        assert_eq!(json["error"]["code"], "stream_broken");
    }
    let before = br#"{"type":"response.output_text.delta","sequence_number":41,"delta":"Hi"}"#;
    let mut responses = StreamState::new(Format::Responses);
    responses.observe(b"", before);
    assert!(
        responses
            .error_event("x")
            .contains(r#""sequence_number":42"#)
    );
}

proptest! {
    #[test]
    fn the_text_is_what_serde_reads(text in any::<String>(), pretty in any::<bool>()) {
        let chunk = serde_json::json!({"id": text, "choices": [{"index": 0, "delta": {"content": text}}]});
        let data = if pretty {
            serde_json::to_string_pretty(&chunk).unwrap()
        } else {
            chunk.to_string()
        };
        let reading = read(Format::ChatCompletions, b"", data.as_bytes());
        prop_assert_eq!(&reading.text, &text);
        let id = (!text.is_empty()).then_some(text.into());
        prop_assert_eq!(reading.id, id);
    }

    #[test]
    fn nothing_is_too_strange(name in any::<Vec<u8>>(), data in any::<Vec<u8>>()) {
        for format in FORMATS {
            let meaning = StreamState::new(format).observe(&name, &data);
            let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&data).is_ok();
            prop_assert!(is_json || meaning != Meaning::Preamble || data.is_empty());
        }
    }

    #[test]
    fn a_chunk_cut_short_is_malformed(cut in 1..CHAT_FINISH.len()) {
        let reading = read(Format::ChatCompletions, b"", &CHAT_FINISH.as_bytes()[..cut]);
        prop_assert_eq!(reading.meaning, Meaning::Malformed);
    }
}
