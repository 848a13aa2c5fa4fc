//! Paths that stand for many: `{model}` in one segment, `*` for any segment.
//!
//! ```text
//! /v1beta/models/{model}:generateContent
//! /v1/projects/*/locations/*/publishers/*/models/{model}:rawPredict
//! ```
//!
//! A segment is what stands between two slashes. `*` is a whole segment; `{model}` may have literal
//! text before and behind it, and stands at most once in a path. Neither matches nothing, and
//! neither matches a slash: one inside a model's name comes as `%2F`, as clients write it.

use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;

/// How a model is written in paths.
pub const MODEL: &str = "{model}";

/// A path with `{model}` or `*` in it, taken apart once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    text: Arc<str>,
    segments: Box<[Segment]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    /// `{model}` between two texts, often empty.
    Model(Box<str>, Box<str>),
    Any,
}

/// What a path that matches has in the places of its template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// Where the model stands in the path, percent-encoded as it came.
    pub model: Option<Range<usize>>,
}

impl PathTemplate {
    /// Takes a path apart; `None` where it has nothing in it that stands for something else.
    ///
    /// # Errors
    /// What is wrong with the braces in it.
    pub fn parse(text: &str) -> Result<Option<Self>, &'static str> {
        let segments = text.split('/').skip(1).map(Segment::parse);
        let segments = segments.collect::<Result<Box<_>, _>>()?;
        let models = segments.iter().filter(|segment| segment.is_model());
        if models.count() > 1 {
            return Err("must have `{model}` in it at most once");
        }
        let literal = |segment: &Segment| matches!(segment, Segment::Literal(_));
        let template = Self {
            text: text.into(),
            segments,
        };
        Ok((!template.segments.iter().all(literal)).then_some(template))
    }

    /// As it is written in the configuration.
    pub const fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Whether there is a `{model}` in it.
    pub fn has_model(&self) -> bool {
        self.segments.iter().any(Segment::is_model)
    }

    /// What a path has in its places; `None` where it is another path.
    pub fn matches(&self, path: &str) -> Option<Captured> {
        let mut captured = Captured::default();
        let mut given = path.strip_prefix('/')?.split('/');
        let mut at = 1;
        for segment in &self.segments {
            let text = given.next()?;
            match segment {
                Segment::Literal(literal) if **literal == *text => {}
                Segment::Any if !text.is_empty() => {}
                Segment::Model(before, behind) => {
                    let model = text.strip_prefix(&**before)?.strip_suffix(&**behind)?;
                    if model.is_empty() {
                        return None;
                    }
                    let start = at + before.len();
                    captured.model = Some(start..start + model.len());
                }
                Segment::Literal(_) | Segment::Any => return None,
            }
            at += text.len() + 1;
        }
        given.next().is_none().then_some(captured)
    }

    /// Of two templates that match the same path, the one with the smaller rank says more about it:
    /// from the left, literal text before text with a model in it, the longer the better, before
    /// `{model}` alone, before `*`.
    pub fn rank(&self) -> impl Ord + use<> {
        let rank = |segment: &Segment| match segment {
            Segment::Literal(_) => (0, Reverse(0)),
            Segment::Model(before, behind) => (1, Reverse(before.len() + behind.len())),
            Segment::Any => (2, Reverse(0)),
        };
        self.segments.iter().map(rank).collect::<Vec<_>>()
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let literal = |text: &str| !text.contains(['{', '}']);
        match text.split_once(MODEL) {
            Some((before, behind)) if literal(before) && literal(behind) => {
                Ok(Self::Model(before.into(), behind.into()))
            }
            None if text == "*" => Ok(Self::Any),
            None if literal(text) => Ok(Self::Literal(text.into())),
            Some((_, behind)) if behind.contains(MODEL) => {
                Err("must have `{model}` in it at most once")
            }
            _ => Err("must have no braces in it but those of `{model}`"),
        }
    }

    const fn is_model(&self) -> bool {
        matches!(self, Self::Model(..))
    }
}

/// Where a path goes on behind its first `segments` segments.
pub fn behind_segments(path: &str, segments: usize) -> usize {
    let mut slashes = path.match_indices('/').skip(segments);
    slashes.next().map_or(path.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> PathTemplate {
        PathTemplate::parse(text).unwrap().unwrap()
    }

    #[test]
    fn models_are_found_in_paths() {
        let gemini = "/v1beta/models/{model}:generateContent";
        let vertex = "/v1/projects/*/locations/*/publishers/*/models/{model}:rawPredict";
        let bedrock = "/model/{model}/converse";
        let azure = "/openai/deployments/{model}/chat/completions";
        for (text, path, expected) in [
            (
                gemini,
                "/v1beta/models/gemini-2.5-pro:generateContent",
                Some("gemini-2.5-pro"),
            ),
            (gemini, "/v1beta/models/a:b:generateContent", Some("a:b")),
            (
                gemini,
                "/v1beta/models/a%2Fb:generateContent",
                Some("a%2Fb"),
            ),
            (gemini, "/v1beta/models/:generateContent", None),
            (gemini, "/v1beta/models/generateContent", None),
            (gemini, "/v1beta/models/a/b:generateContent", None),
            (gemini, "/v1beta/models/a:generateContent/", None),
            (gemini, "/v1beta/models/a:streamGenerateContent", None),
            (gemini, "/v1beta/models/a:generatecontent", None),
            (gemini, "//v1beta/models/a:generateContent", None),
            (
                vertex,
                "/v1/projects/p-1/locations/us-east5/publishers/anthropic/models/claude@1:rawPredict",
                Some("claude@1"),
            ),
            (
                vertex,
                "/v1/projects//locations/l/publishers/p/models/m:rawPredict",
                None,
            ),
            (
                bedrock,
                "/model/anthropic.claude-v2%3A1/converse",
                Some("anthropic.claude-v2%3A1"),
            ),
            (bedrock, "/model/converse", None),
            (bedrock, "/model//converse", None),
            (
                azure,
                "/openai/deployments/gpt-4o/chat/completions",
                Some("gpt-4o"),
            ),
            (azure, "/openai/deployments/gpt-4o/chat", None),
            (azure, "", None),
        ] {
            let captured = template(text).matches(path);
            let model = captured.map(|captured| &path[captured.model.unwrap()]);
            assert_eq!(model, expected, "{text} on {path}");
        }
        let any = template("/v1/files/*/content").matches("/v1/files/f-1/content");
        assert_eq!(any, Some(Captured { model: None }));
    }

    #[test]
    fn what_stands_for_nothing_else_is_no_template() {
        for text in [
            "/",
            "/v1/chat/completions",
            "/v1/a*b",
            "/v1/**",
            "/%7Bmodel%7D",
        ] {
            assert_eq!(PathTemplate::parse(text), Ok(None), "{text}");
        }
        for text in [
            "/{model}/{model}",
            "/{model}{model}",
            "/{deployment}",
            "/{model",
            "/a}",
            "/{}",
            "/{{model}}",
        ] {
            assert!(PathTemplate::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_more_telling_template_comes_first() {
        let mut texts = [
            "/v1/*",
            "/*/a",
            "/v1/{model}",
            "/v1/{model}:ab",
            "/v1/{model}:a",
        ];
        texts.sort_by_key(|text| template(text).rank());
        assert_eq!(
            texts,
            [
                "/v1/{model}:ab",
                "/v1/{model}:a",
                "/v1/{model}",
                "/v1/*",
                "/*/a"
            ]
        );
    }

    #[test]
    fn segments_are_counted_off() {
        for (segments, rest) in [(0, "/v1/a/b"), (1, "/a/b"), (2, "/b"), (3, ""), (4, "")] {
            assert_eq!(&"/v1/a/b"[behind_segments("/v1/a/b", segments)..], rest);
        }
    }
}
