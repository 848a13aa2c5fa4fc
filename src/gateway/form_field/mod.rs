//! Where the model's name stands in a multipart form (RFC 7578), so that it can be replaced and
//! nothing else: the field `model` of audio transcriptions and of image edits.
//!
//! ```text
//! --B CRLF  Content-Disposition: form-data; name="file"; filename="a.wav" CRLF … CRLF CRLF  bytes
//! CRLF --B CRLF  Content-Disposition: form-data; name="model" CRLF CRLF  whisper-1  CRLF --B--
//!                                                                        ──span───
//! ```
//!
//! As with JSON ([`model_field`](super::model_field)), the name that is read here decides the policy,
//! the key and the bill, and the upstream reads the form again with a parser of its own. A form that
//! two parsers could read differently *about the model* is therefore refused:
//!
//! - a line with the boundary that only some take for a delimiter: behind a bare CR or LF, or with
//!   something behind the boundary but CRLF or the closing `--`;
//! - anything before the first delimiter or behind the last one, and a form that is not closed;
//! - headers of a part with a bare CR or LF, folded, over 8 KiB, or with a `content-disposition` that
//!   is missing, twice there, or no `form-data` with one name;
//! - two fields `model`, and one whose name only some parsers take for `model`: in other letter case,
//!   percent-encoded, in `name*`, with a NUL;
//! - a model that is a file, has a transfer encoding, is no text, or is longer than 1 KiB.
//!
//! Other fields and files are not looked into, whatever they hold. **Cost:** one search for the
//! boundary over the body, and nothing is copied.

mod disposition;
mod error;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub use error::FormError;
use memchr::memmem;

use disposition::{Headers, names};

/// Bytes of one part's headers.
const MAX_HEADERS: usize = 8 << 10;
/// Bytes of a model's name.
const MAX_MODEL: usize = 1 << 10;
/// Of a boundary (RFC 2046, section 5.1.1).
const MAX_BOUNDARY: usize = 70;

/// Where the model stands in a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormModel<'a> {
    /// The model's name.
    pub name: &'a str,
    /// The bytes of the body that another model's name replaces.
    pub span: Range<usize>,
    /// Whether the field `stream` is `true`: the answer is to come as a stream.
    pub stream: bool,
}

/// The boundary that a `content-type` of `multipart/form-data` names; `None` where it is of another
/// type.
///
/// # Errors
/// Where it names none, two, or one that no boundary can be.
pub fn boundary(content_type: &[u8]) -> Option<Result<String, FormError>> {
    let text = std::str::from_utf8(content_type).ok()?;
    let (essence, rest) = text.split_at(text.find(';').unwrap_or(text.len()));
    if !essence.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let found = names(rest, "boundary").ok().and_then(|mut found| {
        let last = found.pop();
        found.is_empty().then_some(last).flatten()
    });
    let is_boundary = |text: &String| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
        (1..=MAX_BOUNDARY).contains(&text.len())
            && text.bytes().all(allowed)
            && !text.ends_with(' ')
    };
    Some(found.filter(is_boundary).ok_or(FormError::Boundary))
}

/// Finds the field `model` in a form, and checks all of its parts on the way.
///
/// # Errors
/// Where the form has no such field, or parsers could differ about it; each error is the text of a
/// 400.
pub fn find_form_model<'a>(body: &'a [u8], boundary: &str) -> Result<FormModel<'a>, FormError> {
    let mut model: Option<FormModel<'a>> = None;
    let mut stream = false;
    let mut parts = Parts::new(body, boundary)?;
    while let Some(part) = parts.next()? {
        let headers = Headers::read(&body[part.headers.clone()], part.headers.start)?;
        let value = &body[part.value.clone()];
        if headers.name == "stream" {
            stream = value == b"true";
        }
        if !headers.names_model()? {
            continue;
        }
        if model.is_some() {
            return Err(FormError::Duplicate {
                at: part.headers.start,
            });
        }
        if value.len() > MAX_MODEL || headers.is_file || headers.is_encoded {
            return Err(FormError::NotText {
                at: part.value.start,
            });
        }
        let name = std::str::from_utf8(value);
        model = Some(FormModel {
            name: name.map_err(|_| FormError::NotText {
                at: part.value.start,
            })?,
            span: part.value,
            stream: false,
        });
    }
    let model = model.ok_or(FormError::NoModel)?;
    Ok(FormModel { stream, ..model })
}

struct Part {
    headers: Range<usize>,
    value: Range<usize>,
}

/// Walks a form from delimiter to delimiter.
struct Parts<'a> {
    body: &'a [u8],
    /// `--` and the boundary.
    dashes: String,
    /// Behind the delimiter that was read last.
    at: usize,
    closed: bool,
}

impl<'a> Parts<'a> {
    fn new(body: &'a [u8], boundary: &str) -> Result<Self, FormError> {
        let mut parts = Self {
            body,
            dashes: format!("--{boundary}"),
            at: 0,
            closed: false,
        };
        if !body.starts_with(parts.dashes.as_bytes()) {
            return Err(FormError::Delimiter { at: 0 });
        }
        parts.pass_delimiter(0)?;
        Ok(parts)
    }

    /// From behind the delimiter that stands at `at`, to the part behind it or to the form's end.
    fn pass_delimiter(&mut self, at: usize) -> Result<(), FormError> {
        let behind = at + self.dashes.len();
        let rest = &self.body[behind..];
        if rest.starts_with(b"\r\n") {
            self.at = behind + 2;
        } else if rest == b"--" || rest == b"--\r\n" {
            self.at = self.body.len();
            self.closed = true;
        } else {
            return Err(FormError::Delimiter { at });
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Part>, FormError> {
        if self.closed {
            return Ok(None);
        }
        let start = self.at;
        let head = &self.body[start..self.body.len().min(start + MAX_HEADERS)];
        let length = memmem::find(head, b"\r\n\r\n").ok_or(FormError::Headers { at: start })?;
        let value = start + length + 4;
        let end = self.delimiter(start)?;
        if end < value {
            return Err(FormError::Headers { at: start });
        }
        self.pass_delimiter(end + 2)?;
        Ok(Some(Part {
            headers: start..value - 2,
            value: value..end,
        }))
    }

    /// Where the CRLF before the next delimiter stands.
    fn delimiter(&self, from: usize) -> Result<usize, FormError> {
        for found in memmem::find_iter(&self.body[from..], self.dashes.as_bytes()) {
            let at = from + found;
            match &self.body[at.saturating_sub(2)..at] {
                b"\r\n" => return Ok(at - 2),
                // A delimiter to those who take a bare CR or LF for the end of a line.
                [.., b'\r' | b'\n'] => return Err(FormError::Delimiter { at }),
                _ => {}
            }
        }
        Err(FormError::Unclosed)
    }
}
