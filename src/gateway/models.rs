//! Which models there are, told by the gateway itself: what its policies match in the caller's
//! environment.
//!
//! A list can only name what has a name. Exact names are listed as they are; a pattern stands for its
//! policy's targets, those of them that a caller who asks for them by name would be led to by it. A
//! question about one model is answered for every name that a policy matches.
//!
//! The shape is that of the API that is asked: Gemini's below `/v1beta` and for callers who send their
//! key in `x-goog-api-key`, Anthropic's for those who send `anthropic-version` (their clients do, and
//! their paths are `OpenAI`'s), else `OpenAI`'s. Each lists the models of its own operations. Nothing is known of a model's age, so it is the epoch's.

use std::collections::BTreeSet;

use http::HeaderMap;
use serde_json::{Value, json};

use super::error::Rejection;
use crate::policy::{Dialect, Environment, Operation, Snapshot};

const EPOCH: &str = "1970-01-01T00:00:00Z";

/// Whose models are asked for, by the path and the headers.
fn dialect(path: &str, headers: &HeaderMap) -> Dialect {
    if path.starts_with("/v1beta/") || headers.contains_key("x-goog-api-key") {
        Dialect::Gemini
    } else if headers.contains_key("anthropic-version") {
        Dialect::Anthropic
    } else {
        Dialect::OpenAi
    }
}

/// The answer to a request that asks which models there are; `asked`: about one.
///
/// # Errors
/// 404 for a model that no policy matches.
pub(super) fn answer(
    snapshot: &Snapshot,
    environment: Environment,
    path: &str,
    headers: &HeaderMap,
    asked: Option<&str>,
) -> Result<Value, Rejection> {
    let dialect = dialect(path, headers);
    let operations = snapshot.operations.iter();
    let operations: Vec<_> = operations
        .filter(|operation| operation.dialect == dialect)
        .collect();
    let shape = |name: &str| shape(snapshot, &operations, environment, dialect, name);
    if let Some(name) = asked {
        let known = |operation: &&Operation| snapshot.route(operation, environment, name).is_some();
        if !operations.iter().any(known) {
            return Err(Rejection::unknown_model(name));
        }
        return Ok(shape(name));
    }
    let names = names(snapshot, &operations, environment);
    let models: Vec<_> = names.iter().map(|name| shape(name)).collect();
    Ok(match dialect {
        Dialect::Gemini => json!({"models": models}),
        Dialect::Anthropic => json!({
            "data": models,
            "has_more": false,
            "first_id": names.first(),
            "last_id": names.last(),
        }),
        _ => json!({"object": "list", "data": models}),
    })
}

/// The names that the policies of operations match, each once.
fn names<'s>(
    snapshot: &'s Snapshot,
    operations: &[&'s Operation],
    environment: Environment,
) -> BTreeSet<&'s str> {
    let mut names = BTreeSet::new();
    for operation in operations {
        let Some(routes) = &operation.routes else {
            continue;
        };
        let routes = routes.get(environment);
        names.extend(routes.names());
        for (_, policy) in routes.patterns() {
            let chain = snapshot.policy(policy).chains.get(environment).iter();
            let models = chain.flat_map(|chain| chain.targets().map(|target| &*target.model));
            names.extend(models.filter(|model| routes.find(model) == Some(policy)));
        }
    }
    names
}

/// One model, as its API tells of it.
fn shape(
    snapshot: &Snapshot,
    operations: &[&Operation],
    environment: Environment,
    dialect: Dialect,
    name: &str,
) -> Value {
    match dialect {
        Dialect::Gemini => {
            let serves =
                |operation: &&&Operation| snapshot.route(operation, environment, name).is_some();
            let verb = |operation: &&Operation| Some(operation.path.rsplit_once(':')?.1.to_owned());
            let mut methods: Vec<_> = operations.iter().filter(serves).filter_map(verb).collect();
            // The verbs of both versions of the API are there, in the same order.
            let mut seen = BTreeSet::new();
            methods.retain(|method| seen.insert(method.clone()));
            json!({
                "name": format!("models/{name}"),
                "displayName": name,
                "supportedGenerationMethods": methods,
            })
        }
        Dialect::Anthropic => {
            json!({"type": "model", "id": name, "display_name": name, "created_at": EPOCH})
        }
        _ => json!({"id": name, "object": "model", "created": 0, "owned_by": "standin"}),
    }
}
