//! An answer that has begun: passed on to the client as it arrives.
//!
//! One read from the upstream is one write to the client, of whole events and of nothing else, so
//! that what the client has is at every moment a stream that could go on. The next read waits for
//! the write: a slow reader slows its upstream and fills no memory.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::client::{Client, Interrupted};
use super::deadlines::Deadlines;
use super::error::Failure;
use super::exchange::Exchange;
use super::hold::{Decisive, HeldStream, Large, joined};
use super::judge::{ExchangeFault, Verdict, judge_error_event, judge_fault};
use super::outgoing::Outgoing;
use super::rescue::request::choices;
use super::rescue::splice::{Different, Splicer};
use super::respond;
use super::sse::Splitter;
use crate::policy::{FailoverOn, Target};
use crate::provider::stream::{Ending, StreamState};

/// How long an upstream may take to end its answer after its last event.
const TO_END: Duration = Duration::from_millis(250);

/// Where a stream comes from.
pub(super) struct Source<'a> {
    pub(super) target: &'a Target,
    pub(super) stream: Box<HeldStream>,
    pub(super) deadlines: Deadlines,
    /// What makes a rescuer's events those of the stream that the client is reading.
    pub(super) splicer: Option<Box<Splicer>>,
}

impl Source<'_> {
    /// What the client has been told by now.
    pub(super) fn told(&self) -> &StreamState {
        self.splicer
            .as_ref()
            .map_or(&self.stream.state, |splicer| splicer.client())
    }

    /// The same, and the exchange, which is cancelled when it is dropped before its end.
    pub(super) fn into_told(self) -> (StreamState, Exchange) {
        let stream = self.stream;
        let told = self
            .splicer
            .map_or(stream.state, |splicer| splicer.into_client());
        (told, stream.exchange)
    }

    /// What is ready for the client.
    fn take_ready(&mut self) -> Result<Bytes, Different> {
        let ready = joined(&mut self.stream.ready);
        let Some(splicer) = &mut self.splicer else {
            return Ok(ready);
        };
        let mut out = Vec::new();
        for event in Splitter::new().push(ready).events() {
            splicer.event(event.name, &event.data, &mut out)?;
        }
        Ok(out.into())
    }
}

/// How a stream's relay ended.
pub(super) enum Relayed {
    /// The stream is complete, perhaps since its end mark was added; the client still waits for the
    /// end of the body.
    Complete { repaired: bool },
    /// It can't go on: the client has whole events, and no end.
    Broken(Verdict),
    /// It went on as another answer, and can't be continued by anybody.
    Different,
}

/// Passes a stream on, from what is held of it to its last event.
///
/// # Errors
/// `ClientGone` where nobody takes it.
pub(super) async fn stream(
    client: &mut Client<'_>,
    source: &mut Source<'_>,
    failover_on: &FailoverOn,
    asked: &Outgoing,
) -> Result<Relayed, Failure> {
    loop {
        if pass_on(client, source).await? {
            return Ok(Relayed::Different);
        }
        let state = &source.stream.state;
        if source.stream.ended || state.has_ended() && state.at_break() == Ending::Whole {
            let verdict = judge_fault(ExchangeFault::Truncated);
            let told = source.told();
            return ending(client, all_choices(told, told.at_end(), asked), verdict).await;
        }
        let next = Some(source.deadlines.next_read());
        let verdict = match client.wait(next, source.stream.exchange.read()).await {
            Ok(Ok(read)) => match source.stream.take(read) {
                Some(Decisive::Error(event)) => judge_error_event(failover_on, &event.data),
                _ => continue,
            },
            Ok(Err(fault)) => judge_fault(fault),
            Err(Interrupted::Deadline) => source.deadlines.missed(ExchangeFault::IdleTimeout),
            Err(Interrupted::ClientGone) => return Err(Failure::ClientGone),
        };
        // What came before the break.
        if pass_on(client, source).await? {
            return Ok(Relayed::Different);
        }
        let told = source.told();
        return ending(client, all_choices(told, told.at_break(), asked), verdict).await;
    }
}

/// Sends what is ready. Whether it can't be sent, being of another answer.
async fn pass_on(client: &mut Client<'_>, source: &mut Source<'_>) -> Result<bool, Failure> {
    match source.take_ready() {
        Ok(ready) if ready.is_empty() => Ok(false),
        Ok(ready) => respond::write(client, &ready, false).await.map(|()| false),
        Err(Different) => Ok(true),
    }
}

/// What the end of a stream means, given that every choice that was asked for belongs to it. A server
/// that takes no note of their number says with its end mark that there are no more.
fn all_choices(told: &StreamState, ending: Ending, asked: &Outgoing) -> Ending {
    match ending {
        Ending::Lacks(_) if !told.has_choices(choices(told.format(), asked.body())) => Ending::Cut,
        ending => ending,
    }
}

/// The end of a stream that says no more: whatever has happened, if the answer was whole nothing is
/// missing but the end mark, and the client gets it. If it was not, `verdict` is on its target.
async fn ending(
    client: &mut Client<'_>,
    told: Ending,
    verdict: Verdict,
) -> Result<Relayed, Failure> {
    match told {
        Ending::Whole => Ok(Relayed::Complete { repaired: false }),
        Ending::Lacks(mark) => {
            let mark = Bytes::from_static(mark.as_bytes());
            respond::write(client, &mark, false).await?;
            Ok(Relayed::Complete { repaired: true })
        }
        Ending::Cut => Ok(Relayed::Broken(verdict)),
    }
}

/// Ends the body of a stream that is complete: with the upstream's trailers if it ends its own
/// within a moment, and then its connection can be used again; else without.
///
/// # Errors
/// `ClientGone` where nobody takes it.
pub(super) async fn end(client: &mut Client<'_>, mut exchange: Exchange) -> Result<(), Failure> {
    let rest = async {
        while let Some(_nothing_of_the_stream) = exchange.read().await? {}
        Ok::<_, ExchangeFault>(exchange.trailers().await)
    };
    let trailers = match client.wait(Some(Instant::now() + TO_END), rest).await {
        Ok(Ok(trailers)) => {
            exchange.finish();
            trailers
        }
        Ok(Err(_)) | Err(Interrupted::Deadline) => None,
        Err(Interrupted::ClientGone) => return Err(Failure::ClientGone),
    };
    match trailers {
        Some(trailers) => respond::end_with_trailers(client, trailers).await,
        None => respond::write(client, &Bytes::new(), true).await,
    }
}

/// Passes on an answer that is too large to be held, and tells what broke it off. It has begun, so
/// nothing can save it any more: then the client must see it cut.
///
/// # Errors
/// `ClientGone` where nobody takes it.
pub(super) async fn large(
    client: &mut Client<'_>,
    large: Large<'_>,
    deadline: impl Fn() -> Option<Instant>,
) -> Result<Result<(), ExchangeFault>, Failure> {
    let Large {
        mut exchange,
        begun,
        share,
    } = large;
    for piece in begun {
        respond::write(client, &piece, false).await?;
    }
    drop(share);
    loop {
        match client.wait(deadline(), exchange.read()).await {
            Ok(Ok(Some(piece))) => respond::write(client, &piece, false).await?,
            Ok(Ok(None)) => break,
            Ok(Err(fault)) => return Ok(Err(fault)),
            Err(Interrupted::Deadline) => return Ok(Err(ExchangeFault::IdleTimeout)),
            Err(Interrupted::ClientGone) => return Err(Failure::ClientGone),
        }
    }
    match exchange.trailers().await {
        Some(trailers) => respond::end_with_trailers(client, trailers).await?,
        None => respond::write(client, &Bytes::new(), true).await?,
    }
    exchange.finish();
    Ok(Ok(()))
}
