//! Labels are the configuration's, and series last as long as it does.

use standin::telemetry::metrics::{Metrics, RouteKey, State};
use standin::telemetry::{RequestPath, RequestRecord};

use super::{CHAT, Scrape, ask, text};
use crate::support::{Reply, Setup, Upstream};

/// Whatever callers make up, the series stay those of the configuration.
#[tokio::test(flavor = "multi_thread")]
async fn invented_names_make_no_series() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::status(404));
    let gateway = Setup::new()
        .endpoint("openai", &upstream.url())
        .chain(&[("m", "openai")], "match: ['m*']")
        .default_endpoint("openai")
        .start();
    let client = gateway.client();
    let invent = async |number: usize| {
        client.post(CHAT, ask(&format!("m-{number}"))).await;
        client.post(CHAT, ask(&format!("x-{number}"))).await;
        client.get(&format!("/v1/{number}")).await;
        let stranger = gateway.stranger().key(&format!("key-{number}"));
        stranger.post(CHAT, ask("m")).await;
        let method = format!("INVENT{number}");
        client.request(&method, CHAT).await;
    };
    invent(0).await;
    gateway.wait_log(5).await;
    let before = Scrape::of(&gateway);
    for number in 1..200 {
        invent(number).await;
    }
    gateway.wait_log(1000).await;
    let after = Scrape::of(&gateway);
    let names = |scrape: &Scrape| scrape.0.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&before), names(&after));
    assert_eq!(after.sum("standin_requests_total", &[]), 1000.0);
}

/// The same for hundreds of thousands, past the network.
#[test]
fn a_record_s_words_are_no_labels() {
    let configuration = standin::config::parse(
        &Setup::new()
            .endpoint("openai", "http://127.0.0.1:1")
            .chain(&[("m", "openai")], "")
            .yaml("off"),
        &|_| Some("secret".to_owned()),
    )
    .unwrap();
    let metrics = Metrics::default();
    let series = metrics.series(&configuration.snapshot);
    let operation = configuration.snapshot.operations[0].id;
    let mut lines = Vec::new();
    for number in 0..200_000 {
        let path = RequestPath::Unknown(format!("/{number}").into());
        let started = std::time::SystemTime::UNIX_EPOCH;
        let mut record = RequestRecord::new("id".into(), started, http::Method::GET, path);
        record.model = Some(format!("model-{number}").into());
        record.policy = Some(format!("policy-{number}").into());
        record.route = (number % 2 == 0).then_some(RouteKey {
            operation,
            environment: standin::policy::Environment::ALL[number % 4 / 2],
            policy: None,
        });
        series.record(&record);
        if number % 100_000 == 99_999 {
            lines.push(Scrape::read(&metrics.text(&State::default())).0.len());
        }
    }
    assert_eq!(lines[0], lines[1]);
    assert!(lines[0] < 200, "{lines:?}");
}

/// Each route counts in its own series, whatever stands beside it in the configuration.
#[test]
fn every_route_is_found_among_all_of_them() {
    let mut setup = Setup::new()
        .endpoint("openai", "http://127.0.0.1:1")
        .default_endpoint("openai")
        .operation("method: POST\npath: /v1/embeddings\npolicies: [b, chat-1]");
    let target = "target: {model: m, endpoint: openai}\n  fallbacks: []\n";
    for name in ["chat-0", "chat-1", "chat-2"] {
        let chains = format!("production:\n  {target}sandbox:\n  {target}match: ['{name}']");
        setup = setup.policy(name, &chains);
    }
    let only_there = format!("sandbox:\n  {target}match: [b]");
    let yaml = setup.other_policy("b", &only_there).yaml("off");
    let secret = |_: &str| Some("secret".to_owned());
    let snapshot = standin::config::parse(&yaml, &secret).unwrap().snapshot;
    let policies = snapshot.policies.iter().map(|policy| Some(policy.id));
    let policies: Vec<_> = policies.chain([None]).collect();
    let mut counted = 0;
    for operation in snapshot.operations.iter() {
        for environment in standin::policy::Environment::ALL {
            for &policy in &policies {
                // One count alone, so that it can't be that of another route.
                let metrics = Metrics::default();
                let path = RequestPath::Operation(operation.path.clone());
                let started = std::time::SystemTime::UNIX_EPOCH;
                let mut record = RequestRecord::new("id".into(), started, http::Method::POST, path);
                record.route = Some(RouteKey {
                    policy,
                    operation: operation.id,
                    environment,
                });
                metrics.series(&snapshot).record(&record);
                let scrape = Scrape::read(&metrics.text(&State::default()));
                let name = policy.map_or("", |policy| &snapshot.policy(policy).name);
                let routes = operation.routes.as_ref().unwrap().get(environment);
                let known = policy.is_none_or(|policy| routes.policies().any(|of| of == policy));
                let expected = if known {
                    counted += 1;
                    format!("POST {},{name},{},", operation.path, environment.name())
                } else {
                    // Nowhere.
                    ",,,".to_owned()
                };
                let told = scrape.told("standin_requests_total");
                assert_eq!(told.len(), 1, "{told:?}");
                assert!(told[0].starts_with(&expected), "{told:?} for {expected}");
            }
        }
    }
    assert_eq!(counted, 2 * (3 + 1) + (1 + 1) + (2 + 1));
}

/// Names that are the same one behind the other are two series all the same.
#[tokio::test(flavor = "multi_thread")]
async fn each_pair_has_its_own_series() {
    let upstream = Upstream::start().await;
    upstream.on_model("bc", Reply::chat("bc", "Hello"));
    upstream.on_model("c", Reply::chat("c", "Hello"));
    let policy = |model: &str, endpoint: &str| {
        format!("production: {{target: {{model: {model}, endpoint: {endpoint}}}, fallbacks: []}}")
    };
    let gateway = Setup::new()
        .endpoint("a", &upstream.url())
        .endpoint("ab", &upstream.url())
        .policy("one", &policy("bc", "a"))
        .policy("two", &policy("c", "ab"))
        .start();
    gateway.client().post(CHAT, ask("bc")).await;
    for _ in 0..2 {
        gateway.client().post(CHAT, ask("c")).await;
    }
    gateway.wait_log(3).await;
    let chat = "POST /v1/chat/completions";
    assert_eq!(
        Scrape::of(&gateway).told("standin_attempts_total"),
        [
            format!("{chat},one,production,a,bc,success 1"),
            format!("{chat},two,production,ab,c,success 2"),
        ]
    );
}

/// What both configurations have goes on counting; what only the old one has goes; what comes back
/// begins anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_what_stays_and_ends_what_goes() {
    let upstream = Upstream::start().await;
    upstream.always(Reply::chat("m", "Hello"));
    let setup = |models: &[&str]| {
        let setup = Setup::new().endpoint("openai", &upstream.url());
        models.iter().fold(setup, |setup, model| {
            let target = format!("{{model: {model}, endpoint: openai}}");
            setup.policy(
                model,
                &format!("production: {{target: {target}, fallbacks: []}}"),
            )
        })
    };
    let gateway = setup(&["stays", "goes"]).start();
    let client = gateway.client();
    client.post(CHAT, ask("stays")).await;
    client.post(CHAT, ask("goes")).await;
    gateway.wait_log(2).await;
    assert!(text(&gateway).contains("goes"));

    // As the first, so that the place of the policy that stays is another one.
    gateway.install(&setup(&["comes", "stays"]));
    let scrape = text(&gateway);
    assert!(!scrape.contains("goes"), "{scrape}");
    let stays = |count: u32| format!("POST {CHAT},stays,production,success {count}");
    let read = Scrape::read(&scrape);
    assert_eq!(read.told("standin_requests_total"), [stays(1)]);
    client.post(CHAT, ask("stays")).await;
    client.post(CHAT, ask("comes")).await;
    gateway.wait_log(4).await;
    let comes = format!("POST {CHAT},comes,production,success 1");
    let read = Scrape::of(&gateway);
    assert_eq!(read.told("standin_requests_total"), [comes, stays(2)]);

    gateway.install(&setup(&["stays", "goes"]));
    client.post(CHAT, ask("goes")).await;
    gateway.wait_log(5).await;
    let goes = format!("POST {CHAT},goes,production,success 1");
    let read = Scrape::of(&gateway);
    assert_eq!(read.told("standin_requests_total"), [goes, stays(2)]);
}

/// A policy that nobody uses is no line in a scrape, but for how its pairs stand.
#[test]
fn what_nobody_uses_has_no_series() {
    let setup = (0..50).fold(
        Setup::new().endpoint("openai", "http://127.0.0.1:1"),
        |setup, number| {
            let target = format!("{{model: m{number}, endpoint: openai}}");
            let chain = format!("production: {{target: {target}, fallbacks: []}}");
            setup.policy(&format!("p{number}"), &chain)
        },
    );
    let gateway = setup.start();
    let scrape = Scrape::of(&gateway);
    let of_policies = scrape.0.keys().filter(|series| series.contains("policy="));
    assert_eq!(of_policies.count(), 0);
    let pairs = scrape
        .0
        .keys()
        .filter(|series| series.starts_with("standin_suspended{"));
    assert_eq!(pairs.count(), 50);
}
