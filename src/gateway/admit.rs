//! The door: who calls, what is invoked, and whether it can be read at all.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use pingora_http::RequestHeader;
use sha2::{Digest, Sha256};

use super::address::split_query;
use super::error::Rejection;
use super::form_field::{self, FormError};
use super::table::Table;
use crate::policy::{
    Authentication, Caller, Captured, KeyDigest, ModelPlace, NoOperation, Operation, Snapshot,
};

/// Where a caller's key for this gateway stands if its other credentials are for somebody else.
const OWN_KEY: HeaderName = HeaderName::from_static("x-standin-key");

/// Where a caller's key may stand besides `authorization: Bearer`.
const KEY_HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// Who calls, by the key in the request.
///
/// # Errors
/// 401 without a key, or with one that isn't in the configuration.
pub(super) fn authenticate<'a>(
    snapshot: &'a Snapshot,
    headers: &HeaderMap,
) -> Result<&'a Caller, Rejection> {
    let callers = match &snapshot.authentication {
        Authentication::None(everybody) => return Ok(everybody),
        Authentication::Keys(callers) => callers,
    };
    let key = key(headers).ok_or_else(|| {
        Rejection::unauthorized("No API key in the request. Send `Authorization: Bearer KEY`, `x-api-key: KEY`, `api-key: KEY`, `x-goog-api-key: KEY` or `x-standin-key: KEY`.")
    })?;
    callers
        .find(&digest(key))
        .ok_or_else(|| Rejection::unauthorized("The API key isn't one of this gateway's. Check it, or ask the gateway's operator for a new one."))
}

/// What a caller shows to those behind this gateway: for the endpoints that are to get it.
///
/// Who proves itself with a key of this gateway's says it as [`OWN_KEY`], else its credential is that key,
/// and nobody's business. And wherever it stands besides, such a key goes nowhere.
pub(super) fn callers_credential(
    table: &Table,
    headers: &HeaderMap,
) -> Vec<(HeaderName, HeaderValue)> {
    if !table.passes_credentials() {
        return Vec::new();
    }
    let is_own: &dyn Fn(&HeaderValue) -> bool = match &table.snapshot.authentication {
        Authentication::None(_) => &|_| false,
        Authentication::Keys(_) if !headers.contains_key(OWN_KEY) => return Vec::new(),
        Authentication::Keys(callers) => &|value| {
            let key = bearer(value).unwrap_or(value.as_bytes());
            callers.find(&digest(key)).is_some()
        },
    };
    let is_credential =
        |name: &HeaderName| is_key_header(name) || table.key_headers().contains(name);
    headers
        .iter()
        .filter(|(name, value)| is_credential(name) && !is_own(value))
        .map(|(name, value)| {
            let mut value = value.clone();
            value.set_sensitive(true);
            (name.clone(), value)
        })
        .collect()
}

/// Whether a header is one in which keys are shown, whoever's they are.
pub(super) fn is_key_header(name: &HeaderName) -> bool {
    *name == header::AUTHORIZATION || KEY_HEADERS.contains(name)
}

fn digest(key: &[u8]) -> KeyDigest {
    KeyDigest(Sha256::digest(key).into())
}

fn key(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get(OWN_KEY) {
        return Some(key.as_bytes());
    }
    headers
        .get(header::AUTHORIZATION)
        .and_then(bearer)
        .or_else(|| {
            KEY_HEADERS
                .iter()
                .find_map(|name| headers.get(name))
                .map(HeaderValue::as_bytes)
        })
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, key) = value.as_bytes().split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| key.trim_ascii())
}

/// What is invoked, and what the path has in the places of its template.
///
/// # Errors
/// 404 for an unknown path, 405 for a known one with another method.
pub(super) fn operation<'a>(
    snapshot: &'a Snapshot,
    request: &RequestHeader,
) -> Result<(&'a Operation, Captured), Rejection> {
    let (path, _) = split_query(request);
    let found = snapshot.operations.find(&request.method, path);
    found.map_err(|missing| match missing {
        NoOperation::UnknownPath => Rejection::unknown_operation(path),
        NoOperation::OtherMethods(allowed) => {
            Rejection::method_not_allowed(&request.method, &allowed)
        }
    })
}

/// How the body of a request is read for a model.
pub(super) enum BodyKind {
    /// JSON, or a body that doesn't say what it is.
    Json,
    /// A form, with this boundary.
    Form(String),
    /// Not at all.
    Other,
}

/// How the body of a request can be read for its model.
///
/// # Errors
/// 415 for a content-encoding, or for a content-type that can't be read where the model must be in
/// the body; 413 for a length over the limit; 411 for no body at all.
pub(super) fn readable(
    request: &RequestHeader,
    snapshot: &Snapshot,
    operation: &Operation,
    length: Option<usize>,
    has_body: bool,
) -> Result<BodyKind, Rejection> {
    let headers = &request.headers;
    let must_be_read = operation.model_in == ModelPlace::Body;
    let kind = body_kind(headers)?;
    if let (BodyKind::Other, true, Some(kind)) =
        (&kind, must_be_read, headers.get(header::CONTENT_TYPE))
    {
        return Err(Rejection::unsupported(
            "unsupported_content_type",
            format!(
                "A body of content-type {kind:?} can't be read for its model. Send JSON with `content-type: application/json`, or a form as `multipart/form-data`."
            ),
        ));
    }
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
        && !matches!(kind, BodyKind::Other)
    {
        return Err(Rejection::unsupported(
            "unsupported_content_encoding",
            format!(
                "A body with content-encoding {encoding:?} can't be read for its model. Send it uncompressed."
            ),
        ));
    }
    if length.is_some_and(|length| length > snapshot.limits.request_body) {
        return Err(Rejection::too_large(snapshot.limits.request_body));
    }
    if must_be_read && !has_body && request.version != http::Version::HTTP_2 && length.is_none() {
        return Err(Rejection::length_required());
    }
    Ok(kind)
}

/// What the body is, by its content-type.
///
/// # Errors
/// 400 for a form whose boundary can't be told.
fn body_kind(headers: &HeaderMap) -> Result<BodyKind, Rejection> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let Some(kind) = types.next() else {
        return Ok(BodyKind::Json);
    };
    if is_json(kind.as_bytes()) {
        return Ok(BodyKind::Json);
    }
    match form_field::boundary(kind.as_bytes()) {
        None => Ok(BodyKind::Other),
        Some(Ok(boundary)) if types.next().is_none() => Ok(BodyKind::Form(boundary)),
        Some(_) => {
            let message = FormError::Boundary.to_string();
            Err(Rejection::bad_request("invalid_body", message))
        }
    }
}

/// The length that the request's head promises. Its framing was checked before.
pub(super) fn content_length(headers: &HeaderMap) -> Option<usize> {
    number(headers.get(header::CONTENT_LENGTH)?.as_bytes())
}

/// A number of bytes as a `content-length` has it: digits alone.
pub(super) fn number(digits: &[u8]) -> Option<usize> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| usize::from(byte - b'0'));
    let (&first, rest) = digits.split_first()?;
    rest.iter().try_fold(digit(first)?, |number, &byte| {
        number.checked_mul(10)?.checked_add(digit(byte)?)
    })
}

/// Whether a media type is JSON: `application/json`, `text/json` or `…+json`.
pub(super) fn is_json(media_type: &[u8]) -> bool {
    let essence = media_type.split(|&byte| byte == b';').next();
    let essence = essence.unwrap_or_default().trim_ascii();
    let suffix = essence.last_chunk::<5>();
    essence.eq_ignore_ascii_case(b"application/json")
        || essence.eq_ignore_ascii_case(b"text/json")
        || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case(b"+json"))
}
