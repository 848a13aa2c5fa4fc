//! From what is written to what is valid: every error of a file at once.
//!
//! ```text
//! server, limits, listeners ── authentication ── admin
//! endpoints ── policies (targets name endpoints; pairs are counted) ── operations (name both)
//! ```
//!
//! A part that is wrong is reported and left out, and whoever refers to it goes on as if it were
//! right, so that one mistake is one error.

mod address;
mod admin;
mod balance;
mod callers;
mod chains;
mod check;
mod credential;
mod endpoints;
mod failover_on;
mod formats;
mod limits;
mod listeners;
mod model_place;
mod names;
mod operations;
mod policies;
mod routes;
mod server;
mod shared_state;
mod unused;
mod url;

use super::file::File;
use super::place::Place;
use super::read::{Entry, Field, entries};
use super::sources::Sources;
use super::{AccessLog, AccessLogPath, Configuration};
use crate::policy::{EndpointId, Operations, PolicyId, Snapshot, Tracing};
use names::Names;

/// The configuration that a file describes, but for its warnings; `None` where a part of it is
/// missing. What is wrong, and what is probably not meant, goes to the report of `root`.
pub(super) fn configuration(
    file: &File<'_>,
    sources: &Sources<'_>,
    root: Place<'_>,
) -> Option<Configuration> {
    let server = server::server(file.server.given(), root.field("server"));
    let limits = limits::limits(&file.limits, root.field("limits"));
    let listeners = listeners::listeners(file, sources, root);
    let authentication = callers::authentication(file, &listeners, root);
    let admin = admin::admin(file, &listeners, authentication.as_ref(), sources, root);
    let access_log = access_log(file, sources, root);
    let tracing = tracing(file, root);

    let shared_state = shared_state::shared_state(file, sources, root);

    let names = Names::of(file);
    let place = root.field("endpoints");
    let endpoints = each(&file.endpoints, place, |index, entry, place| {
        endpoints::endpoint(EndpointId(id(index)), entry, place, sources)
    });
    if file.endpoints.is_absent() || file.endpoints.value().is_some_and(Vec::is_empty) {
        let line = file.endpoints.given().map_or(1, |written| written.line);
        let message = "is missing; at least one: {NAME: {url: https://HOST}}";
        place.error(line, message);
    }
    let mut context = chains::Context::new(&names, &endpoints);
    let place = root.field("policies");
    let policies = each(&file.policies, place, |index, entry, place| {
        policies::policy(PolicyId(id(index)), entry, place, &mut context)
    });
    let pairs = context.into_pairs();
    let context = operations::Context {
        file,
        names: &names,
        endpoints: &endpoints,
        policies: &policies,
    };
    let operations = operations::operations(&context, root);
    let configuration = Configuration {
        server,
        listeners,
        admin,
        shared_state,
        access_log,
        files: Vec::new(),
        warnings: Vec::new(),
        snapshot: Snapshot {
            authentication: authentication?,
            limits,
            pairs,
            operations: Operations::new(operations.into_iter().collect::<Option<_>>()?),
            policies: policies.into_iter().collect::<Option<_>>()?,
            endpoints: endpoints.into_iter().collect::<Option<_>>()?,
            tracing,
        },
    };
    unused::warn(file, &configuration.snapshot, root);
    Some(configuration)
}

/// Resolves the entries of a field, each at its place.
fn each<'n, T, R>(
    field: &Field<Vec<Entry<'n, T>>>,
    place: Place<'_>,
    mut resolve: impl FnMut(usize, &Entry<'n, T>, Place<'_>) -> R,
) -> Vec<R> {
    let entries = entries(field);
    let mut resolved = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        resolved.push(resolve(index, entry, place.field(entry.name)));
    }
    resolved
}

/// An id of the snapshot: its place in a list, which is never as long as 32 bits count.
fn id(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn access_log(file: &File<'_>, sources: &Sources<'_>, root: Place<'_>) -> AccessLog {
    let observability = root.field("observability");
    let place = observability.field("access_log");
    let written = file.observability.value();
    let Some(written) = written.and_then(|field| field.access_log.value()) else {
        return AccessLog {
            path: AccessLogPath::Stdout,
            sample: 1.0,
        };
    };
    let at = place.field("format");
    check::choice_or(&written.format, at, &[("json", ())], "formats", ());
    let sample = check::within(&written.sample, place.field("sample"), &(0.0..=1.0));
    AccessLog {
        path: access_log_path(&written.path, sources, place.field("path")),
        sample: sample.unwrap_or(1.0),
    }
}

/// Where traces go.
fn tracing(file: &File<'_>, root: Place<'_>) -> Option<Tracing> {
    let observability = root.field("observability");
    let place = observability.field("otlp");
    let otlp = file.observability.value()?.otlp.given()?;
    let at = place.field("sample_ratio");
    let sample_ratio = check::within(&otlp.value.sample_ratio, at, &(0.0..=1.0));
    let at = place.field("endpoint");
    let endpoint = check::required(
        &otlp.value.endpoint,
        at,
        otlp.line,
        "the collector's URL, such as http://127.0.0.1:4318",
    )?;
    match url::backend(endpoint.value, 1) {
        Ok(collector) => {
            if collector.port == GRPC_PORT {
                let message = format!(
                    "{GRPC_PORT} is the port for OTLP over gRPC as a rule; traces are sent over HTTP, for which it is 4318"
                );
                at.warning(endpoint.line, message);
            }
            Some(Tracing {
                collector,
                sample_ratio: sample_ratio.unwrap_or(1.0),
            })
        }
        Err(wrong) => {
            at.error(endpoint.line, wrong);
            None
        }
    }
}

/// Where collectors take OTLP over gRPC.
const GRPC_PORT: u16 = 4317;

/// Where the access log goes. A file is told from a word by the `/` in it, so that a slip of the
/// pen in `stdout` doesn't make a file.
fn access_log_path(path: &Field<&str>, sources: &Sources<'_>, at: Place<'_>) -> AccessLogPath {
    let Some(path) = path.given() else {
        return AccessLogPath::Stdout;
    };
    match path.value {
        "stdout" => AccessLogPath::Stdout,
        "stderr" => AccessLogPath::Stderr,
        "off" => AccessLogPath::Off,
        text if text.contains('/') => {
            let file = sources.path(text);
            if !file.parent().is_some_and(std::path::Path::is_dir) {
                at.error(
                    path.line,
                    format!("the folder of {text} does not exist; make it"),
                );
            }
            AccessLogPath::File(file)
        }
        _ => {
            let words = ["stdout", "stderr", "off", "a file (with a `/` in its path)"];
            check::unknown(path, at, &words, "paths");
            AccessLogPath::Stdout
        }
    }
}
