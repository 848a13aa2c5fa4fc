//! The checks that many fields share. Each reports what is wrong and gives `None` for it.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::place::Place;
use super::super::read::{Field, Written};
use super::super::units::show_duration;
use crate::policy::{MODEL, PathTemplate};

/// Of anything that is waited for.
pub(super) const TIMEOUT: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(24 * 3600);

/// Of a wait that may be left out.
pub(super) const WAIT: RangeInclusive<Duration> = Duration::ZERO..=*TIMEOUT.end();

/// Of a share among others; more would only make tables larger.
pub(super) const WEIGHT: RangeInclusive<u64> = 1..=1_000;

/// What is given at a field; where nothing is, `what` says what should be.
pub(super) fn required<'f, T>(
    field: &'f Field<T>,
    place: Place<'_>,
    parent_line: usize,
    what: &str,
) -> Option<&'f Written<T>> {
    if field.is_absent() {
        place.error(parent_line, format!("is missing; {what}"));
    }
    field.given()
}

/// The value of a word; `plural` says what kind of words these are.
pub(super) fn choice<T: Copy>(
    word: &Written<&str>,
    place: Place<'_>,
    choices: &[(&str, T)],
    plural: &str,
) -> Option<T> {
    let chosen = choices.iter().find(|(name, _)| *name == word.value);
    if chosen.is_none() {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        unknown(word, place, &names, plural);
    }
    chosen.map(|(_, value)| *value)
}

/// The value of an optional word.
pub(super) fn choice_or<T: Copy>(
    field: &Field<&str>,
    place: Place<'_>,
    choices: &[(&str, T)],
    plural: &str,
    default: T,
) -> T {
    let chosen = field.given();
    chosen
        .and_then(|word| choice(word, place, choices, plural))
        .unwrap_or(default)
}

/// Reports a word or a name that stands for nothing.
pub(super) fn unknown(word: &Written<&str>, place: Place<'_>, names: &[&str], plural: &str) {
    let remedy = place.remedy(word.value, plural, names);
    place.error(word.line, format!("`{}` is unknown; {remedy}", word.value));
}

/// A duration that makes sense here.
pub(super) fn duration(
    field: &Field<Duration>,
    place: Place<'_>,
    range: &RangeInclusive<Duration>,
) -> Option<Duration> {
    in_range(field, place, range, |value| show_duration(*value))
}

/// A number or a size that makes sense here.
pub(super) fn within<T: Copy + PartialOrd + Display>(
    field: &Field<T>,
    place: Place<'_>,
    range: &RangeInclusive<T>,
) -> Option<T> {
    in_range(field, place, range, T::to_string)
}

/// The same for a number that is kept in 32 bits.
pub(super) fn small_number(
    field: &Field<u64>,
    place: Place<'_>,
    range: &RangeInclusive<u64>,
) -> Option<u32> {
    within(field, place, range).and_then(|number| number.try_into().ok())
}

fn in_range<T: Copy + PartialOrd>(
    field: &Field<T>,
    place: Place<'_>,
    range: &RangeInclusive<T>,
    show: impl Fn(&T) -> String,
) -> Option<T> {
    let written = field.given()?;
    if range.contains(&written.value) {
        return Some(written.value);
    }
    let (value, least, most) = (show(&written.value), show(range.start()), show(range.end()));
    place.error(
        written.line,
        format!("must be from {least} to {most}, not {value}"),
    );
    None
}

/// Text that may stand in a header and in a log: not empty, no control characters, no white space
/// around it.
pub(super) fn printable(text: &Written<&str>, place: Place<'_>) -> bool {
    let value = text.value;
    let wrong = if value.is_empty() {
        "must not be empty"
    } else if value.chars().any(char::is_control) {
        "must not have control characters in it"
    } else if value.trim() != value {
        "must not begin or end with white space"
    } else {
        return true;
    };
    place.error(text.line, wrong);
    false
}

/// An absolute path of a URL in which `{model}` and `*` may stand for something else; `None` where
/// nothing in it does.
///
/// # Errors
/// What is wrong with the places in it; `None` where it is no path at all.
pub(super) fn url_template(text: &str) -> Result<Option<PathTemplate>, Option<&'static str>> {
    if text.starts_with('/') && text.contains(['{', '}']) {
        PathTemplate::parse(text)?;
    }
    if !is_url_path(&text.replace(MODEL, "model")) {
        return Err(None);
    }
    Ok(PathTemplate::parse(text)?)
}

/// The name of a header.
pub(super) fn header_name(written: &Written<&str>, place: Place<'_>) -> Option<http::HeaderName> {
    let name = written.value.try_into().ok();
    if name.is_none() {
        place.error(written.line, "is no name of a header, such as x-session-id");
    }
    name
}

/// Whether `text` is an absolute path of a URL without a query, every character of it allowed there.
pub(super) fn is_url_path(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%/".contains(&byte);
    text.starts_with('/') && text.bytes().all(allowed)
}
