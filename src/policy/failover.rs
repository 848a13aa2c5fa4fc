//! The Model Failover policy: a target, its fallbacks, and when to leave one for the next.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{EndpointId, Environment, PerEnvironment};

/// The place of a [`FailoverPolicy`] in its [`Snapshot`](super::Snapshot).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyId(pub u32);

/// The place of a [`Pair`] in its [`Snapshot`](super::Snapshot).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PairId(pub u32);

/// A model at an endpoint in an environment: what is suspended after a failure. All policies of
/// the environment that name the same model and endpoint share one pair.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// Where it was seen to fail; the other environment never learns of it.
    pub environment: Environment,
    /// The endpoint's name.
    pub endpoint: Arc<str>,
    /// The model's name at that endpoint.
    pub model: Arc<str>,
}

/// One rule of failover, with every field resolved to its value.
#[derive(Clone, Debug)]
pub struct FailoverPolicy {
    /// Its place in the snapshot.
    pub id: PolicyId,
    /// The name in the configuration.
    pub name: Arc<str>,
    /// The targets, for each environment that has the policy.
    pub chains: PerEnvironment<Option<Chain>>,
    /// Of one attempt: from the start of the connection (or its reuse) to the answer's head, and
    /// for an answer that is no stream to its last byte.
    pub request_timeout: Duration,
    /// How long a failed pair is left out at least; zero: nothing is remembered.
    pub suspend_duration: Duration,
    /// On which target of a set the choice falls.
    pub balance: TargetBalance,
    /// From the end of the request's body to the end of the last attempt or wait.
    pub overall_timeout: Option<Duration>,
    /// Of a stream: from the start of the attempt to its first event with content.
    pub first_token_timeout: Duration,
    /// Of a stream: between two reads from the upstream, counted only while waiting for it.
    pub stream_idle_timeout: Duration,
    /// Further tries at the same target after a transient failure, before its fallback.
    pub retries: u32,
    /// The wait before each of those.
    pub retry_backoff: RetryBackoff,
    /// A 429 or 503 that asks for at most this wait is waited out at the same target, once.
    pub max_retry_after: Duration,
    /// Cap where an answer's headers ask for a longer suspension than `suspend_duration`.
    pub max_suspend_duration: Duration,
    /// Changes to the default judgement of an answer.
    pub failover_on: FailoverOn,
    /// What happens to a stream that breaks after its first token.
    pub stream_rescue: StreamRescue,
    /// What a caller gets while every target is suspended.
    pub when_all_suspended: WhenAllSuspended,
}

/// The targets of a policy in one environment, in the order in which they are tried.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The first choice, at least one. Several are a set: the choice falls as the policy's
    /// [`TargetBalance`] says, and after a failure once more among the rest of it.
    pub target: Vec<Target>,
    /// The rest, any number.
    pub fallbacks: Vec<Target>,
}

impl Chain {
    /// All targets as written: the target (or the set), then the fallbacks.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.target.iter().chain(&self.fallbacks)
    }

    /// How many targets there are.
    pub fn len(&self) -> usize {
        self.target.len() + self.fallbacks.len()
    }

    /// Never: a chain has a target.
    pub fn is_empty(&self) -> bool {
        self.target.is_empty()
    }
}

/// A model at an endpoint, as one link of a [`Chain`].
#[derive(Clone, Debug)]
pub struct Target {
    /// The model's name at the endpoint: it replaces the caller's.
    pub model: Arc<str>,
    /// The same as a JSON string with its quotes, ready to be spliced into a body.
    pub model_json: Arc<[u8]>,
    /// The same percent-encoded, for a segment of a path or a query.
    pub model_url: Arc<str>,
    /// Where it is served.
    pub endpoint: EndpointId,
    /// What its failures suspend.
    pub pair: PairId,
    /// Its share in a set, at least 1.
    pub weight: u32,
    /// How it is asked to go on with a partial answer.
    pub prefill: Prefill,
}

/// How the choice falls in a set of targets, among those that are not suspended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TargetBalance {
    /// In turn, by weight.
    #[default]
    Weighted,
    /// Of two, taken by chance, on the one whose first token comes earlier.
    Latency,
    /// On the same one for requests that belong together, by weight.
    Sticky {
        /// The request header that says what belongs together; without it (or in a request that
        /// doesn't have it) the first messages do.
        header: Option<http::HeaderName>,
    },
}

/// How a target is asked to continue a partial answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prefill {
    /// By a user message that asks it to go on exactly there.
    #[default]
    No,
    /// By the partial answer as the last, assistant message, in its provider's own way.
    Yes,
    /// The same with vLLM's `continue_final_message` and `add_generation_prompt`.
    Vllm,
}

/// A jittered exponential wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBackoff {
    /// Before the first further try, doubled for each next one.
    pub base: Duration,
    /// Never longer than this.
    pub max: Duration,
}

/// Changes to the default judgement of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailoverOn {
    /// Statuses that are the target's fault although they are not by default.
    pub add_statuses: BTreeSet<u16>,
    /// Statuses that are passed to the client although they are the target's fault by default.
    pub remove_statuses: BTreeSet<u16>,
    /// Error codes that are the target's fault whatever the status is.
    pub add_error_codes: BTreeSet<String>,
    /// Error codes that don't decide anything; the status does.
    pub remove_error_codes: BTreeSet<String>,
}

/// What happens to a stream that breaks after its first token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamRescue {
    /// The next target continues it.
    #[default]
    Continue,
    /// It ends with an error event.
    Off,
}

/// What a caller gets while every target is suspended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenAllSuspended {
    /// 503 with Retry-After, and no upstream call.
    #[default]
    Reject,
    /// An attempt at the pair whose suspension ends soonest.
    TrySoonest,
}
