//! Where models are served.

use std::sync::Arc;
use std::time::Duration;

use super::{MODEL, Secret};

/// The place of an [`Endpoint`] in its [`Snapshot`](super::Snapshot).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(pub u32);

/// A place that serves models: one or more addresses that speak one provider's API with one key.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its place in the snapshot.
    pub id: EndpointId,
    /// The name in the configuration.
    pub name: Arc<str>,
    /// Whose API it speaks.
    pub provider: Provider,
    /// Its addresses, at least one.
    pub backends: Vec<Backend>,
    /// How a backend is picked where there are several.
    pub balance: Balance,
    /// Where its backends' host names are asked for all their addresses, how often: each address
    /// is a backend of its own then. `None`: a name is one backend.
    pub discover_interval: Option<Duration>,
    /// What stands in the place of the caller's credential.
    pub credential: Credential,
    /// A prefix of the operation's path that is replaced.
    pub rewrite_path: Option<PathRewrite>,
    /// What stands in the query of every request, in place of the caller's parameters of these names.
    pub query: Vec<QueryParameter>,
    /// From the first SYN to the end of the TLS handshake.
    pub connect_timeout: Duration,
    /// Which HTTP is spoken.
    pub http_version: HttpVersion,
    /// TLS towards the endpoint; used for `https` backends.
    pub tls: UpstreamTls,
    /// Active health checks of the backends.
    pub health_check: Option<HealthCheck>,
    /// How many requests it has at once; `None`: as many as come.
    pub room: Option<Room>,
}

/// How many requests an endpoint has at once, and how long others wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// At least 1.
    pub max_concurrent: usize,
    /// From where a request would be sent to where it has a place; past it the endpoint is busy.
    pub queue_timeout: Duration,
}

/// What an endpoint is shown in the place of the caller's credential.
#[derive(Clone, Debug, Default)]
pub enum Credential {
    /// Nothing.
    #[default]
    None,
    /// A key of this gateway's; several take turns.
    Keys {
        /// At least one, no two the same.
        keys: Vec<Secret>,
        /// Where a key stands.
        place: KeyPlace,
    },
    /// The caller's own, as it came; never what the caller proves itself with to this gateway.
    Passthrough,
}

impl Credential {
    /// The keys of this gateway's.
    pub fn keys(&self) -> &[Secret] {
        match self {
            Self::Keys { keys, .. } => keys,
            Self::None | Self::Passthrough => &[],
        }
    }

    /// Where a key of this gateway's stands.
    pub const fn place(&self) -> Option<&KeyPlace> {
        match self {
            Self::Keys { place, .. } => Some(place),
            Self::None | Self::Passthrough => None,
        }
    }
}

/// Where a key stands in a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeyPlace {
    /// `Authorization: Bearer KEY`
    Bearer,
    /// As the value of a header.
    Header(http::HeaderName),
    /// As the value of a parameter of the query.
    Query(Box<str>),
}

/// Whose API an endpoint speaks: decides the defaults in [`crate::provider`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provider {
    /// `OpenAI`, and the many servers that speak its API.
    OpenAi,
    /// Mistral's La Plateforme.
    Mistral,
    /// `OpenAI` models on Azure.
    AzureOpenAi,
    /// Anthropic's Messages API.
    Anthropic,
    /// Google's Gemini API.
    Gemini,
    /// Amazon Bedrock, with an API key.
    Bedrock,
    /// Anything else that speaks the operation's format; nothing is assumed beyond `OpenAI`'s ways.
    Custom,
}

impl Provider {
    /// Every provider, with its name in the configuration.
    pub const NAMES: [(&'static str, Self); 7] = [
        ("openai", Self::OpenAi),
        ("mistral", Self::Mistral),
        ("azure-openai", Self::AzureOpenAi),
        ("anthropic", Self::Anthropic),
        ("gemini", Self::Gemini),
        ("bedrock", Self::Bedrock),
        ("custom", Self::Custom),
    ];
}

/// One address of an [`Endpoint`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Cleartext or TLS.
    pub scheme: Scheme,
    /// A host name, or an IP address without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// Put before the operation's path; empty, or `/…` without a slash at its end.
    pub base_path: String,
    /// Its share of the requests, at least 1.
    pub weight: u32,
}

impl Backend {
    /// The value of the `host` header: with the port unless it is the scheme's own.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == self.scheme.default_port() {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }
}

/// Cleartext or TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `http://`
    Http,
    /// `https://`
    Https,
}

impl Scheme {
    /// 80 or 443.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// How one of several backends is picked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// In turn, by weight.
    #[default]
    RoundRobin,
    /// By chance, by weight.
    Random,
    /// By a consistent hash of the named request header.
    Consistent {
        /// The header's name, in lower case.
        affinity_header: String,
    },
    /// The one with the fewest requests under way.
    LeastBusy,
}

/// Active health checks: a GET to each backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HealthCheck {
    /// The path that is asked for, as it is: a backend's base path is not put before it.
    pub path: String,
    /// The status that is healthy; `None`: 200 to 299.
    pub status: Option<u16>,
    /// What must occur in the first 64 KiB of the answer's body.
    pub body: Option<String>,
    /// From the end of one check of all backends to the start of the next.
    pub interval: Duration,
    /// From the connection's start to the answer's head, and to the body's end where it is read.
    pub timeout: Duration,
    /// Successes in a row that make a backend healthy again.
    pub healthy_after: u32,
    /// Failures in a row that make it unhealthy.
    pub unhealthy_after: u32,
    /// From a backend's return to its full share of the requests.
    pub slow_start: Duration,
}

/// Replaces a prefix of the operation's path: `/v1` by `/v1beta/openai`, or by
/// `/openai/deployments/{model}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathRewrite {
    from: String,
    to: String,
    /// Where the model goes in `to`: before and behind it.
    around_model: Option<(usize, usize)>,
}

impl PathRewrite {
    /// Replaces `from`, matched whole segments only, by `to`, which may have one `{model}` in it.
    pub fn new(from: String, to: String) -> Self {
        let around_model = to.find(MODEL).map(|at| (at, at + MODEL.len()));
        Self {
            from,
            to,
            around_model,
        }
    }

    /// The prefix that is replaced.
    pub fn from(&self) -> &str {
        &self.from
    }

    /// What stands there instead.
    pub fn to(&self) -> &str {
        &self.to
    }

    /// Whether the model goes into the path.
    pub const fn needs_model(&self) -> bool {
        self.around_model.is_some()
    }

    /// What stands behind the prefix in an operation's path, as that is configured; `None` where it
    /// does not begin so.
    pub fn rest<'p>(&self, path: &'p str) -> Option<&'p str> {
        path.strip_prefix(&*self.from)
            .filter(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// How many segments the prefix has.
    pub fn segments(&self) -> usize {
        self.from.matches('/').count()
    }

    /// What stands instead of the prefix, in pieces; `model` is percent-encoded.
    pub fn written_with<'a>(&'a self, model: &'a str) -> [&'a str; 3] {
        match self.around_model {
            Some((before, behind)) => [&self.to[..before], model, &self.to[behind..]],
            None => [&self.to, "", ""],
        }
    }
}

/// A parameter of an endpoint's own in the query of every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryParameter {
    /// Its name: what the caller says under the same name is left out.
    pub name: Box<str>,
    /// `name=value`, as it is written in the query.
    pub text: Box<str>,
}

/// Which HTTP is spoken to an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/2 where ALPN offers it, else HTTP/1.1; HTTP/1.1 on cleartext.
    #[default]
    Auto,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only; with prior knowledge on cleartext.
    Http2,
}

/// TLS towards an endpoint.
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    /// Certificates (PEM) that are trusted instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// Whether the certificate and its host name are verified.
    pub verify: bool,
    /// The server name to ask for and to verify; default: the backend's host.
    pub sni: Option<String>,
    /// The certificate chain and the private key (both PEM) that this gateway shows.
    pub client_certificate: Option<(Vec<u8>, Secret)>,
}

impl Default for UpstreamTls {
    fn default() -> Self {
        Self {
            ca: None,
            verify: true,
            sni: None,
            client_certificate: None,
        }
    }
}
