//! Standin as Pingora sees it: the hooks, in the order in which a request meets them. What comes over
//! HTTP/1.1 for an operation with policies never gets here (see [`front`](super::front)).
//!
//! ```text
//! request_filter ── operation has policies ──> the loop of our own (serve) ──> answered
//!        └───────── operation has none ─────> Pingora's streaming path: upstream_peer,
//!                                              upstream_request_filter, request_body_filter, ...
//! a failure in either ──> fail_to_proxy ──> respond::failure
//! everything ──────────> logging ──> RequestContext::account
//! a panic, the process's end ──> dropped ──> RequestContext::account
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use pingora_core::modules::http::HttpModules;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};
use tokio::time::Instant;

use super::body;
use super::client::{Client, Unreadable};
use super::error::Failure;
use super::labels::Labels;
use super::ledger::Ledger;
use super::native::Native;
use super::respond;
use super::serve::{Served, serve};
use super::shared::Gateway;
use super::table::Table;
use crate::policy::Dialect;
use crate::telemetry::{RequestPath, RequestRecord};

/// The gateway in Pingora's hands.
pub struct Proxy(pub Arc<Gateway>);

/// One request, from its head to its log line.
pub struct RequestContext {
    gateway: Arc<Gateway>,
    pub(super) table: Arc<Table>,
    pub(super) started: Instant,
    pub(super) record: RequestRecord,
    pub(super) ledger: Ledger,
    pub(super) dialect: Dialect,
    failure: Option<Failure>,
    /// Boxed, since most requests have none.
    native: Option<Box<Native>>,
    accounted: bool,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = RequestContext;

    fn new_ctx(&self) -> RequestContext {
        RequestContext::new(self.0.clone(), self.0.table(), self.0.next_request_id())
    }

    fn init_downstream_modules(&self, _modules: &mut HttpModules) {
        // None: Pingora's own would look at every answer for something to compress.
    }

    async fn request_filter(
        &self,
        session: &mut Session,
        ctx: &mut RequestContext,
    ) -> Result<bool> {
        if self.0.is_draining() {
            session.as_downstream_mut().set_keepalive(None);
        }
        let patience = ctx.table.snapshot.limits.response_write_timeout;
        session
            .as_downstream_mut()
            .set_write_timeout(Some(patience));
        match serve(&self.0, &mut Client::pingora(session), ctx).await {
            Ok(Served::Answered) => Ok(true),
            Ok(Served::PassOn(endpoint, address)) => {
                let limits = &ctx.table.snapshot.limits;
                body::pass_on(session, limits).map_err(|rejection| ctx.fail(rejection.into()))?;
                ctx.native = Some(Box::new(Native::new(endpoint, address)));
                Ok(false)
            }
            Err(failure) => Err(ctx.fail(failure)),
        }
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut RequestContext,
    ) -> Result<Box<HttpPeer>> {
        let Some(native) = &mut ctx.native else {
            return Error::e_explain(ErrorType::InternalError, "no endpoint was chosen");
        };
        let peer = native
            .peer(session.req_header(), &ctx.table, &mut ctx.ledger)
            .await;
        peer.map_err(|failure| ctx.fail(failure))
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut RequestContext,
    ) -> Result<()> {
        if end_of_stream && body.as_ref().is_some_and(Bytes::is_empty) {
            // Pingora would write the end of the chunks for it, and once more for the end: what is
            // too much would be the beginning of the connection's next request.
            *body = None;
        }
        let limit = ctx.table.snapshot.limits.request_body;
        let passed = ctx.native.as_mut().map(|native| native.count(body, limit));
        passed
            .unwrap_or(Ok(()))
            .map_err(|failure| ctx.fail(failure))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut RequestContext,
    ) -> Result<()> {
        match &ctx.native {
            Some(native) => native.readdress(
                session.req_header(),
                request,
                &ctx.table,
                ctx.ledger.traced().map(AsRef::as_ref),
            ),
            None => Ok(()),
        }
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut RequestContext,
    ) -> Result<()> {
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            // What follows is no body, and may pause as long as it likes.
            session.as_downstream_mut().set_read_timeout(None);
        }
        let judged = ctx
            .native
            .as_ref()
            .map(|native| native.judge(response, &ctx.table, &mut ctx.ledger));
        judged
            .unwrap_or(Ok(()))
            .map_err(|failure| ctx.fail(failure))
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut RequestContext,
    ) -> Result<()> {
        if is_final(response.status) {
            let labels = Labels::new(&ctx.record.request_id, &ctx.ledger);
            labels.make_room(response);
            labels.put_on(response);
        }
        Ok(())
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut RequestContext,
        mut error: Box<Error>,
    ) -> Box<Error> {
        // Nothing was sent, so another backend of the endpoint can be asked whatever the method.
        let again = ctx
            .native
            .as_mut()
            .is_some_and(|native| native.fail(&error, &mut ctx.ledger));
        error.set_retry(again);
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut RequestContext,
    ) -> FailToProxy {
        let failure = ctx
            .failure
            .take()
            .unwrap_or_else(|| ctx.native_failure(error));
        ctx.record.error = Some(failure.code());
        if ctx.native.is_some() {
            // Pingora closes the connection, whatever it is told of it.
            session.as_downstream_mut().set_keepalive(None);
        }
        let told = respond::failure(&mut Client::pingora(session), &failure, ctx).await;
        FailToProxy {
            error_code: told.status.map_or(0, |status| status.as_u16()),
            can_reuse_downstream: told.reusable,
        }
    }

    fn suppress_error_log(
        &self,
        _session: &Session,
        _ctx: &RequestContext,
        _error: &Error,
    ) -> bool {
        // Every failure is in the access log, with more than an error's text could say.
        true
    }

    async fn logging(
        &self,
        session: &mut Session,
        _error: Option<&Error>,
        ctx: &mut RequestContext,
    ) {
        if ctx.native.is_some() {
            ctx.ledger.finish();
        }
        let response = session.response_written();
        let sent = Sent {
            status: response
                .map(|response| response.status)
                .filter(|status| is_final(*status)),
            bytes_in: session.body_bytes_read() as u64,
            bytes_out: session.body_bytes_sent() as u64,
        };
        ctx.account(sent);
    }
}

/// Whether an answer's head is its last: not `100 Continue` and the like, but a switch of protocols.
fn is_final(status: StatusCode) -> bool {
    !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS
}

/// What went over the wire, as far as it is known.
#[derive(Default)]
pub(super) struct Sent {
    /// Of the answer; none where there was none.
    pub(super) status: Option<StatusCode>,
    /// Of the request's body.
    pub(super) bytes_in: u64,
    /// Of the answer's body.
    pub(super) bytes_out: u64,
}

/// A request is dropped before it is over only where its thread ends with the process, or by a panic
/// that nobody has caught: one of Pingora's, or one more while a first one was answered.
impl Drop for RequestContext {
    fn drop(&mut self) {
        if self.accounted {
            return;
        }
        self.record.error = Some(match std::thread::panicking() {
            true => RequestRecord::INTERNAL_ERROR,
            false => RequestRecord::SHUTDOWN,
        });
        // A panic that leaves this function while another is under way would end the process.
        let _ = catch_unwind(AssertUnwindSafe(|| self.account(Sent::default())));
    }
}

impl RequestContext {
    /// A request that begins now.
    pub(super) fn new(gateway: Arc<Gateway>, table: Arc<Table>, id: Box<str>) -> Self {
        let nowhere = RequestPath::Unknown(Box::default());
        Self {
            gateway,
            table,
            started: Instant::now(),
            record: RequestRecord::new(id, SystemTime::now(), http::Method::GET, nowhere),
            ledger: Ledger::default(),
            dialect: Dialect::OpenAi,
            failure: None,
            native: None,
            accounted: false,
        }
    }

    /// Accounts for the request, once: it is over.
    pub(super) fn account(&mut self, sent: Sent) {
        self.accounted = true;
        let nothing = RequestRecord::new(
            Box::default(),
            SystemTime::UNIX_EPOCH,
            http::Method::GET,
            RequestPath::Unknown(Box::default()),
        );
        let mut record = std::mem::replace(&mut self.record, nothing);
        if let Some(cut @ (RequestRecord::SHUTDOWN | RequestRecord::INTERNAL_ERROR)) = record.error
        {
            self.ledger.cut(cut);
        }
        record.waited = self.ledger.waits();
        record.attempts = self.ledger.take();
        record.status = sent.status.map(|status| status.as_u16());
        record.bytes_in = sent.bytes_in;
        record.bytes_out = sent.bytes_out;
        let ended = Instant::now();
        record.duration = ended.saturating_duration_since(self.started);
        let ended = ended.into_std();
        if let Some(limits) = self.ledger.limits() {
            limits.pay(&record, ended);
        }
        self.gateway.account(&self.table, ended, record);
    }

    /// Keeps a failure for `fail_to_proxy`, and gives the error that leads there.
    fn fail(&mut self, failure: Failure) -> Box<Error> {
        let source = match failure {
            Failure::Rejected(_) | Failure::ClientGone | Failure::ClientStalled => {
                ErrorSource::Downstream
            }
            Failure::Exhausted(_) | Failure::Broken => ErrorSource::Upstream,
            Failure::Panicked => ErrorSource::Internal,
        };
        self.failure = Some(failure);
        Error::create(ErrorType::InternalError, source, None, None)
    }

    /// What an error of Pingora's own path amounts to.
    fn native_failure(&mut self, error: &Error) -> Failure {
        if *error.esource() == ErrorSource::Downstream {
            if *error.etype() == ErrorType::WriteTimedout {
                return Failure::ClientStalled;
            }
            let unreadable = Unreadable::of(error);
            return body::failed_read(unreadable, &self.table.snapshot.limits);
        }
        match &mut self.native {
            Some(native) => {
                native.fail(error, &mut self.ledger);
                self.ledger.endpoint_failed(&self.table).into()
            }
            None => Failure::Broken,
        }
    }
}
