//! A request of an operation with policies whose model no policy names: one attempt at the default
//! endpoint (with each of its keys, while they are refused), nothing changed but the credential, and
//! whatever comes back is the answer.

use std::pin::pin;
use std::time::Duration;

use http::StatusCode;
use pingora_http::ResponseHeader;
use tokio::time::Instant;

use super::client::{Client, Interrupted};
use super::error::Failure;
use super::exchange::{self, Exchange};
use super::hold::Large;
use super::judge::{ExchangeFault, Outcome, Reason, Verdict, judge_fault};
use super::keys::{KeyRing, judge_key};
use super::ledger::Ledger;
use super::outgoing::Outgoing;
use super::relay;
use super::respond;
use super::room;
use super::table::{EndpointLinks, Table};
use crate::provider::read_error_body;

/// To the answer's head, and between two reads of its body: without a policy there is nobody who
/// said a shorter time, and models may think for minutes.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);

/// How long, and how much, is read of an error that only its words are wanted of.
const ERROR_PATIENCE: Duration = Duration::from_secs(5);
const ERROR_BODY: usize = 64 << 10;

/// Passes a request on to `endpoint` and its answer back.
///
/// # Errors
/// That there was no answer; or that it was about the gateway's own key, which is nobody's business.
pub(super) async fn run(
    client: &mut Client<'_>,
    outgoing: &Outgoing,
    table: &Table,
    endpoint: &EndpointLinks,
    model: &str,
    request_id: &str,
    ledger: &mut Ledger,
) -> Result<(), Failure> {
    let model = model.into();
    let mut keys = KeyRing::new(endpoint.keys(), now);
    let verdict = loop {
        let entered = room::enter(endpoint.entrance(), client, None, ledger).await;
        if let Err(Interrupted::ClientGone) = entered {
            return Err(Failure::ClientGone);
        }
        ledger.begin(endpoint, Some(&model), None, keys.name());
        let Ok(place) = entered else {
            break ledger.busy();
        };
        let begun = {
            let begin = pin!(exchange::begin(endpoint, keys.shown(), outgoing, None));
            client.wait(Some(Instant::now() + PATIENCE), begin).await
        };
        break match begun {
            Ok(Ok(mut exchange)) => {
                exchange.place = place;
                let status = exchange.head.status;
                ledger.answered(status, exchange.backend.name.as_ref());
                if let Some(verdict) = refused(&mut keys, &exchange.head) {
                    ledger.fail(&verdict);
                    continue;
                }
                if !is_about_own_key(endpoint, status) {
                    return pass_on(client, exchange, request_id, ledger).await;
                }
                Verdict {
                    message: words(client, exchange).await,
                    ..refused_key(status)
                }
            }
            Ok(Err(fault)) => judge_fault(fault),
            Err(Interrupted::Deadline) => judge_fault(ExchangeFault::Timeout),
            Err(Interrupted::ClientGone) => {
                ledger.client_gone();
                return Err(Failure::ClientGone);
            }
        };
    };
    ledger.fail(&verdict);
    Err(ledger.endpoint_failed(table).into())
}

/// Why one of several keys is set aside, where another is left to be sent.
fn refused(keys: &mut KeyRing<'_>, head: &ResponseHeader) -> Option<Verdict> {
    keys.name()?;
    let verdict = judge_key(head);
    if keys.refuse(&verdict, None, now) {
        return Some(verdict);
    }
    keys.accept();
    None
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Gives the client what has come, to its end.
async fn pass_on(
    client: &mut Client<'_>,
    mut exchange: Exchange,
    request_id: &str,
    ledger: &mut Ledger,
) -> Result<(), Failure> {
    ledger.succeed();
    let head = exchange.take_head();
    respond::begin(client, head, request_id, ledger).await?;
    let large = Large {
        exchange,
        begun: Vec::new(),
        share: None,
    };
    let next = || Some(Instant::now() + PATIENCE);
    let relayed = relay::large(client, large, next).await;
    ledger.finish();
    relayed?.map_err(|fault| {
        ledger.fail(&judge_fault(fault));
        Failure::Broken
    })
}

/// What an endpoint says in an answer that nobody gets, as far as it comes at once.
async fn words(client: &mut Client<'_>, mut exchange: Exchange) -> Option<String> {
    let deadline = Some(Instant::now() + ERROR_PATIENCE);
    let mut body = Vec::new();
    while let Some(piece) = client.wait(deadline, exchange.read()).await.ok()?.ok()? {
        body.extend_from_slice(&piece);
        if body.len() > ERROR_BODY {
            return None;
        }
    }
    exchange.finish();
    read_error_body(&body)?.message
}

/// Whether an upstream's answer says that the gateway's key is refused: the client's own key is
/// fine, and a 401 or 403 would tell it otherwise.
pub(super) fn is_about_own_key(endpoint: &EndpointLinks, status: StatusCode) -> bool {
    endpoint.has_own_key() && matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// The verdict on such an answer.
pub(super) const fn refused_key(status: StatusCode) -> Verdict {
    Verdict {
        outcome: Outcome::DoesNotFit,
        reason: Reason::Status(status),
        message: None,
    }
}
