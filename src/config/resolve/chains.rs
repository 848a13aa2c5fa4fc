//! The targets of a policy in each environment, and the pairs that they share.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::super::file::{self, TargetSet};
use super::super::place::Place;
use super::super::read::{Written, items};
use super::check::{WEIGHT, choice_or, printable, required, small_number};
use super::names::Names;
use crate::policy::{
    Chain, Endpoint, Environment, Pair, PairId, PerEnvironment, Prefill, Provider, Target,
    percent_encode,
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
    place: Place<'_>,
    context: &mut Context<'_, 'n>,
) -> Option<PerEnvironment<Option<Chain>>> {
    let policy = &body.value;
    let by_environment = [&policy.production, &policy.sandbox];
    if by_environment.iter().all(|field| field.is_absent()) {
        let message = "needs `production` or `sandbox`, or both: {target: {model: M, endpoint: E}}";
        place.error(body.line, message);
    }
    let mut chains = PerEnvironment::default();
    let mut complete = true;
    for (environment, field) in Environment::ALL.into_iter().zip(by_environment) {
        if let Some(written) = field.given() {
            let place = place.field(environment.name());
            let chain = chain(environment, written, place, context);
            complete &= chain.is_some();
            *chains.get_mut(environment) = chain;
        }
    }
    complete.then_some(chains)
}

fn chain<'n>(
    environment: Environment,
    written: &Written<file::Chain<'n>>,
    place: Place<'_>,
    context: &mut Context<'_, 'n>,
) -> Option<Chain> {
    let at = place.field("target");
    let what = "the first choice: {model: M, endpoint: E}";
    let first = required(&written.value.target, at, written.line, what)
        .map(|set| target_set(environment, set, at, context));
    let at = place.field("fallbacks");
    let mut fallbacks = Vec::new();
    for (index, Written { line, value }) in items(&written.value.fallbacks) {
        let place = at.item(index);
        refuse_weight(value, place);
        fallbacks.push(target(environment, value, *line, place, context));
    }
    let chain = Chain {
        target: first?.into_iter().collect::<Option<_>>()?,
        fallbacks: fallbacks.into_iter().collect::<Option<_>>()?,
    };
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

fn target_set<'n>(
    environment: Environment,
    written: &Written<TargetSet<'n>>,
    place: Place<'_>,
    context: &mut Context<'_, 'n>,
) -> Vec<Option<Target>> {
    match &written.value {
        TargetSet::One(only) => {
            refuse_weight(only, place);
            vec![target(environment, only, written.line, place, context)]
        }
        TargetSet::Weighted(list) => {
            if list.is_empty() {
                let message = "is empty; at least one: {model: M, endpoint: E}";
                place.error(written.line, message);
            }
            let resolve = |(index, item): (usize, &Option<Written<file::Target<'n>>>)| {
                let Written { line, value } = item.as_ref()?;
                target(environment, value, *line, place.item(index), context)
            };
            list.iter().enumerate().map(resolve).collect()
        }
    }
}

fn refuse_weight(target: &file::Target<'_>, place: Place<'_>) {
    if let Some(weight) = target.weight.given() {
        let message = "counts only among several targets, in a list under `target`; leave it out";
        place.field("weight").error(weight.line, message);
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
