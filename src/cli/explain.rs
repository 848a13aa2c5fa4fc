//! `standin explain`: what a request for a model would do, without sending one.

use std::path::PathBuf;

use super::EnvironmentArgument;
use super::console::{Console, Exit};
use crate::config::units::show_duration;
use crate::policy::{
    Backend, Chain, Endpoint, Environment, FailoverPolicy, MODEL, Operation, Pattern, Scheme,
    Snapshot, StreamRescue, Target, TargetBalance, WhenAllSuspended, percent_encode,
};

/// Say what a request for a model would do: which policy, which targets, which timeouts.
///
/// Nothing is sent anywhere.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    conf: PathBuf,

    /// The environment of the caller's key.
    #[arg(long, value_enum)]
    environment: EnvironmentArgument,

    /// The model that the caller names.
    #[arg(long)]
    model: String,

    /// The path of one operation; default: every operation with policies.
    #[arg(long, value_name = "PATH")]
    operation: Option<String>,
}

pub(super) fn explain(arguments: &Arguments, console: &mut Console<'_>) -> Exit {
    let Some(configuration) = console.load(&arguments.conf) else {
        return Exit::Refused;
    };
    let snapshot = &configuration.snapshot;
    let environment = arguments.environment.into();
    match operations(snapshot, arguments.operation.as_deref()) {
        Ok(operations) => {
            let of = |operation| story(snapshot, operation, environment, &arguments.model);
            let stories: Vec<_> = operations.into_iter().map(of).collect();
            console.say(&stories.join("\n"));
            Exit::Fine
        }
        Err(message) => {
            console.complain(&format!("standin: {message}\n"));
            Exit::Usage
        }
    }
}

/// The operations of a path, or all with policies.
fn operations<'s>(
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

fn story(
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

#[cfg(test)]
mod tests {
    use super::super::tests::called;
    use super::*;

    const CONF: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/standin.yaml");

    fn explained(environment: &str, model: &str, more: &[&str]) -> (Exit, String, String) {
        let arguments = [
            "explain",
            "--conf",
            CONF,
            "--environment",
            environment,
            "--model",
            model,
        ];
        called(&[&arguments, more].concat())
    }

    #[test]
    fn a_policy_is_told_with_its_targets() {
        let (exit, out, err) = explained("production", "gpt-4o-2024-11-20", &[]);
        assert_eq!((exit, &*err), (Exit::Fine, ""));
        assert_eq!(
            out,
            "\
POST /v1/chat/completions, production, model gpt-4o-2024-11-20

Policy chat matches gpt-4o-2024-11-20, by the pattern gpt-4o-*.

Targets, in this order:
  1. gpt-4o at openai                 https://api.openai.com/v1/chat/completions
  2. mistral-large-latest at mistral  https://api.mistral.ai/v1/chat/completions
  3. llama-3.3-70b at own-gpus        http://10.0.0.11:8000/v1/chat/completions (2 of 3)
                                      http://10.0.0.12:8000/v1/chat/completions (1 of 3)

  one attempt          30s
  first token          10s
  pause in a stream    30s
  all together         2m
  retries              1 at the same target, 200ms to 2s apart
  Retry-After          waited out up to 5s, once
  suspension           1m for a failed pair, up to 10m where its answer asks for it
  all suspended        the one that comes back soonest is tried
  broken stream        continued by the next target
"
        );
    }

    #[test]
    fn a_weighted_set_tells_the_shares() {
        let (_, out, _) = explained("production", "gpt-4o-mini", &[]);
        for line in [
            "Policy small-chat matches gpt-4o-mini, by its exact name.",
            "Targets: the choice among the first 2 goes by weight;",
            "after a failure among those that are left, then the rest in this order:",
            "  1. gpt-4o-mini at openai, 3 of 4 requests            https://api.openai.com/v1/chat/completions",
            "  2. mistral-small-latest at mistral, 1 of 4 requests  https://api.mistral.ai/v1/chat/completions",
            "  all together         no limit",
            "  retries              none: a failed target is left for the next at once",
            "  Retry-After          not waited for",
            "  all suspended        503 with Retry-After",
        ] {
            assert!(out.lines().any(|found| found == line), "{line}\n{out}");
        }
    }

    #[test]
    fn a_set_tells_how_the_choice_falls() {
        let told = |fields: &str| {
            let text = format!(
                "
listeners: [{{address: 127.0.0.1:1}}]
authentication: none
environment: production
endpoints: {{e: {{url: https://e.example}}}}
operations: [{{path: /v1/chat/completions, policies: [p]}}]
policies:
  p: {{{fields}}}
"
            );
            let snapshot = crate::config::parse(&text, &|_| None).unwrap().snapshot;
            story(
                &snapshot,
                &snapshot.operations[0],
                Environment::Production,
                "a",
            )
        };
        let set = "production: {target: [{model: a, endpoint: e}, {model: b, endpoint: e}]}";
        let list = "production: [{model: a, endpoint: e}, {model: b, endpoint: e}]";
        for (fields, expected) in [
            (
                format!("{set}, balance: latency"),
                "Targets: the choice among the first 2 falls on the quicker of two, by the time to the first token;
after a failure among those that are left:
  1. a at e  https://e.example/v1/chat/completions
",
            ),
            (
                format!("{set}, balance: sticky"),
                "Targets: the choice among the first 2 is the same for requests with the same first messages;
after a failure among those that are left:
  1. a at e, 1 of 2 requests  https://e.example/v1/chat/completions
",
            ),
            (
                format!("{set}, balance: sticky, sticky_header: x-session-id"),
                "is the same for requests with the same x-session-id, or without it the same first messages;",
            ),
            (
                format!("type: round_robin, {list}"),
                "Policy p matches a, by the pattern *.

Targets: the choice among the first 2 goes by weight;
",
            ),
        ] {
            let text = told(&fields);
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn without_a_policy_the_default_endpoint_is_told() {
        let (_, out, _) = explained("sandbox", "claude", &[]);
        assert_eq!(
            out,
            "POST /v1/chat/completions, sandbox, model claude\n\n\
             No policy of the operation matches it in sandbox: one attempt at the default endpoint openai, nothing changed.\n  \
             https://api.openai.com/v1/chat/completions\n"
        );
        let (_, out, _) = explained("sandbox", "x", &["--operation", "/v1/models"]);
        assert_eq!(
            out,
            "GET /v1/models, sandbox, model x\n\n\
             The operation has no policies: one attempt at the default endpoint openai, nothing changed.\n  \
             https://api.openai.com/v1/models\n"
        );
    }

    #[test]
    fn an_operation_that_is_not_there_is_wrong_usage() {
        let (exit, out, err) = explained("sandbox", "x", &["--operation", "/v1/model"]);
        assert_eq!((exit, &*out), (Exit::Usage, ""));
        assert_eq!(
            err,
            "standin: no operation has the path /v1/model; there are: /v1/chat/completions, /v1/models\n"
        );
    }

    #[test]
    fn rewritten_paths_and_dead_ends_are_told() {
        let text = "
listeners: [{address: 127.0.0.1:1}]
authentication: none
environment: sandbox
endpoints:
  a:
    url: https://a.example:8443/base
    rewrite_path: {from: /v1, to: /v1beta/openai}
operations:
  - {path: /v1/chat/completions, policies: [p]}
policies:
  p:
    sandbox: {target: {model: m, endpoint: a}}
    stream_rescue: off
";
        let snapshot = crate::config::parse(text, &|_| None).unwrap().snapshot;
        let tell =
            |environment, model| story(&snapshot, &snapshot.operations[0], environment, model);
        let found = tell(Environment::Sandbox, "m");
        assert!(
            found.contains(
                "  1. m at a  https://a.example:8443/base/v1beta/openai/chat/completions\n"
            ),
            "{found}"
        );
        assert!(
            found.contains("  suspension           none: failures are not remembered\n"),
            "{found}"
        );
        assert!(
            found.contains("  broken stream        ends with an error\n"),
            "{found}"
        );
        let lost = tell(Environment::Production, "m");
        assert!(lost.ends_with("No policy of the operation matches it in production, and it has no default endpoint there: 404 model_not_found.\n"), "{lost}");
    }
}
