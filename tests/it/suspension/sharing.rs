//! What is suspended: every failed pair, for all policies of its environment, across reloads.

use std::time::Duration;

use super::{CHAT, answer, ask, failure, left_out, served_by, suspension};
use crate::support::{Dead, Reply, Setup, Step, Upstream, bodies};

const TARGETS: [(&str, &str); 2] = [("first", "openai"), ("second", "openai")];

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_pair_is_passed_by() {
    let upstream = Upstream::start().await;
    upstream.on_model("first", failure(500));
    upstream.on_model("second", answer("second"));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(&TARGETS, "suspend_duration: 60s")
        .start();
    let client = gateway.client();

    let failed_over = client.post(CHAT, ask("first")).await;
    assert_eq!(served_by(&failed_over), "second");
    assert_eq!(failed_over.header("x-standin-attempts"), Some("2"));
    assert_eq!(left_out(&gateway), ["production openai/first 500"]);

    for _ in 0..3 {
        let straight = client.post(CHAT, ask("first")).await;
        assert_eq!(served_by(&straight), "second");
        assert_eq!(straight.header("x-standin-attempts"), Some("1"));
        assert_eq!(straight.header("x-standin-failover"), None);
    }
    assert_eq!(upstream.count_for("first"), 1);
    assert_eq!(upstream.count_for("second"), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failed_pair_is_suspended_the_last_fallback_too() {
    let upstream = Upstream::start().await;
    upstream.on_model("broken", failure(500));
    upstream.on_model("slow", Reply::hang());
    upstream.on_model("limited", failure(429));
    let refusing = Dead::refusing();
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .endpoint("down", &refusing.url())
        .chain(
            &[
                ("broken", "openai"),
                ("slow", "openai"),
                ("limited", "openai"),
                ("unreachable", "down"),
            ],
            "suspend_duration: 60s\nrequest_timeout: 200ms",
        )
        .start();

    let response = gateway.client().post(CHAT, ask("broken")).await;
    assert_eq!(response.status, 502);
    assert_eq!(
        left_out(&gateway),
        [
            "production down/unreachable refused",
            "production openai/broken 500",
            "production openai/limited 429",
            "production openai/slow timeout",
        ]
    );
    assert_eq!(upstream.count(), 3);

    let response = gateway.client().post(CHAT, ask("broken")).await;
    assert_eq!(response.status, 503);
    assert_eq!(upstream.count(), 3, "nobody is asked");
}

const TWO_POLICIES: &str = "
production:
  target: {model: first, endpoint: openai}
  fallbacks:
    - {model: second, endpoint: openai}
sandbox:
  target: {model: first, endpoint: openai}
  fallbacks:
    - {model: second, endpoint: openai}
suspend_duration: 60s
";

#[tokio::test(flavor = "multi_thread")]
async fn policies_of_one_environment_share_a_pair_and_the_other_never_sees_it() {
    let upstream = Upstream::start().await;
    let elsewhere = Upstream::start().await;
    upstream.on_model("first", failure(500));
    upstream.on_model("second", answer("second"));
    elsewhere.always(answer("first"));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .endpoint("azure", &elsewhere.url())
        .policy("one", TWO_POLICIES)
        .policy("other", &format!("match: [other]\n{TWO_POLICIES}"))
        .policy(
            "same-model-elsewhere",
            "match: [elsewhere]\nproduction:\n  target: {model: first, endpoint: azure}\n  fallbacks: []\n",
        )
        .start();

    gateway.client().post(CHAT, ask("first")).await;
    assert_eq!(upstream.count_for("first"), 1);
    let shared = gateway.client().post(CHAT, ask("other")).await;
    assert_eq!(served_by(&shared), "second");
    assert_eq!(upstream.count_for("first"), 1, "the other policy knows");
    let elsewhere_fine = gateway.client().post(CHAT, ask("elsewhere")).await;
    assert_eq!(served_by(&elsewhere_fine), "first");

    for model in ["first", "other"] {
        let sandbox = gateway.sandbox().post(CHAT, ask(model)).await;
        assert_eq!(served_by(&sandbox), "second");
        assert_eq!(upstream.count_for("first"), 2, "the sandbox learns alone");
    }
    assert_eq!(
        left_out(&gateway),
        ["production openai/first 500", "sandbox openai/first 500",]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_survives_reloads() {
    let upstream = Upstream::start().await;
    upstream.on_model("first", [failure(500), answer("first")]);
    upstream.on_model("second", answer("second"));
    let setup = |policy, fields: &str| {
        Setup::new()
            .endpoint("openai", &upstream.url())
            .policy(policy, &format!("{fields}\nsuspend_duration: 60s"))
    };
    let chain = "production:\n  target: {model: first, endpoint: openai}\n  fallbacks:\n    - {model: second, endpoint: openai}\n";
    let without_first =
        "production:\n  target: {model: second, endpoint: openai}\n  fallbacks: []\n";
    let gateway = setup("chat", chain).start();
    let client = gateway.client();
    client.post(CHAT, ask("first")).await;
    let until = suspension(&gateway, "first").until;

    gateway.install(&setup("chat", chain));
    assert_eq!(served_by(&client.post(CHAT, ask("first")).await), "second");
    gateway.install(&setup("renamed", &format!("match: [new]\n{chain}")));
    assert_eq!(served_by(&client.post(CHAT, ask("new")).await), "second");
    gateway.install(&setup("chat", without_first));
    assert_eq!(served_by(&client.post(CHAT, ask("second")).await), "second");
    gateway.install(&setup("chat", chain));
    assert_eq!(served_by(&client.post(CHAT, ask("first")).await), "second");

    assert_eq!(upstream.count_for("first"), 1);
    assert_eq!(suspension(&gateway, "first").until, until);
}

/// Requests under way keep the configuration that they began with; what they learn of a pair
/// counts for those that come after the reload.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_under_an_old_configuration_counts_in_the_new_one() {
    let upstream = Upstream::start().await;
    upstream.on_model("first", failure(500).held("reload"));
    upstream.on_model("second", answer("second"));
    let setup = || {
        Setup::new()
            .endpoint("openai", &upstream.url())
            .chain(&TARGETS, "suspend_duration: 60s")
    };
    let gateway = setup().start();
    let before = tokio::spawn(gateway.client().post(CHAT, ask("first")).into_future());
    upstream.wait_gate("reload").await;
    gateway.install(&setup());
    upstream.open("reload");
    assert_eq!(served_by(&before.await.unwrap()), "second");

    let after = gateway.client().post(CHAT, ask("first")).await;
    assert_eq!(served_by(&after), "second");
    assert_eq!(upstream.count_for("first"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_suspend_duration_nothing_is_remembered() {
    let upstream = Upstream::start().await;
    let limited = failure(429)
        .header("retry-after", "3600")
        .header("x-ratelimit-remaining-requests", "0")
        .header("x-ratelimit-reset-requests", "1h0m0s");
    upstream.on_model("first", limited);
    let used_up = answer("second")
        .header("x-ratelimit-remaining-tokens", "0")
        .header("x-ratelimit-reset-tokens", "6m0s");
    upstream.on_model("second", used_up);
    for fields in ["", "suspend_duration: 0", "suspend_duration: 0s"] {
        let asked = upstream.count_for("first");
        let gateway = Setup::new()
            .endpoint("openai", &upstream.url())
            .chain(&TARGETS, fields)
            .start();
        for _ in 0..2 {
            let response = gateway.client().post(CHAT, ask("first")).await;
            assert_eq!(served_by(&response), "second");
        }
        assert_eq!(left_out(&gateway), [""; 0], "{fields}");
        assert_eq!(upstream.count_for("first"), asked + 2, "{fields}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_target_s_fault_suspends_nobody() {
    let upstream = Upstream::start().await;
    let client_faults = [
        Reply::json(
            400,
            &bodies::openai_error("invalid_request_error", None, "No messages."),
        ),
        Reply::json(
            405,
            &bodies::openai_error("invalid_request_error", None, "No."),
        ),
        Reply::json(
            413,
            &bodies::openai_error("invalid_request_error", None, "Too much."),
        ),
        Reply::json(
            422,
            &bodies::openai_error("invalid_request_error", None, "No."),
        ),
        Reply::json(400, &bodies::openai_content_policy_violation()),
        Reply::json(400, &bodies::azure_content_filter()),
    ];
    let count = client_faults.len();
    upstream.on_model("first", client_faults.to_vec());
    upstream.on_model("second", answer("second"));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(&TARGETS, "suspend_duration: 60s")
        .start();
    for _ in 0..count {
        let response = gateway.client().post(CHAT, ask("first")).await;
        assert!(
            (400..=422).contains(&response.status),
            "{}",
            response.text()
        );
        assert_eq!(left_out(&gateway), [""; 0]);
    }
    assert_eq!(upstream.count(), count);

    let too_long = Reply::json(400, &bodies::openai_context_length_exceeded());
    upstream.on_model("first", too_long);
    for _ in 0..2 {
        let response = gateway.client().post(CHAT, ask("first")).await;
        assert_eq!(served_by(&response), "second");
        assert_eq!(left_out(&gateway), [""; 0]);
    }
    assert_eq!(upstream.count_for("first"), count + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_suspends_nobody() {
    let upstream = Upstream::start().await;
    upstream.on_model("first", [Reply::hang(), answer("first")]);
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(&TARGETS, "suspend_duration: 60s")
        .start();
    let leaving = tokio::spawn(gateway.client().post(CHAT, ask("first")).into_future());
    upstream.wait_for_requests(1).await;
    leaving.abort();
    upstream.wait_cancelled(0).await;
    gateway.wait_log(1).await;

    assert_eq!(left_out(&gateway), [""; 0]);
    let response = gateway.client().post(CHAT, ask("first")).await;
    assert_eq!(served_by(&response), "first");
}

/// What a retry mends at the same target is no failure of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_succeeds_suspends_nobody() {
    let upstream = Upstream::start().await;
    upstream.on_model("first", [failure(503), answer("first")]);
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(
            &TARGETS,
            "suspend_duration: 60s\nretries: 1\nretry_backoff: {base: 1ms, max: 2ms}",
        )
        .start();
    let response = gateway.client().post(CHAT, ask("first")).await;
    assert_eq!(served_by(&response), "first");
    assert_eq!(response.header("x-standin-attempts"), Some("2"));
    assert_eq!(left_out(&gateway), [""; 0]);
}

/// A model without a policy is nobody's pair.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_policy_names_is_never_suspended() {
    let upstream = Upstream::start().await;
    upstream.on_model("unknown", failure(500));
    upstream.on_path("/v1/models", failure(500));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(&TARGETS, "suspend_duration: 60s")
        .default_endpoint("openai")
        .operation("method: GET\npath: /v1/models\ndefault_endpoint: {production: openai}")
        .start();
    let client = gateway.client();
    for _ in 0..2 {
        assert_eq!(client.post(CHAT, ask("unknown")).await.status, 500);
        assert_eq!(client.get("/v1/models").await.status, 500);
    }
    assert_eq!(upstream.count(), 4);
    assert_eq!(left_out(&gateway), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_suspension_outlives_many_requests() {
    let upstream = Upstream::start().await;
    upstream.on_model("first", failure(500));
    upstream.on_model("second", answer("second"));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(&TARGETS, "suspend_duration: 60s")
        .start();
    gateway.client().post(CHAT, ask("first")).await;
    let until = suspension(&gateway, "first").until;
    let client = gateway.client();
    let all = (0..50).map(|_| tokio::spawn(client.post(CHAT, ask("first")).into_future()));
    for response in all.collect::<Vec<_>>() {
        assert_eq!(served_by(&response.await.unwrap()), "second");
    }
    assert_eq!(upstream.count_for("first"), 1);
    assert_eq!(suspension(&gateway, "first").until, until);
    assert!(until.elapsed() == Duration::ZERO);
}

/// An answer that is too large to be held, and breaks off after it has begun: too late for this
/// request, but the next one is spared.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_that_breaks_off_suspends_too() {
    for (end, reason) in [(Step::Close, "truncated"), (Step::Reset, "reset")] {
        let upstream = Upstream::start().await;
        let large = Reply::status(200).body(vec![b'x'; 9 << 20]);
        upstream.on_model("first", large.cut_body_at(1 << 20, end));
        upstream.on_model("second", answer("second"));
        let gateway = Setup::new()
            .endpoint("openai", &upstream.url())
            .chain(&TARGETS, "suspend_duration: 60s")
            .start();
        let cut = gateway.client().post(CHAT, ask("first")).await;
        assert!(cut.status == 200 && !cut.complete);
        let line = &gateway.wait_log(1).await[0];
        assert_eq!(line["attempts"][0]["outcome"], reason);
        assert_eq!(
            left_out(&gateway),
            [format!("production openai/first {reason}")]
        );
        let next = gateway.client().post(CHAT, ask("first")).await;
        assert_eq!(served_by(&next), "second");
    }
}
