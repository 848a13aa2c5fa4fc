//! One request into the gateway, and all that is to be told of it, a line of JSON each:
//!
//! ```text
//! {"kind":"head","status":200,"headers":[["content-type","…"],…],"after":"12 ms"}
//! {"kind":"body","text":"…"}                    as it comes; what is no text only counts
//! {"kind":"end","bytes":517,"after":"1.2 s"}    or {"kind":"error","message":"…"}
//! {"kind":"trail","html":"…","seams":[311],"by":"mistral-small-latest"}
//! ```

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use askama::Template as _;
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use futures_util::stream;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use crate::admin::access::Operator;
use crate::admin::console::trail::{Trail, span};
use crate::admin::extract::Json;
use crate::admin::problem::Problem;
use crate::admin::{Live, State as Shared, WayIn};
use crate::policy::{Caller, CallerId, Environment};
use crate::telemetry::{AttemptRecord, RequestRecord};

/// Lines that wait for a page that is slow to read.
const WAITING: usize = 64;

/// A request is accounted for right after its last byte: how often it is looked for, and how long.
/// Whoever accounts for requests is not made to tell of it, which would cost each of them.
const LOOK: Duration = Duration::from_millis(10);
const LOOKS: usize = 200;

/// What to send.
#[derive(Deserialize)]
pub(super) struct Question {
    environment: String,
    method: String,
    path: String,
    body: String,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Told {
    Head {
        status: u16,
        reason: String,
        headers: Vec<(String, String)>,
        after: String,
    },
    Body {
        text: String,
    },
    End {
        bytes: usize,
        after: String,
    },
    Error {
        message: String,
    },
    Trail {
        html: String,
        seams: Vec<u64>,
        by: Option<String>,
        attempts: usize,
    },
}

/// Sends a request; the answer is what is told of it, line by line.
pub(super) async fn send(
    State(state): State<Arc<Shared>>,
    Extension(Operator(operator)): Extension<Operator>,
    Json(question): Json<Question>,
) -> Result<Response, Problem> {
    let caller = Caller {
        id: CallerId(0), // not looked at: a guest has no limits
        name: format!("console ({operator})").into(),
        environment: environment(&question.environment)?,
        rate_limit: None,
    };
    let request = request(question)?;
    let way_in = state
        .live
        .invite(caller)
        .map_err(|error| Problem::internal(error.to_string()))?;
    let (tell, told) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        tokio::select! {
            // Nobody reads any more: the request ends with its connection.
            () = tell.closed() => {}
            () = exchange(&state, way_in, request, &tell) => {}
        }
    });
    let lines = stream::unfold(told, async |mut told| {
        let line: Bytes = told.recv().await?;
        Some((Ok::<_, io::Error>(line), told))
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(lines)).into_response())
}

fn environment(name: &str) -> Result<Environment, Problem> {
    let named = |environment: &Environment| environment.name() == name;
    let found = Environment::ALL.into_iter().find(named);
    found.ok_or_else(|| Problem::unprocessable("environment must be production or sandbox"))
}

fn request(question: Question) -> Result<Request<Body>, Problem> {
    let wrong = |what: &str| Problem::unprocessable(format!("{what} can't be sent"));
    let method: Method = question.method.parse().map_err(|_| wrong("this method"))?;
    if !question.path.starts_with('/') {
        return Err(wrong("a path that doesn't begin with `/`"));
    }
    let mut request = Request::builder()
        .method(method)
        .uri(question.path)
        .header(header::HOST, "localhost");
    if !question.body.is_empty() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    request
        .body(Body::from(question.body))
        .map_err(|_| wrong("this path"))
}

async fn exchange(
    state: &Shared,
    way_in: WayIn,
    request: Request<Body>,
    tell: &mpsc::Sender<Bytes>,
) {
    let begun = Instant::now();
    let answered = answer(way_in, request, begun, tell).await;
    let request_id = match answered {
        Ok(request_id) => request_id,
        Err((error, request_id)) => {
            say(tell, &Told::Error { message: error }).await;
            request_id
        }
    };
    if let Some(request_id) = request_id
        && let Some(record) = accounted(&*state.live, &request_id).await
    {
        say(tell, &trail(&record)).await;
    }
}

/// The answer, told as it comes; gives the request's id.
async fn answer(
    way_in: WayIn,
    mut request: Request<Body>,
    begun: Instant,
    tell: &mpsc::Sender<Bytes>,
) -> Result<Option<String>, (String, Option<String>)> {
    let WayIn { socket, pass, keep } = way_in;
    request.headers_mut().insert(pass.0, pass.1);
    let failed = |error: &dyn std::error::Error| (error.to_string(), None);
    let socket = UnixStream::from_std(socket).map_err(|error| failed(&error))?;
    let handshake = http1::handshake(TokioIo::new(socket)).await;
    let (mut sender, connection) = handshake.map_err(|error| failed(&error))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            log::debug!("console: a request that was tried out ended with: {error}");
        }
    });
    let answer = sender
        .send_request(request)
        .await
        .map_err(|error| failed(&error))?;
    drop(keep);
    let headers = answer.headers().clone();
    let request_id = text(&headers, "x-request-id");
    let status = answer.status();
    say(tell, &head(status, &headers, begun)).await;
    let is_text = is_text(&headers);
    let mut pieces = Body::new(answer.into_body()).into_data_stream();
    let (mut bytes, mut rest) = (0, Vec::new());
    while let Some(piece) = pieces.next().await {
        let piece =
            piece.map_err(|error| (format!("The answer was cut: {error}"), request_id.clone()))?;
        bytes += piece.len();
        if is_text {
            rest.extend_from_slice(&piece);
            let text = take_text(&mut rest);
            say(tell, &Told::Body { text }).await;
        }
    }
    let after = span(begun.elapsed());
    say(tell, &Told::End { bytes, after }).await;
    Ok(request_id)
}

fn head(status: StatusCode, headers: &HeaderMap, begun: Instant) -> Told {
    let shown = |(name, value): (&header::HeaderName, &header::HeaderValue)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.to_string(), value)
    };
    Told::Head {
        status: status.as_u16(),
        reason: status.canonical_reason().unwrap_or_default().to_owned(),
        headers: headers.iter().map(shown).collect(),
        after: span(begun.elapsed()),
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn is_text(headers: &HeaderMap) -> bool {
    let kind = text(headers, "content-type").unwrap_or_default();
    kind.starts_with("text/") || kind.contains("json")
}

/// Takes what is whole of a text; a character whose rest has not come stays.
fn take_text(bytes: &mut Vec<u8>) -> String {
    let whole = match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    };
    let rest = bytes.split_off(whole);
    let text = String::from_utf8_lossy(bytes).into_owned();
    *bytes = rest;
    text
}

/// What is told of a request that is over.
async fn accounted(live: &dyn Live, request_id: &str) -> Option<RequestRecord> {
    let mut ticks = tokio::time::interval(LOOK);
    for _ in 0..LOOKS {
        ticks.tick().await;
        let mut recent = live.recent().into_iter();
        let found = recent.find(|record| *record.request_id == *request_id);
        if found.is_some() {
            return found;
        }
    }
    None
}

fn trail(record: &RequestRecord) -> Told {
    let stream = record.stream.as_ref();
    let answering = record.attempts.last();
    let answering = answering.filter(|attempt| attempt.outcome == AttemptRecord::SUCCESS);
    let by = answering.map(|attempt| match &attempt.model {
        Some(model) => format!("{model} at {}", attempt.endpoint),
        None => attempt.endpoint.to_string(),
    });
    Told::Trail {
        html: Trail::of(record).render().unwrap_or_default(),
        seams: stream.map_or_else(Vec::new, |stream| stream.rescued_at.clone()),
        by,
        attempts: record.attempts.len(),
    }
}

async fn say(tell: &mpsc::Sender<Bytes>, told: &Told) {
    let mut line = serde_json::to_vec(told).unwrap_or_default();
    line.push(b'\n');
    // Whoever has stopped to read is told nothing.
    let _ = tell.send(line.into()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_told_when_it_is_whole() {
        let mut bytes = "a€".as_bytes()[..3].to_vec();
        assert_eq!(take_text(&mut bytes), "a");
        bytes.push("€".as_bytes()[2]);
        assert_eq!(take_text(&mut bytes), "€");
        bytes.extend([b'b', 0xff, b'c']);
        assert_eq!(take_text(&mut bytes), "b\u{fffd}c");
        assert!(bytes.is_empty());
    }
}
