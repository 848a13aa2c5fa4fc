//! From a request to what is done with it: which model it names, and so which policy.

use super::body::Body;
use super::error::Rejection;
use super::model_field::{self, ModelField, ModelFieldError};
use super::table::Table;
use crate::policy::{Chain, EndpointId, Environment, FailoverPolicy, Operation};

/// Where a request goes.
pub(super) enum Route<'a> {
    /// Along the chain of a policy.
    Policy(&'a FailoverPolicy, &'a Chain),
    /// To the operation's default endpoint, unchanged.
    Default(EndpointId),
}

/// The model that a body names.
///
/// # Errors
/// 400 for a body that names none, or in which two readers could find two.
pub(super) fn model(body: &Body) -> Result<ModelField<'_>, Rejection> {
    model_field::find_model(&body.bytes).map_err(|error| {
        let code = match error {
            ModelFieldError::NoModel => "missing_model",
            _ => "invalid_body",
        };
        Rejection::bad_body(code, error.to_string())
    })
}

/// Where a model leads to.
///
/// # Errors
/// 404 where no policy names the model and the operation has no default endpoint.
pub(super) fn route<'a>(
    table: &'a Table,
    operation: &Operation,
    environment: Environment,
    model: &str,
) -> Result<Route<'a>, Rejection> {
    let policy = table
        .snapshot
        .route(operation, environment, model)
        .and_then(|policy| Some((policy, policy.chains.get(environment).as_ref()?)));
    match (policy, operation.default_endpoint.get(environment)) {
        (Some((policy, chain)), _) => Ok(Route::Policy(policy, chain)),
        (None, Some(endpoint)) => Ok(Route::Default(*endpoint)),
        (None, None) => Err(Rejection::unknown_model(model)),
    }
}
