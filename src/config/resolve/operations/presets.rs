//! `preset: openai`: all model operations of a provider's API at once, with the same policies and default
//! endpoint.
//!
//! What is written out comes before what a preset has: an operation beside it, of the same method and
//! path, takes its place. Of two presets that have the same operation (`openai` and `anthropic` both
//! list models) the first one's is kept.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use http::Method;

use super::super::super::file;
use super::super::super::place::Place;
use super::super::super::read::{Written, items};
use super::super::check::choice;
use super::{Context, described, leads};
use crate::policy::{ModelPlace, Operation, PathTemplate};
use crate::provider::presets::{PRESETS, PresetOperation};

/// The operations of the presets in the file, but for those that are `written_out`.
pub(super) fn presets(
    context: &Context<'_, '_>,
    place: Place<'_>,
    written_out: HashMap<(Method, Arc<str>), usize>,
) -> Vec<Option<Operation>> {
    let mut seen: HashSet<_> = written_out.into_keys().collect();
    let mut lines = HashMap::new();
    let mut operations = Vec::new();
    for (index, written) in items(&context.file.operations) {
        let Some(name) = written.value.preset.given() else {
            continue;
        };
        let place = place.item(index);
        if let Some(first) = lines.insert(name.value, name.line) {
            let message = format!("is there already, on line {first}");
            place.field("preset").error(name.line, message);
        }
        let Some(expanded) = preset(name, written, place, context) else {
            operations.push(None);
            continue;
        };
        for operation in expanded {
            if seen.insert((operation.method.clone(), Arc::clone(&operation.path))) {
                operations.push(Some(operation));
            }
        }
    }
    operations
}

fn preset(
    name: &Written<&str>,
    written: &Written<file::Operation<'_>>,
    place: Place<'_>,
    context: &Context<'_, '_>,
) -> Option<Vec<Operation>> {
    refuse_others(&written.value, written.line, place);
    let operations = choice(name, place.field("preset"), &PRESETS, "presets")?;
    // All of them are of one API, so what is said of the first is true of the others.
    let first = operations.first().map(|operation| operation.path());
    let leads = leads(written, first, place, context);
    let expanded = operations.iter().map(|operation| {
        let path = operation.path();
        let template = PathTemplate::parse(path).ok().flatten();
        let model_in = match &template {
            Some(template) if template.has_model() => ModelPlace::Path,
            _ => ModelPlace::Body,
        };
        match operation {
            PresetOperation::Post(_) => {
                let operation = described(Method::POST, path, template, model_in);
                leads.applied_to(operation, context)
            }
            PresetOperation::Models(_) => Operation {
                lists_models: true,
                ..described(Method::GET, path, template, model_in)
            },
        }
    });
    Some(expanded.collect())
}

/// What an operation says of itself, a preset says of all of its.
fn refuse_others(written: &file::Operation<'_>, line: usize, place: Place<'_>) {
    let others = [
        ("method", written.method.is_absent()),
        ("path", written.path.is_absent()),
        ("model_in", written.model_in.is_absent()),
        ("answer", written.answer.is_absent()),
    ];
    for (name, _) in others.into_iter().filter(|(_, is_absent)| !is_absent) {
        let message = "can't stand beside `preset`; write an operation of its own, which goes before the preset's";
        place.field(name).error(line, message);
    }
}
