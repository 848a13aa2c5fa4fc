//! What keeps the gateway, and those behind it, standing: limits, floods, faults and secrets.

mod concurrency;
mod connections;
mod desync;
mod http2;
mod panics;
mod promises;
mod rate_limits;

use crate::front::{CHAT, MODEL, question, streaming_question};
use crate::support::{Setup, Upstream};

/// One target, with these limits, on a listener that speaks both versions of HTTP.
fn limited(upstream: &Upstream, limits: &str) -> Setup {
    Setup::new()
        .listener("{address: 127.0.0.1:0, h2c: true}")
        .limits(limits)
        .endpoint("openai", &upstream.url())
        .chain(&[(MODEL, "openai")], "suspend_duration: 60s")
}
