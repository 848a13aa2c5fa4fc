//! Events of Anthropic's Messages API.
//!
//! Text goes on in the block that is open at the client, if that is a text block; else in a new one.
//! Blocks follow each other, so that an event is always about the one that is open, and indices go on
//! where the client's are. A text block is started with its first text: of one whose text was all
//! repetition the client never learns, since an empty one would be refused in its next request.

use serde_json::json;

use super::super::json::{Object, string};
use super::{Different, Splicer};
use crate::provider::stream::{BlockKind, BlockStep, Meaning, Reading};

impl Splicer {
    pub(super) fn messages(
        &mut self,
        data: &str,
        reading: &Reading<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Different> {
        match reading.block {
            Some(BlockStep::Start(_, BlockKind::Text)) => {
                if !self.is_in_text() {
                    self.block_start = Some(data.to_owned());
                }
                let text = self.cut(&reading.text)?;
                self.say(&text, out);
            }
            Some(BlockStep::Start(..)) => {
                self.say_rest(out)?;
                self.start_block(data, out);
            }
            Some(BlockStep::Delta(_)) if !reading.text.is_empty() => {
                let text = self.cut(&reading.text)?;
                self.say(&text, out);
            }
            Some(BlockStep::Delta(_)) => {
                if self.block_start.is_none() {
                    self.in_open_block("content_block_delta", data, out);
                }
            }
            Some(BlockStep::Stop(_)) => {
                self.say_rest(out)?;
                self.block_start = None;
                self.in_open_block("content_block_stop", data, out);
            }
            None => self.about_message(data, reading, out)?,
        }
        Ok(())
    }

    /// An event that is not about a block.
    fn about_message(
        &mut self,
        data: &str,
        reading: &Reading<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Different> {
        // The message was started long ago, and it is finished once.
        let finishes = reading.finished != 0;
        let again = finishes && !reading.ends && self.client.is_finished();
        if reading.role || again || reading.meaning == Meaning::Done {
            return Ok(());
        }
        if finishes {
            self.say_rest(out)?;
            self.stop_block(out);
        }
        let event = Object::parse(data).unwrap_or_default();
        let name = event.get_as::<String>("type").unwrap_or_default();
        self.send(&name, data, out);
        Ok(())
    }

    /// Says a text, in a block of its own where none is open for it.
    fn say(&mut self, text: &str, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        if !self.is_in_text() {
            let start = json!({
                "type": "content_block_start",
                "content_block": {"type": "text", "text": ""},
            });
            let start = self.block_start.take().unwrap_or_else(|| start.to_string());
            self.start_block(&without_text(&start), out);
        }
        let delta = json!({
            "type": "content_block_delta",
            "delta": {"type": "text_delta", "text": text},
        });
        self.in_open_block("content_block_delta", &delta.to_string(), out);
    }

    fn say_rest(&mut self, out: &mut Vec<u8>) -> Result<(), Different> {
        let rest = self.rest()?;
        self.say(&rest, out);
        Ok(())
    }

    fn is_in_text(&self) -> bool {
        matches!(self.client.open_block(), Some((_, BlockKind::Text)))
    }

    fn start_block(&mut self, data: &str, out: &mut Vec<u8>) {
        self.stop_block(out);
        let index = self.client.next_block();
        self.send("content_block_start", &with_index(data, index), out);
    }

    fn stop_block(&mut self, out: &mut Vec<u8>) {
        self.in_open_block(
            "content_block_stop",
            "{\"type\":\"content_block_stop\"}",
            out,
        );
    }

    /// Sends an event about the block that is open at the client; nothing where none is.
    fn in_open_block(&mut self, name: &str, data: &str, out: &mut Vec<u8>) {
        if let Some((index, _)) = self.client.open_block() {
            self.send(name, &with_index(data, index), out);
        }
    }
}

fn with_index(data: &str, index: u64) -> String {
    let mut event = Object::parse(data).unwrap_or_default();
    event.set("index", index.to_string());
    event.to_string()
}

/// The start of a text block whose text is still to come.
fn without_text(data: &str) -> String {
    let mut event = Object::parse(data).unwrap_or_default();
    let mut block = event.get_as::<Object>("content_block").unwrap_or_default();
    block.set("text", string(""));
    event.set("content_block", block.to_string());
    event.to_string()
}
