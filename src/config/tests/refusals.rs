//! Every error, word for word, with the place where it is reported.

use std::fs;
use std::path::PathBuf;

use super::*;

/// A mistake: what is set where, and the one error that comes of it.
type Mistake<'m> = (&'m str, Json, &'m str, &'m str);

fn refused(fields: &[(&str, Json)]) -> Vec<String> {
    let ConfigErrors(errors) = read(&with(fields)).unwrap_err();
    errors
        .into_iter()
        .map(|error| {
            assert_eq!(error.line, 1, "{error}");
            format!("{}: {}", error.path, error.message)
        })
        .collect()
}

fn assert_mistakes(mistakes: &[Mistake<'_>]) {
    for (path, value, place, message) in mistakes {
        let place = if place.is_empty() { path } else { place };
        let errors = refused(&[(path, value.clone())]);
        assert_eq!(errors, [format!("{place}: {message}")], "{path}: {value}");
    }
}

#[test]
fn shapes() {
    let duration =
        "must be a duration such as 30s, 250ms, 2m or 1h (a bare whole number means seconds), not";
    let size = "must be a size such as 64KiB, 32MiB or 1GiB (a bare whole number means bytes), not";
    assert_mistakes(&[
        (
            "polices",
            json!({}),
            "",
            "there is no such field; did you mean `policies`?",
        ),
        (
            "policies.chat.retry_backoff.x",
            json!(1),
            "",
            "there is no such field; the fields here are: base, max",
        ),
        (
            "policies.chat.requst_timeout",
            json!("30s"),
            "",
            "there is no such field; did you mean `request_timeout`?",
        ),
        (
            "policies.chat.production.target.modle",
            json!("m"),
            "",
            "there is no such field; did you mean `model`?",
        ),
        (
            "policies",
            json!([]),
            "",
            "must be fields (`name: value`), not a list",
        ),
        (
            "policies.chat",
            json!("x"),
            "",
            "must be fields (`name: value`), not a single value",
        ),
        (
            "operations[0].policies",
            json!("chat"),
            "",
            "must be a list, not a single value",
        ),
        (
            "operations[0].policies",
            json!({"a": 1}),
            "",
            "must be a list, not fields",
        ),
        (
            "operations[0].policies[0]",
            json!(["chat"]),
            "",
            "must be text, not a list",
        ),
        (
            "operations[0].policies[1]",
            Json::Null,
            "",
            "must be text, not nothing",
        ),
        (
            "listeners[0].h2c",
            json!("yes"),
            "",
            "must be true or false, not `yes`",
        ),
        (
            "policies.chat.retries",
            json!("many"),
            "",
            "must be a whole number, not `many`",
        ),
        (
            "policies.chat.retries",
            json!(-1),
            "",
            "must be a whole number, not `-1`",
        ),
        (
            "policies.chat.retries",
            json!([1]),
            "",
            "must be a whole number, not a list",
        ),
        (
            "policies.chat.request_timeout",
            json!("30 s"),
            "",
            &format!("{duration} `30 s`"),
        ),
        (
            "policies.chat.request_timeout",
            json!(1.5),
            "",
            &format!("{duration} `1.5`"),
        ),
        (
            "policies.chat.request_timeout",
            json!({"s": 1}),
            "",
            &format!("{duration} fields"),
        ),
        (
            "limits.request_body",
            json!("32 mib"),
            "",
            &format!("{size} `32 mib`"),
        ),
        (
            "admin",
            json!({"address": "127.0.0.1:9090"}),
            "",
            "is not supported yet by this version; leave it out",
        ),
        (
            "shared_state",
            json!({"redis": {}}),
            "",
            "is not supported yet by this version; leave it out",
        ),
        (
            "observability.otlp",
            json!({}),
            "",
            "is not supported yet by this version; leave it out",
        ),
    ]);
}

#[test]
fn keys_that_are_written_twice() {
    let text = "limits: {}\nendpoints:\n  a: {}\n  b: {url: x,\n    url: y}\n  a: {}\nlimits: {}\n";
    let ConfigErrors(errors) = read(text).unwrap_err();
    let twice: Vec<_> = errors
        .iter()
        .filter(|error| error.message.starts_with("is written twice"))
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        twice,
        [
            "line 5: endpoints.b.url: is written twice, first on line 4; keep one of them",
            "line 6: endpoints.a: is written twice, first on line 3; keep one of them",
            "line 7: limits: is written twice, first on line 1; keep one of them",
        ]
    );
}

#[test]
fn what_is_missing_is_reported_at_its_own_place() {
    for text in ["", "{}", "# nothing\n", "listeners:\n"] {
        assert_eq!(
            read(text).unwrap_err().to_string(),
            "line 1: listeners: is missing; at least one: [{address: 0.0.0.0:8080}]\n\
             line 1: keys: is missing; at least one, `standin key` makes it; or write `authentication: none`\n\
             line 1: endpoints: is missing; at least one: {NAME: {url: https://HOST}}\n\
             line 1: operations: is missing; at least one: [{path: /v1/chat/completions, policies: […]}]",
            "{text:?}"
        );
    }
    assert_eq!(
        read("- a").unwrap_err().to_string(),
        "line 1: must be fields (`name: value`), not a list"
    );
    let address = "an address is IP:PORT, such as 0.0.0.0:8080 or [::1]:8080";
    assert_mistakes(&[
        (
            "listeners",
            json!([]),
            "",
            "is empty; at least one: [{address: 0.0.0.0:8080}]",
        ),
        (
            "listeners[0]",
            json!({}),
            "listeners[0].address",
            &format!("is missing; {address}"),
        ),
        (
            "listeners[0].tls.private_key",
            json!("/x"),
            "listeners[0].tls.certificate",
            "is missing; the path of a PEM file",
        ),
        (
            "authentication",
            json!("keys"),
            "keys",
            "is missing; at least one, `standin key` makes it; or write `authentication: none`",
        ),
        (
            "environment",
            Json::Null,
            "",
            "is missing; with `authentication: none` it says where all calls belong: production or sandbox",
        ),
        (
            "endpoints.x",
            Json::Null,
            "endpoints.x.url",
            "is missing; the address of the endpoint: https://HOST, or several under `backends`",
        ),
        (
            "endpoints.x.backends",
            json!([]),
            "",
            "is empty; at least one: [{url: https://HOST}]",
        ),
        (
            "endpoints.x.backends",
            json!([{}]),
            "endpoints.x.backends[0].url",
            "is missing; the backend's address: http://HOST:PORT",
        ),
        (
            "endpoints.openai.balance",
            json!("consistent"),
            "endpoints.openai.affinity_header",
            "is missing; with `balance: consistent` it names the request header that is hashed",
        ),
        (
            "endpoints.openai.rewrite_path.to",
            json!("/v2"),
            "endpoints.openai.rewrite_path.from",
            "is missing; the prefix that is replaced, such as /v1",
        ),
        (
            "endpoints.openai.rewrite_path.from",
            json!("/v1"),
            "endpoints.openai.rewrite_path.to",
            "is missing; what stands there instead, such as /v1beta/openai",
        ),
        (
            "endpoints.openai.tls.client_key",
            json!("/x"),
            "endpoints.openai.tls.client_certificate",
            "is missing; a client shows a certificate and has its key: both are needed",
        ),
        (
            "endpoints.openai.tls.client_certificate",
            json!("/x"),
            "endpoints.openai.tls.client_key",
            "is missing; a client shows a certificate and has its key: both are needed",
        ),
        (
            "operations",
            json!([]),
            "",
            "is empty; at least one: [{path: /v1/chat/completions, policies: […]}]",
        ),
        (
            "operations[0].path",
            Json::Null,
            "",
            "is missing; what callers ask for, such as /v1/chat/completions",
        ),
        (
            "policies.chat.production",
            Json::Null,
            "policies.chat",
            "needs `production` or `sandbox`, or both: {target: {model: M, endpoint: E}}",
        ),
        (
            "policies.chat.production.target",
            Json::Null,
            "",
            "is missing; the first choice: {model: M, endpoint: E}",
        ),
        (
            "policies.chat.production.target",
            json!([]),
            "",
            "is empty; at least one: {model: M, endpoint: E}",
        ),
        (
            "policies.chat.production.target.model",
            Json::Null,
            "",
            "is missing; the model's name at the endpoint",
        ),
        (
            "policies.chat.production.fallbacks[0].model",
            json!("m"),
            "policies.chat.production.fallbacks[0].endpoint",
            "is missing; the name of an endpoint",
        ),
    ]);
    let keys = json!([]);
    let empty = refused(&[
        ("authentication", json!("keys")),
        ("keys", keys),
        ("environment", Json::Null),
    ]);
    assert_eq!(
        empty,
        ["keys: is empty; at least one, `standin key` makes it; or write `authentication: none`"]
    );
}

#[test]
fn names_that_nothing_has() {
    assert_mistakes(&[
        (
            "authentication",
            json!("key"),
            "",
            "`key` is unknown; did you mean `keys`?",
        ),
        (
            "environment",
            json!("prod"),
            "",
            "`prod` is unknown; environments are: production, sandbox",
        ),
        (
            "endpoints.openai.provider",
            json!("opanai"),
            "",
            "`opanai` is unknown; did you mean `openai`?",
        ),
        (
            "endpoints.openai.provider",
            json!("x"),
            "",
            "`x` is unknown; providers are: openai, mistral, azure-openai, anthropic, custom",
        ),
        (
            "endpoints.openai.provider",
            json!("gemini"),
            "",
            "`gemini` is not supported yet by this version; its OpenAI-compatible API, if there is one, works as `custom`",
        ),
        (
            "endpoints.openai.balance",
            json!("fastest"),
            "",
            "`fastest` is unknown; balances are: round_robin, random, consistent, least_busy",
        ),
        (
            "endpoints.openai.http_version",
            json!("3"),
            "",
            "`3` is unknown; did you mean `2`?",
        ),
        (
            "operations[0].method",
            json!("post"),
            "",
            "`post` is unknown; did you mean `POST`?",
        ),
        (
            "operations[0].policies[0]",
            json!("chta"),
            "",
            "`chta` is unknown; did you mean `chat`?",
        ),
        (
            "operations[0].default_endpoint.sandbox",
            json!("x"),
            "",
            "`x` is unknown; endpoints are: openai",
        ),
        (
            "policies.chat.type",
            json!("balance"),
            "",
            "`balance` is unknown; policy types are: failover",
        ),
        (
            "policies.chat.production.target.endpoint",
            json!("mistral"),
            "",
            "`mistral` is unknown; endpoints are: openai",
        ),
        (
            "policies.chat.production.target.prefill",
            json!("maybe"),
            "",
            "`maybe` is unknown; kinds of prefill are: false, true, vllm",
        ),
        (
            "policies.chat.stream_rescue",
            json!("on"),
            "",
            "`on` is unknown; ways to rescue a stream are: continue, off",
        ),
        (
            "policies.chat.when_all_suspended",
            json!("wait"),
            "",
            "`wait` is unknown; ways to go on are: reject, try_soonest",
        ),
        (
            "observability.access_log.format",
            json!("text"),
            "",
            "`text` is unknown; formats are: json",
        ),
        (
            "observability.access_log.path",
            json!("sdtout"),
            "",
            "`sdtout` is unknown; did you mean `stdout`?",
        ),
        (
            "observability.access_log.path",
            json!("log"),
            "",
            "`log` is unknown; paths are: stdout, stderr, off, a file (with a `/` in its path)",
        ),
        (
            "observability.access_log.path",
            json!("/no/such/folder/log"),
            "",
            "the folder of /no/such/folder/log does not exist; make it",
        ),
    ]);
    let no_policies = refused(&[("policies", Json::Null)]);
    assert_eq!(
        no_policies,
        ["operations[0].policies[0]: `chat` is unknown; there are no policies"]
    );
}

#[test]
fn a_refused_endpoint_or_policy_is_one_error_however_often_it_is_used() {
    let target = json!({"model": "m", "endpoint": "openai"});
    let errors = refused(&[
        ("endpoints.openai.url", json!("api.openai.com")),
        ("policies.chat.production.fallbacks", json!([target])),
        (
            "operations[0].default_endpoint",
            json!({"production": "openai"}),
        ),
    ]);
    assert_eq!(errors.len(), 1, "{errors:?}");
    let errors = refused(&[("policies.chat", json!([]))]);
    assert_eq!(errors.len(), 1, "{errors:?}");
    let errors = refused(&[("endpoints.openai.url", json!(["x"]))]);
    assert_eq!(errors, ["endpoints.openai.url: must be text, not a list"]);
}

#[test]
fn listeners_and_limits() {
    let address = "an address is IP:PORT, such as 0.0.0.0:8080 or [::1]:8080";
    let folder = Folder::new("listeners_and_limits");
    let (certificate, key) = folder.certificate("a");
    let tls = json!({"certificate": certificate, "private_key": key});
    assert_mistakes(&[
        (
            "listeners[0].address",
            json!(":8080"),
            "",
            &format!("`:8080` is no address; {address}"),
        ),
        (
            "listeners[0].address",
            json!("localhost:8080"),
            "",
            &format!("`localhost:8080` is no address; {address}"),
        ),
        (
            "listeners[1].address",
            json!("127.0.0.1:8080"),
            "",
            "is the address of the listener on line 1 already",
        ),
        (
            "listeners[0]",
            json!({"address": "127.0.0.1:1", "h2c": true, "tls": tls}),
            "listeners[0].h2c",
            "is for cleartext; with `tls`, HTTP/2 is offered by ALPN: leave one of them out",
        ),
        (
            "limits.request_body",
            json!(0),
            "",
            "must be from 1B to 16GiB, not 0B",
        ),
        (
            "limits.request_body",
            json!("2GiB"),
            "limits.buffered_bodies",
            "is less than `request_body`: a body of the allowed size would never fit",
        ),
        (
            "limits.buffered_bodies",
            json!("2048GiB"),
            "",
            "must be from 1B to 1024GiB, not 2048GiB",
        ),
        (
            "limits.response_body",
            json!("2GiB"),
            "",
            "must be from 1B to 1GiB, not 2GiB",
        ),
        (
            "limits.connections",
            json!(0),
            "",
            "must be from 1 to 10000000, not 0",
        ),
        (
            "limits.request_head_timeout",
            json!(0),
            "",
            "must be from 1ms to 24h, not 0s",
        ),
        (
            "limits.request_body_timeout",
            json!("0s"),
            "",
            "must be from 1ms to 24h, not 0s",
        ),
        (
            "limits.request_body_total",
            json!("25h"),
            "",
            "must be from 1ms to 24h, not 25h",
        ),
        (
            "limits.keepalive_timeout",
            json!("1000000000h"),
            "",
            "must be from 1ms to 24h, not 1000000000h",
        ),
    ]);
    let several = with(&[(
        "listeners",
        json!([{"address": "127.0.0.1:0"}, {"address": "127.0.0.1:0"}]),
    )]);
    assert_eq!(read(&several).unwrap().listeners.len(), 2);
}

#[test]
fn pingoras_settings() {
    assert_mistakes(&[
        (
            "server.thread",
            json!(2),
            "",
            "there is no such field; did you mean `threads`?",
        ),
        (
            "server.threads",
            json!(0),
            "",
            "must be from 1 to 1024, not 0",
        ),
        (
            "server.max_retries",
            json!(0),
            "",
            "must be from 1 to 1000, not 0",
        ),
        (
            "server.listener_tasks_per_fd",
            json!(0),
            "",
            "must be from 1 to 1024, not 0",
        ),
        (
            "server.upstream_keepalive_pool_size",
            json!(2_000_000),
            "",
            "must be from 0 to 1000000, not 2000000",
        ),
        (
            "server.threads",
            json!("two"),
            "",
            "is not what Pingora takes here: invalid type: string \"two\", expected usize",
        ),
        (
            "server.threads",
            json!({"a": [null]}),
            "",
            "is not what Pingora takes here: invalid type: map, expected usize",
        ),
        (
            "server.client_bind_to_ipv4",
            json!("10.0.0.1"),
            "",
            "is not what Pingora takes here: invalid type: string \"10.0.0.1\", expected a sequence",
        ),
        (
            "server.max_blocking_threads",
            json!(0),
            "server",
            "is not what Pingora takes: max_blocking_threads must be greater than zero",
        ),
        (
            "server",
            json!([]),
            "",
            "must be fields (`name: value`), not a list",
        ),
    ]);
}

#[test]
fn callers() {
    let digest = "a".repeat(64);
    let key = |name: &str, sha256: &str| json!({"name": name, "environment": "sandbox", "sha256": sha256});
    let errors = |keys: Json| {
        refused(&[
            ("authentication", json!("keys")),
            ("environment", Json::Null),
            ("keys", keys),
        ])
    };
    let made = "the lower-case hex SHA-256 of the key: `standin key` makes both";
    for (keys, expected) in [
        (
            json!([{"sha256": digest, "environment": "sandbox"}]),
            "keys[0].name: is missing; who holds the key, for the logs".to_owned(),
        ),
        (
            json!([{"sha256": digest, "name": "a"}]),
            "keys[0].environment: is missing; production or sandbox".into(),
        ),
        (
            json!([{"environment": "sandbox", "name": "a"}]),
            format!("keys[0].sha256: is missing; {made}"),
        ),
        (
            json!([{"environment": "test", "name": "a", "sha256": digest}]),
            "keys[0].environment: `test` is unknown; environments are: production, sandbox".into(),
        ),
        (
            json!([key("", &digest)]),
            "keys[0].name: must not be empty".into(),
        ),
        (
            json!([key("a\u{7}", &digest)]),
            "keys[0].name: must not have control characters in it".into(),
        ),
        (
            json!([key(" a", &digest)]),
            "keys[0].name: must not begin or end with white space".into(),
        ),
        (
            json!([key("a", SECRET)]),
            format!("keys[0].sha256: must be 64 lower-case hex digits, {made}"),
        ),
        (
            json!([key("a", &digest.to_uppercase())]),
            format!("keys[0].sha256: must be 64 lower-case hex digits, {made}"),
        ),
        (
            json!([key("a", &digest[1..])]),
            format!("keys[0].sha256: must be 64 lower-case hex digits, {made}"),
        ),
        (
            json!([key("a", &digest), key("b", &digest)]),
            "keys[1].sha256: is the digest of the key on line 1 already; keep one of them".into(),
        ),
        (
            json!([key("a", &digest), key("a", &"b".repeat(64))]),
            "keys[1].name: `a` is the key of sandbox on line 1 already".into(),
        ),
        (
            json!([key(
                "a",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
            )]),
            "keys[0].sha256: is the digest of an empty key; `standin key` makes one".into(),
        ),
        (
            json!([{"key": SECRET}]),
            "keys[0].key: there is no such field; the fields here are: name, environment, sha256"
                .into(),
        ),
    ] {
        assert_eq!(errors(keys.clone())[0], expected, "{keys}");
    }
}

#[test]
fn endpoints() {
    let long = "x".repeat(65);
    let name =
        "an endpoint's name is made of letters, digits, `-`, `_` and `.`, at most 64 of them";
    let url = json!({"url": "https://x.example"});
    let path = "must be a path that begins with `/` and has no query";
    assert_mistakes(&[
        (&format!("endpoints.{long}"), url.clone(), "", name),
        ("endpoints.a b", url, "endpoints.\"a b\"", name),
        (
            "endpoints.openai.url",
            json!("x"),
            "",
            "must begin with http:// or https://; a URL is http:// or https://, a host, and perhaps a port and a base path",
        ),
        (
            "endpoints.openai.backends",
            json!([{"url": "http://x.example"}]),
            "",
            "can't stand beside `url`; leave one of them out",
        ),
        (
            "endpoints.x.backends",
            json!([{"url": "http://x.example", "weight": 0}]),
            "endpoints.x.backends[0].weight",
            "must be from 1 to 1000, not 0",
        ),
        (
            "endpoints.x.backends",
            json!([{"url": "http://x.example"}, {"url": "http://x.example/"}]),
            "endpoints.x.backends[1].url",
            "is the address of the backend on line 1 already; give that one more weight",
        ),
        (
            "endpoints.openai.affinity_header",
            json!("x-session"),
            "",
            "has no effect without `balance: consistent`; leave it out",
        ),
        (
            "endpoints.openai.connect_timeout",
            json!(0),
            "",
            "must be from 1ms to 24h, not 0s",
        ),
        (
            "endpoints.openai.health_check.path",
            json!("health"),
            "",
            "must be a path such as /health",
        ),
        (
            "endpoints.openai.health_check.interval",
            json!("10ms"),
            "",
            "must be from 100ms to 24h, not 10ms",
        ),
        (
            "endpoints.openai.health_check.timeout",
            json!("6s"),
            "",
            "must not be longer than `interval`",
        ),
        (
            "endpoints.openai.health_check.healthy_after",
            json!(0),
            "",
            "must be from 1 to 1000, not 0",
        ),
        (
            "endpoints.openai.health_check.unhealthy_after",
            json!(0),
            "",
            "must be from 1 to 1000, not 0",
        ),
        (
            "endpoints.openai.rewrite_path",
            json!({"from": "v1", "to": "/v2"}),
            "endpoints.openai.rewrite_path.from",
            path,
        ),
        (
            "endpoints.openai.rewrite_path",
            json!({"from": "/v1", "to": "/v2?x"}),
            "endpoints.openai.rewrite_path.to",
            path,
        ),
        (
            "endpoints.openai.rewrite_path",
            json!({"from": "/", "to": "/v2"}),
            "endpoints.openai.rewrite_path.from",
            "must be more than `/`; what comes before every path is the base path of the `url`",
        ),
        (
            "endpoints.openai.tls.sni",
            json!("a b"),
            "",
            "must be a host name",
        ),
    ]);
    let errors = refused(&[
        ("endpoints.openai.balance", json!("consistent")),
        ("endpoints.openai.affinity_header", json!("a b")),
    ]);
    assert_eq!(
        errors,
        ["endpoints.openai.affinity_header: is no name of a header, such as x-session-id"]
    );
}

#[test]
fn secrets() {
    let folder = Folder::new("secrets");
    let good = folder.file("good", SECRET);
    let empty = folder.file("empty", "\r\n");
    let remedy = "write {env: NAME} or {file: PATH}";
    let path = "endpoints.openai.api_key";
    let several = "holds more than a secret: there is a line end or a control character in it";
    assert_mistakes(&[
        (
            path,
            json!(SECRET),
            "",
            &format!("a secret is never written into the configuration; {remedy}"),
        ),
        (
            path,
            json!([SECRET]),
            "",
            &format!("must say where the secret is kept; {remedy}"),
        ),
        (
            path,
            json!({}),
            "",
            &format!("must name exactly one place where the secret is kept; {remedy}"),
        ),
        (
            path,
            json!({"env": "KEY", "file": good}),
            "",
            &format!("must name exactly one place where the secret is kept; {remedy}"),
        ),
        (
            path,
            json!({"env": [SECRET]}),
            "",
            &format!("must say where the secret is kept; {remedy}"),
        ),
        (
            path,
            json!({"value": SECRET}),
            "",
            &format!("secrets are kept in the environment or in a file; {remedy}"),
        ),
        (
            path,
            json!({SECRET: null}),
            "",
            &format!("must say where the secret is kept; {remedy}"),
        ),
        (
            path,
            json!({"env": SECRET}),
            "",
            &format!("this is no name of an environment variable; {remedy}"),
        ),
        (
            path,
            json!({"env": "ABSENT"}),
            "",
            "the environment variable ABSENT is not set",
        ),
        (
            path,
            json!({"env": "EMPTY"}),
            "",
            "the environment variable EMPTY is empty; it must hold the secret",
        ),
        (
            path,
            json!({"env": "SEVERAL_LINES"}),
            "",
            &format!("the environment variable SEVERAL_LINES {several}"),
        ),
        (
            path,
            json!({"env": "BLANK_AROUND"}),
            "",
            "the environment variable BLANK_AROUND begins or ends with white space, which no key does",
        ),
        (
            path,
            json!({"file": empty}),
            "",
            &format!("the file {empty} is empty; it must hold the secret"),
        ),
        (
            path,
            json!({"file": "/no/such/file"}),
            "",
            "the file /no/such/file can't be read: No such file or directory (os error 2)",
        ),
        (
            path,
            json!({"file": "/dev/zero"}),
            "",
            "the file /dev/zero is no regular file",
        ),
        (
            path,
            json!({"file": folder.path()}),
            "",
            &format!("the file {} is no regular file", folder.path()),
        ),
    ]);
    let large = folder.file("large", &"x".repeat(65_537));
    let binary = folder.bytes("binary", b"\xff\xfe");
    assert_mistakes(&[
        (
            path,
            json!({"file": large}),
            "",
            &format!("the file {large} is larger than 65536 bytes"),
        ),
        (
            path,
            json!({"file": binary}),
            "",
            &format!("the file {binary} is no UTF-8 text"),
        ),
    ]);
    let endpoint = &accepted(&[(path, json!({"file": good}))])
        .snapshot
        .endpoints[0];
    assert_eq!(endpoint.api_key.as_ref().unwrap().expose(), SECRET);
}

#[test]
fn certificates() {
    let folder = Folder::new("certificates");
    let (certificate, key) = folder.certificate("a");
    let (_, other_key) = folder.certificate("b");
    let text = folder.file("text", "hello");
    let broken = folder.file(
        "broken",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    );
    let odd = folder.file(
        "odd",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let odd_key = folder.file(
        "odd_key",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    let no_certificate = "holds no certificate (PEM: -----BEGIN CERTIFICATE-----)";
    let no_key = "holds no private key without a passphrase (PEM: -----BEGIN PRIVATE KEY-----)";
    let listener = |certificate: &str, key: &str, ca: Json| {
        let tls = json!({"certificate": certificate, "private_key": key, "client_ca": ca});
        json!({"address": "127.0.0.1:1", "tls": tls})
    };
    let at = |field: &str| format!("listeners[0].tls.{field}");
    for (value, field, message) in [
        (
            listener("/none", &key, Json::Null),
            "certificate",
            "/none can't be read: No such file or directory (os error 2)".to_owned(),
        ),
        (
            listener(&text, &key, Json::Null),
            "certificate",
            format!("{text} {no_certificate}"),
        ),
        (
            listener(&broken, &key, Json::Null),
            "certificate",
            format!("{broken} is no valid PEM: base64 decode error"),
        ),
        (
            listener(&certificate, "/none", Json::Null),
            "private_key",
            "/none can't be read: No such file or directory (os error 2)".into(),
        ),
        (
            listener(&certificate, &certificate, Json::Null),
            "private_key",
            format!("{certificate} {no_key}"),
        ),
        (
            listener(&certificate, &other_key, Json::Null),
            "private_key",
            format!("{other_key} holds the key of another certificate"),
        ),
        (
            listener(&certificate, &odd_key, Json::Null),
            "private_key",
            format!("{odd_key} can't be used with its certificate: "),
        ),
        (
            listener(&certificate, &key, json!(text)),
            "client_ca",
            format!("{text} {no_certificate}"),
        ),
        (
            listener(&certificate, &key, json!(odd)),
            "client_ca",
            format!("{odd} holds a certificate that can't be used: "),
        ),
    ] {
        let errors = refused(&[("listeners[0]", value.clone())]);
        let [error] = &errors[..] else {
            panic!("{errors:?}")
        };
        assert!(
            error.starts_with(&format!("{}: {message}", at(field))),
            "{error}"
        );
    }
    let ca = json!(certificate);
    let tls = accepted(&[("listeners[0]", listener(&certificate, &key, ca.clone()))]).listeners[0]
        .tls
        .clone();
    assert_eq!(tls.unwrap().client_ca, Some(PathBuf::from(&certificate)));

    let upstream = "endpoints.openai.tls";
    let errors = refused(&[(upstream, json!({"ca": text}))]);
    assert_eq!(errors, [format!("{upstream}.ca: {text} {no_certificate}")]);
    let errors = refused(&[(
        upstream,
        json!({"client_certificate": text, "client_key": other_key}),
    )]);
    assert_eq!(
        errors,
        [format!(
            "{upstream}.client_certificate: {text} {no_certificate}"
        )]
    );
    let errors = refused(&[(
        upstream,
        json!({"client_certificate": certificate, "client_key": other_key}),
    )]);
    assert_eq!(
        errors,
        [format!(
            "{upstream}.client_key: {other_key} holds the key of another certificate"
        )]
    );
    let tls = json!({"ca": ca, "client_certificate": certificate, "client_key": key});
    let tls = &accepted(&[(upstream, tls)]).snapshot.endpoints[0].tls;
    assert_eq!(tls.ca.as_deref(), Some(&*fs::read(&certificate).unwrap()));
    let (_, secret) = tls.client_certificate.as_ref().unwrap();
    assert_eq!(secret.expose(), fs::read_to_string(&key).unwrap());
}

#[test]
fn operations() {
    let path = "must be a path that begins with `/` and has no query, such as /v1/chat/completions";
    assert_mistakes(&[
        ("operations[0].path", json!("v1/chat"), "", path),
        ("operations[0].path", json!("/v1/chat?x=1"), "", path),
        ("operations[0].path", json!("/v1/chat#x"), "", path),
        ("operations[0].path", json!("/v1/a b"), "", path),
        (
            "operations[0].path",
            json!("/v1beta/models/{model}:generateContent"),
            "",
            "a model in the path (`{model}`) is not supported yet by this version",
        ),
        (
            "operations[1]",
            json!({"path": "/v1/chat/completions", "policies": ["chat"]}),
            "operations[1].path",
            "is the operation on line 1 already",
        ),
        (
            "operations[0].method",
            json!("GET"),
            "operations[0].policies",
            "a GET has no body that names a model; leave the policies out",
        ),
        (
            "operations[0].default_endpoint",
            json!({}),
            "",
            "names no endpoint; write {production: NAME, sandbox: NAME}, or one of them",
        ),
        (
            "operations[0].policies[1]",
            json!("chat"),
            "",
            "`chat` stands in this list twice",
        ),
        (
            "operations[1].path",
            json!("/v1/models"),
            "operations[1]",
            "leads nowhere; it needs a `default_endpoint` or `policies`",
        ),
        (
            "operations[1]",
            json!({"path": "/v1/models", "policies": []}),
            "",
            "leads nowhere; it needs a `default_endpoint` or `policies`",
        ),
        (
            "operations[0].path",
            json!("/v1/messages"),
            "operations[0].policies[0]",
            "`chat` goes to `openai` in production, which does not speak the format of /v1/messages (its provider is openai); all targets of an operation must, as `provider: custom` does",
        ),
    ]);
    let same_path = accepted(&[(
        "operations[1]",
        json!({"method": "GET", "path": "/v1/chat/completions", "default_endpoint": {"sandbox": "openai"}}),
    )]);
    assert_eq!(same_path.snapshot.operations.len(), 2);
    assert!(same_path.snapshot.operations[1].routes.is_none());
}

#[test]
fn two_policies_that_match_the_same() {
    let chain = json!({"target": {"model": "m", "endpoint": "openai"}});
    let errors = |chat: Json, other: Json, other_chain: &str| {
        let other_chain = format!("policies.other.{other_chain}");
        let fields = [
            ("policies.chat.match", chat),
            ("policies.other.match", other),
            (&*other_chain, chain.clone()),
            ("operations[0].policies", json!(["chat", "other"])),
        ];
        read(&with(&fields)).map_err(|ConfigErrors(errors)| errors[0].to_string())
    };
    let conflict = |name| {
        format!(
            "line 1: operations[0].policies[1]: `chat` and `other` both match {name} in production; give one of them another `match`"
        )
    };
    for (chat, other, name) in [
        (json!(["a", "b"]), json!(["c", "b"]), "b"),
        (json!(["a-*"]), json!(["a-*"]), "a-*"),
        (json!(["*"]), json!(["*"]), "*"),
        (Json::Null, json!(["gpt-4o"]), "gpt-4o"),
        (json!(["m"]), Json::Null, "m"),
    ] {
        assert_eq!(
            errors(chat, other, "production").unwrap_err(),
            conflict(name)
        );
    }
    for (chat, other) in [
        (json!(["a-*"]), json!(["a-b"])),
        (json!(["a-*"]), json!(["a-*-*"])),
        (Json::Null, Json::Null),
    ] {
        assert!(errors(chat, other, "production").is_ok());
    }
    assert!(errors(json!(["a"]), json!(["a"]), "sandbox").is_ok());
}

#[test]
fn policies() {
    let range = "must be from 1ms to 24h, not 0s";
    assert_mistakes(&[
        (
            "policies. x.production.target",
            json!({"model": "m", "endpoint": "openai"}),
            "policies.\" x\"",
            "must not begin or end with white space",
        ),
        (
            "policies.chat.match",
            json!([]),
            "",
            "is empty: nothing would ever use the policy; leave it out to match the target's model",
        ),
        (
            "policies.chat.match",
            json!(["a", "a"]),
            "policies.chat.match[1]",
            "`a` stands in this list twice",
        ),
        (
            "policies.chat.match",
            json!([""]),
            "policies.chat.match[0]",
            "must not be empty",
        ),
        (
            "policies.chat.production.target.model",
            json!("a\nb"),
            "",
            "must not have control characters in it",
        ),
        (
            "policies.chat.production.target.weight",
            json!(2),
            "",
            "counts only among several targets, in a list under `target`; leave it out",
        ),
        (
            "policies.chat.production.fallbacks",
            json!([{"model": "m", "endpoint": "openai", "weight": 1}]),
            "policies.chat.production.fallbacks[0].weight",
            "counts only among several targets, in a list under `target`; leave it out",
        ),
        (
            "policies.chat.production.target",
            json!([{"model": "m", "endpoint": "openai", "weight": 1001}]),
            "policies.chat.production.target[0].weight",
            "must be from 1 to 1000, not 1001",
        ),
        ("policies.chat.request_timeout", json!(0), "", range),
        ("policies.chat.overall_timeout", json!(0), "", range),
        ("policies.chat.first_token_timeout", json!(0), "", range),
        ("policies.chat.stream_idle_timeout", json!(0), "", range),
        (
            "policies.chat.suspend_duration",
            json!("721h"),
            "",
            "must be from 0s to 720h, not 721h",
        ),
        (
            "policies.chat.max_suspend_duration",
            json!("721h"),
            "",
            "must be from 0s to 720h, not 721h",
        ),
        (
            "policies.chat.max_retry_after",
            json!("25h"),
            "",
            "must be from 0s to 24h, not 25h",
        ),
        (
            "policies.chat.retries",
            json!(11),
            "",
            "must be from 0 to 10, not 11",
        ),
        ("policies.chat.retry_backoff.base", json!(0), "", range),
        (
            "policies.chat.retry_backoff.max",
            json!("100ms"),
            "",
            "must not be shorter than `base`",
        ),
        (
            "policies.chat.failover_on.statuses.add",
            json!([200]),
            "policies.chat.failover_on.statuses.add[0]",
            "must be a status from 300 to 599, not 200",
        ),
        (
            "policies.chat.failover_on.statuses.remove",
            json!([65_936]),
            "policies.chat.failover_on.statuses.remove[0]",
            "must be a status from 300 to 599, not 65936",
        ),
        (
            "policies.chat.failover_on.statuses",
            json!({"add": [400], "remove": [400]}),
            "policies.chat.failover_on.statuses.remove[0]",
            "`400` stands under `add` too; keep one of them",
        ),
        (
            "policies.chat.failover_on.error_codes",
            json!({"add": ["x"], "remove": ["x"]}),
            "policies.chat.failover_on.error_codes.remove[0]",
            "`x` stands under `add` too; keep one of them",
        ),
        (
            "policies.chat.failover_on.error_codes.add",
            json!([""]),
            "policies.chat.failover_on.error_codes.add[0]",
            "must not be empty",
        ),
    ]);
    let errors = refused(&[
        ("endpoints.openai.provider", json!("mistral")),
        ("policies.chat.production.target.prefill", json!("vllm")),
    ]);
    assert_eq!(
        errors,
        [
            "policies.chat.production.target.prefill: `vllm` is for servers that run vLLM (provider openai or custom); write `true`"
        ]
    );
}

#[test]
fn all_errors_of_a_file_come_together_in_its_order() {
    let text = "\
listeners:
  - adress: 0.0.0.0:8080
endpoints:
  openai:
    provider: openai
    url: https://api.openai.com
    api_key: sk-inline
operations:
  - path: /v1/chat/completions
    policies:
      - chat
      - chta
policies:
  chat:
    production:
      target: {model: gpt-4o}
      fallbacks:
        - {model: a, endpoint: openai}
        - model: b
          endpoint: opnai
    request_timeout: soon
authentication: none
";
    assert_eq!(
        read(text).unwrap_err().to_string(),
        "\
line 2: listeners[0].adress: there is no such field; did you mean `address`?
line 2: listeners[0].address: is missing; an address is IP:PORT, such as 0.0.0.0:8080 or [::1]:8080
line 7: endpoints.openai.api_key: a secret is never written into the configuration; write {env: NAME} or {file: PATH}
line 12: operations[0].policies[1]: `chta` is unknown; did you mean `chat`?
line 16: policies.chat.production.target.endpoint: is missing; the name of an endpoint
line 20: policies.chat.production.fallbacks[1].endpoint: `opnai` is unknown; did you mean `openai`?
line 21: policies.chat.request_timeout: must be a duration such as 30s, 250ms, 2m or 1h (a bare whole number means seconds), not `soon`
line 22: environment: is missing; with `authentication: none` it says where all calls belong: production or sandbox"
    );
}

#[test]
fn files_that_cannot_be_read() {
    let folder = Folder::new("files_that_cannot_be_read");
    let error = load(&PathBuf::from(folder.path()).join("none.yaml")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "can't be read: No such file or directory (os error 2)"
    );
    let binary = folder.bytes("binary.yaml", b"a: \xff");
    let error = load(&PathBuf::from(binary)).unwrap_err();
    assert_eq!(error.to_string(), "is no UTF-8 text, from byte 3 on");
}

#[test]
fn relative_paths_start_at_the_folder_of_the_file() {
    let folder = Folder::new("relative_paths");
    let secret = folder.file("secret", SECRET);
    let text = with(&[
        ("endpoints.openai.api_key", json!({"file": "secret"})),
        ("observability.access_log.path", json!("./access.log")),
    ]);
    let path = folder.file("standin.yaml", &text);
    let configuration = load(&PathBuf::from(path)).unwrap();
    let key = configuration.snapshot.endpoints[0]
        .api_key
        .as_ref()
        .unwrap();
    assert_eq!(key.expose(), fs::read_to_string(secret).unwrap());
    let expected = PathBuf::from(folder.path()).join("./access.log");
    assert_eq!(configuration.access_log, AccessLogPath::File(expected));
}

/// A folder of a test's own, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let name = format!("standin-config-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn file(&self, name: &str, text: &str) -> String {
        self.bytes(name, text.as_bytes())
    }

    fn bytes(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A certificate and its key.
    fn certificate(&self, name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let certificate = self.file(&format!("{name}.crt"), &made.cert.pem());
        let key = self.file(&format!("{name}.key"), &made.signing_key.serialize_pem());
        (certificate, key)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
