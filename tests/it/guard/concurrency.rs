//! `max_concurrent`: an endpoint has so many requests at once, and others wait or go elsewhere.

use std::future::IntoFuture;
use std::time::Duration;

use serde_json::{Value, json};
use standin::telemetry::metrics::RoomStatus;

use super::{CHAT, MODEL, question, streaming_question};
use crate::support::{Client, Gateway, Reply, Response, Setup, Step, Upstream, until};

/// The endpoint `gpus` with these fields, and `spare` where the policy has it.
struct Stage {
    gpus: Upstream,
    spare: Upstream,
    gateway: Gateway,
}

fn setup(gpus: &Upstream, spare: &Upstream, endpoint: &str, chain: &[(&str, &str)]) -> Setup {
    Setup::new()
        .listener("{address: 127.0.0.1:0, h2c: true}")
        .endpoint_with("gpus", &gpus.url(), endpoint)
        .endpoint("spare", &spare.url())
        .chain(
            chain,
            "suspend_duration: 60s\nrequest_timeout: 20s\nretries: 2",
        )
        .default_endpoint("gpus")
        .operation("method: POST\npath: /v1/files\ndefault_endpoint: {production: gpus}")
        .admin()
}

const ALONE: &[(&str, &str)] = &[(MODEL, "gpus")];
const WITH_SPARE: &[(&str, &str)] = &[(MODEL, "gpus"), ("spare", "spare")];

impl Stage {
    async fn new(endpoint: &str, chain: &[(&str, &str)]) -> Self {
        let (gpus, spare) = (Upstream::start().await, Upstream::start().await);
        gpus.always(Reply::chat(MODEL, "Hello").held("answer"));
        spare.always(Reply::chat("spare", "Hello from the spare one"));
        let gateway = setup(&gpus, &spare, endpoint, chain).start();
        Self {
            gpus,
            spare,
            gateway,
        }
    }

    /// A client of each protocol.
    fn clients(&self) -> [Client; 2] {
        let h2c = Client::h2c(self.gateway.running.addresses[1]);
        [self.gateway.client(), h2c.key(crate::support::KEY)]
    }

    fn room(&self) -> RoomStatus {
        let rooms = self.gateway.running.gateway.table().rooms();
        let [room] = &rooms[..] else {
            panic!("{rooms:?}")
        };
        room.clone()
    }

    async fn wait_room(&self, in_flight: usize, queued: usize) {
        let what = format!("{in_flight} in flight, {queued} queued");
        let reached = || {
            let room = self.room();
            (room.in_flight, room.queued) == (in_flight, queued)
        };
        until(what, reached).await;
    }

    fn nobody_is_suspended(&self) -> bool {
        let suspensions = self.gateway.running.gateway.suspensions();
        suspensions.list(std::time::Instant::now()).is_empty()
    }
}

fn ask(client: &Client) -> tokio::task::JoinHandle<Response> {
    tokio::spawn(client.post(CHAT, question()).into_future())
}

#[track_caller]
fn assert_busy(answer: &Response) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.header("retry-after"), Some("1"));
    let error = &answer.json()["error"];
    assert_eq!(error["type"], "failover_error");
    assert_eq!(error["attempts"][0]["reason"], "busy");
    assert_eq!(error["attempts"][0]["status"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_no_place_waits_for_one() {
    let stage = Stage::new("max_concurrent: 2\nqueue_timeout: 20s", WITH_SPARE).await;
    let clients = stage.clients();
    let asked: Vec<_> = (0..6).map(|turn| ask(&clients[turn % 2])).collect();
    stage.wait_room(2, 4).await;
    stage.gpus.wait_for_requests(2).await;
    assert_eq!(stage.gpus.count(), 2, "no more than there may be");

    let endpoints = stage.gateway.admin().get("/api/v1/endpoints").await.json();
    let room = json!({"max_concurrent": 2, "in_flight": 2, "queued": 4});
    assert_eq!(endpoints[0]["room"], room);
    assert_eq!(endpoints[1]["room"], Value::Null);
    let metrics = stage.gateway.admin().get("/metrics").await;
    for line in [
        "standin_endpoint_requests{endpoint=\"gpus\"} 2",
        "standin_endpoint_requests_limit{endpoint=\"gpus\"} 2",
        "standin_endpoint_requests_queued{endpoint=\"gpus\"} 4",
    ] {
        assert!(metrics.text().contains(line), "{}", metrics.text());
    }

    stage.gpus.open("answer");
    for answer in asked {
        let answer = answer.await.unwrap();
        assert_eq!(answer.content(), "Hello");
        assert_eq!(answer.header("x-standin-attempts"), Some("1"));
    }
    assert_eq!((stage.gpus.count(), stage.spare.count()), (6, 0));
    stage.wait_room(0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_too_long_goes_elsewhere_and_suspends_nobody() {
    for wait in ["0s", "50ms"] {
        let fields = format!("max_concurrent: 1\nqueue_timeout: {wait}");
        let stage = Stage::new(&fields, WITH_SPARE).await;
        let first = ask(&stage.gateway.client());
        stage.gpus.wait_gate("answer").await;
        for client in stage.clients() {
            let answer = client.post(CHAT, question()).await;
            assert_eq!(answer.content(), "Hello from the spare one");
            let failover = format!("gpus/{MODEL}=busy");
            assert_eq!(answer.header("x-standin-failover"), Some(&*failover));
            assert_eq!(answer.header("x-standin-attempts"), Some("2"));
        }
        assert!(stage.nobody_is_suspended());
        assert_eq!((stage.gpus.count(), stage.spare.count()), (1, 2));
        let metrics = stage.gateway.admin().get("/metrics").await;
        assert!(
            metrics.text().contains("outcome=\"busy\""),
            "{}",
            metrics.text()
        );
        stage.gpus.open("answer");
        assert_eq!(first.await.unwrap().content(), "Hello");
        let again = stage.gateway.client().post(CHAT, question()).await;
        assert_eq!(again.content(), "Hello", "there is a place again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nowhere_else_to_go_it_is_503_on_every_way() {
    let stage = Stage::new("max_concurrent: 1\nqueue_timeout: 20ms", ALONE).await;
    let first = ask(&stage.gateway.client());
    stage.gpus.wait_gate("answer").await;
    for client in stage.clients() {
        assert_busy(&client.post(CHAT, question()).await);
        let unnamed = json!({"model": "another", "messages": []});
        assert_busy(&client.post(CHAT, unnamed).await);
        assert_busy(&client.post("/v1/files", "a file").await);
    }
    assert_eq!(stage.gpus.count(), 1);
    assert!(stage.nobody_is_suspended());

    // Each of them takes a place and gives it back.
    stage.gpus.open("answer");
    assert_eq!(first.await.unwrap().status, 200);
    for client in stage.clients() {
        for _ in 0..3 {
            let unnamed = json!({"model": "another", "messages": []});
            assert_eq!(client.post(CHAT, unnamed).await.status, 200);
            stage.wait_room(0, 0).await;
            assert_eq!(client.post("/v1/files", "a file").await.status, 200);
            stage.wait_room(0, 0).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_while_it_waits_is_forgotten() {
    let stage = Stage::new("max_concurrent: 1\nqueue_timeout: 20s", ALONE).await;
    let first = ask(&stage.gateway.client());
    stage.gpus.wait_gate("answer").await;
    for client in stage.clients() {
        let gone = ask(&client);
        stage.wait_room(1, 1).await;
        gone.abort();
        drop(client);
        stage.wait_room(1, 0).await;
    }
    stage.gpus.open("answer");
    assert_eq!(first.await.unwrap().content(), "Hello");
    let line = &stage.gateway.wait_log(3).await[0];
    assert_eq!(line["error"], "client_gone");
    assert_eq!(stage.gpus.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_takes_nothing_of_the_request_timeout() {
    let upstream = Upstream::start().await;
    let stream = Reply::chat_stream(MODEL, &["one", "two"]);
    upstream.push(stream.before_write(3, Step::Gate("rest")));
    upstream.always(Reply::chat(MODEL, "Hello"));
    let gateway = Setup::new()
        .endpoint_with(
            "gpus",
            &upstream.url(),
            "max_concurrent: 1\nqueue_timeout: 20s",
        )
        .chain(
            ALONE,
            "request_timeout: 200ms\nstream_idle_timeout: 20s\nsuspend_duration: 60s",
        )
        .start();
    let mut answer = gateway.client().open(CHAT, streaming_question()).await;
    answer.next_event().await.unwrap();

    let mut second = ask(&gateway.client());
    let waited = tokio::time::timeout(Duration::from_millis(400), &mut second).await;
    assert!(waited.is_err(), "{waited:?}");
    upstream.open("rest");
    assert!(answer.rest().await.complete);
    assert_eq!(second.await.unwrap().content(), "Hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_has_its_place_to_its_end() {
    let stage = Stage::new("max_concurrent: 1\nqueue_timeout: 0s", ALONE).await;
    let stream = Reply::chat_stream(MODEL, &["one", "two"]);
    stage.gpus.push(stream.before_write(3, Step::Gate("rest")));
    let [client, other] = stage.clients();
    let mut answer = client.open(CHAT, streaming_question()).await;
    answer.next_event().await.unwrap();
    assert_eq!(stage.room().in_flight, 1);
    assert_busy(&other.post(CHAT, question()).await);
    stage.gpus.open("rest");
    assert!(answer.rest().await.complete);
    stage.wait_room(0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_count() {
    let stage = Stage::new("max_concurrent: 2\nqueue_timeout: 20s", ALONE).await;
    let install = |endpoint: &str| {
        let setup = setup(&stage.gpus, &stage.spare, endpoint, ALONE);
        stage.gateway.install(&setup);
    };
    let client = stage.gateway.client();
    let asked: Vec<_> = (0..4).map(|_| ask(&client)).collect();
    stage.wait_room(2, 2).await;

    install("max_concurrent: 3\nqueue_timeout: 20s");
    stage.wait_room(3, 1).await;
    install("max_concurrent: 1\nqueue_timeout: 20ms");
    assert_busy(&client.post(CHAT, question()).await);
    stage.wait_room(3, 1).await;
    stage.gpus.open("answer");
    for answer in asked {
        assert_eq!(answer.await.unwrap().content(), "Hello");
    }
    stage.wait_room(0, 0).await;

    // Without a limit nothing is counted, and one that comes later begins anew.
    install("provider: openai");
    assert_eq!(client.post(CHAT, question()).await.status, 200);
    assert!(stage.gateway.running.gateway.table().rooms().is_empty());
    install("max_concurrent: 1");
    assert_eq!(client.post(CHAT, question()).await.status, 200);
    stage.wait_room(0, 0).await;
}
