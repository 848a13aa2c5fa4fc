//! What the next target is asked.

use serde_json::{Value, json};

use super::{WORDS, assert_broken, assert_one_stream, broken, rest};
use crate::support::stage::{FIRST, HTTP1, LANES, SECOND, Setting, THIRD, question};
use crate::support::{Received, Reply, bodies};

const SUSPENDING: &str = "suspend_duration: 60s";

/// The request of a client that asks for everything that must stay as it is.
fn long_question() -> Value {
    let mut question = question();
    question["messages"] = json!([
        {"role": "system", "content": "Be \"brief\".\n"},
        {"role": "user", "content": [{"type": "text", "text": "Who?"}], "name": "x"},
    ]);
    question["seed"] = json!(1_234_567_890_123_456_789_u64);
    question["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
    question["stream_options"] = json!({"include_usage": true});
    question["max_tokens"] = json!(50);
    question
}

/// The same for the second model, with these messages behind the others, and these members.
fn with(messages: &[Value], members: Value) -> Value {
    let mut request = long_question();
    request["model"] = json!(SECOND);
    request["messages"]
        .as_array_mut()
        .unwrap()
        .extend_from_slice(messages);
    for (key, value) in members.as_object().unwrap() {
        request[key] = value.clone();
    }
    request
}

fn partial() -> Value {
    json!({"role": "assistant", "content": "The quick brown fox "})
}

/// Whether this request has the partial text and then a turn that asks to continue it.
fn is_turn(request: &Received) -> bool {
    let request = request.json();
    let turn = request["messages"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone();
    assert_eq!(turn["role"], "user");
    let words = turn["content"].as_str().unwrap();
    assert!(
        words.contains("Continue it from exactly where it ends"),
        "{words}"
    );
    request == with(&[partial(), turn], json!({}))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_provider_is_prefilled_in_its_own_way() {
    let nothing = json!({});
    let prefix = json!({"role": "assistant", "content": "The quick brown fox ", "prefix": true});
    let vllm = json!({"continue_final_message": true, "add_generation_prompt": false});
    for lane in LANES {
        for (provider, prefill, message, members) in [
            ("openai", "true", partial(), &nothing),
            ("azure-openai", "true", partial(), &nothing),
            ("custom", "true", partial(), &nothing),
            ("mistral", "true", prefix.clone(), &nothing),
            ("openai", "vllm", partial(), &vllm),
            ("custom", "vllm", partial(), &vllm),
        ] {
            let stage = Setting::new(lane).second(provider, prefill).start().await;
            stage.first.always(broken(4));
            stage.second.always(rest(SECOND, 4));
            let answer = stage.ask_for(long_question()).await;
            assert_one_stream(&answer, &[FIRST, SECOND]);
            let asked = stage.second.last_request().json();
            let expected = with(&[message], members.clone());
            assert_eq!(asked, expected, "{provider}, {prefill} over {lane:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_prefill_a_turn_asks_to_continue() {
    for lane in LANES {
        for provider in ["openai", "mistral", "custom"] {
            let stage = Setting::new(lane).second(provider, "false").start().await;
            stage.first.always(broken(4));
            stage.second.always(rest(SECOND, 4));
            let answer = stage.ask_for(long_question()).await;
            assert_one_stream(&answer, &[FIRST, SECOND]);
            assert!(
                is_turn(&stage.second.last_request()),
                "{provider} over {lane:?}"
            );
        }
    }
}

/// What a caller began for the assistant, the assistant goes on with.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_the_caller_began_is_gone_on_with() {
    let stage = Setting::new(HTTP1).second("openai", "true").start().await;
    stage.first.always(broken(4));
    stage.second.always(rest(SECOND, 4));
    let mut question = question();
    let begun = json!({"role": "assistant", "content": "Listen: "});
    question["messages"].as_array_mut().unwrap().push(begun);
    assert_one_stream(&stage.ask_for(question).await, &[FIRST, SECOND]);
    let asked = stage.second.last_request().json();
    let written = json!({"role": "assistant", "content": "Listen: The quick brown fox "});
    assert_eq!(asked["messages"][1], written);
    assert_eq!(asked["messages"].as_array().unwrap().len(), 2);
}

/// The error is about the prefill, perhaps: nobody but the gateway sees it.
#[tokio::test(flavor = "multi_thread")]
async fn who_refuses_the_prefill_is_asked_by_a_turn() {
    for lane in LANES {
        for status in [400, 422] {
            let setting = Setting::new(lane).second("openai", "true");
            let stage = setting.policy(SUSPENDING).start().await;
            stage.first.always(broken(4));
            let message = "This model does not support assistant message prefill.";
            let refusal = bodies::openai_error("invalid_request_error", None, message);
            stage.second.push(Reply::json(status, &refusal));
            stage.second.push(rest(SECOND, 4));
            let answer = stage.ask_for(long_question()).await;
            assert_one_stream(&answer, &[FIRST, SECOND]);
            assert!(!answer.text().contains("prefill"));
            let asked = stage.second.requests();
            assert_eq!(asked.len(), 2, "{lane:?}");
            assert_eq!(asked[0].json(), with(&[partial()], json!({})));
            assert!(is_turn(&asked[1]));
            let line = stage.account().await;
            let outcomes: Vec<_> = line["attempts"]
                .as_array()
                .unwrap()
                .iter()
                .map(|attempt| attempt["outcome"].as_str().unwrap().to_owned())
                .collect();
            assert_eq!(outcomes, ["truncated", &status.to_string(), "success"]);
            assert_eq!(line["stream_end"], "rescued");
        }
    }
}

/// Then it is about the request: the next target is asked, and nobody is suspended for it.
#[tokio::test(flavor = "multi_thread")]
async fn who_refuses_twice_is_left_for_the_next() {
    for lane in LANES {
        let setting = Setting::new(lane).second("openai", "true");
        let stage = setting.fallbacks(2).policy(SUSPENDING).start().await;
        stage.first.always(broken(4));
        let refusal = bodies::openai_error("invalid_request_error", None, "No.");
        stage.second.push(Reply::json(400, &refusal));
        stage.second.push(Reply::json(422, &refusal));
        stage.third.push(rest(THIRD, 4));
        let answer = stage.ask().await;
        assert_one_stream(&answer, &[FIRST, THIRD]);
        assert_eq!(stage.second.count(), 2, "{lane:?}");

        // The first is suspended, the second is not.
        stage.second.push(Reply::chat_stream(SECOND, &WORDS));
        let answer = stage.ask().await;
        assert_eq!(answer.header("x-standin-endpoint"), Some("second"));
        assert_eq!(stage.first.count(), 1, "{lane:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_refuses_twice_and_was_the_last_ends_it() {
    for lane in LANES {
        let setting = Setting::new(lane).second("openai", "true");
        let stage = setting.policy(SUSPENDING).start().await;
        stage.first.always(broken(4));
        let refusal = bodies::openai_error("invalid_request_error", None, "No.");
        stage.second.push(Reply::json(400, &refusal));
        stage.second.push(Reply::json(400, &refusal));
        assert_broken(&stage.ask().await, "The quick brown fox ");
        stage.second.push(Reply::chat_stream(SECOND, &WORDS));
        let answer = stage.ask().await;
        assert_eq!(
            answer.header("x-standin-endpoint"),
            Some("second"),
            "{lane:?}"
        );
    }
}

/// Other errors are as bad as in any attempt.
#[tokio::test(flavor = "multi_thread")]
async fn a_rescuer_that_fails_is_suspended_and_the_next_one_asked() {
    let rate_limited = || Reply::json(429, &bodies::openai_rate_limited());
    let unknown = || Reply::json(404, &bodies::openai_model_not_found(SECOND));
    for lane in LANES {
        for reply in [
            rate_limited(),
            unknown(),
            Reply::status(500),
            Reply::sse([""; 0]),
        ] {
            let setting = Setting::new(lane).second("openai", "true");
            let stage = setting.fallbacks(2).policy(SUSPENDING).start().await;
            stage.first.always(broken(4));
            stage.second.always(reply);
            stage.third.push(rest(THIRD, 4));
            assert_one_stream(&stage.ask().await, &[FIRST, THIRD]);
            assert_eq!(stage.second.count(), 1, "{lane:?}");
            stage.third.push(Reply::chat_stream(THIRD, &WORDS));
            let answer = stage.ask().await;
            assert_eq!(
                answer.header("x-standin-endpoint"),
                Some("third"),
                "{lane:?}"
            );
            assert_eq!(stage.second.count(), 1, "{lane:?}");
        }
    }
}
