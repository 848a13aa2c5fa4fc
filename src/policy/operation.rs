//! What callers may invoke.

use std::sync::Arc;

use http::HeaderName;

use super::{EndpointId, PathTemplate, PerEnvironment, Routes};

/// The place of an [`Operation`] in its [`Snapshot`](super::Snapshot).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationId(pub u32);

/// A method and a path.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Its place in the snapshot.
    pub id: OperationId,
    /// The method.
    pub method: http::Method,
    /// The path as it is written: matched byte for byte, or by the template.
    pub path: Arc<str>,
    /// The path, where something in it stands for something else.
    pub template: Option<PathTemplate>,
    /// Where its requests name their model.
    pub model_in: ModelPlace,
    /// How its requests and answers look.
    pub format: Format,
    /// Whose API it is part of.
    pub dialect: Dialect,
    /// Every answer is a stream.
    pub streams: bool,
    /// The gateway answers itself, which models there are; nobody else is asked.
    pub lists_models: bool,
    /// Where a model goes that no policy names.
    pub default_endpoint: PerEnvironment<Option<EndpointId>>,
    /// Which policy a model name leads to; `None`: the operation has no policies at all and its
    /// requests are streamed through, never buffered.
    pub routes: Option<PerEnvironment<Routes>>,
}

/// Where a request names its model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ModelPlace {
    /// In the top-level `model` of a JSON body.
    #[default]
    Body,
    /// In the place of `{model}` in its path.
    Path,
    /// In a header.
    Header(HeaderName),
    /// In a parameter of its query, by the parameter's name.
    Query(Box<str>),
}

/// How the requests, answers and streams of an operation look. Told by the end of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// `…/chat/completions`
    ChatCompletions,
    /// `…/completions`
    Completions,
    /// `…/responses`
    Responses,
    /// `…/messages`: Anthropic's; on Vertex AI `…/publishers/anthropic/models/{model}:rawPredict`.
    Messages,
    /// `…:generateContent` and `…:streamGenerateContent`: Gemini's, also on Vertex AI.
    GenerateContent,
    /// JSON with a model in it, and nothing more is known of its streams.
    Other,
}

impl Format {
    /// The format of an operation's path.
    pub fn of_path(path: &str) -> Self {
        let last = path.rsplit('/').next().unwrap_or_default();
        if path.ends_with("/chat/completions") {
            Self::ChatCompletions
        } else if last == "completions" {
            Self::Completions
        } else if last == "responses" {
            Self::Responses
        } else if last == "messages" || path.contains(ANTHROPIC_ON_VERTEX) {
            Self::Messages
        } else if last.ends_with(":generateContent") || last.ends_with(":streamGenerateContent") {
            Self::GenerateContent
        } else {
            Self::Other
        }
    }
}

/// Claude's models on Vertex AI: Anthropic's requests and answers.
const ANTHROPIC_ON_VERTEX: &str = "/publishers/anthropic/models/";

const GEMINI_VERBS: [&str; 5] = [
    "generateContent",
    "streamGenerateContent",
    "embedContent",
    "batchEmbedContents",
    "countTokens",
];

const BEDROCK_VERBS: [&str; 4] = [
    "converse",
    "converse-stream",
    "invoke",
    "invoke-with-response-stream",
];

/// Whether every answer of an operation is a stream, by the end of its path; elsewhere the request
/// says so.
pub fn always_streams(path: &str) -> bool {
    [
        ":streamGenerateContent",
        ":streamRawPredict",
        "/converse-stream",
        "/invoke-with-response-stream",
    ]
    .iter()
    .any(|end| path.ends_with(end))
}

/// Whose API an operation is part of: all targets of its policies must speak it, since nothing is
/// translated, and an error is told in its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `OpenAI`'s, and whatever is not known to be another.
    OpenAi,
    /// Anthropic's: a segment `messages`, or Claude on Vertex AI.
    Anthropic,
    /// Gemini's: a model and one of its verbs, `…/{model}:embedContent`.
    Gemini,
    /// Amazon Bedrock's: `/model/{model}/converse`, and what else is done with a model there.
    Bedrock,
    /// That of a model's maker on Vertex AI, who is not known: `…:rawPredict`.
    Unknown,
}

impl Dialect {
    /// The dialect of an operation's path.
    pub fn of_path(path: &str) -> Self {
        let has = |segment| path.split('/').any(|other| other == segment);
        let last = path.rsplit('/').next().unwrap_or_default();
        let verb = last.rsplit_once(':').map_or("", |(_, verb)| verb);
        if has("messages") || path.contains(ANTHROPIC_ON_VERTEX) {
            Self::Anthropic
        } else if GEMINI_VERBS.contains(&verb) {
            Self::Gemini
        } else if has("model") && BEDROCK_VERBS.contains(&last) {
            Self::Bedrock
        } else if verb.ends_with("awPredict") {
            Self::Unknown
        } else {
            Self::OpenAi
        }
    }
}
