//! The listening sockets, bound before anything else happens: an address in use is an error with a
//! name then, and port 0 a port that can be asked for.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd as _;

use pingora_core::server::ListenFds;

use super::ServerError;
use crate::config::Listener;

/// The listening sockets, before Pingora has them.
#[derive(Default)]
pub(super) struct Sockets {
    /// Under which name each is handed on, to Pingora and to the next process.
    pub(super) names: Vec<String>,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) bound: Vec<(String, TcpListener)>,
}

impl Sockets {
    pub(super) fn bind(
        configured: impl IntoIterator<Item = SocketAddr>,
    ) -> Result<Self, ServerError> {
        let mut sockets = Self::default();
        for address in configured {
            let bound = bind(address).map_err(|source| ServerError::Bind { address, source });
            let socket = bound?;
            let address = socket.local_addr().unwrap_or(address);
            sockets.addresses.push(address);
            sockets.names.push(address.to_string());
            sockets.bound.push((address.to_string(), socket));
        }
        Ok(sockets)
    }

    /// Those that the process that runs will hand over.
    pub(super) fn inherited(configured: impl IntoIterator<Item = SocketAddr>) -> Self {
        let addresses: Vec<_> = configured.into_iter().collect();
        Self {
            names: addresses.iter().map(SocketAddr::to_string).collect(),
            addresses,
            bound: Vec::new(),
        }
    }

    pub(super) fn ports(
        &self,
        listeners: &[Listener],
        wanted: impl Fn(&Listener) -> bool,
    ) -> Vec<u16> {
        listeners
            .iter()
            .zip(&self.addresses)
            .filter(|(listener, _)| wanted(listener))
            .map(|(_, address)| address.port())
            .collect()
    }
}

/// Gives bound sockets to Pingora, which finds them by their names and hands them on.
pub(super) fn hand_in(fds: &Option<ListenFds>, bound: &mut Vec<(String, TcpListener)>) {
    if let Some(fds) = fds {
        let mut table = fds.lock();
        for (name, socket) in bound.drain(..) {
            table.add(name, socket.into_raw_fd());
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
