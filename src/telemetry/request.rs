//! What is told about one request.
//!
//! Its line in the access log is a contract: people's queries and dashboards name its members.
//! They are in snake case, with the unit at the end, and keep their names; what a request doesn't
//! have is left out.
//!
//! ```text
//! {"time":"2026-01-02T03:04:05.678Z",   when it began: the first byte of its head was read
//!  "request_id":"…", "client":"192.0.2.7", "caller":"web-shop", "environment":"production",
//!  "method":"POST", "path":"/v1/chat/completions", "model":"gpt-4o", "policy":"chat",
//!  "attempts":[{"endpoint":"openai", "model":"gpt-4o", "backend":"…", "outcome":"429", "status":429, "duration_ms":81.204}, …],
//!  "status":200, "error":"…",
//!  "bytes_in":512, "bytes_out":2048, "tokens_in":9, "tokens_out":120,
//!  "duration_ms":1930.118, "upstream_ms":1928.770,
//!  "ttft_ms":412.001, "events":121, "events_dropped":0, "rescued_at_bytes":[311], "stream_end":"rescued"}
//! ```

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Method;

use super::json::{Object, name, push_number};
use super::metrics::{AttemptClass, RouteKey};
use super::traces::{AttemptSpan, RequestTrace};
use crate::policy::{Environment, PairId};

/// Everything that is told about one request, filled while it lives.
#[derive(Clone, Debug)]
pub struct RequestRecord {
    /// The value of `x-request-id`, as the client sees it.
    pub request_id: Box<str>,
    /// When the request began.
    pub started: SystemTime,
    /// The address of the client's end of the connection; none on a Unix socket.
    pub client: Option<IpAddr>,
    /// The name of the caller's key, or `anonymous` where no keys are used; none before it is known.
    pub caller: Option<Arc<str>>,
    /// Where the request goes; none before it is known.
    pub environment: Option<Environment>,
    /// The method.
    pub method: Method,
    /// What was invoked.
    pub path: RequestPath,
    /// The model that the client asked for.
    pub model: Option<Box<str>>,
    /// The failover policy that the model led to.
    pub policy: Option<Arc<str>>,
    /// The same by ids, as far as it came: which series it is counted in.
    pub route: Option<RouteKey>,
    /// Its trace, where it is sampled.
    pub trace: Option<Arc<RequestTrace>>,
    /// Every exchange that was begun, in order.
    pub attempts: Vec<AttemptRecord>,
    /// The status of the answer; none where the client left before there was one.
    pub status: Option<u16>,
    /// The code of the error that the gateway answered with, or ended a stream with.
    pub error: Option<&'static str>,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// Tokens of the prompt, where the answer says them.
    pub tokens_in: Option<u64>,
    /// Tokens of the completion, where the answer says them.
    pub tokens_out: Option<u64>,
    /// From the first byte of the request's head to the last byte of the answer.
    pub duration: Duration,
    /// The part of it that was spent reading the request's body and waiting between attempts.
    pub waited: Duration,
    /// What there is to tell of a stream; none where the answer was none.
    pub stream: Option<StreamRecord>,
}

impl RequestRecord {
    /// The error of a request that the process's end has cut.
    pub const SHUTDOWN: &'static str = "shutdown";

    /// The error of a request at which the gateway itself failed: a panic.
    pub const INTERNAL_ERROR: &'static str = "internal_error";

    /// The record of a request of which only its head's first line is known.
    pub fn new(
        request_id: Box<str>,
        started: SystemTime,
        method: Method,
        path: RequestPath,
    ) -> Self {
        Self {
            request_id,
            started,
            client: None,
            caller: None,
            environment: None,
            method,
            path,
            model: None,
            policy: None,
            route: None,
            trace: None,
            attempts: Vec::new(),
            status: None,
            error: None,
            bytes_in: 0,
            bytes_out: 0,
            tokens_in: None,
            tokens_out: None,
            duration: Duration::ZERO,
            waited: Duration::ZERO,
            stream: None,
        }
    }

    /// The part of `duration` that was spent in attempts; the rest is the gateway's own, the
    /// client's (sending its request) and waits between attempts.
    pub fn upstream_duration(&self) -> Duration {
        self.attempts
            .iter()
            .map(|attempt| attempt.duration)
            .fold(Duration::ZERO, Duration::saturating_add)
    }

    /// The gateway's own part of `duration`. To read on from an upstream and to write to the client
    /// while a stream or a large answer passes is not in it: it is done while waiting for both.
    pub fn own_duration(&self) -> Duration {
        self.duration
            .saturating_sub(self.upstream_duration())
            .saturating_sub(self.waited)
    }

    /// The record as JSON, as the access log has it.
    pub fn to_json(&self) -> String {
        let mut line = Vec::new();
        self.write_line(&mut line);
        String::from_utf8(line).unwrap_or_default()
    }

    /// Appends the record as one line of JSON, with the line's end.
    pub(super) fn write_line(&self, line: &mut Vec<u8>) {
        let mut object = Object::begin(line);
        self.write_question(&mut object);
        self.write_answer(&mut object);
        if let Some(stream) = &self.stream {
            stream.write(&mut object);
        }
        object.end();
        line.push(b'\n');
    }

    fn write_question(&self, object: &mut Object<'_>) {
        object.time(name!("time"), self.started);
        object.text(name!("request_id"), &self.request_id);
        if let Some(trace) = &self.trace {
            object.word(name!("trace_id"), &trace.id().to_string());
        }
        if let Some(client) = self.client {
            object.address(name!("client"), client);
        }
        if let Some(caller) = &self.caller {
            object.text(name!("caller"), caller);
        }
        if let Some(environment) = self.environment {
            object.word(name!("environment"), environment.name());
        }
        object.text(name!("method"), self.method.as_str());
        object.text(name!("path"), self.path.as_str());
        if let Some(model) = &self.model {
            object.text(name!("model"), model);
        }
        if let Some(policy) = &self.policy {
            object.text(name!("policy"), policy);
        }
    }

    fn write_answer(&self, object: &mut Object<'_>) {
        object.list(name!("attempts"), &self.attempts, AttemptRecord::write);
        if let Some(status) = self.status {
            object.number(name!("status"), status.into());
        }
        if let Some(error) = self.error {
            object.word(name!("error"), error);
        }
        object.number(name!("bytes_in"), self.bytes_in);
        object.number(name!("bytes_out"), self.bytes_out);
        if let Some(tokens) = self.tokens_in {
            object.number(name!("tokens_in"), tokens);
        }
        if let Some(tokens) = self.tokens_out {
            object.number(name!("tokens_out"), tokens);
        }
        object.millis(name!("duration_ms"), self.duration);
        object.millis(name!("upstream_ms"), self.upstream_duration());
    }
}

/// What was invoked. The two are apart because the first has few values and the second, being the
/// client's, any number: it may stand in a line but never name a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestPath {
    /// The path of an operation, as configured.
    Operation(Arc<str>),
    /// A path that is no operation's, without its query (which may hold a key).
    Unknown(Box<str>),
}

impl RequestPath {
    /// The path.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Operation(path) => path,
            Self::Unknown(path) => path,
        }
    }

    /// A word for it with few values: for the name of a span.
    pub fn label(&self) -> &str {
        match self {
            Self::Operation(path) => path,
            Self::Unknown(_) => "unknown",
        }
    }
}

/// What is told about one exchange with one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// The endpoint's name.
    pub endpoint: Arc<str>,
    /// The model's name at that endpoint; none where the request was passed on as it came.
    pub model: Option<Arc<str>>,
    /// Which of the endpoint's addresses it was, where there are several.
    pub backend: Option<Arc<str>>,
    /// Which of the endpoint's keys it was sent with, counted from 0, where there are several.
    pub key: Option<usize>,
    /// [`AttemptRecord::SUCCESS`], or the reason of the failure as the client is told it: `429`,
    /// `400:invalid_model`, `timeout`.
    pub outcome: Cow<'static, str>,
    /// The outcome as metrics tell it.
    pub class: AttemptClass,
    /// What was tried; none without a policy.
    pub pair: Option<PairId>,
    /// Its span, where the request is sampled.
    pub span: Option<AttemptSpan>,
    /// The upstream's status; none where it didn't answer.
    pub status: Option<u16>,
    /// From the start of the attempt (before the connection) to its verdict, for the answer that
    /// the client got to its last byte.
    pub duration: Duration,
}

impl AttemptRecord {
    /// The outcome of the attempt whose answer the client got.
    pub const SUCCESS: Cow<'static, str> = Cow::Borrowed("success");

    /// Of an exchange that was given up before its verdict: nobody waited for it any more.
    pub const CLIENT_GONE: Cow<'static, str> = Cow::Borrowed("client_gone");

    /// Of an exchange that the process's end has cut.
    pub const SHUTDOWN: Cow<'static, str> = Cow::Borrowed(RequestRecord::SHUTDOWN);

    /// Of an exchange in which the gateway itself failed.
    pub const INTERNAL_ERROR: Cow<'static, str> = Cow::Borrowed(RequestRecord::INTERNAL_ERROR);

    fn write(&self, line: &mut Vec<u8>) {
        let mut object = Object::begin(line);
        object.text(name!("endpoint"), &self.endpoint);
        if let Some(model) = &self.model {
            object.text(name!("model"), model);
        }
        if let Some(backend) = &self.backend {
            object.text(name!("backend"), backend);
        }
        if let Some(key) = self.key {
            object.number(name!("key"), key as u64);
        }
        match &self.outcome {
            Cow::Borrowed(ours) => object.word(name!("outcome"), ours),
            Cow::Owned(outcome) => object.text(name!("outcome"), outcome),
        }
        if let Some(status) = self.status {
            object.number(name!("status"), status.into());
        }
        object.millis(name!("duration_ms"), self.duration);
        object.end();
    }
}

/// What is told about a streamed answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRecord {
    /// From the start of the request to its first event with content; none where none came.
    pub ttft: Option<Duration>,
    /// Events that the client got.
    pub events: u64,
    /// Events that it didn't get because they were no valid JSON.
    pub events_dropped: u64,
    /// Where other targets went on: for each seam the bytes of text that the client had by then.
    pub rescued_at: Vec<u64>,
    /// How it ended.
    pub end: StreamEnd,
}

impl StreamRecord {
    fn write(&self, object: &mut Object<'_>) {
        if let Some(ttft) = self.ttft {
            object.millis(name!("ttft_ms"), ttft);
        }
        object.number(name!("events"), self.events);
        object.number(name!("events_dropped"), self.events_dropped);
        if !self.rescued_at.is_empty() {
            object.list(
                name!("rescued_at_bytes"),
                &self.rescued_at,
                |&seam, line| {
                    push_number(seam, line);
                },
            );
        }
        object.word(name!("stream_end"), self.end.name());
    }
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamEnd {
    /// As its one target ended it.
    Complete,
    /// Complete but for its `[DONE]`, which the gateway added.
    Repaired,
    /// Complete, by more than one target.
    Rescued,
    /// With an error event.
    Broken,
    /// The client left before its end.
    ClientGone,
}

impl StreamEnd {
    /// All of them, each at the place of its number.
    pub const ALL: [Self; 5] = [
        Self::Complete,
        Self::Repaired,
        Self::Rescued,
        Self::Broken,
        Self::ClientGone,
    ];

    /// The name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Repaired => "repaired",
            Self::Rescued => "rescued",
            Self::Broken => "broken",
            Self::ClientGone => "client_gone",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use serde_json::{Value, json};

    use super::*;

    fn line(record: &RequestRecord) -> String {
        let mut line = Vec::new();
        record.write_line(&mut line);
        String::from_utf8(line).unwrap()
    }

    fn minimal() -> RequestRecord {
        RequestRecord::new(
            "0123".into(),
            UNIX_EPOCH + Duration::from_millis(1_767_323_045_678),
            Method::GET,
            RequestPath::Unknown("/favicon.ico".into()),
        )
    }

    #[test]
    fn a_minimal_record_has_no_empty_members() {
        assert_eq!(
            line(&minimal()),
            concat!(
                r#"{"time":"2026-01-02T03:04:05.678Z","request_id":"0123","method":"GET","#,
                r#""path":"/favicon.ico","attempts":[],"bytes_in":0,"bytes_out":0,"#,
                r#""duration_ms":0.000,"upstream_ms":0.000}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_full_record_tells_everything() {
        let record = RequestRecord {
            client: Some("2001:db8::7".parse().unwrap()),
            caller: Some("web-shop".into()),
            environment: Some(Environment::Production),
            method: Method::POST,
            path: RequestPath::Operation("/v1/chat/completions".into()),
            model: Some("gpt-4o".into()),
            policy: Some("chat".into()),
            attempts: vec![
                AttemptRecord {
                    endpoint: "openai".into(),
                    model: Some("gpt-4o".into()),
                    backend: None,
                    key: None,
                    outcome: Cow::Borrowed("timeout"),
                    class: AttemptClass::named("timeout"),
                    pair: None,
                    span: None,
                    status: None,
                    duration: Duration::from_secs(30),
                },
                AttemptRecord {
                    endpoint: "mistral".into(),
                    model: Some("invalid-model".into()),
                    backend: None,
                    key: None,
                    outcome: Cow::Owned("400:invalid_model".to_owned()),
                    class: AttemptClass::named("unknown_model"),
                    pair: None,
                    span: None,
                    status: Some(400),
                    duration: Duration::from_micros(81_204),
                },
                AttemptRecord {
                    endpoint: "own-gpus".into(),
                    model: Some("llama-3.3-70b".into()),
                    backend: Some("10.0.0.11:8000".into()),
                    key: Some(1),
                    outcome: AttemptRecord::SUCCESS,
                    class: AttemptClass::SUCCESS,
                    pair: None,
                    span: None,
                    status: Some(200),
                    duration: Duration::from_millis(900),
                },
            ],
            status: Some(200),
            error: Some("stream_broken"),
            bytes_in: 512,
            bytes_out: 2_048,
            tokens_in: Some(9),
            tokens_out: Some(120),
            duration: Duration::from_micros(30_990_001),
            stream: Some(StreamRecord {
                ttft: Some(Duration::from_micros(30_412_001)),
                events: 121,
                events_dropped: 1,
                rescued_at: vec![311, 4_096],
                end: StreamEnd::Broken,
            }),
            ..minimal()
        };
        let expected = concat!(
            r#"{"time":"2026-01-02T03:04:05.678Z","request_id":"0123","client":"2001:db8::7","#,
            r#""caller":"web-shop","environment":"production","method":"POST","#,
            r#""path":"/v1/chat/completions","model":"gpt-4o","policy":"chat","attempts":["#,
            r#"{"endpoint":"openai","model":"gpt-4o","outcome":"timeout","duration_ms":30000.000},"#,
            r#"{"endpoint":"mistral","model":"invalid-model","outcome":"400:invalid_model","#,
            r#""status":400,"duration_ms":81.204},"#,
            r#"{"endpoint":"own-gpus","model":"llama-3.3-70b","backend":"10.0.0.11:8000","key":1,"#,
            r#""outcome":"success","status":200,"duration_ms":900.000}],"#,
            r#""status":200,"error":"stream_broken","bytes_in":512,"bytes_out":2048,"#,
            r#""tokens_in":9,"tokens_out":120,"duration_ms":30990.001,"upstream_ms":30981.204,"#,
            r#""ttft_ms":30412.001,"events":121,"events_dropped":1,"#,
            r#""rescued_at_bytes":[311,4096],"stream_end":"broken"}"#,
            "\n"
        );
        let line = line(&record);
        assert_eq!(line, expected);

        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["attempts"][1]["outcome"], "400:invalid_model");
        assert_eq!(value["upstream_ms"], json!(30_981.204));
    }

    #[test]
    fn hostile_names_stay_on_one_short_line() {
        for model in [
            "a\nb\r\n{\"time\":\"forged\"}",
            "quote\" backslash\\ tab\t null\0",
            "\u{1b}[2J\u{9b}2J\u{7f}",
            "\u{2028}\u{2029}\u{feff}\u{202e}",
        ] {
            let record = RequestRecord {
                model: Some(model.into()),
                ..minimal()
            };
            let line = line(&record);
            assert_eq!(line.find('\n'), Some(line.len() - 1), "{line:?}");
            let value: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["model"], model);
        }
        let huge = RequestRecord {
            request_id: "\0".repeat(1 << 20).into(),
            method: Method::from_bytes(&[b'X'; 1 << 20]).unwrap(),
            path: RequestPath::Unknown("/\"".repeat(1 << 20).into()),
            model: Some("\u{1}".repeat(1 << 20).into()),
            ..minimal()
        };
        let line = line(&huge);
        assert!(line.len() < 8 << 10, "{}", line.len());
        serde_json::from_str::<Value>(&line).unwrap();
    }
}
