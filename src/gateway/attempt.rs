//! The loop at the heart of it: one target after the other, until one gives an answer that can be
//! shown to the client.
//!
//! ```text
//!        ┌──────────────────────────── next target ───────────────────────────┐
//!        ▼                                                                    │
//!  choose ──> exchange ──> hold ──> judge ──┬─ success, client's fault ─> respond
//!    │            ▲                         ├─ transient, retries left ─> wait ─┐
//!    │            └─────────── same target ─┼───────────────────────────────────┘
//!    │                                      └─ target's fault ─> suspend ───────┘
//!    └─ none left, or all suspended ─> Failure
//! ```
//!
//! Nothing is sent to the client before `respond`: up to there every failure has a next target.
//! Dropping this future at any point cancels the exchange under way and hands back a claimed probe.

use std::future::pending;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use tokio::time::Instant;

use super::balance::Choice;
use super::choose::Next;
use super::claim::{claim, open};
use super::client::{Client, Interrupted};
use super::deadlines::Deadlines;
use super::error::Failure;
use super::exchange::{self, Exchange};
use super::hold::{Held, hold};
use super::judge::{
    ExchangeFault, Outcome, Reason, TargetFault, Verdict, judge_answer, judge_fault, suspend_for,
};
use super::keys::KeyRing;
use super::ledger::Ledger;
use super::outgoing::Outgoing;
use super::patience::Patience;
use super::places::Places;
use super::room;
use super::single::is_about_own_key;
use super::suspension::{Millis, Permit, Standing};
use super::table::{EndpointLinks, Table};
use crate::policy::{Chain, FailoverPolicy, Format, StreamRescue, Target};
use crate::provider;

/// What a request's failover follows, fixed when it was routed.
#[derive(Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) table: &'a Table,
    pub(super) policy: &'a FailoverPolicy,
    pub(super) chain: &'a Chain,
    pub(super) format: Format,
    /// How the choice falls in its target set, where there is one.
    pub(super) choice: Option<Choice<'a>>,
    /// The request asks for a stream.
    pub(super) streaming: bool,
}

impl<'a> Plan<'a> {
    /// The target at a place of the chain.
    pub(super) fn target(&self, index: usize) -> &'a Target {
        let weighted = &self.chain.target;
        weighted
            .get(index)
            .unwrap_or_else(|| &self.chain.fallbacks[index - weighted.len()])
    }

    /// How a target stands: as its pair does, but suspended for as long as none of its endpoint's
    /// backends can be healthy. `at` is `now` in the time of the pairs.
    fn standing(&self, index: usize, now: std::time::Instant, at: Millis) -> Standing<Millis> {
        let target = self.target(index);
        let standing = self.table.pair(target.pair).standing_at(at);
        let endpoint = self.table.endpoint(target.endpoint);
        let Some(back) = endpoint.backends().back_at(now) else {
            return standing;
        };
        // Not up, as the end of a suspension: it is so many whole seconds away, and a client that is told
        // to wait would be told of one more.
        let back = self.table.epoch().floor(back);
        let until = match standing {
            Standing::Suspended { until } => until.max(back),
            _ => back,
        };
        Standing::Suspended { until }
    }

    /// Whether a stream that breaks may go on at another target.
    pub(super) const fn rescues(&self) -> bool {
        matches!(self.policy.stream_rescue, StreamRescue::Continue)
    }
}

/// An answer that can be shown to the client.
pub(super) struct Won<'a> {
    pub(super) target: &'a Target,
    keys: KeyRing<'a>,
    pub(super) held: Held<'a>,
    pub(super) deadlines: Deadlines,
}

/// A request on its way through its chain.
pub(super) struct Trip<'a> {
    pub(super) plan: Plan<'a>,
    tried: Places,
    /// When the last attempt or wait must be over.
    overall: Option<Instant>,
}

impl<'a> Trip<'a> {
    pub(super) fn new(plan: Plan<'a>) -> Self {
        Self {
            plan,
            tried: Places::default(),
            overall: plan
                .policy
                .overall_timeout
                .map(|span| Instant::now() + span),
        }
    }

    /// Tries target after target until one gives an answer to show.
    ///
    /// # Errors
    /// That all failed, or that the client has left.
    pub(super) async fn run(
        &mut self,
        client: &mut Client<'_>,
        outgoing: &Outgoing,
        ledger: &mut Ledger,
    ) -> Result<Won<'a>, Failure> {
        loop {
            let (target, permit) = self.next(ledger)?;
            let tried = self.at_target(target, client, outgoing, ledger).await?;
            self.measure(target, &tried, ledger);
            match tried {
                Ok(won) => {
                    succeed(&self.plan, permit, &won);
                    return Ok(won);
                }
                Err(verdict) => fail(&self.plan, target, permit, &verdict),
            }
            if self.is_over(Instant::now) {
                return Err(ledger.exhausted(self.plan.table).into());
            }
        }
    }

    /// Whether the request's own patience, where it has any, has ended by then.
    pub(super) fn is_over(&self, then: impl FnOnce() -> Instant) -> bool {
        self.overall.is_some_and(|overall| then() >= overall)
    }

    /// The next target and the leave to try it.
    pub(super) fn next(&mut self, ledger: &Ledger) -> Result<(&'a Target, Permit<'a>), Failure> {
        let plan = self.plan;
        let now = Instant::now().into_std();
        let count = plan.chain.len();
        let pair = |index| &**plan.table.pair(plan.target(index).pair);
        let epoch = plan.table.epoch();
        let at = epoch.floor(now);
        let standing = |index| plan.standing(index, now, at);
        let first = |tried: &Places| {
            let set = plan.chain.target.len();
            let chosen = plan
                .choice
                .and_then(|choice| choice.pick(&open(set, standing, tried), now));
            chosen.unwrap_or(0)
        };
        let when = plan.policy.when_all_suspended;
        match claim(count, pair, standing, first, &mut self.tried, when, now) {
            Ok((index, permit)) => Ok((plan.target(index), permit)),
            Err(Next::AllSuspended { until }) => {
                let wait = epoch.instant(until).saturating_duration_since(now);
                Err(ledger.all_suspended(wait).into())
            }
            Err(_) => Err(ledger.exhausted(plan.table).into()),
        }
    }

    /// Takes account of how long a member of a set took, where the choice depends on it. What failed
    /// at once must not be the quickest.
    fn measure(&self, target: &Target, tried: &Result<Won<'a>, Verdict>, ledger: &Ledger) {
        let plan = &self.plan;
        let Some(choice) = plan.choice.filter(Choice::measures) else {
            return;
        };
        let set = &plan.chain.target;
        let member = set.iter().position(|member| member.pair == target.pair);
        let (Some(member), Some(attempt)) = (member, ledger.current()) else {
            return;
        };
        let took = match tried {
            Ok(won) if won.held.head().status.is_success() => attempt.duration,
            Err(verdict) if matches!(verdict.outcome, Outcome::TargetFault(_)) => {
                attempt.duration.max(plan.policy.request_timeout)
            }
            _ => return,
        };
        choice.observe(member, took, Instant::now().into_std());
    }

    /// Tries one target, again where the policy says so: the outer error ends the request, the
    /// inner one is the target's last verdict.
    async fn at_target(
        &self,
        target: &'a Target,
        client: &mut Client<'_>,
        outgoing: &Outgoing,
        ledger: &mut Ledger,
    ) -> Result<Result<Won<'a>, Verdict>, Failure> {
        let mut patience = Patience::new(self.plan.policy);
        loop {
            let verdict = match self.attempt(target, client, outgoing, ledger).await? {
                Ok(won) => return Ok(Ok(won)),
                Err(verdict) => verdict,
            };
            let Some(wait) = patience.wait_after(&verdict) else {
                return Ok(Err(verdict));
            };
            let until = Instant::now() + wait;
            if self.is_over(|| until) {
                return Ok(Err(verdict));
            }
            let waited = client.wait(Some(until), pending::<()>()).await;
            if waited == Err(Interrupted::ClientGone) {
                return Err(Failure::ClientGone);
            }
            ledger.waited(wait);
        }
    }

    /// One attempt; where the endpoint has several keys and refuses the one that was sent, one more
    /// with each of the others.
    pub(super) async fn attempt(
        &self,
        target: &'a Target,
        client: &mut Client<'_>,
        outgoing: &Outgoing,
        ledger: &mut Ledger,
    ) -> Result<Result<Won<'a>, Verdict>, Failure> {
        let now = || Instant::now().into_std();
        let endpoint = self.plan.table.endpoint(target.endpoint);
        let mut keys = KeyRing::new(endpoint.keys(), now);
        loop {
            let tried = self.with_key(&keys, target, client, outgoing, ledger);
            let verdict = match tried.await? {
                Ok((held, deadlines)) => {
                    keys.accept();
                    return Ok(Ok(Won {
                        target,
                        keys,
                        held,
                        deadlines,
                    }));
                }
                Err(verdict) => verdict,
            };
            let another = keys.refuse(&verdict, Some(self.plan.policy), now);
            if !another || self.is_over(Instant::now) {
                return Ok(Err(verdict));
            }
        }
    }

    /// One exchange and the judgement of it, up to where it would be shown.
    async fn with_key(
        &self,
        keys: &KeyRing<'_>,
        target: &'a Target,
        client: &mut Client<'_>,
        outgoing: &Outgoing,
        ledger: &mut Ledger,
    ) -> Result<Result<(Held<'a>, Deadlines), Verdict>, Failure> {
        let plan = &self.plan;
        let endpoint = plan.table.endpoint(target.endpoint);
        let entered = room::enter(endpoint.entrance(), client, self.overall, ledger).await;
        if let Err(Interrupted::ClientGone) = entered {
            return Err(Failure::ClientGone);
        }
        let (model, pair) = (Some(&target.model), Some(target.pair));
        let begun = ledger.begin(endpoint, model, pair, keys.name());
        let deadlines = Deadlines::of(plan.policy, plan.streaming, self.overall, begun);
        let Ok(place) = entered else {
            return Ok(Err(ledger.busy()));
        };
        let begun = {
            // In its place here once, instead of once more in each future that it is handed to.
            let begin = pin!(exchange::begin(
                endpoint,
                keys.shown(),
                outgoing,
                Some(target)
            ));
            client.wait(Some(deadlines.head()), begin).await
        };
        let judged = match begun {
            Ok(Ok(mut exchange)) => {
                exchange.place = place;
                ledger.answered(exchange.head.status, exchange.backend.name.as_ref());
                self.judge(client, endpoint, exchange, &deadlines).await
            }
            Ok(Err(fault)) => Err(Judged::Verdict(judge_fault(fault))),
            Err(Interrupted::Deadline) => Err(Judged::Verdict(deadlines.missed_head())),
            Err(Interrupted::ClientGone) => Err(Judged::ClientGone),
        };
        match judged {
            Ok(held) => {
                ledger.succeed();
                Ok(Ok((held, deadlines)))
            }
            Err(Judged::Verdict(verdict)) => {
                ledger.fail(&verdict);
                Ok(Err(verdict))
            }
            Err(Judged::KeyRefused(verdict)) => {
                ledger.fail(&verdict);
                Err(ledger.exhausted(plan.table).into())
            }
            Err(Judged::ClientGone) => {
                ledger.client_gone();
                Err(Failure::ClientGone)
            }
        }
    }

    async fn judge(
        &self,
        client: &mut Client<'_>,
        endpoint: &EndpointLinks,
        exchange: Exchange,
        deadlines: &Deadlines,
    ) -> Result<Held<'a>, Judged> {
        let plan = &self.plan;
        let held = hold(client, exchange, plan, deadlines).await?;
        let head = held.head();
        let verdict = judge_answer(
            &plan.policy.failover_on,
            head.status,
            &head.headers,
            held.error_body(),
            SystemTime::now,
        );
        // Where the policy says that such a status is no reason to go on. What a code says is about
        // the request: a content filter may answer 403.
        let by_status = matches!(verdict.reason, Reason::Status(_));
        match verdict.outcome {
            Outcome::ClientFault if by_status && is_about_own_key(endpoint, head.status) => {
                Err(Judged::KeyRefused(verdict))
            }
            Outcome::Success | Outcome::ClientFault => Ok(held),
            // The key is the caller's own, and so is what is said about it; a rate limit is gone around.
            Outcome::TargetFault(TargetFault {
                about_key: true, ..
            }) if endpoint.passes_credential() && head.status != StatusCode::TOO_MANY_REQUESTS => {
                Ok(held)
            }
            _ => Err(Judged::Verdict(verdict)),
        }
    }
}

/// How an attempt ended without an answer to show.
pub(super) enum Judged {
    Verdict(Verdict),
    /// The gateway's own key was refused, and nobody else is to be asked.
    KeyRefused(Verdict),
    ClientGone,
}

impl From<ExchangeFault> for Judged {
    fn from(fault: ExchangeFault) -> Self {
        Self::Verdict(judge_fault(fault))
    }
}

/// Why a key, or a pair, is left out after a success.
pub(super) const QUOTA_USED_UP: &str = "quota_used_up";

/// Ends a pair's suspension, or begins one where the answer says that its quota is used up: of several
/// keys, that of the one which was sent.
fn succeed(plan: &Plan<'_>, permit: Permit<'_>, won: &Won<'_>) {
    permit.success();
    let several = won.keys.name().is_some();
    if plan.policy.suspend_duration.is_zero() && !several {
        return;
    }
    let headers = &won.held.head().headers;
    let Some(reset) = provider::quota_used_up(headers, SystemTime::now) else {
        return;
    };
    let now = Instant::now().into_std();
    if several {
        won.keys.use_up(reset, plan.policy, now);
    }
    if let Some(until) = out_until(plan, won.target, reset, several, now) {
        let pair = plan.table.pair(won.target.pair);
        pair.suspend(now, until, QUOTA_USED_UP);
    }
}

/// Until when a pair is left out, if it is. What is `about_key` leaves it out while all of several keys
/// are set aside, and not at all where the key is the caller's.
fn out_until(
    plan: &Plan<'_>,
    target: &Target,
    wish: Option<Duration>,
    about_key: bool,
    now: std::time::Instant,
) -> Option<std::time::Instant> {
    let span = suspend_for(plan.policy, wish)?;
    let endpoint = plan.table.endpoint(target.endpoint);
    match endpoint.keys().states() {
        _ if !about_key => Some(now + span),
        _ if endpoint.passes_credential() => None,
        [] => Some(now + span),
        _ => endpoint.keys().first_back(now),
    }
}

/// Suspends a pair whose answer had begun, where it is to blame.
pub(super) fn suspend(plan: &Plan<'_>, target: &Target, verdict: &Verdict) {
    let now = Instant::now().into_std();
    let permit = plan.table.pair(target.pair).force(now);
    fail(plan, target, permit, verdict);
}

/// Suspends a pair, where it is to blame.
pub(super) fn fail(plan: &Plan<'_>, target: &Target, permit: Permit<'_>, verdict: &Verdict) {
    let Outcome::TargetFault(fault) = &verdict.outcome else {
        return permit.neutral();
    };
    let now = Instant::now().into_std();
    match out_until(plan, target, fault.wish, fault.about_key, now) {
        Some(until) => permit.fail(now, until, verdict.reason.to_string()),
        None => permit.neutral(),
    }
}
