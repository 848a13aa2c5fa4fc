//! The event parser.

use std::panic::catch_unwind;
use std::time::Instant;

use serde_json::json;

use super::{CHAT, ask, message_of, pair};
use crate::support::sse::{self, Parser, Transcript};
use crate::support::{Reply, Step, bodies};

const STREAM: &str =
    ": hello\n\nevent: a\r\ndata: {\"é\":\r\ndata: 1}\r\n\r\ndata:2\rid: 7\r\rdata: [DONE]\n\n";

#[test]
fn every_chunking_gives_the_same_events() {
    let whole = sse::events(STREAM.as_bytes());
    assert_eq!(whole.len(), 4);
    assert_eq!(whole[0].comments, ["hello"]);
    assert_eq!(whole[0].data, None);
    assert_eq!(whole[1].name.as_deref(), Some("a"));
    assert_eq!(whole[1].json(), json!({"é": 1}));
    assert_eq!(whole[2].json(), json!(2));
    assert!(whole[3].is_done());
    assert_eq!(whole[3].raw, "data: [DONE]\n\n");
    for size in 1..STREAM.len() {
        let mut parser = Parser::default();
        let pieces = STREAM.as_bytes().chunks(size);
        let events: Vec<_> = pieces
            .flat_map(|piece| parser.feed(piece, Instant::now()))
            .collect();
        assert!(parser.unfinished().is_empty());
        let said = |events: &[sse::Event]| -> Vec<_> {
            let of = |event: &sse::Event| {
                (
                    event.name.clone(),
                    event.data.clone(),
                    event.comments.clone(),
                )
            };
            events.iter().map(of).collect()
        };
        assert_eq!(said(&events), said(&whole), "in pieces of {size}");
    }
}

#[test]
fn what_a_client_would_throw_on_panics() {
    for (stream, complaint) in [
        (&b"data: {\"a\":\n\n"[..], "data that is no JSON"),
        (b"data: \xff\n\n", "not UTF-8"),
        (b"date: 1\n\n", "an unknown field"),
        (b"data: 1\n\ndata: 2\n", "a cut event: \"data: 2\\n\""),
    ] {
        let panic = catch_unwind(|| sse::events(stream)).unwrap_err();
        let message = message_of(&*panic);
        assert!(message.starts_with(complaint), "{message}");
    }
    let events = sse::events(b"data: [DONE]\n\ndata: 1\n\n");
    let panic = catch_unwind(|| Transcript::of(&events)).unwrap_err();
    assert!(message_of(&*panic).starts_with("after the end of the stream"));
}

#[test]
fn a_transcript_of_openai() {
    let mut events = bodies::chat_events_with_usage("m", &["Hel", "lo"]);
    events.insert(2, ": seam\n\n".to_owned());
    let transcript = Transcript::of(&sse::events(events.concat().as_bytes()));
    assert_eq!(transcript.text, "Hello");
    assert_eq!(transcript.ids, [bodies::chat_id("m")]);
    assert_eq!(transcript.models, ["m"]);
    assert_eq!(
        (transcript.roles, transcript.finishes),
        (1, vec!["stop".to_owned()])
    );
    assert_eq!(transcript.usage.unwrap()["completion_tokens"], 2);
    assert_eq!(transcript.comments, ["seam"]);
    assert!(transcript.done && transcript.errors.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transcript_of_anthropic_and_of_a_broken_stream() {
    let (up, client) = pair().await;
    up.push(Reply::anthropic_stream("c", &["Hel", "lo"]));
    up.push(Reply::json(200, &bodies::anthropic_message("c", "Hi")));
    let error = bodies::data(&bodies::openai_error(
        "failover_error",
        Some("stream_broken"),
        "x",
    ));
    let cut = bodies::chat_chunk("m", &json!({"content": "Hel"}), None);
    up.push(Reply::sse([cut, error, "data: {\"unfini".to_owned()]).then(Step::Close));

    let whole = client.post("/v1/messages", ask("c")).await;
    assert_eq!(whole.content(), "Hello");
    let transcript = whole.transcript();
    assert_eq!(transcript.ids, [bodies::anthropic_id("c")]);
    assert_eq!((transcript.roles, transcript.done), (1, true));
    assert_eq!(transcript.finishes, ["end_turn"]);
    assert_eq!(transcript.usage.unwrap()["output_tokens"], 2);
    assert_eq!(client.post("/v1/messages", ask("c")).await.content(), "Hi");

    let broken = client.post(CHAT, ask("m")).await;
    let transcript = broken.transcript();
    assert_eq!(transcript.errors[0]["code"], "stream_broken");
    assert!(!transcript.done && !broken.complete);
}
