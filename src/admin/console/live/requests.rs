//! The last requests, and which of them are shown.

use serde::Deserialize;

use crate::admin::Live;
use crate::admin::console::trail::{Trail, span};
use crate::telemetry::metrics::RequestOutcome;
use crate::telemetry::{RequestRecord, rfc3339};

/// How many are shown.
const SHOWN: usize = 50;

/// What the page was asked for.
#[derive(Default, Deserialize)]
pub(super) struct Which {
    /// A part of a model, policy, caller, endpoint or request id.
    #[serde(default)]
    pub(super) text: String,
    /// Only what went so: `failover`, `rescue` or `failure`.
    #[serde(default)]
    pub(super) only: String,
    /// The model to explain.
    pub(super) explain: Option<String>,
    /// For whom.
    pub(super) environment: Option<String>,
}

/// A request, as the page shows it.
pub(super) struct RequestRow {
    pub(super) id: String,
    pub(super) time: String,
    pub(super) path: String,
    pub(super) model: Option<String>,
    pub(super) policy: Option<String>,
    pub(super) caller: Option<String>,
    pub(super) environment: Option<&'static str>,
    pub(super) outcome: &'static str,
    pub(super) kind: &'static str,
    pub(super) status: Option<u16>,
    pub(super) duration: String,
    pub(super) trail: Trail,
}

/// Those that were asked for, the latest first.
pub(super) fn rows(live: &dyn Live, which: &Which) -> Vec<RequestRow> {
    let recent = live.recent().into_iter();
    let asked = recent.filter(|record| which.matches(record));
    asked.take(SHOWN).map(|record| row(&record)).collect()
}

impl Which {
    fn matches(&self, record: &RequestRecord) -> bool {
        let outcome = RequestOutcome::of(record);
        let fits = match &*self.only {
            "failover" => outcome == RequestOutcome::FailedOver,
            "rescue" => is_rescued(record),
            "failure" => outcome.is_failure(),
            _ => true,
        };
        let text = self.text.trim();
        fits && (text.is_empty() || mentions(record, text))
    }
}

fn is_rescued(record: &RequestRecord) -> bool {
    let stream = record.stream.as_ref();
    stream.is_some_and(|stream| !stream.rescued_at.is_empty())
}

fn mentions(record: &RequestRecord, text: &str) -> bool {
    let text = text.to_lowercase();
    let has = |word: &str| word.to_lowercase().contains(&text);
    let words = [
        record.model.as_deref(),
        record.policy.as_deref(),
        record.caller.as_deref(),
        Some(record.path.as_str()),
        Some(&*record.request_id),
    ];
    words.into_iter().flatten().any(has)
        || record
            .attempts
            .iter()
            .any(|attempt| has(&attempt.endpoint) || attempt.model.as_deref().is_some_and(has))
}

fn row(record: &RequestRecord) -> RequestRow {
    let (outcome, kind) = match RequestOutcome::of(record) {
        _ if is_rescued(record) && record.error.is_none() => ("rescued", "warning"),
        RequestOutcome::Success => ("success", "good"),
        RequestOutcome::FailedOver => ("failed over", "warning"),
        RequestOutcome::ClientGone => ("caller left", ""),
        RequestOutcome::ClientError | RequestOutcome::Rejected => ("refused", ""),
        RequestOutcome::Suspended => ("all suspended", "bad"),
        RequestOutcome::Overloaded => ("overloaded", "bad"),
        RequestOutcome::UpstreamError | RequestOutcome::Failed => ("failed", "bad"),
        RequestOutcome::Broken => ("broken", "bad"),
        RequestOutcome::Shutdown => ("shut down", "bad"),
        RequestOutcome::InternalError => ("internal error", "bad"),
    };
    let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
    let time = rfc3339(record.started);
    RequestRow {
        id: record.request_id.to_string(),
        time: time.get(11..19).unwrap_or(&time).to_owned(),
        path: format!("{} {}", record.method, record.path.as_str()),
        model: record.model.as_deref().map(str::to_owned),
        policy: text(&record.policy),
        caller: text(&record.caller),
        environment: record.environment.map(crate::policy::Environment::name),
        outcome,
        kind,
        status: record.status,
        duration: span(record.duration),
        trail: Trail::of(record),
    }
}
