//! The judgement of an outcome: whose fault a failure is, and what follows from it.
//!
//! ```text
//!  answer with a status ──► judge_answer ──────┐                ┌ Success      the answer
//!  no complete answer ────► judge_fault ───────┼──► Verdict ────┤ ClientFault  the answer, as it is
//!  error event, or an error                    │    { outcome,  │ DoesNotFit   next target
//!  with a status of success ► judge_error_event┘      reason,   │ TargetFault  suspend, next target
//!                                                     message } └ ClientGone   nothing
//! ```
//!
//! The error's *code decides before the status*: Mistral answers a retired model with 400, Anthropic
//! an empty account, and both must fail over, while an ordinary 400 must not. Of several codes in a
//! body decides, in this order:
//!
//! 1. a content filter: the client's fault, whatever the status is. Routing around a safety
//!    decision would be wrong;
//! 2. the context length: the request does not fit this model, the pair is healthy;
//! 3. an unknown model, a refused key, a used-up account: the target's fault, and a lasting one
//!    (neither retried nor waited out);
//! 4. a code of `failover_on.error_codes.add`: the target's fault;
//! 5. a rate limit or an overload: the target's fault.
//!
//! What the policy says comes before what is built in: a code that it adds or removes loses its
//! built-in meaning, and on a status that it removes only a content filter and the codes that it
//! adds decide anything (else `remove: [404]` would do nothing where every 404 carries
//! `model_not_found`).
//!
//! Where no code decides, a few messages do that are known to come without one. Then the status does:
//!
//! | status | whose fault | why |
//! |---|---|---|
//! | 400, 405, 413, 415, 422 | client's | as the design has it |
//! | 406, 411, 412, 414, 416, 417, 418, 423, 428, 431, 451 | client's | about this request, or a refusal that is not ours to go around |
//! | everything else that is no 2xx | target's | among them 404, 407, 408, 409, 425, 429, 3xx, 5xx and 529 |
//! | thereof 410 | target's | a retired model, as 404 |
//! | thereof 421, 426 | target's | about the connection between gateway and target |
//! | thereof 424 | target's | Text Generation Inference, when the generation failed |
//! | thereof 498, 499 | target's | Groq without capacity; a proxy behind the endpoint gave up |

mod reason;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};

pub use self::reason::{ExchangeFault, Reason};
use crate::policy::{FailoverOn, FailoverPolicy};
use crate::provider::{
    CodeClass, ErrorBody, classify_code, code_of_wording, error_type, quota_used_up,
    rate_limit_reset, read_error_body, retry_after,
};

/// The judgement of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What follows.
    pub outcome: Outcome,
    /// Why, in a word.
    pub reason: Reason,
    /// The target's own words, at most 1 KiB on one line. They may hold a secret: whoever shows
    /// them passes them through [`redact`](crate::provider::redact) first.
    pub message: Option<String>,
}

/// What follows from an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A complete answer.
    Success,
    /// The request is at fault: its answer goes to the client as it is.
    ClientFault,
    /// The request does not fit the target: it is too long for its model, or the endpoint has no
    /// room for one more. The pair is healthy; the next target may take it.
    DoesNotFit,
    /// The pair is suspended, and the next target asked.
    TargetFault(TargetFault),
    /// The client went away: nobody's fault, and nothing follows.
    ClientGone,
}

/// More about a failure that is the target's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetFault {
    /// It may pass in a moment: `retries` try again at the same target.
    pub transient: bool,
    /// The wait that a 429 or 503 asks for, if it is one that waiting can mend: up to
    /// `max_retry_after` it is waited out at the same target.
    pub retry_after: Option<Duration>,
    /// How long the answer asks to be left alone, for [`suspend_for`].
    pub wish: Option<Duration>,
    /// It is about the key that was sent, or about what the account behind it may have: another key
    /// may do.
    pub about_key: bool,
}

/// Judges an answer by its status, its headers and, where the status is no success, the first
/// 64 KiB of its body. `error_body` is `None` where it is longer: then the status judges alone. `now` is
/// asked for only where an answer may say how long to wait.
pub fn judge_answer(
    failover_on: &FailoverOn,
    status: StatusCode,
    headers: &HeaderMap,
    error_body: Option<&[u8]>,
    now: impl Fn() -> SystemTime,
) -> Verdict {
    if status.is_success() {
        return Verdict {
            outcome: Outcome::Success,
            reason: Reason::Status(status),
            message: None,
        };
    }
    let mut body = error_body.and_then(read_error_body).unwrap_or_default();
    body.codes.extend(error_type(headers).map(str::to_owned));
    let removed = failover_on.remove_statuses.contains(&status.as_u16());
    let decided = deciding_code(
        failover_on,
        &body,
        WORDED.contains(&status.as_u16()),
        |meaning| !removed || matches!(meaning, Meaning::ContentFilter | Meaning::Configured),
    );
    let by_status = Blame::of_status(failover_on, status);
    let blame = decided.map_or(by_status, |(meaning, _)| meaning.blame());
    let lasting = decided.is_some_and(|(meaning, _)| meaning == Meaning::Lasting);
    let reason = match decided {
        Some((_, code)) if blame != by_status => Reason::with_code(status, code),
        _ => Reason::Status(status),
    };
    let fault = TargetFault {
        about_key: is_about_key(decided.map(|(_, code)| code), Some(status)),
        ..target_fault(status, headers, body.retry_delay, lasting, now)
    };
    Verdict {
        outcome: blame.outcome(fault),
        reason,
        message: body.message,
    }
}

/// Judges an exchange that ended without a complete answer.
///
/// `Closed` is as transient as `Reset`: which of the two a dying server sends depends on whether
/// it had read the whole request.
pub fn judge_fault(fault: ExchangeFault) -> Verdict {
    let outcome = match fault {
        ExchangeFault::ClientGone => Outcome::ClientGone,
        ExchangeFault::Busy => Outcome::DoesNotFit,
        fault => Outcome::TargetFault(TargetFault {
            transient: matches!(
                fault,
                ExchangeFault::Refused | ExchangeFault::Reset | ExchangeFault::Closed
            ),
            ..TargetFault::default()
        }),
    };
    Verdict {
        outcome,
        reason: Reason::Fault(fault),
        message: None,
    }
}

/// Judges an error that came with a status of success: the data of an error event in a stream, or
/// a JSON answer that [`inspect_answer`](crate::provider::inspect_answer) found to be an error.
pub fn judge_error_event(failover_on: &FailoverOn, data: &[u8]) -> Verdict {
    let body = read_error_body(data).unwrap_or_default();
    let decided = deciding_code(failover_on, &body, true, |_| true);
    let blame = decided.map_or(Blame::Target, |(meaning, _)| meaning.blame());
    Verdict {
        outcome: blame.outcome(TargetFault {
            wish: body.retry_delay,
            about_key: is_about_key(decided.map(|(_, code)| code), None),
            ..TargetFault::default()
        }),
        reason: Reason::Fault(ExchangeFault::ErrorEvent),
        message: body.message,
    }
}

/// For how long a failed pair, or one whose quota a success used up, is suspended; `None`: not at
/// all, because the policy has no `suspend_duration`. `wish` is what the answer's headers ask for.
pub fn suspend_for(policy: &FailoverPolicy, wish: Option<Duration>) -> Option<Duration> {
    let wish = wish.unwrap_or_default().min(policy.max_suspend_duration);
    (!policy.suspend_duration.is_zero()).then(|| wish.max(policy.suspend_duration))
}

/// The client's status where every target failed, by the reason of the last failure.
pub fn final_status(last: &Reason) -> StatusCode {
    match last {
        Reason::Status(StatusCode::TOO_MANY_REQUESTS)
        | Reason::Code(StatusCode::TOO_MANY_REQUESTS, _) => StatusCode::TOO_MANY_REQUESTS,
        Reason::Fault(ExchangeFault::Busy) => StatusCode::SERVICE_UNAVAILABLE,
        Reason::Fault(fault) if fault.is_timeout() => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    }
}

/// Statuses whose message may stand in for a code.
const WORDED: [u16; 5] = [400, 403, 413, 422, 500];

/// Statuses that are the client's fault by default.
const CLIENT_FAULTS: [u16; 16] = [
    400, 405, 406, 411, 412, 413, 414, 415, 416, 417, 418, 422, 423, 428, 431, 451,
];

/// Whose fault a failure is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Blame {
    Client,
    Nobody,
    Target,
}

impl Blame {
    fn of_status(failover_on: &FailoverOn, status: StatusCode) -> Self {
        let status = status.as_u16();
        if failover_on.add_statuses.contains(&status) {
            Self::Target
        } else if failover_on.remove_statuses.contains(&status) || CLIENT_FAULTS.contains(&status) {
            Self::Client
        } else {
            Self::Target
        }
    }

    const fn outcome(self, fault: TargetFault) -> Outcome {
        match self {
            Self::Client => Outcome::ClientFault,
            Self::Nobody => Outcome::DoesNotFit,
            Self::Target => Outcome::TargetFault(fault),
        }
    }
}

/// What a code says, in the order in which the codes of one body decide.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Meaning {
    ContentFilter,
    ContextLength,
    /// The model, the key or the account: waiting won't mend it.
    Lasting,
    /// The policy says so.
    Configured,
    /// A rate limit or an overload.
    Passing,
}

impl Meaning {
    fn of(failover_on: &FailoverOn, code: &str) -> Option<Self> {
        let is_code = |configured: &String| configured.eq_ignore_ascii_case(code);
        if failover_on.add_error_codes.iter().any(is_code) {
            return Some(Self::Configured);
        }
        if failover_on.remove_error_codes.iter().any(is_code) {
            return None;
        }
        Some(match classify_code(code)? {
            CodeClass::ContentFilter => Self::ContentFilter,
            CodeClass::ContextLength => Self::ContextLength,
            CodeClass::UnknownModel | CodeClass::Credential => Self::Lasting,
            CodeClass::RateLimit | CodeClass::Overloaded => Self::Passing,
        })
    }

    const fn blame(self) -> Blame {
        match self {
            Self::ContentFilter => Blame::Client,
            Self::ContextLength => Blame::Nobody,
            Self::Lasting | Self::Configured | Self::Passing => Blame::Target,
        }
    }
}

/// The code that decides, if one does: one of the body's, or (if `worded`) the one that its
/// message amounts to. Only meanings that `count` are considered.
fn deciding_code<'a>(
    failover_on: &FailoverOn,
    body: &'a ErrorBody,
    worded: bool,
    counts: impl Fn(Meaning) -> bool,
) -> Option<(Meaning, &'a str)> {
    let wording = body.message.as_deref().filter(|_| worded);
    body.codes
        .iter()
        .map(String::as_str)
        .chain(wording.and_then(code_of_wording))
        .filter_map(|code| Some((Meaning::of(failover_on, code)?, code)))
        .filter(|(meaning, _)| counts(*meaning))
        .min_by_key(|(meaning, _)| *meaning)
}

/// Whether a failure is about the key that was sent: by the code that decided, or, where that says
/// nothing about it, by the status.
fn is_about_key(code: Option<&str>, status: Option<StatusCode>) -> bool {
    match code.and_then(classify_code) {
        Some(CodeClass::Credential | CodeClass::RateLimit) => true,
        Some(_) => false,
        None => status.is_some_and(|status| matches!(status.as_u16(), 401 | 402 | 403 | 429)),
    }
}

fn target_fault(
    status: StatusCode,
    headers: &HeaderMap,
    retry_delay: Option<Duration>,
    lasting: bool,
    now: impl Fn() -> SystemTime,
) -> TargetFault {
    let asked = retry_after(headers, &now).or(retry_delay);
    let reset = || match status {
        StatusCode::TOO_MANY_REQUESTS => rate_limit_reset(headers, now()),
        _ => quota_used_up(headers, &now).flatten(),
    };
    TargetFault {
        transient: !lasting && matches!(status.as_u16(), 500 | 502 | 503 | 504),
        retry_after: asked.filter(|_| !lasting && matches!(status.as_u16(), 429 | 503)),
        wish: asked.or_else(reset),
        about_key: false,
    }
}
