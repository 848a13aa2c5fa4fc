//! Until the first content nothing is committed: whatever goes wrong, the client sees one clean
//! stream, of the next target.

use serde_json::json;

use crate::support::stage::{FIRST, LANES, SECOND, Setting};
use crate::support::{Ending, Reply, Step, bodies};

const SUSPENDING: &str = "suspend_duration: 60s";

/// The role alone.
fn role() -> String {
    bodies::chat_events(FIRST, &[]).remove(0)
}

fn error_event(code: &str) -> String {
    bodies::data(&bodies::openai_error("server_error", Some(code), "No."))
}

/// Streams that say nothing, each with the reason that is told of it.
fn in_vain() -> Vec<(Reply, &'static str)> {
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 0}});
    let ping = || ": ping\n\n".to_owned();
    let named = "event: error\ndata: {\"message\":\"Overloaded\"}\n\n";
    let finish = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"error\"}]}\n\n";
    vec![
        (Reply::sse([""; 0]), "empty_stream"),
        (Reply::sse([role()]), "empty_stream"),
        (
            Reply::sse([ping(), role(), bodies::data(&usage)]),
            "empty_stream",
        ),
        (
            Reply::sse([role(), "data: {\"cut\":".to_owned()]),
            "empty_stream",
        ),
        // It says so: nobody waits for the end of the body.
        (
            Reply::sse(["data: [DONE]\n\n"]).then(Step::Hang),
            "empty_stream",
        ),
        (
            Reply::sse([role(), error_event("server_error")]),
            "error_event",
        ),
        (
            Reply::sse([role(), named.to_owned()]).then(Step::Hang),
            "error_event",
        ),
        (Reply::sse([role(), finish.to_owned()]), "error_event"),
        (
            Reply::sse([ping(), role()]).then(Step::Hang),
            "first_token_timeout",
        ),
        (Reply::hang(), "first_token_timeout"),
    ]
}

/// Streams that break before they say anything.
fn cut(two: bool) -> Vec<(Reply, &'static str)> {
    let begun = Reply::sse([role()]);
    match two {
        true => vec![
            (
                begun
                    .clone()
                    .then(Step::ResetStream(h2::Reason::INTERNAL_ERROR)),
                "reset",
            ),
            (begun.then(Step::Reset), "reset"),
        ],
        false => vec![
            (begun.clone().then(Step::Close), "truncated"),
            (begun.clone().then(Step::Reset), "reset"),
            (begun.then(Step::Raw("no chunk".into())), "malformed"),
        ],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_says_nothing_is_left_for_the_next() {
    for lane in LANES {
        let two = lane.upstream == crate::support::stage::Http::Two;
        for (reply, reason) in in_vain().into_iter().chain(cut(two)) {
            let policy = format!("{SUSPENDING}\nfirst_token_timeout: 400ms");
            let stage = Setting::new(lane).policy(&policy).start().await;
            stage.first.always(reply);
            stage
                .second
                .always(Reply::chat_stream(SECOND, &["Hel", "lo"]));

            let answer = stage.answer().await;
            let expected = bodies::chat_events(SECOND, &["Hel", "lo"]).concat();
            assert_eq!(answer.text(), expected, "{reason} over {lane:?}");
            assert!(answer.complete && !answer.reset);
            assert_eq!(answer.header("x-standin-endpoint"), Some("second"));
            assert_eq!(answer.header("x-standin-attempts"), Some("2"));
            let failover = format!("first/{FIRST}={reason}");
            assert_eq!(answer.header("x-standin-failover"), Some(&*failover));
            let (asked, instead) = (stage.first.last_request(), stage.second.last_request());
            let mut question = asked.json();
            question["model"] = json!(SECOND);
            assert_eq!(instead.json(), question);
            assert!(stage.first_is_suspended().await, "{reason} over {lane:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_given_up_is_cancelled() {
    for lane in LANES {
        let setting = Setting::new(lane).policy("first_token_timeout: 300ms");
        let stage = setting.start().await;
        stage.first.always(Reply::sse([role()]).then(Step::Hang));
        let reply = Reply::chat_stream(SECOND, &["Hi"]).held("second");
        stage.second.always(reply);
        let (answer, ending) = tokio::join!(stage.answer(), async {
            let ending = stage.first.wait_ended(0).await.0;
            stage.second.open("second");
            ending
        });
        assert_eq!(ending, Ending::Cancelled, "{lane:?}");
        assert_eq!(answer.content(), "Hi");
    }
}

/// It is the request that does not fit: the pair is healthy.
#[tokio::test(flavor = "multi_thread")]
async fn a_context_that_is_too_long_goes_on_and_suspends_nobody() {
    for lane in LANES {
        let stage = Setting::new(lane).policy(SUSPENDING).start().await;
        let error = bodies::data(&bodies::openai_context_length_exceeded());
        stage.first.always(Reply::sse([role(), error]));
        stage.second.always(Reply::chat_stream(SECOND, &["Hi"]));
        let answer = stage.answer().await;
        assert_eq!(answer.content(), "Hi");
        let failover = format!("first/{FIRST}=error_event");
        assert_eq!(answer.header("x-standin-failover"), Some(&*failover));
        assert!(!stage.first_is_suspended().await, "{lane:?}");
    }
}

/// A safety decision is not routed around: it goes to the client as it is, and to its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_content_filter_is_the_answer() {
    let filtered = bodies::data(&bodies::azure_content_filter());
    let done = "data: [DONE]\n\n";
    for lane in LANES {
        for events in [
            vec![filtered.clone()],
            vec![role(), filtered.clone(), done.to_owned()],
            vec![
                format!("{}{filtered}data: {{\"ha", role()),
                "lf\":1}\n\n".to_owned(),
            ],
        ] {
            let stage = Setting::new(lane).policy(SUSPENDING).start().await;
            stage.first.always(Reply::sse(events.clone()));
            let answer = stage.answer().await;
            assert_eq!(answer.text(), events.concat(), "{lane:?}");
            assert_eq!(answer.header("x-standin-attempts"), Some("1"));
            assert!(answer.complete);
            assert!(!stage.first_is_suspended().await);
            assert_eq!(stage.second.count(), 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_preamble_is_not_held_forever() {
    for lane in LANES {
        let stage = Setting::new(lane).start().await;
        let comment = format!(": {}\n\n", "x".repeat(1021));
        let mut steps: Vec<_> = (0..65).map(|_| Step::write(comment.clone())).collect();
        steps.push(Step::Gate("content"));
        let events = bodies::chat_events(FIRST, &["Hi"]);
        steps.push(Step::write(events.concat()));
        stage.first.always(Reply::sse([""; 0]).steps(steps));
        let mut stream = stage.open().await;
        let mut held = 0;
        while held < 65 * comment.len() {
            held += stream.next_chunk().await.unwrap().data.len();
        }
        stage.first.open("content");
        let rest = stream.rest().await;
        assert_eq!(rest.body, events.concat(), "{lane:?}");
        assert!(rest.complete);
        let line = stage.account().await;
        assert!(line["ttft_ms"].as_f64().unwrap() > 0.0, "{line}");
    }
}

/// Nor is it whole when it breaks before any content after that.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_preamble_alone_is_no_answer() {
    for lane in LANES {
        let setting = Setting::new(lane).policy("stream_rescue: off");
        let stage = setting.policy(SUSPENDING).start().await;
        stage
            .first
            .always(Reply::sse([format!(": {}\n\n", "x".repeat(70_000))]));
        let answer = stage.answer().await;
        assert!(!answer.complete, "{lane:?}");
        assert_eq!(answer.transcript().errors.len(), 1);
        let line = stage.account().await;
        assert_eq!(line["ttft_ms"], json!(null), "no token came: {line}");
        stage.second.always(Reply::chat_stream(SECOND, &["Hi"]));
        assert!(stage.first_is_suspended().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_say_nothing_the_client_gets_one_error() {
    for lane in LANES {
        let stage = Setting::new(lane).start().await;
        stage.first.always(Reply::sse([role()]));
        stage
            .second
            .always(Reply::sse([error_event("server_error")]));
        let answer = stage.answer().await;
        assert_eq!(answer.status, 502, "{lane:?}");
        let reasons: Vec<_> = answer.json()["error"]["attempts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|attempt| (attempt["endpoint"].clone(), attempt["reason"].clone()))
            .collect();
        let expected = [("first", "empty_stream"), ("second", "error_event")];
        assert_eq!(
            reasons,
            expected.map(|(endpoint, reason)| (json!(endpoint), json!(reason)))
        );
    }
}
