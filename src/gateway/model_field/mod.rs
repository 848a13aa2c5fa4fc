//! Where the model's name stands in a JSON body, so that it can be replaced and nothing else.
//!
//! A body is kept once and sent again at each attempt, each time with the model of that attempt's
//! target. Parsing and writing it anew would change what it is (white space, key order, numbers of
//! more digits than a float holds, escapes), and would cost a copy of every message in it. So the
//! body is only walked, the value of the top-level `model` is found, and an attempt writes three
//! slices: what stands before it, the target's name, what stands after it.
//!
//! ```text
//! {"stream": true, "model" : "gpt-4o", "messages": [{"model": "not this one"}]}
//!  ──────── before ───────── ──span── ─────────────── after ───────────────────
//! ```
//!
//! **What is refused.** The name that is read here decides the policy, the key and the bill; the
//! upstream reads the body again with a parser of its own. A body that two parsers could read
//! differently *about the model* is therefore refused:
//!
//! - what is not JSON (RFC 8259) from the first byte to the last: [`find_model`] checks the whole
//!   body, the values it has no use for too, and UTF-8 first of all;
//! - two top-level keys that spell `model`, escapes decoded (`mod\u0065l`);
//! - a top-level key that only some parsers take for `model`: in other letter case (Go's
//!   `encoding/json` does not mind the case), or with a NUL after it (C strings end there);
//! - a lone surrogate (`\ud800`) in the model or in a top-level key: some parsers refuse it, some
//!   replace it, some drop it.
//!
//! **What is not.** Elsewhere in the body a lone surrogate and a number that no float holds are
//! within the grammar and go on byte for byte: what becomes of them is the upstream's affair, as
//! it is without a gateway. Keys that occur twice, but for the model's, likewise.
//!
//! **Cost.** One pass for UTF-8, one for the grammar, both without a branch per character inside
//! strings; no allocation but for a name or a top-level key that has escapes; no recursion, so
//! nesting costs no stack (it is limited to 127 levels, as in `serde_json`).
//! `benches/model_field.rs` measures it.

mod conversation;
mod error;
#[cfg(test)]
mod properties;
mod scanner;
mod string;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;

pub use conversation::first_messages;
pub use error::ModelFieldError;
use scanner::Scanner;

/// Where the model stands in a JSON body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelField<'a> {
    /// The model's name, escapes decoded; borrowed from the body where there are none.
    pub name: Cow<'a, str>,
    /// The bytes of the body that [`splice`] replaces: the JSON string with its quotes.
    pub span: Range<usize>,
    /// Whether the top-level `stream` is `true`: the answer is to come as a stream. Of several the
    /// last counts, as with most parsers; nothing but a timeout depends on it.
    pub stream: bool,
}

/// Finds the value of the top-level key `model` in `body`, and checks all of `body` on the way.
///
/// # Errors
///
/// Where `body` is not one valid JSON object with exactly one `model` that is a string, or where
/// parsers could differ about which model it names; each error is the text of a 400.
pub fn find_model(body: &[u8]) -> Result<ModelField<'_>, ModelFieldError> {
    let mut scanner = Scanner::new(decode(body)?);
    if scanner.next() != b'{' {
        return Err(ModelFieldError::NotAnObject { at: scanner.at() });
    }
    let model = model_of_object(&mut scanner)?;
    if !scanner.at_end() {
        return Err(ModelFieldError::TrailingData { at: scanner.at() });
    }
    model.ok_or(ModelFieldError::NoModel)
}

/// What is written in place of `body`: the part before `span`, `model_json` (a JSON string with
/// its quotes), the part after `span`.
///
/// # Panics
///
/// Where `span` is not within `body`; one that [`find_model`] gave for `body` always is.
pub fn splice<'a>(body: &'a [u8], span: &Range<usize>, model_json: &'a [u8]) -> [&'a [u8]; 3] {
    [&body[..span.start], model_json, &body[span.end..]]
}

/// JSON is UTF-8, and begins without a byte order mark (RFC 8259, section 8.1).
fn decode(body: &[u8]) -> Result<&str, ModelFieldError> {
    let text = simdutf8::compat::from_utf8(body).map_err(|error| ModelFieldError::InvalidUtf8 {
        at: error.valid_up_to(),
    })?;
    if text.starts_with('\u{feff}') {
        return Err(ModelFieldError::ByteOrderMark);
    }
    Ok(text)
}

/// From the `{` of the body to past its `}`.
fn model_of_object<'a>(
    scanner: &mut Scanner<'a>,
) -> Result<Option<ModelField<'a>>, ModelFieldError> {
    let mut model: Option<ModelField<'a>> = None;
    let mut stream = false;
    let mut more = scanner.enter_object()?;
    while more {
        let key = scanner.key()?;
        let at = key.span().start;
        let name = key.decode()?;
        if name == "stream" {
            stream = scanner.next() == b't';
            scanner.skip_value()?;
        } else if !is_model(&name, at)? {
            scanner.skip_value()?;
        } else if let Some(first) = model {
            return Err(ModelFieldError::DuplicateModel {
                first: first.span.start,
                second: at,
            });
        } else {
            model = Some(model_value(scanner)?);
        }
        more = scanner.next_member()?;
    }
    Ok(model.map(|model| ModelField { stream, ..model }))
}

/// Whether every parser takes `key`, which stands at byte `at`, for `model`, or none does.
fn is_model(key: &str, at: usize) -> Result<bool, ModelFieldError> {
    let Some((start, rest)) = key.as_bytes().split_at_checked("model".len()) else {
        return Ok(false);
    };
    // A C string ends at a NUL.
    let ends = matches!(rest, [] | [b'\0', ..]);
    if !ends || !start.eq_ignore_ascii_case(b"model") {
        return Ok(false);
    }
    if key != "model" {
        return Err(ModelFieldError::AmbiguousKey { at });
    }
    Ok(true)
}

fn model_value<'a>(scanner: &mut Scanner<'a>) -> Result<ModelField<'a>, ModelFieldError> {
    if scanner.next() != b'"' {
        let at = scanner.at();
        scanner.skip_value()?;
        return Err(ModelFieldError::ModelNotAString { at });
    }
    let value = scanner.string()?;
    Ok(ModelField {
        name: value.decode()?,
        span: value.span(),
        stream: false,
    })
}
