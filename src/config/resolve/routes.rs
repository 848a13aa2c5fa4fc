//! Which policy a model name leads to: the table of an operation, free of contradictions.

use std::collections::HashMap;

use super::super::file::File;
use super::super::place::Place;
use super::super::read::{List, entries};
use super::balance::PolicyType;
use crate::policy::{Environment, FailoverPolicy, Pattern, PerEnvironment, Routes};

/// The routes of one operation while its policies are collected.
#[derive(Default)]
pub(super) struct Table<'t> {
    environments: PerEnvironment<Claims<'t>>,
}

/// Who claimed a name or a pattern first.
#[derive(Default)]
struct Claims<'t> {
    exact: HashMap<&'t str, &'t FailoverPolicy>,
    patterns: HashMap<Pattern, &'t FailoverPolicy>,
    /// The patterns in the order of the file, which decides between two of one length.
    order: Vec<Pattern>,
}

/// What a policy matches.
pub(super) enum Matches<'f> {
    /// What its `match` lists.
    Listed(&'f List<&'f str>),
    /// The models of its targets.
    Targets,
    /// Every model that no other policy matches.
    All,
}

/// What the `match` of a policy says, or its type where it has none.
pub(super) fn matches_of<'f>(file: &'f File<'_>, index: usize) -> Matches<'f> {
    let entry = entries(&file.policies).get(index);
    let Some(body) = entry.and_then(|entry| entry.body.as_ref()) else {
        return Matches::Targets;
    };
    match (body.value.matches.value(), PolicyType::peek(&body.value)) {
        (Some(list), _) => Matches::Listed(list),
        (None, PolicyType::Failover) => Matches::Targets,
        (None, PolicyType::RoundRobin | PolicyType::WeightedRoundRobin) => Matches::All,
    }
}

impl<'t> Table<'t> {
    /// Adds the names of a policy, in each environment that has it.
    pub(super) fn add(
        &mut self,
        policy: &'t FailoverPolicy,
        matches: &Matches<'t>,
        place: Place<'_>,
        line: usize,
    ) {
        for environment in Environment::ALL {
            let Some(chain) = policy.chains.get(environment) else {
                continue;
            };
            let claims = self.environments.get_mut(environment);
            let conflict = match matches {
                Matches::Listed(list) => {
                    let texts = list.iter().flatten().map(|written| written.value);
                    claims.claim(policy, texts.map(|text| (text, Pattern::parse(text))))
                }
                Matches::All => claims.claim(policy, [("*", Pattern::parse("*"))].into_iter()),
                Matches::Targets => {
                    let models = chain.target.iter().map(|target| &*target.model);
                    claims.claim(policy, models.map(|model| (model, None)))
                }
            };
            if let Some((name, other)) = conflict {
                let message = format!(
                    "`{}` and `{}` both match {name} in {environment}; give one of them another `match`",
                    other.name, policy.name
                );
                place.error(line, message);
            }
        }
    }

    /// The table for requests.
    pub(super) fn finish(self) -> PerEnvironment<Routes> {
        let PerEnvironment {
            production,
            sandbox,
        } = self.environments;
        PerEnvironment {
            production: production.finish(),
            sandbox: sandbox.finish(),
        }
    }
}

impl<'t> Claims<'t> {
    /// Notes whose the names are; the first that is another policy's already.
    fn claim(
        &mut self,
        policy: &'t FailoverPolicy,
        names: impl Iterator<Item = (&'t str, Option<Pattern>)>,
    ) -> Option<(&'t str, &'t FailoverPolicy)> {
        let mut conflict = None;
        for (name, pattern) in names {
            let owner = match pattern {
                Some(pattern) => *self.patterns.entry(pattern).or_insert_with_key(|pattern| {
                    self.order.push(pattern.clone());
                    policy
                }),
                None => *self.exact.entry(name).or_insert(policy),
            };
            if owner.id != policy.id {
                conflict = conflict.or(Some((name, owner)));
            }
        }
        conflict
    }

    fn finish(self) -> Routes {
        let exact = self
            .exact
            .iter()
            .map(|(name, policy)| ((*name).into(), policy.id));
        let owner = |pattern: Pattern| {
            let policy = self.patterns.get(&pattern)?;
            Some((pattern, policy.id))
        };
        Routes::new(exact, self.order.into_iter().filter_map(owner))
    }
}
