//! The quicker of two.

use std::time::Duration;

use serde_json::json;

use crate::support::{Gateway, Reply, Setup, Step, Upstream};

use super::{CHAT, ask, failure, is_fair, served_by, spread_of};

const MODELS: [&str; 3] = ["quick", "middling", "slow"];

fn start(upstream: &Upstream, fields: &str) -> Gateway {
    let targets = MODELS.map(|model| format!("{{model: {model}, endpoint: one}}"));
    let targets = targets.join(", ");
    let policy = format!(
        "match: [any]\nproduction:\n  target: [{targets}]\nbalance: latency\nrequest_timeout: 20s\n{fields}"
    );
    Setup::new()
        .endpoint("one", &upstream.url())
        .policy("set", &policy)
        .start()
}

/// Of three the slowest wins no comparison, the middling one the third of them that are without the
/// quickest.
#[tokio::test(flavor = "multi_thread")]
async fn of_each_two_the_quicker_one() {
    let upstream = Upstream::start().await;
    for (model, millis) in MODELS.into_iter().zip([0, 60, 300]) {
        let reply = Reply::chat(model, "Hello.").delayed(Duration::from_millis(millis));
        upstream.on_model(model, reply);
    }
    let gateway = start(&upstream, "");
    let client = gateway.client();
    // Each is measured once, as nothing is known of it.
    while upstream.count_for("slow") == 0 || upstream.count_for("middling") == 0 {
        served_by(&client.post(CHAT, ask("any")).await);
    }
    let slow = upstream.count_for("slow");
    assert_eq!(slow, 1);
    let shares = [("quick", 2.0 / 3.0), ("middling", 1.0 / 3.0)];
    let mut seen = spread_of(&gateway, 10_000, |_| ask("any")).await;
    if !is_fair(&seen, &shares) {
        // Chance is out of three standard deviations once in 370 times.
        seen = spread_of(&gateway, 10_000, |_| ask("any")).await;
    }
    assert!(is_fair(&seen, &shares), "{seen:?}");
    // By chance alone it would be a third of them; a few are measurements, or moments in which the machine
    // held the others up.
    let measured_again = upstream.count_for("slow") - slow;
    assert!(measured_again <= 200, "{measured_again}");
}

/// What counts of a stream is its first token, not its head nor its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_s_first_token_counts() {
    let upstream = Upstream::start().await;
    let tokens = ["Hel", "lo", "."];
    let pause = |millis| Step::Wait(Duration::from_millis(millis));
    let stream = |model: &str| Reply::chat_stream(model, &tokens);
    upstream.on_model("quick", stream("quick").before_write(3, pause(150)));
    upstream.on_model("middling", stream("middling").before_write(1, pause(120)));
    upstream.on_model("slow", stream("slow").before_write(1, pause(400)));
    let gateway = start(&upstream, "");
    let client = gateway.client();
    let request = || json!({"model": "any", "stream": true, "messages": [{"role": "user", "content": "Hello"}]});
    // Each is measured once, as nothing is known of it.
    while upstream.count_for("slow") == 0 || upstream.count_for("middling") == 0 {
        served_by(&client.post(CHAT, request()).await);
    }
    assert_eq!(upstream.count_for("slow"), 1);
    // Two thirds and one: as many of both would be five standard deviations off.
    let seen = spread_of(&gateway, 200, move |_| request()).await;
    assert!(seen["quick"] > seen["middling"], "{seen:?}");
}

/// One that fails at once would be the quickest of all.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_not_quick() {
    let upstream = Upstream::start().await;
    upstream.on_model("quick", failure(500));
    for model in ["middling", "slow"] {
        upstream.on_model(model, Reply::chat(model, "Hello."));
    }
    let gateway = start(&upstream, "");
    let seen = spread_of(&gateway, 400, |_| ask("any")).await;
    assert_eq!(seen.values().sum::<usize>(), 400);
    // Measured once, and in the moments before that was known.
    assert!(
        upstream.count_for("quick") < 40,
        "{}",
        upstream.count_for("quick")
    );
}
