//! A stream whose answer has begun, to its end: relayed, where it breaks continued by the next
//! target, and where it can't be continued ended so that nobody can take it for whole.
//!
//! ```text
//! relay ──┬─ complete ───────────────> the end of the body
//!         └─ broken ─> suspend ─> rescue ──┬─ a target goes on ─> relay, spliced
//!                                          └─ none can ─> error event, connection cut
//! ```

use bytes::Bytes;

use super::attempt::{Trip, suspend};
use super::client::Client;
use super::error::Failure;
use super::outgoing::Outgoing;
use super::proxy::RequestContext;
use super::relay::{self, Relayed, Source};
use super::rescue::rescue;
use super::respond;
use crate::telemetry::{StreamEnd, StreamRecord};

/// Passes a stream on to its end.
///
/// # Errors
/// `Broken` where it can't be completed: the client has an error event, and sees the stream cut;
/// `ClientGone` where nobody takes it.
pub(super) async fn run<'a>(
    client: &mut Client<'_>,
    trip: &mut Trip<'a>,
    mut source: Source<'a>,
    outgoing: &Outgoing,
    ctx: &mut RequestContext,
) -> Result<(), Failure> {
    let mut record = StreamRecord {
        ttft: Some(ctx.started.elapsed()),
        events: 0,
        events_dropped: 0,
        rescued_at: Vec::new(),
        end: StreamEnd::ClientGone,
    };
    let ended = to_end(client, trip, &mut source, outgoing, ctx, &mut record).await;
    ctx.ledger.finish();
    let told = source.told();
    record.events = told.events();
    record.events_dropped += source.stream.state.dropped();
    let usage = told.usage();
    ctx.record.tokens_in = usage.input_tokens;
    ctx.record.tokens_out = usage.output_tokens;
    ctx.record.stream = Some(record);
    if ended.is_ok() {
        relay::drain(source.stream.exchange);
    }
    ended
}

async fn to_end<'a>(
    client: &mut Client<'_>,
    trip: &mut Trip<'a>,
    source: &mut Source<'a>,
    outgoing: &Outgoing,
    ctx: &mut RequestContext,
    record: &mut StreamRecord,
) -> Result<(), Failure> {
    let head = source.stream.exchange.head.clone();
    let id = ctx.record.request_id.clone();
    respond::begin(client, head, &id, &ctx.ledger).await?;
    loop {
        let failover_on = &trip.plan.policy.failover_on;
        let relayed = relay::stream(client, source, failover_on).await?;
        record.end = match relayed {
            Relayed::Complete | Relayed::Repaired if !record.rescued_at.is_empty() => {
                StreamEnd::Rescued
            }
            Relayed::Complete => StreamEnd::Complete,
            Relayed::Repaired => StreamEnd::Repaired,
            Relayed::Broken(_) | Relayed::Different => StreamEnd::Broken,
        };
        let rescuer = match relayed {
            Relayed::Complete | Relayed::Repaired => {
                return respond::write(client.session(), Bytes::new(), true).await;
            }
            Relayed::Broken(verdict) => {
                ctx.ledger.fail(&verdict);
                suspend(&trip.plan, source.target, &verdict);
                let told = source.told();
                Box::pin(rescue(client, trip, outgoing, told, &mut ctx.ledger)).await?
            }
            Relayed::Different => None,
        };
        let Some(rescuer) = rescuer else {
            let message = "The stream broke off and could not be completed.";
            let event = Bytes::from(source.told().error_event(message));
            respond::write(client.session(), event, false).await?;
            return Err(Failure::Broken);
        };
        record.rescued_at.push(source.told().text_bytes());
        record.events_dropped += source.stream.state.dropped();
        *source = rescuer;
    }
}
