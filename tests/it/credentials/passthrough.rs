//! `api_key: passthrough`: the caller's own credential goes to the endpoint that says so, and to
//! no other; a key of the gateway's goes nowhere.

use super::{CHAT, ask, assert_no_caller_key, assert_ok};
use crate::support::{Client, Gateway, KEY, Reply, Setup, Upstream, bodies, secret};

/// The first endpoint gets the caller's credential, the second has a key of its own; both also without a
/// policy.
fn setup(first: &Upstream, second: &Upstream) -> Setup {
    let fields = format!("url: {}\napi_key: passthrough", first.url());
    Setup::new()
        .bare_endpoint("theirs", &fields)
        .endpoint("ours", &second.url())
        .chain(&[("m", "theirs"), ("n", "ours")], "suspend_duration: 1h")
        .default_endpoint("theirs")
        .operation("method: GET\npath: /v1/models\ndefault_endpoint: {production: theirs}")
        .operation("method: GET\npath: /v1/files\ndefault_endpoint: {production: ours}")
}

async fn upstreams() -> (Upstream, Upstream) {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    first.always(Reply::chat("m", "Hello"));
    second.always(Reply::chat("n", "Hello"));
    (first, second)
}

const CREDENTIALS: [(&str, &str); 4] = [
    ("authorization", "Bearer of-the-caller"),
    ("x-api-key", "of-the-caller"),
    ("api-key", "of-the-caller"),
    ("x-goog-api-key", "of-the-caller"),
];

/// Every way to each endpoint.
async fn assert_passed(gateway: &Gateway, client: &Client, first: &Upstream, second: &Upstream) {
    for (name, value) in CREDENTIALS {
        for request in [
            client.post(CHAT, ask("m")),
            client.post(CHAT, ask("of-no-policy")),
            client.get("/v1/models?key=of-the-caller"),
        ] {
            assert_ok(&request.header(name, value).await);
            let received = first.last_request();
            assert_no_caller_key(&received);
            for (other, _) in CREDENTIALS {
                let expected = (other == name).then_some(value);
                assert_eq!(
                    received.headers.all(other),
                    Vec::from_iter(expected),
                    "{name}"
                );
            }
        }
        let in_query = first.last_request().target;
        assert_eq!(in_query, "/v1/models?key=of-the-caller");
        assert_ok(&client.get("/v1/files").header(name, value).await);
        assert_own(&second.last_request());
    }
    let log = gateway.wait_log(4 * CREDENTIALS.len()).await;
    assert!(!format!("{log:?}").contains("of-the-caller"), "{log:?}");
}

fn assert_own(received: &crate::support::Received) {
    assert!(!format!("{received:?}").contains("of-the-caller"));
    let own = format!("Bearer {}", secret("ours"));
    assert_eq!(received.headers.all("authorization"), [own]);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_has_to_show_a_key() {
    let (first, second) = upstreams().await;
    let gateway = setup(&first, &second).without_authentication().start();
    assert_passed(&gateway, &gateway.stranger(), &first, &second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_key_of_the_gateways_in_a_header_of_its_own() {
    let (first, second) = upstreams().await;
    let gateway = setup(&first, &second).start();
    let client = gateway.stranger().header("x-standin-key", KEY);
    assert_passed(&gateway, &client, &first, &second).await;
}

/// Whatever a caller does, its key for this gateway stays here.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_gateways_goes_nowhere() {
    let (first, second) = upstreams().await;
    let gateway = setup(&first, &second).start();
    let bearer = format!("Bearer {KEY}");
    for headers in [
        vec![("authorization", &*bearer)],
        vec![("api-key", KEY)],
        vec![("x-api-key", KEY), ("api-key", KEY)],
        vec![("authorization", &*bearer), ("x-api-key", "of-the-caller")],
        vec![("x-standin-key", KEY), ("authorization", &*bearer)],
        vec![
            ("x-standin-key", KEY),
            ("x-api-key", KEY),
            ("api-key", &*bearer),
        ],
    ] {
        let client = headers
            .iter()
            .fold(gateway.stranger(), |client, (name, value)| {
                client.header(name, value)
            });
        for request in [
            client.post(CHAT, ask("m")),
            client.post(CHAT, ask("of-no-policy")),
            client.get("/v1/models"),
        ] {
            assert_ok(&request.await);
            let received = first.last_request();
            assert_no_caller_key(&received);
            for (name, _) in CREDENTIALS {
                assert_eq!(received.header(name), None, "{headers:?}");
            }
        }
    }
    let wrong = gateway.stranger().header("x-standin-key", "nobody's");
    assert_eq!(wrong.post(CHAT, ask("m")).key(KEY).await.status, 401);
}

/// What is said about the caller's own key is the caller's business, and no reason to leave the pair
/// out for others; a rate limit is gone around.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_about_the_caller() {
    let (first, second) = upstreams().await;
    let refusal = bodies::openai_invalid_api_key("of-the-caller");
    first.on_model(
        "m",
        [
            Reply::json(401, &refusal),
            Reply::json(429, &bodies::openai_rate_limited()),
            Reply::chat("m", "Hello"),
        ],
    );
    let gateway = setup(&first, &second).without_authentication().start();
    let client = gateway.stranger().key("of-the-caller");
    let refused = client.post(CHAT, ask("m")).await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.json(), refusal);

    let limited = client.post(CHAT, ask("m")).await;
    assert_ok(&limited);
    assert_eq!(limited.header("x-standin-endpoint"), Some("ours"));
    assert_own(&second.last_request());
    let served = client.post(CHAT, ask("m")).await;
    assert_eq!(served.header("x-standin-endpoint"), Some("theirs"));
    assert_eq!((first.count(), second.count()), (3, 1));
}
