//! Traces: what the collector is told, and what upstreams are.

use serde_json::{Value, json};

use crate::support::{Client, Gateway, KEY, Reply, Setup, Upstream, bodies, until};

const CHAT: &str = "/v1/chat/completions";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn ask(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hello"}]})
}

fn failure(status: u16) -> Reply {
    Reply::json(status, &bodies::openai_error("server_error", None, "No."))
}

/// A gateway with a target that fails and a fallback that answers, and its collector.
struct Stage {
    upstream: Upstream,
    collector: Upstream,
    gateway: Gateway,
}

impl Stage {
    async fn new(otlp: &str) -> Self {
        Self::of(Upstream::start().await, otlp, "").await
    }

    async fn of(upstream: Upstream, otlp: &str, fields: &str) -> Self {
        let collector = Upstream::start().await;
        collector.always(Reply::json(200, &json!({"partialSuccess": {}})));
        upstream.on_model("m", failure(503));
        upstream.on_model("spare", Reply::chat("spare", "Hello"));
        upstream.on_path("/v1/models", Reply::status(200));
        let endpoint = format!("provider: mistral\n{fields}");
        let mut setup = Setup::new()
            .endpoint_with(
                "first",
                &upstream.url(),
                &format!("provider: openai\n{fields}"),
            )
            .endpoint_with("second", &upstream.url(), &endpoint)
            .chain(&[("m", "first"), ("spare", "second")], "")
            .operation("method: GET\npath: /v1/models\ndefault_endpoint: {production: first}")
            .listener("{address: \"127.0.0.1:0\", h2c: true}");
        if !otlp.is_empty() {
            setup = setup.otlp(&format!("endpoint: {:?}, {otlp}", collector.url()));
        }
        Self {
            upstream,
            collector,
            gateway: setup.start(),
        }
    }

    /// The spans of the first message.
    async fn spans(&self) -> Vec<Value> {
        self.collector.wait_for_requests(1).await;
        let message = &self.collector.requests()[0];
        assert_eq!(message.path(), "/v1/traces");
        assert_eq!(message.header("content-type"), Some("application/json"));
        let message = message.json();
        let resource = &message["resourceSpans"][0];
        assert_eq!(attribute(&resource["resource"], "service.name"), "standin");
        resource["scopeSpans"][0]["spans"]
            .as_array()
            .unwrap()
            .clone()
    }

    /// The `traceparent` that each attempt told its target.
    fn told(&self) -> Vec<Option<String>> {
        let requests = self.upstream.requests();
        let told = requests.iter();
        told.map(|request| request.header("traceparent").map(str::to_owned))
            .collect()
    }
}

/// The value of an attribute, whatever its type.
fn attribute(of: &Value, key: &str) -> Value {
    let attributes = of["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|attribute| attribute["key"] == key);
    let value = found.unwrap_or_else(|| panic!("no {key} in {of}"))["value"].as_object();
    value.unwrap().values().next().unwrap().clone()
}

fn nanos(span: &Value, name: &str) -> u64 {
    span[name].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_a_request_and_one_an_attempt() {
    let stage = Stage::new("sample_ratio: 1").await;
    let answer = stage.gateway.client().post(CHAT, ask("m")).await;
    assert_eq!(answer.status, 200);
    let spans = stage.spans().await;
    let [request, first, second] = &spans[..] else {
        panic!("{spans:?}")
    };

    assert_eq!(request["name"], format!("POST {CHAT}"));
    assert_eq!(
        (&request["kind"], &request["parentSpanId"]),
        (&json!(2), &json!(""))
    );
    for (key, value) in [
        ("http.request.method", json!("POST")),
        ("url.path", json!(CHAT)),
        ("http.response.status_code", json!("200")),
        ("gen_ai.operation.name", json!("chat")),
        ("gen_ai.request.model", json!("m")),
        ("gen_ai.usage.input_tokens", json!("9")),
        ("standin.policy", json!("chat")),
        ("standin.environment", json!("production")),
        ("standin.caller", json!("shop")),
        ("standin.attempts", json!("2")),
        (
            "standin.request_id",
            json!(answer.header("x-request-id").unwrap()),
        ),
    ] {
        assert_eq!(attribute(request, key), value, "{key}");
    }
    assert_eq!(request["status"], json!({}));

    for (span, name, provider, endpoint, status) in [
        (first, "chat m", "openai", "first", "503"),
        (second, "chat spare", "mistral_ai", "second", "200"),
    ] {
        assert_eq!((&span["name"], &span["kind"]), (&json!(name), &json!(3)));
        assert_eq!(span["traceId"], request["traceId"]);
        assert_eq!(span["parentSpanId"], request["spanId"]);
        assert_eq!(attribute(span, "gen_ai.provider.name"), provider);
        assert_eq!(attribute(span, "standin.endpoint"), endpoint);
        assert_eq!(attribute(span, "http.response.status_code"), status);
        assert!(nanos(span, "startTimeUnixNano") >= nanos(request, "startTimeUnixNano"));
        assert!(nanos(span, "endTimeUnixNano") >= nanos(span, "startTimeUnixNano"));
    }
    assert_eq!(attribute(first, "error.type"), "503");
    assert_eq!(first["status"], json!({"code": 2, "message": "503"}));
    assert_eq!(second["status"], json!({}));

    let told = |span: &Value| {
        let (trace, id) = (span["traceId"].as_str(), span["spanId"].as_str());
        Some(format!("00-{}-{}-01", trace.unwrap(), id.unwrap()))
    };
    assert_eq!(stage.told(), [told(first), told(second)]);
    let lines = stage.gateway.wait_log(1).await;
    assert_eq!(lines[0]["trace_id"], request["traceId"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_s_trace_goes_on() {
    for (upstream, fields, http2) in [
        (Upstream::start().await, "", false),
        (Upstream::start().await, "", true),
        (Upstream::h2c().await, "http_version: 2", false),
    ] {
        let stage = Stage::of(upstream, "sample_ratio: 0", fields).await;
        let client = match http2 {
            true => Client::h2c(stage.gateway.running.addresses[1]).key(KEY),
            false => stage.gateway.client(),
        };
        let traced = client.header("traceparent", CALLER);
        let traced = traced.header("tracestate", "vendor=1");
        traced.post(CHAT, ask("m")).await;
        let spans = stage.spans().await;
        assert_eq!(spans[0]["traceId"], TRACE);
        assert_eq!(spans[0]["parentSpanId"], "00f067aa0ba902b7");
        let of_attempt = |span: &Value| {
            let id = span["spanId"].as_str().unwrap();
            Some(format!("00-{TRACE}-{id}-01"))
        };
        assert_eq!(stage.told(), [of_attempt(&spans[1]), of_attempt(&spans[2])]);
        let requests = stage.upstream.requests();
        for request in requests {
            assert_eq!(request.header("tracestate"), Some("vendor=1"));
        }
    }
}

/// Nothing is changed where nothing is recorded: without a collector, or by the caller's word.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_traced_passes_as_it_came() {
    let unsampled = CALLER.replace("-01", "-00");
    for (otlp, sent) in [
        ("", Some(CALLER)),
        ("", Some("no context")),
        ("", None),
        ("sample_ratio: 1", Some(&*unsampled)),
        ("sample_ratio: 0", None),
        ("sample_ratio: 0", Some("no context")),
    ] {
        let stage = Stage::new(otlp).await;
        let mut client = stage.gateway.client().header("tracestate", "vendor=1");
        if let Some(sent) = sent {
            client = client.header("traceparent", sent);
        }
        client.post(CHAT, ask("m")).await;
        client.get("/v1/models").await;
        let sent = sent.map(str::to_owned);
        assert_eq!(stage.told(), [sent.clone(), sent.clone(), sent]);
        for request in stage.upstream.requests() {
            assert_eq!(request.header("tracestate"), Some("vendor=1"));
        }
        let lines = stage.gateway.wait_log(2).await;
        assert!(lines.iter().all(|line| line.get("trace_id").is_none()));
        assert_eq!(stage.collector.connections(), 0);
    }
}

/// A context that can't be read begins no trace of its sender's: what belonged to it goes too.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_context_is_replaced() {
    let stage = Stage::new("sample_ratio: 1").await;
    let broken = stage.gateway.client().header("traceparent", "00-0-0-01");
    let broken = broken.header("tracestate", "vendor=1");
    broken.post(CHAT, ask("m")).await;
    broken.get("/v1/models").await;
    for request in stage.upstream.requests() {
        let told = request.header("traceparent").unwrap();
        assert!(told.len() == 55 && told.ends_with("-01"), "{told}");
        assert_eq!(request.header("tracestate"), None);
    }
    assert_eq!(stage.upstream.count(), 3);
}

/// What is streamed through by Pingora is traced too.
#[tokio::test(flavor = "multi_thread")]
async fn an_operation_without_policies() {
    let stage = Stage::new("sample_ratio: 1").await;
    stage.gateway.client().get("/v1/models").await;
    let spans = stage.spans().await;
    assert_eq!(spans.len(), 2);
    assert_eq!(spans[0]["name"], "GET /v1/models");
    let (trace, id) = (spans[1]["traceId"].as_str(), spans[1]["spanId"].as_str());
    let told = format!("00-{}-{}-01", trace.unwrap(), id.unwrap());
    assert_eq!(stage.told(), [Some(told)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_collector_costs_spans_and_nothing_else() {
    let mut stage = Stage::new("sample_ratio: 1").await;
    stage.collector.go_down().await;
    let client = stage.gateway.client();
    for _ in 0..3 {
        assert_eq!(client.post(CHAT, ask("m")).await.status, 200);
    }
    let running = &stage.gateway.running;
    let lost = || running.gateway.traces().dropped() == 9;
    until("the loss to be counted", lost).await;
    let text = running.gateway.metrics_text(&running.connections);
    assert!(text.contains("\nstandin_spans_dropped_total 9\n"), "{text}");

    // And when it is back, it is told of what comes then.
    stage.collector.come_back();
    client.post(CHAT, ask("m")).await;
    assert_eq!(stage.spans().await.len(), 3);
}

/// A collector that takes a message and says nothing holds up no request, and no reload.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_collector_holds_nobody_up() {
    let stage = Stage::new("sample_ratio: 1").await;
    stage.collector.always(Reply::hang());
    let client = stage.gateway.client();
    client.post(CHAT, ask("m")).await;
    stage.collector.wait_for_requests(1).await;
    for _ in 0..20 {
        assert_eq!(client.post(CHAT, ask("m")).await.status, 200);
    }
}

/// What has ended when the process ends is still sent.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_spans_are_sent_at_the_end() {
    let Stage {
        collector,
        gateway,
        upstream: _upstream,
    } = Stage::new("sample_ratio: 1").await;
    gateway.client().post(CHAT, ask("m")).await;
    gateway.wait_log(1).await;
    drop(gateway);
    assert_eq!(collector.count(), 1);
}
