//! What an upstream saw: connections, requests, and how each exchange ended.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;

use super::script::Scripts;
use crate::support::wire::Headers;

/// One request as it reached the upstream.
#[derive(Clone, Debug)]
pub struct Received {
    /// The method.
    pub method: String,
    /// The request target; on HTTP/2 `:path`.
    pub target: String,
    /// The host that was asked for: `host`, on HTTP/2 `:authority`.
    pub authority: Option<String>,
    /// 1.0, 1.1 or 2.
    pub version: http::Version,
    /// The header fields, in order and letter case as written (HTTP/2: lower case, and fields of
    /// one name together).
    pub headers: Headers,
    /// The body, without its framing.
    pub body: Bytes,
    /// The trailer fields.
    pub trailers: Headers,
    /// Whether the body came to its proper end.
    pub complete: bool,
    /// On which connection it came, counted from 0 in order of acceptance.
    pub connection: usize,
    /// The server name of the TLS handshake.
    pub sni: Option<String>,
    /// Whether the peer showed a certificate.
    pub client_certificate: bool,
    /// When its head was read.
    pub at: Instant,
}

impl Received {
    /// The body as JSON. Panics where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {:?}", self.body))
    }

    /// The string `model` of a JSON body.
    pub fn model(&self) -> Option<String> {
        let value: Value = serde_json::from_slice(&self.body).ok()?;
        Some(value.get("model")?.as_str()?.to_owned())
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The reply was written to its end.
    Answered,
    /// The script ended it: a close, a reset, or the connection closed by the upstream.
    Cut,
    /// The caller hung up before the reply's end: FIN, RST, or RST_STREAM.
    Cancelled,
}

/// Everything that happened at one upstream.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) connections: Vec<Connection>,
    pub(super) exchanges: Vec<Exchange>,
    pub(super) failed_handshakes: usize,
    pub(super) open_gates: HashSet<&'static str>,
    pub(super) reached_gates: HashSet<&'static str>,
    pub(super) faults: Vec<String>,
}

impl Record {
    pub(super) fn open_connections(&self) -> usize {
        self.connections.iter().filter(|one| one.open).count()
    }

    pub(super) fn idle(&self) -> impl Iterator<Item = usize> {
        let connections = self.connections.iter().enumerate();
        connections
            .filter(|(_, connection)| connection.is_idle())
            .map(|(id, _)| id)
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) open: bool,
    /// What it is doing: the handshake, or so many exchanges.
    pub(super) busy: usize,
    /// How the test wants it closed now.
    pub(super) told: Option<HangUp>,
    /// Whether the upstream is ending it: it is not idle any more.
    pub(super) cut: bool,
}

impl Connection {
    fn is_idle(&self) -> bool {
        self.open && !self.cut && self.busy == 0
    }
}

/// How a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HangUp {
    /// FIN.
    Close,
    /// RST.
    Reset,
}

#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) received: Received,
    pub(super) ending: Option<(Ending, Instant)>,
}

/// What the upstream's handle and its connections share.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) record: watch::Sender<Record>,
    pub(super) scripts: Mutex<Scripts>,
}

impl Shared {
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        let mut result = None;
        self.record
            .send_modify(|record| result = Some(change(record)));
        result.expect("send_modify calls it")
    }

    pub(super) async fn wait_for(&self, condition: impl FnMut(&Record) -> bool) {
        let mut record = self.record.subscribe();
        let reached = record.wait_for(condition).await;
        assert!(reached.is_ok(), "the sender lives as long as self");
    }

    pub(super) fn scripts<T>(&self, use_them: impl FnOnce(&mut Scripts) -> T) -> T {
        use_them(&mut self.scripts.lock().expect("no panic while it was held"))
    }

    pub(super) fn fault(&self, what: String) {
        self.change(|record| record.faults.push(what));
    }

    pub(super) async fn gate(&self, name: &'static str) {
        self.change(|record| record.reached_gates.insert(name));
        self.wait_for(|record| record.open_gates.contains(name))
            .await;
    }
}

/// One connection's part in the record. The connection counts as closed when it is dropped.
pub(super) struct Link {
    pub(super) shared: Arc<Shared>,
    pub(super) id: usize,
    pub(super) sni: Option<String>,
    pub(super) client_certificate: bool,
}

impl Link {
    pub(super) fn accepted(shared: &Arc<Shared>) -> Self {
        let id = shared.change(|record| {
            record.connections.push(Connection {
                open: true,
                busy: 0,
                told: None,
                cut: false,
            });
            record.connections.len() - 1
        });
        Self {
            shared: Arc::clone(shared),
            id,
            sni: None,
            client_certificate: false,
        }
    }

    /// Until the test wants this connection closed.
    pub(super) async fn told_to_hang_up(&self) -> HangUp {
        let mut told = None;
        self.shared
            .wait_for(|record| {
                told = record.connections[self.id].told;
                told.is_some()
            })
            .await;
        told.expect("waited for")
    }

    pub(super) fn mark_cut(&self) {
        self.change(|connection| connection.cut = true);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.shared.record.borrow().connections[self.id].cut
    }

    /// Records a request; returns its number.
    pub(super) fn begin(&self, received: Received) -> usize {
        self.shared.change(|record| {
            record.exchanges.push(Exchange {
                received,
                ending: None,
            });
            record.exchanges.len() - 1
        })
    }

    pub(super) fn end(&self, exchange: usize, ending: Ending) {
        let at = Instant::now();
        self.shared
            .change(|record| record.exchanges[exchange].ending = Some((ending, at)));
    }

    fn change(&self, change: impl FnOnce(&mut Connection)) {
        self.shared
            .change(|record| change(&mut record.connections[self.id]));
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.change(|connection| connection.open = false);
    }
}

/// While it lives, its connection is not idle.
pub(super) struct Busy(Arc<Link>);

impl Busy {
    pub(super) fn with(link: &Arc<Link>) -> Self {
        link.change(|connection| connection.busy += 1);
        Self(Arc::clone(link))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.change(|connection| connection.busy -= 1);
    }
}
