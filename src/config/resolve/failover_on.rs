//! `failover_on`: changes to the default judgement of an answer.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::super::file;
use super::super::place::Place;
use super::super::read::{Field, List, items};
use super::check::printable;
use crate::policy::FailoverOn;

/// The changes; none where the field is absent.
pub(super) fn failover_on(field: &Field<file::FailoverOn<'_>>, place: Place<'_>) -> FailoverOn {
    let mut result = FailoverOn::default();
    let Some(changes) = field.value() else {
        return result;
    };
    if let Some(file::StatusChanges { add, remove }) = changes.statuses.value() {
        let place = place.field("statuses");
        result.add_statuses = statuses(add, place.field("add"));
        result.remove_statuses = statuses(remove, place.field("remove"));
        refuse_both(add, remove, place.field("remove"));
    }
    if let Some(file::CodeChanges { add, remove }) = changes.error_codes.value() {
        let place = place.field("error_codes");
        result.add_error_codes = error_codes(add, place.field("add"));
        result.remove_error_codes = error_codes(remove, place.field("remove"));
        refuse_both(add, remove, place.field("remove"));
    }
    result
}

fn statuses(field: &Field<List<u64>>, place: Place<'_>) -> BTreeSet<u16> {
    let mut statuses = BTreeSet::new();
    for (index, written) in items(field) {
        match u16::try_from(written.value) {
            Ok(status @ 300..=599) => _ = statuses.insert(status),
            _ => {
                let message = format!("must be a status from 300 to 599, not {}", written.value);
                place.item(index).error(written.line, message);
            }
        }
    }
    statuses
}

fn error_codes(field: &Field<List<&str>>, place: Place<'_>) -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for (index, code) in items(field) {
        if printable(code, place.item(index)) {
            codes.insert(code.value.to_owned());
        }
    }
    codes
}

/// What is added can't be removed as well.
fn refuse_both<T: PartialEq + Display>(
    add: &Field<List<T>>,
    remove: &Field<List<T>>,
    place: Place<'_>,
) {
    for (index, written) in items(remove) {
        if items(add).any(|(_, added)| added.value == written.value) {
            let message = format!(
                "`{}` stands under `add` too; keep one of them",
                written.value
            );
            place.item(index).error(written.line, message);
        }
    }
}
