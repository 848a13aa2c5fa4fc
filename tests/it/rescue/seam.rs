//! Two streams made one, to the character.

use serde_json::{Value, json};

use super::{WORDS, assert_broken, assert_one_stream, broken, continued_by, rest, whole};
use crate::support::stage::{FIRST, LANES, SECOND, Setting, Stage};
use crate::support::{Reply, Step, bodies};

/// The rescuer's stream was begun later than the client's.
fn later(events: Vec<String>) -> Vec<String> {
    let later = |event: String| event.replace("1700000000", "1800000000");
    events.into_iter().map(later).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_reads_one_stream() {
    for lane in LANES {
        let stage = Setting::new(lane).start().await;
        stage.first.always(broken(4));
        let events = bodies::chat_events_with_usage(SECOND, &WORDS[4..]);
        stage.second.always(Reply::sse(later(events)));
        let answer = stage.answer().await;
        assert_one_stream(&answer, &[FIRST, SECOND]);

        let sent = bodies::chat_events(FIRST, &WORDS)[..5].concat();
        let continued = answer.text().strip_prefix(&sent).unwrap();
        let seam = format!(": standin: continued by second/{SECOND}\n\n");
        let continued = continued.strip_prefix(&seam).unwrap();
        assert_eq!(answer.transcript().comments.len(), 1, "one seam");

        let events = crate::support::sse::events(continued.as_bytes());
        let (done, chunks) = events.split_last().unwrap();
        assert!(done.is_done());
        for chunk in chunks {
            let chunk = chunk.json();
            assert_eq!(chunk["id"], bodies::chat_id(FIRST), "{chunk}");
            assert_eq!(chunk["created"], 1_700_000_000);
            assert_eq!(chunk["model"], SECOND);
            assert_eq!(chunk["object"], "chat.completion.chunk");
            assert_eq!(chunk.pointer("/choices/0/delta/role"), None);
        }
        let usages: Vec<_> = chunks
            .iter()
            .map(|chunk| chunk.json()["usage"].clone())
            .filter(|usage| !usage.is_null())
            .collect();
        assert_eq!(usages.len(), 1, "{lane:?}");
        assert_eq!(usages[0]["completion_tokens"], 4, "the rescuer's");

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
        let endpoints: Vec<_> = (0..2)
            .map(|at| line["attempts"][at]["endpoint"].clone())
            .collect();
        assert_eq!(endpoints, ["first", "second"]);
        assert_eq!(line["status"], 200);
        assert_eq!(line["error"], Value::Null);
    }
}

/// The client sees the rescuer's words as they come, not when all have come.
#[tokio::test(flavor = "multi_thread")]
async fn what_continues_is_on_its_way_at_once() {
    for lane in LANES {
        let stage = Setting::new(lane).start().await;
        stage.first.always(broken(4));
        stage
            .second
            .always(rest(SECOND, 4).before_write(2, Step::Gate("more")));
        let mut stream = stage.open().await;
        let mut text = String::new();
        while text != "The quick brown fox jumps " {
            text.extend(stream.next_event().await.unwrap().content());
        }
        stage.second.open("more");
        let rest = stream.rest().await;
        assert_eq!(rest.transcript().text, "over the lazy dog.");
        assert!(rest.complete);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_continuation_repeats_is_cut() {
    let stage = Stage::new().await;
    for continuation in [
        &["jumps over ", "the lazy dog."][..],
        // The last 16 characters and more, in one piece and in many.
        &["quick brown fox jumps over the lazy dog."],
        &["quick", " bro", "wn fo", "x jumps ov", "er the lazy dog."],
        // From the beginning.
        &["The quick brown fox jumps over the lazy dog."],
        &["T", "he ", "quick brown fox ju", "mps over the lazy dog."],
        // It had said all but this.
        &["The quick brown fox ", "jumps over the lazy dog."],
    ] {
        let answer = continued_by(&stage, continuation).await;
        assert_one_stream(&answer, &[FIRST, SECOND]);
    }
}

/// Fewer than 16 characters may be what is meant.
#[tokio::test(flavor = "multi_thread")]
async fn a_short_repetition_is_no_repetition() {
    let stage = Stage::new().await;
    for continuation in [
        &["fox ", "and fox"][..],
        &["The quick ", "one, too."],
        &[" "],
        &[],
    ] {
        let answer = continued_by(&stage, continuation).await;
        let expected = format!("The quick brown fox {}", continuation.concat());
        assert_eq!(answer.transcript().text, expected);
        assert!(answer.complete && answer.transcript().done);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_answer_can_t_go_on() {
    for lane in LANES {
        let stage = Setting::new(lane).fallbacks(2).start().await;
        for continuation in [
            &["The quick brown cat sleeps."][..],
            &["The quick", " brown d", "og."],
            &["The quick brown fox"],
        ] {
            let answer = continued_by(&stage, continuation).await;
            assert_broken(&answer, "The quick brown fox ");
        }
        assert_eq!(stage.third.count(), 0, "{lane:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_within_a_character_is_none() {
    let text = ["Grüße, ", "日本 ", "😀 \"quoted\" ", "\\n\n\t", "🎨."];
    for lane in LANES {
        for count in 1..text.len() {
            let stage = Setting::new(lane).second("openai", "true").start().await;
            let events = bodies::chat_events(FIRST, &text);
            let half = events[count + 1].len() * 3 / 4;
            let half = Step::write(events[count + 1].as_bytes()[..half].to_vec());
            let begun = Reply::sse(events[..=count].to_vec());
            stage.first.always(begun.then(half));
            stage
                .second
                .always(Reply::chat_stream(SECOND, &text[count..]));
            let answer = stage.answer().await;
            assert_eq!(answer.transcript().text, text.concat(), "{lane:?}");
            assert!(answer.complete);
            let asked = stage.second.last_request().json();
            assert_eq!(asked["messages"][1]["content"], text[..count].concat());
        }
    }
}

/// Reasoning is not continued: while nothing else was sent the next target thinks for itself.
#[tokio::test(flavor = "multi_thread")]
async fn where_only_reasoning_was_sent_the_next_target_starts_afresh() {
    let thought = |model: &str, text: &str| {
        bodies::chat_chunk(model, &json!({"reasoning_content": text}), None)
    };
    for lane in LANES {
        let stage = Setting::new(lane).second("openai", "true").start().await;
        let role = bodies::chat_events(FIRST, &[]).remove(0);
        stage
            .first
            .always(Reply::sse([role, thought(FIRST, "Hm. ")]));
        let mut events = bodies::chat_events(SECOND, &WORDS);
        events.insert(1, thought(SECOND, "I see."));
        stage.second.always(Reply::sse(events));
        let answer = stage.answer().await;
        assert_one_stream(&answer, &[FIRST, SECOND]);
        let reasoning: Vec<_> = answer
            .events()
            .iter()
            .filter(|event| !event.is_done() && event.data.is_some())
            .filter_map(|event| {
                let chunk = event.json();
                let text = chunk.pointer("/choices/0/delta/reasoning_content")?;
                Some(text.as_str()?.to_owned())
            })
            .collect();
        assert_eq!(reasoning, ["Hm. ", "I see."], "{lane:?}");
        let mut expected = stage.first.last_request().json();
        expected["model"] = json!(SECOND);
        assert_eq!(stage.second.last_request().json(), expected);
        assert_eq!(stage.account().await["rescued_at_bytes"], json!([0]));
    }
}

/// A rescuer's stream may lack its end mark, and have events that are no JSON, like any other.
#[tokio::test(flavor = "multi_thread")]
async fn a_rescuer_s_stream_is_repaired_too() {
    for lane in LANES {
        let stage = Setting::new(lane).start().await;
        stage.first.always(broken(4));
        let mut events = bodies::chat_events(SECOND, &WORDS[4..]);
        events.pop();
        events.insert(2, "data: {\"oops\n\n".to_owned());
        stage.second.always(Reply::sse(events));
        assert_one_stream(&stage.answer().await, &[FIRST, SECOND]);
        let line = stage.account().await;
        assert_eq!(line["events_dropped"], 1, "{lane:?}: {line}");
        assert_eq!(line["stream_end"], "rescued");
    }
}

/// However the events of a rescuer come in.
#[tokio::test(flavor = "multi_thread")]
async fn a_rescuer_s_stream_may_come_in_any_pieces() {
    for lane in LANES {
        for size in [1, 7, 100] {
            let stage = Setting::new(lane).start().await;
            stage.first.always(broken(4));
            let words = ["quick brown ", "fox ", "jumps over ", "the lazy dog."];
            let reply = Reply::chat_stream(SECOND, &words).split_every(size);
            stage.second.always(reply);
            let answer = stage.answer().await;
            assert_eq!(answer.transcript().text, whole(), "{size} over {lane:?}");
            assert_one_stream(&answer, &[FIRST, SECOND]);
        }
    }
}
