//! What the embedded models say: fixed texts, and their words as tokens. Pure.
//!
//! The text depends on the question alone, never on the model, so that one model can go on where
//! another broke off; who answered is in the answer's `model`. Nothing of a prompt is repeated.
//!
//! A conversation that ends with the beginning of the right text as an assistant message (a
//! prefill), or with that and one more user message (a request to go on), is answered with the
//! rest of the text, as a real model would.

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The question of the original's try-out.
pub const PAINTER_QUESTION: &str = "Who is the most renowned French painter?";

const PAINTER_TEXT: &str = "Claude Monet is the French painter whom most people would name first: \
    he founded Impressionism, and his Water Lilies and Impression, Sunrise are known all over the \
    world. (This is a fixed text of the demo's provider. No model was asked.)";

const OTHER_TEXT: &str = "This is a provider of the demo. It has one fixed text, this one, for \
    every question but that of the French painter, and no model was asked. What is real is the \
    way that your request took: its attempts are in the x-standin headers of this answer.";

/// A message of a chat, as far as it is looked at here.
#[derive(Debug, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, …
    pub role: String,
    #[serde(default)]
    content: Value,
    /// Mistral's mark of an assistant message that is to be continued.
    #[serde(default)]
    pub prefix: bool,
}

impl Message {
    /// The text of a content that is a string or a list of parts.
    fn text(&self) -> String {
        match &self.content {
            Value::String(text) => text.clone(),
            Value::Array(parts) => parts
                .iter()
                .filter_map(|part| part["text"].as_str())
                .collect(),
            _ => String::new(),
        }
    }

    fn is_from(&self, role: &str) -> bool {
        self.role == role
    }
}

/// What a model says to a conversation: the text, or the rest of it.
pub fn answer_to(messages: &[Message]) -> &'static str {
    if let Some((before, partial)) = unfinished(messages)
        && let Some(rest) = text_for(before).strip_prefix(partial.as_str())
        && !rest.is_empty()
    {
        return rest;
    }
    text_for(messages)
}

/// The last assistant message and what stood before it, where at most one message follows it.
fn unfinished(messages: &[Message]) -> Option<(&[Message], String)> {
    let at = messages
        .iter()
        .rposition(|message| message.is_from("assistant"))?;
    let (before, after) = messages.split_at(at);
    (after.len() <= 2).then(|| (before, after[0].text()))
}

/// The whole text for the last question.
fn text_for(messages: &[Message]) -> &'static str {
    let question = messages
        .iter()
        .rfind(|message| message.is_from("user"))
        .map(Message::text);
    let is_painter_question = question.is_some_and(|question| {
        let bare = |text: &str| text.trim().trim_end_matches('?').to_lowercase();
        bare(&question) == bare(PAINTER_QUESTION)
    });
    if is_painter_question {
        PAINTER_TEXT
    } else {
        OTHER_TEXT
    }
}

/// A text as a stream gives it: word by word, each with the space before it.
pub fn tokens(text: &str) -> Vec<&str> {
    let mut starts: Vec<usize> = text.match_indices(' ').map(|(at, _)| at).collect();
    if starts.first() != Some(&0) {
        starts.insert(0, 0);
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(&start, end)| &text[start..end])
        .collect()
}

/// How many words there are: what the demo counts as tokens.
pub fn count_words(text: &str) -> usize {
    text.split_whitespace().count()
}

/// The words of a whole conversation.
pub fn count_prompt_words(messages: &[Message]) -> usize {
    messages
        .iter()
        .map(|message| count_words(&message.text()))
        .sum()
}

/// A small vector of length 1 that is always the same for the same text.
pub fn embedding_of(text: &str) -> Vec<f32> {
    const DIMENSIONS: usize = 8;
    let digest = Sha256::digest(text);
    let raw: Vec<f32> = digest
        .iter()
        .take(DIMENSIONS)
        .map(|&byte| f32::from(byte) - 127.5)
        .collect();
    let length = raw.iter().map(|value| value * value).sum::<f32>().sqrt();
    raw.iter().map(|value| value / length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(turns: &[(&str, &str)]) -> Vec<Message> {
        turns
            .iter()
            .map(|(role, text)| Message {
                role: (*role).to_owned(),
                content: Value::String((*text).to_owned()),
                prefix: false,
            })
            .collect()
    }

    #[test]
    fn the_painter_question_has_its_text_and_every_other_the_other() {
        for question in [
            PAINTER_QUESTION,
            "who is the most renowned french painter",
            " Who is the most renowned French painter?\n",
        ] {
            assert_eq!(
                answer_to(&conversation(&[("user", question)])),
                PAINTER_TEXT
            );
        }
        for turns in [
            &[("user", "Who is the most renowned Dutch painter?")] as &[_],
            &[("system", PAINTER_QUESTION)],
            &[
                ("user", PAINTER_QUESTION),
                ("assistant", PAINTER_TEXT),
                ("user", "And then?"),
            ],
            &[],
        ] {
            assert_eq!(answer_to(&conversation(turns)), OTHER_TEXT, "{turns:?}");
        }
        assert!(PAINTER_TEXT.contains("fixed text") && OTHER_TEXT.contains("fixed text"));
    }

    #[test]
    fn a_partial_answer_is_continued() {
        let (sent, rest) = PAINTER_TEXT.split_at(50);
        let asked = ("user", PAINTER_QUESTION);
        for turns in [
            &[asked, ("assistant", sent)] as &[_],
            &[asked, ("assistant", sent), ("user", "Go on exactly there.")],
            &[
                ("user", "Hello"),
                ("assistant", OTHER_TEXT),
                asked,
                ("assistant", sent),
            ],
        ] {
            assert_eq!(answer_to(&conversation(turns)), rest, "{turns:?}");
        }
        let foreign = [asked, ("assistant", "It is Claude Monet")];
        assert_eq!(answer_to(&conversation(&foreign)), PAINTER_TEXT);
    }

    #[test]
    fn a_content_may_be_a_list_of_parts() {
        let message: Message = serde_json::from_value(serde_json::json!({
            "role": "user",
            "content": [{"type": "text", "text": PAINTER_QUESTION}, {"type": "image_url"}],
        }))
        .unwrap();
        assert_eq!(answer_to(&[message]), PAINTER_TEXT);
    }

    #[test]
    fn tokens_put_together_are_the_text() {
        for text in [PAINTER_TEXT, OTHER_TEXT, " a b", "a", "", "a  b "] {
            assert_eq!(tokens(text).concat(), text);
        }
        assert_eq!(tokens("Claude Monet is"), ["Claude", " Monet", " is"]);
        assert_eq!(tokens(" is known"), [" is", " known"]);
    }

    #[test]
    fn an_embedding_is_deterministic_and_of_length_one() {
        let vector = embedding_of("Monet");
        assert_eq!(vector, embedding_of("Monet"));
        assert_ne!(vector, embedding_of("Manet"));
        let length: f32 = vector.iter().map(|value| value * value).sum();
        assert!((length - 1.0).abs() < 1e-5);
    }
}
