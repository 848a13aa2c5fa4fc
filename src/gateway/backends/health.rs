//! One health check: a GET over a connection of its own, judged by status and body.
//!
//! It is sent as requests are, with the endpoint's TLS, `host` and (first) key, so that what it finds is what
//! they would find. Over HTTP/1.1 its connection is new each time: an old one may outlive what
//! new ones no longer get through. Over HTTP/2 it is a stream beside the requests.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, StatusCode, header};
use memchr::memmem;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use pingora_load_balancing::Backend as Listed;
use pingora_load_balancing::health_check::HealthCheck;
use tokio::time::{Instant, timeout};

use super::super::exchange::begin_get;
use super::super::judge::ExchangeFault;
use super::members::Member;
use super::turn::Lease;
use crate::policy;

/// How much of an answer's body is searched.
const BODY: usize = 64 << 10;

/// The check of an endpoint's backends.
pub(super) struct Get {
    pub(super) endpoint: Arc<str>,
    pub(super) check: policy::HealthCheck,
}

/// Why a backend failed its check.
#[derive(Debug, thiserror::Error)]
enum Unhealthy {
    #[error("{}", .0.name())]
    Fault(ExchangeFault),
    #[error("status {0}")]
    Status(StatusCode),
    #[error("the text that is looked for is not in the answer's body")]
    Body,
    #[error("no answer in time")]
    Timeout,
}

impl From<ExchangeFault> for Unhealthy {
    fn from(fault: ExchangeFault) -> Self {
        Self::Fault(fault)
    }
}

#[async_trait]
impl HealthCheck for Get {
    async fn check(&self, target: &Listed) -> Result<()> {
        let Some(member) = target.ext.get::<Arc<Member>>() else {
            return Error::e_explain(ErrorType::InternalError, "a backend that is nobody's");
        };
        let checked = timeout(self.check.timeout, self.get(member)).await;
        let checked = checked.unwrap_or(Err(Unhealthy::Timeout));
        let healthy_after = self.check.healthy_after;
        member
            .state
            .observe(checked.is_ok(), healthy_after, Instant::now());
        checked.map_err(|why| Error::explain(ErrorType::Custom("health check"), why.to_string()))
    }

    async fn health_status_change(&self, target: &Listed, healthy: bool) {
        if let Some(member) = target.ext.get::<Arc<Member>>() {
            member.state.set_up(healthy, Instant::now());
        }
    }

    fn backend_summary(&self, target: &Listed) -> String {
        let member = target.ext.get::<Arc<Member>>();
        let backend = member.map_or("", |member| {
            member.name.as_deref().unwrap_or(&member.authority)
        });
        format!("endpoint {}: backend {backend}", self.endpoint)
    }

    fn health_threshold(&self, success: bool) -> usize {
        let in_a_row = match success {
            true => self.check.healthy_after,
            false => self.check.unhealthy_after,
        };
        in_a_row as usize
    }
}

impl Get {
    async fn get(&self, member: &Arc<Member>) -> Result<(), Unhealthy> {
        let head = self.head(member)?;
        let mut exchange = begin_get(Lease::uncounted(member.clone()), Box::new(head)).await?;
        self.judge_status(exchange.head.status)?;
        let Some(wanted) = &self.check.body else {
            return Ok(());
        };
        let mut body = Vec::new();
        while body.len() < BODY
            && let Some(piece) = exchange.read().await?
        {
            body.extend_from_slice(&piece);
        }
        body.truncate(BODY);
        let found = memmem::find(&body, wanted.as_bytes());
        found.map(|_| ()).ok_or(Unhealthy::Body)
    }

    fn head(&self, member: &Member) -> Result<RequestHeader, Unhealthy> {
        let build = || {
            let mut path = self.check.path.clone();
            if let Some(parameter) = &member.key.parameter {
                path.push('?');
                path.push_str(parameter.text.expose());
            }
            let mut head = RequestHeader::build(Method::GET, path.as_bytes(), None)?;
            head.insert_header(header::HOST, &*member.authority)?;
            head.insert_header(header::USER_AGENT, "standin-health-check")?;
            head.insert_header(header::ACCEPT_ENCODING, "identity")?;
            if let Some((name, value)) = &member.key.header {
                head.insert_header(name.clone(), value.clone())?;
            }
            Ok::<_, Box<Error>>(head)
        };
        build().map_err(|_| Unhealthy::Fault(ExchangeFault::Malformed))
    }

    fn judge_status(&self, status: StatusCode) -> Result<(), Unhealthy> {
        let healthy = match self.check.status {
            Some(wanted) => status == wanted,
            None => status.is_success(),
        };
        healthy.then_some(()).ok_or(Unhealthy::Status(status))
    }
}
