//! `model_in`: where the requests of an operation name their model.

use http::{HeaderName, header};

use super::super::file;
use super::super::place::Place;
use super::super::read::{Field, Written};
use super::check::{choice, printable};
use crate::policy::{Credential, Endpoint, KeyPlace, ModelPlace, PathTemplate};

/// Headers that say something else, or that no upstream would get to see.
const TAKEN: [HeaderName; 6] = [
    header::HOST,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::AUTHORIZATION,
    header::CONNECTION,
    header::TRANSFER_ENCODING,
];

#[derive(Clone, Copy)]
enum Word {
    Body,
    Path,
}

/// Where the model stands: as it is written, or in the path where that has a place for it, or in the
/// body. `None` where what is written is wrong.
pub(super) fn model_place(
    field: &Field<file::PlaceInRequest<'_>>,
    template: Option<&PathTemplate>,
    place: Place<'_>,
) -> Option<ModelPlace> {
    let in_path = template.is_some_and(PathTemplate::has_model);
    let written = match field {
        Field::Absent if in_path => return Some(ModelPlace::Path),
        Field::Absent => return Some(ModelPlace::Body),
        Field::Refused => return None,
        Field::Given(written) => written,
    };
    match &written.value {
        file::PlaceInRequest::Word(word) => {
            let word = Written {
                line: written.line,
                value: *word,
            };
            let words = [("body", Word::Body), ("path", Word::Path)];
            match choice(
                &word,
                place,
                &words,
                "places (besides {header: NAME} and {query: NAME})",
            )? {
                Word::Path if !in_path => {
                    let message = "is `path`, and the path has no `{model}` in it";
                    place.error(written.line, message);
                    None
                }
                Word::Path => Some(ModelPlace::Path),
                Word::Body => Some(ModelPlace::Body),
            }
        }
        file::PlaceInRequest::Named(named) => named_place(named, written.line, place),
    }
}

fn named_place(named: &file::NamedPlace<'_>, line: usize, place: Place<'_>) -> Option<ModelPlace> {
    match (&named.header, &named.query) {
        (Field::Given(name), Field::Absent) => header_place(name, place.field("header")),
        (Field::Absent, Field::Given(name)) => {
            printable(name, place.field("query")).then(|| ModelPlace::Query(name.value.into()))
        }
        (Field::Refused, _) | (_, Field::Refused) => None,
        _ => {
            place.error(line, "must be {header: NAME} or {query: NAME}");
            None
        }
    }
}

fn header_place(written: &Written<&str>, place: Place<'_>) -> Option<ModelPlace> {
    let name = HeaderName::try_from(written.value).ok();
    let Some(name) = name else {
        place.error(written.line, "is no name of a header, such as x-model");
        return None;
    };
    if TAKEN.contains(&name) || name.as_str().starts_with("x-standin-") {
        let message = format!("`{name}` says something else; use a header such as x-model");
        place.error(written.line, message);
        return None;
    }
    Some(ModelPlace::Header(name))
}

/// What an endpoint has its key in is a credential wherever it comes from, and a caller's goes nowhere: a
/// model there would be lost.
pub(super) fn refuse_place_of_key(
    model_in: &ModelPlace,
    endpoints: &[Option<Endpoint>],
    line: usize,
    place: Place<'_>,
) {
    let is_key = |endpoint: &&Endpoint| match (&endpoint.credential, model_in) {
        (Credential::Keys { place, .. }, ModelPlace::Header(model)) => {
            matches!(place, KeyPlace::Header(key) if key == model)
        }
        (Credential::Keys { place, .. }, ModelPlace::Query(model)) => {
            matches!(place, KeyPlace::Query(key) if key == model)
        }
        _ => false,
    };
    if let Some(endpoint) = endpoints.iter().flatten().find(is_key) {
        let message = format!("is where `{}` has its key; name another", endpoint.name);
        place.error(line, message);
    }
}
