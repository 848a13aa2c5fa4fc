//! Whether an endpoint understands what an operation sends.
//!
//! Requests are forwarded in the format in which they come; nothing is translated. So every target
//! of a policy must speak the format of the operations that have the policy. The format is told by
//! the operation's path ([`Dialect`]), and an endpoint's by its provider; `custom` speaks any.
//! Anthropic's and Gemini's OpenAI-compatible APIs have other errors, headers and streams than their
//! own: they are `custom` endpoints.

use super::super::place::Place;
use crate::policy::{Dialect, Endpoint, EndpointId, Environment, FailoverPolicy, Format, Provider};

/// Whether an endpoint of `provider` understands the operation of a path.
pub(super) fn speaks(provider: Provider, path: &str) -> bool {
    let dialect = Dialect::of_path(path);
    match provider {
        Provider::Custom => true,
        Provider::Anthropic => dialect == Dialect::Anthropic,
        Provider::Gemini => dialect == Dialect::Gemini,
        Provider::Bedrock => dialect == Dialect::Bedrock,
        Provider::OpenAi | Provider::Mistral | Provider::AzureOpenAi => dialect == Dialect::OpenAi,
    }
}

/// Reports the first target of each environment that does not understand the operation.
pub(super) fn check_chains(
    policy: &FailoverPolicy,
    path: &str,
    endpoints: &[Option<Endpoint>],
    place: Place<'_>,
    line: usize,
) {
    for environment in Environment::ALL {
        let Some(chain) = policy.chains.get(environment) else {
            continue;
        };
        let stranger = chain
            .targets()
            .filter_map(|target| of(endpoints, target.endpoint))
            .find(|endpoint| !speaks(endpoint.provider, path));
        if let Some(endpoint) = stranger {
            let message = format!(
                "`{}` goes to `{}` in {environment}, which does not speak the format of {path} \
                 (its provider is {}); all targets of an operation must, as `provider: custom` does",
                policy.name,
                endpoint.name,
                provider_name(endpoint.provider),
            );
            place.error(line, message);
        }
    }
}

/// Warns where a default endpoint does not understand the operation: it passes bytes unchanged, so
/// that is the caller's and the endpoint's affair, and probably a mistake.
pub(super) fn warn_of_default(endpoint: &Endpoint, path: &str, place: Place<'_>, line: usize) {
    let is_known = Format::of_path(path) != Format::Other;
    if is_known && !speaks(endpoint.provider, path) {
        let name = provider_name(endpoint.provider);
        let message = format!(
            "`{}` probably does not speak the format of {path} (its provider is {name})",
            endpoint.name
        );
        place.warning(line, message);
    }
}

/// The endpoint of an id, unless it was refused.
pub(super) fn of(endpoints: &[Option<Endpoint>], id: EndpointId) -> Option<&Endpoint> {
    endpoints.get(id.0 as usize)?.as_ref()
}

fn provider_name(provider: Provider) -> &'static str {
    let named = Provider::NAMES.iter().find(|(_, known)| *known == provider);
    named.map_or("", |(name, _)| name)
}
