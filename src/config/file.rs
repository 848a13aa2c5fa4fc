//! What people write: the fields of a configuration file, as they stand there.
//!
//! These shapes say which fields exist and of what kind their values are, nothing more. What is
//! required, what is the default and what is allowed stands in [`resolve`](super::resolve); what a
//! field means, in `docs/configuration.md`, which a test compares with this file.

use std::time::Duration;

use super::place::Place;
use super::read::{Field, List, Named, Read, Size, field, fields, known, shape};
use super::secret::SecretSource;
use super::yaml::{Node, Value};

shape! {
    /// The whole file.
    struct File<'n> {
        /// The fields of Pingora's `ServerConf`, which alone knows them.
        server: &'n Node<'n>,
        listeners: List<Listener<'n>>,
        admin: Admin<'n>,
        limits: Limits,
        authentication: &'n str,
        environment: &'n str,
        keys: List<CallerKey<'n>>,
        endpoints: Named<'n, Endpoint<'n>>,
        operations: List<Operation<'n>>,
        policies: Named<'n, Policy<'n>>,
        shared_state: SharedState<'n>,
        observability: Observability<'n>,
    }
}

shape! {
    struct Listener<'n> {
        address: &'n str,
        h2c: bool,
        tls: ListenerTls<'n>,
    }
}

shape! {
    struct ListenerTls<'n> {
        certificate: &'n str,
        private_key: &'n str,
        client_ca: &'n str,
    }
}

shape! {
    struct Admin<'n> {
        address: &'n str,
        tls: ListenerTls<'n>,
        tokens: List<AdminToken<'n>>,
    }
}

shape! {
    struct AdminToken<'n> {
        name: &'n str,
        sha256: &'n str,
    }
}

shape! {
    struct Limits {
        request_body: Size,
        buffered_bodies: Size,
        request_head_timeout: Duration,
        request_body_timeout: Duration,
        request_body_total: Duration,
        response_body: Size,
        keepalive_timeout: Duration,
        response_write_timeout: Duration,
        connections: u64,
        requests_per_connection: u64,
    }
}

shape! {
    struct CallerKey<'n> {
        name: &'n str,
        environment: &'n str,
        sha256: &'n str,
        rate_limit: RateLimit,
    }
}

shape! {
    struct RateLimit {
        requests_per_minute: u64,
        tokens_per_minute: u64,
    }
}

shape! {
    struct Endpoint<'n> {
        provider: &'n str,
        url: &'n str,
        backends: List<Backend<'n>>,
        balance: &'n str,
        affinity_header: &'n str,
        discover: &'n str,
        discover_interval: Duration,
        health_check: HealthCheck<'n>,
        api_key: ApiKey<'n>,
        api_keys: List<SecretSource<'n>>,
        credential: PlaceInRequest<'n>,
        rewrite_path: RewritePath<'n>,
        query: Named<'n, &'n str>,
        connect_timeout: Duration,
        http_version: &'n str,
        max_concurrent: u64,
        queue_timeout: Duration,
        tls: UpstreamTls<'n>,
    }
}

/// A key, or `passthrough`.
#[derive(Debug)]
pub(super) enum ApiKey<'n> {
    Secret(SecretSource<'n>),
    Passthrough,
}

impl<'n> Read<'n> for ApiKey<'n> {
    fn read(node: &'n Node<'n>, place: Place<'_>) -> Option<Self> {
        match &node.value {
            Value::Scalar { text, .. } if text == "passthrough" => Some(Self::Passthrough),
            _ => SecretSource::read(node, place).map(Self::Secret),
        }
    }
}

shape! {
    struct Backend<'n> {
        url: &'n str,
        weight: u64,
    }
}

shape! {
    struct HealthCheck<'n> {
        path: &'n str,
        status: u64,
        body: &'n str,
        interval: Duration,
        timeout: Duration,
        healthy_after: u64,
        unhealthy_after: u64,
        slow_start: Duration,
    }
}

shape! {
    struct RewritePath<'n> {
        from: &'n str,
        to: &'n str,
    }
}

shape! {
    struct UpstreamTls<'n> {
        ca: &'n str,
        verify: bool,
        sni: &'n str,
        client_certificate: &'n str,
        client_key: &'n str,
    }
}

shape! {
    struct Operation<'n> {
        preset: &'n str,
        method: &'n str,
        path: &'n str,
        model_in: PlaceInRequest<'n>,
        answer: &'n str,
        default_endpoint: DefaultEndpoint<'n>,
        policies: List<&'n str>,
    }
}

/// Where something stands in a request: a word, or the name of a header or of a parameter.
#[derive(Debug)]
pub(super) enum PlaceInRequest<'n> {
    Word(&'n str),
    Named(Box<NamedPlace<'n>>),
}

shape! {
    struct NamedPlace<'n> {
        header: &'n str,
        query: &'n str,
    }
}

impl<'n> Read<'n> for PlaceInRequest<'n> {
    fn read(node: &'n Node<'n>, place: Place<'_>) -> Option<Self> {
        if matches!(node.value, Value::Scalar { .. }) {
            <&str>::read(node, place).map(Self::Word)
        } else {
            NamedPlace::read(node, place).map(|named| Self::Named(Box::new(named)))
        }
    }

    #[cfg(test)]
    fn describe(path: &str, paths: &mut Vec<String>) {
        NamedPlace::describe(path, paths);
    }
}

shape! {
    struct DefaultEndpoint<'n> {
        production: &'n str,
        sandbox: &'n str,
    }
}

shape! {
    struct Policy<'n> {
        kind as "type": &'n str,
        matches as "match": List<&'n str>,
        production: ChainOrList<'n>,
        sandbox: ChainOrList<'n>,
        balance: &'n str,
        sticky_header: &'n str,
        request_timeout: Duration,
        suspend_duration: Duration,
        overall_timeout: Duration,
        first_token_timeout: Duration,
        stream_idle_timeout: Duration,
        retries: u64,
        retry_backoff: RetryBackoff,
        max_retry_after: Duration,
        max_suspend_duration: Duration,
        failover_on: FailoverOn<'n>,
        stream_rescue: &'n str,
        when_all_suspended: &'n str,
    }
}

/// A chain, or of the round-robin types the list that stands in its place.
#[derive(Debug)]
pub(super) enum ChainOrList<'n> {
    Chain(Chain<'n>),
    List(List<Target<'n>>),
}

impl<'n> Read<'n> for ChainOrList<'n> {
    fn read(node: &'n Node<'n>, place: Place<'_>) -> Option<Self> {
        if matches!(node.value, Value::List(_)) {
            List::read(node, place).map(Self::List)
        } else {
            Chain::read(node, place).map(Self::Chain)
        }
    }

    #[cfg(test)]
    fn describe(path: &str, paths: &mut Vec<String>) {
        Chain::describe(path, paths);
    }
}

shape! {
    struct Chain<'n> {
        target: TargetSet<'n>,
        fallbacks: List<Target<'n>>,
    }
}

shape! {
    struct Target<'n> {
        model: &'n str,
        endpoint: &'n str,
        weight: u64,
        prefill: &'n str,
    }
}

/// One target, or a list of them.
#[derive(Debug)]
pub(super) enum TargetSet<'n> {
    One(Box<Target<'n>>),
    Several(List<Target<'n>>),
}

impl<'n> Read<'n> for TargetSet<'n> {
    fn read(node: &'n Node<'n>, place: Place<'_>) -> Option<Self> {
        if matches!(node.value, Value::List(_)) {
            List::read(node, place).map(Self::Several)
        } else {
            Target::read(node, place).map(|target| Self::One(Box::new(target)))
        }
    }

    #[cfg(test)]
    fn describe(path: &str, paths: &mut Vec<String>) {
        Target::describe(path, paths);
    }
}

shape! {
    struct RetryBackoff {
        base: Duration,
        max: Duration,
    }
}

shape! {
    struct FailoverOn<'n> {
        statuses: StatusChanges,
        error_codes: CodeChanges<'n>,
    }
}

shape! {
    struct StatusChanges {
        add: List<u64>,
        remove: List<u64>,
    }
}

shape! {
    struct CodeChanges<'n> {
        add: List<&'n str>,
        remove: List<&'n str>,
    }
}

shape! {
    struct SharedState<'n> {
        redis: Redis<'n>,
        state_file: &'n str,
    }
}

shape! {
    struct Redis<'n> {
        url: &'n str,
        prefix: &'n str,
        password: SecretSource<'n>,
        ca: &'n str,
    }
}

shape! {
    struct Observability<'n> {
        access_log: AccessLog<'n>,
        otlp: Otlp<'n>,
    }
}

shape! {
    struct Otlp<'n> {
        endpoint: &'n str,
        sample_ratio: f64,
    }
}

shape! {
    struct AccessLog<'n> {
        path: &'n str,
        format: &'n str,
        sample: f64,
    }
}
