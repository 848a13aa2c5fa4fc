//! A stream whose answer has begun, to its end: relayed, and where it breaks ended so that nobody
//! can take it for whole.

use bytes::Bytes;

use super::attempt::{Trip, suspend};
use super::client::Client;
use super::deadlines::Deadlines;
use super::error::Failure;
use super::hold::HeldStream;
use super::proxy::RequestContext;
use super::relay::{self, Relayed};
use super::respond;
use crate::policy::Target;
use crate::telemetry::{StreamEnd, StreamRecord};

/// Passes a stream on to its end.
///
/// # Errors
/// `Broken` where it can't be completed: the client has an error event, and sees the stream cut;
/// `ClientGone` where nobody takes it.
pub(super) async fn run(
    client: &mut Client<'_>,
    trip: &mut Trip<'_>,
    target: &Target,
    mut stream: HeldStream,
    deadlines: Deadlines,
    ctx: &mut RequestContext,
) -> Result<(), Failure> {
    let ttft = ctx.started.elapsed();
    let head = stream.exchange.head.clone();
    let id = ctx.record.request_id.clone();
    let mut end = StreamEnd::ClientGone;
    let relayed = async {
        respond::begin(client, head, &id, &ctx.ledger).await?;
        let failover_on = &trip.plan.policy.failover_on;
        match relay::stream(client, &mut stream, failover_on, &deadlines).await? {
            Relayed::Complete => end = StreamEnd::Complete,
            Relayed::Repaired => end = StreamEnd::Repaired,
            Relayed::Broken(verdict) => {
                end = StreamEnd::Broken;
                ctx.ledger.fail(&verdict);
                suspend(&trip.plan, target, &verdict);
                let message = "The stream broke off and can't be completed.";
                let event = Bytes::from(stream.state.error_event(message));
                respond::write(client.session(), event, false).await?;
                return Err(Failure::Broken);
            }
        }
        respond::write(client.session(), Bytes::new(), true).await
    };
    let relayed = relayed.await;
    ctx.ledger.finish();
    let usage = stream.state.usage();
    ctx.record.tokens_in = usage.input_tokens;
    ctx.record.tokens_out = usage.output_tokens;
    ctx.record.stream = Some(StreamRecord {
        ttft: Some(ttft),
        events: stream.state.events(),
        events_dropped: stream.state.dropped(),
        rescued_at: Vec::new(),
        end,
    });
    if relayed.is_ok() {
        relay::drain(stream.exchange);
    }
    relayed
}
