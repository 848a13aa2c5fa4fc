//! The life of a request: admit, buffer, route, attempt, respond.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures_util::FutureExt as _;
use http::HeaderValue;
use pingora_http::RequestHeader;

use super::address::{Address, split_query};
use super::admit;
use super::attempt::{Plan, Trip, suspend};
use super::balance::Kind;
use super::body;
use super::client::Client;
use super::error::{Failure, Rejection};
use super::hold::{Held, Whole};
use super::judge::{ExchangeFault, judge_fault};
use super::mentions::Mentions;
use super::models;
use super::outgoing::{Outgoing, TRACEPARENT};
use super::proxy::RequestContext;
use super::relay::{self, Source};
use super::respond;
use super::route::{self, Route};
use super::shared::Gateway;
use super::single;
use super::streaming;
use super::table::Table;
use crate::policy::{Captured, EndpointId, Environment, Format, ModelPlace, Operation, Snapshot};
use crate::telemetry::RequestPath;
use crate::telemetry::metrics::RouteKey;
use crate::telemetry::traces::Tracer;

/// How far a request has been served.
pub(super) enum Served {
    /// The client has its answer.
    Answered,
    /// Pingora passes it on, to this endpoint.
    PassOn(EndpointId, Address),
}

/// Serves a request up to its answer, or up to where Pingora takes over. A panic ends this request
/// alone: what it holds is given back as it is unwound, and its client is told.
///
/// # Errors
/// Why there is no answer.
pub(super) fn serve(
    gateway: &Gateway,
    client: &mut Client<'_>,
    ctx: &mut RequestContext,
) -> impl Future<Output = Result<Served, Failure>> + Send {
    // Whoever goes on with these after a panic ends the request, and its connection with it.
    let served = AssertUnwindSafe(to_answer(gateway, client, ctx)).catch_unwind();
    served.map(|served| {
        served.unwrap_or_else(|_panic| {
            log::error!("a request has panicked: this is a bug of the gateway. Its access log has the request, with internal_error");
            Err(Failure::Panicked)
        })
    })
}

async fn to_answer(
    gateway: &Gateway,
    client: &mut Client<'_>,
    ctx: &mut RequestContext,
) -> Result<Served, Failure> {
    let table = ctx.table.clone();
    let snapshot = &table.snapshot;
    let (environment, operation, captured) = admit(gateway, client, ctx, &table)?;
    if let Some(tracer) = table.tracer() {
        trace(tracer, client.request(), operation.format, ctx);
    }
    let address = Address::new(client.request(), operation, captured);

    if operation.lists_models {
        list_models(client, ctx, snapshot, environment, &address).await?;
        return Ok(Served::Answered);
    }
    if operation.routes.is_none() {
        let endpoint = *operation.default_endpoint.get(environment);
        return endpoint
            .map(|endpoint| Served::PassOn(endpoint, address))
            .ok_or_else(|| Rejection::unknown_operation(&operation.path).into());
    }

    let has_body = !client.sends_no_body();
    let length = client.content_length();
    let kind = admit::readable(client.request(), snapshot, operation, length, has_body)?;
    let body = body::read(client, length, &snapshot.limits, gateway.held_bytes()).await?;
    ctx.ledger.waited(body.took);
    let headers = &client.request().headers;
    let model = route::model(operation, headers, &address, &body, &kind)?;
    ctx.record.model = Some(model.name.as_ref().into());

    let model_header = match &operation.model_in {
        ModelPlace::Header(name) => Some(name),
        _ => None,
    };
    match route::route(&table, operation, environment, &model.name)? {
        Route::Default(endpoint) => {
            let address = address.asking_for(&model.name);
            let request = client.request();
            let body = body.bytes.clone();
            let mut outgoing = Outgoing::new(
                &table,
                request,
                address,
                model_header,
                body,
                Mentions::None,
                false,
            );
            if let Some(trace) = ctx.ledger.traced() {
                outgoing.trace(trace);
            }
            let endpoint = table.endpoint(endpoint);
            let id = &ctx.record.request_id;
            single::run(
                client,
                &outgoing,
                &table,
                endpoint,
                &model.name,
                id,
                &mut ctx.ledger,
            )
            .await?;
        }
        Route::Policy(policy, chain) => {
            ctx.record.policy = Some(policy.name.clone());
            if let Some(route) = &mut ctx.record.route {
                route.policy = Some(policy.id);
            }
            let plan = Plan {
                table: &table,
                policy,
                chain,
                format: operation.format,
                choice: table
                    .balancer(policy.id, environment)
                    .map(|balancer| balancer.choice(Kind::of(model.stream), headers, &body.bytes)),
                streaming: model.stream,
            };
            let address = match model.in_query {
                Some(place) => address.with_model_in_query(place),
                None => address,
            };
            let (request, body) = (client.request(), body.bytes.clone());
            let mut outgoing = Outgoing::new(
                &table,
                request,
                address,
                model_header,
                body,
                model.in_body,
                true,
            );
            if let Some(trace) = ctx.ledger.traced() {
                outgoing.trace(trace);
            }
            fail_over(client, plan, &outgoing, ctx).await?;
        }
    }
    Ok(Served::Answered)
}

/// Answers which models there are.
async fn list_models(
    client: &mut Client<'_>,
    ctx: &RequestContext,
    snapshot: &Snapshot,
    environment: Environment,
    address: &Address,
) -> Result<(), Failure> {
    let asked = address.model_in_path().is_some();
    let asked = asked.then(|| route::in_path(address)).transpose()?;
    let request = client.request();
    let (path, headers) = (address.path(), &request.headers);
    let models = models::answer(snapshot, environment, path, headers, asked.as_deref())?;
    respond::own(client, models.to_string().into(), ctx).await
}

/// Who calls what, both noted for the log, and whether its key has enough left.
fn admit<'a>(
    gateway: &Gateway,
    client: &Client<'_>,
    ctx: &mut RequestContext,
    table: &'a Table,
) -> Result<(Environment, &'a Operation, Captured), Rejection> {
    let (request, snapshot) = (client.request(), &table.snapshot);
    let record = &mut ctx.record;
    record.method = request.method.clone();
    record.client = client.address();
    let operation = admit::operation(snapshot, request);
    record.path = match &operation {
        Ok((operation, _)) => {
            ctx.dialect = operation.dialect;
            RequestPath::Operation(operation.path.clone())
        }
        Err(_) => RequestPath::Unknown(split_query(request).0.into()),
    };
    let guest = gateway.guests().admit(&request.headers);
    let caller = match &guest {
        Some(guest) => guest,
        None => admit::authenticate(snapshot, &request.headers)?,
    };
    let environment = caller.environment;
    record.caller = Some(caller.name.clone());
    record.environment = Some(environment);
    let (operation, captured) = operation?;
    record.route = Some(RouteKey {
        operation: operation.id,
        environment,
        policy: None,
    });
    // Guests are the process's own.
    let limits = guest.is_none().then(|| table.rate_limit(caller)).flatten();
    if let Some(limits) = limits {
        ctx.ledger.limit(limits.clone());
        limits.admit(Instant::now())?;
    }
    Ok((environment, operation, captured))
}

/// Begins the request's trace, where it is sampled.
fn trace(tracer: &Tracer, request: &RequestHeader, format: Format, ctx: &mut RequestContext) {
    let parent = request.headers.get(TRACEPARENT).map(HeaderValue::as_bytes);
    let trace = tracer.begin(parent, format);
    ctx.record.trace.clone_from(&trace);
    ctx.ledger.trace(trace);
}

/// An answer on its way to the client. What it cost is noted when the client has it, or never will.
struct Costing<'a> {
    whole: Whole<'a>,
    /// Of the prompt, of the answer.
    tokens: [&'a mut Option<u64>; 2],
}

impl Drop for Costing<'_> {
    fn drop(&mut self) {
        let usage = self.whole.usage();
        *self.tokens[0] = usage.input_tokens;
        *self.tokens[1] = usage.output_tokens;
    }
}

/// A request along the chain of its policy.
async fn fail_over(
    client: &mut Client<'_>,
    plan: Plan<'_>,
    outgoing: &Outgoing,
    ctx: &mut RequestContext,
) -> Result<(), Failure> {
    let mut trip = Trip::new(plan);
    let won = trip.run(client, outgoing, &mut ctx.ledger).await?;
    match won.held {
        Held::Whole(whole) => {
            let record = &mut ctx.record;
            let mut costing = Costing {
                whole,
                tokens: [&mut record.tokens_in, &mut record.tokens_out],
            };
            respond::whole(client, &mut costing.whole, &record.request_id, &ctx.ledger).await
        }
        Held::Large(mut large) => {
            let head = large.exchange.take_head();
            respond::begin(client, head, &ctx.record.request_id, &ctx.ledger).await?;
            let next = || Some(won.deadlines.next_read());
            let relayed = relay::large(client, large, next).await;
            ctx.ledger.finish();
            let Err(fault) = relayed? else {
                return Ok(());
            };
            let verdict = match fault {
                ExchangeFault::IdleTimeout => won.deadlines.missed(fault),
                fault => judge_fault(fault),
            };
            ctx.ledger.fail(&verdict);
            suspend(&trip.plan, won.target, &verdict);
            Err(Failure::Broken)
        }
        Held::Stream(stream) => {
            let source = Source {
                target: won.target,
                stream,
                deadlines: won.deadlines,
                splicer: None,
            };
            streaming::run(client, &mut trip, source, outgoing, ctx).await
        }
    }
}
