//! Shapes that several resources share.

use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::config::{ConfigError, ConfigErrors};
use crate::gateway::suspension::Standing;
use crate::policy::Environment;
use crate::telemetry;

/// One mistake in a configuration.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Mistake {
    /// Where: `policies.chat.production.fallbacks[1].endpoint`, lists counted from 0; empty where the whole file is meant.
    path: String,
    /// On which line of the file, counted from 1; absent where the file could not be read at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    /// What is wrong and what would be right.
    message: String,
}

impl From<&ConfigError> for Mistake {
    fn from(error: &ConfigError) -> Self {
        Self {
            path: error.path.clone(),
            line: (error.line > 0).then_some(error.line),
            message: error.message.clone(),
        }
    }
}

/// All mistakes, in the order of the lines.
pub(in crate::admin) fn mistakes(errors: &ConfigErrors) -> Vec<Mistake> {
    errors.0.iter().map(Mistake::from).collect()
}

/// A moment as RFC 3339.
pub(super) fn moment(time: SystemTime) -> String {
    telemetry::rfc3339(time)
}

/// A span in milliseconds.
pub(super) fn millis(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}

/// How something that is left out for a while stands.
pub(super) const fn standing_name(standing: Standing) -> &'static str {
    match standing {
        Standing::Healthy => "healthy",
        Standing::Suspended { .. } => "suspended",
        Standing::Ended => "ended",
        Standing::Probing => "probing",
    }
}

/// The time of day of an instant, `now` being this moment.
pub(super) fn clock(instant: Instant, now: Instant) -> SystemTime {
    let today = SystemTime::now();
    match instant.checked_duration_since(now) {
        Some(ahead) => today + ahead,
        None => today - now.duration_since(instant),
    }
}

/// Production or sandbox.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum EnvironmentName {
    /// The real one.
    Production,
    /// The one to try things in.
    Sandbox,
}

impl From<EnvironmentName> for Environment {
    fn from(name: EnvironmentName) -> Self {
        match name {
            EnvironmentName::Production => Self::Production,
            EnvironmentName::Sandbox => Self::Sandbox,
        }
    }
}

impl From<Environment> for EnvironmentName {
    fn from(environment: Environment) -> Self {
        match environment {
            Environment::Production => Self::Production,
            Environment::Sandbox => Self::Sandbox,
        }
    }
}
