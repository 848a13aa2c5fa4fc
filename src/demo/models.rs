//! Which models the embedded providers have, and what each of them does. Pure.
//!
//! A model's fault is in its name, so that a policy can be pointed at a fault and the page of
//! `standin demo` can say what will happen.

/// Which provider is imitated: its models, its key, and the shapes of its answers and errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// `OpenAI`'s API.
    OpenAi,
    /// Mistral's La Plateforme.
    Mistral,
}

/// What a model does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers at once, as a stream word by word.
    Answers,
    /// Gives vectors; it is no chat model.
    Embeds,
    /// Answers well, [`SLOWNESS`](super::replies::SLOWNESS) too late.
    Slow,
    /// 429 with `retry-after`.
    RateLimited,
    /// 503.
    Broken,
    /// Closes the connection without an answer.
    Crashing,
    /// 200, with a JSON body that is cut: shorter than its `content-length` says.
    Garbled,
    /// 200, and then nothing; a stream sends its role first.
    Silent,
    /// Sends the first half of its answer and resets the connection.
    BreaksMidway,
}

const OPENAI_MODELS: &[(&str, Behaviour)] = &[
    ("gpt-healthy", Behaviour::Answers),
    ("gpt-slow", Behaviour::Slow),
    ("gpt-rate-limited", Behaviour::RateLimited),
    ("gpt-broken", Behaviour::Broken),
    ("gpt-crashing", Behaviour::Crashing),
    ("gpt-garbled", Behaviour::Garbled),
    ("gpt-silent", Behaviour::Silent),
    ("gpt-breaks-midway", Behaviour::BreaksMidway),
    ("text-embedding-healthy", Behaviour::Embeds),
];

const MISTRAL_MODELS: &[(&str, Behaviour)] = &[
    ("mistral-small-latest", Behaviour::Answers),
    ("mistral-large-latest", Behaviour::Answers),
];

impl Flavour {
    /// The key that the provider asks for, as `Authorization: Bearer …`.
    pub const fn api_key(self) -> &'static str {
        match self {
            Self::OpenAi => "demo-openai-key",
            Self::Mistral => "demo-mistral-key",
        }
    }

    /// What the provider's list of models gives as their owner.
    pub const fn owner(self) -> &'static str {
        match self {
            Self::OpenAi => "openai-demo",
            Self::Mistral => "mistralai-demo",
        }
    }

    /// The models that the provider has.
    pub const fn models(self) -> &'static [(&'static str, Behaviour)] {
        match self {
            Self::OpenAi => OPENAI_MODELS,
            Self::Mistral => MISTRAL_MODELS,
        }
    }

    /// What `model` does; `None` where the provider has no such model.
    pub fn behaviour(self, model: &str) -> Option<Behaviour> {
        self.models()
            .iter()
            .find(|(name, _)| *name == model)
            .map(|(_, behaviour)| *behaviour)
    }
}
