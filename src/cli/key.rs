//! `standin key`: a new key for a caller, or a token for an administrator.

use rustls::crypto::GetRandomFailed;

use super::EnvironmentArgument;
use super::console::{Console, Exit};
use crate::config::key::{digest, new_key};
use crate::policy::Environment;

/// Make a key for a caller, and the line for `keys` in the configuration; with --admin a token for
/// the admin API, and the line for `admin.tokens`.
///
/// It is random (256 bits) and shown only now: the configuration has its SHA-256 alone.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Who will hold the key [default: my-app, with --admin: ops].
    #[arg(long)]
    name: Option<String>,

    /// Where its calls belong.
    #[arg(
        long,
        value_enum,
        default_value = "production",
        conflicts_with = "admin"
    )]
    environment: EnvironmentArgument,

    /// Make a token for the admin API.
    #[arg(long)]
    admin: bool,
}

pub(super) fn key(arguments: &Arguments, console: &mut Console<'_>) -> Exit {
    match new_key() {
        Ok(key) => {
            console.say(&page(&key, arguments));
            Exit::Fine
        }
        Err(GetRandomFailed) => {
            console.complain("standin: the system gives no random numbers\n");
            Exit::Refused
        }
    }
}

fn page(key: &str, arguments: &Arguments) -> String {
    let digest = digest(key);
    let name = |default| quoted(arguments.name.as_deref().unwrap_or(default));
    if arguments.admin {
        let name = name("ops");
        return format!(
            "The token, shown only now; the admin API takes it as `Authorization: Bearer …`:

  {key}

The line for `admin.tokens` in the configuration; it does not tell the token:

  - {{name: {name}, sha256: {digest}}}
"
        );
    }
    let (name, environment) = (name("my-app"), Environment::from(arguments.environment));
    format!(
        "The key, shown only now; give it to the caller:

  {key}

The line for `keys` in the configuration; it does not tell the key:

  - {{name: {name}, environment: {environment}, sha256: {digest}}}
"
    )
}

/// A name as YAML reads it: bare where nothing in it means anything to YAML.
fn quoted(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let starts_bare = name.starts_with(|first: char| first.is_ascii_alphabetic());
    if starts_bare && name.bytes().all(bare) && !["null", "true", "false"].contains(&name) {
        name.to_owned()
    } else {
        serde_json::Value::from(name).to_string()
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::super::tests::called;
    use super::*;
    use crate::config::parse;
    use crate::policy::{Authentication, KeyDigest};

    /// What was printed: the key, and the line for the configuration.
    fn printed(arguments: &[&str]) -> (String, String) {
        let (exit, out, err) = called(arguments);
        assert_eq!((exit, &*err), (Exit::Fine, ""));
        let line = |start: &str| {
            out.lines()
                .find(|line| line.trim_start().starts_with(start))
        };
        let key = line("sk-standin-").unwrap().trim().to_owned();
        (key, line("- {").unwrap().to_owned())
    }

    /// A configuration with these fields.
    fn configured(fields: &str) -> crate::config::Configuration {
        let text = format!(
            "listeners: [{{address: 127.0.0.1:1}}]\n{fields}\n\
             endpoints: {{a: {{url: https://a.example}}}}\n\
             operations: [{{path: /v1/x, default_endpoint: {{production: a}}}}]\n"
        );
        parse(&text, &|_| None).unwrap()
    }

    #[test]
    fn the_line_opens_the_door_to_the_key() {
        for name in ["web-shop", "null", "17", "it's: a {name}, #1 \"quoted\""] {
            let arguments = ["key", "--name", name, "--environment", "sandbox"];
            let (key, entry) = printed(&arguments);
            let configuration = configured(&format!("keys:\n{entry}"));
            let Authentication::Keys(callers) = configuration.snapshot.authentication else {
                panic!("no keys")
            };
            let digest = KeyDigest(Sha256::digest(&key).into());
            let caller = callers.find(&digest).unwrap();
            assert_eq!(
                (&*caller.name, caller.environment),
                (name, Environment::Sandbox)
            );
        }
    }

    #[test]
    fn the_line_of_a_token_opens_the_admin_api() {
        for (arguments, name) in [
            (&["key", "--admin"][..], "ops"),
            (&["key", "--admin", "--name", "null"], "null"),
        ] {
            let (token, entry) = printed(arguments);
            let fields = "authentication: none\nenvironment: production\n";
            let admin = format!("admin:\n  address: 127.0.0.1:2\n  tokens:\n{entry}");
            let tokens = configured(&format!("{fields}{admin}"))
                .admin
                .unwrap()
                .tokens;
            let expected = (name, KeyDigest(Sha256::digest(&token).into()));
            assert_eq!((&*tokens[0].name, tokens[0].digest), expected);
        }
    }

    #[test]
    fn a_key_has_256_random_bits() {
        let (first, _) = printed(&["key"]);
        let (second, _) = printed(&["key"]);
        assert_eq!(first.len(), "sk-standin-".len() + 64);
        assert_ne!(first, second);
    }
}
