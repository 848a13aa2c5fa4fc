//! The listening sockets, open before anything else happens: an address in use is an error with a
//! name then, and port 0 a port that can be asked for.
//!
//! A socket is known by its configured address, to the next process too: what that one has in its
//! configuration and this one has open is handed over (`upgrade`), the rest it opens itself.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd as _;

use pingora_core::server::ListenFds;

use super::ServerError;

/// A listening socket.
#[derive(Debug)]
pub(super) struct Socket {
    /// The address in the configuration, perhaps with port 0.
    pub(super) configured: SocketAddr,
    /// Where it listens.
    pub(super) address: SocketAddr,
    pub(super) listener: TcpListener,
}

impl Socket {
    /// A socket that listens already.
    pub(super) fn new(configured: SocketAddr, listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap_or(configured);
        Self {
            configured,
            address,
            listener,
        }
    }

    /// The same socket once more.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            listener: self.listener.try_clone()?,
            ..*self
        })
    }
}

/// One socket for each address, in their order: those that were `inherited`, and new ones.
pub(super) fn open(
    addresses: &[SocketAddr],
    mut inherited: Vec<Socket>,
) -> Result<Vec<Socket>, ServerError> {
    let mut sockets = Vec::with_capacity(addresses.len());
    for &address in addresses {
        let found = inherited
            .iter()
            .position(|socket| socket.configured == address);
        sockets.push(match found {
            Some(index) => inherited.remove(index),
            None => bind(address)
                .map(|listener| Socket::new(address, listener))
                .map_err(|source| ServerError::Bind { address, source })?,
        });
    }
    Ok(sockets)
}

/// Gives sockets to Pingora, which finds them by where they listen.
pub(super) fn hand_in(fds: &Option<ListenFds>, sockets: &mut Vec<Socket>) {
    if let Some(fds) = fds {
        let mut table = fds.lock();
        for socket in sockets.drain(..) {
            table.add(socket.address.to_string(), socket.listener.into_raw_fd());
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        None,
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::from(u16::MAX))?;
    Ok(socket.into())
}
