//! Whole configurations: what is accepted and what comes of it.

mod documentation;
mod endpoints;
mod policies;
mod refusals;
mod robustness;

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::*;
use crate::policy::{
    Authentication, Balance, Environment, Format, HttpVersion, KeyDigest, PairId, PolicyId,
    Prefill, Provider, RateLimit, Scheme, StreamRescue, TargetBalance, WhenAllSuspended,
};

/// The smallest configuration, as JSON, which is YAML too.
fn smallest() -> Json {
    json!({
        "listeners": [{"address": "127.0.0.1:8080"}],
        "authentication": "none",
        "environment": "production",
        "endpoints": {"openai": {"url": "https://api.openai.com"}},
        "operations": [{"path": "/v1/chat/completions", "policies": ["chat"]}],
        "policies": {"chat": {"production": {"target": {"model": "gpt-4o", "endpoint": "openai"}}}},
    })
}

/// Sets a field, making what is on the way: `policies.chat.match[0]`.
fn set(json: &mut Json, path: &str, value: Json) {
    let mut place = json;
    for step in path.replace('[', ".[").split('.') {
        place = match step.strip_prefix('[') {
            Some(index) => {
                if !place.is_array() {
                    *place = json!([]);
                }
                let index: usize = index.trim_end_matches(']').parse().unwrap();
                let items = place.as_array_mut().unwrap();
                items.resize(items.len().max(index + 1), Json::Null);
                &mut items[index]
            }
            None => {
                if !place.is_object() {
                    *place = json!({});
                }
                &mut place[step]
            }
        };
    }
    *place = value;
}

/// The smallest configuration with some fields set.
fn with(fields: &[(&str, Json)]) -> String {
    let mut json = smallest();
    for (path, value) in fields {
        set(&mut json, path, value.clone());
    }
    json.to_string()
}

const SECRET: &str = "sk-very-secret-0123456789";

/// A world with a few variables.
fn variables(name: &str) -> Option<String> {
    match name {
        "KEY" => Some(format!("{SECRET}\n")),
        "EMPTY" => Some("\n".into()),
        "SEVERAL_LINES" => Some("a\nb".into()),
        "BLANK_AROUND" => Some(" a".into()),
        _ => None,
    }
}

fn read(text: &str) -> Result<Configuration, ConfigErrors> {
    parse(text, &variables)
}

fn accepted(fields: &[(&str, Json)]) -> Configuration {
    read(&with(fields)).unwrap()
}

#[test]
fn the_smallest_configuration_has_all_defaults() {
    let Configuration {
        server,
        listeners,
        admin,
        snapshot,
        access_log,
        shared_state,
        files,
        warnings,
    } = accepted(&[]);
    assert_eq!(shared_state, None);
    assert_eq!(files, Vec::<PathBuf>::new());
    assert_eq!(admin, None);
    assert_eq!(warnings, Vec::<String>::new());
    let everything = AccessLog {
        path: AccessLogPath::Stdout,
        sample: 1.0,
    };
    assert_eq!(access_log, everything);
    assert_eq!(
        listeners,
        [Listener {
            address: "127.0.0.1:8080".parse().unwrap(),
            h2c: false,
            tls: None
        }]
    );
    assert_eq!(
        server.threads,
        std::thread::available_parallelism().unwrap().get()
    );
    assert!(!server.work_stealing);
    assert_eq!(server.upstream_keepalive_pool_size, 512);
    assert_eq!(server.grace_period_seconds, Some(0));
    assert_eq!(server.graceful_shutdown_timeout_seconds, Some(30));
    assert_eq!(server.max_retries, 16);
    assert_eq!(snapshot.limits, crate::policy::Limits::default());
    let Authentication::None(caller) = &snapshot.authentication else {
        panic!("{:?}", snapshot.authentication)
    };
    assert_eq!(
        (&*caller.name, caller.environment),
        ("anonymous", Environment::Production)
    );

    let endpoint = &snapshot.endpoints[0];
    assert_eq!(
        (&*endpoint.name, endpoint.provider),
        ("openai", Provider::OpenAi)
    );
    assert_eq!(endpoint.backends.len(), 1);
    assert_eq!(endpoint.balance, Balance::RoundRobin);
    assert_eq!(endpoint.connect_timeout, Duration::from_secs(5));
    assert_eq!(endpoint.http_version, HttpVersion::Auto);
    assert!(endpoint.credential.keys().is_empty() && endpoint.rewrite_path.is_none());
    assert!(endpoint.health_check.is_none() && endpoint.tls.verify);

    let policy = &snapshot.policies[0];
    assert_eq!((&*policy.name, policy.id), ("chat", PolicyId(0)));
    assert!(policy.chains.sandbox.is_none());
    let chain = policy.chains.production.as_ref().unwrap();
    assert_eq!((chain.target.len(), chain.fallbacks.len()), (1, 0));
    assert_eq!(&*chain.target[0].model_json, br#""gpt-4o""#);
    assert_eq!(policy.request_timeout, Duration::from_secs(30));
    assert_eq!(policy.first_token_timeout, Duration::from_secs(30));
    assert_eq!(policy.stream_idle_timeout, Duration::from_secs(30));
    assert_eq!(policy.suspend_duration, Duration::ZERO);
    assert_eq!(policy.max_suspend_duration, Duration::from_secs(600));
    assert_eq!(policy.overall_timeout, None);
    assert_eq!(
        (policy.retries, policy.max_retry_after),
        (0, Duration::ZERO)
    );
    assert_eq!(policy.retry_backoff.base, Duration::from_millis(200));
    assert_eq!(policy.retry_backoff.max, Duration::from_secs(2));
    assert_eq!(policy.failover_on, crate::policy::FailoverOn::default());
    assert_eq!(policy.stream_rescue, StreamRescue::Continue);
    assert_eq!(policy.when_all_suspended, WhenAllSuspended::Reject);

    let operation = &snapshot.operations[0];
    assert_eq!(
        (&operation.method, operation.format),
        (&http::Method::POST, Format::ChatCompletions)
    );
    assert!(operation.default_endpoint.production.is_none());
    let found = snapshot.route(operation, Environment::Production, "gpt-4o");
    assert_eq!(found.map(|policy| policy.id), Some(PolicyId(0)));
    assert!(
        snapshot
            .route(operation, Environment::Production, "gpt-5")
            .is_none()
    );
    assert!(
        snapshot
            .route(operation, Environment::Sandbox, "gpt-4o")
            .is_none()
    );
}

#[test]
fn limits_and_the_log_arrive() {
    let Configuration {
        snapshot,
        access_log,
        ..
    } = accepted(&[
        ("limits.request_body", json!("1MiB")),
        ("limits.buffered_bodies", json!("2MiB")),
        ("limits.request_head_timeout", json!("1s")),
        ("limits.request_body_timeout", json!("2s")),
        ("limits.request_body_total", json!("3s")),
        ("limits.response_body", json!(65536)),
        ("limits.keepalive_timeout", json!("4s")),
        ("limits.response_write_timeout", json!("5s")),
        ("limits.connections", json!(7)),
        ("limits.requests_per_connection", json!(9)),
        (
            "observability.access_log",
            json!({"path": "off", "format": "json", "sample": 0.25}),
        ),
    ]);
    let limits = snapshot.limits;
    assert_eq!(
        (
            limits.request_body,
            limits.buffered_bodies,
            limits.response_body
        ),
        (1 << 20, 2 << 20, 65536)
    );
    let timeouts = [
        limits.request_head_timeout,
        limits.request_body_timeout,
        limits.request_body_total,
        limits.keepalive_timeout,
        limits.response_write_timeout,
    ];
    assert_eq!(timeouts, [1, 2, 3, 4, 5].map(Duration::from_secs));
    assert_eq!((limits.connections, limits.requests_per_connection), (7, 9));
    assert_eq!(
        (access_log.path, access_log.sample),
        (AccessLogPath::Off, 0.25)
    );
    for (path, expected) in [
        ("stdout", AccessLogPath::Stdout),
        ("stderr", AccessLogPath::Stderr),
        (
            "/tmp/access.log",
            AccessLogPath::File("/tmp/access.log".into()),
        ),
    ] {
        let configuration = accepted(&[("observability.access_log.path", json!(path))]);
        assert_eq!(configuration.access_log.path, expected);
    }
}

#[test]
fn keys_lead_to_their_callers() {
    let digests = ["a".repeat(64), "0123456789abcdef".repeat(4)];
    let Configuration {
        snapshot, warnings, ..
    } = accepted(&[
        ("authentication", json!("keys")),
        (
            "keys[0]",
            json!({"name": "web-shop", "environment": "production", "sha256": digests[0]}),
        ),
        (
            "keys[1]",
            json!({"name": "web-shop", "environment": "sandbox", "sha256": digests[1], "rate_limit": {"requests_per_minute": 60}}),
        ),
    ]);
    let Authentication::Keys(callers) = &snapshot.authentication else {
        panic!("{:?}", snapshot.authentication)
    };
    assert_eq!(callers.len(), 2);
    let mut second = [0; 32];
    for (byte, digit) in second.iter_mut().zip(
        [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]
            .iter()
            .cycle(),
    ) {
        *byte = *digit;
    }
    let caller = callers.find(&KeyDigest(second)).unwrap();
    assert_eq!(
        (&*caller.name, caller.environment),
        ("web-shop", Environment::Sandbox)
    );
    let limit = RateLimit {
        requests_per_minute: Some(60),
        tokens_per_minute: None,
    };
    assert_eq!(caller.rate_limit, Some(limit));
    let first = callers.find(&KeyDigest([0xaa; 32])).unwrap();
    assert_eq!(first.rate_limit, None);
    assert_eq!(callers.in_order(), [first, caller]);
    assert_eq!(
        warnings,
        ["line 1: environment: has no effect: a caller's key decides the environment"]
    );
}

#[test]
fn every_field_of_pingora_arrives_and_null_means_what_it_says() {
    let defaults = accepted(&[]).server;
    let fields = serde_json::to_value(&defaults).unwrap();
    let mut changed = Vec::new();
    for (name, default) in fields.as_object().unwrap() {
        let value = match (default, &**name) {
            (_, "runtime_metrics_poll_time_histogram_scale") => json!("log"),
            (_, "working_directory" | "error_log" | "user" | "group" | "ca_file") => json!("/text"),
            (Json::Bool(value), _) => json!(!value),
            (Json::Number(_) | Json::Null, _) => json!(7),
            (Json::String(_), _) => json!("text"),
            (Json::Array(_), _) => json!(["127.0.0.1"]),
            (Json::Object(_), _) => panic!("{name}"),
        };
        let path = format!("server.{name}");
        let server = accepted(&[(&path, value.clone())]).server;
        assert_eq!(
            serde_json::to_value(&server).unwrap()[name],
            value,
            "{name}"
        );
        changed.push(name);
    }
    assert!(changed.len() > 30, "{changed:?}");
    let path = "server.fast_timeout_to_tokio_threshold_seconds";
    assert!(defaults.fast_timeout_to_tokio_threshold_seconds.is_some());
    assert_eq!(
        accepted(&[(path, Json::Null)])
            .server
            .fast_timeout_to_tokio_threshold_seconds,
        None
    );
    assert_eq!(
        accepted(&[("server.threads", Json::Null)]).server.threads,
        defaults.threads
    );
}

#[test]
fn warnings_name_what_is_probably_not_meant() {
    let target = json!({"model": "m", "endpoint": "openai"});
    for (fields, expected) in [
        (
            vec![("endpoints.spare.url", json!("https://spare.example"))],
            "endpoints.spare: is not used: no policy and no default endpoint names it",
        ),
        (
            vec![("policies.spare.production.target", target.clone())],
            "policies.spare: is not used: no operation lists it under `policies`",
        ),
        (
            vec![(
                "endpoints.openai.rewrite_path",
                json!({"from": "/v2", "to": "/v3"}),
            )],
            "endpoints.openai.rewrite_path: never applies: no operation's path begins with /v2",
        ),
        (
            vec![(
                "endpoints.openai",
                json!({"url": "http://openai.example", "api_key": {"env": "KEY"}}),
            )],
            "endpoints.openai.api_key: is sent to openai.example in cleartext; use https://",
        ),
        (
            vec![(
                "endpoints.openai",
                json!({"url": "http://openai.example", "tls": {"sni": "x.example"}}),
            )],
            "endpoints.openai.tls: has no effect: no address of the endpoint is https://",
        ),
        (
            vec![(
                "observability",
                json!({"otlp": {"endpoint": "http://127.0.0.1:4317"}}),
            )],
            "observability.otlp.endpoint: 4317 is the port for OTLP over gRPC as a rule; traces are sent over HTTP, for which it is 4318",
        ),
        (
            vec![("policies.chat.balance", json!("sticky"))],
            "policies.chat.balance: has no effect: no `target` of the policy is a list of several",
        ),
        (
            vec![("policies.chat.overall_timeout", json!("30s"))],
            "policies.chat.overall_timeout: is no longer than `request_timeout`: a target that times out leaves no time for its fallbacks",
        ),
        (
            vec![(
                "policies.chat.production.fallbacks",
                json!([target, target]),
            )],
            "policies.chat.production: m is there twice at one endpoint: it fails once for all",
        ),
        (
            vec![("listeners[0].address", json!("0.0.0.0:8080"))],
            "authentication: everybody who reaches 0.0.0.0:8080 may call, at your expense",
        ),
        (
            vec![("keys", json!([]))],
            "keys: have no effect with `authentication: none`",
        ),
        (
            vec![
                ("endpoints.openai.provider", json!("anthropic")),
                (
                    "operations[0]",
                    json!({"path": "/v1/responses", "default_endpoint": {"production": "openai"}}),
                ),
                (
                    "operations[1]",
                    json!({"path": "/v1/messages", "policies": ["chat"]}),
                ),
            ],
            "operations[0].default_endpoint.production: `openai` probably does not speak the format of /v1/responses (its provider is anthropic)",
        ),
    ] {
        assert_eq!(accepted(&fields).warnings, [format!("line 1: {expected}")]);
    }
    // A key on its way to this very machine stays here.
    let local = json!({"url": "http://127.0.0.1:8000", "api_key": {"env": "KEY"}});
    assert_eq!(
        accepted(&[("endpoints.openai", local)]).warnings,
        Vec::<String>::new()
    );
}

#[test]
fn who_speaks_what() {
    for (provider, path, speaks) in [
        ("openai", "/v1/chat/completions", true),
        ("openai", "/v1/embeddings", true),
        ("openai", "/v1/messages", false),
        ("mistral", "/v1/messages", false),
        ("azure-openai", "/openai/v1/responses", true),
        ("anthropic", "/v1/messages", true),
        ("anthropic", "/v1/messages/count_tokens", true),
        ("anthropic", "/v1/chat/completions", false),
        ("anthropic", "/v1/embeddings", false),
        ("custom", "/v1/messages", true),
        ("custom", "/v1/chat/completions", true),
    ] {
        let text = with(&[
            ("endpoints.openai.provider", json!(provider)),
            ("operations[0].path", json!(path)),
        ]);
        assert_eq!(read(&text).is_ok(), speaks, "{provider} {path}");
    }
}
