//! How it ends: SIGTERM and SIGQUIT finish what is in flight, SIGINT does not.

use std::time::{Duration, Instant};

use super::{
    CHAT, Folder, MODEL, PATIENCE_OF_TWO, Process, question, refused, setup, streaming_question,
};
use crate::support::{Client, Dead, Ending, KEY, NoAnswer, Reply, Step, Upstream};

/// An upstream that answers at a gate, and streams up to one.
async fn upstream() -> Upstream {
    let upstream = Upstream::start().await;
    upstream.answer_with(|request| match request.json().get("stream") {
        None => Reply::chat(MODEL, "Hello").held("plain"),
        Some(_) => {
            let stream = Reply::chat_stream(MODEL, &["Hel", "lo"]);
            stream.before_write(2, Step::Gate("stream"))
        }
    });
    upstream
}

async fn assert_finishes(signal: &str) {
    let upstream = upstream().await;
    let folder = Folder::new();
    let long = "grace_period_seconds: 0, graceful_shutdown_timeout_seconds: 60";
    folder.write_changed(&setup(&upstream.url()), &[(PATIENCE_OF_TWO, long)]);
    let mut process = Process::run(&folder);
    let idle = process.client().await;
    let address = process.address().await;
    let busy = || Client::new(address).key(KEY);
    let plain = tokio::spawn(busy().post(CHAT, question(MODEL)).into_future());
    upstream.wait_gate("plain").await;
    let mut stream = busy().open(CHAT, streaming_question()).await;
    assert!(stream.next_event().await.is_some());
    upstream.wait_gate("stream").await;

    process.signal(signal);
    idle.wait_idle_closed().await;
    refused(address).await;
    assert!(
        process.child.try_wait().unwrap().is_none(),
        "it waits for what is in flight"
    );

    upstream.open("plain");
    let answer = plain.await.unwrap();
    assert_eq!(answer.content(), "Hello");
    upstream.open("stream");
    let answer = stream.rest().await;
    assert!(answer.complete);
    assert!(answer.events().last().unwrap().is_done());
    assert_eq!(process.exit_code().await, 0, "{}", process.stderr());

    for exchange in 0..2 {
        assert_eq!(upstream.wait_ended(exchange).await.0, Ending::Answered);
    }
    let lines = folder.lines();
    assert_eq!(lines.len(), 3, "nothing of the log is lost: {lines:?}");
    let served = lines.iter().filter(|line| line["status"] == 200);
    assert_eq!(served.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_what_is_in_flight() {
    assert_finishes("TERM").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigquit_finishes_what_is_in_flight() {
    assert_finishes("QUIT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_process_ends_at_once() {
    let dead = Dead::refusing();
    let folder = Folder::new();
    let long = "grace_period_seconds: 0, graceful_shutdown_timeout_seconds: 60";
    folder.write_changed(&setup(&dead.url()), &[(PATIENCE_OF_TWO, long)]);
    let mut process = Process::run(&folder);
    let client = process.client().await;
    process.signal("TERM");
    assert_eq!(process.exit_code().await, 0);
    client.wait_idle_closed().await;
}

/// A client that sends its next request at the moment of the signal has its answer all the same.
#[tokio::test(flavor = "multi_thread")]
async fn in_the_grace_period_idle_connections_are_served_once_more() {
    let dead = Dead::refusing();
    let folder = Folder::new();
    let long = "grace_period_seconds: 60, graceful_shutdown_timeout_seconds: 60";
    folder.write_changed(&setup(&dead.url()), &[(PATIENCE_OF_TWO, long)]);
    let mut process = Process::run(&folder);
    let client = process.client().await;
    process.signal("TERM");
    refused(process.address().await).await;
    let answer = client.get("/v1/unknown").await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(client.connections(), 1);
    assert_eq!(process.exit_code().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_longer_than_both_periods_is_cut() {
    let upstream = upstream().await;
    let folder = Folder::new();
    let both = "grace_period_seconds: 1, graceful_shutdown_timeout_seconds: 1";
    folder.write_changed(&setup(&upstream.url()), &[(PATIENCE_OF_TWO, both)]);
    let mut process = Process::run(&folder);
    let client = process.client().await;
    let plain = tokio::spawn(client.post(CHAT, question(MODEL)).try_send());
    upstream.wait_gate("plain").await;
    let stream = Client::new(process.address().await).key(KEY);
    let mut stream = stream.open(CHAT, streaming_question()).await;
    assert!(stream.next_event().await.is_some());

    let told = Instant::now();
    process.signal("TERM");
    assert_eq!(process.exit_code().await, 0);
    assert!(
        told.elapsed() >= Duration::from_secs(2),
        "{:?}",
        told.elapsed()
    );
    assert!(matches!(
        plain.await.unwrap(),
        Err(NoAnswer::Closed | NoAnswer::Reset(_))
    ));
    assert!(
        !stream.rest().await.complete,
        "a cut stream is no whole one"
    );
    let stderr = process.stderr();
    assert!(stderr.contains("2 connections are cut"), "{stderr}");
    for exchange in 0..2 {
        upstream.wait_cancelled(exchange).await;
    }
    assert_cut(&folder, &["shutdown", "success"]);
}

/// Each request that was cut has a line that says so, its one attempt with one of `outcomes`.
fn assert_cut(folder: &Folder, outcomes: &[&str]) {
    let lines = folder.lines();
    let cut = lines.iter().filter(|line| line["error"] == "shutdown");
    let mut attempts: Vec<_> = cut
        .map(|line| {
            assert_eq!(line["model"], MODEL, "{line}");
            line["attempts"][0]["outcome"].as_str().unwrap()
        })
        .collect();
    attempts.sort_unstable();
    assert_eq!(attempts, outcomes, "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigint_ends_at_once() {
    let upstream = upstream().await;
    let folder = Folder::new();
    let long = "grace_period_seconds: 60, graceful_shutdown_timeout_seconds: 60";
    folder.write_changed(&setup(&upstream.url()), &[(PATIENCE_OF_TWO, long)]);
    // While it serves, and while it waits for what is in flight.
    for before in [None, Some("TERM")] {
        let mut process = Process::run(&folder);
        let client = process.client().await;
        let before_this = upstream.count();
        let plain = tokio::spawn(client.post(CHAT, question(MODEL)).try_send());
        upstream.wait_for_requests(before_this + 1).await;
        if let Some(signal) = before {
            process.signal(signal);
            refused(process.address().await).await;
        }
        process.signal("INT");
        assert_eq!(process.exit_code().await, 0);
        assert!(plain.await.unwrap().is_err());
    }
    upstream.wait_cancelled(0).await;
    upstream.wait_cancelled(1).await;
    // What was answered before is in the log.
    let answered = folder
        .lines()
        .iter()
        .filter(|line| line["status"] == 404)
        .count();
    assert_eq!(answered, 2);
    assert_cut(&folder, &["shutdown", "shutdown"]);
}
