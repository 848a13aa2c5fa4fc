//! A rescuer's events, made events of the stream that the client is reading.
//!
//! ```text
//! rescuer's event ──► read ──► text ──► Cutter ──► what is new of it
//!                       │                              │
//!                       └── the rest of the event ──► chat | messages ──► events to the client
//!                                                                             │
//!                                                   StreamState of the client ┘
//! ```
//!
//! - **One stream for the client**: its id and creation time, the role told once, one finish, one end.
//!   `model`, usage and everything else are the rescuer's, as it tells them.
//! - **A comment marks the seam**, before the first event that goes through.
//! - **What may be a repetition is held back** as text; the rest of its event is not sent either.
//!   Before anything else of the answer (a tool call, the finish) it is decided.
//! - **The client's [`StreamState`] goes with it**: it sees every event that is sent, so that a rescue
//!   that breaks can be rescued in turn, from what the client really has. What was held back then
//!   was never said.
//!
//! Whether the rescuer's own stream is in order is judged apart, by a [`StreamState`] of its own. The end
//! of a whole one leaves nothing held back; what the client's lacks then, its own says.

mod chat;
mod messages;
#[cfg(test)]
mod tests;

use super::overlap::{Cut, Cutter};
use crate::policy::Format;
use crate::provider::stream::{Meaning, StreamState, read};

/// The continuation is another answer: the client's stream can't go on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the continuation is another answer")]
pub struct Different;

/// Splices one rescuer's stream to what the client has.
#[derive(Clone, Debug)]
pub struct Splicer {
    client: StreamState,
    cutter: Cutter,
    model: Box<str>,
    seam: Option<String>,
    /// The start of a text block that has no text yet, and is not sent before (Anthropic).
    block_start: Option<String>,
}

impl Splicer {
    /// A splicer for a rescuer's stream from its first event on.
    ///
    /// `client` is what the client has, `trimmed` what the request for the continuation says of white
    /// space that was not shown to the model.
    pub fn new(client: StreamState, trimmed: usize, endpoint: &str, model: &str) -> Self {
        let name = format!("{endpoint}/{model}");
        let name = name.replace(|character: char| character.is_control(), " ");
        Self {
            cutter: Cutter::new(client.continuable().unwrap_or_default(), trimmed),
            client,
            model: model.into(),
            seam: Some(format!(": standin: continued by {name}\n\n")),
            block_start: None,
        }
    }

    /// Takes the rescuer's next event; what the client gets for it, if anything, is put behind `out`.
    ///
    /// # Errors
    /// The continuation turned out to be another answer; nothing of this event is sent.
    pub fn event(&mut self, name: &[u8], data: &[u8], out: &mut Vec<u8>) -> Result<(), Different> {
        if data.is_empty() {
            // A comment keeps the connection alive, whatever it says.
            out.extend_from_slice(b":\n\n");
            return Ok(());
        }
        let reading = read(self.client.format(), name, data);
        let Ok(text) = std::str::from_utf8(data) else {
            return Ok(());
        };
        match reading.meaning {
            Meaning::Malformed | Meaning::Error => Ok(()),
            _ if self.client.has_ended() => Ok(()),
            _ if self.client.format() == Format::Messages => self.messages(text, &reading, out),
            _ => self.chat(text, &reading, out),
        }
    }

    /// What the client has by now.
    pub fn client(&self) -> &StreamState {
        &self.client
    }

    /// What the client has, to end the stream or to have it rescued once more.
    pub fn into_client(self) -> StreamState {
        self.client
    }

    /// What of this text of the rescuer is new and certain to be.
    fn cut(&mut self, text: &str) -> Result<String, Different> {
        match self.cutter.push(text) {
            Cut::Hold => Ok(String::new()),
            Cut::Pass(text) => Ok(text.into_owned()),
            Cut::Different => Err(Different),
        }
    }

    /// The text that is held back, now that nothing more comes before it must be said.
    fn rest(&mut self) -> Result<String, Different> {
        match self.cutter.finish() {
            Cut::Hold => Ok(String::new()),
            Cut::Pass(text) => Ok(text.into_owned()),
            Cut::Different => Err(Different),
        }
    }

    /// Sends an event.
    fn send(&mut self, name: &str, data: &str, out: &mut Vec<u8>) {
        if let Some(seam) = self.seam.take() {
            out.extend_from_slice(seam.as_bytes());
        }
        if !name.is_empty() {
            out.extend_from_slice(format!("event: {name}\n").as_bytes());
        }
        for line in data.split('\n') {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
        }
        out.push(b'\n');
        self.client.observe(name.as_bytes(), data.as_bytes());
    }
}
