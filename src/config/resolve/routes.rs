//! Which policy a model name leads to: the table of an operation, free of contradictions.

use std::collections::HashMap;

use super::super::file::File;
use super::super::place::Place;
use super::super::read::{List, entries};
use crate::policy::{Environment, FailoverPolicy, Pattern, PerEnvironment, Routes};

/// The routes of one operation while its policies are collected.
#[derive(Default)]
pub(super) struct Table<'t> {
    environments: PerEnvironment<Matches<'t>>,
}

/// Who claimed a name or a pattern first.
#[derive(Default)]
struct Matches<'t> {
    exact: HashMap<&'t str, &'t FailoverPolicy>,
    patterns: HashMap<Pattern, &'t FailoverPolicy>,
    /// The patterns in the order of the file, which decides between two of one length.
    order: Vec<Pattern>,
}

/// What a policy's `match` lists; `None`: nothing, it matches the models of its targets.
pub(super) fn matches_of<'f, 'n>(file: &'f File<'n>, index: usize) -> Option<&'f List<&'n str>> {
    let entry = entries(&file.policies).get(index)?;
    entry.body.as_ref()?.value.matches.value()
}

impl<'t> Table<'t> {
    /// Adds the names of a policy, in each environment that has it.
    pub(super) fn add(
        &mut self,
        policy: &'t FailoverPolicy,
        matches: Option<&'t List<&'t str>>,
        place: Place<'_>,
        line: usize,
    ) {
        for environment in Environment::ALL {
            let Some(chain) = policy.chains.get(environment) else {
                continue;
            };
            let claims = self.environments.get_mut(environment);
            let conflict = match matches {
                Some(list) => {
                    let texts = list.iter().flatten().map(|written| written.value);
                    claims.claim(policy, texts.map(|text| (text, Pattern::parse(text))))
                }
                None => {
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

impl<'t> Matches<'t> {
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
