//! A bad network: it stands before one server, and each connection through it has a fate of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::socket::Lever;
use crate::support::wait::Task;

/// What happens to a connection, at some byte of one of its directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It is closed when it has been accepted.
    Refused,
    /// Every piece takes up to 10 ms; then it ends.
    Delayed,
    /// At most 40 bytes at a time pass; then it ends.
    Throttled,
    /// It ends, with FIN.
    Cut,
    /// It ends, with RST.
    Reset,
    /// One bit is turned.
    Corrupted,
    /// From there on nothing arrives any more, either way; it stays open.
    Swallowed,
}

/// All that are faults.
pub const FAULTS: [Fault; 7] = [
    Fault::Refused,
    Fault::Delayed,
    Fault::Throttled,
    Fault::Cut,
    Fault::Reset,
    Fault::Corrupted,
    Fault::Swallowed,
];

/// The fault comes within so many bytes of its direction: a few exchanges.
const WITHIN: usize = 24_000;

/// One bad network, until it is dropped.
pub struct Network {
    addr: SocketAddr,
    seen: Arc<Seen>,
    _accepting: Task,
}

/// What has happened so far.
#[derive(Default)]
struct Seen {
    open: AtomicUsize,
    faults: [AtomicUsize; FAULTS.len()],
}

/// What was drawn for one connection.
#[derive(Clone, Copy)]
struct Fate {
    fault: Fault,
    /// It happens to what the server says, else to what the client says.
    to_answers: bool,
    at: usize,
    seed: u64,
}

impl Network {
    /// Before `server`; `faults` in 100 connections have one of `kinds`.
    pub async fn before(
        server: SocketAddr,
        seed: u64,
        faults: u32,
        kinds: &'static [Fault],
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let counts = seen.clone();
        let accepting = Task::spawn(async move {
            let mut chance = fastrand::Rng::with_seed(seed);
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let fate = Fate::draw(&mut chance, faults, kinds);
                connections.spawn(connection(client, server, fate, counts.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            addr,
            seen,
            _accepting: accepting,
        }
    }

    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.seen.open.load(Ordering::Acquire)
    }

    /// How often a fault has happened.
    pub fn count(&self, fault: Fault) -> usize {
        let known = FAULTS.iter().position(|known| *known == fault);
        known.map_or(0, |index| self.seen.faults[index].load(Ordering::Acquire))
    }
}

impl Fate {
    fn draw(chance: &mut fastrand::Rng, faults: u32, kinds: &[Fault]) -> Self {
        let fault = match chance.u32(..100) < faults {
            true => kinds[chance.usize(..kinds.len())],
            false => Fault::None,
        };
        Self {
            fault,
            to_answers: chance.u32(..4) > 0,
            at: chance.usize(..WITHIN),
            seed: chance.u64(..),
        }
    }
}

impl Seen {
    fn note(&self, fault: Fault) {
        if let Some(index) = FAULTS.iter().position(|known| *known == fault) {
            self.faults[index].fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Counts a connection for as long as it lives, however it ends.
struct Open(Arc<Seen>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn connection(client: TcpStream, server: SocketAddr, fate: Fate, seen: Arc<Seen>) {
    seen.open.fetch_add(1, Ordering::AcqRel);
    let open = Open(seen);
    if fate.fault == Fault::Refused {
        return open.0.note(fate.fault);
    }
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let lever = Lever::on(&client);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let swallowed = watch::Sender::new(false);
    let way = |is_answers: bool| Way {
        fate,
        doomed: is_answers == fate.to_answers,
        swallowed: swallowed.clone(),
        seen: open.0.clone(),
    };
    // An end of one direction is passed on; a fault ends both.
    let ended = tokio::try_join!(
        way(false).carry(from_client, to_server),
        way(true).carry(from_server, to_client),
    );
    if ended == Err(Fault::Reset) {
        lever.reset_on_close();
    }
}

/// One direction of a connection.
struct Way {
    fate: Fate,
    doomed: bool,
    swallowed: watch::Sender<bool>,
    seen: Arc<Seen>,
}

impl Way {
    /// Carries bytes until their end, which it passes on. An error: the whole connection ends, by this
    /// fault.
    async fn carry(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> Result<(), Fault> {
        let mut chance = fastrand::Rng::with_seed(self.fate.seed);
        let mut buffer = [0; 4 << 10];
        let mut carried = 0;
        loop {
            let size = match self.fate.fault {
                Fault::Throttled => 40,
                _ => buffer.len(),
            };
            let read = from
                .read(&mut buffer[..size])
                .await
                .map_err(|_| Fault::Cut)?;
            if read == 0 {
                let _ = to.shutdown().await;
                return Ok(());
            }
            let piece = &mut buffer[..read];
            let here = self
                .fate
                .at
                .checked_sub(carried)
                .filter(|&at| self.doomed && at < read);
            carried += read;
            let passes = match here {
                Some(at) => self.strike(at, piece)?,
                None => read,
            };
            if self.fate.fault == Fault::Delayed {
                tokio::time::sleep(Duration::from_millis(chance.u64(..10))).await;
            }
            if !*self.swallowed.borrow() {
                to.write_all(&piece[..passes])
                    .await
                    .map_err(|_| Fault::Cut)?;
            }
            if passes < read && self.fate.fault != Fault::Swallowed {
                return Err(self.fate.fault);
            }
        }
    }

    /// The fault happens at this byte of a piece; how much of the piece still passes.
    fn strike(&self, at: usize, piece: &mut [u8]) -> Result<usize, Fault> {
        self.seen.note(self.fate.fault);
        match self.fate.fault {
            Fault::Cut | Fault::Reset | Fault::Delayed | Fault::Throttled => return Ok(at),
            Fault::Corrupted => piece[at] ^= 1 << (at % 8),
            Fault::Swallowed => {
                self.swallowed.send_replace(true);
            }
            Fault::None | Fault::Refused => {}
        }
        Ok(piece.len())
    }
}
