//! Changing the fields of a policy where they stand, so that the comments of what stays do too.
//!
//! A comment belongs to what stands on its line, or else to what follows it. What can't be changed
//! in its place (`None`) is for the caller to write anew.

use std::ops::Range;

use super::spots::{Kind, Spot};
use super::{Edit, line_end, line_start, on_new_line, render};

/// A part of a text.
#[derive(Clone, Copy)]
pub(super) struct Part<'t> {
    pub(super) text: &'t str,
    pub(super) spot: &'t Spot<'t>,
}

impl<'t> Part<'t> {
    fn of(self, spot: &'t Spot<'t>) -> Self {
        Self { spot, ..self }
    }

    fn entries(self) -> Option<&'t [(Spot<'t>, Spot<'t>)]> {
        match &self.spot.kind {
            Kind::Map(entries) => Some(entries),
            _ => None,
        }
    }

    fn items(self) -> Option<&'t [Spot<'t>]> {
        match &self.spot.kind {
            Kind::List(items) => Some(items),
            _ => None,
        }
    }

    /// Whether both say the same.
    fn says(self, other: Part<'_>) -> bool {
        match (&self.spot.kind, &other.spot.kind) {
            (Kind::Scalar { text, .. }, Kind::Scalar { text: same, .. }) => text == same,
            (Kind::List(items), Kind::List(others)) => {
                let mut both = items.iter().zip(others);
                items.len() == others.len()
                    && both.all(|(item, same)| self.of(item).says(other.of(same)))
            }
            (Kind::Map(entries), Kind::Map(others)) => {
                let same = |(key, value): &(Spot<'_>, Spot<'_>)| {
                    let found = other.spot.field(key.text().unwrap_or_default());
                    found.is_some_and(|found| self.of(value).says(other.of(found)))
                };
                entries.len() == others.len() && entries.iter().all(same)
            }
            _ => false,
        }
    }
}

/// What makes the fields of `old` those of `new`; `old` has a line for each.
pub(super) fn fields(old: Part<'_>, new: Part<'_>, edits: &mut Vec<Edit>) -> Option<()> {
    let (before, after) = (old.entries()?, new.entries()?);
    let column = before.first()?.0.column;
    if old.spot.flow {
        return None;
    }
    for (key, value) in before {
        let lines = line_start(old.text, key.start)..line_end(old.text, value.end.max(key.end));
        if !old.text[lines.start..key.start].trim().is_empty() {
            return None;
        }
        match new.spot.entry(key.text()?) {
            None => edits.push((lines, String::new())),
            Some(entry) => field((old.of(value), lines), new, entry, column, edits),
        }
    }
    let added = after.iter().filter(|(key, _)| {
        let name = key.text().unwrap_or_default();
        old.spot.field(name).is_none()
    });
    let added: String = added
        .map(|(key, value)| render::field(new.text, (key, value), column))
        .collect();
    if !added.is_empty() {
        let at = line_end(old.text, old.spot.end);
        edits.push((at..at, on_new_line(old.text, at, &added)));
    }
    Some(())
}

/// One field that both have.
fn field(
    (old, lines): (Part<'_>, Range<usize>),
    new: Part<'_>,
    entry: (&Spot<'_>, &Spot<'_>),
    column: usize,
    edits: &mut Vec<Edit>,
) {
    let value = Part {
        spot: entry.1,
        ..new
    };
    if old.says(value) {
        return;
    }
    let begun = edits.len();
    let in_place = fields(old, value, edits).or_else(|| items(old, value, edits));
    if in_place.is_some() {
        return;
    }
    edits.truncate(begun);
    let is_inline = |spot: &Spot<'_>| spot.flow || matches!(spot.kind, Kind::Scalar { .. });
    if is_inline(old.spot) && old.spot.start < old.spot.end && render::fits_a_line(value.spot) {
        let region = old.spot.start..old.spot.end;
        edits.push((region, render::inline(value.text, value.spot)));
    } else {
        edits.push((lines, render::field(new.text, entry, column)));
    }
}

/// What makes the items of `old`, which has a line or more for each, those of `new`. One that is in
/// both goes along with its comments; one in the place of another takes over that one's.
fn items(old: Part<'_>, new: Part<'_>, edits: &mut Vec<Edit>) -> Option<()> {
    let (before, after) = (old.items()?, new.items()?);
    let first = before.first()?;
    if old.spot.flow || after.is_empty() {
        return None;
    }
    let begin = line_start(old.text, first.start);
    let lead = &old.text[begin..first.start];
    let mut segments = Vec::new();
    let mut from = begin;
    for item in before {
        let own = &old.text[line_start(old.text, item.start)..item.start];
        let to = line_end(old.text, item.end);
        if own.trim() != "-" || to <= from {
            return None;
        }
        segments.push(Some(from..to));
        from = to;
    }
    let mut chosen: Vec<Option<usize>> = Vec::new();
    for item in after {
        let is_free_and_same = |index: &usize| {
            !chosen.contains(&Some(*index)) && old.of(&before[*index]).says(new.of(item))
        };
        chosen.push((0..before.len()).find(is_free_and_same));
    }
    let mut text = String::new();
    for (place, item) in after.iter().enumerate() {
        let inline = render::inline(new.text, item);
        let taken_over = chosen[place].is_none() && !chosen.contains(&Some(place));
        let segment = match chosen[place] {
            Some(index) => old.text[segments[index].clone()?].to_owned(),
            None if taken_over && before.get(place).is_some_and(|old| old.flow) => {
                let (spot, segment) = (&before[place], segments[place].clone()?);
                let head = &old.text[segment.start..spot.start];
                format!("{head}{inline}{}", &old.text[spot.end..segment.end])
            }
            None => format!("{lead}{inline}\n"),
        };
        text.push_str(&segment);
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    edits.push((begin..from, text));
    Some(())
}
