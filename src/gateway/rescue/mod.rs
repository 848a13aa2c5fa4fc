//! A stream that broke after its first token, continued by another target.
//!
//! ```text
//! what the client has (StreamState) ──┬─ continuable? ── no ──> None: it ends with an error
//!                                     ▼
//!  next target ─> request: prefill, or a continue turn ─> attempt ─┬─ a stream ──> splice ──> Source
//!      ▲                    ▲                                      ├─ 4xx ─> asked the other way, once
//!      │                    └──────────────────────────────────────┘
//!      └──────────────────── any other failure: as in the attempt loop
//! ```
//!
//! - [`request`] asks to continue, [`overlap`] cuts what the continuation repeats, and [`splice`] makes
//!   one stream of two. They are pure; what is here acts.
//! - A rescuer is an attempt like any other: suspended pairs are passed by, its failures suspend it,
//!   and it has the first-token and the idle timeout of its own.
//! - What can't be continued is a fact of the request ([`request::can_rescue`]: several choices,
//!   structured output, ...) or of what was sent ([`StreamState::continuable`]: a tool call under way,
//!   too much text, ...).
//! - A 4xx to a prefill may be about the prefill: the same target is asked with a continue turn. A
//!   second one is about this request, so it suspends nobody.
//! - A rescuer whose stream begins with a safety decision is the last one asked.

mod json;
pub mod overlap;
pub mod request;
pub mod splice;

use http::StatusCode;
use tokio::time::Instant;

use self::request::{Ask, can_rescue, continuation};
use self::splice::Splicer;
use super::attempt::{Trip, Won, fail};
use super::client::Client;
use super::error::Failure;
use super::hold::Held;
use super::judge::{ExchangeFault, Outcome, Reason, Verdict};
use super::ledger::Ledger;
use super::mentions::Mentions;
use super::model_field::{ModelFieldError, find_model};
use super::outgoing::Outgoing;
use super::relay::Source;
use crate::policy::Target;
use crate::provider::stream::StreamState;

/// A target that goes on with what the client was `told`; `None` where it can't be continued, or
/// nobody is left who could.
///
/// # Errors
/// `ClientGone`.
pub(super) async fn rescue<'a>(
    client: &mut Client<'_>,
    trip: &mut Trip<'a>,
    outgoing: &Outgoing,
    told: &StreamState,
    ledger: &mut Ledger,
) -> Result<Option<Source<'a>>, Failure> {
    let possible = trip.plan.rescues()
        && can_rescue(told.format(), outgoing.body()).is_ok()
        && told.continuable().is_ok();
    if !possible {
        return Ok(None);
    }
    while !trip.is_over(Instant::now) {
        let Ok((target, permit)) = trip.next(ledger) else {
            return Ok(None);
        };
        match by_target(client, trip, target, outgoing, told, ledger).await? {
            Ok(source) => {
                permit.success();
                return Ok(Some(source));
            }
            Err(verdict) => {
                fail(&trip.plan, target, permit, &verdict);
                if verdict.outcome == Outcome::ClientFault {
                    return Ok(None);
                }
            }
        }
    }
    Ok(None)
}

/// Has one target go on, asked in its way and, where it refuses that, by a continue turn.
async fn by_target<'a>(
    client: &mut Client<'_>,
    trip: &Trip<'a>,
    target: &'a Target,
    outgoing: &Outgoing,
    told: &StreamState,
    ledger: &mut Ledger,
) -> Result<Result<Source<'a>, Verdict>, Failure> {
    let endpoint = trip.plan.table.endpoint(target.endpoint);
    let mut ask = Ask::of(target.prefill, endpoint.provider());
    loop {
        let Some((request, trimmed)) = request_for(outgoing, told, ask) else {
            return Ok(Err(not_asked()));
        };
        let won = match trip.attempt(target, client, &request, ledger).await? {
            Ok(won) => won,
            Err(verdict) => return Ok(Err(verdict)),
        };
        let Won {
            held, deadlines, ..
        } = won;
        let status = held.head().status;
        if let Held::Stream(stream) = held {
            if stream.refuses {
                let verdict = refused();
                ledger.fail(&verdict);
                return Ok(Err(verdict));
            }
            let splicer = Splicer::new(told.clone(), trimmed, endpoint.name(), &target.model);
            return Ok(Ok(Source {
                target,
                stream,
                deadlines,
                splicer: Some(Box::new(splicer)),
            }));
        }
        let verdict = no_stream(status);
        ledger.fail(&verdict);
        match ask.otherwise() {
            Some(otherwise) if status.is_client_error() => ask = otherwise,
            _ => return Ok(Err(verdict)),
        }
    }
}

/// The request that asks to continue, and how much white space of the text it leaves out.
fn request_for(outgoing: &Outgoing, told: &StreamState, ask: Ask) -> Option<(Outgoing, usize)> {
    let text = told.continuable().ok()?;
    let continued = continuation(told.format(), outgoing.body(), text, ask).ok()?;
    let mentions = match find_model(&continued.body) {
        Ok(model) => Mentions::Json(model.span),
        // It stands in the path.
        Err(ModelFieldError::NoModel) => Mentions::None,
        Err(_) => return None,
    };
    let request = outgoing.with_body(continued.body.into(), mentions);
    Some((request, continued.trimmed))
}

/// The verdict on a stream that is a refusal: nobody else is asked to do what it refuses.
const fn refused() -> Verdict {
    Verdict {
        outcome: Outcome::ClientFault,
        reason: Reason::Fault(ExchangeFault::ErrorEvent),
        message: None,
    }
}

/// The verdict on an answer that is none to go on with: a client's fault, or no stream at all.
const fn no_stream(status: StatusCode) -> Verdict {
    Verdict {
        outcome: Outcome::DoesNotFit,
        reason: Reason::Status(status),
        message: None,
    }
}

/// The verdict on a target that can't be asked: nothing is wrong with it.
const fn not_asked() -> Verdict {
    Verdict {
        outcome: Outcome::DoesNotFit,
        reason: Reason::Fault(ExchangeFault::Malformed),
        message: None,
    }
}
