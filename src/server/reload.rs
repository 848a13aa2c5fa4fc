//! The configuration file, read again and put to use while requests go on.
//!
//! ```text
//! SIGHUP, a change of the file (files), the admin API
//!   └─> reload ── one at a time, on a thread of its own ──> read, resolved whole ── an error? nothing changes
//!                                                              └─> certificates, access log, table, tokens
//! ```
//!
//! - A request keeps the table that it began with; the new one is put in place by one store, for
//!   which nobody waits.
//! - Suspensions, connections to endpoints that are as they were, and clients' connections go on.
//! - What can't change while the process runs (`server`, the addresses of listeners and whether
//!   they speak TLS, the admin listener's address, `shared_state`) is named and waits for the next start.
//! - The end of each reload is kept for the admin API, and logged.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use tokio::sync::watch;

use super::certificates::{Certificates, Loaded};
use super::files::Fingerprint;
use super::log_path;
use crate::admin::{Applied, Reload, ReloadedBy, Reloads, Tokens};
use crate::config::{self, ConfigError, ConfigErrors, Configuration, Listener, SharedState};
use crate::gateway::Gateway;

/// Whoever reloads.
pub(super) struct Reloader {
    path: Option<PathBuf>,
    gateway: Arc<Gateway>,
    fixed: Fixed,
    certificates: ListenersCertificates,
    tokens: Arc<Tokens>,
    /// Held over a reload, so that the file that was read last is the one that is used. What the
    /// configuration was read from, as it was then.
    seen: Mutex<Fingerprint>,
    /// How they went, told to whoever listens.
    reloads: watch::Sender<Reloads>,
}

/// The certificates of the listeners in their order, and the admin listener's.
pub(super) struct ListenersCertificates {
    pub(super) listeners: Vec<Option<Certificates>>,
    pub(super) admin: Option<Certificates>,
}

impl Reloader {
    /// Reloads from `path`, for what was started with a configuration of these `fixed` parts that
    /// was read from `files`.
    pub(super) fn new(
        path: Option<PathBuf>,
        files: Vec<PathBuf>,
        gateway: Arc<Gateway>,
        fixed: Fixed,
        certificates: ListenersCertificates,
        tokens: Arc<Tokens>,
    ) -> Self {
        // A daemon starts in one folder and lives in another.
        let path = path.map(|path| std::path::absolute(&path).unwrap_or(path));
        let files = path.iter().cloned().chain(files).collect();
        Self {
            path,
            gateway,
            fixed,
            certificates,
            tokens,
            seen: Mutex::new(Fingerprint::take(files)),
            reloads: watch::Sender::default(),
        }
    }

    /// Reads the file again and puts it to use. Without a file nothing can be read.
    pub(super) async fn reload(self: &Arc<Self>, by: ReloadedBy) -> Arc<Reload> {
        let reloader = self.clone();
        let asked = by.clone();
        let done = tokio::task::spawn_blocking(move || reloader.reload_now(asked)).await;
        done.unwrap_or_else(|error| {
            log::error!("the configuration was not reloaded: {error}");
            Arc::new(Reload {
                at: SystemTime::now(),
                by,
                took: std::time::Duration::ZERO,
                result: Err(whole_file(error.to_string()).into()),
            })
        })
    }

    /// The configuration file, where there is one.
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// How reloads went so far, and go from now on.
    pub(super) fn reloads(&self) -> watch::Receiver<Reloads> {
        self.reloads.subscribe()
    }

    /// What the running configuration was read from, as it was then.
    pub(super) fn seen(&self) -> Fingerprint {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }

    fn reload_now(&self, by: ReloadedBy) -> Arc<Reload> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, begun) = (SystemTime::now(), Instant::now());
        // Before they are read: what changes meanwhile is seen as a change.
        *seen = seen.again();
        let result = match &self.path {
            Some(path) => self.load(path, &mut seen),
            None => Err(whole_file("there is no configuration file".to_owned()).into()),
        };
        tell(&result);
        self.gateway.metrics().reloaded(result.is_ok());
        let reload = Arc::new(Reload {
            at,
            by,
            took: begun.elapsed(),
            result,
        });
        self.reloads.send_modify(|reloads| {
            match &reload.result {
                Ok(_) => reloads.applied += 1,
                Err(_) => reloads.refused += 1,
            }
            reloads.last = Some(reload.clone());
        });
        reload
    }

    fn load(&self, path: &Path, seen: &mut Fingerprint) -> Result<Applied, ConfigErrors> {
        let configuration = config::load(path)?;
        let files = [path.to_owned()]
            .into_iter()
            .chain(configuration.files.clone());
        seen.follow(files.collect());
        self.apply(configuration).map_err(ConfigErrors::from)
    }

    /// All or nothing: what can fail comes first.
    fn apply(&self, configuration: Configuration) -> Result<Applied, ConfigError> {
        let certificates = self.read_certificates(&configuration).map_err(whole_file)?;
        let waiting = self.fixed.waiting(&Fixed::of(&configuration));
        self.gateway
            .install(configuration.snapshot)
            .map_err(|error| whole_file(error.to_string()))?;
        for (certificates, loaded) in certificates {
            certificates.exchange(loaded);
        }
        let tokens = configuration.admin.map(|admin| admin.tokens);
        self.tokens.set(tokens.unwrap_or_default());
        let log = self.gateway.access_log();
        log.set_sample(configuration.access_log.sample);
        if let Err(error) = log.reopen(&log_path(&configuration.access_log.path)) {
            log::error!(
                "the access log can't be opened again: {error}. It goes on where it was: see that its folder exists and that this user may write there, and reload"
            );
        }
        Ok(Applied {
            warnings: configuration.warnings,
            waiting,
        })
    }

    /// The certificates of the listeners that run and are still configured.
    fn read_certificates(
        &self,
        configuration: &Configuration,
    ) -> Result<Vec<(&Certificates, Loaded)>, String> {
        let mut loaded = Vec::new();
        let running = self
            .fixed
            .listeners
            .iter()
            .zip(&self.certificates.listeners);
        for (listener, certificates) in running {
            let same = |other: &&Listener| Shape::of(other) == Shape::of(listener);
            let configured = configuration.listeners.iter().find(same);
            if let (Some(certificates), Some(tls)) = (
                certificates,
                configured.and_then(|other| other.tls.as_ref()),
            ) {
                loaded.push((certificates, Loaded::read(tls)?));
            }
        }
        let admin = configuration.admin.as_ref();
        if let (Some(certificates), Some(tls)) = (
            &self.certificates.admin,
            admin.and_then(|admin| admin.tls.as_ref()),
        ) {
            loaded.push((certificates, Loaded::read(tls)?));
        }
        Ok(loaded)
    }
}

fn tell(result: &Result<Applied, ConfigErrors>) {
    match result {
        Ok(applied) => {
            for warning in &applied.warnings {
                log::warn!("{warning}");
            }
            log::info!("the configuration was reloaded");
            if !applied.waiting.is_empty() {
                log::warn!(
                    "these changes wait for the next start, by an upgrade or a restart: {}",
                    applied.waiting.join(", ")
                );
            }
        }
        Err(errors) => {
            log::error!("the configuration was not reloaded; it goes on as it was. {errors}");
        }
    }
}

fn whole_file(message: String) -> ConfigError {
    ConfigError {
        path: String::new(),
        line: 0,
        message,
    }
}

/// The parts of a configuration that can't change while the process runs.
pub(super) struct Fixed {
    server: serde_json::Value,
    listeners: Vec<Listener>,
    admin: Option<Listener>,
    shared_state: Option<SharedState>,
}

/// What of a listener can't change: its address, and what it speaks.
#[derive(PartialEq, Eq)]
struct Shape {
    address: std::net::SocketAddr,
    h2c: bool,
    tls: bool,
    client_ca: bool,
}

impl Shape {
    fn of(listener: &Listener) -> Self {
        let tls = listener.tls.as_ref();
        Self {
            address: listener.address,
            h2c: listener.h2c,
            tls: tls.is_some(),
            client_ca: tls.is_some_and(|tls| tls.client_ca.is_some()),
        }
    }
}

impl Fixed {
    pub(super) fn of(configuration: &Configuration) -> Self {
        let admin = configuration.admin.as_ref().map(|admin| Listener {
            address: admin.address,
            h2c: false,
            tls: admin.tls.clone(),
        });
        Self {
            server: serde_json::to_value(&configuration.server).unwrap_or_default(),
            listeners: configuration.listeners.clone(),
            admin,
            shared_state: configuration.shared_state.clone(),
        }
    }

    /// The fields in which `next` differs.
    fn waiting(&self, next: &Self) -> Vec<String> {
        let shapes = |fixed: &Self| fixed.listeners.iter().map(Shape::of).collect::<Vec<_>>();
        let admin = |fixed: &Self| fixed.admin.as_ref().map(Shape::of);
        let differs = [
            ("server", self.server != next.server),
            ("listeners", shapes(self) != shapes(next)),
            ("admin", admin(self) != admin(next)),
            ("shared_state", self.shared_state != next.shared_state),
        ];
        let differs = differs.into_iter().filter(|(_, differs)| *differs);
        differs.map(|(name, _)| name.to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::gateway::SystemResolver;
    use crate::server::{RunOptions, start_with};

    const CONFIGURATION: &str = "
listeners: [{address: '127.0.0.1:0'}]
authentication: none
environment: production
endpoints: {openai: {provider: openai, url: 'http://127.0.0.1:9'}}
operations: [{method: GET, path: /v1/models, default_endpoint: {production: openai}}]
";

    /// Or else the watched file would be reloaded once more.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_reloaded_has_been_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("standin.yaml");
        fs::write(&path, CONFIGURATION).unwrap();
        let options = RunOptions {
            conf_path: Some(path.clone()),
            ..RunOptions::default()
        };
        let configuration = config::load(&path).unwrap();
        let running = start_with(configuration, &options, Arc::new(SystemResolver)).unwrap();
        for text in [
            format!("{CONFIGURATION}# changed"),
            "listeners: [".to_owned(),
        ] {
            fs::write(&path, text).unwrap();
            let reloader = &running.reloader;
            assert_ne!(reloader.seen(), reloader.seen().again());
            reloader.reload(ReloadedBy::Signal).await;
            assert_eq!(reloader.seen(), reloader.seen().again());
        }
        let reloads = running.reloads().borrow().clone();
        assert_eq!((reloads.applied, reloads.refused), (1, 1));
    }
}
