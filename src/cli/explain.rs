//! `standin explain`: what a request for a model would do, without sending one.

use std::path::PathBuf;

use super::EnvironmentArgument;
use super::console::{Console, Exit};
use crate::config::explain::{operations, story};

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

#[cfg(test)]
mod tests {
    use super::super::tests::called;
    use super::*;
    use crate::policy::Environment;

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
