//! No answer, or none that is complete: rows of the table "Judging an outcome".

use std::time::Duration;

use h2::Reason;
use serde_json::json;

use super::{FALLBACK_SAYS, SUSPENDING, Stage};
use crate::support::{Dead, Ending, Reply, Step, Upstream, bodies};

/// A target at which no request arrives: the reason is told, and the pair suspended.
async fn assert_unreachable(url: &str, endpoint: &str, reason: &str) {
    let stage = Stage::at(Upstream::start().await, url, endpoint, SUSPENDING).await;
    stage.assert_fault_after(0, stage.ask().await, reason).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_fails_over() {
    let dead = Dead::refusing();
    assert_unreachable(&dead.url(), "", "refused").await;
    assert_unreachable(&dead.url(), "http_version: 2", "refused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_without_an_address_fails_over() {
    assert_unreachable("http://nowhere.invalid:8080", "", "dns").await;
    assert_unreachable("https://nowhere.invalid", "", "dns").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_with_several_addresses_is_reached_at_any() {
    let target = Upstream::start().await;
    target.always(Reply::chat("first", FALLBACK_SAYS));
    let url = target.url_of("localhost");
    let stage = Stage::at(target, &url, "", SUSPENDING).await;
    // `localhost` is also `::1` in many places, where nobody listens.
    for round in 1..=4 {
        let answer = stage.ask().await;
        assert_eq!(answer.header("x-standin-attempts"), Some("1"), "{answer:?}");
        assert_eq!(stage.counts(), (round, 0));
    }
    let authority = stage.target.last_request().authority.unwrap();
    assert_eq!(authority, format!("localhost:{}", stage.target.port()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_can_t_be_made_in_time_fails_over() {
    let dead = Dead::unconnectable().await;
    assert_unreachable(&dead.url(), "connect_timeout: 200ms", "timeout").await;
    // A TLS handshake that nobody answers counts too.
    let silent = Dead::black_hole().await;
    let url = format!("https://{}", silent.addr());
    assert_unreachable(&url, "connect_timeout: 200ms", "timeout").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_or_closed_connection_fails_over() {
    for (reply, reason) in [(Reply::reset(), "reset"), (Reply::close(), "closed")] {
        let stage = Stage::new().await;
        stage.target.always(reply);
        stage.assert_target_fault(reason).await;
    }
    // Before the request is read, the kernel may make a reset of a close.
    for reply in [Reply::reset_before_reading(), Reply::close_before_reading()] {
        let stage = Stage::new().await;
        stage.target.always(reply);
        let answer = stage.ask().await;
        let failover = answer.header("x-standin-failover").unwrap();
        let known = ["target/first=reset", "target/first=closed"];
        assert!(known.contains(&failover), "{failover}");
        Stage::assert_fallback(&answer, 2, Some(failover));
        Stage::assert_fallback(&stage.ask().await, 1, None);
    }
}

/// Heads that are not HTTP, or that two readers could read differently.
fn malformed_heads() -> Vec<String> {
    let with = |headers: &str| format!("HTTP/1.1 200 OK\r\n{headers}\r\n{{}}");
    vec![
        "HELLO\r\n\r\n".to_owned(),
        "SSH-2.0-OpenSSH_9.9\r\n".to_owned(),
        "HTTP/1.1 2xx OK\r\n\r\n".to_owned(),
        "HTTP/3.0 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
        with("content-length: 2\r\ncontent-length: 3\r\n"),
        with("content-length: 2, 3\r\n"),
        with("content-length: +2\r\n"),
        with("content-length: 0x2\r\n"),
        with("content-length: -1\r\n"),
        with("content-length:\r\n"),
        with("content-length: 99999999999999999999999\r\n"),
        with("content-length: 2\r\ntransfer-encoding: chunked\r\n"),
        with("transfer-encoding: gzip, chunked\r\n"),
        with("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
        with("transfer-encoding: identity\r\n"),
        with("no colon\r\n"),
        with("content-length : 2\r\n"),
        with("x-folded: a\r\n b\r\ncontent-length: 2\r\n"),
        with(&format!("x-long: {}\r\n", "x".repeat(65 << 10))),
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n".to_owned(),
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(17),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_fails_over() {
    for wire in malformed_heads() {
        let stage = Stage::new().await;
        stage.target.always(Reply::raw(wire));
        stage.assert_target_fault("malformed").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_chunks_fail_over() {
    for body in [
        "2\r\n{}0\r\n\r\n",
        "2\n{}\r\n0\r\n\r\n",
        "zz\r\n{}\r\n0\r\n\r\n",
        "-2\r\n{}\r\n0\r\n\r\n",
        "\r\n",
        "fffffffffffffffff\r\n{}",
        "2\r\n{}\r\n0\r\nno colon\r\n\r\n",
    ] {
        let stage = Stage::new().await;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        stage.target.always(Reply::raw(format!("{head}{body}")));
        stage.assert_target_fault("malformed").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_cut_on_the_wire_fails_over() {
    let whole = || Reply::chat("first", "Berthe Morisot.");
    let chunked = || {
        let body = bodies::chat_completion("first", "Berthe Morisot.").to_string();
        Reply::status(200)
            .header("content-type", "application/json")
            .chunked([body])
    };
    for (reply, reason) in [
        (whole().cut_at(20, Step::Close), "truncated"),
        (whole().cut_body_at(30, Step::Close), "truncated"),
        (whole().cut_body_at(30, Step::Reset), "reset"),
        (chunked().cut_body_at(30, Step::Close), "truncated"),
        (chunked().then(Step::Close), "truncated"),
        (chunked().then(Step::Reset), "reset"),
        // An error is no clearer when it is cut.
        (
            Reply::json(400, &bodies::mistral_invalid_model("first")).cut_body_at(9, Step::Close),
            "truncated",
        ),
    ] {
        let stage = Stage::new().await;
        stage.target.always(reply);
        stage.assert_target_fault(reason).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_that_is_cut_or_none_fails_over() {
    let json = |text: &str| {
        Reply::status(200)
            .header("content-type", "application/json")
            .body(text.to_owned())
    };
    let whole = bodies::chat_completion("first", "Berthe Morisot.").to_string();
    let half = &whole[..whole.len() / 2];
    for reply in [
        json(half),
        json(half).until_close(),
        json(""),
        json("<html>Bad gateway</html>"),
        json(&format!("{whole}}}")),
    ] {
        let stage = Stage::new().await;
        stage.target.always(reply);
        stage.assert_target_fault("malformed").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_with_a_status_of_success_fails_over() {
    let stage = Stage::new().await;
    let error = json!({"error": {"message": "Upstream is overloaded", "code": 502}});
    stage.target.always(Reply::json(200, &error));
    stage.assert_target_fault("error_event").await;

    let stage = Stage::new().await;
    let filtered = bodies::openai_content_policy_violation();
    stage.target.always(Reply::json(200, &filtered));
    stage.assert_client_fault(200, &filtered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_only_the_close_ends_is_an_answer_if_it_is_whole() {
    let stage = Stage::new().await;
    stage
        .target
        .always(Reply::chat("first", FALLBACK_SAYS).until_close());
    for round in 1..=2 {
        let answer = stage.ask().await;
        assert_eq!(answer.header("x-standin-endpoint"), Some("target"));
        assert_eq!(answer.content(), FALLBACK_SAYS);
        assert!(answer.complete && !answer.closed);
        assert_eq!(stage.counts(), (round, 0));
        assert_eq!(stage.target.connections(), round);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn interim_answers_are_read_past() {
    for stage in [Stage::new().await, Stage::http2().await] {
        let answer = Reply::chat("first", FALLBACK_SAYS);
        stage.target.always(answer.interim(103).interim(102));
        for round in 1..=2 {
            let answer = stage.ask().await;
            assert_eq!(answer.header("x-standin-endpoint"), Some("target"));
            assert_eq!(answer.content(), FALLBACK_SAYS);
            assert_eq!(stage.counts(), (round, 0));
        }
    }
    // A broken connection after one is an attempt like any other.
    let stage = Stage::new().await;
    let hint = "HTTP/1.1 103 Early Hints\r\n\r\n";
    stage.target.always(Reply::raw(hint).then(Step::Close));
    stage.assert_target_fault("closed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_breaks_in_its_own_ways() {
    let reset = |reason| Reply::script([Step::ResetStream(reason)]);
    let chat = || Reply::chat("first", "Berthe Morisot.");
    for (reply, reasons) in [
        (reset(Reason::INTERNAL_ERROR), &["reset"][..]),
        (reset(Reason::ENHANCE_YOUR_CALM), &["reset"]),
        (Reply::refuse_stream(), &["reset"]),
        (Reply::close(), &["closed", "reset"]),
        (Reply::reset(), &["closed", "reset"]),
        (
            chat().cut_body_at(30, Step::ResetStream(Reason::INTERNAL_ERROR)),
            &["reset"],
        ),
        (
            chat().cut_body_at(30, Step::Close),
            &["truncated", "closed", "reset"],
        ),
        (
            chat().cut_body_at(30, Step::Reset),
            &["truncated", "closed", "reset"],
        ),
        // The declared length is that of the whole body.
        (
            chat().cut_body_at(30, Step::Wait(Duration::ZERO)),
            &["truncated", "malformed"],
        ),
    ] {
        let what = format!("{reply:?}");
        let stage = Stage::http2().await;
        stage.target.always(reply);
        let answer = stage.ask().await;
        let failover = answer.header("x-standin-failover").map(str::to_owned);
        let failover = failover.unwrap_or_else(|| panic!("{what}: {answer:?}"));
        let reason = failover.strip_prefix("target/first=").unwrap();
        assert!(reasons.contains(&reason), "{reason}: {what}");
        let requests = stage.target.count();
        // A server that refuses a stream has not begun with it.
        let most = if what.contains("REFUSED_STREAM") {
            3
        } else {
            1
        };
        assert_eq!(requests, most, "{what}");
        stage.assert_fault_after(requests, answer, reason).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_of_the_wrong_protocol_fails_over() {
    let speaks_http1 = Upstream::start().await;
    let refusal = Reply::raw("HTTP/1.1 400 Bad Request\r\n\r\n");
    speaks_http1.always(refusal.then(Step::Hang).on_connect());
    let stage = Stage::before(speaks_http1, "http_version: 2", SUSPENDING).await;
    stage
        .assert_fault_after(0, stage.ask().await, "malformed")
        .await;

    let speaks_http2 = Upstream::h2c().await;
    let stage = Stage::before(speaks_http2, "http_version: 1.1", SUSPENDING).await;
    let answer = stage.ask().await;
    let failover = answer.header("x-standin-failover").unwrap();
    let known = [
        "target/first=malformed",
        "target/first=closed",
        "target/first=reset",
    ];
    assert!(known.contains(&failover), "{failover}");
    Stage::assert_fallback(&answer, 2, Some(failover));
    stage.target.take_faults();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_exchange_of_a_broken_answer_is_over() {
    let stage = Stage::new().await;
    stage
        .target
        .always(Reply::raw("HELLO\r\n\r\n").then(Step::Hang));
    stage.assert_target_fault("malformed").await;
    let (ending, _) = stage.target.wait_ended(0).await;
    assert_eq!(ending, Ending::Cancelled);
    stage.target.wait_open_connections(0).await;
}
