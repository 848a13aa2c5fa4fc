//! Anthropic's Messages: the same, in content blocks.

use serde_json::{Value, json};

use super::WORDS;
use crate::support::bodies::{anthropic_events, anthropic_id, named};
use crate::support::stage::{FIRST, LANES, Lane, MESSAGES, SECOND, Setting, Stage, question};
use crate::support::{Reply, Response, bodies};

/// The events of the first target up to and with word `count`, and then nothing but the end.
fn broken(count: usize) -> Reply {
    Reply::sse(anthropic_events(FIRST, &WORDS)[..3 + count].to_vec())
}

fn rest(count: usize) -> Vec<String> {
    anthropic_events(SECOND, &WORDS[count..])
}

async fn stage(lane: Lane, provider: &str, prefill: &'static str) -> Stage {
    let setting = Setting::new(lane).at(MESSAGES).second(provider, prefill);
    setting.start().await
}

/// Puts the message together as Anthropic's own clients do: events about a block must be about one
/// that is open, and all must be closed at the end.
fn message(answer: &Response) -> Value {
    let mut message = Value::Null;
    let mut open: Option<usize> = None;
    for event in answer.events() {
        if event.data.is_none() {
            continue;
        }
        let data = event.json();
        assert_eq!(event.name.as_deref(), data["type"].as_str(), "{data}");
        let index = data["index"]
            .as_u64()
            .map(|index| usize::try_from(index).unwrap());
        match event.name.as_deref().unwrap() {
            "message_start" => {
                assert_eq!(message, Value::Null, "started twice");
                message = data["message"].clone();
            }
            "content_block_start" => {
                assert_eq!(open, None, "{data}");
                let blocks = message["content"].as_array_mut().unwrap();
                assert_eq!(index, Some(blocks.len()), "{data}");
                blocks.push(data["content_block"].clone());
                open = index;
            }
            "content_block_delta" => {
                assert_eq!(open, index, "{data}");
                let block = &mut message["content"][index.unwrap()];
                for (key, piece) in data["delta"].as_object().unwrap() {
                    if let (Some(text), Some(more)) = (block[key].as_str(), piece.as_str())
                        && key != "type"
                    {
                        block[key] = json!(format!("{text}{more}"));
                    }
                }
            }
            "content_block_stop" => {
                assert_eq!(open.take(), index, "{data}");
            }
            "message_delta" => {
                assert_eq!(open, None, "{data}");
                assert_eq!(message["stop_reason"], Value::Null, "finished twice");
                message["stop_reason"] = data["delta"]["stop_reason"].clone();
                message["usage"]["output_tokens"] = data["usage"]["output_tokens"].clone();
            }
            "message_stop" => message["stopped"] = json!(true),
            "ping" => {}
            name => panic!("{name}: {data}"),
        }
    }
    message
}

fn text_block(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_reads_one_message() {
    for lane in LANES {
        let stage = stage(lane, "anthropic", "true").await;
        stage.first.always(broken(4));
        stage.second.always(Reply::sse(rest(4)));
        let answer = stage.answer().await;
        assert!(answer.complete, "{}", answer.text());
        let message = message(&answer);
        assert_eq!(message["id"], anthropic_id(FIRST), "{lane:?}");
        assert_eq!(message["content"], json!([text_block(&WORDS.concat())]));
        assert_eq!(message["stop_reason"], "end_turn");
        assert_eq!(message["stopped"], true);
        assert_eq!(message["usage"]["output_tokens"], 4, "the rescuer's");
        let seam = format!("standin: continued by second/{SECOND}");
        assert_eq!(answer.transcript().comments, [seam]);

        let sent = anthropic_events(FIRST, &WORDS)[..7].concat();
        assert!(answer.text().starts_with(&sent), "byte for byte");
        let line = stage.account().await;
        assert_eq!(line["stream_end"], "rescued");
        assert_eq!(
            line["rescued_at_bytes"],
            json!(["The quick brown fox ".len()])
        );
        assert_eq!(
            (&line["tokens_in"], &line["tokens_out"]),
            (&json!(9), &json!(4))
        );
    }
}

/// It refuses a prefill that ends with white space, so it is not shown any; what it repeats of it
/// is cut.
#[tokio::test(flavor = "multi_thread")]
async fn anthropic_is_prefilled_without_the_white_space() {
    for lane in LANES {
        for (first, continuation, text) in [
            ("Hello. \n", &["How are you?"][..], "Hello. \nHow are you?"),
            (
                "Hello. \n",
                &[" \nHow ", "are you?"],
                "Hello. \nHow are you?",
            ),
            ("Hello. \n", &[" ", "\n", "How"], "Hello. \nHow"),
            ("Hello.", &[" How are you?"], "Hello. How are you?"),
        ] {
            let stage = stage(lane, "anthropic", "true").await;
            let begun = anthropic_events(FIRST, &[first])[..4].to_vec();
            stage.first.always(Reply::sse(begun));
            stage
                .second
                .always(Reply::anthropic_stream(SECOND, continuation));
            let answer = stage.answer().await;
            assert_eq!(
                message(&answer)["content"],
                json!([text_block(text)]),
                "{lane:?}"
            );
            let mut expected = question();
            expected["model"] = json!(SECOND);
            let partial = json!({"role": "assistant", "content": "Hello."});
            expected["messages"].as_array_mut().unwrap().push(partial);
            assert_eq!(stage.second.last_request().json(), expected);
            let key = stage.second.last_request();
            assert_eq!(
                key.header("x-api-key"),
                Some(&*crate::support::secret("second"))
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_refuses_the_prefill_is_asked_by_a_turn() {
    for lane in LANES {
        let stage = stage(lane, "anthropic", "true").await;
        stage.first.always(broken(4));
        let refusal = bodies::anthropic_error(
            "invalid_request_error",
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        );
        stage.second.push(Reply::json(400, &refusal));
        stage.second.push(Reply::sse(rest(4)));
        let answer = stage.answer().await;
        assert_eq!(
            message(&answer)["content"],
            json!([text_block(&WORDS.concat())])
        );
        let asked = stage.second.requests();
        assert_eq!(asked.len(), 2, "{lane:?}");
        let messages = asked[1].json()["messages"].clone();
        let partial = json!({"role": "assistant", "content": "The quick brown fox "});
        assert_eq!(messages[1], partial);
        assert_eq!(messages[2]["role"], "user");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_continuation_that_begins_again_is_cut() {
    for lane in LANES {
        let stage = stage(lane, "custom", "false").await;
        stage.first.always(broken(4));
        stage.second.always(Reply::sse(rest(0)));
        let answer = stage.answer().await;
        assert_eq!(
            message(&answer)["content"],
            json!([text_block(&WORDS.concat())]),
            "{lane:?}"
        );
        let asked = stage.second.last_request().json();
        assert_eq!(asked["messages"].as_array().unwrap().len(), 3);
    }
}

/// Blocks go on where the client's are.
#[tokio::test(flavor = "multi_thread")]
async fn thinking_goes_before_the_text_and_its_blocks_are_counted() {
    let start = |index: usize, block: Value| {
        named(&json!({"type": "content_block_start", "index": index, "content_block": block}))
    };
    let thinking = |index: usize, text: &str| {
        [
            start(
                index,
                json!({"type": "thinking", "thinking": "", "signature": ""}),
            ),
            named(&json!({"type": "content_block_delta", "index": index,
                "delta": {"type": "thinking_delta", "thinking": text}})),
            named(&json!({"type": "content_block_delta", "index": index,
                "delta": {"type": "signature_delta", "signature": "c2ln"}})),
            named(&json!({"type": "content_block_stop", "index": index})),
        ]
    };
    let thought = |text: &str| json!({"type": "thinking", "thinking": text, "signature": "c2ln"});
    let renumbered = |events: &[String]| -> Vec<String> {
        let renumber = |event: &String| event.replace("\"index\":0", "\"index\":1");
        events.iter().map(renumber).collect()
    };
    for lane in LANES {
        // Thinking was whole, of the text there is half.
        let stage = stage(lane, "anthropic", "true").await;
        let plain = anthropic_events(FIRST, &WORDS);
        let mut begun = vec![plain[0].clone()];
        begun.extend(thinking(0, "Hm."));
        begun.extend(renumbered(&plain[1..7]));
        stage.first.push(Reply::sse(begun.clone()));
        stage.second.push(Reply::sse(rest(4)));
        let text = text_block(&WORDS.concat());
        let answer = stage.answer().await;
        let content = message(&answer)["content"].clone();
        assert_eq!(content, json!([thought("Hm."), text]), "{lane:?}");

        // Of the thinking there is half: the next one thinks for itself, and says all.
        stage.first.push(Reply::sse(begun[..3].to_vec()));
        let plain = rest(0);
        let mut afresh = vec![plain[0].clone()];
        afresh.extend(thinking(0, "I see."));
        afresh.extend(renumbered(&plain[1..]));
        stage.second.push(Reply::sse(afresh));
        let answer = stage.answer().await;
        let content = message(&answer)["content"].clone();
        let half = json!({"type": "thinking", "thinking": "Hm.", "signature": ""});
        assert_eq!(content, json!([half, thought("I see."), text]), "{lane:?}");
        let mut same = question();
        same["model"] = json!(SECOND);
        assert_eq!(stage.second.last_request().json(), same);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_use_under_way_can_t_be_continued() {
    for lane in LANES {
        let stage = stage(lane, "anthropic", "true").await;
        let mut begun = anthropic_events(FIRST, &WORDS[..2])[..6].to_vec();
        begun.push(named(&json!({"type": "content_block_start", "index": 1,
            "content_block": {"type": "tool_use", "id": "toolu_1", "name": "paint", "input": {}}})));
        begun.push(named(&json!({"type": "content_block_delta", "index": 1,
            "delta": {"type": "input_json_delta", "partial_json": "{\"col"}})));
        stage.first.always(Reply::sse(begun.clone()));
        let answer = stage.answer().await;
        let error = answer.text().strip_prefix(&begun.concat()).unwrap();
        assert!(error.starts_with("event: error\ndata: "), "{error}");
        let error = crate::support::sse::events(error.as_bytes())
            .remove(0)
            .json();
        assert_eq!(error["type"], "error");
        assert_eq!(error["error"]["type"], "failover_error");
        assert!(!answer.complete, "{lane:?}");
        assert_eq!(stage.second.count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_event_in_mid_stream_is_rescued() {
    for lane in LANES {
        let stage = stage(lane, "anthropic", "true").await;
        let overloaded = bodies::anthropic_error("overloaded_error", "Overloaded");
        let begun = broken(4).then(crate::support::Step::Gate("broken"));
        let reply = begun.then(crate::support::Step::write(named(&overloaded)));
        stage.first.always(reply);
        stage.second.always(Reply::sse(rest(4)));
        let mut stream = stage.open().await;
        let mut begun = Vec::new();
        while begun.len() < 7 {
            begun.push(stream.next_event().await.unwrap().raw);
        }
        stage.first.open("broken");
        let mut answer = stream.rest().await;
        answer.body = [begun.concat(), answer.body.to_vec()].concat().into();
        assert!(!answer.text().contains("overloaded"), "{lane:?}");
        assert_eq!(
            message(&answer)["content"],
            json!([text_block(&WORDS.concat())])
        );
    }
}
