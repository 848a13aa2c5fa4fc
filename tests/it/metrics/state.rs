//! What is so at the moment of a scrape.

use std::time::Duration;

use super::{CHAT, Scrape, ask, failure, text};
use crate::support::{Reply, Setup, Upstream};

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_begins_and_ends() {
    let upstream = Upstream::start().await;
    upstream.on_model("m", [failure(500), Reply::chat("m", "Hello")]);
    upstream.on_model("spare", Reply::chat("spare", "Hello"));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(
            &[("m", "openai"), ("spare", "openai")],
            "suspend_duration: 60",
        )
        .start();
    let pair = "production,openai,m 1";
    let scrape = Scrape::of(&gateway);
    assert_eq!(scrape.sum("standin_suspended", &[]), 0.0);
    gateway.client().post(CHAT, ask("m")).await;
    let scrape = Scrape::of(&gateway);
    assert_eq!(scrape.told("standin_suspended"), [pair]);
    assert_eq!(scrape.told("standin_suspensions_total"), [pair]);

    for (_, suspension) in pairs(&gateway) {
        suspension.resume();
    }
    gateway.client().post(CHAT, ask("m")).await;
    let scrape = Scrape::of(&gateway);
    assert_eq!(scrape.told("standin_suspended"), [""; 0]);
    assert_eq!(scrape.told("standin_suspensions_total"), [pair]);
    assert_eq!(upstream.count_for("m"), 2);
}

type Pair = (
    standin::policy::Pair,
    std::sync::Arc<standin::gateway::suspension::PairState>,
);

fn pairs(gateway: &crate::support::Gateway) -> Vec<Pair> {
    let suspensions = gateway.running.gateway.suspensions();
    let listed = suspensions.list(std::time::Instant::now());
    let listed = listed.into_iter();
    listed
        .filter_map(|(pair, _)| Some((pair.clone(), suspensions.get(&pair)?)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_connections_that_are_held() {
    let upstream = Upstream::start().await;
    upstream.on_model("m", Reply::chat("m", "Hello").held("answer"));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(&[("m", "openai")], "")
        .limits("connections: 1")
        .start();
    let body = ask("m").to_string();
    let length = body.len();
    let client = gateway.client();
    let asking = tokio::spawn(async move { client.post(CHAT, body.into_bytes()).await });
    upstream.wait_for_requests(1).await;
    let scrape = Scrape::of(&gateway);
    assert_eq!(
        scrape.told("standin_buffered_bytes"),
        [format!(" {length}")]
    );
    assert_eq!(scrape.told("standin_connections"), [" 1"]);
    assert_eq!(scrape.told("standin_connections_refused_total"), [""; 0]);

    let mut refused = gateway.client().connect().await;
    assert!(refused.closed().await);
    let scrape = Scrape::of(&gateway);
    assert_eq!(scrape.told("standin_connections_refused_total"), [" 1"]);

    upstream.open("answer");
    assert_eq!(asking.await.unwrap().status, 200);
    gateway.wait_log(1).await;
    assert_eq!(Scrape::of(&gateway).told("standin_buffered_bytes"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_are_counted() {
    let upstream = Upstream::start().await;
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(&[("m", "openai")], "")
        .start();
    let deployed = "standin_config_deployed_timestamp_seconds";
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    let age = now.as_secs_f64() - Scrape::of(&gateway).sum(deployed, &[]);
    assert!(age.abs() < Duration::from_secs(60).as_secs_f64(), "{age}");

    let metrics = gateway.running.gateway.metrics();
    let last = "standin_config_last_reload_successful";
    for (success, expected) in [(true, [1.0, 0.0, 1.0]), (false, [1.0, 1.0, 0.0])] {
        metrics.reloaded(success);
        let scrape = Scrape::of(&gateway);
        let total = "standin_config_reloads_total";
        let counts = ["success", "failure"]
            .map(|result| scrape.sum(total, &[&format!("result={result:?}")]));
        assert_eq!([counts[0], counts[1], scrape.sum(last, &[])], expected);
    }
}

/// What every Prometheus client tells of its process.
#[tokio::test(flavor = "multi_thread")]
async fn the_process_s_own_numbers() {
    let gateway = Setup::new()
        .endpoint("openai", "http://127.0.0.1:1")
        .chain(&[("m", "openai")], "")
        .start();
    let text = text(&gateway);
    for name in [
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_max_fds",
        "process_start_time_seconds",
    ] {
        let found = text
            .lines()
            .any(|line| line.starts_with(&format!("{name} ")));
        assert!(found, "{name}");
    }
}
