//! Active health checks.

use super::{
    CHAT, ask, backends, counts, question, questions, report, setup, upstreams, wait_healthy,
};
use crate::support::{Certificate, Reply, Setup, Step, Upstream, secret, until};

/// Checks that come quickly, and no slow start: that has tests of its own.
const QUICK: &str = "interval: 100ms, timeout: 80ms, unhealthy_after: 2, slow_start: 0s";

fn checked(list: &str, check: &str) -> String {
    format!("{list}health_check: {{{QUICK}{check}}}\n")
}

async fn wait_checks(upstream: &Upstream, more: usize) {
    upstream.wait_for_requests(upstream.count() + more).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unhealthy_backend_is_left_out_until_it_is_back() {
    let [a, b] = upstreams().await;
    let gateway = setup(&checked(&backends(&[&a, &b], &[1, 1]), ""), "").start();
    let sick = report(&gateway, &a);
    assert!(
        sick.healthy && sick.checked && sick.since.is_none(),
        "{sick:?}"
    );

    a.on_path("/health", Reply::status(500));
    wait_healthy(&gateway, &a, false).await;
    let before = questions(&a);
    ask(&gateway.client(), 20).await;
    for _ in 0..4 {
        assert_eq!(gateway.client().get("/v1/models").await.status, 200);
    }
    assert_eq!(questions(&a), before);
    assert!(
        a.requests()
            .iter()
            .all(|request| request.path() == "/health")
    );
    let sick = report(&gateway, &a);
    assert!(!sick.healthy && sick.since.is_some(), "{sick:?}");
    assert!(report(&gateway, &b).healthy);

    a.on_path("/health", Reply::status(204));
    wait_healthy(&gateway, &a, true).await;
    let now = counts(&[&a, &b]);
    ask(&gateway.client(), 20).await;
    assert_eq!(counts(&[&a, &b]), [now[0] + 10, now[1] + 10]);
}

/// What makes a check fail.
#[tokio::test(flavor = "multi_thread")]
async fn status_body_and_time_are_what_is_checked() {
    for (check, healthy, sick) in [
        ("", Reply::status(299), Reply::status(302)),
        (", status: 401", Reply::status(401), Reply::status(200)),
        (
            ", body: '\"ready\":true'",
            Reply::status(200).body("{\"loading\":false,\"ready\":true}"),
            Reply::status(200).body("{\"ready\":false}"),
        ),
        ("", Reply::status(200), Reply::hang()),
        ("", Reply::status(200), Reply::reset()),
        (
            ", body: ready",
            Reply::status(200).body("ready"),
            Reply::status(200)
                .body("ready")
                .cut_body_at(3, Step::Gate("never")),
        ),
    ] {
        let [a, b] = upstreams().await;
        a.on_path("/health", healthy.clone());
        b.on_path("/health", healthy.clone());
        let fields = checked(&backends(&[&a, &b], &[1, 1]), check);
        let gateway = setup(&fields, "").start();
        wait_checks(&a, 3).await;
        assert!(report(&gateway, &a).healthy, "{check}");
        a.on_path("/health", sick);
        wait_healthy(&gateway, &a, false).await;
        assert!(report(&gateway, &b).healthy, "{check}");
        a.on_path("/health", healthy);
        wait_healthy(&gateway, &a, true).await;
    }
}

/// A single failure among successes, and a single success among failures, change nothing.
#[tokio::test(flavor = "multi_thread")]
async fn flapping_changes_nothing() {
    let [a, b] = upstreams().await;
    let [up, down] = [|| Reply::status(200), || Reply::status(503)];
    let flapping = [up(), down(), up(), down(), up(), down(), up()];
    a.on_path("/health", flapping);
    let fields = checked(&backends(&[&a, &b], &[1, 1]), ", healthy_after: 2");
    let gateway = setup(&fields, "").start();
    a.wait_for_requests(8).await;
    let steady = report(&gateway, &a);
    assert!(steady.healthy && steady.since.is_none(), "{steady:?}");

    a.on_path("/health", down());
    wait_healthy(&gateway, &a, false).await;
    let since = report(&gateway, &a).since;
    a.on_path("/health", [up(), down(), up(), down(), up(), down()]);
    wait_checks(&a, 7).await;
    let steady = report(&gateway, &a);
    assert!(!steady.healthy && steady.since == since, "{steady:?}");
    a.on_path("/health", up());
    wait_healthy(&gateway, &a, true).await;
}

/// The check goes the way that requests go: TLS, name, key.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_is_sent_as_requests_are() {
    let folder = tempfile::tempdir().unwrap();
    for version in ["1.1", "2"] {
        let [a, b] = [
            Upstream::tls(Certificate::Valid).await,
            Upstream::tls(Certificate::Valid).await,
        ];
        a.always(Reply::status(200));
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, a.ca_pem()).unwrap();
        let fields = format!(
            "backends: [{{url: {}/base}}, {{url: {}}}]\napi_key: {{env: gpus}}\ntls: {{ca: {ca:?}}}\nhttp_version: {version}\n",
            a.url_of("localhost"),
            b.url_of("localhost"),
        );
        let gateway = setup(&checked(&fields, ", path: /up"), "").start();
        a.wait_for_requests(2).await;
        let check = a.last_request();
        assert_eq!((&*check.method.to_string(), check.path()), ("GET", "/up"));
        let authority = format!("localhost:{}", a.port());
        assert_eq!(
            check.header("host").or(check.header(":authority")),
            Some(&*authority)
        );
        assert_eq!(check.sni.as_deref(), Some("localhost"));
        let credential = format!("Bearer {}", secret("gpus"));
        assert_eq!(check.header("authorization"), Some(&*credential));

        // The other's certificate is of an authority that is not trusted.
        let name = format!("localhost:{}", b.port());
        let is_down = || {
            let backends = gateway.running.gateway.backends();
            backends
                .iter()
                .any(|report| *report.backend == *name && !report.healthy)
        };
        until("the other to be unhealthy", is_down).await;
        assert_eq!(b.count(), 0);
    }
}

/// An endpoint without a healthy backend is passed over, and asked again when one is back.
#[tokio::test(flavor = "multi_thread")]
async fn an_unhealthy_endpoint_is_passed_over() {
    let [a, b, fallback] = upstreams().await;
    let fields = checked(&backends(&[&a, &b], &[1, 1]), "");
    let gateway = Setup::new()
        .bare_endpoint("gpus", &fields)
        .endpoint("spare", &fallback.url())
        .chain(&[("m", "gpus"), ("n", "spare")], "")
        .start();
    for upstream in [&a, &b] {
        upstream.on_path("/health", Reply::status(500));
    }
    wait_healthy(&gateway, &a, false).await;
    wait_healthy(&gateway, &b, false).await;
    let before = counts(&[&a, &b]);
    let answer = gateway.client().post(CHAT, question()).await;
    assert_eq!(answer.header("x-standin-endpoint"), Some("spare"));
    assert_eq!(
        answer.header("x-standin-attempts"),
        Some("1"),
        "no attempt was made there"
    );
    assert_eq!(fallback.last_request().model().as_deref(), Some("n"));
    assert_eq!(counts(&[&a, &b]), before);

    a.on_path("/health", Reply::status(200));
    wait_healthy(&gateway, &a, true).await;
    let answer = gateway.client().post(CHAT, question()).await;
    assert_eq!(answer.header("x-standin-endpoint"), Some("gpus"));
    assert_eq!((questions(&a), questions(&b)), (before[0] + 1, before[1]));
}

/// A single backend that is checked is an endpoint that can be unhealthy.
#[tokio::test(flavor = "multi_thread")]
async fn with_nowhere_else_to_go() {
    let [only] = upstreams().await;
    let check = "health_check: {interval: 3s, timeout: 50ms, unhealthy_after: 1, healthy_after: 2}";
    let fields = format!("url: {}\n{check}", only.url());
    only.on_path("/health", Reply::status(500));

    let gateway = setup(&fields, "").start();
    wait_healthy(&gateway, &only, false).await;
    let answer = gateway.client().post(CHAT, question()).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), Some("6"), "two checks away");
    let error = &answer.json()["error"];
    assert_eq!(error["code"], "all_targets_suspended");
    assert_eq!(error["attempts"], serde_json::json!([]), "none was made");
    assert_eq!(questions(&only), 0);
    // Without a policy there is nobody to pass it over for.
    assert_eq!(gateway.client().get("/v1/models").await.status, 200);

    let soonest = setup(&fields, "when_all_suspended: try_soonest").start();
    wait_healthy(&soonest, &only, false).await;
    let answer = soonest.client().post(CHAT, question()).await;
    assert_eq!((answer.status, questions(&only)), (200, 1));
}

/// Of a returned backend's turns it takes a tenth at first, and all of them in the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_returned_backend_starts_slowly() {
    for balance in ["round_robin", "random", "least_busy"] {
        let [a, b] = upstreams().await;
        let list = backends(&[&a, &b], &[1, 1]);
        let check = "interval: 100ms, timeout: 80ms, unhealthy_after: 1, slow_start: 1h";
        let fields = format!("{list}balance: {balance}\nhealth_check: {{{check}}}");
        a.on_path("/health", Reply::status(500));
        let gateway = setup(&fields, "").start();
        wait_healthy(&gateway, &a, false).await;
        a.on_path("/health", Reply::status(200));
        wait_healthy(&gateway, &a, true).await;
        let share = report(&gateway, &a).share;
        assert!((0.09..0.12).contains(&share), "{share}");
        let before = questions(&a);
        let client = gateway.client();
        for _ in 0..400 {
            assert_eq!(client.post(CHAT, question()).await.status, 200);
        }
        let taken = questions(&a) - before;
        assert!((10..=45).contains(&taken), "{taken} of 400 by {balance}");
    }

    let [a, b] = upstreams().await;
    let list = backends(&[&a, &b], &[1, 1]);
    let check = "interval: 100ms, timeout: 80ms, unhealthy_after: 1, slow_start: 200ms";
    a.on_path("/health", Reply::status(500));
    let gateway = setup(&format!("{list}health_check: {{{check}}}"), "").start();
    wait_healthy(&gateway, &a, false).await;
    a.on_path("/health", Reply::status(200));
    wait_healthy(&gateway, &a, true).await;
    let whole = || report(&gateway, &a).share >= 1.0;
    until("the whole share", whole).await;
    let before = counts(&[&a, &b]);
    ask(&gateway.client(), 20).await;
    assert_eq!(counts(&[&a, &b]), [before[0] + 10, before[1] + 10]);
}
