//! What is passed on, when, and in which pieces.

use crate::support::stage::{FIRST, HTTP1, Http, LANES, Setting};
use crate::support::{Reply, Step, bodies, sse};

/// Everything that the format of server-sent events allows, in a stream that is whole.
const STRANGE: &str = concat!(
    ": comment\n",
    "event: message\r\n",
    "id: 1\r\n",
    "retry: 3000\r\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Grüße, \"}}]}\r\n",
    "\r\n",
    "\n",
    "data: {\"choices\":\n",
    "data: [{\"index\":0, \"delta\" : {\"content\":\"日本 \\ud83d\\ude00\"},\"x\":1.10}]}\n",
    "\n",
    ":\r\r",
    "data:{\"choices\":[{\"index\":0,\"delta\":{\"content\":\" 🎨\"}}]}\rid: é\r\r",
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    "data: [DONE]\n\n",
);

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_on_its_way_when_its_last_byte_has_come() {
    for lane in LANES {
        let stage = Setting::new(lane).start().await;
        let events = bodies::chat_events(FIRST, &["The ", "quick ", "fox"]);
        let (half, other_half) = events[3].split_at(20);
        let steps = [
            Step::write(events[0].clone()),
            Step::write(events[1].clone()),
            Step::Gate("second word"),
            Step::write(format!("{}{half}", events[2])),
            Step::Gate("half"),
            Step::write(other_half.to_owned()),
            Step::Gate("end"),
            Step::write(events[4..].concat()),
        ];
        stage.first.always(Reply::sse([""; 0]).steps(steps));

        let mut stream = stage.open().await;
        let mut next = async || stream.next_event().await.unwrap().raw;
        assert_eq!(next().await, events[0], "{lane:?}");
        assert_eq!(next().await, events[1]);
        stage.first.open("second word");
        assert_eq!(next().await, events[2], "the half behind it is held back");
        stage.first.wait_gate("half").await;
        stage.first.open("half");
        assert_eq!(next().await, events[3]);
        stage.first.open("end");
        let rest = stream.rest().await;
        assert_eq!(rest.body, events[4..].concat());
        assert!(rest.complete);
        assert_eq!(stage.second.count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_read_is_one_write_of_the_same_bytes() {
    for lane in LANES {
        let stage = Setting::new(lane).start().await;
        let events = bodies::chat_events(FIRST, &["a", "b", "c", "d", "e", "f"]);
        let writes = [
            events[..3].concat(),
            ": a comment\n\n".to_owned(),
            events[3..6].concat(),
            events[6..].concat(),
        ];
        let mut steps = Vec::new();
        for (write, gate) in writes.iter().zip(["0", "1", "2", "3"]) {
            steps.extend([Step::write(write.clone()), Step::Gate(gate)]);
        }
        stage.first.always(Reply::sse([""; 0]).steps(steps));

        let mut stream = stage.open().await;
        for (write, gate) in writes.iter().zip(["0", "1", "2", "3"]) {
            let chunk = stream.next_chunk().await.unwrap();
            assert_eq!(chunk.data, *write, "{lane:?}");
            stage.first.open(gate);
        }
        assert!(stream.rest().await.complete);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_until_the_first_content_comes_in_one_piece_with_it() {
    for lane in LANES {
        let stage = Setting::new(lane).start().await;
        let events = bodies::chat_events(FIRST, &["a", "b"]);
        let reply = Reply::sse(events.clone())
            .before_write(0, Step::write(": ping\n\n"))
            .before_write(1, Step::Gate("role"))
            .before_write(2, Step::Gate("content"))
            .before_write(3, Step::Gate("more"));
        stage.first.always(reply);
        let (asked, ()) = tokio::join!(stage.open(), async {
            for gate in ["role", "content"] {
                stage.first.wait_gate(gate).await;
                stage.first.open(gate);
            }
        });
        let mut stream = asked;
        let held = format!(": ping\n\n{}{}", events[0], events[1]);
        assert_eq!(stream.next_chunk().await.unwrap().data, held, "{lane:?}");
        stage.first.open("more");
        assert_eq!(stream.rest().await.body, events[2..].concat());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strange_but_proper_events_pass_byte_for_byte() {
    for lane in LANES {
        let stage = Setting::new(lane).start().await;
        stage.first.always(Reply::sse([STRANGE]));
        let answer = stage.answer().await;
        assert_eq!(answer.text(), STRANGE, "{lane:?}");
        assert!(answer.complete && !answer.closed);
        assert_eq!(answer.transcript().text, "Grüße, 日本 😀 🎨");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_whole_wherever_they_are_split() {
    for lane in [HTTP1, LANES[3]] {
        for size in [1, 2, 3, 7, 50] {
            let stage = Setting::new(lane).start().await;
            stage.first.always(Reply::sse([STRANGE]).split_every(size));
            let mut stream = stage.open().await;
            let mut body = Vec::new();
            while let Some(chunk) = stream.next_chunk().await {
                let whole = sse::events(&chunk.data);
                assert!(chunk.data.is_empty() || !whole.is_empty() || chunk.data == "\n");
                body.extend_from_slice(&chunk.data);
            }
            assert_eq!(
                body,
                STRANGE.as_bytes(),
                "in pieces of {size} over {lane:?}"
            );
            assert!(stream.rest().await.complete);
            assert_eq!(stage.first.requests().len(), 1);
        }
    }
}

/// To an HTTP/1.1 client Pingora can't send them.
#[tokio::test(flavor = "multi_thread")]
async fn trailers_go_to_a_client_that_takes_them() {
    for lane in LANES {
        let stage = Setting::new(lane).start().await;
        let reply = Reply::chat_stream(FIRST, &["Hi"]).trailer("x-checksum", "abc");
        stage.first.always(reply);
        // Over HTTP/2 they have a place of their own; over HTTP/1.1 they are asked for.
        for asks in [false, true] {
            let request = stage.ask();
            let request = if asks {
                request.header("te", "trailers")
            } else {
                request
            };
            let answer = request.await;
            assert!(answer.complete, "{lane:?}");
            assert_eq!(answer.content(), "Hi");
            let expected = (asks || lane.client == Http::Two).then_some("abc");
            assert_eq!(answer.trailers.get("x-checksum"), expected, "{lane:?}");
            assert_eq!(stage.first.last_request().headers.get("te"), None);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_is_the_upstream_s_and_says_who_answers() {
    for lane in LANES {
        let stage = Setting::new(lane).start().await;
        let reply = Reply::chat_stream(FIRST, &["Hi"])
            .header("x-request-id", "req-1")
            .header("openai-processing-ms", "17");
        stage.first.always(reply);
        let answer = stage.answer().await;
        assert_eq!(answer.status, 200);
        let type_of_stream = Some("text/event-stream; charset=utf-8");
        assert_eq!(answer.header("content-type"), type_of_stream);
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        assert_eq!(answer.header("openai-processing-ms"), Some("17"));
        assert_eq!(
            answer.header("x-standin-upstream-request-id"),
            Some("req-1")
        );
        assert_eq!(answer.header("x-standin-endpoint"), Some("first"));
        assert_eq!(answer.header("x-standin-model"), Some(FIRST));
        assert_eq!(answer.header("x-standin-attempts"), Some("1"));
        assert_eq!(answer.header("x-standin-failover"), None, "{lane:?}");
    }
}

/// What a server declares of its own stream's length is not the length of what the client gets:
/// an event may be dropped from it, and an end mark added.
#[tokio::test(flavor = "multi_thread")]
async fn a_declared_length_is_not_passed_on() {
    for lane in LANES {
        let stage = Setting::new(lane).start().await;
        let events = bodies::chat_events(FIRST, &["Hi"]);
        let body = format!("data: oops\n\n{}", events[..3].concat());
        let reply = Reply::status(200)
            .header("content-type", "text/event-stream")
            .body(body);
        stage.first.always(reply);
        let answer = stage.answer().await;
        assert_eq!(answer.header("content-length"), None, "{lane:?}");
        assert_eq!(answer.text(), events.concat());
        assert!(answer.complete);
    }
}

/// Asked for plain, sent compressed: nothing is known of its events, so it passes as it comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_stream_passes_from_its_first_byte() {
    for lane in LANES {
        let stage = Setting::new(lane).start().await;
        let pieces: [&[u8]; 2] = [b"\x1f\x8b\x08\x00no\n\nreal gzip", b"\r\n\xff\xfe"];
        let reply = Reply::sse(pieces)
            .header("content-encoding", "gzip")
            .before_write(1, Step::Gate("rest"));
        stage.first.always(reply);
        let mut stream = stage.open().await;
        assert_eq!(stream.header("content-encoding"), Some("gzip"));
        assert_eq!(
            stream.next_chunk().await.unwrap().data,
            pieces[0],
            "{lane:?}"
        );
        stage.first.open("rest");
        let rest = stream.rest().await;
        assert_eq!(rest.body, pieces[1]);
        assert!(rest.complete);
        let asked = stage.first.last_request();
        assert_eq!(asked.header("accept-encoding"), Some("identity"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_stream_leaves_its_connection_for_the_next() {
    for lane in LANES {
        let stage = Setting::new(lane).start().await;
        stage.first.always(Reply::chat_stream(FIRST, &["Hi"]));
        for _ in 0..5 {
            let answer = stage.answer().await;
            assert!(answer.complete && !answer.closed);
            assert_eq!(answer.content(), "Hi");
        }
        assert_eq!(stage.first.count(), 5);
        assert_eq!(stage.first.connections(), 1, "{lane:?}");
        assert_eq!(stage.client.connections(), 1, "{lane:?}");
    }
}
