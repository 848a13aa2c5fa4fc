//! The headers that every answer carries, and nobody can forge.

use std::collections::HashSet;

use super::{CHAT, ask, failure};
use crate::support::{Client, Gateway, Reply, Response, Setup, Upstream, bodies};

/// The gateway's headers of an answer: endpoint, model, attempts, failover. Each stands there at
/// most once, the request id exactly once.
fn labels(response: &Response) -> [Option<&str>; 4] {
    let names = [
        "x-standin-endpoint",
        "x-standin-model",
        "x-standin-attempts",
        "x-standin-failover",
    ];
    for name in names {
        assert!(response.headers.all(name).len() <= 1, "{response:?}");
    }
    let ids = response.headers.all("x-request-id");
    assert_eq!(ids.len(), 1, "{response:?}");
    assert_eq!(ids[0].len(), 32, "{response:?}");
    assert!(ids[0].bytes().all(|byte| byte.is_ascii_hexdigit()));
    names.map(|name| response.header(name))
}

/// `well` answers, `bad` fails, `faulty` says that the client is at fault; each is a policy's
/// target, with `well` as fallback of `bad`. Policy `lost` has nobody who is well.
async fn gateway() -> (Upstream, Gateway) {
    let upstream = Upstream::start().await;
    upstream.on_model("well", Reply::chat("well-2025-01-01", "Hello."));
    upstream.on_model("bad", failure(500));
    upstream.on_model("slow", Reply::hang());
    upstream.on_model(
        "faulty",
        Reply::json(
            400,
            &bodies::openai_error("invalid_request_error", None, "No messages."),
        ),
    );
    upstream.on_model(
        "no-policy-names-it",
        Reply::chat("no-policy-names-it", "Hello."),
    );
    upstream.on_path("/v1/models", Reply::status(200).body("[]"));
    let chain = |models: &[&str]| {
        let mut text = format!(
            "production:\n  target: {{model: {}, endpoint: openai}}\n  fallbacks:\n",
            models[0]
        );
        for model in &models[1..] {
            text.push_str(&format!("    - {{model: {model}, endpoint: openai}}\n"));
        }
        text + "    - {model: well, endpoint: openai}\nrequest_timeout: 300ms\n"
    };
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .policy("healthy", &format!("match: [healthy]\n{}", chain(&["well"])))
        .policy("mended", &format!("match: [mended]\n{}", chain(&["bad", "slow"])))
        .policy("faulty", &format!("match: [faulty]\n{}", chain(&["bad", "faulty"])))
        .policy("lost", "match: [lost]\nproduction:\n  target: {model: slow, endpoint: openai}\n  fallbacks: [{model: bad, endpoint: openai}]\nrequest_timeout: 300ms")
        .default_endpoint("openai")
        .operation("method: GET\npath: /v1/models\ndefault_endpoint: {production: openai}")
        .listener("{address: \"127.0.0.1:0\", h2c: true}")
        .start();
    (upstream, gateway)
}

fn clients(gateway: &Gateway) -> [Client; 2] {
    let http2 = Client::h2c(gateway.running.addresses[1]).key(crate::support::KEY);
    [gateway.client(), http2]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_who_gave_it() {
    let (_upstream, gateway) = gateway().await;
    for client in clients(&gateway) {
        let success = client.post(CHAT, ask("healthy")).await;
        assert_eq!(success.status, 200);
        assert_eq!(
            labels(&success),
            [Some("openai"), Some("well"), Some("1"), None]
        );
        assert_eq!(
            success.json()["model"],
            "well-2025-01-01",
            "as the target says"
        );

        let mended = client.post(CHAT, ask("mended")).await;
        assert_eq!(mended.status, 200);
        let reasons = Some("openai/bad=500, openai/slow=timeout");
        assert_eq!(
            labels(&mended),
            [Some("openai"), Some("well"), Some("3"), reasons]
        );

        let faulty = client.post(CHAT, ask("faulty")).await;
        assert_eq!(faulty.status, 400);
        assert_eq!(faulty.json()["error"]["message"], "No messages.");
        let reasons = Some("openai/bad=500");
        assert_eq!(
            labels(&faulty),
            [Some("openai"), Some("faulty"), Some("2"), reasons]
        );

        let lost = client.post(CHAT, ask("lost")).await;
        assert_eq!(lost.status, 502);
        let reasons = Some("openai/slow=timeout, openai/bad=500");
        assert_eq!(
            labels(&lost),
            [Some("openai"), Some("bad"), Some("2"), reasons]
        );

        let unmatched = client.post(CHAT, ask("no-policy-names-it")).await;
        assert_eq!(unmatched.status, 200);
        let model = Some("no-policy-names-it");
        assert_eq!(labels(&unmatched), [Some("openai"), model, Some("1"), None]);
        let native = client.get("/v1/models").await;
        assert_eq!(native.status, 200);
        assert_eq!(labels(&native), [Some("openai"), None, Some("1"), None]);

        let rejected = client.get("/nowhere").await;
        assert_eq!(rejected.status, 404);
        assert_eq!(labels(&rejected), [None, None, Some("0"), None]);
    }
    let stranger = gateway.stranger().get("/v1/models").await;
    assert_eq!(stranger.status, 401);
    assert_eq!(labels(&stranger), [None, None, Some("0"), None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_says_it_in_its_head() {
    let upstream = Upstream::start().await;
    upstream.on_model("bad", failure(500));
    upstream.on_model("well", Reply::chat_stream("well", &["Hel", "lo"]));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(&[("bad", "openai"), ("well", "openai")], "")
        .start();
    let mut body = ask("bad");
    body["stream"] = true.into();
    let response = gateway.client().post(CHAT, body).await;
    assert_eq!(response.transcript().models, ["well"]);
    let reasons = Some("openai/bad=500");
    assert_eq!(
        labels(&response),
        [Some("openai"), Some("well"), Some("2"), reasons]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_has_an_id_of_its_own() {
    let (_upstream, gateway) = gateway().await;
    let client = gateway.client();
    let mut ids = HashSet::new();
    for _ in 0..5 {
        for response in [
            client.post(CHAT, ask("healthy")).await,
            client.get("/v1/models").await,
            client.get("/nowhere").await,
        ] {
            assert!(ids.insert(response.header("x-request-id").unwrap().to_owned()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_forges_is_ignored_and_never_forwarded() {
    let (upstream, gateway) = gateway().await;
    for client in clients(&gateway) {
        let forged = client
            .header("x-request-id", "forged")
            .header("x-standin-endpoint", "forged")
            .header("x-standin-model", "forged")
            .header("x-standin-attempts", "99")
            .header("x-standin-failover", "forged")
            .header("x-standin-upstream-request-id", "forged")
            .header("x-standin-anything", "forged")
            .header("x-mine", "kept");
        let seen = upstream.count();
        let success = forged.post(CHAT, ask("healthy")).await;
        assert_eq!(
            labels(&success),
            [Some("openai"), Some("well"), Some("1"), None]
        );
        let unmatched = forged.post(CHAT, ask("no-policy-names-it")).await;
        let model = Some("no-policy-names-it");
        assert_eq!(labels(&unmatched), [Some("openai"), model, Some("1"), None]);
        let native = forged.get("/v1/models").await;
        assert_eq!(labels(&native), [Some("openai"), None, Some("1"), None]);
        let failed = forged.post(CHAT, ask("lost")).await;
        assert_eq!(failed.header("x-standin-attempts"), Some("2"));
        for response in [success, unmatched, native, failed] {
            let headers = format!("{:?}", response.headers);
            assert!(!headers.contains("forged"), "{headers}");
            assert_eq!(response.header("x-standin-anything"), None);
        }
        let received = &upstream.requests()[seen..];
        assert_eq!(received.len(), 5);
        for request in received {
            assert_eq!(request.header("x-mine"), Some("kept"));
            for (name, value) in request.headers.iter() {
                let name = name.to_ascii_lowercase();
                assert!(!name.starts_with("x-standin-"), "{name}: {value:?}");
                assert_ne!(name, "x-request-id", "the gateway's to give");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_upstream_forges_is_replaced_and_its_own_id_kept() {
    let upstream = Upstream::start().await;
    let forging = |reply: Reply| {
        reply
            .header("x-request-id", "req_of_upstream")
            .header("X-Standin-Endpoint", "forged")
            .header("x-standin-model", "forged")
            .header("x-standin-attempts", "99")
            .header("x-standin-attempts", "100")
            .header("x-standin-failover", "forged")
            .header("x-standin-upstream-request-id", "forged")
            .header("x-standin-anything", "forged")
            .header("x-theirs", "kept")
    };
    upstream.on_model("well", forging(Reply::chat("well", "Hello.")));
    upstream.on_model(
        "faulty",
        forging(Reply::json(400, &bodies::openai_error("e", None, "No."))),
    );
    upstream.on_model(
        "streaming",
        forging(Reply::chat_stream("streaming", &["Hello."])),
    );
    upstream.on_model("other", forging(failure(500)));
    upstream.on_path("/v1/models", forging(Reply::status(200).body("[]")));
    let chain = |model| {
        format!("production: {{target: {{model: {model}, endpoint: openai}}, fallbacks: []}}")
    };
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .policy("well", &chain("well"))
        .policy("faulty", &chain("faulty"))
        .policy("streaming", &chain("streaming"))
        .default_endpoint("openai")
        .operation("method: GET\npath: /v1/models\ndefault_endpoint: {production: openai}")
        .listener("{address: \"127.0.0.1:0\", h2c: true}")
        .start();
    for client in clients(&gateway) {
        for (request, status, model) in [
            (client.post(CHAT, ask("well")), 200, Some("well")),
            (client.post(CHAT, ask("faulty")), 400, Some("faulty")),
            (client.post(CHAT, ask("streaming")), 200, Some("streaming")),
            (client.post(CHAT, ask("other")), 500, Some("other")),
            (client.get("/v1/models"), 200, None),
        ] {
            let response = request.await;
            assert_eq!(response.status, status);
            assert_eq!(labels(&response), [Some("openai"), model, Some("1"), None]);
            let upstream_ids = response.headers.all("x-standin-upstream-request-id");
            assert_eq!(upstream_ids, ["req_of_upstream"]);
            assert_eq!(response.header("x-theirs"), Some("kept"));
            let headers = format!("{:?}", response.headers);
            assert!(!headers.contains("forged"), "{headers}");
        }
    }
}

/// A model is the caller's to name where it goes to the default endpoint.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_no_header_can_say_is_not_said() {
    let (upstream, gateway) = gateway().await;
    upstream.answer_with(|_| Reply::chat("any", "Hello."));
    for client in clients(&gateway) {
        for model in ["a\r\nset-cookie: x=1", "a\nb", "a\0", "\u{7f}"] {
            let answer = client.post(CHAT, ask(model)).await;
            assert_eq!(answer.status, 200);
            assert_eq!(labels(&answer), [Some("openai"), None, Some("1"), None]);
            assert_eq!(answer.header("set-cookie"), None);
            assert_eq!(upstream.last_request().model().as_deref(), Some(model));
        }
        let accented = client.post(CHAT, ask("modèle")).await;
        assert_eq!(accented.status, 200);
    }
}
