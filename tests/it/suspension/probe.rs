//! How a suspension ends: one request is let through, and its outcome decides.

use standin::gateway::suspension::Standing;
use tokio::task::JoinHandle;

use super::{CHAT, answer, ask, failure, left_out, list, served_by, suspension, wait_ended};
use crate::support::{Gateway, Reply, Response, Setup, Upstream, bodies, within};

const TARGETS: [(&str, &str); 2] = [("first", "openai"), ("second", "openai")];

/// The target fails its first request; what it answers after that is the test's. The fallback is
/// well. The suspension is over.
async fn after_a_suspension(then: impl IntoIterator<Item = Reply>) -> (Upstream, Gateway) {
    let upstream = Upstream::start().await;
    let mut replies = vec![failure(500)];
    replies.extend(then);
    upstream.on_model("first", replies);
    upstream.on_model("second", answer("second"));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(&TARGETS, "suspend_duration: 300ms")
        .start();
    let failed_over = gateway.client().post(CHAT, ask("first")).await;
    assert_eq!(served_by(&failed_over), "second");
    wait_ended(&gateway, "first").await;
    (upstream, gateway)
}

fn in_the_background(gateway: &Gateway) -> JoinHandle<Response> {
    tokio::spawn(gateway.client().post(CHAT, ask("first")).into_future())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_probes_while_others_pass_the_pair_by_and_success_ends_it() {
    let (upstream, gateway) =
        after_a_suspension([answer("first").held("probe"), answer("first")]).await;
    let probe = in_the_background(&gateway);
    upstream.wait_gate("probe").await;
    assert_eq!(suspension(&gateway, "first").standing, Standing::Probing);

    for _ in 0..3 {
        let other = gateway.client().post(CHAT, ask("first")).await;
        assert_eq!(served_by(&other), "second");
        assert_eq!(other.header("x-standin-attempts"), Some("1"));
    }
    assert_eq!(upstream.count_for("first"), 2, "the failure and the probe");

    upstream.open("probe");
    let probe = probe.await.unwrap();
    assert_eq!(served_by(&probe), "first");
    assert_eq!(probe.header("x-standin-attempts"), Some("1"));
    assert_eq!(left_out(&gateway), [""; 0]);
    for asked in 3..6 {
        let next = gateway.client().post(CHAT, ask("first")).await;
        assert_eq!(served_by(&next), "first");
        assert_eq!(upstream.count_for("first"), asked);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_come_at_once_one_probes() {
    let (upstream, gateway) =
        after_a_suspension([answer("first").held("probe"), answer("first")]).await;
    let mut requests: Vec<_> = (0..20).map(|_| in_the_background(&gateway)).collect();
    upstream.wait_for_requests(2 + 20).await;
    assert_eq!(upstream.count_for("first"), 2);
    upstream.open("probe");
    let mut probes = 0;
    for request in requests.drain(..) {
        probes += usize::from(served_by(&request.await.unwrap()) == "first");
    }
    assert_eq!(probes, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_probe_renews_the_suspension_and_its_request_fails_over() {
    let (upstream, gateway) = after_a_suspension([failure(503)]).await;
    let ended = suspension(&gateway, "first").until;

    let probe = gateway.client().post(CHAT, ask("first")).await;
    assert_eq!(served_by(&probe), "second");
    assert_eq!(probe.header("x-standin-failover"), Some("openai/first=503"));
    let renewed = suspension(&gateway, "first");
    assert!(renewed.until > ended);
    assert_eq!(&*renewed.reason, "503");

    wait_ended(&gateway, "first").await;
    assert_eq!(upstream.count_for("first"), 2, "the failure and the probe");
    gateway.client().post(CHAT, ask("first")).await;
    assert_eq!(upstream.count_for("first"), 3, "it is probed again");
}

/// A stream's verdict is its first content: a long answer is no long probe.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_has_proved_itself_with_its_first_content() {
    let mut events = bodies::chat_events("first", &["Hel", "lo"]);
    let rest = events.split_off(2);
    let stream = Reply::sse(events)
        .then(crate::support::Step::Gate("rest"))
        .then(crate::support::Step::write(rest.concat()));
    let (upstream, gateway) = after_a_suspension([stream, answer("first")]).await;
    let mut body = ask("first");
    body["stream"] = true.into();
    let mut probe = gateway.client().open(CHAT, body).await;
    while probe.next_event().await.unwrap().content().as_deref() != Some("Hel") {}

    assert_eq!(left_out(&gateway), [""; 0]);
    let next = gateway.client().post(CHAT, ask("first")).await;
    assert_eq!(served_by(&next), "first");
    upstream.open("rest");
    assert!(probe.rest().await.transcript().done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_whose_client_hangs_up_hands_the_claim_back() {
    let (upstream, gateway) = after_a_suspension([Reply::hang(), answer("first")]).await;
    let probe = in_the_background(&gateway);
    upstream.wait_for_requests(3).await;
    assert_eq!(suspension(&gateway, "first").standing, Standing::Probing);
    probe.abort();
    upstream.wait_cancelled(2).await;
    wait_ended(&gateway, "first").await;

    let next = gateway.client().post(CHAT, ask("first")).await;
    assert_eq!(served_by(&next), "first", "the next request is the probe");
    assert_eq!(left_out(&gateway), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_does_not_fit_hands_the_claim_back() {
    let too_long = Reply::json(400, &bodies::openai_context_length_exceeded());
    let (_upstream, gateway) = after_a_suspension([too_long, answer("first")]).await;
    let probe = gateway.client().post(CHAT, ask("first")).await;
    assert_eq!(served_by(&probe), "second");
    assert_eq!(suspension(&gateway, "first").standing, Standing::Ended);
    let next = gateway.client().post(CHAT, ask("first")).await;
    assert_eq!(served_by(&next), "first");
    assert_eq!(left_out(&gateway), [""; 0]);
}

/// Where every other target is suspended, a probe under way keeps nobody out.
#[tokio::test(flavor = "multi_thread")]
async fn with_nowhere_else_to_go_a_request_goes_beside_the_probe() {
    let upstream = Upstream::start().await;
    upstream.on_model(
        "first",
        [
            failure(500),
            answer("first").held("probe"),
            answer("first").held("beside"),
            answer("first"),
        ],
    );
    upstream.on_model("second", failure(429).header("retry-after", "60"));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(&TARGETS, "suspend_duration: 300ms")
        .start();
    assert_eq!(gateway.client().post(CHAT, ask("first")).await.status, 429);
    wait_ended(&gateway, "first").await;

    let probe = in_the_background(&gateway);
    upstream.wait_gate("probe").await;
    let beside = in_the_background(&gateway);
    upstream.wait_gate("beside").await;
    assert_eq!(upstream.count_for("second"), 1, "it is left out");

    upstream.open("beside");
    let beside = beside.await.unwrap();
    assert_eq!(served_by(&beside), "first");
    let first_is_well = || {
        list(&gateway)
            .iter()
            .all(|(pair, _)| &*pair.model != "first")
    };
    assert!(first_is_well(), "whoever succeeds ends it");
    upstream.open("probe");
    assert_eq!(served_by(&probe.await.unwrap()), "first");
    assert!(first_is_well());
}

/// The end comes for each pair alone: the request that probes the target goes on to the fallback
/// whose own suspension has ended too, and probes that.
#[tokio::test(flavor = "multi_thread")]
async fn one_request_may_probe_several_pairs() {
    let upstream = Upstream::start().await;
    upstream.on_model("first", failure(500));
    upstream.on_model("second", [failure(500), answer("second")]);
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(&TARGETS, "suspend_duration: 300ms")
        .start();
    assert_eq!(gateway.client().post(CHAT, ask("first")).await.status, 502);
    wait_ended(&gateway, "first").await;
    wait_ended(&gateway, "second").await;
    let response = gateway.client().post(CHAT, ask("first")).await;
    assert_eq!(served_by(&response), "second");
    assert_eq!(response.header("x-standin-attempts"), Some("2"));
    assert_eq!(left_out(&gateway), ["production openai/first 500"]);
}

/// A probe that times out is no longer a probe: the claim does not outlive its request.
#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_times_out_renews_the_suspension() {
    let upstream = Upstream::start().await;
    upstream.on_model("first", [failure(500), Reply::hang(), answer("first")]);
    upstream.on_model("second", answer("second"));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(&TARGETS, "suspend_duration: 300ms\nrequest_timeout: 300ms")
        .start();
    gateway.client().post(CHAT, ask("first")).await;
    wait_ended(&gateway, "first").await;
    let probe = gateway.client().post(CHAT, ask("first")).await;
    assert_eq!(served_by(&probe), "second");
    assert_eq!(&*suspension(&gateway, "first").reason, "timeout");
    wait_ended(&gateway, "first").await;
    within("the target to answer again", async {
        let next = gateway.client().post(CHAT, ask("first")).await;
        assert_eq!(served_by(&next), "first");
    })
    .await;
}
