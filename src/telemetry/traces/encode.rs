//! Spans as OTLP writes them in JSON: what is told of a request, and of each of its attempts.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{AttemptSpan, RequestTrace};
use crate::telemetry::gen_ai::{operation_name, provider_name};
use crate::telemetry::{AttemptRecord, RequestRecord};

/// OTLP's numbers.
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
const ERROR: u8 = 2;

/// One message with the spans of these requests.
pub(super) fn message(records: &[Box<RequestRecord>]) -> Value {
    let spans: Vec<Value> = records.iter().flat_map(|record| spans(record)).collect();
    let version = env!("CARGO_PKG_VERSION");
    let mut resource = Attributes::default();
    resource.text("service.name", "standin");
    resource.text("service.version", version);
    json!({"resourceSpans": [{
        "resource": {"attributes": resource.0},
        "scopeSpans": [{"scope": {"name": "standin", "version": version}, "spans": spans}],
    }]})
}

/// How many spans a request has.
pub(super) fn count(record: &RequestRecord) -> u64 {
    1 + record.attempts.len() as u64
}

fn spans(record: &RequestRecord) -> Vec<Value> {
    let Some(trace) = &record.trace else {
        return Vec::new();
    };
    let last = record.attempts.len().saturating_sub(1);
    let mut spans = vec![of_request(record, trace)];
    for (place, attempt) in record.attempts.iter().enumerate() {
        if let Some(span) = attempt.span {
            let answer = (place == last).then_some(record);
            spans.push(of_attempt(attempt, span, trace, answer));
        }
    }
    spans
}

fn of_request(record: &RequestRecord, trace: &RequestTrace) -> Value {
    let mut attributes = Attributes::default();
    attributes.text("http.request.method", record.method.as_str());
    attributes.text("url.path", record.path.as_str());
    attributes.maybe("http.response.status_code", record.status.map(u64::from));
    attributes.text("gen_ai.operation.name", operation_name(trace.format));
    if let Some(model) = &record.model {
        attributes.text("gen_ai.request.model", model);
    }
    attributes.usage(record);
    attributes.text("standin.request_id", &record.request_id);
    if let Some(caller) = &record.caller {
        attributes.text("standin.caller", caller);
    }
    if let Some(environment) = record.environment {
        attributes.text("standin.environment", environment.name());
    }
    if let Some(policy) = &record.policy {
        attributes.text("standin.policy", policy);
    }
    attributes.maybe("standin.attempts", Some(record.attempts.len() as u64));
    let status = record.status.filter(|status| *status >= 500);
    let failed = match (record.error, status) {
        (Some(code), _) => Some(code.to_owned()),
        (None, status) => status.map(|status| status.to_string()),
    };
    if let Some(stream) = &record.stream {
        attributes.text("standin.stream_end", stream.end.name());
        if let Some(ttft) = stream.ttft {
            attributes.seconds("gen_ai.server.time_to_first_token", ttft);
        }
    }
    let name = format!("{} {}", record.method, record.path.label());
    let parent = trace.parent.map(|parent| parent.to_string());
    let during = (record.started, record.duration);
    let mut span = span(SERVER, &name, during, attributes, failed);
    span["traceId"] = trace.trace.to_string().into();
    span["spanId"] = trace.span.to_string().into();
    span["parentSpanId"] = parent.unwrap_or_default().into();
    span
}

fn of_attempt(
    attempt: &AttemptRecord,
    own: AttemptSpan,
    trace: &RequestTrace,
    answer: Option<&RequestRecord>,
) -> Value {
    let operation = operation_name(trace.format);
    let mut attributes = Attributes::default();
    attributes.text("gen_ai.operation.name", operation);
    attributes.text("gen_ai.provider.name", provider_name(own.provider));
    if let Some(model) = &attempt.model {
        attributes.text("gen_ai.request.model", model);
    }
    if let Some(record) = answer {
        attributes.usage(record);
    }
    attributes.text("standin.endpoint", &attempt.endpoint);
    if let Some(backend) = &attempt.backend {
        attributes.text("standin.backend", backend);
    }
    attributes.maybe("http.response.status_code", attempt.status.map(u64::from));
    let failed = attempt.outcome != AttemptRecord::SUCCESS;
    let failed = failed.then(|| attempt.outcome.clone().into_owned());
    let name = match &attempt.model {
        Some(model) => format!("{operation} {model}"),
        None => operation.to_owned(),
    };
    let during = (own.begun, attempt.duration);
    let mut span = span(CLIENT, &name, during, attributes, failed);
    span["traceId"] = trace.trace.to_string().into();
    span["spanId"] = own.id.to_string().into();
    span["parentSpanId"] = trace.span.to_string().into();
    span
}

fn span(
    kind: u8,
    name: &str,
    (begun, duration): (SystemTime, Duration),
    mut attributes: Attributes,
    failed: Option<String>,
) -> Value {
    let status = match failed {
        Some(why) => {
            attributes.text("error.type", &why);
            json!({"code": ERROR, "message": why})
        }
        None => json!({}),
    };
    json!({
        "name": name,
        "kind": kind,
        "startTimeUnixNano": nanos(begun),
        "endTimeUnixNano": nanos(begun + duration),
        "attributes": attributes.0,
        "status": status,
    })
}

/// 64 bits are text in protobuf's JSON.
fn nanos(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos().to_string()
}

#[derive(Default)]
struct Attributes(Vec<Value>);

impl Attributes {
    fn text(&mut self, key: &str, value: &str) {
        self.0
            .push(json!({"key": key, "value": {"stringValue": value}}));
    }

    fn maybe(&mut self, key: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.0
                .push(json!({"key": key, "value": {"intValue": value.to_string()}}));
        }
    }

    fn seconds(&mut self, key: &str, value: Duration) {
        self.0
            .push(json!({"key": key, "value": {"doubleValue": value.as_secs_f64()}}));
    }

    fn usage(&mut self, record: &RequestRecord) {
        self.maybe("gen_ai.usage.input_tokens", record.tokens_in);
        self.maybe("gen_ai.usage.output_tokens", record.tokens_out);
    }
}
