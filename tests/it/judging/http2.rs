//! Endpoints that speak HTTP/2: so many streams on one connection, and no more.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use tokio::task::JoinSet;

use super::{CHAT, SUSPENDING, question};
use crate::support::{Client, Gateway, KEY, Reply, Setup, Upstream};

/// Streams that the gateway has on one connection by itself.
const STREAMS: usize = 100;

/// A gateway before `upstream` alone, which has answered once and holds whatever comes next.
async fn stage(upstream: &Upstream) -> (Gateway, Client) {
    let gateway = Setup::new()
        .listener("{address: 127.0.0.1:0, h2c: true}")
        .endpoint_with(
            "target",
            &upstream.url(),
            "provider: openai\nhttp_version: 2",
        )
        .chain(&[("first", "target")], SUSPENDING)
        .start();
    let client = Client::h2c(gateway.running.addresses[1]).key(KEY);
    upstream.push(Reply::chat("first", "Manet."));
    assert_eq!(ask(&client).await, ("Manet.".to_owned(), "1".to_owned()));
    upstream.always(Reply::chat("first", "Monet.").held("answer"));
    (gateway, client)
}

/// What the answer says, and after how many attempts.
async fn ask(client: &Client) -> (String, String) {
    let answer = client.post(CHAT, question("first")).await;
    let attempts = answer.header("x-standin-attempts").unwrap().to_owned();
    (answer.content(), attempts)
}

/// Asks so many times at once; how many are at the upstream on each connection when all are there.
async fn all_at_once(upstream: &Upstream, client: &Client, count: usize) -> Vec<usize> {
    let mut asking = JoinSet::new();
    for _ in 0..count {
        let client = client.clone();
        asking.spawn(async move { ask(&client).await });
    }
    upstream.wait_for_requests(1 + count).await;
    let mut of_connection = BTreeMap::<_, usize>::new();
    for request in &upstream.requests()[1..] {
        *of_connection.entry(request.connection).or_default() += 1;
    }
    upstream.open("answer");
    for answer in asking.join_all().await {
        assert_eq!(answer, ("Monet.".to_owned(), "1".to_owned()));
    }
    of_connection.into_values().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_server_has_fewer_streams_there_are_more_connections() {
    let upstream = Upstream::h2c_with_streams(2).await;
    let (_gateway, client) = stage(&upstream).await;
    let streams = all_at_once(&upstream, &client, 3).await;
    assert!(streams.iter().all(|streams| *streams <= 2), "{streams:?}");
    assert!(streams.len() > 1, "{streams:?}");

    // Those that meet a connection whose limit nobody has heard of wait there, or are sent elsewhere.
    upstream.always(Reply::chat("first", "Monet."));
    let asking = (0..30).map(|_| ask(&client));
    for answer in join_all(asking).await {
        assert_eq!(answer, ("Monet.".to_owned(), "1".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_a_server_without_a_limit_has_so_many_streams() {
    let upstream = Upstream::h2c().await;
    let (_gateway, client) = stage(&upstream).await;
    let streams = all_at_once(&upstream, &client, STREAMS + 20).await;
    assert!(
        streams.iter().all(|streams| *streams <= STREAMS),
        "{streams:?}"
    );
    assert!(streams.len() > 1, "{streams:?}");
}
