//! Sockets below HTTP: one type for TCP and TLS, closing the rude way, and addresses that fail.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// A connection, whatever is under it.
pub type Wire = Box<dyn Io>;

/// What a connection can do.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A second handle on a TCP connection that is otherwise owned by a protocol.
///
/// It shares the socket: the connection closes when both are dropped.
pub struct Lever(Socket);

impl Lever {
    /// A lever on `tcp`.
    pub fn on(tcp: &TcpStream) -> Self {
        Self(SockRef::from(tcp).try_clone().expect("a second handle"))
    }

    /// What the kernel has got of the peer and nobody has read: unlike a read it needs no turn of
    /// the reactor, so it knows of a FIN from the moment it arrived.
    pub fn unread(&self) -> Unread {
        match self.0.peek(&mut [MaybeUninit::uninit()]) {
            Ok(0) => Unread::End,
            Ok(_) => Unread::Bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Unread::Nothing,
            Err(_) => Unread::End,
        }
    }

    /// Makes the close that follows a reset: `SO_LINGER` with zero seconds sends RST and drops
    /// what is still unsent.
    pub fn reset_on_close(self) {
        // On a socket that the peer reset already there is nothing left to arrange.
        let _ = self.0.set_linger(Some(Duration::ZERO));
    }
}

/// What is there to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// Nothing yet.
    Nothing,
    /// Bytes.
    Bytes,
    /// The end: FIN or RST.
    End,
}

/// A TCP port of 127.0.0.1 that stays ours while nobody listens on it.
///
/// A port that is bound and closed again can be given to another test at once, which would then
/// answer for it. This one is bound (never listening) for as long as the value lives, so the kernel
/// gives it to nobody else and refuses every connection to it. `SO_REUSEPORT` lets a listener of
/// our own share it.
#[derive(Debug)]
pub struct Port {
    addr: SocketAddr,
    _bound: TcpSocket,
}

impl Port {
    /// Any free port.
    pub fn reserve() -> Self {
        let bound = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        Self {
            addr: bound.local_addr().expect("its address"),
            _bound: bound,
        }
    }

    /// The same port at 127.0.0.N.
    pub fn beside(&self, n: u8) -> Self {
        let addr = SocketAddr::from((Ipv4Addr::new(127, 0, 0, n), self.addr.port()));
        let bound = bind(addr).unwrap_or_else(|error| panic!("can't have {addr}: {error}"));
        Self {
            addr,
            _bound: bound,
        }
    }

    /// 127.0.0.1 and the port.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Listens on it; it refuses connections again when the listener is dropped.
    pub fn listen(&self) -> TcpListener {
        bind(self.addr)
            .and_then(|socket| socket.listen(1024))
            .unwrap_or_else(|error| panic!("can't listen on {}: {error}", self.addr))
    }
}

fn bind(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind(addr)?;
    Ok(socket)
}

/// An address that never answers, for as long as the value lives.
#[derive(Debug)]
pub struct Dead {
    addr: SocketAddr,
    _held: Held,
}

/// What keeps a dead address dead.
#[derive(Debug)]
#[expect(dead_code, reason = "held, never read")]
enum Held {
    Port(Port),
    Listener(TcpListener, Vec<TcpStream>),
}

impl Dead {
    /// Refuses every connection (RST to the SYN). Not racy: see [`Port`].
    pub fn refusing() -> Self {
        let port = Port::reserve();
        Self {
            addr: port.addr(),
            _held: Held::Port(port),
        }
    }

    /// Takes connections and what is written to them, and never says a word: the kernel completes
    /// the handshake into a backlog that nobody accepts from.
    pub async fn black_hole() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        Self {
            addr: listener.local_addr().expect("its address"),
            _held: Held::Listener(listener, Vec::new()),
        }
    }

    /// Never completes a TCP handshake: its backlog of one is filled, and the kernel drops the
    /// SYNs that follow. What a connect timeout is for.
    pub async fn unconnectable() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .expect("a free port");
        let listener = socket.listen(0).expect("a listener");
        let addr = listener.local_addr().expect("its address");
        let mut fillers = Vec::new();
        while let Ok(connected) =
            tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(addr)).await
        {
            fillers.push(connected.expect("a place in the backlog"));
            assert!(fillers.len() < 64, "the backlog of {addr} does not fill");
        }
        Self {
            addr,
            _held: Held::Listener(listener, fillers),
        }
    }

    /// Where nobody answers.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The same as the URL of an endpoint.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}
