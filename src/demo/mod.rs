//! `standin demo`: two embedded providers, a gateway's configuration for them, and a page that
//! says what to try. It needs no key, no network and no file, and tests use the same providers.
//!
//! ```text
//!            ┌───────────────────── one process ──────────────────────┐
//!   curl ────┼──▶ gateway (127.0.0.1:8080) ─┬─▶ OpenAI-like provider  │
//!   browser ─┼──▶ console (127.0.0.1:9090)  └─▶ Mistral-like provider │
//!            └───────────│────────────────────────────────────────────┘
//!                        └─ standin.yaml, in a folder of its own that goes with the demo
//! ```
//!
//! Nothing here knows the rest of the crate: the configuration is a file with its secrets beside
//! it, so that the demo goes through the same door as everybody's, and what the console changes
//! lasts as long as the demo.

mod answers;
mod folder;
mod models;
mod page;
mod providers;
mod refusals;
mod replies;
mod script;
mod shapes;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use folder::Folder;
use models::Flavour;

pub use answers::PAINTER_QUESTION;
pub use page::{KEY, Line, SANDBOX_KEY, Site};
pub use providers::{Providers, start as start_providers};

/// What can be chosen about a demo.
#[derive(Clone, Debug)]
pub struct Options {
    /// The gateway's port on 127.0.0.1; 0 takes any that is free.
    pub port: u16,
    /// The console's port on 127.0.0.1; 0 takes any that is free.
    pub admin_port: u16,
    /// Whether a stream that breaks half-way is continued by another model.
    pub rescue: bool,
    /// What opens the console.
    pub token: Token,
}

/// An admin token.
#[derive(Clone, Debug)]
pub struct Token {
    /// The token itself.
    pub text: String,
    /// Its SHA-256, in lower-case hex.
    pub sha256: String,
}

impl Options {
    /// The gateway's port unless another is chosen.
    pub const DEFAULT_PORT: u16 = 8080;

    /// The console's port unless another is chosen.
    pub const DEFAULT_ADMIN_PORT: u16 = 9090;
}

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Something else listens on one of its ports.
    #[error(
        "port {port} of 127.0.0.1 is taken; choose another with `{flag} {}`, \
         or any that is free with `{flag} 0`",
        port.wrapping_add(1)
    )]
    PortTaken {
        /// Which one.
        port: u16,
        /// What chooses it.
        flag: &'static str,
    },
    /// A port can't be had for another reason.
    #[error("port {port} of 127.0.0.1 can't be used")]
    Port {
        /// Which one.
        port: u16,
        /// What the system says.
        source: io::Error,
    },
    /// The embedded providers did not start.
    #[error("the embedded providers did not start")]
    Providers(#[from] io::Error),
    /// The configuration can't be written.
    #[error("the demo's configuration can't be written into {}: {source}", std::env::temp_dir().display())]
    Folder {
        /// What the system says.
        source: io::Error,
    },
}

/// The running providers, and all that a gateway in front of them needs. Dropping it stops them.
#[derive(Debug)]
pub struct Demo {
    site: Site,
    configuration: String,
    _folder: Folder,
    _providers: Providers,
}

impl Demo {
    /// Starts the providers, picks the ports and writes the configuration.
    ///
    /// # Errors
    /// A port is taken, the providers don't start, or nothing can be written.
    pub fn start(options: Options) -> Result<Self, DemoError> {
        let gateway = free_address(options.port, "--port")?;
        let admin = free_address(options.admin_port, "--admin-port")?;
        let providers = start_providers()?;
        let unwritable = |source| DemoError::Folder { source };
        let folder = Folder::create().map_err(unwritable)?;
        let site = Site {
            gateway,
            admin,
            token: options.token.text,
            file: folder.path().join("standin.yaml"),
            openai: providers.openai(),
            mistral: providers.mistral(),
            rescue: options.rescue,
        };
        let configuration = configuration(&site, &options.token.sha256);
        folder
            .write("standin.yaml", &configuration)
            .and_then(|()| folder.write("openai.key", Flavour::OpenAi.api_key()))
            .and_then(|()| folder.write("mistral.key", Flavour::Mistral.api_key()))
            .map_err(unwritable)?;
        Ok(Self {
            site,
            configuration,
            _folder: folder,
            _providers: providers,
        })
    }

    /// Where everything is.
    pub const fn site(&self) -> &Site {
        &self.site
    }

    /// The gateway's configuration, as it stood in its file at the start.
    pub fn configuration(&self) -> &str {
        &self.configuration
    }

    /// The configuration's file.
    pub fn file(&self) -> &Path {
        &self.site.file
    }

    /// The page to print.
    pub fn page(&self) -> String {
        page::page(&self.site)
    }

    /// The lines of the page that are to be pasted.
    pub fn lines(&self) -> Vec<Line> {
        page::lines(&self.site)
    }
}

fn configuration(site: &Site, token: &str) -> String {
    include_str!("template.yaml")
        .replace("${gateway}", &site.gateway.to_string())
        .replace("${admin}", &site.admin.to_string())
        .replace("${token}", token)
        .replace("${openai}", &site.openai.to_string())
        .replace("${mistral}", &site.mistral.to_string())
        .replace(
            "${stream_rescue}",
            if site.rescue { "continue" } else { "off" },
        )
}

/// An address for the gateway, tried out by a listener that is closed again: the gateway opens
/// its own. Another process could come in between; it then sees the gateway's own error.
fn free_address(port: u16, flag: &'static str) -> Result<SocketAddr, DemoError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .and_then(|listener| listener.local_addr())
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => DemoError::PortTaken { port, flag },
            _ => DemoError::Port { port, source },
        })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_yaml::Value;
    use sha2::{Digest, Sha256};

    use super::models::Behaviour;
    use super::*;

    fn options(port: u16) -> Options {
        Options {
            port,
            admin_port: 0,
            rescue: true,
            token: Token {
                text: "a-token".to_owned(),
                sha256: "0".repeat(64),
            },
        }
    }

    fn demo(rescue: bool) -> Demo {
        let options = Options {
            rescue,
            ..options(0)
        };
        Demo::start(options).unwrap()
    }

    fn parsed(demo: &Demo) -> Value {
        serde_yaml::from_str(demo.configuration()).unwrap()
    }

    fn names(value: &Value) -> BTreeSet<&str> {
        match value {
            Value::Mapping(map) => map.keys().filter_map(Value::as_str).collect(),
            Value::Sequence(items) => items.iter().filter_map(Value::as_str).collect(),
            _ => BTreeSet::new(),
        }
    }

    /// Every target of a chain, as endpoint and model.
    fn targets(chain: &Value) -> Vec<(&str, &str)> {
        std::iter::once(&chain["target"])
            .chain(chain["fallbacks"].as_sequence().unwrap())
            .map(|target| {
                (
                    target["endpoint"].as_str().unwrap(),
                    target["model"].as_str().unwrap(),
                )
            })
            .collect()
    }

    fn flavour_of(endpoint: &str) -> Flavour {
        match endpoint {
            "openai" => Flavour::OpenAi,
            "mistral" => Flavour::Mistral,
            other => panic!("no endpoint {other}"),
        }
    }

    #[test]
    fn the_template_is_filled_in() {
        let demo = demo(true);
        let site = demo.site();
        assert!(!demo.configuration().replace("${…}", "").contains("${"));
        let config = parsed(&demo);
        assert_eq!(
            config["listeners"][0]["address"].as_str(),
            Some(&*site.gateway.to_string())
        );
        let url = |endpoint: &str| config["endpoints"][endpoint]["url"].as_str().unwrap();
        assert_eq!(url("openai"), format!("http://{}", site.openai));
        assert_eq!(url("mistral"), format!("http://{}", site.mistral));
    }

    #[test]
    fn rescue_is_as_chosen() {
        for (rescue, word) in [(true, "continue"), (false, "off")] {
            let demo = demo(rescue);
            let config = parsed(&demo);
            let policy = &config["policies"]["breaks-midway"];
            assert_eq!(policy["stream_rescue"].as_str(), Some(word));
        }
    }

    #[test]
    fn the_digests_are_those_of_the_keys_that_the_page_names() {
        let config = parsed(&demo(true));
        for (index, key) in [KEY, SANDBOX_KEY].iter().enumerate() {
            let digest: String = Sha256::digest(key)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_eq!(
                config["keys"][index]["sha256"].as_str(),
                Some(&*digest),
                "{key}"
            );
        }
    }

    #[test]
    fn the_folder_has_the_configuration_and_its_secrets_and_goes_with_the_demo() {
        let demo = demo(true);
        let file = demo.file().to_owned();
        assert_eq!(
            std::fs::read_to_string(&file).unwrap(),
            demo.configuration()
        );
        let config = parsed(&demo);
        for endpoint in ["openai", "mistral"] {
            let name = config["endpoints"][endpoint]["api_key"]["file"]
                .as_str()
                .unwrap();
            let key = std::fs::read_to_string(file.with_file_name(name)).unwrap();
            assert_eq!(key, flavour_of(endpoint).api_key());
        }
        drop(demo);
        assert!(!file.exists());
    }

    #[test]
    fn every_policy_is_attached_and_all_but_one_end_at_a_model_that_answers() {
        let config = parsed(&demo(true));
        let policies = config["policies"].as_mapping().unwrap();
        assert_eq!(
            names(&config["policies"]),
            names(&config["operations"][0]["policies"])
        );
        for (name, policy) in policies {
            let (endpoint, model) = *targets(&policy["production"]).last().unwrap();
            let answers = flavour_of(endpoint).behaviour(model) == Some(Behaviour::Answers);
            assert_eq!(
                answers,
                name.as_str() != Some("everything-fails"),
                "{name:?}"
            );
        }
    }

    #[test]
    fn every_chat_model_of_the_openai_like_provider_has_a_policy() {
        let config = parsed(&demo(true));
        let policies = config["policies"].as_mapping().unwrap();
        let first: BTreeSet<_> = policies
            .values()
            .map(|policy| targets(&policy["production"])[0].1)
            .collect();
        for (model, behaviour) in Flavour::OpenAi.models() {
            assert_eq!(
                first.contains(model),
                *behaviour != Behaviour::Embeds,
                "{model}"
            );
        }
        assert!(first.contains("invalid-model") && first.contains("gpt-unknown"));
    }

    #[test]
    fn a_taken_port_is_said_with_the_remedy() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = Demo::start(options(port)).unwrap_err();
        assert!(
            matches!(error, DemoError::PortTaken { port: taken, .. } if taken == port),
            "{error:?}"
        );
        assert!(error.to_string().contains("--port 0"), "{error}");
    }
}
