//! How streams end: whole, made whole, or so that nobody can take them for whole.

use std::time::Duration;

use serde_json::json;

use crate::support::stage::{
    CHAT, FIRST, HTTP1, HTTP2, Http, LANES, SECOND, Setting, Stage, question,
};
use crate::support::{Reply, Response, Step, bodies};

const NO_RESCUE: &str = "stream_rescue: off\nsuspend_duration: 60s";

/// The events of an answer of which the client got two words.
fn begun() -> String {
    bodies::chat_events(FIRST, &["The ", "fox"])[..3].concat()
}

/// Everything that breaks a stream after its first token, which the test has to see first: what
/// breaks before fails over.
fn breaks(upstream: Http) -> Vec<(Reply, &'static str)> {
    let begun = || Reply::sse([begun()]).then(Step::Gate("begun"));
    let error = bodies::openai_error("server_error", None, "The engine is on fire.");
    let event = |text: &str| Step::write(text.to_owned());
    let mut breaks = vec![
        (begun(), "truncated"),
        (begun().then(event("data: [DO")), "truncated"),
        (
            begun().then(event("data: {\"choices\":[{\"ind")),
            "truncated",
        ),
        (begun().then(Step::Reset), "reset"),
        (begun().then(Step::Hang), "idle_timeout"),
        (
            begun().then(event("data: {\"ch")).then(Step::Hang),
            "idle_timeout",
        ),
        (
            begun().then(Step::write(bodies::data(&error))),
            "error_event",
        ),
        (
            begun()
                .then(event("event: error\ndata: overloaded\n\n"))
                .then(Step::Hang),
            "error_event",
        ),
    ];
    match upstream {
        Http::One => breaks.extend([
            (begun().then(Step::Close), "truncated"),
            (begun().until_close().then(Step::Close), "truncated"),
            (
                begun().then(Step::Raw("5\r\nabc".into())).then(Step::Close),
                "truncated",
            ),
            (
                begun()
                    .then(Step::Raw("no size\r\n".into()))
                    .then(Step::Hang),
                "malformed",
            ),
        ]),
        Http::Two => {
            let reset = Step::ResetStream(h2::Reason::INTERNAL_ERROR);
            breaks.push((begun().then(reset), "reset"));
        }
    }
    breaks
}

/// The answer, of which `sent` has come before the gate `begun` is opened.
async fn answer_after(stage: &Stage, sent: &str) -> Response {
    let mut stream = stage.open().await;
    let mut body = Vec::new();
    while body.len() < sent.len() {
        let chunk = stream.next_chunk().await.expect("what was sent");
        body.extend_from_slice(&chunk.data);
    }
    stage.first.open("begun");
    let mut answer = stream.rest().await;
    body.extend_from_slice(&answer.body);
    answer.body = body.into();
    answer
}

/// What was sent, one error event, and a cut: no `[DONE]`, no finish, no proper end.
fn assert_broken(answer: &Response, sent: &str, client: Http) {
    assert_eq!(answer.status, 200);
    let error = answer.text().strip_prefix(sent);
    let error = error.unwrap_or_else(|| panic!("{sent}\n--- is not the start of ---\n{answer:?}"));
    let transcript = answer.transcript();
    assert_eq!(transcript.errors.len(), 1, "{error}");
    assert_eq!(transcript.errors[0]["type"], "failover_error");
    assert_eq!(transcript.errors[0]["code"], "stream_broken");
    assert!(
        !transcript.done && transcript.finishes.is_empty(),
        "{error}"
    );
    assert!(error.starts_with("data: {\"error\":"), "{error}");
    assert_eq!(error.matches("\n\n").count(), 1, "nothing else: {error}");
    assert!(!answer.complete, "it would look whole");
    match client {
        Http::One => assert!(answer.closed && !answer.reset),
        Http::Two => assert!(answer.reset && !answer.closed),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_is_cut_for_the_client_too() {
    for lane in LANES {
        for (number, (reply, reason)) in breaks(lane.upstream).into_iter().enumerate() {
            let policy = format!("{NO_RESCUE}\nstream_idle_timeout: 1s");
            let stage = Setting::new(lane).policy(&policy).start().await;
            stage.first.always(reply);
            let answer = answer_after(&stage, &begun()).await;
            assert_broken(&answer, &begun(), lane.client);
            let line = stage.account().await;
            let outcome = &line["attempts"][0]["outcome"];
            assert_eq!(outcome, reason, "break {number} over {lane:?}");
            assert_eq!(line["stream_end"], "broken");
            assert_eq!(line["error"], "stream_broken");
            assert_eq!(line["rescued_at_bytes"], json!(null));
            assert_eq!(stage.second.count(), 0, "nobody was to rescue it");
            stage.second.always(Reply::chat_stream(SECOND, &["Hi"]));
            assert!(stage.first_is_suspended().await, "break {number}");
        }
    }
}

/// The answer was complete; what is missing is the end of the transport.
#[tokio::test(flavor = "multi_thread")]
async fn a_break_behind_the_finish_is_none() {
    let events = bodies::chat_events_with_usage(FIRST, &["The ", "fox"]);
    let finished = events[..events.len() - 1].concat();
    for lane in LANES {
        for end in [None, Some(Step::Reset), Some(Step::Hang)] {
            let policy = format!("{NO_RESCUE}\nstream_idle_timeout: 300ms");
            let stage = Setting::new(lane).policy(&policy).start().await;
            let mut reply = Reply::sse([finished.clone()]);
            if let Some(end) = end.clone() {
                reply = reply.then(end);
            }
            stage.first.always(reply);
            let answer = stage.answer().await;
            assert_eq!(answer.text(), events.concat(), "{end:?} over {lane:?}");
            assert!(answer.complete);
            assert_eq!(stage.account().await["stream_end"], "repaired");
            assert!(!stage.first_is_suspended().await, "{end:?} over {lane:?}");
        }
    }
}

/// What comes behind the end is waited for only a moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_stream_is_whole_whatever_follows() {
    for lane in LANES {
        for end in [Step::Hang, Step::Reset] {
            let stage = Setting::new(lane).policy(NO_RESCUE).start().await;
            let reply = Reply::chat_stream(FIRST, &["Hi"]).then(end.clone());
            stage.first.always(reply);
            let answer = stage.answer().await;
            let expected = bodies::chat_events(FIRST, &["Hi"]).concat();
            assert_eq!(answer.text(), expected, "{end:?} over {lane:?}");
            assert!(answer.complete);
            assert_eq!(stage.account().await["stream_end"], "complete");
            assert!(!stage.first_is_suspended().await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_choices_are_whole_when_all_are() {
    let event = |index: u64, delta: serde_json::Value, finish: serde_json::Value| {
        bodies::data(
            &json!({"id": "1", "choices": [{"index": index, "delta": delta, "finish_reason": finish}]}),
        )
    };
    let text = |index| event(index, json!({"content": "a"}), json!(null));
    let finish = |index| event(index, json!({}), json!("stop"));
    for lane in [HTTP1, HTTP2] {
        let all = [text(0), text(1), finish(1), finish(0)];
        let stage = Setting::new(lane).start().await;
        stage.first.push(Reply::sse(all.clone()));
        let answer = stage.answer().await;
        assert_eq!(answer.text(), format!("{}data: [DONE]\n\n", all.concat()));
        assert!(answer.complete);
        stage.first.push(Reply::sse(all[..3].to_vec()));
        let answer = stage.answer().await;
        assert!(answer.text().starts_with(&all[..3].concat()));
        let transcript = answer.transcript();
        assert!(!answer.complete && !transcript.done, "{lane:?}");
        assert_eq!(transcript.errors.len(), 1);
    }
}

/// A choice that was asked for and never began is missing; only `[DONE]` says that it is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_choice_that_never_began_is_missing() {
    const COMPLETIONS: &str = "/v1/completions";
    for (path, asks, choices) in [
        (CHAT, json!({"n": 2}), 2),
        (CHAT, json!({"n": 3}), 3),
        (CHAT, json!({"n": null}), 1),
        (COMPLETIONS, json!({"prompt": "once", "n": 2}), 2),
        (COMPLETIONS, json!({"prompt": ["once", "twice"]}), 2),
        (COMPLETIONS, json!({"prompt": [[1, 2], [3]], "n": 2}), 4),
        (COMPLETIONS, json!({"prompt": [1, 2, 3]}), 1),
    ] {
        let stage = Setting::new(HTTP1).at(path).start().await;
        let mut request = question();
        for (key, value) in asks.as_object().unwrap() {
            request[key] = value.clone();
        }
        for count in 1..=choices {
            for end in [None, Some(Step::Reset)] {
                let what = format!("{count} choices for {asks}, then {end:?}");
                let sent: String = (0..count).map(whole_choice).collect();
                let reply = Reply::sse([sent.clone()]);
                stage.first.push(end.into_iter().fold(reply, Reply::then));
                let answer = stage.ask_for(request.clone()).await;
                let transcript = answer.transcript();
                assert!(answer.text().starts_with(&sent), "{what}");
                let whole = count == choices;
                assert_eq!((answer.complete, transcript.done), (whole, whole), "{what}");
                assert_eq!(transcript.errors.is_empty(), whole, "{what}");
            }
        }
        let sent = format!("{}data: [DONE]\n\n", whole_choice(0));
        stage.first.push(Reply::sse([sent.clone()]));
        let answer = stage.ask_for(request).await;
        assert!(answer.complete, "a server that takes no note of {asks}");
        assert_eq!(answer.text(), sent);
    }
}

/// An event that is all of one choice, in both shapes of OpenAI's.
fn whole_choice(index: u64) -> String {
    bodies::data(&json!({"id": "1", "choices": [
        {"index": index, "delta": {"content": "a"}, "text": "a", "finish_reason": "stop"},
    ]}))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_json_is_dropped_and_counted() {
    let events = bodies::chat_events(FIRST, &["The ", "fox"]);
    let garbage: [&[u8]; 6] = [
        b"data: {\"choices\":[{\"ind\n\n",
        b"data: 17\n\n",
        b"event: x\ndata: \xff\xfe\n\n",
        b"data: {\"a\":1}\n: \xff\n\n",
        b"data: {\"a\":\"\x01\"}\r\n\r\n",
        b"id: 1\rdata: [DONE\r\r",
    ];
    for lane in LANES {
        let stage = Setting::new(lane).start().await;
        let mut body: Vec<u8> = Vec::new();
        for (event, garbage) in events.iter().zip(garbage.iter().cycle()) {
            body.extend_from_slice(garbage);
            body.extend_from_slice(event.as_bytes());
        }
        body.extend_from_slice(garbage[5]);
        // All at once, and event by event.
        let split = body.chunks(40).map(<[u8]>::to_vec).collect::<Vec<_>>();
        for reply in [Reply::sse([body.clone()]), Reply::sse(split)] {
            stage.first.push(reply);
            let answer = stage.answer().await;
            assert_eq!(answer.text(), events.concat(), "{lane:?}");
            assert!(answer.complete);
        }
        let lines = stage.gateway.wait_log(2).await;
        // What came behind [DONE] in the same read was looked at; a later read is not.
        assert_eq!(lines[0]["events_dropped"], events.len() + 1);
        assert_eq!(lines[0]["events"], events.len());
        assert_eq!(lines[0]["stream_end"], "complete");
        assert!(lines[1]["events_dropped"].as_u64().unwrap() >= events.len() as u64);
    }
}

/// A decision about safety is not routed around in the middle of a stream either.
#[tokio::test(flavor = "multi_thread")]
async fn a_content_filter_in_mid_stream_ends_it() {
    for lane in LANES {
        let policy = "suspend_duration: 60s";
        let stage = Setting::new(lane).policy(policy).start().await;
        let filtered = bodies::data(&bodies::azure_content_filter());
        let reply = Reply::sse([begun(), filtered]).before_write(1, Step::Gate("begun"));
        stage.first.always(reply);
        let answer = answer_after(&stage, &begun()).await;
        assert_broken(&answer, &begun(), lane.client);
        assert!(!stage.first_is_suspended().await, "{lane:?}");
        assert_eq!(stage.second.count(), 0);
    }
}

/// Of a stream that goes on, only the time between two reads counts.
#[tokio::test(flavor = "multi_thread")]
async fn signs_of_life_keep_a_stream_alive() {
    for lane in LANES {
        let events = bodies::chat_events(FIRST, &["The ", "fox"]);
        let mut steps = vec![Step::write(begun())];
        for _ in 0..5 {
            steps.push(Step::Wait(Duration::from_millis(200)));
            steps.push(Step::write(": ping\n\n"));
        }
        steps.push(Step::write(events[3..].concat()));
        let policy = "request_timeout: 600ms\nstream_idle_timeout: 600ms";
        let stage = Setting::new(lane).policy(policy).start().await;
        stage.first.always(Reply::sse([""; 0]).steps(steps));
        let answer = stage.answer().await;
        assert!(answer.complete, "{lane:?}");
        assert_eq!(answer.content(), "The fox");
        assert_eq!(stage.account().await["stream_end"], "complete");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_http_1_0_gets_the_stream_until_the_close() {
    for upstream in [HTTP1, LANES[1]] {
        let stage = Setting::new(upstream).start().await;
        let reply = Reply::chat_stream(FIRST, &["Hel", "lo"]).before_write(2, Step::Gate("rest"));
        stage.first.always(reply);
        let mut stream = stage.ask().http10().open().await;
        assert_eq!(stream.header("transfer-encoding"), None);
        assert_eq!(stream.header("content-length"), None);
        let events = bodies::chat_events(FIRST, &["Hel", "lo"]);
        for event in &events[..2] {
            assert_eq!(stream.next_event().await.unwrap().raw, *event);
        }
        stage.first.open("rest");
        let rest = stream.rest().await;
        assert_eq!(rest.text(), events[2..].concat());
        assert!(rest.complete && rest.closed);
    }
}

/// The close is the only end that HTTP/1.0 has: there the error event alone tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_http_1_0_is_told_of_a_break() {
    let stage = Setting::new(HTTP1).fallbacks(0).start().await;
    stage.first.always(Reply::sse([begun()]).then(Step::Reset));
    let answer = stage.ask().http10().await;
    let transcript = answer.transcript();
    assert_eq!(transcript.text, "The fox");
    assert_eq!(transcript.errors[0]["code"], "stream_broken");
    assert!(!transcript.done && transcript.finishes.is_empty());
}

/// A cut stream costs the HTTP/1.1 client its connection, and others nothing.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_cut_the_next_request_is_served() {
    for lane in LANES {
        let stage = Setting::new(lane).fallbacks(0).start().await;
        stage.first.push(Reply::sse([begun()]).then(Step::Reset));
        stage.first.push(Reply::chat_stream(FIRST, &["Hi"]));
        assert!(!stage.answer().await.complete);
        assert_eq!(stage.answer().await.content(), "Hi");
        let connections = if lane.client == Http::One { 2 } else { 1 };
        assert_eq!(stage.client.connections(), connections, "{lane:?}");
    }
}

/// Neither a stream nor its error: an answer of another type goes its own way.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_says_it_is_a_stream_is_one() {
    let stage = Stage::new().await;
    let reply = Reply::status(200)
        .header("content-type", "Text/Event-Stream;charset=utf-8")
        .chunked(bodies::chat_events(FIRST, &["Hi"])[..3].to_vec());
    stage.first.push(reply);
    assert_eq!(stage.answer().await.transcript().text, "Hi");
    stage.first.push(
        Reply::status(200)
            .header("content-type", "text/plain")
            .body("data: x"),
    );
    assert_eq!(stage.answer().await.text(), "data: x");
    let lines = stage.gateway.wait_log(2).await;
    assert_eq!(lines[0]["stream_end"], "repaired");
    assert_eq!(lines[1]["stream_end"], json!(null));
}
