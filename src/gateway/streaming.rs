//! A stream whose answer has begun, to its end: relayed, where it breaks continued by the next
//! target, and where it can't be continued ended so that nobody can take it for whole.
//!
//! ```text
//! relay ──┬─ complete ───────────────> the end of the body
//!         └─ broken ─> suspend ─> rescue ──┬─ a target goes on ─> relay, spliced
//!                                          └─ none can ─> error event, connection cut
//! ```

use bytes::Bytes;
use http::header;
use tokio::time::Instant;

use super::attempt::{Trip, suspend};
use super::client::Client;
use super::error::Failure;
use super::judge::Outcome;
use super::outgoing::Outgoing;
use super::proxy::RequestContext;
use super::relay::{self, Relayed, Source};
use super::rescue::rescue;
use super::respond;
use crate::provider::stream::StreamState;
use crate::telemetry::{StreamEnd, StreamRecord};

/// What the client of a stream is told that can't go on.
const BROKEN: &str = "The stream broke off and could not be completed.";

/// Passes a stream on to its end.
///
/// # Errors
/// `Broken` where it can't be completed: the client has an error event, and sees the stream cut;
/// `ClientGone` where nobody takes it.
pub(super) async fn run<'a>(
    client: &mut Client<'_>,
    trip: &mut Trip<'a>,
    source: Source<'a>,
    outgoing: &Outgoing,
    ctx: &mut RequestContext,
) -> Result<(), Failure> {
    let mut record = StreamRecord {
        ttft: None,
        events: 0,
        events_dropped: 0,
        rescued_at: Vec::new(),
        end: StreamEnd::ClientGone,
    };
    let (told, ended) = to_end(client, trip, source, outgoing, ctx, &mut record).await;
    ctx.ledger.finish();
    record.events = told.events();
    let usage = told.usage();
    ctx.record.tokens_in = usage.input_tokens;
    ctx.record.tokens_out = usage.output_tokens;
    ctx.record.stream = Some(record);
    ended
}

/// Passes a stream on, by as many targets as it takes: what the client was told, and how it ended.
async fn to_end<'a>(
    client: &mut Client<'_>,
    trip: &mut Trip<'a>,
    mut source: Source<'a>,
    outgoing: &Outgoing,
    ctx: &mut RequestContext,
    record: &mut StreamRecord,
) -> (StreamState, Result<(), Failure>) {
    if let Err(failure) = begin(client, &mut source, ctx).await {
        let (told, _) = source.into_told();
        return (told, Err(failure));
    }
    loop {
        let failover_on = &trip.plan.policy.failover_on;
        let relayed = relay::stream(client, &mut source, failover_on, outgoing).await;
        note(record, &source, ctx.started);
        let target = source.target;
        let (told, exchange) = source.into_told();
        let verdict = match relayed {
            Ok(Relayed::Broken(verdict)) => verdict,
            Ok(Relayed::Different) => return break_off(client, told, record).await,
            Ok(Relayed::Complete { repaired }) => {
                record.end = match (record.rescued_at.is_empty(), repaired) {
                    (false, _) => StreamEnd::Rescued,
                    (true, true) => StreamEnd::Repaired,
                    (true, false) => StreamEnd::Complete,
                };
                return (told, relay::end(client, exchange).await);
            }
            Err(failure) => return (told, Err(failure)),
        };
        // Cancelled, where it has only stalled: nobody waits for it any more.
        drop(exchange);
        ctx.ledger.fail(&verdict);
        suspend(&trip.plan, target, &verdict);
        if verdict.outcome == Outcome::ClientFault {
            return break_off(client, told, record).await;
        }
        let rescued = Box::pin(rescue(client, trip, outgoing, &told, &mut ctx.ledger)).await;
        source = match rescued {
            Ok(Some(rescuer)) => rescuer,
            Ok(None) => return break_off(client, told, record).await,
            Err(failure) => return (told, Err(failure)),
        };
        record.rescued_at.push(told.text_bytes());
    }
}

/// Sends the head of the first target's answer. What it says of the body's length is about its own
/// stream: the client's may have more events, or fewer.
async fn begin(
    client: &mut Client<'_>,
    source: &mut Source<'_>,
    ctx: &RequestContext,
) -> Result<(), Failure> {
    let mut head = source.stream.exchange.take_head();
    head.remove_header(&header::CONTENT_LENGTH);
    respond::begin(client, head, &ctx.record.request_id, &ctx.ledger).await
}

/// Takes account of a stream that says no more.
fn note(record: &mut StreamRecord, source: &Source<'_>, started: Instant) {
    let stream = &source.stream;
    record.events_dropped += stream.state.dropped();
    let first_content = stream.first_content.map(|at| at - started);
    record.ttft = record.ttft.or(first_content);
}

/// Ends a stream that nobody can complete: with an error event, after which it is cut.
async fn break_off(
    client: &mut Client<'_>,
    told: StreamState,
    record: &mut StreamRecord,
) -> (StreamState, Result<(), Failure>) {
    record.end = StreamEnd::Broken;
    let event = Bytes::from(told.error_event(BROKEN));
    let written = respond::write(client, &event, false).await;
    (told, written.and(Err(Failure::Broken)))
}
