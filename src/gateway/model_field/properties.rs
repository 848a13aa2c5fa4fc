//! What holds for every body, whatever its bytes are, judged by `serde_json`. The tests beside this
//! file and the fuzz target share it.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{ModelField, ModelFieldError, find_model, splice};

/// Panics where a property does not hold for `body`.
pub fn check(body: &[u8]) {
    let found = find_model(body);
    let members = members(body);
    let expected = members.as_ref().and_then(|members| model(body, members));
    let told = |model: &ModelField<'_>| (model.name.to_string(), model.span.clone());
    assert_eq!(
        found.as_ref().map(told).ok(),
        expected,
        "{found:?} in {:?}",
        String::from_utf8_lossy(body),
    );
    match &found {
        Ok(model) => replaces_nothing_but_the_model(body, &model.span),
        Err(error) => names_the_fault(body, members.is_some(), error),
    }
}

/// The rewritten body parses to what the body parses to, with the model replaced.
fn replaces_nothing_but_the_model(body: &[u8], span: &Range<usize>) {
    const NEW: &str = "mistral \"large\" ✓";
    let new_json = serde_json::to_string(NEW).unwrap();
    let rewritten = splice(body, span, new_json.as_bytes()).concat();

    let model = find_model(&rewritten).unwrap();
    assert_eq!((&*model.name, model.span.start), (NEW, span.start));

    // The members' texts are compared as well: a number that no float holds, or a lone surrogate,
    // makes a body that `Value` can't take.
    let mut expected = texts(body);
    for (_, value) in expected.iter_mut().filter(|(key, _)| key == b"model") {
        value.clone_from(&new_json);
    }
    assert_eq!(texts(&rewritten), expected);
    if let Ok(mut value) = serde_json::from_slice::<Value>(body) {
        value["model"] = NEW.into();
        assert_eq!(serde_json::from_slice::<Value>(&rewritten).unwrap(), value);
    }
}

/// The members' keys, decoded, and their values, as they are written.
fn texts(body: &[u8]) -> Vec<(Vec<u8>, String)> {
    let text = |member: Member<'_>| (member.key, member.value.get().to_owned());
    members(body).unwrap().into_iter().map(text).collect()
}

/// An error blames the grammar only where there is a fault in it, and a place within the body.
fn names_the_fault(body: &[u8], is_json_object: bool, error: &ModelFieldError) {
    use ModelFieldError as E;
    let (at, blames_grammar) = match *error {
        E::InvalidUtf8 { at }
        | E::InvalidJson { at, .. }
        | E::Truncated { at, .. }
        | E::NotAnObject { at }
        | E::TrailingData { at } => (at, true),
        E::ByteOrderMark => (0, true),
        E::ModelNotAString { at }
        | E::AmbiguousKey { at }
        | E::LoneSurrogate { at }
        | E::TooDeep { at } => (at, false),
        E::DuplicateModel { second, .. } => (second, false),
        E::NoModel => (0, false),
    };
    assert!(at <= body.len(), "{error}");
    assert!(!(is_json_object && blames_grammar), "{error}");
}

/// What [`find_model`] should find: told from what `serde_json` reads.
fn model(body: &[u8], members: &[Member<'_>]) -> Option<(String, Range<usize>)> {
    let ambiguous = |key: &str| {
        let key = key.split('\0').next().unwrap();
        key.to_lowercase() == "model"
    };
    let mut models = vec![];
    for member in members {
        match str::from_utf8(&member.key).ok()? {
            "model" => models.push(member.value.get()),
            other if ambiguous(other) => return None,
            _ => {}
        }
    }
    let [model] = models[..] else { return None };
    let start = model.as_ptr().addr() - body.as_ptr().addr();
    (depth(body) <= 127).then_some(())?;
    Some((
        serde_json::from_str(model).ok()?,
        start..start + model.len(),
    ))
}

/// How many containers stand in one another at most, in what is known to be JSON.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b'"' => {
                while let Some(b'\\') = bytes.find(|byte| matches!(byte, b'"' | b'\\')) {
                    bytes.next();
                }
            }
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// One member of the outermost object.
struct Member<'a> {
    /// Not UTF-8 where it has a lone surrogate.
    key: Vec<u8>,
    value: &'a RawValue,
}

/// The members of the object that `body` is; `None` where it is none. Unlike a parse to a `Value`
/// this follows the grammar alone: numbers and lone surrogates are not looked into.
fn members(body: &[u8]) -> Option<Vec<Member<'_>>> {
    let text = str::from_utf8(body).ok()?;
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let Members(members) = serde_json::from_str(text).ok()?;
    Some(members)
}

struct Members<'a>(Vec<Member<'a>>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = vec![];
                while let Some((Key(key), value)) = map.next_entry()? {
                    members.push(Member { key, value });
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// The bytes of a key: asked for bytes, `serde_json` lets lone surrogates pass (and control
/// characters, which is why [`members`] asks for the grammar first).
struct Key(Vec<u8>);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Key;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a key")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Key, E> {
                Ok(Key(bytes.to_vec()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Key, E> {
                Ok(Key(text.into()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}
