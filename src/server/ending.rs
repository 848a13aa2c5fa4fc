//! How the process ends, and what else signals do to it.
//!
//! ```text
//! SIGTERM, SIGQUIT ──> drain: no new connections ──> the last one closed ──────┐
//! the next process ──> serves (see `upgrade`), then drain ─────────────────────┼─> exit 0
//!                                    grace_period + graceful_shutdown_timeout ─┘
//! SIGINT ───> exit at once, also in the midst of that
//! SIGUSR2 ──> the next process is started
//! SIGHUP ───> the configuration is read again, the access log opened again
//! ```
//!
//! **What becomes of idle connections.** A client may be sending its next request at the moment in
//! which its idle connection is closed, and then has no answer. So a draining process leaves idle
//! connections open for a while (`grace_period`; where the next process serves, half of the whole
//! time), and the next answer on each says that it is the last.
//!
//! Pingora would end everything after a fixed time. So the signals are waited for here, the listeners are stopped
//! by a watch of our own, and Pingora is told to end only when the last connection is closed or the time is up;
//! then the `workers` end. What is cut is dropped with them, and tells of itself while it is.

use std::ffi::OsString;
use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::runtime;
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::{oneshot, watch};

use super::files::watch;
use super::reload::Reloader;
use super::sockets::Socket;
use super::supervisor;
use super::upgrade::{self, Predecessor, Upgrades};
use super::workers::Workers;
use crate::admin::ReloadedBy;
use crate::gateway::{Connections, Gateway};
use crate::telemetry::AccessLog;

/// How long closing the listeners may take; it is done as soon as their loops see the signal.
const TO_CLOSE: Duration = Duration::from_secs(1);

/// How long the runtimes' threads may take to let go of what is cut.
const TO_CUT: Duration = Duration::from_secs(1);

/// What ends the process, and how.
pub(super) struct Ending {
    pub(super) gateway: Arc<Gateway>,
    pub(super) connections: Connections,
    /// To be ended after everything else.
    pub(super) workers: Arc<Workers>,
    pub(super) drain: watch::Sender<bool>,
    pub(super) listeners_closed: watch::Receiver<bool>,
    /// Told when the next process serves: the admin listener ends then, and otherwise with the
    /// process.
    pub(super) handed_over: watch::Sender<bool>,
    /// How long idle connections stay open once it ends.
    pub(super) grace: Duration,
    /// How long requests under way may take to end, `grace` included.
    pub(super) patience: Duration,
    /// Taken when the process serves.
    pub(super) upgrading: Mutex<Option<Upgrading>>,
    /// The command line of the next process.
    pub(super) next: Vec<OsString>,
    pub(super) reloader: Arc<Reloader>,
    pub(super) told: Told,
}

/// What is needed to follow one process and to be followed by another.
pub(super) struct Upgrading {
    pub(super) path: PathBuf,
    pub(super) sockets: Vec<Socket>,
    /// To be told that this process serves.
    pub(super) predecessor: Option<Predecessor>,
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
    user_defined2: unix::Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// SIGTERM, SIGQUIT.
    Terminate,
    /// SIGINT.
    Interrupt,
    /// SIGHUP.
    Reload,
    /// SIGUSR2.
    Upgrade,
}

impl Signals {
    pub(super) fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            quit: unix::signal(SignalKind::quit())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hangup: unix::signal(SignalKind::hangup())?,
            user_defined2: unix::signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Terminate,
            _ = self.quit.recv() => Asked::Terminate,
            _ = self.interrupt.recv() => Asked::Interrupt,
            _ = self.hangup.recv() => Asked::Reload,
            _ = self.user_defined2.recv() => Asked::Upgrade,
        }
    }
}

#[async_trait]
impl ShutdownSignalWatch for Ending {
    async fn recv(&self) -> ShutdownSignal {
        tokio::spawn(watch(self.reloader.clone()));
        match &self.told {
            Told::Embedded(told) => {
                // The other side is dropped only with the gateway itself: an end too.
                let _ = told.clone().wait_for(|told| *told).await;
                // Its listening sockets, which nobody is going to take over.
                drop(self.take_upgrading());
                self.finish(self.grace).await;
            }
            Told::BySignals(caught) => {
                let caught = caught.lock().unwrap_or_else(PoisonError::into_inner).take();
                match until_caught(caught).await {
                    Ok(signals) => self.obey(signals).await,
                    Err(error) => {
                        log::error!(
                            "signals can't be received: {error}. The process serves, but only SIGKILL ends it; restart it soon"
                        );
                        pending::<()>().await;
                    }
                }
            }
        }
        self.gateway.traces().flush(Duration::from_secs(2)).await;
        ShutdownSignal::FastShutdown
    }
}

/// Waits, when everything has been told to end, until the threads have let go of what is cut: each
/// request of it has its line then.
pub(super) fn account_for_the_cut(gateway: &Gateway, connections: &Connections) {
    if connections.open() > 0
        && let Ok(runtime) = runtime::Builder::new_current_thread().enable_time().build()
    {
        let cut = async { tokio::time::timeout(TO_CUT, connections.all_closed()).await };
        let _ = runtime.block_on(cut);
    }
    flush(gateway.access_log());
}

fn flush(access_log: &AccessLog) {
    if !access_log.flush(Duration::from_secs(5)) {
        log::warn!(
            "the access log's last lines could not be written: its disk or whoever reads it is too slow"
        );
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
        let upgrades = self.serve_upgrades();
        supervisor::ready();
        let Some(handed_over) = self.until_the_end(&mut signals, upgrades.as_ref()).await else {
            return;
        };
        // From here on its listening sockets are nobody's but those of the next process.
        match upgrades {
            Some(upgrades) if !handed_over => upgrades.end(),
            upgrades => drop(upgrades),
        }
        let linger = if handed_over {
            self.grace.max(self.patience / 2)
        } else {
            supervisor::stopping();
            self.grace
        };
        tokio::select! {
            () = self.finish(linger) => {}
            _ = signals.interrupt.recv() => {}
        }
    }

    /// Waits for what ends the process: whether another one serves in its place, or `None` where
    /// it ends at once.
    async fn until_the_end(
        &self,
        signals: &mut Signals,
        upgrades: Option<&Upgrades>,
    ) -> Option<bool> {
        let mut successor = pin!(async {
            match upgrades {
                Some(upgrades) => upgrades.successor().await,
                None => pending().await,
            }
        });
        loop {
            let asked = tokio::select! {
                asked = signals.next() => asked,
                pid = &mut successor => {
                    log::info!("process {pid} serves now; this one finishes what it has");
                    supervisor::main_pid(pid);
                    let _ = self.handed_over.send(true);
                    return Some(true);
                }
            };
            match asked {
                Asked::Terminate => return Some(false),
                Asked::Interrupt => return None,
                Asked::Reload => {
                    supervisor::reloading();
                    self.reloader.reload(ReloadedBy::Signal).await;
                    supervisor::ready();
                }
                Asked::Upgrade if upgrades.is_some() => upgrade::start_next(&self.next),
                Asked::Upgrade => log::error!(
                    "no next process is started: this one can't hand over its listening sockets. Set server.upgrade_sock and restart"
                ),
            }
        }
    }

    /// Tells the process before this one that this one serves, and waits for the one after it.
    fn serve_upgrades(&self) -> Option<Upgrades> {
        let upgrading = self.take_upgrading()?;
        let Upgrading {
            path,
            sockets,
            predecessor,
        } = upgrading;
        let listening = Upgrades::listen(&path, sockets, predecessor.is_some());
        if let Some(predecessor) = predecessor {
            predecessor.tell_ready();
        }
        listening
            .inspect_err(|error| {
                log::warn!(
                    "no other process can take over from this one: {}: {error}. Set server.upgrade_sock to a path of its own",
                    path.display()
                );
            })
            .ok()
    }

    fn take_upgrading(&self) -> Option<Upgrading> {
        let upgrading = self.upgrading.lock();
        upgrading.unwrap_or_else(PoisonError::into_inner).take()
    }

    /// No new connections; idle ones closed after `linger`; until the last one is, or the time is up.
    async fn finish(&self, linger: Duration) {
        log::info!("ending: {} connections are open", self.connections.open());
        self.gateway.drain();
        let _ = self.drain.send(true);
        let deadline = tokio::time::Instant::now() + self.patience;
        // First the listeners, so that nobody who is turned away comes back by a new connection.
        let mut closed = self.listeners_closed.clone();
        let _ = tokio::time::timeout(TO_CLOSE, closed.wait_for(|closed| *closed)).await;
        let _ = tokio::time::timeout(linger, self.connections.all_closed()).await;
        self.connections.close_idle();
        let closed = tokio::time::timeout_at(deadline, self.connections.all_closed());
        if closed.await.is_err() {
            log::warn!(
                "{} connections are cut: they were still open after {:?}. If that is too short for your models, raise server.graceful_shutdown_timeout_seconds",
                self.connections.open(),
                self.patience
            );
        }
    }
}
