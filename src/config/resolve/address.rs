//! `rewrite_path` and `query`: where an endpoint is asked for what the caller asked for.

use super::super::file;
use super::super::place::Place;
use super::super::read::{Entry, Field, Named, Written, entries};
use super::check::{printable, required, url_template};
use crate::policy::{Credential, KeyPlace, PathRewrite, QueryParameter, percent_encode};

/// The prefix of the operation's path that is replaced.
pub(super) fn rewrite_path(
    field: &Field<file::RewritePath<'_>>,
    place: Place<'_>,
) -> Option<PathRewrite> {
    let written = field.given()?;
    let side = |field, name, what| {
        let at = place.field(name);
        let text: &Written<&str> = required(field, at, written.line, what)?;
        match url_template(text.value) {
            Ok(_) => Some(text.value.trim_end_matches('/').to_owned()),
            Err(wrong) => {
                at.error(
                    text.line,
                    wrong.unwrap_or("must be a path that begins with `/` and has no query"),
                );
                None
            }
        }
    };
    let rewrite = &written.value;
    let from = side(
        &rewrite.from,
        "from",
        "the prefix that is replaced, such as /v1",
    );
    let to = side(
        &rewrite.to,
        "to",
        "what stands there instead, such as /v1beta/openai",
    );
    let (from, to) = (from?, to?);
    if from.is_empty() {
        let message =
            "must be more than `/`; what comes before every path is the base path of the `url`";
        place.field("from").error(written.line, message);
    }
    if to.split('/').any(|segment| segment == "*") {
        let message = "a segment `*` stands for nothing here; `{model}` does for the model";
        place.field("to").error(written.line, message);
    }
    Some(PathRewrite::new(from, to))
}

/// The parameters of every request's query. None is the one that carries the key: it would be there
/// twice.
pub(super) fn query(
    field: &Field<Named<'_, &str>>,
    credential: &Credential,
    place: Place<'_>,
) -> Vec<QueryParameter> {
    let parameter = |entry: &Entry<'_, &str>| {
        let value = entry.body.as_ref()?;
        let at = place.field(entry.name);
        let name = Written {
            line: entry.line,
            value: entry.name,
        };
        if carries_key(credential, entry.name) {
            let message = "is where the key stands, as `credential` says; leave one of them out";
            at.error(entry.line, message);
        }
        (printable(&name, at) && printable(value, at)).then(|| QueryParameter {
            name: entry.name.into(),
            text: format!(
                "{}={}",
                percent_encode(entry.name),
                percent_encode(value.value)
            )
            .into(),
        })
    };
    entries(field).iter().filter_map(parameter).collect()
}

fn carries_key(credential: &Credential, parameter: &str) -> bool {
    matches!(
        credential,
        Credential::Keys { place: KeyPlace::Query(name), .. } if **name == *parameter
    )
}
