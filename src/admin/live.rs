//! What runs, as far as it is shown and changed here.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use http::{HeaderName, HeaderValue};

use crate::config::ConfigErrors;
use crate::gateway::suspension::Suspensions;
use crate::policy::{Caller, Snapshot};
use crate::telemetry::metrics::{RoomStatus, Totals};
use crate::telemetry::{BackendReport, RequestRecord};

/// The gateway that runs, provided by `server`.
#[async_trait]
pub trait Live: Send + Sync + 'static {
    /// Whether the process is about to end, so that nobody should send it new requests.
    fn is_draining(&self) -> bool;

    /// Appends the metrics in Prometheus's text format.
    fn write_metrics(&self, text: &mut String);

    /// The configuration file, where there is one.
    fn configuration_file(&self) -> Option<PathBuf>;

    /// The configuration that new requests are served with.
    fn configuration(&self) -> Arc<dyn AsRef<Snapshot> + Send + Sync>;

    /// The suspensions of all pairs.
    fn suspensions(&self) -> &Suspensions;

    /// How full each endpoint is that has a limit.
    fn rooms(&self) -> Vec<RoomStatus>;

    /// How the backends of all endpoints stand, in the order of the configuration.
    fn backends(&self) -> Vec<BackendReport>;

    /// The last requests, the latest first.
    fn recent(&self) -> Vec<RequestRecord>;

    /// What is counted, added up.
    fn totals(&self) -> Totals;

    /// Where callers connect.
    fn listeners(&self) -> &[Listening];

    /// Lets one request of `caller`'s into the gateway.
    ///
    /// # Errors
    /// The system gives no sockets.
    fn invite(&self, caller: Caller) -> io::Result<WayIn>;

    /// Reads the configuration file again and puts it to use, after those who asked before.
    async fn reload(&self, by: ReloadedBy) -> Arc<Reload>;

    /// The last reload, and how many there were.
    fn reloads(&self) -> Reloads;
}

/// A listener.
#[derive(Clone, Copy, Debug)]
pub struct Listening {
    /// Never with port 0.
    pub address: SocketAddr,
    /// Whether it speaks TLS.
    pub tls: bool,
}

impl Listening {
    /// What a caller's address begins with; `*` stands for the machine's name where it listens on
    /// all of its addresses.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        if self.address.ip().is_unspecified() {
            format!("{scheme}://*:{}", self.address.port())
        } else {
            format!("{scheme}://{}", self.address)
        }
    }
}

/// The way into the gateway for one request.
pub struct WayIn {
    /// The connection; not blocking.
    pub socket: UnixStream,
    /// What the request must carry.
    pub pass: (HeaderName, HeaderValue),
    /// The pass is good as long as this is kept.
    pub keep: Box<dyn Send + Sync>,
}

/// What made the configuration be read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReloadedBy {
    /// SIGHUP.
    Signal,
    /// A change of the configuration file, or of a file that it names.
    File,
    /// The holder of a token of this name.
    Operator(Arc<str>),
}

/// One attempt to put the configuration file to use.
#[derive(Clone, Debug)]
pub struct Reload {
    /// When it began.
    pub at: SystemTime,
    /// What asked for it.
    pub by: ReloadedBy,
    /// From its beginning to its end.
    pub took: Duration,
    /// What came of it.
    pub result: Result<Applied, ConfigErrors>,
}

/// What a reload has put to use.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// What is allowed and probably not meant.
    pub warnings: Vec<String>,
    /// The fields whose change waits for the next start.
    pub waiting: Vec<String>,
}

/// How reloads went so far.
#[derive(Clone, Debug, Default)]
pub struct Reloads {
    /// Those that changed the configuration.
    pub applied: u64,
    /// Those that changed nothing because something was wrong.
    pub refused: u64,
    /// The last one.
    pub last: Option<Arc<Reload>>,
}
