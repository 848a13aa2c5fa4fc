//! A request of an operation without policies: Pingora streams it through, nothing is buffered and
//! nothing is tried again, but for another backend where none could be reached.

use bytes::Bytes;
use http::{HeaderName, header};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::time::Instant;

use super::address::Address;
use super::admit;
use super::backends::{Lease, Turn};
use super::connect::connect_fault;
use super::error::{Failure, Rejection};
use super::http1::HOP_BY_HOP;
use super::judge::{ExchangeFault, judge_fault};
use super::keys::{KeyRing, judge_key};
use super::ledger::Ledger;
use super::outgoing::{TRACEPARENT, is_forwarded, nominated, traceparent};
use super::room::{self, Place};
use super::single::{PATIENCE, is_about_own_key, refused_key};
use super::table::Table;
use crate::policy::EndpointId;
use crate::telemetry::traces::RequestTrace;

/// One request on Pingora's own path.
pub(super) struct Native {
    endpoint: EndpointId,
    address: Address,
    /// The backends of this request, once one was asked for.
    turn: Option<Turn>,
    backend: Option<Lease>,
    /// Which of the endpoint's keys it is shown.
    key: usize,
    received: usize,
    /// Held at the endpoint until the request is over.
    place: Option<Place>,
}

impl Native {
    pub(super) fn new(endpoint: EndpointId, address: Address) -> Self {
        Self {
            endpoint,
            address,
            turn: None,
            backend: None,
            key: 0,
            received: 0,
            place: None,
        }
    }

    /// The backend to connect to.
    ///
    /// # Errors
    /// That its name has no address, or that it is busy.
    pub(super) async fn peer(
        &mut self,
        client: &RequestHeader,
        table: &Table,
        ledger: &mut Ledger,
    ) -> std::result::Result<Box<HttpPeer>, Failure> {
        if self.turn.is_none() {
            let endpoint = table.endpoint(self.endpoint);
            if let Some(entrance) = endpoint.entrance() {
                self.place = room::enter_unwatched(entrance, ledger).await;
            }
            let now = || Instant::now().into_std();
            self.key = KeyRing::new(endpoint.keys(), now).current();
            let key = endpoint.keys().name(self.key);
            ledger.begin(endpoint, None, None, key);
            if self.place.is_none() && endpoint.entrance().is_some() {
                ledger.busy();
                return Err(ledger.endpoint_failed(table).into());
            }
            let turn = endpoint.backends().turn(|name| client.headers.get(name));
            self.backend = self.turn.insert(turn).next();
        }
        while let Some(backend) = &self.backend {
            match backend.link.peer().await {
                Ok(mut peer) => {
                    peer.options.read_timeout = Some(PATIENCE);
                    return Ok(Box::new(peer));
                }
                Err(fault) => self.next_after(fault, ledger),
            };
        }
        Err(ledger.endpoint_failed(table).into())
    }

    /// On to another backend, if there is one that this request has not tried.
    fn next_after(&mut self, fault: ExchangeFault, ledger: &mut Ledger) -> bool {
        ledger.fail(&judge_fault(fault));
        self.backend = self.turn.as_mut().and_then(Turn::next);
        self.backend.is_some()
    }

    /// Counts a piece of the request's body.
    ///
    /// # Errors
    /// 413 past the limit.
    pub(super) fn count(
        &mut self,
        piece: &Option<Bytes>,
        limit: usize,
    ) -> std::result::Result<(), Failure> {
        self.received += piece.as_ref().map_or(0, Bytes::len);
        if self.received > limit {
            return Err(Rejection::too_large(limit).into());
        }
        Ok(())
    }

    /// Makes the request the endpoint's: its path, host and key, and nothing of the caller's that is
    /// nobody else's business.
    pub(super) fn readdress(
        &self,
        client: &RequestHeader,
        request: &mut RequestHeader,
        table: &Table,
        trace: Option<&RequestTrace>,
    ) -> Result<()> {
        let endpoint = table.endpoint(self.endpoint);
        let Some(backend) = &self.backend else {
            return Error::e_explain(ErrorType::InternalError, "no backend was chosen");
        };
        let mut target = Vec::new();
        let key = endpoint.keys().shown(self.key);
        let parameter = key.parameter.as_ref();
        self.address
            .write(&mut target, endpoint, backend, parameter, None);
        request.set_raw_path(&target)?;

        let named = nominated(&client.headers);
        let keys = table.key_headers();
        let unwanted: Vec<HeaderName> = request
            .headers
            .keys()
            .filter(|name| !is_forwarded(name) || named.contains(name) || keys.contains(name))
            .filter(|name| !is_pingoras(name.as_str()))
            .cloned()
            .collect();
        for name in &unwanted {
            request.remove_header(name);
        }
        request.insert_header(header::HOST, &*backend.authority)?;
        let required = endpoint
            .required_header()
            .filter(|(name, _)| !client.headers.contains_key(name));
        for (name, value) in key.header.iter().chain(required) {
            request.insert_header(name.clone(), value.clone())?;
        }
        if endpoint.passes_credential() {
            for (name, value) in admit::callers_credential(table, &client.headers) {
                request.append_header(name, value)?;
            }
        }
        if let Some(trace) = trace {
            if !trace.has_parent() {
                request.remove_header("tracestate");
            }
            if let Some(value) = traceparent(trace) {
                request.insert_header(TRACEPARENT, value)?;
            }
        }
        Ok(())
    }

    /// Takes note of the answer's head, and off it what is about the upstream's connection.
    ///
    /// # Errors
    /// That it is about the gateway's own key.
    pub(super) fn judge(
        &self,
        response: &mut ResponseHeader,
        table: &Table,
        ledger: &mut Ledger,
    ) -> std::result::Result<(), Failure> {
        let named = nominated(&response.headers);
        for name in named.iter().map(HeaderName::as_str).chain(HOP_BY_HOP) {
            if !is_pingoras(name) {
                response.remove_header(name);
            }
        }
        let status = response.status;
        let endpoint = table.endpoint(self.endpoint);
        let backend = self.backend.as_ref();
        ledger.answered(status, backend.and_then(|backend| backend.name.as_ref()));
        if endpoint.keys().name(self.key).is_some() {
            let verdict = judge_key(response);
            let now = Instant::now().into_std();
            endpoint.keys().settle(self.key, &verdict, now);
        }
        if is_about_own_key(endpoint, status) {
            ledger.fail(&refused_key(status));
            return Err(ledger.endpoint_failed(table).into());
        }
        ledger.succeed();
        Ok(())
    }

    /// Takes note of an error on the way. Whether another backend is left to be tried.
    pub(super) fn fail(&mut self, error: &Error, ledger: &mut Ledger) -> bool {
        self.next_after(fault(error), ledger)
    }
}

/// What an error says has happened, to the connection that was opened or the one that was not.
fn fault(error: &Error) -> ExchangeFault {
    match error.etype() {
        ErrorType::ReadError | ErrorType::WriteError => ExchangeFault::Reset,
        ErrorType::InvalidHTTPHeader | ErrorType::H1Error => ExchangeFault::Malformed,
        _ => connect_fault(error),
    }
}

/// What frames the body, and what makes a WebSocket of a connection: Pingora's to handle.
fn is_pingoras(name: &str) -> bool {
    [
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "host",
    ]
    .contains(&name)
}
