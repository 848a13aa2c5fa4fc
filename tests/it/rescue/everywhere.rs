//! Whatever happens to a stream, and wherever in it: the client has the exact text and one proper
//! end, or an error and a cut stream. Never a short text that looks whole.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::stage::{CHAT, FIRST, HTTP1, HTTP2, Lane, SECOND, Setting, Stage, question};
use crate::support::{Received, Reply, Response, Step, bodies};

/// Requests under way at once: those that are to be broken, and those that only wait.
const AT_ONCE: usize = 16;
const STALLED_AT_ONCE: usize = 64;

/// Each place in the text is unlike any other, as far as a run-up can tell.
const WORDS: [&str; 5] = [
    "The quick ",
    "brown fox ",
    "jumps over ",
    "the lazy ",
    "dog.",
];

/// What happens to the stream.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Closed,
    Reset,
    Stalled,
    /// What follows is none of it, and then the end.
    Garbled,
}

/// How the rescuer goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    Exactly,
    WithARunUp,
    FromTheBeginning,
}

const FATES: [Fate; 4] = [Fate::Closed, Fate::Reset, Fate::Stalled, Fate::Garbled];
const MANNERS: [Manner; 3] = [
    Manner::Exactly,
    Manner::WithARunUp,
    Manner::FromTheBeginning,
];

fn text() -> String {
    WORDS.concat()
}

/// The first target's stream as short as it can be, so that there are not too many places.
fn short_stream() -> Vec<String> {
    let event = |delta: Value, finish: Value| {
        bodies::data(&json!({"id": "1", "created": 1, "model": FIRST,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))
    };
    let words = WORDS.map(|word| event(json!({"content": word}), Value::Null));
    let mut events = vec![event(json!({"role": "assistant"}), Value::Null)];
    events.extend(words);
    events.push(event(json!({}), json!("stop")));
    events.push("data: [DONE]\n\n".to_owned());
    events
}

/// The stream with its fate at this byte: over HTTP/1.1 of the whole answer, over HTTP/2 of the
/// body.
fn doomed(lane: Lane, fate: Fate, at: usize) -> Reply {
    let reply = Reply::sse(short_stream());
    let end = match fate {
        Fate::Closed => Step::Close,
        Fate::Reset if lane == HTTP2 => Step::ResetStream(h2::Reason::INTERNAL_ERROR),
        Fate::Reset => Step::Reset,
        Fate::Stalled => Step::Hang,
        Fate::Garbled => Step::write(&b"\xff{\"choices\":[]}\0\r\n\r\n\n\ndata: \xff\n\n"[..]),
    };
    match lane == HTTP2 {
        true => reply.cut_body_at(at, end),
        false => reply.closing().cut_at(at, end),
    }
}

/// As many bytes as there are places.
fn places(lane: Lane) -> usize {
    let body: usize = short_stream().iter().map(String::len).sum();
    match lane == HTTP2 {
        true => body,
        // With a head and chunks around it; the last places are behind the end of some of it.
        false => body + 150,
    }
}

/// The second target, which knows the text.
fn rescuer(asked: &Received, manner: Manner) -> Reply {
    let asked = asked.json();
    let said = asked["messages"][1]["content"].as_str().unwrap_or_default();
    assert!(text().starts_with(said), "{said:?}");
    let characters = said.chars().count();
    let run_up = match manner {
        Manner::Exactly => 0,
        // Shorter ones can't be told from what is meant.
        _ if characters < 16 => 0,
        Manner::WithARunUp => 16,
        Manner::FromTheBeginning => characters,
    };
    let rest: Vec<char> = text().chars().skip(characters - run_up).collect();
    let words: Vec<String> = rest.chunks(3).map(|word| word.iter().collect()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Reply::chat_stream(SECOND, &words)
}

/// The stage, where a request's `user` says what happens to it.
async fn theatre(lane: Lane, policy: &str) -> Stage {
    let stage = Setting::new(lane)
        .second("openai", "true")
        .policy("stream_idle_timeout: 1s\nfirst_token_timeout: 2s")
        .policy(policy)
        .start()
        .await;
    let script = |asked: &Received| -> (usize, usize, usize) {
        let user = asked.json()["user"].as_str().unwrap().to_owned();
        let numbers: Vec<usize> = user
            .split(' ')
            .map(|number| number.parse().unwrap())
            .collect();
        (numbers[0], numbers[1], numbers[2])
    };
    stage.first.answer_with(move |asked| {
        let (fate, at, _) = script(asked);
        doomed(lane, FATES[fate], at)
    });
    stage
        .second
        .answer_with(move |asked| rescuer(asked, MANNERS[script(asked).2]));
    stage
}

/// Asks once for every fate at every place, and for each has `check` look at the answer.
async fn everywhere(stage: &Stage, lane: Lane, check: fn(&Response, &str)) {
    let (mut broken, mut stalled) = (JoinSet::new(), JoinSet::new());
    for at in 0..places(lane) {
        for (number, fate) in FATES.into_iter().enumerate() {
            // To whoever waits a stall is a cut that takes its time: some will do.
            if fate == Fate::Stalled && at % 5 != 0 {
                continue;
            }
            let mut request = question();
            // Each manner has its turn at each third place.
            request["user"] = json!(format!("{number} {at} {}", (at + number) % MANNERS.len()));
            let client = stage.client.clone();
            let asking = async move {
                let answer = client.post(CHAT, request).await;
                check(&answer, &format!("{fate:?} at {at} over {lane:?}"));
            };
            let (asked, limit) = match fate {
                Fate::Stalled => (&mut stalled, STALLED_AT_ONCE),
                _ => (&mut broken, AT_ONCE),
            };
            asked.spawn(asking);
            if asked.len() >= limit {
                asked.join_next().await.unwrap().unwrap();
            }
        }
    }
    for mut asked in [broken, stalled] {
        while let Some(checked) = asked.join_next().await {
            checked.unwrap();
        }
    }
}

fn assert_whole(answer: &Response, what: &str) {
    let transcript = answer.transcript();
    assert_eq!(answer.status, 200, "{what}");
    assert_eq!(transcript.text, text(), "{what}: {}", answer.text());
    assert!(
        answer.complete && transcript.done,
        "{what}: {}",
        answer.text()
    );
    assert_eq!(transcript.finishes, ["stop"], "{what}");
    assert_eq!(transcript.errors, Vec::<Value>::new(), "{what}");
    assert_eq!(transcript.roles, 1, "{what}");
    assert_eq!(transcript.ids.len(), 1, "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_rescuer_the_client_has_the_whole_text() {
    for lane in [HTTP1, HTTP2] {
        let stage = theatre(lane, "").await;
        everywhere(&stage, lane, assert_whole).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_one_it_has_the_whole_text_or_an_error() {
    for lane in [HTTP1, HTTP2] {
        let stage = theatre(lane, "stream_rescue: off").await;
        everywhere(&stage, lane, |answer, what| {
            let transcript = answer.transcript();
            if answer.complete {
                return assert_whole(answer, what);
            }
            assert_eq!(transcript.errors.len(), 1, "{what}: {}", answer.text());
            assert_eq!(transcript.errors[0]["code"], "stream_broken");
            assert!(!transcript.done && transcript.finishes.is_empty(), "{what}");
            assert!(text().starts_with(&transcript.text), "{what}");
        })
        .await;
    }
}
