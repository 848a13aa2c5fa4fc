//! Secrets: named in the file, kept elsewhere.
//!
//! `{env: NAME}` or `{file: PATH}`. A secret that is written into the file itself is refused: the
//! file is looked at, copied and kept in version control. No message shows what stands where a
//! secret is expected, since it may be one: neither a value nor a field's name, and a variable's
//! name only where it looks like one.

use super::place::Place;
use super::read::Read;
use super::sources::Sources;
use super::yaml::{Node, Value};
use crate::policy::Secret;

const REMEDY: &str = "write {env: NAME} or {file: PATH}";

/// Secrets are short; a larger file is not one.
const MAX_BYTES: usize = 64 << 10;

/// Where a secret is kept.
#[derive(Debug)]
pub(super) enum SecretSource<'n> {
    Env(&'n str),
    File(&'n str),
}

impl<'n> Read<'n> for SecretSource<'n> {
    fn read(node: &'n Node<'n>, place: Place<'_>) -> Option<Self> {
        match source(node) {
            Ok(source) => Some(source),
            Err(message) => {
                place.error(node.line, format!("{message}; {REMEDY}"));
                None
            }
        }
    }
}

fn source<'n>(node: &'n Node<'n>) -> Result<SecretSource<'n>, &'static str> {
    let fields = match &node.value {
        Value::Map(fields) => fields.as_slice(),
        Value::Scalar { .. } => return Err("a secret is never written into the configuration"),
        Value::Null | Value::List(_) => return Err("must say where the secret is kept"),
    };
    let [(key, node)] = fields else {
        return Err("must name exactly one place where the secret is kept");
    };
    let Value::Scalar { text, .. } = &node.value else {
        return Err("must say where the secret is kept");
    };
    match &*key.name {
        "env" if is_variable(text) => Ok(SecretSource::Env(text)),
        "env" => Err("this is no name of an environment variable"),
        "file" => Ok(SecretSource::File(text)),
        _ => Err("secrets are kept in the environment or in a file"),
    }
}

fn is_variable(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.bytes().all(plain)
        && text
            .bytes()
            .next()
            .is_some_and(|first| !first.is_ascii_digit())
}

/// The secret itself, without the line ends at its end.
pub(super) fn fetch(
    source: &SecretSource<'_>,
    line: usize,
    place: Place<'_>,
    sources: &Sources<'_>,
) -> Option<Secret> {
    let (found, origin) = match *source {
        SecretSource::Env(name) => (
            sources
                .variable(name)
                .ok_or_else(|| "is not set".to_owned()),
            format!("the environment variable {name}"),
        ),
        SecretSource::File(path) => (sources.text(path, MAX_BYTES), format!("the file {path}")),
    };
    match found.and_then(clean) {
        Ok(secret) => Some(secret),
        Err(reason) => {
            place.error(line, format!("{origin} {reason}"));
            None
        }
    }
}

/// A header's value: without line ends at the end, with nothing in it that a header can't carry.
fn clean(text: String) -> Result<Secret, String> {
    let secret = Secret::new(text);
    let text = secret.expose().trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err("is empty; it must hold the secret".into());
    }
    if text.chars().any(char::is_control) {
        return Err(
            "holds more than a secret: there is a line end or a control character in it".into(),
        );
    }
    if text.trim() != text {
        return Err("begins or ends with white space, which no key does".into());
    }
    Ok(Secret::new(text.to_owned()))
}
