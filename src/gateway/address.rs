//! What a request asks for: the caller's path and query, and how each endpoint is asked for the same.
//!
//! ```text
//! caller    /v1/chat/completions?trace=1                     {"model": "gpt-4o", …}
//! endpoint  rewrite_path: {from: /v1, to: "/openai/deployments/{model}"}, query: {api-version: V}
//! upstream  /openai/deployments/TARGET/chat/completions?trace=1&api-version=V
//! ```
//!
//! Whatever is neither the model, nor a rewritten prefix, nor a parameter that is the endpoint's
//! affair stays as it came, byte for byte.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use pingora_http::RequestHeader;

use super::backends::Member;
use super::table::EndpointLinks;
use crate::policy::{
    Captured, Operation, PathRewrite, QueryParameter, behind_segments, decode_parameter,
    percent_encode,
};
use crate::provider::KeyParameter;

/// A caller's path and query, ready to be asked of any endpoint.
#[derive(Clone, Debug)]
pub(super) struct Address {
    path: Box<str>,
    /// The operation's path as it is configured, where it is another text.
    template: Option<Arc<str>>,
    /// Where the model stands in the path.
    in_path: Option<Range<usize>>,
    /// From the `?` on.
    query: Box<str>,
    /// Where the model stands in the query.
    in_query: Option<Range<usize>>,
    /// The caller's model as it stands in URLs, for endpoints that want it there.
    asked: Option<Box<str>>,
}

impl Address {
    /// What `request` asks for, which is `operation` with `captured` in its places.
    pub(super) fn new(request: &RequestHeader, operation: &Operation, captured: Captured) -> Self {
        let (path, query) = split_query(request);
        Self {
            asked: captured.model.clone().map(|model| path[model].into()),
            path: path.into(),
            template: operation
                .template
                .as_ref()
                .map(|template| Arc::clone(template.text())),
            in_path: captured.model,
            query: query.into(),
            in_query: None,
        }
    }

    /// The same, where the model stands at `place` in the query.
    pub(super) fn with_model_in_query(mut self, place: Range<usize>) -> Self {
        self.in_query = Some(place);
        self
    }

    /// The same, where the caller names the model elsewhere than in the URL.
    pub(super) fn asking_for(mut self, model: &str) -> Self {
        if self.asked.is_none() {
            self.asked = Some(percent_encode(model).into());
        }
        self
    }

    /// The model in the path, as it is written there.
    pub(super) fn model_in_path(&self) -> Option<&str> {
        self.in_path.clone().map(|model| &self.path[model])
    }

    /// Up to the `?`.
    pub(super) const fn path(&self) -> &str {
        &self.path
    }

    /// From the `?` on.
    pub(super) const fn query(&self) -> &str {
        &self.query
    }

    /// Appends what `endpoint` is asked for; `model` replaces the caller's, percent-encoded.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        endpoint: &EndpointLinks,
        backend: &Member,
        key: Option<&KeyParameter>,
        model: Option<&str>,
    ) {
        out.extend_from_slice(backend.base_path.as_bytes());
        self.write_path(out, endpoint.rewrite_path(), model);
        self.write_query(
            out,
            endpoint.query(),
            key,
            endpoint.kept_parameters(),
            model,
        );
    }

    fn write_path(&self, out: &mut Vec<u8>, rewrite: Option<&PathRewrite>, model: Option<&str>) {
        let written = self.template.as_deref().unwrap_or(&self.path);
        let mut from = 0;
        if let Some(rewrite) = rewrite.filter(|rewrite| rewrite.rest(written).is_some()) {
            let asked = self.asked.as_deref().unwrap_or_default();
            for piece in rewrite.written_with(model.unwrap_or(asked)) {
                out.extend_from_slice(piece.as_bytes());
            }
            from = behind_segments(&self.path, rewrite.segments());
        }
        splice(out, &self.path, from..self.path.len(), &self.in_path, model);
    }

    /// The caller's query without what is `own` or `kept`, then what is the endpoint's.
    fn write_query(
        &self,
        out: &mut Vec<u8>,
        own: &[QueryParameter],
        key: Option<&KeyParameter>,
        kept: &[Box<str>],
        model: Option<&str>,
    ) {
        if own.is_empty() && kept.is_empty() {
            return splice(out, &self.query, 0..self.query.len(), &self.in_query, model);
        }
        let mut mark = b'?';
        for parameter in parameters(&self.query) {
            let name = decode_parameter(name(&self.query[parameter.clone()]));
            let name = name.as_deref();
            if !own.iter().any(|own| name == Some(&*own.name))
                && !kept.iter().any(|kept| name == Some(&**kept))
            {
                out.push(mark);
                splice(out, &self.query, parameter, &self.in_query, model);
                mark = b'&';
            }
        }
        let key = key.map(|key| key.text.expose());
        for text in own.iter().map(|own| &*own.text).chain(key) {
            out.push(mark);
            out.extend_from_slice(text.as_bytes());
            mark = b'&';
        }
    }
}

/// Appends a part of `text`, with `model` in its place where that is within the part.
fn splice(
    out: &mut Vec<u8>,
    text: &str,
    part: Range<usize>,
    place: &Option<Range<usize>>,
    model: Option<&str>,
) {
    match (place, model) {
        (Some(place), Some(model)) if part.start <= place.start && place.end <= part.end => {
            out.extend_from_slice(&text.as_bytes()[part.start..place.start]);
            out.extend_from_slice(model.as_bytes());
            out.extend_from_slice(&text.as_bytes()[place.end..part.end]);
        }
        _ => out.extend_from_slice(&text.as_bytes()[part]),
    }
}

/// The value of a parameter: where it stands, and what it says.
type Value<'q> = (Range<usize>, Cow<'q, str>);

/// The value of a query's parameter.
///
/// # Errors
/// Where it is there more than once, or can't be read.
pub(super) fn parameter_value<'q>(
    query: &'q str,
    wanted: &str,
) -> Result<Option<Value<'q>>, &'static str> {
    let mut found = None;
    for parameter in parameters(query) {
        let text = &query[parameter.clone()];
        let name = name(text);
        if decode_parameter(name).as_deref() != Some(wanted) {
            continue;
        }
        let start = (parameter.start + name.len() + 1).min(parameter.end);
        let value = decode_parameter(&query[start..parameter.end]).ok_or("is no text")?;
        if found.replace((start..parameter.end, value)).is_some() {
            return Err("is there more than once");
        }
    }
    Ok(found)
}

/// The parts of a query between `?` and `&`.
fn parameters(query: &str) -> impl Iterator<Item = Range<usize>> {
    let mut at = 1;
    let parts = query.get(1..).map(|query| query.split('&'));
    parts.into_iter().flatten().map(move |part| {
        let start = at;
        at += part.len() + 1;
        start..start + part.len()
    })
}

fn name(parameter: &str) -> &str {
    parameter.split('=').next().unwrap_or_default()
}

/// A request target cut before its `?`.
pub(super) fn split_query(request: &RequestHeader) -> (&str, &str) {
    let target = request
        .uri
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    match memchr::memchr(b'?', target.as_bytes()) {
        Some(at) => target.split_at(at),
        None => (target, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Secret;

    fn address(path: &str, template: Option<&str>, model: Option<&str>, query: &str) -> Address {
        let place = |text: &str, part: &str| {
            let start = text.find(part).unwrap();
            start..start + part.len()
        };
        Address {
            path: path.into(),
            template: template.map(Arc::from),
            in_path: model
                .filter(|model| path.contains(model))
                .map(|model| place(path, model)),
            query: query.into(),
            in_query: model
                .filter(|model| query.contains(model))
                .map(|model| place(query, model)),
            asked: model.map(Box::from),
        }
    }

    #[test]
    fn paths_are_rewritten_around_the_model() {
        let azure = "/openai/deployments/{model}/chat/completions";
        let deployed = "/openai/deployments/gpt-4o/chat/completions";
        let gemini = "/v1beta/models/{model}:generateContent";
        for (path, template, rewrite, expected) in [
            ("/v1/chat", None, ("/v1", "/v2"), "/v2/chat"),
            ("/v1/chat", None, ("/v3", "/v2"), "/v1/chat"),
            (
                "/v1/chat/completions",
                None,
                ("/v1", "/openai/deployments/{model}"),
                "/openai/deployments/T%3A1/chat/completions",
            ),
            (
                deployed,
                Some(azure),
                ("/none", ""),
                "/openai/deployments/T%3A1/chat/completions",
            ),
            (
                deployed,
                Some(azure),
                ("/openai/deployments/{model}", "/v1"),
                "/v1/chat/completions",
            ),
            (
                deployed,
                Some(azure),
                ("/openai", "/base/x"),
                "/base/x/deployments/T%3A1/chat/completions",
            ),
            (
                "/v1beta/models/gpt-4o:generateContent",
                Some(gemini),
                ("/v1beta", "/v1/publishers/google"),
                "/v1/publishers/google/models/T%3A1:generateContent",
            ),
        ] {
            let rewrite = PathRewrite::new(rewrite.0.to_owned(), rewrite.1.to_owned());
            let mut out = Vec::new();
            let address = address(path, template, Some("gpt-4o"), "");
            address.write_path(&mut out, Some(&rewrite), Some("T%3A1"));
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        let mut out = Vec::new();
        let rewrite = PathRewrite::new("/v1".to_owned(), "/d/{model}/x".to_owned());
        address("/v1/chat", None, Some("gpt%2F4o"), "").write_path(&mut out, Some(&rewrite), None);
        assert_eq!(out, b"/d/gpt%2F4o/x/chat");
    }

    #[test]
    fn queries_keep_what_is_not_the_endpoints() {
        let own = ["api-version=2024-10-21", "x=%26"];
        let own = own.map(|text| QueryParameter {
            name: name(text).into(),
            text: text.into(),
        });
        for (query, own, expected) in [
            ("", &own[..0], ""),
            ("?", &own[..0], "?"),
            ("?a&&b=%zz", &own[..0], "?a&&b=%zz"),
            ("?a=1&model=gpt-4o&b", &own[..0], "?a=1&model=T&b"),
            ("", &own[..1], "?api-version=2024-10-21"),
            (
                "?a=1&api%2Dversion=1&model=gpt-4o",
                &own[..],
                "?a=1&model=T&api-version=2024-10-21&x=%26",
            ),
            (
                "?api-version=1&x",
                &own[..],
                "?api-version=2024-10-21&x=%26",
            ),
        ] {
            let mut out = Vec::new();
            let address = address("/", None, Some("gpt-4o"), query);
            address.write_query(&mut out, own, None, &[], Some("T"));
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{query}");
        }
    }

    #[test]
    fn a_key_in_the_query_takes_the_place_of_the_callers() {
        let own = QueryParameter {
            name: "v".into(),
            text: "v=1".into(),
        };
        let key = KeyParameter {
            name: "key".into(),
            text: Secret::new("key=sk%2F1".to_owned()),
        };
        let kept = ["key", "access_token"].map(Box::from);
        for (query, key, expected) in [
            ("", Some(&key), "?v=1&key=sk%2F1"),
            ("?k%65y=mine&a=%20&v=2", Some(&key), "?a=%20&v=1&key=sk%2F1"),
            ("?access_token=mine&key", None, "?v=1"),
        ] {
            let mut out = Vec::new();
            let address = address("/", None, None, query);
            address.write_query(&mut out, std::slice::from_ref(&own), key, &kept, None);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{query}");
        }
    }

    #[test]
    fn parameters_are_found_once() {
        let found = |query| {
            parameter_value(query, "model")
                .map(|found| found.map(|(place, name)| (place, name.into_owned())))
        };
        assert_eq!(found(""), Ok(None));
        assert_eq!(found("?"), Ok(None));
        assert_eq!(found("?models=1&xmodel=2"), Ok(None));
        assert_eq!(
            found("?a=1&mod%65l=a+b%2F"),
            Ok(Some((13..19, "a b/".to_owned())))
        );
        assert_eq!(found("?model"), Ok(Some((6..6, String::new()))));
        assert!(found("?model=a&model=a").is_err());
        assert!(found("?model=%ff").is_err());
    }
}
