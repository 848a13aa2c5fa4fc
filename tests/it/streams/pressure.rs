//! Readers that are slower than their upstream.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use crate::support::stage::{CHAT, FIRST, LANES, Setting, Stage, question};
use crate::support::{Reply, Step, bodies};

/// Enough to fill every buffer of both kernels.
const EVENTS: usize = 384;
const EVENT: usize = 64 << 10;

/// A stream of 24 MiB, each event telling its number; behind half of it the gate `half`, behind all
/// of it the gate `all`.
fn flood() -> (Vec<Bytes>, Vec<Step>) {
    let filler = "x".repeat(EVENT);
    let mut events: Vec<Bytes> = (0..EVENTS)
        .map(|number| {
            let content = json!({"content": format!("{number} {filler}")});
            bodies::chat_chunk(FIRST, &content, None).into()
        })
        .collect();
    events.extend(
        bodies::chat_events(FIRST, &[])
            .into_iter()
            .skip(1)
            .map(Bytes::from),
    );
    let mut steps: Vec<Step> = events.iter().cloned().map(Step::Write).collect();
    steps.insert(1, Step::Gate("first"));
    steps.push(Step::Gate("all"));
    (events, steps)
}

/// Whether the upstream has written everything by now.
async fn all_written(stage: &Stage) -> bool {
    tokio::time::timeout(Duration::ZERO, stage.first.wait_gate("all"))
        .await
        .is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_slows_its_upstream_and_loses_nothing() {
    for lane in LANES {
        let idle = Duration::from_millis(200);
        let stage = Setting::new(lane)
            .policy("stream_idle_timeout: 200ms\nsuspend_duration: 60s")
            .receive_buffer(4 << 10)
            .start()
            .await;
        let (events, steps) = flood();
        stage.first.always(Reply::sse([""; 0]).steps(steps));
        stage.first.open("all");

        let mut stream = stage.open().await;
        stage.first.open("first");
        // It reads nothing for longer than an upstream may be silent.
        tokio::time::sleep(idle * 5).await;
        assert!(!all_written(&stage).await, "{lane:?}: where is it all?");
        // It holds nobody else up.
        stage.first.push(Reply::chat_stream(FIRST, &["Hi"]));
        let other = stage.gateway.client().post(CHAT, question()).await;
        assert_eq!(other.content(), "Hi", "{lane:?}");

        let whole = events.concat();
        let mut read = 0;
        while let Some(chunk) = stream.next_chunk().await {
            let end = read + chunk.data.len();
            assert!(chunk.data == whole[read..end], "{lane:?} at {read}");
            read = end;
        }
        assert_eq!(read, whole.len(), "{lane:?}");
        assert!(stream.rest().await.complete);
        let lines = stage.gateway.wait_log(2).await;
        assert_eq!(lines[1]["stream_end"], "complete", "{}", lines[1]);
        assert_eq!(stage.second.count(), 0, "a slow reader is no stall");
    }
}

/// The upstream does not go on working for nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_that_leaves_cancels_the_upstream() {
    for lane in LANES {
        let stage = Setting::new(lane).receive_buffer(4 << 10).start().await;
        let (_, steps) = flood();
        stage.first.always(Reply::sse([""; 0]).steps(steps));
        stage.first.open("all");
        let mut stream = stage.open().await;
        stage.first.open("first");
        for _ in 0..10 {
            stream.next_chunk().await.unwrap();
        }
        stream.hang_up();
        stage.first.wait_cancelled(0).await;
        let line = stage.account().await;
        assert_eq!(line["stream_end"], "client_gone", "{lane:?}: {line}");
        assert_eq!(stage.second.count(), 0);
    }
}
