//! What is read of an answer before a byte of it goes to the client, so that a failure can still
//! go to the next target.
//!
//! | answer | held until |
//! |---|---|
//! | an error | it is whole, up to 64 KiB: its body decides more than its status |
//! | a success that is no stream | it is whole and, if JSON, well-formed, up to `limits.response_body` |
//! | a stream | its first event with content, up to 64 KiB |
//! | a stream of Amazon's binary events | its first bytes |
//!
//! What outgrows its bound is shown as it comes: by then it is most of an answer. So is an answer for which
//! there is no room any more among all that is held ([`held_bytes`](super::held_bytes)): then nothing is
//! known of its end, and it can't go to the next target. What a stream holds back is bounded by itself, and
//! not counted.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use pingora_http::ResponseHeader;
use tokio::time::Instant;

use super::admit::is_json;
use super::attempt::{Judged, Plan};
use super::client::{Client, Interrupted};
use super::coding;
use super::deadlines::Deadlines;
use super::exchange::Exchange;
use super::held_bytes::Share;
use super::judge::{ExchangeFault, Outcome, judge_error_event};
use super::sse::{Batch, Event, Splitter};
use crate::policy::Format;
use crate::provider::stream::{Meaning, StreamState, Usage};
use crate::provider::{Answer, inspect_answer, usage_at};

/// Bytes of an error's body, or of a stream before its first content, that are held at most.
const HELD_AT_MOST: usize = 64 << 10;

/// The part of an answer that has been read, and what there is to read of it.
pub(super) enum Held<'a> {
    /// All of it.
    Whole(Whole<'a>),
    /// The beginning of one that is larger than may be held.
    Large(Large<'a>),
    /// A stream up to its first content.
    Stream(Box<HeldStream>),
}

pub(super) struct Whole<'a> {
    pub(super) head: Box<ResponseHeader>,
    pub(super) body: Bytes,
    /// The body as it is without its content-encoding, where it has one that can be read.
    decoded: Option<Bytes>,
    cost: Cost,
    /// Given back when the client has the answer, as the memory is.
    _share: Share<'a>,
}

/// What a success says that it cost.
enum Cost {
    /// It is told at this place of the body.
    At(Range<usize>),
    Read(Usage),
}

pub(super) struct Large<'a> {
    pub(super) exchange: Exchange,
    pub(super) begun: Vec<Bytes>,
    /// What is held of it; none where that is a read at most.
    pub(super) share: Option<Share<'a>>,
}

/// What decides about a stream that is held back.
pub(super) enum Decisive {
    /// Something of the answer, or its finish: it may be shown.
    Content,
    /// It may not.
    Error(ErrorEvent),
}

/// An error that an upstream tells of in its stream.
pub(super) struct ErrorEvent {
    pub(super) data: Box<[u8]>,
    /// The event, and what was read behind it.
    bytes: Bytes,
}

/// A stream whose next bytes are `ready` to be sent.
pub(super) struct HeldStream {
    pub(super) exchange: Exchange,
    pub(super) splitter: Splitter,
    pub(super) state: StreamState,
    /// In order; nearly always one piece, a slice of what was read.
    pub(super) ready: Vec<Bytes>,
    /// When its first content was read.
    pub(super) first_content: Option<Instant>,
    /// It refuses the request, which is the client's fault: it passes as it is, and nobody else is
    /// asked.
    pub(super) refuses: bool,
    /// The upstream has nothing more to say.
    pub(super) ended: bool,
}

impl Held<'_> {
    pub(super) const fn head(&self) -> &ResponseHeader {
        match self {
            Self::Whole(whole) => &whole.head,
            Self::Large(large) => &large.exchange.head,
            Self::Stream(stream) => &stream.exchange.head,
        }
    }

    /// The body of an error, where all of it is here.
    pub(super) fn error_body(&self) -> Option<&[u8]> {
        match self {
            Self::Whole(whole) if !whole.head.status.is_success() => {
                Some(whole.decoded.as_ref().unwrap_or(&whole.body))
            }
            _ => None,
        }
    }
}

/// Reads as much of an answer as is needed to judge it.
///
/// # Errors
/// The verdict where it breaks, stalls, or turns out to be an error or none at all; or that the
/// client has left.
pub(super) async fn hold<'a>(
    client: &mut Client<'_>,
    exchange: Exchange,
    plan: &Plan<'a>,
    deadlines: &Deadlines,
) -> Result<Held<'a>, Judged> {
    let media = Media::of(&exchange.head.headers);
    match media.kind {
        Kind::Events if exchange.head.status.is_success() => {
            return hold_stream(client, exchange, plan, deadlines).await;
        }
        Kind::AmazonEvents if exchange.head.status.is_success() => {
            return hold_first(client, exchange, deadlines).await;
        }
        _ => {}
    }
    let limit = if exchange.head.status.is_success() {
        plan.table.snapshot.limits.response_body
    } else {
        HELD_AT_MOST
    };
    hold_whole(client, exchange, media, plan, limit, deadlines).await
}

/// What an answer says that it is.
#[derive(Clone, Copy)]
struct Media {
    kind: Kind,
    /// In some content-encoding.
    coded: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Server-sent events.
    Events,
    /// Amazon's binary events, which are not read: they go to the client from their first bytes on.
    AmazonEvents,
    Json,
    Other,
}

impl Media {
    /// By the first header of each name, in one look at all of them.
    fn of(headers: &HeaderMap) -> Self {
        let (mut kind, mut coding) = (None, None);
        for (name, value) in headers {
            if *name == header::CONTENT_TYPE {
                kind.get_or_insert(value.as_bytes());
            } else if *name == header::CONTENT_ENCODING {
                coding.get_or_insert(value.as_bytes());
            }
        }
        Self {
            kind: kind.map_or(Kind::Other, Kind::of),
            coded: coding.is_some_and(|coding| coding::said(coding).is_some()),
        }
    }
}

impl Kind {
    fn of(media_type: &[u8]) -> Self {
        let events = b"text/event-stream";
        let begins = media_type.split_at_checked(events.len());
        if begins.is_some_and(|(name, _)| name.eq_ignore_ascii_case(events)) {
            Self::Events
        } else if media_type.starts_with(b"application/vnd.amazon.eventstream") {
            Self::AmazonEvents
        } else if is_json(media_type) {
            Self::Json
        } else {
            Self::Other
        }
    }
}

/// Holds a stream that can't be read until something of it is here.
async fn hold_first(
    client: &mut Client<'_>,
    mut exchange: Exchange,
    deadlines: &Deadlines,
) -> Result<Held<'static>, Judged> {
    let deadline = Some(deadlines.first_content());
    match client.wait(deadline, exchange.read()).await {
        Ok(Ok(Some(piece))) => Ok(Held::Large(Large {
            exchange,
            begun: vec![piece],
            share: None,
        })),
        Ok(Ok(None)) => Err(ExchangeFault::EmptyStream.into()),
        Ok(Err(fault)) => Err(fault.into()),
        Err(Interrupted::ClientGone) => Err(Judged::ClientGone),
        Err(Interrupted::Deadline) => {
            let fault = ExchangeFault::FirstTokenTimeout;
            Err(Judged::Verdict(deadlines.missed(fault)))
        }
    }
}

async fn hold_whole<'a>(
    client: &mut Client<'_>,
    mut exchange: Exchange,
    media: Media,
    plan: &Plan<'a>,
    limit: usize,
    deadlines: &Deadlines,
) -> Result<Held<'a>, Judged> {
    let promised = exchange.body_left();
    let mut share = plan.table.held_bytes().share();
    if promised.is_some_and(|promised| promised > limit as u64) {
        return Ok(Held::Large(Large {
            exchange,
            begun: Vec::new(),
            share: None,
        }));
    }
    let of_all = plan.table.snapshot.limits.buffered_bodies;
    // What has come with its head is not waited for.
    if let Some(body) = exchange.take_body() {
        if share.grow(body.len(), of_all).is_err() {
            return Ok(Held::Large(Large {
                exchange,
                begun: vec![body],
                share: Some(share),
            }));
        }
        return show(exchange, media, body, share, plan, limit);
    }
    let mut begun: Vec<Bytes> = Vec::new();
    let deadline = Some(deadlines.whole());
    loop {
        let piece = match client.wait(deadline, exchange.read()).await {
            Ok(read) => read?,
            Err(Interrupted::ClientGone) => return Err(Judged::ClientGone),
            Err(Interrupted::Deadline) => {
                return Err(Judged::Verdict(deadlines.missed(ExchangeFault::Timeout)));
            }
        };
        let Some(piece) = piece else { break };
        let grown = share.grow(piece.len(), of_all);
        begun.push(piece);
        if grown.is_err() || share.bytes() > limit {
            return Ok(Held::Large(Large {
                exchange,
                begun,
                share: Some(share),
            }));
        }
    }
    show(exchange, media, joined(&mut begun), share, plan, limit)
}

/// An answer that is here to its end, if it can be shown: a success that is JSON must be well-formed, and no
/// error in disguise.
fn show<'a>(
    exchange: Exchange,
    media: Media,
    body: Bytes,
    share: Share<'a>,
    plan: &Plan<'a>,
    limit: usize,
) -> Result<Held<'a>, Judged> {
    let head = exchange.finish();
    let mut decoded = None;
    if media.coded {
        decoded = match coding::decode(&head.headers, &body, limit) {
            Err(coding::Broken) if head.status.is_success() => {
                return Err(ExchangeFault::Malformed.into());
            }
            decoded => decoded.unwrap_or_default(),
        };
    }
    let mut whole = Whole {
        head,
        body,
        decoded,
        cost: Cost::Read(Usage::default()),
        _share: share,
    };
    if whole.head.status.is_success() {
        match whole.inspect(media) {
            Answer::Complete => {}
            Answer::Malformed => return Err(ExchangeFault::Malformed.into()),
            Answer::Error => {
                let verdict = judge_error_event(&plan.policy.failover_on, whole.text());
                if verdict.outcome != Outcome::ClientFault {
                    return Err(Judged::Verdict(verdict));
                }
            }
        }
    }
    Ok(Held::Whole(whole))
}

impl Whole<'_> {
    /// It is judged: nobody looks any more at what was decoded for that, which may be much longer than the body
    /// and is counted nowhere.
    pub(super) fn forget_decoded(&mut self) {
        if self.decoded.is_some() {
            self.cost = Cost::Read(self.usage());
            self.decoded = None;
        }
    }

    /// What it cost, as far as it tells. To be asked when the client has the answer, which needn't wait for it.
    pub(super) fn usage(&self) -> Usage {
        match &self.cost {
            Cost::At(place) => usage_at(self.text(), place.clone()),
            Cost::Read(usage) => *usage,
        }
    }

    /// The body without its content-encoding, where that can be read.
    fn text(&self) -> &[u8] {
        self.decoded.as_ref().unwrap_or(&self.body)
    }

    /// Whether an answer that says it is JSON is, and is no error in disguise. What says nothing of
    /// the kind is taken as it is, as is one in a content-encoding that can't be read.
    fn inspect(&mut self, media: Media) -> Answer {
        let unreadable = media.coded && self.decoded.is_none();
        let empty = self.head.status == StatusCode::NO_CONTENT;
        if media.kind != Kind::Json || unreadable || empty {
            return Answer::Complete;
        }
        let (answer, place) = inspect_answer(self.text());
        if let Some(place) = place {
            self.cost = Cost::At(place);
        }
        answer
    }
}

/// All pieces in one, taken from where they are; a single one as it is.
pub(super) fn joined(pieces: &mut Vec<Bytes>) -> Bytes {
    if pieces.len() <= 1 {
        return pieces.pop().unwrap_or_default();
    }
    let mut whole = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    for piece in pieces.drain(..) {
        whole.extend_from_slice(&piece);
    }
    whole.freeze()
}

async fn hold_stream(
    client: &mut Client<'_>,
    exchange: Exchange,
    plan: &Plan<'_>,
    deadlines: &Deadlines,
) -> Result<Held<'static>, Judged> {
    let mut stream = Box::new(HeldStream::new(exchange, plan.format));
    let deadline = Some(deadlines.first_content());
    loop {
        let read = match client.wait(deadline, stream.exchange.read()).await {
            Ok(read) => read?,
            Err(Interrupted::ClientGone) => return Err(Judged::ClientGone),
            Err(Interrupted::Deadline) => {
                let fault = ExchangeFault::FirstTokenTimeout;
                return Err(Judged::Verdict(deadlines.missed(fault)));
            }
        };
        match stream.take(read) {
            Some(Decisive::Error(event)) => {
                let verdict = judge_error_event(&plan.policy.failover_on, &event.data);
                if verdict.outcome != Outcome::ClientFault {
                    return Err(Judged::Verdict(verdict));
                }
                stream.refuse(event);
                return Ok(Held::Stream(stream));
            }
            Some(Decisive::Content) => return Ok(Held::Stream(stream)),
            None if stream.ended || stream.state.has_ended() => {
                return Err(ExchangeFault::EmptyStream.into());
            }
            None if stream.ready.iter().map(Bytes::len).sum::<usize>() > HELD_AT_MOST => {
                return Ok(Held::Stream(stream));
            }
            None => {}
        }
    }
}

impl HeldStream {
    fn new(exchange: Exchange, format: Format) -> Self {
        let mut splitter = Splitter::new();
        if coding::is_coded(&exchange.head.headers) {
            // Asked for uncompressed, sent compressed: its events can't be told.
            splitter.stop();
        }
        Self {
            exchange,
            splitter,
            state: StreamState::new(format),
            ready: Vec::new(),
            first_content: None,
            refuses: false,
            ended: false,
        }
    }

    /// Takes one read (`None`: the end), and makes of it what is `ready` to be sent. Tells the first
    /// event in it that decides something; an error ends the stream.
    pub(super) fn take(&mut self, read: Option<Bytes>) -> Option<Decisive> {
        let batch = match read {
            Some(read) => self.splitter.push(read),
            None => {
                self.ended = true;
                self.splitter.finish()
            }
        };
        let decisive = if self.splitter.is_opaque() {
            self.state.lose_track();
            let read_any = !batch.bytes.is_empty();
            self.make_ready(batch.bytes);
            read_any.then_some(Decisive::Content)
        } else {
            self.read_events(batch)
        };
        if matches!(decisive, Some(Decisive::Content)) {
            self.first_content.get_or_insert_with(Instant::now);
        }
        decisive
    }

    fn read_events(&mut self, batch: Batch) -> Option<Decisive> {
        let mut decisive = None;
        // Up to here the batch's bytes are accounted for.
        let mut taken = 0;
        for event in batch.events() {
            let meaning = self.meaning(&event);
            // Behind the last whole event: what is left of one that was cut.
            let rest = self.ended && event.data.is_empty();
            match meaning {
                Meaning::Error => {
                    self.make_ready(batch.bytes.slice(taken..event.range.start));
                    return Some(Decisive::Error(ErrorEvent {
                        data: event.data.into(),
                        bytes: batch.bytes.slice(event.range.start..),
                    }));
                }
                Meaning::Malformed => {
                    log::warn!(
                        "an event of a stream is no valid JSON, or no text, and was dropped"
                    );
                    self.make_ready(batch.bytes.slice(taken..event.range.start));
                    taken = event.range.end;
                }
                _ if rest => taken = event.range.end,
                meaning if meaning.commits() => decisive = Some(Decisive::Content),
                _ => {}
            }
        }
        self.make_ready(match taken {
            0 => batch.bytes,
            taken => batch.bytes.slice(taken..),
        });
        decisive
    }

    fn meaning(&mut self, event: &Event<'_>) -> Meaning {
        // Of an unknown format nothing is known to be wrong.
        if event.garbled && self.state.format() != Format::Other {
            self.state.drop_event();
            return Meaning::Malformed;
        }
        self.state.observe(event.name, &event.data)
    }

    /// The stream is a refusal: from this event on it goes to the client as it is.
    fn refuse(&mut self, event: ErrorEvent) {
        self.refuses = true;
        self.make_ready(event.bytes);
        let unfinished = self.splitter.stop();
        self.make_ready(unfinished);
        self.state.lose_track();
    }

    fn make_ready(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.ready.push(bytes);
        }
    }
}
