//! How a rescue goes along the chain of targets, and how long.

use std::time::Duration;

use serde_json::json;

use super::{WORDS, assert_broken, assert_one_stream, broken, rest};
use crate::support::stage::{FIRST, Http, LANES, SECOND, Setting, Stage, THIRD};
use crate::support::{Ending, Reply, Response, Step, bodies};

const SUSPENDING: &str = "suspend_duration: 60s";

/// Everything that breaks a stream, once the gate `broken` is open.
fn breaks(upstream: Http) -> Vec<(Step, &'static str)> {
    let error = bodies::openai_error("server_error", Some("overloaded"), "No.");
    let mut breaks = vec![
        (Step::Reset, "reset"),
        (Step::Hang, "idle_timeout"),
        (Step::write(bodies::data(&error)), "error_event"),
        (Step::write("data: {\"half\":"), "truncated"),
        (Step::Wait(Duration::ZERO), "truncated"),
    ];
    match upstream {
        Http::One => breaks.push((Step::Raw("no chunk".into()), "malformed")),
        Http::Two => breaks.push((Step::ResetStream(h2::Reason::CANCEL), "reset")),
    }
    breaks
}

/// The answer to a request whose first target breaks where the gate `broken` is; it is opened when
/// the client has what comes before.
async fn answer(stage: &Stage) -> Response {
    let mut stream = stage.open().await;
    let mut text = String::new();
    let mut events = Vec::new();
    while !text.ends_with("fox ") {
        let event = stream.next_event().await.unwrap();
        text.extend(event.content());
        events.extend_from_slice(&event.raw);
    }
    stage.first.open("broken");
    let mut answer = stream.rest().await;
    events.extend_from_slice(&answer.body);
    answer.body = events.into();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn every_break_is_rescued_and_suspends_the_pair() {
    for lane in LANES {
        for (number, (end, reason)) in breaks(lane.upstream).into_iter().enumerate() {
            let policy = format!("{SUSPENDING}\nstream_idle_timeout: 300ms");
            let stage = Setting::new(lane).policy(&policy).start().await;
            let begun = broken(4).then(Step::Gate("broken"));
            stage.first.always(begun.then(end));
            stage.second.push(rest(SECOND, 4));
            assert_one_stream(&answer(&stage).await, &[FIRST, SECOND]);
            let line = stage.account().await;
            let outcome = &line["attempts"][0]["outcome"];
            assert_eq!(outcome, reason, "break {number} over {lane:?}");
            assert_eq!(line["attempts"][1]["outcome"], "success");
            stage.second.push(Reply::chat_stream(SECOND, &["Hi"]));
            assert!(
                stage.first_is_suspended().await,
                "break {number} over {lane:?}"
            );
        }
    }
}

/// What has only stalled would go on working for nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_exchange_is_cancelled_before_the_rescue() {
    for lane in LANES {
        let setting = Setting::new(lane).policy("stream_idle_timeout: 300ms");
        let stage = setting.start().await;
        stage.first.always(broken(4).then(Step::Hang));
        stage.second.always(rest(SECOND, 4).held("rescue"));
        let (answer, ending) = tokio::join!(stage.answer(), async {
            let ending = stage.first.wait_ended(0).await.0;
            stage.second.open("rescue");
            ending
        });
        assert_eq!(ending, Ending::Cancelled, "{lane:?}");
        assert_one_stream(&answer, &[FIRST, SECOND]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rescue_that_breaks_is_rescued() {
    for lane in LANES {
        let stage = Setting::new(lane)
            .fallbacks(2)
            .second("openai", "true")
            .policy(SUSPENDING)
            .start()
            .await;
        stage.first.always(broken(2));
        let half = bodies::chat_events(SECOND, &WORDS[2..])[..=3].to_vec();
        stage.second.push(Reply::sse(half));
        stage.third.push(Reply::chat_stream(THIRD, &WORDS));
        let answer = stage.answer().await;
        assert_one_stream(&answer, &[FIRST, SECOND, THIRD]);
        let seams = [("second", SECOND), ("third", THIRD)]
            .map(|(endpoint, model)| format!("standin: continued by {endpoint}/{model}"));
        assert_eq!(answer.transcript().comments, seams);
        let continued = |upstream: &crate::support::Upstream| {
            upstream.last_request().json()["messages"][1].clone()
        };
        let partial =
            |count: usize| json!({"role": "assistant", "content": WORDS[..count].concat()});
        assert_eq!(continued(&stage.second), partial(2));
        assert_eq!(continued(&stage.third), partial(5));
        let line = stage.account().await;
        let bytes = |count: usize| WORDS[..count].concat().len();
        assert_eq!(
            line["rescued_at_bytes"],
            json!([bytes(2), bytes(5)]),
            "{lane:?}"
        );
        assert_eq!(line["stream_end"], "rescued");

        // Both are suspended.
        stage.third.push(Reply::chat_stream(THIRD, &["Hi"]));
        let next = stage.answer().await;
        assert_eq!(next.header("x-standin-endpoint"), Some("third"));
        assert_eq!((stage.first.count(), stage.second.count()), (1, 1));
    }
}

/// What was held back as a possible repetition was never said.
#[tokio::test(flavor = "multi_thread")]
async fn a_rescue_that_breaks_within_its_repetition_has_said_nothing() {
    for lane in LANES {
        let stage = Setting::new(lane).fallbacks(2).start().await;
        stage.first.always(broken(4));
        let half = bodies::chat_events(SECOND, &WORDS)[..=3].to_vec();
        stage.second.push(Reply::sse(half));
        stage.third.push(rest(THIRD, 4));
        let answer = stage.answer().await;
        assert_one_stream(&answer, &[FIRST, THIRD]);
        let asked = stage.third.last_request().json();
        assert_eq!(
            asked["messages"][1]["content"],
            WORDS[..4].concat(),
            "{lane:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_no_target_is_left_the_stream_is_cut() {
    for lane in LANES {
        let stage = Setting::new(lane).fallbacks(2).start().await;
        stage.first.push(broken(2));
        stage.second.push(Reply::sse(
            bodies::chat_events(SECOND, &WORDS[2..])[..=2].to_vec(),
        ));
        stage.third.push(Reply::status(500));
        assert_broken(&stage.answer().await, "The quick brown fox ");
        let line = stage.account().await;
        assert_eq!(line["stream_end"], "broken");
        assert_eq!(
            line["rescued_at_bytes"],
            json!(["The quick ".len()]),
            "{lane:?}"
        );
        assert_eq!(line["attempts"].as_array().unwrap().len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_target_is_no_rescuer() {
    for lane in LANES {
        let stage = Setting::new(lane)
            .fallbacks(2)
            .policy(SUSPENDING)
            .start()
            .await;
        // The first request finds the second target out.
        stage.first.push(broken(4));
        stage.second.push(Reply::status(500));
        stage.third.push(rest(THIRD, 4));
        assert_one_stream(&stage.answer().await, &[FIRST, THIRD]);
        // The second one is answered by the third, which breaks too: nobody is left.
        let half = bodies::chat_events(THIRD, &WORDS)[..=4].to_vec();
        stage.third.push(Reply::sse(half));
        assert_broken(&stage.answer().await, "The quick brown fox ");
        let counts = (
            stage.first.count(),
            stage.second.count(),
            stage.third.count(),
        );
        assert_eq!(counts, (1, 1, 2), "{lane:?}");
    }
}

/// A rescuer has the timeouts of any target.
#[tokio::test(flavor = "multi_thread")]
async fn a_rescuer_that_says_nothing_is_left_in_its_time() {
    let role = || bodies::chat_events(SECOND, &[]).remove(0);
    for lane in LANES {
        for (reply, reason) in [
            (Reply::hang(), "first_token_timeout"),
            (Reply::sse([role()]).then(Step::Hang), "first_token_timeout"),
            (rest(SECOND, 4).before_write(2, Step::Hang), "idle_timeout"),
        ] {
            let policy = "first_token_timeout: 500ms\nstream_idle_timeout: 500ms";
            let stage = Setting::new(lane).fallbacks(2).policy(policy).start().await;
            stage.first.always(broken(4));
            stage.second.always(reply);
            let said = if reason == "idle_timeout" { 5 } else { 4 };
            stage.third.always(rest(THIRD, said));
            let answer = stage.answer().await;
            assert_eq!(
                answer.transcript().text,
                WORDS.concat(),
                "{reason} over {lane:?}"
            );
            let line = stage.account().await;
            assert_eq!(line["attempts"][1]["outcome"], reason, "{lane:?}");
            assert_eq!(line["attempts"][2]["outcome"], "success", "{lane:?}");
        }
    }
}

/// Of all that is done for a request together.
#[tokio::test(flavor = "multi_thread")]
async fn the_overall_timeout_ends_a_rescue() {
    let ping = || Step::write(": ping\n\n");
    let pause = || Step::Wait(Duration::from_millis(100));
    let alive = || (0..100).flat_map(|_| [pause(), ping()]);
    for lane in LANES {
        let rescuers = [
            // No token of the rescuer's came.
            Reply::hang(),
            // Some came, and it is alive.
            Reply::sse([""; 0]).steps(
                [Step::write(
                    bodies::chat_events(SECOND, &WORDS[4..])[1].clone(),
                )]
                .into_iter()
                .chain(alive()),
            ),
        ];
        for (reply, text) in rescuers
            .into_iter()
            .zip(["The quick brown fox ", "The quick brown fox jumps "])
        {
            let policy = format!("{SUSPENDING}\noverall_timeout: 600ms");
            let stage = Setting::new(lane)
                .fallbacks(2)
                .policy(&policy)
                .start()
                .await;
            stage.first.always(broken(4));
            stage.second.push(reply);
            assert_broken(&stage.answer().await, text);
            assert_eq!(stage.third.count(), 0, "{lane:?}");
            let (ending, _) = stage.second.wait_ended(0).await;
            assert_eq!(ending, Ending::Cancelled);
            // It was the request's own patience that ended: the second target is not to blame.
            stage.second.push(Reply::chat_stream(SECOND, &["Hi"]));
            let next = stage.answer().await;
            assert_eq!(
                next.header("x-standin-endpoint"),
                Some("second"),
                "{lane:?}"
            );
        }
    }
}

/// It is the request that grew too long for this model: nobody is suspended, and a larger model
/// may go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_context_that_gets_too_long_in_mid_stream_is_rescued() {
    for lane in LANES {
        let stage = Setting::new(lane).policy(SUSPENDING).start().await;
        let error = bodies::data(&bodies::openai_context_length_exceeded());
        stage.first.push(
            broken(4)
                .then(Step::Gate("broken"))
                .then(Step::write(error)),
        );
        stage.second.push(rest(SECOND, 4));
        assert_one_stream(&answer(&stage).await, &[FIRST, SECOND]);
        stage.first.push(Reply::chat_stream(FIRST, &["Hi"]));
        assert!(!stage.first_is_suspended().await, "{lane:?}");
    }
}

/// A safety decision of the rescuer's is not routed around either.
#[tokio::test(flavor = "multi_thread")]
async fn a_rescuer_that_filters_content_is_the_last_one_asked() {
    for lane in LANES {
        let stage = Setting::new(lane)
            .fallbacks(2)
            .policy(SUSPENDING)
            .start()
            .await;
        stage.first.push(broken(4));
        let filtered = bodies::data(&bodies::azure_content_filter());
        stage.second.push(Reply::sse([filtered]));
        assert_broken(&stage.answer().await, "The quick brown fox ");
        assert_eq!(stage.third.count(), 0);
        stage.second.push(Reply::chat_stream(SECOND, &["Hi"]));
        let next = stage.answer().await;
        assert_eq!(
            next.header("x-standin-endpoint"),
            Some("second"),
            "{lane:?}"
        );
    }
}

/// Nor does a client that leaves during a rescue cost anybody anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_during_a_rescue_cancels_it() {
    for lane in LANES {
        let stage = Setting::new(lane)
            .fallbacks(2)
            .policy(SUSPENDING)
            .start()
            .await;
        stage.first.push(broken(4));
        stage.second.push(Reply::hang());
        let stream = stage.open().await;
        stage.second.wait_for_requests(1).await;
        stream.hang_up();
        stage.second.wait_cancelled(0).await;
        let line = stage.account().await;
        assert_eq!(line["stream_end"], "client_gone", "{lane:?}");
        assert_eq!(line["attempts"][1]["outcome"], "client_gone");
        assert_eq!(stage.third.count(), 0);
        stage.second.push(Reply::chat_stream(SECOND, &["Hi"]));
        let next = stage.answer().await;
        assert_eq!(
            next.header("x-standin-endpoint"),
            Some("second"),
            "{lane:?}"
        );
    }
}
