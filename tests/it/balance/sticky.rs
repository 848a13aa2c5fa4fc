//! The same target for the same conversation.

use serde_json::{Value, json};

use crate::support::{Client, Gateway, Reply, Setup, Upstream};

use super::{CHAT, failure, is_fair, served_by, spread_of};

/// A set of three with these weights at one upstream, and a caller.
fn start(upstream: &Upstream, weights: [u32; 3], fields: &str) -> Gateway {
    let set = ["a", "b", "c"].iter().zip(weights);
    let targets: Vec<_> = set
        .map(|(model, weight)| format!("{{model: {model}, endpoint: one, weight: {weight}}}"))
        .collect();
    let targets = targets.join(", ");
    let policy = format!(
        "match: [any]\nproduction:\n  target: [{targets}]\nsuspend_duration: 1h\nbalance: sticky\n{fields}"
    );
    Setup::new()
        .endpoint("one", &upstream.url())
        .policy("set", &policy)
        .start()
}

async fn answering() -> Upstream {
    let upstream = Upstream::start().await;
    upstream.always(Reply::chat("any", "Hello."));
    upstream
}

/// The `turn`th question of a conversation.
fn conversation(number: usize, turn: usize) -> Value {
    let mut messages = vec![
        json!({"role": "system", "content": "You know all painters."}),
        json!({"role": "user", "content": format!("Who painted number {number}?")}),
    ];
    for earlier in 0..turn {
        messages.push(json!({"role": "assistant", "content": format!("Monet, {earlier}.")}));
        messages.push(json!({"role": "user", "content": "And another one?"}));
    }
    json!({"model": "any", "messages": messages})
}

async fn target_of(client: &Client, number: usize, turn: usize) -> String {
    served_by(&client.post(CHAT, conversation(number, turn)).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_stays_where_it_began() {
    let upstream = answering().await;
    let gateway = start(&upstream, [1, 1, 1], "");
    let client = gateway.client();
    for number in 0..20 {
        let first = target_of(&client, number, 0).await;
        for turn in 1..4 {
            assert_eq!(target_of(&client, number, turn).await, first, "{number}");
        }
    }
    // In the next configuration too, whatever the order there.
    let before = target_of(&client, 7, 0).await;
    let other = Setup::new().endpoint("one", &upstream.url()).policy(
        "set",
        "match: [any]\nproduction:\n  target: [{model: c, endpoint: one}, {model: a, endpoint: one}, {model: b, endpoint: one}]\nbalance: sticky",
    );
    gateway.install(&other);
    assert_eq!(target_of(&client, 7, 1).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_says_what_belongs_together() {
    let upstream = answering().await;
    let gateway = start(&upstream, [1, 1, 1], "sticky_header: x-session-id");
    let client = gateway.client();
    let mut seen = std::collections::BTreeSet::new();
    for session in 0..20 {
        let client = client
            .clone()
            .header("x-session-id", &format!("session-{session}"));
        let first = target_of(&client, 0, 0).await;
        for number in 1..4 {
            assert_eq!(target_of(&client, number, 0).await, first, "{session}");
        }
        seen.insert(first);
    }
    assert!(seen.len() > 1, "all sessions went to {seen:?}");
    assert_eq!(
        upstream.last_request().header("x-session-id"),
        Some("session-19"),
        "it goes upstream as it came"
    );
    // Without the header the messages decide.
    let first = target_of(&client, 3, 0).await;
    assert_eq!(target_of(&client, 3, 2).await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_conversations_have_their_shares() {
    let upstream = answering().await;
    let gateway = start(&upstream, [5, 3, 2], "");
    let seen = spread_of(&gateway, 10_000, |number| conversation(number, 0)).await;
    assert!(
        is_fair(&seen, &[("a", 0.5), ("b", 0.3), ("c", 0.2)]),
        "{seen:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_suspended_moves_only_its_own_share() {
    let upstream = answering().await;
    let gateway = start(&upstream, [1, 1, 1], "");
    let client = gateway.client();
    let mut before = Vec::new();
    for number in 0..60 {
        before.push(target_of(&client, number, 0).await);
    }
    upstream.on_model("b", failure(500));
    let mut moved_to = std::collections::BTreeSet::new();
    for (number, before) in before.iter().enumerate() {
        let now = target_of(&client, number, 1).await;
        if before == "b" {
            moved_to.insert(now);
        } else {
            assert_eq!(&now, before, "{number}");
        }
    }
    assert_eq!(
        moved_to.into_iter().collect::<String>(),
        "ac",
        "both get some of it"
    );

    let suspensions = gateway.running.gateway.suspensions();
    let (pair, _) = suspensions.list(std::time::Instant::now()).remove(0);
    suspensions.get(&pair).unwrap().resume();
    upstream.on_model("b", Reply::chat("any", "Hello."));
    for (number, before) in before.iter().enumerate() {
        assert_eq!(&target_of(&client, number, 2).await, before, "{number}");
    }
}
