//! What a request for a model would do, told in words from the configuration alone.

use super::units::show_duration;
use crate::policy::{
    Backend, Chain, Endpoint, Environment, FailoverPolicy, MODEL, Operation, Pattern, Scheme,
    Snapshot, StreamRescue, Target, TargetBalance, WhenAllSuspended, percent_encode,
};

/// The operations of a path, or all with policies.
///
/// # Errors
/// That there are none, and which there are.
pub fn operations<'s>(
    snapshot: &'s Snapshot,
    path: Option<&str>,
) -> Result<Vec<&'s Operation>, String> {
    let asked = |operation: &&Operation| match path {
        Some(path) => &*operation.path == path,
        None => operation.routes.is_some(),
    };
    let found: Vec<_> = snapshot.operations.iter().filter(asked).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let paths: Vec<_> = snapshot
        .operations
        .iter()
        .map(|operation| &*operation.path)
        .collect();
    Err(match path {
        Some(path) => format!(
            "no operation has the path {path}; there are: {}",
            paths.join(", ")
        ),
        None => format!(
            "no operation has policies; name one with --operation: {}",
            paths.join(", ")
        ),
    })
}

/// What a request for `model` on `operation` would do, in words.
pub fn story(
    snapshot: &Snapshot,
    operation: &Operation,
    environment: Environment,
    model: &str,
) -> String {
    let Operation { method, path, .. } = operation;
    let head = format!("{method} {path}, {environment}, model {model}\n\n");
    let routes = operation
        .routes
        .as_ref()
        .map(|routes| routes.get(environment));
    let found = routes.and_then(|routes| {
        let (id, pattern) = routes.matching(model)?;
        let policy = snapshot.policy(id);
        Some((policy, policy.chains.get(environment).as_ref()?, pattern))
    });
    head + &match found {
        Some((policy, chain, pattern)) => {
            with_policy(snapshot, policy, chain, pattern, &operation.path, model)
        }
        None => without_policy(snapshot, operation, environment, model),
    }
}

fn without_policy(
    snapshot: &Snapshot,
    operation: &Operation,
    environment: Environment,
    model: &str,
) -> String {
    let why = if operation.routes.is_some() {
        format!("No policy of the operation matches it in {environment}")
    } else {
        "The operation has no policies".to_owned()
    };
    match operation.default_endpoint.get(environment) {
        Some(id) => {
            let endpoint = snapshot.endpoint(*id);
            let addresses = addresses(endpoint, &operation.path, model).join("\n  ");
            let name = &endpoint.name;
            format!(
                "{why}: one attempt at the default endpoint {name}, nothing changed.\n  {addresses}\n"
            )
        }
        None => format!("{why}, and it has no default endpoint there: 404 model_not_found.\n"),
    }
}

fn with_policy(
    snapshot: &Snapshot,
    policy: &FailoverPolicy,
    chain: &Chain,
    pattern: Option<&Pattern>,
    path: &str,
    model: &str,
) -> String {
    let why = match pattern {
        None => "by its exact name".to_owned(),
        Some(pattern) => format!("by the pattern {}", pattern.as_str()),
    };
    let mut text = format!("Policy {} matches {model}, {why}.\n\n", policy.name);
    text.push_str(&order(policy, chain));
    text.push_str(&targets(snapshot, policy, chain, path));
    text.push('\n');
    for (what, value) in rules(policy) {
        text.push_str(&format!("  {what:<20} {value}\n"));
    }
    text
}

/// In which order the targets are asked.
fn order(policy: &FailoverPolicy, chain: &Chain) -> String {
    let set = chain.target.len();
    if set == 1 {
        return "Targets, in this order:\n".to_owned();
    }
    let choice = match &policy.balance {
        TargetBalance::Weighted => "goes by weight".to_owned(),
        TargetBalance::Latency => {
            "falls on the quicker of two, by the time to the first token".to_owned()
        }
        TargetBalance::Sticky { header: None } => {
            "is the same for requests with the same first messages".to_owned()
        }
        TargetBalance::Sticky {
            header: Some(header),
        } => {
            format!(
                "is the same for requests with the same {header}, or without it the same first messages"
            )
        }
    };
    let then = match chain.fallbacks.len() {
        0 => "",
        _ => ", then the rest in this order",
    };
    format!(
        "Targets: the choice among the first {set} {choice};\nafter a failure among those that are left{then}:\n"
    )
}

/// The targets with the addresses where they are asked.
fn targets(snapshot: &Snapshot, policy: &FailoverPolicy, chain: &Chain, path: &str) -> String {
    let shares = policy.balance != TargetBalance::Latency && chain.target.len() > 1;
    let total: u32 = chain.target.iter().map(|target| target.weight).sum();
    let mut rows = Vec::new();
    for (number, target) in (1..).zip(chain.targets()) {
        let endpoint = snapshot.endpoint(target.endpoint);
        let Target { model, weight, .. } = target;
        let mut what = format!("{number}. {model} at {}", endpoint.name);
        if number <= chain.target.len() && shares {
            what.push_str(&format!(", {weight} of {total} requests"));
        }
        for address in addresses(endpoint, path, model) {
            rows.push((std::mem::take(&mut what), address));
        }
    }
    let width = rows
        .iter()
        .map(|(what, _)| what.chars().count())
        .max()
        .unwrap_or_default();
    let row = |(what, address): &(String, String)| format!("  {what:<width$}  {address}\n");
    rows.iter().map(row).collect()
}

/// The URLs of an operation at the backends of an endpoint, which know the model by this name.
fn addresses(endpoint: &Endpoint, path: &str, model: &str) -> Vec<String> {
    let rewritten = endpoint.rewrite_path.as_ref().and_then(|rewrite| {
        let rest = rewrite.rest(path)?;
        Some(format!("{}{rest}", rewrite.to()))
    });
    let path = rewritten.as_deref().unwrap_or(path);
    let path = path.replace(MODEL, &percent_encode(model));
    let parameters: Vec<_> = endpoint.query.iter().map(|own| &*own.text).collect();
    let query = match &*parameters {
        [] => String::new(),
        parameters => format!("?{}", parameters.join("&")),
    };
    let total: u32 = endpoint.backends.iter().map(|backend| backend.weight).sum();
    let address = |backend: &Backend| {
        let scheme = match backend.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let share = match endpoint.backends.len() {
            1 => String::new(),
            _ => format!(" ({} of {total})", backend.weight),
        };
        format!(
            "{scheme}://{}{}{path}{query}{share}",
            backend.authority(),
            backend.base_path
        )
    };
    endpoint.backends.iter().map(address).collect()
}

/// What decides when a target is left for the next.
fn rules(policy: &FailoverPolicy) -> [(&'static str, String); 9] {
    let retries = match policy.retries {
        0 => "none: a failed target is left for the next at once".to_owned(),
        retries => format!(
            "{retries} at the same target, {} to {} apart",
            show_duration(policy.retry_backoff.base),
            show_duration(policy.retry_backoff.max)
        ),
    };
    let retry_after = match policy.max_retry_after {
        wait if wait.is_zero() => "not waited for".to_owned(),
        wait => format!("waited out up to {}, once", show_duration(wait)),
    };
    let suspension = match policy.suspend_duration {
        span if span.is_zero() => "none: failures are not remembered".to_owned(),
        span => format!(
            "{} for a failed pair, up to {} where its answer asks for it",
            show_duration(span),
            show_duration(policy.max_suspend_duration.max(span))
        ),
    };
    let overall = policy
        .overall_timeout
        .map_or("no limit".to_owned(), show_duration);
    let all_suspended = match policy.when_all_suspended {
        WhenAllSuspended::Reject => "503 with Retry-After",
        WhenAllSuspended::TrySoonest => "the one that comes back soonest is tried",
    };
    let broken_stream = match policy.stream_rescue {
        StreamRescue::Continue => "continued by the next target",
        StreamRescue::Off => "ends with an error",
    };
    [
        ("one attempt", show_duration(policy.request_timeout)),
        ("first token", show_duration(policy.first_token_timeout)),
        (
            "pause in a stream",
            show_duration(policy.stream_idle_timeout),
        ),
        ("all together", overall),
        ("retries", retries),
        ("Retry-After", retry_after),
        ("suspension", suspension),
        ("all suspended", all_suspended.to_owned()),
        ("broken stream", broken_stream.to_owned()),
    ]
}
