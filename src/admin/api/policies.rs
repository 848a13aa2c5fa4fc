//! `/api/v1/policies`: the failover policies, and changes of them that last.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::changes::{Change, Tagged, changed, seen, tagged};
use super::parameters::DryRun;
use crate::admin::access::Operator;
use crate::admin::edits::{self, Refused, Request, Tag};
use crate::admin::extract::{Json, Path, Query};
use crate::admin::problem::Problem;
use crate::admin::{State as Shared, blocking};
use crate::config::edit::{self, EditError, OperationName};
use crate::config::units::show_duration;
use crate::policy::{Chain, Environment, FailoverPolicy, PolicyId, Routes, Snapshot, Target};

/// A failover policy as it is in use.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct PolicyNow {
    pub(in crate::admin) name: String,
    /// The operations that it is attached to, with the model names and patterns that lead to it there.
    pub(in crate::admin) operations: Vec<Attached>,
    /// Its targets in production, in the order in which they are tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    production: Option<ChainNow>,
    /// Its targets in sandbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox: Option<ChainNow>,
    /// Of one attempt.
    pub(in crate::admin) request_timeout: String,
    /// How long a failed pair is left out at least; `0s`: nothing is remembered.
    pub(in crate::admin) suspend_duration: String,
    /// Further tries at the same target after a transient failure.
    retries: u32,
}

/// Where a policy is attached.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct Attached {
    pub(in crate::admin) method: String,
    pub(in crate::admin) path: String,
    pub(in crate::admin) matches: Vec<String>,
}

/// Targets in their order.
#[derive(Serialize, ToSchema)]
pub(super) struct ChainNow {
    /// The first choice; several are a weighted set.
    target: Vec<TargetNow>,
    fallbacks: Vec<TargetNow>,
}

/// A model at an endpoint.
#[derive(Serialize, ToSchema)]
pub(super) struct TargetNow {
    model: String,
    endpoint: String,
    weight: u32,
}

/// A policy as it is written in the file.
#[derive(Serialize, ToSchema)]
pub(super) struct PolicyText {
    name: String,
    /// Its YAML, with its comments.
    yaml: String,
    /// The operations that it is attached to.
    operations: Vec<Place>,
}

/// An item of `operations` in the file.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Place {
    /// All operations of a preset.
    Preset { preset: String },
    /// One that is written out.
    One {
        #[serde(default = "post")]
        method: String,
        path: String,
    },
}

impl From<&Place> for OperationName {
    fn from(place: &Place) -> Self {
        match place {
            Place::Preset { preset } => Self::Preset(preset.clone()),
            Place::One { method, path } => Self::One {
                method: method.clone(),
                path: path.clone(),
            },
        }
    }
}

impl From<OperationName> for Place {
    fn from(name: OperationName) -> Self {
        match name {
            OperationName::Preset(preset) => Self::Preset { preset },
            OperationName::One { method, path } => Self::One { method, path },
        }
    }
}

fn post() -> String {
    "POST".to_owned()
}

/// What a policy shall be.
#[derive(Deserialize, ToSchema)]
pub(super) struct Written {
    /// Its fields, as in the configuration file; or `yaml`.
    #[schema(value_type = Option<Object>)]
    policy: Option<Box<RawValue>>,
    /// The same as YAML text, which keeps its comments and layout.
    yaml: Option<String>,
    /// The operations that it shall be attached to; without this they stay as they are.
    operations: Option<Vec<Place>>,
}

/// A new policy.
#[derive(Deserialize, ToSchema)]
pub(super) struct New {
    name: String,
    /// Its fields, as in the configuration file; or `yaml`.
    #[schema(value_type = Option<Object>)]
    policy: Option<Box<RawValue>>,
    /// The same as YAML text, which keeps its comments and layout.
    yaml: Option<String>,
    /// The operations that it shall be attached to.
    operations: Option<Vec<Place>>,
}

impl Written {
    fn body(&self) -> Result<String, Problem> {
        match (&self.policy, &self.yaml) {
            (Some(policy), None) => Ok(policy.get().to_owned()),
            (None, Some(yaml)) => Ok(yaml.clone()),
            _ => Err(Problem::unprocessable(
                "give `policy` (its fields) or `yaml` (its text)",
            )),
        }
    }

    fn operations(&self) -> Option<BTreeSet<OperationName>> {
        let places = self.operations.as_ref()?;
        Some(places.iter().map(OperationName::from).collect())
    }
}

/// All failover policies, as they are in use.
#[utoipa::path(get, path = "/policies", operation_id = "listPolicies", responses((status = 200, body = Vec<PolicyNow>)))]
pub(super) async fn list(State(state): State<Arc<Shared>>) -> Json<Vec<PolicyNow>> {
    let configuration = state.live.configuration();
    Json(all((*configuration).as_ref()))
}

/// A policy as it is written in the file. The header `etag` is what a change asks for.
#[utoipa::path(
    get,
    path = "/policies/{name}",
    operation_id = "getPolicy",
    params(("name" = String, Path, description = "The policy's name")),
    responses(
        (status = 200, body = PolicyText, headers(("etag" = String, description = "Of the file"))),
        (status = 404, description = "No such policy", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn get(
    State(state): State<Arc<Shared>>,
    Path(name): Path<String>,
) -> Result<Tagged<PolicyText>, Problem> {
    let store = edits::store(&*state.live)?;
    let wanted = name.clone();
    let read = blocking(move || {
        let text = store.read()?;
        let policy = edit::policy_text(&text, &wanted)?;
        Ok::<_, Refused>((Tag::of(&text), policy))
    });
    let (tag, policy) = read.await??;
    let policy = policy.ok_or_else(|| Problem::from(Refused::from(EditError::NoPolicy)))?;
    Ok(tagged(
        &tag,
        PolicyText {
            name,
            yaml: policy.yaml,
            operations: policy.operations.into_iter().map(Place::from).collect(),
        },
    ))
}

/// Change a policy, or create one. `if-match` must be the `etag` that was seen.
#[utoipa::path(
    put,
    path = "/policies/{name}",
    operation_id = "putPolicy",
    params(("name" = String, Path, description = "The policy's name"), DryRun, ("if-match" = String, Header, description = "The etag that was seen, or `*`")),
    request_body = Written,
    responses(
        (status = 200, body = Change, headers(("etag" = String, description = "Of the file"))),
        (status = 409, description = "The file has changed since", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "It has errors; nothing has changed", body = Problem, content_type = "application/problem+json"),
        (status = 428, description = "Without if-match", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn put(
    State(state): State<Arc<Shared>>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<String>,
    Query(dry_run): Query<DryRun>,
    headers: HeaderMap,
    Json(written): Json<Written>,
) -> Result<Tagged<Change>, Problem> {
    let what = format!("policy {name} was written");
    let request = request(operator, what, &dry_run, &headers)?;
    put_written(&state, request, name, &written, false).await
}

/// Create a policy; one of that name must not be there. `if-match` must be the `etag` that was seen.
#[utoipa::path(
    post,
    path = "/policies",
    operation_id = "createPolicy",
    params(DryRun, ("if-match" = String, Header, description = "The etag that was seen, or `*`")),
    request_body = New,
    responses(
        (status = 200, body = Change, headers(("etag" = String, description = "Of the file"))),
        (status = 409, description = "There is one of that name, or the file has changed since", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "It has errors; nothing has changed", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn create(
    State(state): State<Arc<Shared>>,
    Extension(operator): Extension<Operator>,
    Query(dry_run): Query<DryRun>,
    headers: HeaderMap,
    Json(new): Json<New>,
) -> Result<Tagged<Change>, Problem> {
    let written = Written {
        policy: new.policy,
        yaml: new.yaml,
        operations: new.operations,
    };
    let name = new.name;
    let what = format!("policy {name} was created");
    let request = request(operator, what, &dry_run, &headers)?;
    put_written(&state, request, name, &written, true).await
}

/// Delete a policy and take it from its operations. `if-match` must be the `etag` that was seen.
#[utoipa::path(
    delete,
    path = "/policies/{name}",
    operation_id = "deletePolicy",
    params(("name" = String, Path, description = "The policy's name"), DryRun, ("if-match" = String, Header, description = "The etag that was seen, or `*`")),
    responses(
        (status = 200, body = Change, headers(("etag" = String, description = "Of the file"))),
        (status = 404, description = "No such policy", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The file has changed since", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The rest would have errors; nothing has changed", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn delete(
    State(state): State<Arc<Shared>>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<String>,
    Query(dry_run): Query<DryRun>,
    headers: HeaderMap,
) -> Result<Tagged<Change>, Problem> {
    let what = format!("policy {name} was deleted");
    let request = request(operator, what, &dry_run, &headers)?;
    let change = move |_: &_, text: &str| Ok(edit::delete_policy(text, &name)?);
    Ok(changed(
        state.edits.change(&*state.live, request, change).await?,
    ))
}

async fn put_written(
    state: &Shared,
    request: Request,
    name: String,
    written: &Written,
    new: bool,
) -> Result<Tagged<Change>, Problem> {
    let (body, operations) = (written.body()?, written.operations());
    let change = move |_: &_, text: &str| {
        let put = if new {
            edit::add_policy
        } else {
            edit::put_policy
        };
        put(text, &name, &body, operations.as_ref()).map_err(|error| match error {
            EditError::Taken => Refused::Taken(Tag::of(text)),
            error => error.into(),
        })
    };
    Ok(changed(
        state.edits.change(&*state.live, request, change).await?,
    ))
}

fn request(
    Operator(by): Operator,
    what: String,
    dry_run: &DryRun,
    headers: &HeaderMap,
) -> Result<Request, Problem> {
    Ok(Request {
        by,
        what,
        seen: seen(headers)?,
        dry_run: dry_run.dry_run,
    })
}

/// All policies of a snapshot, with what leads to them.
pub(in crate::admin) fn all(snapshot: &Snapshot) -> Vec<PolicyNow> {
    let mut attached: HashMap<PolicyId, Vec<Attached>> = HashMap::new();
    for operation in snapshot.operations.iter() {
        let mut matches: HashMap<PolicyId, BTreeSet<String>> = HashMap::new();
        for environment in Environment::ALL {
            let routes = operation
                .routes
                .as_ref()
                .map(|routes| routes.get(environment));
            for (name, policy) in routes.into_iter().flat_map(Routes::iter) {
                matches.entry(policy).or_default().insert(name.to_owned());
            }
        }
        for (policy, matches) in matches {
            attached.entry(policy).or_default().push(Attached {
                method: operation.method.to_string(),
                path: operation.path.to_string(),
                matches: matches.into_iter().collect(),
            });
        }
    }
    let now = |policy: &FailoverPolicy| {
        let operations = attached.remove(&policy.id).unwrap_or_default();
        policy_now(snapshot, policy, operations)
    };
    snapshot.policies.iter().map(now).collect()
}

fn policy_now(
    snapshot: &Snapshot,
    policy: &FailoverPolicy,
    operations: Vec<Attached>,
) -> PolicyNow {
    let chain = |environment| {
        let chain: Option<&Chain> = policy.chains.get(environment).as_ref();
        chain.map(|chain| chain_now(snapshot, chain))
    };
    PolicyNow {
        name: policy.name.to_string(),
        operations,
        production: chain(Environment::Production),
        sandbox: chain(Environment::Sandbox),
        request_timeout: show_duration(policy.request_timeout),
        suspend_duration: show_duration(policy.suspend_duration),
        retries: policy.retries,
    }
}

fn chain_now(snapshot: &Snapshot, chain: &Chain) -> ChainNow {
    let target = |target: &Target| TargetNow {
        model: target.model.to_string(),
        endpoint: snapshot.endpoint(target.endpoint).name.to_string(),
        weight: target.weight,
    };
    ChainNow {
        target: chain.target.iter().map(target).collect(),
        fallbacks: chain.fallbacks.iter().map(target).collect(),
    }
}
