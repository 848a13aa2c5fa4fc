//! `authentication`, `environment` and `keys`: who may call, and in which environment.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::super::Listener;
use super::super::file::{self, File};
use super::super::place::Place;
use super::super::read::{Field, Written, items};
use super::check::{choice, printable, required, small_number};
use crate::policy::{Authentication, Caller, CallerId, Callers, Environment, KeyDigest, RateLimit};

pub(super) const ENVIRONMENTS: [(&str, Environment); 2] = [
    (Environment::Production.name(), Environment::Production),
    (Environment::Sandbox.name(), Environment::Sandbox),
];

/// The SHA-256 of nothing: the digest of a key that somebody forgot to put in.
const DIGEST_OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What a key may have in a minute.
const A_MINUTE: RangeInclusive<u64> = 1..=1_000_000_000;

#[derive(Clone, Copy)]
enum Method {
    Keys,
    None,
}

/// How callers prove who they are.
pub(super) fn authentication(
    file: &File<'_>,
    listeners: &[Listener],
    root: Place<'_>,
) -> Option<Authentication> {
    let place = root.field("authentication");
    let choices = [("keys", Method::Keys), ("none", Method::None)];
    let (method, line) = match &file.authentication {
        Field::Absent => (Method::Keys, 1),
        Field::Refused => return None,
        Field::Given(word) => {
            let plural = "ways of authentication";
            (choice(word, place, &choices, plural)?, word.line)
        }
    };
    match method {
        Method::Keys => Some(Authentication::Keys(by_keys(file, root))),
        Method::None => everybody(file, line, listeners, root),
    }
}

fn by_keys(file: &File<'_>, root: Place<'_>) -> Callers {
    let place = root.field("keys");
    let what = "at least one, `standin key` makes it; or write `authentication: none`";
    if let Some(written) = required(&file.keys, place, 1, what)
        && written.value.is_empty()
    {
        place.error(written.line, format!("is empty; {what}"));
    }
    if let Some(environment) = file.environment.given() {
        let message = "has no effect: a caller's key decides the environment";
        root.field("environment").warning(environment.line, message);
    }
    let mut seen = Seen::default();
    let mut callers = Vec::new();
    for (id, (index, written)) in (0..).map(CallerId).zip(items(&file.keys)) {
        callers.extend(caller(id, written, place.item(index), &mut seen));
    }
    Callers::new(callers)
}

/// On which line a digest and a name stood first.
#[derive(Default)]
pub(super) struct Seen {
    digests: HashMap<KeyDigest, usize>,
    names: HashMap<(String, Environment), usize>,
}

fn caller(
    id: CallerId,
    written: &Written<file::CallerKey<'_>>,
    place: Place<'_>,
    seen: &mut Seen,
) -> Option<(KeyDigest, Caller)> {
    let (key, line) = (&written.value, written.line);
    let digest = digest(&key.sha256, line, place.field("sha256"), seen);
    let at = place.field("environment");
    let environment = required(&key.environment, at, line, "production or sandbox")
        .and_then(|word| choice(word, at, &ENVIRONMENTS, "environments"));
    let at = place.field("name");
    let name = required(&key.name, at, line, "who holds the key, for the logs")
        .filter(|name| printable(name, at));
    let rate_limit = rate_limit(&key.rate_limit, place.field("rate_limit"));
    let (name, environment) = (name?, environment?);
    let names = &mut seen.names;
    if let Some(first) = names.insert((name.value.to_owned(), environment), name.line) {
        let message = format!(
            "`{}` is the key of {environment} on line {first} already",
            name.value
        );
        at.error(name.line, message);
    }
    let caller = Caller {
        id,
        name: Arc::from(name.value),
        environment,
        rate_limit,
    };
    Some((digest?, caller))
}

/// How much it may ask for.
fn rate_limit(field: &Field<file::RateLimit>, place: Place<'_>) -> Option<RateLimit> {
    let written = field.given()?;
    let (requests, tokens) = (
        &written.value.requests_per_minute,
        &written.value.tokens_per_minute,
    );
    if requests.is_absent() && tokens.is_absent() {
        let message = "is empty; write `requests_per_minute`, `tokens_per_minute` or both";
        place.error(written.line, message);
    }
    Some(RateLimit {
        requests_per_minute: small_number(requests, place.field("requests_per_minute"), &A_MINUTE),
        tokens_per_minute: small_number(tokens, place.field("tokens_per_minute"), &A_MINUTE),
    })
}

/// Reads a digest. What stands there is never shown: it may be the key itself.
pub(super) fn digest(
    field: &Field<&str>,
    parent_line: usize,
    place: Place<'_>,
    seen: &mut Seen,
) -> Option<KeyDigest> {
    let what = "the lower-case hex SHA-256 of the key: `standin key` makes both";
    let text = required(field, place, parent_line, what)?;
    let Some(digest) = parse_digest(text.value) else {
        place.error(
            text.line,
            format!("must be 64 lower-case hex digits, {what}"),
        );
        return None;
    };
    if text.value == DIGEST_OF_NOTHING {
        place.error(
            text.line,
            "is the digest of an empty key; `standin key` makes one",
        );
    }
    if let Some(first) = seen.digests.insert(digest, text.line) {
        let message = format!("is the digest of the key on line {first} already; keep one of them");
        place.error(text.line, message);
    }
    Some(digest)
}

fn parse_digest(text: &str) -> Option<KeyDigest> {
    let nibble = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let bytes: Option<Vec<u8>> = pairs
        .iter()
        .map(|&[high, low]| Some(nibble(high)? << 4 | nibble(low)?))
        .collect();
    bytes?.try_into().ok().map(KeyDigest)
}

/// Everybody calls, in the environment that is named.
fn everybody(
    file: &File<'_>,
    line: usize,
    listeners: &[Listener],
    root: Place<'_>,
) -> Option<Authentication> {
    if let Some(keys) = file.keys.given() {
        let message = "have no effect with `authentication: none`";
        root.field("keys").warning(keys.line, message);
    }
    for Listener { address, .. } in listeners {
        if !address.ip().is_loopback() {
            let message = format!("everybody who reaches {address} may call, at your expense");
            root.field("authentication").warning(line, message);
        }
    }
    let place = root.field("environment");
    let what = "with `authentication: none` it says where all calls belong: production or sandbox";
    let word = required(&file.environment, place, line, what)?;
    let environment = choice(word, place, &ENVIRONMENTS, "environments")?;
    Some(Authentication::None(Caller {
        id: CallerId(0),
        name: Arc::from("anonymous"),
        environment,
        rate_limit: None,
    }))
}
