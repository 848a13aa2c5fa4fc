//! The model operations of each provider's API, as their documentation lists them: what a user
//! includes by a name.
//!
//! Sources: `OpenAI` "API reference", Azure "Azure `OpenAI` REST API reference" (data plane,
//! deployments), Anthropic "API reference", Google "Gemini API reference" (v1beta), Amazon "Bedrock
//! Runtime API reference".

/// An operation of a preset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresetOperation {
    /// A POST that names a model.
    Post(&'static str),
    /// A GET that asks which models there are, or about one: the gateway answers it.
    Models(&'static str),
}

use PresetOperation::{Models, Post};

/// The presets by name.
pub const PRESETS: [(&str, &[PresetOperation]); 5] = [
    ("openai", &OPENAI),
    ("azure-openai", &AZURE),
    ("anthropic", &ANTHROPIC),
    ("gemini", &GEMINI),
    ("bedrock", &BEDROCK),
];

const OPENAI: [PresetOperation; 13] = [
    Post("/v1/chat/completions"),
    Post("/v1/completions"),
    Post("/v1/responses"),
    Post("/v1/embeddings"),
    Post("/v1/moderations"),
    Post("/v1/images/generations"),
    Post("/v1/images/edits"),
    Post("/v1/images/variations"),
    Post("/v1/audio/speech"),
    Post("/v1/audio/transcriptions"),
    Post("/v1/audio/translations"),
    Models("/v1/models"),
    Models("/v1/models/{model}"),
];

const AZURE: [PresetOperation; 8] = [
    Post("/openai/deployments/{model}/chat/completions"),
    Post("/openai/deployments/{model}/completions"),
    Post("/openai/deployments/{model}/embeddings"),
    Post("/openai/deployments/{model}/images/generations"),
    Post("/openai/deployments/{model}/images/edits"),
    Post("/openai/deployments/{model}/audio/speech"),
    Post("/openai/deployments/{model}/audio/transcriptions"),
    Post("/openai/deployments/{model}/audio/translations"),
];

const ANTHROPIC: [PresetOperation; 4] = [
    Post("/v1/messages"),
    Post("/v1/messages/count_tokens"),
    Models("/v1/models"),
    Models("/v1/models/{model}"),
];

/// Both versions: `v1beta` is the documentation's, `v1` what Google's SDKs ask for by default.
const GEMINI: [PresetOperation; 14] = [
    Post("/v1/models/{model}:generateContent"),
    Post("/v1/models/{model}:streamGenerateContent"),
    Post("/v1/models/{model}:embedContent"),
    Post("/v1/models/{model}:batchEmbedContents"),
    Post("/v1/models/{model}:countTokens"),
    Models("/v1/models"),
    Models("/v1/models/{model}"),
    Post("/v1beta/models/{model}:generateContent"),
    Post("/v1beta/models/{model}:streamGenerateContent"),
    Post("/v1beta/models/{model}:embedContent"),
    Post("/v1beta/models/{model}:batchEmbedContents"),
    Post("/v1beta/models/{model}:countTokens"),
    Models("/v1beta/models"),
    Models("/v1beta/models/{model}"),
];

const BEDROCK: [PresetOperation; 4] = [
    Post("/model/{model}/converse"),
    Post("/model/{model}/converse-stream"),
    Post("/model/{model}/invoke"),
    Post("/model/{model}/invoke-with-response-stream"),
];

impl PresetOperation {
    /// Its path.
    pub const fn path(self) -> &'static str {
        match self {
            Post(path) | Models(path) => path,
        }
    }
}
