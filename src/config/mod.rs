//! The configuration file: one YAML document, read once into a [`Snapshot`] that can't be wrong.
//!
//! ```text
//! text ── yaml ──> tree with lines ── read, file ──> what is written ── resolve ──> Configuration
//!                                                                          │
//!                                            variables, files (sources) ───┘
//! ```
//!
//! - An unknown field is an error: a typing mistake in a failover policy must never be silent.
//! - All errors of a file are reported together, each with its path, its line and the remedy; only
//!   text that is no YAML at all stops at the first. Nothing starts and nothing is replaced while
//!   there is one.
//! - What is allowed and probably not meant (an endpoint that nothing uses) is a warning.
//! - A secret stands elsewhere and is only named here; no message, no `Debug` and no warning shows it.
//! - Relative paths start at the folder of the configuration file, wherever the process was started.
//!
//! Every field is described in `docs/configuration.md`; a test holds that to the code.

pub mod edit;
mod error;
pub mod explain;
mod file;
pub mod key;
mod pem;
mod place;
mod read;
mod resolve;
mod secret;
mod sources;
pub mod units;
mod yaml;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pingora_core::server::configuration::ServerConf;

use self::error::Report;
pub use self::error::{ConfigError, ConfigErrors};
use self::file::File;
use self::place::Place;
use self::read::Read as _;
use self::sources::Sources;
use crate::policy::{KeyDigest, Secret, Snapshot};

/// A whole configuration, valid.
#[derive(Debug)]
pub struct Configuration {
    /// Pingora's own settings.
    pub server: ServerConf,
    /// Where callers connect, at least one.
    pub listeners: Vec<Listener>,
    /// Where those who operate the gateway connect; none: there is no admin listener.
    pub admin: Option<Admin>,
    /// Everything that a request needs.
    pub snapshot: Snapshot,
    /// Where suspensions are known beyond this process.
    pub shared_state: Option<SharedState>,
    /// The access log.
    pub access_log: AccessLog,
    /// The files that it was read from, besides its own: certificates, keys, secrets.
    pub files: Vec<PathBuf>,
    /// What is allowed and probably not meant, each with its line and path.
    pub warnings: Vec<String>,
}

/// An address on which callers connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where to listen; port 0 lets the system choose one.
    pub address: SocketAddr,
    /// Whether HTTP/2 with prior knowledge is understood; only without TLS.
    pub h2c: bool,
    /// The certificate to show; `None` on a cleartext port.
    pub tls: Option<ListenerTls>,
}

/// TLS towards callers. The files exist, hold what they should, and belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// The chain (PEM), the server's own certificate first.
    pub certificate: PathBuf,
    /// Its private key (PEM).
    pub private_key: PathBuf,
    /// Callers must show a certificate signed by one of these (PEM).
    pub client_ca: Option<PathBuf>,
}

/// Where those who operate the gateway connect, and who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where to listen; port 0 lets the system choose one.
    pub address: SocketAddr,
    /// The certificate to show; `None` on a cleartext port.
    pub tls: Option<ListenerTls>,
    /// Who may administer.
    pub tokens: Vec<AdminToken>,
}

/// A bearer token of the admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminToken {
    /// Who holds it: for logs and revisions.
    pub name: Arc<str>,
    /// Of the token, which is never kept itself.
    pub digest: KeyDigest,
}

/// Where suspensions are known beyond this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SharedState {
    /// All instances with the same Redis and prefix share them.
    Redis(RedisSettings),
    /// They outlive a restart in this file.
    File(PathBuf),
}

/// A Redis, and what this gateway calls its own in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisSettings {
    /// `redis://`, `rediss://` (TLS) or `unix:`, without a password.
    pub url: String,
    /// What its keys and its channel begin with.
    pub prefix: String,
    /// Of the user in the URL, or of the default one.
    pub password: Option<Secret>,
    /// Certificates (PEM) that are trusted instead of the system's.
    pub ca: Option<Vec<u8>>,
}

/// The access log: where it goes, and how much of it.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    /// Where it goes.
    pub path: AccessLogPath,
    /// The part of the requests without a failure that is in it, from 0 to 1.
    pub sample: f64,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogPath {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, in a folder that exists.
    File(PathBuf),
    /// Nowhere.
    Off,
}

/// Reads a configuration file. Relative paths in it start at its folder.
///
/// # Errors
/// Everything that is wrong with it, or that it can't be read.
pub fn load(path: &Path) -> Result<Configuration, ConfigErrors> {
    let unreadable = |reason: String| ConfigError {
        path: String::new(),
        line: 0,
        message: reason,
    };
    let bytes =
        std::fs::read(path).map_err(|error| unreadable(format!("can't be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        unreadable(format!("is no UTF-8 text, from byte {valid} on"))
    })?;
    parse_as(path, &text)
}

/// Reads `text` as if it stood in the file `path`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_as(path: &Path, text: &str) -> Result<Configuration, ConfigErrors> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().unwrap_or(Path::new("/"));
    parse_in(folder.to_owned(), text, &|name| std::env::var(name).ok())
}

/// Reads a configuration; `environment` looks variables up. Relative paths start at the process's
/// own folder.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Configuration, ConfigErrors> {
    parse_in(PathBuf::new(), text, environment)
}

fn parse_in(
    folder: PathBuf,
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Configuration, ConfigErrors> {
    let tree = yaml::parse(text)?;
    let sources = Sources {
        environment,
        folder,
        read: RefCell::default(),
    };
    let report = Report::default();
    let root = Place::root(&report);
    let found =
        File::read(&tree, root).and_then(|file| resolve::configuration(&file, &sources, root));
    match found {
        Some(configuration) => Ok(Configuration {
            warnings: report.finish()?,
            files: sources.read.into_inner(),
            ..configuration
        }),
        None => Err(report.into_errors()),
    }
}
