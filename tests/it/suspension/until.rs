//! Until when a pair is left out.

use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use super::{CHAT, answer, ask, failure, left_out, served_by, suspension};
use crate::support::{Gateway, Reply, Setup, Upstream, bodies};

/// As long as a request and the look at what came of it may take.
const SLACK: Duration = Duration::from_secs(5);

/// A gateway with a policy for every reply, each with one target, whose model is its number.
async fn one_target_each(replies: &[(Reply, String)]) -> (Upstream, Gateway) {
    let upstream = Upstream::start().await;
    let mut setup = Setup::new().endpoint("openai", &upstream.url());
    for (number, (reply, fields)) in replies.iter().enumerate() {
        let model = format!("model-{number}");
        upstream.on_model(&model, reply.clone());
        let target =
            format!("production: {{target: {{model: {model}, endpoint: openai}}, fallbacks: []}}");
        setup = setup.policy(&model, &format!("{target}\n{fields}"));
    }
    (upstream, setup.start())
}

fn limited(headers: &[(&str, &str)]) -> Reply {
    let reply = Reply::json(429, &bodies::openai_rate_limited());
    headers
        .iter()
        .fold(reply, |reply, (name, value)| reply.header(name, value))
}

/// The longer of the policy's span and the one that the answer asks for, of which the second is
/// capped; and the 503 that follows says the same to the client.
#[tokio::test(flavor = "multi_thread")]
async fn the_longer_of_the_policy_s_and_the_answer_s_span() {
    let gemini = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "No.", "details": [
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "90s"},
    ]}});
    let cases = [
        (failure(500), "", 60),
        (limited(&[]), "", 60),
        (limited(&[("retry-after", "5")]), "", 60),
        (limited(&[("retry-after", "120")]), "", 120),
        (failure(503).header("retry-after", "120"), "", 120),
        (failure(500).header("retry-after", "120"), "", 120),
        (limited(&[("retry-after-ms", "90500")]), "", 90),
        (limited(&[("retry-after", "soon")]), "", 60),
        (limited(&[("retry-after", "86400")]), "", 600),
        (
            limited(&[("retry-after", "86400")]),
            "max_suspend_duration: 2m",
            120,
        ),
        (
            limited(&[("retry-after", "86400")]),
            "max_suspend_duration: 30s",
            60,
        ),
        (
            limited(&[
                ("x-ratelimit-remaining-tokens", "0"),
                ("x-ratelimit-reset-tokens", "2m0s"),
                ("x-ratelimit-remaining-requests", "10"),
                ("x-ratelimit-reset-requests", "5m0s"),
            ]),
            "",
            120,
        ),
        (
            limited(&[
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-reset-requests", "1h0m0s"),
            ]),
            "",
            600,
        ),
        (Reply::json(429, &gemini), "", 90),
    ];
    let replies: Vec<_> = cases
        .iter()
        .map(|(reply, fields, _)| (reply.clone(), format!("suspend_duration: 60s\n{fields}")))
        .collect();
    let (upstream, gateway) = one_target_each(&replies).await;
    for (number, (_, fields, seconds)) in cases.iter().enumerate() {
        let model = format!("model-{number}");
        let before = Instant::now();
        let failed = gateway.client().post(CHAT, ask(&model)).await;
        let after = Instant::now();
        assert!(matches!(failed.status, 429 | 502), "{}", failed.text());
        let span = Duration::from_secs(*seconds);
        let until = suspension(&gateway, &model).until;
        let asked = format!("{model} ({fields}): {:?} of {span:?}", until - before);
        assert!(until >= before + span, "{asked}");
        assert!(until <= after + span + Duration::from_secs(1), "{asked}");

        let suspended = gateway.client().post(CHAT, ask(&model)).await;
        assert_eq!(suspended.status, 503);
        let retry_after: u64 = suspended.header("retry-after").unwrap().parse().unwrap();
        let said = Duration::from_secs(retry_after);
        assert!(said <= span + Duration::from_secs(1), "{model}: {said:?}");
        assert!(said + SLACK > span, "{model}: {said:?}");
        assert!(
            Instant::now() + said >= until,
            "{model}: a client that waits so long comes in vain"
        );
        assert_eq!(upstream.count_for(&model), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_may_be_a_date() {
    let date = SystemTime::now() + Duration::from_secs(200);
    let reply = limited(&[("retry-after", &httpdate::fmt_http_date(date))]);
    let (_upstream, gateway) = one_target_each(&[(reply, "suspend_duration: 60s".into())]).await;
    let failed = gateway.client().post(CHAT, ask("model-0")).await;
    assert_eq!(failed.status, 429);
    let left = suspension(&gateway, "model-0").until - Instant::now();
    assert!(left <= Duration::from_secs(200) && left + SLACK > Duration::from_secs(199));
}

/// Three attempts of a healthy pair are under way; they fail one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_later_failure_never_shortens_it() {
    let upstream = Upstream::start().await;
    upstream.push(limited(&[("retry-after", "120")]).held("first"));
    upstream.push(failure(500).held("second"));
    upstream.push(failure(503).header("retry-after", "300").held("third"));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(&[("model", "openai")], "suspend_duration: 60s")
        .start();
    let mut requests = Vec::new();
    for gate in ["first", "second", "third"] {
        requests.push(tokio::spawn(
            gateway.client().post(CHAT, ask("model")).into_future(),
        ));
        upstream.wait_gate(gate).await;
    }
    let [first, second, third] = requests.try_into().unwrap();

    upstream.open("first");
    assert_eq!(first.await.unwrap().status, 429);
    let longer = suspension(&gateway, "model");
    upstream.open("second");
    assert_eq!(second.await.unwrap().status, 502);
    let after_shorter = suspension(&gateway, "model");
    assert_eq!(after_shorter.until, longer.until);
    assert_eq!(
        &*after_shorter.reason, "429",
        "of the failure that set the end"
    );
    upstream.open("third");
    assert_eq!(third.await.unwrap().status, 502);
    let longest = suspension(&gateway, "model");
    assert!(longest.until > longer.until + Duration::from_secs(150));
    assert_eq!(&*longest.reason, "503");
}

/// An attempt that began before the failure and succeeds after it says nothing about the time since.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_success_does_not_end_it() {
    let upstream = Upstream::start().await;
    upstream.push(answer("model").held("older"));
    upstream.push(failure(500));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(&[("model", "openai")], "suspend_duration: 60s")
        .start();
    let older = tokio::spawn(gateway.client().post(CHAT, ask("model")).into_future());
    upstream.wait_gate("older").await;
    assert_eq!(gateway.client().post(CHAT, ask("model")).await.status, 502);
    upstream.open("older");
    assert_eq!(served_by(&older.await.unwrap()), "model");
    assert_eq!(left_out(&gateway), ["production openai/model 500"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_that_used_up_its_quota_suspends_for_the_next_request() {
    let headers = [
        (vec![("x-ratelimit-remaining-tokens", "0")], 60),
        (
            vec![
                ("x-ratelimit-remaining-tokens", "0"),
                ("x-ratelimit-reset-tokens", "2m0s"),
            ],
            120,
        ),
        (
            vec![
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-reset-requests", "1s"),
            ],
            60,
        ),
        (
            vec![
                ("anthropic-ratelimit-tokens-remaining", "0"),
                ("anthropic-ratelimit-tokens-reset", "2099-01-01T00:00:00Z"),
            ],
            600,
        ),
        (vec![("x-ratelimit-remaining-req-minute", "0")], 60),
    ];
    for (headers, seconds) in headers {
        let upstream = Upstream::start().await;
        let with_headers = |reply: Reply| {
            let headers = headers.iter();
            headers.fold(reply, |reply, (name, value)| reply.header(name, value))
        };
        upstream.on_model("plain", with_headers(answer("plain")));
        upstream.on_model(
            "stream",
            with_headers(Reply::chat_stream("stream", &["Hel", "lo"])),
        );
        upstream.on_model("spare", answer("spare"));
        let chain = |model| {
            format!(
                "production:\n  target: {{model: {model}, endpoint: openai}}\n  fallbacks:\n    - {{model: spare, endpoint: openai}}\nsuspend_duration: 60s"
            )
        };
        let gateway = Setup::new()
            .endpoint("openai", &upstream.url())
            .policy("plain", &chain("plain"))
            .policy("stream", &chain("stream"))
            .start();
        for model in ["plain", "stream"] {
            let before = Instant::now();
            let used_up = gateway.client().post(CHAT, ask(model)).await;
            assert_eq!(served_by(&used_up), model);
            assert!(
                used_up.content().starts_with("Hello"),
                "the answer is whole"
            );
            let suspension = suspension(&gateway, model);
            assert_eq!(&*suspension.reason, "quota_used_up");
            let span = Duration::from_secs(seconds);
            assert!(suspension.until >= before + span, "{headers:?}");
            assert!(suspension.until <= Instant::now() + span + Duration::from_secs(1));

            let next = gateway.client().post(CHAT, ask(model)).await;
            assert_eq!(served_by(&next), "spare");
            assert_eq!(upstream.count_for(model), 1);
        }
    }
}

/// The original stops the request at such a header.
#[tokio::test(flavor = "multi_thread")]
async fn a_quota_header_that_is_no_number_is_ignored() {
    for (name, value) in [
        ("x-ratelimit-remaining-tokens", "many"),
        ("x-ratelimit-remaining-tokens", ""),
        ("x-ratelimit-remaining-tokens", "0.5"),
        ("x-ratelimit-remaining-requests", "-1"),
        ("anthropic-ratelimit-tokens-remaining", "null"),
        ("x-ratelimit-remaining-tokens", "1"),
    ] {
        let upstream = Upstream::start().await;
        upstream.always(answer("model").header(name, value));
        let gateway = Setup::new()
            .endpoint("openai", &upstream.url())
            .chain(&[("model", "openai")], "suspend_duration: 60s")
            .start();
        for _ in 0..2 {
            let response = gateway.client().post(CHAT, ask("model")).await;
            assert_eq!(served_by(&response), "model");
            assert_eq!(response.header(name), Some(value), "passed as it came");
        }
        assert_eq!(left_out(&gateway), [""; 0], "{name}: {value}");
    }
}
