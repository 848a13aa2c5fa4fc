//! What a client never gets to see: keys, addresses, names of the gateway's inside.

use serde_json::json;

use super::{CHAT, ask, everything, failover_error};
use crate::support::{Gateway, KEY, Reply, Response, Setup, Upstream, bodies, secret};

/// Everything that must not be in an answer, or in a log.
fn assert_discreet(response: &Response, upstreams: &[&Upstream]) {
    let text = everything(response);
    for name in ["openai", "mistral", "unused"] {
        assert!(!text.contains(&secret(name)), "{text}");
    }
    assert!(!text.contains(KEY), "{text}");
    for upstream in upstreams {
        assert!(!text.contains(&upstream.addr().to_string()), "{text}");
        assert!(!text.contains(&upstream.port().to_string()), "{text}");
    }
    assert!(!text.contains("chat-policy"), "{text}");
    assert!(!text.contains("shop"), "the caller's name: {text}");
}

fn gateway(openai: &Upstream, mistral: &Upstream) -> Gateway {
    Setup::new()
        .endpoint("openai", &openai.url())
        .endpoint_with("mistral", &mistral.url(), "provider: mistral")
        .endpoint("unused", "http://127.0.0.1:9")
        .policy(
            "chat-policy",
            "production:\n  target: {model: first, endpoint: openai}\n  fallbacks:\n    - {model: second, endpoint: mistral}\n",
        )
        .default_endpoint("openai")
        .operation("method: GET\npath: /v1/models\ndefault_endpoint: {production: openai}")
        .start()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_a_provider_echoes_is_blotted_out() {
    let key = secret("mistral");
    let escaped: String = key.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for (status, message) in [
        (401, format!("Incorrect API key provided: {key}.")),
        (403, format!("{key} may not use this model, {key}!")),
        (500, format!("Bearer {key}")),
        (500, format!("{} is not {key}", secret("openai"))),
        (500, format!("no key like {}", secret("unused"))),
        (429, format!("slow down, {key}")),
    ] {
        let (openai, mistral) = (Upstream::start().await, Upstream::start().await);
        openai.always(Reply::json(500, &bodies::openai_error("e", None, &message)));
        mistral.always(Reply::json(
            status,
            &bodies::openai_error("e", None, &message),
        ));
        let gateway = gateway(&openai, &mistral);
        let response = gateway.client().post(CHAT, ask("first")).await;
        assert_discreet(&response, &[&openai, &mistral]);
        let error = failover_error(&response);
        let told = error["message"].as_str().unwrap();
        assert!(told.contains("***"), "{told}");
        assert!(!told.contains(&escaped), "{told}");
        let log = format!("{:?}", gateway.wait_log(1).await);
        assert!(!log.contains("secret-of-"), "{log}");
    }
}

/// Whatever a target says of where it is, is nobody's business outside.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_a_provider_tells_is_blotted_out() {
    let (openai, mistral) = (Upstream::start().await, Upstream::start().await);
    let message = format!("can't reach {}/v1 at {}", openai.url(), mistral.addr());
    openai.always(Reply::json(500, &bodies::openai_error("e", None, &message)));
    mistral.always(Reply::json(500, &bodies::openai_error("e", None, &message)));
    let gateway = gateway(&openai, &mistral);
    let response = gateway.client().post(CHAT, ask("first")).await;
    assert_discreet(&response, &[&openai, &mistral]);
    let error = failover_error(&response);
    let told = error["message"].as_str().unwrap();
    assert!(told.ends_with("can't reach http://***/v1 at ***"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_without_words_tell_no_address() {
    let (mut openai, mut mistral) = (Upstream::start().await, Upstream::start().await);
    let gateway = gateway(&openai, &mistral);
    openai.go_down().await;
    mistral.go_down().await;
    for response in [
        gateway.client().post(CHAT, ask("first")).await,
        gateway.client().post(CHAT, ask("no-policy-names-it")).await,
        gateway.client().get("/v1/models").await,
    ] {
        assert_eq!(response.status, 502);
        assert_discreet(&response, &[&openai, &mistral]);
        for attempt in failover_error(&response)["attempts"].as_array().unwrap() {
            assert_eq!(attempt["reason"], "refused");
        }
    }
}

/// The gateway's key was refused, not the client's: a client that saw a 401 would look for the
/// fault at its own end.
#[tokio::test(flavor = "multi_thread")]
async fn a_401_or_403_about_the_gateway_s_key_is_never_the_client_s() {
    for status in [401, 403] {
        let (openai, mistral) = (Upstream::start().await, Upstream::start().await);
        let refused = Reply::json(status, &bodies::openai_invalid_api_key(&secret("openai")))
            .header("www-authenticate", "Bearer");
        openai.always(refused.clone());
        mistral.always(refused);
        let gateway = gateway(&openai, &mistral);
        let client = gateway.client();

        let by_policy = client.post(CHAT, ask("first")).await;
        let expected = json!([
            {"endpoint": "openai", "model": "first", "status": status, "reason": status.to_string()},
            {"endpoint": "mistral", "model": "second", "status": status, "reason": status.to_string()},
        ]);
        assert_eq!(failover_error(&by_policy)["attempts"], expected);
        let by_default = client.post(CHAT, ask("no-policy-names-it")).await;
        let native = client.get("/v1/models").await;
        for (response, model) in [(&by_default, Some("no-policy-names-it")), (&native, None)] {
            let expected = json!([
                {"endpoint": "openai", "model": model, "status": status, "reason": status.to_string()},
            ]);
            assert_eq!(failover_error(response)["attempts"], expected);
        }
        let message = failover_error(&by_default)["message"].to_string();
        assert!(
            message.contains("Incorrect API key"),
            "the target's words: {message}"
        );
        for response in [by_policy, by_default, native] {
            assert_eq!(response.status, 502);
            assert_eq!(response.header("www-authenticate"), None);
            assert_discreet(&response, &[&openai, &mistral]);
        }
        assert_eq!((openai.count(), mistral.count()), (3, 1));
    }
}

/// Nothing that a policy says about statuses can make the gateway's fault the client's.
#[tokio::test(flavor = "multi_thread")]
async fn not_even_where_the_policy_passes_the_status_on() {
    for status in [401, 403] {
        let upstream = Upstream::start().await;
        upstream.always(Reply::json(
            status,
            &bodies::openai_error("invalid_request_error", None, "No."),
        ));
        let gateway = Setup::new()
            .endpoint("openai", &upstream.url())
            .chain(
                &[("first", "openai"), ("second", "openai")],
                &format!("failover_on: {{statuses: {{remove: [{status}]}}}}"),
            )
            .start();
        let response = gateway.client().post(CHAT, ask("first")).await;
        assert_eq!(response.status, 502, "{}", response.text());
        failover_error(&response);
        assert_eq!(upstream.count(), 1, "it does not fail over either");
    }
}

/// An endpoint without a key of the gateway's says what it says to the client itself.
#[tokio::test(flavor = "multi_thread")]
async fn where_the_gateway_has_no_key_the_answer_is_the_client_s() {
    for status in [401, 403] {
        let upstream = Upstream::start().await;
        let body = bodies::openai_error("invalid_request_error", None, "Who are you?");
        upstream.always(Reply::json(status, &body));
        let gateway = Setup::new()
            .bare_endpoint(
                "open",
                &format!("provider: openai\nurl: {}", upstream.url()),
            )
            .chain(&[("model", "open")], "")
            .default_endpoint("open")
            .operation("method: GET\npath: /v1/models\ndefault_endpoint: {production: open}")
            .start();
        for response in [
            gateway.client().post(CHAT, ask("no-policy-names-it")).await,
            gateway.client().get("/v1/models").await,
        ] {
            assert_eq!(response.status, status);
            assert_eq!(response.json(), body);
        }
    }
}
