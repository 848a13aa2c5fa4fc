//! What a reload leaves as it is, and what it changes.

use super::{
    CHAT, ask, backends, counts, question, questions, report, setup, upstreams, wait_healthy,
};
use crate::support::{Reply, Setup, Step, Upstream, secret};

fn fields(upstreams: &[&Upstream], check: &str) -> String {
    let list = backends(upstreams, &[1, 1, 1]);
    let quick = "interval: 100ms, timeout: 80ms, unhealthy_after: 1, slow_start: 0s";
    format!("{list}health_check: {{{quick}{check}}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unchanged_keeps_its_state() {
    let [a, b, c] = upstreams().await;
    a.on_path("/health", [Reply::status(500), Reply::hang()]);
    let gateway = setup(&fields(&[&a, &b], ", healthy_after: 50"), "").start();
    wait_healthy(&gateway, &a, false).await;
    let before = report(&gateway, &a);

    // Nothing has changed.
    gateway.install(&setup(&fields(&[&a, &b], ", healthy_after: 50"), ""));
    assert_eq!(report(&gateway, &a), before);
    // Something about the others has.
    gateway.install(&setup(&fields(&[&a, &c, &b], ", healthy_after: 50"), ""));
    c.wait_for_requests(1).await;
    assert_eq!(report(&gateway, &a), before);
    let asked = counts(&[&a, &b, &c]);
    ask(&gateway.client(), 10).await;
    assert_eq!(
        counts(&[&a, &b, &c]),
        [asked[0], asked[1] + 5, asked[2] + 5]
    );

    // It is still being checked, and comes back when its checks say so.
    a.on_path("/health", Reply::status(200));
    a.wait_for_requests(a.count() + 3).await;
    assert_eq!(
        report(&gateway, &a).since,
        before.since,
        "not yet fifty in a row"
    );
    gateway.install(&setup(&fields(&[&a, &c], ", healthy_after: 2"), ""));
    assert!(report(&gateway, &a).healthy, "changed checks start anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_follow_the_configuration() {
    let [a, b, c, watched] = upstreams().await;
    let gateway = setup(&fields(&[&a, &b], ""), "").start();
    b.wait_for_requests(2).await;
    assert_eq!(c.count(), 0);

    gateway.install(&setup(&fields(&[&a, &c], ""), ""));
    c.wait_for_requests(2).await;
    let gone = b.count();
    a.wait_for_requests(a.count() + 3).await;
    assert!(
        b.count() <= gone + 1,
        "a removed backend is no longer checked"
    );

    // Without checks nobody is unhealthy, whatever checks have found.
    c.on_path("/health", Reply::status(500));
    wait_healthy(&gateway, &c, false).await;
    gateway.install(&unchecked(&[&a, &c], &watched));
    assert!(report(&gateway, &c).healthy && !report(&gateway, &c).checked);
    ask(&gateway.client(), 10).await;
    assert_eq!((questions(&a), questions(&c)), (5, 5));
    let (of_a, of_c) = (a.count(), c.count());
    watched.wait_for_requests(watched.count() + 4).await;
    assert!(
        a.count() <= of_a + 1 && c.count() <= of_c + 1,
        "nobody is checked any more"
    );
}

/// Backends without checks, beside another endpoint's, whose checks tell that their time would have
/// come.
fn unchecked(upstreams: &[&Upstream], watched: &Upstream) -> Setup {
    setup(&backends(upstreams, &[1, 1]), "").bare_endpoint("watched", &fields(&[watched], ""))
}

/// A request that takes longer keeps the old configuration, and what was known in it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_known_long_ago_holds_nobody_back() {
    let [a, b, watched] = upstreams().await;
    let stream = Reply::chat_stream("m", &["Claude", " Monet"]);
    b.on_model("m", stream.before_write(2, Step::Gate("rest")));
    a.on_path("/health", Reply::status(500));
    let checked = || setup(&fields(&[&a, &b], ""), "");
    let gateway = checked().start();
    wait_healthy(&gateway, &a, false).await;
    let mut body = question();
    body["stream"] = true.into();
    let long = gateway.client().post(CHAT, body).open().await;

    gateway.install(&unchecked(&[&a, &b], &watched));
    a.on_path("/health", Reply::status(200));
    // The checks end before they begin anew.
    watched.wait_for_requests(2).await;
    gateway.install(&checked());
    wait_healthy(&gateway, &a, true).await;
    b.open("rest");
    assert!(long.rest().await.complete);
}

/// Another key is another configuration for the checks as for the requests.
#[tokio::test(flavor = "multi_thread")]
async fn checks_show_the_key_that_is_configured_now() {
    let [a, b] = upstreams().await;
    let with_key = |name: &str| {
        let key = format!("\napi_key: {{env: {name}}}");
        setup(&(fields(&[&a, &b], "") + &key), "")
    };
    let gateway = with_key("old").start();
    a.wait_for_requests(1).await;
    let shown = || a.last_request().header("authorization").map(str::to_owned);
    assert_eq!(shown(), Some(format!("Bearer {}", secret("old"))));
    gateway.install(&with_key("new"));
    a.wait_for_requests(a.count() + 2).await;
    assert_eq!(shown(), Some(format!("Bearer {}", secret("new"))));
}
