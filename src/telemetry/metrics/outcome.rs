//! What became of a request and of an attempt, each one of a few words.

use std::ops::RangeFrom;

use crate::telemetry::{AttemptRecord, RequestRecord};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestOutcome {
    /// Answered by the first target that was asked, at once.
    Success,
    /// Answered after at least one attempt had failed.
    FailedOver,
    /// The upstream refused it as the caller's fault, and its answer was passed on.
    ClientError,
    /// An upstream's failure was passed on: there was no policy, or it says so.
    UpstreamError,
    /// Not served as it was: no key, no such operation, a body that can't be read.
    Rejected,
    /// Not served: the gateway holds as many bodies as it may.
    Overloaded,
    /// Not served: every target is suspended.
    Suspended,
    /// Every attempt failed.
    Failed,
    /// The answer had begun and could not be completed.
    Broken,
    /// The caller left first, or took nothing of its answer.
    ClientGone,
    /// The process ended before its answer did.
    Shutdown,
    /// The gateway itself failed at it: a panic.
    InternalError,
}

impl RequestOutcome {
    /// All of them, each at the place of its number.
    pub const ALL: [Self; 12] = [
        Self::Success,
        Self::FailedOver,
        Self::ClientError,
        Self::UpstreamError,
        Self::Rejected,
        Self::Overloaded,
        Self::Suspended,
        Self::Failed,
        Self::Broken,
        Self::ClientGone,
        Self::Shutdown,
        Self::InternalError,
    ];

    /// The outcome that a record tells of.
    pub fn of(record: &RequestRecord) -> Self {
        match (record.error, record.status) {
            (Some("client_gone" | "client_stalled"), _) | (None, None) => Self::ClientGone,
            (Some(RequestRecord::SHUTDOWN), _) => Self::Shutdown,
            (Some(RequestRecord::INTERNAL_ERROR), _) => Self::InternalError,
            (Some("stream_broken"), _) => Self::Broken,
            (Some("all_targets_suspended"), _) => Self::Suspended,
            (Some("all_targets_failed" | "endpoint_failed"), _) => Self::Failed,
            (Some("gateway_overloaded"), _) => Self::Overloaded,
            (Some(_), _) => Self::Rejected,
            (None, Some(500..)) => Self::UpstreamError,
            (None, Some(400..)) => Self::ClientError,
            (None, Some(_)) => {
                let failed = |attempt: &AttemptRecord| attempt.class.is_failure();
                if record.attempts.iter().any(failed) {
                    Self::FailedOver
                } else {
                    Self::Success
                }
            }
        }
    }

    /// Whether nobody answered well, and it was not the caller's doing.
    pub const fn is_failure(self) -> bool {
        matches!(
            self,
            Self::UpstreamError
                | Self::Overloaded
                | Self::Suspended
                | Self::Failed
                | Self::Broken
                | Self::Shutdown
                | Self::InternalError
        )
    }

    /// The label's value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::FailedOver => "failed_over",
            Self::ClientError => "client_error",
            Self::UpstreamError => "upstream_error",
            Self::Rejected => "rejected",
            Self::Overloaded => "overloaded",
            Self::Suspended => "suspended",
            Self::Failed => "failed",
            Self::Broken => "broken",
            Self::ClientGone => "client_gone",
            Self::Shutdown => "shutdown",
            Self::InternalError => "internal_error",
        }
    }
}

/// What became of an attempt, as metrics tell it: one of a fixed set of words, so that no upstream
/// can make up new ones. The log has the exact reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttemptClass(u8);

impl AttemptClass {
    /// The answer went to the client.
    pub const SUCCESS: Self = Self(0);
    /// The client left before its verdict.
    pub const CLIENT_GONE: Self = Self(1);
    /// The process ended before its verdict.
    pub const SHUTDOWN: Self = Self(2);
    /// The gateway itself failed before its verdict.
    pub const INTERNAL_ERROR: Self = Self(3);
    /// None of the other words.
    pub const OTHER: Self = Self(4);

    /// Every word, at the place of its number.
    pub const NAMES: [&'static str; 47] = [
        "success",
        "client_gone",
        "shutdown",
        "internal_error",
        "other",
        // There was no complete answer.
        "refused",
        "dns",
        "tls",
        "reset",
        "closed",
        "timeout",
        "first_token_timeout",
        "idle_timeout",
        "truncated",
        "malformed",
        "error_event",
        "empty_stream",
        "busy",
        // A code in the answer decided.
        "content_filter",
        "context_length",
        "unknown_model",
        "credential",
        "rate_limit",
        "overloaded",
        "configured_code",
        // Its status did.
        "400",
        "401",
        "402",
        "403",
        "404",
        "405",
        "408",
        "409",
        "413",
        "422",
        "424",
        "429",
        "498",
        "499",
        "500",
        "502",
        "503",
        "504",
        "529",
        "3xx",
        "4xx",
        "5xx",
    ];

    /// The class of this name; `OTHER` where there is none.
    pub fn named(name: &str) -> Self {
        let place = Self::NAMES.iter().position(|known| *known == name);
        place
            .and_then(|place| u8::try_from(place).ok())
            .map_or(Self::OTHER, Self)
    }

    /// The class of a failure that a status told of.
    pub fn of_status(status: u16) -> Self {
        match Self::named(itoa::Buffer::new().format(status)) {
            Self::OTHER => Self::named(match status {
                300..400 => "3xx",
                400..500 => "4xx",
                500..600 => "5xx",
                _ => "other",
            }),
            known => known,
        }
    }

    /// The label's value.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self.0 as usize]
    }

    /// Whether it was the attempt that failed.
    pub const fn is_failure(self) -> bool {
        self.0 > Self::INTERNAL_ERROR.0
    }

    /// The places of those that [are failures](Self::is_failure).
    pub(super) const fn failures() -> RangeFrom<usize> {
        Self::CLIENT_GONE.place() + 1..
    }

    pub(super) const fn place(self) -> usize {
        self.0 as usize
    }
}
