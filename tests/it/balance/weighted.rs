//! Weights: exact over a cycle, of those that are not suspended.

use crate::support::{Reply, Setup, Upstream};

use super::{CHAT, ask, failure, received, served_by, spread, spread_of};

fn policy(targets: &[(&str, &str, u32)], fields: &str) -> String {
    let mut text = String::from("match: [any]\nproduction:\n  target:\n");
    for (model, endpoint, weight) in targets {
        text.push_str(&format!(
            "    - {{model: {model}, endpoint: {endpoint}, weight: {weight}}}\n"
        ));
    }
    text + fields
}

async fn answering() -> Upstream {
    let upstream = Upstream::start().await;
    upstream.always(Reply::chat("any", "Hello."));
    upstream
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_requests_by_many_callers_fall_exactly_by_weight() {
    let (openai, mistral) = (answering().await, answering().await);
    let targets = [("large", "openai", 3), ("small", "mistral", 1)];
    let gateway = Setup::new()
        .endpoint("openai", &openai.url())
        .endpoint("mistral", &mistral.url())
        .policy("set", &policy(&targets, ""))
        .start();
    let seen = spread_of(&gateway, 10_000, |_| ask("any")).await;
    assert_eq!(seen, spread([("large", 7500), ("small", 2500)]));
    assert_eq!(received(&[&openai, &mistral]), seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_cycle_is_exact_and_its_turns_are_spread() {
    let upstream = answering().await;
    let targets = [("a", "one", 5), ("b", "one", 1), ("c", "one", 1)];
    let gateway = Setup::new()
        .endpoint("one", &upstream.url())
        .policy("set", &policy(&targets, ""))
        .start();
    let client = gateway.client();
    for _ in 0..3 {
        let mut cycle = String::new();
        for _ in 0..7 {
            cycle += &served_by(&client.post(CHAT, ask("any")).await);
        }
        assert_eq!(cycle, "aabacaa");
    }
}

/// The share of one that is suspended goes to the others as their weights say, cycle by cycle; when
/// it is back so is its share.
#[tokio::test(flavor = "multi_thread")]
async fn exact_over_what_is_not_suspended() {
    let (good, bad) = (answering().await, Upstream::start().await);
    bad.push(failure(500));
    bad.always(Reply::chat("any", "Hello."));
    let targets = [("a", "good", 3), ("b", "bad", 4), ("c", "good", 1)];
    let gateway = Setup::new()
        .endpoint("good", &good.url())
        .endpoint("bad", &bad.url())
        .policy("set", &policy(&targets, "suspend_duration: 1h"))
        .start();
    let client = gateway.client();
    while bad.count() == 0 {
        served_by(&client.post(CHAT, ask("any")).await);
    }
    // Its request was the first turn of the two that are left.
    let before = received(&[&good]);
    let seen = spread_of(&gateway, 4_000, |_| ask("any")).await;
    assert_eq!(seen, spread([("a", 3000), ("c", 1000)]), "after {before:?}");
    assert_eq!(bad.count(), 1);

    let suspensions = gateway.running.gateway.suspensions();
    let (pair, _) = suspensions.list(std::time::Instant::now()).remove(0);
    suspensions.get(&pair).unwrap().resume();
    let seen = spread_of(&gateway, 8_000, |_| ask("any")).await;
    assert_eq!(seen, spread([("a", 3000), ("b", 4000), ("c", 1000)]));
}

/// One that fails and isn't remembered for it has its turns all the same, and what it fails falls on
/// the others by weight.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_failed_draws_again_among_the_others() {
    let (good, bad) = (answering().await, Upstream::start().await);
    bad.always(failure(500));
    let targets = [("a", "good", 1), ("b", "bad", 4), ("c", "good", 3)];
    let gateway = Setup::new()
        .endpoint("good", &good.url())
        .endpoint("bad", &bad.url())
        .policy("set", &policy(&targets, ""))
        .start();
    let seen = spread_of(&gateway, 800, |_| ask("any")).await;
    assert_eq!(seen, spread([("a", 200), ("c", 600)]));
    assert_eq!(bad.count(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fallbacks_come_after_the_whole_set() {
    let (good, bad) = (answering().await, Upstream::start().await);
    bad.always(failure(500));
    let targets = [("a", "bad", 1), ("b", "bad", 1), ("c", "bad", 1)];
    let fallbacks = "  fallbacks:\n    - {model: d, endpoint: good}\n    - {model: e, endpoint: good}\nsuspend_duration: 1h";
    let gateway = Setup::new()
        .endpoint("good", &good.url())
        .endpoint("bad", &bad.url())
        .policy("set", &policy(&targets, fallbacks))
        .start();
    let client = gateway.client();
    let first = client.post(CHAT, ask("any")).await;
    assert_eq!(served_by(&first), "d");
    assert_eq!(first.header("x-standin-attempts"), Some("4"));
    assert_eq!(received(&[&bad]), spread([("a", 1), ("b", 1), ("c", 1)]));
    let second = client.post(CHAT, ask("any")).await;
    assert_eq!(served_by(&second), "d");
    assert_eq!(second.header("x-standin-attempts"), Some("1"));
}
