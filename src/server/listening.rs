//! The listeners of clients as a service of Pingora's: connections are accepted here, and served by the
//! `workers`.

use std::error::Error;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::listeners::tls::Acceptor;
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use pingora_core::protocols::{GetSocketDigest as _, SocketDigest, Stream};
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::{ServiceReadyNotifier, ServiceWithDependents};
use rustix::io::Errno;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::ending::Signals;
use super::sockets::Socket;
use super::workers::Workers;
use crate::gateway::{Front, Gateway, PlainStream};

/// How often idle upstream connections are looked after.
const SWEEP: Duration = Duration::from_secs(5);

/// How long nobody is accepted when the system has no room for another connection.
const NO_ROOM: Duration = Duration::from_secs(1);

/// Connections that were waiting when the listener is closed, and are served all the same.
const LATECOMERS: usize = 1024;

/// Where clients connect to.
pub(super) struct Listener {
    pub(super) socket: Socket,
    pub(super) entrance: Entrance,
}

/// What a connection has to pass.
pub(super) struct Entrance {
    pub(super) tls: Option<Acceptor>,
    /// Whether HTTP/2 without TLS is welcome.
    pub(super) h2c: bool,
}

/// The service.
pub(super) struct Listening {
    pub(super) front: Arc<Front>,
    pub(super) gateway: Arc<Gateway>,
    pub(super) listeners: Vec<Listener>,
    /// Started with it; when they end is for somebody else to say.
    pub(super) workers: Arc<Workers>,
    pub(super) draining: ShutdownWatch,
    /// Told when another process accepts from the same sockets.
    pub(super) handed_over: ShutdownWatch,
    /// Told when nobody listens any more.
    pub(super) closed: watch::Sender<bool>,
    /// Where the signals go, once they are caught; none where they are somebody else's.
    pub(super) catch: Option<oneshot::Sender<io::Result<Signals>>>,
}

#[async_trait]
impl ServiceWithDependents for Listening {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        // Before the first connection: a process that serves must not be ended by a signal's default.
        let caught = self.catch.take().map(|catch| (catch, Signals::catch()));
        if let Err(error) = self.gateway.access_log().start() {
            log::error!(
                "the access log can't be written: {error}. The system has no room for another thread; the log tries again with each request"
            );
        }
        self.workers.start();
        let usher = Usher {
            front: self.front.clone(),
            workers: self.workers.clone(),
            draining: self.draining.clone(),
        };
        let mut beside = JoinSet::new();
        beside.spawn(sweep(self.gateway.clone()));
        beside.spawn(usher.clone().invite(self.gateway.clone()));
        ready.notify_ready();
        if let Some((catch, signals)) = caught {
            let _ = catch.send(signals);
        }
        let mut accepting = JoinSet::new();
        for Listener { socket, entrance } in self.listeners.drain(..) {
            let address = socket.address;
            match TcpListener::from_std(socket.listener) {
                Ok(listener) => {
                    let (usher, entrance) = (usher.clone(), Arc::new(entrance));
                    let (draining, handed_over) = (self.draining.clone(), self.handed_over.clone());
                    let admit = move |socket, peer| {
                        usher.serve(Arrival::Client(socket, peer, entrance.clone()));
                    };
                    accepting.spawn(accept(listener, address, draining, handed_over, admit));
                }
                Err(error) => log::error!("nobody is accepted at {address}: {error}"),
            }
        }
        ended(accepting).await;
        self.front.cleanup().await;
        self.closed.send_replace(true);
        // Until the process ends: guests come as long as somebody is served.
        ended(beside).await;
    }

    fn name(&self) -> &'static str {
        "gateway"
    }

    /// Of the accepting: the workers serve.
    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

/// Waits for the end of all of them, also where one of them has panicked.
async fn ended(mut tasks: JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if ended.is_err_and(|error| error.is_panic()) {
            log::error!("a task that a listener needs has panicked; restart the process soon");
        }
    }
}

/// Closes idle upstream connections that can't be used any more, for good.
async fn sweep(gateway: Arc<Gateway>) {
    let mut ticks = tokio::time::interval(SWEEP);
    loop {
        ticks.tick().await;
        gateway.links().sweep();
    }
}

/// Accepts until the process drains; then those who were waiting, unless there is another process that they
/// will wait for.
async fn accept(
    listener: TcpListener,
    address: SocketAddr,
    mut draining: ShutdownWatch,
    handed_over: ShutdownWatch,
    admit: impl Fn(TcpStream, SocketAddr),
) {
    let told = loop {
        let accepted = tokio::select! {
            biased;
            told = draining.wait_for(|draining| *draining) => break told.is_ok(),
            accepted = listener.accept() => accepted,
        };
        match accepted.and_then(|(socket, peer)| Ok((socket.into_std()?, peer))) {
            Ok((socket, peer)) => admit(socket, peer),
            Err(error) if is_no_room(&error) => {
                log::error!(
                    "nobody can be accepted at {address}: {error}. Raise the limit of open files, or lower limits.connections"
                );
                let drained = draining.wait_for(|draining| *draining);
                let _ = timeout(NO_ROOM, drained).await;
            }
            // Of the one connection: it was gone before anybody looked, or the network was.
            Err(error) => log::debug!("a connection was lost at {address}: {error}"),
        }
    };
    // Where nobody has told it is the end of everything.
    if !told || *handed_over.borrow() {
        return;
    }
    let Ok(listener) = listener.into_std() else {
        return;
    };
    for _ in 0..LATECOMERS {
        let Ok((socket, peer)) = listener.accept() else {
            return;
        };
        if socket.set_nonblocking(true).is_ok() {
            admit(socket, peer);
        }
    }
}

/// Whether the system has no descriptor or no memory for a connection, and so for none.
fn is_no_room(error: &io::Error) -> bool {
    let error = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        error,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

/// Brings connections to the workers.
#[derive(Clone)]
struct Usher {
    front: Arc<Front>,
    workers: Arc<Workers>,
    draining: ShutdownWatch,
}

impl Usher {
    /// Has this process's own requests served, for good.
    async fn invite(self, gateway: Arc<Gateway>) {
        loop {
            let guest = gateway.guests().arrival().await;
            self.serve(Arrival::Guest(guest));
        }
    }

    fn serve(&self, arrival: Arrival) {
        let Some(entered) = self.front.enter() else {
            return;
        };
        let (front, draining) = (self.front.clone(), self.draining.clone());
        let deadline = front.deadline();
        self.workers.serve(move |place| async move {
            let (h2c, peer) = (arrival.may_speak_h2c(), arrival.peer());
            match arrival.open(deadline).await {
                Ok(stream) => front.serve(entered, stream, h2c, deadline, &draining).await,
                Err(error) => log::debug!(
                    "a connection from {peer:?} was closed before it was heard: {error}"
                ),
            }
            drop(place);
        });
    }
}

/// A connection that nobody has served yet; not blocking.
enum Arrival {
    /// Somebody else, from somewhere.
    Client(TcpStream, SocketAddr, Arc<Entrance>),
    /// This process itself.
    Guest(UnixStream),
}

/// Why nobody was heard on a connection.
type Unheard = Box<dyn Error + Send + Sync>;

impl Arrival {
    fn may_speak_h2c(&self) -> bool {
        match self {
            Self::Client(.., entrance) => entrance.h2c && entrance.tls.is_none(),
            Self::Guest(_) => false,
        }
    }

    /// Where it comes from.
    fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Client(_, peer, _) => Some(*peer),
            Self::Guest(_) => None,
        }
    }

    /// What is spoken on it, told of by the event loop of whoever calls; with TLS where that stands by
    /// `deadline`.
    async fn open(self, deadline: Instant) -> Result<Stream, Unheard> {
        let h2c = self.may_speak_h2c();
        match self {
            Self::Client(socket, peer, entrance) => {
                let Some(tls) = &entrance.tls else {
                    return Ok(match h2c {
                        // Its first bytes are looked at before they are read.
                        true => Box::new(layered(socket, peer)?),
                        false => Box::new(PlainStream::accepted(socket, peer)?),
                    });
                };
                // Rare and large: nobody who is served needs room for it.
                let handshake = Box::pin(tls.tls_handshake(layered(socket, peer)?));
                Ok(Box::new(timeout_at(deadline, handshake).await??))
            }
            Self::Guest(socket) => {
                let socket = tokio::net::UnixStream::from_std(socket)?;
                Ok(Box::new(L4Stream::from(socket)))
            }
        }
    }
}

/// A stream of Pingora's, for who looks ahead or speaks TLS on it. It reads nothing ahead by itself and holds
/// nothing back: whoever reads or writes does it in one go.
fn layered(socket: TcpStream, peer: SocketAddr) -> io::Result<L4Stream> {
    socket.set_nodelay(true)?;
    let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
    // It is new, so nobody else has said it.
    let _ = digest.peer_addr.set(Some(peer.into()));
    let mut stream = L4Stream::from(tokio::net::TcpStream::from_std(socket)?);
    stream.set_socket_digest(digest);
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Who of three that wait is let in by a listener that ends at once; the last sender is `dropped`
    /// instead of telling.
    async fn let_in(dropped: bool, handed_over: bool) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let clients = [(); 3].map(|()| TcpStream::connect(address).unwrap());
        let (drain, draining) = watch::channel(!dropped);
        if dropped {
            drop(drain);
        }
        let (_hand_over, handed_over) = watch::channel(handed_over);
        let admitted = Mutex::new(Vec::new());
        let admit = |socket: TcpStream, peer| {
            admitted.lock().unwrap().push(peer);
            assert_eq!(socket.peer_addr().unwrap(), peer);
        };
        accept(listener, address, draining, handed_over, admit).await;
        TcpStream::connect(address).unwrap_err();
        let all = clients.map(|client| client.local_addr().unwrap());
        (admitted.into_inner().unwrap(), all.to_vec())
    }

    #[tokio::test]
    async fn who_waits_when_it_ends_is_let_in_and_nobody_after_that() {
        let (admitted, all) = let_in(false, false).await;
        assert_eq!(admitted, all);
    }

    #[tokio::test]
    async fn who_waits_is_left_to_the_next_process_and_to_nobody_where_all_ends() {
        for (dropped, handed_over) in [(false, true), (true, false)] {
            let (admitted, _) = let_in(dropped, handed_over).await;
            assert_eq!(admitted, []);
        }
    }

    #[test]
    fn one_lost_connection_is_no_lack_of_room() {
        let of = |error: Errno| is_no_room(&error.into());
        assert!(of(Errno::MFILE) && of(Errno::NFILE) && of(Errno::NOBUFS) && of(Errno::NOMEM));
        assert!(!of(Errno::CONNABORTED) && !of(Errno::PROTO) && !of(Errno::HOSTUNREACH));
    }
}
