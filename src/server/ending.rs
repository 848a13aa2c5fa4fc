//! How the process ends, and what else signals do to it.
//!
//! ```text
//! SIGTERM ──> drain: no new connections, idle ones closed ──> the last one closed ─┐
//! SIGQUIT ──> listening sockets to the next process, then drain ───────────────────┼─> exit 0
//!                                        grace_period + graceful_shutdown_timeout ─┘
//! SIGINT ───> exit at once, also in the midst of that
//! SIGHUP ───> the configuration is read again, the access log opened again
//! ```
//!
//! Pingora would end its runtimes, and with them every request under way, after a fixed time. So
//! the signals are waited for here, the listeners are stopped by a watch of our own, and Pingora is
//! told to end only when the last connection is closed or the time is up.

use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::{ListenFds, ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::{oneshot, watch};

use super::log_path;
use crate::config;
use crate::gateway::{Connections, Gateway};

/// Pingora's table of listening sockets, once it has given it out.
pub(super) type SharedFds = Arc<Mutex<Option<ListenFds>>>;

/// What ends the process, and how.
pub(super) struct Ending {
    pub(super) gateway: Arc<Gateway>,
    pub(super) connections: Connections,
    pub(super) drain: watch::Sender<bool>,
    /// Told when the next process has the listening sockets: the admin listener ends then, and
    /// otherwise with the process.
    pub(super) handed_over: watch::Sender<bool>,
    /// How long requests under way may take to end.
    pub(super) patience: Duration,
    pub(super) fds: SharedFds,
    pub(super) upgrade_sock: String,
    pub(super) conf_path: Option<PathBuf>,
    pub(super) told: Told,
}

/// How the process, or a gateway embedded in one, is told to end.
pub(super) enum Told {
    /// By whoever embeds it; signals are somebody else's then.
    Embedded(watch::Receiver<bool>),
    BySignals(Mutex<Option<oneshot::Receiver<io::Result<Signals>>>>),
}

/// The signals that are obeyed, caught for as long as this lives.
pub(super) struct Signals {
    terminate: unix::Signal,
    quit: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// SIGTERM.
    Terminate,
    /// SIGQUIT.
    Upgrade,
    /// SIGINT.
    Interrupt,
    /// SIGHUP.
    Reload,
}

impl Signals {
    pub(super) fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            quit: unix::signal(SignalKind::quit())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hangup: unix::signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Terminate,
            _ = self.quit.recv() => Asked::Upgrade,
            _ = self.interrupt.recv() => Asked::Interrupt,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }
}

#[async_trait]
impl ShutdownSignalWatch for Ending {
    async fn recv(&self) -> ShutdownSignal {
        match &self.told {
            Told::Embedded(told) => {
                // The other side is dropped only with the gateway itself: an end too.
                let _ = told.clone().wait_for(|told| *told).await;
                self.finish().await;
            }
            Told::BySignals(caught) => {
                let caught = caught.lock().unwrap_or_else(PoisonError::into_inner).take();
                match until_caught(caught).await {
                    Ok(signals) => self.obey(signals).await,
                    Err(error) => {
                        log::error!("signals can't be received: {error}");
                        pending::<()>().await;
                    }
                }
            }
        }
        if !self.gateway.access_log().flush(Duration::from_secs(5)) {
            log::warn!("the access log's last lines could not be written");
        }
        ShutdownSignal::FastShutdown
    }
}

async fn until_caught(
    caught: Option<oneshot::Receiver<io::Result<Signals>>>,
) -> io::Result<Signals> {
    match caught {
        Some(caught) => caught.await.map_err(io::Error::other)?,
        None => Err(io::Error::other("somebody else waits for them")),
    }
}

impl Ending {
    /// Does what the signals ask for, until the process has to end.
    async fn obey(&self, mut signals: Signals) {
        let asked = loop {
            match signals.next().await {
                Asked::Reload => self.reload(),
                asked => break asked,
            }
        };
        let orderly = async {
            if asked == Asked::Upgrade {
                self.hand_over().await;
            }
            self.finish().await;
        };
        if asked != Asked::Interrupt {
            tokio::select! {
                () = orderly => {}
                _ = signals.interrupt.recv() => {}
            }
        }
    }

    /// No new connections, idle ones closed; until the last one is, or the time is up.
    async fn finish(&self) {
        log::info!("ending: {} connections are open", self.connections.open());
        self.gateway.drain();
        let _ = self.drain.send(true);
        let closed = tokio::time::timeout(self.patience, self.connections.all_closed());
        if closed.await.is_err() {
            log::warn!(
                "{} connections are cut: they were still open after {:?}",
                self.connections.open(),
                self.patience
            );
        }
    }

    /// Gives the listening sockets to the process that was started with `--upgrade`.
    async fn hand_over(&self) {
        let fds = self
            .fds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(fds) = fds else { return };
        let path = self.upgrade_sock.clone();
        let sent =
            tokio::task::spawn_blocking(move || fds.lock().send_to_sock(path.as_str())).await;
        match sent {
            Ok(Ok(_)) => {
                let _ = self.handed_over.send(true);
                log::info!("the listening sockets were handed over");
            }
            Ok(Err(error)) => log::error!(
                "nobody took the listening sockets over at {}: {error}. Start the next process with --upgrade before sending SIGQUIT",
                self.upgrade_sock
            ),
            Err(error) => log::error!("the listening sockets weren't handed over: {error}"),
        }
    }

    /// Reads the configuration again. With an error nothing changes.
    fn reload(&self) {
        let Some(path) = &self.conf_path else { return };
        let configuration = match config::load(path) {
            Ok(configuration) => configuration,
            Err(errors) => {
                log::error!("the configuration was not reloaded; it goes on as it was. {errors}");
                return;
            }
        };
        for warning in &configuration.warnings {
            log::warn!("{warning}");
        }
        if let Err(error) = self
            .gateway
            .access_log()
            .reopen(&log_path(&configuration.access_log))
        {
            log::error!("the access log can't be opened again: {error}");
        }
        match self.gateway.install(configuration.snapshot) {
            Ok(()) => log::info!(
                "the configuration was reloaded; changes of `listeners` and `server` wait for an upgrade"
            ),
            Err(error) => log::error!("the configuration was not reloaded: {error}"),
        }
    }
}
