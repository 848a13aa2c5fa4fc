//! Everything that ends a request without an upstream's answer, and the one answer that a client
//! gets for it.
//!
//! ```text
//! admit, body, route ──> Rejection ─┐
//! attempt ──> Exhausted ────────────┼──> Failure ──> respond::failure ──> {"error": …} or a cut stream
//! relay ────> Broken ───────────────┘
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

use super::client::Gone;
use crate::policy::Dialect;
use crate::provider::google_status;
use crate::telemetry::RequestRecord;

/// Why a request ends without an upstream's answer.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The request can't be served as it is; no upstream was asked.
    Rejected(Rejection),
    /// Every attempt failed, or none could be made.
    Exhausted(Exhausted),
    /// The caller is no longer there.
    ClientGone,
    /// The caller takes nothing of its answer.
    ClientStalled,
    /// The answer had begun, and can't be completed: what is left is to end it so that nobody can
    /// take it for whole.
    Broken,
    /// The gateway itself failed at it: a panic.
    Panicked,
}

impl Failure {
    /// The error's code, for the log.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::Rejected(rejection) => rejection.code,
            Self::Exhausted(exhausted) => exhausted.code,
            Self::ClientGone => "client_gone",
            Self::ClientStalled => "client_stalled",
            Self::Broken => "stream_broken",
            Self::Panicked => RequestRecord::INTERNAL_ERROR,
        }
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<Exhausted> for Failure {
    fn from(exhausted: Exhausted) -> Self {
        Self::Exhausted(exhausted)
    }
}

impl From<Gone> for Failure {
    fn from(gone: Gone) -> Self {
        match gone {
            Gone::Left => Self::ClientGone,
            Gone::Stalled => Self::ClientStalled,
        }
    }
}

/// A request that can't be served as it is.
#[derive(Clone, Debug)]
pub(super) struct Rejection {
    pub(super) status: StatusCode,
    kind: &'static str,
    pub(super) code: &'static str,
    message: String,
    /// Boxed: few rejections have one, and every result on the request path has room for an error.
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

impl Rejection {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind: "invalid_request_error",
            code,
            message: message.into(),
            header: None,
        }
    }

    fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some(Box::new((name, value)));
        self
    }

    /// 401: no key, or one that nobody has.
    pub(super) fn unauthorized(message: &str) -> Self {
        let rejection = Self::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message);
        rejection.with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// 404: a path that is no operation's.
    pub(super) fn unknown_operation(path: &str) -> Self {
        let path: String = path.chars().take(200).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            "unknown_operation",
            format!(
                "There is no operation {path}. Check the base URL: the path must be one that the gateway's configuration lists under `operations`, byte for byte."
            ),
        )
    }

    /// 405: a known path with another method.
    pub(super) fn method_not_allowed(method: &http::Method, allowed: &[http::Method]) -> Self {
        let names: Vec<&str> = allowed.iter().map(http::Method::as_str).collect();
        let names = names.join(", ");
        let rejection = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            format!("This operation can't be invoked with {method}. Use {names}."),
        );
        match HeaderValue::from_str(&names) {
            Ok(names) => rejection.with_header(header::ALLOW, names),
            Err(_) => rejection,
        }
    }

    /// 404: no policy names the model and the operation has no default endpoint.
    pub(super) fn unknown_model(model: &str) -> Self {
        let model: String = model.chars().take(200).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            "model_not_found",
            format!(
                "No policy of this operation matches the model {model:?}, and the operation has no default endpoint. Use a model that a policy matches."
            ),
        )
    }

    /// 400: a request that names no model, or that can't be read for one.
    pub(super) fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 411: neither a length nor chunks.
    pub(super) fn length_required() -> Self {
        Self::new(
            StatusCode::LENGTH_REQUIRED,
            "length_required",
            "The request has no body. Send one with `content-length` or `transfer-encoding: chunked`.",
        )
    }

    /// 413: a body over the limit.
    pub(super) fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request_too_large",
            format!(
                "The request's body is larger than {limit} bytes, the limit of this gateway. Send a smaller one."
            ),
        )
    }

    /// 415: a body in a coding or of a type that can't be read.
    pub(super) fn unsupported(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code, message)
    }

    /// 408: a caller that is too slow.
    pub(super) fn too_slow(limit: Duration) -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "request_timeout",
            format!("The request didn't arrive within {limit:?}. Send it again."),
        )
    }

    /// 429: a minute's worth of the key's `kind` (`requests` or `tokens`) is used up; the next is there
    /// after `wait`.
    pub(super) fn rate_limited(kind: &'static str, wait: Duration) -> Self {
        let message = format!(
            "This key has used up its {kind} of a minute. Send the request again after the time that Retry-After says."
        );
        let mut rejection = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limit_exceeded",
            message,
        );
        rejection.kind = kind;
        let (name, value) = retry_after(wait);
        rejection.with_header(name, value)
    }

    /// 503: as much is held already as this gateway may hold.
    pub(super) fn overloaded() -> Self {
        let mut rejection = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "gateway_overloaded",
            "The gateway holds as many bodies of requests and answers as it may. Send the request again in a moment.",
        );
        rejection.kind = "server_error";
        rejection.with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }
}

/// The end of a request of which every attempt failed.
#[derive(Clone, Debug)]
pub(super) struct Exhausted {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) retry_after: Option<Duration>,
    pub(super) attempts: Vec<FailedAttempt>,
}

/// One failed attempt, as the client is told of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct FailedAttempt {
    pub(super) endpoint: Arc<str>,
    pub(super) model: Option<Arc<str>>,
    pub(super) status: Option<u16>,
    pub(super) reason: String,
}

/// A client's answer to a failure: the parts of it.
pub(super) struct ErrorAnswer {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
}

/// `OpenAI`'s shape in every operation, and what the clients of other APIs look for besides.
#[derive(Serialize)]
struct Envelope<'a> {
    error: ErrorBody<'a>,
    /// Anthropic's.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    /// Bedrock's.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

impl<'a> Envelope<'a> {
    fn of(error: ErrorBody<'a>, dialect: Dialect, status: StatusCode) -> Self {
        let google = (dialect == Dialect::Gemini).then(|| google_status(status.as_u16()));
        Self {
            kind: (dialect == Dialect::Anthropic).then_some("error"),
            message: (dialect == Dialect::Bedrock).then_some(error.message),
            error: match google {
                // Gemini's clients take the code for the HTTP status.
                Some(name) => ErrorBody {
                    code: Code::Number(status.as_u16()),
                    status: Some(name),
                    reason: Some(error.code),
                    ..error
                },
                None => error,
            },
        }
    }
}

/// What a client is told where there is nothing that it could do otherwise.
const PANICKED: &str = "The gateway failed at this request, by a fault of its own that its log tells of. Sent again, the request may be answered.";

/// Where Bedrock's clients look for the kind of an error.
const AMAZON_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// The kind of a Bedrock error, as its API reference lists them.
const fn amazon_type(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 | 403 => "AccessDeniedException",
        404 => "ResourceNotFoundException",
        429 => "ThrottlingException",
        400..=499 => "ValidationException",
        502..=504 => "ServiceUnavailableException",
        _ => "InternalServerException",
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    param: (),
    code: Code<'a>,
    /// Google's name for the status.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    /// What the code is elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Code<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<&'a [FailedAttempt]>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Code<'a> {
    Word(&'a str),
    Number(u16),
}

/// The answer to a failure; `None` where nobody is there to get one, or one has begun.
pub(super) fn answer(failure: &Failure, dialect: Dialect) -> Option<ErrorAnswer> {
    let (status, mut headers, error) = match failure {
        Failure::Rejected(rejection) => (
            rejection.status,
            Vec::from_iter(rejection.header.as_deref().cloned()),
            ErrorBody {
                message: &rejection.message,
                kind: rejection.kind,
                param: (),
                code: Code::Word(rejection.code),
                status: None,
                reason: None,
                attempts: None,
            },
        ),
        Failure::Exhausted(exhausted) => (
            exhausted.status,
            Vec::from_iter(exhausted.retry_after.map(retry_after)),
            ErrorBody {
                message: &exhausted.message,
                kind: "failover_error",
                param: (),
                code: Code::Word(exhausted.code),
                status: None,
                reason: None,
                attempts: Some(&exhausted.attempts),
            },
        ),
        Failure::Panicked => (
            StatusCode::INTERNAL_SERVER_ERROR,
            Vec::new(),
            ErrorBody {
                message: PANICKED,
                kind: "server_error",
                param: (),
                code: Code::Word(failure.code()),
                status: None,
                reason: None,
                attempts: None,
            },
        ),
        Failure::ClientGone | Failure::ClientStalled | Failure::Broken => return None,
    };
    if dialect == Dialect::Bedrock {
        headers.push((AMAZON_TYPE, HeaderValue::from_static(amazon_type(status))));
    }
    // Only strings and numbers: this can't fail.
    let body = serde_json::to_vec(&Envelope::of(error, dialect, status)).unwrap_or_default();
    headers.push((
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    ));
    Some(ErrorAnswer {
        status,
        headers,
        body: body.into(),
    })
}

/// `Retry-After` in whole seconds, rounded up: a caller that comes earlier comes in vain.
fn retry_after(wait: Duration) -> (HeaderName, HeaderValue) {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    (header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
}
