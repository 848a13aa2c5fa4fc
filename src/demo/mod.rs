//! `standin demo`: two embedded providers, a gateway's configuration for them, and a page that
//! says what to try. It needs no key, no network and no file, and tests use the same providers.
//!
//! ```text
//!            ┌───────────────────── one process ──────────────────────┐
//!   curl ────┼──▶ gateway (127.0.0.1:8080) ─┬─▶ OpenAI-like provider  │
//!            │                              └─▶ Mistral-like provider │
//!            └────────────────────────────────────────────────────────┘
//! ```
//!
//! Nothing here knows the rest of the crate: the configuration is handed over as the text of a
//! file, with [`secret`] as the look-up of what it takes from the environment, so that the demo
//! goes through the same door as everybody's file.

mod answers;
mod models;
mod page;
mod providers;
mod refusals;
mod replies;
mod script;
mod shapes;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use models::Flavour;

pub use answers::PAINTER_QUESTION;
pub use page::{KEY, Line, SANDBOX_KEY, Site};
pub use providers::{Providers, start as start_providers};

/// What can be chosen about a demo.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The gateway's port on 127.0.0.1; 0 takes any that is free.
    pub port: u16,
    /// Whether a stream that breaks half-way is continued by another model.
    pub rescue: bool,
}

impl Options {
    /// The port that is taken unless another is chosen.
    pub const DEFAULT_PORT: u16 = 8080;
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: Self::DEFAULT_PORT,
            rescue: true,
        }
    }
}

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Something else listens on the gateway's port.
    #[error(
        "port {0} of 127.0.0.1 is taken; choose another with `--port 8081`, \
         or any that is free with `--port 0`"
    )]
    PortTaken(u16),
    /// The gateway's port can't be had for another reason.
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
}

/// The running providers, and all that a gateway in front of them needs. Dropping it stops them.
#[derive(Debug)]
pub struct Demo {
    site: Site,
    _providers: Providers,
}

impl Demo {
    /// Starts the providers and picks the gateway's port.
    ///
    /// # Errors
    /// The port is taken, or the providers don't start.
    pub fn start(options: Options) -> Result<Self, DemoError> {
        let gateway = gateway_address(options.port)?;
        let providers = start_providers()?;
        let site = Site {
            gateway,
            openai: providers.openai(),
            mistral: providers.mistral(),
            rescue: options.rescue,
        };
        Ok(Self {
            site,
            _providers: providers,
        })
    }

    /// Where everything is.
    pub const fn site(&self) -> &Site {
        &self.site
    }

    /// The gateway's configuration, as the text of a file.
    pub fn configuration(&self) -> String {
        let Site {
            gateway,
            openai,
            mistral,
            rescue,
        } = self.site;
        include_str!("template.yaml")
            .replace("${gateway}", &gateway.to_string())
            .replace("${openai}", &openai.to_string())
            .replace("${mistral}", &mistral.to_string())
            .replace("${stream_rescue}", if rescue { "continue" } else { "off" })
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

/// What the demo's configuration takes from the environment: the keys of its providers. The
/// process's own environment is left alone.
pub fn secret(name: &str) -> Option<String> {
    let flavour = match name {
        "DEMO_OPENAI_KEY" => Flavour::OpenAi,
        "DEMO_MISTRAL_KEY" => Flavour::Mistral,
        _ => return None,
    };
    Some(flavour.api_key().to_owned())
}

/// The address for the gateway, tried out by a listener that is closed again: the gateway opens
/// its own. Another process could come in between; it then sees the gateway's own error.
fn gateway_address(port: u16) -> Result<SocketAddr, DemoError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .and_then(|listener| listener.local_addr())
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => DemoError::PortTaken(port),
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

    fn demo(rescue: bool) -> Demo {
        Demo::start(Options { port: 0, rescue }).unwrap()
    }

    fn parsed(demo: &Demo) -> Value {
        serde_yaml::from_str(&demo.configuration()).unwrap()
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
    fn every_secret_of_the_configuration_is_known() {
        let config = parsed(&demo(true));
        for endpoint in ["openai", "mistral"] {
            let name = config["endpoints"][endpoint]["api_key"]["env"]
                .as_str()
                .unwrap();
            assert_eq!(
                secret(name).as_deref(),
                Some(flavour_of(endpoint).api_key())
            );
        }
        assert_eq!(secret("PATH"), None);
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
        let error = Demo::start(Options { port, rescue: true }).unwrap_err();
        assert!(
            matches!(error, DemoError::PortTaken(taken) if taken == port),
            "{error:?}"
        );
        assert!(error.to_string().contains("--port 0"), "{error}");
    }
}
