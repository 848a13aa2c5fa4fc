//! `api_key`, `api_keys` and `credential`: what an endpoint is shown in the place of the caller's
//! credential.

use http::{HeaderName, header};

use super::super::file::{self, ApiKey, PlaceInRequest};
use super::super::place::Place;
use super::super::read::{Field, List, Written, items};
use super::super::secret::{self, SecretSource};
use super::super::sources::Sources;
use super::check::{choice, header_name, printable};
use crate::policy::{Credential, KeyPlace, Provider, Secret};
use crate::provider::key_place;

/// Headers that say something else.
const TAKEN: [HeaderName; 9] = [
    header::HOST,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::COOKIE,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The credential of an endpoint; where it shows one, the field that says so and its line.
pub(super) fn credential(
    body: &Written<file::Endpoint<'_>>,
    provider: Option<Provider>,
    place: Place<'_>,
    sources: &Sources<'_>,
) -> (Credential, Option<(&'static str, usize)>) {
    let endpoint = &body.value;
    if let (Field::Given(_), Field::Given(several)) = (&endpoint.api_key, &endpoint.api_keys) {
        let message = "can't stand beside `api_key`; write all keys here";
        place.field("api_keys").error(several.line, message);
    }
    let at = place.field("credential");
    let stands = match &endpoint.credential {
        Field::Absent => provider.map(key_place),
        Field::Refused => None,
        Field::Given(written) => {
            refuse_without_key(endpoint, written.line, at);
            written_place(written, at)
        }
    };
    let (keys, field, line) = match (endpoint.api_key.given(), endpoint.api_keys.given()) {
        (Some(written), _) => {
            let (at, line) = (place.field("api_key"), written.line);
            match &written.value {
                ApiKey::Passthrough => return (Credential::Passthrough, Some(("api_key", line))),
                ApiKey::Secret(source) => {
                    let key = secret::fetch(source, line, at, sources);
                    (Vec::from_iter(key), "api_key", line)
                }
            }
        }
        (None, Some(several)) => {
            let at = place.field("api_keys");
            let keys = several_keys(&endpoint.api_keys, several.line, at, sources);
            (keys, "api_keys", several.line)
        }
        (None, None) => return (Credential::None, None),
    };
    match stands {
        Some(place) if !keys.is_empty() => (Credential::Keys { keys, place }, Some((field, line))),
        _ => (Credential::None, None),
    }
}

/// A place for a key where there is none says that something else was meant.
fn refuse_without_key(endpoint: &file::Endpoint<'_>, line: usize, place: Place<'_>) {
    let no_key = endpoint.api_key.is_absent() && endpoint.api_keys.is_absent();
    if no_key || matches!(endpoint.api_key.value(), Some(ApiKey::Passthrough)) {
        let message = "has no effect without a key of the gateway's in `api_key` or `api_keys`";
        place.error(line, message);
    }
}

fn several_keys(
    field: &Field<List<SecretSource<'_>>>,
    line: usize,
    place: Place<'_>,
    sources: &Sources<'_>,
) -> Vec<Secret> {
    if field.value().is_some_and(Vec::is_empty) {
        place.error(line, "is empty; at least one: [{env: NAME}]");
    }
    let mut keys: Vec<(usize, Secret)> = Vec::new();
    for (index, written) in items(field) {
        let at = place.item(index);
        let Some(key) = secret::fetch(&written.value, written.line, at, sources) else {
            continue;
        };
        match keys.iter().find(|(_, known)| *known == key) {
            Some((first, _)) => {
                let message = format!("is the same key as api_keys[{first}]; leave it out");
                at.error(written.line, message);
            }
            None => keys.push((index, key)),
        }
    }
    keys.into_iter().map(|(_, key)| key).collect()
}

fn written_place(written: &Written<PlaceInRequest<'_>>, place: Place<'_>) -> Option<KeyPlace> {
    match &written.value {
        PlaceInRequest::Word(word) => {
            let word = Written {
                line: written.line,
                value: *word,
            };
            let plural = "places (besides {header: NAME} and {query: NAME})";
            choice(&word, place, &[("bearer", ())], plural).map(|()| KeyPlace::Bearer)
        }
        PlaceInRequest::Named(named) => match (&named.header, &named.query) {
            (Field::Given(name), Field::Absent) => header_place(name, place.field("header")),
            (Field::Absent, Field::Given(name)) => {
                printable(name, place.field("query")).then(|| KeyPlace::Query(name.value.into()))
            }
            (Field::Refused, _) | (_, Field::Refused) => None,
            _ => {
                place.error(written.line, "must be {header: NAME} or {query: NAME}");
                None
            }
        },
    }
}

fn header_place(written: &Written<&str>, place: Place<'_>) -> Option<KeyPlace> {
    let name = header_name(written, place)?;
    if TAKEN.contains(&name) || name.as_str().starts_with("x-standin-") {
        let message = format!("`{name}` says something else; use a header such as x-api-key");
        place.error(written.line, message);
        return None;
    }
    Some(KeyPlace::Header(name))
}
