//! The next process takes over: the listening sockets go from the one that runs to the one that
//! was started with `--upgrade`, and no connection is refused in between.
//!
//! ```text
//!  running process                                next process
//!  listens at upgrade_sock ◄──── addresses ────── its configuration is right
//!        │ ──────────── listening sockets ──────►  everything is opened and built
//!  serves on; both accept ◄──── "ready", its pid ─ serves
//!        │                                         listens at upgrade_sock
//!  finishes what it has, and ends
//! ```
//!
//! Up to "ready" nothing has changed for the running process: a next one that is refused its
//! configuration, hangs or dies is logged, and it goes on. Pingora has a hand-over of its own at
//! the same setting. There the running process gives its sockets away on a signal without being
//! told whether the other one serves, whoever reaches the path can offer sockets, and the other one
//! looks for them once a second.
//!
//! The next process is started by SIGUSR2 to the running one (the same command line, so what was
//! installed at its path meanwhile), or by anybody with `--upgrade`. Both belong to one user.

use std::ffi::OsString;
use std::fs;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use tokio::io::{AsyncReadExt, Interest};
use tokio::time::timeout;

use super::ServerError;
use super::sockets::Socket;

/// How long the next process may take from the sockets to "ready".
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// From the connection to the addresses, and from those to the sockets.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a message may be long: a line for each of as many addresses as can be handed over.
const MAX_MESSAGE: usize = 32 << 10;

/// As many descriptors as Linux takes in one message (`SCM_MAX_FD`).
const MAX_SOCKETS: usize = 253;

/// The first line of the first message.
const GREETING: &str = "standin-upgrade 1";

/// Where the running process waits for the next one.
pub(super) struct Upgrades {
    listener: tokio::net::UnixListener,
    path: PathBuf,
    sockets: Vec<Socket>,
}

impl Upgrades {
    /// Listens at `path`, to hand over `sockets`. What an ended process has left there is removed,
    /// and what a `predecessor` has there, which is about to end.
    pub(super) fn listen(path: &Path, sockets: Vec<Socket>, predecessor: bool) -> io::Result<Self> {
        if !predecessor && UnixStream::connect(path).is_ok() {
            return Err(io::Error::other("another process listens there"));
        }
        if let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let listener = tokio::net::UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            sockets,
        })
    }

    /// Waits until another process serves; gives its pid.
    pub(super) async fn successor(&self) -> u32 {
        loop {
            let handed = match self.listener.accept().await {
                Ok((stream, _)) => self.hand_over(stream).await,
                Err(error) => Err(error),
            };
            match handed {
                Ok(Some(pid)) => return pid,
                // Somebody has looked whether somebody listens.
                Ok(None) => {}
                Err(error) => log::error!(
                    "the next process did not take over: {error}. This one goes on; see what that one said, and try again"
                ),
            }
        }
    }

    /// The pid of the process that serves now; none where nothing was asked for.
    async fn hand_over(&self, mut stream: tokio::net::UnixStream) -> io::Result<Option<u32>> {
        let (uid, own) = (stream.peer_cred()?.uid(), rustix::process::geteuid());
        if uid != own.as_raw() && uid != 0 {
            let message = format!("it is of the user {uid}, and this one of {}", own.as_raw());
            return Err(io::Error::other(message));
        }
        let Some(asked) = timeout(EXCHANGE_TIMEOUT, message(&mut stream)).await?? else {
            return Ok(None);
        };
        let (names, descriptors) = self.wanted(&asked)?;
        stream
            .async_io(Interest::WRITABLE, || send(&stream, &names, &descriptors))
            .await?;
        log::info!("{} listening sockets are handed over", descriptors.len());
        let ready = timeout(READY_TIMEOUT, message(&mut stream)).await??;
        let ready = ready.ok_or_else(ended)?;
        let pid = ready
            .strip_prefix("ready ")
            .and_then(|pid| pid.trim_end().parse().ok())
            .ok_or_else(|| io::Error::other("it does not say that it serves"))?;
        Ok(Some(pid))
    }

    /// Those of the sockets that are asked for, as the answer to it.
    fn wanted(&self, asked: &str) -> io::Result<(String, Vec<rustix::fd::BorrowedFd<'_>>)> {
        let mut lines = asked.lines();
        if lines.next() != Some(GREETING) {
            return Err(io::Error::other("it speaks another language"));
        }
        let mut left: Vec<&Socket> = self.sockets.iter().collect();
        let (mut names, mut descriptors) = (String::new(), Vec::new());
        for line in lines.take_while(|line| !line.is_empty()).take(MAX_SOCKETS) {
            let named = |socket: &&Socket| line == socket.configured.to_string();
            if let Some(index) = left.iter().position(named) {
                names.push_str(line);
                names.push('\n');
                descriptors.push(left.remove(index).listener.as_fd());
            }
        }
        names.push('\n');
        Ok((names, descriptors))
    }

    /// Nobody takes over any more: removes what stands at the path.
    pub(super) fn end(self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Reads up to an empty line; none where nothing comes at all.
async fn message(stream: &mut tokio::net::UnixStream) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\n\n") {
        if bytes.len() > MAX_MESSAGE {
            return Err(io::Error::other("what it says has no end"));
        }
        match stream.read_buf(&mut bytes).await {
            Ok(1..) => {}
            Ok(0) if bytes.is_empty() => return Ok(None),
            Ok(0) => return Err(ended()),
            // What it had not read goes with it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(ended()),
            Err(error) => return Err(error),
        }
    }
    String::from_utf8(bytes).map(Some).map_err(io::Error::other)
}

fn ended() -> io::Error {
    io::Error::other("it has ended before it served")
}

/// Sends `names` with the descriptors that they name.
fn send(
    stream: impl AsFd,
    names: &str,
    descriptors: &[rustix::fd::BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let bytes = [IoSlice::new(names.as_bytes())];
    let sent = rustix::net::sendmsg(stream, &bytes, &mut ancillary, SendFlags::NOSIGNAL)?;
    match sent == names.len() {
        true => Ok(()),
        false => Err(io::Error::other("the message was cut short")),
    }
}

/// The process that runs, to be told when this one serves.
#[derive(Debug)]
pub(super) struct Predecessor(UnixStream);

impl Predecessor {
    /// Takes those of the sockets of `addresses` over that the process at `path` has.
    ///
    /// # Errors
    /// Why there are none.
    pub(super) fn ask(
        path: &Path,
        addresses: &[SocketAddr],
    ) -> Result<(Self, Vec<Socket>), ServerError> {
        let failed = |reason: String| ServerError::Upgrade {
            path: path.to_owned(),
            reason,
        };
        let stream = UnixStream::connect(path).map_err(|error| {
            failed(format!(
                "{error}. The running process listens there; without one, start without --upgrade"
            ))
        })?;
        let sockets = exchange(&stream, addresses)
            .map_err(|error| failed(format!("{error}. See what the running process said")))?;
        if sockets.is_empty() {
            let reason = "the process there listens on none of the configured addresses. Is it another gateway's `upgrade_sock`?";
            return Err(failed(reason.to_owned()));
        }
        Ok((Self(stream), sockets))
    }

    /// From now on this process serves.
    pub(super) fn tell_ready(mut self) {
        let ready = format!("ready {}\n\n", std::process::id());
        if let Err(error) = self.0.write_all(ready.as_bytes()) {
            log::warn!("the process before this one can't be told that this one serves: {error}");
        }
    }
}

fn exchange(mut stream: &UnixStream, addresses: &[SocketAddr]) -> io::Result<Vec<Socket>> {
    let mut asked = format!("{GREETING}\n");
    for address in addresses {
        asked.push_str(&address.to_string());
        asked.push('\n');
    }
    asked.push('\n');
    stream.set_read_timeout(Some(EXCHANGE_TIMEOUT))?;
    stream.write_all(asked.as_bytes())?;
    let (mut names, descriptors) = receive(stream)?;
    // The descriptors come with the first byte; the rest of a long message may come later.
    while !names.ends_with(b"\n\n") && names != b"\n" {
        let mut more = [0; 4096];
        match stream.read(&mut more)? {
            0 => return Err(io::Error::other("the process there gave no answer")),
            read => names.extend_from_slice(&more[..read]),
        }
    }
    let names = String::from_utf8(names).map_err(io::Error::other)?;
    let addresses = names.lines().filter_map(|line| line.parse().ok());
    let sockets = addresses.zip(descriptors.into_iter().map(TcpListener::from));
    Ok(sockets
        .map(|(address, listener)| Socket::new(address, listener))
        .collect())
}

fn receive(stream: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = vec![0; MAX_MESSAGE];
    let received = rustix::net::recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    bytes.truncate(received.bytes);
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            descriptors.extend(more);
        }
    }
    Ok((bytes, descriptors))
}

/// The command line that starts the next process.
pub(super) fn start_next(command: &[OsString]) {
    let Some((program, arguments)) = command.split_first() else {
        return;
    };
    match Command::new(program).args(arguments).spawn() {
        Ok(mut child) => {
            log::info!("the next process is {}", child.id());
            // Who is not waited for stays behind as a zombie.
            std::thread::spawn(move || match child.wait() {
                Ok(status) if !status.success() => {
                    log::error!("the next process has ended with {status}; this one goes on");
                }
                _ => {}
            });
        }
        Err(error) => log::error!(
            "the next process can't be started: {}: {error}; this one goes on",
            program.display()
        ),
    }
}
