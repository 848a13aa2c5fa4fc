//! Which backend a request gets.

use std::collections::HashMap;

use super::{CHAT, ask, backends, counts, question, report, setup, upstreams};
use crate::support::{Dead, Gateway, Reply, Step, Upstream, within};

const REQUESTS: usize = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn turns_fall_exactly_by_weight() {
    let [a, b, c] = upstreams().await;
    let all = [&a, &b, &c];
    let gateway = setup(&backends(&all, &[5, 3, 2]), "").start();
    ask(&gateway.client(), REQUESTS).await;
    assert_eq!(counts(&all), [5000, 3000, 2000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn chance_falls_by_weight_within_three_standard_deviations() {
    let [a, b, c] = upstreams().await;
    let all = [&a, &b, &c];
    let fields = backends(&all, &[5, 3, 2]) + "balance: random";
    let gateway = setup(&fields, "").start();
    ask(&gateway.client(), REQUESTS).await;
    let first = counts(&all);
    assert_ne!(first, [5000, 3000, 2000], "by chance, not in turn");
    if !is_fair(&first) {
        // Chance is out of three standard deviations once in a hundred of these triples.
        ask(&gateway.client(), REQUESTS).await;
        let both = counts(&all);
        let second = [0, 1, 2].map(|index| both[index] - first[index]);
        assert!(is_fair(&second), "{first:?}, {second:?}");
    }
}

/// Whether every share is within three standard deviations of what its weight says.
fn is_fair(counts: &[usize]) -> bool {
    counts.iter().zip([0.5, 0.3, 0.2]).all(|(&count, share)| {
        let expected = REQUESTS as f64 * share;
        let deviation = (expected * (1.0 - share)).sqrt();
        (count as f64 - expected).abs() < 3.0 * deviation
    })
}

/// In turn, whoever proxies.
#[tokio::test(flavor = "multi_thread")]
async fn requests_without_a_policy_take_the_same_turns() {
    let [a, b] = upstreams().await;
    let gateway = setup(&backends(&[&a, &b], &[3, 1]), "").start();
    let client = gateway.client();
    for _ in 0..8 {
        assert_eq!(client.get("/v1/models").await.status, 200);
    }
    assert_eq!((a.count(), b.count()), (6, 2));
}

/// Which of the upstreams each session has reached.
fn sessions(upstreams: &[&Upstream]) -> HashMap<String, usize> {
    let mut homes = HashMap::new();
    for (index, upstream) in upstreams.iter().enumerate() {
        for request in upstream.requests() {
            let session = request.header("x-session").expect("the header").to_owned();
            let before = homes.insert(session.clone(), index);
            assert!(before.is_none_or(|home| home == index), "{session} moved");
        }
    }
    homes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_stays_and_only_those_of_a_dead_backend_move() {
    let [a, b, mut c] = upstreams().await;
    let fields =
        backends(&[&a, &b, &c], &[1, 1, 1]) + "balance: consistent\naffinity_header: X-Session";
    let gateway = setup(&fields, "").start();
    let client = gateway.client();
    let ask_all = async || {
        for session in 0..90 {
            let request = client
                .post(CHAT, question())
                .header("x-session", &session.to_string());
            assert_eq!(request.await.status, 200);
            let request = client
                .get("/v1/models")
                .header("x-session", &session.to_string());
            assert_eq!(request.await.status, 200);
        }
    };
    ask_all().await;
    ask_all().await;
    let before = sessions(&[&a, &b, &c]);
    for home in 0..3 {
        let count = before.values().filter(|&&at| at == home).count();
        assert!(count > 10, "{before:?}");
    }

    c.go_down().await;
    ask_all().await;
    let after = sessions(&[&a, &b]);
    let moved = before.values().filter(|&&home| home == 2).count();
    let stayed = before
        .iter()
        .filter(|(session, home)| after.get(*session) == Some(*home));
    assert_eq!(after.len(), 90);
    assert_eq!(stayed.count(), 90 - moved);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_header_requests_take_turns() {
    let [a, b] = upstreams().await;
    let fields = backends(&[&a, &b], &[3, 1]) + "balance: consistent\naffinity_header: x-session";
    let gateway = setup(&fields, "").start();
    ask(&gateway.client(), 40).await;
    assert_eq!(counts(&[&a, &b]), [30, 10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_busy_one_is_asked() {
    let [slow, quick] = upstreams().await;
    slow.always(Reply::chat("m", "At last.").held("later"));
    let fields = backends(&[&slow, &quick], &[1, 1]) + "balance: least_busy";
    let gateway = setup(&fields, "").start();
    let client = gateway.client();
    // Of equals the first is the first.
    let held = client.post(CHAT, question());
    let rest = async {
        slow.wait_gate("later").await;
        let lone = gateway.client();
        for _ in 0..20 {
            assert_eq!(lone.post(CHAT, question()).await.status, 200);
        }
        assert_eq!(report(&gateway, &slow).in_flight, Some(1));
        assert_eq!((slow.count(), quick.count()), (1, 20));
        slow.open("later");
    };
    let (held, ()) = within("all answers", async { tokio::join!(held, rest) }).await;
    assert_eq!(held.content(), "At last.");
    for upstream in [&slow, &quick] {
        wait_idle(&gateway, upstream).await;
    }
}

/// Until no request is under way there: its end may come just after the client has all.
async fn wait_idle(gateway: &Gateway, upstream: &Upstream) {
    within(format!("nothing to be under way at {upstream}"), async {
        while report(gateway, upstream).in_flight != Some(0) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A stream is under way until its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_counts_until_it_ends() {
    let [a, b] = upstreams().await;
    for upstream in [&a, &b] {
        let stream = Reply::chat_stream("m", &["Claude", " Monet"]);
        upstream.always(stream.before_write(2, Step::Gate("rest")));
    }
    let fields = backends(&[&a, &b], &[1, 1]) + "balance: least_busy";
    let gateway = setup(&fields, "").start();
    let mut body = question();
    body["stream"] = true.into();
    let one = gateway.client().post(CHAT, body.clone()).open().await;
    let other = gateway.client().post(CHAT, body).open().await;
    for upstream in [&a, &b] {
        assert_eq!(
            (upstream.count(), report(&gateway, upstream).in_flight),
            (1, Some(1))
        );
        upstream.open("rest");
    }
    assert!(one.rest().await.complete && other.rest().await.complete);
    for upstream in [&a, &b] {
        wait_idle(&gateway, upstream).await;
    }
}

/// Whatever the balance, a dead backend costs no request and no attempt, and none is tried twice.
#[tokio::test(flavor = "multi_thread")]
async fn another_backend_is_tried_where_one_can_t_be_reached() {
    for balance in [
        "balance: round_robin",
        "balance: random",
        "balance: consistent\naffinity_header: x-session",
        "balance: least_busy",
    ] {
        let dead = Dead::refusing();
        let [alive] = upstreams().await;
        let list = format!(
            "backends: [{{url: {}, weight: 9}}, {{url: {}}}]\n",
            dead.url(),
            alive.url()
        );
        let gateway = setup(&(list + balance), "").start();
        let client = gateway.client().header("x-session", "7");
        ask(&client, 20).await;
        assert_eq!(alive.count(), 20, "{balance}");
        for _ in 0..20 {
            let answer = client.get("/v1/models").await;
            assert_eq!(answer.status, 200, "{balance}: {answer:?}");
        }
        assert_eq!(alive.count(), 40, "{balance}");
    }
}

/// When none can be reached, each was asked once and the pair has failed, in one attempt.
#[tokio::test(flavor = "multi_thread")]
async fn when_none_can_be_reached_the_attempt_has_failed() {
    for balance in ["round_robin", "random", "least_busy"] {
        let [mut a, mut b] = upstreams().await;
        a.go_down().await;
        b.go_down().await;
        let fields = backends(&[&a, &b], &[1, 1]) + "balance: " + balance;
        let gateway = setup(&fields, "suspend_duration: 60s").start();
        let answer = gateway.client().post(CHAT, question()).await;
        assert_eq!(answer.status, 502);
        assert_eq!(answer.header("x-standin-attempts"), Some("1"));
        let attempts = &answer.json()["error"]["attempts"];
        assert_eq!(attempts.as_array().unwrap().len(), 1, "{attempts}");
        assert_eq!(attempts[0]["reason"], "refused");
        for upstream in [&a, &b] {
            assert!(
                !answer.text().contains(&upstream.port().to_string()),
                "{answer:?}"
            );
        }
        let native = gateway.client().get("/v1/models").await;
        assert_eq!(native.status, 502, "{native:?}");
        assert_eq!(gateway.client().post(CHAT, question()).await.status, 503);
    }
}
