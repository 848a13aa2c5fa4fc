//! The parameters of queries.

use serde::Deserialize;
use utoipa::IntoParams;

use super::shapes::EnvironmentName;

/// Whether to do it.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DryRun {
    /// Only say what would change.
    #[serde(default)]
    pub(super) dry_run: bool,
}

/// Which of them.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// At most so many.
    #[serde(default = "all")]
    pub(super) limit: usize,
}

const fn all() -> usize {
    usize::MAX
}

/// What is asked.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Question {
    /// The environment of the caller's key.
    pub(super) environment: EnvironmentName,
    /// The model that the caller names.
    pub(super) model: String,
    /// The path of one operation; default: every operation with policies.
    pub(super) operation: Option<String>,
}
