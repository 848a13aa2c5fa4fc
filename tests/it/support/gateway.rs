//! The real gateway, in this process, on a port of its own.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};
use standin::gateway::{Resolver, SystemResolver};
use standin::server::Running;
use standin::{config, server};

use super::Client;

/// The production caller's key, and the sandbox caller's.
pub const KEY: &str = "client-key-production";
/// See [`KEY`].
pub const SANDBOX_KEY: &str = "client-key-sandbox";

/// The bearer token of the admin API; its holder is `ops`.
pub const TOKEN: &str = "admin-token";

/// The secret that an endpoint's `api_key` holds: `{env: NAME}` is looked up here.
pub fn secret(name: &str) -> String {
    format!("secret-of-{name}")
}

/// What stands in the configuration for a key or a token: its SHA-256.
pub fn digest_of(key: &str) -> String {
    format!("{:x}", Sha256::digest(key))
}

/// A configuration, written as a user would; what a test doesn't say has its default.
#[derive(Default)]
pub struct Setup {
    listeners: String,
    admin: String,
    shared_state: String,
    limits: String,
    endpoints: String,
    operations: String,
    policies: String,
    names: Vec<String>,
    default_endpoint: Option<String>,
    no_authentication: bool,
    rate_limit: String,
    access_log: String,
    otlp: String,
    server: String,
}

impl Setup {
    pub fn new() -> Self {
        Self::default()
    }

    /// An endpoint of provider `openai`, with a key of its own ([`secret`] of its name).
    pub fn endpoint(self, name: &str, url: &str) -> Self {
        self.endpoint_with(name, url, "provider: openai")
    }

    /// An endpoint with a key of its own, and other fields: one YAML line each.
    pub fn endpoint_with(mut self, name: &str, url: &str, fields: &str) -> Self {
        let _ = write!(
            self.endpoints,
            "  {name}:\n    url: {url}\n    api_key: {{env: {name}}}\n{}",
            indented(fields, 4)
        );
        self
    }

    /// An endpoint of which only `fields` are said.
    pub fn bare_endpoint(mut self, name: &str, fields: &str) -> Self {
        let _ = write!(self.endpoints, "  {name}:\n{}", indented(fields, 4));
        self
    }

    /// A policy named `chat` for production: the first target, then the fallbacks, each
    /// `(model, endpoint)`; `fields` are the rest of it, one YAML line each.
    pub fn chain(self, targets: &[(&str, &str)], fields: &str) -> Self {
        let mut text = String::from("production:\n");
        for (index, (model, endpoint)) in targets.iter().enumerate() {
            let link = format!("{{model: {model:?}, endpoint: {endpoint}}}");
            let _ = match index {
                0 => write!(text, "  target: {link}\n  fallbacks:\n"),
                _ => writeln!(text, "    - {link}"),
            };
        }
        if targets.len() == 1 {
            text = text.replace("fallbacks:", "fallbacks: []");
        }
        text.push_str(fields);
        self.policy("chat", &text)
    }

    /// A policy of the chat operation, as YAML below its name; `type: failover` is added.
    pub fn policy(mut self, name: &str, fields: &str) -> Self {
        self.names.push(name.to_owned());
        self.other_policy(name, fields)
    }

    /// A policy of the chat operation that says its `type` itself.
    pub fn policy_of_type(mut self, name: &str, fields: &str) -> Self {
        self.names.push(name.to_owned());
        let _ = write!(self.policies, "  {name}:\n{}", indented(fields, 4));
        self
    }

    /// A policy for another operation, which lists it itself.
    pub fn other_policy(mut self, name: &str, fields: &str) -> Self {
        let _ = write!(
            self.policies,
            "  {name}:\n    type: failover\n{}",
            indented(fields, 4)
        );
        self
    }

    /// Where a model goes that no policy names.
    pub fn default_endpoint(mut self, endpoint: &str) -> Self {
        self.default_endpoint = Some(endpoint.to_owned());
        self
    }

    /// Another operation besides `POST /v1/chat/completions`: one YAML line for each field.
    pub fn operation(mut self, fields: &str) -> Self {
        let text = indented(fields, 4);
        let _ = write!(self.operations, "  - {}", text.trim_start());
        self
    }

    /// All operations of a preset: one YAML line for each field besides.
    pub fn preset(self, name: &str, fields: &str) -> Self {
        self.operation(&format!("preset: {name}\n{fields}"))
    }

    /// Fields of `limits`, one YAML line each.
    pub fn limits(mut self, fields: &str) -> Self {
        self.limits.push_str(&indented(fields, 2));
        self
    }

    /// One more listener besides the cleartext one, as YAML in one line.
    pub fn listener(mut self, listener: &str) -> Self {
        let _ = writeln!(self.listeners, "  - {listener}");
        self
    }

    /// An admin listener on a port of its own, for the holder of [`TOKEN`].
    pub fn admin(self) -> Self {
        let tokens = format!("tokens: [{{name: ops, sha256: {}}}]", digest_of(TOKEN));
        self.admin_with(&format!("address: 127.0.0.1:0\n{tokens}"))
    }

    /// An admin listener: one YAML line for each field.
    pub fn admin_with(mut self, fields: &str) -> Self {
        self.admin = indented(fields, 2);
        self
    }

    /// Where suspensions are known beyond the process: one YAML line for each field.
    pub fn shared_state(mut self, fields: &str) -> Self {
        self.shared_state = indented(fields, 2);
        self
    }

    /// Traces to a collector: fields of `otlp`, in YAML's flow style.
    pub fn otlp(mut self, fields: &str) -> Self {
        self.otlp = format!("  otlp: {{{fields}}}\n");
        self
    }

    /// More fields of the access log, in YAML's flow style.
    pub fn access_log(mut self, fields: &str) -> Self {
        self.access_log = format!(", {fields}");
        self
    }

    /// Everybody may call, in production.
    pub fn without_authentication(mut self) -> Self {
        self.no_authentication = true;
        self
    }

    /// What the production key may have, in YAML's flow style.
    pub fn rate_limit(mut self, limit: &str) -> Self {
        self.rate_limit = format!(", rate_limit: {limit}");
        self
    }

    /// Threads that take work from each other.
    pub fn work_stealing(self) -> Self {
        self.server("work_stealing: true")
    }

    /// A field of Pingora's configuration, in YAML's flow style.
    pub fn server(mut self, field: &str) -> Self {
        let _ = write!(self.server, ", {field}");
        self
    }

    /// The configuration's text.
    pub fn yaml(&self, access_log: &str) -> String {
        let mut text = format!(
            "server: {{threads: 2, grace_period_seconds: 0, graceful_shutdown_timeout_seconds: 2{}}}\n",
            self.server
        );
        let _ = write!(
            text,
            "listeners:\n  - address: 127.0.0.1:0\n{}",
            self.listeners
        );
        if !self.admin.is_empty() {
            let _ = write!(text, "admin:\n{}", self.admin);
        }
        if !self.shared_state.is_empty() {
            let _ = write!(text, "shared_state:\n{}", self.shared_state);
        }
        if !self.limits.is_empty() {
            let _ = write!(text, "limits:\n{}", self.limits);
        }
        if self.no_authentication {
            text.push_str("authentication: none\nenvironment: production\n");
        } else {
            let _ = write!(
                text,
                "keys:\n  - {{name: shop, environment: production, sha256: {}{}}}\n  - {{name: shop-test, environment: sandbox, sha256: {}}}\n",
                digest_of(KEY),
                self.rate_limit,
                digest_of(SANDBOX_KEY),
            );
        }
        let _ = write!(text, "endpoints:\n{}", self.endpoints);
        text.push_str("operations:\n");
        if !self.names.is_empty() || self.default_endpoint.is_some() {
            let _ = writeln!(
                text,
                "  - method: POST\n    path: /v1/chat/completions\n    policies: [{}]",
                self.names.join(", ")
            );
        }
        if let Some(endpoint) = &self.default_endpoint {
            let _ = writeln!(
                text,
                "    default_endpoint: {{production: {endpoint}, sandbox: {endpoint}}}"
            );
        }
        text.push_str(&self.operations);
        if !self.policies.is_empty() {
            let _ = write!(text, "policies:\n{}", self.policies);
        }
        let _ = writeln!(
            text,
            "observability:\n  access_log: {{path: {access_log:?}, format: json{}}}\n{}",
            self.access_log, self.otlp
        );
        text
    }

    /// Starts the gateway from a file, so that it can be reloaded.
    pub fn start_from_file(self) -> Gateway {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("access.log");
        let conf = folder.path().join("standin.yaml");
        let yaml = secrets_in_files(&self.yaml(&log.to_string_lossy()), folder.path());
        std::fs::write(&conf, &yaml).expect("a written configuration");
        let configuration =
            config::load(&conf).unwrap_or_else(|errors| panic!("{errors}\n--- of ---\n{yaml}"));
        let options = server::RunOptions {
            conf_path: Some(conf),
            ..server::RunOptions::default()
        };
        let running = server::start_with(configuration, &options, Arc::new(SystemResolver))
            .expect("the gateway starts");
        Gateway {
            running,
            log,
            folder,
        }
    }

    /// Starts the gateway.
    pub fn start(self) -> Gateway {
        self.start_with(Arc::new(SystemResolver))
    }

    /// Starts the gateway, with something else that finds the addresses of names.
    pub fn start_with(self, resolver: Arc<dyn Resolver>) -> Gateway {
        Gateway::start(&self, resolver)
    }
}

/// The secrets of a configuration as files in its folder, instead of variables.
fn secrets_in_files(yaml: &str, folder: &Path) -> String {
    let mut text = yaml.to_owned();
    while let Some((before, rest)) = text.split_once("{env: ") {
        let (name, after) = rest.split_once('}').expect("a variable's name");
        let file = format!("{name}.secret");
        std::fs::write(folder.join(&file), secret(name)).expect("a written secret");
        text = format!("{before}{{file: {file}}}{after}");
    }
    text
}

/// A gateway that runs until it is dropped.
pub struct Gateway {
    pub running: Running,
    log: PathBuf,
    folder: tempfile::TempDir,
}

impl Gateway {
    fn start(setup: &Setup, resolver: Arc<dyn Resolver>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("access.log");
        let yaml = setup.yaml(&log.to_string_lossy());
        let configuration = config::parse(&yaml, &|name| Some(secret(name)))
            .unwrap_or_else(|errors| panic!("{errors}\n--- of ---\n{yaml}"));
        let options = server::RunOptions::default();
        let running =
            server::start_with(configuration, &options, resolver).expect("the gateway starts");
        Self {
            running,
            log,
            folder,
        }
    }

    /// The configuration file of one that was started from it.
    pub fn conf(&self) -> PathBuf {
        self.folder.path().join("standin.yaml")
    }

    /// What stands in it.
    pub fn conf_text(&self) -> String {
        std::fs::read_to_string(self.conf()).expect("the configuration file")
    }

    /// Writes a part of it anew, in place.
    pub fn change_conf(&self, from: &str, to: &str) {
        let text = self.conf_text();
        assert!(text.contains(from), "no {from:?} in {text}");
        std::fs::write(self.conf(), text.replace(from, to)).expect("a written configuration");
    }

    /// Puts another configuration in the place of this one, as a reload does.
    pub fn install(&self, setup: &Setup) {
        let yaml = setup.yaml("off");
        let configuration = config::parse(&yaml, &|name| Some(secret(name)))
            .unwrap_or_else(|errors| panic!("{errors}\n--- of ---\n{yaml}"));
        self.running
            .gateway
            .install(configuration.snapshot)
            .expect("the snapshot can be used");
    }

    /// Where the first listener is.
    pub fn addr(&self) -> SocketAddr {
        self.running.addresses[0]
    }

    /// A client of the admin listener with [`TOKEN`].
    pub fn admin(&self) -> Client {
        let address = self.running.admin.expect("an admin listener");
        Client::new(address).key(TOKEN)
    }

    /// A client with the production key.
    pub fn client(&self) -> Client {
        Client::new(self.addr()).key(KEY)
    }

    /// A client with the sandbox key.
    pub fn sandbox(&self) -> Client {
        Client::new(self.addr()).key(SANDBOX_KEY)
    }

    /// A client without a key.
    pub fn stranger(&self) -> Client {
        Client::new(self.addr())
    }

    /// The access log's lines so far: everything that was accounted for before this call.
    pub fn log(&self) -> Vec<Value> {
        self.log_text()
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    }

    /// The same as it is in the file.
    pub fn log_text(&self) -> String {
        assert!(
            self.running
                .gateway
                .access_log()
                .flush(Duration::from_secs(5)),
            "the access log isn't written"
        );
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for the access log to have `count` lines: a line is written after its answer.
    pub async fn wait_log(&self, count: usize) -> Vec<Value> {
        super::within(format!("{count} lines in the access log"), async {
            loop {
                let lines = self.log();
                if lines.len() >= count {
                    return lines;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }
}

fn indented(lines: &str, by: usize) -> String {
    lines
        .lines()
        .filter(|line| !line.trim().is_empty())
        .fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "{:by$}{line}", "");
            text
        })
}
