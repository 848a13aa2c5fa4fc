//! Everything put together: `sockets`, listeners, the gateway, and its `ending`. The only code
//! that knows all the rest.

mod admin;
mod certificates;
mod ending;
mod files;
mod listening;
mod live;
mod reload;
mod sharing;
mod sockets;
mod supervisor;
mod upgrade;
mod workers;

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pingora_core::apps::HttpServerOptions;
use pingora_core::connectors::ConnectorOptions;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RunArgs, Server};
use pingora_core::services::background::background_service;
use pingora_proxy::HttpProxy;
use tokio::sync::{oneshot, watch};

use self::admin::AdminListening;
use self::certificates::{Certificates, Loaded};
use self::ending::{Ending, Told, Upgrading, account_for_the_cut};
use self::listening::{Entrance, Listener, Listening};
use self::live::LiveGateway;
use self::reload::{Fixed, ListenersCertificates, Reloader};
use self::sharing::Sharing;
use self::sockets::Socket;
use self::upgrade::Predecessor;
use self::workers::Workers;
use crate::admin::{Listening as ListeningAt, Reloads, Tokens};
use crate::config::{self, Configuration, ListenerTls};
use crate::gateway::{
    BackendService, Connections, Front, Gateway, HTTP2_STREAMS, Links, Proxy, Resolver,
    SystemResolver, TableError,
};
use crate::telemetry::{AccessLog, AccessLogPath, Recent};

/// How `standin run` was called.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// The configuration's file, to be read again on SIGHUP; none where there is no file.
    pub conf_path: Option<PathBuf>,
    /// Go to the background, and write the pid file.
    pub daemon: bool,
    /// Take the listening sockets over from the process that runs.
    pub upgrade: bool,
    /// What starts the next process on SIGUSR2: a program and its arguments.
    pub next: Vec<OsString>,
}

/// Why the gateway can't start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An address can't be listened on.
    #[error("can't listen on {address}: {source}")]
    Bind {
        /// As configured.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The listening sockets can't be taken over.
    #[error("can't take over at {}: {reason}", path.display())]
    Upgrade {
        /// Where the process that runs was looked for.
        path: PathBuf,
        /// Why, and what to do about it.
        reason: String,
    },
    /// A socket can't be kept for the next process.
    #[error("can't keep the listening sockets: {0}")]
    Keep(io::Error),
    /// The access log can't be opened.
    #[error("can't open the access log: {0}")]
    AccessLog(io::Error),
    /// A certificate or key can't be used.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A listener's certificates can't be used.
    #[error("listener {address}: {why}")]
    Tls {
        /// As configured.
        address: SocketAddr,
        /// What the TLS library says.
        why: String,
    },
}

/// Runs the gateway in this process until a signal ends it.
///
/// # Errors
/// Why it can't start.
pub fn run(configuration: Configuration, options: &RunOptions) -> Result<(), ServerError> {
    let assembled = assemble(configuration, options, None, Arc::new(SystemResolver))?;
    for address in &assembled.addresses {
        log::info!("listening on {address}");
    }
    if let Some(address) = &assembled.admin {
        log::info!("admin: listening on {address}");
    }
    serve(assembled.server, assembled.ending);
    Ok(())
}

/// Serves until it is told to end, and every request has been told of.
fn serve(server: Server, ending: Ending) {
    let (gateway, connections) = (ending.gateway.clone(), ending.connections.clone());
    let workers = ending.workers.clone();
    server.run(RunArgs {
        shutdown_signal: Box::new(ending),
    });
    workers.end();
    account_for_the_cut(&gateway, &connections);
}

/// A gateway that runs in threads of this process: for tests, and for whoever embeds it.
pub struct Running {
    /// Where it listens, in the order of the configuration; never port 0.
    pub addresses: Vec<SocketAddr>,
    /// Where the admin listener is, if there is one.
    pub admin: Option<SocketAddr>,
    /// The gateway itself.
    pub gateway: Arc<Gateway>,
    /// The client connections.
    pub connections: Connections,
    reloader: Arc<Reloader>,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Starts the gateway beside the caller, without a hand on the process's signals.
///
/// # Errors
/// Why it can't start.
pub fn start(configuration: Configuration) -> Result<Running, ServerError> {
    start_with(
        configuration,
        &RunOptions::default(),
        Arc::new(SystemResolver),
    )
}

/// The same with a file to reload from, and with something else than the system that finds the
/// addresses of discovered backends.
///
/// # Errors
/// Why it can't start.
pub fn start_with(
    configuration: Configuration,
    options: &RunOptions,
    resolver: Arc<dyn Resolver>,
) -> Result<Running, ServerError> {
    let (stop, told) = watch::channel(false);
    let Assembled {
        server,
        addresses,
        admin,
        ending,
    } = assemble(configuration, options, Some(told), resolver)?;
    let gateway = ending.gateway.clone();
    let connections = ending.connections.clone();
    let reloader = ending.reloader.clone();
    let thread = std::thread::spawn(move || serve(server, ending));
    Ok(Running {
        addresses,
        admin,
        gateway,
        connections,
        reloader,
        stop,
        thread: Some(thread),
    })
}

impl Running {
    /// How reloads went so far, and go from now on.
    pub fn reloads(&self) -> watch::Receiver<Reloads> {
        self.reloader.reloads()
    }

    /// Ends it as SIGTERM would: what is in flight is finished first.
    pub fn stop(mut self) {
        self.end();
    }

    /// Begins to end it, and comes back at once.
    pub fn begin_stop(&self) {
        let _ = self.stop.send(true);
    }

    fn end(&mut self) {
        self.begin_stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the server's thread has panicked");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Everything built, nothing running yet.
struct Assembled {
    server: Server,
    addresses: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    ending: Ending,
}

/// Puts everything together. Who is `told` when to end catches no signals.
fn assemble(
    configuration: Configuration,
    options: &RunOptions,
    told: Option<watch::Receiver<bool>>,
    resolver: Arc<dyn Resolver>,
) -> Result<Assembled, ServerError> {
    for warning in &configuration.warnings {
        log::warn!("{warning}");
    }
    let fixed = Fixed::of(&configuration);
    let certificates = certificates(&configuration)?;
    let Configuration {
        server: mut conf,
        listeners,
        admin,
        snapshot,
        shared_state,
        access_log,
        files,
        ..
    } = configuration;
    conf.daemon |= options.daemon;
    let grace = Duration::from_secs(conf.grace_period_seconds.unwrap_or_default());
    let rest = conf.graceful_shutdown_timeout_seconds.unwrap_or_default();
    let patience = grace + Duration::from_secs(rest);
    let keepalive = snapshot.limits.keepalive_timeout;

    let addresses = listeners.iter().map(|listener| listener.address);
    let addresses: Vec<_> = addresses
        .chain(admin.iter().map(|admin| admin.address))
        .collect();
    let upgrade_sock = PathBuf::from(&conf.upgrade_sock);
    let (predecessor, inherited) = if options.upgrade {
        let (predecessor, sockets) = Predecessor::ask(&upgrade_sock, &addresses)?;
        (Some(predecessor), sockets)
    } else {
        (None, Vec::new())
    };
    let mut sockets = sockets::open(&addresses, inherited)?;
    let kept = sockets.iter().map(Socket::try_clone);
    let kept = kept.collect::<io::Result<_>>().map_err(ServerError::Keep)?;
    let log = AccessLog::open(&log_path(&access_log.path)).map_err(ServerError::AccessLog)?;
    log.set_sample(access_log.sample);
    let links = Links::new(
        ConnectorOptions::from_server_conf(&conf),
        conf.upstream_keepalive_pool_size,
    );
    let recent = Recent::new(if admin.is_some() { RECENT } else { 0 });
    let gateway = Arc::new(Gateway::new(snapshot, links, log, recent)?);
    let sharing = shared_state.map(|settings| Sharing::new(settings, &gateway));
    let connections = Connections::default();
    let (drain, draining) = watch::channel(false);
    let (closed, listeners_closed) = watch::channel(false);
    let (handed_over, hand_over) = watch::channel(false);

    let workers = Arc::new(Workers::new(workers::Settings::of(&conf)));
    // Its runtimes are those of what goes on beside the requests, a thread each.
    conf.work_stealing = true;
    let mut server = Server::new_with_opt_and_conf(None, conf);
    let conf = server.configuration.clone();
    let proxy = Arc::new(proxy(&gateway, &conf, keepalive));
    let front = Arc::new(Front::new(proxy, gateway.clone(), connections.clone()));
    let admin_socket = admin.as_ref().and_then(|_| sockets.pop());
    let addresses: Vec<_> = sockets.iter().map(|socket| socket.address).collect();
    let entrances = entrances(sockets, &listeners, &certificates)?;
    let listening = addresses
        .iter()
        .zip(&listeners)
        .map(|(address, listener)| ListeningAt {
            address: *address,
            tls: listener.tls.is_some(),
        });
    let listening = listening.collect();
    let (catch, caught) = oneshot::channel();
    let (catch, told) = match told {
        Some(told) => (None, Told::Embedded(told)),
        None => (Some(catch), Told::BySignals(Mutex::new(Some(caught)))),
    };
    server.add_service(Listening {
        front,
        gateway: gateway.clone(),
        listeners: entrances,
        workers: workers.clone(),
        draining,
        handed_over: hand_over.clone(),
        closed,
        catch,
    });
    if let Some(sharing) = sharing {
        server.add_service(sharing.service(drain.subscribe()));
    }
    let address = admin.as_ref().map(|admin| admin.address);
    let endpoint = address.map(|address| (address, certificates.admin.clone()));
    let tokens = Arc::new(Tokens::new(
        admin.map_or_else(Vec::new, |admin| admin.tokens),
    ));
    let reloader = Arc::new(Reloader::new(
        options.conf_path.clone(),
        files,
        gateway.clone(),
        fixed,
        certificates,
        tokens.clone(),
    ));
    let admin = match endpoint.zip(admin_socket) {
        Some((endpoint, socket)) => {
            let live = LiveGateway {
                gateway: gateway.clone(),
                connections: connections.clone(),
                reloader: reloader.clone(),
                listeners: listening,
            };
            let listening = AdminListening::new(endpoint, tokens, live, socket, hand_over)?;
            let address = listening.address;
            server.add_service(listening);
            Some(address)
        }
        None => None,
    };
    let backends = BackendService {
        gateway: gateway.clone(),
        resolver,
    };
    server.add_service(background_service("backends", backends));
    server.bootstrap();
    Ok(Assembled {
        server,
        addresses,
        admin,
        ending: Ending {
            gateway,
            connections,
            workers,
            drain,
            listeners_closed,
            handed_over,
            grace,
            patience,
            upgrading: Mutex::new(Some(Upgrading {
                path: upgrade_sock,
                sockets: kept,
                predecessor,
            })),
            next: options.next.clone(),
            reloader,
            told,
        },
    })
}

fn log_path(path: &config::AccessLogPath) -> AccessLogPath {
    match path {
        config::AccessLogPath::Stdout => AccessLogPath::Stdout,
        config::AccessLogPath::Stderr => AccessLogPath::Stderr,
        config::AccessLogPath::File(path) => AccessLogPath::File(path.clone()),
        config::AccessLogPath::Off => AccessLogPath::Off,
    }
}

/// Requests that the admin API shows.
const RECENT: usize = 256;

/// Bytes of one HTTP/2 request's headers.
const HTTP2_HEADERS: u32 = 64 << 10;

fn proxy(gateway: &Arc<Gateway>, conf: &Arc<ServerConf>, keepalive: Duration) -> HttpProxy<Proxy> {
    let mut proxy = HttpProxy::new(Proxy(gateway.clone()), conf.clone());
    let mut options = HttpServerOptions::default();
    // Whether a listener welcomes it is for `Front` to say; what it passes on here is welcome.
    options.h2c = true;
    options.h2_idle_timeout = Some(keepalive);
    proxy.server_options = Some(options);
    let mut http2 = pingora_core::protocols::http::v2::server::H2Options::new();
    http2
        .max_concurrent_streams(HTTP2_STREAMS)
        .max_header_list_size(HTTP2_HEADERS);
    proxy.h2_options = Some(http2);
    proxy.handle_init_modules();
    proxy
}

/// The listeners of clients, each with what its connections have to pass.
fn entrances(
    sockets: Vec<Socket>,
    listeners: &[config::Listener],
    certificates: &ListenersCertificates,
) -> Result<Vec<Listener>, ServerError> {
    let each = sockets.into_iter().zip(listeners);
    let each = each.zip(&certificates.listeners);
    each.map(|((socket, listener), certificates)| {
        let settings = certificates.as_ref();
        let settings = settings.map(|certificates| tls_settings(certificates, listener.address));
        let tls = settings.transpose()?.map(|mut settings| {
            settings.enable_h2();
            settings.build()
        });
        let h2c = listener.h2c;
        let entrance = Entrance { tls, h2c };
        Ok(Listener { socket, entrance })
    })
    .collect()
}

/// What a listener does for TLS.
fn tls_settings(
    certificates: &Certificates,
    address: SocketAddr,
) -> Result<TlsSettings, ServerError> {
    let settings = certificates.settings();
    settings.map_err(|why| ServerError::Tls { address, why })
}

/// Reads the certificates of all listeners.
fn certificates(configuration: &Configuration) -> Result<ListenersCertificates, ServerError> {
    let read = |address: SocketAddr, tls: Option<&ListenerTls>| {
        let loaded = tls.map(Loaded::read).transpose();
        let loaded = loaded.map_err(|why| ServerError::Tls { address, why })?;
        Ok(loaded.map(Certificates::new))
    };
    let listeners = configuration.listeners.iter();
    let admin = configuration.admin.as_ref();
    Ok(ListenersCertificates {
        listeners: listeners
            .map(|listener| read(listener.address, listener.tls.as_ref()))
            .collect::<Result<_, ServerError>>()?,
        admin: match admin {
            Some(admin) => read(admin.address, admin.tls.as_ref())?,
            None => None,
        },
    })
}
