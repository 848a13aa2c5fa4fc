//! From what is written to what is valid: every error of a file at once.
//!
//! ```text
//! server, limits, listeners ── authentication
//! endpoints ── policies (targets name endpoints; pairs are counted) ── operations (name both)
//! ```
//!
//! A part that is wrong is reported and left out, and whoever refers to it goes on as if it were
//! right, so that one mistake is one error.

mod callers;
mod chains;
mod check;
mod endpoints;
mod failover_on;
mod formats;
mod limits;
mod listeners;
mod names;
mod operations;
mod policies;
mod routes;
mod server;
mod unused;
mod url;

use super::error::{ConfigErrors, Report};
use super::file::File;
use super::place::Place;
use super::read::{Entry, Field, entries};
use super::sources::Sources;
use super::{AccessLogPath, Configuration};
use crate::policy::{EndpointId, PolicyId, Snapshot};
use names::Names;

/// The configuration that a file describes; `report` knows what was wrong with its shapes.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn resolve(
    file: &File<'_>,
    sources: &Sources<'_>,
    mut report: Report,
) -> Result<Configuration, ConfigErrors> {
    let Some(mut configuration) = configuration(file, sources, &mut report) else {
        return Err(report.into_errors());
    };
    unused::warn(file, &configuration.snapshot, &mut report);
    configuration.warnings = report.finish()?;
    Ok(configuration)
}

/// All parts; `None` where one is missing, whose error is in the report.
fn configuration(
    file: &File<'_>,
    sources: &Sources<'_>,
    report: &mut Report,
) -> Option<Configuration> {
    let root = Place::ROOT;
    let server = server::server(file.server.given(), root.field("server"), report);
    let limits = limits::limits(&file.limits, root.field("limits"), report);
    let listeners = listeners::listeners(file, sources, report);
    let authentication = callers::authentication(file, &listeners, report);
    let access_log = access_log(file, sources, report);

    let names = Names::of(file);
    let place = root.field("endpoints");
    let endpoints = each(
        &file.endpoints,
        place,
        report,
        |index, entry, place, report| {
            endpoints::endpoint(EndpointId(id(index)), entry, place, sources, report)
        },
    );
    if file.endpoints.is_absent() || file.endpoints.value().is_some_and(Vec::is_empty) {
        let line = file.endpoints.given().map_or(1, |written| written.line);
        let message = "is missing; at least one: {NAME: {url: https://HOST}}";
        report.error(place, line, message);
    }
    let mut context = chains::Context::new(&names, &endpoints);
    let place = root.field("policies");
    let policies = each(
        &file.policies,
        place,
        report,
        |index, entry, place, report| {
            policies::policy(PolicyId(id(index)), entry, place, &mut context, report)
        },
    );
    let pairs = context.into_pairs();
    let context = operations::Context {
        file,
        names: &names,
        endpoints: &endpoints,
        policies: &policies,
    };
    let operations = operations::operations(&context, report);
    Some(Configuration {
        server,
        listeners,
        access_log,
        warnings: Vec::new(),
        snapshot: Snapshot {
            authentication: authentication?,
            limits,
            pairs,
            operations: operations.into_iter().collect::<Option<_>>()?,
            policies: policies.into_iter().collect::<Option<_>>()?,
            endpoints: endpoints.into_iter().collect::<Option<_>>()?,
        },
    })
}

/// Resolves the entries of a field, each at its place.
fn each<'n, T, R>(
    field: &Field<Vec<Entry<'n, T>>>,
    place: Place<'_>,
    report: &mut Report,
    mut resolve: impl FnMut(usize, &Entry<'n, T>, Place<'_>, &mut Report) -> R,
) -> Vec<R> {
    let mut resolved = Vec::new();
    for (index, entry) in entries(field).iter().enumerate() {
        resolved.push(resolve(index, entry, place.field(entry.name), report));
    }
    resolved
}

/// An id of the snapshot: its place in a list, which is never as long as 32 bits count.
fn id(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// Where the access log goes. A file is told from a word by the `/` in it, so that a slip of the
/// pen in `stdout` doesn't make a file.
fn access_log(file: &File<'_>, sources: &Sources<'_>, report: &mut Report) -> AccessLogPath {
    let observability = Place::ROOT.field("observability");
    let place = observability.field("access_log");
    let written = file
        .observability
        .value()
        .and_then(|field| field.access_log.value());
    let Some(access_log) = written else {
        return AccessLogPath::Stdout;
    };
    let at = place.field("format");
    check::choice_or(
        &access_log.format,
        at,
        &[("json", ())],
        "formats",
        (),
        report,
    );
    let Some(path) = access_log.path.given() else {
        return AccessLogPath::Stdout;
    };
    let at = place.field("path");
    match path.value {
        "stdout" => AccessLogPath::Stdout,
        "stderr" => AccessLogPath::Stderr,
        "off" => AccessLogPath::Off,
        text if text.contains('/') => {
            let file = sources.path(text);
            if !file.parent().is_some_and(std::path::Path::is_dir) {
                report.error(
                    at,
                    path.line,
                    format!("the folder of {text} does not exist; make it"),
                );
            }
            AccessLogPath::File(file)
        }
        _ => {
            let words = ["stdout", "stderr", "off", "a file (with a `/` in its path)"];
            check::unknown(path, at, &words, "paths", report);
            AccessLogPath::Stdout
        }
    }
}
