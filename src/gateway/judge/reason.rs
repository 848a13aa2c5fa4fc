//! Why an attempt ended as it did, in the few words that clients, logs and metrics get to see.

use std::fmt;
use std::sync::Arc;

use http::StatusCode;

use crate::provider::{CodeClass, classify_code};
use crate::telemetry::metrics::AttemptClass;

/// Characters of a code that are shown.
const CODE_LIMIT: usize = 64;

/// What happened instead of a complete answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExchangeFault {
    /// No connection: refused, or no route to the address.
    Refused,
    /// The host's name has no address.
    Dns,
    /// The TLS handshake failed, or the certificate was not accepted.
    Tls,
    /// The connection or the HTTP/2 stream was reset.
    Reset,
    /// The connection was closed in good order before an answer.
    Closed,
    /// The answer's head (or, for an answer that is no stream, its end) did not come within
    /// `request_timeout`, or the connection not within `connect_timeout`.
    Timeout,
    /// A stream's first event with content did not come within `first_token_timeout`.
    FirstTokenTimeout,
    /// Nothing of a stream came for the length of `stream_idle_timeout`.
    IdleTimeout,
    /// The body ended before its end.
    Truncated,
    /// The answer is no HTTP, or its body not the JSON that it claims to be.
    Malformed,
    /// A stream's event (or a JSON answer with a status of success) told of an error.
    ErrorEvent,
    /// A stream ended without any content or finish reason.
    EmptyStream,
    /// The endpoint has no room for one more request: nothing was sent.
    Busy,
    /// The client went away and the exchange was cancelled; only logs get to see this one.
    ClientGone,
}

impl ExchangeFault {
    /// The reason's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::FirstTokenTimeout => "first_token_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::Truncated => "truncated",
            Self::Malformed => "malformed",
            Self::ErrorEvent => "error_event",
            Self::EmptyStream => "empty_stream",
            Self::Busy => "busy",
            Self::ClientGone => "client_gone",
        }
    }

    /// Whether a deadline passed: the same target is not tried again for this request.
    pub const fn is_timeout(self) -> bool {
        matches!(
            self,
            Self::Timeout | Self::FirstTokenTimeout | Self::IdleTimeout
        )
    }
}

/// Why an attempt ended as it did: `429`, `400:invalid_model`, `timeout`. Cheap to clone, and its
/// `Display` fits into a header and into a metric's label: a code in it is one that is built in or
/// configured, never one that an upstream made up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The answer's status said it all.
    Status(StatusCode),
    /// A code in the answer's body led elsewhere than the status would have: at most 64
    /// characters, letters, digits and `_-.`.
    Code(StatusCode, Arc<str>),
    /// There was no complete answer.
    Fault(ExchangeFault),
}

impl Reason {
    /// A status with the code that decided, made fit to be shown.
    pub(super) fn with_code(status: StatusCode, code: &str) -> Self {
        let shown: String = code
            .chars()
            .map(|char| match char {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' | '.' => char,
                _ => '_',
            })
            .take(CODE_LIMIT)
            .collect();
        Self::Code(status, shown.into())
    }

    /// What metrics call it: fewer words, which no upstream can add to.
    pub fn class(&self) -> AttemptClass {
        match self {
            Self::Status(status) => AttemptClass::of_status(status.as_u16()),
            Self::Code(_, code) => {
                AttemptClass::named(classify_code(code).map_or("configured_code", |class| {
                    match class {
                        CodeClass::ContentFilter => "content_filter",
                        CodeClass::ContextLength => "context_length",
                        CodeClass::UnknownModel => "unknown_model",
                        CodeClass::Credential => "credential",
                        CodeClass::RateLimit => "rate_limit",
                        CodeClass::Overloaded => "overloaded",
                    }
                }))
            }
            Self::Fault(fault) => AttemptClass::named(fault.name()),
        }
    }

    /// The status of the upstream's answer, if that was what decided.
    pub const fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status(status) | Self::Code(status, _) => Some(*status),
            Self::Fault(_) => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(formatter, "{}", status.as_u16()),
            Self::Code(status, code) => write!(formatter, "{}:{code}", status.as_u16()),
            Self::Fault(fault) => formatter.write_str(fault.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_word_in_metrics() {
        use ExchangeFault::*;
        for fault in [
            Refused,
            Dns,
            Tls,
            Reset,
            Closed,
            Timeout,
            FirstTokenTimeout,
            IdleTimeout,
            Truncated,
            Malformed,
            ErrorEvent,
            EmptyStream,
            Busy,
            ClientGone,
        ] {
            assert_eq!(Reason::Fault(fault).class().name(), fault.name());
        }
        for (status, code, expected) in [
            (400, "content_filter", "content_filter"),
            (400, "context_length_exceeded", "context_length"),
            (400, "invalid_model", "unknown_model"),
            (400, "invalid_api_key", "credential"),
            (413, "rate_limit_exceeded", "rate_limit"),
            (500, "overloaded_error", "overloaded"),
            (400, "of_the_configuration", "configured_code"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let reason = Reason::with_code(status, code);
            assert_eq!(reason.class().name(), expected, "{code}");
        }
        for (status, expected) in [
            (429, "429"),
            (302, "3xx"),
            (418, "4xx"),
            (599, "5xx"),
            (999, "other"),
        ] {
            let reason = Reason::Status(StatusCode::from_u16(status).unwrap());
            assert_eq!(reason.class().name(), expected);
        }
    }
}
