//! The integration tests: the real gateway between real clients and scripted upstreams.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on has failed"
)]

mod access_log;
mod admin;
mod answers;
mod backends;
mod balance;
mod chaos;
mod console;
mod credentials;
mod failover;
mod front;
mod guard;
mod judging;
mod metrics;
mod places;
mod presets;
mod process;
mod rescue;
mod shared_state;
mod streams;
mod support;
mod suspension;
mod traces;
