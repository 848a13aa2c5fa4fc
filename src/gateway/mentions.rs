//! Where a request's body names its model, and the body with a target's model in its place.

use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::policy::Target;

/// Where a body names the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Mentions {
    /// Nowhere.
    #[default]
    None,
    /// In one JSON string, quotes included.
    Json(Range<usize>),
    /// In the value of a form's field.
    Form(Range<usize>),
    /// Within several JSON strings, which may have something before it.
    Strings(Box<[Range<usize>]>),
}

impl Mentions {
    /// The body for `target` in pieces, nothing copied; [`Mentions::Strings`] are written by
    /// [`Mentions::written_out`].
    pub(super) fn splice<'a>(&self, body: &'a [u8], target: &'a Target) -> [&'a [u8]; 3] {
        let (span, model) = match self {
            Self::Json(span) => (span, &*target.model_json),
            Self::Form(span) => (span, target.model.as_bytes()),
            Self::None | Self::Strings(_) => return [body, &[], &[]],
        };
        [&body[..span.start], model, &body[span.end..]]
    }

    /// The body for `target` where that takes more than three pieces.
    pub(super) fn written_out(&self, body: &[u8], target: &Target) -> Option<Vec<u8>> {
        let Self::Strings(places) = self else {
            return None;
        };
        let quoted = &target.model_json;
        let model = &quoted[1..quoted.len() - 1];
        let mut written = Vec::with_capacity(body.len() + places.len() * model.len());
        let mut at = 0;
        for place in places {
            written.extend_from_slice(&body[at..place.start]);
            written.extend_from_slice(model);
            at = place.end;
        }
        written.extend_from_slice(&body[at..]);
        Some(written)
    }
}

/// How Gemini's bodies name a model: `models/gemini-embedding-001`.
const COLLECTION: &str = "models/";

/// The bodies of Gemini's operations that repeat the model of their path: `embedContent` at its top,
/// `batchEmbedContents` in each of its requests, `countTokens` in the request it counts.
#[derive(Deserialize)]
struct GeminiBody<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    requests: Vec<GeminiRequest<'a>>,
    #[serde(borrow, rename = "generateContentRequest")]
    counted: Option<GeminiRequest<'a>>,
}

#[derive(Deserialize)]
struct GeminiRequest<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
}

/// Where a body of Gemini's API repeats the model of the path. What is of another shape than its
/// documentation says is the upstream's to refuse.
pub(super) fn of_gemini(body: &[u8]) -> Mentions {
    if memchr::memmem::find(body, b"\"model\"").is_none() {
        return Mentions::None;
    }
    let Ok(read) = serde_json::from_slice::<GeminiBody<'_>>(body) else {
        return Mentions::None;
    };
    let requests = read.requests.into_iter().chain(read.counted);
    let models = requests
        .filter_map(|request| request.model)
        .chain(read.model);
    let mut places: Vec<_> = models
        .filter_map(|model| within(body, model.get()))
        .collect();
    places.sort_unstable_by_key(|place| place.start);
    if places.is_empty() {
        return Mentions::None;
    }
    Mentions::Strings(places.into())
}

/// Where the name stands within a JSON string of `body`, behind its collection.
fn within(body: &[u8], written: &str) -> Option<Range<usize>> {
    let name = written.strip_prefix('"')?.strip_suffix('"')?;
    let name = name.strip_prefix(COLLECTION).unwrap_or(name);
    let start = name.as_ptr().addr().checked_sub(body.as_ptr().addr())?;
    (!name.contains('\\')).then_some(start..start + name.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gemini_s_bodies_repeat_the_model() {
        for (body, expected) in [
            (
                r#"{"model": "models/a", "content": {"model": "models/a"}}"#,
                r#"{"model": "models/~", "content": {"model": "models/a"}}"#,
            ),
            (
                r#"{"requests": [{"model":"models/a"}, {"x": 1}, {"model" : "a"}]}"#,
                r#"{"requests": [{"model":"models/~"}, {"x": 1}, {"model" : "~"}]}"#,
            ),
            (
                r#"{"generateContentRequest": {"model": "models/a"}, "model": "models/a"}"#,
                r#"{"generateContentRequest": {"model": "models/~"}, "model": "models/~"}"#,
            ),
        ] {
            let Mentions::Strings(places) = of_gemini(body.as_bytes()) else {
                panic!("{body}");
            };
            let mut written = body.to_owned();
            for place in places.iter().rev() {
                written.replace_range(place.clone(), "~");
            }
            assert_eq!(written, expected);
        }
        for body in [
            "",
            r#"{"contents": [{"parts": [{"text": "\"model\""}]}]}"#,
            r#"{"requests": {"model": "a"}}"#,
            r#"{"model": 1}"#,
            r#"{"model": "mod\u0065l"}"#,
        ] {
            assert_eq!(of_gemini(body.as_bytes()), Mentions::None, "{body}");
        }
    }
}
