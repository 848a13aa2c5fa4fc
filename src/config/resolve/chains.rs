//! The targets of a policy in each environment, and the pairs that they share.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::super::file::{self, ChainOrList, TargetSet};
use super::super::place::Place;
use super::super::read::{Field, List, Written, items};
use super::balance::{PolicyType, weightless};
use super::check::{WEIGHT, choice_or, printable, required, small_number};
use super::names::Names;
use crate::policy::{
    Chain, Endpoint, Environment, Pair, PairId, PerEnvironment, Prefill, Provider, Target,
    TargetBalance, percent_encode,
};

/// What the policies are resolved with.
pub(super) struct Context<'c, 'n> {
    names: &'c Names<'n>,
    /// By place in the file; `None` was refused.
    endpoints: &'c [Option<Endpoint>],
    pairs: Pairs<'n>,
}

impl<'c, 'n> Context<'c, 'n> {
    pub(super) fn new(names: &'c Names<'n>, endpoints: &'c [Option<Endpoint>]) -> Self {
        Self {
            names,
            endpoints,
            pairs: Pairs::default(),
        }
    }

    /// The pairs of all policies that were resolved.
    pub(super) fn into_pairs(self) -> Vec<Pair> {
        self.pairs.pairs
    }
}

/// The pairs of all policies, each (environment, endpoint, model) once.
#[derive(Default)]
struct Pairs<'n> {
    links: HashMap<(Environment, usize, &'n str), Link>,
    pairs: Vec<Pair>,
}

/// What targets of the same pair share.
#[derive(Clone)]
struct Link {
    pair: PairId,
    model: Arc<str>,
    model_json: Arc<[u8]>,
    model_url: Arc<str>,
}

/// The chain of each environment that has one; `None` where something about one is wrong.
pub(super) fn chains<'n>(
    body: &Written<file::Policy<'n>>,
    rule: (PolicyType, &TargetBalance),
    place: Place<'_>,
    context: &mut Context<'_, 'n>,
) -> Option<PerEnvironment<Option<Chain>>> {
    let policy = &body.value;
    let by_environment = [&policy.production, &policy.sandbox];
    if by_environment.iter().all(|field| is_absent(field)) {
        let what = match rule.0 {
            PolicyType::Failover => "{target: {model: M, endpoint: E}}",
            PolicyType::RoundRobin | PolicyType::WeightedRoundRobin => "[{model: M, endpoint: E}]",
        };
        let message = format!("needs `production` or `sandbox`, or both: {what}");
        place.error(body.line, message);
    }
    let mut chains = PerEnvironment::default();
    let mut complete = true;
    for (environment, field) in Environment::ALL.into_iter().zip(by_environment) {
        if let Some(written) = field.given().filter(|_| !is_absent(field)) {
            let place = place.field(environment.name());
            let chain = chain(environment, written, rule, place, context);
            complete &= chain.is_some();
            *chains.get_mut(environment) = chain;
        }
    }
    complete.then_some(chains)
}

/// Whether an environment has no targets: an empty list, as WSO2's policies have it, is none.
fn is_absent(field: &Field<ChainOrList<'_>>) -> bool {
    match field.value() {
        Some(ChainOrList::List(list)) => list.is_empty(),
        _ => field.is_absent(),
    }
}

fn chain<'n>(
    environment: Environment,
    written: &Written<ChainOrList<'n>>,
    (kind, balance): (PolicyType, &TargetBalance),
    place: Place<'_>,
    context: &mut Context<'_, 'n>,
) -> Option<Chain> {
    let weightless = weightless(kind, balance);
    let chain = match (&written.value, kind) {
        (ChainOrList::Chain(chain), PolicyType::Failover) => {
            let place = (written.line, place);
            target_and_fallbacks(environment, chain, weightless, place, context)
        }
        (ChainOrList::List(list), PolicyType::RoundRobin | PolicyType::WeightedRoundRobin) => {
            let target = set(environment, list, weightless, place, context);
            Some(Chain {
                target: target.into_iter().collect::<Option<_>>()?,
                fallbacks: Vec::new(),
            })
        }
        (ChainOrList::List(_), PolicyType::Failover) => {
            let message = "must be fields, {target: …, fallbacks: […]}; a list is for `type: round_robin` or `weighted_round_robin`";
            place.error(written.line, message);
            None
        }
        (ChainOrList::Chain(_), PolicyType::RoundRobin | PolicyType::WeightedRoundRobin) => {
            let message = "must be a list with this `type`: [{model: M, endpoint: E}]; `target` and `fallbacks` are for `type: failover`";
            place.error(written.line, message);
            None
        }
    }?;
    let mut pairs = BTreeSet::new();
    if let Some(again) = chain.targets().find(|target| !pairs.insert(target.pair)) {
        let message = format!(
            "{} is there twice at one endpoint: it fails once for all",
            again.model
        );
        place.warning(written.line, message);
    }
    (!chain.is_empty()).then_some(chain)
}

fn target_and_fallbacks<'n>(
    environment: Environment,
    chain: &file::Chain<'n>,
    weightless: Option<&str>,
    (line, place): (usize, Place<'_>),
    context: &mut Context<'_, 'n>,
) -> Option<Chain> {
    let at = place.field("target");
    let what = "the first choice: {model: M, endpoint: E}";
    let first = required(&chain.target, at, line, what)
        .map(|set| target_set(environment, set, weightless, at, context));
    let at = place.field("fallbacks");
    let mut fallbacks = Vec::new();
    for (index, Written { line, value }) in items(&chain.fallbacks) {
        let place = at.item(index);
        refuse_weight(value, Some(ALONE), place);
        fallbacks.push(target(environment, value, *line, place, context));
    }
    Some(Chain {
        target: first?.into_iter().collect::<Option<_>>()?,
        fallbacks: fallbacks.into_iter().collect::<Option<_>>()?,
    })
}

fn target_set<'n>(
    environment: Environment,
    written: &Written<TargetSet<'n>>,
    weightless: Option<&str>,
    place: Place<'_>,
    context: &mut Context<'_, 'n>,
) -> Vec<Option<Target>> {
    match &written.value {
        TargetSet::One(only) => {
            refuse_weight(only, Some(ALONE), place);
            vec![target(environment, only, written.line, place, context)]
        }
        TargetSet::Several(list) => {
            if list.is_empty() {
                let message = "is empty; at least one: {model: M, endpoint: E}";
                place.error(written.line, message);
            }
            set(environment, list, weightless, place, context)
        }
    }
}

fn set<'n>(
    environment: Environment,
    list: &List<file::Target<'n>>,
    weightless: Option<&str>,
    place: Place<'_>,
    context: &mut Context<'_, 'n>,
) -> Vec<Option<Target>> {
    let resolve = |(index, item): (usize, &Option<Written<file::Target<'n>>>)| {
        let Written { line, value } = item.as_ref()?;
        let place = place.item(index);
        refuse_weight(value, weightless, place);
        target(environment, value, *line, place, context)
    };
    list.iter().enumerate().map(resolve).collect()
}

const ALONE: &str = "counts only among several targets, in a list under `target`; leave it out";

fn refuse_weight(target: &file::Target<'_>, why: Option<&str>, place: Place<'_>) {
    if let (Some(weight), Some(why)) = (target.weight.given(), why) {
        place.field("weight").error(weight.line, why);
    }
}

fn target<'n>(
    environment: Environment,
    target: &file::Target<'n>,
    line: usize,
    place: Place<'_>,
    context: &mut Context<'_, 'n>,
) -> Option<Target> {
    let at = place.field("model");
    let what = "the model's name at the endpoint";
    let model = required(&target.model, at, line, what).filter(|model| printable(model, at));
    let at = place.field("endpoint");
    let endpoint = required(&target.endpoint, at, line, "the name of an endpoint")
        .and_then(|name| context.names.endpoint(name, at));
    let weight = small_number(&target.weight, place.field("weight"), &WEIGHT);
    let words = [
        ("false", Prefill::No),
        ("true", Prefill::Yes),
        ("vllm", Prefill::Vllm),
    ];
    let at = place.field("prefill");
    let prefill = choice_or(&target.prefill, at, &words, "kinds of prefill", Prefill::No);
    let (model, index) = (model?, endpoint?);
    let endpoint = context.endpoints[index].as_ref()?;
    if prefill == Prefill::Vllm && !matches!(endpoint.provider, Provider::OpenAi | Provider::Custom)
    {
        let line = target.prefill.given().map_or(line, |word| word.line);
        let message =
            "`vllm` is for servers that run vLLM (provider openai or custom); write `true`";
        at.error(line, message);
    }
    let link = context
        .pairs
        .link(environment, index, endpoint, model.value);
    Some(Target {
        model: link.model,
        model_json: link.model_json,
        model_url: link.model_url,
        endpoint: endpoint.id,
        pair: link.pair,
        weight: weight.unwrap_or(1),
        prefill,
    })
}

impl<'n> Pairs<'n> {
    fn link(
        &mut self,
        environment: Environment,
        index: usize,
        endpoint: &Endpoint,
        model: &'n str,
    ) -> Link {
        let pairs = &mut self.pairs;
        let link = self.links.entry((environment, index, model));
        let link = link.or_insert_with(|| {
            let pair = PairId(super::id(pairs.len()));
            let model: Arc<str> = Arc::from(model);
            pairs.push(Pair {
                environment,
                endpoint: Arc::clone(&endpoint.name),
                model: Arc::clone(&model),
            });
            let model_json = Arc::from(serde_json::Value::from(&*model).to_string().into_bytes());
            Link {
                pair,
                model_url: percent_encode(&model).into(),
                model,
                model_json,
            }
        });
        link.clone()
    }
}
