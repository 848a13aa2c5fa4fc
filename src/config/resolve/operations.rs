//! `operations`: what callers may invoke, and which policies it has.

mod presets;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use http::Method;

use super::super::file::{self, File};
use super::super::place::Place;
use super::super::read::{Field, Written, items};
use super::check::{choice, required, url_template};
use super::formats;
use super::model_place::{model_place, refuse_place_of_key};
use super::names::Names;
use super::routes;
use crate::policy::{
    Dialect, Endpoint, EndpointId, Environment, FailoverPolicy, Format, ModelPlace, Operation,
    OperationId, PathTemplate, PerEnvironment, Routes, always_streams,
};

/// The methods that an operation may have, and whether a body with a model in it comes with them.
const METHODS: [(&str, (Method, bool)); 7] = [
    ("POST", (Method::POST, true)),
    ("GET", (Method::GET, false)),
    ("PUT", (Method::PUT, true)),
    ("PATCH", (Method::PATCH, true)),
    ("DELETE", (Method::DELETE, false)),
    ("HEAD", (Method::HEAD, false)),
    ("OPTIONS", (Method::OPTIONS, false)),
];

/// What operations refer to. Whatever was refused is `None`, at its place in the file.
pub(super) struct Context<'c, 'n> {
    pub(super) file: &'c File<'n>,
    pub(super) names: &'c Names<'n>,
    pub(super) endpoints: &'c [Option<Endpoint>],
    pub(super) policies: &'c [Option<FailoverPolicy>],
}

/// The operations, at least one; `None` for one that was refused.
pub(super) fn operations(context: &Context<'_, '_>, root: Place<'_>) -> Vec<Option<Operation>> {
    let place = root.field("operations");
    let what = "at least one: [{path: /v1/chat/completions, policies: […]}]";
    let field = &context.file.operations;
    if let Some(written) = required(field, place, 1, what)
        && written.value.is_empty()
    {
        place.error(written.line, format!("is empty; {what}"));
    }
    let mut lines = HashMap::new();
    let mut operations = Vec::new();
    for (index, written) in items(field).filter(|(_, item)| item.value.preset.is_absent()) {
        let place = place.item(index);
        let operation = operation(written, place, context);
        if let Some(operation) = &operation {
            let key = (operation.method.clone(), Arc::clone(&operation.path));
            if let Some(first) = lines.insert(key, written.line) {
                let message = format!("is the operation on line {first} already");
                place.field("path").error(written.line, message);
            }
        }
        operations.push(operation);
    }
    operations.extend(presets::presets(context, place, lines));
    for (index, operation) in operations.iter_mut().flatten().enumerate() {
        operation.id = OperationId(super::id(index));
    }
    operations
}

fn operation(
    written: &Written<file::Operation<'_>>,
    place: Place<'_>,
    context: &Context<'_, '_>,
) -> Option<Operation> {
    let (operation, line) = (&written.value, written.line);
    let method = method(&operation.method, place.field("method"));
    let (path, template) = path(written, place.field("path")).unzip();
    let at = place.field("model_in");
    let model_in = model_place(&operation.model_in, template.iter().flatten().next(), at);
    if let (Some(model_in), Some(written)) = (&model_in, operation.model_in.given()) {
        refuse_place_of_key(model_in, context.endpoints, written.line, at);
    }
    let lists_models = answer(operation, method.as_ref(), place);
    let leads = leads(written, path, place, context);
    let at = place.field("policies");
    let listed = items(&operation.policies).next();
    if let (Some((_, first)), Some((method, false)), Some(ModelPlace::Body)) =
        (listed, &method, &model_in)
    {
        let message = format!("a {method} has no body that names a model; leave the policies out");
        at.error(first.line, message);
    }
    let (method, has_body) = method?;
    let described = described(method, path?, template?, model_in?);
    let operation = leads.applied_to(described, context);
    if !has_body
        && operation.model_in == ModelPlace::Body
        && let Some(endpoint) = asks_for_model(&operation, context)
    {
        let (name, method) = (&endpoint.name, &operation.method);
        let message = format!("`{name}` has the model in its path, and a {method} names none");
        place.field("default_endpoint").error(line, message);
    }
    Some(Operation {
        lists_models: lists_models?,
        ..operation
    })
}

/// What an operation is by its method and path, before anything is said of where it leads.
fn described(
    method: Method,
    path: &str,
    template: Option<PathTemplate>,
    model_in: ModelPlace,
) -> Operation {
    Operation {
        id: OperationId(0),
        method,
        path: Arc::from(path),
        template,
        model_in,
        format: Format::of_path(path),
        dialect: Dialect::of_path(path),
        streams: always_streams(path),
        lists_models: false,
        default_endpoint: PerEnvironment::default(),
        routes: None,
    }
}

/// Where the requests of an operation, or of all those of a preset, lead.
struct Leads {
    default_endpoint: PerEnvironment<Option<EndpointId>>,
    routes: Option<PerEnvironment<Routes>>,
}

fn leads(
    written: &Written<file::Operation<'_>>,
    path: Option<&str>,
    place: Place<'_>,
    context: &Context<'_, '_>,
) -> Leads {
    let operation = &written.value;
    let without_policies = match &operation.policies {
        Field::Absent => true,
        Field::Refused => false,
        Field::Given(list) => list.value.is_empty(),
    };
    let answered = !operation.answer.is_absent();
    if without_policies && operation.default_endpoint.is_absent() && !answered {
        let message = "leads nowhere; it needs a `default_endpoint` or `policies`";
        place.error(written.line, message);
    }
    let at = place.field("default_endpoint");
    let default_endpoint = default_endpoint(&operation.default_endpoint, path, at, context);
    let routes = policies(operation, path, place.field("policies"), context);
    Leads {
        default_endpoint,
        routes: items(&operation.policies).next().map(|_| routes),
    }
}

impl Leads {
    /// The operation, leading there. Without policies its requests are streamed through, unless the
    /// endpoint must be told the model that they name.
    fn applied_to(&self, operation: Operation, context: &Context<'_, '_>) -> Operation {
        let mut operation = Operation {
            default_endpoint: self.default_endpoint,
            routes: self.routes.clone(),
            ..operation
        };
        if asks_for_model(&operation, context).is_some() {
            operation.routes.get_or_insert_default();
        }
        operation
    }
}

/// Whether the gateway answers itself, which models there are.
fn answer(
    operation: &file::Operation<'_>,
    method: Option<&(Method, bool)>,
    place: Place<'_>,
) -> Option<bool> {
    let Some(word) = operation.answer.given() else {
        return operation.answer.is_absent().then_some(false);
    };
    let place = place.field("answer");
    choice(word, place, &[("models", ())], "answers")?;
    if method.is_some_and(|(method, _)| method != Method::GET) {
        let message = "models are asked for with GET; write `method: GET`";
        place.error(word.line, message);
    }
    if !operation.default_endpoint.is_absent() || !operation.policies.is_absent() {
        let message = "is the gateway's own answer; leave `default_endpoint` and `policies` out";
        place.error(word.line, message);
    }
    Some(true)
}

fn method(field: &Field<&str>, place: Place<'_>) -> Option<(Method, bool)> {
    let Some(word) = field.given() else {
        return Some(METHODS[0].1.clone());
    };
    let names = METHODS.each_ref().map(|(name, method)| (*name, method));
    choice(word, place, &names, "methods").cloned()
}

fn path<'n>(
    written: &Written<file::Operation<'n>>,
    place: Place<'_>,
) -> Option<(&'n str, Option<PathTemplate>)> {
    let what = "what callers ask for, such as /v1/chat/completions";
    let path = required(&written.value.path, place, written.line, what)?;
    match url_template(path.value) {
        Ok(template) => Some((path.value, template)),
        Err(wrong) => {
            let otherwise = "must be a path that begins with `/` and has no query, such as /v1/chat/completions";
            place.error(path.line, wrong.unwrap_or(otherwise));
            None
        }
    }
}

fn default_endpoint(
    field: &Field<file::DefaultEndpoint<'_>>,
    path: Option<&str>,
    place: Place<'_>,
    context: &Context<'_, '_>,
) -> PerEnvironment<Option<EndpointId>> {
    let mut result = PerEnvironment::default();
    let Some(written) = field.given() else {
        return result;
    };
    let by_environment = [&written.value.production, &written.value.sandbox];
    if by_environment.iter().all(|field| field.is_absent()) {
        let message = "names no endpoint; write {production: NAME, sandbox: NAME}, or one of them";
        place.error(written.line, message);
    }
    for (environment, field) in Environment::ALL.into_iter().zip(by_environment) {
        let at = place.field(environment.name());
        let Some(name) = field.given() else { continue };
        let Some(index) = context.names.endpoint(name, at) else {
            continue;
        };
        if let Some(endpoint) = &context.endpoints[index] {
            if let Some(path) = path {
                formats::warn_of_default(endpoint, path, at, name.line);
            }
            *result.get_mut(environment) = Some(endpoint.id);
        }
    }
    result
}

/// A default endpoint that has the model in its path, where the operation has it elsewhere: it must be
/// read from each request.
fn asks_for_model<'c>(operation: &Operation, context: &Context<'c, '_>) -> Option<&'c Endpoint> {
    if operation.model_in == ModelPlace::Path {
        return None;
    }
    let of_environment = |environment| *operation.default_endpoint.get(environment);
    let ids = Environment::ALL.into_iter().filter_map(of_environment);
    let mut endpoints = ids.filter_map(|id| formats::of(context.endpoints, id));
    endpoints.find(|endpoint| {
        let rewrite = endpoint.rewrite_path.as_ref();
        rewrite
            .is_some_and(|rewrite| rewrite.needs_model() && rewrite.rest(&operation.path).is_some())
    })
}

/// The table of the policies that are listed.
fn policies(
    operation: &file::Operation<'_>,
    path: Option<&str>,
    place: Place<'_>,
    context: &Context<'_, '_>,
) -> PerEnvironment<Routes> {
    let mut seen = HashSet::new();
    let mut table = routes::Table::default();
    for (index, name) in items(&operation.policies) {
        let at = place.item(index);
        let Some(policy) = context.names.policy(name, at) else {
            continue;
        };
        if !seen.insert(policy) {
            at.error(
                name.line,
                format!("`{}` stands in this list twice", name.value),
            );
            continue;
        }
        if let Some(resolved) = &context.policies[policy] {
            if let Some(path) = path {
                formats::check_chains(resolved, path, context.endpoints, at, name.line);
            }
            let matches = routes::matches_of(context.file, policy);
            table.add(resolved, &matches, at, name.line);
        }
    }
    table.finish()
}
