//! Bearer, any header, a parameter of the query.

use super::{CHAT, ask, assert_no_caller_key, assert_ok};
use crate::support::stage::{Http, LANES};
use crate::support::{Client, KEY, Reply, Setup, Upstream, secret};

/// The same endpoint for a policy, for a model that no policy names, and for an operation without policies.
fn setup(url: &str, fields: &str) -> Setup {
    Setup::new()
        .endpoint_with("place", url, fields)
        .chain(&[("m", "place")], "")
        .default_endpoint("place")
        .operation("method: GET\npath: /v1/models\ndefault_endpoint: {production: place}")
        .listener("{address: 127.0.0.1:0, h2c: true}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stands_where_the_configuration_says() {
    for (credential, header, query) in [
        ("provider: custom", Some(("authorization", "Bearer ")), None),
        (
            "credential: bearer\nprovider: azure-openai",
            Some(("authorization", "Bearer ")),
            None,
        ),
        ("credential: {header: X-Token}", Some(("x-token", "")), None),
        (
            "credential: {header: authorization}",
            Some(("authorization", "")),
            None,
        ),
        ("credential: {query: the key}", None, Some("the%20key")),
        (
            "credential: {query: key}\nquery: {v: '1'}",
            None,
            Some("v=1&key"),
        ),
    ] {
        for lane in LANES {
            let upstream = lane.upstream().await;
            upstream.always(Reply::chat("m", "Hello"));
            let version = match lane.upstream {
                Http::One => "1.1",
                Http::Two => "2",
            };
            let fields = format!("{credential}\nhttp_version: {version}");
            let gateway = setup(&upstream.url(), &fields).start();
            let client = match lane.client {
                Http::One => gateway.client(),
                Http::Two => Client::h2c(gateway.running.addresses[1]).key(KEY),
            };
            let callers = "?the+key=mine&key=mine&a=%20";
            for request in [
                client.post(&format!("{CHAT}{callers}"), ask("m")),
                client.post(&format!("{CHAT}{callers}"), ask("other")),
                client.get(&format!("/v1/models{callers}")),
            ] {
                assert_ok(&request.header("x-token", "mine").await);
                let received = upstream.last_request();
                assert_no_caller_key(&received);
                let key = secret("place");
                for name in ["authorization", "x-token", "x-api-key"] {
                    let expected = match header {
                        Some((shown, before)) if shown == name => vec![format!("{before}{key}")],
                        // Of no endpoint's concern, so a header like others.
                        _ if name == "x-token" => vec!["mine".to_owned()],
                        _ => Vec::new(),
                    };
                    assert_eq!(received.headers.all(name), expected, "{credential}");
                }
                let (_, sent) = received.target.split_once('?').unwrap();
                let expected = match query {
                    Some("the%20key") => format!("key=mine&a=%20&the%20key={key}"),
                    Some(own) => format!("the+key=mine&a=%20&{own}={key}"),
                    None => callers[1..].to_owned(),
                };
                assert_eq!(sent, expected, "{credential}");
            }
        }
    }
}

/// A header or a parameter that is one endpoint's credential is nobody else's business either.
#[tokio::test(flavor = "multi_thread")]
async fn a_callers_own_goes_to_no_other_endpoint() {
    let upstream = Upstream::start().await;
    upstream.on_model("m", Reply::status(500));
    upstream.always(Reply::chat("n", "Hello"));
    let gateway = Setup::new()
        .endpoint_with("header", &upstream.url(), "credential: {header: x-token}")
        .endpoint_with("query", &upstream.url(), "credential: {query: token}")
        .endpoint_with("gemini", &upstream.url(), "provider: custom")
        .chain(&[("m", "gemini"), ("n", "header"), ("o", "query")], "")
        .start();
    let path = format!("{CHAT}?token=mine&b=1");
    let request = gateway.client().post(&path, ask("m"));
    assert_ok(&request.header("x-token", "mine").await);
    let seen = upstream.requests();
    assert_eq!(seen.len(), 2);
    for received in &seen {
        assert!(!format!("{received:?}").contains("mine"), "{received:?}");
        assert!(received.target.ends_with("?b=1"), "{received:?}");
    }
    assert_eq!(seen[0].header("x-token"), None);
    assert_eq!(seen[1].header("x-token"), Some(&*secret("header")));
}

/// Google takes keys in the query too: those of callers stay here.
#[tokio::test(flavor = "multi_thread")]
async fn a_callers_google_key_stays_here() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::json(200, &serde_json::json!({"models": []})));
    let gateway = Setup::new()
        .endpoint_with("gemini", &upstream.url(), "provider: gemini")
        .operation("method: GET\npath: /v1beta/models\ndefault_endpoint: {production: gemini}")
        .start();
    let path = "/v1beta/models?key=mine&pageSize=5&access_token=mine";
    assert_ok(&gateway.client().get(path).await);
    let received = upstream.last_request();
    assert_eq!(received.target, "/v1beta/models?pageSize=5");
    assert_eq!(received.headers.all("x-goog-api-key"), [secret("gemini")]);
}
