//! `standin check`: whether a configuration is right.

use std::path::{Path, PathBuf};

use super::console::{Console, Exit};
use crate::config::Configuration;
use crate::policy::Authentication;

/// Say whether a configuration is right, and everything that is wrong with it.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    conf: PathBuf,
}

pub(super) fn check(arguments: &Arguments, console: &mut Console<'_>) -> Exit {
    match console.load(&arguments.conf) {
        Some(configuration) => {
            console.say(&summary(&arguments.conf, &configuration));
            Exit::Fine
        }
        None => Exit::Refused,
    }
}

/// What there is in a configuration, and its warnings.
fn summary(path: &Path, configuration: &Configuration) -> String {
    let snapshot = &configuration.snapshot;
    let callers = match &snapshot.authentication {
        Authentication::Keys(callers) => count(callers.len(), "key", "keys"),
        Authentication::None(caller) => format!("no keys: all calls are {}", caller.environment),
    };
    let parts = [
        count(configuration.listeners.len(), "listener", "listeners"),
        count(snapshot.endpoints.len(), "endpoint", "endpoints"),
        count(snapshot.operations.len(), "operation", "operations"),
        count(snapshot.policies.len(), "policy", "policies"),
        callers,
    ];
    let mut text = format!("{} is right: {}\n", path.display(), parts.join(", "));
    for warning in &configuration.warnings {
        text.push_str("warning: ");
        text.push_str(warning);
        text.push('\n');
    }
    text
}

fn count(number: usize, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        number => format!("{number} {many}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::called;
    use super::*;

    const CONF: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/standin.yaml");

    fn checked(text: &str) -> (Exit, String, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("conf.yaml");
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap();
        let (exit, out, err) = called(&["check", "--conf", path]);
        (
            exit,
            out.replace(path, "conf.yaml"),
            err.replace(path, "conf.yaml"),
        )
    }

    #[test]
    fn a_right_configuration_is_summed_up() {
        let (exit, out, err) = called(&["check", "--conf", CONF]);
        assert_eq!((exit, &*err), (Exit::Fine, ""));
        let expected =
            format!("{CONF} is right: 1 listener, 3 endpoints, 2 operations, 2 policies, 2 keys\n");
        assert_eq!(out, expected);
    }

    #[test]
    fn warnings_do_not_refuse() {
        let text = "
listeners: [{address: 127.0.0.1:1}]
authentication: none
environment: sandbox
endpoints:
  a: {url: https://a.example}
  b: {url: https://b.example}
operations: [{method: GET, path: /v1/models, default_endpoint: {sandbox: a}}]
";
        let (exit, out, err) = checked(text);
        assert_eq!((exit, &*err), (Exit::Fine, ""));
        assert_eq!(
            out,
            "conf.yaml is right: 1 listener, 2 endpoints, 1 operation, 0 policies, no keys: all calls are sandbox\n\
             warning: line 7: endpoints.b: is not used: no policy and no default endpoint names it\n"
        );
    }

    #[test]
    fn all_errors_are_printed_as_compilers_do() {
        let text = "listeners: [{address: 127.0.0.1:1}]\nauthentication: none\nenvironment: prod\nendpoints:\n  a: {ulr: https://a}\noperations:\n  - path: x\n";
        let (exit, out, err) = checked(text);
        assert_eq!((exit, &*out), (Exit::Refused, ""));
        assert_eq!(
            err,
            "conf.yaml:3: environment: `prod` is unknown; environments are: production, sandbox\n\
             conf.yaml:5: endpoints.a.ulr: there is no such field; did you mean `url`?\n\
             conf.yaml:5: endpoints.a.url: is missing; the address of the endpoint: https://HOST, or several under `backends`\n\
             conf.yaml:7: operations[0].path: must be a path that begins with `/` and has no query, such as /v1/chat/completions\n\
             conf.yaml:7: operations[0]: leads nowhere; it needs a `default_endpoint` or `policies`\n"
        );
        let (_, _, err) = checked("a: [");
        assert_eq!(
            err,
            "conf.yaml:1: no valid YAML at column 4: unclosed bracket '['\n"
        );
        let (exit, _, err) = called(&["check", "--conf", "/none.yaml"]);
        assert_eq!(
            (exit, &*err),
            (
                Exit::Refused,
                "/none.yaml: can't be read: No such file or directory (os error 2)\n"
            )
        );
    }
}
