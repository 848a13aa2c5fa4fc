//! Chunks of chat completions.

use serde_json::json;

use super::super::json::{Object, items, list, string};
use super::{Different, Splicer};
use crate::provider::stream::{Meaning, Reading, Usage};

impl Splicer {
    pub(super) fn chat(
        &mut self,
        data: &str,
        reading: &Reading<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Different> {
        if reading.meaning == Meaning::Done {
            let rest = self.rest()?;
            self.say_in_chunk(&rest, out);
            self.send("", data, out);
            return Ok(());
        }
        let finishes = reading.finished != 0;
        let mut text = self.cut(&reading.text)?;
        if finishes || reading.obstacle.is_some() {
            text += &self.rest()?;
        }
        let tells_usage = reading.usage != Usage::default();
        let Some(mut chunk) = Object::parse(data) else {
            return Ok(());
        };
        if self.client.is_finished() {
            // Only usage may follow the finish.
            if tells_usage {
                chunk.set("choices", "[]");
                self.adopt(&mut chunk);
                self.send("", &chunk.to_string(), out);
            }
            return Ok(());
        }
        let says_more = reading.reasoning || reading.obstacle.is_some() || finishes || tells_usage;
        if says_more || !text.is_empty() {
            self.adopt(&mut chunk);
            self.replace_text(&mut chunk, &reading.text, &text);
            self.send("", &chunk.to_string(), out);
        }
        Ok(())
    }

    /// Says a text that no chunk of the rescuer's carries.
    fn say_in_chunk(&mut self, text: &str, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        let choice = json!({"index": 0, "delta": {"content": text}, "finish_reason": null});
        let mut chunk = Object::default();
        chunk.set("object", string("chat.completion.chunk"));
        chunk.set("model", string(&self.model));
        chunk.set("choices", list(&[choice.to_string()]));
        self.adopt(&mut chunk);
        self.send("", &chunk.to_string(), out);
    }

    /// The chunk becomes one of the client's stream.
    fn adopt(&self, chunk: &mut Object) {
        if let Some(id) = self.client.id() {
            chunk.set("id", string(id));
        }
        if let Some(created) = self.client.created() {
            chunk.set("created", created.to_string());
        }
    }

    /// Puts the `new` text in the place of the `old`, and takes away the role where it is known.
    fn replace_text(&self, chunk: &mut Object, old: &str, new: &str) {
        let Some(mut choices) = chunk.get("choices").and_then(items) else {
            return;
        };
        let Some(mut choice) = choices.first().and_then(|choice| Object::parse(choice)) else {
            return;
        };
        let mut delta = choice.get_as::<Object>("delta").unwrap_or_default();
        if self.client.has_role() {
            delta.remove("role");
        }
        if !new.is_empty() {
            delta.set("content", string(new));
        } else if !old.is_empty() {
            delta.remove("content");
        }
        choice.set("delta", delta.to_string());
        choices[0] = choice.to_string();
        chunk.set("choices", list(&choices));
    }
}
