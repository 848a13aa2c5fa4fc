//! The JSON that the imitated providers send, field by field and in their order. Pure.
//!
//! Token counts are counts of words. `OpenAI`'s `system_fingerprint` says so; Mistral's answers
//! have no field that could.

use bytes::Bytes;
use serde::Serialize;

use super::answers::{count_words, embedding_of};
use super::models::Flavour;

const FINGERPRINT: &str = "fp_demo_counts_words_as_tokens";

/// When the models were made, for the lists of models: seconds since 1970.
const MODELS_CREATED: u64 = 1_735_689_600;

/// What makes one answer different from the next.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// Counts the answers of a provider.
    pub number: u64,
    /// When it is given, in seconds since 1970.
    pub created: u64,
}

impl Stamp {
    fn id(self, flavour: Flavour) -> String {
        match flavour {
            Flavour::OpenAi => format!("chatcmpl-demo{:08}", self.number),
            Flavour::Mistral => format!("{:032x}", self.number),
        }
    }
}

/// How many tokens (here: words) were read and written.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
}

impl Usage {
    /// The counts and their sum.
    pub const fn new(prompt_tokens: usize, completion_tokens: usize) -> Self {
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
        }
    }
}

/// One chat answer: what its JSON body, or each chunk of its stream, says of it.
#[derive(Clone, Debug)]
pub struct Chat<'a> {
    /// Whose shape it has.
    pub flavour: Flavour,
    /// The model that answers.
    pub model: &'a str,
    /// Which answer it is.
    pub stamp: Stamp,
    /// What it cost.
    pub usage: Usage,
    /// Whether the stream is to end with the usage (`stream_options.include_usage`).
    pub include_usage: bool,
}

impl Chat<'_> {
    /// The body of an answer that is no stream.
    pub fn completion(&self, text: &str) -> Bytes {
        let choice = Choice {
            index: 0,
            message: AssistantMessage {
                role: "assistant",
                content: text,
            },
            finish_reason: "stop",
        };
        to_json(&self.envelope("chat.completion", &[choice], Some(Some(self.usage))))
    }

    /// The first event: it names the role and has no content yet.
    pub fn role_event(&self) -> Bytes {
        self.event(
            Delta {
                role: Some("assistant"),
                content: Some(""),
            },
            None,
        )
    }

    /// An event with a piece of the text.
    pub fn content_event(&self, content: &str) -> Bytes {
        self.event(
            Delta {
                role: None,
                content: Some(content),
            },
            None,
        )
    }

    /// The event with the finish reason. Mistral puts the usage in it, asked or not.
    pub fn finish_event(&self) -> Bytes {
        match self.flavour {
            Flavour::OpenAi => self.event(Delta::default(), Some("stop")),
            Flavour::Mistral => self.event(
                Delta {
                    role: None,
                    content: Some(""),
                },
                Some("stop"),
            ),
        }
    }

    /// `OpenAI`'s event after that, without choices, where the usage was asked for.
    pub fn usage_event(&self) -> Option<Bytes> {
        let wanted = self.flavour == Flavour::OpenAi && self.include_usage;
        wanted.then(|| self.chunk(&[], Some(Some(self.usage))))
    }

    fn event(&self, delta: Delta<'_>, finish_reason: Option<&'static str>) -> Bytes {
        let usage = match self.flavour {
            Flavour::OpenAi => self.include_usage.then_some(None),
            Flavour::Mistral => finish_reason.map(|_| Some(self.usage)),
        };
        self.chunk(
            &[ChunkChoice {
                index: 0,
                delta,
                finish_reason,
            }],
            usage,
        )
    }

    fn chunk(&self, choices: &[ChunkChoice<'_>], usage: Option<Option<Usage>>) -> Bytes {
        let json = to_json(&self.envelope("chat.completion.chunk", choices, usage));
        [b"data: ", &json[..], b"\n\n"].concat().into()
    }

    fn envelope<'c, C>(
        &'c self,
        object: &'static str,
        choices: &'c [C],
        usage: Option<Option<Usage>>,
    ) -> Envelope<'c, C> {
        Envelope {
            id: self.stamp.id(self.flavour),
            object,
            created: self.stamp.created,
            model: self.model,
            system_fingerprint: (self.flavour == Flavour::OpenAi).then_some(FINGERPRINT),
            choices,
            usage,
        }
    }
}

/// The last event of every whole stream.
pub const DONE_EVENT: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

/// What a plain answer and a chunk have in common.
#[derive(Serialize)]
struct Envelope<'a, C> {
    id: String,
    object: &'static str,
    created: u64,
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_fingerprint: Option<&'static str>,
    choices: &'a [C],
    /// Absent, `null`, or there.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    message: AssistantMessage<'a>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct AssistantMessage<'a> {
    role: &'static str,
    content: &'a str,
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: u32,
    delta: Delta<'a>,
    finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

/// The provider's list of models.
pub fn model_list(flavour: Flavour) -> Bytes {
    let models = flavour.models().iter().map(|(id, _)| Model {
        id,
        object: "model",
        created: MODELS_CREATED,
        owned_by: flavour.owner(),
    });
    to_json(&List {
        object: "list",
        data: models.collect(),
        model: None,
        usage: None,
    })
}

/// The answer to a request for embeddings of `inputs`.
pub fn embedding_list(model: &str, inputs: &[String]) -> Bytes {
    let embeddings = inputs.iter().enumerate().map(|(index, input)| Embedding {
        object: "embedding",
        index,
        embedding: embedding_of(input),
    });
    let words = inputs.iter().map(|input| count_words(input)).sum();
    to_json(&List {
        object: "list",
        data: embeddings.collect(),
        model: Some(model),
        usage: Some(EmbeddingUsage {
            prompt_tokens: words,
            total_tokens: words,
        }),
    })
}

#[derive(Serialize)]
struct List<'a, T> {
    object: &'static str,
    data: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<EmbeddingUsage>,
}

#[derive(Serialize)]
struct Model {
    id: &'static str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

#[derive(Serialize)]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: Vec<f32>,
}

#[derive(Serialize)]
struct EmbeddingUsage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// A value of this folder as JSON. Its types have string keys only and no map that could fail:
/// an empty body is what a mistake here would look like.
pub fn to_json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn chat(flavour: Flavour, include_usage: bool) -> Chat<'static> {
        Chat {
            flavour,
            model: "m",
            stamp: Stamp {
                number: 7,
                created: 1_700_000_000,
            },
            usage: Usage::new(7, 2),
            include_usage,
        }
    }

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_completion_has_its_fields_in_the_order_of_openai() {
        assert_eq!(
            text(&chat(Flavour::OpenAi, false).completion("Claude Monet")),
            concat!(
                r#"{"id":"chatcmpl-demo00000007","object":"chat.completion","created":1700000000,"#,
                r#""model":"m","system_fingerprint":"fp_demo_counts_words_as_tokens","choices":"#,
                r#"[{"index":0,"message":{"role":"assistant","content":"Claude Monet"},"#,
                r#""finish_reason":"stop"}],"#,
                r#""usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}"#,
            )
        );
    }

    #[test]
    fn an_event_of_mistral_has_an_id_of_its_own_and_no_fingerprint() {
        assert_eq!(
            text(&chat(Flavour::Mistral, true).content_event(" Monet")),
            concat!(
                r#"data: {"id":"00000000000000000000000000000007","object":"chat.completion.chunk","#,
                r#""created":1700000000,"model":"m","choices":"#,
                r#"[{"index":0,"delta":{"content":" Monet"},"finish_reason":null}]}"#,
                "\n\n",
            )
        );
    }

    #[test]
    fn the_usage_of_a_stream_comes_in_each_provider_s_way() {
        let usage = json!({"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9});
        let parse = |event: &Bytes| -> Value {
            serde_json::from_str(text(event).strip_prefix("data: ").unwrap()).unwrap()
        };

        let unasked = chat(Flavour::OpenAi, false);
        assert_eq!(parse(&unasked.finish_event()).get("usage"), None);
        assert_eq!(unasked.usage_event(), None);

        let asked = chat(Flavour::OpenAi, true);
        assert_eq!(
            parse(&asked.finish_event()).get("usage"),
            Some(&Value::Null)
        );
        let last = parse(&asked.usage_event().unwrap());
        assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &usage));

        let mistral = chat(Flavour::Mistral, false);
        assert_eq!(parse(&mistral.content_event("x")).get("usage"), None);
        assert_eq!(parse(&mistral.finish_event())["usage"], usage);
        assert_eq!(mistral.usage_event(), None);
    }
}
