//! An answer that has begun: passed on to the client as it arrives.
//!
//! One read from the upstream is one write to the client, of whole events and of nothing else, so
//! that what the client has is at every moment a stream that could go on. The next read waits for
//! the write: a slow reader slows its upstream and fills no memory.

use std::time::Duration;

use bytes::Bytes;

use super::client::{Client, Interrupted};
use super::deadlines::Deadlines;
use super::error::Failure;
use super::exchange::Exchange;
use super::hold::{Decisive, HeldStream, Large, joined};
use super::judge::{ExchangeFault, Verdict, judge_error_event, judge_fault};
use super::respond;
use crate::policy::FailoverOn;
use crate::provider::stream::Ending;

/// How long an upstream may take to end its answer after its last event.
const DRAIN: Duration = Duration::from_secs(1);

/// How a stream's relay ended.
pub(super) enum Relayed {
    /// The stream is complete; the client still waits for the end of the body.
    Complete,
    /// It is, since its end mark was added.
    Repaired,
    /// It can't go on: the client has whole events, and no end.
    Broken(Verdict),
}

/// Passes a stream on, from what is held of it to its end.
///
/// # Errors
/// `ClientGone` where nobody takes it.
pub(super) async fn stream(
    client: &mut Client<'_>,
    stream: &mut HeldStream,
    failover_on: &FailoverOn,
    deadlines: &Deadlines,
) -> Result<Relayed, Failure> {
    loop {
        let ready = joined(std::mem::take(&mut stream.ready));
        if !ready.is_empty() {
            respond::write(client.session(), ready, false).await?;
        }
        if stream.state.has_ended() && stream.state.at_end() == Ending::Whole {
            return Ok(Relayed::Complete);
        }
        if stream.ended {
            return complete_or(client, stream, judge_fault(ExchangeFault::Truncated)).await;
        }
        let next = Some(deadlines.next_read());
        let verdict = match client.wait(next, stream.exchange.read()).await {
            Ok(Ok(read)) => match stream.take(read) {
                Some(Decisive::Error(event)) => judge_error_event(failover_on, &event.data),
                _ => continue,
            },
            Ok(Err(fault)) => judge_fault(fault),
            Err(Interrupted::Deadline) => deadlines.missed(ExchangeFault::IdleTimeout),
            Err(Interrupted::ClientGone) => return Err(Failure::ClientGone),
        };
        return complete_or(client, stream, verdict).await;
    }
}

/// The end of a stream that says no more: whatever has happened, if the answer was whole nothing
/// is missing but the end mark, and the client gets it.
async fn complete_or(
    client: &mut Client<'_>,
    stream: &mut HeldStream,
    verdict: Verdict,
) -> Result<Relayed, Failure> {
    // What was read before the break.
    let ready = joined(std::mem::take(&mut stream.ready));
    if !ready.is_empty() {
        respond::write(client.session(), ready, false).await?;
    }
    match stream.state.at_end() {
        Ending::Whole => Ok(Relayed::Complete),
        Ending::Lacks(mark) => {
            respond::write(client.session(), Bytes::from_static(mark.as_bytes()), false).await?;
            Ok(Relayed::Repaired)
        }
        Ending::Cut => Ok(Relayed::Broken(verdict)),
    }
}

/// Reads what little follows a stream's last event, so that its connection can be used again;
/// beside the client's next request, which needn't wait for it.
pub(super) fn drain(exchange: Exchange) {
    tokio::spawn(async move {
        let mut exchange = exchange;
        let rest = async { while let Ok(Some(_)) = exchange.read().await {} };
        if tokio::time::timeout(DRAIN, rest).await.is_ok() {
            exchange.finish();
        }
    });
}

/// Passes on an answer that is too large to be held. It has begun, so nothing can save it any
/// more: if it breaks the client sees it cut.
///
/// # Errors
/// `Broken`, or `ClientGone` where nobody takes it.
pub(super) async fn large(
    client: &mut Client<'_>,
    large: Large,
    deadlines: impl Fn() -> Option<tokio::time::Instant>,
) -> Result<(), Failure> {
    let Large {
        mut exchange,
        begun,
    } = large;
    for piece in begun {
        respond::write(client.session(), piece, false).await?;
    }
    loop {
        match client.wait(deadlines(), exchange.read()).await {
            Ok(Ok(Some(piece))) => respond::write(client.session(), piece, false).await?,
            Ok(Ok(None)) => break,
            Ok(Err(_)) | Err(Interrupted::Deadline) => return Err(Failure::Broken),
            Err(Interrupted::ClientGone) => return Err(Failure::ClientGone),
        }
    }
    if let Some(trailers) = exchange.trailers().await {
        let session = client.session().as_downstream_mut();
        let written = session.write_response_trailers(trailers);
        written.await.map_err(|_| Failure::ClientGone)?;
    } else {
        respond::write(client.session(), Bytes::new(), true).await?;
    }
    exchange.finish();
    Ok(())
}
