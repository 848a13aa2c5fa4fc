//! What is configured and leads nowhere: allowed, and probably a mistake.

use std::collections::HashSet;

use super::super::file::File;
use super::super::place::Place;
use super::super::read::{entries, items};
use crate::policy::{EndpointId, Environment, PathRewrite, Snapshot};

/// Warns of endpoints and policies that no request can reach, and of rewrites that never apply.
pub(super) fn warn(file: &File<'_>, snapshot: &Snapshot, root: Place<'_>) {
    let attached = items(&file.operations)
        .flat_map(|(_, operation)| items(&operation.value.policies))
        .map(|(_, name)| name.value);
    let attached: HashSet<&str> = attached.collect();
    for entry in entries(&file.policies) {
        if !attached.contains(entry.name) {
            let place = root.field("policies");
            let message = "is not used: no operation lists it under `policies`";
            place.field(entry.name).warning(entry.line, message);
        }
    }
    let reached = reached(snapshot);
    for (endpoint, entry) in snapshot.endpoints.iter().zip(entries(&file.endpoints)) {
        if !reached.contains(&endpoint.id) {
            let place = root.field("endpoints");
            let message = "is not used: no policy and no default endpoint names it";
            place.field(entry.name).warning(entry.line, message);
        }
        let applies = |rewrite: &PathRewrite| {
            let mut paths = snapshot.operations.iter().map(|operation| &operation.path);
            paths.any(|path| rewrite.rest(path).is_some())
        };
        if let Some(rewrite) = &endpoint.rewrite_path
            && !applies(rewrite)
        {
            let place = root.field("endpoints");
            let place = place.field(entry.name);
            let message = format!(
                "never applies: no operation's path begins with {}",
                rewrite.from()
            );
            place.field("rewrite_path").warning(entry.line, message);
        }
    }
}

/// The endpoints that some target or operation names.
fn reached(snapshot: &Snapshot) -> HashSet<EndpointId> {
    let chains = snapshot.policies.iter().flat_map(|policy| {
        let chain = |environment| policy.chains.get(environment).as_ref();
        Environment::ALL.into_iter().filter_map(chain)
    });
    let targets = chains.flat_map(|chain| chain.targets().map(|target| target.endpoint));
    let defaults = snapshot.operations.iter().flat_map(|operation| {
        let default = |environment| *operation.default_endpoint.get(environment);
        Environment::ALL.into_iter().filter_map(default)
    });
    targets.chain(defaults).collect()
}
