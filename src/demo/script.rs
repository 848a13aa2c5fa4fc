//! An answer of a provider, good or bad, as a list of steps: what is sent, when, and what goes
//! wrong. Pure; `providers` plays it on the wire.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

/// Between two pieces of a body. It also gives the server the time to send the one before: it
/// would drop what it still holds where a body breaks.
pub const GAP: Duration = Duration::from_millis(20);

/// What a provider does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Answers it.
    Answer(Answer),
    /// Closes the connection without a word.
    HangUp,
}

/// The head of an answer and the steps of its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// From the request's last byte to the answer's head.
    pub after: Duration,
    /// The status.
    pub status: StatusCode,
    /// Its `content-type`.
    pub content_type: &'static str,
    /// Its other headers.
    pub headers: Vec<(&'static str, &'static str)>,
    /// What `content-length` says, true or not; without it the body is sent in chunks.
    pub content_length: Option<usize>,
    /// The body.
    pub body: Vec<Step>,
}

/// One step of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// These bytes go out.
    Send(Bytes),
    /// Nothing happens for this long.
    Wait(Duration),
    /// Nothing happens any more; the connection stays open.
    Stall,
    /// The connection is reset.
    Reset,
}

impl Answer {
    /// An answer with a JSON body.
    pub fn json(status: StatusCode, body: Bytes) -> Self {
        Self {
            after: Duration::ZERO,
            status,
            content_type: "application/json",
            headers: Vec::new(),
            content_length: Some(body.len()),
            body: vec![Step::Send(body)],
        }
    }

    /// A stream of server-sent events, [`GAP`] apart.
    pub fn events(events: impl IntoIterator<Item = Bytes>) -> Self {
        let steps = events
            .into_iter()
            .flat_map(|event| [Step::Send(event), Step::Wait(GAP)]);
        Self {
            after: Duration::ZERO,
            status: StatusCode::OK,
            content_type: "text/event-stream; charset=utf-8",
            headers: vec![("cache-control", "no-cache")],
            content_length: None,
            body: steps.collect(),
        }
    }

    /// The same with one more header.
    pub fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The same, `after` its time.
    pub fn late(mut self, after: Duration) -> Self {
        self.after = after;
        self
    }

    /// The same with a body that ends at its middle: after half of the bytes, or of the events.
    /// What `content-length` says stays.
    pub fn halved(mut self) -> Self {
        if let [Step::Send(bytes)] = &mut self.body[..] {
            bytes.truncate(bytes.len() / 2);
            self.body.push(Step::Wait(GAP));
        } else {
            self.body.truncate(self.body.len().div_ceil(4) * 2);
        }
        self
    }

    /// The same with the first half of its body, and then a reset.
    pub fn breaking_midway(self) -> Self {
        let mut answer = self.halved();
        answer.body.push(Step::Reset);
        answer
    }

    /// The same with a body that goes silent: before its first byte, or after its first event.
    pub fn going_silent(mut self) -> Self {
        let kept = if self.content_length.is_some() { 0 } else { 1 };
        self.body.truncate(kept);
        self.body.push(Step::Stall);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(text: &'static str) -> Step {
        Step::Send(Bytes::from_static(text.as_bytes()))
    }

    fn plain() -> Answer {
        Answer::json(StatusCode::OK, Bytes::from_static(b"{\"a\": 1}"))
    }

    fn stream() -> Answer {
        Answer::events(["1", "2", "3", "4"].map(Bytes::from))
    }

    #[test]
    fn a_halved_body_ends_at_its_middle_and_still_claims_its_whole_length() {
        let answer = plain().halved();
        assert_eq!(answer.body, [send("{\"a\""), Step::Wait(GAP)]);
        assert_eq!(answer.content_length, Some(8));

        let wait = || Step::Wait(GAP);
        assert_eq!(
            stream().halved().body,
            [send("1"), wait(), send("2"), wait()]
        );
        assert_eq!(stream().breaking_midway().body.last(), Some(&Step::Reset));
    }

    #[test]
    fn a_body_goes_silent_before_its_first_byte_or_after_its_first_event() {
        assert_eq!(plain().going_silent().body, [Step::Stall]);
        assert_eq!(stream().going_silent().body, [send("1"), Step::Stall]);
    }
}
