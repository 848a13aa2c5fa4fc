//! What callers may invoke, and which policy a model name leads to.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderName;

use super::{EndpointId, PathTemplate, PerEnvironment, PolicyId};

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

/// The policies of one operation in one environment, by the model name that callers send:
/// the exact name, then the longest matching pattern.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    exact: HashMap<Box<str>, PolicyId>,
    /// Longest first.
    patterns: Vec<(Pattern, PolicyId)>,
}

impl Routes {
    /// Collects routes. Where two have the same name or pattern the first is kept: the resolver
    /// refuses such a configuration before it comes here.
    pub fn new(
        exact: impl IntoIterator<Item = (Box<str>, PolicyId)>,
        patterns: impl IntoIterator<Item = (Pattern, PolicyId)>,
    ) -> Self {
        let mut names = HashMap::new();
        for (name, policy) in exact {
            names.entry(name).or_insert(policy);
        }
        let mut patterns: Vec<_> = patterns.into_iter().collect();
        patterns.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.literal_len()));
        Self {
            exact: names,
            patterns,
        }
    }

    /// Every policy that some name leads to, one as often as there are ways to it.
    pub fn policies(&self) -> impl Iterator<Item = PolicyId> {
        let patterns = self.patterns.iter().map(|(_, policy)| *policy);
        self.exact.values().copied().chain(patterns)
    }

    /// The names that are written out, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.exact.keys().map(|name| &**name)
    }

    /// The patterns with their policies, the longest first.
    pub fn patterns(&self) -> impl Iterator<Item = (&Pattern, PolicyId)> {
        self.patterns
            .iter()
            .map(|(pattern, policy)| (pattern, *policy))
    }

    /// Every name and pattern, with its policy.
    pub fn iter(&self) -> impl Iterator<Item = (&str, PolicyId)> {
        let exact = self.exact.iter().map(|(name, policy)| (&**name, *policy));
        let patterns = self.patterns.iter();
        exact.chain(patterns.map(|(pattern, policy)| (pattern.as_str(), *policy)))
    }

    /// The policy for the model name that a caller sent.
    pub fn find(&self, model: &str) -> Option<PolicyId> {
        self.matching(model).map(|(policy, _)| policy)
    }

    /// The same, with the pattern that matched; `None` beside the policy: the name itself did.
    pub fn matching(&self, model: &str) -> Option<(PolicyId, Option<&Pattern>)> {
        if let Some(policy) = self.exact.get(model) {
            return Some((*policy, None));
        }
        self.patterns
            .iter()
            .find(|(pattern, _)| pattern.matches(model))
            .map(|(pattern, policy)| (*policy, Some(pattern)))
    }
}

/// A model name with `*` in it, each standing for any characters, also none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Reads a pattern; `None` where there is no `*` in the text: it is an exact name.
    pub fn parse(text: &str) -> Option<Self> {
        text.contains('*').then(|| Self(text.into()))
    }

    /// As it is written in the configuration.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many characters it names: of two that match, the one with more decides.
    pub fn literal_len(&self) -> usize {
        self.0.bytes().filter(|&byte| byte != b'*').count()
    }

    /// Whether it stands for `name`, in time linear in it for each `*`.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else {
            return false;
        };
        let mut parts = parts.peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return rest.ends_with(part);
            }
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*", "gpt-4o", true),
            ("gpt-4o-*", "gpt-4o-mini", true),
            ("gpt-4o-*", "gpt-4o-", true),
            ("gpt-4o-*", "gpt-4o", false),
            ("*-latest", "mistral-small-latest", true),
            ("*-latest", "latest", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            assert_eq!(parsed.matches(name), expected, "{pattern} on {name}");
        }
        assert!(Pattern::parse("gpt-4o").is_none());
    }

    #[test]
    fn exact_before_longest_pattern_before_star() {
        let pattern = |text| Pattern::parse(text).unwrap();
        let routes = Routes::new(
            [("gpt-4o".into(), PolicyId(0))],
            [
                (pattern("*"), PolicyId(1)),
                (pattern("gpt-*"), PolicyId(2)),
                (pattern("gpt-4o-*"), PolicyId(3)),
            ],
        );
        assert_eq!(routes.find("gpt-4o"), Some(PolicyId(0)));
        assert_eq!(routes.find("gpt-4o-mini"), Some(PolicyId(3)));
        assert_eq!(routes.find("gpt-5"), Some(PolicyId(2)));
        assert_eq!(routes.find("claude"), Some(PolicyId(1)));
        assert_eq!(Routes::default().find("claude"), None);
    }
}
